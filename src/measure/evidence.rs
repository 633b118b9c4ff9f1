//! The evidence of a run: all that a verdict may look at.

use std::time::Duration;

use crate::measure::histogram::Histogram;
use crate::measure::load::{Extent, Lengths, Load};
use crate::measure::record::{Moment, Phase, Record};
use crate::report::{MeasuredFile, MeasuredGpus};

/// Facts about the client itself, while it measured.
#[derive(Debug, Clone, Default)]
pub struct ClientFacts {
    /// Times from the arrival of data in the kernel to its reading.
    pub lag: Histogram,
    /// Processor time of its thread, as a share of the time.
    pub busy_share: f64,
    /// Reads with a stamp of the kernel.
    pub stamped: u64,
    /// Reads without one: their time is that of the reading.
    pub unstamped: u64,
    /// Times that the time of day jumped.
    pub clock_steps: u32,
    /// Requests that were sent again because the server had closed an idle connection.
    pub reconnects: u32,
    /// Time in which it waited for the body of the next request.
    pub waited_for_bodies: Duration,
}

/// Facts about the server, while it was measured. What could not be looked at is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerFacts {
    /// Lines of its log about compilers.
    pub compiled: Option<Vec<String>>,
    /// Share of the prompt tokens that came from the prefix cache, by its metrics.
    pub cached_share: Option<f64>,
    /// Requests that it took back.
    pub retracted: Option<u64>,
    /// Differences between its descriptions before and after.
    pub changes: Option<Vec<String>>,
    /// The requests that ended.
    pub ended: Option<EndedRequests>,
    /// Mean time from the arrival of a request at the server to its first token, by its metrics.
    pub mean_ttft: Option<Duration>,
    /// Share of the time in which its schedulers had no work, by its metrics.
    pub idle_share: Option<f64>,
}

/// The requests that ended between two looks at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedRequests {
    /// All of them, by the server's metrics.
    pub of_server: u64,
    /// Those of this client.
    pub of_client: u64,
    /// The requests of this client that were in flight at one of the looks, the larger number: those may be counted by the one
    /// and not yet by the other.
    pub in_flight: u64,
}

/// The evidence of a run.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The load.
    pub load: Load,
    /// The lengths.
    pub lengths: Lengths,
    /// The extent.
    pub extent: Extent,
    /// True if the prompts are random: no cache can know them.
    pub is_random: bool,
    /// The file that they are of.
    pub file: Option<MeasuredFile>,
    /// True if the server was told to ignore the model's mark of an end.
    pub ignores_end: bool,
    /// All requests, in the order of their issue.
    pub records: Vec<Record>,
    /// The time in which the load was at its height and later waves ran.
    pub window: Option<(Moment, Moment)>,
    /// The client.
    pub client: ClientFacts,
    /// Output tokens a second that the client takes from its own stub.
    pub ceiling_tokens_per_s: Option<f64>,
    /// Share of the time in which some task of the host waited for a processor.
    pub cpu_pressure: Option<f64>,
    /// The GPUs that worked.
    pub gpus: Option<MeasuredGpus>,
    /// The server.
    pub server: ServerFacts,
}

impl Evidence {
    /// Returns the times from the moment of the schedule to the sending, of the measured requests of an open loop, ascending.
    #[must_use]
    pub fn dispatch_delays(&self) -> Vec<f64> {
        if matches!(self.load, Load::Concurrency(_)) {
            return Vec::new();
        }
        let measured = self
            .records
            .iter()
            .filter(|record| record.phase == Phase::Measured);
        let mut delays: Vec<f64> = measured
            .map(|record| record.sent.since(record.due).as_secs_f64())
            .collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    /// Returns the time which 1 % of them exceed.
    #[must_use]
    pub fn dispatch_p99(&self) -> Option<Duration> {
        let delays = self.dispatch_delays();
        let at = crate::measure::statistics::interpolated_percentile(&delays, 99.0)?;
        Duration::try_from_secs_f64(at).ok()
    }
}
