//! One file: asked for by range, checked as it arrives, resumed where it stopped, named only when proven.
//!
//! Not in this module: the bytes on disk (`part`), streams (`source`, `watch`), who helps (`ahead`), which files (`pull`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::assign::{Board, UnderWay};
use super::chunks::{Ahead, Next};
use super::partial::file::Part;
use super::partial::lease::ABANDONED;
use super::retry::{OUTAGE, Patience};
use super::watch::{REDIALS, Watch};
use crate::effects::hub::listing::Entry;
use crate::effects::hub::source::{Arriving, Failure, Source, Via, broken, wrong};
use crate::effects::store::layout::RepoCache;
use crate::effects::store::proofs::ProvenLog;
use crate::error::{At, Kind, Result};
use crate::event::FileState;
use crate::units;

/// Most bytes written before it is looked again how far a file's own worker may go: Xet brings frames of a whole block,
/// and a helper claims no less than two chunks (`ahead`) from where that worker is.
const PIECE: usize = 1 << 20;
/// Time between two notes that something is waited for.
const SAID_EVERY: Duration = Duration::from_secs(15);
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
    pub(in crate::effects) board: Arc<Board>,
    pub(in crate::effects) proven: Arc<ProvenLog>,
    /// What happens to one file and is worth a line, for the one who waits.
    pub(in crate::effects) notes: mpsc::UnboundedSender<String>,
    /// When it was last said that something is waited for.
    pub(in crate::effects) said: Arc<Mutex<Option<Instant>>>,
}

/// What is remembered between the streams of one file.
struct Run {
    source: Arc<Source>,
    via: Via,
    patience: Patience,
    etag: Option<String>,
    /// Times that all of it came and was wrong.
    refused: u32,
    redials: u32,
    /// A gap did not come over HTTP, and is asked for where the file would come from.
    is_gap_in_xet: bool,
    /// Answers that began at the first byte, and not where they were asked to.
    ignored: u32,
}

impl Fetcher {
    /// Makes sure that `entry` is in its place and proven.
    pub(in crate::effects) async fn fetch(&self, entry: &Entry) -> Result<()> {
        let entered = self.board.enter(entry);
        let way = &*entered.file;
        if self.have(entry)? {
            self.counts.done.fetch_add(entry.size, Ordering::Relaxed);
            return Ok(());
        }
        self.cache.make_place(entry)?;
        let mut part = Part::open(&self.cache, entry)?;
        if part.is_less() {
            self.say(format!(
                "`{}`: the disk does not give back what was here: it is fetched again",
                entry.path
            ));
        }
        let mut is_open = false;
        self.counts.done.fetch_add(part.at(), Ordering::Relaxed);
        // Over HTTP where that is allowed: the few MiB of a gap are not worth the store's way of doing it.
        let via = match self.source.via(entry) {
            Via::Xet if self.source.may_switch() => Via::Http,
            via => via,
        };
        let mut run = Run {
            source: Arc::clone(&self.source),
            via,
            patience: Patience::new(part.at()),
            etag: None,
            refused: 0,
            redials: 0,
            is_gap_in_xet: false,
            ignored: 0,
        };
        loop {
            way.set(FileState::Fetching);
            if part.gap().is_none() && !is_open {
                // Not before: a helper would fetch what is right.
                run.via = run.source.via(entry);
                let recovered = part.take_recovered();
                let ahead = way.opened(part.file(), part.at(), recovered);
                self.counts.done.fetch_add(ahead, Ordering::Relaxed);
                is_open = true;
            }
            let next = part.gap().map(Next::Fetch);
            let failure = match next.unwrap_or_else(|| way.with(|ahead| ahead.next(part.at()))) {
                Next::End if part.hex() == entry.oid.hex() => {
                    let place = self.cache.place(entry);
                    if let Some(look) = part.publish(&place, &self.cache.record(entry))? {
                        self.proven.note_brought(&place, entry, look);
                    }
                    return Ok(());
                }
                Next::End => Failure::Wrong(wrong(
                    entry,
                    &format!(
                        "its hash is {}, the listing states {}",
                        part.hex(),
                        entry.oid.hex()
                    ),
                )),
                Next::Wait => {
                    part.touch();
                    way.settled().await;
                    continue;
                }
                Next::Take(to, digest) => {
                    let from = part.at();
                    if part.take(to, digest)? {
                        way.reached(part.at());
                    } else {
                        way.with(|ahead| ahead.reject(to));
                        self.counts.done.fetch_sub(to - from, Ordering::Relaxed);
                    }
                    continue;
                }
                Next::Fetch(to) => match self.attempt(way, &mut part, to, &mut run).await {
                    Ok(()) if part.at() >= way.with(|ahead| ahead.limit()).min(to) => {
                        self.pass_gap(way, &mut part)?;
                        continue;
                    }
                    Ok(()) => Failure::Again(broken(entry, "the connection ended before the last byte")),
                    Err(failure) => failure,
                },
            };
            self.after(way, &mut part, &mut run, failure).await?;
        }
    }

