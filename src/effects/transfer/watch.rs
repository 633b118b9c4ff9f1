//! Watches a stream that may stall, crawl, or be slower than others.

use std::time::{Duration, Instant};

use hyper::body::Bytes;

use crate::effects::hub::listing::Entry;
use crate::effects::hub::source::{ByteStream, Failure, cannot_fetch};

/// Smallest rate in bytes a second. A stream below it for the idle timeout counts as stalled.
const LEAST_RATE: u64 = 64 * 1024;
/// A stream that is this many times slower than the median is reopened. Servers of a content network differ,
/// and a connection stays with the server that it got (xet-core issue 821: 68 or 8.7 MB/s).
pub(super) const SLOW_FACTOR: u64 = 4;
/// Number of windows for which a stream must be slow.
const SLOW_WINDOWS: u32 = 2;
/// Number of times that a file's stream is reopened because it is slow.
pub(super) const MAX_REDIALS: u32 = 4;

/// Duration of a write from which on it counts as a wait for a disk: to hash and write 1 MiB takes a few milliseconds.
const SLOW_WRITE: Duration = Duration::from_millis(20);

/// Rates in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Over the whole time.
    pub(super) all: u64,
    /// Over the time without waits for a disk: an upper bound for the stream itself.
    pub(super) stream: u64,
}

/// Bytes since a point in time.
struct Window {
    since: Instant,
    bytes: u64,
    /// Time spent waiting for a disk.
    disk: Duration,
}

impl Window {
    fn from(since: Instant) -> Self {
        Self {
            since,
            bytes: 0,
            disk: Duration::ZERO,
        }
    }
}

/// Watches one stream.
pub(super) struct StreamWatch {
    /// Idle timeout: the longest wait for a byte.
    idle: Duration,
    /// Time over which a rate is measured.
    rate_window: Duration,
    /// Time spent waiting for bytes, and the number of bytes that arrived in it.
    crawl: (Duration, u64),
    window: Window,
    begun: Instant,
    all: u64,
    slow: u32,
}

impl StreamWatch {
    /// Starts to watch.
    pub(super) fn new(idle: Duration, rate_window: Duration) -> Self {
        let now = Instant::now();
        Self {
            idle,
            rate_window,
            crawl: (Duration::ZERO, 0),
            window: Window::from(now),
            begun: now,
            all: 0,
            slow: 0,
        }
    }

    /// Returns the next bytes; `None` at the end of the stream.
    pub(super) async fn next(
        &mut self,
        entry: &Entry,
        stream: &mut ByteStream,
    ) -> Result<Option<Bytes>, Failure> {
        let idle = self.idle.as_secs();
        let asked = Instant::now();
        let next = tokio::time::timeout(self.idle, stream.next()).await;
        let Ok(next) = next else {
            return Err(Failure::Retry(cannot_fetch(
                entry,
                &format!("no byte for {idle} s"),
            )));
        };
        let Some(bytes) = next.map_err(|failure| failure.into_failure(entry))? else {
            return Ok(None);
        };
        self.all += bytes.len() as u64;
        // Counts only the time of the stream itself: a rate limit makes it wait too.
        let (waited, count) = &mut self.crawl;
        *waited += asked.elapsed();
        *count += bytes.len() as u64;
        if *waited >= self.idle {
            if *count < LEAST_RATE * idle {
                return Err(Failure::Retry(cannot_fetch(
                    entry,
                    &format!("less than {} KiB/s for {idle} s", LEAST_RATE / 1024),
                )));
            }
            self.crawl = (Duration::ZERO, 0);
        }
        Ok(Some(bytes))
    }

    /// Notes the time that a write took, because a slow disk says nothing about the stream. Returns the time
    /// spent waiting for the disk.
    pub(super) fn note_write(&mut self, took: Duration) -> Duration {
        let waited = if took > SLOW_WRITE { took } else { Duration::ZERO };
        self.window.disk += waited;
        waited
    }

    /// Returns the mean rate since the start, in bytes a second.
    pub(super) fn mean_rate(&self) -> Option<u64> {
        u64::try_from(per_second(self.all, self.begun.elapsed())).ok()
    }

    /// Counts bytes; returns the rate at the end of a window.
    pub(super) fn window_rate(&mut self, bytes: u64) -> Option<Rate> {
        self.window.bytes += bytes;
        let elapsed = self.window.since.elapsed();
        let of_stream = elapsed.saturating_sub(self.window.disk);
        if of_stream < self.rate_window {
            return None;
        }
        let rate = |time| u64::try_from(per_second(self.window.bytes, time)).unwrap_or(u64::MAX);
        let rate = Rate {
            all: rate(elapsed),
            stream: rate(of_stream),
        };
        self.window = Window::from(Instant::now());
        Some(rate)
    }

    /// Returns whether a stream with this rate has been much slower than the median for long enough.
    pub(super) fn is_slow(&mut self, rate: u64, usual: Option<u64>) -> bool {
        let is_slow = usual.is_some_and(|usual| rate < usual / SLOW_FACTOR);
        self.slow = if is_slow { self.slow + 1 } else { 0 };
        self.slow >= SLOW_WINDOWS
    }
}

fn per_second(bytes: u64, time: Duration) -> u128 {
    u128::from(bytes) * 1000 / time.as_millis().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::hub::limits::Limits;

    #[test]
    fn a_stream_is_slow_when_it_stays_behind_the_others() {
        let mut watch = StreamWatch::new(Duration::from_secs(30), Limits::DEFAULT.rate_window);
        assert!(!watch.is_slow(1, None));
        assert!(!watch.is_slow(20, Some(100)));
        assert!(!watch.is_slow(30, Some(100)));
        assert!(!watch.is_slow(20, Some(100)));
        assert!(watch.is_slow(20, Some(100)));
    }

    /// A good connection is not reopened because a disk is slow.
    #[test]
    fn a_stream_is_not_slow_because_a_disk_is() {
        let seconds = Duration::from_secs;
        let mut watch = StreamWatch::new(seconds(30), Limits::DEFAULT.rate_window);
        let Some(begun) = Instant::now().checked_sub(seconds(20)) else {
            return;
        };
        (watch.window.since, watch.window.bytes) = (begun, 3000);
        assert_eq!(watch.note_write(Duration::from_millis(1)), Duration::ZERO);
        assert_eq!(watch.note_write(seconds(10)), seconds(10));
        let rate = watch.window_rate(1000).unwrap();
        // The machine may be slow, too.
        assert!(rate.all <= 200 && rate.stream > rate.all * 3 / 2, "{rate:?}");
        // The next window has only begun.
        assert_eq!(watch.window_rate(1000), None);
    }
}
