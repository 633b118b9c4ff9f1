//! A whole snapshot: listing, space, every file proven, then its names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::board::Board;
use super::cache::{self, INDEX, Manifest, Publication, RepoCache, missing_from, pulled, unchanged};
use super::fetch::Fetcher;
use super::growth::Growth;
use super::listing::Entry;
use super::part::parts;
use super::proven::ProvenLog;
use super::remote::Revision;
use super::source::{Limit, Source};
use super::workers::{Job, Workers};
use super::xet::Xet;
use super::{HubOptions, hash, remote, tensors};
use crate::engine::{files, host};
use crate::error::{At, Error, Kind, Result};
use crate::event::{FileState, StepEvents};
use crate::plan::{self, CheckSnapshot, PullSnapshot, Transport};
use crate::report::{PullSurvey, Pulled, SurveyedFile};
use crate::units::Bytes;

/// Time between two progress events.
const TICK: Duration = Duration::from_millis(100);
/// Time between two reports of one file.
const FILE_TICK: Duration = Duration::from_secs(1);
/// How long no byte is waited for, unless `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise.
const IDLE: Duration = Duration::from_secs(30);

/// What is to be there at the end.
struct Wanted {
    commit: String,
    license: String,
    entries: Vec<Entry>,
    total: u64,
    /// Whether it is all that the commit has.
    complete: bool,
}

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
    let found = remote::revision(step, options).await?;
    let cache = RepoCache::of(step);
    if let Some(found) = proven(step, &cache, &found.commit)? {
        return Ok(found);
    }
    let wanted = wanted(step, found, options).await?;
    name(step, &wanted, events)?;
    cache.prepare()?;
    let held = format!("another dsr1 pulls {repo}");
    let lock = files::lock(&cache.lock(), events, &held).await?;
    if let Some(found) = proven(step, &cache, &wanted.commit)? {
        return Ok(found);
    }
    check_space(
        missing_bytes(&cache, &wanted.entries),
        host::free_bytes(destination(step)),
        destination(step),
    )?;
    let (notes, said) = mpsc::unbounded_channel();
    let fetcher = fetcher(step, &wanted.commit, &wanted.entries, options, notes)?;
    let total = wanted.total;
    let shown = Shown { said, total, events };
    run(&fetcher, Job::Fetch, &wanted.entries, step, shown).await?;
    if step.local_dir.is_some() {
        copy_twins(&cache, &wanted.entries)?;
    }
    check_model(&cache, repo, &wanted)?;
    let manifest = cache.publish(&Publication {
        repo,
        revision,
        commit: &wanted.commit,
        entries: &wanted.entries,
        complete: wanted.complete,
    })?;
    drop(lock);
    let came = fetcher.counts.fetched.load(Ordering::Relaxed);
    Ok(pulled(
        repo,
        revision,
        &cache.snapshot(&wanted.commit),
        &manifest,
        came,
    ))
}

/// What is proven here, when the network is off limits.
fn offline(step: &PullSnapshot) -> Result<Pulled> {
    let why = |error: Error| error.hint("HF_HUB_OFFLINE is set: unset it to fetch");
    if step.local_dir.is_some() {
        let cache = RepoCache::of(step);
        let commit = cache.commit(&step.revision);
        let found = commit.map(|commit| proven(step, &cache, &commit)).transpose()?;
        return found.flatten().ok_or_else(|| {
            why(Error::new(
                Kind::Hub,
                format!("`{}` does not hold a proven {}", destination(step), step.repo),
            ))
        });
    }
    let check = CheckSnapshot {
        repo: step.repo.clone(),
        revision: step.revision.clone(),
        cache_dir: step.cache_dir.clone(),
    };
    cache::check_snapshot(&check).map_err(why)
}

