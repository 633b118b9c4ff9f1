//! Work that blocks, on threads that may.
//!
//! Not in this module: any work.

use crate::error::{Error, Kind, Result};

/// Runs `work` on a thread where blocking is allowed. It goes on when the future is dropped.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::new(Kind::Internal, "a worker failed").cause(error.to_string())))
}
