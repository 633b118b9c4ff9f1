//! A conversation with a model: its turns, what the next request holds, and the lines that a user types.
//!
//! Not in this module tree: requests (`effects::serve`), the meaning of an answer's stream (`sglang::api`), how a turn looks
//! (`ui`).

mod conversation;
mod input;
mod timing;

pub use conversation::{CUT, Conversation, Document, Full, INTERRUPTED, Message, Request, Sampling, Turn};
pub use input::{Command, HELP, Input, Lines, command_or_message};
pub use timing::Timing;
