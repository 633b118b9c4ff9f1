//! Published accuracies of DeepSeek-R1, with their sources, and the band around them that is no finding.

use crate::evaluate::task::Task;
use crate::report::{BandVerdict, BaselineComparison};

const DEEPSEEK_R1: &str =
    "DeepSeek, README of deepseek-ai/DeepSeek-R1 (temperature 0.6, top-p 0.95, 64 answers a question)";
const DEEPSEEK_R1_0528: &str =
    "DeepSeek, README of deepseek-ai/DeepSeek-R1-0528 (temperature 0.6, top-p 0.95, 16 answers a question)";
const NVIDIA_R1: &str = "NVIDIA, model card of nvidia/DeepSeek-R1-FP4, table \"Evaluation\"";

/// A published accuracy.
struct Published {
    model: &'static str,
    precision: Precision,
    task: Task,
    /// The year of a competition.
    year: Option<u32>,
    /// Thousandths of right answers.
    thousandths: u32,
    source: &'static str,
}

/// The precision of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    Fp8,
    Nvfp4,
}

impl Precision {
    const fn name(self) -> &'static str {
        match self {
            Self::Fp8 => "fp8",
            Self::Nvfp4 => "nvfp4",
        }
    }

    /// Returns half the width of the band, in percentage points.
    ///
    /// Two publishers of one set of weights differ by as much as 1.9 points: MATH-500 of R1 in FP8 is 97.3 at `DeepSeek` and 95.4 at
    /// NVIDIA, GPQA 71.5 and 69.7. Within one publisher, NVFP4 costs up to 1.2 points more (MATH-500 on NVIDIA's card: 95.4 and
    /// 94.2).
    const fn tolerance_points(self) -> f64 {
        match self {
            Self::Fp8 => 2.0,
            Self::Nvfp4 => 3.0,
        }
    }
}

/// The names of repositories: model and precision of their weights.
const REPOSITORIES: [(&str, &str, Precision); 9] = [
    ("DeepSeek-R1", "DeepSeek-R1", Precision::Fp8),
    ("DeepSeek-R1-0528", "DeepSeek-R1-0528", Precision::Fp8),
    ("DeepSeek-R1-FP4", "DeepSeek-R1", Precision::Nvfp4),
    ("DeepSeek-R1-FP4-v2", "DeepSeek-R1", Precision::Nvfp4),
    ("DeepSeek-R1-NVFP4", "DeepSeek-R1", Precision::Nvfp4),
    ("DeepSeek-R1-NVFP4-v2", "DeepSeek-R1", Precision::Nvfp4),
    ("DeepSeek-R1-0528-FP4", "DeepSeek-R1-0528", Precision::Nvfp4),
    ("DeepSeek-R1-0528-FP4-v2", "DeepSeek-R1-0528", Precision::Nvfp4),
    ("DeepSeek-R1-0528-NVFP4-v2", "DeepSeek-R1-0528", Precision::Nvfp4),
];

const fn published(
    (model, precision): (&'static str, Precision),
    (task, year): (Task, Option<u32>),
    thousandths: u32,
    source: &'static str,
) -> Published {
    Published {
        model,
        precision,
        task,
        year,
        thousandths,
        source,
    }
}

const R1: (&str, Precision) = ("DeepSeek-R1", Precision::Fp8);
const R1_FP4: (&str, Precision) = ("DeepSeek-R1", Precision::Nvfp4);
const R1_0528: (&str, Precision) = ("DeepSeek-R1-0528", Precision::Fp8);
const AIME_2024: (Task, Option<u32>) = (Task::Aime, Some(2024));
const AIME_2025: (Task, Option<u32>) = (Task::Aime, Some(2025));

/// The accuracies. There is none where no publication of the model's or the weights' maker has one.
const PUBLISHED: [Published; 11] = [
    published(R1, (Task::Gsm8k, None), 963, NVIDIA_R1),
    published(R1, AIME_2024, 798, DEEPSEEK_R1),
    published(R1, (Task::Math500, None), 973, DEEPSEEK_R1),
    published(R1, (Task::Gpqa, None), 715, DEEPSEEK_R1),
    published(R1_FP4, (Task::Gsm8k, None), 961, NVIDIA_R1),
    published(R1_FP4, AIME_2024, 800, NVIDIA_R1),
    published(R1_FP4, (Task::Math500, None), 942, NVIDIA_R1),
    published(R1_FP4, (Task::Gpqa, None), 692, NVIDIA_R1),
    published(R1_0528, AIME_2024, 914, DEEPSEEK_R1_0528),
    published(R1_0528, AIME_2025, 875, DEEPSEEK_R1_0528),
    published(R1_0528, (Task::Gpqa, None), 810, DEEPSEEK_R1_0528),
];

/// Returns the published accuracy of a model beside the interval of the measured one; `None` if none is known. The model is known by
/// the name of its repository alone: a name that a user chose, and a distilled model, are not compared.
#[must_use]
pub fn compare_with_published(
    model: &str,
    task: Task,
    year: Option<u32>,
    interval: (f64, f64),
) -> Option<BaselineComparison> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let (_, model, precision) = REPOSITORIES
        .iter()
        .find(|(repository, _, _)| *repository == name)?;
    let year = year.filter(|_| task == Task::Aime);
    let found = PUBLISHED.iter().find(|known| {
        known.model == *model && known.precision == *precision && known.task == task && known.year == year
    })?;
    let accuracy = f64::from(found.thousandths) / 1000.0;
    let tolerance = precision.tolerance_points() / 100.0;
    Some(BaselineComparison {
        model: found.model.to_owned(),
        precision: precision.name().to_owned(),
        accuracy,
        tolerance,
        source: found.source.to_owned(),
        verdict: BandVerdict::of_interval(interval, (accuracy - tolerance, accuracy + tolerance)),
    })
}

