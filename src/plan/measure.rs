//! Plans a measurement by dsr1's own client.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::measure::course::Course;
use crate::measure::{Api, Extent, Lengths, Load, PromptForm, PromptSource, Turns};
use crate::plan::digest::digest;
use crate::plan::eval::{BenchRequest, engine_client, results_dir};
use crate::plan::measured_host::{host_of_client, host_of_server};
use crate::plan::{MeasureCourse, MeasureLoad, Plan, Server, Step, Strictness};
use crate::profile::Bench;

/// Measured requests of each slot unless the user says otherwise: `measure::verdicts` believes a steady load from so many on.
pub const WAVES: u32 = 5;
/// Fewest measured requests unless the user says otherwise: those of a median (`measure::statistics`).
pub const FEWEST: u32 = 11;
/// Least seconds of measuring unless the user says otherwise.
pub const LEAST_S: u32 = 10;
/// The same as a part of `dsr1 up`, whose user waits for an endpoint.
const LEAST_OF_CHAIN_S: u32 = 5;
/// Longest silence of a stream: a long prompt is computed for minutes before the first token.
pub const STALL_S: u32 = 600;

/// The server of a measurement.
#[derive(Debug, Clone, PartialEq)]
pub enum MeasuredEndpoint {
    /// A server of this host, with what its own client would need.
    Own {
        /// The request of its own client, for a load that this has.
        client: Box<BenchRequest>,
        /// Its profile.
        profile: String,
        /// Facts about its start that its labels have: `image`, `base_image`, `start`.
        origin: BTreeMap<String, String>,
    },
    /// A server that is known by its URL only.
    Url {
        /// Base URL, without `/v1`.
        base_url: String,
        /// The model's name in requests; `None` for the first one that it lists.
        model: Option<String>,
    },
}

/// The request of `dsr1 bench`.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasureRequest {
    /// The server.
    pub endpoint: MeasuredEndpoint,
    /// Size of the vocabulary, if the user says it.
    pub vocabulary: Option<u32>,
    /// The API.
    pub api: Api,
    /// The load.
    pub load: Load,
    /// The lengths.
    pub lengths: Lengths,
    /// The source of the prompts.
    pub source: PromptSource,
    /// The extent.
    pub extent: Extent,
    /// Seed of all random numbers; `None` for a new one in each run.
    pub seed: Option<u64>,
    /// True if the server is to ignore the model's mark of an end.
    pub ignores_end: bool,
    /// The verdicts that make the command fail.
    pub strictness: Strictness,
    /// File for the records of all requests.
    pub records: Option<String>,
}

/// Returns the load of a profile, in the terms of dsr1's own client.
#[must_use]
pub fn load_of_profile(bench: &Bench) -> (Load, Lengths) {
    let lengths = Lengths {
        input: bench.input_len.get(),
        output: bench.output_len.get(),
        ratio: bench.range_ratio,
        shared_prefix: 0,
        turns: Turns::SINGLE,
    };
    (Load::Concurrency(bench.max_concurrency.get()), lengths)
}

/// Returns the number of measured requests of a load unless the user says it: at least `count`, and enough to be believed. Each slot
/// has as many as a conversation has turns, and each turn enough for a median.
#[must_use]
pub fn requests_for(load: &Load, count: u32, turns: u32) -> u32 {
    let slots = load.slots().unwrap_or(0);
    count
        .max(FEWEST.saturating_mul(turns))
        .max(slots.saturating_mul(WAVES.max(turns)))
}

/// Plans a measurement.
#[must_use]
pub fn measure(request: &MeasureRequest, facts: &Facts) -> Plan {
    Plan::new("bench", vec![measure_step(request, facts)])
}

/// The request of `dsr1 bench sweep` and `dsr1 bench slo`.
#[derive(Debug, Clone, PartialEq)]
pub struct CourseRequest {
    /// Everything but the loads.
    pub measure: MeasureRequest,
    /// The loads.
    pub course: Course,
    /// Seconds without a load between two points.
    pub cool_down_s: u32,
    /// True to measure kept points again.
    pub is_fresh: bool,
}

/// Plans a measurement at several loads.
#[must_use]
pub fn measure_course(command: &str, request: &CourseRequest, facts: &Facts) -> Plan {
    let measure = MeasureLoad {
        by_engine: None,
        ..load_step(&request.measure, facts)
    };
    let json = |value: serde_json::Value| value.to_string();
    let key = digest(&[
        ("measure", &json(serde_json::json!(measure))),
        ("course", &json(serde_json::json!(request.course))),
        ("cool_down", &request.cool_down_s.to_string()),
    ]);
    let name = measure.server.as_ref().map_or("server", |server| server.name());
    let partial = format!("{}/{name}-sweep-{}.partial.json", measure.results_dir, &key[..12]);
    let step = MeasureCourse {
        measure,
        course: request.course.clone(),
        cool_down_s: request.cool_down_s,
        key,
        partial,
        is_fresh: request.is_fresh,
    };
    Plan::new(command, vec![Step::MeasureCourse(Box::new(step))])
}

fn measure_step(request: &MeasureRequest, facts: &Facts) -> Step {
    Step::MeasureLoad(Box::new(load_step(request, facts)))
}

