//! The transfer of one file: requests ranges, hashes the bytes as they arrive, resumes, and publishes the
//! verified file.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::assign::{Transfer, Transfers};
use super::chunks::{Chunks, Next};
use super::partial::file::PartialFile;
use super::retry::Patience;
use super::watch::{MAX_REDIALS, StreamWatch};
use crate::effects::hub::listing::Entry;
use crate::effects::hub::source::{ByteStream, Failure, Route, Source, cannot_fetch, wrong_bytes};
use crate::effects::store::layout::RepoCache;
use crate::effects::store::proofs::ProofLog;
use crate::error::{At, Kind, Result};
use crate::event::FileState;
use crate::units;

/// Counters over all files.
#[derive(Default)]
pub(in crate::effects) struct Counts {
    /// Bytes verified or on disk.
    pub(in crate::effects) done: AtomicU64,
    /// Bytes received from the network.
    pub(in crate::effects) fetched: AtomicU64,
}

/// Fetches files into a repository.
#[derive(Clone)]
pub(in crate::effects) struct Fetcher {
    pub(in crate::effects) source: Arc<Source>,
    pub(in crate::effects) cache: RepoCache,
    pub(in crate::effects) counts: Arc<Counts>,
    pub(in crate::effects) transfers: Arc<Transfers>,
    pub(in crate::effects) proofs: Arc<ProofLog>,
    /// Messages about single files for the user.
    pub(in crate::effects) messages: mpsc::UnboundedSender<String>,
    /// Time of the last message about a wait.
    pub(in crate::effects) last_message: Arc<Mutex<Option<Instant>>>,
}

/// State that survives from one stream of a file to the next.
struct FetchState {
    source: Arc<Source>,
    route: Route,
    patience: Patience,
    etag: Option<String>,
    /// Number of times that the complete file was wrong.
    refused: u32,
    redials: u32,
    /// A corrupt range failed over HTTP, and is requested from the file's preferred source.
    is_corrupt_range_in_xet: bool,
    /// Number of answers that started at the first byte instead of the requested offset.
    ignored: u32,
}

impl Fetcher {
    /// Ensures that `entry` has its final name and is verified.
    pub(in crate::effects) async fn fetch(&self, entry: &Entry) -> Result<()> {
        let active = self.transfers.start(entry);
        let transfer = &*active.file;
        if self.is_already_verified(entry)? {
            self.counts.done.fetch_add(entry.size, Ordering::Relaxed);
            return Ok(());
        }
        self.cache.make_parent_dir(entry)?;
        let mut partial = PartialFile::open(&self.cache, entry)?;
        if partial.lost_data() {
            self.send_message(format!(
                "`{}`: the disk lost data of an earlier pull, which is fetched again",
                entry.path
            ));
        }
        let mut is_open = false;
        self.counts.done.fetch_add(partial.at(), Ordering::Relaxed);
        // HTTP is preferred for a repair, because a range of a few MiB is not worth a connection to the Xet
        // store.
        let route = match self.source.route(entry) {
            Route::Xet if self.source.may_switch() => Route::Http,
            route => route,
        };
        let mut state = FetchState {
            source: Arc::clone(&self.source),
            route,
            patience: Patience::new(partial.at(), self.cache.limits()),
            etag: None,
            refused: 0,
            redials: 0,
            is_corrupt_range_in_xet: false,
            ignored: 0,
        };
        loop {
            transfer.set_state(FileState::Fetching);
            if partial.corrupt_range_end().is_none() && !is_open {
                // Only now, because other workers would fetch ranges that are valid already.
                state.route = state.source.route(entry);
                let recovered = partial.take_recovered();
                let chunks = transfer.open_for_workers(partial.handle(), partial.at(), recovered);
                self.counts.done.fetch_add(chunks, Ordering::Relaxed);
                is_open = true;
            }
            let next = partial.corrupt_range_end().map(Next::Fetch);
            let failure = match next
                .unwrap_or_else(|| transfer.with_chunks(|chunks| chunks.next_step(partial.at())))
            {
                Next::End if partial.hex() == entry.oid.hex() => {
                    let place = self.cache.file_path(entry);
                    if let Some(fingerprint) = partial.finish(&place, &self.cache.journal_path(entry))? {
                        self.proofs.log_downloaded(&place, entry, fingerprint);
                    }
                    return Ok(());
                }
                Next::End => Failure::WrongBytes(wrong_bytes(
                    entry,
                    &format!(
                        "its hash is {}, the listing states {}",
                        partial.hex(),
                        entry.oid.hex()
                    ),
                )),
                Next::Wait => {
                    partial.touch();
                    transfer.wait_for_claim().await;
                    continue;
                }
                Next::AcceptFromDisk(to, digest) => {
                    let from = partial.at();
                    if partial.accept_from_disk(to, digest)? {
                        transfer.set_front(partial.at());
                    } else {
                        transfer.with_chunks(|chunks| chunks.mark_corrupt(to));
                        self.counts.done.fetch_sub(to - from, Ordering::Relaxed);
                    }
                    continue;
                }
                Next::Fetch(to) => match self.stream(transfer, &mut partial, to, &mut state).await {
                    Ok(()) if partial.at() >= transfer.with_chunks(|chunks| chunks.fetch_limit()).min(to) => {
                        self.pass_corrupt_range(transfer, &mut partial)?;
                        continue;
                    }
                    Ok(()) => {
                        Failure::Retry(cannot_fetch(entry, "the connection ended before the last byte"))
                    }
                    Err(failure) => failure,
                },
            };
            self.handle_failure(transfer, &mut partial, &mut state, failure)
                .await?;
        }
    }

