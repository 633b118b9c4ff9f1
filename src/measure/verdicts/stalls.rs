//! Times in which a server sent nothing, although requests were in flight.

use std::time::Duration;

use super::requests::measured;
use super::words::{percent, verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::record::{Moment, Record};
use crate::measure::request::RequestTimes;
use crate::measure::statistics::interpolated_percentile;
use crate::report::{Figures, Trust, Verdict};

/// Shortest silence that counts: a busy client's host makes shorter ones.
const SHORTEST: Duration = Duration::from_millis(250);
/// A silence counts if it is so many times as long as the longest one that a usual request has, which is mostly its TTFT.
const TIMES: f64 = 5.0;
/// Share of the window that is silence, from which on figures are doubtful, and not to be used. On an H200 with SGLang 0.5.16 a
/// kernel was compiled for 6 s without a line in the log, and halved the throughput of a run of 13 s.
const DOUBTFUL: f64 = 0.02;
const UNTRUSTED: f64 = 0.1;

/// Judges the silences of all streams together.
pub(super) fn judge_stalls(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let (from, to) = evidence.window?;
    let mut longest: Vec<f64> = measured(evidence)
        .filter_map(RequestTimes::of)
        .map(|request| request.gaps().map(|(gap, _)| gap).fold(request.ttft(), f64::max))
        .collect();
    longest.sort_by(f64::total_cmp);
    let usual = interpolated_percentile(&longest, 50.0)?;
    let least = Duration::try_from_secs_f64(usual * TIMES).ok()?.max(SHORTEST);
    let silences = silences_of(&evidence.records, (from, to), least);
    let sum: f64 = silences.iter().map(Duration::as_secs_f64).sum();
    let Some(most) = silences.iter().max() else {
        let text = "tokens came without a pause while requests were in flight";
        return Some(verdict("stalls", Trust::Trusted, text));
    };
    let share = sum / to.since(from).as_secs_f64();
    let text = format!(
        "the server sent nothing for {:.1} s at once, and for {} of the time in all, with requests in flight",
        most.as_secs_f64(),
        percent(share)
    );
    let trust = if share >= UNTRUSTED {
        Trust::Untrusted
    } else if share >= DOUBTFUL {
        Trust::Doubtful
    } else {
        Trust::Trusted
    };
    let hint = if trust > Trust::Unknown {
        "measure again: a kernel is compiled once for each new shape, often without a line in the log"
    } else {
        ""
    };
    Some(with_hint(verdict("stalls", trust, text), hint))
}

/// Returns the silences in a window that last `least` or longer: from an arrival to the next one of any stream, as far as a request
/// was in flight.
fn silences_of(records: &[Record], (from, to): (Moment, Moment), least: Duration) -> Vec<Duration> {
    let mut arrivals: Vec<Moment> = records
        .iter()
        .flat_map(|record| record.chunks.iter().map(|chunk| record.arrival(chunk)))
        .filter(|arrival| from <= *arrival && *arrival <= to)
        .collect();
    arrivals.extend([from, to]);
    arrivals.sort_unstable();
    arrivals
        .windows(2)
        .filter(|pair| pair[1].since(pair[0]) >= least)
        .filter_map(|pair| {
            let (begin, end) = (pair[0], pair[1]);
            let in_flight = records
                .iter()
                .filter(|record| record.sent < end && end <= record.ended);
            let since = in_flight.map(|record| record.sent).min()?.max(begin);
            Some(end.since(since))
        })
        .filter(|silence| *silence >= least)
        .collect()
}
