//! A run on a thread of its own: its progress, and its stages one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::sitting::{Place, Sitting};
use crate::effects::blocking::blocking;
use crate::effects::load::{Handover, NextStage, Ran, StopOnDrop, Watch, run_stages};
use crate::effects::serve::witness::{self, Look};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::measure::course::{Early, Limits};
use crate::measure::{Load, Phase, Stage};

/// Time between two looks at a run.
const LOOK: Duration = Duration::from_millis(100);

/// A run.
pub(super) struct Run {
    watch: Arc<Watch>,
    _stop: StopOnDrop,
    results: UnboundedReceiver<Ran>,
    next: Sender<NextStage>,
    thread: JoinHandle<Result<()>>,
    stage: Stage,
    limits: Option<Limits>,
    /// Answers and failures of the stages before this one.
    told: (u32, u32),
}

/// A stage that has ended.
pub(super) struct Ended {
    pub(super) ran: Ran,
    /// The look at the beginning of measuring.
    pub(super) before: Look,
    /// The look at the end.
    pub(super) after: Look,
    /// The reason why it was ended before its extent.
    pub(super) early: Option<String>,
    /// True if the user broke it off.
    pub(super) is_interrupted: bool,
}

impl Run {
    /// Starts the first stage of a sitting.
    pub(super) fn start(sitting: &Sitting<'_>) -> Self {
        let watch = Arc::new(Watch::default());
        let (ended, results) = unbounded_channel();
        let (give, next) = std::sync::mpsc::channel();
        let (job, requests) = (sitting.job.clone(), sitting.requests());
        let (stage, limits) = (job.stage, job.limits);
        let thread = tokio::spawn({
            let watch = watch.clone();
            async move { blocking(move || run_stages(&job, requests, &watch, &Handover { ended, next })).await }
        });
        Self {
            _stop: StopOnDrop(watch.clone()),
            watch,
            results,
            next: give,
            thread,
            stage,
            limits,
            told: (0, 0),
        }
    }

    /// Begins the next stage, which takes over what is in flight or drops it.
    pub(super) fn begin(&mut self, next: NextStage) {
        self.watch.begin_stage();
        self.told = (
            self.watch.completed.load(Ordering::Relaxed),
            self.watch.failed.load(Ordering::Relaxed),
        );
        self.stage = next.stage;
        // A run that is over has no more results, which the wait for them tells.
        let _ = self.next.send(next);
    }

    /// Waits for the end of the stage, shows its progress, and looks at the server when measuring begins.
    ///
    /// # Errors
    /// Those of [`run_stages`].
    pub(super) async fn stage(&mut self, sitting: &Sitting<'_>) -> Result<Ended> {
        let Place {
            http,
            events,
            interrupt,
            ..
        } = sitting.place;
        let url = &sitting.step.base_url;
        let (mut before, mut early, mut is_interrupted) = (None, None, false);
        events.activity("warm up", None);
        let mut in_flight = Vec::new();
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                ran = self.results.recv() => {
                    let Some(ran) = ran else {
                        return Err(self.failure().await);
                    };
                    let is_interrupted = is_interrupted && ran.was_stopped;
                    let after = match &before {
                        // The user does not wait for the server.
                        Some(before) if is_interrupted => Look::clone(before),
                        _ => witness::look_at(http, url, &self.watch).await,
                    };
                    let before = before.unwrap_or_else(|| after.clone());
                    // A stage may have ended by itself at the same moment.
                    let early = early.filter(|_| ran.was_stopped);
                    return Ok(Ended { ran, before, after, early, is_interrupted });
                }
                () = interrupt.raised(), if !is_interrupted => {
                    is_interrupted = true;
                    self.watch.end_stage();
                }
                _ = ticks.tick() => {
                    if self.watch.measuring_since().is_some() {
                        if before.is_none() {
                            before = Some(witness::look_at(http, url, &self.watch).await);
                        }
                        in_flight.push(f64::from(self.watch.in_flight.load(Ordering::Relaxed)));
                        if early.is_none() {
                            early = self.reason_to_end(&in_flight);
                        }
                    }
                    self.show_progress(events);
                }
            }
        }
    }

    /// Ends the stage if its outcome beside the limits is certain, and returns the reason.
    fn reason_to_end(&self, in_flight: &[f64]) -> Option<String> {
        let state = Early {
            planned: self.stage.extent.requests,
            least_s: self.stage.extent.least_s,
            ended: self.watch.measured.load(Ordering::Relaxed),
            missed: self.watch.missed.load(Ordering::Relaxed),
            in_flight,
            distance: LOOK,
            is_open: matches!(self.stage.load, Load::Rate { .. }),
        };
        let reason = state.reason(self.limits.as_ref()?)?;
        self.watch.end_stage();
        Some(reason)
    }

    fn show_progress(&self, events: &StepEvents<'_>) {
        let watch = &*self.watch;
        let (answered, failures) = self.told;
        let (phase, thousandths) = watch.progress();
        let what = match phase {
            Phase::WarmUp => "warm up",
            Phase::Measured => "measure",
            Phase::Tail => "wait for the last answers",
        };
        let failed = watch.failed.load(Ordering::Relaxed).saturating_sub(failures);
        let failures = if failed > 0 {
            format!(", {failed} failed")
        } else {
            String::new()
        };
        let text = format!(
            "{what}: {} answers, {} in flight{failures}",
            watch.completed.load(Ordering::Relaxed).saturating_sub(answered),
            watch.in_flight.load(Ordering::Relaxed),
        );
        // Without a count, each change would be a line of a log.
        events.activity(&text, Some((u64::from(thousandths) / 10, 100)));
    }

    async fn failure(&mut self) -> Error {
        let failed = |cause: String| Error::new(Kind::Internal, "the client's thread failed").cause(cause);
        match (&mut self.thread).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => failed("it ended without a result".to_owned()),
            Err(error) => failed(error.to_string()),
        }
    }
}
