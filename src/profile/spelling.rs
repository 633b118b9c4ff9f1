//! Misspelt names: the nearest known one, and the error that shows it.

use crate::error::{Error, Kind};

/// Returns the candidate nearest to `word`, if it is near enough to be a typo of it.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns the candidate nearest to `word`, if at most `most` letters differ.
pub(crate) fn nearest_within<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
    most: usize,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns the error for an unknown `kind` (profile, stack) called `name`, with the nearest known name or all of them.
pub(super) fn unknown_name<'a>(
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Error {
    let error = Error::new(Kind::Usage, format!("unknown {kind} `{}`", name.escape_debug()));
    if let Some(nearest) = nearest(name, known.clone()) {
        return error.hint(format!("did you mean `{nearest}`?"));
    }
    let mut names: Vec<&str> = known.collect();
    names.sort_unstable();
    names.dedup();
    error.hint(format!("known: {}", names.join(", ")))
}
