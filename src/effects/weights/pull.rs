//! The pull of a snapshot: asks for the listing, checks the disk space, fetches and verifies files, publishes
//! them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::place::{Download, cache_of, remote_of};
use super::selection::{announce, check_model, check_selected, select_files};
use crate::effects::hub::listing::Entry;
use crate::effects::hub::options::HubOptions;
use crate::effects::hub::remote;
use crate::effects::hub::source::{RateLimit, Source};
use crate::effects::hub::xet::{Origin, Xet};
use crate::effects::store::claim;
use crate::effects::store::layout::{RepoCache, busy_message};
use crate::effects::store::manifest::{self, Extent, Manifest, VerifiedFile, is_unchanged, is_untouched};
use crate::effects::store::proofs::ProofLog;
use crate::effects::store::publish::{Publication, copy_duplicates, publish, remove_stale};
use crate::effects::store::snapshot::{check_snapshot, pulled_report};
use crate::effects::transfer::assign::Transfers;
use crate::effects::transfer::download::{Reporting, download_all};
use crate::effects::transfer::fetch::Fetcher;
use crate::effects::transfer::leftovers;
use crate::effects::transfer::partial::wait::wait_for_other_hosts;
use crate::effects::transfer::space::{check_space, destination, missing_bytes, other_hosts_bytes};
use crate::effects::{files, host};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{self, CheckSnapshot, PullSnapshot, Transport};
use crate::report::Pulled;

/// Fetches and verifies a snapshot. Verified files that are there already are not fetched again.
///
/// # Errors
/// [`Kind::Hub`] if the hub refuses or is unreachable; [`Kind::Integrity`] if bytes stay wrong, or if the
/// listing contains files that are not allowed; [`Kind::Host`] if the disk is too small.
pub async fn pull(step: &PullSnapshot, options: HubOptions<'_>, events: &StepEvents<'_>) -> Result<Pulled> {
    let PullSnapshot { repo, revision, .. } = step;
    let options = options.with_events(*events);
    if options.offline {
        return offline(step);
    }
    claim::check_claim(step.local_dir.as_deref(), repo)?;
    let found = remote::revision(remote_of(step), options).await?;
    let cache = cache_of(step).with_limits(options.limits);
    if let Some(found) = verified_snapshot(step, &cache, &found.commit, Access::Before)? {
        return Ok(found);
    }
    let selected = select_files(step, found, options).await?;
    check_selected(step, &selected)?;
    announce(step, &selected, events);
    let (cache, lock) = match lock_repository(cache.clone(), repo, events).await {
        Ok(held) => held,
        Err(error) if files::is_to_be_written(&cache.lock_path()) => return Err(error),
        Err(error) => {
            let found = verified_snapshot(step, &cache, &selected.commit, Access::ReadOnly)?.ok_or(error)?;
            events.note(format!(
                "`{}` is read-only: files were compared by size and time, and not hashed again",
                destination(step)
            ));
            return Ok(found);
        }
    };
    // Another pull may have had the lock.
    claim::check_claim(step.local_dir.as_deref(), repo)?;
    if let Some(found) = verified_snapshot(step, &cache, &selected.commit, Access::Held)? {
        return Ok(found);
    }
    wait_for_other_hosts(&cache, &selected.entries, events).await;
    check_space(
        step,
        missing_bytes(&cache, &selected.entries),
        host::free_bytes(destination(step)),
        other_hosts_bytes(&cache),
    )?;
    claim::begin_pull(&cache, repo, &selected.commit)?;
    let (sender, messages) = mpsc::unbounded_channel();
    let download = Download::from(step);
    let target = (&cache, &**repo, &*selected.commit);
    let fetcher = new_fetcher(&download, target, &selected.entries, options, sender)?;
    let total = selected.total;
    let reporting = Reporting {
        messages,
        total,
        events,
    };
    let limits = (download.max_workers, download.limit_rate);
    download_all(&fetcher, &selected.entries, limits, reporting).await?;
    if step.local_dir.is_some() {
        copy_duplicates(&cache, &selected.entries, &fetcher.proofs)?;
    }
    check_model(&cache, repo, &selected)?;
    if selected.extent == Extent::Whole {
        for path in remove_stale(&cache, repo, &selected.commit, &selected.entries)? {
            events.note(format!("removed `{path}`: it belongs to another commit"));
        }
    }
    leftovers::remove_leftovers(&cache, &selected.entries);
    leftovers::remove_temporaries(&cache);
    publish(
        &cache,
        &Publication {
            repo,
            revision,
            commit: &selected.commit,
            entries: &selected.entries,
            proofs: &fetcher.proofs,
            endpoint: Some(&step.endpoint),
            extent: selected.extent,
        },
    )?;
    drop(lock);
    let received = fetcher.counts.fetched.load(Ordering::Relaxed);
    let sizes: Vec<u64> = selected.entries.iter().map(|entry| entry.size).collect();
    let of = (&**repo, &**revision, &*selected.commit);
    Ok(pulled_report(
        of,
        &cache.snapshot_dir(&selected.commit),
        &sizes,
        received,
    ))
}

