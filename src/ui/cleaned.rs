//! The things that `clean` removed, and those that stay.

use super::safe;
use super::table::{aligned, row};
use crate::plan::clean::{Choice, freed};
use crate::units::Bytes;

/// Returns a line for each item, the removed ones first, and the space that is freed. `is_complete` is false if there may be
/// items that could not be listed.
#[must_use]
pub fn cleaned(choices: &[Choice], dry_run: bool, is_complete: bool) -> String {
    if choices.is_empty() {
        let nothing = if is_complete {
            "nothing of dsr1 is here for this user"
        } else {
            "nothing else of dsr1 was found"
        };
        return format!("{nothing}; weights stay: dsr1 weights list\n");
    }
    let removed = if dry_run { "would remove" } else { "removed" };
    let rows: Vec<_> = choices
        .iter()
        .map(|choice| {
            let item = &choice.item;
            row([
                if choice.remove { removed } else { "kept" },
                item.kind.name(),
                &item
                    .bytes
                    .map_or_else(|| "?".to_owned(), |bytes| Bytes(bytes).to_string()),
                &*safe(&item.name),
                &*safe(&choice.why),
            ])
        })
        .collect();
    // Images share layers.
    let freed = freed(choices);
    let sum = if dry_run {
        format!("would free about {freed}")
    } else {
        format!("freed about {freed}")
    };
    format!("{}{sum}; weights stay: dsr1 weights list\n", aligned(&rows))
}
