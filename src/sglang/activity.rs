//! The counters and latencies of a server at a moment, by its metrics: what a live view computes its rates from.
//!
//! Read from `metrics/collector.py` of 0.4.10.post2 and `observability/metrics_collector.py` of 0.5.13 to 0.5.23; the table in
//! `metrics` has the versions of each name.

use std::collections::BTreeMap;

use crate::sglang::exposition::{label, samples, whole};

/// Most ranks that are read; the largest deployments of DeepSeek-R1 that are published have 144.
const MOST_RANKS: usize = 1024;
/// Most buckets of a histogram; SGLang's own have up to 35, and a user may name others.
const MOST_BUCKETS: usize = 256;

/// The counters and latencies of a server. Counters rise from its start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Activity {
    /// Tokens that were generated, those of running requests included.
    pub generated_tokens: u64,
    /// Tokens of prompts: as they are computed from 0.5.9 on, before that when their request ends.
    pub prompt_tokens: u64,
    /// The tokens of prompts that the prefix cache had, counted as the prompts are; `None` before the first, and without a cache.
    pub cached_tokens: Option<u64>,
    /// Requests that ended.
    pub finished: u64,
    /// Requests that a client or the server aborted; `None` before the first.
    pub aborted: Option<u64>,
    /// Requests that were taken out of the batch because the KV pool was full; `None` before the first, and in versions that
    /// do not count them.
    pub retracted: Option<u64>,
    /// Tokens for each step of speculative decoding, the mean of the ranks; `None` without it.
    pub accept_length: Option<f64>,
    /// Time to the first token, in seconds.
    pub ttft: Histogram,
    /// Time between two tokens, in seconds.
    pub itl: Histogram,
    /// Time from the arrival of a request to its end, in seconds.
    pub e2e: Histogram,
    /// The load of each rank, if the metrics name more than one: of the data-parallel ranks, else of the tensor-parallel ones.
    pub ranks: Vec<RankLoad>,
}

impl Activity {
    /// Returns true if no counter is lower than before: if one is, the server was started again between the two.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let counters = |one: &Self| {
            [
                Some(one.generated_tokens),
                Some(one.prompt_tokens),
                Some(one.finished),
                one.cached_tokens,
                one.aborted,
                one.retracted,
            ]
        };
        let histograms = |one: &Self| [one.ttft.total(), one.itl.total(), one.e2e.total()];
        let counted = counters(self).into_iter().zip(counters(before));
        let timed = histograms(self).into_iter().zip(histograms(before));
        // A counter that is not there has not begun.
        counted.into_iter().all(|(now, then)| now >= then) && timed.into_iter().all(|(now, then)| now >= then)
    }
}

/// The load of one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct RankLoad {
    /// The name of its kind: `dp` or `tp`.
    pub kind: &'static str,
    /// Its number as the metrics write it.
    pub rank: String,
    /// Requests that it computes.
    pub running: u64,
    /// The used share of its KV pool, 0 to 1.
    pub kv_use: f64,
}

/// A histogram: for each upper bound in seconds, in rising order, the number of values up to it. The last bound is infinite.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Returns the histogram of these upper bounds and counts, which need no order. The counts of equal bounds are added, and a
    /// bound below zero is left out: no time is.
    #[must_use]
    pub fn new(mut buckets: Vec<(f64, u64)>) -> Self {
        buckets.retain(|(bound, _)| *bound >= 0.0);
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.dedup_by(|next, kept| {
            let is_same = next.0.total_cmp(&kept.0).is_eq();
            if is_same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            is_same
        });
        let mut highest = 0;
        for (_, count) in &mut buckets {
            // The counts of several processes are not read at one moment.
            highest = highest.max(*count);
            *count = highest;
        }
        Self { buckets }
    }

    /// Returns the upper bounds in seconds and the counts up to them.
    #[must_use]
    pub fn buckets(&self) -> &[(f64, u64)] {
        &self.buckets
    }

    /// Returns the number of values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// Returns the histogram of the values since an earlier moment of the same server. A bound that is new had no values.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| {
            let at = before
                .buckets
                .iter()
                .find(|(other, _)| other.total_cmp(&bound).is_eq());
            at.map_or(0, |(_, count)| *count)
        };
        let buckets = self.buckets.iter();
        Self::new(
            buckets
                .map(|(bound, count)| (*bound, count.saturating_sub(earlier(*bound))))
                .collect(),
        )
    }
}

