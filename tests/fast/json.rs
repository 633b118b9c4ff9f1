//! The documents for machines are those of `docs/json.md`, and stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{self, Home};

/// The rows of the table of documents: schemas and their fields.
pub(crate) fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let (_, text) = support::documents()
        .into_iter()
        .find(|(path, _)| path == "docs/json.md")
        .unwrap();
    let quoted =
        |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut found = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `dsr1.")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        for schema in quoted(cells[0]) {
            found.insert(schema, quoted(cells[2]));
        }
    }
    found
}

/// The sources below `dir`.
fn sources(dir: &Path, found: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            sources(&entry.path(), found);
        } else if entry.path().extension().is_some_and(|end| end == "rs") {
            found.push_str(&std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn every_schema_and_event_is_documented() {
    let mut code = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    let schemas: BTreeSet<&str> = code
        .split("\"dsr1.")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| name.contains('/'))
        .collect();
    let documented: BTreeSet<String> = documented().into_keys().collect();
    let schemas: BTreeSet<String> = schemas.iter().map(|name| format!("dsr1.{name}")).collect();
    assert_eq!(schemas, documented);
    // The variants of `Event`, in snake case.
    let event = include_str!("../../src/event.rs");
    let variants = event
        .split("pub enum Event {")
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    let names = variants.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split([' ', '(']).next()?;
        name.starts_with(|c: char| c.is_ascii_uppercase())
            .then(|| snake(name))
    });
    let (_, text) = support::documents()
        .into_iter()
        .find(|(path, _)| path == "docs/json.md")
        .unwrap();
    for name in names {
        assert!(text.contains(&format!("\n| `{name}` | ")), "{name}");
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The documents of commands that need no Docker and no engine.
fn made(home: &Home) -> Vec<(String, Value)> {
    let path = |name: &str| home.path().join(name);
    std::fs::write(path("facts.json"), include_str!("../fixtures/facts-b200.json")).unwrap();
    let mine = home
        .run(&["profiles", "new", "mine", "--from", "fp8-low-latency"])
        .expect(0);
    std::fs::write(path("mine.yaml"), mine.stdout).unwrap();
    let commands = [
        "doctor fp8-low-latency --facts facts.json",
        "plan fp8-low-latency --facts facts.json",
        "serve fp8-low-latency --dry-run --facts facts.json",
        "export compose fp8-low-latency --facts facts.json",
        "profiles list",
        "profiles show rehearsal",
        "profiles new mine",
        "profiles diff fp8-low-latency fp8-high-throughput",
        "profiles validate mine.yaml",
        "profiles migrate mine.yaml --to current",
        "profiles advise --isl 1024 --osl 1024 --concurrency 8 --facts facts.json",
        "stacks list",
        "stacks show cpu",
        "stacks diff guide current",
        "explain --tp",
        "status",
        "clean --dry-run",
        "weights list",
        "build --stack guide --explain",
        "lock fp8-low-latency --facts facts.json",
        "check --facts facts.json",
        "mirror --rehearsal --write-only",
        "ask hi",
    ];
    commands
        .iter()
        .map(|command| {
            let mut args: Vec<&str> = command.split(' ').collect();
            args.extend(["--format", "json"]);
            ((*command).to_owned(), home.run(&args).json())
        })
        .collect()
}

#[test]
fn the_documents_have_the_documented_fields() {
    let home = Home::new().without_docker();
    let documented = documented();
    for (command, document) in made(&home) {
        let schema = document["schema"].as_str().unwrap();
        let mut expected = documented[schema].clone();
        if schema == "dsr1.plan/1" && !command.starts_with("plan ") {
            for of_plan in ["plan", "origins", "done"] {
                expected.remove(of_plan);
            }
        }
        expected.remove("plan");
        let fields: BTreeSet<String> = document
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "schema")
            .cloned()
            .collect();
        assert_eq!(fields, expected, "{command}");
        if command.starts_with("doctor ") {
            let facts = document["facts"].as_object().unwrap();
            // Facts that are not known may be left out.
            let unknown = facts
                .keys()
                .find(|key| *key != "schema" && !documented["dsr1.facts/1"].contains(*key));
            assert_eq!(unknown, None);
        }
    }
}

/// Notes the type of each field of a value below `path`.
fn note_fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                // Keys that are data and not fields: flags, variables, paths, revisions.
                let key = if key
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                {
                    key.as_str()
                } else {
                    "*"
                };
                note_fields(value, &format!("{path}.{key}"), found);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| note_fields(item, &format!("{path}[]"), found)),
        Value::Null => {}
        Value::Bool(_) => drop(found.insert(format!("{path}: bool"))),
        Value::Number(_) => drop(found.insert(format!("{path}: number"))),
        Value::String(_) => drop(found.insert(format!("{path}: string"))),
    }
}

/// A change here is a change for every program that reads the document: a removed field needs a new number of the schema.
#[test]
fn the_fields_of_the_documents_are_stable() {
    let home = Home::new().without_docker();
    let mut text = String::new();
    for (command, document) in made(&home) {
        let mut found = BTreeSet::new();
        note_fields(&document, "", &mut found);
        let _ = writeln!(text, "{command}");
        for field in found {
            let _ = writeln!(text, "  {field}");
        }
    }
    insta::assert_snapshot!(text);
}
