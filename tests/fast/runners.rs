//! The two test programs: a file that no program names would never run, and nobody would notice.

use std::collections::BTreeMap;
use std::path::Path;

/// Rust files below a folder by their path in it, with their text.
fn sources(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let below = sources(&entry.path());
            found.extend(
                below
                    .into_iter()
                    .map(|(path, text)| (format!("{name}/{path}"), text)),
            );
        } else if entry.path().extension().is_some_and(|kind| kind == "rs") {
            found.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    found
}

/// Files that the file above them does not declare.
fn forgotten(sources: &BTreeMap<String, String>) -> Vec<&str> {
    let is_declared = |path: &str| {
        let (above, name) = match path.trim_end_matches(".rs").rsplit_once('/') {
            Some((folder, name)) => (format!("{folder}.rs"), name),
            None => ("main.rs".to_owned(), path.trim_end_matches(".rs")),
        };
        let text = sources.get(&above).map_or("", String::as_str);
        text.lines()
            .any(|line| line.trim_start_matches("pub(crate) ") == format!("mod {name};"))
    };
    sources
        .keys()
        .map(String::as_str)
        .filter(|path| *path != "main.rs" && !is_declared(path))
        .collect()
}

#[test]
fn every_file_of_a_runner_is_a_module_of_it() {
    for runner in ["fast", "heavy"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(runner);
        let mut sources = sources(&dir);
        assert!(sources.len() > 6, "{runner}: {:?}", sources.keys());
        assert_eq!(forgotten(&sources), Vec::<&str>::new(), "{runner}");
        // A planted file is found, beside the others and below them.
        for planted in ["planted.rs", "crash/planted.rs"] {
            sources.insert(planted.to_owned(), String::new());
            assert_eq!(forgotten(&sources), [planted], "{runner}");
            sources.remove(planted);
        }
    }
}

/// `tests/run` names the modules of the heavy tests one by one; a name that matches no test would pass.
#[test]
fn the_heavy_tests_are_all_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let script = std::fs::read_to_string(root.join("run")).unwrap();
    let sources = sources(&root.join("heavy"));
    let has_tests = |name: &str| {
        let is_its = |path: &&String| **path == format!("{name}.rs") || path.starts_with(&format!("{name}/"));
        sources
            .keys()
            .filter(is_its)
            .any(|path| sources[path].contains("test]\n"))
    };
    let modules = sources["main.rs"].lines().filter_map(|line| {
        let name = line.strip_prefix("mod ")?.strip_suffix(';')?;
        has_tests(name).then_some(name)
    });
    for name in modules {
        assert!(
            script.contains(&format!(" {name}::")),
            "tests/run does not run {name}"
        );
    }
    let chains = sources["engine.rs"].matches("\nfn the_whole_chain").count();
    assert_eq!((chains, script.matches("the_whole_chain").count()), (2, 2));
}
