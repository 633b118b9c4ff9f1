//! The layers of `src/lib.rs`, and the modules that may use each crate, checked on the sources. A planted violation
//! must be found.

mod circles;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

/// The modules of this crate that each module may name.
const LAYERS: [(&str, &[&str]); 28] = [
    ("error", &[]),
    ("event", &[]),
    ("units", &[]),
    ("secret", &[]),
    ("redact", &["secret"]),
    ("choice", &[]),
    ("quote", &[]),
    ("rehearsal", &[]),
    ("facts", &["error", "quote", "units"]),
    ("profile", &["error", "units"]),
    ("report", &["event", "units"]),
    ("access", &["error"]),
    ("measure", &["choice", "error", "report", "units"]),
    ("evaluate", &["choice", "error", "measure", "report"]),
    ("chat", &["error", "report"]),
    (
        "sglang",
        &["error", "event", "facts", "profile", "report", "units"],
    ),
    ("diagnose", &["event", "redact", "sglang"]),
    ("supervise", &["diagnose", "report"]),
    ("top", &["facts", "report", "sglang"]),
    ("doctor", &["error", "facts", "profile", "sglang", "units"]),
    (
        "plan",
        &[
            "choice",
            "doctor",
            "error",
            "evaluate",
            "facts",
            "measure",
            "profile",
            "redact",
            "rehearsal",
            "sglang",
            "units",
        ],
    ),
    (
        "render",
        &[
            "choice", "doctor", "error", "evaluate", "facts", "measure", "plan", "profile", "quote",
            "sglang", "units",
        ],
    ),
    (
        "cli",
        &["choice", "evaluate", "measure", "plan", "render", "units"],
    ),
    (
        "effects",
        &[
            "access",
            "chat",
            "diagnose",
            "error",
            "evaluate",
            "event",
            "facts",
            "measure",
            "plan",
            "profile",
            "quote",
            "redact",
            "rehearsal",
            "report",
            "secret",
            "sglang",
            "units",
        ],
    ),
    (
        "ui",
        &[
            "chat", "cli", "diagnose", "doctor", "error", "event", "facts", "measure", "plan", "profile",
            "quote", "redact", "report", "sglang", "top", "units",
        ],
    ),
    (
        "commands",
        &[
            "access",
            "chat",
            "cli",
            "diagnose",
            "doctor",
            "effects",
            "error",
            "evaluate",
            "event",
            "facts",
            "measure",
            "plan",
            "profile",
            "quote",
            "redact",
            "rehearsal",
            "render",
            "report",
            "secret",
            "sglang",
            "supervise",
            "top",
            "ui",
            "units",
        ],
    ),
    ("main", &["cli", "commands", "effects", "ui"]),
    ("lib", &[]),
];

/// Modules without effects.
const PURE: [&str; 22] = [
    "access",
    "chat",
    "choice",
    "cli",
    "diagnose",
    "doctor",
    "error",
    "evaluate",
    "event",
    "facts",
    "measure",
    "plan",
    "profile",
    "quote",
    "redact",
    "rehearsal",
    "render",
    "report",
    "sglang",
    "supervise",
    "top",
    "units",
];
const EFFECTS: [&str; 8] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::net",
    "std::time::Instant",
    "SystemTime",
    "tokio",
    "println!",
];

