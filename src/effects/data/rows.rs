//! The requests of a trace, in their own order and at their own times.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::index::{Found, Index};
use super::items::lock;
use crate::error::{Error, Kind, Result};
use crate::measure::{BlockPrompts, Drawn, Prompt, Tally, TraceFormat, TraceRow};

/// Lines that are looked at before a run: if all of them are broken, it is no trace.
const FIRST: usize = 20;
/// Longest time without a request in a run. A time that is further ahead is taken as a broken one: the run would wait for it, and all
/// later lines would be before it.
const LONGEST_GAP: Duration = Duration::from_hours(1);

/// The requests of a trace.
pub(in crate::effects) struct Rows {
    pub(in crate::effects) index: Index,
    pub(in crate::effects) format: TraceFormat,
    /// Times faster than the trace was.
    pub(in crate::effects) speed: f64,
    /// Size of the vocabulary from which prompts are drawn.
    pub(in crate::effects) vocabulary: u32,
    /// Tokens of the server's context, if it says them.
    pub(in crate::effects) context: Option<u64>,
}

impl Rows {
    /// Finds the format of a trace by its first line.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it is none, or all of its first lines are broken.
    pub(in crate::effects) fn find_format(index: &Index, path: &str) -> Result<TraceFormat> {
        let wrong = |cause: String| {
            Error::new(Kind::Usage, format!("cannot use `{path}` as a trace"))
                .cause(cause)
                .hint(
                    "a trace is of Mooncake (JSON lines), Azure or BurstGPT (CSV); prompts come with --data",
                )
        };
        let first = match index.look_at(0) {
            Found::Bytes(bytes) if !index.is_array => bytes,
            Found::Bytes(_) => return Err(wrong("it is an array".to_owned())),
            Found::Broken(reason) => return Err(wrong(reason)),
        };
        let format = TraceFormat::of_first_line(&first).map_err(wrong)?;
        let begin = usize::from(format.has_header());
        let mut reason = "it has no requests".to_owned();
        for record in (begin..index.count()).take(FIRST) {
            match index.look_at(record) {
                Found::Bytes(bytes) if bytes.is_empty() => {}
                Found::Bytes(bytes) => match format.read(&bytes) {
                    Ok(_) => return Ok(format),
                    Err(found) if record == begin => reason = format!("{}: {found}", index.name(record)),
                    Err(_) => {}
                },
                Found::Broken(found) => reason = format!("{}: {found}", index.name(record)),
            }
        }
        Err(wrong(reason))
    }

    /// Returns the requests of a seed. For a trial of the client they come again and again.
    pub(in crate::effects) fn requests(
        self: Arc<Self>,
        seed: u64,
        repeats: bool,
        tally: Arc<Mutex<Tally>>,
    ) -> impl Iterator<Item = Drawn> + Send {
        let mut prompts = BlockPrompts::new(self.vocabulary, seed);
        let begin = usize::from(self.format.has_header());
        let mut times = Times::default();
        let (mut next, mut made) = (begin, 0_u64);
        std::iter::from_fn(move || {
            loop {
                if next >= self.index.count() {
                    if !repeats || made == 0 {
                        lock(&tally).has_ended = true;
                        return None;
                    }
                    (next, made) = (begin, 0);
                    times = Times::default();
                }
                let record = next;
                next += 1;
                let Some((row, since)) = self.row(record, &mut times, &tally) else {
                    continue;
                };
                made += 1;
                return Some(Drawn {
                    prompt: Prompt::Ids(prompts.ids(&row)),
                    prompt_tokens: row.input,
                    output_tokens: row.output,
                    at: Some(since.div_f64(self.speed)),
                    later: None,
                });
            }
        })
    }

    /// Returns a row and its time since the first one, or counts the reason for which there is none.
    fn row(&self, record: usize, times: &mut Times, tally: &Mutex<Tally>) -> Option<(TraceRow, Duration)> {
        let bytes = match self.index.look_at(record) {
            Found::Bytes(bytes) if bytes.is_empty() => return None,
            Found::Bytes(bytes) => Ok(bytes),
            Found::Broken(reason) => Err(reason),
        };
        let mut tally = lock(tally);
        let read = bytes
            .and_then(|bytes| self.format.read(&bytes))
            .and_then(|row| times.since_first(row.at_ns, self.speed).map(|since| (row, since)));
        let (row, since) = match read {
            Ok(read) => read,
            Err(reason) => {
                tally.add_broken(&self.index.name(record), &reason);
                return None;
            }
        };
        if self
            .context
            .is_some_and(|most| u64::from(row.input) + u64::from(row.output) > most)
        {
            tally.too_long += 1;
            return None;
        }
        tally.used += 1;
        Some((row, since))
    }
}

