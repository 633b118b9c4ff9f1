//! Locks: one file with everything that decides the answers of a server, and the differences between a lock and a host.
//!
//! A lock deliberately omits the server's name and port, and paths of the host: they do not affect the answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, WeightFile};
use crate::plan::digest::digest;
use crate::plan::install::{BuildRequest, Installation};
use crate::plan::request::{ServeRequest, Target};
use crate::plan::{arguments, serve};
use crate::redact::shown_value;
use crate::units::counted;

/// Version of the JSON form of [`Lock`].
pub const SCHEMA: &str = "dsr1.lock/1";

/// Placeholder for the hub cache in a locked command line.
const CACHE: &str = "$HF_HUB_CACHE";

/// Everything that decides the answers of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Version of dsr1 that wrote it.
    pub dsr1: String,
    /// The profile.
    pub profile: LockedText,
    /// The stack.
    pub stack: LockedText,
    /// The software that runs the engine.
    pub engine: LockedEngine,
    /// The weights.
    pub weights: LockedWeights,
    /// The engine's command line, with `$HF_HUB_CACHE` for the hub cache and `python3` for its Python.
    pub argv: Vec<String>,
    /// The engine's environment.
    pub env: BTreeMap<String, String>,
}

/// A profile or a stack, built in or the user's, identified by its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedText {
    /// Name of the profile or stack.
    pub name: String,
    /// SHA-256 of the text; for a profile, including the texts that it extends.
    pub sha256: String,
}

/// The software that runs the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "runtime", rename_all = "snake_case", deny_unknown_fields)]
pub enum LockedEngine {
    /// An image that dsr1 built.
    Docker {
        /// Tag, which holds the digest of the inputs.
        image: String,
        /// Base image.
        base: String,
        /// Digest of the base image; for an image without a registry, its id.
        base_digest: String,
    },
    /// A venv that dsr1 created.
    Process {
        /// Digest of the packages, the files and the Python version.
        packages: String,
        /// Version of Python.
        python: String,
    },
}

/// The weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedWeights {
    /// Repository.
    pub repo: String,
    /// Commit.
    pub commit: String,
    /// Every verified file; `None` if the weights were not pulled.
    pub files: Option<Vec<WeightFile>>,
}

/// One difference between a lock and a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockDifference {
    /// Name of the part that differs.
    pub what: String,
    /// Value in the lock.
    pub locked: String,
    /// Value on this host.
    pub here: String,
    /// True if the difference affects the answers; otherwise it is only informative.
    pub matters: bool,
}

/// Returns the lock of the server that a request would start on this host.
///
/// # Errors
/// [`Kind::Host`] if the base image's digest or the weights' commit is not known; [`Kind::Usage`] as for `serve`.
pub fn lock_server(request: &ServeRequest, stack_text: &str, facts: &Facts, dsr1: &str) -> Result<Lock> {
    let launch = request.accepted_launch()?;
    let ServeRequest { profile, stack, .. } = request;
    let texts: Vec<&String> = request.origins.files().iter().map(|(_, text)| text).collect();
    let profile_parts: Vec<(&str, &String)> = texts.iter().map(|text| ("file", *text)).collect();
    let python = match request.target {
        Target::Docker => stack.image_python.clone(),
        Target::Process => "python3".to_owned(),
    };
    let cache = serve::cache_root(request, facts);
    let neutral = |word: &str| {
        let inside = !cache.is_empty() && word.starts_with(cache);
        if inside {
            word.replacen(cache, CACHE, 1)
        } else {
            word.to_owned()
        }
    };
    let argv = arguments::arguments(&python, request, &launch, facts)
        .into_iter()
        // The address does not change what is served.
        .filter(|argument| {
            !matches!(
                argument.words.first().map(String::as_str),
                Some("--host" | "--port")
            )
        })
        .flat_map(|argument| argument.words)
        .map(|word| neutral(&word))
        .collect();
    let env = serve::env(request, &launch, cache)
        .into_iter()
        // A lock is a file that others read: the value of a secret is no part of it, and does not change the answers.
        .map(|(name, value)| {
            let value = shown_value(&name, &value).into_owned();
            (name, neutral(&value))
        })
        .collect();
    // Weights that cannot be locked are said first: an image would take long to be made.
    let weights = locked_weights(request, facts)?;
    Ok(Lock {
        schema: SCHEMA.to_owned(),
        dsr1: dsr1.to_owned(),
        profile: LockedText {
            name: profile.name.clone(),
            sha256: digest(&profile_parts),
        },
        stack: LockedText {
            name: stack.name.clone(),
            sha256: digest(&[("file", &stack_text.to_owned())]),
        },
        engine: locked_engine(request, facts)?,
        weights,
        argv,
        env,
    })
}

