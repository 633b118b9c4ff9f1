//! The name of a file of questions, and errors that name a place in it.

use crate::error::{Error, Kind, Result};
use crate::evaluate::task::Task;

/// Most bytes of one record. The longest question of the public files has 7 kB.
pub(super) const MOST_RECORD: usize = 1 << 20;
/// Most records of a file.
pub(super) const MOST_RECORDS: usize = 100_000;

/// A file of questions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// Its name in errors.
    pub(super) name: &'a str,
    /// The evaluation.
    pub(super) task: Task,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// No place of its own.
    Whole,
    /// A line, from 1.
    Line(u64),
    /// An item of a JSON array, from 1.
    Item(usize),
}

impl Source<'_> {
    /// Returns the file as text, without a mark of the byte order.
    pub(super) fn text_of<'b>(&self, bytes: &'b [u8]) -> Result<&'b str> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count();
            self.error(Place::Line(line as u64), "it is not UTF-8")
        })?;
        Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
    }

    /// Returns the error for a record that is no question.
    pub(super) fn error(&self, place: Place, cause: &str) -> Error {
        let name = self.name;
        let (article, hint) = match self.task {
            Task::Gsm8k => (
                "a",
                "each line is a JSON object with `question` and `answer`, the answer ending in `#### NUMBER`",
            ),
            Task::Aime => (
                "an",
                "each line or item is a JSON object with `problem`, `Problem` or `question`, and `answer` or `Answer`",
            ),
            Task::Mlperf => (
                "an",
                "each line is a JSON object with `question` and `ground_truth`",
            ),
            Task::Math500 => ("a", "each line is a JSON object with `problem` and `answer`"),
            Task::Gpqa => (
                "a",
                "the table is CSV with the columns `Question`, `Correct Answer` and `Incorrect Answer 1` to `3`",
            ),
        };
        let title = self.task.title();
        let what = match place {
            Place::Whole => format!("`{name}` has no {title} questions"),
            Place::Line(line) => format!("`{name}:{line}` is not {article} {title} question"),
            Place::Item(item) => format!("item {item} of `{name}` is not {article} {title} question"),
        };
        Error::new(Kind::Usage, what).cause(cause.to_owned()).hint(hint)
    }

    /// Returns an error if a record is too long, or one too many.
    pub(super) fn check_size(&self, place: Place, bytes: usize, count: usize) -> Result<()> {
        if bytes > MOST_RECORD {
            return Err(self.error(place, "it is longer than 1 MiB"));
        }
        if count >= MOST_RECORDS {
            return Err(self.error(place, "the file has more than 100000 questions"));
        }
        Ok(())
    }
}
