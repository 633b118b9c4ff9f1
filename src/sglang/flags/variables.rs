//! The environment variables that the Python sources of SGLang name, by version (`stacks/flags/variables.json`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::profile::Version;
use crate::sglang::flags::Lifetime;

const VARIABLES: &str = include_str!("../../../stacks/flags/variables.json");

/// Variables by name, with the versions whose sources name them.
#[derive(Debug, Deserialize)]
pub struct Variables {
    #[serde(rename = "schema")]
    _schema: String,
    versions: Vec<Version>,
    #[serde(rename = "variables")]
    spans: BTreeMap<String, Vec<(usize, usize)>>,
}

/// The relation of a version to a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Its sources name it.
    Named,
    /// Only sources of other versions name it: those from the first to the last.
    Elsewhere(Version, Version),
    /// No known version names it.
    Unknown,
}

/// Returns the bundled list, which is read at the first call.
#[must_use]
pub fn variables() -> &'static Variables {
    static ALL: LazyLock<Variables> = LazyLock::new(|| {
        // A test reads the file, so an empty list is never released.
        serde_json::from_str(VARIABLES).unwrap_or(Variables {
            _schema: String::new(),
            versions: Vec::new(),
            spans: BTreeMap::new(),
        })
    });
    &ALL
}

impl Variables {
    /// Returns what `version` does with a variable; an unknown version is read as the newest older one.
    #[must_use]
    pub fn reading(&self, name: &str, version: Version) -> Reading {
        let Some(spans) = self.spans.get(name) else {
            return Reading::Unknown;
        };
        let at = self
            .versions
            .partition_point(|known| *known <= version)
            .saturating_sub(1);
        if spans.iter().any(|(first, last)| (*first..=*last).contains(&at)) {
            return Reading::Named;
        }
        let version_at = |at: usize| self.versions.get(at).copied();
        let first = spans.first().and_then(|span| version_at(span.0));
        let last = spans.last().and_then(|span| version_at(span.1));
        match (first, last) {
            (Some(first), Some(last)) => Reading::Elsewhere(first, last),
            _ => Reading::Unknown,
        }
    }

    /// Returns the versions whose sources name a variable; `None` if no known version does.
    #[must_use]
    pub fn lifetime(&self, name: &str) -> Option<Lifetime> {
        let spans = self.spans.get(name)?;
        let (first, last) = (spans.first()?.0, spans.last()?.1);
        let newest = self.versions.len().saturating_sub(1);
        Some(Lifetime {
            since: self.versions.get(first).copied().filter(|_| first > 0),
            until: self.versions.get(last).copied().filter(|_| last < newest),
            gone: self.versions.get(last + 1).copied(),
        })
    }

    /// Returns every name.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.spans.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sglang::flags::{Parser, history};

    #[test]
    fn variables_are_known_for_each_version_whose_options_are() {
        assert_eq!(variables().versions, history(Parser::Server).versions());
        assert!(variables().names().count() > 1000);
    }

    #[test]
    fn a_version_reads_what_its_sources_name() {
        let version = |text: &str| -> Version { text.parse().unwrap() };
        let all = variables();
        for (name, at, reading) in [
            (
                "SGLANG_DISAGGREGATION_HEARTBEAT_MAX_FAILURE",
                "0.5.8",
                Reading::Named,
            ),
            ("SGL_ENABLE_JIT_DEEPGEMM", "0.4.10.post2", Reading::Named),
            ("SGLANG_NO_SUCH", "0.5.8", Reading::Unknown),
        ] {
            assert_eq!(all.reading(name, version(at)), reading, "{name} in {at}");
        }
        let later = all.reading("SGLANG_ENABLE_POST_CAPTURE_KV_SIZING", version("0.4.10.post2"));
        assert!(matches!(later, Reading::Elsewhere(..)), "{later:?}");
    }
}
