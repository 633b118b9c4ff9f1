//! The run of a load, and of several loads that take over from each other.

use std::sync::mpsc::channel;

use tokio::sync::mpsc::unbounded_channel;

use super::driver::Driver;
use super::explain::explain;
use super::job::{Handover, Job, Ran, Watch};
use super::source::Source;
use super::target::Target;
use crate::error::{At, Error, Kind, Result};
use crate::measure::Drawn;

/// Runs one load to its end. It blocks: the caller gives it a thread.
///
/// # Errors
/// [`Kind::Server`] when no connection can be opened; [`Kind::Host`] when the system refuses what a run needs.
pub fn run_load(job: &Job, requests: Box<dyn Iterator<Item = Drawn> + Send>, watch: &Watch) -> Result<Ran> {
    let (ended, mut results) = unbounded_channel();
    // Nothing follows the first stage.
    let (_, next) = channel();
    run_stages(job, requests, watch, &Handover { ended, next })?;
    results
        .try_recv()
        .map_err(|_| Error::new(Kind::Internal, "a run has left no result"))
}

/// Runs one load after the other, without a pause between them, until no stage follows. It blocks: the caller gives it a thread.
///
/// # Errors
/// Those of [`run_load`].
pub fn run_stages(
    job: &Job,
    requests: Box<dyn Iterator<Item = Drawn> + Send>,
    watch: &Watch,
    handover: &Handover,
) -> Result<()> {
    let source = Source::start(requests, job.settings.clone(), head_of(job)).at(Kind::Host, || {
        "cannot start the thread that makes the requests".to_owned()
    })?;
    let mut driver =
        Driver::new(job, watch, source).at(Kind::Host, || "cannot wait for connections".to_owned())?;
    driver
        .open_connections()
        .map_err(|error| explain(job.target.route(), &error))?;
    driver
        .run(handover)
        .at(Kind::Host, || "cannot wait for answers".to_owned())
}

/// Returns the head of all requests, up to the value of `Content-Length`.
fn head_of(job: &Job) -> String {
    let Target {
        host, base_path, key, ..
    } = &job.target;
    let authorization = key.as_ref().map_or_else(String::new, |key| {
        format!("Authorization: Bearer {}\r\n", key.expose())
    });
    format!(
        "POST {base_path}{} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: dsr1/{}\r\nAccept: text/event-stream\r\n\
         Content-Type: application/json\r\n{authorization}Content-Length: ",
        job.settings.api.path(),
        env!("CARGO_PKG_VERSION"),
    )
}
