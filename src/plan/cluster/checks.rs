//! Findings about the roles of a server over several nodes.

use super::launches::{RoleLaunch, role_launches};
use super::pair;
use crate::error::Result;
use crate::plan::request::ServeRequest;
use crate::sglang::Check;

/// Returns the findings about a request: about each role of a profile for several nodes, and about roles that do not fit each other.
///
/// # Errors
/// [`crate::error::Kind::Internal`] for a profile without ranks, which the catalog refuses.
pub fn findings(request: &ServeRequest) -> Result<Vec<Check>> {
    let Some(topology) = &request.profile.topology else {
        return Ok(request.launch().checks);
    };
    let roles = role_launches(request, topology, |one| Ok(one.launch()))?;
    Ok(of_roles(&roles))
}

/// Returns the findings about the flags of each role and about roles that do not fit each other, the worst first. One about flags that
/// not all roles have names its role.
pub(super) fn of_roles(roles: &[RoleLaunch]) -> Vec<Check> {
    let mut found: Vec<Check> = pair::check(roles);
    for one in roles {
        for check in &one.launch.checks {
            let is_of_all = roles.iter().all(|other| other.launch.checks.contains(check));
            let mut check = check.clone();
            if !is_of_all {
                check.text = format!("{}: {}", one.role, check.text);
            }
            if !found.contains(&check) {
                found.push(check);
            }
        }
    }
    found.sort_by_key(|check| std::cmp::Reverse(check.level));
    found
}
