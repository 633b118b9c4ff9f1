//! The options of a pull or a check that are not part of its step: HTTP clients, token, timeouts.

use super::limits::Limits;
use crate::effects::http::Http;
use crate::event::StepEvents;
use crate::secret::Secret;

/// A revision of a repository, and the hub to ask for it.
#[derive(Debug, Clone, Copy)]
pub(in crate::effects) struct RemoteRevision<'a> {
    /// Hub base URL.
    pub(in crate::effects) endpoint: &'a str,
    /// Repository, `owner/name`.
    pub(in crate::effects) repo: &'a str,
    /// Branch, tag or commit.
    pub(in crate::effects) revision: &'a str,
}

/// Options of a pull that are not part of its step.
#[derive(Clone, Copy)]
pub struct HubOptions<'a> {
    /// The HTTP clients.
    pub http: &'a Http,
    /// Token for gated and private repositories.
    pub token: Option<&'a Secret>,
    /// The variable or file that the token comes from, for messages.
    pub token_from: &'a str,
    /// True if the network must not be used.
    pub offline: bool,
    /// Limits of time and size.
    pub limits: &'a Limits,
    /// Receives notes about waits before the first file arrives.
    pub events: Option<StepEvents<'a>>,
}

impl<'a> HubOptions<'a> {
    /// Returns the options with a receiver of notes.
    #[must_use]
    pub const fn with_events(mut self, events: StepEvents<'a>) -> Self {
        self.events = Some(events);
        self
    }
}
