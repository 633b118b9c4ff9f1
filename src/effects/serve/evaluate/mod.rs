//! An evaluation of a server by dsr1's own client.
//!
//! | module | subject |
//! |---|---|
//! | `ask` | the requests, in attempts |
//! | `answers` | the file of answers, from which an interrupted evaluation is resumed |
//!
//! Not in this module tree: questions, prompts, results and counts (`evaluate`), the client (`effects::load`).

mod answers;
mod ask;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

use self::answers::AnswerFile;
use self::ask::{Asked, Asking, Planned, ask_questions};
use crate::effects::files;
use crate::effects::http::Http;
use crate::effects::load::Target;
use crate::effects::serve::measure::first_model;
use crate::effects::serve::questions::read_data;
use crate::effects::serve::{results, witness};
use crate::error::{At, Error, Kind, Result};
use crate::evaluate::{
    QuestionSet, compare_length, compare_with_published, grade_answer, list_wrong, prompt_rules,
    published_length, read_questions, rules_of, score_answers,
};
use crate::event::StepEvents;
use crate::measure::compare::deciding_arguments;
use crate::plan::{EvaluateModel, Threshold};
use crate::report::{EvaluatedData, Evaluation, EvaluationSettings, MeasuredServer};
use crate::secret::Secret;
use crate::units::hex;

/// Version of the first line of a file of answers.
const ANSWERS: &str = "dsr1.evaluation-answers/1";

/// Asks the server the questions, and judges the answers.
///
/// # Errors
/// [`Kind::Usage`] for a file that has no questions; [`Kind::Server`] when the server cannot be reached; [`Kind::Untrusted`] when it
/// answered nothing.
pub(in crate::effects) async fn evaluate_model(
    step: &EvaluateModel,
    http: &Http,
    key: Option<Secret>,
    events: &StepEvents<'_>,
) -> Result<Evaluation> {
    std::fs::create_dir_all(&step.results_dir)
        .at(Kind::Host, || format!("cannot make `{}`", step.results_dir))?;
    events.activity("read the questions", None);
    let task = step.settings.task;
    let (bytes, hash) = read_data(&step.data, step.sha256.as_deref(), http).await?;
    let set = Arc::new(read_questions(task, &step.data, &bytes, step.settings.seed)?);
    let (rows, questions) = count_questions(step, &set, events)?;
    events.activity("look at the server", None);
    let target = Target::of_url(&step.base_url, key.clone(), http).await?;
    let server = match look_at_server(step, http, key.as_ref()).await {
        Ok(server) => server,
        Err(error) => return Err(target.explain(error).await),
    };
    let asking = Asking {
        target,
        model: server.model.clone(),
        settings: step.settings.clone(),
        parallel: step.parallel,
        stall_s: step.stall_s,
    };
    let began = files::utc_now();
    let head = head_of(step, &hash, &server);
    let path = path_of_answers(step, &head);
    let mut asked = Asked::default();
    let mut wanted = Wanted::new(questions, step.samples);
    let mut file = AnswerFile::open(&path, &head, step.fresh, &mut |answer| {
        if let Some(index) = wanted.take_answer(answer.question, answer.sample) {
            asked
                .answers
                .push(grade_answer(task, &set.questions[index], &answer));
        }
    })?;
    let resumed = asked.answers.len();
    let left = wanted.left();
    let planned = resumed + left.len();
    if resumed > 0 {
        events.note(format!(
            "{resumed} of {planned} answers are in {}: asking for the others",
            path.display()
        ));
    }
    ask_questions(&asking, &set, left, (&mut asked, &mut file), events)
        .await
        .map_err(|error| error.hint("the same command resumes: the answers so far are kept"))?;
    let score = score_answers(&asked.answers);
    let mut counts = score.counts;
    counts.planned = planned as u64;
    counts.failed = planned as u64 - counts.answered();
    counts.resumed = resumed as u64;
    let year = step.year.or(set.year);
    let interval = score.accuracy.map(|(_, interval)| interval);
    let mut result = Evaluation {
        task: task.name().to_owned(),
        began,
        data: EvaluatedData {
            path: step.data.clone(),
            sha256: hash,
            questions: rows,
            year,
        },
        settings: settings_of(step, questions),
        is_complete: counts.failed == 0,
        accuracy: score.accuracy.map(|(share, _)| share),
        accuracy_low: interval.map(|(low, _)| low),
        accuracy_high: interval.map(|(_, high)| high),
        tokens: score.tokens,
        finish: score.finish,
        failures: asked.failures,
        examples: asked.examples,
        run_s: asked.run.as_secs_f64(),
        output_throughput: per_second(asked.tokens, asked.run.as_secs_f64()),
        baseline: interval.and_then(|interval| compare_with_published(&server.model, task, year, interval)),
        length: step
            .expect_tokens
            .or_else(|| published_length(&server.model, task, questions))
            .filter(|_| counts.answered() > 0)
            .map(|expected| compare_length(score.tokens.mean, expected, step.length_tolerance)),
        wrong: list_wrong(
            &set.questions,
            &asked.answers,
            usize::try_from(step.show_wrong).unwrap_or(usize::MAX),
        ),
        counts,
        server,
        answers: Some(path.to_string_lossy().into_owned()),
        saved_to: None,
    };
    keep_result(step, &mut result, file)?;
    if result.counts.answered() == 0 {
        return Err(asking.target.explain(nothing_answered(&result)).await);
    }
    Ok(result)
}

