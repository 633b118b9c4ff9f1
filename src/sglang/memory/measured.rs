//! The plan beside what the engine measured on H200s: `tests/fixtures/memory`, 60 runs of SGLang 0.5.16 on one, two and four
//! GPUs, of three models whose configurations and tensors are in `tests/fixtures/models`.
#![cfg(test)]
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "the errors are printed, and figures of a GPU are exact in an f64"
)]

use std::collections::BTreeMap;

use serde_json::Value;

use super::{MemoryPlan, budget};
use crate::facts::ModelFacts;
use crate::profile::{Architecture, Version};
use crate::sglang::EffectiveSettings;
use crate::sglang::checkpoint;
use crate::sglang::flags::{Parser, history};
use crate::sglang::memory::reserve;
use crate::sglang::resolve::{Checkpoint, Machine};

const RUNS: [&str; 3] = [
    include_str!("../../../tests/fixtures/memory/h200-sglang-0.5.16.json"),
    include_str!("../../../tests/fixtures/memory/h200-x2-sglang-0.5.16.json"),
    include_str!("../../../tests/fixtures/memory/h200-x4-sglang-0.5.16.json"),
];
const GIB: f64 = (1_u64 << 30) as f64;

/// Returns the names that a name with ranges such as `{0-255}` stands for.
fn expanded(name: &str) -> Vec<String> {
    let Some((head, rest)) = name.split_once('{') else {
        return vec![name.to_owned()];
    };
    let (range, tail) = rest.split_once('}').unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
    (first..=last)
        .flat_map(|number| expanded(&format!("{head}{number}{tail}")))
        .collect()
}

fn model(name: &str) -> ModelFacts {
    let text = match name {
        "r12" => include_str!("../../../tests/fixtures/models/r12.json"),
        "odd" => include_str!("../../../tests/fixtures/models/odd.json"),
        _ => include_str!("../../../tests/fixtures/models/dense.json"),
    };
    let model: Value = serde_json::from_str(text).unwrap();
    let mut tensors = Vec::new();
    for tensor in model["tensors"].as_array().unwrap() {
        let element = match tensor[1].as_str().unwrap() {
            "F8_E4M3" => 1,
            "F32" => 4,
            _ => 2,
        };
        let shape = tensor[2].as_array().unwrap();
        let bytes = shape
            .iter()
            .fold(element, |bytes, side| bytes * side.as_u64().unwrap());
        for name in expanded(tensor[0].as_str().unwrap()) {
            tensors.push((name, bytes));
        }
    }
    checkpoint::facts(&model["config"], None, tensors).unwrap()
}

/// One run: its arguments, the engine's figures, and the plan.
struct Run {
    id: String,
    settings: EffectiveSettings,
    plan: MemoryPlan,
    model: ModelFacts,
    engine: Value,
    whole: Value,
}

impl Run {
    /// Returns a figure of the engine, the largest of all ranks.
    fn figure(&self, name: &str) -> Option<f64> {
        largest(&self.engine[name])
    }

    fn graphs(&self) -> f64 {
        let load = reserve::Load {
            settings: &self.settings,
            resolved: &self.plan.resolved,
            machine: Machine::nominal(Architecture::Hopper),
            heads: self.model.heads.unwrap(),
            longest: self.model.context.unwrap(),
            is_mla: self.model.kv_lora_rank.is_some(),
        };
        reserve::graphs(load) as f64 / GIB
    }
}

fn largest(value: &Value) -> Option<f64> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_f64).reduce(f64::max),
        one => one.as_f64(),
    }
}

fn runs() -> Vec<Run> {
    let version: Version = "0.5.16".parse().unwrap();
    let table = history(Parser::Server).table(version);
    let mut found = Vec::new();
    for file in RUNS {
        let file: Value = serde_json::from_str(file).unwrap();
        let gpu = file["memory_total_mib"].as_u64().unwrap() << 20;
        for run in file["runs"].as_array().unwrap() {
            let words = run["argv"].as_array().unwrap().iter().skip(3);
            let argv: Vec<String> = words.map(|word| word.as_str().unwrap().to_owned()).collect();
            let settings = EffectiveSettings::new(&table.parse(&argv), &BTreeMap::new(), version);
            let model = model(run["model"].as_str().unwrap_or("r12"));
            let checkpoint = Checkpoint {
                is_deepseek_v3: model.kv_lora_rank.is_some(),
                quantization: model.quantization.clone(),
                is_modelopt: false,
                context: model.context,
            };
            let plan = budget(&settings, Architecture::Hopper, (&model, &checkpoint), gpu, 1024).unwrap();
            found.push(Run {
                id: run["id"].as_str().unwrap().to_owned(),
                settings,
                plan,
                model,
                engine: run["engine"].clone(),
                whole: run.clone(),
            });
        }
    }
    found
}

fn percent(ours: f64, theirs: f64) -> f64 {
    (ours / theirs - 1.0) * 100.0
}

