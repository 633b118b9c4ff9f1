//! The verdict of the engine's own parser about profiles.

use super::safe;
use super::table::{aligned, row};
use crate::report::ProfilesVerified;

/// Returns one line for each profile.
#[must_use]
pub fn profiles_verified(table: &ProfilesVerified) -> String {
    let mut rows = vec![row(["PROFILE", "PARSER OF SGLANG", ""])];
    rows.extend(table.profiles.iter().map(|one| {
        let complaint = one.complaint.as_deref().unwrap_or_default();
        let verdict = if one.complaint.is_some() {
            "refused"
        } else {
            "accepted"
        };
        row([&*safe(&one.profile), verdict, &*safe(complaint)])
    }));
    format!(
        "{}  SGLang {}\n{}",
        safe(&table.subject),
        safe(&table.sglang),
        aligned(&rows)
    )
}
