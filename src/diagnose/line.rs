//! A line of a log: the prefixes that collectors, ranks and libraries put before it, and its text.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// A line without its prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The text.
    pub text: String,
    /// The time, in seconds of a clock that only this form of line has; `None` without one.
    pub time: Option<Time>,
    /// The time as it is written.
    pub shown_time: String,
    /// The rank as it is written, such as `TP3` or `DP1 TP1`; `None` if the line has none.
    pub rank: Option<String>,
    /// The container, pod or task that a collector names; empty without one.
    pub origin: String,
}

/// A time in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time {
    /// True for the engine's own clock, false for that of a collector.
    pub is_inner: bool,
    /// Seconds.
    pub seconds: i64,
}

struct Patterns {
    escape: Regex,
    outer: Vec<(Outer, Regex)>,
    engine: Regex,
    torch_rank: Regex,
    worker: Regex,
    /// A rank without a time.
    rank: Regex,
    nccl: Regex,
    glog: Regex,
    python: Regex,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outer {
    Stamp,
    Origin,
}

static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    let regex = |text: &str| Regex::new(text).ok();
    Some(Patterns {
        escape: regex(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")?,
        outer: vec![
            // docker logs -t, kubectl --timestamps, journalctl -o short-iso.
            (
                Outer::Stamp,
                regex(
                    r"^\[?(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?\s+",
                )?,
            ),
            // docker compose, and podman's form of it.
            (Outer::Origin, regex(r"^([A-Za-z0-9][\w.-]{0,63})\s*\|\s?")?),
            // kubectl logs --prefix.
            (Outer::Origin, regex(r"^\[(pod/[^\]\s]{1,200})\]\s?")?),
            // journald and syslog.
            (
                Outer::Origin,
                regex(r"^[A-Z][a-z]{2}\s+\d{1,2} \d\d:\d\d:\d\d (\S{1,64} [\w./@-]{1,64}(?:\[\d+\])?): ?")?,
            ),
            // srun --label.
            (Outer::Origin, regex(r"^\s{0,3}(\d{1,4}): ")?),
            // Ray and vLLM.
            (
                Outer::Origin,
                regex(r"^\(((?:\w+ )?pid=\d+(?:, ip=[\d.a-f:]+)?)\)\s+")?,
            ),
        ],
        engine: regex(
            r"^\[?(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:[.,]\d+)?((?: [A-Z][A-Za-z_]*\d+)*)\]\s?",
        )?,
        torch_rank: regex(r"^\[(?:default)?(rank\d+)\]:\s?")?,
        worker: regex(
            r"^\((?:Worker_?|EngineCore_?|VllmWorker)?((?:TP|PP|DP|EP|rank[ =]?)_?\d+(?:_(?:TP|PP|DP|EP)\d+)*)?[^)]{0,60}pid=\d+\)\s+",
        )?,
        rank: regex(r"^\[((?:TP|DP|PP|EP)\d+(?: [A-Z]{2,5}\d+)*)\]\s")?,
        nccl: regex(r"^[\w.-]{1,64}:\d+:\d+ \[(\d+)\] (?:NCCL|misc|[a-z/_]+\.cc)")?,
        glog: regex(r"^\[?[EWIF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)(?:\.\d+)?\s")?,
        python: regex(
            r"^(?:(?:INFO|WARNING|ERROR|DEBUG|CRITICAL):? )?\[?(?:(\d{4})-)?(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:[.,]\d+)?\]?\s",
        )?,
    })
});

/// Reads a line; what follows a carriage return replaces what stands before it, as on a terminal.
#[must_use]
pub(super) fn read(bytes: &[u8]) -> Line {
    const LONGEST: usize = 16_384;
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    let text = text.rsplit('\r').next().unwrap_or_default();
    let mut line = Line::default();
    let Some(patterns) = &*PATTERNS else {
        text.clone_into(&mut line.text);
        return line;
    };
    let clean: Cow<'_, str> = if text.contains('\u{1b}') {
        patterns.escape.replace_all(text, "")
    } else {
        Cow::Borrowed(text)
    };
    let (mut rest, outer) = take_outer(patterns, &clean, &mut line);
    // A stamp may follow a progress bar without an end of the line.
    if rest.contains('%')
        && let Some(at) = rest.rfind("][20").map(|at| at + 1)
        && patterns.engine.is_match(&rest[at..])
    {
        rest = &rest[at..];
    }
    take_inner(patterns, rest, &mut line);
    if line.time.is_none()
        && let Some((seconds, shown)) = outer
    {
        line.time = Some(Time {
            is_inner: false,
            seconds,
        });
        line.shown_time = shown;
    }
    line
}

