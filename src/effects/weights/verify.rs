//! The check of a snapshot against its hashes, and the repair of corrupt files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use super::place::{Download, Place};
use super::pull;
use crate::effects::hub::listing::Entry;
use crate::effects::hub::options::{HubOptions, RemoteRevision};
use crate::effects::hub::remote;
use crate::effects::store::claim;
use crate::effects::store::contents::{expected_files, unlisted_files};
use crate::effects::store::fingerprint::Fingerprint;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::manifest::{self, Extent, VerifiedFile, changed_files};
use crate::effects::store::model::{MODEL_INDEX, is_model, missing_from};
use crate::effects::store::outcome::{CheckedSnapshot, CorruptFiles};
use crate::effects::store::verify::{HashedFile, hash_files};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::quote::shell_word;
use crate::report::{WeightsChecked, WrongFile, WrongState};

/// Number of corrupt files that are named before a repair.
const NAMED_FILES: usize = 20;

/// The kind of check.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Compare only sizes and times with those at the last verification.
    pub fast: bool,
    /// Require a whole model: a selection is not enough.
    pub whole: bool,
    /// Fetch corrupt files again, from this hub.
    pub repair: Option<Download>,
}

/// Checks a snapshot.
///
/// # Errors
/// [`Kind::Hub`] if the snapshot does not exist, or if a repair cannot fetch.
pub async fn verify(
    place: &Place,
    options: HubOptions<'_>,
    check: &VerifyOptions,
    events: &StepEvents<'_>,
) -> Result<WeightsChecked> {
    let VerifyOptions {
        fast,
        whole,
        ref repair,
    } = *check;
    let Place { repo, revision, .. } = place;
    if repair.is_some() && options.offline {
        return Err(no_network(repo));
    }
    check_directory(place)?;
    let cache = place.cache().with_limits(options.limits);
    let commit = find_commit(place, &cache)?;
    let begun = Instant::now();
    let manifest = manifest::read(&cache, &commit).filter(|manifest| manifest.repo == *repo);
    // A snapshot without a manifest has no sizes and times to compare with.
    let files = match &manifest {
        Some(manifest) if fast => manifest.files.iter().filter_map(VerifiedFile::entry).collect(),
        _ => expected_files(&cache, &commit),
    };
    if files.is_empty() {
        return Err(
            Error::new(Kind::Hub, format!("{repo}@{revision} contains nothing to check"))
                .cause("no pull of dsr1 finished there, and no links to blobs name the hashes of its files")
                .hint(pull_command(place)),
        );
    }
    let bytes = files.iter().map(|file| file.size).sum();
    let snapshot = cache.snapshot_dir(&commit);
    let (read, mut wrong) = if fast {
        let manifest = manifest.as_ref().ok_or_else(|| never_proven(place))?;
        (Vec::new(), changed_files(&snapshot, manifest))
    } else {
        let read = hash_files(&snapshot, &files, events).await?;
        let wrong = read.iter().filter_map(wrong_file).collect();
        (read, wrong)
    };
    let found = CorruptFiles::of(&read);
    let manifest = manifest.map(|manifest| found.apply_to(&snapshot, manifest));
    // Before the repair, so that corrupt files do not count as verified even if it fails.
    if !found.is_empty() {
        report_failure(found.revoke(&cache, repo, events), events);
    }
    let mut fetched_bytes = 0;
    let mut repaired = Vec::new();
    if let Some(download) = repair.as_ref().filter(|_| !wrong.is_empty()) {
        let bad: BTreeSet<&str> = wrong.iter().map(|file| file.path.as_str()).collect();
        let bad = files.iter().filter(|file| bad.contains(file.path.as_str()));
        repaired = bad.cloned().collect();
        // Before the repair, so that the result of a long check is not lost if it fails.
        announce(&wrong, events);
        fetched_bytes = repair_files(place, download, (&commit, &repaired, &found), options, events).await?;
        for file in &mut wrong {
            file.state = WrongState::Repaired;
        }
    }
    let extent = manifest
        .as_ref()
        .map_or(Extent::Unknown, |manifest| manifest.extent);
    let lacking = if whole || extent != Extent::Part {
        missing_files(&snapshot, &files, extent, whole)
    } else {
        Vec::new()
    };
    let is_right = wrong.len() == repaired.len() && lacking.is_empty();
    if is_right && !(fast && repaired.is_empty()) {
        let checked = CheckedSnapshot {
            repo,
            cache: &cache,
            commit: &commit,
            files: &files,
            before: manifest.as_ref(),
            fingerprints: fingerprints(&read),
            repaired: repaired.iter().map(|file| &*file.path).collect(),
        };
        report_failure(checked.record(events), events);
    }
    // A user's directory may contain files that do not belong to the repository.
    if !fast && !cache.is_directory() {
        wrong.extend(unlisted(&snapshot, &files));
    }
    let is_told = |lacks: &WrongFile| wrong.iter().any(|file| file.path == lacks.path);
    let lacking: Vec<WrongFile> = lacking.into_iter().filter(|file| !is_told(file)).collect();
    wrong.extend(lacking);
    Ok(WeightsChecked {
        repo: repo.clone(),
        commit,
        files: files.len(),
        part: extent == Extent::Part,
        unlisted: extent == Extent::Unknown,
        bytes,
        fast,
        seconds: begun.elapsed().as_secs_f64(),
        wrong,
        repaired: repaired.len(),
        fetched_bytes,
    })
}

