//! Differences between a lock and a host.

use super::safe;
use super::table::{aligned, row};
use crate::plan::lock::LockDifference;

/// Returns a verdict about a profile on a stack, and one line for each difference. `weights_here` is false where no weights
/// were compared, because they are not on this host.
#[must_use]
pub fn lock_check(
    (profile, stack): (&str, &str),
    differences: &[LockDifference],
    weights_here: bool,
) -> String {
    let matters = differences.iter().filter(|one| one.matters).count();
    let verdict = match (matters, differences.len()) {
        (0, 0) if !weights_here => "as locked, but the weights are not pulled here".to_owned(),
        (0, 0) => "as locked".to_owned(),
        (0, _) => "as locked in everything that matters".to_owned(),
        (1, _) => "1 thing differs".to_owned(),
        (count, _) => format!("{count} things differ"),
    };
    let mut text = safe(&format!("profile {profile} on stack {stack}: {verdict}")).into_owned();
    text.push('\n');
    if differences.is_empty() {
        return text;
    }
    let mut rows = vec![row(["", "PROPERTY", "LOCKED", "THIS HOST"])];
    rows.extend(differences.iter().map(|one| {
        let level = if one.matters { "differs" } else { "note" };
        row([level, &one.what, &one.locked, &one.here])
    }));
    text.push_str(&aligned(&rows));
    text
}
