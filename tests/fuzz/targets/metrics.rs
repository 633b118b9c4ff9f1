//! Any text as the metrics of a server: counts of a histogram rise, a quantile is a time, and nothing panics.

use dsr1::sglang::activity;
use dsr1::top::{Latencies, Latency};

/// Reads the input and checks the answer.
pub(crate) fn check_metrics(text: &str) {
    let found = activity(text);
    assert!(found.follows(&found));
    for histogram in [&found.ttft, &found.itl, &found.e2e] {
        assert!(
            histogram
                .buckets()
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
        assert_eq!(histogram.since(histogram).total(), 0);
        let all = Latencies::of(histogram);
        for latency in [all.p50, all.p90, all.p99] {
            assert!(match latency {
                Latency::NoValues => true,
                Latency::About(seconds) => seconds.is_finite() && seconds >= 0.0,
                Latency::Above(seconds) => seconds.is_finite(),
            });
        }
    }
    assert!(found.ranks.iter().all(|rank| (0.0..=1.0).contains(&rank.kv_use)));
}
