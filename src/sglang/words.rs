//! The meaning of options and variables: `stacks/flags/words.yaml`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::profile::{Version, yaml};
use crate::sglang::flags::Parser;

/// The meaning of one option or variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// Its effect.
    pub what: String,
    /// The unit of its value.
    pub unit: String,
    /// The key of a profile's `engine` that sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knob: Option<String>,
    /// The replacement for versions that do not have it any more, or not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// Upstream's statement about its removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<String>,
    /// Variables only: first version that reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Version>,
    /// Variables only: first version that warns of it but still reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Version>,
    /// Variables only: first version that ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Version>,
}

/// All options and variables whose meaning dsr1 knows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    server: BTreeMap<String, Word>,
    bench: BTreeMap<String, Word>,
    /// Environment variables.
    pub environment: BTreeMap<String, Word>,
}

/// Returns the bundled words, which are read at the first call. A test reads them, so an empty set is never released.
#[must_use]
pub fn words() -> &'static Words {
    static PARSED: LazyLock<Words> = LazyLock::new(|| {
        let text = include_str!("../../stacks/flags/words.yaml");
        yaml::parse(text, "stacks/flags/words.yaml").unwrap_or_default()
    });
    &PARSED
}

impl Words {
    /// Returns the word for an option, by any of its spellings.
    #[must_use]
    pub fn option(&self, parser: Parser, names: &[String]) -> Option<&Word> {
        names.iter().find_map(|name| self.named(parser, name))
    }

    /// Returns the word for exactly this spelling.
    #[must_use]
    pub fn named(&self, parser: Parser, name: &str) -> Option<&Word> {
        match parser {
            Parser::Server => self.server.get(name),
            Parser::Bench => self.bench.get(name),
        }
    }

    /// Returns every setting that an option or a variable here is for.
    pub fn knobs(&self) -> impl Iterator<Item = &str> + Clone {
        let all = self.server.values().chain(self.environment.values());
        all.filter_map(|word| word.knob.as_deref())
    }

    /// Returns the options of a parser whose meaning is known.
    pub fn names(&self, parser: Parser) -> impl Iterator<Item = &str> {
        let of = match parser {
            Parser::Server => &self.server,
            Parser::Bench => &self.bench,
        };
        of.keys().map(String::as_str)
    }
}

/// Options of vLLM with their equals in SGLang; those with the same name are left out.
const OF_VLLM: [(&str, &str); 15] = [
    ("--all2all-backend", "--moe-a2a-backend"),
    ("--block-size", "--page-size"),
    (
        "--disable-log-requests",
        "none: SGLang logs no requests unless --log-requests is given",
    ),
    ("--enable-dbo", "--enable-two-batch-overlap"),
    ("--enable-expert-parallel", "--ep-size N"),
    (
        "--enable-prefix-caching",
        "none: it is on, and --disable-radix-cache turns it off",
    ),
    ("--enforce-eager", "--disable-cuda-graph"),
    ("--gpu-memory-utilization", "--mem-fraction-static"),
    ("--max-model-len", "--context-length"),
    (
        "--max-num-batched-tokens",
        "--max-prefill-tokens and --chunked-prefill-size",
    ),
    ("--max-num-seqs", "--max-running-requests"),
    ("--model", "none: the profile names the model"),
    ("--pipeline-parallel-size", "--pp-size"),
    ("--swap-space", "none"),
    ("--tokenizer", "--tokenizer-path"),
];

/// Returns SGLang's equal of an option of vLLM.
pub(crate) fn of_vllm(option: &str) -> Option<&'static str> {
    let found = OF_VLLM.iter().find(|(name, _)| *name == option)?;
    Some(found.1)
}

#[cfg(test)]
mod tests {
    use super::super::flags::history;
    use super::*;

    #[test]
    fn every_word_names_a_known_option_or_variable() {
        let foreign = ["--save-result", "--result-filename", "--max-num-seqs"];
        for parser in [Parser::Server, Parser::Bench] {
            assert!(words().names(parser).count() > 10);
            for name in words().names(parser).filter(|name| !foreign.contains(name)) {
                assert!(
                    history(parser).lifetime(name).is_some(),
                    "{name} is in no version"
                );
            }
        }
        assert!(words().environment.len() >= 9);
    }

    #[test]
    fn every_knob_has_a_word() {
        // The error of an unknown key lists the keys that exist.
        let unknown = serde_json::from_str::<crate::profile::EngineSettings>(r#"{ "?": 1 }"#);
        let text = unknown.unwrap_err().to_string();
        let (_, expected) = text.split_once("expected one of ").unwrap();
        let keys: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        assert!(keys.len() > 30, "{keys:?}");
        let known: Vec<&str> = words().knobs().collect();
        // Their contents are variables and options, each with a word of its own.
        let free = ["env", "extra_args"];
        let missing: Vec<_> = keys
            .iter()
            .filter(|key| !free.contains(key) && !known.contains(key))
            .collect();
        assert!(
            missing.is_empty(),
            "no word in stacks/flags/words.yaml has `knob:` with {missing:?}"
        );
    }

    #[test]
    fn the_guides_two_tables_are_covered() {
        let server = "--tokenizer-path --trust-remote-code --enable-dp-attention --disable-radix-cache \
            --max-running-requests --chunked-prefill-size --mem-fraction-static --max-prefill-tokens --model-path \
            --tensor-parallel-size --data-parallel-size --attention-backend";
        let bench = "--model --num-prompts --dataset-name --random-input-len --random-output-len --max-concurrency \
            --save-result --result-filename";
        for name in server.split_whitespace() {
            assert!(words().named(Parser::Server, name).is_some(), "{name}");
        }
        for name in bench.split_whitespace() {
            assert!(words().named(Parser::Bench, name).is_some(), "{name}");
        }
    }
}
