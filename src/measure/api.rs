//! The APIs that a load uses, and the bodies of its requests.

use crate::choice::choices;

choices! {
    /// An API of the server.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    Api {
        /// `SGLang`'s own API.
        Generate = "generate", "SGLang's own /generate: counts the tokens of each chunk in every version";
        /// Text completions of the `OpenAI` API.
        Completions = "completions", "/v1/completions";
        /// Chat completions of the `OpenAI` API.
        Chat = "chat", "/v1/chat/completions: reasoning and answer apart";
    }
}

impl Api {
    /// The path of its requests.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Generate => "/generate",
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
        }
    }

    /// The name that `sglang.bench_serving` has for a backend of this API.
    #[must_use]
    pub const fn sglang_backend(self) -> &'static str {
        match self {
            Self::Generate => "sglang",
            Self::Completions => "sglang-oai",
            Self::Chat => "sglang-oai-chat",
        }
    }

    /// Returns the API of a backend of `sglang.bench_serving`; `None` if dsr1's client has none for it.
    #[must_use]
    pub fn of_sglang_backend(name: &str) -> Option<Self> {
        match name {
            "sglang" | "sglang-native" => Some(Self::Generate),
            "sglang-oai" => Some(Self::Completions),
            "sglang-oai-chat" => Some(Self::Chat),
            _ => None,
        }
    }
}

/// A message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// The role of its author: `system`, `user`, `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// The prompt of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Ids of tokens: the server computes exactly these.
    Ids(Vec<u32>),
    /// Text, whose tokens the server counts.
    Text(String),
    /// Messages, for the API of chats alone.
    Messages(Vec<Message>),
}

/// The part of an answer that a run keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kept {
    /// Nothing: a measurement has no use for it.
    #[default]
    Nothing,
    /// The text.
    Text,
    /// The ids of its tokens, which `/generate` alone tells.
    Ids,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backends_of_sglangs_client_have_their_api() {
        for api in [Api::Generate, Api::Completions, Api::Chat] {
            assert_eq!(Api::of_sglang_backend(api.sglang_backend()), Some(api));
        }
        assert_eq!(Api::of_sglang_backend("trt"), None);
    }
}