/// Returns the number of questions in the file, and of those that are asked.
fn count_questions(step: &EvaluateModel, set: &QuestionSet, events: &StepEvents<'_>) -> Result<(u32, u32)> {
    let rows = u32::try_from(set.questions.len()).unwrap_or(u32::MAX);
    let shots = step.settings.shots;
    if rows <= shots {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` has too few questions: {rows}", step.data),
        )
        .cause(format!("{shots} others are the examples in front of each"))
        .hint(format!("pass --num-shots {} or fewer", rows.saturating_sub(1))));
    }
    let wanted = step.questions.unwrap_or(rows);
    if wanted > rows {
        events.note(format!(
            "`{}` has only {rows} questions: all of them are asked",
            step.data
        ));
    }
    Ok((rows, wanted.min(rows)))
}

/// The answers that are wanted and not there yet.
struct Wanted {
    questions: u32,
    samples: u32,
    is_there: Vec<bool>,
}

impl Wanted {
    fn new(questions: u32, samples: u32) -> Self {
        let count = u64::from(questions) * u64::from(samples);
        Self {
            questions,
            samples,
            is_there: vec![false; usize::try_from(count).unwrap_or(usize::MAX)],
        }
    }

    /// Takes an answer of an earlier start. Returns the place of its question; `None` if it is not wanted.
    fn take_answer(&mut self, question: u32, sample: u32) -> Option<usize> {
        let is_wanted = (1..=self.questions).contains(&question) && (1..=self.samples).contains(&sample);
        let index = question.checked_sub(1).filter(|_| is_wanted)?;
        let place = u64::from(sample - 1) * u64::from(self.questions) + u64::from(index);
        let is_there = self.is_there.get_mut(usize::try_from(place).ok()?)?;
        (!std::mem::replace(is_there, true)).then_some(usize::try_from(index).ok()?)
    }

    /// Returns the answers that are not there: first one to each question, so that all have some if the run is interrupted.
    fn left(&self) -> Vec<Planned> {
        let samples = 1..=self.samples;
        let all = samples.flat_map(|sample| (0..self.questions).map(move |index| (index, sample)));
        all.zip(&self.is_there)
            .filter(|(_, is_there)| !**is_there)
            .filter_map(|((index, sample), _)| {
                let index = usize::try_from(index).ok()?;
                Some(Planned { index, sample })
            })
            .collect()
    }
}

async fn look_at_server(step: &EvaluateModel, http: &Http, key: Option<&Secret>) -> Result<MeasuredServer> {
    let model = match &step.model {
        Some(model) => model.clone(),
        None => first_model(http, &step.base_url, key).await?,
    };
    let told = witness::description_of(http, &step.base_url, key).await;
    Ok(MeasuredServer {
        name: step.server.as_ref().map(|server| server.name().to_owned()),
        base_url: step.base_url.clone(),
        model,
        profile: step.profile.clone(),
        stack: step.stack.clone(),
        sglang: told.get("version").cloned(),
        arguments: told,
        host: step.host.clone(),
    })
}

/// Returns the first line of the file of answers: all that decides an answer. Answers of a server on another port are the same, if
/// it has the same weights, image, profile and arguments; of a server that only its URL names, the URL decides, and what it tells.
fn head_of(step: &EvaluateModel, hash: &str, told: &MeasuredServer) -> String {
    let mut server: BTreeMap<&str, &str> = BTreeMap::new();
    match &step.server {
        None => {
            server.insert("base_url", &step.base_url);
            for name in ["version", "model_path"] {
                if let Some(value) = told.arguments.get(name) {
                    server.insert(name, value);
                }
            }
        }
        Some(own) => {
            server.insert("name", own.name());
            for name in ["weights", "image", "environment"] {
                if let Some(value) = step.host.get(name) {
                    server.insert(name, value);
                }
            }
        }
    }
    for (name, value) in [("profile", &step.profile), ("stack", &step.stack)] {
        if let Some(value) = value {
            server.insert(name, value);
        }
    }
    json!({
        "schema": ANSWERS,
        "data_sha256": hash,
        "model": told.model,
        "server": server,
        "arguments": deciding_arguments(&told.arguments),
        "prompt_rules": prompt_rules(&step.settings),
        "settings": step.settings,
    })
    .to_string()
}

fn name_of(step: &EvaluateModel) -> &str {
    step.server.as_ref().map_or("server", |server| server.name())
}

/// Returns the path of the answers of an evaluation that is not complete.
fn path_of_answers(step: &EvaluateModel, head: &str) -> PathBuf {
    let digest = hex(&Sha256::digest(head));
    let name = format!(
        "{}-{}-{}.partial.jsonl",
        name_of(step),
        step.settings.task.name(),
        &digest[..12]
    );
    Path::new(&step.results_dir).join(name)
}

fn settings_of(step: &EvaluateModel, questions: u32) -> EvaluationSettings {
    let settings = &step.settings;
    EvaluationSettings {
        api: settings.api.name().to_owned(),
        prompt_rules: prompt_rules(settings).to_owned(),
        extraction_rules: rules_of(settings.task).to_owned(),
        shots: settings.shots,
        questions,
        samples: step.samples,
        parallel: step.parallel,
        max_new_tokens: settings.max_tokens,
        temperature: settings.temperature,
        top_p: settings.top_p,
        seed: settings.seed,
        min_accuracy: step.min_accuracy.map(Threshold::share),
    }
}

#[expect(clippy::cast_precision_loss, reason = "tokens are below 2^53")]
fn per_second(tokens: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        tokens as f64 / seconds
    } else {
        0.0
    }
}

/// Writes the result. The answers of a complete evaluation get its name, so that the next one begins anew.
fn keep_result(step: &EvaluateModel, result: &mut Evaluation, file: AnswerFile) -> Result<()> {
    let path = results::path_of(&step.results_dir, name_of(step), step.settings.task.name());
    if result.is_complete {
        let answers = path.with_extension("answers.jsonl");
        file.rename(&answers)?;
        result.answers = Some(answers.to_string_lossy().into_owned());
    }
    result.saved_to = Some(path.to_string_lossy().into_owned());
    results::save(&path, Evaluation::SCHEMA, result)
}

/// Returns the error for an evaluation without one answer.
fn nothing_answered(result: &Evaluation) -> Error {
    let mut error = Error::new(
        Kind::Untrusted,
        format!("none of the {} requests was answered", result.counts.planned),
    );
    for (kind, example) in &result.examples {
        error = error.cause(format!("{kind}: {example}"));
    }
    error.hint(match &result.server.name {
        Some(name) => format!("dsr1 logs {name}"),
        None => format!("look at the log of the server at {}", result.server.base_url),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wanted_answers_are_taken_and_each_once() {
        let mut wanted = Wanted::new(2, 2);
        assert_eq!(wanted.take_answer(2, 1), Some(1));
        for (question, sample) in [(2, 1), (0, 1), (3, 1), (1, 0), (1, 3), (u32::MAX, u32::MAX)] {
            assert_eq!(wanted.take_answer(question, sample), None, "{question} {sample}");
        }
        let left: Vec<(usize, u32)> = wanted
            .left()
            .into_iter()
            .map(|planned| (planned.index, planned.sample))
            .collect();
        assert_eq!(left, [(0, 1), (0, 2), (1, 2)]);
    }
}
