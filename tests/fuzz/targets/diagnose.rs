//! Any bytes as a log: a diagnosis in any pieces is the same, names a line that exists, and prints no control character; never a
//! panic.

use dsr1::diagnose::{Diagnoser, Diagnosis};
use dsr1::ui;

fn diagnosis(log: &[u8], piece: usize) -> Diagnosis {
    let mut diagnoser = Diagnoser::default();
    diagnoser.begin("log");
    for piece in log.chunks(piece) {
        diagnoser.feed(piece);
    }
    diagnoser.finish()
}

/// Diagnoses the input and checks the answer.
pub(crate) fn check_diagnosis(log: &[u8]) {
    let found = diagnosis(log, 1 << 16);
    assert_eq!(found, diagnosis(log, 7));
    let places = found
        .evidence
        .iter()
        .chain(found.others.iter().map(|other| &other.evidence));
    for place in places {
        assert!((1..=found.lines).contains(&place.line), "{place:?}");
    }
    let shown = ui::diagnosis(&found, None);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}
