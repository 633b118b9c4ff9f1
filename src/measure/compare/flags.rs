//! The options of `dsr1 bench` that make a load again.

use crate::report::MeasuredLoad;

/// Returns the options of a load, without its seed and without the server. Options that a profile may set otherwise are all
/// there.
#[must_use]
pub fn flags_of_load(load: &MeasuredLoad) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    add("--api", load.api.clone());
    match (&load.file, load.speed) {
        (None, _) => {
            add("--input-len", load.input_len.to_string());
            add("--output-len", load.output_len.to_string());
            add("--range-ratio", load.range_ratio.to_string());
        }
        (Some(file), Some(speed)) => {
            add("--trace", file.path.clone());
            add("--speed", speed.to_string());
        }
        (Some(file), None) => {
            add("--data", file.path.clone());
            add("--output-len", load.output_len.to_string());
        }
    }
    if load.shared_prefix > 0 {
        add("--shared-prefix", load.shared_prefix.to_string());
    }
    if load.turns > 1 {
        add("--turns", load.turns.to_string());
    }
    if load.think_s > 0.0 {
        add("--think-time", load.think_s.to_string());
    }
    if let Some(rate) = load.request_rate {
        add("--request-rate", rate.to_string());
        add("--arrivals", load.kind.clone());
    }
    if let Some(most) = load.max_concurrency {
        add("--max-concurrency", most.to_string());
    }
    if load.ramp_s > 0.0 {
        add("--ramp", format!("{:.0}", load.ramp_s));
    }
    if load.requests < u32::MAX {
        add("--num-prompts", load.requests.to_string());
    }
    add("--duration", format!("{:.0}", load.least_s));
    if let Some(most) = load.most_s {
        add("--max-duration", format!("{most:.0}"));
    }
    // Ids are what other APIs have by themselves, and text is all that a chat has.
    if let Some(form) = load
        .prompts
        .as_ref()
        .filter(|form| *form == "text" && load.api != "chat")
    {
        add("--prompts", form.clone());
    }
    if let Some(tokenizer) = &load.tokenizer {
        add("--tokenizer", tokenizer.clone());
    }
    if let Some(vocabulary) = load.vocabulary {
        add("--vocabulary", vocabulary.to_string());
    }
    if load.file.as_ref().is_some_and(|file| file.repeats) {
        words.push("--repeat-data".to_owned());
    }
    if !load.ignores_end {
        words.push("--stop-at-end".to_owned());
    }
    if !load.warm_up {
        words.push("--no-warm-up".to_owned());
    }
    words
}
