//! The roles of a request, each with its flags, settings and findings.

use crate::error::{Error, Kind, Result};
use crate::plan::request::ServeRequest;
use crate::profile::{Profile, Role, Topology};
use crate::sglang::Launch;

/// One role of a request, and what the engine makes of it.
pub(super) struct RoleLaunch {
    /// The role.
    pub(super) role: Role,
    /// Number of its engines.
    pub(super) workers: u32,
    /// The request of one of its engines.
    pub(super) request: ServeRequest,
    /// Flags, settings and findings.
    pub(super) launch: Launch,
}

/// Returns the launch of each role, as `launch` makes it of the request of one of its engines.
pub(super) fn role_launches(
    request: &ServeRequest,
    topology: &Topology,
    launch: impl Fn(&ServeRequest) -> Result<Launch>,
) -> Result<Vec<RoleLaunch>> {
    let mut found = Vec::new();
    for (role, settings) in topology.roles() {
        let profile: Profile = request.profile.of_role(role).ok_or_else(no_topology)?;
        let one = ServeRequest {
            profile,
            origins: request.origins.of_role(role),
            ..request.clone()
        };
        let launch = launch(&one)?;
        found.push(RoleLaunch {
            role,
            workers: settings.count(),
            request: one,
            launch,
        });
    }
    Ok(found)
}

/// Returns the error about a profile that has no ranks, which the catalog refuses.
pub(super) fn no_topology() -> Error {
    Error::new(Kind::Internal, "a profile without ranks")
}
