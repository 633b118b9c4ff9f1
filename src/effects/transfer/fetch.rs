//! One file: asked for by range, checked as it arrives, resumed where it stopped, named only when proven.
//!
//! Not in this module: the bytes on disk (`part`), streams (`source`, `watch`), who helps (`ahead`), which files (`pull`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::assign::{Transfer, Transfers};
use super::chunks::{Chunks, Next};
use super::partial::file::PartialFile;
use super::partial::lease::ABANDONED;
use super::retry::{OUTAGE, Patience};
use super::watch::{MAX_REDIALS, StreamWatch};
use crate::effects::hub::listing::Entry;
use crate::effects::hub::source::{ByteStream, Failure, Route, Source, cannot_fetch, wrong_bytes};
use crate::effects::store::layout::RepoCache;
use crate::effects::store::proofs::ProofLog;
use crate::error::{At, Kind, Result};
use crate::event::FileState;
use crate::units;

/// Most bytes written before it is looked again how far a file's own worker may go: Xet brings frames of a whole block,
/// and a helper claims no less than two chunks (`ahead`) from where that worker is.
const WRITE_BYTES: usize = 1 << 20;
/// Time between two notes that something is waited for.
const MESSAGE_INTERVAL: Duration = Duration::from_secs(15);
/// What was counted, over all files.
#[derive(Default)]
pub(in crate::effects) struct Counts {
    /// Bytes proven or on disk.
    pub(in crate::effects) done: AtomicU64,
    /// Bytes that came over the network.
    pub(in crate::effects) fetched: AtomicU64,
}

/// Fetches files into a cache.
#[derive(Clone)]
pub(in crate::effects) struct Fetcher {
    pub(in crate::effects) source: Arc<Source>,
    pub(in crate::effects) cache: RepoCache,
    pub(in crate::effects) counts: Arc<Counts>,
    pub(in crate::effects) transfers: Arc<Transfers>,
    pub(in crate::effects) proofs: Arc<ProofLog>,
    /// What happens to one file and is worth a line, for the one who waits.
    pub(in crate::effects) messages: mpsc::UnboundedSender<String>,
    /// When it was last said that something is waited for.
    pub(in crate::effects) last_message: Arc<Mutex<Option<Instant>>>,
}

/// What is remembered between the streams of one file.
struct FetchState {
    source: Arc<Source>,
    route: Route,
    patience: Patience,
    etag: Option<String>,
    /// Times that all of it came and was wrong.
    refused: u32,
    redials: u32,
    /// A gap did not come over HTTP, and is asked for where the file would come from.
    is_corrupt_range_in_xet: bool,
    /// Answers that began at the first byte, and not where they were asked to.
    ignored: u32,
}

impl Fetcher {
    /// Makes sure that `entry` is in its place and proven.
    pub(in crate::effects) async fn fetch(&self, entry: &Entry) -> Result<()> {
        let active = self.transfers.start(entry);
        let transfer = &*active.file;
        if self.is_already_verified(entry)? {
            self.counts.done.fetch_add(entry.size, Ordering::Relaxed);
            return Ok(());
        }
        self.cache.make_parent_dir(entry)?;
        let mut part = PartialFile::open(&self.cache, entry)?;
        if part.lost_data() {
            self.send_message(format!(
                "`{}`: the disk does not give back what was here: it is fetched again",
                entry.path
            ));
        }
        let mut is_open = false;
        self.counts.done.fetch_add(part.at(), Ordering::Relaxed);
        // Over HTTP where that is allowed: the few MiB of a gap are not worth the store's way of doing it.
        let route = match self.source.route(entry) {
            Route::Xet if self.source.may_switch() => Route::Http,
            route => route,
        };
        let mut run = FetchState {
            source: Arc::clone(&self.source),
            route,
            patience: Patience::new(part.at()),
            etag: None,
            refused: 0,
            redials: 0,
            is_corrupt_range_in_xet: false,
            ignored: 0,
        };
        loop {
            transfer.set_state(FileState::Fetching);
            if part.corrupt_range_end().is_none() && !is_open {
                // Not before: a helper would fetch what is right.
                run.route = run.source.route(entry);
                let recovered = part.take_recovered();
                let chunks = transfer.open_for_workers(part.handle(), part.at(), recovered);
                self.counts.done.fetch_add(chunks, Ordering::Relaxed);
                is_open = true;
            }
            let next = part.corrupt_range_end().map(Next::Fetch);
            let failure = match next
                .unwrap_or_else(|| transfer.with_chunks(|chunks| chunks.next_step(part.at())))
            {
                Next::End if part.hex() == entry.oid.hex() => {
                    let place = self.cache.file_path(entry);
                    if let Some(fingerprint) = part.finish(&place, &self.cache.journal_path(entry))? {
                        self.proofs.log_downloaded(&place, entry, fingerprint);
                    }
                    return Ok(());
                }
                Next::End => Failure::WrongBytes(wrong_bytes(
                    entry,
                    &format!(
                        "its hash is {}, the listing states {}",
                        part.hex(),
                        entry.oid.hex()
                    ),
                )),
                Next::Wait => {
                    part.touch();
                    transfer.wait_for_claim().await;
                    continue;
                }
                Next::AcceptFromDisk(to, digest) => {
                    let from = part.at();
                    if part.accept_from_disk(to, digest)? {
                        transfer.set_front(part.at());
                    } else {
                        transfer.with_chunks(|chunks| chunks.mark_corrupt(to));
                        self.counts.done.fetch_sub(to - from, Ordering::Relaxed);
                    }
                    continue;
                }
                Next::Fetch(to) => match self.stream(transfer, &mut part, to, &mut run).await {
                    Ok(()) if part.at() >= transfer.with_chunks(|chunks| chunks.fetch_limit()).min(to) => {
                        self.pass_corrupt_range(transfer, &mut part)?;
                        continue;
                    }
                    Ok(()) => {
                        Failure::Retry(cannot_fetch(entry, "the connection ended before the last byte"))
                    }
                    Err(failure) => failure,
                },
            };
            self.handle_failure(transfer, &mut part, &mut run, failure)
                .await?;
        }
    }

