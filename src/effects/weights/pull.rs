//! A whole snapshot: listing, space, every file proven, then its names.
//!
//! Not in this module: which files (`wanted`), the work on them all (`progress`), one file (`fetch`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::selection::{check_model, check_wanted, name, wanted};
use crate::effects::hub::listing::Entry;
use crate::effects::hub::options::HubOptions;
use crate::effects::hub::remote;
use crate::effects::hub::source::{Limit, Source};
use crate::effects::hub::xet::{Origin, Xet};
use crate::effects::store::claim;
use crate::effects::store::layout::{RepoCache, busy};
use crate::effects::store::manifest::{self, Extent, Manifest, Proven, unchanged, untouched};
use crate::effects::store::proofs::ProvenLog;
use crate::effects::store::publish::{Publication, copy_twins, publish, remove_stale};
use crate::effects::store::snapshot::{check_snapshot, pulled};
use crate::effects::transfer::assign::Board;
use crate::effects::transfer::download::{Shown, run};
use crate::effects::transfer::fetch::Fetcher;
use crate::effects::transfer::leftovers;
use crate::effects::transfer::partial::wait::wait_for_silence;
use crate::effects::transfer::space::{check_space, destination, elsewhere, missing_bytes};
use crate::effects::{files, host};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{self, CheckSnapshot, PullSnapshot, Transport};
use crate::report::Pulled;

/// Fetches a snapshot and proves every byte. What is there and proven is not fetched again.
///
/// # Errors
/// [`Kind::Hub`] when the hub refuses or cannot be reached, [`Kind::Integrity`] when bytes stay wrong or the listing
/// holds what may not come, [`Kind::Host`] when the disk is too small.
pub async fn pull(step: &PullSnapshot, options: HubOptions<'_>, events: &StepEvents<'_>) -> Result<Pulled> {
    let PullSnapshot { repo, revision, .. } = step;
    if options.offline {
        return offline(step);
    }
    claim::check(step)?;
    let found = remote::revision(step, options).await?;
    let cache = RepoCache::of(step);
    if let Some(found) = proven(step, &cache, &found.commit, When::Before)? {
        return Ok(found);
    }
    let wanted = wanted(step, found, options).await?;
    check_wanted(step, &wanted)?;
    name(step, &wanted, events);
    let (cache, lock) = match hold(cache.clone(), repo, events).await {
        Ok(held) => held,
        Err(error) if files::is_to_be_written(&cache.lock()) => return Err(error),
        Err(error) => {
            let found = proven(step, &cache, &wanted.commit, When::Unheld)?.ok_or(error)?;
            events.note(format!(
                "`{}` cannot be written to: no byte of it was read again",
                destination(step)
            ));
            return Ok(found);
        }
    };
    // Another's pull may have had the lock.
    claim::check(step)?;
    if let Some(found) = proven(step, &cache, &wanted.commit, When::Held)? {
        return Ok(found);
    }
    wait_for_silence(&cache, &wanted.entries, events).await;
    check_space(
        step,
        missing_bytes(&cache, &wanted.entries),
        host::free_bytes(destination(step)),
        elsewhere(&cache),
    )?;
    claim::begin(&cache, repo, &wanted.commit)?;
    let (notes, said) = mpsc::unbounded_channel();
    let fetcher = fetcher(step, &cache, &wanted.commit, &wanted.entries, options, notes)?;
    let total = wanted.total;
    let shown = Shown { said, total, events };
    run(&fetcher, &wanted.entries, step, shown).await?;
    if step.local_dir.is_some() {
        copy_twins(&cache, &wanted.entries, &fetcher.proven)?;
    }
    check_model(&cache, repo, &wanted)?;
    if wanted.extent == Extent::Whole {
        for path in remove_stale(&cache, repo, &wanted.commit, &wanted.entries)? {
            events.note(format!(
                "`{path}` is of another commit and not of this one: it is removed"
            ));
        }
    }
    leftovers::tidy(&cache, &wanted.entries);
    leftovers::temporaries(&cache);
    publish(
        &cache,
        &Publication {
            repo,
            revision,
            commit: &wanted.commit,
            entries: &wanted.entries,
            proven: &fetcher.proven,
            endpoint: Some(&step.endpoint),
            extent: wanted.extent,
        },
    )?;
    drop(lock);
    let came = fetcher.counts.fetched.load(Ordering::Relaxed);
    let sizes: Vec<u64> = wanted.entries.iter().map(|entry| entry.size).collect();
    let of = (&**repo, &**revision, &*wanted.commit);
    Ok(pulled(of, &cache.snapshot(&wanted.commit), &sizes, came))
}

