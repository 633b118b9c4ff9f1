//! Commands that run in containers: they are ended when dsr1 is interrupted.

/// A command that runs in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// Name of the container.
    pub(super) container: String,
    /// Process id inside the container.
    pub(super) pid: u32,
}
