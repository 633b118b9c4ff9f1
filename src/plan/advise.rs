//! Advice on profiles: ranks every profile for a load by its hardware, its goal and its KV pool.
//!
//! The ranking uses rules of thumb with their sources, no measurements. Every advice states its reasons; only `bench`
//! measures.

use serde::Serialize;

use crate::doctor::{blockers, names, refusal};
use crate::error::Result;
use crate::facts::{Facts, Gpu};
use crate::profile::{Architecture, Catalog, Count, Goal, Profile, Selection, Stack};
use crate::sglang::memory::{self, MemoryPlan};
use crate::sglang::{Launch, Level};

/// Largest number of requests for which latency matters most: the cookbook's "low latency" is 4 to 8.
const FEW: u32 = 8;
/// Number of requests above which attention replicas are faster (sgl-project/sglang#3658: "for batch >128").
const MANY: u32 = 128;

/// A load on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Prompt length in tokens.
    pub input_len: u32,
    /// Answer length in tokens.
    pub output_len: u32,
    /// Requests in flight.
    pub concurrency: u32,
    /// Goal of the load; derived from the concurrency if the user names none.
    pub goal: Goal,
}

impl Load {
    /// Returns a load; without a goal, the concurrency decides it.
    #[must_use]
    pub fn new(input_len: u32, output_len: u32, concurrency: u32, goal: Option<Goal>) -> Self {
        let by_load = if concurrency <= FEW {
            Goal::LowLatency
        } else {
            Goal::HighThroughput
        };
        Self {
            input_len,
            output_len,
            concurrency,
            goal: goal.unwrap_or(by_load),
        }
    }
}

/// The rating of one profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// The profile.
    pub profile: String,
    /// The stack that it was rated on.
    pub stack: String,
    /// True if the profile can serve the load on this hardware.
    pub fits: bool,
    /// True if it serves the load only with fewer requests at once, or with changed settings.
    pub limited: bool,
    /// Requests of this load that fit into the KV pool at once; `None` if the memory is not known, or the GPUs are others.
    pub requests_fit: Option<u64>,
    /// Reasons for the rank.
    pub reasons: Vec<String>,
    /// Settings to change for this load, as `key: value`.
    pub settings: Vec<String>,
    /// Sort key: a lower rank is better.
    #[serde(skip)]
    rank: (bool, bool, u8, std::cmp::Reverse<u32>),
}

/// Rates every selection for a load on the GPUs of `facts`, the best first.
#[must_use]
pub fn advise(selections: Vec<Selection>, load: Load, facts: &Facts) -> Vec<Advice> {
    let mut found: Vec<Advice> = selections
        .into_iter()
        .filter(|selection| selection.profile.goal != Goal::Rehearsal)
        .map(|selection| rate_profile(selection, load, facts))
        .collect();
    // The sort is stable: among equals the order of the catalog holds, in which the guide's profiles are first.
    found.sort_by_key(|advice| advice.rank);
    found
}

