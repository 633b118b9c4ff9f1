//! What a pull would fetch, without fetching it.
//!
//! Not in this module: how it is shown (`ui`).

use std::collections::BTreeSet;
use std::path::Path;

use super::selection::{check_wanted, wanted};
use crate::effects::hub::listing::Entry;
use crate::effects::hub::options::HubOptions;
use crate::effects::hub::remote;
use crate::effects::store::claim;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::manifest::{self, Manifest, Proven, unchanged};
use crate::effects::store::proofs::ProvenLog;
use crate::effects::transfer::space::{
    check_space, destination, elsewhere, here, kept, missing_bytes, with_margin,
};
use crate::effects::{files, host};
use crate::error::{Error, Kind, Result};
use crate::plan::{self, PullSnapshot};
use crate::report::{PullSurvey, SurveyedFile};

/// Asks what a pull would fetch, and fetches nothing; and what a pull would be refused with before its first byte.
///
/// # Errors
/// As [`super::pull()`], when it cannot be known what would come.
pub async fn survey(step: &PullSnapshot, options: HubOptions<'_>) -> Result<(PullSurvey, Option<Error>)> {
    if options.offline {
        return Err(Error::new(Kind::Hub, "a dry run asks the hub")
            .cause("HF_HUB_OFFLINE is set")
            .hint("unset it; --facts FILE prints a plan without a hub"));
    }
    claim::check(step)?;
    let found = remote::revision(step, options).await?;
    let wanted = wanted(step, found, options).await?;
    let cache = RepoCache::of(step);
    // As the pull will be, once it holds the lock.
    let is_alone = files::is_local(cache.root());
    let cache = cache.alone(is_alone);
    let log = ProvenLog::open(&cache.parts());
    let manifest = manifest::read(&cache, &wanted.commit);
    let (snapshot, kept) = (cache.snapshot(&wanted.commit), kept(&cache));
    let mut seen = BTreeSet::new();
    let files: Vec<SurveyedFile> = wanted
        .entries
        .iter()
        .map(|entry| {
            let is_known = || log.knows(&cache.place(entry), entry).is_some() && !cache.is_foreign(entry);
            let before = manifest.as_ref().and_then(|manifest| known(manifest, entry));
            let is_proven = before.is_some_and(|file| unchanged(&snapshot, file)) || is_known();
            // Two paths with the same bytes are fetched once.
            let is_first = seen.insert(entry.oid.hex());
            let here = match (is_proven, is_first) {
                (true, _) | (_, false) => entry.size,
                _ => here(&cache, &kept, entry),
            };
            SurveyedFile {
                path: entry.path.clone(),
                bytes: entry.size,
                here_bytes: here,
                proven: is_proven,
                damaged: before.is_some_and(Proven::is_withdrawn) && !is_proven,
                refused: step
                    .code
                    .check_paths(&step.repo, std::iter::once(&*entry.path))
                    .is_err(),
                hash: entry.oid.hex().to_owned(),
            }
        })
        .collect();
    let missing: u64 = files.iter().map(|file| file.bytes - file.here_bytes).sum();
    let license = if wanted.license.is_empty() {
        step.license.clone()
    } else {
        wanted.license.clone()
    };
    let (needed, free) = (
        missing_bytes(&cache, &wanted.entries),
        host::free_bytes(destination(step)),
    );
    let refusal = check_wanted(step, &wanted)
        .and_then(|()| check_space(step, needed, free, elsewhere(&cache)))
        .and_then(|()| {
            // What is all there is taken as it is, by whoever may only read it.
            let is_all_here = files.iter().all(|file| file.proven);
            if is_all_here {
                Ok(())
            } else {
                check_writable(&cache.parts())
            }
        })
        .err();
    let survey = PullSurvey {
        schema: PullSurvey::SCHEMA.to_owned(),
        repo: step.repo.clone(),
        revision: step.revision.clone(),
        commit: wanted.commit,
        must_be_accepted: plan::must_be_accepted(&wanted.license),
        license,
        page: format!("{}/{}", step.endpoint, step.repo),
        destination: destination(step).to_owned(),
        free_bytes: free,
        needed_bytes: with_margin(needed),
        refusal: refusal.as_ref().map(Error::message),
        total_bytes: wanted.total,
        missing_bytes: missing,
        limit_rate: step.limit_rate,
        files,
    };
    Ok((survey, refusal))
}

/// Refuses a directory that nobody, or not this user, may write to.
fn check_writable(path: &Path) -> Result<()> {
    files::access_to_write(path).map_err(|error| {
        let there = files::nearest(path).display();
        Error::new(Kind::Host, format!("cannot write to `{there}`"))
            .cause(std::io::Error::from(error).to_string())
            .hint("point HF_HOME or --local-dir at a directory that may be written to")
    })
}

/// What a manifest has of a file.
fn known<'a>(manifest: &'a Manifest, entry: &Entry) -> Option<&'a Proven> {
    let mut files = manifest.files.iter();
    files.find(|file| file.path == entry.path && file.oid == entry.oid.hex())
}
