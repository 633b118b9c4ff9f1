//! The mirror: serves the local cache as a read-only hub, to one machine or a LAN, at the speed of the network.
//!
//! It answers the requests of hub clients (revision, tree, resolve with ranges), for whole snapshots only. Each
//! connection has a thread, because most of its work is one system call that copies from the page cache to the
//! socket.
//!
//! | file | subject |
//! |---|---|
//! | `server` | the listener, and the start and end of a mirror |
//! | `connections` | the open connections, and room for more |
//! | `connection` | the requests of one client |
//! | `head` | the head of a request |
//! | `path` | URLs of the protocol |
//! | `condition` | range requests and conditional requests |
//! | `catalog` | snapshots kept in memory |
//! | `snapshot` | the files of a commit, and the check that they are whole |
//! | `beneath` | files below the cache's root, and no others |
//! | `card` | the licence in a model card |
//! | `answer` | answers, as data |
//! | `send` | answers, sent to a socket |
//!
//! Not in this module: TLS; it listens on loopback by default.

mod answer;
mod beneath;
mod card;
mod catalog;
mod condition;
mod connection;
mod connections;
mod head;
mod path;
mod send;
mod server;
mod snapshot;

pub use connections::{Limits, MirrorOptions};
pub use server::{Mirror, mirror};
