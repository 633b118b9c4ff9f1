//! The settings that differ between two resolved profiles, or between two stacks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::profile::choose::Selection;
use crate::profile::stack::Stack;

/// One setting that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Path of the setting: `engine.mem_fraction`.
    pub setting: String,
    /// Its value on the left; `None` when it is not set.
    pub left: Option<String>,
    /// Its value on the right.
    pub right: Option<String>,
}

/// One property that differs between two stacks.
pub type StackChange = Change;

/// Returns the properties that differ between two stacks. Of the packages to install only the number is compared.
#[must_use]
pub fn stack_differences(left: &Stack, right: &Stack) -> Vec<StackChange> {
    let properties = |stack: &Stack| {
        let mut found = BTreeMap::new();
        if let Ok(Value::Object(map)) = serde_json::to_value(stack) {
            for (key, value) in map.iter().filter(|(key, _)| {
                !["name", "title", "extends", "install", "source", "flashinfer"].contains(&key.as_str())
            }) {
                flatten(key, value, &mut found);
            }
        }
        found.insert(
            "packages".to_owned(),
            stack.install.packages().count().to_string(),
        );
        found
    };
    between(&properties(left), &properties(right))
}

/// Keys that describe the file and not the server.
const NOT_SERVED: [&str; 5] = ["name", "title", "source", "extends", "on"];

/// Returns the settings that differ between `left` and `right`, sorted by name.
#[must_use]
pub fn differences(left: &Selection, right: &Selection) -> Vec<Change> {
    between(&settings(left), &settings(right))
}

fn between(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) -> Vec<Change> {
    let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| left.get(*name) != right.get(*name))
        .map(|name| Change {
            setting: name.clone(),
            left: left.get(name).cloned(),
            right: right.get(name).cloned(),
        })
        .collect()
}

fn settings(selection: &Selection) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Ok(Value::Object(profile)) = serde_json::to_value(&selection.profile) {
        for (key, value) in profile
            .iter()
            .filter(|(key, _)| !NOT_SERVED.contains(&key.as_str()))
        {
            flatten(key, value, &mut found);
        }
    }
    found
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{path}.{key}"), value, found);
            }
        }
        Value::String(text) => {
            found.insert(path.to_owned(), text.clone());
        }
        Value::Array(list) if list.is_empty() => {}
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Catalog;
    use super::*;

    #[test]
    fn only_differences_are_listed() {
        let catalog = Catalog::load(None).unwrap();
        let by = |name| catalog.resolve(name, None).unwrap();
        assert_eq!(differences(&by("rehearsal"), &by("rehearsal")), []);
        let changes = differences(&by("b200-fp8-low-latency"), &by("b200-fp8-high-throughput"));
        let names: Vec<&str> = changes.iter().map(|change| change.setting.as_str()).collect();
        assert_eq!(
            names,
            [
                "bench.max_concurrency",
                "bench.num_prompts",
                "engine.scheduler_recv_interval",
                "engine.stream_interval",
                "goal"
            ]
        );
        assert_eq!(
            (changes[3].left.as_deref(), changes[3].right.as_deref()),
            (None, Some("30"))
        );
    }
}
