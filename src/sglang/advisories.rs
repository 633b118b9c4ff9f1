//! Published vulnerabilities of SGLang by version, each with the condition under which a server of dsr1 has it.
//!
//! The versions are those in whose wheels the code in question is (0.4.9.post6, 0.4.10.post2, 0.5.1 to 0.5.5, 0.5.9, 0.5.13, 0.5.19 to
//! 0.5.23); where a bound lies between two of them, the wider range counts. Not in the table, because no server of dsr1 has them: the
//! server for images and video (CVE-2026-3059, -7301, -7302), and the script that replays crash dumps (CVE-2026-3989); and
//! CVE-2026-7669, whose code is in none of these wheels.

use crate::profile::Version;

/// The condition of an advisory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Every server has it: whoever reaches its port can use it.
    Port,
    /// A server with this option has it.
    Option(&'static str),
}

/// A published vulnerability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advisory {
    /// Its number in a public list.
    pub id: &'static str,
    /// First version that has it.
    pub from: Version,
    /// First version that does not have it; `None` if every later one that is known has it.
    pub before: Option<Version>,
    /// The condition.
    pub condition: Condition,
    /// The vulnerability in a sentence.
    pub text: &'static str,
    /// The remedy, besides a version without it.
    pub fix: &'static str,
    /// The place where it is described.
    pub source: &'static str,
}

/// The oldest version of which anything is known.
const FIRST: Version = Version::new(0, 4, 9);

/// The remedy for what is open to whoever reaches the port.
const CLOSED: &str = "the port is on 127.0.0.1, and dsr1 expose does not pass this path on";

/// All advisories, the oldest first.
pub const ADVISORIES: [Advisory; 5] = [
    Advisory {
        id: "CVE-2025-10164",
        from: FIRST,
        before: Some(Version::new(0, 5, 5)),
        condition: Condition::Port,
        text: "/update_weights_from_tensor unpickles data from a client, which runs code in that data",
        fix: CLOSED,
        source: "sglang#11909",
    },
    Advisory {
        id: "CVE-2026-3060",
        from: Version::new(0, 5, 6),
        before: Some(Version::new(0, 5, 10)),
        condition: Condition::Option("--language-only"),
        text: "the receiver for a separate encoder unpickles data that arrives on a port that is open to all networks",
        fix: "leave the option out: text models have no encoder",
        source: "VU#665416",
    },
    Advisory {
        id: "CVE-2026-5760",
        from: Version::new(0, 5, 6),
        before: Some(Version::new(0, 5, 13)),
        condition: Condition::Port,
        text: "/v1/rerank renders the chat template of the model without a sandbox, which runs code of a hostile model",
        fix: "serve models that you trust; the path is not passed on by dsr1 expose",
        source: "VU#915947",
    },
    Advisory {
        id: "CVE-2026-7304",
        from: FIRST,
        before: None,
        condition: Condition::Option("--enable-custom-logit-processor"),
        text: "a request may hold a pickled function, which the server runs",
        fix: "leave the option out, or let nobody but yourself reach the port",
        source: "VU#777338",
    },
    Advisory {
        id: "GHSA-h74r-pwx2-6qr2",
        from: Version::new(0, 5, 6),
        before: None,
        condition: Condition::Port,
        text: "/load_lora_adapter_from_tensors unpickles what a client sends; its list of safe classes can be bypassed",
        fix: CLOSED,
        source: "sglang#30165",
    },
];

impl Advisory {
    /// Returns true if a version has the vulnerability.
    #[must_use]
    pub fn is_of(&self, version: Version) -> bool {
        version >= self.from && self.before.is_none_or(|before| version < before)
    }

    /// Returns the condition in a few words.
    #[must_use]
    pub fn condition_text(&self) -> String {
        match self.condition {
            Condition::Port => "open to whoever reaches the port".to_owned(),
            Condition::Option(option) => format!("with {option}"),
        }
    }
}

/// Returns the advisories of a version.
pub fn advisories_of(version: Version) -> impl Iterator<Item = &'static Advisory> {
    ADVISORIES.iter().filter(move |advisory| advisory.is_of(version))
}

/// Returns the advisories that a server of a version with these options has; `has_option` tells whether it has one.
pub fn applying(
    version: Version,
    has_option: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &'static Advisory> {
    advisories_of(version).filter(move |advisory| match advisory.condition {
        Condition::Port => true,
        Condition::Option(option) => has_option(option),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every version that a stack pins or a migration names, with all options and with none.
    #[test]
    fn the_advisories_of_each_version_and_option() {
        let versions = [
            "0.4.9.post6",
            "0.4.10.post2",
            "0.5.3",
            "0.5.5",
            "0.5.6",
            "0.5.9",
            "0.5.10",
            "0.5.12",
            "0.5.13",
            "0.5.19",
            "0.5.23",
        ];
        let ids = |version: Version, option: &str| {
            let found: Vec<&str> = applying(version, |name| name == option)
                .map(|one| one.id)
                .collect();
            found.join(" ")
        };
        let mut table = Vec::new();
        for text in versions {
            let version: Version = text.parse().unwrap();
            table.push(format!("{text}: {}", ids(version, "")));
            for option in ["--language-only", "--enable-custom-logit-processor"] {
                table.push(format!("  {option}: {}", ids(version, option)));
            }
        }
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn each_advisory_has_a_number_a_range_and_a_source() {
        for advisory in ADVISORIES {
            assert!(
                advisory.before.is_none_or(|before| advisory.from < before),
                "{}",
                advisory.id
            );
            assert!(advisory.id.starts_with("CVE-20") || advisory.id.starts_with("GHSA-"));
            assert!(!advisory.source.is_empty() && !advisory.fix.is_empty());
        }
    }
}
