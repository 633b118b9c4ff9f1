//! A word of a command that may hold what is known only on the nodes.

use serde::{Deserialize, Serialize};

/// A word of the command of a rank or of the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A word that is the same everywhere.
    Text(String),
    /// The address of the rank's own node.
    OwnAddress,
    /// The number of the rank among those of its engine, from 0.
    NodeRank,
    /// A port of the engine.
    Port {
        /// Its use.
        of: PortUse,
        /// The port.
        port: u16,
    },
    /// `ADDRESS:PORT` of the rendezvous, on the node of the engine's first rank.
    Leader {
        /// The port.
        port: u16,
    },
    /// `http://ADDRESS:PORT` on a node.
    Url {
        /// The node, from 0.
        node: u32,
        /// The port.
        port: u16,
    },
}

/// The use of a port. Engines of one role differ in their ports, so that a text for all of them has a variable in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortUse {
    /// HTTP.
    Http,
    /// NCCL's rendezvous.
    Nccl,
    /// Rendezvous of prefill and decode.
    Bootstrap,
}

impl Word {
    /// Returns a word that is the same everywhere.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// The texts for what is known only on the nodes.
pub trait Addresses {
    /// A word that is the same everywhere, quoted as the form needs it.
    fn text(&self, text: &str) -> String;
    /// The address of the rank's own node.
    fn own(&self) -> String;
    /// The number of the rank among those of its engine.
    fn node_rank(&self) -> String;
    /// A port of the engine.
    fn port(&self, of: PortUse, port: u16) -> String;
    /// `ADDRESS:PORT` of the rendezvous, on the node of the engine's first rank.
    fn leader(&self, port: u16) -> String;
    /// `http://ADDRESS:PORT` on a node.
    fn url(&self, node: u32, port: u16) -> String;
}

/// Returns the words with their addresses.
pub fn words_at(words: &[Word], addresses: &impl Addresses) -> Vec<String> {
    words
        .iter()
        .map(|word| match word {
            Word::Text(text) => addresses.text(text),
            Word::OwnAddress => addresses.own(),
            Word::NodeRank => addresses.node_rank(),
            Word::Port { of, port } => addresses.port(*of, *port),
            Word::Leader { port } => addresses.leader(*port),
            Word::Url { node, port } => addresses.url(*node, *port),
        })
        .collect()
}
