//! A worker without a file of its own helps with another's: it fetches a chunk that it claimed.
//!
//! Not in this module: who gets which chunk (`ahead`).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::assign::Claim;
use super::chunks::Ahead;
use super::fetch::Fetcher;
use super::partial::chunk_writer::PartChunk;
use super::watch::{SLOWER, Watch};
use crate::effects::hub::source::{Failure, Via, broken};
use crate::error::{Error, Kind};

/// How long a stream is watched before it is called slow.
const TRIAL: Duration = Duration::from_secs(2);
/// How often it is looked whether a chunk is still of use, while nothing comes.
const LOOK: Duration = Duration::from_secs(1);

/// Helps as long as it is let: a file whose part is not open yet, or whose chunk turns out wrong, needs help later.
pub(super) async fn help(fetcher: &Fetcher) {
    loop {
        match fetcher.board.claim() {
            Some(claim) => fetch_chunk(fetcher, claim).await,
            None => fetcher.board.news().await,
        }
    }
}

async fn fetch_chunk(fetcher: &Fetcher, claim: Claim) {
    let via = fetcher.source.via(&claim.file.entry);
    let failure = match PartChunk::open(&claim.part, claim.from) {
        Ok(chunk) => match whole_chunk(fetcher, claim, via, chunk).await {
            Ok(rate) => return fetcher.board.helped(rate),
            Err(failure) => failure,
        },
        Err(error) => Failure::Final(error),
    };
    if via == Via::Xet && fetcher.source.may_switch() && failure.is_of_the_way() {
        fetcher.source.xet_failed();
    }
    match failure {
        Failure::Slow => {}
        Failure::Asked(_, wait) => fetcher.board.refused(Some(wait)),
        _ => fetcher.board.refused(None),
    }
}

/// Fetches a chunk and has the disk keep it; the rate at which it came. Of one that comes in part, that part is kept.
async fn whole_chunk(
    fetcher: &Fetcher,
    claim: Claim,
    via: Via,
    mut chunk: PartChunk,
) -> Result<Option<u64>, Failure> {
    let rate = stream_chunk(fetcher, &claim, via, &mut chunk).await;
    let (from, at) = (claim.from, chunk.at());
    let take_back = || fetcher.counts.done.fetch_sub(at - from, Ordering::Relaxed);
    if rate.is_err() && !chunk.is_worth_it() {
        take_back();
        return rate;
    }
    // A disk takes its time, and others work meanwhile.
    let finished = tokio::task::spawn_blocking(move || chunk.finish()).await;
    let finished = finished.unwrap_or_else(|error| Err(Error::new(Kind::Internal, error.to_string())));
    if let Err(error) = finished {
        take_back();
        return rate.and(Err(Failure::Final(error)));
    }
    claim.came(at);
    rate
}

async fn stream_chunk(
    fetcher: &Fetcher,
    claim: &Claim,
    via: Via,
    chunk: &mut PartChunk,
) -> Result<Option<u64>, Failure> {
    let Claim { file, from, to, .. } = claim;
    let entry = &file.entry;
    let mut begun = Instant::now();
    let opening = fetcher.source.open(entry, (*from, *to), None, via);
    let mut arriving = while_useful(claim, begun, *from, opening).await?;
    if arriving.skip > 0 {
        // The server sends all of the file for each part of it: help would cost more than it brings.
        file.with(Ahead::close);
        return Err(Failure::Again(broken(entry, "the server ignores ranges")));
    }
    let mut watch = Watch::new(fetcher.source.idle());
    while chunk.at() < *to {
        let next = fetcher.next(&mut watch, entry, &mut arriving);
        let Some(bytes) = while_useful(claim, begun, chunk.at(), next).await? else {
            return Err(Failure::Again(broken(
                entry,
                "the connection ended before the last byte",
            )));
        };
        let left = usize::try_from(to - chunk.at()).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(left)];
        let writing = Instant::now();
        chunk.write(bytes).map_err(Failure::Final)?;
        begun += watch.wrote(writing.elapsed());
        fetcher
            .counts
            .done
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    Ok(watch.mean())
}

/// What `work` on a chunk comes to, unless the chunk is of no use from here any more: the file is done with, or its own
/// worker, which waits for the chunk, is faster. A hub that is silent must not make that one wait.
async fn while_useful<T>(
    claim: &Claim,
    begun: Instant,
    at: u64,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Claim { file, from, .. } = claim;
    tokio::pin!(work);
    loop {
        let is_late = file.is_at(*from) && is_slow(begun.elapsed(), at - from, file.rate());
        if is_late || file.with(|ahead| ahead.is_closed()) {
            return Err(Failure::Slow);
        }
        if let Ok(done) = tokio::time::timeout(LOOK, &mut work).await {
            return done;
        }
    }
}

/// Whether a stream that brought so many bytes is much slower than the file's own, in bytes a second.
fn is_slow(elapsed: Duration, bytes: u64, own: Option<u64>) -> bool {
    let mean = u128::from(bytes) * 1000 / elapsed.as_millis().max(1);
    elapsed >= TRIAL && own.is_some_and(|own| mean < u128::from(own / SLOWER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_stream_is_slow_after_its_trial() {
        let own = Some(40_000_000);
        assert!(!is_slow(Duration::from_secs(1), 0, own));
        assert!(is_slow(Duration::from_secs(2), 0, own));
        assert!(is_slow(Duration::from_secs(4), 39_000_000, own));
        assert!(!is_slow(Duration::from_secs(4), 41_000_000, own));
        assert!(!is_slow(Duration::from_secs(9), 0, None));
    }
}
