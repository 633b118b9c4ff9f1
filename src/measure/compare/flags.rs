//! The options of `dsr1 bench` that make a load again.

use crate::report::MeasuredLoad;

/// Returns the options of a load, without its seed and without the server. Options that a profile may set otherwise are all
/// there.
#[must_use]
pub fn flags_of_load(load: &MeasuredLoad) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    add("--api", load.api.clone());
    add("--input-len", load.input_len.to_string());
    add("--output-len", load.output_len.to_string());
    add("--range-ratio", load.range_ratio.to_string());
    if load.shared_prefix > 0 {
        add("--shared-prefix", load.shared_prefix.to_string());
    }
    if let Some(rate) = load.request_rate {
        add("--request-rate", rate.to_string());
        add("--arrivals", load.kind.clone());
    }
    if let Some(most) = load.max_concurrency {
        add("--max-concurrency", most.to_string());
    }
    add("--num-prompts", load.requests.to_string());
    add("--duration", format!("{:.0}", load.least_s));
    if let Some(most) = load.most_s {
        add("--max-duration", format!("{most:.0}"));
    }
    if let Some(vocabulary) = load.vocabulary {
        add("--vocabulary", vocabulary.to_string());
    }
    if !load.ignores_end {
        words.push("--stop-at-end".to_owned());
    }
    if !load.warm_up {
        words.push("--no-warm-up".to_owned());
    }
    words
}
