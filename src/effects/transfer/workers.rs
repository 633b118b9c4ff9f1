//! Threads that fetch files one after another, each with its own runtime and connections.
//!
//! A worker receives, hashes and writes a piece of a file before it requests the next. The data that it hashes
//! is still in its processor's cache, nothing is passed between threads, and it holds only a few hundred KiB.
//! The speed comes from many workers. A worker without a file fetches chunks of others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::fetch::Fetcher;
use super::fetch_chunk::help_others;
use crate::effects::hub::listing::Entry;
use crate::error::{At, Error, Kind, Result};

/// Longest wait for workers to write their journals when a pull is interrupted.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// Running workers. Dropping this stops them; their partial files and journals stay.
pub(super) struct Workers {
    ended: mpsc::UnboundedReceiver<Result<Entry>>,
    sender: mpsc::UnboundedSender<Result<Entry>>,
    queue: Arc<Mutex<VecDeque<Entry>>>,
    left: usize,
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<()>,
}

impl Drop for Workers {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        let begun = Instant::now();
        while self.threads.iter().any(|thread| !thread.is_finished()) && begun.elapsed() < STOP_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Workers {
    /// Starts at most `count` workers on `entries`, in this order.
    ///
    /// # Errors
    /// [`Kind::Host`] if no thread can be started.
    pub(super) fn start(fetcher: &Fetcher, entries: Vec<Entry>, count: usize) -> Result<Self> {
        let (sender, ended) = mpsc::unbounded_channel();
        let mut workers = Self {
            ended,
            sender,
            left: entries.len(),
            queue: Arc::new(Mutex::new(VecDeque::from(entries))),
            threads: Vec::new(),
            stop: watch::channel(()).0,
        };
        workers.grow(fetcher, count.max(1))?;
        Ok(workers)
    }

    /// Starts more workers.
    ///
    /// # Errors
    /// [`Kind::Host`] if no thread at all can be started.
    pub(super) fn grow(&mut self, fetcher: &Fetcher, count: usize) -> Result<()> {
        for _ in 0..count {
            let worker = Worker {
                fetcher: fetcher.with_own_connections(),
                queue: Arc::clone(&self.queue),
                ended: self.sender.clone(),
            };
            let stopped = self.stop.subscribe();
            let thread = std::thread::Builder::new().name(format!("pull-{}", self.threads.len()));
            match thread.spawn(move || worker.run(stopped)) {
                Ok(thread) => self.threads.push(thread),
                // The running workers do the work.
                Err(_) if !self.threads.is_empty() => return Ok(()),
                Err(error) => return Err(error).at(Kind::Host, || "cannot start a thread".to_owned()),
            }
        }
        Ok(())
    }

    /// Returns the next finished file; `None` if all are finished.
    ///
    /// # Errors
    /// The error of the first file that fails.
    pub(super) async fn next(&mut self) -> Option<Result<Entry>> {
        if self.left == 0 {
            return None;
        }
        let ended = self.ended.recv().await?;
        // Counted only after the result was received, because the caller may drop this future and ask again.
        self.left -= 1;
        Some(ended)
    }
}

struct Worker {
    fetcher: Fetcher,
    queue: Arc<Mutex<VecDeque<Entry>>>,
    ended: mpsc::UnboundedSender<Result<Entry>>,
}

impl Drop for Worker {
    /// Reports a panic, so that nobody waits forever for this worker's file.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let failed = Error::new(Kind::Internal, "a worker failed");
            let _ = self.ended.send(Err(failed));
        }
    }
}

impl Worker {
    fn run(self, mut stopped: watch::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime.at(Kind::Host, || "cannot start a worker".to_owned()) {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = self.ended.send(Err(error));
                return;
            }
        };
        runtime.block_on(async {
            while let Some(entry) = self.next_entry() {
                let done = tokio::select! {
                    biased;
                    _ = stopped.changed() => return,
                    done = self.fetcher.fetch(&entry) => done,
                };
                let failed = done.is_err();
                if self.ended.send(done.map(|()| entry)).is_err() || failed {
                    return;
                }
            }
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = help_others(&self.fetcher) => {}
            }
        });
    }

    fn next_entry(&self) -> Option<Entry> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }
}
