//! Threads that fetch files one after another, each with a runtime and connections of its own.
//!
//! A worker receives, hashes and writes a piece of a file before it asks for the next: what it hashes is still in its
//! processor's cache, nothing is handed from thread to thread, and a few hundred KiB are all that it holds. Many
//! workers make the speed. Not in this module: one file (`fetch`, `repair`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use super::fetch::Fetcher;
use super::listing::Entry;
use crate::error::{At, Error, Kind, Result};

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// It is made to be there.
    Fetch,
    /// It is there and bad.
    Repair,
}

/// Workers under way. Dropping it ends them soon: their parts stay.
pub(super) struct Workers {
    ended: mpsc::UnboundedReceiver<Result<String>>,
    left: usize,
    _stop: watch::Sender<()>,
}

impl Workers {
    /// Starts at most `count` workers on `entries`, in their order.
    ///
    /// # Errors
    /// [`Kind::Host`] when no thread can be had.
    pub(super) fn start(fetcher: &Fetcher, job: Job, entries: Vec<Entry>, count: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(());
        let (sender, ended) = mpsc::unbounded_channel();
        let left = entries.len();
        let queue = Arc::new(Mutex::new(VecDeque::from(entries)));
        for number in 0..count.clamp(1, left.max(1)) {
            let worker = Worker {
                job,
                fetcher: fetcher.alone(),
                queue: Arc::clone(&queue),
                ended: sender.clone(),
            };
            let stopped = stopped.clone();
            std::thread::Builder::new()
                .name(format!("pull-{number}"))
                .spawn(move || worker.run(stopped))
                .at(Kind::Host, || "cannot start a thread".to_owned())?;
        }
        Ok(Self {
            ended,
            left,
            _stop: stop,
        })
    }

    /// The path of the next file that is done; `None` when all are.
    ///
    /// # Errors
    /// What the first file that cannot be had failed with.
    pub(super) async fn next(&mut self) -> Option<Result<String>> {
        if self.left == 0 {
            return None;
        }
        let ended = self.ended.recv().await;
        // Counted when it is there: whoever waits may give up and ask again.
        self.left -= 1;
        Some(ended.unwrap_or_else(|| Err(Error::new(Kind::Internal, "a worker failed"))))
    }
}

struct Worker {
    job: Job,
    fetcher: Fetcher,
    queue: Arc<Mutex<VecDeque<Entry>>>,
    ended: mpsc::UnboundedSender<Result<String>>,
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
            while let Some(entry) = self.take() {
                let work = async {
                    match self.job {
                        Job::Fetch => self.fetcher.fetch(&entry).await,
                        Job::Repair => self.fetcher.repair(&entry).await,
                    }
                };
                let done = tokio::select! {
                    biased;
                    _ = stopped.changed() => return,
                    done = work => done,
                };
                let failed = done.is_err();
                if self.ended.send(done.map(|()| entry.path)).is_err() || failed {
                    return;
                }
            }
        });
    }

    fn take(&self) -> Option<Entry> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }
}