/// Returns the fingerprint of each file that was read, by path.
fn fingerprints(read: &[HashedFile]) -> BTreeMap<&str, Fingerprint> {
    let known = read
        .iter()
        .filter_map(|file| Some((&*file.entry.path, file.fingerprint?)));
    known.collect()
}

/// Names corrupt files before they are repaired.
fn announce(wrong: &[WrongFile], events: &StepEvents<'_>) {
    for file in wrong.iter().take(NAMED_FILES) {
        events.note(format!("`{}` is corrupt: {}", file.path, file.why));
    }
    if wrong.len() > NAMED_FILES {
        events.note(format!(
            "further corrupt files, not named here: {}",
            wrong.len() - NAMED_FILES
        ));
    }
}

/// Repairs files; returns the number of fetched bytes.
async fn repair_files(
    place: &Place,
    download: &Download,
    (commit, bad, found): (&str, &[Entry], &CorruptFiles),
    options: HubOptions<'_>,
    events: &StepEvents<'_>,
) -> Result<u64> {
    // Asked first, so that an unreachable hub or a missing commit is reported before waiting for the lock.
    let options = options.with_events(*events);
    let remote = RemoteRevision {
        endpoint: &download.endpoint,
        repo: &place.repo,
        revision: commit,
    };
    remote::revision(remote, options).await?;
    let (cache, _lock) =
        pull::lock_repository(place.cache().with_limits(options.limits), &place.repo, events).await?;
    check_directory(place)?;
    // The pull that held the lock may have recorded the files as verified.
    found.revoke_locked(&cache)?;
    pull::repair(download, (&cache, &place.repo, commit), bad, options, events).await
}

/// Notes that the result could not be recorded. The result itself is right: the cache may belong to another
/// user or be read-only.
fn report_failure(kept: Result<()>, events: &StepEvents<'_>) {
    if let Err(error) = kept {
        let why = [vec![error.message()], error.causes()].concat().join(": ");
        events.note(format!("cannot record the result in the cache: {why}"));
    }
}

fn no_network(repo: &str) -> Error {
    Error::new(Kind::Hub, format!("cannot repair {repo}"))
        .cause("HF_HUB_OFFLINE is set: the network must not be used")
        .hint("unset HF_HUB_OFFLINE, or leave out --repair to check only")
}

