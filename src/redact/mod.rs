//! Text without secrets: each one becomes `***`. Pure: text in, text out, line by line.
//!
//! [`redact_certain`] is for each line of a log that a person sees: it replaces only what is a secret without doubt, and a line
//! without one costs a search for a few words. [`Redactor`] is for files that leave the host: it also replaces values by the
//! names of their variables, known values, prompts, and the names of the host and its user. A secret whose form, name and value
//! are unknown here stays, so the user must look at the file before sending it.
//!
//! Not in this module tree: reading logs, and the one place that writes an archive (`effects::bundle`).

mod document;
mod names;
mod patterns;
mod redactor;
mod sort;
mod steps;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;

pub use names::sort_of_name;
use patterns::PATTERNS;
pub use redactor::{Names, Redaction, Redactor};
pub use sort::{Counts, MARK, Sort};

/// Returns a text with every certain secret replaced, line by line: keys of the engine, headers that log in, logins in URLs,
/// signed URLs, and tokens that are known by their form.
#[must_use]
pub fn redact_certain(text: &str) -> Cow<'_, str> {
    let Some(patterns) = &*PATTERNS else {
        return Cow::Borrowed(MARK);
    };
    if !patterns.signs.is_match(text) {
        return Cow::Borrowed(text);
    }
    let mut counts = Counts::new();
    if !text.contains('\n') {
        return steps::replace_certain(patterns, Cow::Borrowed(text), &mut counts);
    }
    let lines = text.split_inclusive('\n').map(|line| {
        let content = line.strip_suffix('\n').unwrap_or(line);
        let end = &line[content.len()..];
        steps::replace_certain(patterns, Cow::Borrowed(content), &mut counts).into_owned() + end
    });
    Cow::Owned(lines.collect())
}

/// Returns the value of a variable for people: [`MARK`] if its name says that it is secret, else without certain secrets.
#[must_use]
pub fn shown_value<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if sort_of_name(name).is_some() && !value::is_open(value) {
        return Cow::Borrowed(MARK);
    }
    redact_certain(value)
}
