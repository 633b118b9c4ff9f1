//! Plans an evaluation by dsr1's own client.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::evaluate::{AnswerSettings, Task};
use crate::facts::Facts;
use crate::measure::Api;
use crate::plan::eval::{EngineClient, Gsm8kRequest, check_data, gsm8k_script, results_dir};
use crate::plan::measured_host::{host_of_client, host_of_server};
use crate::plan::{EvaluateModel, Plan, Step, Threshold};

/// The server of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum EvaluatedEndpoint {
    /// A server of this host.
    Own {
        /// The place of a client of its own.
        client: Box<EngineClient>,
        /// Its profile.
        profile: String,
        /// Path of its model.
        model: String,
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

/// The request of `dsr1 eval`.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationRequest {
    /// The server.
    pub endpoint: EvaluatedEndpoint,
    /// The settings that decide an answer.
    pub settings: AnswerSettings,
    /// The year of a competition, if the user says it.
    pub year: Option<u32>,
    /// Path or URL of the questions.
    pub data: String,
    /// Expected SHA-256 of the data.
    pub sha256: Option<String>,
    /// Number of questions; `None` for all.
    pub questions: Option<u32>,
    /// Answers to each question.
    pub samples: u32,
    /// Requests in flight.
    pub parallel: u32,
    /// Most seconds in which nothing arrives for a request.
    pub stall_s: u32,
    /// Minimum accuracy to pass.
    pub min_accuracy: Option<Threshold>,
    /// Expected mean tokens of an answer.
    pub expect_tokens: Option<f64>,
    /// Half the width of the band around them, in percent.
    pub length_tolerance: f64,
    /// True to ask all questions again.
    pub fresh: bool,
    /// Most wrong answers in the result.
    pub show_wrong: u32,
}

/// Plans an evaluation.
///
/// # Errors
/// [`Kind::Usage`] for data that is not certain, and for settings that contradict each other.
pub fn evaluate(request: &EvaluationRequest, facts: &Facts) -> Result<Plan> {
    check_data(&request.data, request.sha256.as_deref())?;
    let settings = &request.settings;
    if request.samples > 1 && settings.temperature <= 0.0 {
        return Err(Error::new(
            Kind::Usage,
            format!("cannot take {} answers at temperature 0", request.samples),
        )
        .cause("each answer to a question would be the same one")
        .hint("pass --samples 1, or a temperature such as --temperature 0.6"));
    }
    if settings.shots > 0 && settings.task != Task::Gsm8k {
        return Err(Error::new(
            Kind::Usage,
            format!("{} has no worked examples", settings.task.title()),
        ));
    }
    if request.min_accuracy.is_some() && !settings.task.is_graded() {
        return Err(Error::new(
            Kind::Usage,
            format!("{} has no accuracy here", settings.task.title()),
        )
        .cause("its answers are of five sets, and those of one are programs that would have to run")
        .hint("leave --min-accuracy out: the length of the answers is the gate"));
    }
    let mut step = EvaluateModel {
        server: None,
        base_url: String::new(),
        model: None,
        profile: None,
        stack: None,
        host: BTreeMap::new(),
        settings: settings.clone(),
        year: request.year,
        data: request.data.clone(),
        sha256: request.sha256.as_ref().map(|hash| hash.to_ascii_lowercase()),
        questions: request.questions,
        samples: request.samples,
        parallel: request.parallel,
        stall_s: request.stall_s,
        min_accuracy: request.min_accuracy,
        expect_tokens: request.expect_tokens,
        length_tolerance: request.length_tolerance,
        fresh: request.fresh,
        show_wrong: request.show_wrong,
        results_dir: results_dir(facts),
        by_engine: None,
    };
    match &request.endpoint {
        EvaluatedEndpoint::Own {
            client,
            profile,
            model,
            origin,
        } => {
            step.host = host_of_server(&client.server, &client.stack, model, facts);
            step.host.extend(origin.clone());
            step.server = Some(client.server.clone());
            step.base_url.clone_from(&client.base_url);
            step.profile = Some(profile.clone());
            step.stack = Some(client.stack.name.clone());
            step.by_engine = script_of(request, client).map(|request| gsm8k_script(&request, facts));
        }
        EvaluatedEndpoint::Url { base_url, model } => {
            step.base_url.clone_from(base_url);
            step.model.clone_from(model);
            step.host = host_of_client(facts);
        }
    }
    let command = format!("eval {}", settings.task.name());
    Ok(Plan::new(&command, vec![Step::EvaluateModel(Box::new(step))]))
}

/// Returns the request of the engine's own script with the same questions; `None` if it has no such evaluation.
fn script_of(request: &EvaluationRequest, client: &EngineClient) -> Option<Gsm8kRequest> {
    let settings = &request.settings;
    let is_scripts = settings.task == Task::Gsm8k
        && settings.api == Api::Completions
        && settings.temperature <= 0.0
        && request.samples == 1;
    Some(Gsm8kRequest {
        client: client.clone(),
        data: request.data.clone(),
        sha256: request.sha256.clone(),
        shots: settings.shots,
        questions: request.questions.filter(|_| is_scripts)?,
        parallel: request.parallel,
        max_new_tokens: settings.max_tokens,
        min_accuracy: request.min_accuracy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(task: Task) -> EvaluationRequest {
        let defaults = task.defaults(None);
        EvaluationRequest {
            endpoint: EvaluatedEndpoint::Url {
                base_url: "http://127.0.0.1:1".to_owned(),
                model: None,
            },
            settings: AnswerSettings {
                task,
                api: defaults.api,
                shots: defaults.shots,
                max_tokens: defaults.max_tokens,
                temperature: defaults.temperature,
                top_p: defaults.top_p,
                seed: 0,
            },
            year: None,
            data: "f".to_owned(),
            sha256: None,
            questions: defaults.questions,
            samples: defaults.samples,
            parallel: defaults.parallel,
            stall_s: 600,
            min_accuracy: None,
            expect_tokens: None,
            length_tolerance: 10.0,
            fresh: false,
            show_wrong: 0,
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let facts = Facts::default();
        for task in [Task::Gsm8k, Task::Aime, Task::Math500, Task::Gpqa, Task::Mlperf] {
            let plan = evaluate(&request(task), &facts).unwrap();
            assert_eq!(plan.command, format!("eval {}", task.name()));
        }
        let mut repeated = request(Task::Gsm8k);
        repeated.samples = 2;
        let error = evaluate(&repeated, &facts).unwrap_err();
        assert_eq!(error.message(), "cannot take 2 answers at temperature 0");
        let mut shown = request(Task::Gpqa);
        shown.settings.shots = 1;
        assert_eq!(
            evaluate(&shown, &facts).unwrap_err().message(),
            "GPQA has no worked examples"
        );
        let mut graded = request(Task::Mlperf);
        graded.min_accuracy = Threshold::from_share(0.8);
        assert_eq!(
            evaluate(&graded, &facts).unwrap_err().message(),
            "MLPerf has no accuracy here"
        );
        let mut far = request(Task::Aime);
        far.data = "https://example.org/f".to_owned();
        assert_eq!(evaluate(&far, &facts).unwrap_err().kind(), Kind::Usage);
    }
}
