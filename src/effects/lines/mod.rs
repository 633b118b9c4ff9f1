//! Lines of text as they come from a child or a daemon.
//!
//! Not in this module tree: what a line means (`sglang::log`).

mod file;
mod splitter;
mod stream;

pub(in crate::effects) use file::LogFile;
pub(in crate::effects) use splitter::Splitter;
pub use stream::{LogEnd, LogStream};
