//! One pinned package, as a stack file writes it: `name==version`, followed by the hashes of its files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A package at an exact version: `torch==2.14.1 sha256:... sha256:...`, one hash for each file that may be installed.
///
/// Narrow on purpose: a requirement of pip can also be a URL, a path or an option. A stack file may not hold those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Requirement {
    /// Name with its extras, and the version: `lm_eval[api]==0.4.9`.
    pinned: String,
    /// SHA-256 of the files that may be installed, in hex; empty when the index gives none.
    hashes: Vec<String>,
}

impl Requirement {
    /// The name of the package as it is written, without extras.
    #[must_use]
    pub fn name(&self) -> &str {
        let end = self.pinned.find(['[', '=']).unwrap_or(self.pinned.len());
        self.pinned.get(..end).unwrap_or_default()
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.pinned.split_once("==").map_or("", |(_, version)| version)
    }

    /// Returns true if pip can verify the file that it downloads.
    #[must_use]
    pub const fn is_hashed(&self) -> bool {
        !self.hashes.is_empty()
    }

    /// The line of a requirements file.
    #[must_use]
    pub fn line(&self) -> String {
        let hashes = self.hashes.iter().map(|hash| format!(" --hash=sha256:{hash}"));
        std::iter::once(self.pinned.clone()).chain(hashes).collect()
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pinned)
    }
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ');
        let pinned = words.next().unwrap_or_default();
        let (name, version) = pinned
            .split_once("==")
            .ok_or_else(|| format!("`{}` is not name==version", text.escape_debug()))?;
        let in_name = |c: char| c.is_ascii_alphanumeric() || "._-[],".contains(c);
        let in_version = |c: char| c.is_ascii_alphanumeric() || ".+!".contains(c);
        let leads = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !(leads(name) && name.chars().all(in_name) && leads(version) && version.chars().all(in_version)) {
            return Err(format!("`{}` is not name==version", text.escape_debug()));
        }
        let hashes = words.map(|word| {
            word.strip_prefix("sha256:")
                .filter(|hash| is_sha256(hash))
                .map(str::to_owned)
                .ok_or_else(|| format!("`{}` of {name} is not sha256:HEX", word.escape_debug()))
        });
        Ok(Self {
            pinned: pinned.to_owned(),
            hashes: hashes.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<String> for Requirement {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> Self {
        let hashes = requirement.hashes.iter().map(|hash| format!(" sha256:{hash}"));
        std::iter::once(requirement.pinned.clone())
            .chain(hashes)
            .collect()
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_written_for_pip() {
        let hash = "ab".repeat(32);
        let one: Requirement = format!("lm_eval[api]==0.4.9 sha256:{hash}").parse().unwrap();
        assert_eq!(one.name(), "lm_eval");
        assert_eq!(one.line(), format!("lm_eval[api]==0.4.9 --hash=sha256:{hash}"));
        assert_eq!(String::from(one.clone()).parse::<Requirement>().unwrap(), one);
        assert!(!"torch==2.7.1+cu128".parse::<Requirement>().unwrap().is_hashed());
    }

    #[test]
    fn words_that_pip_would_read_as_something_else_are_refused() {
        for text in [
            "",
            "torch",
            "torch>=2",
            "--index-url==1",
            "a==1; python_version<'3'",
            "a @ https://h/a.whl",
            "../a==1",
            "a==1\nb==2",
            "a==1 --pre",
            "a==1 sha256:00",
            "a==*",
        ] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
