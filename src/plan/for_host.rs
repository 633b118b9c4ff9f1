//! A profile for the GPUs of a host: precision, ranks, stack and share of memory, each with its reason.
//!
//! It extends the built-in profile for these GPUs and this goal, whose settings are published ones. Where they do not fit into
//! the memory, requests, graphs and chunks are made smaller until the memory plan says that they do.

use std::fmt::Write;

use crate::doctor::blockers::platform;
use crate::doctor::refusal;
use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, Gpu};
use crate::profile::{
    Architecture, Catalog, Chunk, Count, Fraction, Goal, Origins, Precision, Profile, Selection, Stack,
    UserFile, UserFiles,
};
use crate::sglang::memory::{self, MemoryPlan};
use crate::sglang::{Launch, Level};
use crate::units::counted;

/// Most ranks of a server on one host: hosts of 8 GPUs are the largest that the profiles were made for.
const MOST_RANKS: u32 = 8;
/// The stacks for GPUs of any family, the newest first.
const STACKS: [&str; 2] = ["current", "cuda12"];
/// Limits of requests at once with a CUDA graph, and of the tokens in a prefill chunk, from large to small.
const LIMITS: [(u32, u32); 6] = [
    (256, 16_384),
    (128, 8192),
    (64, 8192),
    (32, 4096),
    (16, 2048),
    (8, 1024),
];

/// The wishes of the user.
#[derive(Debug, Clone, Copy)]
pub struct Wishes<'a> {
    /// Name of the new profile.
    pub name: &'a str,
    /// Goal of the profile.
    pub goal: Goal,
    /// Stack to run on; `None` for the newest one that fits.
    pub stack: Option<&'a str>,
}

/// Returns the text of a profile for the GPUs in `facts`, with its reasons as comments. `files` are the user's own.
///
/// # Errors
/// [`Kind::Host`] with the reasons if nothing can run there, and [`Kind::Usage`] for an unknown stack or a name that is taken.
pub fn profile_for_host(files: &UserFiles, wishes: Wishes<'_>, facts: &Facts) -> Result<String> {
    let catalog = Catalog::with(files)?;
    if let Some(origin) = catalog.origin_of(wishes.name) {
        return Err(
            Error::new(Kind::Usage, format!("the name `{}` is taken", wishes.name))
                .cause(format!("{origin} has this name"))
                .hint("give the profile another name, or remove that file"),
        );
    }
    let (gpus, family) = gpus(facts)?;
    let (stack, why_stack) = stack(&catalog, wishes.stack, gpus, facts)?;
    let ranks = ranks(gpus.len());
    let precisions: &[Precision] = match family {
        Architecture::Blackwell => &[Precision::Fp4, Precision::Fp8],
        Architecture::Hopper => &[Precision::Fp8],
    };
    let mut reasons = Vec::new();
    for precision in precisions {
        let Some(base) = base(&catalog, wishes.goal, *precision, family, ranks, &stack)? else {
            reasons.push(format!(
                "{}: no profile of this goal is for {} and stack {}",
                precision.name(),
                family.name(),
                stack.name
            ));
            continue;
        };
        let written = fitted(&base, ranks, facts).and_then(|fit| {
            let text = write(wishes.name, &base, &fit, gpus, &why_stack);
            proven(files, wishes.name, &text, facts).map(|()| text)
        });
        match written {
            Ok(text) => return Ok(text),
            Err(reason) => reasons.push(format!("{}: {reason}", precision.name())),
        }
    }
    let error = Error::new(
        Kind::Host,
        format!("DeepSeek-R1 cannot run on {}", described(gpus)),
    );
    let error = reasons.into_iter().fold(error, Error::cause);
    Err(error.hint("use a host whose GPUs have more memory together: a server of dsr1 runs on one host"))
}