/// The times of a trace, which never go back, and never far ahead.
#[derive(Default)]
struct Times {
    first: Option<i64>,
    last: i64,
}

impl Times {
    fn since_first(&mut self, at_ns: i64, speed: f64) -> std::result::Result<Duration, String> {
        let first = self.first.unwrap_or(at_ns);
        let last = if self.first.is_some() { self.last } else { at_ns };
        let nanos = |from: i64| {
            at_ns
                .checked_sub(from)
                .and_then(|nanos| u64::try_from(nanos).ok())
        };
        let (Some(since), Some(gap)) = (nanos(first), nanos(last)) else {
            return Err(if at_ns < last {
                "its time is before that of the line before".to_owned()
            } else {
                TOO_FAR.to_owned()
            });
        };
        if Duration::from_nanos(gap).as_secs_f64() / speed > LONGEST_GAP.as_secs_f64() {
            return Err(TOO_FAR.to_owned());
        }
        (self.first, self.last) = (Some(first), at_ns);
        Ok(Duration::from_nanos(since))
    }
}

const TOO_FAR: &str = "its time is more than an hour of the run after that of the line before";

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Index {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        std::fs::write(&path, text).unwrap();
        Index::read(&path).unwrap()
    }

    #[test]
    fn requests_have_their_times_and_broken_lines_are_named() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                    2023-11-16 18:15:46.5,10,4\n\
                    2023-11-16 18:15:47.5,20,5\n\
                    \n\
                    2023-11-16 18:15:40.0,20,5\n\
                    2023-11-16 18:15:48.0,0,5\n\
                    2023-11-16 18:15:49.0,9000,5\n\
                    2023-11-16 18:15:50.5,30,6\n";
        let index = index(text);
        let format = Rows::find_format(&index, "t.csv").unwrap();
        let rows = Arc::new(Rows {
            index,
            format,
            speed: 2.0,
            vocabulary: 1000,
            context: Some(4096),
        });
        let tally = Arc::new(Mutex::new(Tally::default()));
        let drawn: Vec<Drawn> = rows.clone().requests(1, false, tally.clone()).collect();
        let shown: Vec<_> = drawn
            .iter()
            .map(|drawn| {
                (
                    drawn.at.unwrap().as_millis(),
                    drawn.prompt_tokens,
                    drawn.output_tokens,
                )
            })
            .collect();
        assert_eq!(shown, [(0, 10, 4), (500, 20, 5), (2000, 30, 6)]);
        let tally = lock(&tally).clone();
        assert_eq!((tally.used, tally.broken, tally.too_long), (3, 2, 1));
        assert_eq!(
            tally.examples,
            [
                "line 5: its time is before that of the line before",
                "line 6: its prompt's length is 0: the request had failed when the trace was recorded",
            ]
        );
        assert!(tally.has_ended);
        assert_eq!(rows.requests(1, true, Arc::default()).take(10).count(), 10);
    }

    #[test]
    fn a_time_far_ahead_breaks_its_line_only() {
        let far = Err(TOO_FAR.to_owned());
        let second = 1_000_000_000;
        let mut times = Times::default();
        assert_eq!(times.since_first(5 * second, 1.0), Ok(Duration::ZERO));
        assert_eq!(times.since_first(3606 * second, 1.0), far);
        assert_eq!(times.since_first(i64::MAX, 1.0), far);
        assert_eq!(times.since_first(6 * second, 1.0), Ok(Duration::from_secs(1)));
        assert_eq!(
            times.since_first(3606 * second, 1.0),
            Ok(Duration::from_secs(3601))
        );
        // The run is faster than the trace.
        assert_eq!(times.since_first(10_800 * second, 1.0), far);
        assert_eq!(
            times.since_first(10_800 * second, 2.0),
            Ok(Duration::from_secs(10_795))
        );
        let before = Err("its time is before that of the line before".to_owned());
        assert_eq!(times.since_first(i64::MIN, 2.0), before);
        let mut ends = Times::default();
        assert_eq!(ends.since_first(i64::MIN, 1.0), Ok(Duration::ZERO));
        assert_eq!(ends.since_first(i64::MAX, 1.0), far);
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for (text, cause) in [
            ("", "it is empty"),
            ("a,b\n", "neither an object of Mooncake"),
            ("[{}]", "it is an array"),
            ("{\"prompt\": \"x\"}\n", "line 1: `timestamp`, `input_length`"),
            ("Timestamp,Request tokens,Response tokens\n", "it has no requests"),
            (
                "Timestamp,Request tokens,Response tokens\nx,1,1\n",
                "line 2: its time cannot be read",
            ),
        ] {
            let error = Rows::find_format(&index(text), "t").unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(format!("{error:?}").contains(cause), "{error:?}");
        }
    }
}
