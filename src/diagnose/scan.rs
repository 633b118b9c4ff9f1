//! One pass over a log: the places of all texts that signatures name, tracebacks, stages, and signs of normal work.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::diagnose::line::{self, Line};
use crate::diagnose::signature::signatures;
use crate::event::Stage;
use crate::sglang::log;

/// Bytes that are searched at once.
const BLOCK: usize = 1 << 20;
/// Bytes that are kept before a block: the stamp of a traceback's lines stands before it.
const BEFORE: usize = 64 << 10;
/// Bytes that are kept after a block: the last line of a traceback stands behind it.
const AFTER: usize = 64 << 10;
/// Hits of a text that are kept, the first ones and the last ones each.
const KEPT: usize = 100;
/// Of a text with more hits, one of so many is looked at: it is in a log of many failures, or no sign of one.
const SAMPLE: usize = 64;
/// Longest stamp before a text.
const STAMP: usize = 160;
/// Lines that are read to find a stamp, or the end of a traceback.
const NEAR: usize = 400;
/// Signs of normal work that must follow an error which was survived.
const SURVIVED: usize = 20;

const TRACEBACK: &str = "traceback (most recent call last)";
/// Lines in which a stage begins.
const STAGES: [&str; 4] = [
    " begin",
    "kv cache is allocated",
    "uvicorn running on",
    "fired up and ready to roll",
];
const ARGUMENTS: &str = "server_args=";
/// A part of lines that name an exception without their traceback, in a log of which only the end is there.
const ALONE: &str = "error: ";

struct Texts {
    automaton: AhoCorasick,
    /// The texts, in lower case.
    all: Vec<String>,
    numbers: HashMap<String, usize>,
}

static TEXTS: LazyLock<Option<Texts>> = LazyLock::new(|| {
    let own = [TRACEBACK, ARGUMENTS, ALONE].into_iter().chain(STAGES);
    let mut all: Vec<String> = own.map(str::to_owned).collect();
    let named = signatures()
        .iter()
        .flat_map(|one| one.any.iter().flatten().chain(&one.unless));
    all.extend(named.map(|text| text.to_ascii_lowercase()));
    all.sort();
    all.dedup();
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(&all)
        .ok()?;
    let numbers = all
        .iter()
        .enumerate()
        .map(|(number, text)| (text.clone(), number))
        .collect();
    Some(Texts {
        automaton,
        all,
        numbers,
    })
});

/// Returns the number of a text.
pub(super) fn number_of(text: &str) -> Option<usize> {
    TEXTS.as_ref()?.numbers.get(&text.to_ascii_lowercase()).copied()
}

/// A line that has a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the line, from 1.
    pub number: u64,
    /// The line; rank and time may be those of a line before it.
    pub line: Line,
    /// The stage that the engine was in.
    pub stage: Option<Stage>,
}

/// An exception at the end of a traceback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    /// Index of the place of its traceback.
    pub place: usize,
    /// Number of the line that names it.
    pub number: u64,
    /// The whole line: `RuntimeError: message`.
    pub text: String,
    /// The innermost frame that is named: `File "...", line 12, in load`.
    pub frame: String,
    /// True without a traceback.
    pub is_alone: bool,
}

/// The result of a pass over one log.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Name of the log.
    pub name: String,
    /// Number of lines.
    pub lines: u64,
    /// Lines that have a text, in order.
    pub places: Vec<Place>,
    /// Places of each text, in order.
    pub hits: Vec<Vec<usize>>,
    /// Exceptions, in order.
    pub exceptions: Vec<Exception>,
    /// Numbers of the last lines of normal work, in order.
    pub normal: Vec<u64>,
    /// True if the engine was ready.
    pub was_ready: bool,
    /// The stage at the end.
    pub stage: Option<Stage>,
    /// Values of the server's arguments, as the log states them.
    pub arguments: Vec<(String, String)>,
    /// The last stamped line.
    pub last: Option<Line>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were searched already.
    searched: usize,
    /// Bytes before the buffer.
    dropped: usize,
    /// Begin of the last place, in bytes of the log.
    last_place: usize,
    counts: Vec<usize>,
}

impl Scan {
    pub(super) fn new(name: &str) -> Self {
        let texts = TEXTS.as_ref().map_or(0, |texts| texts.all.len());
        Self {
            name: name.to_owned(),
            hits: vec![Vec::new(); texts],
            counts: vec![0; texts],
            ..Self::default()
        }
    }

