//! The steps of a plan that have nothing to do, because their result is on the host already.

use crate::facts::Facts;
use crate::plan::{Plan, Step};
use crate::rehearsal;

/// Returns the numbers, from 1, of the steps whose result is on the host already, as far as the facts say so.
#[must_use]
pub fn done(plan: &Plan, facts: &Facts) -> Vec<usize> {
    let steps = plan.steps.iter().enumerate();
    steps
        .filter(|(_, step)| is_done(step, facts))
        .map(|(index, _)| index + 1)
        .collect()
}

fn is_done(step: &Step, facts: &Facts) -> bool {
    match step {
        Step::CreateVenv(step) => facts.paths.ready_venvs.contains(&step.dir),
        Step::BuildImage(step) => facts.docker.images.contains_key(&step.tag),
        // A branch may have moved at the hub, and the commit of the rehearsal's model is known before it exists.
        Step::PullSnapshot(step) => {
            let is_commit = step.revision.len() == 40 && step.revision.chars().all(|c| c.is_ascii_hexdigit());
            is_commit
                && step.repo != rehearsal::REPO
                && facts.cached_commit(&step.repo, &step.revision).is_some()
        }
        _ => false,
    }
}
