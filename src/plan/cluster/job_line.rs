//! The lines that a job says about itself (`templates/slurm.sh`), read into a type.

/// The beginning of such a line.
const MARK: &str = "dsr1: ";

/// The meaning of a line of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobLine {
    /// The folder with the logs of the ranks.
    Folder(String),
    /// A rank answers, and how many of all do: the rank with its node, in words.
    Ready {
        /// The rank and its node, such as `decode-0 rank 3 on node gb07`.
        rank: String,
        /// The ranks that answer.
        done: u64,
        /// All ranks.
        of: u64,
    },
    /// The first rank of an engine generated a token.
    Generates(String),
    /// The router has its engines.
    RouterReady,
    /// The server takes requests at this URL.
    Serving(String),
    /// A failure.
    Failed(JobFailure),
    /// A rank that does not answer its probe, in words.
    Silent(String),
    /// The steps are being stopped.
    Stopping,
    /// All steps have ended.
    Stopped,
    /// Anything else, in words.
    Other(String),
}

/// A failure in the words of a job: the engine, the rank and its node, or a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFailure(String);

impl JobFailure {
    /// Returns the words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns true for a node that Slurm lost.
    #[must_use]
    pub fn is_of_a_node(&self) -> bool {
        self.0.ends_with(" is down")
    }

    /// Returns true if a rank ended by itself: its own log tells the cause.
    #[must_use]
    pub fn is_told_by_its_log(&self) -> bool {
        self.0.contains("xited with ")
    }

    /// Returns the one of a known failure and a later one that tells the cause: the first. A node that Slurm lost is named last,
    /// and explains what was seen of its ranks.
    #[must_use]
    pub fn or_first(self, known: Option<Self>) -> Self {
        match known {
            Some(known) if !self.is_of_a_node() => known,
            _ => self,
        }
    }
}

/// Returns the meaning of a line of a job; `None` for a line that is not its own.
#[must_use]
pub fn job_line(line: &str) -> Option<JobLine> {
    let (_time, rest) = line.strip_prefix(MARK)?.split_once(' ')?;
    let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let said = text.to_owned();
    Some(match word {
        "folder" => JobLine::Folder(said),
        "ready" => {
            let (rank, counts) = text.rsplit_once(", ")?;
            let (done, of) = counts.split_once(" of ")?;
            JobLine::Ready {
                rank: rank.to_owned(),
                done: done.parse().ok()?,
                of: of.parse().ok()?,
            }
        }
        "generates" => JobLine::Generates(said),
        "router" if text == "ready" => JobLine::RouterReady,
        "serving" => JobLine::Serving(said),
        "failed" => JobLine::Failed(JobFailure(said)),
        "silent" => JobLine::Silent(said),
        "stopping" => JobLine::Stopping,
        "stopped" => JobLine::Stopped,
        _ => JobLine::Other(rest.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_line_of_a_job_is_read() {
        let said = |line: &str| job_line(&format!("dsr1: 2026-12-01T03:42:05Z {line}")).unwrap();
        for (line, expected) in [
            (
                "folder /home/u/jobs/dsr1-r-1",
                JobLine::Folder("/home/u/jobs/dsr1-r-1".to_owned()),
            ),
            (
                "ready decode-0 rank 3 on node gb07, 4 of 16",
                JobLine::Ready {
                    rank: "decode-0 rank 3 on node gb07".to_owned(),
                    done: 4,
                    of: 16,
                },
            ),
            ("generates decode-0", JobLine::Generates("decode-0".to_owned())),
            ("router ready", JobLine::RouterReady),
            (
                "serving http://10.0.0.1:30000",
                JobLine::Serving("http://10.0.0.1:30000".to_owned()),
            ),
            (
                "failed decode-0 rank 3 on node gb07: Killed",
                JobLine::Failed(JobFailure("decode-0 rank 3 on node gb07: Killed".to_owned())),
            ),
            ("stopping", JobLine::Stopping),
            ("stopped", JobLine::Stopped),
            (
                "node gb07 10.0.0.7",
                JobLine::Other("node gb07 10.0.0.7".to_owned()),
            ),
        ] {
            assert_eq!(said(line), expected, "{line}");
        }
        assert_eq!(
            job_line("slurmstepd-gb1: error: *** JOB 3 ON gb1 CANCELLED"),
            None
        );
    }

    #[test]
    fn the_first_failure_tells_the_cause_unless_a_node_was_lost() {
        let chosen = |said: &[&str]| {
            let failures = said.iter().map(|text| JobFailure((*text).to_owned()));
            failures
                .fold(None, |known, next| Some(next.or_first(known)))
                .unwrap()
                .0
        };
        let (killed, ended) = (
            "d-0 rank 1 on node n2: Killed",
            "d-0 rank 0 on node n1: Exited with exit code 1",
        );
        assert_eq!(chosen(&[killed, ended]), killed);
        assert_eq!(chosen(&[ended, killed]), ended);
        assert_eq!(chosen(&[ended, "node n2 is down"]), "node n2 is down");
    }

    proptest! {
        #[test]
        fn no_line_fails(line in ".*") {
            let _ = job_line(&line);
            let _ = job_line(&format!("{MARK}x {line}"));
        }
    }
}
