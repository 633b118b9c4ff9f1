//! Whether a snapshot is still what was proven; made right again, and what was found is kept.
//!
//! The bytes are read in `hashed`; what was found is noted in `kept`.
//! Not in this module: mending one that is bad (`fetch`, `part`), what is in the cache at all (`weights`).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use super::pull;
use crate::effects::hub::listing::Entry;
use crate::effects::hub::options::HubOptions;
use crate::effects::hub::remote;
use crate::effects::store::claim;
use crate::effects::store::contents::{entries, strangers};
use crate::effects::store::layout::RepoCache;
use crate::effects::store::manifest::{self, Extent, Proven, changed};
use crate::effects::store::model::{INDEX, is_model, missing_from};
use crate::effects::store::outcome::{Checked, Wrong};
use crate::effects::store::verify::{Hashed, hashed};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::PullSnapshot;
use crate::quote::shell_word;
use crate::report::{WeightsChecked, WrongFile, WrongState};

/// Most wrong files that are named before a repair.
const TOLD: usize = 20;

/// How a snapshot is checked.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Sizes and times against the pull's, and not every byte against its hash.
    pub fast: bool,
    /// What is wrong is fetched again, and only that.
    pub repair: bool,
    /// It must be a whole model: a selection is not enough.
    pub whole: bool,
}

