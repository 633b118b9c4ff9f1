//! The result of an evaluation of accuracy by dsr1's own client.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::MeasuredServer;

/// One evaluation. Its JSON form has the schema `dsr1.evaluation/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The evaluation: `gsm8k`, `aime`, `math500`, `gpqa`, `mlperf`.
    pub task: String,
    /// The time of day at which this start began: UTC, in the format of RFC 3339.
    pub began: String,
    /// The server.
    pub server: MeasuredServer,
    /// The questions.
    pub data: EvaluatedData,
    /// The settings.
    pub settings: EvaluationSettings,
    /// The answers by outcome.
    pub counts: AnswerCounts,
    /// True if each planned answer came.
    pub is_complete: bool,
    /// Share of right answers, 0 to 1, of those that came; `None` if none came, or none is graded.
    pub accuracy: Option<f64>,
    /// Lower end of its 95 % interval.
    pub accuracy_low: Option<f64>,
    /// Upper end of its 95 % interval.
    pub accuracy_high: Option<f64>,
    /// The lengths of the answers.
    pub tokens: AnswerTokens,
    /// Reasons of the end of answers, as the server names them.
    pub finish: BTreeMap<String, u64>,
    /// Failures of requests, by their kind; those that a later attempt answered are among them.
    pub failures: BTreeMap<String, u64>,
    /// An example of each kind of failure in the server's words.
    pub examples: BTreeMap<String, String>,
    /// Seconds of this start.
    pub run_s: f64,
    /// Generated tokens a second, of this start.
    pub output_throughput: f64,
    /// A published accuracy of the same model; `None` if none is known.
    pub baseline: Option<BaselineComparison>,
    /// The mean length beside the expected one; `None` unless the user or a publication names it.
    pub length: Option<LengthComparison>,
    /// Some wrong answers, if the user asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrong: Vec<WrongAnswer>,
    /// Path of the file with all answers.
    pub answers: Option<String>,
    /// Path of the file with this result as JSON.
    pub saved_to: Option<String>,
}

impl Evaluation {
    /// Version of the JSON form.
    pub const SCHEMA: &str = "dsr1.evaluation/1";
}

/// A file of questions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EvaluatedData {
    /// Path or URL.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Questions in it.
    pub questions: u32,
    /// The year of a competition, if it is known.
    pub year: Option<u32>,
}

/// The settings of an evaluation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EvaluationSettings {
    /// API: `completions` or `chat`.
    pub api: String,
    /// Name of the rules by which prompts are made.
    pub prompt_rules: String,
    /// Name of the rules that find the result in an answer.
    pub extraction_rules: String,
    /// Worked examples in front of each question.
    pub shots: u32,
    /// Questions that are asked.
    pub questions: u32,
    /// Answers to each question.
    pub samples: u32,
    /// Requests in flight.
    pub parallel: u32,
    /// Longest answer in tokens, with its reasoning.
    pub max_new_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Share of the probability that is sampled from.
    pub top_p: f64,
    /// Seed of the order of choices.
    pub seed: u64,
    /// Least accuracy to pass, 0 to 1.
    pub min_accuracy: Option<f64>,
}

/// The answers of an evaluation by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AnswerCounts {
    /// Planned: questions times samples.
    pub planned: u64,
    /// Right.
    pub right: u64,
    /// With a result that is wrong.
    pub wrong: u64,
    /// Without a result. They count as wrong.
    pub without_result: u64,
    /// Answers of an evaluation that grades nothing.
    pub ungraded: u64,
    /// Of all answers, those that ended at the limit of tokens.
    pub cut_by_length: u64,
    /// Planned, but not answered after all attempts.
    pub failed: u64,
    /// Of all answers, those of an earlier start.
    pub resumed: u64,
}

impl AnswerCounts {
    /// Returns the number of answers.
    #[must_use]
    pub const fn answered(&self) -> u64 {
        self.right + self.wrong + self.without_result + self.ungraded
    }
}

/// The lengths of answers in tokens, as the server counts them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AnswerTokens {
    /// Generated tokens of all answers, with their reasoning.
    pub total: u64,
    /// Mean of an answer, with its reasoning.
    pub mean: f64,
    /// Mean tokens of the reasoning, of the answers for which it is known.
    pub mean_reasoning: Option<f64>,
    /// Mean tokens after the reasoning, of the same answers.
    pub mean_answer: Option<f64>,
}

/// A published accuracy beside the measured one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineComparison {
    /// Model.
    pub model: String,
    /// Precision of its weights: `fp8` or `nvfp4`.
    pub precision: String,
    /// Published accuracy, 0 to 1.
    pub accuracy: f64,
    /// Half the width of the band around it, 0 to 1.
    pub tolerance: f64,
    /// Publication.
    pub source: String,
    /// Place of the measured interval.
    pub verdict: BandVerdict,
}

/// The mean length of answers beside the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LengthComparison {
    /// Expected mean tokens of an answer, with its reasoning.
    pub expected: f64,
    /// Half the width of the band around it, in percent of it.
    pub tolerance_percent: f64,
    /// Place of the measured mean.
    pub verdict: BandVerdict,
}

/// The place of a measured value, or of its interval, beside a band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BandVerdict {
    /// All of it is below the band.
    Below,
    /// Some of it is in the band.
    Within,
    /// All of it is above the band.
    Above,
}

impl BandVerdict {
    /// Returns the place of `low..=high` beside a band.
    #[must_use]
    pub fn of_interval((low, high): (f64, f64), (least, most): (f64, f64)) -> Self {
        if high < least {
            Self::Below
        } else if low > most {
            Self::Above
        } else {
            Self::Within
        }
    }

    /// The verdict in a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Within => "within",
            Self::Above => "above",
        }
    }
}

/// A wrong answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongAnswer {
    /// Number of the question in the file, from 1.
    pub question: u32,
    /// Number of the answer to it, from 1.
    pub sample: u32,
    /// Beginning of the question.
    pub text: String,
    /// Right result.
    pub expected: String,
    /// Result in the answer; `None` if it has none.
    pub result: Option<String>,
    /// Reason of the end of the answer.
    pub finish: String,
}
