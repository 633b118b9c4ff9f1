//! Publishes verified files as a snapshot: copies duplicates, gives names, writes manifest and branch, removes
//! stale files.

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

/// A snapshot to be published.
pub(in crate::effects) struct Publication<'a> {
    pub(in crate::effects) repo: &'a str,
    /// The branch, tag or commit that was requested.
    pub(in crate::effects) revision: &'a str,
    pub(in crate::effects) commit: &'a str,
    /// Files that have their final names.
    pub(in crate::effects) entries: &'a [Entry],
    /// Fingerprints of verified files. A file that is missing here or has changed is hashed again.
    pub(in crate::effects) proofs: &'a ProofLog,
    /// The hub that lists the files; `None` if no hub was asked.
    pub(in crate::effects) endpoint: Option<&'a str>,
    /// The part of the commit that the files cover.
    pub(in crate::effects) extent: Extent,
}

/// Gives verified files their names in the snapshot, then writes the manifest, and the branch last. Files that
/// an earlier selection of the same commit verified stay in the manifest.
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

/// Returns the fingerprint of a file that was verified. In a user's directory other programs may have written
/// to it since, so it is hashed again if it changed.
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
                .cause(format!("another process writes to `{}`", place.display()))
                .hint("stop that process and pull again: verified files are not fetched again")
            }),
    }
}

/// Removes files from a user's directory that pulls of other commits downloaded, if they are unchanged and not
/// among `entries`. SGLang would take such a file, a chat template for example, for a part of the model.
/// Returns the paths.
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

/// Copies a file to a new name without following a link there.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(to);
    let mut copy = File::create_new(to)?;
    copy.set_permissions(Permissions::from_mode(0o644))?;
    io::copy(&mut files::open_through(from)?, &mut copy)?;
    copy.sync_all()
}

/// Writes a copy for each path whose bytes another path has too, and logs it.
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
                format!("the copy of `{}` failed its checksum", entry.path),
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
