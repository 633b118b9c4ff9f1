//! Plans measurements: the stack's own clients, in the runtime of the server.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{Plan, RunBenchmark, RunGsm8k, Server, Step, Threshold};
use crate::profile::{Bench, Stack};

/// The request of a run of the engine's own benchmark client, beside a running server.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchRequest {
    /// The server.
    pub server: Server,
    /// Python of its runtime: an absolute path, or a name on PATH there.
    pub python: String,
    /// Its stack.
    pub stack: Stack,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its URL: on this host, or on a node of a job.
    pub base_url: String,
    /// Model path as the runtime sees it; the client reads the tokenizer there.
    pub model: String,
    /// Environment of the client.
    pub env: BTreeMap<String, String>,
    /// Shape of the load.
    pub bench: Bench,
}

/// The place of a client of the engine's own, beside a running server.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineClient {
    /// The server.
    pub server: Server,
    /// Python of its runtime.
    pub python: String,
    /// Its stack.
    pub stack: Stack,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its URL: on this host, or on a node of a job.
    pub base_url: String,
    /// Environment of the client.
    pub env: BTreeMap<String, String>,
}

/// The request of `dsr1 eval gsm8k --engine-client`, for a running server.
#[derive(Debug, Clone, PartialEq)]
pub struct Gsm8kRequest {
    /// The place of the script.
    pub client: EngineClient,
    /// Path or URL of the questions.
    pub data: String,
    /// Expected SHA-256 of the data, lower-case hex.
    pub sha256: Option<String>,
    /// Number of worked examples before each question.
    pub shots: u32,
    /// Number of questions.
    pub questions: u32,
    /// Requests in flight.
    pub parallel: u32,
    /// Maximum length of an answer in tokens.
    pub max_new_tokens: u32,
    /// Minimum accuracy to pass.
    pub min_accuracy: Option<Threshold>,
}

/// Plans a benchmark with the engine's own client.
#[must_use]
pub fn bench(request: &BenchRequest, facts: &Facts) -> Plan {
    let client = engine_client(request, facts);
    Plan::new("bench", vec![Step::RunBenchmark(client)])
}

/// Returns the run of the engine's own client.
#[must_use]
pub(super) fn engine_client(request: &BenchRequest, facts: &Facts) -> RunBenchmark {
    let Bench {
        backend,
        dataset,
        input_len,
        output_len,
        range_ratio,
        max_concurrency,
        num_prompts,
        warmup_requests,
    } = &request.bench;
    let mut argv = vec![request.python.clone()];
    argv.extend(request.stack.bench.iter().cloned());
    let pairs = [
        ("--backend", backend.clone()),
        ("--base-url", request.base_url.clone()),
        ("--model", request.model.clone()),
        ("--dataset-name", dataset.clone()),
        ("--random-input-len", input_len.to_string()),
        ("--random-output-len", output_len.to_string()),
        ("--random-range-ratio", range_ratio.to_string()),
        ("--max-concurrency", max_concurrency.to_string()),
        ("--num-prompts", num_prompts.to_string()),
    ];
    argv.extend(
        pairs
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value]),
    );
    if let Some(count) = warmup_requests {
        argv.extend(["--warmup-requests".to_owned(), count.to_string()]);
    }
    RunBenchmark {
        output: match &request.server {
            Server::Docker { name } => format!("/tmp/{name}-bench.jsonl"),
            Server::Process { name, .. } | Server::Slurm { name, .. } => {
                format!("{}/{name}-bench.jsonl", results_dir(facts))
            }
        },
        server: request.server.clone(),
        base_url: request.base_url.clone(),
        argv,
        env: request.env.clone(),
        num_prompts: num_prompts.get(),
        results_dir: results_dir(facts),
    }
}

/// Plans a GSM8K evaluation by the engine's own script.
///
/// # Errors
/// [`Kind::Usage`] for a URL without a hash, or a hash that is not 64 hex digits.
pub fn gsm8k(request: &Gsm8kRequest, facts: &Facts) -> Result<Plan> {
    check_data(&request.data, request.sha256.as_deref())?;
    let script = gsm8k_script(request, facts);
    Ok(Plan::new("eval gsm8k", vec![Step::RunGsm8k(script)]))
}

/// Checks that the questions of an evaluation are certain.
///
/// # Errors
/// [`Kind::Usage`] for a URL without a hash, or a hash that is not 64 hex digits.
pub(super) fn check_data(data: &str, sha256: Option<&str>) -> Result<()> {
    let is_url = data.starts_with("http://") || data.starts_with("https://");
    let hash_fits = |hash: &str| hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit());
    match sha256 {
        Some(hash) if !hash_fits(hash) => Err(Error::new(Kind::Usage, "--sha256 needs 64 hex digits")),
        None if is_url => Err(Error::new(Kind::Usage, "data from a URL needs --sha256")
            .cause("scores are comparable only if the questions are known to be the same")
            .hint("download the file once, read it, and pass the output of `sha256sum`")),
        _ => Ok(()),
    }
}

/// Returns the run of the engine's own script.
pub(super) fn gsm8k_script(request: &Gsm8kRequest, facts: &Facts) -> RunGsm8k {
    let EngineClient {
        server,
        python,
        stack,
        port,
        base_url,
        env,
    } = &request.client;
    let host = if stack.gsm8k_host_scheme {
        "http://127.0.0.1"
    } else {
        "127.0.0.1"
    };
    let mut argv = vec![python.clone()];
    argv.extend(stack.gsm8k.iter().cloned());
    let pairs = [
        ("--num-shots", request.shots.to_string()),
        ("--num-questions", request.questions.to_string()),
        ("--parallel", request.parallel.to_string()),
        ("--max-new-tokens", request.max_new_tokens.to_string()),
        ("--host", host.to_owned()),
        ("--port", port.to_string()),
    ];
    argv.extend(
        pairs
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value]),
    );
    argv.push("--data-path".to_owned());
    RunGsm8k {
        server: server.clone(),
        base_url: base_url.clone(),
        argv,
        env: env.clone(),
        data: request.data.clone(),
        sha256: request.sha256.as_ref().map(|hash| hash.to_ascii_lowercase()),
        questions: request.questions,
        min_accuracy: request.min_accuracy,
        results_dir: results_dir(facts),
    }
}

/// Returns the folder of all results.
pub(super) fn results_dir(facts: &Facts) -> String {
    format!("{}/results", facts.paths.state)
}
