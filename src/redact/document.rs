//! Secrets in a JSON document.

use serde_json::Value;

use crate::redact::names::{is_secret_in_quotes, sort_of_name};
use crate::redact::redactor::Redaction;
use crate::redact::sort::{MARK, Sort, count};
use crate::redact::steps;
use crate::redact::value::is_open;

/// Keys of a JSON document whose values are prompts or answers: those of the results of SGLang's client (0.5.23,
/// `bench_serving.py`), and of requests.
const PROMPTS: [&str; 7] = [
    "generated_texts",
    "generated_text",
    "prompt",
    "prompts",
    "input_text",
    "output_text",
    "messages",
];

impl Redaction<'_> {
    /// Redacts a document: each text in it by itself, and values by their keys.
    pub fn redact_json(&mut self, document: &mut Value) {
        redact_json(self, document);
    }
}

fn redact_json(redaction: &mut Redaction<'_>, document: &mut Value) {
    match document {
        Value::String(text) => {
            // Each text begins anew: a name at the end of one does not await a value in the next.
            let mut inner = redaction.redactor.begin();
            let redacted = inner.redact_text(text);
            for (sort, number) in inner.counts {
                *redaction.counts.entry(sort).or_default() += number;
            }
            *text = redacted;
        }
        Value::Array(items) => {
            let mut sort = None;
            for item in items {
                let next = item.as_str().and_then(steps::sort_of_option);
                match sort {
                    Some(sort) => mark(redaction, item, sort),
                    None => redact_json(redaction, item),
                }
                sort = next;
            }
        }
        Value::Object(fields) => {
            let named = fields
                .get("name")
                .or_else(|| fields.get("Name"))
                .and_then(Value::as_str)
                .and_then(sort_of_name);
            let old = std::mem::take(fields);
            for (key, mut value) in old {
                let is_value = key.eq_ignore_ascii_case("value");
                if PROMPTS.contains(&key.as_str()) && !value.is_null() && !value.is_number() {
                    mark_all(redaction, &mut value, Sort::Prompt);
                } else if let Some(sort) = sort_of_key(&key, &value).or(named.filter(|_| is_value)) {
                    mark(redaction, &mut value, sort);
                } else {
                    redact_json(redaction, &mut value);
                }
                let mut key = Value::String(key);
                redact_json(redaction, &mut key);
                if let Value::String(key) = key {
                    fields.insert(key, value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the sort of the value of a key of a document.
fn sort_of_key(key: &str, value: &Value) -> Option<Sort> {
    let is_secret = || is_secret_in_quotes(key) && value.as_str().is_some_and(|text| text.len() >= 8);
    sort_of_name(key).or_else(|| is_secret().then_some(Sort::Variable))
}

/// Replaces a text, or each text of a list; anything else is redacted as usual.
fn mark(redaction: &mut Redaction<'_>, value: &mut Value, sort: Sort) {
    match value {
        Value::String(text) if is_open(text) => {}
        Value::String(_) => mark_all(redaction, value, sort),
        Value::Array(items) => items.iter_mut().for_each(|item| mark(redaction, item, sort)),
        _ => redact_json(redaction, value),
    }
}

/// Replaces a value, with all that is in it.
fn mark_all(redaction: &mut Redaction<'_>, value: &mut Value, sort: Sort) {
    if value.as_str() != Some(MARK) {
        *value = Value::String(MARK.to_owned());
        count(&mut redaction.counts, sort);
    }
}