/// The modules that may use a crate which does input or output, or whose types no other module should know.
const HOMES: [(&str, &[&str]); 35] = [
    ("aho_corasick", &["diagnose/scan.rs", "redact/"]),
    (
        "memchr",
        &[
            "diagnose/scan.rs",
            "effects/data/index.rs",
            "effects/load/response.rs",
            "effects/load/stub.rs",
            "measure/stream/",
        ],
    ),
    ("nix", &["effects/load/socket.rs"]),
    ("regex", &["diagnose/line.rs", "diagnose/pattern.rs", "redact/"]),
    ("base64", &["effects/docker/"]),
    ("bollard", &["effects/docker/"]),
    ("bollard_buildkit_proto", &["effects/docker/"]),
    ("csv", &["evaluate/data/table.rs", "measure/data/trace.rs"]),
    ("globset", &["plan/selection.rs"]),
    ("hf_hub", &["effects/hub/"]),
    ("xet", &["effects/hub/xet.rs"]),
    ("hickory_resolver", &["effects/addresses.rs"]),
    (
        "rustls",
        &[
            "effects/docker/dial.rs",
            "effects/expose/tls.rs",
            "effects/load/explain.rs",
            "effects/load/tls.rs",
        ],
    ),
    ("rustls_platform_verifier", &["effects/load/tls.rs"]),
    (
        "httparse",
        &["effects/load/response.rs", "effects/mirror/head.rs"],
    ),
    (
        "hyper",
        &[
            "effects/hub/",
            "effects/transfer/",
            "effects/docker/",
            "effects/expose/",
            "effects/http/",
        ],
    ),
    ("prost", &["effects/docker/progress.rs"]),
    ("ratatui", &["ui/top/"]),
    ("reqwest", &["effects/http/"]),
    ("roxmltree", &["effects/nvidia_smi.rs"]),
    ("tera", &["plan/dockerfile/mod.rs"]),
    (
        "tar",
        &[
            "effects/bundle/archive.rs",
            "effects/docker/archive/mod.rs",
            "effects/docker/archive/oci.rs",
        ],
    ),
    ("flate2", &["effects/bundle/archive.rs"]),
    ("serde_yaml", &["profile/yaml/", "diagnose/signature.rs"]),
    ("statrs", &["measure/statistics/distribution.rs"]),
    ("strsim", &["profile/spelling.rs"]),
    ("anyhow", &["error.rs"]),
    ("indicatif", &["ui/tty.rs", "ui/tty/"]),
    (
        "clap",
        &[
            "cli/",
            "commands/docs.rs",
            "commands/hints.rs",
            "commands/mod.rs",
            "commands/tips.rs",
        ],
    ),
    ("clap_mangen", &["commands/docs.rs"]),
    ("rustix", &["effects/", "ui/tty/echo.rs"]),
    ("rustyline", &["ui/prompt.rs"]),
    ("tonic", &["effects/docker/"]),
    ("tokenizers", &["effects/tokenizer.rs"]),
    ("tokio", &["effects/", "commands/"]),
];

/// Source files by path below `src`, whole.
fn texts() -> BTreeMap<String, String> {
    fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{prefix}{name}/"), found);
            } else if Path::new(&name).extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                found.insert(format!("{prefix}{name}"), text);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    found
}

/// The same without tests and comments.
fn sources() -> BTreeMap<String, String> {
    // A file may consist of tests alone.
    let code = |text: &str| {
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let product = product.split("#![cfg(test)]").next().unwrap();
        product.to_owned()
    };
    texts()
        .into_iter()
        .map(|(path, text)| (path, without_comments(&code(&text))))
        .collect()
}

fn without_comments(code: &str) -> String {
    code.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn module(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap()
}

/// The names after `crate::` (or `dsr1::` in `main.rs`), groups included.
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut names = Vec::new();
    for root in ["crate::", "dsr1::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                names.extend(
                    group
                        .split('}')
                        .next()
                        .unwrap()
                        .split(',')
                        .map(|part| word(part.trim())),
                );
            } else {
                names.push(word(rest));
            }
        }
    }
    names
}

/// Files that read the time of day: for texts and for names that no other run has. It decides nothing, because clocks
/// jump; ages of files are taken from the clock of their filesystem.
const CLOCKS: [&str; 6] = [
    "commands/build/mod.rs",
    "effects/docker/build.rs",
    "effects/files.rs",
    "effects/load/clock.rs",
    "effects/serve/gpu_watch.rs",
    "ui/json.rs",
];

