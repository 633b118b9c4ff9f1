//! Streamed answers of a server, which is not trusted, as chunks and counts.
//!
//! | module | subject |
//! |---|---|
//! | `sse` | the events in a stream of bytes |
//! | `event` | one event of each API |
//! | `answer` | an answer: its chunks, its counts, its end |
//!
//! Not in this module tree: HTTP and the clock (`effects::load`).

mod answer;
mod event;
mod sse;

pub use answer::{AnswerRead, AnswerReader};
pub use event::describe_failure;
pub use sse::{Event, Splitter, TooLong};
