//! Diagnosis: the first cause of a failure, by the logs of all ranks and nodes.
//!
//! A pass over each log (`scan`) finds the texts of all signatures (`signature`, data in `signatures/`), with time and rank of
//! their lines (`line`); `verdict` picks the first cause. Pure: bytes in, a [`Diagnosis`] out. Not in this module tree: reading
//! logs (`effects`), and the stages of a start (`sglang::log`).

mod line;
mod pattern;
mod restart;
mod scan;
mod signature;
mod verdict;

pub use pattern::LinePattern;
pub use restart::{Restart, restart_after, smaller_fraction};
use scan::Scan;
pub use signature::{Class, Signature, signatures};
pub use verdict::{Diagnosis, Evidence, Other, UNKNOWN, Verdict};

/// A diagnosis in the making: logs are taken in pieces of any size.
#[derive(Debug, Default)]
pub struct Diagnoser {
    scans: Vec<Scan>,
}

impl Diagnoser {
    /// Begins the next log.
    pub fn begin(&mut self, name: &str) {
        self.scans.push(Scan::new(name));
    }

    /// Takes the next bytes of the log that was begun last.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(scan) = self.scans.last_mut() {
            scan.feed(bytes);
        }
    }

    /// Takes the next line of the log that was begun last, without its end.
    pub fn feed_line(&mut self, line: &str) {
        self.feed(line.as_bytes());
        self.feed(b"\n");
    }

    /// Returns the diagnosis of all logs.
    #[must_use]
    pub fn finish(mut self) -> Diagnosis {
        for scan in &mut self.scans {
            scan.finish();
        }
        verdict::verdict(&self.scans)
    }
}

/// Returns the time of a line by the engine's own stamp, in seconds of the engine's clock; `None` for a line without one.
#[must_use]
pub fn seconds_of(line: &str) -> Option<i64> {
    let time = line::read(line.as_bytes()).time?;
    time.is_inner.then_some(time.seconds)
}

/// Returns the diagnosis of a log that is in memory.
#[must_use]
pub fn diagnose<'a>(name: &str, lines: impl IntoIterator<Item = &'a str>) -> Diagnosis {
    let mut diagnoser = Diagnoser::default();
    diagnoser.begin(name);
    for line in lines {
        diagnoser.feed_line(line);
    }
    diagnoser.finish()
}
