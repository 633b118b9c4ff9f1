//! The fuzz targets on their seeds and on some hundred changes of them: `tests/fuzz/run` fuzzes the same functions for
//! minutes.

#[path = "../fuzz/targets/answer.rs"]
mod answer;
#[path = "../fuzz/targets/data.rs"]
mod data;
#[path = "../fuzz/targets/diagnose.rs"]
mod diagnose;
#[path = "../fuzz/targets/evaluate.rs"]
mod evaluate;
#[path = "../fuzz/targets/listing.rs"]
mod listing;
#[path = "../fuzz/targets/metrics.rs"]
mod metrics;
#[path = "../fuzz/targets/profile.rs"]
mod profile;
#[path = "../fuzz/targets/redact.rs"]
mod redact;
#[path = "../fuzz/targets/render.rs"]
mod render;

use std::path::Path;

use crate::support::random::Random;
use crate::support::read;

/// Changes that are made of all seeds of a target together.
const CHANGES: usize = 300;

/// Returns the files in a folder of the repository, in the order of their names.
fn files(folder: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Returns the words of a dictionary of libFuzzer: `"word"` on each line, with `\"`, `\\` and `\xNN`.
fn dictionary(target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fuzz/{target}.dict"));
    let text = std::fs::read_to_string(path).unwrap();
    let quoted = text
        .lines()
        .filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(unescaped).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = after;
            }
            (b'\\', [escaped, after @ ..]) => {
                bytes.push(*escaped);
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

/// Returns the input with one to four changes: a byte or a piece is removed, replaced or repeated, or
/// a word is inserted.
fn changed(input: &[u8], words: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.index(4) {
        let at = random.index(bytes.len() + 1);
        let to = (at + random.index(24)).min(bytes.len());
        match random.index(5) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            2 if at < bytes.len() => bytes[at] ^= 1 << random.index(8),
            3 => bytes.insert(at, u8::try_from(random.index(256)).unwrap()),
            _ => {
                let word = words[random.index(words.len())].clone();
                bytes.splice(at..to, word);
            }
        }
    }
    bytes
}

/// Checks every seed, and changes of them.
fn check_all(target: &str, seeds: &[Vec<u8>], mut check: impl FnMut(&[u8])) {
    let mut words = dictionary(target);
    if target == "profile" {
        let knobs = dsr1::sglang::words().knobs();
        words.extend(knobs.map(|knob| format!("{knob}:").into_bytes()));
    }
    assert!(!seeds.is_empty() && !words.is_empty(), "{target}");
    let mut random = Random::new(target);
    for seed in seeds {
        check(seed);
    }
    for number in 0..CHANGES {
        let input = changed(&seeds[number % seeds.len()], &words, &mut random);
        // A panic of the check fails the test; its input is printed first.
        let shown = Shown(&input);
        check(&input);
        drop(shown);
    }
}

/// Prints an input if its check panics.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: {:?}", String::from_utf8_lossy(self.0));
        }
    }
}

#[test]
fn answers() {
    check_all("answer", &files("tests/fuzz/seeds/answer"), answer::check_answer);
}

#[test]
fn data_and_traces() {
    check_all("data", &files("tests/fuzz/seeds/data"), data::check_data);
}

#[test]
fn diagnoses() {
    // One log of each form and of the hard cases.
    let mut seeds = files("tests/fixtures/diagnose/memory.capture");
    seeds.extend(files("tests/fixtures/diagnose/gpu.ecc"));
    seeds.extend(files("tests/fixtures/diagnose/docker.cdi"));
    check_all("diagnose", &seeds, diagnose::check_diagnosis);
}

#[test]
fn evaluations() {
    check_all(
        "evaluate",
        &files("tests/fuzz/seeds/evaluate"),
        evaluate::check_evaluation,
    );
}

#[test]
fn listings() {
    check_all(
        "listing",
        &files("tests/fuzz/seeds/listing"),
        listing::check_listing,
    );
}

#[test]
fn metrics_of_servers() {
    check_all("metrics", &files("tests/fuzz/seeds/metrics"), |bytes| {
        metrics::check_metrics(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn profiles() {
    // The built-in profiles, under names of their own.
    let seeds: Vec<Vec<u8>> = files("profiles")
        .into_iter()
        .map(|bytes| {
            let text = format!("\n{}", String::from_utf8(bytes).unwrap());
            text.replacen("\nname: ", "\nname: my-", 1).into_bytes()
        })
        .collect();
    check_all("profile", &seeds, |bytes| {
        profile::check_profile(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn redactions() {
    check_all(
        "redact",
        &files("tests/fuzz/seeds/redact"),
        redact::check_redaction,
    );
}

#[test]
fn renderings() {
    check_all("render", &files("tests/fuzz/seeds/render"), render::check_render);
}