/// Creates the directories of a repository and locks it against other pulls.
pub(super) async fn lock_repository(
    cache: RepoCache,
    repo: &str,
    events: &StepEvents<'_>,
) -> Result<(RepoCache, files::Lock)> {
    cache.create_dirs()?;
    let lock = files::lock(&cache.lock_path(), events, &busy_message(repo)).await?;
    // The previous holder of the lock may have removed everything.
    cache.create_dirs()?;
    let cache = cache.with_exclusive(lock.is_certain);
    // They may be copies of whole files, whose space is needed now.
    leftovers::remove_temporaries(&cache);
    Ok((cache, lock))
}

/// Returns the verified snapshot that is here, without asking a hub.
fn offline(step: &PullSnapshot) -> Result<Pulled> {
    const UNSET: &str = "HF_HUB_OFFLINE is set: unset it to fetch";
    let cache = cache_of(step);
    let manifest = match cache.resolve(&step.revision) {
        Some(commit) => match verified_snapshot(step, &cache, &commit, Access::Offline)? {
            Some(found) => return Ok(found),
            None => manifest::read(&cache, &commit),
        },
        None => None,
    };
    // The request may be for selected files only.
    if let Some(manifest) = &manifest {
        let all: Vec<&VerifiedFile> = manifest.files.iter().collect();
        check_allowed(step, manifest, &all)?;
    }
    if step.local_dir.is_some() {
        let text = format!(
            "`{}` does not contain a verified {}",
            destination(step),
            step.repo
        );
        return Err(Error::new(Kind::Hub, text).hint(UNSET));
    }
    if !step.selection.is_all() {
        return Err(not_selected(step, &cache, manifest.as_ref())?.hint(UNSET));
    }
    let check = CheckSnapshot {
        repo: step.repo.clone(),
        revision: step.revision.clone(),
        cache_dir: step.cache_dir.clone(),
    };
    check_snapshot(&check).map_err(|error| error.hint(UNSET))
}

/// Returns the error for selected files that cannot be used without asking a hub.
fn not_selected(step: &PullSnapshot, cache: &RepoCache, manifest: Option<&Manifest>) -> Result<Error> {
    let repo = &step.repo;
    let Some(manifest) = manifest.filter(|manifest| manifest.extent == Extent::Whole) else {
        let text = format!("cannot tell whether all selected files of {repo} are here");
        return Ok(Error::new(Kind::Hub, text)
            .cause("only a part of the repository was pulled, and only a hub can list the rest"));
    };
    let patterns = step.selection.compile()?;
    let snapshot = cache.snapshot_dir(&manifest.commit);
    let mut selected = manifest.files.iter().filter(|file| patterns.matches(&file.path));
    Ok(match selected.find(|file| !is_unchanged(&snapshot, file)) {
        Some(file) => file.changed_error(repo),
        None => Error::new(Kind::Usage, format!("no file of {repo} is selected")),
    })
}

/// Fetches corrupt files of a commit again, in a locked repository. Returns the number of fetched bytes.
pub(super) async fn repair(
    download: &Download,
    target: (&RepoCache, &str, &str),
    bad: &[Entry],
    options: HubOptions<'_>,
    events: &StepEvents<'_>,
) -> Result<u64> {
    let (sender, messages) = mpsc::unbounded_channel();
    let (cache, _, commit) = target;
    let fetcher = new_fetcher(download, target, bad, options, sender)?;
    let total = bad.iter().map(|entry| entry.size).sum();
    let reporting = Reporting {
        messages,
        total,
        events,
    };
    for entry in bad {
        fetcher.proofs.forget(&cache.file_path(entry));
    }
    let limits = (download.max_workers, download.limit_rate);
    download_all(&fetcher, bad, limits, reporting).await?;
    if cache.is_directory() {
        copy_duplicates(cache, bad, &fetcher.proofs)?;
    }
    // If a copy of the cache followed the links, the snapshot's name still holds the corrupt file.
    cache.link_and_sync(&cache.snapshot_dir(commit), bad)?;
    Ok(fetcher.counts.fetched.load(Ordering::Relaxed))
}

/// The moment at which a pull looks for a verified snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Before the repository is locked.
    Before,
    /// While the repository is locked.
    Held,
    /// The repository cannot be locked because it is read-only, and nothing in it can be repaired.
    ReadOnly,
    /// No hub is asked.
    Offline,
}

