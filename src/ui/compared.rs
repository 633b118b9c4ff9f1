//! Results beside each other, at a gate, and planned again.

use std::fmt::Write;

use super::safe;
use super::table::{aligned, row};
use crate::report::{
    ComparedSide, Comparison, GateVerdict, Gated, GatedFigure, MissingFact, NoiseSource, Ratio, Reproduction,
    SideDifference, Trust,
};

/// Returns the first difference that matters, all differences, and the ratios. `anyway` is true if the user asked for ratios in
/// spite of reasons against them.
#[must_use]
pub fn comparison(comparison: &Comparison, anyway: bool) -> String {
    let mut out = sides(&[("A", &comparison.a), ("B", &comparison.b)]);
    out.push('\n');
    out.push_str(&differences(&comparison.differences, ("A", "B")));
    out.push_str(&missing(&comparison.missing));
    if anyway {
        for reason in &comparison.refusals {
            let _ = writeln!(out, "in spite of: {}", safe(reason));
        }
    }
    if comparison.ratios.is_empty() {
        return out;
    }
    let mut rows = vec![row(["FIGURE", "A", "B", "B/A", "95 % INTERVAL"])];
    let claimed = |ratio: &&Ratio| ratio.ratio.is_some();
    for ratio in comparison.ratios.iter().filter(claimed) {
        rows.push(vec![
            label(&ratio.metric),
            number(ratio.a),
            number(ratio.b),
            share(ratio.ratio),
            interval(ratio),
        ]);
    }
    out.push('\n');
    out.push_str(&aligned(&rows));
    let unclaimed: Vec<String> = comparison
        .ratios
        .iter()
        .filter(|ratio| ratio.ratio.is_none())
        .map(|ratio| label(&ratio.metric))
        .collect();
    if !unclaimed.is_empty() {
        let _ = writeln!(out, "not claimed by both: {}", unclaimed.join(", "));
    }
    out.push_str(noise_note(&comparison.ratios));
    out
}

/// Returns the figures of a gate, one on each line, with the verdict.
#[must_use]
pub fn gated(gated: &Gated, anyway: bool) -> String {
    let mut out = sides(&[("baseline", &gated.baseline), ("result", &gated.result)]);
    out.push('\n');
    out.push_str(&differences(&gated.differences, ("BASELINE", "RESULT")));
    if anyway {
        for reason in &gated.refusals {
            let _ = writeln!(out, "in spite of: {}", safe(reason));
        }
    }
    if !gated.figures.is_empty() {
        out.push('\n');
        out.push_str(&gated_figures(&gated.figures, ("BASELINE", "RESULT")));
    }
    out.push_str(match gated.verdict {
        GateVerdict::Passed => "PASSED: nothing is worse by more than noise and tolerance\n",
        GateVerdict::Regression => "REGRESSION: worse by more than noise and tolerance\n",
        GateVerdict::Untrusted => "NOT TRUSTED: these results cannot pass\n",
        GateVerdict::Refused => "NOT COMPARED: the baseline is of another load, server or host\n",
    });
    out
}

/// Returns the figures of two sides with their verdicts, one on each line, and the source of the intervals.
pub(super) fn gated_figures(figures: &[GatedFigure], (a, b): (&str, &str)) -> String {
    let mut rows = vec![row(["", "FIGURE", a, b, "RATIO", "95 % INTERVAL", "ALLOWED"])];
    for figure in figures {
        let ratio = &figure.ratio;
        let sign = if ratio.more_is_better { '-' } else { '+' };
        rows.push(vec![
            figure.verdict.word().to_owned(),
            label(&ratio.metric),
            number(ratio.a),
            number(ratio.b),
            share(ratio.ratio),
            interval(ratio),
            format!("{sign}{} %", figure.tolerance_percent),
        ]);
    }
    let ratios: Vec<Ratio> = figures.iter().map(|figure| figure.ratio.clone()).collect();
    aligned(&rows) + noise_note(&ratios)
}

