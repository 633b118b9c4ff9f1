//! The part of a request's JSON that decides its answer. A prompt is counted while it is read, and not kept.

use std::hash::{DefaultHasher, Hasher};

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::radix::Prefixes;

/// The API of a request for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Generate,
    Completions,
    Chat,
}

impl Api {
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/generate" => Some(Self::Generate),
            "/v1/completions" => Some(Self::Completions),
            "/v1/chat/completions" => Some(Self::Chat),
            _ => None,
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::Generate => "/generate",
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

/// The wishes of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub api: Api,
    pub model: Option<String>,
    pub prompt_tokens: u64,
    /// A hash of the prompt, to know it again.
    pub prompt: u64,
    pub prefixes: Prefixes,
    pub tokens: Option<u32>,
    pub streams: bool,
    pub has_usage: bool,
    /// Each event has the usage so far.
    pub has_continuous_usage: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    model: Option<String>,
    prompt: Option<Counted>,
    text: Option<Counted>,
    input_ids: Option<Counted>,
    messages: Option<Counted>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    n: Option<u32>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    sampling_params: Option<SamplingParams>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SamplingParams {
    max_new_tokens: Option<u32>,
    n: Option<u32>,
}

impl Asked {
    /// Reads the JSON of a request.
    pub fn read(api: Api, bytes: &[u8]) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let sampling = body.sampling_params.unwrap_or_default();
        let (prompt, tokens) = match api {
            // SamplingParams of SGLang 0.5.23 has 128.
            Api::Generate => (
                body.text.or(body.input_ids),
                Some(sampling.max_new_tokens.unwrap_or(128)),
            ),
            Api::Completions => (body.prompt, body.max_tokens),
            Api::Chat => (body.messages, body.max_completion_tokens.or(body.max_tokens)),
        };
        let prompt = prompt.ok_or("no prompt")?;
        if api != Api::Chat && prompt.is_batch {
            return Err("a batch of prompts is not served".to_owned());
        }
        if body.n.or(sampling.n).unwrap_or(1) != 1 {
            return Err("one choice only".to_owned());
        }
        let options = body.stream_options.unwrap_or_default();
        Ok(Self {
            api,
            model: body.model,
            prompt_tokens: prompt.tokens,
            prompt: prompt.hash,
            prefixes: prompt.prefixes,
            tokens,
            streams: body.stream.unwrap_or(false),
            has_usage: options.include_usage.unwrap_or(false),
            has_continuous_usage: options.continuous_usage_stats.unwrap_or(false),
        })
    }
}

/// A prompt of which only the tokens are known: the words of a text, the number of ids.
#[derive(Default)]
struct Counted {
    tokens: u64,
    hash: u64,
    prefixes: Prefixes,
    is_batch: bool,
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut counter = Counter::default();
        Nested {
            counter: &mut counter,
            depth: 0,
        }
        .deserialize(deserializer)?;
        Ok(Self {
            tokens: counter.tokens,
            hash: counter.hasher.finish(),
            prefixes: counter.prefixes,
            is_batch: counter.is_batch,
        })
    }
}

#[derive(Default)]
struct Counter {
    tokens: u64,
    hasher: DefaultHasher,
    prefixes: Prefixes,
    is_batch: bool,
}

/// A value at a depth of lists within a prompt.
struct Nested<'a> {
    counter: &'a mut Counter,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, a list of ids or a list of messages")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.counter.is_batch |= self.depth > 0;
        self.counter.tokens += text.split_ascii_whitespace().count() as u64;
        self.counter.hasher.write(text.as_bytes());
        self.counter.prefixes.add_words(text);
        Ok(())
    }

    fn visit_u64<E>(self, id: u64) -> Result<(), E> {
        self.counter.is_batch |= self.depth > 1;
        self.counter.tokens += 1;
        self.counter.hasher.write_u64(id);
        self.counter.prefixes.add_id(id);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.depth + 1;
        while let Some(()) = seq.next_element_seed(Nested {
            counter: self.counter,
            depth,
        })? {}
        Ok(())
    }

    /// A message, or a part of one.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "content" || key == "text" {
                map.next_value_seed(Nested {
                    counter: self.counter,
                    depth: 0,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
