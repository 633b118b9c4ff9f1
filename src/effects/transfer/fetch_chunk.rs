//! The work of a worker without a file: it claims chunks of other files and fetches them.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::assign::ChunkClaim;
use super::chunks::Chunks;
use super::fetch::Fetcher;
use super::partial::chunk_writer::ChunkWriter;
use super::watch::{SLOW_FACTOR, StreamWatch};
use crate::effects::hub::source::{Failure, Route, cannot_fetch};
use crate::error::{Error, Kind};

/// Interval for checking whether a chunk is still useful while no byte arrives.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Fetches chunks until the pull ends. There may be more to claim later, when a partial file is opened or a
/// chunk fails.
pub(super) async fn help_others(fetcher: &Fetcher) {
    loop {
        match fetcher.transfers.claim_chunk() {
            Some(claim) => fetch_chunk(fetcher, claim).await,
            None => fetcher.transfers.wait_for_work().await,
        }
    }
}

async fn fetch_chunk(fetcher: &Fetcher, claim: ChunkClaim) {
    let route = fetcher.source.route(&claim.file.entry);
    let failure = match ChunkWriter::open(&claim.partial, claim.from) {
        Ok(chunk) => match whole_chunk(fetcher, claim, route, chunk).await {
            Ok(rate) => return fetcher.transfers.chunk_succeeded(rate),
            Err(failure) => failure,
        },
        Err(error) => Failure::Final(error),
    };
    if route == Route::Xet && fetcher.source.may_switch() && failure.depends_on_route() {
        fetcher.source.note_xet_failure();
    }
    match failure {
        Failure::Slow => {}
        Failure::RetryAfter(_, wait) => fetcher.transfers.chunk_failed(Some(wait)),
        _ => fetcher.transfers.chunk_failed(None),
    }
}

/// Fetches and syncs a chunk; returns its rate. If the stream breaks, the bytes that arrived are kept.
async fn whole_chunk(
    fetcher: &Fetcher,
    claim: ChunkClaim,
    route: Route,
    mut chunk: ChunkWriter,
) -> Result<Option<u64>, Failure> {
    let rate = stream_chunk(fetcher, &claim, route, &mut chunk).await;
    let (from, at) = (claim.from, chunk.at());
    let uncount = || fetcher.counts.done.fetch_sub(at - from, Ordering::Relaxed);
    if rate.is_err() && !chunk.is_worth_keeping() {
        uncount();
        return rate;
    }
    // A sync takes time. Other work goes on meanwhile.
    let finished = tokio::task::spawn_blocking(move || chunk.finish()).await;
    let finished = finished.unwrap_or_else(|error| Err(Error::new(Kind::Internal, error.to_string())));
    if let Err(error) = finished {
        uncount();
        return rate.and(Err(Failure::Final(error)));
    }
    claim.finished_at(at);
    rate
}

async fn stream_chunk(
    fetcher: &Fetcher,
    claim: &ChunkClaim,
    route: Route,
    chunk: &mut ChunkWriter,
) -> Result<Option<u64>, Failure> {
    let ChunkClaim { file, from, to, .. } = claim;
    let entry = &file.entry;
    let mut begun = Instant::now();
    let slow_after = fetcher.cache.limits().slow_after;
    let opening = fetcher.source.open(entry, (*from, *to), None, route);
    let mut stream = while_useful(claim, (begun, slow_after), *from, opening).await?;
    if stream.skip > 0 {
        // The server sends the whole file for each chunk, which would cost more than it gains.
        file.with_chunks(Chunks::close);
        return Err(Failure::Retry(cannot_fetch(entry, "the server ignores ranges")));
    }
    let mut watch = StreamWatch::new(fetcher.source.idle(), fetcher.cache.limits().rate_window);
    while chunk.at() < *to {
        let next = fetcher.next_bytes(&mut watch, entry, &mut stream);
        let Some(bytes) = while_useful(claim, (begun, slow_after), chunk.at(), next).await? else {
            return Err(Failure::Retry(cannot_fetch(
                entry,
                "the connection ended before the last byte",
            )));
        };
        let left = usize::try_from(to - chunk.at()).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(left)];
        let writing = Instant::now();
        chunk.write(bytes).map_err(Failure::Final)?;
        begun += watch.note_write(writing.elapsed());
        fetcher
            .counts
            .done
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    Ok(watch.mean_rate())
}

/// Returns the result of `work` on a chunk, unless the chunk becomes useless: the file is closed, or its own
/// worker is waiting for the chunk and is faster. That worker must not wait for a silent hub.
async fn while_useful<T>(
    claim: &ChunkClaim,
    (begun, slow_after): (Instant, Duration),
    at: u64,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let ChunkClaim { file, from, .. } = claim;
    tokio::pin!(work);
    loop {
        let is_late = file.has_reached(*from) && is_slow(begun.elapsed(), at - from, file.rate(), slow_after);
        if is_late || file.with_chunks(|chunks| chunks.is_closed()) {
            return Err(Failure::Slow);
        }
        if let Ok(done) = tokio::time::timeout(CHECK_INTERVAL, &mut work).await {
            return done;
        }
    }
}

/// Returns whether a stream that delivered `bytes` is much slower than the file's own worker (bytes a second).
fn is_slow(elapsed: Duration, bytes: u64, own: Option<u64>, slow_after: Duration) -> bool {
    let mean = u128::from(bytes) * 1000 / elapsed.as_millis().max(1);
    elapsed >= slow_after && own.is_some_and(|own| mean < u128::from(own / SLOW_FACTOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::hub::limits::Limits;

    #[test]
    fn a_stream_without_bytes_is_slow_after_the_trial_time() {
        let is_slow = |seconds, bytes, own| {
            is_slow(
                Duration::from_secs(seconds),
                bytes,
                own,
                Limits::DEFAULT.slow_after,
            )
        };
        let own = Some(40_000_000);
        assert!(!is_slow(1, 0, own));
        assert!(is_slow(2, 0, own));
        assert!(is_slow(4, 39_000_000, own));
        assert!(!is_slow(4, 41_000_000, own));
        assert!(!is_slow(9, 0, None));
    }
}
