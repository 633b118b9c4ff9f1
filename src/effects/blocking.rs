//! Blocking work, on threads where blocking is allowed.

use crate::error::{Error, Kind, Result};

/// Runs `work` on a thread where blocking is allowed. The work continues if the future is dropped.
///
/// # Errors
/// Those of the work; [`Kind::Internal`] when its thread failed.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(Kind::Internal, "a worker thread failed").cause(error.to_string()))
    })
}
