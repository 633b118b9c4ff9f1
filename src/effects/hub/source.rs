//! Streams of a file's bytes, over HTTP or from the hub's Xet store, with one type for the failures of both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::listing::Entry;
use super::names::url_path;
use super::refusal::hub_message;
use super::xet::{Origin, Xet};
use crate::effects::http::{Answer, Body, Broken, Opened};
use crate::error::{Error, Kind};

/// The source of the files of one commit.
#[derive(Clone)]
pub(in crate::effects) struct Source {
    pub(in crate::effects) origin: Origin,
    /// The Xet store, unless the files must be fetched over HTTP.
    pub(in crate::effects) xet: Option<Arc<Xet>>,
    /// The limit on bytes a second.
    pub(in crate::effects) limit: Option<Arc<RateLimit>>,
    /// Longest wait for the head of an answer.
    pub(in crate::effects) answer_timeout: Duration,
    /// Idle timeout: the longest wait for a byte.
    pub(in crate::effects) idle: Duration,
}

const ALTERED_HINT: &str = "a proxy or the hub's cache alters it; try another network or --endpoint";

/// The two ways to fetch a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::effects) enum Route {
    Http,
    Xet,
}

/// A stream of a file's bytes, from an offset on.
pub(in crate::effects) struct ByteStream {
    stream: Stream,
    /// Bytes at the start of the stream that must be skipped, because they are on disk already.
    pub(in crate::effects) skip: u64,
    /// The entity tag that identifies these bytes on the server.
    pub(in crate::effects) etag: Option<String>,
}

enum Stream {
    Http(Body),
    Xet(mpsc::Receiver<Result<Bytes, String>>),
}

/// Reason for a stream that failed to open or ended early.
pub(in crate::effects) enum Failure {
    /// Temporary: worth another try.
    Retry(Error),
    /// The stream works, but is much slower than others.
    Slow,
    /// The server asks for a pause.
    RetryAfter(Error, Duration),
    /// Nothing answers: the network may come back.
    Unreachable(Error),
    /// The bytes are wrong: worth one more try from the first byte.
    WrongBytes(Error),
    /// Permanent.
    Final(Error),
}

impl Failure {
    /// Returns whether the other route to the same bytes may work.
    pub(in crate::effects) fn depends_on_route(&self) -> bool {
        matches!(self, Self::Retry(_) | Self::RetryAfter(..) | Self::WrongBytes(_))
    }

    /// Returns the cause as text, if another try follows.
    pub(in crate::effects) fn cause(&self) -> Option<String> {
        match self {
            Self::Retry(error) | Self::RetryAfter(error, _) | Self::Unreachable(error) => {
                Some(error.causes().join(": "))
            }
            Self::Slow | Self::WrongBytes(_) | Self::Final(_) => None,
        }
    }
}

/// The error of a stream, before it is known which file it belongs to.
pub(in crate::effects) enum StreamError {
    Http(Broken),
    Xet(String),
}

impl StreamError {
    /// Returns the failure that this error means for `entry`.
    pub(in crate::effects) fn into_failure(self, entry: &Entry) -> Failure {
        match self {
            Self::Http(broken) => http_failure(entry, broken),
            Self::Xet(cause) => xet_failure(entry, &cause),
        }
    }
}

impl ByteStream {
    pub(in crate::effects) async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        match &mut self.stream {
            Stream::Http(body) => body.next().await.map_err(StreamError::Http),
            Stream::Xet(frames) => frames.recv().await.transpose().map_err(StreamError::Xet),
        }
    }
}

impl Source {
    /// Returns the preferred route to a file.
    pub(in crate::effects) fn route(&self, entry: &Entry) -> Route {
        match &self.xet {
            Some(xet) if entry.xet.is_some() && !xet.is_given_up() => Route::Xet,
            _ => Route::Http,
        }
    }

    /// Returns whether a file that fails over Xet may be fetched over HTTP.
    pub(in crate::effects) fn may_switch(&self) -> bool {
        self.xet.as_ref().is_some_and(|xet| xet.may_switch())
    }

    /// Counts a file that failed over Xet.
    pub(in crate::effects) fn note_xet_failure(&self) {
        if let Some(xet) = &self.xet {
            xet.note_failure();
        }
    }

    /// Returns the idle timeout.
    pub(in crate::effects) fn idle(&self) -> Duration {
        self.idle
    }

