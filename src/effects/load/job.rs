//! A run: everything that it needs, its state while it goes on, and what it leaves.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::target::Target;
use crate::measure::{ClientFacts, Extent, Load, Moment, Phase, Record, RequestSettings};

/// Everything that a run needs.
#[derive(Debug, Clone)]
pub struct Job {
    /// The server.
    pub target: Target,
    /// The settings of all requests.
    pub settings: RequestSettings,
    /// The load.
    pub load: Load,
    /// The extent.
    pub extent: Extent,
    /// The seed of all random numbers.
    pub seed: u64,
}

/// The state of a run as others may see it while it goes on.
#[derive(Debug, Default)]
pub struct Watch {
    stop: AtomicBool,
    /// Requests in flight.
    pub in_flight: AtomicU32,
    /// Requests that were answered.
    pub completed: AtomicU32,
    /// Requests that failed.
    pub failed: AtomicU32,
    /// Tokens that arrived.
    pub tokens: AtomicU64,
    /// Thousandths of the run that are done, and the phase in the bits above.
    progress: AtomicU32,
    /// Milliseconds of the Unix epoch at which measuring began; 0 before.
    hand_over: AtomicU64,
}

impl Watch {
    /// Ends the run soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
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

/// A run that has ended.
#[derive(Debug)]
pub struct Ran {
    /// All requests, in their order.
    pub records: Vec<Record>,
    /// The time in which the load was at its height and later waves ran.
    pub window: Option<(Moment, Moment)>,
    /// The time of day of the run's beginning, in seconds since the Unix epoch.
    pub began_unix: f64,
    /// The moment of its end.
    pub ended: Moment,
    /// True if [`Watch::stop`] ended it.
    pub was_stopped: bool,
    /// Facts about the client.
    pub client: ClientFacts,
}
