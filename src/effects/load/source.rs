//! The bodies of requests, made on a thread of their own so that the loop of the clock never makes one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::measure::{Drawn, RequestSettings};

/// Most bytes that wait to be sent, beside one request, and most requests.
const WAITING_BYTES: usize = 64 << 20;
const WAITING: usize = 4096;
/// Time between two looks at the bytes that wait.
const LOOK: Duration = Duration::from_millis(1);

/// A request that can be written as it is.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The head and the body.
    pub(super) bytes: Vec<u8>,
    /// Tokens of its prompt.
    pub(super) prompt_tokens: u32,
    /// Tokens that it asks for.
    pub(super) output_tokens: u32,
    /// The time from the beginning of the run at which it is due, of a trace.
    pub(super) at: Option<Duration>,
}

/// The bytes that wait to be sent: bodies of a data file may differ a thousandfold.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// True when nobody takes them any more.
    is_over: AtomicBool,
}

/// The requests of a run, in their order.
pub(super) struct Source {
    receiver: Receiver<Prepared>,
    waiting: Arc<Waiting>,
    /// Time in which the loop waited for a body.
    pub(super) waited: Duration,
}

impl Source {
    /// Starts to make the requests. `head` is everything before the value of `Content-Length`.
    pub(super) fn start(
        requests: Box<dyn Iterator<Item = Drawn> + Send>,
        settings: RequestSettings,
        head: String,
    ) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let waiting = Arc::new(Waiting::default());
        std::thread::spawn({
            let waiting = waiting.clone();
            move || make_all(requests, &settings, &head, &sender, &waiting)
        });
        Self {
            receiver,
            waiting,
            waited: Duration::ZERO,
        }
    }

    /// Returns the next request; `None` at the end of the data.
    pub(super) fn next(&mut self) -> Option<Prepared> {
        if let Ok(prepared) = self.receiver.try_recv() {
            return Some(self.hand_out(prepared));
        }
        let begun = Instant::now();
        let prepared = loop {
            match self.receiver.recv_timeout(Duration::from_secs(1)) {
                Ok(prepared) => break Some(prepared),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        self.waited += begun.elapsed();
        prepared.map(|prepared| self.hand_out(prepared))
    }

    fn hand_out(&self, prepared: Prepared) -> Prepared {
        self.waiting
            .bytes
            .fetch_sub(prepared.bytes.len(), Ordering::Relaxed);
        prepared
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.waiting.is_over.store(true, Ordering::Relaxed);
    }
}

fn make_all(
    requests: impl Iterator<Item = Drawn>,
    settings: &RequestSettings,
    head: &str,
    sender: &SyncSender<Prepared>,
    waiting: &Waiting,
) {
    for drawn in requests {
        let body = settings.body(&drawn.prompt, drawn.output_tokens);
        let mut bytes = format!("{head}{}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(&body);
        let prepared = Prepared {
            bytes,
            prompt_tokens: drawn.prompt_tokens,
            output_tokens: drawn.output_tokens,
            at: drawn.at,
        };
        while waiting.bytes.load(Ordering::Relaxed) > WAITING_BYTES {
            if waiting.is_over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        waiting.bytes.fetch_add(prepared.bytes.len(), Ordering::Relaxed);
        // The run is over when nobody receives.
        if sender.send(prepared).is_err() {
            return;
        }
    }
}
