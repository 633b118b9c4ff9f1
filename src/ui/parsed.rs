//! What an engine's own parser said to profiles.
//!
//! Not in this module: asking the parser (`effects`).

use super::safe;
use super::table::{aligned, row};
use crate::report::ProfilesVerified;

/// One line per profile.
#[must_use]
pub fn profiles_verified(table: &ProfilesVerified) -> String {
    let mut rows = vec![row(["PROFILE", "PARSER OF SGLANG", ""])];
    rows.extend(table.profiles.iter().map(|one| {
        let said = one.complaint.as_deref().unwrap_or_default();
        let verdict = if one.complaint.is_some() {
            "refused"
        } else {
            "accepted"
        };
        row([&*safe(&one.profile), verdict, &*safe(said)])
    }));
    format!(
        "{}  SGLang {}\n{}",
        safe(&table.subject),
        safe(&table.sglang),
        aligned(&rows)
    )
}
