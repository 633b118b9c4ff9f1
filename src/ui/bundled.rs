//! The archive of `dsr1 bundle`: its summary, and the text at its top.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::safe;
use super::table::{aligned, row};
use crate::quote::shell_word;
use crate::redact::Sort;
use crate::report::{Bundled, LeftOut};
use crate::units::{Bytes, counted};

/// Returns the summary of an archive: its path, its size, and what was replaced.
#[must_use]
pub fn bundled(bundle: &Bundled) -> String {
    let Bundled {
        schema: _,
        dry_run,
        file,
        bytes,
        files,
        left_out,
        redacted,
    } = bundle;
    let mut text = String::new();
    if *dry_run {
        let rows: Vec<_> = files
            .iter()
            .map(|file| row([&*file.name, &Bytes(file.bytes).to_string()]))
            .collect();
        text += &aligned(&rows);
        let _ = writeln!(
            text,
            "\n{} of {} would be written, before compression",
            Bytes(*bytes),
            counted(files.len(), "file")
        );
    } else {
        let _ = writeln!(
            text,
            "wrote {}: {}, {}",
            safe(file.as_deref().unwrap_or_default()),
            Bytes(*bytes),
            counted(files.len(), "file")
        );
    }
    text += &missing(left_out);
    text += &replaced(redacted);
    text += "Look at the files before you send the archive: a secret that dsr1 does not know by its form or its name is still in it.\n";
    if let Some(file) = file {
        let _ = writeln!(text, "tar -tzf {} lists them", safe(&shell_word(file)));
    }
    text
}

/// Returns the text that explains an archive, for the reader who unpacks it.
#[must_use]
pub fn bundle_readme(bundle: &Bundled, version: &str, keeps_names: bool) -> String {
    let mut text = format!(
        "This archive was made by dsr1 {version}, so that a person elsewhere can find the cause of a problem.\n\
         \n\
         WHAT IS INSIDE\n\n"
    );
    let rows: Vec<_> = bundle
        .files
        .iter()
        .map(|file| {
            row([
                "",
                &*file.name,
                &Bytes(file.bytes).to_string(),
                meaning(&file.name),
            ])
        })
        .collect();
    text += &aligned(&rows);
    text += "\nWHAT WAS LEFT OUT\n\n";
    text += "  Weights, caches, and the text of prompts and answers.\n";
    for LeftOut { name, why } in &bundle.left_out {
        let _ = writeln!(text, "  {}: {}", safe(name), safe(why));
    }
    text +=
        "\nWHAT WAS REPLACED\n\n  Each secret that dsr1 knows by its form, its name or its value is ***.\n";
    if keeps_names {
        text += "  Names of the host, the user and the home directory were kept, because --keep-names was given.\n";
    } else {
        text +=
            "  The home directory is ~, the name of the host is HOST, and the name of the user is USER.\n";
    }
    for (words, count) in counts(&bundle.redacted) {
        let _ = writeln!(text, "  {count:>6}  {words}");
    }
    text += "\nBEFORE YOU SEND IT\n\n  Look at the files. A secret in a form that dsr1 does not know is still in them.\n";
    text
}

/// Returns the meaning of a file by its name.
fn meaning(name: &str) -> &'static str {
    let file = name.rsplit('/').next().unwrap_or(name);
    match file {
        "dsr1.json" => "version and target of dsr1, and the time",
        "doctor.json" => "facts about the host, and findings",
        "status.json" => "the servers, also those that were stopped",
        "events.jsonl" => "what happened to the server",
        "plan.json" => "the plan that starts the server again",
        "inspect.json" => "Docker's description of the container",
        "daemon.json" => "version of the Docker daemon",
        "profile.json" | "profile.txt" => "the profile with the stack, as resolved",
        "dsr1.lock" => "the lock in the working directory",
        _ if file.starts_with("log") => "log of a start; a number counts the starts before the last one",
        _ if file.starts_with("diagnosis") => "the diagnosis of that log",
        _ if name.starts_with("starts/") => "what a start measured",
        _ if name.starts_with("results/") => "a result of bench or eval",
        _ if name.starts_with("config/") => "a file of the user",
        _ => "",
    }
}

/// Returns the parts that are missing, each with its reason.
fn missing(left_out: &[LeftOut]) -> String {
    let rows: Vec<_> = left_out
        .iter()
        .map(|part| row(["left out", &*part.name, &*part.why]))
        .collect();
    aligned(&rows)
}

/// Returns the replacements in a line.
fn replaced(redacted: &BTreeMap<String, u64>) -> String {
    let all: Vec<String> = counts(redacted)
        .map(|(words, count)| format!("{count} {words}"))
        .collect();
    if all.is_empty() {
        return "replaced: nothing\n".to_owned();
    }
    format!("replaced: {}\n", all.join(", "))
}

/// Returns the sorts of replacements in words, with their numbers.
fn counts(redacted: &BTreeMap<String, u64>) -> impl Iterator<Item = (&'static str, u64)> {
    Sort::ALL
        .iter()
        .filter_map(|sort| Some((sort.words(), *redacted.get(sort.name())?)))
}