fn locked_engine(request: &ServeRequest, facts: &Facts) -> Result<LockedEngine> {
    let ServeRequest { stack, image, .. } = request;
    let built = match Installation::new(&BuildRequest::for_server(request), facts)? {
        Installation::Venv(venv) => {
            return Ok(LockedEngine::Process {
                packages: venv.inputs,
                python: facts
                    .host
                    .python
                    .as_ref()
                    .map(|python| python.version.clone())
                    .unwrap_or_default(),
            });
        }
        Installation::Environment(environment) => {
            let found = facts.host.environment.as_ref();
            return Ok(LockedEngine::Process {
                packages: environment.sha256,
                python: found.map(|found| found.version.clone()).unwrap_or_default(),
            });
        }
        Installation::Image(built) => built,
    };
    let base = image.base.clone().unwrap_or_else(|| stack.base_image.clone());
    let Some(base_digest) = built.base_digest else {
        return Err(Error::new(
            Kind::Host,
            format!("stack `{}` cannot be locked here", stack.name),
        )
        .cause(format!(
            "the digest of {base} is not pinned, and the image is not on this host"
        ))
        .hint(format!("docker pull {base}")));
    };
    Ok(LockedEngine::Docker {
        image: built.tag,
        base,
        base_digest,
    })
}

fn locked_weights(request: &ServeRequest, facts: &Facts) -> Result<LockedWeights> {
    let model = &request.profile.model;
    if let Some(path) = &model.path {
        return Err(
            Error::new(Kind::Usage, format!("the weights in `{path}` cannot be locked"))
                .cause("files in a folder have no revision, and no hash is known of them")
                .hint(format!(
                    "lock the repository, as dsr1 pull {} fetches it",
                    model.repo
                )),
        );
    }
    let Some(commit) = facts.resolved_commit(&model.repo, &model.revision) else {
        return Err(Error::new(
            Kind::Host,
            format!("{}@{} cannot be locked", model.repo, model.revision),
        )
        .cause("the revision is a branch or a tag, and its commit is not in the cache of this host")
        .hint(format!("dsr1 pull {} --revision {}", model.repo, model.revision)));
    };
    Ok(LockedWeights {
        repo: model.repo.clone(),
        commit: commit.to_owned(),
        files: facts.weights.get(&format!("{}@{commit}", model.repo)).cloned(),
    })
}

/// Returns the differences between a lock and the same request on this host, in words.
#[must_use]
pub fn lock_differences(locked: &Lock, here: &Lock) -> Vec<LockDifference> {
    let Lock {
        schema: _,
        dsr1,
        profile,
        stack,
        engine,
        weights,
        argv,
        env,
    } = locked;
    let mut found = Differences(Vec::new());
    found.text("dsr1", dsr1, &here.dsr1, false);
    found.pinned("profile", profile, &here.profile);
    found.pinned("stack", stack, &here.stack);
    found.engine(engine, &here.engine);
    found.weights(weights, &here.weights);
    found.argv(argv, &here.argv);
    let names: std::collections::BTreeSet<&String> = env.keys().chain(here.env.keys()).collect();
    for name in names {
        let value =
            |env: &BTreeMap<String, String>| env.get(name).cloned().unwrap_or_else(|| "not set".to_owned());
        found.text(&format!("variable {name}"), &value(env), &value(&here.env), true);
    }
    found.0
}