    /// Takes the next bytes of the log.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= self.searched + BLOCK + AFTER {
            let end = self.buffer.len() - AFTER;
            self.search(end);
        }
    }

    /// Takes the end of the log.
    pub(super) fn finish(&mut self) {
        if !self.buffer.is_empty() && !self.buffer.ends_with(b"\n") {
            self.buffer.push(b'\n');
        }
        self.search(self.buffer.len());
        self.last = self.last_stamped();
        self.buffer = Vec::new();
    }

    /// Returns the lines of an exception's traceback, to the exception itself.
    pub(super) fn traceback(&self, exception: &Exception) -> RangeInclusive<u64> {
        self.places[exception.place].number..=exception.number
    }

    /// Returns true if the engine worked on after a line.
    pub(super) fn worked_after(&self, number: u64) -> bool {
        self.normal.len() >= SURVIVED && self.normal[self.normal.len() - SURVIVED] > number
    }

    /// Searches the lines that end before `end`.
    fn search(&mut self, end: usize) {
        let Some(texts) = TEXTS.as_ref() else { return };
        let begin = self.searched;
        let Some(length) = memchr::memrchr(b'\n', &self.buffer[begin..end]).map(|at| at + 1) else {
            // A line without an end is cut, so that memory stays bounded.
            if end - begin > BLOCK {
                self.searched = end;
                self.forget();
            }
            return;
        };
        let end = begin + length;
        let buffer = std::mem::take(&mut self.buffer);
        // Nearly all lines of a long log are of normal work: they are stepped over.
        let (mut region, mut line) = (begin, begin);
        while line < end {
            let next = memchr::memchr(b'\n', &buffer[line..end]).map_or(end, |at| line + at + 1);
            if let Some(is_batch) = routine(&buffer[line..next]) {
                self.search_region(texts, &buffer, region, line);
                self.lines += 1;
                if is_batch {
                    self.note_normal(self.lines);
                }
                region = next;
            }
            line = next;
        }
        self.search_region(texts, &buffer, region, end);
        self.buffer = buffer;
        self.searched = end;
        self.forget();
    }

    /// Searches whole lines.
    fn search_region(&mut self, texts: &Texts, buffer: &[u8], begin: usize, end: usize) {
        if begin == end {
            return;
        }
        let mut counted = begin;
        let mut line_begin = begin;
        let mut place: Option<(usize, usize)> = None;
        for found in texts.automaton.find_overlapping_iter(&buffer[begin..end]) {
            let text = found.pattern().as_usize();
            self.counts[text] += 1;
            if self.counts[text] > 2 * KEPT && !self.counts[text].is_multiple_of(SAMPLE) {
                continue;
            }
            let at = begin + found.start();
            let start = memchr::memrchr(b'\n', &buffer[..at]).map_or(0, |at| at + 1);
            if start > line_begin || place.is_none() {
                let newlines = memchr::memchr_iter(b'\n', &buffer[counted..start.max(counted)]).count();
                self.lines += u64::try_from(newlines).unwrap_or(0);
                counted = start.max(counted);
                line_begin = start;
                place = None;
            }
            let number = self.lines + 1;
            let index = match place {
                Some((at, index)) if at == start => index,
                _ => {
                    let index = self.add_place(buffer, start, number);
                    place = Some((start, index));
                    index
                }
            };
            self.take_hit(text, texts.all[text].as_str(), index, buffer, start);
        }
        let newlines = memchr::memchr_iter(b'\n', &buffer[counted..end]).count();
        self.lines += u64::try_from(newlines).unwrap_or(0);
    }

    /// Drops the bytes that nothing looks back to.
    fn forget(&mut self) {
        let drop = self.searched.saturating_sub(BEFORE);
        self.buffer.drain(..drop);
        self.dropped += drop;
        self.searched -= drop;
    }

    fn note_normal(&mut self, number: u64) {
        if self.normal.len() == 2 * SURVIVED {
            self.normal.drain(..SURVIVED);
        }
        self.normal.push(number);
    }

    fn add_place(&mut self, buffer: &[u8], start: usize, number: u64) -> usize {
        let mut line = line::read(line_at(buffer, start));
        if line.time.is_none() || line.rank.is_none() {
            let before = self.places.last().filter(|_| self.last_place >= self.dropped);
            let known = before.map(|place| (self.last_place - self.dropped, &place.line));
            inherit(&mut line, buffer, start, known);
        }
        self.last_place = self.dropped + start;
        self.places.push(Place {
            number,
            line,
            stage: self.stage,
        });
        self.places.len() - 1
    }

    fn take_hit(&mut self, text: usize, name: &str, index: usize, buffer: &[u8], start: usize) {
        if name == TRACEBACK {
            self.take_exception(index, buffer, start);
        } else if name == ALONE {
            self.take_lone_exception(index);
        } else if name == ARGUMENTS && self.arguments.is_empty() {
            self.arguments = arguments(&self.places[index].line.text);
        } else if STAGES.contains(&name)
            && let Some((stage, _)) = log::stage(&self.places[index].line.text)
        {
            // Every rank logs its stages.
            self.was_ready |= stage == Stage::Ready;
            if self.stage.is_none_or(|now| now < stage) {
                self.stage = Some(stage);
            }
        }
        // The values of arguments are no messages.
        let shown = &self.places[index].line.text;
        if shown.contains(ARGUMENTS) || shown.contains("ServerArgs(") || shown.starts_with("usage: ") {
            return;
        }
        let hits = &mut self.hits[text];
        if hits.last() == Some(&index) {
            return;
        }
        if hits.len() == 2 * KEPT {
            hits.remove(KEPT);
        }
        hits.push(index);
    }

    /// Reads a traceback up to the exception.
    fn take_exception(&mut self, place: usize, buffer: &[u8], start: usize) {
        let origin = self.places[place].line.origin.clone();
        // A traceback that another text has inside is indented as a whole.
        let head = &self.places[place].line.text;
        let indent = head.len() - head.trim_start().len();
        let first = self.places[place].number;
        let mut at = start;
        let mut frame = String::new();
        for number in (first + 1..).take(NEAR) {
            at += line_at(buffer, at).len() + 1;
            if at >= buffer.len() {
                return;
            }
            let line = line::read(line_at(buffer, at));
            if line.origin != origin {
                continue;
            }
            let text = line.text.get(indent..).unwrap_or(line.text.trim_start());
            if text.trim_start().starts_with("File \"") {
                text.trim().clone_into(&mut frame);
            } else if let Some(text) = exception(text) {
                self.keep_exception(Exception {
                    place,
                    number,
                    text: text.chars().take(600).collect(),
                    frame,
                    is_alone: false,
                });
                return;
            }
        }
    }

    /// Takes an exception that no traceback of the log leads to.
    fn take_lone_exception(&mut self, place: usize) {
        let Place { number, line, .. } = &self.places[place];
        let is_known = self.exceptions.iter().any(|known| known.number == *number);
        if let Some(text) = exception(&line.text).filter(|_| !is_known) {
            let (number, text) = (*number, text.chars().take(600).collect());
            self.keep_exception(Exception {
                place,
                number,
                text,
                frame: String::new(),
                is_alone: true,
            });
        }
    }

    /// Keeps the first exceptions and the last ones.
    fn keep_exception(&mut self, exception: Exception) {
        if self.exceptions.len() == 2 * KEPT {
            self.exceptions.remove(KEPT);
        }
        self.exceptions.push(exception);
    }

    fn last_stamped(&self) -> Option<Line> {
        let mut end = self.buffer.len().saturating_sub(1);
        for _ in 0..NEAR {
            let start = memchr::memrchr(b'\n', self.buffer.get(..end)?).map_or(0, |at| at + 1);
            let line = line::read(line_at(&self.buffer, start));
            if line.time.is_some() {
                return Some(line);
            }
            if start == 0 {
                return None;
            }
            end = start - 1;
        }
        None
    }
}