fn load_step(request: &MeasureRequest, facts: &Facts) -> MeasureLoad {
    let mut step = MeasureLoad {
        server: None,
        base_url: String::new(),
        model: None,
        profile: None,
        stack: None,
        model_path: None,
        host: BTreeMap::new(),
        vocabulary: request.vocabulary,
        api: request.api,
        load: request.load,
        lengths: request.lengths,
        source: request.source.clone(),
        extent: request.extent,
        seed: request.seed,
        ignores_end: request.ignores_end,
        strictness: request.strictness,
        results_dir: results_dir(facts),
        records: request.records.clone(),
        by_engine: None,
    };
    match &request.endpoint {
        MeasuredEndpoint::Own {
            client,
            profile,
            origin,
        } => {
            step.host = host_of_server(&client.server, &client.stack, &client.model, facts);
            step.host.extend(origin.clone());
            step.server = Some(client.server.clone());
            step.base_url.clone_from(&client.base_url);
            step.model_path = Some(client.model.clone());
            step.profile = Some(profile.clone());
            step.stack = Some(client.stack.name.clone());
            // The engine's own client does not read such files, and holds no such conversations.
            // It runs beside the engine: not from here, for a server in a job.
            let is_here = !matches!(client.server, Server::Slurm { .. });
            let is_its_load = is_here && request.source.file.is_none() && request.lengths.turns.is_single();
            step.by_engine = is_its_load.then(|| engine_client(client, facts));
        }
        MeasuredEndpoint::Url { base_url, model } => {
            step.base_url.clone_from(base_url);
            step.model.clone_from(model);
            step.host = host_of_client(facts);
        }
    }
    step
}

/// Returns the measurement at the end of a chain: the profile's load, by dsr1's client if it has the API.
pub(super) fn bench_step(client: BenchRequest, profile: &str, facts: &Facts) -> Step {
    let Some(api) = Api::of_sglang_backend(&client.bench.backend) else {
        return Step::RunBenchmark(engine_client(&client, facts));
    };
    let server = OwnServer {
        client,
        profile,
        origin: BTreeMap::new(),
    };
    measure_step(&profile_request(server, api, LEAST_OF_CHAIN_S), facts)
}

/// A server of this host whose profile says the load.
#[derive(Debug)]
pub struct OwnServer<'a> {
    /// The request of its own client, with the load.
    pub client: BenchRequest,
    /// Its profile.
    pub profile: &'a str,
    /// Facts about its start that its labels have: `image`, `base_image`, `start`.
    pub origin: BTreeMap<String, String>,
}

/// Plans a measurement of a profile's load, for a comparison with another one.
///
/// # Errors
/// [`Kind::Usage`] for a backend without an API of dsr1's client.
pub fn measure_profile(server: OwnServer<'_>, facts: &Facts) -> Result<Plan> {
    let api = api_of(&server.client.bench)?;
    let request = profile_request(server, api, LEAST_S);
    Ok(measure(&request, facts))
}

/// Returns the API of dsr1's client for the load of a profile.
///
/// # Errors
/// [`Kind::Usage`] with the backend, if there is none.
pub fn api_of(bench: &Bench) -> Result<Api> {
    Api::of_sglang_backend(&bench.backend).ok_or_else(|| {
        Error::new(
            Kind::Usage,
            format!(
                "the profile's backend `{}` has no API of dsr1's client",
                bench.backend
            ),
        )
    })
}

fn profile_request(server: OwnServer<'_>, api: Api, least_s: u32) -> MeasureRequest {
    let OwnServer {
        client,
        profile,
        origin,
    } = server;
    let bench = client.bench.clone();
    let endpoint = MeasuredEndpoint::Own {
        client: Box::new(client),
        profile: profile.to_owned(),
        origin,
    };
    request_of_profile(endpoint, &bench, api, least_s)
}

/// Returns the load of a profile on a server that is known by its URL, as the end of a chain measures it; `None` for a backend
/// without an API of dsr1's client.
pub(super) fn load_at_url(bench: &Bench, base_url: &str, model: &str, facts: &Facts) -> Option<MeasureLoad> {
    let api = Api::of_sglang_backend(&bench.backend)?;
    let endpoint = MeasuredEndpoint::Url {
        base_url: base_url.to_owned(),
        model: Some(model.to_owned()),
    };
    let request = request_of_profile(endpoint, bench, api, LEAST_OF_CHAIN_S);
    Some(load_step(&request, facts))
}

fn request_of_profile(endpoint: MeasuredEndpoint, bench: &Bench, api: Api, least_s: u32) -> MeasureRequest {
    let (load, lengths) = load_of_profile(bench);
    MeasureRequest {
        endpoint,
        vocabulary: None,
        api,
        load,
        lengths,
        source: PromptSource {
            form: PromptForm::of(api),
            ..PromptSource::default()
        },
        extent: Extent {
            requests: requests_for(&load, bench.num_prompts.get(), 1),
            least_s,
            most_s: None,
            stall_s: STALL_S,
            warm_up: true,
            ramp_s: 0,
        },
        seed: None,
        ignores_end: true,
        strictness: Strictness::Reports,
        records: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Arrivals;

    #[test]
    fn a_load_has_enough_requests_to_be_believed() {
        let rate = Load::Rate {
            per_second: 3.0,
            arrivals: Arrivals::Poisson,
            most_in_flight: None,
        };
        assert_eq!(requests_for(&Load::Concurrency(512), 512, 1), 2560);
        assert_eq!(requests_for(&Load::Concurrency(1), 10, 1), 11);
        assert_eq!(requests_for(&rate, 3, 1), 11);
        assert_eq!(requests_for(&Load::Concurrency(4), 100, 1), 100);
        assert_eq!(requests_for(&Load::Concurrency(4), 10, 8), 88);
        assert_eq!(requests_for(&Load::Concurrency(64), 10, 8), 512);
    }
}
