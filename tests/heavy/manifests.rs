//! Objects of Kubernetes against the schemas of Kubernetes and the rules that no schema has. Each of these checks finds the
//! mutant that was made for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::manifests::manifests;

/// Returns the problems by name, of the manifests or of their mutants.
fn problems(what: &str) -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = Command::new(root.join("tests/support/kubernetes-validate.sh"))
        .output()
        .unwrap();
    assert!(
        installed.status.success(),
        "the package index must be reachable: {installed:?}"
    );
    let python = String::from_utf8(installed.stdout).unwrap();
    let mut child = Command::new(python.trim())
        .args(["-B", "tests/support/manifests.py", what])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let texts: BTreeMap<&str, String> = manifests().into_iter().collect();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&serde_json::to_vec(&texts).unwrap()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn kubernetes_takes_the_manifests() {
    let found = problems("check");
    assert_eq!(found.len(), 4);
    assert!(found.values().all(Vec::is_empty), "{found:#?}");
}

#[test]
fn every_mutant_is_found() {
    let found = problems("mutants");
    assert!(found.len() >= 60, "{}", found.len());
    let missed: Vec<&String> = found
        .iter()
        .filter(|(_, problems)| problems.is_empty())
        .map(|(name, _)| name)
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}
