//! Misspelt names: the nearest known one, and the error that shows it.

use crate::error::{Error, Kind};

/// Returns the candidate nearest to `word`, if it is near enough to be a typo of it: a longer word may have more wrong
/// letters. A word of another meaning is worse than no hint.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = match word.trim_start_matches('-').len() {
        0..=3 => 0,
        4..=6 => 1,
        7..=11 => 2,
        _ => 3,
    };
    nearest_within(word, candidates, most)
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

/// Returns the option nearest to `word`: one that is spelt like it, or whose first letters it doubles (`--tpp` for
/// `--tp-size`).
pub(crate) fn nearest_option<'a>(word: &str, options: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let options: Vec<&str> = options.collect();
    let mut letters: Vec<char> = word.trim_start_matches('-').chars().collect();
    letters.dedup();
    let short: String = letters.into_iter().collect();
    let begins = |option: &&str| option.trim_start_matches('-').split('-').next() == Some(&short);
    nearest(word, options.iter().copied()).or_else(|| {
        let of_short = options.into_iter().filter(begins);
        of_short.min_by_key(|option| option.len())
    })
}

/// Returns the error for an unknown `kind` (profile, stack) called `name`, with the nearest known name or all of them.
pub(super) fn unknown_name<'a>(
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Error {
    let error = Error::new(Kind::Usage, format!("unknown {kind} `{}`", name.escape_debug()));
    let plain = name.to_ascii_lowercase().replace('_', "-");
    let same = known.clone().find(|known| *known == plain);
    // Two names at the same distance, such as those of two GPUs, are no hint.
    let near = || {
        let first = nearest(&plain, known.clone())?;
        let distance = strsim::damerau_levenshtein(&plain, first);
        let is_as_near =
            |other: &&str| *other != first && strsim::damerau_levenshtein(&plain, other) == distance;
        (!known.clone().any(|other| is_as_near(&other))).then_some(first)
    };
    if let Some(nearest) = same.or_else(near) {
        return error.hint(format!("did you mean `{nearest}`?"));
    }
    let mut names: Vec<&str> = known.collect();
    names.sort_unstable();
    names.dedup();
    error.hint(format!("known: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_gpu_is_no_hint() {
        let known = [
            "b200-fp4-low-latency",
            "b200-fp8-low-latency",
            "h200-fp8-low-latency",
        ];
        let hint = |name| unknown_name("profile", name, known.into_iter()).hints()[0].clone();
        assert_eq!(
            hint("H200-FP8-low-latency"),
            "did you mean `h200-fp8-low-latency`?"
        );
        assert_eq!(
            hint("h200_fp8_low_latency"),
            "did you mean `h200-fp8-low-latency`?"
        );
        assert_eq!(
            hint("b200-fp8-low-latensy"),
            "did you mean `b200-fp8-low-latency`?"
        );
        assert!(hint("h200-fp4-low-latency").starts_with("known: "));
    }

    #[test]
    fn a_hint_goes_by_few_letters_or_by_meaning() {
        let known = [
            "--max-loaded-loras",
            "--mem-fraction-static",
            "--ep-size",
            "mxfp8",
            "--tp-size",
        ];
        let case = |word| nearest(word, known.into_iter());
        assert_eq!(case("--mem-fracton-static"), Some("--mem-fraction-static"));
        for word in ["--max-model-len", "fp8", "--tp", "--xyz"] {
            assert_eq!(case(word), None, "{word}");
        }
        let option = |word| nearest_option(word, known.into_iter());
        for (word, near) in [
            ("--tpp", Some("--tp-size")),
            ("--epp", Some("--ep-size")),
            ("--top", None),
            ("--xyz", None),
        ] {
            assert_eq!(option(word), near, "{word}");
        }
    }
}