fn never_proven(place: &Place) -> Error {
    let Place { repo, revision, .. } = place;
    Error::new(Kind::Usage, format!("{repo}@{revision} was never verified"))
        .cause("another client wrote it: there are no sizes and times to compare with")
        .hint("leave out --fast: then every byte is checked against its hash")
}

/// Refuses a directory of another repository, whose files would be checked against their own hashes and be
/// right.
fn check_directory(place: &Place) -> Result<()> {
    let Some((dir, other)) = claim::other_repository(place.local_dir.as_deref(), &place.repo) else {
        return Ok(());
    };
    let hint = format!("dsr1 weights verify --local-dir {} checks that", shell_word(dir));
    Err(Error::new(Kind::Usage, format!("`{dir}` holds {other}, not {}", place.repo)).hint(hint))
}

/// Returns the commit to check.
fn find_commit(place: &Place, cache: &RepoCache) -> Result<String> {
    let Place { repo, revision, .. } = place;
    let commit = cache
        .resolve(revision)
        // A pull of a commit leaves no branch.
        .or_else(|| cache.only_commit_starting_with("").filter(|_| revision == "main"))
        .filter(|commit| cache.snapshot_dir(commit).is_dir());
    commit.ok_or_else(|| {
        let hint = pull_command(place);
        let report = match &place.local_dir {
            Some(dir) => Error::new(Kind::Hub, format!("{repo}@{revision} is not in `{dir}`"))
                .cause("no pull of dsr1 into it finished"),
            None => Error::new(Kind::Hub, format!("{repo}@{revision} is not in the cache"))
                .cause(format!("no snapshot of it in `{}`", place.cache_dir)),
        };
        report.hint(hint)
    })
}

/// Returns the command that fetches the snapshot.
fn pull_command(place: &Place) -> String {
    let Place { repo, revision, .. } = place;
    let into = place.local_dir.as_ref();
    let into = into.map_or_else(String::new, |dir| format!(" --local-dir {}", shell_word(dir)));
    format!("dsr1 pull {repo} --revision {revision}{into}")
}

/// Returns the report of a corrupt file.
fn wrong_file(file: &HashedFile) -> Option<WrongFile> {
    Some(WrongFile {
        path: file.entry.path.clone(),
        why: file.why.clone()?,
        state: WrongState::Wrong,
    })
}

/// Returns the files of a snapshot that are not in its list.
fn unlisted(snapshot: &Path, files: &[Entry]) -> Vec<WrongFile> {
    let known = files.iter().map(|file| &*file.path).collect();
    let mut found = unlisted_files(snapshot, &known);
    // Files that desktops and NFS create are never read.
    let is_junk = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name == ".DS_Store" || name.starts_with(".nfs")
    };
    found.retain(|path| !is_junk(path));
    found.sort();
    let unknown = |path: String| {
        let (why, state) = if snapshot.join(&path).exists() {
            let why = "its hash is unknown: no pull downloaded it, and it is not a link to a blob";
            (why, WrongState::Unknown)
        } else {
            ("it is a link to a missing blob", WrongState::Missing)
        };
        let why = why.to_owned();
        WrongFile { path, why, state }
    };
    found.into_iter().map(unknown).collect()
}

/// Returns the files that a model needs and that are missing.
fn missing_files(snapshot: &Path, files: &[Entry], extent: Extent, whole: bool) -> Vec<WrongFile> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let lacks = |path: String, why: &str| WrongFile {
        path,
        why: why.to_owned(),
        state: WrongState::Missing,
    };
    let why = if extent == Extent::Part {
        "the pull was partial and left it out"
    } else {
        "the index names it, but the snapshot does not contain it"
    };
    let shards = missing_from(&snapshot.join(MODEL_INDEX), &paths);
    let mut missing: Vec<WrongFile> = shards.into_iter().map(|shard| lacks(shard, why)).collect();
    if missing.is_empty() && whole && !is_model(&paths) {
        missing.push(lacks(
            "config.json".to_owned(),
            "config.json or weight files are missing: the pull was partial, or the hub's copy is incomplete",
        ));
    }
    missing
}
