//! Findings about the roles of a server over several nodes.

use super::launches::RoleLaunch;
use crate::sglang::Check;

/// Returns the findings about the flags of all roles, the worst first. One that not all of them have names its role.
pub(super) fn of_roles(roles: &[RoleLaunch]) -> Vec<Check> {
    let mut found: Vec<Check> = Vec::new();
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
