//! The evaluations, and the settings of each unless the user says otherwise.

use serde::{Deserialize, Serialize};

use crate::choice::choices;
use crate::measure::Api;

choices! {
    /// An evaluation.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Task {
        /// GSM8K (Cobbe and others 2021).
        Gsm8k = "gsm8k", "grade-school mathematics";
        /// The American Invitational Mathematics Examination of a year.
        Aime = "aime", "a competition of mathematics with integers as results";
        /// 500 questions of MATH (Hendrycks and others 2021), chosen by Lightman and others 2023.
        Math500 = "math500", "mathematics with expressions as results";
        /// GPQA (Rein and others 2023).
        Gpqa = "gpqa", "graduate-level science with four choices";
        /// The questions of `MLPerf` for DeepSeek-R1: five sets, one of which needs programs to be run. Only lengths are measured.
        Mlperf = "mlperf", "the questions of MLPerf for DeepSeek-R1, for the length of answers";
    }
}

impl Task {
    /// The name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Gsm8k => "GSM8K",
            Self::Aime => "AIME",
            Self::Math500 => "MATH-500",
            Self::Gpqa => "GPQA",
            Self::Mlperf => "MLPerf",
        }
    }

    /// Returns true if answers are right or wrong; false if only their length is measured.
    #[must_use]
    pub const fn is_graded(self) -> bool {
        !matches!(self, Self::Mlperf)
    }

    /// Returns the settings unless the user says otherwise. `api` is the user's choice of the API.
    ///
    /// GSM8K has those of NVIDIA's guide: `bench_sglang.py --num-shots 8 --num-questions 1316 --parallel 1316`, whose program has
    /// temperature 0 and 512 tokens (`benchmark/gsm8k/bench_sglang.py` of `SGLang`). With a chat, and for all others, they are
    /// those that `DeepSeek` states for R1 (its README: temperature 0.6, top-p 0.95, at most 32768 tokens). Examples make R1 worse
    /// (`DeepSeek-AI` 2025, "DeepSeek-R1", section 5), so a chat has none. AIME has 30 questions, so each is asked 8 times
    /// (`num_repeats` of AIME in `mlcommons/endpoints`, `docs/bench_suite.md`). The same file has the settings of `MLPerf`:
    /// temperature 0, 20000 tokens.
    #[must_use]
    pub const fn defaults(self, api: Option<Api>) -> Defaults {
        let api = match (self, api) {
            (_, Some(api)) => api,
            (Self::Gsm8k, None) => Api::Completions,
            (Self::Aime | Self::Math500 | Self::Gpqa | Self::Mlperf, None) => Api::Chat,
        };
        let is_guides = matches!(self, Self::Gsm8k) && !matches!(api, Api::Chat);
        let is_greedy = is_guides || matches!(self, Self::Mlperf);
        Defaults {
            api,
            shots: if is_guides { 8 } else { 0 },
            questions: if matches!(self, Self::Gsm8k) {
                Some(1316)
            } else {
                None
            },
            samples: if matches!(self, Self::Aime) { 8 } else { 1 },
            parallel: if is_guides { 1316 } else { 64 },
            max_tokens: match self {
                Self::Mlperf => 20_000,
                _ if is_guides => 512,
                _ => 32_768,
            },
            temperature: if is_greedy { 0.0 } else { 0.6 },
            top_p: if is_greedy { 1.0 } else { 0.95 },
        }
    }
}

/// The settings of an evaluation unless the user says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// API.
    pub api: Api,
    /// Worked examples in front of each question.
    pub shots: u32,
    /// Questions that are asked; `None` for all.
    pub questions: Option<u32>,
    /// Answers to each question.
    pub samples: u32,
    /// Requests in flight.
    pub parallel: u32,
    /// Longest answer in tokens, with its reasoning.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Share of the probability that is sampled from.
    pub top_p: f64,
}

/// The settings that decide an answer. Answers of other settings are never mixed with these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerSettings {
    /// The evaluation.
    pub task: Task,
    /// API.
    pub api: Api,
    /// Worked examples in front of each question.
    pub shots: u32,
    /// Longest answer in tokens, with its reasoning.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Share of the probability that is sampled from.
    pub top_p: f64,
    /// Seed of the order of choices.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gsm8k_is_that_of_the_guide_and_the_others_are_chats() {
        let guide = Task::Gsm8k.defaults(None);
        assert_eq!(
            (
                guide.api,
                guide.shots,
                guide.questions,
                guide.parallel,
                guide.max_tokens
            ),
            (Api::Completions, 8, Some(1316), 1316, 512)
        );
        let chat = Task::Gsm8k.defaults(Some(Api::Chat));
        assert_eq!((chat.api, chat.shots, chat.max_tokens), (Api::Chat, 0, 32_768));
        assert_eq!(Task::Aime.defaults(None).samples, 8);
        assert_eq!(Task::Gpqa.defaults(None).api, Api::Chat);
        let mlperf = Task::Mlperf.defaults(None);
        assert_eq!(
            (mlperf.api, mlperf.max_tokens, mlperf.temperature),
            (Api::Chat, 20_000, 0.0)
        );
    }
}