/// Questions of `MLPerf`'s set, and the mean tokens of an answer of DeepSeek-R1-0528 to them: `mlcommons/endpoints`,
/// `docs/bench_suite.md` (samples 4388; `TOKENS_PER_SAMPLE`, whose factors of 0.9 and 1.1 are the default tolerance).
const MLPERF: (u32, f64) = (4388, 3886.2274);

/// Returns the published mean tokens of an answer, if that many questions of an evaluation are asked; `None` if none is known.
#[must_use]
pub fn published_length(model: &str, task: Task, questions: u32) -> Option<f64> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_r1_0528 = REPOSITORIES
        .iter()
        .any(|(repository, model, _)| *repository == name && *model == R1_0528.0);
    let (all, tokens) = MLPERF;
    (task == Task::Mlperf && is_r1_0528 && questions == all).then_some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_models_are_compared() {
        let compare = |model, task, year| compare_with_published(model, task, year, (0.60, 0.65));
        let found = compare("nvidia/DeepSeek-R1-FP4", Task::Gpqa, None).unwrap();
        assert_eq!(
            (found.model.as_str(), found.precision.as_str(), found.verdict),
            ("DeepSeek-R1", "nvfp4", BandVerdict::Below)
        );
        assert!((found.accuracy - 0.692).abs() < 1e-12 && (found.tolerance - 0.03).abs() < 1e-12);
        assert!(compare("deepseek-ai/DeepSeek-R1-0528", Task::Aime, Some(2025)).is_some());
        for (model, task, year) in [
            ("deepseek-ai/DeepSeek-R1-0528", Task::Aime, None),
            ("deepseek-ai/DeepSeek-R1", Task::Aime, Some(2025)),
            ("nvidia/DeepSeek-R1-0528-FP4", Task::Gpqa, None),
            ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", Task::Gpqa, None),
            ("r1", Task::Gsm8k, None),
        ] {
            assert_eq!(compare(model, task, year), None, "{model}");
        }
    }

    #[test]
    fn the_length_of_mlperf_is_that_of_its_whole_set() {
        let model = "nvidia/DeepSeek-R1-0528-FP4";
        assert_eq!(published_length(model, Task::Mlperf, 4388), Some(3886.2274));
        assert_eq!(published_length(model, Task::Mlperf, 4387), None);
        assert_eq!(published_length(model, Task::Gpqa, 4388), None);
        assert_eq!(
            published_length("deepseek-ai/DeepSeek-R1", Task::Mlperf, 4388),
            None
        );
    }

    #[test]
    fn a_band_is_missed_only_by_a_whole_interval() {
        let verdict = |interval| {
            let found = compare_with_published("DeepSeek-R1", Task::Gpqa, None, interval);
            found.map(|found| found.verdict)
        };
        assert_eq!(verdict((0.60, 0.69)), Some(BandVerdict::Below));
        assert_eq!(verdict((0.60, 0.70)), Some(BandVerdict::Within));
        assert_eq!(verdict((0.74, 0.80)), Some(BandVerdict::Above));
    }
}
