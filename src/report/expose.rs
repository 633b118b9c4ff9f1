//! An exposed server, and the requests to it.

use serde::{Deserialize, Serialize};

/// A server that is exposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposedServer {
    /// Always [`ExposedServer::SCHEMA`].
    pub schema: String,
    /// Name of the server.
    pub server: String,
    /// The base URL for clients: `https://ADDRESS:PORT/v1`.
    pub base_url: String,
    /// The file with the keys.
    pub keys_file: String,
    /// The names of the keys.
    pub keys: Vec<String>,
}

impl ExposedServer {
    /// Version of the JSON form.
    pub const SCHEMA: &str = "dsr1.exposed/1";
}

/// A request to an exposed server whose answer has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposedRequest {
    /// The time at which it came, in UTC.
    pub at: String,
    /// Address of the client.
    pub client: String,
    /// Name of its key; `None` if it had none that is known.
    pub key: Option<String>,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Status code of the answer.
    pub status: u16,
    /// Bytes of the body of the answer that were sent.
    pub bytes: u64,
    /// Milliseconds until the answer had ended.
    pub ms: u64,
    /// True if the client got the answer whole: false if the client left, or the engine ended within it.
    pub whole: bool,
}
