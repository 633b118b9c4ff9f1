//! A run: everything that it needs, its state while it goes on, and what it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::target::Target;
use crate::measure::course::Limits;
use crate::measure::{ClientFacts, Moment, Phase, Record, RequestSettings, Stage};

/// Everything that a run needs.
#[derive(Debug, Clone)]
pub struct Job {
    /// The server.
    pub target: Target,
    /// The settings of all requests.
    pub settings: RequestSettings,
    /// The first stage.
    pub stage: Stage,
    /// The limits beside which measured requests are counted while the run goes on.
    pub limits: Option<Limits>,
    /// The time from the end of an answer to the next request of its conversation.
    pub think_time: Duration,
    /// The seed of all random numbers.
    pub seed: u64,
}

/// The channels between a run and its caller, who judges its stages. The load stays at its height until the next stage is known.
#[derive(Debug)]
pub struct Handover {
    /// Takes each stage that has ended.
    pub ended: UnboundedSender<Ran>,
    /// Has the next stage. When the other end is gone, the run ends.
    pub next: Receiver<NextStage>,
}

/// The stage that follows another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextStage {
    /// Its load.
    pub stage: Stage,
    /// The fate of the requests that are in flight.
    pub in_flight: InFlight,
}

/// The fate of the requests that are in flight when a stage ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlight {
    /// The next stage takes them over.
    TakeOver,
    /// Their connections are closed, upon which a server drops them; then it is left alone for a moment. A smaller load would not
    /// have built the queue of one that was too large.
    Drop,
    /// They are waited for; then the server is left alone for that time.
    Finish(Duration),
}

/// The state of a run as others may see it while it goes on.
#[derive(Debug, Default)]
pub struct Watch {
    stop: AtomicBool,
    end_stage: AtomicBool,
    /// Requests in flight.
    pub in_flight: AtomicU32,
    /// Requests that were answered.
    pub completed: AtomicU32,
    /// Requests that failed.
    pub failed: AtomicU32,
    /// Tokens that arrived.
    pub tokens: AtomicU64,
    /// Measured requests of the stage that have ended.
    pub measured: AtomicU32,
    /// Those of them that miss a limit of [`Job::limits`].
    pub missed: AtomicU32,
    /// Thousandths of the run that are done, and the phase in the bits above.
    progress: AtomicU32,
    /// Milliseconds of the Unix epoch at which measuring began; 0 before.
    hand_over: AtomicU64,
    /// The receiver of records as they end; without one, the run keeps them.
    records: Option<UnboundedSender<Record>>,
}

impl Watch {
    /// Returns the state of a run that gives each record away when it ends, instead of keeping all to its own end.
    #[must_use]
    pub fn with_receiver(records: UnboundedSender<Record>) -> Self {
        Self {
            records: Some(records),
            ..Self::default()
        }
    }

    /// Gives a record away. Returns it if nobody receives records.
    pub(super) fn give_record(&self, record: Record) -> Option<Record> {
        match &self.records {
            // A receiver that is gone has ended the run.
            Some(records) => {
                let _ = records.send(record);
                None
            }
            None => Some(record),
        }
    }

    /// Ends the run soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the current stage soon, before its extent is reached.
    pub fn end_stage(&self) {
        self.end_stage.store(true, Ordering::Relaxed);
    }

    /// Forgets what was seen of a stage. To be called before the next one is handed over.
    pub fn begin_stage(&self) {
        self.hand_over.store(0, Ordering::Relaxed);
        self.end_stage.store(false, Ordering::Relaxed);
        self.show_progress(0.0, Phase::WarmUp);
    }

    pub(super) fn is_stage_to_end(&self) -> bool {
        self.end_stage.load(Ordering::Relaxed)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns true if nothing further is to be waited for in this stage.
    pub(super) fn is_to_end(&self) -> bool {
        self.is_stopped() || self.is_stage_to_end()
    }

    pub(super) fn show_progress(&self, share: f64, phase: Phase) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1000"
        )]
        let thousandths = (share.clamp(0.0, 1.0) * 1000.0) as u32;
        let phase = match phase {
            Phase::WarmUp => 0,
            Phase::Measured => 1,
            Phase::Tail => 2,
        };
        self.progress.store(phase << 16 | thousandths, Ordering::Relaxed);
    }

    /// Returns the phase, and the thousandths of the measuring that are done.
    #[must_use]
    pub fn progress(&self) -> (Phase, u32) {
        let value = self.progress.load(Ordering::Relaxed);
        let phase = match value >> 16 {
            0 => Phase::WarmUp,
            1 => Phase::Measured,
            _ => Phase::Tail,
        };
        (phase, value & 0xffff)
    }

    pub(super) fn hand_over(&self, unix_seconds: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time of this century"
        )]
        self.hand_over
            .store((unix_seconds * 1000.0) as u64, Ordering::Relaxed);
    }

    /// Returns the time at which measuring began, in milliseconds since the Unix epoch; `None` before.
    #[must_use]
    pub fn measuring_since(&self) -> Option<u64> {
        Some(self.hand_over.load(Ordering::Relaxed)).filter(|millis| *millis > 0)
    }
}

/// Ends a run that nobody waits for any more.
#[derive(Debug)]
pub struct StopOnDrop(pub Arc<Watch>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A stage that has ended. Its moments are since its own beginning: for a stage that followed another one, the sending of the
/// first request that it took over.
#[derive(Debug)]
pub struct Ran {
    /// The stage.
    pub stage: Stage,
    /// All requests, in their order; none that were given to the receiver of [`Watch::with_receiver`].
    pub records: Vec<Record>,
    /// The time in which the load was at its height and later waves ran.
    pub window: Option<(Moment, Moment)>,
    /// The time of day of the stage's beginning, in seconds since the Unix epoch.
    pub began_unix: f64,
    /// The moment of its end.
    pub ended: Moment,
    /// True if [`Watch::stop`] or [`Watch::end_stage`] ended it.
    pub was_stopped: bool,
    /// True if the requests were all used before its end.
    pub data_ended: bool,
    /// Facts about the client.
    pub client: ClientFacts,
}