/// A counter of each rank: by the data-parallel rank, then by the other ranks.
#[derive(Default)]
struct OverRanks<'a>(BTreeMap<&'a str, BTreeMap<(&'a str, &'a str), u64>>);

impl<'a> OverRanks<'a> {
    fn add_value(&mut self, labels: &'a str, value: f64) {
        let of = |name| label(labels, name).unwrap_or_default();
        let group = self.0.entry(of("dp_rank")).or_default();
        if group.len() < MOST_RANKS {
            let sum = group.entry((of("tp_rank"), of("pp_rank"))).or_default();
            *sum = sum.saturating_add(whole(value));
        }
    }

    /// Returns the sum over the data-parallel ranks. The others report the same requests (0.5.9, and with
    /// `--enable-metrics-for-all-schedulers`), so that the largest value counts once.
    fn sum(&self) -> Option<u64> {
        let groups = self.0.values().take(MOST_RANKS);
        let sum = groups.fold(0_u64, |sum, group| {
            sum.saturating_add(group.values().copied().max().unwrap_or(0))
        });
        (!self.0.is_empty()).then_some(sum)
    }
}

/// Buckets by the text of their bound.
type Buckets<'a> = BTreeMap<&'a str, u64>;

/// Adds a bucket of one label set to those of the others.
fn add_bucket<'a>(buckets: &mut Buckets<'a>, labels: &'a str, value: f64) {
    let Some(bound) = label(labels, "le") else { return };
    if buckets.len() < MOST_BUCKETS || buckets.contains_key(bound) {
        let sum = buckets.entry(bound).or_default();
        *sum = sum.saturating_add(whole(value));
    }
}

fn histogram(buckets: &Buckets<'_>) -> Histogram {
    let parsed = buckets
        .iter()
        .filter_map(|(bound, count)| Some((bound.parse().ok()?, *count)));
    Histogram::new(parsed.collect())
}

/// Returns the counters and latencies that the metrics state; what they lack is zero or `None`. A text that is not of SGLang
/// has none.
#[must_use]
pub fn activity(metrics: &str) -> Activity {
    let mut found = Activity::default();
    let (mut ttft, mut itl, mut e2e) = (Buckets::new(), Buckets::new(), Buckets::new());
    let (mut decoded, mut prefilled, mut from_cache) =
        (OverRanks::default(), OverRanks::default(), OverRanks::default());
    let mut retracted = OverRanks::default();
    let (mut generated_at_end, mut prompt_at_end, mut cached_at_end) = (0_u64, 0_u64, None);
    let (mut ranks, mut accepted) = (Ranks::default(), Vec::new());
    let add = |sum: &mut u64, value: f64| *sum = sum.saturating_add(whole(value));
    for sample in samples(metrics) {
        let Some(name) = sample.name.strip_prefix("sglang:") else {
            continue;
        };
        let (labels, value) = (sample.labels, sample.value);
        match name {
            "time_to_first_token_seconds_bucket" => add_bucket(&mut ttft, labels, value),
            "inter_token_latency_seconds_bucket" => add_bucket(&mut itl, labels, value),
            "e2e_request_latency_seconds_bucket" => add_bucket(&mut e2e, labels, value),
            "generation_tokens_total" => add(&mut generated_at_end, value),
            "prompt_tokens_total" => add(&mut prompt_at_end, value),
            "cached_tokens_total" => add(cached_at_end.get_or_insert(0), value),
            "num_requests_total" => add(&mut found.finished, value),
            "num_aborted_requests_total" => add(found.aborted.get_or_insert(0), value),
            "num_retracted_requests_total" | "total_retracted_reqs" => retracted.add_value(labels, value),
            "realtime_tokens_total" => match label(labels, "mode") {
                Some("decode") => decoded.add_value(labels, value),
                Some("prefill_compute") => prefilled.add_value(labels, value),
                Some("prefill_cache") => from_cache.add_value(labels, value),
                _ => {}
            },
            // 0 without speculative decoding.
            "spec_accept_length" if value > 0.0 && accepted.len() < MOST_RANKS => accepted.push(value),
            "num_running_reqs" => ranks.add_load(labels, |rank| add(&mut rank.0, value)),
            "token_usage" => ranks.add_load(labels, |rank| rank.1 = rank.1.max(value.clamp(0.0, 1.0))),
            _ => {}
        }
    }
    (found.ttft, found.itl, found.e2e) = (histogram(&ttft), histogram(&itl), histogram(&e2e));
    found.ranks = ranks.loads();
    found.retracted = retracted.sum();
    found.accept_length = mean(&accepted);
    // Without the counters of computed tokens, `generation_tokens_total` rises at the end of a request, which takes minutes;
    // these two histograms have a value for each token.
    let counted = found.ttft.total().saturating_add(found.itl.total());
    found.generated_tokens = decoded.sum().unwrap_or(counted.max(generated_at_end));
    (found.prompt_tokens, found.cached_tokens) = match (prefilled.sum(), from_cache.sum()) {
        (None, None) => (prompt_at_end, cached_at_end),
        (computed, cached) => (computed.unwrap_or(0).saturating_add(cached.unwrap_or(0)), cached),
    };
    found
}

