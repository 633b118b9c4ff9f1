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
            "nothing of dsr1 was found, but not every place could be looked at"
        };
        return format!("{nothing}; weights stay: dsr1 weights list\n");
    }
    let removed = if dry_run { "would remove" } else { "removed" };
    let rows: Vec<_> = choices
        .iter()
        .map(|choice| {
            let item = &choice.item;
            let (state, why) = match choice.partly_freed_bytes {
                _ if choice.remove => (removed, choice.why.clone()),
                None => ("kept", choice.why.clone()),
                Some(bytes) => (
                    "partly removed",
                    format!(
                        "{} freed; {}; dsr1 clean removes the rest",
                        Bytes(bytes),
                        choice.why
                    ),
                ),
            };
            row([
                state,
                item.kind.name(),
                &item
                    .bytes
                    .map_or_else(|| "?".to_owned(), |bytes| Bytes(bytes).to_string()),
                &*safe(&item.name),
                &*safe(&why),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::clean::{Item, ItemKind, Use};

    #[test]
    fn an_item_that_is_destroyed_in_part_is_not_said_to_be_kept() {
        let item = Item {
            kind: ItemKind::Venv,
            name: "/a/venvs/cpu-0".to_owned(),
            bytes: Some(256_800_000),
            used: Use::Current,
        };
        let choice = Choice {
            item,
            remove: false,
            partly_freed_bytes: Some(249_000_000),
            why: "interrupted by Ctrl-C".to_owned(),
        };
        let text = cleaned(&[choice], false, true);
        assert_eq!(
            text,
            "partly removed  venv  256.8 MB  /a/venvs/cpu-0  249.0 MB freed; interrupted by Ctrl-C; dsr1 clean removes the rest\n\
             freed about 249.0 MB; weights stay: dsr1 weights list\n"
        );
    }
}
