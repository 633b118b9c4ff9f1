//! Files with the same bytes under two names: one is fetched, the other is a copy of it.
//!
//! Not in this module: the hub cache, where both names link to one blob (`cache`).

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::cache::{self, RepoCache};
use super::hash;
use super::listing::Entry;
use super::look::Look;
use super::proven::ProvenLog;
use crate::effects::files;
use crate::error::{At, Error, Kind, Result};

/// Copies a file to a name that nobody may have led elsewhere.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(to);
    let mut copy = File::create_new(to)?;
    copy.set_permissions(Permissions::from_mode(0o644))?;
    io::copy(&mut files::open_through(from)?, &mut copy)?;
    copy.sync_all()
}

/// Gives paths with the same bytes as another a copy of their own, and notes them in `log`.
pub(super) fn copy_twins(cache: &RepoCache, entries: &[Entry], log: &ProvenLog) -> Result<()> {
    let mut first: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in entries {
        cache.check_place(entry)?;
        let place = cache.place(entry);
        if hash::is_there(&place, entry.size) && !first.contains_key(entry.oid.hex()) {
            first.insert(entry.oid.hex(), entry);
        }
    }
    for entry in entries {
        let Some(original) = first
            .get(entry.oid.hex())
            .filter(|first| first.path != entry.path)
        else {
            continue;
        };
        let (from, place) = (cache.place(original), cache.place(entry));
        let failed = || format!("cannot write `{}`", place.display());
        if !cache.is_foreign(entry) && log.proves(&place, entry).at(Kind::Host, failed)? {
            continue;
        }
        cache.make_place(entry)?;
        let temporary = cache.temporary("copy");
        let copied = copy(&from, &temporary).at(Kind::Host, failed);
        if let Err(error) = copied {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        let Some(copy) = hash::proven(&temporary, &entry.oid, entry.size).at(Kind::Host, failed)? else {
            let _ = std::fs::remove_file(&temporary);
            return Err(Error::new(
                Kind::Integrity,
                format!("`{}` was copied wrong", entry.path),
            ));
        };
        std::fs::rename(&temporary, &place).at(Kind::Host, failed)?;
        if let Some(look) = Look::at(&place).filter(|look| look.has_bytes_of(&copy)) {
            log.note_brought(&place, entry, look);
        }
        cache::sync_dir(place.parent().unwrap_or(&place))?;
    }
    Ok(())
}
