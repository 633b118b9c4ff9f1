//! Signals that ask dsr1 to end, and the word of it for work that keeps what it has before it ends.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{At, Kind, Result};

/// The user's wish to end a command.
#[derive(Debug, Default)]
pub(in crate::effects) struct Interrupt(watch::Sender<bool>);

impl Interrupt {
    /// Tells all who wait for it.
    pub(in crate::effects) fn raise(&self) {
        self.0.send_replace(true);
    }

    /// Forgets an earlier wish.
    pub(in crate::effects) fn lower(&self) {
        self.0.send_replace(false);
    }

    /// Returns true once it was told.
    pub(in crate::effects) fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it.
    pub(in crate::effects) async fn raised(&self) {
        // The sender is here: the wait ends only with the wish.
        let _ = self.0.subscribe().wait_for(|is_raised| *is_raised).await;
    }
}

/// Waits for SIGINT, SIGTERM or SIGHUP and returns its name.
///
/// # Errors
/// [`Kind::Internal`] when no handler can be set.
pub async fn wait() -> Result<&'static str> {
    let failed = || "cannot wait for signals".to_owned();
    let mut interrupt = signal(SignalKind::interrupt()).at(Kind::Internal, failed)?;
    let mut terminate = signal(SignalKind::terminate()).at(Kind::Internal, failed)?;
    let mut hangup = signal(SignalKind::hangup()).at(Kind::Internal, failed)?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    })
}
