//! A sitting: everything that all loads of it share, and the result of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::effects::env::Env;
use crate::effects::files;
use crate::effects::http::Http;
use crate::effects::load::{Job, Ran, Target, find_ceiling};
use crate::effects::serve::gpu_watch::GpuWatch;
use crate::effects::serve::prompts::{Asked, Prompts, find_prompts};
use crate::effects::serve::results;
use crate::effects::serve::runtime::Runtime;
use crate::effects::serve::witness::{self, Look};
use crate::effects::signal::Interrupt;
use crate::error::{At, Error, Kind, Result};
use crate::event::StepEvents;
use crate::measure::compare::deciding_arguments;
use crate::measure::course::Limits;
use crate::measure::{
    Drawn, Evidence, Kept, Load, Moment, Phase, PromptForm, RequestSettings, RunDescription, Stage,
    describe_record, summarize_gpus, summarize_run,
};
use crate::plan::MeasureLoad;
use crate::report::{MeasuredFile, MeasuredServer, Measurement, Trust, Verdict};
use crate::secret::Secret;
use crate::sglang::api::unexpected;
use crate::units;

/// Longest wait for the list of models.
const MODELS: std::time::Duration = std::time::Duration::from_secs(30);
/// Sampling temperature: that of `sglang.bench_serving`.
const TEMPERATURE: f64 = 0.0;

/// The surroundings of a sitting.
#[derive(Clone, Copy)]
pub(in crate::effects) struct Place<'a> {
    /// The environment.
    pub(in crate::effects) env: &'a Env,
    /// The client of everything that is not the load.
    pub(in crate::effects) http: &'a Http,
    /// The runtime of the server; `None` for one that is known by its URL only.
    pub(in crate::effects) runtime: Option<&'a Runtime<'a>>,
    /// The events of the step.
    pub(in crate::effects) events: &'a StepEvents<'a>,
    /// The user's wish to end it.
    pub(in crate::effects) interrupt: &'a Interrupt,
}

/// The end of a stage.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum StageEnd {
    /// It has its whole extent.
    Whole,
    /// It was ended before its extent, for that reason.
    Early(Verdict),
    /// The user broke it off.
    Interrupted,
}

/// A sitting.
pub(super) struct Sitting<'a> {
    pub(super) step: &'a MeasureLoad,
    pub(super) place: Place<'a>,
    /// The run, with its first stage.
    pub(super) job: Job,
    prompts: Prompts,
    ceiling: Option<f64>,
    /// The server's own description at the beginning.
    told: BTreeMap<String, String>,
    gpus: Option<GpuWatch>,
    /// The time of day before the first load, in seconds since the Unix epoch: the server was idle until then.
    idle_until: u64,
}

impl<'a> Sitting<'a> {
    /// Prepares everything that the loads share. `largest` is the largest of them, for the client's own limit.
    ///
    /// # Errors
    /// [`Kind::Server`] when the server cannot be reached; [`Kind::Usage`] when the size of its vocabulary is not known.
    pub(super) async fn open(
        step: &'a MeasureLoad,
        place: Place<'a>,
        key: Option<Secret>,
        stages: (Stage, Load),
        limits: Option<Limits>,
    ) -> Result<Self> {
        let Place {
            env,
            http,
            runtime,
            events,
            ..
        } = place;
        std::fs::create_dir_all(&step.results_dir)
            .at(Kind::Host, || format!("cannot make `{}`", step.results_dir))?;
        events.activity("look at the server", None);
        let target = Target::of_url(&step.base_url, key.clone(), http).await?;
        let model = match &step.model {
            Some(model) => model.clone(),
            None => match first_model(http, &step.base_url, key.as_ref()).await {
                Ok(model) => model,
                Err(error) => return Err(target.explain(error).await),
            },
        };
        let (mut first, largest) = stages;
        let settings = RequestSettings {
            api: step.api,
            model,
            ignores_end: step.ignores_end,
            temperature: TEMPERATURE,
            top_p: None,
            stop: Vec::new(),
            keeps: kept_of(step),
        };
        let asked = Asked {
            http,
            settings: &settings,
            key: key.as_ref(),
        };
        let prompts = Box::pin(find_prompts(step, runtime, &asked)).await?;
        // All requests of a trace: no more than it has.
        first.extent.requests = first.extent.requests.min(prompts.most());
        let job = Job {
            target,
            settings,
            stage: first,
            limits,
            think_time: step.lengths.turns.think_time(),
            seed: step.seed.unwrap_or_else(new_seed),
        };
        // The GPUs of another host are not to be seen.
        let gpus = runtime.and_then(|_| GpuWatch::start(env));
        let mut sitting = Self {
            step,
            place,
            job,
            prompts,
            ceiling: None,
            told: BTreeMap::new(),
            gpus,
            idle_until: 0,
        };
        events.activity("find the client's own limit", None);
        // The client is tried with requests that have nothing to do with each other: the stub has no conversations.
        let at_most = Job {
            stage: Stage {
                load: largest,
                ..first
            },
            settings: RequestSettings {
                keeps: Kept::Nothing,
                ..sitting.job.settings.clone()
            },
            ..sitting.job.clone()
        };
        sitting.ceiling = Box::pin(find_ceiling(
            &at_most,
            sitting.prompts.trial(step, new_seed(), sitting.slots()),
        ))
        .await?;
        sitting.told = witness::description_of(http, &step.base_url, sitting.job.target.key.as_ref()).await;
        sitting.idle_until = files::unix_now();
        Ok(sitting)
    }

