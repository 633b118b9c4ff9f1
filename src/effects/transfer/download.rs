//! The download of all files of a pull or a repair: starts workers, adds more, and reports progress.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;

use super::concurrency::{Concurrency, Usage};
use super::fetch::Fetcher;
use super::workers::Workers;
use crate::effects::host;
use crate::effects::hub::listing::Entry;
use crate::error::{Error, Kind, Result};
use crate::event::{FileState, StepEvents};

/// The receivers of progress and messages.
pub(in crate::effects) struct Reporting<'a> {
    /// Messages about single files.
    pub(in crate::effects) messages: mpsc::UnboundedReceiver<String>,
    /// Size of all files in bytes.
    pub(in crate::effects) total: u64,
    pub(in crate::effects) events: &'a StepEvents<'a>,
}

/// Fetches all files, the largest first, so that no large file is left for the end.
///
/// # Errors
/// The error of the first file that fails. The partial files of the others stay for the next pull.
pub(in crate::effects) async fn download_all(
    fetcher: &Fetcher,
    entries: &[Entry],
    (max_workers, limit_rate): (usize, Option<u64>),
    mut reporting: Reporting<'_>,
) -> Result<()> {
    let Reporting { total, events, .. } = reporting;
    let done = &fetcher.counts.done;
    let mut order: Vec<Entry> = entries.to_vec();
    order.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    // Paths with the same bytes are fetched once.
    let mut known = BTreeSet::new();
    order.retain(|entry| {
        let first = known.insert(entry.oid.hex().to_owned());
        if !first {
            done.fetch_add(entry.size, Ordering::Relaxed);
        }
        first
    });
    let mut finished = entries.len() - order.len();
    let mut concurrency = Concurrency::new(max_workers, limit_rate, host::processors());
    let mut workers = Workers::start(fetcher, order, concurrency.workers())?;
    let mut tick = tokio::time::interval(fetcher.cache.limits().report_interval);
    let (mut last_report, mut last_files) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            ended = workers.next() => match ended {
                None => break,
                Some(ended) => {
                    let entry = ended?;
                    finished += 1;
                    events.file(&entry.path, (entry.size, entry.size), FileState::Proven, 0);
                }
            },
            Some(note) = reporting.messages.recv() => events.note(note),
            _ = tick.tick() => {}
        }
        let used = Usage {
            fetched: fetcher.counts.fetched.load(Ordering::Relaxed),
            cpu: host::cpu_time(),
        };
        let more = concurrency.workers_to_add(used, Instant::now());
        if more > 0 {
            workers.grow(fetcher, more)?;
        }
        if last_report.elapsed() >= fetcher.cache.limits().report_interval {
            last_report = Instant::now();
            let workers = fetcher.transfers.active_count();
            let item = format!("{finished}/{} files, {workers} under way", entries.len());
            report(fetcher, events, total, &item);
        }
        if last_files.elapsed() >= fetcher.cache.limits().file_report_interval {
            last_files = Instant::now();
            for file in fetcher.transfers.progress() {
                events.file(&file.path, (file.done, file.total), file.state, file.retries);
            }
        }
    }
    while let Ok(note) = reporting.messages.try_recv() {
        events.note(note);
    }
    let item = format!("{finished}/{} files", entries.len());
    report(fetcher, events, total, &item);
    if finished < entries.len() {
        return Err(Error::new(Kind::Internal, format!("only {item} were done")));
    }
    Ok(())
}

fn report(fetcher: &Fetcher, events: &StepEvents<'_>, total: u64, item: &str) {
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let counts = &fetcher.counts;
    events.pull_progress(of(&counts.done).min(total), total, of(&counts.fetched), item);
}
