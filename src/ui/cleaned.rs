//! The things that `clean` removed, and those that stay.

use super::safe;
use super::table::{aligned, row};
use crate::plan::clean::{Choice, freed};
use crate::units::Bytes;

/// Returns a line for each item, the removed ones first, and the space that is freed.
#[must_use]
pub fn cleaned(choices: &[Choice], dry_run: bool) -> String {
    if choices.is_empty() {
        return "dsr1 has made nothing on this host, besides weights (dsr1 weights list)\n".to_owned();
    }
    let removed = if dry_run { "would remove" } else { "removed" };
    let rows: Vec<_> = choices
        .iter()
        .map(|choice| {
            let item = &choice.item;
            row([
                if choice.remove { removed } else { "kept" },
                item.kind.name(),
                &Bytes(item.bytes).to_string(),
                &*safe(&item.name),
                &*safe(&choice.why),
            ])
        })
        .collect();
    let freed = freed(choices);
    let sum = if dry_run {
        format!("would free {freed}")
    } else {
        format!("freed {freed}")
    };
    format!("{}{sum}; weights stay: dsr1 weights list\n", aligned(&rows))
}
