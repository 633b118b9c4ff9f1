//! From verified files to a snapshot: duplicates copied, names given, manifest and branch written, stale files removed.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::fingerprint::Fingerprint;
use super::layout::{self, RepoCache};
use super::manifest::{self, Extent, Manifest, VerifiedFile, is_unchanged};
use super::proofs::ProofLog;
use super::{claim, hash};
use crate::effects::files;
use crate::effects::hub::listing::Entry;
use crate::error::{At, Error, Kind, Result};

/// A snapshot that is about to be one.
pub(in crate::effects) struct Publication<'a> {
    pub(in crate::effects) repo: &'a str,
    /// Branch, tag or commit that was asked for.
    pub(in crate::effects) revision: &'a str,
    pub(in crate::effects) commit: &'a str,
    /// Files that are in their places.
    pub(in crate::effects) entries: &'a [Entry],
    /// What each looked like while it was proven; what is not in it, or looks otherwise, is read once more.
    pub(in crate::effects) proofs: &'a ProofLog,
    /// The hub that lists them; `None` when none was asked.
    pub(in crate::effects) endpoint: Option<&'a str>,
    /// How much of the commit they are.
    pub(in crate::effects) extent: Extent,
}

/// Gives proven files their names in the snapshot, then says so: manifest, and the branch last. What an earlier
/// selection proved of the same commit stays in the manifest.
pub(in crate::effects) fn publish(cache: &RepoCache, publication: &Publication<'_>) -> Result<()> {
    let Publication {
        repo,
        revision,
        commit,
        entries,
        proofs: log,
        endpoint,
        extent,
    } = *publication;
    let snapshot = cache.snapshot_dir(commit);
    cache.link_and_sync(&snapshot, entries)?;
    let before = manifest::read(cache, commit);
    let proven = entries.iter().map(|entry| {
        let fingerprint = verified_fingerprint(cache, log, entry)?;
        Ok(manifest::verified_file(
            cache,
            log,
            before.as_ref(),
            entry,
            &fingerprint,
        ))
    });
    let proven: Result<Vec<VerifiedFile>> = proven.collect();
    let mut manifest = Manifest {
        schema: manifest::MANIFEST_SCHEMA.to_owned(),
        repo: repo.to_owned(),
        commit: commit.to_owned(),
        endpoint: endpoint.map(str::to_owned),
        extent,
        files: proven?,
    };
    if let Some(before) = before.filter(|_| extent != Extent::Whole) {
        manifest.merge_earlier(before, &snapshot);
    }
    manifest::write(cache, &manifest)?;
    claim::write_claim(cache, repo, Some(commit))?;
    cache.set_revision(revision, commit)
}

/// What a file that is in its place looked like while it was proven. Whoever wrote to it since, in a directory that is
/// his own, changed what was proven: it is not enough that it is there.
fn verified_fingerprint(cache: &RepoCache, log: &ProofLog, entry: &Entry) -> Result<Fingerprint> {
    let place = cache.file_path(entry);
    match log.known_fingerprint(&place, entry) {
        Some(fingerprint) => Ok(fingerprint),
        None => hash::verify_file(&place, &entry.oid, entry.size)
            .at(Kind::Host, || format!("cannot read `{}`", place.display()))?
            .ok_or_else(|| {
                Error::new(
                    Kind::Integrity,
                    format!("`{}` changed during the pull", entry.path),
                )
                .cause(format!("something else writes to `{}`", place.display()))
                .hint("end that, and pull again: what is right is not fetched again")
            }),
    }
}

/// Removes from a directory what pulls of other commits wrote, as long as nobody changed it, and `entries` do not
/// have: an engine takes what is there (a chat template, say) for the model's. Returns the paths.
pub(in crate::effects) fn remove_stale(
    cache: &RepoCache,
    repo: &str,
    commit: &str,
    entries: &[Entry],
) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    if !cache.is_directory() {
        return Ok(removed);
    }
    let is_kept = |file: &VerifiedFile| entries.iter().any(|entry| entry.path == file.path);
    for other in manifest::commits_with_manifest(cache)
        .into_iter()
        .filter(|other| other != commit)
    {
        let Some(manifest) = manifest::read(cache, &other).filter(|known| known.repo == repo) else {
            continue;
        };
        for file in manifest
            .files
            .iter()
            .filter(|file| file.downloaded && !is_kept(file))
        {
            let Some(entry) = file.entry() else { continue };
            cache.check_file_path(&entry)?;
            let path = cache.file_path(&entry);
            if is_unchanged(cache.root(), file) && !cache.is_users_link(&entry) {
                std::fs::remove_file(&path)
                    .at(Kind::Host, || format!("cannot remove `{}`", path.display()))?;
                removed.push(file.path.clone());
            }
        }
        let path = manifest::path(cache, &other);
        std::fs::remove_file(&path).at(Kind::Host, || format!("cannot remove `{}`", path.display()))?;
    }
    Ok(removed)
}

/// Copies a file to a name that nobody may have led elsewhere.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(to);
    let mut copy = File::create_new(to)?;
    copy.set_permissions(Permissions::from_mode(0o644))?;
    io::copy(&mut files::open_through(from)?, &mut copy)?;
    copy.sync_all()
}

/// Gives paths with the same bytes as another a copy of their own, and notes them in `log`.
pub(in crate::effects) fn copy_duplicates(
    cache: &RepoCache,
    entries: &[Entry],
    log: &ProofLog,
) -> Result<()> {
    let mut first: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in entries {
        cache.check_file_path(entry)?;
        let place = cache.file_path(entry);
        if hash::has_size(&place, entry.size) && !first.contains_key(entry.oid.hex()) {
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
        let (from, place) = (cache.file_path(original), cache.file_path(entry));
        let failed = || format!("cannot write `{}`", place.display());
        if !cache.is_users_link(entry) && log.verify_and_log(&place, entry).at(Kind::Host, failed)? {
            continue;
        }
        cache.make_parent_dir(entry)?;
        let temporary = cache.temporary_path("copy");
        let copied = copy(&from, &temporary).at(Kind::Host, failed);
        if let Err(error) = copied {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        let Some(copy) = hash::verify_file(&temporary, &entry.oid, entry.size).at(Kind::Host, failed)? else {
            let _ = std::fs::remove_file(&temporary);
            return Err(Error::new(
                Kind::Integrity,
                format!("`{}` was copied wrong", entry.path),
            ));
        };
        std::fs::rename(&temporary, &place).at(Kind::Host, failed)?;
        if let Some(fingerprint) =
            Fingerprint::at(&place).filter(|fingerprint| fingerprint.has_same_bytes(&copy))
        {
            log.log_downloaded(&place, entry, fingerprint);
        }
        layout::sync_dir(place.parent().unwrap_or(&place))?;
    }
    Ok(())
}
