//! The GPUs of the server.

use super::words::{percent, verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::report::{Figures, Trust, Verdict};

/// Share of the looks with a clock that was lowered for heat or by the hardware.
const SOME: f64 = 0.01;
const MUCH: f64 = 0.1;

/// Judges clocks that heat or a fault of the hardware lowered.
pub(super) fn judge_clocks(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let gpus = evidence.gpus.as_ref()?;
    let throttled = gpus.throttled_share?;
    let clocks = match (gpus.sm_clock_median_mhz, gpus.sm_clock_max_mhz) {
        (Some(median), Some(most)) => format!("median SM clock {median:.0} of {most:.0} MHz"),
        _ => "clocks not known".to_owned(),
    };
    if throttled <= SOME {
        let capped = gpus
            .power_capped_share
            .filter(|share| *share > SOME)
            .map_or_else(String::new, |share| {
                format!("; at the limit of power in {} of the time", percent(share))
            });
        return Some(verdict("clocks", Trust::Trusted, format!("{clocks}{capped}")));
    }
    let trust = if throttled > MUCH {
        Trust::Untrusted
    } else {
        Trust::Doubtful
    };
    let text = format!(
        "{clocks}; lowered for heat or by the hardware in {} of the time",
        percent(throttled)
    );
    Some(with_hint(
        verdict("clocks", trust, text),
        "dsr1 doctor shows the temperatures and the reasons of each GPU",
    ))
}
