//! A plan for people: its steps, and the origin of each decision.

use std::fmt::Write;
use std::time::Duration;

use super::profiles::{check_rows, size_of};
use super::safe;
use super::table::{aligned, pad, row, width};
use crate::doctor::Blocker;
use crate::plan::{MeasuredStart, Mount, Origin, Plan, ServeRequest, StartContainer, StartProcess, Step};
use crate::units::{Bytes, duration};

/// Least columns for the words of an argument beside its origin; with less the origin is below them.
const LEAST: usize = 32;

/// Space between two columns.
const GAP: &str = "  ";

/// The facts and the form of a plan that is shown.
#[derive(Debug, Clone, Copy)]
pub struct ShownPlan<'a> {
    /// The origin of each argument and variable.
    pub origins: &'a [Origin],
    /// True to show the origins.
    pub with_origin: bool,
    /// Numbers, from 1, of the steps that are done already.
    pub done: &'a [usize],
    /// Columns of the terminal.
    pub columns: usize,
}

/// Returns the plan of `request`.
#[must_use]
pub fn plan(plan: &Plan, request: &ServeRequest, shown: &ShownPlan<'_>) -> String {
    let mut text = head(plan, request);
    for step in &plan.steps {
        match step {
            Step::StartContainer(step) => text.push_str(&container(step)),
            Step::StartProcess(step) => text.push_str(&process(step)),
            _ => {}
        }
    }
    for (title, variables) in [("environment", true), ("command", false)] {
        let _ = writeln!(text, "\n{title}");
        text.push_str(&if shown.with_origin {
            parts_with_origin(shown.origins, variables, shown.columns)
        } else {
            parts(shown.origins, variables)
        });
    }
    if let Some(memory) = &plan.memory {
        text.push('\n');
        text.push_str(&super::memory(memory));
    }
    if let Some(start) = &plan.measured {
        text.push_str(&aligned(&[row(["measured", &measured(start)])]));
    }
    if !plan.checks.is_empty() {
        text.push_str("\nchecks\n");
        text.push_str(&check_rows(&plan.checks));
    }
    text.push_str("\nsteps\n");
    let of = plan.steps.len();
    for (number, step) in (1..).zip(&plan.steps) {
        let is_done = shown.done.contains(&number);
        let mark = if is_done { " (already done)" } else { "" };
        let _ = writeln!(text, "  {number}/{of} {}{mark}", safe(&step.title()));
    }
    for Blocker {
        kind: _,
        message,
        cause,
        hint,
    } in &plan.blockers
    {
        let why = if cause.is_empty() {
            String::new()
        } else {
            format!(": {cause}")
        };
        text.push_str(&safe(&format!("blocked  {message}{why}; {hint}")));
        text.push('\n');
    }
    text
}

/// Returns what this host measured at the last start of the server, in a line.
fn measured(start: &MeasuredStart) -> String {
    let mut words = vec![format!("here on {}", start.date)];
    let mut add = |name: &str, gib: &Option<String>| {
        words.extend(gib.as_ref().map(|gib| format!("{name} {gib} GiB")));
    };
    add("weights", &start.weights_gib);
    add("graphs", &start.graphs_gib);
    add("left over", &start.left_gib);
    words.extend(start.pool_tokens.map(|tokens| format!("{tokens} tokens")));
    words.push(format!(
        "READY after {}",
        duration(Duration::from_millis(start.ready_ms))
    ));
    words.join(", ")
}

fn head(plan: &Plan, request: &ServeRequest) -> String {
    let (profile, stack) = (&request.profile, &request.stack);
    let pins = &stack.pins;
    let cuda = pins
        .cuda
        .as_ref()
        .map_or_else(String::new, |cuda| format!(", CUDA {cuda}"));
    let digest = if stack.base_digests.is_empty() {
        " (digest unknown)"
    } else {
        ""
    };
    // The files say more than the profile, which may be used with other weights.
    let of_files = plan.memory.as_ref().map(|memory| memory.format.as_str());
    let format = of_files.unwrap_or_else(|| profile.precision.name());
    let mut rows = vec![
        row(["profile", &profile.name]),
        row(["", &profile.title]),
        row(["source", &profile.source]),
        row(["stack", &stack.name]),
        row([
            "",
            &format!("SGLang {}, FlashInfer {}{cuda}", pins.sglang, pins.flashinfer),
        ]),
        match environment(plan) {
            Some(python) => row(["python", python]),
            None => row(["base image", &format!("{}{digest}", stack.base_reference(None))]),
        },
        row([
            "model",
            &match &profile.model.path {
                Some(path) => format!("{path} (as {})", profile.model.repo),
                None => format!("{}@{}", profile.model.repo, profile.model.revision),
            },
        ]),
        row(["weights", &format!("{format}, {}", size_of(&profile.model))]),
    ];
    let mut label = "notes";
    for note in &plan.notes {
        rows.push(row([label, note]));
        label = "";
    }
    aligned(&rows)
}