/// Takes the prefixes of collectors and launchers, and returns the rest with their time.
fn take_outer<'a>(patterns: &Patterns, text: &'a str, line: &mut Line) -> (&'a str, Option<(i64, String)>) {
    let end = |found: &regex::Captures<'_>| found.get(0).map_or(0, |all| all.end());
    let (mut rest, mut outer) = (text, None);
    for _ in 0..4 {
        let before = rest.len();
        for (what, pattern) in &patterns.outer {
            let Some(found) = pattern.captures(rest) else {
                continue;
            };
            let whole = end(&found);
            match what {
                Outer::Stamp => {
                    outer = outer.or_else(|| Some((seconds(&found, 1)?, rest[..whole].trim().to_owned())));
                }
                Outer::Origin => {
                    if !line.origin.is_empty() {
                        line.origin.push(' ');
                    }
                    line.origin
                        .push_str(found.get(1).map_or("", |name| name.as_str()));
                }
            }
            rest = &rest[whole..];
        }
        if let Some(found) = patterns.torch_rank.captures(rest) {
            line.rank = found.get(1).map(|rank| rank.as_str().to_owned());
            rest = &rest[end(&found)..];
        }
        if let Some(found) = patterns.worker.captures(rest) {
            if let Some(rank) = found.get(1) {
                line.rank = Some(rank.as_str().replace('_', " "));
            }
            rest = &rest[end(&found)..];
        }
        if rest.len() == before {
            break;
        }
    }
    (rest, outer)
}

/// Takes the stamp of the engine or of a library, and the text.
fn take_inner(patterns: &Patterns, rest: &str, line: &mut Line) {
    let mut text = rest;
    if let Some(found) = patterns.engine.captures(rest) {
        let whole = found.get(0).map_or(0, |all| all.end());
        line.time = seconds(&found, 1).map(inner);
        let stamp = rest[..whole].trim().trim_matches(['[', ']']);
        let ranks = found.get(7).map_or("", |ranks| ranks.as_str().trim());
        stamp
            .strip_suffix(ranks)
            .unwrap_or(stamp)
            .trim()
            .clone_into(&mut line.shown_time);
        if !ranks.is_empty() {
            line.rank = Some(ranks.to_owned());
        }
        text = &rest[whole..];
        if line.rank.is_none()
            && let Some(found) = patterns.nccl.captures(text)
        {
            line.rank = found.get(1).map(|rank| format!("GPU {}", rank.as_str()));
        }
    } else if let Some(found) = patterns.rank.captures(rest) {
        line.rank = found.get(1).map(|rank| rank.as_str().to_owned());
        text = &rest[found.get(0).map_or(0, |all| all.end())..];
    } else if let Some(found) = patterns.nccl.captures(rest) {
        let gpu = || found.get(1).map(|rank| format!("GPU {}", rank.as_str()));
        line.rank = line.rank.take().or_else(gpu);
    } else if let Some(found) = patterns.glog.captures(rest) {
        line.time = seconds_without_year(&found, 1).map(inner);
    } else if let Some(found) = patterns.python.captures(rest) {
        line.time = seconds(&found, 1)
            .or_else(|| seconds_without_year(&found, 2))
            .map(inner);
    }
    text.clone_into(&mut line.text);
}

const fn inner(seconds: i64) -> Time {
    Time {
        is_inner: true,
        seconds,
    }
}

fn numbers<const N: usize>(found: &regex::Captures<'_>, first: usize) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = found.get(first + index)?.as_str().parse().ok()?;
    }
    Some(numbers)
}

