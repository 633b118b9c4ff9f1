//! The sum of the answers: counts, accuracy with its interval, lengths.

use std::collections::BTreeMap;

use crate::evaluate::answer::GradedAnswer;
use crate::evaluate::question::Question;
use crate::measure::statistics::grouped_share_interval;
use crate::report::{AnswerCounts, AnswerTokens, BandVerdict, LengthComparison, WrongAnswer};

/// Most reasons of an end that are counted by their own name: a server chooses the names.
const MOST_REASONS: usize = 8;
/// Most characters of a question in a wrong answer that is shown.
const MOST_TEXT: usize = 160;

/// The sum of the answers of an evaluation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Score {
    /// The answers by outcome; the planned, failed and resumed ones are not known here.
    pub counts: AnswerCounts,
    /// Share of right answers with its 95 % interval; `None` of no answer.
    pub accuracy: Option<(f64, (f64, f64))>,
    /// Lengths.
    pub tokens: AnswerTokens,
    /// Reasons of ends.
    pub finish: BTreeMap<String, u64>,
}

/// Sums the answers up.
#[must_use]
pub fn score_answers(answers: &[GradedAnswer]) -> Score {
    let mut score = Score::default();
    let mut groups: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    let (mut reasoned, mut reasoning, mut behind) = (0, 0, 0);
    for answer in answers {
        match (answer.is_right, &answer.result) {
            (Some(true), _) => score.counts.right += 1,
            (Some(false), Some(_)) => score.counts.wrong += 1,
            (Some(false), None) => score.counts.without_result += 1,
            (None, _) => score.counts.ungraded += 1,
        }
        if let Some(is_right) = answer.is_right {
            let group = groups.entry(answer.question).or_default();
            group.0 += u32::from(is_right);
            group.1 += 1;
        }
        score.counts.cut_by_length += u64::from(answer.finish == "length");
        score.tokens.total += answer.completion_tokens;
        if let Some(tokens) = answer.reasoning_tokens {
            reasoned += 1;
            reasoning += tokens;
            behind += answer.completion_tokens.saturating_sub(tokens);
        }
        let is_new = !score.finish.contains_key(&answer.finish);
        let reason = if is_new && score.finish.len() >= MOST_REASONS {
            "other"
        } else {
            &answer.finish
        };
        *score.finish.entry(reason.to_owned()).or_default() += 1;
    }
    score.tokens.mean = mean_of(score.tokens.total, answers.len() as u64).unwrap_or(0.0);
    score.tokens.mean_reasoning = mean_of(reasoning, reasoned);
    score.tokens.mean_answer = mean_of(behind, reasoned);
    let groups: Vec<(u32, u32)> = groups.into_values().collect();
    score.accuracy = grouped_share_interval(&groups);
    score
}

#[expect(clippy::cast_precision_loss, reason = "counts of tokens are below 2^53")]
fn mean_of(sum: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}

/// Returns the mean length of answers beside the expected one, which may differ by a share of it in percent.
#[must_use]
pub fn compare_length(mean: f64, expected: f64, tolerance_percent: f64) -> LengthComparison {
    let most = expected * tolerance_percent / 100.0;
    LengthComparison {
        expected,
        tolerance_percent,
        verdict: BandVerdict::of_interval((mean, mean), (expected - most, expected + most)),
    }
}

/// Returns the first wrong answers, in the order of the questions.
#[must_use]
pub fn list_wrong(questions: &[Question], answers: &[GradedAnswer], most: usize) -> Vec<WrongAnswer> {
    let mut wrong: Vec<&GradedAnswer> = answers
        .iter()
        .filter(|answer| answer.is_right == Some(false))
        .collect();
    wrong.sort_by_key(|answer| (answer.question, answer.sample));
    let of = |answer: &GradedAnswer| {
        let question = questions
            .iter()
            .find(|question| question.number == answer.question)?;
        Some(WrongAnswer {
            question: answer.question,
            sample: answer.sample,
            text: question.text.chars().take(MOST_TEXT).collect(),
            expected: question.expected.clone(),
            result: answer.result.clone(),
            finish: answer.finish.clone(),
        })
    };
    wrong.into_iter().filter_map(of).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: u32, result: Option<&str>, is_right: bool, finish: &str) -> GradedAnswer {
        GradedAnswer {
            question,
            sample: 1,
            result: result.map(str::to_owned),
            is_right: Some(is_right),
            finish: finish.to_owned(),
            completion_tokens: 10,
            reasoning_tokens: (question > 1).then_some(6),
        }
    }

    #[test]
    fn answers_are_counted_by_their_fate() {
        let answers = [
            answer(1, Some("1"), true, "stop"),
            answer(2, Some("1"), false, "length"),
            answer(3, None, false, "length"),
        ];
        let score = score_answers(&answers);
        let AnswerCounts {
            right,
            wrong,
            without_result,
            cut_by_length,
            ..
        } = score.counts;
        assert_eq!((right, wrong, without_result, cut_by_length), (1, 1, 1, 2));
        let (share, (low, high)) = score.accuracy.unwrap();
        assert!((share - 1.0 / 3.0).abs() < 1e-12 && low < share && share < high);
        assert_eq!(score.tokens.total, 30);
        assert_eq!(score.tokens.mean_reasoning, Some(6.0));
        assert_eq!(score.tokens.mean_answer, Some(4.0));
        assert_eq!(score.finish["length"], 2);
        assert_eq!(score_answers(&[]).accuracy, None);
        let ungraded = score_answers(&answers.map(|answer| GradedAnswer {
            is_right: None,
            ..answer
        }));
        assert_eq!((ungraded.accuracy, ungraded.counts.ungraded), (None, 3));
        assert_eq!(ungraded.counts.answered(), 3);
    }

    #[test]
    fn a_server_that_invents_reasons_fills_no_memory() {
        let answers: Vec<_> = (0..100)
            .map(|n| answer(n, None, false, &format!("r{n}")))
            .collect();
        let finish = score_answers(&answers).finish;
        assert!(finish.len() <= MOST_REASONS + 1 && finish.values().sum::<u64>() == 100);
    }

    #[test]
    fn lengths_are_in_their_band_or_not() {
        let verdict = |mean| compare_length(mean, 3886.2274, 10.0).verdict;
        assert_eq!(verdict(3497.0), BandVerdict::Below);
        assert_eq!(verdict(3498.0), BandVerdict::Within);
        assert_eq!(verdict(4274.0), BandVerdict::Within);
        assert_eq!(verdict(4275.0), BandVerdict::Above);
    }

    #[test]
    fn wrong_answers_are_listed_in_the_order_of_questions() {
        let question = |number| Question {
            number,
            text: "é".repeat(300),
            choices: Vec::new(),
            expected: "9".to_owned(),
            worked: None,
        };
        let questions = [question(1), question(2)];
        let answers = [
            answer(2, None, false, "stop"),
            answer(1, Some("8"), false, "stop"),
            answer(7, None, false, "stop"),
        ];
        let wrong = list_wrong(&questions, &answers, 9);
        assert_eq!(wrong.iter().map(|one| one.question).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(wrong[0].text.chars().count(), MOST_TEXT);
        assert_eq!(list_wrong(&questions, &answers, 1).len(), 1);
    }
}
