//! The reasons to believe the figures of a run, or not: a verdict for each thing that is known to make measurements wrong.
//!
//! | module | subject |
//! |---|---|
//! | `requests` | failures, short answers, prompts of another length |
//! | `data` | broken records of a file, and its end |
//! | `extent` | too few requests, one wave, no warm-up |
//! | `stalls` | times in which nothing came |
//! | `steady` | drifts and steps over the run |
//! | `load` | the load that was delivered |
//! | `client` | the client itself, and the host under it |
//! | `gpu` | clocks that heat or the hardware lowered |
//! | `metrics` | the server's own metrics beside the figures |
//! | `cache` | prompt tokens that a server knew before |
//! | `server` | compilers, retractions, another server |
//! | `words` | a verdict, its hint, and shares as text |
//!
//! A new cause of wrong figures is a function in the file of its subject, a line in [`judge_run`], and a row in the tests.
//!
//! Not in this module tree: gathering the evidence (`effects`).
#![expect(clippy::unnecessary_wraps, reason = "all judges have one type")]

mod cache;
mod client;
mod data;
mod extent;
mod gpu;
mod load;
mod metrics;
mod requests;
mod server;
mod stalls;
mod steady;
#[cfg(test)]
mod tests;
mod words;

use crate::measure::evidence::Evidence;
use crate::report::{Figures, Trust, Verdict};

/// A judge of one subject; `None` if the subject does not arise.
type Judge = fn(&Evidence, &Figures) -> Option<Verdict>;

/// The judges, in the order in which their verdicts are shown.
const JUDGES: [Judge; 27] = [
    requests::judge_failures,
    data::judge_file,
    requests::judge_prompts,
    requests::judge_answers,
    extent::judge_warm_up,
    extent::judge_waves,
    extent::judge_turns,
    extent::judge_samples,
    extent::judge_duration,
    stalls::judge_stalls,
    steady::judge_tpot,
    steady::judge_throughput,
    load::judge_delivery,
    load::judge_saturation,
    client::judge_lag,
    client::judge_ceiling,
    client::judge_host,
    client::judge_clock,
    client::judge_chunks,
    gpu::judge_clocks,
    cache::judge_prefix_cache,
    server::judge_compilers,
    server::judge_retractions,
    server::judge_identity,
    metrics::judge_others,
    metrics::judge_ttft,
    metrics::judge_idle,
];

/// Returns the verdicts on a run.
#[must_use]
pub fn judge_run(evidence: &Evidence, figures: Option<&Figures>) -> Vec<Verdict> {
    let Some(figures) = figures else {
        return vec![
            client::judge_room(evidence)
                .unwrap_or_else(|| requests::judge_nothing(evidence, data::explain_end(evidence))),
        ];
    };
    JUDGES
        .iter()
        .filter_map(|judge| judge(evidence, figures))
        .collect()
}

/// Returns the worst of the verdicts; one of what could not be looked at does not make the whole worse.
#[must_use]
pub fn worst_of(verdicts: &[Verdict]) -> Trust {
    let known = verdicts.iter().map(|verdict| verdict.trust);
    known
        .filter(|trust| *trust != Trust::Unknown)
        .max()
        .unwrap_or(Trust::Unknown)
}