/// Returns the host's GPUs and their family.
fn gpus(facts: &Facts) -> Result<(&[Gpu], Architecture)> {
    let cannot = |text: &str| Error::new(Kind::Host, text);
    let Some(gpus) = facts.host.gpus.as_deref() else {
        return Err(cannot("the GPUs of this host are not known")
            .hint("nvidia-smi must work here; or describe another host with --facts FILE"));
    };
    if gpus.is_empty() {
        return Err(cannot("this host has no GPU that nvidia-smi knows")
            .hint("without GPUs only `rehearsal` runs: dsr1 up rehearsal"));
    }
    let mut families = Vec::new();
    for gpu in gpus {
        match Architecture::of(&gpu.name, &gpu.compute_capability) {
            Ok(family) => families.push(family),
            Err(reason) => {
                return Err(cannot("DeepSeek-R1 cannot run on the GPUs of this host")
                    .cause(reason)
                    .hint("use a host with Hopper or Blackwell GPUs of a server"));
            }
        }
    }
    match families.as_slice() {
        [first, rest @ ..] if rest.iter().all(|family| family == first) => Ok((gpus, *first)),
        _ => Err(
            cannot("the GPUs of this host are of two families, and one server cannot use both")
                .hint("use a host whose GPUs are of one family"),
        ),
    }
}

/// Returns the number of ranks: the largest power of two, because the attention heads are divided over them.
fn ranks(gpus: usize) -> u32 {
    let count = u32::try_from(gpus).unwrap_or(MOST_RANKS).clamp(1, MOST_RANKS);
    1 << count.ilog2()
}

/// Returns the stack, and the reason for it.
fn stack(catalog: &Catalog, asked: Option<&str>, gpus: &[Gpu], facts: &Facts) -> Result<(Stack, String)> {
    let names: Vec<&str> = asked.map_or_else(|| STACKS.to_vec(), |name| vec![name]);
    let mut causes = Vec::new();
    for name in names {
        let stack = catalog.stack(name)?;
        match stack_fits(stack, gpus, facts) {
            Ok(reason) => return Ok((stack.clone(), reason)),
            Err(reason) => causes.push(format!("{name}: {reason}")),
        }
    }
    let error = causes
        .into_iter()
        .fold(Error::new(Kind::Host, "no stack runs on this host"), Error::cause);
    Err(error.hint("dsr1 stacks list shows what each needs; a newer NVIDIA driver runs all of them"))
}

fn stack_fits(stack: &Stack, gpus: &[Gpu], facts: &Facts) -> std::result::Result<String, String> {
    let Some(min) = stack.driver_min else {
        return Err("it is for a CPU".to_owned());
    };
    if let Some((reason, _)) = refusal(stack, gpus) {
        return Err(reason);
    }
    platform(stack, facts).map_err(|error| error.message())?;
    match (facts.host.driver_major(), &facts.host.driver) {
        (Some(major), Some(driver)) if major < min => {
            Err(format!("driver {driver}, {min} or newer is needed"))
        }
        (Some(_), Some(driver)) => Ok(format!("driver {driver} is new enough for it ({min})")),
        _ => Ok(format!("the driver is not known; it must be {min} or newer")),
    }
}

/// Returns the built-in profile to extend: for the same goal, precision and family, best for as many GPUs.
fn base(
    catalog: &Catalog,
    goal: Goal,
    precision: Precision,
    family: Architecture,
    ranks: u32,
    stack: &Stack,
) -> Result<Option<Selection>> {
    let mut found: Vec<Profile> = catalog
        .profiles()?
        .into_iter()
        .filter(|profile| {
            // Those of the guide are for its image alone.
            STACKS.contains(&profile.stack.as_str())
                && profile.topology.is_none()
                && profile.goal == goal
                && profile.precision == precision
                && profile.architectures == [family]
        })
        .collect();
    found.sort_by_key(|profile| profile.gpus != ranks);
    let first = found.first().map(|profile| profile.name.as_str());
    first
        .map(|name| catalog.resolve(name, Some(&stack.name)))
        .transpose()
}

/// Settings that fit into the memory.
struct Fit {
    profile: Profile,
    plan: MemoryPlan,
}