fn rate_profile(selection: Selection, load: Load, facts: &Facts) -> Advice {
    let Selection {
        mut profile,
        stack,
        origins,
        ..
    } = selection;
    let mut reasons = Vec::new();
    let mut settings = Vec::new();
    let has_gpus = hardware_fits(&profile.architectures, profile.gpus, &stack, facts, &mut reasons);
    let mut fits = has_gpus;
    if fits && let Some(reason) = stack_reason(&profile, &stack, facts) {
        fits = false;
        reasons.push(reason);
    }
    let launch = Launch::new(&profile, &stack, &origins, &[]);
    if let Some(error) = launch.checks.iter().find(|check| check.level == Level::Error) {
        fits = false;
        reasons.push(format!("refused on stack {}: {}", stack.name, error.text));
    }
    let (mut penalty, mut limited) = (0, false);
    if profile.goal == load.goal {
        reasons.push(format!("made for {}", load.goal.name()));
    } else {
        penalty += 2;
        reasons.push(format!(
            "made for {}, not {}",
            profile.goal.name(),
            load.goal.name()
        ));
    }
    let replicas = profile.engine.attention_data_parallel.map_or(1, Count::get);
    if replicas > 1 && load.concurrency <= MANY {
        penalty += 3;
        reasons.push(format!("attention replicas slow loads of up to {MANY} requests"));
    } else if replicas == 1 && load.concurrency > MANY {
        penalty += 3;
        reasons.push(format!("no attention replicas, which help above {MANY} requests"));
    }
    if let Some(most) = profile
        .engine
        .max_running_requests
        .filter(|most| most.get() < load.concurrency)
    {
        penalty += 1;
        limited = true;
        settings.push(format!("max_running_requests: {}", load.concurrency));
        reasons.push(format!(
            "limited to {most} requests at once, the load has {}",
            load.concurrency
        ));
    }
    let per_replica = load.concurrency.div_ceil(replicas);
    if profile
        .engine
        .graph_batch
        .is_some_and(|batch| batch.get() < per_replica)
    {
        settings.push(format!("graph_batch: {per_replica}"));
    }
    let lengths = (Count::new(load.input_len), Count::new(load.output_len));
    if let (Some(input), Some(output)) = lengths {
        profile.bench.input_len = input;
        profile.bench.output_len = output;
    }
    let name = profile.name.clone();
    let (gpus, stack_name) = (profile.gpus, stack.name.clone());
    // On other GPUs than it needs, the pool of a profile means nothing.
    let memory = memory::plan(&profile, &stack, &launch.settings, facts).filter(|_| has_gpus);
    let requests_fit = memory.as_ref().map(|plan| plan.requests_fit);
    if let Some(plan) = &memory {
        let of_pool = rate_kv_pool(plan, load, &mut fits, &mut reasons);
        penalty += of_pool;
        limited |= of_pool > 0;
    }
    Advice {
        profile: name,
        stack: stack_name,
        fits,
        limited: fits && limited,
        requests_fit,
        reasons,
        settings,
        rank: (!fits, !has_gpus, penalty, std::cmp::Reverse(gpus)),
    }
}

/// Returns whether the host has the GPUs, and the stack kernels for them. A host with unknown GPUs fits every profile.
fn hardware_fits(
    wanted: &[Architecture],
    count: u32,
    stack: &Stack,
    facts: &Facts,
    reasons: &mut Vec<String>,
) -> bool {
    let Some(gpus) = facts.host.gpus.as_deref().filter(|gpus| !gpus.is_empty()) else {
        return true;
    };
    let of = |gpu: &Gpu| Architecture::of(&gpu.name, &gpu.compute_capability);
    if let Some(reason) = gpus.iter().find_map(|gpu| of(gpu).err()) {
        reasons.push(reason);
        return false;
    }
    if gpus
        .iter()
        .any(|gpu| of(gpu).is_ok_and(|have| !wanted.contains(&have)))
    {
        reasons.push(format!("needs {}", names(wanted)));
        return false;
    }
    if let Some((reason, _)) = refusal(stack, gpus) {
        reasons.push(reason);
        return false;
    }
    if let Err(error) = blockers::platform(stack, facts) {
        reasons.push(error.message());
        return false;
    }
    if gpus.len() < count as usize {
        reasons.push(format!("needs {count} GPUs, the host has {}", gpus.len()));
        return false;
    }
    true
}

/// Returns the reason why the stack cannot run on the GPUs: their kind, MIG or the driver.
fn stack_reason(profile: &Profile, stack: &Stack, facts: &Facts) -> Option<String> {
    if facts.host.gpus.as_deref().is_some_and(<[_]>::is_empty) {
        return None;
    }
    blockers::hardware(profile, stack, facts).map(|blocker| blocker.cause)
}

