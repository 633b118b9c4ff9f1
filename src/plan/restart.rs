//! A plan that starts a server again, from the one that started it.

use std::collections::BTreeMap;

use crate::plan::{Plan, Server, Step};

/// The engine's option for its share of the GPU's memory.
const FRACTION: &str = "--mem-fraction-static";

/// Returns the part of a plan that starts its server, waits for it and verifies it; `None` if it starts none. Installation and
/// downloads are not repeated: what they made is checked.
#[must_use]
pub fn restart(plan: &Plan) -> Option<Plan> {
    let belongs = |step: &&Step| {
        matches!(
            step,
            Step::CheckSnapshot(_)
                | Step::CheckFolder(_)
                | Step::StartContainer(_)
                | Step::StartProcess(_)
                | Step::SubmitJob(_)
                | Step::AwaitJob(_)
                | Step::AwaitReady(_)
                | Step::VerifyAnswers(_)
        )
    };
    let steps: Vec<Step> = plan.steps.iter().filter(belongs).cloned().collect();
    let part = Plan::new("restart", steps);
    labels_of(&part).is_some().then_some(part)
}

/// Returns the labels of the server that a plan starts; `None` if it starts none.
#[must_use]
pub fn labels_of(plan: &Plan) -> Option<&BTreeMap<String, String>> {
    plan.steps.iter().find_map(|step| match step {
        Step::StartContainer(step) => Some(&step.labels),
        Step::StartProcess(step) => Some(&step.labels),
        Step::SubmitJob(step) => Some(&step.labels),
        _ => None,
    })
}

/// Returns the port of a URL.
fn port_of(url: &str) -> Option<u16> {
    url.rsplit(':').next()?.parse().ok()
}

/// Returns the server that a plan waits for, with its port: on 127.0.0.1, or on the first node of a job.
#[must_use]
pub fn server_of(plan: &Plan) -> Option<(&Server, u16)> {
    plan.steps.iter().find_map(|step| match step {
        Step::AwaitReady(step) => Some((&step.server, port_of(&step.base_url)?)),
        Step::AwaitJob(step) => Some((&step.server, port_of(&step.base_url)?)),
        _ => None,
    })
}

/// Returns a plan whose engine gets this share of the GPU's memory.
#[must_use]
pub fn with_fraction(mut plan: Plan, fraction: f64) -> Plan {
    for step in &mut plan.steps {
        match step {
            Step::StartContainer(step) => set_fraction(&mut step.argv, fraction),
            Step::StartProcess(step) => set_fraction(&mut step.argv, fraction),
            // The pool is not the planned one.
            Step::AwaitReady(step) => step.planned = None,
            _ => {}
        }
    }
    plan
}

/// Sets the last value of the option, which is the one that counts, or adds it.
fn set_fraction(argv: &mut Vec<String>, fraction: f64) {
    let value = format!("{fraction}");
    let in_one_word = format!("{FRACTION}=");
    if let Some(at) = argv.iter().rposition(|word| word.starts_with(&in_one_word)) {
        argv[at] = in_one_word + &value;
    } else if let Some(at) = argv
        .iter()
        .rposition(|word| word == FRACTION)
        .filter(|at| at + 1 < argv.len())
    {
        argv[at + 1] = value;
    } else {
        argv.extend([FRACTION.to_owned(), value]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_that_counts_is_set() {
        let set = |words: &[&str]| {
            let mut argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            set_fraction(&mut argv, 0.87);
            argv.join(" ")
        };
        assert_eq!(
            set(&["python3", "--tp", "8"]),
            "python3 --tp 8 --mem-fraction-static 0.87"
        );
        assert_eq!(
            set(&["--mem-fraction-static", "0.9", "--tp", "8"]),
            "--mem-fraction-static 0.87 --tp 8"
        );
        assert_eq!(
            set(&["--mem-fraction-static", "0.9", "--mem-fraction-static=0.8"]),
            "--mem-fraction-static 0.9 --mem-fraction-static=0.87"
        );
    }
}
