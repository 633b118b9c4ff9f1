//! The records of CSV.

use super::source::{MOST_RECORD, Place, Source};
use crate::error::Result;

/// The columns: the question, the right choice, and the wrong ones.
pub(super) const COLUMNS: [&str; 5] = [
    "Question",
    "Correct Answer",
    "Incorrect Answer 1",
    "Incorrect Answer 2",
    "Incorrect Answer 3",
];

/// Reads the rows of a table; its other columns are not looked at.
pub(super) fn read_rows(source: &Source<'_>, text: &str) -> Result<Vec<(Place, [String; COLUMNS.len()])>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let broken = |error: &csv::Error| {
        let line = error.position().map(csv::Position::line);
        source.error(line.map_or(Place::Whole, Place::Line), &words_of(error))
    };
    let head = reader.headers().map_err(|error| broken(&error))?.clone();
    let mut places = [0; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        *place = head
            .iter()
            .position(|name| name.trim() == column)
            .ok_or_else(|| source.error(Place::Line(1), &format!("it has no column `{column}`")))?;
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| broken(&error))?;
        let place = Place::Line(record.position().map_or(0, csv::Position::line));
        source.check_size(place, record.as_slice().len().min(MOST_RECORD + 1), rows.len())?;
        let row = places.map(|index| record.get(index).unwrap_or_default().trim().to_owned());
        if let Some((_, column)) = row.iter().zip(COLUMNS).find(|(field, _)| field.is_empty()) {
            return Err(source.error(place, &format!("its `{column}` is empty")));
        }
        rows.push((place, row));
    }
    Ok(rows)
}

fn words_of(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("it has {len} columns, and the first line has {expected_len}"),
        _ => "it is not CSV".to_owned(),
    }
}
