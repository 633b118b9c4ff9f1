//! A verdict in words.

use crate::report::{Trust, Verdict};

/// Returns a verdict without advice.
pub(super) fn verdict(about: &str, trust: Trust, text: impl Into<String>) -> Verdict {
    Verdict {
        about: about.to_owned(),
        trust,
        text: text.into(),
        hint: String::new(),
    }
}

/// Returns the verdict with advice.
pub(super) fn with_hint(verdict: Verdict, hint: &str) -> Verdict {
    Verdict {
        hint: hint.to_owned(),
        ..verdict
    }
}

/// Returns a share as text: `12 %`, `0.4 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 || percent == 0.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}
