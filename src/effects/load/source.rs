//! The bodies of requests, made on a thread of their own so that the loop of the clock never makes one.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::measure::{Drawn, RequestSettings};

/// Most bytes that wait to be sent.
const WAITING_BYTES: usize = 64 << 20;

/// A request that can be written as it is.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The head and the body.
    pub(super) bytes: Vec<u8>,
    /// Tokens of its prompt.
    pub(super) prompt_tokens: u32,
    /// Tokens that it asks for.
    pub(super) output_tokens: u32,
}

/// The requests of a run, in their order.
pub(super) struct Source {
    receiver: Receiver<Prepared>,
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
        let mut requests = requests.peekable();
        // All bodies of a run have nearly one size.
        let size = requests
            .peek()
            .map_or(1, |first| settings.body(&first.prompt, first.output_tokens).len());
        let (sender, receiver) = sync_channel((WAITING_BYTES / size.max(1)).clamp(4, 4096));
        std::thread::spawn(move || make_all(requests, &settings, &head, &sender));
        Self {
            receiver,
            waited: Duration::ZERO,
        }
    }

    /// Returns the next request; `None` at the end of the data.
    pub(super) fn next(&mut self) -> Option<Prepared> {
        if let Ok(prepared) = self.receiver.try_recv() {
            return Some(prepared);
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
        prepared
    }
}

fn make_all(
    requests: impl Iterator<Item = Drawn>,
    settings: &RequestSettings,
    head: &str,
    sender: &SyncSender<Prepared>,
) {
    for drawn in requests {
        let body = settings.body(&drawn.prompt, drawn.output_tokens);
        let mut bytes = format!("{head}{}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(&body);
        let prepared = Prepared {
            bytes,
            prompt_tokens: drawn.prompt_tokens,
            output_tokens: drawn.output_tokens,
        };
        // The run is over when nobody receives.
        if sender.send(prepared).is_err() {
            return;
        }
    }
}