/// Returns the commands that get a result again, and what is missing here.
#[must_use]
pub fn reproduction(reproduction: &Reproduction) -> String {
    let mut out = String::from("commands, in this order:\n");
    for command in &reproduction.commands {
        let _ = writeln!(out, "  {}", safe(command));
    }
    out.push('\n');
    if reproduction.lacks.is_empty() {
        out.push_str("this host has all that the file tells\n");
    } else {
        out.push_str("otherwise on this host:\n");
    }
    for one in &reproduction.lacks {
        let mut line = one.what.clone();
        if !one.wanted.is_empty() {
            let _ = write!(line, ": {} in the file", one.wanted);
        }
        if !one.here.is_empty() {
            let _ = write!(line, "; {} here", one.here);
        }
        let _ = writeln!(out, "  {}", safe(&line));
        if !one.fix.is_empty() {
            let _ = writeln!(out, "    -> {}", safe(&one.fix));
        }
    }
    out.push_str(&missing(&reproduction.missing));
    out.push_str(
        "the seed sends the same prompts: a server that has seen them answers from its prefix cache\n",
    );
    out
}

/// Returns the runs of each side, one on each line.
fn sides(sides: &[(&str, &ComparedSide)]) -> String {
    let mut rows = Vec::new();
    for (name, side) in sides {
        let trust = match side.trust {
            Trust::Trusted | Trust::Unknown => "trusted",
            Trust::Doubtful => "doubtful",
            Trust::Untrusted => "NOT TRUSTED",
        };
        let runs = side.files.iter().zip(&side.began).enumerate();
        rows.extend(runs.map(|(index, (file, began))| {
            let (name, trust) = if index == 0 { (*name, trust) } else { ("", "") };
            row([name, began, trust, file])
        }));
    }
    aligned(&rows)
}

/// Returns the first difference that matters, and a table of all.
fn differences(all: &[SideDifference], (a, b): (&str, &str)) -> String {
    let mut out = String::new();
    match all.iter().find(|one| one.matters) {
        None if all.is_empty() => return "no difference in all that both sides tell\n".to_owned(),
        None => out.push_str("no difference that matters in all that both sides tell\n"),
        Some(first) => {
            let text = format!(
                "first difference: {} {}: {} and {}",
                first.subject.word(),
                first.what,
                first.a,
                first.b
            );
            let _ = writeln!(out, "{}", safe(&text));
        }
    }
    let mut rows = vec![row(["", "SUBJECT", "FACT", a, b])];
    rows.extend(all.iter().map(|one| {
        let level = if one.matters { "differs" } else { "note" };
        row([level, one.subject.word(), &one.what, &one.a, &one.b])
    }));
    out.push_str(&aligned(&rows));
    out
}

fn missing(all: &[MissingFact]) -> String {
    let mut out = String::new();
    for one in all {
        let of = if one.sides.is_empty() {
            "not in the file".to_owned()
        } else {
            format!("not in {}", one.sides)
        };
        let _ = writeln!(out, "{of}: {} ({})", safe(&one.what), safe(&one.fix));
    }
    out
}

/// Returns a sentence about the source of the intervals.
fn noise_note(ratios: &[Ratio]) -> &'static str {
    let has = |noise| ratios.iter().any(|ratio| ratio.noise == noise);
    if has(NoiseSource::BothSides) {
        "intervals: by the spread of the runs of each side (Welch)\n"
    } else if has(NoiseSource::OneSide) {
        "intervals: by the spread of the runs of one side; the other one has a single run\n"
    } else if has(NoiseSource::WithinRuns) {
        "intervals: by the noise within one run of each side; two runs of one server differ by more, so repeat both\n"
    } else {
        "no intervals: one run of each side; several runs with commas between them have intervals\n"
    }
}

/// Returns the name of a figure for people.
fn label(metric: &str) -> String {
    let name = match metric {
        "request_throughput" => "requests/s",
        "output_throughput" => "output tokens/s",
        "total_throughput" => "all tokens/s",
        _ => "",
    };
    if !name.is_empty() {
        return name.to_owned();
    }
    match metric.split_once('.') {
        Some((times, part)) => {
            let part = match part.trim_end_matches("_ms") {
                "p50" => "median",
                other => other,
            };
            format!("{} {part} (ms)", times.to_uppercase())
        }
        None => metric.to_owned(),
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn interval(ratio: &Ratio) -> String {
    match (ratio.low, ratio.high) {
        (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
        _ => "-".to_owned(),
    }
}
