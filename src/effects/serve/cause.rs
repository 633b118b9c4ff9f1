//! The cause of a server's end, by the diagnosis of its log, as an error.

use crate::diagnose::{Diagnosis, UNKNOWN, Verdict};
use crate::error::Error;
use crate::sglang::log;

/// Most remedies that an error names; `dsr1 diagnose` lists all.
const REMEDIES: usize = 2;

/// Longest part of the engine's own words: PyTorch's are followed by advice that does not know the cause.
const LONGEST: usize = 240;

/// Returns the first line, cut at a word.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    let kept: String = line.chars().take(LONGEST).collect();
    let whole = kept.rsplit_once(' ').map_or(kept.as_str(), |(whole, _)| whole);
    format!("{whole} ...")
}

/// Adds cause and remedies to an error about a server that ended with `reason`; `lines` are the last ones of its log.
pub(in crate::effects) fn explained<'a>(
    error: Error,
    diagnosis: &Diagnosis,
    reason: &str,
    server: &str,
    lines: impl DoubleEndedIterator<Item = &'a str>,
) -> Error {
    let is_known = diagnosis.verdict == Verdict::Failure && diagnosis.kind != UNKNOWN;
    let Some(evidence) = diagnosis.evidence.as_ref().filter(|_| is_known) else {
        return match log::cause(lines) {
            Some(cause) => error.cause(format!("{cause} ({reason})")),
            None => error.cause(reason.to_owned()),
        };
    };
    let rank = evidence
        .rank
        .as_ref()
        .map_or_else(String::new, |rank| format!(", rank {rank}"));
    let said = diagnosis.exception.as_ref().unwrap_or(&evidence.text);
    let error = error
        .cause(format!("{}{rank} ({reason})", diagnosis.title))
        .cause(shortened(said));
    let remedies = diagnosis.fix.iter().take(REMEDIES);
    let error = remedies.fold(error, |error, fix| error.hint(fix.clone()));
    error.hint(format!("dsr1 diagnose {server} shows what else its log has"))
}