/// Returns the settings of `base` for `ranks` GPUs, made smaller as far as the memory asks for it; otherwise the reason why
/// nothing fits.
fn fitted(base: &Selection, ranks: u32, facts: &Facts) -> std::result::Result<Fit, String> {
    let mut profile = base.profile.clone();
    let count = Count::new(ranks);
    profile.gpus = ranks;
    let engine = &mut profile.engine;
    engine.tensor_parallel = count;
    for of_ranks in [&mut engine.expert_parallel, &mut engine.attention_data_parallel] {
        *of_ranks = of_ranks.as_ref().and(count);
    }
    let plan_of = |profile: &Profile| {
        let launch = Launch::new(profile, &base.stack, &base.origins, &[]);
        memory::plan(profile, &base.stack, &launch.settings, facts)
            .ok_or_else(|| "there is no memory plan for this model".to_owned())
    };
    let published = plan_of(&profile)?;
    if published.window.0 >= 1.0 {
        return Err(format!(
            "the weights take {} on each of {}, of which {} are usable",
            memory::gib(published.weights_bytes),
            counted(ranks as usize, "GPU"),
            memory::gib(published.usable_bytes)
        ));
    }
    if is_fine(&published) {
        return Ok(with_benchmark(profile, published));
    }
    let smaller: Vec<Profile> = std::iter::once(profile.clone())
        .chain(LIMITS.map(|limits| limited(&profile, limits)))
        .collect();
    // First what is safe; where that is nothing, what is likely to run.
    for end in [
        |plan: &MemoryPlan| plan.window.1,
        |plan: &MemoryPlan| plan.likely_end,
    ] {
        let mut best: Option<(u64, Profile, MemoryPlan)> = None;
        for candidate in &smaller {
            let plan = plan_of(candidate)?;
            let share = (end(&plan) * 1000.0).floor() / 1000.0;
            let mut named = candidate.clone();
            named.engine.mem_fraction = Fraction::new(share);
            if share < plan.window.0 || named.engine.mem_fraction.is_none() {
                continue;
            }
            let plan = plan_of(&named)?;
            let running = named.engine.max_running_requests.map_or(u32::MAX, Count::get);
            let at_once = plan.requests_fit.min(u64::from(running));
            // Among equals the larger chunk is faster.
            if is_fine(&plan) && best.as_ref().is_none_or(|(most, ..)| at_once > *most) {
                best = Some((at_once, named, plan));
            }
        }
        if let Some((_, profile, plan)) = best {
            return Ok(with_benchmark(profile, plan));
        }
    }
    let least = smaller.last().map_or(Ok(published), plan_of)?;
    Err(format!(
        "the weights take {} of the {} that are usable on each of {}, and activations, graphs and request tables need about {} more",
        memory::gib(least.weights_bytes),
        memory::gib(least.usable_bytes),
        counted(ranks as usize, "GPU"),
        memory::gib(least.need_bytes)
    ))
}

/// Returns true if the memory plan has no warning for a single request.
fn is_fine(plan: &MemoryPlan) -> bool {
    plan.requests_fit > 0
        && memory::check(plan, 1)
            .iter()
            .all(|check| check.level == Level::Note)
}

fn limited(profile: &Profile, (requests, tokens): (u32, u32)) -> Profile {
    let mut profile = profile.clone();
    let engine = &mut profile.engine;
    let least = |value: Option<Count>, most: u32| {
        let count = value.map_or(most, Count::get).min(most);
        Count::new(count)
    };
    engine.graph_batch = least(engine.graph_batch, requests);
    engine.max_running_requests = least(engine.max_running_requests, requests);
    engine.max_prefill_tokens = least(engine.max_prefill_tokens, tokens);
    let chunk = match engine.chunked_prefill_size {
        Some(Chunk::Tokens(tokens)) => Some(tokens),
        Some(Chunk::Whole) | None => None,
    };
    engine.chunked_prefill_size = least(chunk, tokens).map(Chunk::Tokens);
    profile
}

/// Limits the benchmark to the requests that fit.
fn with_benchmark(mut profile: Profile, plan: MemoryPlan) -> Fit {
    let fit = u32::try_from(plan.requests_fit).unwrap_or(u32::MAX);
    let running = profile.engine.max_running_requests.map_or(u32::MAX, Count::get);
    let most = profile.bench.max_concurrency.get().min(fit).min(running);
    profile.bench.max_concurrency = Count::new(most).unwrap_or(profile.bench.max_concurrency);
    Fit { profile, plan }
}