    /// Returns the requests of the sitting, without end.
    pub(super) fn requests(&self) -> Box<dyn Iterator<Item = Drawn> + Send> {
        self.prompts.requests(self.step, self.job.seed, self.slots())
    }

    /// Returns the number of requests that a closed loop begins with at once.
    fn slots(&self) -> u32 {
        let extent = self.job.stage.extent;
        // The slots of a ramp begin one after the other by themselves.
        let is_at_once = extent.warm_up && extent.ramp_s == 0;
        self.job.stage.load.slots().filter(|_| is_at_once).unwrap_or(0)
    }

    /// Returns the name of the server in messages and files.
    pub(super) fn name(&self) -> &str {
        self.step.server.as_ref().map_or("server", |server| server.name())
    }

    /// Judges a stage, and keeps its result. `looks` are those at the beginning and the end of its measuring. Of one that was broken
    /// off the requests are kept, too, and the server is not asked any more.
    ///
    /// # Errors
    /// [`Kind::Host`] when the result cannot be kept.
    pub(super) async fn conclude(
        &self,
        ran: Ran,
        (before, after): (&Look, &Look),
        end: StageEnd,
    ) -> Result<Measurement> {
        let Place { http, runtime, .. } = self.place;
        let step = self.step;
        let is_whole = end != StageEnd::Interrupted;
        let told_after = if is_whole {
            witness::description_of(http, &step.base_url, self.job.target.key.as_ref()).await
        } else {
            self.told.clone()
        };
        let samples = self.gpus.as_ref().map(GpuWatch::samples).unwrap_or_default();
        let measured_gpus = ran.window.and_then(|(from, to)| {
            let at = |moment: Moment| ran.began_unix + moment.seconds();
            #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
            let idle_until = self.idle_until as f64;
            summarize_gpus(&samples, idle_until, (at(from), at(to)))
        });
        let evidence = Evidence {
            load: ran.stage.load,
            lengths: step.lengths,
            extent: ran.stage.extent,
            is_random: step.source.file.is_none(),
            file: self.prompts.file(step),
            ignores_end: step.ignores_end,
            records: ran.records,
            window: ran.window,
            client: ran.client,
            ceiling_tokens_per_s: self.ceiling,
            gpus: measured_gpus,
            cpu_pressure: witness::pressure_between(before, after),
            server: witness::facts_between(runtime, (before, after), (&self.told, &told_after)).await,
        };
        let run = RunDescription {
            began: units::utc(whole_seconds(ran.began_unix)),
            ended: ran.ended,
            server: self.server(),
            api: step.api,
            seed: self.job.seed,
            data: self.prompts.source().to_owned(),
            source: step.source.clone(),
            vocabulary: self.prompts.vocabulary,
            temperature: TEMPERATURE,
        };
        let further = match end {
            StageEnd::Whole => None,
            StageEnd::Early(verdict) => Some(verdict),
            StageEnd::Interrupted => Some(broken_off(&evidence)),
        };
        let mut measurement = summarize_run(&evidence, run, further);
        measurement.complete = is_whole;
        let path = results::path_of(&step.results_dir, self.name(), "bench");
        measurement.saved_to = Some(path.to_string_lossy().into_owned());
        results::save(&path, Measurement::SCHEMA, &measurement)?;
        if let Some(records) = self.records_beside(&path, is_whole)
            && let Err(error) = write_records(&records, &evidence)
        {
            // The measurement itself is kept and stands.
            self.place
                .events
                .warning(error.to_string(), "the result is kept without its requests");
        }
        Ok(measurement)
    }

