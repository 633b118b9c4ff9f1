//! The options of CUDA graphs by phase: a JSON text wins over the options of a phase, and these over the switches for both
//! (`parse_cuda_graph_config` in `cuda_graph_hook.py`, 0.5.23).

use serde_json::Value;

use crate::profile::{Role, Version};
use crate::sglang::flags::Parsed;

/// First version that captures graphs of prefill on an engine for prefill (`server_args.py`, 0.5.10).
const PREFILL_CAPTURES: Version = Version::new(0, 5, 10);
/// First version that captures no graphs on an engine for prefill again (`server_args.py`, 0.5.13).
const PREFILL_CAPTURES_NONE: Version = Version::new(0, 5, 13);
/// First version whose roles switch the graphs of the other phase off, unless they are named (`server_args.py`, 0.5.16).
const GRAPHS_BY_ROLE: Version = Version::new(0, 5, 16);

/// The JSON text.
const CONFIG: &str = "--cuda-graph-config";

/// The options of the CUDA graphs as they stand on a command line.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the engine")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GraphOptions {
    /// Largest decode batch with a graph, if named.
    pub(super) batch: Option<u32>,
    /// The decode batches with a graph, if named one by one.
    pub(super) batches: Vec<u32>,
    /// Most tokens of a prefill with a graph, if named.
    pub(super) prefill_tokens: Option<u32>,
    /// Graphs of decode are not switched off.
    pub(super) decode: bool,
    /// Graphs of prefill are not switched off.
    pub(super) prefill: bool,
    /// Graphs of prefill are not switched off by the option that versions before 0.5.14 have for them.
    pub(super) piecewise: bool,
    /// The backend of prefill's graphs is named, so the engine does not switch them off by itself.
    pub(super) prefill_named: bool,
}

impl GraphOptions {
    pub(super) fn new(parsed: &Parsed<'_>) -> Self {
        let text = parsed.value(CONFIG).unwrap_or_default();
        let config: Value = serde_json::from_str(text).unwrap_or_default();
        let number = |name: &str| parsed.value(name)?.trim().parse::<u32>().ok();
        let configured = |phase: &str| u32::try_from(config[phase]["max_bs"].as_u64()?).ok();
        let listed = config["decode"]["bs"].as_array().map(|list| {
            let sizes = list.iter().filter_map(Value::as_u64);
            sizes.filter_map(|size| u32::try_from(size).ok()).collect()
        });
        let piecewise = !parsed.has_option("--disable-piecewise-cuda-graph");
        Self {
            batch: configured("decode")
                .or_else(|| number("--cuda-graph-max-bs-decode"))
                .or_else(|| number("--cuda-graph-max-bs")),
            batches: listed
                .or_else(|| numbers(parsed, "--cuda-graph-bs-decode"))
                .or_else(|| numbers(parsed, "--cuda-graph-bs"))
                .unwrap_or_default(),
            prefill_tokens: configured("prefill").or_else(|| number("--cuda-graph-max-bs-prefill")),
            decode: has_graphs(parsed, &config, "decode"),
            prefill: piecewise && has_graphs(parsed, &config, "prefill"),
            piecewise,
            prefill_named: config["prefill"]["backend"].is_string()
                || parsed.has_option("--cuda-graph-backend-prefill"),
        }
    }

    /// Returns the options without the graphs that the engine switches off by its role.
    pub(super) fn of_role(mut self, role: Option<Role>, decode_named: bool, version: Version) -> Self {
        match role {
            Some(Role::Prefill) if version >= GRAPHS_BY_ROLE => self.decode &= decode_named,
            Some(Role::Prefill) if version >= PREFILL_CAPTURES && version < PREFILL_CAPTURES_NONE => {
                self.decode &= self.piecewise;
            }
            Some(Role::Prefill) => {
                self.decode = false;
                self.prefill = false;
            }
            Some(Role::Decode) if version >= GRAPHS_BY_ROLE => self.prefill &= self.prefill_named,
            _ => {}
        }
        self
    }
}

/// Returns true if the backend of decode's graphs is named, so that the engine does not switch them off by itself.
pub(super) fn names_decode(parsed: &Parsed<'_>) -> bool {
    let config: Value = serde_json::from_str(parsed.value(CONFIG).unwrap_or_default()).unwrap_or_default();
    config["decode"]["backend"].is_string() || parsed.has_option("--cuda-graph-backend-decode")
}

/// Returns the numbers of an option with a list of values.
fn numbers(parsed: &Parsed<'_>, name: &str) -> Option<Vec<u32>> {
    let values = &parsed.get(name)?.values;
    Some(
        values
            .iter()
            .filter_map(|value| value.trim().parse().ok())
            .collect(),
    )
}

/// Returns false if the graphs of a phase are switched off.
fn has_graphs(parsed: &Parsed<'_>, config: &Value, phase: &str) -> bool {
    let named = config[phase]["backend"].as_str();
    match named.or_else(|| parsed.value(&format!("--cuda-graph-backend-{phase}"))) {
        Some(backend) => backend != "disabled",
        None => {
            !parsed.has_option("--disable-cuda-graph")
                && !parsed.has_option(&format!("--disable-{phase}-cuda-graph"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sglang::flags::{Parser, history};

    fn options(line: &str) -> GraphOptions {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let table = history(Parser::Server).table("0.5.23".parse().unwrap());
        GraphOptions::new(&table.parse(&args))
    }

    #[test]
    fn the_json_text_wins_over_options_and_switches() {
        let found = options(
            r#"--cuda-graph-max-bs-decode 64 --disable-cuda-graph --cuda-graph-config {"decode":{"backend":"full","max_bs":8}}"#,
        );
        assert_eq!((found.batch, found.decode, found.prefill), (Some(8), true, false));
        let found =
            options(r#"--cuda-graph-config {"decode":{"bs":[1,2,16]},"prefill":{"backend":"disabled"}}"#);
        assert_eq!(found.batches, [1, 2, 16]);
        assert!(found.decode && !found.prefill && found.prefill_named);
    }

    #[test]
    fn a_text_that_is_no_configuration_changes_nothing() {
        for text in [
            "{",
            "[]",
            "1",
            r#"{"decode":3}"#,
            r#"{"decode":{"max_bs":-1,"bs":"x"}}"#,
        ] {
            let found = options(&format!(
                "--cuda-graph-config {text} --cuda-graph-max-bs-decode 64"
            ));
            assert_eq!((found.batch, found.decode), (Some(64), true), "{text}");
        }
    }
}
