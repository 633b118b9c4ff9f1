//! Stacks, their differences, and drift of their option tables.

use std::collections::BTreeMap;

use super::safe;
use super::table::{aligned, compared, row};
use crate::profile::{Accelerator, Stack, StackChange};
use crate::sglang::advisories::{Advisory, advisories_of};
use crate::sglang::flags::{Difference, Parser, ParserDrift};
use crate::units::Bytes;

/// Returns one line for each stack.
#[must_use]
pub fn stacks(stacks: &[&Stack]) -> String {
    let mut rows = vec![row([
        "NAME",
        "SGLANG",
        "FLASHINFER",
        "CUDA",
        "DRIVER",
        "DIGEST",
        "TITLE",
    ])];
    rows.extend(stacks.iter().map(|stack| {
        let driver = stack
            .driver_min
            .map_or_else(|| "-".to_owned(), |min| format!("{min}+"));
        let digest = if stack.base_digests.is_empty() {
            "unknown"
        } else {
            "pinned"
        };
        row([
            stack.name.as_str(),
            &stack.pins.sglang.to_string(),
            &stack.pins.flashinfer,
            stack.pins.cuda.as_deref().unwrap_or("-"),
            &driver,
            digest,
            &stack.title,
        ])
    }));
    aligned(&rows)
}

/// Returns a block about one stack. `places` are the files and lines of its properties, if it extends another stack.
#[must_use]
pub fn stack(stack: &Stack, places: &BTreeMap<String, String>) -> String {
    let pins = &stack.pins;
    let place = |path: &str| places.get(path).map_or("", String::as_str);
    let digests: Vec<String> = stack
        .base_digests
        .iter()
        .map(|(platform, digest)| format!("{digest} ({platform})"))
        .collect();
    let digest = if digests.is_empty() {
        "unknown: dsr1 lock reads it from the image on this host".to_owned()
    } else {
        digests.join(", ")
    };
    let architectures: Vec<&str> = stack.architectures.iter().map(|one| one.name()).collect();
    let mut rows = vec![
        row(["stack", &stack.name]),
        row(["", &stack.title]),
        row(["image", &stack.base_image, place("base_image")]),
        row(["digest", &digest]),
        row(["platforms", &stack.platforms.join(", ")]),
        row(["SGLang", &pins.sglang.to_string(), place("pins.sglang")]),
        row(["FlashInfer", &pins.flashinfer, place("pins.flashinfer")]),
        row(["kernels", &pins.kernel, place("pins.kernel")]),
        row(["PyTorch", &pins.torch, place("pins.torch")]),
    ];
    if let Some(base) = &stack.extends {
        rows.insert(2, row(["extends", base]));
    }
    if stack.accelerator == Accelerator::Cuda {
        let cuda = pins.cuda.as_deref().unwrap_or("unknown");
        rows.push(row(["CUDA", cuda, place("pins.cuda")]));
        rows.push(row(["GPUs", &architectures.join(", ")]));
        rows.push(row([
            "driver",
            &stack
                .driver_min
                .map_or_else(String::new, |min| format!("{min} or newer")),
            place("driver_min"),
        ]));
    }
    rows.extend([
        row([
            "starts with",
            &stack.launch.command(&stack.image_python).join(" "),
        ]),
        row(["ready when", &format!("GET {} returns 200", stack.probe)]),
        row(["caches", &stack.cache_paths.join(", ")]),
        row(["disk", &Bytes(stack.install_bytes).to_string()]),
    ]);
    let advisories = advisories_of(pins.sglang).map(|advisory| {
        let Advisory { id, source, .. } = advisory;
        format!(
            "{id} ({source}), {}: {}",
            advisory.condition_text(),
            advisory.text
        )
    });
    for (index, text) in advisories.enumerate() {
        rows.push(row([if index == 0 { "advisories" } else { "" }, &text]));
    }
    aligned(&rows)
}

/// Returns the differences of two stacks for `columns`; lists every option if `all` is set, else counts them.
#[must_use]
pub fn stack_diff(
    left: &str,
    right: &str,
    changes: &[StackChange],
    options: &[Difference],
    all: bool,
    columns: usize,
) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 3]> = changes
        .iter()
        .map(|change| [change.setting.clone(), shown(&change.left), shown(&change.right)])
        .collect();
    let count = |what: &str| options.iter().filter(|one| one.change == what).count();
    let tally = format!(
        "engine options: {} added, {} removed, {} changed{}\n",
        count("added"),
        count("removed"),
        count("changed"),
        if all || options.is_empty() {
            ""
        } else {
            "; --flags lists them"
        }
    );
    let listed = if all { differences(options) } else { String::new() };
    let compared = compared("PROPERTY", (left, right), &rows, columns);
    format!("{compared}\n{tally}{listed}")
}

/// Returns the differences between an installed SGLang and the bundled tables.
#[must_use]
pub fn drift(source: &str, parsers: &[ParserDrift]) -> String {
    let mut text = format!("source: {}\n", safe(source));
    for one in parsers {
        let which = match one.parser {
            Parser::Server => "server",
            Parser::Bench => "client",
        };
        let verdict = match one.differences.len() {
            0 => "as bundled".to_owned(),
            1 => "1 differs".to_owned(),
            count => format!("{count} differ"),
        };
        let stood_in = if one.stood_in.is_empty() {
            String::new()
        } else {
            format!("; not installed there: {}", one.stood_in.join(", "))
        };
        let line = format!(
            "{which}: SGLang {}, {} options, table of {}: {verdict}{stood_in}",
            one.found, one.options, one.bundled
        );
        text.push_str(&safe(&line));
        text.push('\n');
        text.push_str(&differences(&one.differences));
    }
    text
}

fn differences(differences: &[Difference]) -> String {
    let rows: Vec<Vec<String>> = differences
        .iter()
        .map(|one| row([one.change, one.option.as_str(), one.detail.as_str()]))
        .collect();
    aligned(&rows)
}
