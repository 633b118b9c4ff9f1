//! The options of a pull or a check beside its step: HTTP clients, token, timeouts.

use std::time::Duration;

use crate::effects::http::Http;
use crate::event::StepEvents;
use crate::secret::Secret;

/// A revision of a repository, and the hub that is asked for it.
#[derive(Debug, Clone, Copy)]
pub(in crate::effects) struct RemoteRevision<'a> {
    /// Hub base URL.
    pub(in crate::effects) endpoint: &'a str,
    /// Repository, `owner/name`.
    pub(in crate::effects) repo: &'a str,
    /// Branch, tag or commit.
    pub(in crate::effects) revision: &'a str,
}

/// What a pull needs beside its step.
#[derive(Clone, Copy)]
pub struct HubOptions<'a> {
    /// The HTTP clients.
    pub http: &'a Http,
    /// Token for gated and private repositories.
    pub token: Option<&'a Secret>,
    /// Where the token is from: a variable or a file, in words.
    pub token_from: &'a str,
    /// Whether the network is off limits.
    pub offline: bool,
    /// How long nothing is waited for, when the user says so (`HF_HUB_DOWNLOAD_TIMEOUT`).
    pub idle: Option<Duration>,
    /// Told what is waited for before the first file comes.
    pub events: Option<StepEvents<'a>>,
}

/// How long nothing is waited for, an answer or the next byte, unless the user says otherwise.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

impl<'a> HubOptions<'a> {
    /// How long nothing is waited for.
    pub(in crate::effects) fn idle_timeout(&self) -> Duration {
        self.idle.unwrap_or(DEFAULT_IDLE_TIMEOUT)
    }

    /// The same, with somebody who is told.
    #[must_use]
    pub const fn with_events(mut self, events: StepEvents<'a>) -> Self {
        self.events = Some(events);
        self
    }
}
