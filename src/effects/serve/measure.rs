//! A measurement of a server by dsr1's own client, with what the server and the host say meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::effects::blocking::blocking;
use crate::effects::env::Env;
use crate::effects::files;
use crate::effects::http::Http;
use crate::effects::load::{Job, Ran, Stage, Target, Watch, find_ceiling, run_load};
use crate::effects::serve::gpu_watch::GpuWatch;
use crate::effects::serve::results;
use crate::effects::serve::runtime::Runtime;
use crate::effects::serve::witness::{self, Look};
use crate::error::{At, Error, Kind, Result};
use crate::event::StepEvents;
use crate::measure::{
    Drawn, Evidence, Load, Moment, Phase, RandomPrompts, RequestSettings, RunDescription, describe_record,
    summarize_gpus, summarize_run,
};
use crate::plan::MeasureLoad;
use crate::report::{MeasuredServer, Measurement};
use crate::secret::Secret;
use crate::sglang::api::unexpected;

/// Size of the vocabulary of DeepSeek-V3 and R1 (`config.json`, `vocab_size`).
const DEEPSEEK_VOCABULARY: u32 = 129_280;
/// Longest wait for the list of models.
const MODELS: Duration = Duration::from_secs(30);
/// Time between two looks at a run.
const LOOK: Duration = Duration::from_millis(100);
/// Sampling temperature: that of `sglang.bench_serving`.
const TEMPERATURE: f64 = 0.0;

/// Puts the load on the server, and judges the outcome.
///
/// # Errors
/// [`Kind::Server`] when the server cannot be reached or answers nothing; [`Kind::Usage`] when the size of its vocabulary is not
/// known.
pub(in crate::effects) async fn measure_load(
    step: &MeasureLoad,
    (env, http): (&Env, &Http),
    runtime: Option<&Runtime<'_>>,
    key: Option<Secret>,
    events: &StepEvents<'_>,
) -> Result<Measurement> {
    std::fs::create_dir_all(&step.results_dir)
        .at(Kind::Host, || format!("cannot make `{}`", step.results_dir))?;
    events.activity("look at the server", None);
    let model = match &step.model {
        Some(model) => model.clone(),
        None => first_model(http, &step.base_url, key.as_ref()).await?,
    };
    let vocabulary = find_vocabulary(step, runtime, &model).await?;
    let seed = step.seed.unwrap_or_else(new_seed);
    let job = Job {
        target: Target::of_url(&step.base_url, key).await?,
        settings: RequestSettings {
            api: step.api,
            model: model.clone(),
            ignores_end: step.ignores_end,
            temperature: TEMPERATURE,
            keeps_text: false,
        },
        stage: Stage {
            load: step.load,
            extent: step.extent,
        },
        seed,
    };
    let slots = match step.load {
        Load::Concurrency(count) if step.extent.warm_up => count,
        Load::Concurrency(_) | Load::Rate { .. } => 0,
    };
    let lengths = step.lengths;
    let prompts = move |seed: u64| -> Box<dyn Iterator<Item = Drawn> + Send> {
        Box::new(RandomPrompts::new(lengths, vocabulary, seed, slots))
    };
    // The GPUs of another host are not to be seen.
    let gpus = runtime.and_then(|_| GpuWatch::start(env));
    events.activity("find the client's own limit", None);
    let ceiling = Box::pin(find_ceiling(&job, prompts(new_seed()))).await?;
    let told = witness::description_of(http, &step.base_url).await;
    let began = files::utc_now();
    let (ran, looks) = watch_run(&job, prompts(seed), http, events).await?;
    let after = witness::look_at(http, &step.base_url).await;
    let told_after = witness::description_of(http, &step.base_url).await;
    let before = looks.unwrap_or_else(|| after.clone());
    let samples = gpus.map(|watch| watch.samples()).unwrap_or_default();
    let measured_gpus = ran.window.and_then(|(from, to)| {
        let at = |moment: Moment| ran.began_unix + moment.seconds();
        summarize_gpus(&samples, ran.began_unix, (at(from), at(to)))
    });
    let evidence = Evidence {
        load: step.load,
        lengths: step.lengths,
        extent: step.extent,
        is_random: true,
        ignores_end: step.ignores_end,
        records: ran.records,
        window: ran.window,
        client: ran.client,
        ceiling_tokens_per_s: Some(ceiling),
        gpus: measured_gpus,
        cpu_pressure: witness::pressure_between(&before, &after),
        server: witness::facts_between(runtime, (&before, &after), (&told, &told_after)).await,
    };
    let server = MeasuredServer {
        name: step.server.as_ref().map(|server| server.name().to_owned()),
        base_url: step.base_url.clone(),
        model,
        profile: step.profile.clone(),
        stack: step.stack.clone(),
        sglang: told.get("version").cloned(),
        arguments: told,
        host: step.host.clone(),
    };
    let mut measurement = summarize_run(
        &evidence,
        RunDescription {
            began,
            ended: ran.ended,
            server,
            api: step.api,
            seed,
            data: "random".to_owned(),
            vocabulary: Some(vocabulary),
            temperature: TEMPERATURE,
        },
    );
    if let Some(path) = &step.records {
        write_records(Path::new(path), &evidence)?;
    }
    let name = step.server.as_ref().map_or("server", |server| server.name());
    let path = results::path_of(&step.results_dir, name, "bench");
    measurement.saved_to = Some(path.to_string_lossy().into_owned());
    results::save(&path, Measurement::SCHEMA, &measurement)?;
    if measurement.figures.is_none() {
        return Err(nothing_measured(&measurement, name, &path));
    }
    Ok(measurement)
}

