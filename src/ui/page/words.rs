//! Parts of a result in words.

use super::numbers::{figure, percent, trim_zeros};
use crate::report::{MeasuredLoad, Trust};

/// Returns the large word of a trust, its sentence, and its class in the style sheet.
pub(super) const fn trust_words(trust: Trust) -> (&'static str, &'static str, &'static str) {
    match trust {
        Trust::Trusted | Trust::Unknown => ("TRUSTED", "Nothing speaks against these figures.", "good"),
        Trust::Doubtful => (
            "DOUBTFUL",
            "Read the lines marked \u{201c}doubt\u{201d} before you use these figures.",
            "doubt",
        ),
        Trust::Untrusted => ("NOT TRUSTED", "Do not use these figures.", "bad"),
    }
}

/// Returns the class of a line of a verdict in the style sheet.
pub(super) const fn verdict_class(trust: Trust) -> &'static str {
    match trust {
        Trust::Trusted => "mark good",
        Trust::Unknown => "mark",
        Trust::Doubtful => "mark doubt",
        Trust::Untrusted => "mark bad",
    }
}

/// Returns a load in a few characters, as a label of a point.
pub(super) fn load_label(load: &MeasuredLoad) -> String {
    if let Some(speed) = load.speed {
        return format!("trace, {}x", trim_zeros(&figure(speed)));
    }
    match (load.request_rate, load.max_concurrency) {
        (Some(rate), _) => format!("{}/s", trim_zeros(&figure(rate))),
        (None, Some(most)) => most.to_string(),
        (None, None) => "no limit".to_owned(),
    }
}

/// Returns a load in words.
pub(super) fn describe_load(load: &MeasuredLoad) -> String {
    let most = load.max_concurrency;
    if let Some(speed) = load.speed {
        let most = most.map_or_else(String::new, |most| format!(", at most {most} in flight"));
        return format!(
            "a {} trace, {} times as fast{most}",
            load.data,
            trim_zeros(&figure(speed))
        );
    }
    match (load.request_rate, most) {
        (Some(rate), most) => {
            let most = most.map_or_else(String::new, |most| format!(", at most {most} in flight"));
            let kind = if load.kind == "poisson" {
                "Poisson"
            } else {
                &load.kind
            };
            format!(
                "{} requests a second, {kind} arrivals{most}",
                trim_zeros(&figure(rate))
            )
        }
        (None, Some(most)) if load.ramp_s > 0.0 => {
            format!("{most} requests in flight, after a ramp of {:.0} s", load.ramp_s)
        }
        (None, Some(most)) if load.turns > 1 => {
            let between = if load.think_s > 0.0 {
                format!(", {} s between two turns", trim_zeros(&figure(load.think_s)))
            } else {
                String::new()
            };
            format!("{most} conversations of {} turns at once{between}", load.turns)
        }
        (None, Some(1)) => "1 request in flight".to_owned(),
        (None, Some(most)) => format!("{most} requests in flight"),
        (None, None) => "requests in flight without a limit".to_owned(),
    }
}

/// Returns the lengths of the requests in words.
pub(super) fn describe_lengths(load: &MeasuredLoad) -> String {
    if let Some(file) = &load.file {
        return format!("those of {} (SHA-256 {})", file.path, file.sha256);
    }
    let drawn = if load.range_ratio < 1.0 {
        format!(
            ", each drawn from {} of that up to the whole",
            percent(load.range_ratio)
        )
    } else {
        String::new()
    };
    let shared = match load.shared_prefix {
        0 => String::new(),
        shared => format!("; {shared} tokens before them are the same in all prompts"),
    };
    format!(
        "{} tokens in, {} tokens out{drawn}{shared}{}",
        load.input_len,
        load.output_len,
        if load.turns > 1 {
            "; in each turn, beside all turns before it"
        } else {
            ""
        }
    )
}
