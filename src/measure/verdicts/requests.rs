//! Requests that failed, and answers and prompts of another length than asked for.

use std::collections::BTreeMap;

use super::words::{percent, verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::figures::to_float;
use crate::measure::record::{End, Finish, Phase, Record};
use crate::report::{Figures, Trust, Verdict};

/// Share of failed requests above which the load is another one.
const FAILED: f64 = 0.01;
/// Share by which the server's count of prompt tokens may differ: a text has a token at its start in some models.
const PROMPT_TOKENS: f64 = 0.02;
/// Share of answers that may be shorter than asked for.
const SHORT: f64 = 0.005;

/// Judges failed requests. Those of the tail that were cut are none.
pub(super) fn judge_failures(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let measured = count(evidence, |record| record.phase == Phase::Measured);
    let failed = count(evidence, |record| {
        record.phase == Phase::Measured && matches!(record.end, End::Failed(_))
    });
    let elsewhere = count(evidence, |record| {
        record.phase != Phase::Measured && matches!(record.end, End::Failed(_))
    });
    if failed + elsewhere == 0 {
        return Some(verdict(
            "requests",
            Trust::Trusted,
            format!("all {measured} were answered"),
        ));
    }
    let share = to_float(failed) / to_float(measured.max(1));
    let trust = if share > FAILED {
        Trust::Untrusted
    } else {
        Trust::Doubtful
    };
    let kinds = list_failures(&evidence.records);
    let text = if failed > 0 {
        format!(
            "{failed} of {measured} measured requests failed ({}): {}. They are in no mean, and the others had an easier load",
            percent(share),
            kinds,
        )
    } else {
        format!("{elsewhere} requests outside of the measured ones failed: {kinds}")
    };
    Some(with_hint(
        verdict("requests", trust, text),
        "dsr1 logs shows the server's side",
    ))
}

/// Returns the failures of all requests by their kind, as in `3: HTTP 503; 1: no connection`; nothing without any.
fn list_failures(records: &[Record]) -> String {
    let mut kinds = BTreeMap::new();
    for record in records {
        if let End::Failed(failure) = &record.end {
            *kinds.entry(failure.kind.describe()).or_insert(0) += 1;
        }
    }
    let kinds = kinds.into_iter().map(|(kind, count)| format!("{count}: {kind}"));
    kinds.collect::<Vec<String>>().join("; ")
}

/// Judges a run without a window: nothing was measured. `end_of_data` says that the data ended, if they did.
pub(super) fn judge_nothing(evidence: &Evidence, end_of_data: Option<String>) -> Verdict {
    let kinds = list_failures(&evidence.records);
    match end_of_data {
        _ if !kinds.is_empty() => {
            let text = format!("no request was measured: {kinds}");
            verdict("requests", Trust::Untrusted, text)
        }
        Some(text) => verdict("requests", Trust::Untrusted, text),
        None => with_hint(
            verdict("requests", Trust::Untrusted, describe_warm_up(&evidence.records)),
            "pass a smaller --max-concurrency or --output-len; --no-warm-up measures from the first request on",
        ),
    }
}

/// Returns the state of a warm-up in which a run ended.
fn describe_warm_up(records: &[Record]) -> String {
    let begin = records.iter().map(|record| record.sent).min().unwrap_or_default();
    let end = records
        .iter()
        .map(|record| record.ended)
        .max()
        .unwrap_or_default();
    let complete = records.iter().filter(|record| record.is_complete()).count();
    let asked: u64 = records.iter().map(|record| u64::from(record.asked_tokens)).sum();
    let come: u64 = records.iter().map(Record::tokens).sum();
    format!(
        "the run ended after {:.0} s, before the warm-up did: {complete} of {} answers were complete, {come} of {asked} tokens had come",
        end.since(begin).as_secs_f64(),
        records.len()
    )
}

/// Judges the lengths of the prompts by the server's count, where they are known: those of a data file may not be.
pub(super) fn judge_prompts(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    if figures.mean_input_len == 0.0 {
        return Some(verdict(
            "prompts",
            Trust::Unknown,
            "the server does not count the tokens of prompts",
        ));
    }
    let known: Vec<(u64, u64)> = measured(evidence)
        .filter(|record| record.is_complete() && record.prompt_tokens > 0)
        .filter_map(|record| Some((u64::from(record.prompt_tokens), record.usage?.prompt)))
        .collect();
    let Some(asked) = mean_of(known.iter().map(|(asked, _)| *asked)) else {
        let text = format!(
            "{:.0} tokens in the mean by the server's count",
            figures.mean_input_len
        );
        return Some(verdict("prompts", Trust::Trusted, text));
    };
    let counted = mean_of(known.iter().map(|(_, counted)| *counted))?;
    let off = (counted - asked).abs() / asked.max(1.0);
    if off > PROMPT_TOKENS {
        let text = format!("{counted:.0} tokens by the server's count, {asked:.0} were asked for");
        return Some(verdict("prompts", Trust::Untrusted, text));
    }
    let others = known.iter().filter(|(asked, counted)| asked != counted).count();
    let but = if others > 0 {
        format!("; {others} of {} prompts differ by some tokens", known.len())
    } else {
        String::new()
    };
    let text = format!("{counted:.0} tokens by the server's count, as asked for{but}");
    Some(verdict("prompts", Trust::Trusted, text))
}

/// Judges the lengths of the answers, and the reasons of their ends.
pub(super) fn judge_answers(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    let complete = || measured(evidence).filter(|record| record.is_complete());
    let total = complete().count() as u64;
    if !evidence.ignores_end {
        let text = format!(
            "{:.0} tokens in the mean; the model ended them",
            figures.mean_output_len
        );
        return Some(verdict("answers", Trust::Trusted, text));
    }
    let is_short = |record: &&Record| {
        record
            .usage
            .is_some_and(|usage| usage.completion < u64::from(record.asked_tokens))
    };
    let short = complete().filter(is_short).count() as u64;
    if to_float(short) <= to_float(total) * SHORT {
        let text = format!("{:.0} tokens in the mean, as asked for", figures.mean_output_len);
        return Some(verdict("answers", Trust::Trusted, text));
    }
    let stopped = complete()
        .filter(|record| matches!(&record.end, End::Complete(finish) if *finish != Finish::Length))
        .count();
    let text = format!(
        "{short} of {total} answers are shorter than asked for ({stopped} did not end by length): the load is an easier one"
    );
    Some(with_hint(
        verdict("answers", Trust::Untrusted, text),
        "the server ignores ignore_eos, or its context is too short for prompt and answer",
    ))
}

pub(super) fn measured(evidence: &Evidence) -> impl Iterator<Item = &Record> {
    evidence
        .records
        .iter()
        .filter(|record| record.phase == Phase::Measured)
}

fn count(evidence: &Evidence, is_counted: impl Fn(&Record) -> bool) -> u64 {
    evidence
        .records
        .iter()
        .filter(|record| is_counted(record))
        .count() as u64
}

fn mean_of(values: impl Iterator<Item = u64> + Clone) -> Option<f64> {
    let total = values.clone().count() as u64;
    (total > 0).then(|| to_float(values.sum()) / to_float(total))
}
