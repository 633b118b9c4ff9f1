//! The facts of a result that can explain another figure, the weightiest first.

use std::collections::BTreeMap;

use crate::report::{MeasuredLoad, Measurement, Subject};

/// A fact of one result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) subject: Subject,
    pub(super) what: String,
    /// `None` if the result does not tell it.
    pub(super) value: Option<String>,
    /// True if it can change the figures by itself.
    pub(super) matters: bool,
}

/// Facts of `server.host` that describe the start and not the host.
const OF_START: [&str; 5] = ["weights", "image", "base_image", "environment", "start"];
/// Facts of a host that seldom change a figure.
const NOTES_OF_HOST: [&str; 6] = [
    "os",
    "kernel",
    "memory",
    "client_os",
    "client_kernel",
    "client_memory",
];
/// Facts that a server tells as arguments and that are facts of their own, or new in each start.
pub const NOT_ARGUMENTS: [&str; 4] = ["version", "model_path", "served_model_name", "random_seed"];

/// Returns the arguments of a server that decide its answers and its speed. The size of the KV pool is not among them: a server finds
/// it anew in each start.
#[must_use]
pub fn deciding_arguments(told: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    told.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| !NOT_ARGUMENTS.contains(name) && *name != "max_total_num_tokens")
        .collect()
}

/// Returns the facts of a result. The seed is not among them: it is a new one in each run, so that no cache knows the prompts.
pub(super) fn facts_of(run: &Measurement) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |subject, what: &str, value: Option<String>, matters| {
        let what = what.to_owned();
        facts.push(Fact {
            subject,
            what,
            value,
            matters,
        });
    };
    let server = &run.server;
    let told = |name: &str| server.host.get(name).cloned();
    add(Subject::Verdicts, "trust", Some(trust_of(run).to_owned()), true);
    add(Subject::Model, "model", Some(server.model.clone()), true);
    add(Subject::Model, "weights", weights_of(run), true);
    for (what, value, matters) in facts_of_load(run) {
        add(Subject::Load, what, Some(value), matters);
    }
    add(Subject::Server, "sglang", server.sglang.clone(), true);
    add(Subject::Server, "stack", server.stack.clone(), true);
    add(Subject::Server, "profile", server.profile.clone(), true);
    for what in ["image", "base_image", "environment"] {
        add(Subject::Server, what, told(what), true);
    }
    for (what, value) in &server.arguments {
        if !NOT_ARGUMENTS.contains(&what.as_str()) {
            add(Subject::Server, what, Some(value.clone()), true);
        }
    }
    // Its port is in the digest: two servers of one host have different ones.
    add(Subject::Server, "start", told("start"), false);
    for what in ["gpus", "driver", "cpus"] {
        add(Subject::Host, what, told(what), true);
    }
    let address = address_of(&server.base_url).to_owned();
    add(Subject::Host, "address", Some(address), false);
    for (what, value) in &server.host {
        let is_known =
            ["gpus", "driver", "cpus"].contains(&what.as_str()) || OF_START.contains(&what.as_str());
        if !is_known {
            let matters = !NOTES_OF_HOST.contains(&what.as_str());
            add(Subject::Host, what, Some(value.clone()), matters);
        }
    }
    add(Subject::Client, "version", Some(run.client.version.clone()), true);
    add(
        Subject::Definitions,
        "client",
        Some(run.client.name.clone()),
        true,
    );
    if let Some(figures) = &run.figures {
        let counted = figures.counts_each_chunk.to_string();
        add(Subject::Definitions, "counts_each_chunk", Some(counted), true);
    }
    facts
}

