//! The facts that differ between two sides, and those that are missing.

use std::collections::BTreeSet;

use super::fact::{Fact, facts_of};
use super::side::Side;
use crate::report::{Measurement, MissingFact, SideDifference, Subject};

/// The facts of a side.
struct SideFacts {
    /// Those of each run.
    runs: Vec<Vec<Fact>>,
    /// For each run, true if its server told its arguments: one that it does not name has no value.
    has_arguments: Vec<bool>,
}

impl SideFacts {
    fn of(side: &Side) -> Self {
        Self {
            runs: side.runs.iter().map(facts_of).collect(),
            has_arguments: side
                .runs
                .iter()
                .map(|run| !run.server.arguments.is_empty())
                .collect(),
        }
    }

    /// Returns the values of a fact in all runs; `None` for a run that does not tell it.
    fn values(&self, fact: &Fact) -> BTreeSet<Option<String>> {
        let is_same = |other: &&Fact| other.subject == fact.subject && other.what == fact.what;
        let pairs = self.runs.iter().zip(&self.has_arguments);
        pairs
            .map(|(facts, has_arguments)| {
                let found = facts.iter().find(is_same);
                let not_set = || (is_argument(fact) && *has_arguments).then(|| "not set".to_owned());
                found.map_or_else(not_set, |found| found.value.clone())
            })
            .collect()
    }
}

/// Returns true for a fact that a server tells as an argument.
fn is_argument(fact: &Fact) -> bool {
    let own = [
        "sglang",
        "stack",
        "profile",
        "image",
        "base_image",
        "environment",
        "start",
    ];
    fact.subject == Subject::Server && !own.contains(&fact.what.as_str())
}

/// Returns the facts that differ, those that matter first, in each part the weightiest first. A fact that one side does not
/// tell is no difference.
pub(super) fn list_differences(a: &Side, b: &Side) -> Vec<SideDifference> {
    let sides = [SideFacts::of(a), SideFacts::of(b)];
    let mut seen: BTreeSet<(Subject, String)> = BTreeSet::new();
    let mut found = Vec::new();
    for fact in sides.iter().flat_map(|side| &side.runs).flatten() {
        if !seen.insert((fact.subject, fact.what.clone())) {
            continue;
        }
        let [of_a, of_b] = [0, 1].map(|side: usize| sides[side].values(fact));
        let all: BTreeSet<&Option<String>> = of_a.union(&of_b).collect();
        if all.len() < 2 || all.contains(&None) {
            continue;
        }
        let shown = |values: &BTreeSet<Option<String>>| {
            let known: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
            known.join(", ")
        };
        found.push(SideDifference {
            subject: fact.subject,
            what: fact.what.clone(),
            a: shown(&of_a),
            b: shown(&of_b),
            matters: fact.matters,
        });
    }
    found.sort_by_key(|one| (!one.matters, one.subject));
    found
}

/// A fact that threads about figures had to ask for by hand (`InferenceX`#1580 and #1672, `TensorRT-LLM`#3058, `sglang`#9145),
/// and the way to find it out.
struct Wanted {
    what: &'static str,
    is_told: fn(&Measurement) -> bool,
    fix: &'static str,
}

/// Returns true if a host has no GPU that would need a driver.
fn has_no_gpu(run: &Measurement) -> bool {
    let host = &run.server.host;
    host.get("gpus").is_some_and(|gpus| gpus.starts_with("none"))
}

/// Returns true if the clocks were looked at while it was measured.
fn has_clocks(run: &Measurement) -> bool {
    run.gpus
        .as_ref()
        .is_some_and(|gpus| gpus.sm_clock_median_mhz.is_some())
}

const WANTED: [Wanted; 9] = [
    Wanted {
        what: "sglang",
        is_told: |run| run.server.sglang.is_some(),
        fix: "ask for the version of SGLang, or read `version` at /server_info",
    },
    Wanted {
        what: "arguments",
        is_told: |run| !run.server.arguments.is_empty(),
        fix: "ask for the command line of the server, or read /server_info",
    },
    Wanted {
        what: "weights",
        is_told: |run| {
            facts_of(run)
                .iter()
                .any(|fact| fact.what == "weights" && fact.value.is_some())
        },
        fix: "ask for the repository and the commit of the weights",
    },
    Wanted {
        what: "image",
        // A process has a stack in place of an image.
        is_told: |run| run.server.host.contains_key("image") || run.server.name.is_some(),
        fix: "docker inspect --format '{{.Image}}' NAME",
    },
    Wanted {
        what: "gpus",
        is_told: |run| run.server.host.contains_key("gpus"),
        fix: "nvidia-smi -L",
    },
    Wanted {
        what: "driver",
        is_told: |run| run.server.host.contains_key("driver") || has_no_gpu(run),
        fix: "nvidia-smi --query-gpu=driver_version --format=csv,noheader",
    },
    Wanted {
        what: "clocks",
        is_told: |run| has_clocks(run) || has_no_gpu(run),
        fix: "nvidia-smi -q -d CLOCK,PERFORMANCE while it is measured; dsr1 keeps them of a server of its own host",
    },
    Wanted {
        what: "network adapters",
        is_told: |run| {
            let nodes = run.server.arguments.get("nnodes");
            nodes.is_none_or(|nodes| nodes == "1")
        },
        fix: "ibv_devices on each node; dsr1 does not keep it",
    },
    Wanted {
        what: "cache state",
        is_told: |run| {
            let figures = run.figures.as_ref();
            figures.is_some_and(|figures| figures.cached_tokens.is_some())
                || run.verdicts.iter().any(|verdict| {
                    verdict.about == "prefix cache" && verdict.trust != crate::report::Trust::Unknown
                })
        },
        fix: "measure with --api generate, or start the server with --enable-cache-report",
    },
];

/// Returns the facts that a result does not tell.
#[must_use]
pub fn list_missing(run: &Measurement) -> Vec<MissingFact> {
    let missing = WANTED.iter().filter(|wanted| !(wanted.is_told)(run));
    missing
        .map(|wanted| MissingFact {
            what: wanted.what.to_owned(),
            sides: String::new(),
            fix: wanted.fix.to_owned(),
        })
        .collect()
}

/// Returns the facts that a run of a side does not tell, so that a difference of them cannot be seen.
pub(super) fn list_missing_of_sides(a: &Side, b: &Side) -> Vec<MissingFact> {
    let lacks = |side: &Side, wanted: &Wanted| side.runs.iter().any(|run| !(wanted.is_told)(run));
    WANTED
        .iter()
        .filter_map(|wanted| {
            let sides = match (lacks(a, wanted), lacks(b, wanted)) {
                (true, true) => "A and B",
                (true, false) => "A",
                (false, true) => "B",
                (false, false) => return None,
            };
            Some(MissingFact {
                what: wanted.what.to_owned(),
                sides: sides.to_owned(),
                fix: wanted.fix.to_owned(),
            })
        })
        .collect()
}
