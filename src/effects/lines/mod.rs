//! Lines of text from a child or a daemon.
//!
//! Not in this module tree: the meaning of a line (`sglang::log`).

mod file;
mod splitter;
mod stream;

pub(in crate::effects) use file::LogFile;
pub(in crate::effects) use splitter::Splitter;
pub(in crate::effects) use stream::Lines;
pub use stream::{LogEnd, LogPart, LogStream};
