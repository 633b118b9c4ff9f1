//! What can be served, and what a profile becomes.

use super::table::{aligned, row};
use crate::profile::{EngineFlags, Profile, Stack};
use crate::units::Bytes;

/// One line per profile.
#[must_use]
pub fn profiles(profiles: &[Profile]) -> String {
    let mut rows = vec![row(["NAME", "GPUS", "WEIGHTS", "", "STACK", "TITLE"])];
    rows.extend(profiles.iter().map(|profile| {
        let size = Bytes(profile.model.size_bytes).to_string();
        let gpus = if profile.gpus == 0 {
            "-".to_owned()
        } else {
            profile.gpus.to_string()
        };
        row([
            &profile.name,
            &gpus,
            profile.precision.name(),
            &size,
            &profile.stack,
            &profile.title,
        ])
    }));
    aligned(&rows)
}

/// One profile with its stack and what the engine is told.
#[must_use]
pub fn profile(profile: &Profile, stack: &Stack, flags: &EngineFlags) -> String {
    [
        about(profile),
        stack_rows(stack),
        engine(flags),
        benchmark(profile),
    ]
    .map(|rows| aligned(&wide(rows)))
    .join("\n")
}

/// Every block has the same first column, so that the page reads as one.
fn wide(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for label in rows.iter_mut().filter_map(|row| row.first_mut()) {
        *label = super::table::pad(label, "environment".len());
    }
    rows
}

fn about(profile: &Profile) -> Vec<Vec<String>> {
    let model = &profile.model;
    let gpus = if profile.gpus == 0 {
        "none".to_owned()
    } else {
        profile.gpus.to_string()
    };
    vec![
        row(["profile", &profile.name]),
        row(["", &profile.title]),
        row(["source", &profile.source]),
        row(["model", &format!("{}@{}", model.repo, model.revision)]),
        row([
            "weights",
            &format!("{}, {}", profile.precision.name(), Bytes(model.size_bytes)),
        ]),
        row(["licence", &model.license]),
        row(["GPUs", &gpus]),
    ]
}

fn stack_rows(stack: &Stack) -> Vec<Vec<String>> {
    let pins = &stack.pins;
    let cuda = pins
        .cuda
        .as_ref()
        .map_or_else(String::new, |cuda| format!(", CUDA {cuda}"));
    let mut rows = vec![
        row(["stack", &stack.name]),
        row(["", &stack.title]),
        row([
            "versions",
            &format!(
                "SGLang {}, FlashInfer {}, PyTorch {}{cuda}",
                pins.sglang, pins.flashinfer, pins.torch
            ),
        ]),
        row(["base image", &stack.base_reference()]),
    ];
    if let Some(driver) = stack.driver_min {
        rows.push(row(["driver", &format!("{driver} or newer")]));
    }
    rows
}

/// Environment and arguments, a flag and its value to a line.
fn engine(flags: &EngineFlags) -> Vec<Vec<String>> {
    let mut label = Once("environment");
    let mut rows: Vec<_> = flags
        .env
        .iter()
        .map(|(key, value)| row([label.take(), &format!("{key}={value}")]))
        .collect();
    let mut label = Once("engine");
    let mut words = flags.args.iter().peekable();
    while let Some(flag) = words.next() {
        let mut line = flag.clone();
        while let Some(value) = words.next_if(|word| !word.starts_with("--")) {
            line.push(' ');
            line.push_str(value);
        }
        rows.push(row([label.take(), &line]));
    }
    rows
}

fn benchmark(profile: &Profile) -> Vec<Vec<String>> {
    let bench = &profile.bench;
    let shape = format!(
        "{} requests of {} + {} tokens, {} in flight",
        bench.num_prompts, bench.input_len, bench.output_len, bench.max_concurrency
    );
    vec![row(["benchmark", &shape])]
}

/// A label that stands on the first of its lines only.
struct Once(&'static str);

impl Once {
    fn take(&mut self) -> &'static str {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Catalog, render};

    #[test]
    fn the_list_is_a_table() {
        insta::assert_snapshot!(profiles(Catalog::load(None).unwrap().profiles()));
    }

    #[test]
    fn a_profile_shows_what_it_becomes() {
        let found = Catalog::load(None)
            .unwrap()
            .select("fp8-low-latency", None, None)
            .unwrap();
        let flags = render(&found.profile.engine, found.stack.pins.sglang);
        insta::assert_snapshot!(profile(&found.profile, &found.stack, &flags));
    }
}
