//! The signatures of failures: data, read from `signatures/*.yaml`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::event::Stage;

/// The files with signatures. A new signature goes into the file of its area.
const FILES: [(&str, &str); 10] = [
    ("docker", include_str!("signatures/docker.yaml")),
    ("hardware", include_str!("signatures/hardware.yaml")),
    ("network", include_str!("signatures/network.yaml")),
    ("versions", include_str!("signatures/versions.yaml")),
    ("arguments", include_str!("signatures/arguments.yaml")),
    ("weights", include_str!("signatures/weights.yaml")),
    ("memory", include_str!("signatures/memory.yaml")),
    ("kernels", include_str!("signatures/kernels.yaml")),
    ("runtime", include_str!("signatures/runtime.yaml")),
    ("notes", include_str!("signatures/notes.yaml")),
];

/// The part of a failure that a signature is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It can be the first cause.
    Cause,
    /// It follows from another failure: other ranks time out, the parent ends its children.
    Effect,
    /// An end that was asked for.
    Stop,
    /// It is harmless.
    Note,
}

/// A kind of failure, and the texts that tell it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// `AREA.NAME`.
    pub kind: String,
    /// Its part in a failure.
    pub class: Class,
    /// 1 for a general text, 3 for a very special one: of several in one place, the most special one counts.
    pub weight: u8,
    /// The failure in a few words.
    pub title: String,
    /// Alternatives: lists of texts that all stand within one block. Letter case does not count.
    pub any: Vec<Vec<String>>,
    /// Stages of the start in which the texts mean this; empty if they do in each. A log that shows no stage fits, too.
    #[serde(default)]
    pub during: Vec<Stage>,
    /// True for a note that is about the whole traceback around its text.
    #[serde(default)]
    pub traceback: bool,
    /// Texts that must not stand in the block.
    #[serde(default)]
    pub unless: Vec<String>,
    /// The reason, in a sentence or two.
    pub why: String,
    /// Remedies, the most likely one first. `{fraction}` and its like stand for values of the server's arguments.
    #[serde(default)]
    pub fix: Vec<String>,
    /// Public reports and upstream files that have the texts.
    #[serde(default)]
    pub source: String,
}

/// Returns every signature. One that is not valid is left out, which a test does not allow.
#[must_use]
pub fn signatures() -> &'static [Signature] {
    static ALL: LazyLock<Vec<Signature>> = LazyLock::new(|| {
        let files = FILES.iter().filter_map(|(_, text)| read(text).ok());
        files.flatten().collect()
    });
    &ALL
}

fn read(text: &str) -> Result<Vec<Signature>, serde_yaml::Error> {
    serde_yaml::from_str(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_signature_is_whole() {
        let mut titles = BTreeSet::new();
        for (file, text) in FILES {
            let read = read(text).unwrap_or_else(|error| panic!("{file}.yaml: {error}"));
            for one in read {
                let kind = &one.kind;
                assert!(kind.contains('.'), "{file}: {kind}");
                assert!((1..=3).contains(&one.weight), "{kind}");
                assert!(
                    !one.any.is_empty() && one.any.iter().all(|all| !all.is_empty()),
                    "{kind}"
                );
                for text in one.any.iter().flatten().chain(&one.unless) {
                    assert!(text.len() >= 2, "{kind}: `{text}`");
                }
                assert!(
                    titles.insert(format!("{kind} {}", one.title)),
                    "{kind}: {}",
                    one.title
                );
                if one.class == Class::Cause {
                    assert!(!one.fix.is_empty() && !one.source.is_empty(), "{kind}");
                }
            }
        }
    }
}
