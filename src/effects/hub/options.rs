//! The options of a pull or a check beside its step: HTTP clients, token, timeouts.

use std::time::Duration;

use crate::effects::http::Http;
use crate::event::StepEvents;
use crate::secret::Secret;

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
const SILENCE: Duration = Duration::from_secs(30);

impl<'a> HubOptions<'a> {
    /// How long nothing is waited for.
    pub(in crate::effects) fn silence(&self) -> Duration {
        self.idle.unwrap_or(SILENCE)
    }

    /// The same, with somebody who is told.
    #[must_use]
    pub const fn telling(mut self, events: StepEvents<'a>) -> Self {
        self.events = Some(events);
        self
    }
}
