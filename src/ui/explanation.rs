//! The explanation of an option, a variable or a setting.

use super::table::{aligned, row};
use crate::sglang::flags::{Kind, Lifetime, OptionSpec};
use crate::sglang::{Explanation, Subject};

/// Returns one block for each subject of the name.
#[must_use]
pub fn explanation(explanation: &Explanation) -> String {
    let blocks: Vec<String> = explanation.subjects.iter().map(subject).collect();
    blocks.join("\n")
}

fn subject(subject: &Subject) -> String {
    let mut rows = vec![row([subject.kind, &subject.names.join(", ")])];
    match &subject.word {
        Some(word) => {
            rows.push(row(["", &word.what]));
            rows.push(row(["value", &word.unit]));
            if let Some(knob) = &word.knob {
                rows.push(row(["setting", &format!("engine.{knob}")]));
            }
        }
        None if subject.kind == "variable" => rows.push(row([
            "",
            "a variable that SGLang's sources name; see its own documentation",
        ])),
        None => rows.push(row([
            "",
            "an option of SGLang that no profile of dsr1 uses; see its own documentation",
        ])),
    }
    rows.push(row(["versions", &versions(subject)]));
    if let Some(instead) = subject.word.as_ref().and_then(|word| word.instead.as_ref()) {
        let ends = subject.lifetime.is_none_or(|life| life.gone.is_some()) || subject.deprecated.is_some();
        rows.push(row([if ends { "instead" } else { "before" }, instead]));
    }
    let choices = subject
        .stacks
        .iter()
        .rev()
        .find_map(|(_, spec)| spec.as_ref()?.choices.as_ref());
    if let Some(choices) = choices {
        let names: Vec<String> = choices.iter().map(plain).collect();
        rows.push(row(["takes", &names.join(", ")]));
    }
    let on: Vec<String> = subject
        .stacks
        .iter()
        .map(|(stack, spec)| on_stack(stack, spec.as_ref()))
        .collect();
    if !on.is_empty() && subject.lifetime.is_some() {
        rows.push(row(["stacks", &on.join("; ")]));
    }
    let mut label = "used by";
    for one in &subject.used_by {
        rows.push(row([
            label,
            &format!("{} on {} {}", one.profile, one.stack, one.value),
        ]));
        label = "";
    }
    aligned(&rows)
}

fn versions(subject: &Subject) -> String {
    let Some(Lifetime {
        since,
        until: _,
        gone,
    }) = subject.lifetime
    else {
        return "none: SGLang never had it".to_owned();
    };
    let since = since.map_or_else(
        || "all that are known".to_owned(),
        |since| format!("since {since}"),
    );
    let deprecated = subject
        .deprecated
        .map_or_else(String::new, |version| format!(", deprecated in {version}"));
    let gone = gone.map_or_else(String::new, |version| format!(", gone in {version}"));
    let removal = subject
        .word
        .as_ref()
        .and_then(|word| word.removal.as_ref())
        .map_or_else(String::new, |removal| format!("; {removal}"));
    format!("{since}{deprecated}{gone}{removal}")
}

fn on_stack(stack: &str, spec: Option<&OptionSpec>) -> String {
    match spec {
        None => format!("{stack} no"),
        Some(spec) => match (&spec.default, spec.kind) {
            (Some(default), _) => format!("{stack} default {}", plain(default)),
            (None, Kind::Store) => format!("{stack} yes"),
            (None, Kind::Switch | Kind::SwitchPair) => format!("{stack} off"),
        },
    }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