fn facts_of_load(run: &Measurement) -> [(&'static str, String, bool); 21] {
    let load = &run.load;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "no limit".to_owned());
    [
        ("api", load.api.clone(), true),
        ("kind", load.kind.clone(), true),
        ("input_len", load.input_len.to_string(), true),
        ("output_len", load.output_len.to_string(), true),
        ("range_ratio", load.range_ratio.to_string(), true),
        ("shared_prefix", load.shared_prefix.to_string(), true),
        ("turns", load.turns.to_string(), true),
        ("think_s", load.think_s.to_string(), true),
        (
            "max_concurrency",
            or_none(load.max_concurrency.map(|most| most.to_string())),
            true,
        ),
        (
            "request_rate",
            or_none(load.request_rate.map(|rate| rate.to_string())),
            true,
        ),
        ("data", data_of(load), true),
        (
            "speed",
            load.speed
                .map_or_else(|| "no trace".to_owned(), |speed| speed.to_string()),
            true,
        ),
        (
            "prompts",
            load.prompts.clone().unwrap_or_else(|| "ids".to_owned()),
            true,
        ),
        ("warm_up", load.warm_up.to_string(), true),
        ("ramp_s", load.ramp_s.to_string(), true),
        ("ignores_end", load.ignores_end.to_string(), true),
        ("temperature", load.temperature.to_string(), true),
        ("requests", load.requests.to_string(), false),
        ("least_s", load.least_s.to_string(), false),
        (
            "most_s",
            or_none(load.most_s.map(|seconds| seconds.to_string())),
            false,
        ),
        (
            "vocabulary",
            load.vocabulary
                .map_or_else(|| "not told".to_owned(), |size| size.to_string()),
            false,
        ),
    ]
}

/// Returns the source of prompts, with the hash of its file: the path does not matter.
fn data_of(load: &MeasuredLoad) -> String {
    match &load.file {
        Some(file) if file.repeats => format!("{} {} again and again", load.data, file.sha256),
        Some(file) => format!("{} {}", load.data, file.sha256),
        None => load.data.clone(),
    }
}

fn trust_of(run: &Measurement) -> &'static str {
    use crate::report::Trust;
    match run.trust {
        Trust::Trusted | Trust::Unknown => "trusted",
        Trust::Doubtful => "doubtful",
        Trust::Untrusted => "untrusted",
    }
}

/// Returns the commit of the weights, as the host or the server tells it.
fn weights_of(run: &Measurement) -> Option<String> {
    let server = &run.server;
    let of_path = || {
        let path = server.arguments.get("model_path")?;
        commit_of_path(path).map(str::to_owned)
    };
    server.host.get("weights").cloned().or_else(of_path)
}

/// Returns the commit of the weights at a path of a hub cache (`models--OWNER--NAME/snapshots/COMMIT`); `None` for another
/// folder.
#[must_use]
pub fn commit_of_path(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/snapshots/")?;
    let commit = rest.split('/').next()?;
    let is_hash = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(commit)
}

/// Returns the host in a URL, without its port.
fn address_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_differ_in_each_start_decide_no_answer() {
        let told = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(own).collect()
        };
        let one = told(&[
            ("kv_cache_dtype", "auto"),
            ("max_total_num_tokens", "4000"),
            ("random_seed", "1"),
        ]);
        let restarted = told(&[
            ("kv_cache_dtype", "auto"),
            ("max_total_num_tokens", "4001"),
            ("random_seed", "2"),
        ]);
        let other = told(&[("kv_cache_dtype", "fp8_e5m2"), ("random_seed", "1")]);
        assert_eq!(deciding_arguments(&one), deciding_arguments(&restarted));
        assert_ne!(deciding_arguments(&one), deciding_arguments(&other));
    }

    #[test]
    fn the_commit_of_weights_is_in_the_path_of_a_snapshot() {
        let commit = "4236a6af538feda4548eca9ab308586007567f52";
        let path = format!("/models/models--a--b/snapshots/{commit}");
        assert_eq!(commit_of_path(&path), Some(commit));
        assert_eq!(commit_of_path(&format!("{path}/config.json")), Some(commit));
        assert_eq!(commit_of_path("/data/weights"), None);
        assert_eq!(commit_of_path("/x/snapshots/main"), None);
    }

    #[test]
    fn an_address_has_no_port() {
        assert_eq!(address_of("http://127.0.0.1:30000"), "127.0.0.1");
        assert_eq!(address_of("https://api.lab.example/v1"), "api.lab.example");
        assert_eq!(address_of("http://[::1]:8000/x"), "[::1]");
        assert_eq!(address_of("http://[::1]"), "[::1]");
    }
}
