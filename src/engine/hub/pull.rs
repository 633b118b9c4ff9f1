//! A whole snapshot: listing, space, every file proven, then its names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hf_hub::HFClient;
use tokio::sync::mpsc;

use super::cache::{self, INDEX, RepoCache, missing_from, pulled, unchanged};
use super::fetch::Fetcher;
use super::listing::Entry;
use super::part::parts;
use super::source::{Limit, Source, Xet};
use super::workers::{Job, Workers};
use super::{HubOptions, remote};
use crate::engine::{files, host};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{CheckSnapshot, PullSnapshot};
use crate::report::Pulled;
use crate::units::Bytes;

/// Time between two progress events.
const TICK: Duration = Duration::from_millis(100);

/// Fetches a snapshot and proves every byte. What is there and proven is not fetched again.
///
/// # Errors
/// [`Kind::Hub`] when the hub refuses or cannot be reached, [`Kind::Integrity`] when bytes stay wrong,
/// [`Kind::Host`] when the disk is too small.
pub async fn pull(step: &PullSnapshot, options: HubOptions<'_>, events: &StepEvents<'_>) -> Result<Pulled> {
    let PullSnapshot {
        repo,
        revision,
        cache_dir,
        license,
        ..
    } = step;
    if options.offline {
        let check = CheckSnapshot {
            repo: repo.clone(),
            revision: revision.clone(),
            cache_dir: cache_dir.clone(),
        };
        return cache::check_snapshot(&check)
            .map_err(|error| error.hint("HF_HUB_OFFLINE is set: unset it to fetch"));
    }
    let commit = remote::commit(step, options).await?;
    let cache = RepoCache::new(Path::new(cache_dir), repo);
    if let Some(found) = proven(step, &cache, &commit)? {
        return Ok(found);
    }
    let (entries, total) = remote::entries(step, &commit, options).await?;
    events.note(format!(
        "{repo}: {} files, {}; licence: {license}",
        entries.len(),
        Bytes(total)
    ));
    cache.prepare()?;
    let lock = files::lock(&cache.lock(), events, &format!("another dsr1 pulls {repo}")).await?;
    if let Some(found) = proven(step, &cache, &commit)? {
        return Ok(found);
    }
    check_space(
        missing_bytes(&cache, &entries),
        host::free_bytes(cache_dir),
        cache_dir,
    )?;
    let (notes, said) = mpsc::unbounded_channel();
    let fetcher = Fetcher {
        source: Arc::new(source(step, &commit, &entries, options)?),
        cache: cache.clone(),
        counts: Arc::default(),
        notes,
    };
    let counts = Arc::clone(&fetcher.counts);
    let shown = Shown { said, total, events };
    run(&fetcher, Job::Fetch, &entries, step.max_workers, shown).await?;
    // Before anything gets a name: a listing that lacks a shard is a hub's half-done upload.
    let paths = entries.iter().map(|entry| entry.path.as_str()).collect();
    let index = entries.iter().find(|entry| entry.path == INDEX);
    if let Some(missing) = index.and_then(|index| missing_from(&cache.blob(&index.oid), &paths)) {
        return Err(Error::new(Kind::Integrity, format!("{repo} lacks `{missing}`"))
            .cause("model.safetensors.index.json names it, and the repository does not have it")
            .hint("pull another revision"));
    }
    cache.publish(repo, revision, &commit, &entries)?;
    drop(lock);
    let snapshot = cache.snapshot(&commit);
    let manifest = cache
        .manifest(&commit)
        .ok_or_else(|| Error::new(Kind::Internal, "the manifest is gone"))?;
    Ok(pulled(
        repo,
        revision,
        &snapshot,
        &manifest,
        counts.fetched.load(Ordering::Relaxed),
    ))
}

/// Makes files of a commit right again; returns the bytes fetched.
pub(super) async fn repair(
    step: &PullSnapshot,
    commit: &str,
    bad: &[Entry],
    options: HubOptions<'_>,
    events: &StepEvents<'_>,
) -> Result<u64> {
    let cache = RepoCache::new(Path::new(&step.cache_dir), &step.repo);
    cache.prepare()?;
    let held = format!("another dsr1 pulls {}", step.repo);
    let _lock = files::lock(&cache.lock(), events, &held).await?;
    let (notes, said) = mpsc::unbounded_channel();
    let fetcher = Fetcher {
        source: Arc::new(source(step, commit, bad, options)?),
        cache,
        counts: Arc::default(),
        notes,
    };
    let total = bad.iter().map(|entry| entry.size).sum();
    let shown = Shown { said, total, events };
    run(&fetcher, Job::Repair, bad, step.max_workers, shown).await?;
    Ok(fetcher.counts.fetched.load(Ordering::Relaxed))
}