/// Returns the number and names of GPUs.
fn described(gpus: &[Gpu]) -> String {
    let name = gpus.first().map_or("GPU", |gpu| gpu.name.as_str());
    let least = gpus.iter().map(|gpu| gpu.memory_bytes).min().unwrap_or(0);
    let text = format!("{} x {name} of {}", gpus.len(), memory::gib(least));
    // The name is from a file of facts.
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Writes the file: what differs from `base`, each line with its reason.
fn write(name: &str, base: &Selection, fit: &Fit, gpus: &[Gpu], why_stack: &str) -> String {
    let Fit { profile, plan } = fit;
    let host = described(gpus);
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let ranks = profile.gpus;
    let from = &base.profile;
    let mut text = format!(
        "# For {host}, made by dsr1 profiles new --for-host.\n\
         # The memory plan of each GPU: {} of weights, a KV pool of {} tokens for {} of {} tokens. mem_fraction works\n\
         # from {:.3} to {:.3}; dsr1 plan shows the rest. Run it: dsr1 up --profile-file FILE\n\
         name: {name}\n\
         extends: {}   # published settings: {}\n\
         title: {}\n\
         source: {}\n\
         stack: {}   # {why_stack}\n\
         gpus: {ranks}   # {}\n",
        memory::gib(plan.weights_bytes),
        plan.pool_tokens,
        counted(
            usize::try_from(plan.requests_fit).unwrap_or(usize::MAX),
            "request"
        ),
        plan.request_tokens,
        plan.window.0,
        plan.window.1.max(plan.fraction),
        from.name,
        from.title,
        quoted(&format!("{} on {host}", profile.precision.name().to_uppercase())),
        quoted(&format!("dsr1 profiles new --for-host, from {}", from.name)),
        base.stack.name,
        if ranks as usize == gpus.len() {
            "all of them".to_owned()
        } else {
            format!(
                "the largest power of two in {}: attention heads are divided over them",
                gpus.len()
            )
        },
    );
    let precision = match profile.precision {
        Precision::Fp4 => "NVFP4, which Blackwell computes: half the memory of FP8",
        Precision::Fp8 if profile.architectures == [Architecture::Blackwell] => "NVFP4 does not run here",
        _ => "FP8: Hopper does not compute NVFP4",
    };
    let _ = write!(
        text,
        "precision: {}   # {precision}\nengine:\n",
        profile.precision.name()
    );
    text += &engine(from, profile, plan);
    if profile.bench.max_concurrency != from.bench.max_concurrency {
        let _ = write!(
            text,
            "bench:\n  max_concurrency: {}   # as many requests fit at once\n",
            profile.bench.max_concurrency
        );
    }
    text
}

/// Returns the lines of the settings that differ.
fn engine(from: &Profile, profile: &Profile, plan: &MemoryPlan) -> String {
    let (old, new) = (&from.engine, &profile.engine);
    let mut text = String::new();
    let mut add = |key: &str, is_new: bool, value: String, why: &str| {
        if is_new {
            let _ = writeln!(text, "  {key}: {value}   # {why}");
        }
    };
    let said = |value: Option<Count>| value.map_or_else(|| "null".to_owned(), |value| value.to_string());
    add(
        "tensor_parallel",
        true,
        said(new.tensor_parallel),
        "every layer is split over all GPUs",
    );
    for (key, old, new, why) in [
        (
            "expert_parallel",
            old.expert_parallel,
            new.expert_parallel,
            "whole experts on each GPU",
        ),
        (
            "attention_data_parallel",
            old.attention_data_parallel,
            new.attention_data_parallel,
            "a replica of attention on each GPU",
        ),
        (
            "graph_batch",
            old.graph_batch,
            new.graph_batch,
            "fewer CUDA graphs: they take memory",
        ),
        (
            "max_running_requests",
            old.max_running_requests,
            new.max_running_requests,
            "fewer requests at once: their tables take memory",
        ),
        (
            "max_prefill_tokens",
            old.max_prefill_tokens,
            new.max_prefill_tokens,
            "as the chunk",
        ),
    ] {
        add(key, old != new, said(new), why);
    }
    if let Some(chunk) = new.chunked_prefill_size {
        add(
            "chunked_prefill_size",
            old.chunked_prefill_size != new.chunked_prefill_size,
            chunk.to_string(),
            "smaller activations",
        );
    }
    if let Some(fraction) = new.mem_fraction {
        let why = if plan.fraction > plan.window.1 {
            format!(
                "an estimate: {} are left for activations and graphs, which need about {}",
                memory::gib(plan.slack_bytes),
                memory::gib(plan.need_bytes)
            )
        } else {
            format!(
                "safe: {} are left for activations and graphs",
                memory::gib(plan.slack_bytes)
            )
        };
        add(
            "mem_fraction",
            old.mem_fraction != new.mem_fraction,
            fraction.to_string(),
            &why,
        );
    }
    text
}

/// Reads the text as a user's file, and checks that nothing refuses it on this host.
fn proven(files: &UserFiles, name: &str, text: &str, facts: &Facts) -> std::result::Result<(), String> {
    let files = UserFiles {
        named: Some(UserFile {
            origin: format!("{name}.yaml"),
            text: text.to_owned(),
        }),
        ..files.clone()
    };
    let read = Catalog::with(&files).and_then(|catalog| catalog.resolve(name, None));
    let found = read.map_err(|error| error.message())?;
    let launch = Launch::new(&found.profile, &found.stack, &Origins::default(), &[]);
    if let Some(check) = launch.checks.iter().find(|check| check.level == Level::Error) {
        return Err(check.text.clone());
    }
    match memory::plan(&found.profile, &found.stack, &launch.settings, facts) {
        Some(plan) if is_fine(&plan) => Ok(()),
        _ => Err("the settings do not fit into the memory".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::KNOWN_GPUS;

    /// A host with GPUs, as nvidia-smi prints them.
    fn host(count: u32, name: &str, memory_mib: u64, capability: &str) -> Facts {
        let mut facts = Facts::default();
        let gpu = |index| Gpu {
            mig: None,
            health: None,
            index,
            name: name.to_owned(),
            memory_bytes: memory_mib << 20,
            memory_used_bytes: None,
            compute_capability: capability.to_owned(),
        };
        facts.host.gpus = Some((0..count).map(gpu).collect());
        facts.host.driver = Some("580.95.05".to_owned());
        facts
    }

    fn known(count: u32, name: &str) -> Facts {
        let gpu = KNOWN_GPUS.iter().find(|gpu| gpu.name == name).unwrap();
        host(count, gpu.name, gpu.memory_mib, gpu.capability)
    }

    fn made(facts: &Facts, goal: Goal, stack: Option<&str>) -> Result<String> {
        let wishes = Wishes {
            name: "mine",
            goal,
            stack,
        };
        profile_for_host(&UserFiles::default(), wishes, facts)
    }

    fn error(facts: &Facts, stack: Option<&str>) -> String {
        let error = made(facts, Goal::LowLatency, stack).unwrap_err();
        assert_eq!(error.kind(), Kind::Host);
        format!("{}; {}", error.message(), error.causes().join("; "))
    }

    #[test]
    fn each_host_gets_a_profile_that_its_memory_holds() {
        for (count, name, tp, precision) in [
            (8, "NVIDIA H200", 8, Precision::Fp8),
            (8, "NVIDIA H20-3e", 8, Precision::Fp8),
            (8, "NVIDIA H20", 8, Precision::Fp8),
            (8, "NVIDIA H100 NVL", 8, Precision::Fp8),
            (8, "NVIDIA B200", 8, Precision::Fp4),
            (6, "NVIDIA B200", 4, Precision::Fp4),
            (4, "NVIDIA GB200", 4, Precision::Fp4),
            (4, "NVIDIA GB300", 4, Precision::Fp4),
            (2, "NVIDIA B300 SXM6 AC", 2, Precision::Fp4),
        ] {
            for goal in [Goal::LowLatency, Goal::HighThroughput] {
                let facts = known(count, name);
                let text = made(&facts, goal, None).unwrap();
                let catalog = Catalog::load(Some(("mine.yaml", &text))).unwrap();
                let found = catalog.resolve("mine", None).unwrap();
                let profile = &found.profile;
                assert_eq!((profile.gpus, profile.goal), (tp, goal), "{text}");
                assert_eq!(profile.precision, precision, "{text}");
                assert_eq!(profile.engine.tensor_parallel, Count::new(tp), "{text}");
                let launch = Launch::new(profile, &found.stack, &found.origins, &[]);
                let plan = memory::plan(profile, &found.stack, &launch.settings, &facts).unwrap();
                let checks = memory::check(&plan, profile.bench.max_concurrency.get());
                assert!(
                    checks.iter().all(|check| check.level == Level::Note),
                    "{name}: {checks:?}\n{text}"
                );
            }
        }
    }

    #[test]
    fn the_reasons_are_comments() {
        let text = made(&known(8, "NVIDIA H20"), Goal::HighThroughput, None).unwrap();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_host_that_cannot_run_it_gets_the_reasons() {
        for (facts, stack, reason) in [
            (
                known(8, "NVIDIA H100 80GB HBM3"),
                None,
                "the weights take 79.6 GiB",
            ),
            (known(8, "NVIDIA H800"), None, "of which 76.5 GiB are usable"),
            (known(2, "NVIDIA B200"), None, "fp4: the weights take 181.9 GiB"),
            (known(4, "NVIDIA H200"), None, "on each of 4 GPUs"),
            (
                host(8, "AMD Instinct MI300X", 196_592, "9.4"),
                None,
                "for NVIDIA GPUs",
            ),
            (
                host(8, "NVIDIA GeForce RTX 5090", 32_607, "12.0"),
                None,
                "lacks the kernels",
            ),
            (host(0, "", 0, ""), None, "no GPU"),
            (Facts::default(), None, "are not known"),
            (known(8, "NVIDIA H200"), Some("guide"), "is for Blackwell"),
            (known(8, "NVIDIA B300 SXM6 AC"), Some("guide"), "needs CUDA 12.9"),
            (known(8, "NVIDIA H200"), Some("cpu"), "it is for a CPU"),
        ] {
            let text = error(&facts, stack);
            assert!(text.contains(reason), "{text}");
        }
        let mut mixed = known(8, "NVIDIA H200");
        let b200 = known(1, "NVIDIA B200").host.gpus.unwrap_or_default();
        mixed.host.gpus.as_mut().unwrap().extend(b200);
        assert!(error(&mixed, None).contains("two families"));
        let mut old = known(8, "NVIDIA H200");
        old.host.driver = Some("550.54".to_owned());
        assert!(error(&old, None).contains("cuda12: driver 550.54, 575 or newer is needed"));
    }

    #[test]
    fn the_newest_stack_that_the_driver_runs_is_chosen() {
        let mut facts = known(8, "NVIDIA H200");
        facts.host.driver = Some("575.57".to_owned());
        let text = made(&facts, Goal::LowLatency, None).unwrap();
        assert!(text.contains("\nstack: cuda12   # driver 575.57"), "{text}");
        facts.host.driver = None;
        let text = made(&facts, Goal::LowLatency, None).unwrap();
        assert!(
            text.contains("\nstack: current   # the driver is not known"),
            "{text}"
        );
        let unknown = made(&facts, Goal::LowLatency, Some("curent")).unwrap_err();
        assert_eq!(unknown.hints(), ["did you mean `current`?"]);
    }

    #[test]
    fn a_name_from_a_file_of_facts_stays_in_its_comment() {
        let facts = host(8, "NVIDIA H200\nengine: {}\u{1b}[2J", 143_771, "9.0");
        let text = made(&facts, Goal::LowLatency, None).unwrap();
        assert!(
            !text.contains('\u{1b}') && !text.contains("\nengine: {}"),
            "{text}"
        );
    }
}
