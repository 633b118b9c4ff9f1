//! A stream that is watched: it may stall, crawl, or be slower than the others.
//!
//! Not in this module: what is done about it (`fetch`, `help`).

use std::time::{Duration, Instant};

use hyper::body::Bytes;

use super::listing::Entry;
use super::source::{Arriving, Failure, broken};

/// Least rate: a stream that brings less for as long as an idle one is waited for has stalled too (64 KiB/s).
const CRAWL: u64 = 64 * 1024;
/// Time over which a rate is taken.
const WINDOW: Duration = Duration::from_secs(5);
/// A stream that is so many times slower than the usual one is dialled anew: edges of a content network differ, and
/// a connection keeps the one it got (hub.md, xet-core issue 821: 68 or 8.7 MB/s).
pub(super) const SLOWER: u64 = 4;
/// Windows for which it must be slow.
const SLOW_WINDOWS: u32 = 2;
/// Times that a file's stream is dialled anew because it is slow.
pub(super) const REDIALS: u32 = 4;

/// A MiB is hashed and written in a few milliseconds: what takes longer waits for a disk.
const DISK: Duration = Duration::from_millis(20);

/// Watches one stream.
pub(super) struct Watch {
    /// How long no byte is waited for.
    idle: Duration,
    /// Time that bytes were waited for, and how many came.
    crawl: (Duration, u64),
    window: (Instant, u64),
    begun: Instant,
    all: u64,
    slow: u32,
}

impl Watch {
    /// Watches from now on.
    pub(super) fn new(idle: Duration) -> Self {
        let now = Instant::now();
        Self {
            idle,
            crawl: (Duration::ZERO, 0),
            window: (now, 0),
            begun: now,
            all: 0,
            slow: 0,
        }
    }

    /// The next bytes; `None` at the end of the stream.
    pub(super) async fn next(
        &mut self,
        entry: &Entry,
        arriving: &mut Arriving,
    ) -> Result<Option<Bytes>, Failure> {
        let idle = self.idle.as_secs();
        let asked = Instant::now();
        let next = tokio::time::timeout(self.idle, arriving.next()).await;
        let Ok(next) = next else {
            return Err(Failure::Again(broken(entry, &format!("no byte for {idle} s"))));
        };
        let Some(bytes) = next.map_err(|failure| failure.of(entry))? else {
            return Ok(None);
        };
        self.all += bytes.len() as u64;
        // Only the time that the stream took: a limit of ours lets it wait too.
        let (waited, count) = &mut self.crawl;
        *waited += asked.elapsed();
        *count += bytes.len() as u64;
        if *waited >= self.idle {
            if *count < CRAWL * idle {
                return Err(Failure::Again(broken(
                    entry,
                    &format!("less than 64 KiB/s for {idle} s"),
                )));
            }
            self.crawl = (Duration::ZERO, 0);
        }
        Ok(Some(bytes))
    }

    /// What came was written, in so long: that a disk is slow says nothing against the stream. Returns what is not its time.
    pub(super) fn wrote(&mut self, took: Duration) -> Duration {
        let waited = if took > DISK { took } else { Duration::ZERO };
        self.begun += waited;
        self.window.0 += waited;
        waited
    }

    /// Bytes a second since the stream began, without the time that a disk took.
    pub(super) fn mean(&self) -> Option<u64> {
        let mean = u128::from(self.all) * 1000 / self.begun.elapsed().as_millis().max(1);
        u64::try_from(mean).ok()
    }

    /// Counts bytes; at the end of a window the rate in it, in bytes a second.
    pub(super) fn rate(&mut self, bytes: u64) -> Option<u64> {
        let (since, count) = &mut self.window;
        *count += bytes;
        let elapsed = since.elapsed();
        if elapsed < WINDOW {
            return None;
        }
        let rate = u64::try_from(u128::from(*count) * 1000 / elapsed.as_millis().max(1)).unwrap_or(u64::MAX);
        self.window = (Instant::now(), 0);
        Some(rate)
    }

    /// Whether a stream with this rate is slow beside the usual one, and has been for long enough.
    pub(super) fn is_slow(&mut self, rate: u64, usual: Option<u64>) -> bool {
        let is_slow = usual.is_some_and(|usual| rate < usual / SLOWER);
        self.slow = if is_slow { self.slow + 1 } else { 0 };
        self.slow >= SLOW_WINDOWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_slow_when_it_stays_behind_the_others() {
        let mut watch = Watch::new(Duration::from_secs(30));
        assert!(!watch.is_slow(1, None));
        assert!(!watch.is_slow(20, Some(100)));
        assert!(!watch.is_slow(30, Some(100)));
        assert!(!watch.is_slow(20, Some(100)));
        assert!(watch.is_slow(20, Some(100)));
    }

    /// A good connection is not dialled anew because a disk takes its time.
    #[test]
    fn a_stream_is_not_slow_because_a_disk_is() {
        let seconds = Duration::from_secs;
        let mut watch = Watch::new(seconds(30));
        let Some(begun) = Instant::now().checked_sub(seconds(20)) else {
            return;
        };
        (watch.begun, watch.window.0, watch.all) = (begun, begun, 4000);
        assert_eq!(watch.wrote(Duration::from_millis(1)), Duration::ZERO);
        assert!(watch.mean() <= Some(200), "{:?}", watch.mean());
        assert_eq!(watch.wrote(seconds(10)), seconds(10));
        assert!(watch.mean() > Some(300), "{:?}", watch.mean());
        assert!(watch.rate(4000) > Some(300));
        // The next window has only begun.
        assert_eq!(watch.rate(4000), None);
    }
}