struct Differences(Vec<LockDifference>);

impl Differences {
    fn text(&mut self, what: &str, locked: &str, here: &str, matters: bool) {
        if locked != here {
            self.0.push(LockDifference {
                what: what.to_owned(),
                locked: locked.to_owned(),
                here: here.to_owned(),
                matters,
            });
        }
    }

    fn pinned(&mut self, what: &str, locked: &LockedText, here: &LockedText) {
        if locked.name == here.name {
            // A changed setting shows in the command line; the text itself may differ only in a comment.
            self.text(
                &format!("text of {what} {}", locked.name),
                &locked.sha256,
                &here.sha256,
                false,
            );
        } else {
            self.text(what, &locked.name, &here.name, true);
        }
    }

    fn engine(&mut self, locked: &LockedEngine, here: &LockedEngine) {
        match (locked, here) {
            (
                LockedEngine::Docker {
                    image,
                    base,
                    base_digest,
                },
                LockedEngine::Docker {
                    image: image_here,
                    base: base_here,
                    base_digest: digest_here,
                },
            ) => {
                self.text("image", image, image_here, true);
                self.text("base image", base, base_here, false);
                self.text("digest of the base image", base_digest, digest_here, true);
            }
            (
                LockedEngine::Process { packages, python },
                LockedEngine::Process {
                    packages: packages_here,
                    python: python_here,
                },
            ) => {
                self.text("Python", python, python_here, true);
                if python == python_here {
                    self.text("packages", packages, packages_here, true);
                }
            }
            _ => self.text("runtime", locked.name(), here.name(), true),
        }
    }

    fn weights(&mut self, locked: &LockedWeights, here: &LockedWeights) {
        self.text("model", &locked.repo, &here.repo, true);
        self.text("commit of the weights", &locked.commit, &here.commit, true);
        let Some(files) = &locked.files else {
            if here.files.is_some() {
                self.text("weights", "locked before they were pulled", "pulled", false);
            }
            return;
        };
        let Some(now) = &here.files else {
            return self.text(
                "weights",
                &counted(files.len(), "verified file"),
                "not verified here",
                true,
            );
        };
        let hashes: BTreeMap<&str, &str> = now
            .iter()
            .map(|file| (file.path.as_str(), file.hash.as_str()))
            .collect();
        for file in files {
            let here = hashes.get(file.path.as_str()).copied().unwrap_or("missing");
            self.text(&file.path, &file.hash, here, true);
        }
        let known: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        for file in now.iter().filter(|file| !known.contains(&file.path.as_str())) {
            self.text(&file.path, "missing", &file.hash, true);
        }
    }

    /// Compares flag by flag in any order. The values of a repeated flag are compared as one.
    fn argv(&mut self, locked: &[String], here: &[String]) {
        let (left, right) = (values_by_flag(locked), values_by_flag(here));
        let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for name in names {
            let value = |flags: &BTreeMap<String, String>| match flags.get(name).map(String::as_str) {
                None => "not set".to_owned(),
                Some("") => "set".to_owned(),
                Some(value) => value.to_owned(),
            };
            self.text(name, &value(&left), &value(&right), true);
        }
    }
}

impl LockedEngine {
    const fn name(&self) -> &'static str {
        match self {
            Self::Docker { .. } => "docker",
            Self::Process { .. } => "process",
        }
    }
}

/// Returns the flags with their values. The words before the first flag belong to `program`.
fn values_by_flag(argv: &[String]) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut name = "program".to_owned();
    for word in argv {
        if word.starts_with("--") {
            let (flag, value) = word.split_once('=').unwrap_or((word, ""));
            flag.clone_into(&mut name);
            let values = found.entry(name.clone()).or_default();
            if !value.is_empty() {
                append_value(values, value);
            }
        } else {
            append_value(found.entry(name.clone()).or_default(), word);
        }
    }
    found
}

