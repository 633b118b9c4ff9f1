//! An evaluation of accuracy: its block, the comparisons, and some wrong answers.

use std::fmt::Write;

use super::safe;
use crate::report::{AnswerCounts, BandVerdict, Evaluation, WrongAnswer};

/// Width of the block, and of its first column: those of a measurement.
const BLOCK: usize = 50;
const LABEL: usize = 40;
/// Most failures and reasons that are shown.
const MOST: usize = 8;

/// Returns the accuracy with its interval, the counts, the comparisons, and the files.
#[must_use]
pub fn evaluation(result: &Evaluation) -> String {
    let mut out = String::new();
    let title = format!(" {} ", title_of(result));
    let _ = writeln!(out, "{title:=^BLOCK$}");
    write_accuracy(&mut out, result);
    write_tokens(&mut out, result);
    let _ = writeln!(out, "{}", "=".repeat(BLOCK));
    write_rules(&mut out, result);
    write_comparisons(&mut out, result);
    for (kind, count) in result.failures.iter().take(MOST) {
        let example = result.examples.get(kind).map_or("", String::as_str);
        let example = if example.is_empty() {
            String::new()
        } else {
            format!(": {}", safe(example))
        };
        let _ = writeln!(out, "failed requests, {}: {count}{example}", safe(kind));
    }
    write_wrong(&mut out, &result.wrong);
    for (what, path) in [("answers in", &result.answers), ("kept in", &result.saved_to)] {
        if let Some(path) = path {
            let _ = writeln!(out, "{what} {}", safe(path));
        }
    }
    out
}

fn title_of(result: &Evaluation) -> String {
    let name = match result.task.as_str() {
        "gsm8k" => "GSM8K",
        "aime" => "AIME",
        "math500" => "MATH-500",
        "gpqa" => "GPQA",
        "mlperf" => "MLPerf, lengths only",
        other => other,
    };
    match result.data.year {
        Some(year) if result.task == "aime" => format!("{name} {year}"),
        _ => name.to_owned(),
    }
}