/// Returns the snapshot if all selected files were verified and none changed. Points the revision to it if
/// needed.
fn verified_snapshot(
    step: &PullSnapshot,
    cache: &RepoCache,
    commit: &str,
    when: Access,
) -> Result<Option<Pulled>> {
    let PullSnapshot { repo, revision, .. } = step;
    let Some(manifest) = manifest::read(cache, commit).filter(|manifest| manifest.repo == *repo) else {
        return Ok(None);
    };
    let snapshot = cache.snapshot_dir(commit);
    let patterns = step.selection.compile()?;
    let (selected, others): (Vec<&VerifiedFile>, Vec<&VerifiedFile>) = manifest
        .files
        .iter()
        .partition(|file| patterns.matches(&file.path));
    // If a user removed files that are not selected, the manifest no longer lists the whole commit: the pull
    // updates it.
    let is_gone = |file: &&VerifiedFile| !snapshot.join(&file.path).exists();
    let may_ask = matches!(when, Access::Before | Access::Held);
    let is_less = may_ask && others.iter().any(is_gone);
    // Only a listing tells whether an earlier selection is the current one, or whether another hub has more
    // files of the commit.
    let is_listed = when == Access::Offline || manifest.endpoint.as_deref() == Some(&*step.endpoint);
    if manifest.extent != Extent::Whole
        || !is_listed
        || selected.is_empty()
        || is_less
        || !selected.iter().all(|file| match when {
            Access::Offline | Access::ReadOnly => is_unchanged(&snapshot, file),
            Access::Before | Access::Held => is_untouched(&snapshot, file),
        })
    {
        return Ok(None);
    }
    match check_allowed(step, &manifest, &selected) {
        // The current selection may leave the file out: the listing will tell.
        Err(_) if may_ask => return Ok(None),
        allowed => allowed?,
    }
    // The claim is written only under the lock, because a pull of another commit may be running.
    if !claim::states_commit(cache, repo, commit) {
        match when {
            Access::Before | Access::ReadOnly => return Ok(None),
            Access::Held => claim::write_claim(cache, repo, Some(commit))?,
            Access::Offline => {}
        }
    }
    if cache.resolve(revision).as_deref() != Some(commit) {
        leftovers::remove_temporaries(cache);
        cache.set_revision(revision, commit)?;
    }
    let sizes: Vec<u64> = selected.iter().map(|file| file.size()).collect();
    Ok(Some(pulled_report(
        (repo, revision, commit),
        &snapshot,
        &sizes,
        0,
    )))
}

/// Refuses files here that are not allowed: code that was not named, or files that a lock does not list.
fn check_allowed(step: &PullSnapshot, manifest: &Manifest, selected: &[&VerifiedFile]) -> Result<()> {
    let repo = &step.repo;
    step.code
        .check_paths(repo, selected.iter().map(|file| &*file.path))?;
    let Some(locked) = &step.locked else { return Ok(()) };
    plan::check_locked(repo, locked, |path| {
        let file = manifest.files.iter().find(|file| file.path == path)?;
        Some((file.size(), &*file.oid))
    })?;
    let is_locked = |file: &&VerifiedFile| locked.iter().any(|locked| locked.path == file.path);
    let Some(file) = manifest.files.iter().find(|file| !is_locked(file)) else {
        return Ok(());
    };
    Err(Error::new(
        Kind::Integrity,
        format!("`{}` of {repo} is here but not in the lock", file.path),
    )
    .cause("an earlier pull fetched more than the lock states")
    .hint(format!(
        "run dsr1 weights rm {repo} --yes and pull again, or use --local-dir"
    )))
}

fn new_fetcher(
    download: &Download,
    (cache, repo, commit): (&RepoCache, &str, &str),
    entries: &[Entry],
    options: HubOptions<'_>,
    messages: mpsc::UnboundedSender<String>,
) -> Result<Fetcher> {
    // Each stream has three open files, and each connection one.
    host::raise_file_limit();
    let in_xet = entries.iter().any(|entry| entry.xet.is_some());
    let xet = (in_xet && download.transport != Transport::Http).then(|| {
        let may_switch = download.transport == Transport::Auto;
        let runtime = tokio::runtime::Handle::current();
        Arc::new(Xet::new(runtime, cache.private_dir().join("xet"), may_switch))
    });
    options.http.client(&download.endpoint)?;
    let source = Source {
        origin: Origin {
            http: options.http.clone(),
            token: options.token.cloned(),
            endpoint: download.endpoint.clone(),
            repo: repo.to_owned(),
            commit: commit.to_owned(),
        },
        xet,
        limit: download.limit_rate.map(RateLimit::new).map(Arc::new),
        answer_timeout: cache.limits().answer,
        idle: options.limits.idle,
    };
    Ok(Fetcher {
        source: Arc::new(source),
        proofs: Arc::new(ProofLog::open(&cache.private_dir())),
        cache: cache.clone(),
        counts: Arc::default(),
        transfers: Arc::new(Transfers::new(cache.limits())),
        messages,
        last_message: Arc::default(),
    })
}