/// Returns the selection on a stack of its profile that runs on the GPUs of `facts`: its own, or else the newest of the others;
/// its own if none does.
///
/// # Errors
/// [`crate::error::Kind::Usage`] if the profile does not resolve on one of its stacks.
pub fn on_a_stack_that_runs(catalog: &Catalog, own: Selection, facts: &Facts) -> Result<Selection> {
    if stack_runs(&own, facts) {
        return Ok(own);
    }
    let name = &own.profile.name;
    let others: Result<Vec<Selection>> = own
        .profile
        .on
        .keys()
        .map(|stack| catalog.resolve(name, Some(stack)))
        .collect();
    let mut others = others?;
    others.sort_by_key(|other| std::cmp::Reverse(other.stack.pins.sglang));
    let other = others.into_iter().find(|other| stack_runs(other, facts));
    Ok(other.unwrap_or(own))
}

/// Returns true if the stack of a selection runs on the GPUs of `facts`, as far as they are known.
fn stack_runs(selection: &Selection, facts: &Facts) -> bool {
    stack_reason(&selection.profile, &selection.stack, facts).is_none()
}

/// Compares the KV pool with the load, and returns the penalty.
fn rate_kv_pool(plan: &MemoryPlan, load: Load, fits: &mut bool, reasons: &mut Vec<String>) -> u8 {
    if plan.window.0 >= 1.0 || plan.fraction < plan.window.0 {
        *fits = false;
        reasons.push("the weights leave no KV pool".to_owned());
        return 0;
    }
    reasons.push(format!(
        "{} such requests fit into the KV pool at once",
        plan.requests_fit
    ));
    if plan.requests_fit < u64::from(load.concurrency) {
        2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;

    const B200: &str = include_str!("../../tests/fixtures/facts-b200.json");

    fn best(facts: &str, load: Load) -> Advice {
        let catalog = Catalog::load(None).unwrap();
        let facts: Facts = serde_json::from_str(facts).unwrap();
        let names: Vec<String> = catalog
            .profiles()
            .unwrap()
            .iter()
            .map(|one| one.name.clone())
            .collect();
        let selections = names
            .iter()
            .map(|name| catalog.resolve(name, None).unwrap())
            .collect();
        advise(selections, load, &facts).remove(0)
    }

    #[test]
    fn the_load_decides() {
        let newer = B200.replace("575.57.08", "580.65.06");
        let few = best(&newer, Load::new(1024, 1024, 4, None));
        assert!(few.profile.ends_with("low-latency"), "{few:?}");
        let many = best(&newer, Load::new(1024, 1024, 3072, None));
        assert_eq!(many.profile, "fp8-high-throughput", "{many:?}");
        assert!(many.requests_fit.unwrap() >= 3072);
        let middle = best(&newer, Load::new(1024, 1024, 64, None));
        assert!(
            middle.profile.ends_with("high-throughput") && middle.profile != "fp8-high-throughput",
            "{middle:?}"
        );
    }

    #[test]
    fn a_stack_whose_image_is_not_for_the_gpus_is_no_advice() {
        let b300 = B200
            .replace("\"10.0\"", "\"10.3\"")
            .replace("NVIDIA B200", "NVIDIA B300");
        let newer = b300.replace("575.57.08", "580.65.06");
        assert_eq!(best(&newer, Load::new(1024, 1024, 3072, None)).stack, "current");
        let old = best(&b300, Load::new(1024, 1024, 3072, None));
        assert!(!old.fits, "{old:?}");
        let sliced = best(
            &newer.replace("NVIDIA B300", "NVIDIA B300 MIG 1g.34gb"),
            Load::new(1, 1, 1, None),
        );
        assert!(
            !sliced.fits && sliced.reasons.iter().any(|reason| reason.contains("MIG")),
            "{sliced:?}"
        );
    }

    #[test]
    fn the_hardware_decides_before_the_load() {
        let hopper = B200
            .replace("\"10.0\"", "\"9.0\"")
            .replace("NVIDIA B200", "NVIDIA H200")
            .replace("575.57.08", "580.65.06");
        assert!(
            best(&hopper, Load::new(1024, 1024, 3072, None))
                .profile
                .starts_with("h200-")
        );
        // With an old driver only the guide's stack fits.
        assert_eq!(best(B200, Load::new(1024, 1024, 4, None)).stack, "guide");
    }
}
