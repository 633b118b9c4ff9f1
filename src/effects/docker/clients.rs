//! Commands that run in containers.

/// A command that runs in a container and must end when dsr1 is interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// Name of the container.
    pub(super) container: String,
    /// Process id inside the container.
    pub(super) pid: u32,
}