/// Returns true for a line about a batch, and false for another one of normal work: a request that was answered with 200.
/// `None` for any other line.
fn routine(line: &[u8]) -> Option<bool> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let is_answer = line.ends_with(b"200 OK");
    let mut rest = line;
    for _ in 0..3 {
        if rest.starts_with(b"Decode batch") || rest.starts_with(b"Prefill batch") {
            return Some(true);
        }
        if is_answer && rest.starts_with(b"INFO:     ") {
            return Some(false);
        }
        // Behind the stamps of a collector and of the engine.
        let head = &rest[..rest.len().min(STAMP)];
        rest = &rest[memchr::memchr(b']', head)? + 1..];
        rest = rest.strip_prefix(b" ").unwrap_or(rest);
    }
    None
}

/// Returns the bytes of the line that begins at `start`, without its end.
fn line_at(buffer: &[u8], start: usize) -> &[u8] {
    let rest = buffer.get(start..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(rest, |end| &rest[..end])
}

/// Gives a line the rank and the time of the stamped line before it, of the same origin. `known` is a line before it that has
/// its own already, with its begin.
fn inherit(line: &mut Line, buffer: &[u8], start: usize, known: Option<(usize, &Line)>) {
    let has_stamp = line.time.is_some_and(|time| time.is_inner);
    if has_stamp {
        // A stamped line without a rank is the main process's own.
        return;
    }
    let mut end = start;
    for _ in 0..NEAR {
        if end == 0 {
            return;
        }
        let begin = memchr::memrchr(b'\n', &buffer[..end - 1]).map_or(0, |at| at + 1);
        if let Some((at, known)) = known
            && at == begin
            && known.origin == line.origin
            && known.time.is_some_and(|time| time.is_inner)
        {
            line.rank = line.rank.take().or_else(|| known.rank.clone());
            line.time = known.time;
            known.shown_time.clone_into(&mut line.shown_time);
            return;
        }
        let before = line::read(&buffer[begin..end - 1]);
        end = begin;
        if before.origin != line.origin {
            continue;
        }
        let is_stamped = before.time.is_some_and(|time| time.is_inner);
        if is_stamped {
            if line.rank.is_none() {
                line.rank = before.rank;
            }
            line.time = before.time;
            line.shown_time = before.shown_time;
            return;
        }
        if line.rank.is_none() && before.rank.is_some() && before.time.is_none() {
            line.rank = before.rank;
        }
    }
}

/// Returns the text of an exception: `RuntimeError: message`, `torch.OutOfMemoryError: ...`, `KeyError: 'x'`.
fn exception(text: &str) -> Option<&str> {
    let name = text.split([':', ' ']).next()?;
    let is_name = !name.is_empty()
        && name.len() <= 120
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
        && name
            .rsplit('.')
            .next()?
            .starts_with(|c: char| c.is_ascii_uppercase());
    let is_exception = ["Error", "Exception", "Exit", "Interrupt", "Timeout", "Failure"]
        .iter()
        .any(|end| name.ends_with(end));
    (is_name && is_exception).then_some(text)
}

/// Returns the values that remedies name, from the line in which the engine prints its arguments.
fn arguments(text: &str) -> Vec<(String, String)> {
    let names = [
        ("fraction", "mem_fraction_static="),
        ("tp", "tp_size="),
        ("model", "model_path="),
        ("port", "port="),
        ("requests", "max_running_requests="),
        ("chunk", "chunked_prefill_size="),
        ("graphs", "cuda_graph_max_bs="),
    ];
    // 0.5.16 and later print them as a dictionary.
    let text = text.replace("': ", "=").replace('\'', "");
    let value = |key: &str| {
        let begin = text.match_indices(key).find_map(|(at, _)| {
            let is_whole = text[..at].ends_with([' ', '(', ',', '{']);
            is_whole.then_some(at + key.len())
        })?;
        let value: String = text[begin..]
            .chars()
            .take_while(|c| !matches!(c, ',' | ')' | '}'))
            .filter(|c| *c != '\'' && *c != '"')
            .take(200)
            .collect();
        (value != "None" && !value.is_empty()).then_some(value)
    };
    let found = names
        .into_iter()
        .filter_map(|(name, key)| Some((name.to_owned(), value(key)?)));
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        let mut scan = Scan::new("a");
        for piece in text.as_bytes().chunks(1000) {
            scan.feed(piece);
        }
        scan.finish();
        scan
    }

    #[test]
    fn a_traceback_has_the_rank_of_its_record_and_its_exception() {
        let found = scan(
            "[2026-11-29 19:10:01 TP0] fine\n\
             [2026-11-29 19:10:02 TP3] Scheduler hit an exception: Traceback (most recent call last):\n\
             \x20 File \"/x/scheduler.py\", line 12, in run\n    step()\n\
             torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB.\n\n\
             [2026-11-29 19:10:03 TP0] x\n",
        );
        let exception = &found.exceptions[0];
        assert_eq!(exception.number, 5);
        assert!(exception.text.starts_with("torch.OutOfMemoryError: CUDA"));
        assert_eq!(exception.frame, "File \"/x/scheduler.py\", line 12, in run");
        let place = &found.places[exception.place];
        assert_eq!((place.number, place.line.rank.as_deref()), (2, Some("TP3")));
        assert_eq!(found.lines, 7);
    }

    #[test]
    fn the_arguments_of_the_server_are_read() {
        let line = "[x] server_args=ServerArgs(model_path='/m/r1', host='127.0.0.1', port=30000, mem_fraction_static=0.85, tp_size=8, max_running_requests=None)";
        assert_eq!(
            arguments(line),
            [
                ("fraction", "0.85"),
                ("tp", "8"),
                ("model", "/m/r1"),
                ("port", "30000")
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn the_arguments_may_be_a_dictionary() {
        let line = "server_args={'model_path': '/models/r1', 'mem_fraction_static': 0.85, 'tp_size': 8}";
        assert_eq!(
            arguments(line),
            [("fraction", "0.85"), ("tp", "8"), ("model", "/models/r1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn lines_are_counted_over_blocks() {
        let filler = format!("{}\n", "x".repeat(99)).repeat(30_000);
        let text =
            format!("{filler}Traceback (most recent call last):\n  File \"a\"\nValueError: no\n{filler}");
        let found = scan(&text);
        assert_eq!(found.exceptions[0].number, 30_003);
        assert_eq!(found.lines, 60_003);
    }

    #[test]
    fn work_that_goes_on_is_seen() {
        let batch = "[2026-11-29 19:10:01 TP0] Decode batch. #running-req: 1\n";
        let found = scan(&batch.repeat(25));
        assert!(found.worked_after(4) && !found.worked_after(6));
    }
}