/// Asks what a pull would fetch, and fetches nothing.
///
/// # Errors
/// As [`pull`], but for what only shows while it fetches.
pub async fn survey(step: &PullSnapshot, options: HubOptions<'_>) -> Result<PullSurvey> {
    let found = remote::revision(step, options).await?;
    let wanted = wanted(step, found, options).await?;
    let cache = RepoCache::of(step);
    let log = ProvenLog::open(&cache.parts());
    let manifest = cache.manifest(&wanted.commit);
    let taken = taken(&cache);
    let mut seen = BTreeSet::new();
    let files: Vec<SurveyedFile> = wanted
        .entries
        .iter()
        .map(|entry| {
            let is_proven = is_proven(&cache, manifest.as_ref(), &wanted.commit, entry)
                || log.knows(&cache.place(entry), entry);
            // Two paths with the same bytes are fetched once.
            let is_first = seen.insert(entry.oid.hex());
            let here = match (is_proven, is_first) {
                (true, _) | (_, false) => entry.size,
                _ => here(&cache, &taken, entry),
            };
            SurveyedFile {
                path: entry.path.clone(),
                bytes: entry.size,
                here_bytes: here,
                proven: is_proven,
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
    Ok(PullSurvey {
        schema: PullSurvey::SCHEMA.to_owned(),
        repo: step.repo.clone(),
        revision: step.revision.clone(),
        commit: wanted.commit,
        must_be_accepted: plan::must_be_accepted(&wanted.license),
        license,
        page: format!("{}/{}", step.endpoint, step.repo),
        destination: destination(step).to_owned(),
        free_bytes: host::free_bytes(destination(step)),
        needed_bytes: with_margin(missing),
        total_bytes: wanted.total,
        missing_bytes: missing,
        limit_rate: step.limit_rate,
        files,
    })
}

/// The files of a revision that are to come, checked as far as a listing can be.
async fn wanted(step: &PullSnapshot, found: Revision, options: HubOptions<'_>) -> Result<Wanted> {
    let Revision { commit, license } = found;
    let PullSnapshot { repo, .. } = step;
    let (mut entries, _) = remote::entries(step, &commit, options).await?;
    let all = entries.len();
    if step.local_dir.is_some() {
        super::listing::check_directory(&entries)?;
    }
    if let Some(locked) = &step.locked {
        let by_path: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (&*entry.path, entry)).collect();
        plan::check_locked(repo, locked, |path| {
            by_path.get(path).map(|entry| (entry.size, entry.oid.hex()))
        })?;
        let known: BTreeSet<&str> = locked.iter().map(|file| &*file.path).collect();
        entries.retain(|entry| known.contains(&*entry.path));
    }
    let patterns = step.selection.compile()?;
    entries.retain(|entry| patterns.select(&entry.path));
    if entries.is_empty() {
        return Err(Error::new(Kind::Usage, format!("no file of {repo} is selected"))
            .cause(format!(
                "none of its {all} files matches --include without --exclude"
            ))
            .hint("dsr1 pull --dry-run without them lists all"));
    }
    step.code.check(repo, entries.iter().map(|entry| &*entry.path))?;
    let total = entries.iter().map(|entry| entry.size).sum();
    Ok(Wanted {
        complete: entries.len() == all,
        commit,
        license,
        entries,
        total,
    })
}

/// Names what comes and its licence, before the first byte.
fn name(step: &PullSnapshot, wanted: &Wanted, events: &StepEvents<'_>) -> Result<()> {
    let PullSnapshot { repo, endpoint, .. } = step;
    if plan::must_be_accepted(&wanted.license) && !step.accept_license {
        return Err(Error::new(
            Kind::Usage,
            format!("the licence of {repo} must be agreed to: `{}`", wanted.license),
        )
        .cause(format!("its text is at {endpoint}/{repo}"))
        .hint("read it, then pass --accept-license"));
    }
    let license = match (&*wanted.license, &*step.license) {
        ("", "") => "not stated",
        ("", known) => known,
        (stated, _) => stated,
    };
    let Wanted { entries, total, .. } = wanted;
    events.note(format!(
        "{repo}: {} files, {}; licence: {license}",
        entries.len(),
        Bytes(*total)
    ));
    Ok(())
}

/// Before anything gets its name in a snapshot: a listing that lacks a shard is a hub's half-done upload, and a shard
/// that is no safetensors would fail at the engine's start.
fn check_model(cache: &RepoCache, repo: &str, wanted: &Wanted) -> Result<()> {
    let paths = wanted.entries.iter().map(|entry| entry.path.as_str()).collect();
    let index = wanted.entries.iter().find(|entry| entry.path == INDEX);
    let missing = index.and_then(|index| missing_from(&cache.place(index), &paths));
    if let Some(missing) = missing.filter(|_| wanted.complete) {
        return Err(Error::new(Kind::Integrity, format!("{repo} lacks `{missing}`"))
            .cause("model.safetensors.index.json names it, and the repository does not have it")
            .hint("pull another revision"));
    }
    let is_shard = |entry: &&Entry| entry.path.ends_with(".safetensors");
    for shard in wanted.entries.iter().filter(is_shard) {
        if let Some(why) = tensors::check(&cache.place(shard)) {
            return Err(Error::new(
                Kind::Integrity,
                format!("`{}` of {repo} is no whole safetensors file", shard.path),
            )
            .cause(why)
            .hint("its hash is right: the repository has it like this; pull another revision, or leave it out with --exclude"));
        }
    }
    Ok(())
}

/// Gives paths with the same bytes as another a copy of their own.
fn copy_twins(cache: &RepoCache, entries: &[Entry]) -> Result<()> {
    let mut first: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in entries {
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
        if hash::matches(&place, &entry.oid, entry.size) {
            continue;
        }
        cache.make_place(entry)?;
        let failed = || format!("cannot write `{}`", place.display());
        let temporary = cache.parts().join(format!("copy-{}", std::process::id()));
        let copied = std::fs::copy(&from, &temporary)
            .and_then(|_| std::fs::File::open(&temporary)?.sync_all())
            .at(Kind::Host, failed);
        if let Err(error) = copied {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        if !hash::matches(&temporary, &entry.oid, entry.size) {
            let _ = std::fs::remove_file(&temporary);
            return Err(Error::new(
                Kind::Integrity,
                format!("`{}` was copied wrong", entry.path),
            ));
        }
        std::fs::rename(&temporary, &place).at(Kind::Host, failed)?;
        cache::sync_dir(place.parent().unwrap_or(&place))?;
    }
    Ok(())
}

/// Makes files of a commit right again; returns the bytes fetched.
pub(super) async fn repair(
    step: &PullSnapshot,
    commit: &str,
    bad: &[Entry],
    options: HubOptions<'_>,
    events: &StepEvents<'_>,
) -> Result<u64> {
    let cache = RepoCache::of(step);
    cache.prepare()?;
    let held = format!("another dsr1 pulls {}", step.repo);
    let _lock = files::lock(&cache.lock(), events, &held).await?;
    let (notes, said) = mpsc::unbounded_channel();
    let fetcher = fetcher(step, commit, bad, options, notes)?;
    let total = bad.iter().map(|entry| entry.size).sum();
    let shown = Shown { said, total, events };
    run(&fetcher, Job::Repair, bad, step, shown).await?;
    if step.local_dir.is_some() {
        copy_twins(&cache, bad)?;
    }
    Ok(fetcher.counts.fetched.load(Ordering::Relaxed))
}

/// What is there, when all of it was proven and nothing changed. A branch that moved here gets its name.
fn proven(step: &PullSnapshot, cache: &RepoCache, commit: &str) -> Result<Option<Pulled>> {
    let PullSnapshot { repo, revision, .. } = step;
    let Some(manifest) = cache.manifest(commit).filter(|manifest| manifest.repo == *repo) else {
        return Ok(None);
    };
    let snapshot = cache.snapshot(commit);
    // Of a selection, only the listing says whether it is the one that is wanted now.
    if !manifest.complete || !manifest.files.iter().all(|file| unchanged(&snapshot, file)) {
        return Ok(None);
    }
    if let Some(locked) = &step.locked {
        plan::check_locked(repo, locked, |path| {
            let file = manifest.files.iter().find(|file| file.path == path)?;
            Some((file.size, &*file.oid))
        })?;
    }
    if cache.commit(revision).as_deref() != Some(commit) {
        cache.point(revision, commit)?;
    }
    Ok(Some(pulled(repo, revision, &snapshot, &manifest, 0)))
}

/// Whether a manifest proves a file, and it did not change.
fn is_proven(cache: &RepoCache, manifest: Option<&Manifest>, commit: &str, entry: &Entry) -> bool {
    let files = manifest.into_iter().flat_map(|manifest| &manifest.files);
    let mut files = files.filter(|file| file.path == entry.path && file.oid == entry.oid.hex());
    files
        .next()
        .is_some_and(|file| unchanged(&cache.snapshot(commit), file))
}

/// Where a pull writes.
fn destination(step: &PullSnapshot) -> &str {
    step.local_dir.as_deref().unwrap_or(&step.cache_dir)
}

fn fetcher(
    step: &PullSnapshot,
    commit: &str,
    entries: &[Entry],
    options: HubOptions<'_>,
    notes: mpsc::UnboundedSender<String>,
) -> Result<Fetcher> {
    // Each stream has three files open, and each connection one.
    host::raise_file_limit();
    let cache = RepoCache::of(step);
    let in_xet = entries.iter().any(|entry| entry.xet.is_some());
    let xet = (in_xet && step.transport != Transport::Http).then(|| {
        let may_switch = step.transport == Transport::Auto;
        let runtime = tokio::runtime::Handle::current();
        Arc::new(Xet::new(runtime, cache.parts().join("xet"), may_switch))
    });
    options.http.client(&step.endpoint)?;
    let source = Source {
        http: options.http.clone(),
        token: options.token.cloned(),
        endpoint: step.endpoint.clone(),
        repo: step.repo.clone(),
        commit: commit.to_owned(),
        xet,
        limit: step.limit_rate.map(Limit::new).map(Arc::new),
        idle: options.idle.unwrap_or(IDLE),
    };
    Ok(Fetcher {
        source: Arc::new(source),
        proven: Arc::new(ProvenLog::open(&cache.parts())),
        cache,
        counts: Arc::default(),
        board: Arc::new(Board::default()),
        notes,
    })
}

/// Where it is shown how far a pull is.
struct Shown<'a> {
    said: mpsc::UnboundedReceiver<String>,
    total: u64,
    events: &'a StepEvents<'a>,
}

/// Does a job on all files, largest first so that no large one is left alone at the end.
async fn run(
    fetcher: &Fetcher,
    job: Job,
    entries: &[Entry],
    step: &PullSnapshot,
    mut shown: Shown<'_>,
) -> Result<()> {
    let Shown { total, events, .. } = shown;
    let done = &fetcher.counts.done;
    let mut order: Vec<Entry> = entries.to_vec();
    order.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    // Two paths with the same bytes are fetched once.
    let mut known = BTreeSet::new();
    order.retain(|entry| {
        let first = known.insert(entry.oid.hex().to_owned());
        if !first {
            done.fetch_add(entry.size, Ordering::Relaxed);
        }
        first
    });
    let mut finished = entries.len() - order.len();
    let mut growth = Growth::new(step.max_workers, step.limit_rate);
    let mut under_way = Workers::start(fetcher, job, order, growth.workers())?;
    let mut tick = tokio::time::interval(TICK);
    let (mut last, mut last_report, mut last_files) = (String::new(), Instant::now(), Instant::now());
    loop {
        tokio::select! {
            ended = under_way.next() => match ended {
                None => break,
                Some(ended) => {
                    let entry = ended?;
                    finished += 1;
                    events.file(&entry.path, (entry.size, entry.size), FileState::Proven, 0);
                    last = entry.path;
                }
            },
            Some(note) = shown.said.recv() => events.note(note),
            _ = tick.tick() => {}
        }
        let came = fetcher.counts.fetched.load(Ordering::Relaxed);
        let more = growth.more(came, Instant::now());
        if more > 0 {
            under_way.grow(fetcher, more)?;
        }
        if last_report.elapsed() >= TICK {
            last_report = Instant::now();
            let item = format!("{finished}/{} files {last}", entries.len());
            report(events, done, total, &item);
        }
        if last_files.elapsed() >= FILE_TICK {
            last_files = Instant::now();
            for file in fetcher.board.standings() {
                events.file(&file.path, (file.done, file.total), file.state, file.retries);
            }
        }
    }
    while let Ok(note) = shown.said.try_recv() {
        events.note(note);
    }
    let item = format!("{finished}/{} files", entries.len());
    report(events, done, total, &item);
    if finished < entries.len() {
        return Err(Error::new(Kind::Internal, format!("only {item} were done")));
    }
    Ok(())
}

fn report(events: &StepEvents<'_>, done: &AtomicU64, total: u64, item: &str) {
    events.progress(done.load(Ordering::Relaxed).min(total), Some(total), item);
}

/// Bytes that unfinished files take, by hash.
fn taken(cache: &RepoCache) -> BTreeMap<String, u64> {
    use std::os::unix::fs::MetadataExt;
    // A part has its space reserved: what counts is what it takes, and not how long it is.
    parts(&cache.parts())
        .filter_map(|(oid, _, path)| Some((oid, std::fs::metadata(path).ok()?.blocks() * 512)))
        .collect()
}

/// Bytes of a file that are on the disk, proven or not.
fn here(cache: &RepoCache, taken: &BTreeMap<String, u64>, entry: &Entry) -> u64 {
    let place = std::fs::metadata(cache.place(entry)).map_or(0, |meta| meta.len());
    let part = taken.get(entry.oid.hex()).copied().unwrap_or(0);
    place.max(part).min(entry.size)
}

/// Bytes that are not on disk yet.
fn missing_bytes(cache: &RepoCache, entries: &[Entry]) -> u64 {
    let taken = taken(cache);
    let mut seen = BTreeSet::new();
    let first = entries.iter().filter(|entry| seen.insert(cache.place(entry)));
    first.map(|entry| entry.size - here(cache, &taken, entry)).sum()
}

/// What is missing and a margin of one twentieth.
const fn with_margin(missing: u64) -> u64 {
    missing + missing / 20
}

/// Refuses before the first byte when the disk cannot hold what is missing and a margin.
fn check_space(missing: u64, free: Option<u64>, dir: &str) -> Result<()> {
    let wanted = with_margin(missing);
    match free {
        Some(free) if free < wanted => Err(Error::new(Kind::Host, format!("not enough disk at `{dir}`"))
            .cause(format!("need {}, {} free", Bytes(wanted), Bytes(free)))
            .hint("point HF_HOME or --local-dir at a larger disk")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_refused_before_the_first_byte() {
        let error = check_space(100_000_000_000, Some(100_000_000_000), "/x").unwrap_err();
        assert_eq!(
            (error.kind(), error.causes()),
            (Kind::Host, vec!["need 105.0 GB, 100.0 GB free".to_owned()])
        );
        check_space(100, Some(105), "/x").unwrap();
        check_space(100, None, "/x").unwrap();
    }
}
