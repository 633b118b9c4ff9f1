//! Prompts and traces from files: hostile text until it is read.
//!
//! | module | subject |
//! |---|---|
//! | `item` | a prompt of a data file |
//! | `element` | the elements of a JSON array, found in a stream of bytes |
//! | `trace` | a request of a trace |
//! | `stamp` | the times of a trace |
//! | `blocks` | prompts that share blocks of tokens as a trace says |
//! | `tally` | records that were used, and those that are broken |
//!
//! Not in this module tree: files (`effects::data`), prompts of random tokens (`prompt`).

mod blocks;
mod element;
mod item;
mod stamp;
mod tally;
mod trace;

pub use blocks::BlockPrompts;
pub use element::ElementSplitter;
pub use item::{Content, Item, ItemTurn, read_item};
pub use tally::Tally;
pub use trace::{TraceFormat, TraceRow};