fn row(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(out, "{label:<LABEL$} {value:<10}");
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn write_accuracy(out: &mut String, result: &Evaluation) {
    let AnswerCounts {
        planned,
        right,
        wrong,
        without_result,
        ungraded,
        cut_by_length,
        failed,
        resumed,
    } = result.counts;
    if let Some(accuracy) = result.accuracy {
        row(out, "Accuracy:", &percent(accuracy));
    }
    if let (Some(low), Some(high)) = (result.accuracy_low, result.accuracy_high) {
        let interval = format!("{:.2} to {:.2} %", low * 100.0, high * 100.0);
        row(out, "95 % interval:", &interval);
    }
    row(out, "Questions:", &result.settings.questions.to_string());
    if result.settings.samples > 1 {
        row(out, "Answers to each:", &result.settings.samples.to_string());
    }
    if ungraded > 0 {
        row(out, "Answers, not graded:", &ungraded.to_string());
    } else {
        row(out, "Right:", &right.to_string());
        row(out, "Wrong:", &wrong.to_string());
        row(out, "Without a result (wrong, too):", &without_result.to_string());
    }
    row(out, "Cut at the token limit:", &cut_by_length.to_string());
    if resumed > 0 {
        row(out, "Of all, from an earlier start:", &resumed.to_string());
    }
    if failed > 0 {
        row(out, "Failed requests:", &format!("{failed} of {planned}"));
    }
}

fn write_tokens(out: &mut String, result: &Evaluation) {
    let _ = writeln!(out, "{:-^BLOCK$}", "Answers");
    let figure = |value: f64| format!("{value:.1}");
    row(out, "Mean tokens of an answer:", &figure(result.tokens.mean));
    if let (Some(reasoning), Some(answer)) = (result.tokens.mean_reasoning, result.tokens.mean_answer) {
        row(out, "Mean tokens of its reasoning:", &figure(reasoning));
        row(out, "Mean tokens after the reasoning:", &figure(answer));
    }
    for (reason, count) in result.finish.iter().take(MOST + 1) {
        row(out, &format!("Ended by {}:", safe(reason)), &count.to_string());
    }
    row(out, "Duration (s):", &figure(result.run_s));
    row(
        out,
        "Output token throughput (tok/s):",
        &figure(result.output_throughput),
    );
}

fn write_rules(out: &mut String, result: &Evaluation) {
    let settings = &result.settings;
    let shots = match settings.shots {
        0 => String::new(),
        shots => format!(" with {shots} examples"),
    };
    let _ = writeln!(
        out,
        "model {}, {}, prompts by {}{shots}, results by {}",
        safe(&result.server.model),
        settings.api,
        settings.prompt_rules,
        settings.extraction_rules,
    );
    let _ = writeln!(
        out,
        "temperature {}, top-p {}, at most {} tokens, {} in flight, seed {}",
        settings.temperature, settings.top_p, settings.max_new_tokens, settings.parallel, settings.seed,
    );
    let _ = writeln!(
        out,
        "{} questions in {}, sha256 {}",
        result.data.questions,
        safe(&result.data.path),
        safe(&result.data.sha256),
    );
}

fn write_comparisons(out: &mut String, result: &Evaluation) {
    if !result.is_complete {
        let _ = writeln!(
            out,
            "INCOMPLETE: the figures are those of the answers that came; the same command asks for the rest"
        );
    }
    match &result.baseline {
        Some(baseline) => {
            let verdict = match baseline.verdict {
                BandVerdict::Below => "BELOW: all of the interval is lower",
                BandVerdict::Within => "within: the interval overlaps it",
                BandVerdict::Above => "above: all of the interval is higher",
            };
            let _ = writeln!(
                out,
                "expected {:.1} % +- {:.1} points for {} in {}: {verdict}\n  source: {}",
                baseline.accuracy * 100.0,
                baseline.tolerance * 100.0,
                safe(&baseline.model),
                safe(&baseline.precision),
                safe(&baseline.source),
            );
        }
        None if result.accuracy.is_none() => {}
        None => {
            let _ = writeln!(
                out,
                "no published accuracy of this model is known for these questions"
            );
        }
    }
    if let Some(length) = &result.length {
        let _ = writeln!(
            out,
            "mean answer: {:.1} tokens, {} {} +- {} %",
            result.tokens.mean,
            length.verdict.word(),
            length.expected,
            length.tolerance_percent,
        );
    }
}

fn write_wrong(out: &mut String, wrong: &[WrongAnswer]) {
    for answer in wrong {
        let WrongAnswer {
            question,
            sample,
            text,
            expected,
            result,
            finish,
        } = answer;
        let result = result.as_ref().map_or_else(
            || format!("nothing (ended by {})", safe(finish)),
            |result| safe(result).into_owned(),
        );
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            out,
            "wrong: question {question}, answer {sample}: {}\n  expected {}, got {result}",
            safe(&text),
            safe(expected),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::{
        AnswerTokens, BaselineComparison, EvaluatedData, EvaluationSettings, LengthComparison, MeasuredServer,
    };

    fn result() -> Evaluation {
        Evaluation {
            task: "aime".to_owned(),
            began: "2026-11-30T12:00:00Z".to_owned(),
            server: MeasuredServer {
                model: "deepseek-ai/DeepSeek-R1".to_owned(),
                ..MeasuredServer::default()
            },
            data: EvaluatedData {
                path: "aime.jsonl".to_owned(),
                sha256: "ab".repeat(32),
                questions: 30,
                year: Some(2024),
            },
            settings: EvaluationSettings {
                api: "chat".to_owned(),
                prompt_rules: "boxed/1".to_owned(),
                extraction_rules: "boxed-integer/1".to_owned(),
                questions: 30,
                samples: 2,
                parallel: 64,
                max_new_tokens: 32_768,
                temperature: 0.6,
                top_p: 0.95,
                ..EvaluationSettings::default()
            },
            counts: AnswerCounts {
                planned: 60,
                right: 40,
                wrong: 15,
                without_result: 4,
                ungraded: 0,
                cut_by_length: 3,
                failed: 1,
                resumed: 20,
            },
            is_complete: false,
            accuracy: Some(0.678),
            accuracy_low: Some(0.551),
            accuracy_high: Some(0.783),
            tokens: AnswerTokens {
                total: 590_000,
                mean: 10_000.0,
                mean_reasoning: Some(9_300.0),
                mean_answer: Some(700.0),
            },
            finish: BTreeMap::from([("length".to_owned(), 3), ("st\u{1b}op".to_owned(), 56)]),
            failures: BTreeMap::from([("HTTP 503".to_owned(), 4)]),
            examples: BTreeMap::from([("HTTP 503".to_owned(), "\u{1b}[2Jfull".to_owned())]),
            run_s: 100.0,
            output_throughput: 5_900.0,
            baseline: Some(BaselineComparison {
                model: "DeepSeek-R1".to_owned(),
                precision: "fp8".to_owned(),
                accuracy: 0.798,
                tolerance: 0.02,
                source: "a paper".to_owned(),
                verdict: BandVerdict::Within,
            }),
            length: Some(LengthComparison {
                expected: 9_000.0,
                tolerance_percent: 10.0,
                verdict: BandVerdict::Above,
            }),
            wrong: vec![WrongAnswer {
                question: 3,
                sample: 1,
                text: "Let\n\u{1b}[31m x".to_owned(),
                expected: "73".to_owned(),
                result: None,
                finish: "length".to_owned(),
            }],
            answers: Some("/s/results/a.partial.jsonl".to_owned()),
            saved_to: Some("/s/results/a.json".to_owned()),
        }
    }

    #[test]
    fn the_block_has_the_accuracy_its_interval_and_the_rules() {
        insta::assert_snapshot!(evaluation(&result()));
    }

    #[test]
    fn nothing_of_a_server_or_a_file_reaches_the_terminal_as_it_is() {
        let text = evaluation(&result());
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
