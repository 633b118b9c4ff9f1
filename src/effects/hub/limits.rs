//! The limits of time and size of a pull, as values, so that tests need neither large files nor long waits.

use std::time::Duration;

/// Limits of time and size of a pull. The defaults are for real hubs, disks and networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Idle timeout: the longest wait for a response or for the next byte (`HF_HUB_DOWNLOAD_TIMEOUT`).
    pub idle: Duration,
    /// Longest wait for the head of an answer.
    pub answer: Duration,
    /// Longest wait for a network that is unreachable.
    pub outage: Duration,
    /// Longest pause between two tries, unless the hub asks for a longer one.
    pub longest_pause: Duration,
    /// Time without an answer after which the first note is printed.
    pub first_note: Duration,
    /// Shortest time between two notes about waits.
    pub note_interval: Duration,
    /// Time between two progress events.
    pub report_interval: Duration,
    /// Time between two progress events of one file.
    pub file_report_interval: Duration,
    /// Time over which the rate of a stream is measured.
    pub rate_window: Duration,
    /// Time after which the stream of a chunk may be judged as slow.
    pub slow_after: Duration,
    /// Size of a chunk. A kill loses at most this much of a chunk worker's work.
    pub chunk: u64,
    /// Number of bytes between two journal lines. A kill loses at most this much of each file.
    pub journal_step: u64,
    /// Interval between journal lines of a slow stream.
    pub journal_interval: Duration,
    /// Number of bytes between two syncs. A power cut loses at most twice as much: the bytes being synced, and
    /// those written meanwhile.
    pub sync: u64,
    /// Largest number of bytes written at once: before each write, a worker checks whether another one has claimed
    /// the chunk. Xet delivers frames of up to 64 MiB, and a chunk may be claimed two chunks ahead of the front.
    pub write: usize,
    /// Number of bytes read at once.
    pub read: usize,
    /// Number of bytes copied at once. This much around an unreadable sector is fetched again.
    pub copy: u64,
    /// Pause before the first of five retries of an I/O error, because a file server that restarts also returns `EIO`;
    /// doubled for each further one: about six seconds in all.
    pub io_retry: Duration,
    /// Number of bytes that counts as progress and resets the retries.
    pub progress: u64,
    /// Longest run of corrupt ranges that still counts as a damaged file. A longer run means that it is another
    /// file.
    pub corrupt_run: u64,
    /// Time without a write after which a partial file of another host counts as abandoned.
    pub abandoned: Duration,
    /// Time after which the owner of a partial file is not expected to return. A live owner updates the file
    /// every few seconds, also while it waits.
    pub expired: Duration,
    /// Smallest number of bytes that is worth a wait for another host; less is fetched again.
    pub worth_waiting: u64,
    /// Interval between two checks whether another host still writes.
    pub host_poll: Duration,
}

impl Limits {
    /// The defaults, for use in constants.
    pub const DEFAULT: Self = Self {
        idle: Duration::from_secs(30),
        answer: Duration::from_mins(1),
        outage: Duration::from_mins(5),
        longest_pause: Duration::from_secs(30),
        first_note: Duration::from_secs(5),
        note_interval: Duration::from_secs(15),
        report_interval: Duration::from_millis(100),
        file_report_interval: Duration::from_secs(1),
        rate_window: Duration::from_secs(5),
        slow_after: Duration::from_secs(2),
        chunk: 32 << 20,
        journal_step: 4 << 20,
        journal_interval: Duration::from_secs(1),
        sync: 32 << 20,
        write: 1 << 20,
        read: 256 << 10,
        copy: 1 << 20,
        io_retry: Duration::from_millis(200),
        progress: 1 << 20,
        corrupt_run: 16 << 20,
        abandoned: Duration::from_mins(2),
        expired: Duration::from_hours(1),
        worth_waiting: 64 << 20,
        host_poll: Duration::from_secs(2),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