    /// Opens a stream of the bytes of `entry` in `range`, whose end is exclusive.
    pub(in crate::effects) async fn open(
        &self,
        entry: &Entry,
        range: (u64, u64),
        etag: Option<&str>,
        route: Route,
    ) -> Result<ByteStream, Failure> {
        match (&self.xet, &entry.xet, route) {
            (Some(xet), Some(hash), Route::Xet) => {
                let frames = xet.open(&self.origin, hash, entry.size, range);
                let frames = match tokio::time::timeout(self.idle, frames).await {
                    Ok(Ok(frames)) => frames,
                    Ok(Err(cause)) => return Err(xet_failure(entry, &cause)),
                    Err(_) => {
                        let cause = format!("no answer for {} s", self.idle.as_secs());
                        return Err(xet_failure(entry, &cause));
                    }
                };
                Ok(ByteStream {
                    stream: Stream::Xet(frames),
                    skip: 0,
                    etag: None,
                })
            }
            _ => self.open_http(entry, range, etag).await,
        }
    }

    async fn open_http(
        &self,
        entry: &Entry,
        range: (u64, u64),
        etag: Option<&str>,
    ) -> Result<ByteStream, Failure> {
        let Origin {
            http,
            token,
            endpoint,
            repo,
            commit,
        } = &self.origin;
        let url = format!("{endpoint}/{repo}/resolve/{commit}/{}", url_path(&entry.path));
        // A whole file is requested without a range, because caches keep only such answers.
        let asked = Some(range).filter(|range| *range != (0, entry.size));
        let asked = http.open(&url, token.as_ref(), asked, etag);
        let opened = match tokio::time::timeout(self.answer_timeout, asked).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(http_failure(entry, error)),
            Err(_) => {
                let cause = format!("no answer for {} s", self.answer_timeout.as_secs());
                return Err(Failure::Retry(cannot_fetch(entry, &cause)));
            }
        };
        let skip = self.check_answer(entry, range, &opened)?;
        let etag = opened.answer.header("etag").filter(|etag| etag.starts_with('"'));
        Ok(ByteStream {
            skip,
            etag: etag.map(str::to_owned),
            stream: Stream::Http(opened.body),
        })
    }

    /// Checks that the answer contains the requested bytes of this file. Returns the number of bytes to skip.
    fn check_answer(&self, entry: &Entry, (from, to): (u64, u64), opened: &Opened) -> Result<u64, Failure> {
        let answer = &opened.answer;
        let expected = match answer.status {
            206 => {
                let range = answer.header("content-range").unwrap_or_default();
                if !is_requested_range(range, (from, to), entry.size) {
                    return Err(wrong_offer(
                        entry,
                        &format!("the server sends the range `{}`", range.escape_debug()),
                    ));
                }
                to - from
            }
            200 => entry.size,
            _ => return Err(self.status_failure(entry, opened)),
        };
        if answer
            .header("content-encoding")
            .is_some_and(|coding| coding != "identity")
        {
            return Err(wrong_offer(
                entry,
                "the answer is compressed, which was not requested",
            ));
        }
        if let Some(length) = opened.length.filter(|length| *length != expected) {
            return Err(wrong_offer(
                entry,
                &format!("the answer has {length} bytes instead of {expected}"),
            ));
        }
        Ok(if answer.status == 200 { from } else { 0 })
    }

    fn status_failure(&self, entry: &Entry, opened: &Opened) -> Failure {
        let Answer { status, .. } = opened.answer;
        let message = hub_message(&opened.answer).map_or_else(String::new, |message| format!(": {message}"));
        let error = cannot_fetch(entry, &format!("status {status}{message}"));
        match status {
            404 | 410 => Failure::Final(error.hint(format!(
                "{} lists the file but does not have it: try later, or pull another revision",
                self.origin.endpoint
            ))),
            401 | 403 if opened.is_at_hub => {
                let gated = opened.answer.header("x-error-code") == Some("GatedRepo");
                Failure::Final(if gated {
                    Error::new(Kind::Hub, format!("{} is gated", self.origin.repo))
                        .cause(format!(
                            "`{}` needs a token whose account accepted its terms",
                            entry.path
                        ))
                        .hint(format!(
                            "accept the terms at {}/{}, then set HF_TOKEN",
                            self.origin.endpoint, self.origin.repo
                        ))
                } else {
                    error.hint(format!(
                        "check that the token in HF_TOKEN may read {}/{}",
                        self.origin.endpoint, self.origin.repo
                    ))
                })
            }
            416 => wrong_offer(entry, "the file is shorter than the listing states"),
            // Content networks answer 403 when a signed URL has expired; the next try gets a new URL.
            401 | 403 | 408 | 425 | 429 | 500..=599 => match opened.answer.requested_wait() {
                Some(wait) => Failure::RetryAfter(error, wait),
                None => Failure::Retry(error),
            },
            _ => Failure::Final(error),
        }
    }

    /// Returns the same source with its own connections, because connections belong to one runtime.
    pub(in crate::effects) fn with_own_connections(&self) -> Self {
        Self {
            origin: Origin {
                http: self.origin.http.with_own_connections(),
                ..self.origin.clone()
            },
            ..self.clone()
        }
    }

    /// Returns whether the user limits the rate.
    pub(in crate::effects) fn has_rate_limit(&self) -> bool {
        self.limit.is_some()
    }

    /// Waits until this many more bytes are within the rate limit.
    pub(in crate::effects) async fn wait_for_rate_limit(&self, bytes: usize) {
        if let Some(limit) = &self.limit {
            limit.acquire(bytes).await;
        }
    }
}