/// What is there, when all of it was proven and nothing changed. A branch that moved here gets its name.
fn proven(step: &PullSnapshot, cache: &RepoCache, commit: &str) -> Result<Option<Pulled>> {
    let PullSnapshot { repo, revision, .. } = step;
    let Some(manifest) = cache.manifest(commit) else {
        return Ok(None);
    };
    let snapshot = cache.snapshot(commit);
    if !manifest.files.iter().all(|file| unchanged(&snapshot, file)) {
        return Ok(None);
    }
    if cache.commit(revision).as_deref() != Some(commit) {
        cache.point(revision, commit)?;
    }
    Ok(Some(pulled(repo, revision, &snapshot, &manifest, 0)))
}

fn source(step: &PullSnapshot, commit: &str, entries: &[Entry], options: HubOptions<'_>) -> Result<Source> {
    let in_xet = entries.iter().any(|entry| entry.xet);
    Ok(Source {
        http: options.http.clone(),
        token: options.token.cloned(),
        endpoint: step.endpoint.clone(),
        repo: step.repo.clone(),
        commit: commit.to_owned(),
        xet: if in_xet {
            Some(Xet {
                repository: repository(step, options)?,
                runtime: tokio::runtime::Handle::current(),
            })
        } else {
            None
        },
        limit: step.limit_rate.map(Limit::new).map(Arc::new),
    })
}

fn repository(
    step: &PullSnapshot,
    options: HubOptions<'_>,
) -> Result<hf_hub::repository::HFRepository<hf_hub::RepoTypeModel>> {
    let mut builder = HFClient::builder()
        .endpoint(&step.endpoint)
        .client(options.http.client(&step.endpoint)?)
        .cache_dir(&step.cache_dir)
        // One retry loop, ours: it resumes, and it knows when to give up.
        .retry_max_attempts(0);
    if let Some(token) = options.token {
        builder = builder.token(token.expose());
    }
    let client = builder.build().map_err(|error| {
        Error::new(Kind::Usage, format!("`{}` cannot be a hub", step.endpoint)).cause(error.to_string())
    })?;
    let (owner, name) = step.repo.split_once('/').unwrap_or(("", &step.repo));
    Ok(client.model(owner, name))
}

/// Where it is shown how far a pull is.
struct Shown<'a> {
    said: mpsc::UnboundedReceiver<String>,
    total: u64,
    events: &'a StepEvents<'a>,
}

/// Does a job on all files, `workers` at once, largest first so that no large one is left alone at the end.
async fn run(
    fetcher: &Fetcher,
    job: Job,
    entries: &[Entry],
    workers: usize,
    mut shown: Shown<'_>,
) -> Result<()> {
    let Shown { total, events, .. } = shown;
    let done = &fetcher.counts.done;
    let mut order: Vec<Entry> = entries.to_vec();
    order.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    // Two paths with the same bytes have one place, and are fetched once.
    let mut places = BTreeSet::new();
    order.retain(|entry| {
        let first = places.insert(fetcher.cache.place(entry));
        if !first {
            done.fetch_add(entry.size, Ordering::Relaxed);
        }
        first
    });
    let mut finished = entries.len() - order.len();
    let mut under_way = Workers::start(fetcher, job, order, workers)?;
    let mut tick = tokio::time::interval(TICK);
    let (mut last, mut last_report) = (String::new(), Instant::now());
    loop {
        tokio::select! {
            ended = under_way.next() => match ended {
                None => break,
                Some(path) => {
                    finished += 1;
                    last = path?;
                }
            },
            Some(note) = shown.said.recv() => events.note(note),
            _ = tick.tick() => {}
        }
        if last_report.elapsed() >= TICK {
            last_report = Instant::now();
            let item = format!("{finished}/{} files {last}", entries.len());
            report(events, done, total, &item);
        }
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

/// Bytes that are not on disk yet.
fn missing_bytes(cache: &RepoCache, entries: &[Entry]) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // A part has its space reserved: what counts is what it takes, and not how long it is.
    let taken: BTreeMap<String, u64> = parts(&cache.parts())
        .filter_map(|(oid, _, path)| Some((oid, std::fs::metadata(path).ok()?.blocks() * 512)))
        .collect();
    let mut seen = BTreeSet::new();
    entries
        .iter()
        .filter(|entry| seen.insert(cache.place(entry)))
        .map(|entry| {
            let place = std::fs::metadata(cache.place(entry)).map_or(0, |meta| meta.len());
            let have = place.max(taken.get(entry.oid.hex()).copied().unwrap_or(0));
            entry.size.saturating_sub(have)
        })
        .sum()
}

/// Refuses before the first byte when the disk cannot hold what is missing and a margin of one twentieth.
fn check_space(missing: u64, free: Option<u64>, cache_dir: &str) -> Result<()> {
    let wanted = missing + missing / 20;
    match free {
        Some(free) if free < wanted => Err(Error::new(
            Kind::Host,
            format!("not enough disk at `{cache_dir}`"),
        )
        .cause(format!("need {}, {} free", Bytes(wanted), Bytes(free)))
        .hint("point HF_HOME at a larger disk")),
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
