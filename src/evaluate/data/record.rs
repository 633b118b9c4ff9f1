//! The records of JSON lines and of an array, by their keys.

use serde_json::{Map, Value};

use super::source::{Place, Source};
use crate::error::Result;

/// A record.
#[derive(Debug)]
pub(super) struct Record {
    /// Its place in the file.
    pub(super) place: Place,
    fields: Map<String, Value>,
}

/// Reads JSON lines, or an array of objects. Empty lines are skipped.
pub(super) fn read_records(source: &Source<'_>, text: &str) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    if text.trim_start().starts_with('[') {
        let items: Vec<Value> = serde_json::from_str(text).map_err(|error| {
            let line = Place::Line(error.line() as u64);
            source.error(line, &error.to_string())
        })?;
        for (index, item) in items.into_iter().enumerate() {
            let place = Place::Item(index + 1);
            source.check_size(place, item.to_string().len(), records.len())?;
            records.push(record_of(source, place, item)?);
        }
        return Ok(records);
    }
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = Place::Line(index as u64 + 1);
        source.check_size(place, line.len(), records.len())?;
        let value = serde_json::from_str(line).map_err(|error: serde_json::Error| {
            let text = error.to_string();
            // The line of the file is named; that of the text is always 1.
            source.error(place, text.split(" at line ").next().unwrap_or(&text))
        })?;
        records.push(record_of(source, place, value)?);
    }
    Ok(records)
}

fn record_of(source: &Source<'_>, place: Place, value: Value) -> Result<Record> {
    match value {
        Value::Object(fields) => Ok(Record { place, fields }),
        _ => Err(source.error(place, "it is not a JSON object")),
    }
}

impl Record {
    /// Returns the first of the keys that the record has; the first one of all if it has none.
    pub(super) fn key_of<'k>(&self, keys: &[&'k str]) -> &'k str {
        let found = keys.iter().find(|key| self.fields.contains_key(**key));
        found.or(keys.first()).copied().unwrap_or_default()
    }

    /// Returns the text of the first of the keys that the record has. A number counts as its digits.
    pub(super) fn text(&self, keys: &[&str], source: &Source<'_>) -> Result<String> {
        let key = self.key_of(keys);
        let cause = match self.fields.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Some(Value::Number(number)) => return Ok(number.to_string()),
            Some(Value::String(_)) => format!("its `{key}` is empty"),
            Some(_) => format!("its `{key}` is not text"),
            None => format!("it has no `{}`", keys.join("` or `")),
        };
        Err(source.error(self.place, &cause))
    }

    /// Returns the year that a record of a competition names: in `year`, or in an `ID` such as `2024-I-4`.
    pub(super) fn year(&self) -> Option<u32> {
        let named = match self.fields.get("year") {
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.clone(),
            _ => {
                let id = self.fields.get("ID")?.as_str()?;
                id.split('-').next()?.to_owned()
            }
        };
        let year = named.trim().parse().ok()?;
        (1900..3000).contains(&year).then_some(year)
    }
}