fn append_value(values: &mut String, value: &str) {
    if !values.is_empty() {
        values.push(' ');
    }
    values.push_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;

    fn facts() -> Facts {
        serde_json::from_str(include_str!("../../tests/fixtures/facts-b200.json")).unwrap()
    }

    fn locked(profile: &str, stack: Option<&str>, facts: &Facts) -> Result<Lock> {
        let catalog = Catalog::load(None).unwrap();
        let found = catalog.resolve(profile, stack).unwrap();
        let text = catalog.stack_text(&found.stack.name);
        let request = ServeRequest::new(found, Target::Docker);
        lock_server(&request, &text, facts, "1.0.0")
    }

    #[test]
    fn the_same_request_has_no_differences() {
        let lock = locked("fp8-high-throughput", None, &facts()).unwrap();
        assert_eq!(lock_differences(&lock, &lock), []);
        insta::assert_json_snapshot!(lock);
        let text = serde_json::to_string(&lock).unwrap();
        assert_eq!(serde_json::from_str::<Lock>(&text).unwrap(), lock);
    }

    #[test]
    fn a_stack_without_a_digest_is_not_locked_before_its_image_is_here() {
        let mut facts = facts();
        let error = locked("fp8-high-throughput", Some("current"), &facts).unwrap_err();
        assert_eq!(error.kind(), Kind::Host);
        assert_eq!(error.hints(), ["docker pull lmsysorg/sglang:v0.5.23-cu130"]);
        let image = "lmsysorg/sglang:v0.5.23-cu130".to_owned();
        facts.docker.digests.insert(image, "sha256:1".to_owned());
        let lock = locked("fp8-high-throughput", Some("current"), &facts).unwrap();
        assert!(matches!(lock.engine, LockedEngine::Docker { base_digest, .. } if base_digest == "sha256:1"));
    }

    #[test]
    fn a_branch_without_a_commit_is_not_locked() {
        let mut facts = facts();
        facts.snapshots.clear();
        let error = locked("fp4-basic", None, &facts).unwrap_err();
        assert_eq!(
            error.hints(),
            ["dsr1 pull nvidia/DeepSeek-R1-0528-FP4 --revision main"]
        );
    }

    #[test]
    fn every_part_that_differs_is_named() {
        let here = locked("fp8-high-throughput", None, &facts()).unwrap();
        let mut was = here.clone();
        was.dsr1 = "0.9".to_owned();
        was.profile.sha256 = "old".to_owned();
        was.weights.commit = "0".repeat(40);
        was.weights.files = Some(vec![WeightFile {
            path: "config.json".to_owned(),
            size: 1,
            hash: "ab".to_owned(),
        }]);
        was.argv.retain(|word| word != "--disable-radix-cache");
        was.argv
            .extend(["--mem-fraction-static".to_owned(), "0.5".to_owned()]);
        was.env
            .insert("SGL_ENABLE_JIT_DEEPGEMM".to_owned(), "1".to_owned());
        let LockedEngine::Docker { base_digest, .. } = &mut was.engine else {
            panic!()
        };
        *base_digest = "sha256:0".to_owned();
        let found = lock_differences(&was, &here);
        let names: Vec<(&str, bool)> = found.iter().map(|one| (one.what.as_str(), one.matters)).collect();
        assert_eq!(
            names,
            [
                ("dsr1", false),
                ("text of profile fp8-high-throughput", false),
                ("digest of the base image", true),
                ("commit of the weights", true),
                ("weights", true),
                ("--disable-radix-cache", true),
                ("--mem-fraction-static", true),
                ("variable SGL_ENABLE_JIT_DEEPGEMM", true),
            ]
        );
    }
}