/// Returns the Python of the user's environment that the plan uses, if it uses one.
fn environment(plan: &Plan) -> Option<&str> {
    plan.steps.iter().find_map(|step| match step {
        Step::CheckEnvironment(step) => Some(step.python.as_str()),
        _ => None,
    })
}

fn container(step: &StartContainer) -> String {
    let StartContainer {
        name,
        image,
        network,
        gpus,
        shm_bytes,
        mounts,
        cap_drop,
        security_opt,
        // ShownPlan with the origin of each word.
        argv: _,
        env: _,
        // The same for every server of dsr1.
        labels: _,
        ulimits: _,
        init: _,
        stop_timeout_s: _,
        log_driver: _,
        log_opts: _,
    } = step;
    let mut rows = vec![
        row(["container", name]),
        row(["image", image]),
        row(["network", network]),
        row(["GPUs", if *gpus { "all" } else { "none" }]),
        row(["/dev/shm", &Bytes(*shm_bytes).to_string()]),
        row([
            "rights",
            &format!("cap-drop {}, {}", cap_drop.join(" "), security_opt.join(" ")),
        ]),
    ];
    let mut label = "mounts";
    for mount in mounts {
        let shown = match mount {
            Mount::Bind { source, target } => format!("{source} -> {target} (read-only)"),
            Mount::Volume { name, target } => format!("volume {name} -> {target}"),
        };
        rows.push(row([label, &shown]));
        label = "";
    }
    format!("\n{}", aligned(&rows))
}

fn process(step: &StartProcess) -> String {
    let rows = [
        row(["process", &step.name]),
        row(["log", &step.log]),
        row(["directory", &step.workdir]),
    ];
    format!("\n{}", aligned(&rows))
}

/// Returns one line for each argument or variable.
fn parts(origins: &[Origin], variables: bool) -> String {
    let rows: Vec<Vec<String>> = origins
        .iter()
        .filter(|origin| origin.variable == variables)
        .map(|origin| row([words(origin).as_str()]))
        .collect();
    aligned(&rows)
}

fn words(origin: &Origin) -> String {
    format!("  {}", origin.words.join(" "))
}

/// Returns the arguments or variables with their origins, as a table for `columns`. Words that are too long for a place beside
/// an origin have a line of their own, so that all origins are in the same columns. Without room for the table each origin is
/// below its words.
fn parts_with_origin(origins: &[Origin], variables: bool, columns: usize) -> String {
    let of_kind = || origins.iter().filter(|origin| origin.variable == variables);
    let names: Vec<String> = of_kind()
        .map(|origin| safe(&words(origin)).into_owned())
        .collect();
    let from: Vec<Vec<String>> = of_kind().map(cells).collect();
    let table = aligned(&from);
    let widest = table.lines().map(width).max().unwrap_or(0);
    let room = columns.saturating_sub(widest + GAP.len());
    let mut text = String::new();
    if room < LEAST {
        for (words, from) in names.iter().zip(&from) {
            let from: Vec<&str> = from
                .iter()
                .map(String::as_str)
                .filter(|cell| !cell.is_empty())
                .collect();
            let _ = writeln!(text, "{words}\n      {}", from.join(", "));
        }
        return text;
    }
    let fits = |words: &&String| width(words) <= room;
    let column = names
        .iter()
        .filter(fits)
        .map(|words| width(words))
        .max()
        .unwrap_or(0);
    for (words, from) in names.iter().zip(table.lines()) {
        let gap = if fits(&words) {
            format!("{}{GAP}", pad(words, column))
        } else {
            format!("{words}\n{}{GAP}", pad("", column))
        };
        let _ = writeln!(text, "{gap}{from}");
    }
    text
}

/// Returns the origin of a word, its place in a file, and the guide's own form.
fn cells(origin: &Origin) -> Vec<String> {
    let place = origin.place.as_deref().unwrap_or_default();
    let source = origin.source.as_deref().unwrap_or_default();
    row([&*origin.from, place, source])
}