/// Returns the mean; `None` of no values.
fn mean(values: &[f64]) -> Option<f64> {
    let count = u32::try_from(values.len()).ok().filter(|count| *count > 0)?;
    Some(values.iter().sum::<f64>() / f64::from(count))
}

/// The loads by rank, of both kinds: running requests, and the used share of the KV pool.
#[derive(Default)]
struct Ranks<'a> {
    dp: BTreeMap<&'a str, (u64, f64)>,
    tp: BTreeMap<&'a str, (u64, f64)>,
}

impl<'a> Ranks<'a> {
    fn add_load(&mut self, labels: &'a str, mut change: impl FnMut(&mut (u64, f64))) {
        for (name, ranks) in [("dp_rank", &mut self.dp), ("tp_rank", &mut self.tp)] {
            if let Some(rank) = label(labels, name)
                && (ranks.len() < MOST_RANKS || ranks.contains_key(rank))
            {
                change(ranks.entry(rank).or_default());
            }
        }
    }

    fn loads(self) -> Vec<RankLoad> {
        let (kind, ranks) = match (self.dp.len(), self.tp.len()) {
            (2.., _) => ("dp", self.dp),
            (_, 2..) => ("tp", self.tp),
            _ => return Vec::new(),
        };
        let mut loads: Vec<RankLoad> = ranks
            .into_iter()
            .map(|(rank, (running, kv_use))| RankLoad {
                kind,
                rank: rank.to_owned(),
                running,
                kv_use,
            })
            .collect();
        loads.sort_by_key(|load| load.rank.parse::<u32>().unwrap_or(u32::MAX));
        loads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of SGLang 0.5.23 with attention replicas, shortened.
    const NEW: &str = "\
sglang:num_running_reqs{dp_rank=\"0\",tp_rank=\"0\"} 6.0
sglang:num_running_reqs{dp_rank=\"1\",tp_rank=\"4\"} 2.0
sglang:token_usage{dp_rank=\"0\",tp_rank=\"0\"} 0.5
sglang:token_usage{dp_rank=\"1\",tp_rank=\"4\"} 0.25
sglang:realtime_tokens_total{dp_rank=\"0\",tp_rank=\"0\",mode=\"decode\"} 100.0
sglang:realtime_tokens_total{dp_rank=\"0\",tp_rank=\"1\",mode=\"decode\"} 100.0
sglang:realtime_tokens_total{dp_rank=\"1\",tp_rank=\"4\",mode=\"decode\"} 50.0
sglang:realtime_tokens_total{dp_rank=\"0\",tp_rank=\"0\",mode=\"prefill_compute\"} 30.0
sglang:realtime_tokens_total{dp_rank=\"0\",tp_rank=\"0\",mode=\"prefill_cache\"} 10.0
sglang:generation_tokens_total{is_streaming=\"true\"} 20.0
sglang:prompt_tokens_total{is_streaming=\"true\"} 25.0
sglang:num_requests_total{is_streaming=\"true\"} 2.0
sglang:num_requests_total{is_streaming=\"false\"} 1.0
sglang:num_retracted_requests_total{dp_rank=\"0\",tp_rank=\"0\"} 3.0
sglang:num_aborted_requests_total{model_name=\"m\"} 4.0
sglang:spec_accept_length{dp_rank=\"0\"} 2.5
sglang:time_to_first_token_seconds_bucket{is_streaming=\"true\",le=\"0.1\"} 1.0
sglang:time_to_first_token_seconds_bucket{is_streaming=\"true\",le=\"+Inf\"} 2.0
sglang:time_to_first_token_seconds_bucket{is_streaming=\"false\",le=\"0.1\"} 1.0
sglang:time_to_first_token_seconds_bucket{is_streaming=\"false\",le=\"+Inf\"} 1.0
";

    #[test]
    fn the_counters_of_a_new_version_are_those_of_computed_tokens() {
        let found = activity(NEW);
        assert_eq!(
            (found.generated_tokens, found.prompt_tokens, found.cached_tokens),
            (150, 40, Some(10))
        );
        assert_eq!(
            (found.finished, found.retracted, found.aborted),
            (3, Some(3), Some(4))
        );
        assert_eq!(found.accept_length, Some(2.5));
        assert_eq!(found.ttft.buckets(), [(0.1, 2), (f64::INFINITY, 3)]);
        let ranks: Vec<_> = found
            .ranks
            .iter()
            .map(|rank| (rank.kind, &*rank.rank, rank.running))
            .collect();
        assert_eq!(ranks, [("dp", "0", 6), ("dp", "1", 2)]);
    }

    #[test]
    fn an_old_version_counts_tokens_by_its_histograms() {
        let found = activity(
            "sglang:num_running_reqs{model_name=\"m\"} 1.0\nsglang:generation_tokens_total{model_name=\"m\"} 5.0\n\
             sglang:prompt_tokens_total{model_name=\"m\"} 9.0\nsglang:cached_tokens_total{model_name=\"m\"} 4.0\n\
             sglang:time_to_first_token_seconds_bucket{le=\"+Inf\"} 2.0\nsglang:total_retracted_reqs{model_name=\"m\"} 1.0\n\
             sglang:inter_token_latency_seconds_bucket{le=\"+Inf\"} 70.0\nsglang:spec_accept_length{model_name=\"m\"} 0.0",
        );
        assert_eq!(
            (found.generated_tokens, found.prompt_tokens, found.cached_tokens),
            (72, 9, Some(4))
        );
        assert_eq!((found.retracted, found.aborted), (Some(1), None));
        assert_eq!((found.accept_length, found.ranks), (None, Vec::new()));
    }

    #[test]
    fn ranks_of_tensor_parallelism_are_named_if_there_are_no_others() {
        let found = activity(
            "sglang:num_running_reqs{tp_rank=\"10\"} 1\nsglang:num_running_reqs{tp_rank=\"2\"} 1\n\
             sglang:token_usage{tp_rank=\"2\"} 7",
        );
        let ranks: Vec<_> = found
            .ranks
            .iter()
            .map(|rank| (rank.kind, &*rank.rank, rank.kv_use))
            .collect();
        assert_eq!(ranks, [("tp", "2", 1.0), ("tp", "10", 0.0)]);
    }

    #[test]
    fn a_counter_that_went_down_shows_a_restart() {
        let (before, now) = (activity(NEW), activity(&NEW.replace("150.0", "160.0")));
        assert!(now.follows(&before));
        for (old, new) in [
            ("\"decode\"} 100.0", "\"decode\"} 1.0"),
            ("\"+Inf\"} 2.0", "\"+Inf\"} 1.0"),
            ("sglang:num_aborted_requests_total", "sglang:other"),
            ("\"false\"} 1.0", "\"false\"} 0.0"),
        ] {
            assert!(!activity(&NEW.replace(old, new)).follows(&before), "{old}");
        }
        // A counter that begins is no restart.
        assert!(before.follows(&Activity::default()));
    }

    #[test]
    fn a_histogram_is_counted_since_a_moment() {
        let of = |buckets: &[(f64, u64)]| Histogram::new(buckets.to_vec());
        let now = of(&[(f64::INFINITY, 9), (1.0, 6), (2.0, 8)]);
        let before = of(&[(1.0, 4), (f64::INFINITY, 5)]);
        assert_eq!(now.since(&before), of(&[(1.0, 2), (2.0, 8), (f64::INFINITY, 8)]));
        assert_eq!(now.since(&Histogram::default()), now);
        // Counts that do not rise, of a hostile server, become ones that do.
        let odd = [(1.0, 4), (f64::NAN, 9), (2.0, 2), (-1.0, 7), (2.0, 1)];
        assert_eq!(of(&odd).buckets(), [(1.0, 4), (2.0, 4)]);
    }

    #[test]
    fn metrics_of_others_state_no_activity() {
        for text in ["", "vllm:num_requests_running 3", "sglang:x", "<html>", "{} 1"] {
            assert_eq!(activity(text), Activity::default(), "{text}");
        }
    }
}
