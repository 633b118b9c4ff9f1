//! All files of a pull or a repair: the workers on them, more of them where that helps, and how far they are.
//!
//! Not in this module: which files and where to (`pull`), one file (`fetch`), the threads (`workers`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::concurrency::{Growth, Used};
use super::fetch::Fetcher;
use super::workers::Workers;
use crate::effects::host;
use crate::effects::hub::listing::Entry;
use crate::error::{Error, Kind, Result};
use crate::event::{FileState, StepEvents};
use crate::plan::PullSnapshot;

/// Time between two progress events.
const TICK: Duration = Duration::from_millis(100);
/// Time between two reports of one file.
const FILE_TICK: Duration = Duration::from_secs(1);

/// Where it is shown how far a pull is.
pub(in crate::effects) struct Shown<'a> {
    /// What happens to single files and is worth a line.
    pub(in crate::effects) said: mpsc::UnboundedReceiver<String>,
    /// Bytes of all files.
    pub(in crate::effects) total: u64,
    pub(in crate::effects) events: &'a StepEvents<'a>,
}

/// Fetches all files, largest first so that no large one is left alone at the end.
///
/// # Errors
/// What the first file that cannot be had failed with; the others keep what they have.
pub(in crate::effects) async fn run(
    fetcher: &Fetcher,
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
    let mut growth = Growth::new(step.max_workers, step.limit_rate, host::processors());
    let mut under_way = Workers::start(fetcher, order, growth.workers())?;
    let mut tick = tokio::time::interval(TICK);
    let (mut last_report, mut last_files) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            ended = under_way.next() => match ended {
                None => break,
                Some(ended) => {
                    let entry = ended?;
                    finished += 1;
                    events.file(&entry.path, (entry.size, entry.size), FileState::Proven, 0);
                }
            },
            Some(note) = shown.said.recv() => events.note(note),
            _ = tick.tick() => {}
        }
        let used = Used {
            fetched: fetcher.counts.fetched.load(Ordering::Relaxed),
            cpu: host::cpu_time(),
        };
        let more = growth.more(used, Instant::now());
        if more > 0 {
            under_way.grow(fetcher, more)?;
        }
        if last_report.elapsed() >= TICK {
            last_report = Instant::now();
            let under_way = fetcher.board.count();
            let item = format!("{finished}/{} files, {under_way} under way", entries.len());
            report(fetcher, events, total, &item);
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