    /// What a failure asks for: a pause, another way, all of it anew, or an end.
    async fn after(&self, way: &UnderWay, part: &mut Part, run: &mut Run, failure: Failure) -> Result<()> {
        let entry = &way.entry;
        way.retried();
        way.set(FileState::Waiting);
        let failure = match failure {
            // Whatever failed there, the other way has the same bytes.
            Failure::Again(_) | Failure::Asked(..) | Failure::Unreachable(_)
                if part.gap().is_some() && run.source.via(entry) != run.via && !run.is_gap_in_xet =>
            {
                (run.via, run.is_gap_in_xet) = (run.source.via(entry), true);
                return Ok(());
            }
            Failure::Again(error) | Failure::Asked(error, _) | Failure::Wrong(error)
                if run.via == Via::Xet && run.source.may_switch() =>
            {
                run.via = Via::Http;
                run.source.xet_failed();
                self.say(format!(
                    "`{}` goes on over HTTP: {}",
                    entry.path,
                    error.causes().join(": ")
                ));
                if part.at() < entry.size {
                    return Ok(());
                }
                Failure::Wrong(error)
            }
            failure => failure,
        };
        match failure {
            Failure::Wrong(error) => {
                // Nothing tells which byte is wrong: all of it comes again, once.
                self.restart(way, part).await?;
                run.etag = None;
                run.patience = Patience::new(0);
                run.refused += 1;
                if run.refused > 1 {
                    return Err(error);
                }
                self.say(format!("`{}` arrived wrong: it is fetched again", entry.path));
                return Ok(());
            }
            Failure::Slow => {
                // The same name may be served from a better place over another connection.
                run.source = Arc::new(run.source.alone());
                run.redials += 1;
            }
            Failure::Asked(_, wait) if wait > Duration::from_secs(2) => {
                self.say(format!("the hub asks to wait {} s", wait.as_secs()));
            }
            _ => {}
        }
        let cause = failure.cause();
        // A network that is gone is waited for so long, and a hub that says no is asked so often.
        let bound = match failure {
            Failure::Unreachable(_) => format!(", for {} at most", units::duration(OUTAGE)),
            _ => String::new(),
        };
        let pause = run.patience.after(failure, part.at())?;
        if let Some(cause) = cause {
            self.say_at_times(&format!("`{}` waits and tries again{bound}: {cause}", entry.path));
        }
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            part.touch();
            tokio::time::sleep(left.min(ABANDONED / 4)).await;
        }
        Ok(())
    }

    /// Goes on over what is right behind what was bad, or back to where that begins.
    fn pass_gap(&self, way: &UnderWay, part: &mut Part) -> Result<()> {
        let from = part.at();
        if !part.pass_gap()? {
            self.forget_beyond(&way.entry, part)?;
        }
        way.reached(part.at());
        match part.at().checked_sub(from) {
            Some(passed) => self.counts.done.fetch_add(passed, Ordering::Relaxed),
            None => self.counts.done.fetch_sub(from - part.at(), Ordering::Relaxed),
        };
        Ok(())
    }

    /// From here on all of it is fetched.
    fn forget_beyond(&self, entry: &Entry, part: &mut Part) -> Result<()> {
        part.forget_beyond()?;
        // What comes is not to be thrown away for what is in the file's place, by whoever goes on from here.
        let _ = std::fs::remove_file(self.cache.record(entry));
        Ok(())
    }

    async fn restart(&self, way: &UnderWay, part: &mut Part) -> Result<()> {
        // A helper that still writes would write over what comes next.
        while !way.with(Ahead::close) {
            way.settled().await;
        }
        let ahead = way.with(|ahead| ahead.done());
        self.counts.done.fetch_sub(part.at() + ahead, Ordering::Relaxed);
        part.restart(&way.entry)?;
        way.reached(0);
        // Last: from here on chunks are given away again.
        way.with(Ahead::reset);
        Ok(())
    }

    /// Says something that many files have to say at once, and again and again.
    pub(in crate::effects) fn say_at_times(&self, note: &str) {
        let mut last = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= SAID_EVERY) {
            *last = Some(Instant::now());
            self.say(note.to_owned());
        }
    }

    fn say(&self, note: String) {
        let _ = self.notes.send(note);
    }

    /// The next bytes of a stream that are not there yet, as fast as the limit lets them come; `None` at its end.
    pub(super) async fn next(
        &self,
        watch: &mut Watch,
        entry: &Entry,
        arriving: &mut Arriving,
    ) -> std::result::Result<Option<Bytes>, Failure> {
        loop {
            let Some(mut bytes) = watch.next(entry, arriving).await? else {
                return Ok(None);
            };
            self.counts
                .fetched
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.source.pace(bytes.len()).await;
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
    fn have(&self, entry: &Entry) -> Result<bool> {
        self.cache.check_place(entry)?;
        let path = self.cache.place(entry);
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(false);
        }
        if !self.cache.is_foreign(entry) {
            let is_right = match self.proven.proves(&path, entry) {
                // Another pull, which no lock keeps out, took it to mend it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                is_right => is_right,
            };
            if is_right.at(Kind::Host, || format!("cannot read `{}`", path.display()))? {
                return Ok(true);
            }
        }
        // It stays until the right one has come: a hub that says no meanwhile costs nothing.
        self.say(format!("`{}` is here and wrong: it is replaced", entry.path));
        Ok(false)
    }

    /// One stream, up to `to` or where helpers began meanwhile.
    async fn attempt(
        &self,
        way: &UnderWay,
        part: &mut Part,
        to: u64,
        run: &mut Run,
    ) -> std::result::Result<(), Failure> {
        let entry = &way.entry;
        let from = part.at();
        // Of a gap the record says what is right, whatever an edge of a content network calls it.
        let etag = run.etag.as_deref().filter(|_| part.gap().is_none());
        let mut arriving = run.source.open(entry, (from, to), etag, run.via).await?;
        run.ignored += u32::from(arriving.skip > 0);
        let to = if part.gap().is_some() && run.ignored > 1 && arriving.skip > 0 {
            // All that lies before comes with each gap: it is cheaper to take the rest, too.
            self.forget_beyond(entry, part).map_err(Failure::Final)?;
            entry.size
        } else {
            to
        };
        if part.gap().is_none() {
            run.etag.clone_from(&arriving.etag);
        }
        let mut watch = Watch::new(run.source.idle());
        loop {
            let Some(bytes) = self.next(&mut watch, entry, &mut arriving).await? else {
                return Ok(());
            };
            if part.at() + bytes.len() as u64 > entry.size {
                return Err(Failure::Wrong(wrong(
                    entry,
                    "more bytes come than the listing states",
                )));
            }
            for piece in bytes.chunks(PIECE) {
                // A helper may have begun before the end that was asked for, or meanwhile.
                let limit = way.with(|ahead| ahead.limit()).min(to);
                let left = usize::try_from(limit.saturating_sub(part.at())).unwrap_or(usize::MAX);
                let piece = &piece[..piece.len().min(left)];
                let begun = Instant::now();
                part.write(piece).map_err(Failure::Final)?;
                watch.wrote(begun.elapsed());
                way.reached(part.at());
                self.counts.done.fetch_add(piece.len() as u64, Ordering::Relaxed);
                if part.at() >= limit {
                    if let (None, Some(mean)) = (way.rate(), watch.mean()) {
                        way.comes_at(mean);
                    }
                    return Ok(());
                }
            }
            if let Some(rate) = watch.rate(bytes.len() as u64) {
                way.comes_at(rate.all);
                let usual = self.board.usual_rate();
                if !run.source.is_limited() && watch.is_slow(rate.stream, usual) && run.redials < REDIALS {
                    return Err(Failure::Slow);
                }
            }
        }
    }

    /// As this one, with connections of its own.
    pub(in crate::effects) fn alone(&self) -> Self {
        Self {
            source: Arc::new(self.source.alone()),
            ..self.clone()
        }
    }
}
