//! Data files and traces of the user, which may be larger than memory.
//!
//! | module | subject |
//! |---|---|
//! | `index` | the places of the records of a file, and its hash, by one reading |
//! | `items` | the prompts of a data file, in an order of a seed |
//! | `rows` | the requests of a trace, in their own order |
//!
//! Not in this module tree: the meaning of a record (`measure::data`), and the requests that are made of it (`load`).

mod index;
mod items;
mod rows;

pub(in crate::effects) use index::Index;
pub(in crate::effects) use items::{Items, TextCounter};
pub(in crate::effects) use rows::Rows;