    /// What a failure asks for: a pause, another way, all of it anew, or an end.
    async fn handle_failure(
        &self,
        transfer: &Transfer,
        part: &mut PartialFile,
        run: &mut FetchState,
        failure: Failure,
    ) -> Result<()> {
        let entry = &transfer.entry;
        transfer.count_retry();
        transfer.set_state(FileState::Waiting);
        let failure = match failure {
            // Whatever failed there, the other way has the same bytes.
            Failure::Retry(_) | Failure::RetryAfter(..) | Failure::Unreachable(_)
                if part.corrupt_range_end().is_some()
                    && run.source.route(entry) != run.route
                    && !run.is_corrupt_range_in_xet =>
            {
                (run.route, run.is_corrupt_range_in_xet) = (run.source.route(entry), true);
                return Ok(());
            }
            Failure::Retry(error) | Failure::RetryAfter(error, _) | Failure::WrongBytes(error)
                if run.route == Route::Xet && run.source.may_switch() =>
            {
                run.route = Route::Http;
                run.source.note_xet_failure();
                self.send_message(format!(
                    "`{}` goes on over HTTP: {}",
                    entry.path,
                    error.causes().join(": ")
                ));
                if part.at() < entry.size {
                    return Ok(());
                }
                Failure::WrongBytes(error)
            }
            failure => failure,
        };
        match failure {
            Failure::WrongBytes(error) => {
                // Nothing tells which byte is wrong: all of it comes again, once.
                self.restart(transfer, part).await?;
                run.etag = None;
                run.patience = Patience::new(0);
                run.refused += 1;
                if run.refused > 1 {
                    return Err(error);
                }
                self.send_message(format!("`{}` arrived wrong: it is fetched again", entry.path));
                return Ok(());
            }
            Failure::Slow => {
                // The same name may be served from a better place over another connection.
                run.source = Arc::new(run.source.with_own_connections());
                run.redials += 1;
            }
            Failure::RetryAfter(_, wait) if wait > Duration::from_secs(2) => {
                self.send_message(format!("the hub asks to wait {} s", wait.as_secs()));
            }
            _ => {}
        }
        let cause = failure.cause();
        // A network that is gone is waited for so long, and a hub that says no is asked so often.
        let bound = match failure {
            Failure::Unreachable(_) => format!(", for {} at most", units::duration(OUTAGE)),
            _ => String::new(),
        };
        let pause = run.patience.pause_after(failure, part.at())?;
        if let Some(cause) = cause {
            self.send_message_at_intervals(&format!(
                "`{}` waits and tries again{bound}: {cause}",
                entry.path
            ));
        }
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            part.touch();
            tokio::time::sleep(left.min(ABANDONED / 4)).await;
        }
        Ok(())
    }

    /// Goes on over what is right behind what was bad, or back to where that begins.
    fn pass_corrupt_range(&self, transfer: &Transfer, part: &mut PartialFile) -> Result<()> {
        let from = part.at();
        if !part.pass_corrupt_range()? {
            self.drop_later_lines(&transfer.entry, part)?;
        }
        transfer.set_front(part.at());
        match part.at().checked_sub(from) {
            Some(passed) => self.counts.done.fetch_add(passed, Ordering::Relaxed),
            None => self.counts.done.fetch_sub(from - part.at(), Ordering::Relaxed),
        };
        Ok(())
    }

    /// From here on all of it is fetched.
    fn drop_later_lines(&self, entry: &Entry, part: &mut PartialFile) -> Result<()> {
        part.drop_later_lines()?;
        // What comes is not to be thrown away for what is in the file's place, by whoever goes on from here.
        let _ = std::fs::remove_file(self.cache.journal_path(entry));
        Ok(())
    }

    async fn restart(&self, transfer: &Transfer, part: &mut PartialFile) -> Result<()> {
        // A helper that still writes would write over what comes next.
        while !transfer.with_chunks(Chunks::close) {
            transfer.wait_for_claim().await;
        }
        let chunks = transfer.with_chunks(|chunks| chunks.done_bytes());
        self.counts.done.fetch_sub(part.at() + chunks, Ordering::Relaxed);
        part.restart(&transfer.entry)?;
        transfer.set_front(0);
        // Last: from here on chunks are given away again.
        transfer.with_chunks(Chunks::reset);
        Ok(())
    }

    /// Says something that many files have to say at once, and again and again.
    pub(in crate::effects) fn send_message_at_intervals(&self, note: &str) {
        let mut last = self.last_message.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= MESSAGE_INTERVAL) {
            *last = Some(Instant::now());
            self.send_message(note.to_owned());
        }
    }

    fn send_message(&self, note: String) {
        let _ = self.messages.send(note);
    }

    /// The next bytes of a stream that are not there yet, as fast as the limit lets them come; `None` at its end.
    pub(super) async fn next_bytes(
        &self,
        watch: &mut StreamWatch,
        entry: &Entry,
        arriving: &mut ByteStream,
    ) -> std::result::Result<Option<Bytes>, Failure> {
        loop {
            let Some(mut bytes) = watch.next(entry, arriving).await? else {
                return Ok(None);
            };
            self.counts
                .fetched
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.source.wait_for_rate_limit(bytes.len()).await;
            // A server that ignored the range begins at the first byte: what is there is passed over.
            let skipped = arriving.skip.min(bytes.len() as u64);
            arriving.skip -= skipped;
            let bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Whether the file is there and right.
    fn is_already_verified(&self, entry: &Entry) -> Result<bool> {
        self.cache.check_file_path(entry)?;
        let path = self.cache.file_path(entry);
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(false);
        }
        if !self.cache.is_users_link(entry) {
            let is_right = match self.proofs.verify_and_log(&path, entry) {
                // Another pull, which no lock keeps out, took it to mend it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                is_right => is_right,
            };
            if is_right.at(Kind::Host, || format!("cannot read `{}`", path.display()))? {
                return Ok(true);
            }
        }
        // It stays until the right one has come: a hub that says no meanwhile costs nothing.
        self.send_message(format!("`{}` is here and wrong: it is replaced", entry.path));
        Ok(false)
    }

    /// One stream, up to `to` or where helpers began meanwhile.
    async fn stream(
        &self,
        transfer: &Transfer,
        part: &mut PartialFile,
        to: u64,
        run: &mut FetchState,
    ) -> std::result::Result<(), Failure> {
        let entry = &transfer.entry;
        let from = part.at();
        // Of a gap the record says what is right, whatever an edge of a content network calls it.
        let etag = run.etag.as_deref().filter(|_| part.corrupt_range_end().is_none());
        let mut arriving = run.source.open(entry, (from, to), etag, run.route).await?;
        run.ignored += u32::from(arriving.skip > 0);
        let to = if part.corrupt_range_end().is_some() && run.ignored > 1 && arriving.skip > 0 {
            // All that lies before comes with each gap: it is cheaper to take the rest, too.
            self.drop_later_lines(entry, part).map_err(Failure::Final)?;
            entry.size
        } else {
            to
        };
        if part.corrupt_range_end().is_none() {
            run.etag.clone_from(&arriving.etag);
        }
        let mut watch = StreamWatch::new(run.source.idle());
        loop {
            let Some(bytes) = self.next_bytes(&mut watch, entry, &mut arriving).await? else {
                return Ok(());
            };
            if part.at() + bytes.len() as u64 > entry.size {
                return Err(Failure::WrongBytes(wrong_bytes(
                    entry,
                    "more bytes come than the listing states",
                )));
            }
            for piece in bytes.chunks(WRITE_BYTES) {
                // A helper may have begun before the end that was asked for, or meanwhile.
                let limit = transfer.with_chunks(|chunks| chunks.fetch_limit()).min(to);
                let left = usize::try_from(limit.saturating_sub(part.at())).unwrap_or(usize::MAX);
                let piece = &piece[..piece.len().min(left)];
                let begun = Instant::now();
                part.write(piece).map_err(Failure::Final)?;
                watch.note_write(begun.elapsed());
                transfer.set_front(part.at());
                self.counts.done.fetch_add(piece.len() as u64, Ordering::Relaxed);
                if part.at() >= limit {
                    if let (None, Some(mean)) = (transfer.rate(), watch.mean_rate()) {
                        transfer.set_rate(mean);
                    }
                    return Ok(());
                }
            }
            if let Some(rate) = watch.window_rate(bytes.len() as u64) {
                transfer.set_rate(rate.all);
                let usual = self.transfers.median_rate();
                if !run.source.has_rate_limit()
                    && watch.is_slow(rate.stream, usual)
                    && run.redials < MAX_REDIALS
                {
                    return Err(Failure::Slow);
                }
            }
        }
    }

    /// As this one, with connections of its own.
    pub(in crate::effects) fn with_own_connections(&self) -> Self {
        Self {
            source: Arc::new(self.source.with_own_connections()),
            ..self.clone()
        }
    }
}