    /// Reacts to a failure: pauses, changes the route, restarts the file, or gives up with an error.
    async fn handle_failure(
        &self,
        transfer: &Transfer,
        partial: &mut PartialFile,
        state: &mut FetchState,
        failure: Failure,
    ) -> Result<()> {
        let entry = &transfer.entry;
        transfer.count_retry();
        transfer.set_state(FileState::Waiting);
        let failure = match failure {
            // The other route delivers the same bytes, whatever failed on this one.
            Failure::Retry(_) | Failure::RetryAfter(..) | Failure::Unreachable(_)
                if partial.corrupt_range_end().is_some()
                    && state.source.route(entry) != state.route
                    && !state.is_corrupt_range_in_xet =>
            {
                (state.route, state.is_corrupt_range_in_xet) = (state.source.route(entry), true);
                return Ok(());
            }
            Failure::Retry(error) | Failure::RetryAfter(error, _) | Failure::WrongBytes(error)
                if state.route == Route::Xet && state.source.may_switch() =>
            {
                state.route = Route::Http;
                state.source.note_xet_failure();
                self.send_message(format!(
                    "`{}` continues over HTTP: {}",
                    entry.path,
                    error.causes().join(": ")
                ));
                if partial.at() < entry.size {
                    return Ok(());
                }
                Failure::WrongBytes(error)
            }
            failure => failure,
        };
        match failure {
            Failure::WrongBytes(error) => {
                // It is unknown which bytes are wrong, so the whole file is fetched again, once.
                self.restart(transfer, partial).await?;
                state.etag = None;
                state.patience = Patience::new(0, self.cache.limits());
                state.refused += 1;
                if state.refused > 1 {
                    return Err(error);
                }
                self.send_message(format!(
                    "`{}` failed its checksum and is fetched again",
                    entry.path
                ));
                return Ok(());
            }
            Failure::Slow => {
                // Another connection may reach a faster server of the same name.
                state.source = Arc::new(state.source.with_own_connections());
                state.redials += 1;
            }
            Failure::RetryAfter(_, wait) if wait > Duration::from_secs(2) => {
                self.send_message(format!("the hub asks to wait {} s", wait.as_secs()));
            }
            _ => {}
        }
        let cause = failure.cause();
        // An unreachable network is retried for a limited time; other failures are retried a limited number of
        // times.
        let bound = match failure {
            Failure::Unreachable(_) => {
                format!(", for {} at most", units::duration(self.cache.limits().outage))
            }
            _ => String::new(),
        };
        let pause = state.patience.pause_after(failure, partial.at())?;
        if let Some(cause) = cause {
            self.send_message_at_intervals(&format!("`{}` is retried{bound}: {cause}", entry.path));
        }
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            partial.touch();
            tokio::time::sleep(left.min(self.cache.limits().abandoned / 4)).await;
        }
        Ok(())
    }

    /// Skips valid data behind a fetched corrupt range, or returns to its start if it is still wrong.
    fn pass_corrupt_range(&self, transfer: &Transfer, partial: &mut PartialFile) -> Result<()> {
        let from = partial.at();
        if !partial.pass_corrupt_range()? {
            self.drop_later_lines(&transfer.entry, partial)?;
        }
        transfer.set_front(partial.at());
        match partial.at().checked_sub(from) {
            Some(passed) => self.counts.done.fetch_add(passed, Ordering::Relaxed),
            None => self.counts.done.fetch_sub(from - partial.at(), Ordering::Relaxed),
        };
        Ok(())
    }

    /// Drops the later lines of the journal, so that the rest of the file is fetched.
    fn drop_later_lines(&self, entry: &Entry, partial: &mut PartialFile) -> Result<()> {
        partial.drop_later_lines()?;
        // Otherwise the next pull would prefer the damaged file to the bytes that are fetched now.
        let _ = std::fs::remove_file(self.cache.journal_path(entry));
        Ok(())
    }

    async fn restart(&self, transfer: &Transfer, partial: &mut PartialFile) -> Result<()> {
        // Another worker that still writes a chunk would overwrite what is fetched next.
        while !transfer.with_chunks(Chunks::close) {
            transfer.wait_for_claim().await;
        }
        let chunks = transfer.with_chunks(|chunks| chunks.done_bytes());
        self.counts
            .done
            .fetch_sub(partial.at() + chunks, Ordering::Relaxed);
        partial.restart(&transfer.entry)?;
        transfer.set_front(0);
        // Last, because from here on chunks are given away again.
        transfer.with_chunks(Chunks::reset);
        Ok(())
    }

    /// Sends a message that many files would repeat at the same time.
    pub(in crate::effects) fn send_message_at_intervals(&self, note: &str) {
        let mut last = self.last_message.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= self.cache.limits().note_interval) {
            *last = Some(Instant::now());
            self.send_message(note.to_owned());
        }
    }

    fn send_message(&self, note: String) {
        let _ = self.messages.send(note);
    }

    /// Returns the next bytes of a stream that are not on disk yet, within the rate limit; `None` at the end of
    /// the stream.
    pub(super) async fn next_bytes(
        &self,
        watch: &mut StreamWatch,
        entry: &Entry,
        stream: &mut ByteStream,
    ) -> std::result::Result<Option<Bytes>, Failure> {
        loop {
            let Some(mut bytes) = watch.next(entry, stream).await? else {
                return Ok(None);
            };
            self.counts
                .fetched
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.source.wait_for_rate_limit(bytes.len()).await;
            // A server that ignored the range starts at the first byte: the bytes that are on disk are skipped.
            let skipped = stream.skip.min(bytes.len() as u64);
            stream.skip -= skipped;
            let bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Returns whether the file is there and verified.
    fn is_already_verified(&self, entry: &Entry) -> Result<bool> {
        self.cache.check_file_path(entry)?;
        let path = self.cache.file_path(entry);
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(false);
        }
        if !self.cache.is_users_link(entry) {
            let is_right = match self.proofs.verify_and_log(&path, entry) {
                // A pull that no lock excludes has moved the file to repair it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                is_right => is_right,
            };
            if is_right.at(Kind::Host, || format!("cannot read `{}`", path.display()))? {
                return Ok(true);
            }
        }
        // The corrupt file stays until a verified one replaces it, so that a refusal of the hub makes nothing
        // worse.
        self.send_message(format!("`{}` is corrupt and will be replaced", entry.path));
        Ok(false)
    }

    /// Fetches over one stream, up to `to` or to the first claimed chunk.
    async fn stream(
        &self,
        transfer: &Transfer,
        partial: &mut PartialFile,
        to: u64,
        state: &mut FetchState,
    ) -> std::result::Result<(), Failure> {
        let entry = &transfer.entry;
        let from = partial.at();
        // The journal verifies a corrupt range, so a different entity tag of a content network does not matter.
        let etag = state
            .etag
            .as_deref()
            .filter(|_| partial.corrupt_range_end().is_none());
        let mut stream = state.source.open(entry, (from, to), etag, state.route).await?;
        state.ignored += u32::from(stream.skip > 0);
        let to = if partial.corrupt_range_end().is_some() && state.ignored > 1 && stream.skip > 0 {
            // The server sends everything before each corrupt range, so it is cheaper to take the rest of the
            // file as well.
            self.drop_later_lines(entry, partial).map_err(Failure::Final)?;
            entry.size
        } else {
            to
        };
        if partial.corrupt_range_end().is_none() {
            state.etag.clone_from(&stream.etag);
        }
        let mut watch = StreamWatch::new(state.source.idle(), self.cache.limits().rate_window);
        loop {
            let Some(bytes) = self.next_bytes(&mut watch, entry, &mut stream).await? else {
                return Ok(());
            };
            if partial.at() + bytes.len() as u64 > entry.size {
                return Err(Failure::WrongBytes(wrong_bytes(
                    entry,
                    "the server sends more bytes than the listing states",
                )));
            }
            for piece in bytes.chunks(self.cache.limits().write) {
                // A chunk may have been claimed within the requested range in the meantime.
                let limit = transfer.with_chunks(|chunks| chunks.fetch_limit()).min(to);
                let left = usize::try_from(limit.saturating_sub(partial.at())).unwrap_or(usize::MAX);
                let piece = &piece[..piece.len().min(left)];
                let begun = Instant::now();
                partial.write(piece).map_err(Failure::Final)?;
                watch.note_write(begun.elapsed());
                transfer.set_front(partial.at());
                self.counts.done.fetch_add(piece.len() as u64, Ordering::Relaxed);
                if partial.at() >= limit {
                    if let (None, Some(mean)) = (transfer.rate(), watch.mean_rate()) {
                        transfer.set_rate(mean);
                    }
                    return Ok(());
                }
            }
            if let Some(rate) = watch.window_rate(bytes.len() as u64) {
                transfer.set_rate(rate.all);
                let usual = self.transfers.median_rate();
                if !state.source.has_rate_limit()
                    && watch.is_slow(rate.stream, usual)
                    && state.redials < MAX_REDIALS
                {
                    return Err(Failure::Slow);
                }
            }
        }
    }

    /// Returns the same fetcher with its own connections.
    pub(in crate::effects) fn with_own_connections(&self) -> Self {
        Self {
            source: Arc::new(self.source.with_own_connections()),
            ..self.clone()
        }
    }
}
