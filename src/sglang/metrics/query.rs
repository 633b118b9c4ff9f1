//! `PromQL` over SGLang's metrics.

use std::collections::BTreeSet;

use crate::profile::Version;
use crate::sglang::metrics::table::{METRICS, Metric};

/// Returns the selector of a metric with label matchers; empty ones are left out.
pub(super) fn select(name: &str, matchers: &[&str]) -> String {
    let matchers: Vec<&str> = matchers.iter().copied().filter(|one| !one.is_empty()).collect();
    if matchers.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", matchers.join(","))
    }
}

/// Returns the value of a server, of the values of its ranks.
///
/// The ranks of one data-parallel group report the same requests: those above the first with
/// `--enable-metrics-for-all-schedulers`, and in 0.5.9 the token counters always. The largest value counts once, and the groups
/// are added.
pub(super) fn over_ranks(value: &str) -> String {
    format!("sum by (server) (max by (server, dp_rank) ({value}))")
}

/// Returns a quantile of a histogram for each server. Ranks that report the same requests do not change it.
pub(super) fn quantile(share: f64, name: &str, matchers: &[&str], window: &str) -> String {
    let buckets = select(&format!("{name}_bucket"), matchers);
    format!("histogram_quantile({share}, sum by (server, le) (rate({buckets}[{window}])))")
}

/// Returns a counter's increase for each server, also that of a series which is new: a counter with labels begins with its first
/// event, and `increase` does not see the step from nothing. A server that was not scraped at the beginning of the window
/// has no new series.
pub(super) fn increase(name: &str, matchers: &[&str], window: &str, up: &str) -> String {
    let series = select(name, matchers);
    format!(
        "sum by (server) (({series} unless {series} offset {window}) and on (server) {up} offset {window} == 1 \
         or increase({series}[{window}]))"
    )
}

/// Returns the metrics that a query names: those of the table, and names that are none of it.
#[must_use]
pub fn metrics_of(query: &str, version: Version) -> (Vec<&'static Metric>, Vec<String>) {
    let (mut known, mut unknown) = (Vec::new(), BTreeSet::new());
    for (at, prefix) in query.match_indices("sglang:") {
        let rest = query[at + prefix.len()..].chars();
        let word: String = rest
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let name = format!("{prefix}{word}");
        let is_of = |metric: &&Metric| {
            metric.is_in(version)
                && name
                    .strip_prefix(metric.name)
                    .is_some_and(|end| matches!(end, "" | "_bucket" | "_sum" | "_count"))
        };
        match METRICS.iter().find(is_of) {
            Some(metric) if known.contains(&metric) => {}
            Some(metric) => known.push(metric),
            None => {
                unknown.insert(name);
            }
        }
    }
    (known, unknown.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_metrics_of_a_version() {
        let query =
            "rate(sglang:time_to_first_token_seconds_bucket{a=\"b\"}[1m]) + sglang:http_responses_total";
        let names = |version| {
            let (known, unknown) = metrics_of(query, version);
            let known: Vec<&str> = known.iter().map(|metric| metric.name).collect();
            (known, unknown)
        };
        let (known, unknown) = names(Version::new(0, 5, 23));
        assert_eq!(known.len(), 2);
        assert!(unknown.is_empty());
        let (known, unknown) = names(Version::new(0, 4, 10).post(2));
        assert_eq!(known, ["sglang:time_to_first_token_seconds"]);
        assert_eq!(unknown, ["sglang:http_responses_total"]);
    }
}