/// Returns whether `bytes FROM-LAST/SIZE` (RFC 9110, 14.4) is the requested range of a file of `size` bytes.
fn is_requested_range(range: &str, (from, to): (u64, u64), size: u64) -> bool {
    let parsed = range.strip_prefix("bytes ").and_then(|rest| {
        let (span, whole) = rest.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, whole))
    });
    parsed.is_some_and(|(first, last, whole)| {
        first == from && last.checked_add(1) == Some(to) && (whole == "*" || whole.parse() == Ok(size))
    })
}

fn http_failure(entry: &Entry, error: Broken) -> Failure {
    let report = |error: &Error| cannot_fetch(entry, &error.causes().join(": "));
    match &error {
        Broken::Dropped(cause) => Failure::Retry(report(cause)),
        Broken::Unreachable(cause) => Failure::Unreachable(report(cause)),
        Broken::Never(_) => Failure::Final(error.into_error()),
    }
}

fn xet_failure(entry: &Entry, cause: &str) -> Failure {
    Failure::Retry(cannot_fetch(entry, &format!("Xet: {cause}")))
}

/// Returns the error for a file whose transfer failed.
pub(in crate::effects) fn cannot_fetch(entry: &Entry, cause: &str) -> Error {
    Error::new(Kind::Hub, format!("cannot fetch `{}`", entry.path))
        .cause(cause)
        .hint("run the command again: it resumes where it stopped")
}

/// Returns the failure for an answer that cannot be `entry`. Nothing of it is written, so the bytes on disk
/// stay, and the next answer may be right.
fn wrong_offer(entry: &Entry, cause: &str) -> Failure {
    let error = Error::new(
        Kind::Integrity,
        format!("`{}` is not what the listing states", entry.path),
    );
    Failure::Retry(error.cause(cause).hint(ALTERED_HINT))
}

/// Returns the error for a file whose bytes differ from the listing.
pub(in crate::effects) fn wrong_bytes(entry: &Entry, cause: &str) -> Error {
    Error::new(
        Kind::Integrity,
        format!("`{}` failed its checksum twice", entry.path),
    )
    .cause(cause)
    .hint(ALTERED_HINT)
}

/// A rate limit that all streams share.
pub(in crate::effects) struct RateLimit {
    bytes_per_s: f64,
    /// Time until which the granted bytes use up the rate.
    paid: Mutex<Instant>,
}

impl RateLimit {
    /// Creates a limit of this many bytes a second.
    pub(in crate::effects) fn new(bytes_per_s: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let bytes_per_s = bytes_per_s.max(1) as f64;
        Self {
            bytes_per_s,
            paid: Mutex::new(Instant::now()),
        }
    }

    async fn acquire(&self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s);
        let until = {
            let Ok(mut paid) = self.paid.lock() else { return };
            // Unused time is not saved up.
            let from = (*paid).max(Instant::now());
            *paid = from + cost;
            *paid
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_requested_range_is_accepted() {
        assert!(is_requested_range("bytes 5-9/10", (5, 10), 10));
        assert!(is_requested_range("bytes 5-9/*", (5, 10), 10));
        assert!(is_requested_range("bytes 5-7/10", (5, 8), 10));
        for other in [
            "bytes 4-9/10",
            "bytes 5-8/10",
            "bytes 5-9/11",
            "bytes */10",
            "",
            "5-9/10",
            "bytes 5-18446744073709551615/10",
        ] {
            assert!(!is_requested_range(other, (5, 10), 10), "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_share_the_rate_limit() {
        let limit = RateLimit::new(1000);
        let begun = Instant::now();
        for _ in 0..4 {
            limit.acquire(500).await;
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(1900),
            "{:?}",
            begun.elapsed()
        );
    }
}