/// Makes the directories of a repository and keeps other pulls out of them.
pub(super) async fn hold(
    cache: RepoCache,
    repo: &str,
    events: &StepEvents<'_>,
) -> Result<(RepoCache, files::Lock)> {
    cache.prepare()?;
    let lock = files::lock(&cache.lock(), events, &busy(repo)).await?;
    // Whoever held it may have removed all of it.
    cache.prepare()?;
    let cache = cache.alone(lock.is_certain);
    // Copies of whole files, perhaps: room that is needed now.
    leftovers::temporaries(&cache);
    Ok((cache, lock))
}

/// What is proven here, when the network is off limits.
fn offline(step: &PullSnapshot) -> Result<Pulled> {
    const UNSET: &str = "HF_HUB_OFFLINE is set: unset it to fetch";
    let cache = RepoCache::of(step);
    let manifest = match cache.commit(&step.revision) {
        Some(commit) => match proven(step, &cache, &commit, When::Offline)? {
            Some(found) => return Ok(found),
            None => manifest::read(&cache, &commit),
        },
        None => None,
    };
    // A part may be all that is wanted: then it is what was asked for, too.
    if let Some(manifest) = &manifest {
        let all: Vec<&Proven> = manifest.files.iter().collect();
        check_allowed(step, manifest, &all)?;
    }
    if step.local_dir.is_some() {
        let text = format!("`{}` does not hold a proven {}", destination(step), step.repo);
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

/// Why what is selected cannot be taken without a hub.
fn not_selected(step: &PullSnapshot, cache: &RepoCache, manifest: Option<&Manifest>) -> Result<Error> {
    let repo = &step.repo;
    let Some(manifest) = manifest.filter(|manifest| manifest.extent == Extent::Whole) else {
        let text = format!("whether all that is selected of {repo} is here is not known");
        return Ok(Error::new(Kind::Hub, text)
            .cause("not all of the repository was pulled, and only a hub lists the rest"));
    };
    let patterns = step.selection.compile()?;
    let snapshot = cache.snapshot(&manifest.commit);
    let mut selected = manifest.files.iter().filter(|file| patterns.matches(&file.path));
    Ok(match selected.find(|file| !unchanged(&snapshot, file)) {
        Some(file) => file.refused(repo),
        None => Error::new(Kind::Usage, format!("no file of {repo} is selected")),
    })
}

/// Makes files of a commit right again, in a cache that others are kept out of; returns the bytes fetched.
pub(super) async fn repair(
    step: &PullSnapshot,
    cache: &RepoCache,
    commit: &str,
    bad: &[Entry],
    options: HubOptions<'_>,
    events: &StepEvents<'_>,
) -> Result<u64> {
    let (notes, said) = mpsc::unbounded_channel();
    let fetcher = fetcher(step, cache, commit, bad, options, notes)?;
    let total = bad.iter().map(|entry| entry.size).sum();
    let shown = Shown { said, total, events };
    for entry in bad {
        fetcher.proven.forget(&cache.place(entry));
    }
    run(&fetcher, bad, step, shown).await?;
    if step.local_dir.is_some() {
        copy_twins(cache, bad, &fetcher.proven)?;
    }
    // Where a copy had followed the links, the bad file still has the name.
    cache.settle(&cache.snapshot(commit), bad)?;
    Ok(fetcher.counts.fetched.load(Ordering::Relaxed))
}

/// When it is asked what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before others are kept out.
    Before,
    /// While they are.
    Held,
    /// When they cannot be: what may only be read is not made right here.
    Unheld,
    /// When no hub is asked.
    Offline,
}

/// What is there, when all that is selected was proven and nothing changed. A branch that moved here gets its name.
fn proven(step: &PullSnapshot, cache: &RepoCache, commit: &str, when: When) -> Result<Option<Pulled>> {
    let PullSnapshot { repo, revision, .. } = step;
    let Some(manifest) = manifest::read(cache, commit).filter(|manifest| manifest.repo == *repo) else {
        return Ok(None);
    };
    let snapshot = cache.snapshot(commit);
    let patterns = step.selection.compile()?;
    let (selected, others): (Vec<&Proven>, Vec<&Proven>) = manifest
        .files
        .iter()
        .partition(|file| patterns.matches(&file.path));
    // What somebody removed is to be part of it no more: a pull of the rest says so.
    let is_gone = |file: &&Proven| !snapshot.join(&file.path).exists();
    let may_ask = matches!(when, When::Before | When::Held);
    let is_less = may_ask && others.iter().any(is_gone);
    // Of a selection, only the listing says whether it is the one that is wanted now; of another hub's commit, whether
    // it was all of it.
    let is_listed = when == When::Offline || manifest.endpoint.as_deref() == Some(&*step.endpoint);
    if manifest.extent != Extent::Whole
        || !is_listed
        || selected.is_empty()
        || is_less
        || !selected.iter().all(|file| match when {
            When::Offline | When::Unheld => unchanged(&snapshot, file),
            When::Before | When::Held => untouched(&snapshot, file),
        })
    {
        return Ok(None);
    }
    match check_allowed(step, &manifest, &selected) {
        // Perhaps what is wanted now leaves it out: the listing says.
        Err(_) if may_ask => return Ok(None),
        allowed => allowed?,
    }
    // Said under the lock only: a pull of another commit may be at work.
    if !claim::says(cache, repo, commit) {
        match when {
            When::Before | When::Unheld => return Ok(None),
            When::Held => claim::claim(cache, repo, Some(commit))?,
            When::Offline => {}
        }
    }
    if cache.commit(revision).as_deref() != Some(commit) {
        leftovers::temporaries(cache);
        cache.point(revision, commit)?;
    }
    let sizes: Vec<u64> = selected.iter().map(|file| file.size).collect();
    Ok(Some(pulled((repo, revision, commit), &snapshot, &sizes, 0)))
}

/// Refuses what is here where it is not what may come: code that nothing knows, or anything that a lock does not state.
fn check_allowed(step: &PullSnapshot, manifest: &Manifest, selected: &[&Proven]) -> Result<()> {
    let repo = &step.repo;
    step.code
        .check_paths(repo, selected.iter().map(|file| &*file.path))?;
    let Some(locked) = &step.locked else { return Ok(()) };
    plan::check_locked(repo, locked, |path| {
        let file = manifest.files.iter().find(|file| file.path == path)?;
        Some((file.size, &*file.oid))
    })?;
    let is_locked = |file: &&Proven| locked.iter().any(|locked| locked.path == file.path);
    let Some(file) = manifest.files.iter().find(|file| !is_locked(file)) else {
        return Ok(());
    };
    Err(Error::new(
        Kind::Integrity,
        format!("`{}` of {repo} is here and not in the lock", file.path),
    )
    .cause("an earlier pull fetched more than the lock states")
    .hint(format!(
        "dsr1 weights rm {repo} --yes, then pull again; or --local-dir"
    )))
}

fn fetcher(
    step: &PullSnapshot,
    cache: &RepoCache,
    commit: &str,
    entries: &[Entry],
    options: HubOptions<'_>,
    notes: mpsc::UnboundedSender<String>,
) -> Result<Fetcher> {
    // Each stream has three files open, and each connection one.
    host::raise_file_limit();
    let in_xet = entries.iter().any(|entry| entry.xet.is_some());
    let xet = (in_xet && step.transport != Transport::Http).then(|| {
        let may_switch = step.transport == Transport::Auto;
        let runtime = tokio::runtime::Handle::current();
        Arc::new(Xet::new(runtime, cache.parts().join("xet"), may_switch))
    });
    options.http.client(&step.endpoint)?;
    let source = Source {
        origin: Origin {
            http: options.http.clone(),
            token: options.token.cloned(),
            endpoint: step.endpoint.clone(),
            repo: step.repo.clone(),
            commit: commit.to_owned(),
        },
        xet,
        limit: step.limit_rate.map(Limit::new).map(Arc::new),
        idle: options.silence(),
    };
    Ok(Fetcher {
        source: Arc::new(source),
        proven: Arc::new(ProvenLog::open(&cache.parts())),
        cache: cache.clone(),
        counts: Arc::default(),
        board: Arc::new(Board::default()),
        notes,
        said: Arc::default(),
    })
}