fn violations(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, code) in sources {
        let own = module(path);
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == own) else {
            found.push(format!("{path}: `{own}` has no layer"));
            continue;
        };
        for name in named(code) {
            let is_module = LAYERS.iter().any(|(module, _)| *module == name);
            if is_module && name != own && !allowed.contains(&name.as_str()) {
                found.push(format!("{path} names `{name}`"));
            }
        }
        if PURE.contains(&own) {
            found.extend(
                EFFECTS
                    .iter()
                    .filter(|effect| code.contains(**effect))
                    .map(|effect| format!("{path} has `{effect}`")),
            );
        }
        for (name, homes) in HOMES {
            let uses = [format!("{name}::"), format!("use {name};")].iter().any(|text| {
                code.match_indices(text.as_str()).any(|(at, _)| {
                    !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
                })
            });
            if uses && !homes.iter().any(|home| path.starts_with(home)) {
                found.push(format!("{path} uses `{name}`, which only {homes:?} may use"));
            }
        }
        let is_test = path.ends_with("/tests.rs");
        if code.contains("SystemTime::now") && !is_test && !CLOCKS.contains(&path.as_str()) {
            found.push(format!("{path} trusts the time of day"));
        }
        let prints = [
            "print!",
            "println!",
            "eprint!",
            "eprintln!",
            "io::stdout()",
            "io::stderr()",
        ];
        if own != "ui" {
            found.extend(
                prints
                    .iter()
                    .filter(|word| code.contains(**word))
                    .map(|word| format!("{path} prints with `{word}`")),
            );
        }
    }
    found
}

#[test]
fn the_layers_hold() {
    assert_eq!(violations(&sources()), Vec::<String>::new());
}

#[test]
fn a_planted_violation_is_found() {
    let plant = |path: &str, line: &str| {
        let mut sources = sources();
        sources
            .get_mut(path)
            .unwrap_or_else(|| panic!("no {path}"))
            .push_str(line);
        violations(&sources)
    };
    assert_eq!(plant("plan/serve.rs", "\nuse crate::effects::Effects;").len(), 1);
    assert_eq!(plant("plan/serve.rs", "\nuse crate::{effects, units};").len(), 1);
    assert_eq!(
        plant("profile/stack.rs", "\nfn x() { std::fs::read(\"x\"); }").len(),
        1
    );
    assert_eq!(plant("ui/text.rs", "\nuse reqwest::Client;").len(), 1);
    assert_eq!(plant("effects/host.rs", "\nfn x() { println!(); }").len(), 1);
    assert_eq!(plant("effects/host.rs", "\nuse crate::cli::Format;").len(), 1);
    assert_eq!(
        plant("effects/host.rs", "\nfn x() { SystemTime::now(); }").len(),
        1
    );
}

#[test]
fn every_module_says_what_it_is_and_what_is_not_in_it_and_main_is_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources().keys() {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        assert!(text.starts_with("//! "), "{path} has no module documentation");
        let head = text.lines().map_while(|line| line.strip_prefix("//!"));
        let head = head.collect::<Vec<_>>().concat();
        // A folder says where it ends; the root has everything in it.
        assert!(
            !path.ends_with("/mod.rs") || head.contains("ot in this module"),
            "{path} does not say what is not in it"
        );
        if path == "main.rs" {
            assert!(text.lines().count() <= 30, "main.rs is no place for code");
        }
    }
}

/// Returns the modules that a `mod.rs` declares and its table does not name. Tests are left out.
fn missing_in_table(text: &str) -> Vec<String> {
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("//! |")).collect();
    let declared = text.lines().filter_map(|line| {
        let line = line.strip_suffix(';')?;
        let (_, name) = line.rsplit_once("mod ")?;
        let is_module = !line.starts_with(' ') && !line.starts_with("//") && name != "tests";
        is_module.then(|| name.to_owned())
    });
    declared
        .filter(|name| !rows.iter().any(|row| row.contains(&format!("`{name}`"))))
        .collect()
}

#[test]
fn a_table_of_modules_names_each_of_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut tables = 0;
    for path in sources().keys().filter(|path| path.ends_with("/mod.rs")) {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        if text.contains("//! | module |") || text.contains("//! | file |") {
            assert_eq!(missing_in_table(&text), Vec::<String>::new(), "{path}");
            tables += 1;
        }
    }
    assert!(tables >= 10, "{tables} tables");
    let planted = "//! | file | subject |\n//! | `a` | x |\nmod a;\npub(super) mod b;\nmod tests;";
    assert_eq!(missing_in_table(planted), ["b"]);
}

#[test]
fn the_map_names_every_module() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = std::fs::read_to_string(root.join("lib.rs")).unwrap();
    for (name, _) in LAYERS.iter().filter(|(name, _)| !["main", "lib"].contains(name)) {
        assert!(map.contains(&format!("[`{name}`]")), "the map lacks {name}");
        assert!(
            root.join(format!("{name}.rs")).exists() || root.join(name).is_dir(),
            "{name} is gone"
        );
    }
}