    /// Returns the file of the requests of a result: the user's, or one beside a result that is not whole.
    fn records_beside(&self, result: &Path, is_whole: bool) -> Option<PathBuf> {
        let asked = self.step.records.as_ref().map(PathBuf::from);
        asked.or_else(|| (!is_whole).then(|| result.with_extension("records.jsonl")))
    }

    /// Returns the error of a measurement that the user broke off, with the places of what is kept.
    pub(super) fn interrupted(&self, measurement: &Measurement) -> Error {
        let result = measurement.saved_to.as_deref().unwrap_or_default();
        let mut error = Error::new(Kind::Interrupted, "interrupted").hint(format!(
            "what was measured is kept, marked as incomplete: dsr1 bench report {result}"
        ));
        if let Some(records) = self.records_beside(Path::new(result), false) {
            error = error.hint(format!("its requests are in {}", records.display()));
        }
        error
    }

    /// Returns the first difference between this sitting and an earlier one, of which `kept` is a result: the engine's arguments
    /// and the data.
    pub(super) fn difference_to(&self, kept: &Measurement) -> Option<String> {
        let (now, then) = (
            deciding_arguments(&self.told),
            deciding_arguments(&kept.server.arguments),
        );
        let names = now.keys().chain(then.keys());
        let changed = names.into_iter().find(|name| now.get(*name) != then.get(*name));
        if let Some(name) = changed {
            let [now, then] =
                [&now, &then].map(|arguments| arguments.get(name).copied().unwrap_or("not set"));
            return Some(format!("{name} of the server is {now}, was {then}"));
        }
        let hash = |file: &Option<MeasuredFile>| file.as_ref().map(|file| file.sha256.clone());
        let file = self.prompts.file(self.step);
        (hash(&file) != hash(&kept.load.file)).then(|| "the data are others".to_owned())
    }

    fn server(&self) -> MeasuredServer {
        let step = self.step;
        MeasuredServer {
            name: step.server.as_ref().map(|server| server.name().to_owned()),
            base_url: step.base_url.clone(),
            model: self.job.settings.model.clone(),
            profile: step.profile.clone(),
            stack: step.stack.clone(),
            sglang: self.told.get("version").cloned(),
            arguments: self.told.clone(),
            host: step.host.clone(),
        }
    }
}

/// Returns the part of the answers that the next turn of a conversation needs.
fn kept_of(step: &MeasureLoad) -> Kept {
    let are_ids = step.source.form == PromptForm::Ids && step.source.file.is_none();
    match (step.lengths.turns.is_single(), are_ids) {
        (true, _) => Kept::Nothing,
        (false, true) => Kept::Ids,
        (false, false) => Kept::Text,
    }
}

/// Returns the name of the first model that the server lists.
pub(in crate::effects::serve) async fn first_model(
    http: &Http,
    base_url: &str,
    key: Option<&Secret>,
) -> Result<String> {
    let url = format!("{base_url}/v1/models");
    let (status, body) = http.get_json_with(&url, key, MODELS).await?;
    if let 401 | 403 = status {
        return Err(unexpected("the list of models", status, &body)
            .hint("the variable OPENAI_API_KEY has the key of the server: it is refused, or missing"));
    }
    let name = body["data"][0]["id"].as_str().filter(|_| status == 200);
    name.map(str::to_owned)
        .ok_or_else(|| unexpected("the list of models", status, &body).hint("name the model with --model"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast of a float saturates"
)]
const fn whole_seconds(unix: f64) -> u64 {
    unix as u64
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

/// Returns the verdict on a run that the user broke off.
fn broken_off(evidence: &Evidence) -> Verdict {
    let measured = evidence
        .records
        .iter()
        .filter(|record| record.phase == Phase::Measured && record.is_complete());
    Verdict {
        about: "complete".to_owned(),
        trust: Trust::Untrusted,
        text: format!(
            "it was interrupted when {} of {} requests had been measured",
            measured.count(),
            evidence.extent.requests
        ),
        hint: "measure again".to_owned(),
    }
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
pub(super) fn nothing_measured(measurement: &Measurement, name: &str) -> Error {
    let path = Path::new(measurement.saved_to.as_deref().unwrap_or_default());
    let mut error = Error::new(Kind::Untrusted, format!("nothing was measured of {name}"));
    if let Some(verdict) = measurement.verdicts.first() {
        error = error.cause(verdict.text.clone());
        if !verdict.hint.is_empty() {
            error = error.hint(verdict.hint.clone());
        }
    }
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
    fn seeds_differ_and_are_exact_in_json() {
        let (one, other) = (new_seed(), new_seed());
        assert_ne!(one, other);
        assert!(one < 1 << 53);
    }
}