/// The largest and the mean error, without signs.
fn summary(errors: &[f64]) -> String {
    let largest = errors.iter().fold(0.0_f64, |most, error| most.max(error.abs()));
    let mean = errors.iter().map(|error| error.abs()).sum::<f64>() / errors.len().max(1) as f64;
    format!("{} runs, mean {mean:.2} %, largest {largest:.2} %", errors.len())
}

#[test]
fn weights_and_tokens_are_those_of_the_engine() {
    let (mut weights, mut tokens) = (Vec::new(), Vec::new());
    for run in runs() {
        let measured = run.figure("weights_gib").unwrap();
        let error = percent(run.plan.weights_bytes as f64 / GIB, measured);
        let pool = percent(run.plan.pool_tokens as f64, run.figure("kv_tokens").unwrap());
        println!(
            "{}: weights {error:+.2} % of {measured} GiB, tokens {pool:+.2} %",
            run.id
        );
        // The log rounds to 0.01 GiB, which is 0.6 % of the smallest model.
        let difference = run.plan.weights_bytes as f64 / GIB - measured;
        assert!(
            error.abs() < 1.0 || difference.abs() < 0.05,
            "{}: {error} %",
            run.id
        );
        weights.push(error);
        tokens.push(pool);
    }
    println!("weights: {}\ntokens: {}", summary(&weights), summary(&tokens));
    assert!(tokens.iter().all(|error| error.abs() < 1.0));
    assert!(weights.len() >= 50, "{}", weights.len());
}

#[test]
fn graphs_are_those_of_the_engine() {
    let mut errors = Vec::new();
    for run in runs().into_iter().filter(|run| run.plan.is_measured) {
        let Some(measured) = run.figure("graphs_gib") else {
            continue;
        };
        let (ours, batch) = (run.graphs(), run.engine["graphs_n"].as_u64().unwrap_or(0));
        let error = percent(ours, measured);
        println!(
            "{}: graphs {ours:.2} GiB against {measured} ({error:+.1} %), {batch} batches",
            run.id
        );
        // A few graphs take less than the rounding of the log and one buffer.
        if (ours - measured).abs() > 0.15 {
            errors.push(error);
        }
    }
    println!("graphs: {}", summary(&errors));
    assert!(errors.iter().all(|error| error.abs() < 10.0), "{errors:?}");
}

/// The memory in use after the heaviest phase of a run that lived is inside the interval that the plan prints, or within
/// 10 % of it.
#[test]
fn the_peak_is_inside_the_interval() {
    let (mut above, mut below) = (0.0_f64, 0.0_f64);
    for run in runs() {
        let phases = run.whole["phases"].as_array().into_iter().flatten();
        let peak = phases
            .filter_map(|phase| largest(&phase["used_peak_mib"]))
            .reduce(f64::max);
        let Some(peak) = peak.filter(|_| run.whole["outcome"] == "lived") else {
            continue;
        };
        let with =
            |need: u64| (run.plan.planned_bytes() - run.plan.need_bytes + need) as f64 / f64::from(1 << 20);
        let (low, high) = (with(run.plan.need_bytes), with(run.plan.most_bytes));
        println!("{}: {peak:.0} MiB in use, {low:.0} to {high:.0} planned", run.id);
        above = above.max(percent(peak, high));
        below = below.min(percent(peak, low));
    }
    println!("at most {above:+.1} % above the interval, {below:+.1} % below it");
    assert!(above < 10.0 && below > -10.0, "{above} {below}");
}

/// A run that ran out of memory is never one that the plan calls safe, and most that lived are.
#[test]
fn no_run_died_that_the_plan_calls_safe() {
    let (mut died, mut lived, mut unsafe_but_lived) = (0, 0, 0);
    for run in runs() {
        let outcome = run.whole["outcome"].as_str().unwrap();
        let is_safe = run.plan.fraction <= run.plan.window.1;
        let left = (
            run.plan.slack_bytes as f64 / GIB,
            run.plan.need_bytes as f64 / GIB,
            run.plan.most_bytes as f64 / GIB,
        );
        let peak = largest(&run.whole["used_peak_load_mib"]);
        println!(
            "{}: {outcome}; {:.1} GiB left, {:.1} to {:.1} needed, safe {is_safe}, likely {}, peak {peak:?}",
            run.id,
            left.0,
            left.1,
            left.2,
            run.plan.fraction <= run.plan.likely_end
        );
        let error = run.whole["error"].as_str().unwrap_or_default();
        let ran_out = outcome.starts_with("died") && error.contains("OutOfMemory");
        assert!(
            !(ran_out && is_safe),
            "{} died, and the plan calls it safe",
            run.id
        );
        let refused = crate::sglang::memory::check(&run.plan, 1)
            .into_iter()
            .find(|check| check.id == "memory.start");
        assert!(
            ran_out || refused.is_none(),
            "{} lived, and the plan refuses it",
            run.id
        );
        died += usize::from(ran_out);
        lived += usize::from(!ran_out && is_safe);
        unsafe_but_lived += usize::from(!ran_out && !is_safe);
    }
    println!(
        "{died} ran out of memory, none was called safe; {lived} lived and were; {unsafe_but_lived} lived and were not"
    );
    assert!(died >= 8 && lived >= 25, "{died} {lived} {unsafe_but_lived}");
}
