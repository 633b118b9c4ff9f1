//! The local cache as a hub: read-only, to one machine or a LAN, at the speed of the line.
//!
//! Serves what a hub client asks for (revision, tree, resolve with ranges), and only snapshots that are whole. One
//! thread per connection, because what it does is one system call: from the page cache to the socket.
//!
//! | file | subject |
//! |---|---|
//! | `server` | the listener, and the start and end of a mirror |
//! | `connections` | the open connections, and room for more |
//! | `head` | a request's head, hostile until parsed |
//! | `path` | URLs of the protocol |
//! | `condition` | ranges, and whether a file is wanted at all |
//! | `beneath` | files below the cache's root and no others |
//! | `snapshot` | the files of a commit, and whether they are what they are said to be |
//! | `catalog` | snapshots kept in memory |
//! | `card` | the licence that a model card names |
//! | `answer` | the hub's answers |
//! | `send` | an answer on its way |
//! | `connection` | requests of one client, one after the other |
//!
//! Not in this module: TLS; it listens on loopback unless told otherwise.

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
