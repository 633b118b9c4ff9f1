//! Prompts and traces of files: broken records, and their end.

use super::words::{verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::load::Load;
use crate::report::{Figures, MeasuredFile, Trust, Verdict};

/// Judges the file that the prompts are of.
pub(super) fn judge_file(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let file = evidence.file.as_ref()?;
    if file.broken > 0 {
        let text = format!(
            "{} of {} records that were read are broken, and were not sent; {}",
            file.broken,
            file.used + file.broken + file.too_long,
            file.examples.join("; "),
        );
        return Some(with_hint(
            verdict("data", Trust::Doubtful, text),
            "mend or remove these records",
        ));
    }
    if file.too_long > 0 {
        let text = format!(
            "{} of {} requests are longer than the context of the server, and were left out, so the load was lighter than the file's",
            file.too_long,
            file.used + file.too_long,
        );
        return Some(with_hint(
            verdict("data", Trust::Doubtful, text),
            "start the server with a larger --context-length",
        ));
    }
    let is_replay = matches!(evidence.load, Load::Replay { .. });
    if !is_replay && has_ended(evidence, file) {
        let text = format!(
            "the data ended after {} requests; the load fell during the last ones",
            evidence.records.len()
        );
        return Some(with_hint(
            verdict("data", Trust::Doubtful, text),
            "pass a smaller --num-prompts or --duration, or --repeat-data: the prefix cache then knows the prompts",
        ));
    }
    let what = if evidence.lengths.turns.is_single() {
        "requests"
    } else {
        "conversations"
    };
    let text = format!(
        "{} {what} of {} records, none broken",
        sent(evidence),
        file.records
    );
    Some(match &file.unchecked {
        None => verdict("data", Trust::Trusted, text),
        // The server refuses those that are too long, which another verdict tells.
        Some(reason) => with_hint(
            verdict(
                "data",
                Trust::Trusted,
                format!("{text}; not compared with the server's context: {reason}"),
            ),
            "pass --tokenizer PATH: the tokenizer.json of the model that the server has",
        ),
    })
}

/// Returns true if all requests of the file were sent: they are made ahead, so the end of the making is not that of the run.
fn has_ended(evidence: &Evidence, file: &MeasuredFile) -> bool {
    file.has_ended && sent(evidence) >= file.used
}

/// Returns the number of records that were sent: each is a request, or a conversation.
fn sent(evidence: &Evidence) -> u64 {
    let records = &evidence.records;
    let last = records
        .iter()
        .filter_map(|record| Some(record.turn?.conversation))
        .max();
    last.map_or(records.len() as u64, |last| u64::from(last) + 1)
}

/// Returns the words for a run whose data ended before anything was measured.
pub(super) fn explain_end(evidence: &Evidence) -> Option<String> {
    let file = evidence.file.as_ref().filter(|file| has_ended(evidence, file))?;
    let broken = if file.broken > 0 {
        format!(" ({} records are broken)", file.broken)
    } else {
        String::new()
    };
    Some(format!(
        "the data ended after {} requests{broken}, before the warm-up did",
        file.used
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::record::ConversationTurn;
    use crate::measure::verdicts::judge_run;
    use crate::measure::verdicts::tests::clean;

    fn file() -> MeasuredFile {
        MeasuredFile {
            records: 1000,
            used: 1000,
            ..MeasuredFile::default()
        }
    }

    /// Returns the verdict on a run of 200 requests.
    fn judged(file: MeasuredFile, load: Option<Load>) -> (Trust, String) {
        let mut evidence = clean(1);
        evidence.file = Some(file);
        evidence.is_random = false;
        evidence.load = load.unwrap_or(evidence.load);
        let figures =
            crate::measure::figures::compute_figures(&evidence.records, evidence.window.unwrap_or_default());
        let verdicts = judge_run(&evidence, Some(&figures));
        let found = verdicts
            .into_iter()
            .find(|verdict| verdict.about == "data")
            .unwrap();
        (found.trust, found.text)
    }

    #[test]
    fn each_fault_of_a_file_has_its_verdict() {
        let clean = judged(file(), None);
        assert_eq!(
            clean,
            (
                Trust::Trusted,
                "200 requests of 1000 records, none broken".to_owned()
            )
        );
        let uncounted = MeasuredFile {
            unchecked: Some("texts are not counted: it has no tokenizer".to_owned()),
            ..file()
        };
        assert_eq!(
            judged(uncounted, None),
            (
                Trust::Trusted,
                "200 requests of 1000 records, none broken; not compared with the server's context: texts are not counted: it has no tokenizer"
                    .to_owned()
            )
        );
        let broken = MeasuredFile {
            broken: 3,
            used: 997,
            examples: vec!["line 7: it is not an object".to_owned()],
            ..file()
        };
        let (trust, text) = judged(broken, None);
        assert_eq!(trust, Trust::Doubtful);
        assert_eq!(
            text,
            "3 of 1000 records that were read are broken, and were not sent; line 7: it is not an object"
        );
        let long = MeasuredFile {
            too_long: 5,
            used: 995,
            ..file()
        };
        assert!(
            judged(long, None)
                .1
                .starts_with("5 of 1000 requests are longer than the context")
        );
        let ended = MeasuredFile {
            records: 200,
            used: 200,
            has_ended: true,
            ..file()
        };
        assert_eq!(judged(ended.clone(), None).0, Trust::Doubtful);
        // The end of a trace is its own, and what was made ahead was not sent.
        let replay = Load::Replay {
            speed: 1.0,
            most_in_flight: None,
        };
        assert_eq!(judged(ended.clone(), Some(replay)).0, Trust::Trusted);
        let ahead = MeasuredFile { used: 400, ..ended };
        assert_eq!(judged(ahead, None).0, Trust::Trusted);
    }

    #[test]
    fn a_record_is_a_conversation_and_not_each_of_its_requests() {
        let mut evidence = clean(1);
        evidence.lengths.turns.count = 4;
        for record in &mut evidence.records {
            record.turn = Some(ConversationTurn {
                conversation: record.number / 4,
                turn: record.number % 4 + 1,
                new_tokens: 0,
            });
        }
        // 200 requests are 50 conversations.
        for (used, trust) in [(50, Trust::Doubtful), (51, Trust::Trusted)] {
            evidence.file = Some(MeasuredFile {
                records: used,
                used,
                has_ended: true,
                ..MeasuredFile::default()
            });
            let verdict = judge_file(&evidence, &Figures::default()).unwrap();
            assert_eq!(verdict.trust, trust, "{}", verdict.text);
        }
    }

    #[test]
    fn prompts_without_a_count_of_their_own_have_the_servers() {
        let mut evidence = clean(1);
        for record in &mut evidence.records {
            record.prompt_tokens = 0;
        }
        let figures =
            crate::measure::figures::compute_figures(&evidence.records, evidence.window.unwrap_or_default());
        let verdict = super::super::requests::judge_prompts(&evidence, &figures).unwrap();
        assert_eq!(
            (verdict.trust, verdict.text.as_str()),
            (Trust::Trusted, "100 tokens in the mean by the server's count")
        );
        // Half of them are known, and one of these has another count.
        for record in evidence.records.iter_mut().step_by(2) {
            record.prompt_tokens = 100;
        }
        evidence.records[50].prompt_tokens = 101;
        let verdict = super::super::requests::judge_prompts(&evidence, &figures).unwrap();
        assert!(
            verdict.text.ends_with("; 1 of 98 prompts differ by some tokens"),
            "{}",
            verdict.text
        );
    }
}
