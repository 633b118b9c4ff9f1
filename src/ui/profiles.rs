//! Profiles, their checks and their differences.

use super::table::{aligned, compared, row};
use crate::profile::Model;
use crate::profile::{Change, Profile, Stack};
use crate::sglang::{Check, EngineFlags, Level};
use crate::units::{Bytes, counted};

/// Returns one line for each profile.
#[must_use]
pub fn profiles(profiles: &[Profile]) -> String {
    let mut rows = vec![row(["NAME", "GPUS", "WEIGHTS", "", "STACK", "TITLE"])];
    rows.extend(profiles.iter().map(|profile| {
        let size = size_of(&profile.model);
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

/// Returns a block about one profile, with its stack and the arguments of the engine.
#[must_use]
pub fn profile(profile: &Profile, stack: &Stack, flags: &EngineFlags, checks: &[Check]) -> String {
    let mut text = [
        about(profile),
        stack_rows(stack),
        engine(flags),
        benchmark(profile),
    ]
    .map(|rows| aligned(&with_wide_labels(rows)))
    .join("\n");
    if !checks.is_empty() {
        text.push('\n');
        text.push_str(&check_rows(checks));
    }
    text
}

/// Returns a title with a verdict, and the checks below it, the worst first.
#[must_use]
pub fn checks(title: &str, checks: &[Check]) -> String {
    let count = |level: Level| checks.iter().filter(|check| check.level == level).count();
    let (errors, warnings, notes) = (count(Level::Error), count(Level::Warn), count(Level::Note));
    let verdict = match (errors, warnings) {
        (0, 0) => "ok".to_owned(),
        (0, _) => format!("ok, {}", counted(warnings, "warning")),
        _ => counted(errors, "error"),
    };
    let notes = if notes == 0 {
        String::new()
    } else {
        format!(", {}", counted(notes, "note"))
    };
    format!("{}: {verdict}{notes}\n{}", super::safe(title), check_rows(checks))
}

/// Returns one line for each check, and one for its fix.
pub(super) fn check_rows(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let level = match check.level {
            Level::Error => "error",
            Level::Warn => "warn ",
            Level::Note => "note ",
        };
        let place = check
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!("{place}: "));
        let line = format!("{level}  {place}{} ({})", check.text, check.id);
        text.push_str(&super::safe(&line));
        text.push('\n');
        if let Some(fix) = &check.fix {
            text.push_str(&super::safe(&format!("       {fix}")));
            text.push('\n');
        }
    }
    text
}

/// Returns the settings that differ, for `columns`.
#[must_use]
pub fn profile_diff(left: &str, right: &str, changes: &[Change], columns: usize) -> String {
    if changes.is_empty() {
        return format!("{left} and {right} have the same settings\n");
    }
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 3]> = changes
        .iter()
        .map(|change| [change.setting.clone(), shown(&change.left), shown(&change.right)])
        .collect();
    compared("SETTING", (left, right), &rows, columns)
}

/// Widens the first column, which is the same in every block of the page.
fn with_wide_labels(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
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
            &format!("{}, {}", profile.precision.name(), size_of(model)),
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
        row(["base image", &stack.base_reference(None)]),
    ];
    if let Some(driver) = stack.driver_min {
        rows.push(row(["driver", &format!("{driver} or newer")]));
    }
    rows
}

/// Returns environment and arguments, each flag with its value on one line.
fn engine(flags: &EngineFlags) -> Vec<Vec<String>> {
    let mut label = Once("environment");
    let mut rows: Vec<_> = flags
        .env
        .iter()
        .map(|(key, variable)| row([label.take_label(), &format!("{key}={}", variable.value)]))
        .collect();
    let mut label = Once("engine");
    rows.extend(
        flags
            .args
            .iter()
            .map(|flag| row([label.take_label(), &flag.words.join(" ")])),
    );
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

/// A label that only the first of its lines has.
struct Once(&'static str);

impl Once {
    fn take_label(&mut self) -> &'static str {
        std::mem::take(&mut self.0)
    }
}

/// Returns the size of a model's files in words.
pub(super) fn size_of(model: &Model) -> String {
    match model.size_bytes {
        0 => "size unknown".to_owned(),
        bytes => Bytes(bytes).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;
    use crate::sglang::Launch;

    #[test]
    fn the_list_is_a_table() {
        insta::assert_snapshot!(profiles(&Catalog::load(None).unwrap().profiles().unwrap()));
    }

    #[test]
    fn a_profile_is_shown_with_its_arguments() {
        let found = Catalog::load(None)
            .unwrap()
            .resolve("fp8-low-latency", None)
            .unwrap();
        let Launch { flags, checks, .. } = Launch::new(&found.profile, &found.stack, &found.origins, &[]);
        insta::assert_snapshot!(profile(&found.profile, &found.stack, &flags, &checks));
    }
}
