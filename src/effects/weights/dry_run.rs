//! The dry run of a pull: the files that it would fetch, and the error with which it would be refused.

use std::collections::BTreeSet;
use std::path::Path;

use super::place::{cache_of, remote_of};
use super::selection::{check_selected, select_files};
use crate::effects::hub::listing::Entry;
use crate::effects::hub::options::HubOptions;
use crate::effects::hub::remote;
use crate::effects::store::claim;
use crate::effects::store::manifest::{self, Manifest, VerifiedFile, is_unchanged};
use crate::effects::store::proofs::ProofLog;
use crate::effects::transfer::space::{
    bytes_on_disk, check_space, destination, missing_bytes, other_hosts_bytes, resumable_bytes,
};
use crate::effects::{files, host};
use crate::error::{Error, Kind, Result};
use crate::plan::{self, PullSnapshot};
use crate::report::{PullSurvey, SurveyedFile};
use crate::units::with_margin;

/// Asks the hub for the files of a pull without fetching them. Also returns the error with which the pull would
/// be refused before its first byte.
///
/// # Errors
/// Same as [`super::pull()`], if the list of files cannot be determined.
pub async fn dry_run(step: &PullSnapshot, options: HubOptions<'_>) -> Result<(PullSurvey, Option<Error>)> {
    if options.offline {
        return Err(Error::new(Kind::Hub, "a dry run needs the hub")
            .cause("HF_HUB_OFFLINE is set")
            .hint("unset it; --facts FILE prints a plan without a hub"));
    }
    claim::check_claim(step.local_dir.as_deref(), &step.repo)?;
    let found = remote::revision(remote_of(step), options).await?;
    let selected = select_files(step, found, options).await?;
    let cache = cache_of(step).with_limits(options.limits);
    // The pull will hold the lock, which is exclusive on a local filesystem.
    let is_exclusive = files::is_local(cache.root());
    let cache = cache.with_exclusive(is_exclusive);
    let log = ProofLog::open(&cache.private_dir());
    let manifest = manifest::read(&cache, &selected.commit);
    let (snapshot, partial_bytes) = (cache.snapshot_dir(&selected.commit), resumable_bytes(&cache));
    let mut seen = BTreeSet::new();
    let files: Vec<SurveyedFile> = selected
        .entries
        .iter()
        .map(|entry| {
            let is_known = || {
                log.known_fingerprint(&cache.file_path(entry), entry).is_some() && !cache.is_users_link(entry)
            };
            let before = manifest.as_ref().and_then(|manifest| known(manifest, entry));
            let is_proven = before.is_some_and(|file| is_unchanged(&snapshot, file)) || is_known();
            // Paths with the same bytes are fetched once.
            let is_first = seen.insert(entry.oid.hex());
            let here = match (is_proven, is_first) {
                (true, _) | (_, false) => entry.size,
                _ => bytes_on_disk(&cache, &partial_bytes, entry),
            };
            SurveyedFile {
                path: entry.path.clone(),
                bytes: entry.size,
                here_bytes: here,
                proven: is_proven,
                damaged: before.is_some_and(VerifiedFile::is_revoked) && !is_proven,
                refused: step
                    .code
                    .check_paths(&step.repo, std::iter::once(&*entry.path))
                    .is_err(),
                hash: entry.oid.hex().to_owned(),
            }
        })
        .collect();
    let missing: u64 = files.iter().map(|file| file.bytes - file.here_bytes).sum();
    let license = if selected.license.is_empty() {
        step.license.clone()
    } else {
        selected.license.clone()
    };
    let (needed, free) = (
        missing_bytes(&cache, &selected.entries),
        host::free_bytes(destination(step)),
    );
    let refusal = check_selected(step, &selected)
        .and_then(|()| check_space(step, needed, free, other_hosts_bytes(&cache)))
        .and_then(|()| {
            // A complete snapshot is accepted as it is, even if it is not writable.
            let is_all_here = files.iter().all(|file| file.proven);
            if is_all_here {
                Ok(())
            } else {
                check_writable(&cache.private_dir())
            }
        })
        .err();
    let survey = PullSurvey {
        schema: PullSurvey::SCHEMA.to_owned(),
        repo: step.repo.clone(),
        revision: step.revision.clone(),
        commit: selected.commit,
        must_be_accepted: plan::must_be_accepted(&selected.license),
        license,
        page: format!("{}/{}", step.endpoint, step.repo),
        destination: destination(step).to_owned(),
        free_bytes: free,
        needed_bytes: with_margin(needed),
        refusal: refusal.as_ref().map(Error::message),
        total_bytes: selected.total,
        missing_bytes: missing,
        limit_rate: step.limit_rate,
        files,
    };
    Ok((survey, refusal))
}

/// Refuses a directory that the user may not write to.
fn check_writable(path: &Path) -> Result<()> {
    files::access_to_write(path).map_err(|error| {
        let there = files::nearest(path).display();
        Error::new(Kind::Host, format!("cannot write to `{there}`"))
            .cause(std::io::Error::from(error).to_string())
            .hint("point HF_HOME or --local-dir at a writable directory")
    })
}

/// Returns the manifest's entry of a file.
fn known<'a>(manifest: &'a Manifest, entry: &Entry) -> Option<&'a VerifiedFile> {
    let mut files = manifest.files.iter();
    files.find(|file| file.path == entry.path && file.oid == entry.oid.hex())
}
