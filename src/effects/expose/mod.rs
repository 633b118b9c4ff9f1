//! A server of this host, exposed to others: requests with a key, to the paths of the API, are passed on to 127.0.0.1.
//!
//! The engine never gets the key. Each version of SGLang logs its arguments and returns them from `/server_info`, keys included
//! (`http_server.py`, 0.4.10.post2 to 0.5.23), and has routes that a client must not reach.
//!
//! | file | subject |
//! |---|---|
//! | `server` | the listener, its connections, and the end after the running requests |
//! | `request` | one request: the checks, and the answer of the engine as it arrives |
//! | `keys` | the file of keys, made and read again when it changes |
//! | `tls` | certificate and private key |
//!
//! Not in this module: the rules for keys and paths (`access`).

mod keys;
mod request;
mod server;
mod tls;

pub(in crate::effects) use keys::EXTENSION;
pub use keys::{KeyFile, add_key};
pub use server::{ExposeOptions, Exposed};
pub use tls::TlsFiles;