/// Runs the load on a thread of its own, reports its progress, and looks at the server when measuring begins.
async fn watch_run(
    job: &Job,
    requests: Box<dyn Iterator<Item = Drawn> + Send>,
    http: &Http,
    events: &StepEvents<'_>,
) -> Result<(Ran, Option<Look>)> {
    let watch = Arc::new(Watch::default());
    // A run ends when nobody waits for it any more.
    let _guard = StopOnDrop(watch.clone());
    let mut run = tokio::spawn({
        let (job, watch) = (job.clone(), watch.clone());
        async move { blocking(move || run_load(&job, requests, &watch)).await }
    });
    let base_url = format!("http://{}{}", job.target.host, job.target.base_path);
    let mut look = None;
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            done = &mut run => {
                let ran = done.map_err(|error| {
                    Error::new(Kind::Internal, "the client's thread failed").cause(error.to_string())
                })??;
                return Ok((ran, look));
            }
            _ = ticks.tick() => {
                if look.is_none() && watch.measuring_since().is_some() {
                    look = Some(witness::look_at(http, &base_url).await);
                }
                show_progress(&watch, events);
            }
        }
    }
}

struct StopOnDrop(Arc<Watch>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn show_progress(watch: &Watch, events: &StepEvents<'_>) {
    let (phase, thousandths) = watch.progress();
    let what = match phase {
        Phase::WarmUp => "warm up",
        Phase::Measured => "measure",
        Phase::Tail => "wait for the last answers",
    };
    let failed = watch.failed.load(Ordering::Relaxed);
    let failures = if failed > 0 {
        format!(", {failed} failed")
    } else {
        String::new()
    };
    let text = format!(
        "{what}: {} answers, {} in flight{failures}",
        watch.completed.load(Ordering::Relaxed),
        watch.in_flight.load(Ordering::Relaxed),
    );
    let done = (phase != Phase::WarmUp).then_some((u64::from(thousandths) / 10, 100));
    events.activity(&text, done);
}

/// Returns the name of the first model that the server lists.
async fn first_model(http: &Http, base_url: &str, key: Option<&Secret>) -> Result<String> {
    let url = format!("{base_url}/v1/models");
    let (status, body) = http.get_json_with(&url, key, MODELS).await?;
    let name = body["data"][0]["id"].as_str().filter(|_| status == 200);
    name.map(str::to_owned)
        .ok_or_else(|| unexpected("the list of models", status, &body).hint("name the model with --model"))
}

/// Returns the size of the model's vocabulary: the user's word, that of the model's files, or that of DeepSeek-R1.
async fn find_vocabulary(step: &MeasureLoad, runtime: Option<&Runtime<'_>>, model: &str) -> Result<u32> {
    if let Some(size) = step.vocabulary {
        return Ok(size);
    }
    if let (Some(runtime), Some(folder)) = (runtime, &step.model_path)
        && let Ok(text) = runtime.read_text(&format!("{folder}/config.json")).await
        && let Some(size) = vocabulary_of(text.as_bytes())
    {
        return Ok(size);
    }
    if model.to_ascii_lowercase().contains("deepseek") {
        return Ok(DEEPSEEK_VOCABULARY);
    }
    Err(Error::new(
        Kind::Usage,
        format!("the size of the vocabulary of `{model}` is not known"),
    )
    .cause("prompts are made of random token ids, and an id beyond it fails")
    .hint("pass --vocabulary N: `vocab_size` in the model's config.json"))
}

fn vocabulary_of(config: &[u8]) -> Option<u32> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let size = config["vocab_size"]
        .as_u64()
        .or_else(|| config["text_config"]["vocab_size"].as_u64())?;
    u32::try_from(size).ok().filter(|size| *size > 0)
}

/// Returns a seed that no run had before.
fn new_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The keys of a hash map are random in each process, and each map has its own.
    let seed = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    // JavaScript, and most readers of JSON, hold integers exactly up to 2^53.
    seed >> 12
}

fn write_records(path: &Path, evidence: &Evidence) -> Result<()> {
    let mut text = String::new();
    for record in &evidence.records {
        text.push_str(&describe_record(record).to_string());
        text.push('\n');
    }
    files::write_atomic(path, text.as_bytes())
}

/// Returns the error for a run without one measured answer.
fn nothing_measured(measurement: &Measurement, name: &str, path: &Path) -> Error {
    let text = measurement
        .verdicts
        .first()
        .map_or_else(String::new, |verdict| verdict.text.clone());
    let mut error = Error::new(Kind::Untrusted, format!("nothing was measured of {name}")).cause(text);
    for (kind, example) in &measurement.requests.examples {
        error = error.cause(format!("{kind}: {example}"));
    }
    if measurement.server.name.is_some() {
        error = error.hint(format!("dsr1 logs {name}"));
    }
    error.hint(format!("the whole result is in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_is_read_or_unknown() {
        assert_eq!(vocabulary_of(br#"{"vocab_size": 129280}"#), Some(129_280));
        assert_eq!(vocabulary_of(br#"{"text_config": {"vocab_size": 7}}"#), Some(7));
        for text in [
            &b"{}"[..],
            b"[",
            br#"{"vocab_size": -1}"#,
            br#"{"vocab_size": 0}"#,
        ] {
            assert_eq!(vocabulary_of(text), None);
        }
    }

    #[test]
    fn seeds_differ_and_are_exact_in_json() {
        let (one, other) = (new_seed(), new_seed());
        assert_ne!(one, other);
        assert!(one < 1 << 53);
    }
}