/// Returns the seconds of a date and a time of six groups.
fn seconds(found: &regex::Captures<'_>, first: usize) -> Option<i64> {
    let [year, month, day, hour, minute, second] = numbers(found, first)?;
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Returns the seconds of a day and a time without a year, of five groups.
fn seconds_without_year(found: &regex::Captures<'_>, first: usize) -> Option<i64> {
    let [month, day, hour, minute, second] = numbers(found, first)?;
    Some(days(0, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Returns the days of a date since 1 March of the year 0 (the civil calendar in H. Hinnant's form).
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefixes_of_collectors_and_ranks_are_read() {
        for (line, origin, rank, text) in [
            (
                "[2026-11-29 19:10:01 TP3] Load weight begin.",
                "",
                Some("TP3"),
                "Load weight begin.",
            ),
            (
                "[2026-11-29 19:10:01 DP1 TP1 EP1] x",
                "",
                Some("DP1 TP1 EP1"),
                "x",
            ),
            ("[2026-11-29 19:10:01] x", "", None, "x"),
            (
                "2026-11-29T19:10:01.123456789Z [2026-11-29 19:10:01 TP0] x",
                "",
                Some("TP0"),
                "x",
            ),
            (
                "sglang-1  | [2026-11-29 19:10:01 TP0] x",
                "sglang-1",
                Some("TP0"),
                "x",
            ),
            (
                "Nov 29 19:10:01 node3 sglang[4242]: [2026-11-29 19:10:01 TP0] x",
                "node3 sglang[4242]",
                Some("TP0"),
                "x",
            ),
            (
                "[pod/dsr1-0/engine] [2026-11-29 19:10:01 PP0 TP2] x",
                "pod/dsr1-0/engine",
                Some("PP0 TP2"),
                "x",
            ),
            ("3: [2026-11-29 19:10:01 TP0] x", "3", Some("TP0"), "x"),
            (
                "[rank5]: Traceback (most recent call last):",
                "",
                Some("rank5"),
                "Traceback (most recent call last):",
            ),
            (
                "\u{1b}[36m(RayWorkerWrapper pid=12, ip=10.0.0.2)\u{1b}[0m x",
                "RayWorkerWrapper pid=12, ip=10.0.0.2",
                None,
                "x",
            ),
            (
                "node1:812:1044 [6] NCCL WARN Call to bind failed",
                "",
                Some("GPU 6"),
                "node1:812:1044 [6] NCCL WARN Call to bind failed",
            ),
            ("[TP5 EP5] x", "", Some("TP5 EP5"), "x"),
            (
                "[2026-11-29 19:10:00] n:1:2 [4] os/linux.cc:200 NCCL WARN y",
                "",
                Some("GPU 4"),
                "n:1:2 [4] os/linux.cc:200 NCCL WARN y",
            ),
            // Copied without its first character.
            ("2026-11-29 19:10:01 TP4] x", "", Some("TP4"), "x"),
            (
                "[2026-11-29T19:10:00.703Z] [2026-11-29 19:10:00] x",
                "",
                None,
                "x",
            ),
            ("Loading:  10%\rLoading: 100%", "", None, "Loading: 100%"),
        ] {
            let read = read(line.as_bytes());
            assert_eq!(
                (read.origin.as_str(), read.rank.as_deref(), read.text.as_str()),
                (origin, rank, text),
                "{line}"
            );
        }
    }

    #[test]
    fn times_are_in_seconds_and_the_engines_own_clock_wins() {
        let time = |line: &str| read(line.as_bytes()).time;
        let a = time("2026-11-29T19:10:09Z [2026-11-29 19:10:01 TP0] x").unwrap();
        let b = time("[2026-11-30 00:00:01] x").unwrap();
        assert!(a.is_inner);
        assert_eq!(b.seconds - a.seconds, 5 * 3600 - 600);
        let c = time("2026-11-29T19:10:09.5Z plain").unwrap();
        assert!(!c.is_inner);
        assert_eq!(c.seconds - a.seconds, 8);
        assert_eq!(time("plain"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(0_u8..=255, 0..300)) {
            let line = read(&bytes);
            proptest::prop_assert!(!line.text.contains('\n') || bytes.contains(&b'\n'));
        }
    }
}
