//! Signals that ask dsr1 to end.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{At, Kind, Result};

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
