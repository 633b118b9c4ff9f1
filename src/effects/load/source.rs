//! The bodies of requests, made on a thread of their own so that the loop of the clock never makes one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::measure::{Conversation, ConversationTurn, Drawn, RequestSettings, TurnRequest};

/// Most bytes that wait to be sent, beside one request, and most requests.
const WAITING_BYTES: usize = 64 << 20;
const WAITING: usize = 4096;
/// Time between two looks at a wish to stop.
const STOP_LOOK: Duration = Duration::from_millis(50);
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
    /// Its place in a conversation.
    pub(super) turn: Option<ConversationTurn>,
    /// The conversation that it begins.
    pub(super) conversation: Option<Box<Conversation>>,
}

impl Prepared {
    /// Returns the bytes that it takes in memory.
    fn weight(&self) -> usize {
        let conversation = self.conversation.as_ref().map_or(0, |one| one.bytes());
        self.bytes.len() + conversation
    }
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
    /// Everything of a request before the value of `Content-Length`.
    head: String,
    /// Time in which the loop waited for a body.
    pub(super) waited: Duration,
}

impl Source {
    /// Starts to make the requests. `head` is everything before the value of `Content-Length`. Fails if the system has no thread for it.
    pub(super) fn start(
        requests: Box<dyn Iterator<Item = Drawn> + Send>,
        settings: RequestSettings,
        head: String,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let waiting = Arc::new(Waiting::default());
        std::thread::Builder::new().spawn({
            let (waiting, head) = (waiting.clone(), head.clone());
            move || make_all(requests, &settings, &head, &sender, &waiting)
        })?;
        Ok(Self {
            receiver,
            waiting,
            head,
            waited: Duration::ZERO,
        })
    }

    /// Returns the next request; `None` at the end of the data, or when `is_stopped` says so while none is there.
    pub(super) fn next(&mut self, is_stopped: &dyn Fn() -> bool) -> Option<Prepared> {
        if let Ok(prepared) = self.receiver.try_recv() {
            return Some(self.hand_out(prepared));
        }
        let begun = Instant::now();
        let prepared = loop {
            match self.receiver.recv_timeout(STOP_LOOK) {
                Ok(prepared) => break Some(prepared),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) if is_stopped() => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        self.waited += begun.elapsed();
        prepared.map(|prepared| self.hand_out(prepared))
    }

    fn hand_out(&self, prepared: Prepared) -> Prepared {
        self.waiting.bytes.fetch_sub(prepared.weight(), Ordering::Relaxed);
        prepared
    }

    /// Returns a later turn of a conversation as it can be written. Its prompt is there: only bytes are copied.
    pub(super) fn prepare_turn(&self, turn: &TurnRequest) -> Prepared {
        Prepared {
            bytes: framed(&self.head, &turn.body),
            prompt_tokens: turn.prompt_tokens,
            output_tokens: turn.output_tokens,
            at: None,
            turn: Some(turn.place),
            conversation: None,
        }
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
        let prepared = prepare(drawn, settings, head);
        while waiting.bytes.load(Ordering::Relaxed) > WAITING_BYTES {
            if waiting.is_over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        waiting.bytes.fetch_add(prepared.weight(), Ordering::Relaxed);
        // The run is over when nobody receives.
        if sender.send(prepared).is_err() {
            return;
        }
    }
}

fn prepare(drawn: Drawn, settings: &RequestSettings, head: &str) -> Prepared {
    let body = settings.body(&drawn.prompt, drawn.output_tokens);
    let (prompt_tokens, output_tokens, at) = (drawn.prompt_tokens, drawn.output_tokens, drawn.at);
    let conversation = drawn
        .later
        .is_some()
        .then(|| Box::new(Conversation::new(settings.api, drawn)));
    Prepared {
        bytes: framed(head, &body),
        prompt_tokens,
        output_tokens,
        at,
        turn: conversation
            .as_ref()
            .map(|conversation| conversation.current_turn()),
        conversation,
    }
}

fn framed(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{head}{}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Api, Kept};

    #[test]
    fn a_wait_for_a_body_that_does_not_come_ends_when_it_is_to_stop() {
        let settings = RequestSettings {
            api: Api::Generate,
            model: "m".to_owned(),
            ignores_end: true,
            temperature: 0.0,
            top_p: None,
            stop: Vec::new(),
            keeps: Kept::Nothing,
        };
        // The far end of a data file that never says anything.
        let (_never, silent) = std::sync::mpsc::channel::<Drawn>();
        let mut source = Source::start(Box::new(silent.into_iter()), settings, String::new()).unwrap();
        assert!(source.next(&|| true).is_none());
    }
}