/// Checks a snapshot.
///
/// # Errors
/// [`Kind::Hub`] when the snapshot is not there, or a repair cannot fetch.
pub async fn verify(
    step: &PullSnapshot,
    options: HubOptions<'_>,
    check: VerifyOptions,
    events: &StepEvents<'_>,
) -> Result<WeightsChecked> {
    let VerifyOptions { fast, repair, whole } = check;
    let PullSnapshot { repo, revision, .. } = step;
    if repair && options.offline {
        return Err(no_network(repo));
    }
    check_directory(step)?;
    let cache = RepoCache::of(step);
    let commit = commit(step, &cache)?;
    let begun = Instant::now();
    let manifest = manifest::read(&cache, &commit).filter(|manifest| manifest.repo == *repo);
    // What was never proven has no times to compare with.
    let files = match &manifest {
        Some(manifest) if fast => manifest.files.iter().filter_map(Proven::entry).collect(),
        _ => entries(&cache, &commit),
    };
    if files.is_empty() {
        return Err(Error::new(
            Kind::Hub,
            format!("there is nothing of {repo}@{revision} to check"),
        )
        .cause("no pull of dsr1 finished there, and no links to blobs tell what files must be")
        .hint(again(step)));
    }
    let bytes = files.iter().map(|file| file.size).sum();
    let snapshot = cache.snapshot(&commit);
    let (read, mut wrong) = if fast {
        let manifest = manifest.as_ref().ok_or_else(|| never_proven(step))?;
        (Vec::new(), changed(&snapshot, manifest))
    } else {
        let read = hashed(&snapshot, &files, events).await?;
        let wrong = read.iter().filter_map(wrong_file).collect();
        (read, wrong)
    };
    let found = Wrong::of(&read);
    let manifest = manifest.map(|manifest| found.without(&snapshot, manifest));
    // Before anything is fetched: whatever comes of that, what is wrong no longer counts as proven.
    if !found.is_empty() {
        tell(found.withdraw(&cache, repo, events), events);
    }
    let mut fetched_bytes = 0;
    let mut repaired = Vec::new();
    if repair && !wrong.is_empty() {
        let bad: BTreeSet<&str> = wrong.iter().map(|file| file.path.as_str()).collect();
        let bad = files.iter().filter(|file| bad.contains(file.path.as_str()));
        repaired = bad.cloned().collect();
        // Whatever comes of the repair, what hours of reading found is told.
        name(&wrong, events);
        fetched_bytes = put_right(step, &commit, &repaired, &found, options.telling(*events), events).await?;
        for file in &mut wrong {
            file.state = WrongState::Repaired;
        }
    }
    let extent = manifest
        .as_ref()
        .map_or(Extent::Unknown, |manifest| manifest.extent);
    let lacking = if whole || extent != Extent::Part {
        missing(&snapshot, &files, extent, whole)
    } else {
        Vec::new()
    };
    let is_right = wrong.len() == repaired.len() && lacking.is_empty();
    if is_right && !(fast && repaired.is_empty()) {
        let checked = Checked {
            repo,
            cache: &cache,
            commit: &commit,
            files: &files,
            before: manifest.as_ref(),
            looks: read
                .iter()
                .filter_map(|file| Some((&*file.entry.path, file.look?)))
                .collect(),
            repaired: repaired.iter().map(|file| &*file.path).collect(),
        };
        tell(checked.prove(events), events);
    }
    // A directory is its user's, and may hold more than a repository.
    if !fast && !cache.is_directory() {
        wrong.extend(unknown(&snapshot, &files));
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

/// Names files that are wrong, before they are put right.
fn name(wrong: &[WrongFile], events: &StepEvents<'_>) {
    for file in wrong.iter().take(TOLD) {
        events.note(format!("`{}` is wrong: {}", file.path, file.why));
    }
    if wrong.len() > TOLD {
        events.note(format!("and {} more", wrong.len() - TOLD));
    }
}

/// Puts files right; returns the bytes fetched.
async fn put_right(
    step: &PullSnapshot,
    commit: &str,
    bad: &[Entry],
    found: &Wrong,
    hub: HubOptions<'_>,
    events: &StepEvents<'_>,
) -> Result<u64> {
    // A hub that cannot be reached, or has no such commit, is known before anything of it is waited for.
    remote::revision(&at_commit(step, commit), hub).await?;
    let (cache, _lock) = pull::hold(RepoCache::of(step), &step.repo, events).await?;
    check_directory(step)?;
    // The pull that had the lock may have proven it.
    found.take_back(&cache)?;
    pull::repair(step, &cache, commit, bad, hub, events).await
}

/// Tells that what was found could not be kept. The answer is right all the same: a cache may be somebody else's, or on a
/// disk that is read only.
fn tell(kept: Result<()>, events: &StepEvents<'_>) {
    if let Err(error) = kept {
        let why = [vec![error.message()], error.causes()].concat().join(": ");
        events.note(format!("this is not noted in the cache: {why}"));
    }
}

/// The same step at a commit.
fn at_commit(step: &PullSnapshot, commit: &str) -> PullSnapshot {
    PullSnapshot {
        revision: commit.to_owned(),
        ..step.clone()
    }
}

fn no_network(repo: &str) -> Error {
    Error::new(Kind::Hub, format!("nothing of {repo} can be repaired"))
        .cause("HF_HUB_OFFLINE is set: the network is off limits")
        .hint("unset HF_HUB_OFFLINE, or leave out --repair to check only")
}

fn never_proven(step: &PullSnapshot) -> Error {
    let PullSnapshot { repo, revision, .. } = step;
    Error::new(Kind::Usage, format!("{repo}@{revision} was never proven"))
        .cause("another client wrote it: there are no sizes and times to compare with")
        .hint("leave out --fast: then every byte is checked against its hash")
}

/// Refuses a directory of another repository: its files would be checked against their own hashes, and be right.
fn check_directory(step: &PullSnapshot) -> Result<()> {
    let Some((dir, other)) = claim::other(step) else {
        return Ok(());
    };
    let hint = format!("dsr1 weights verify --local-dir {} checks that", shell_word(dir));
    Err(Error::new(
        Kind::Usage,
        format!("`{dir}` holds {other}, and not {}", step.repo),
    )
    .hint(hint))
}

/// The commit that is checked.
fn commit(step: &PullSnapshot, cache: &RepoCache) -> Result<String> {
    let PullSnapshot { repo, revision, .. } = step;
    let commit = cache
        .commit(revision)
        // What a pull by commit left has no branch.
        .or_else(|| cache.only_commit("").filter(|_| revision == "main"))
        .filter(|commit| cache.snapshot(commit).is_dir());
    commit.ok_or_else(|| {
        let hint = again(step);
        let report = match &step.local_dir {
            Some(dir) => Error::new(Kind::Hub, format!("{repo}@{revision} is not in `{dir}`"))
                .cause("no pull of dsr1 into it finished"),
            None => Error::new(Kind::Hub, format!("{repo}@{revision} is not in the cache"))
                .cause(format!("no snapshot of it in `{}`", step.cache_dir)),
        };
        report.hint(hint)
    })
}

/// The command that fetches what is checked.
fn again(step: &PullSnapshot) -> String {
    let PullSnapshot { repo, revision, .. } = step;
    let into = step.local_dir.as_ref();
    let into = into.map_or_else(String::new, |dir| format!(" --local-dir {}", shell_word(dir)));
    format!("dsr1 pull {repo} --revision {revision}{into}")
}

/// What is told of a file that is not right.
fn wrong_file(file: &Hashed) -> Option<WrongFile> {
    Some(WrongFile {
        path: file.entry.path.clone(),
        why: file.why.clone()?,
        state: WrongState::Wrong,
    })
}

/// What is there and no listing has.
fn unknown(snapshot: &Path, files: &[Entry]) -> Vec<WrongFile> {
    let known = files.iter().map(|file| &*file.path).collect();
    let mut found = strangers(snapshot, &known);
    // What desktops and NFS leave is read by nobody.
    let is_junk = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name == ".DS_Store" || name.starts_with(".nfs")
    };
    found.retain(|path| !is_junk(path));
    found.sort();
    let unknown = |path: String| {
        let (why, state) = if snapshot.join(&path).exists() {
            let why = "nothing tells what it must be: no pull brought it, and it is no link to a blob";
            (why, WrongState::Unknown)
        } else {
            ("it is a link to a blob that is gone", WrongState::Missing)
        };
        let why = why.to_owned();
        WrongFile { path, why, state }
    };
    found.into_iter().map(unknown).collect()
}

/// What a model needs and `files` lack.
fn missing(snapshot: &Path, files: &[Entry], extent: Extent, whole: bool) -> Vec<WrongFile> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let lacks = |path: String, why: &str| WrongFile {
        path,
        why: why.to_owned(),
        state: WrongState::Missing,
    };
    let why = if extent == Extent::Part {
        "only a part of the repository was pulled, without it"
    } else {
        "the index names it, and the snapshot does not have it"
    };
    let shards = missing_from(&snapshot.join(INDEX), &paths);
    let mut missing: Vec<WrongFile> = shards.into_iter().map(|shard| lacks(shard, why)).collect();
    if missing.is_empty() && whole && !is_model(&paths) {
        missing.push(lacks(
            "config.json".to_owned(),
            "it or the weights lack: only a part was pulled, or a hub had no more of it",
        ));
    }
    missing
}
