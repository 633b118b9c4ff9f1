//! The APIs that a load uses, and the bodies of its requests.

use serde_json::json;

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

/// The settings that all requests of a run share.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestSettings {
    /// The API.
    pub api: Api,
    /// The model's name in requests.
    pub model: String,
    /// True if the server is to ignore the model's mark of an end, so that each answer has the length that was asked for.
    pub ignores_end: bool,
    /// Sampling temperature.
    pub temperature: f64,
    /// Share of the probability that is sampled from; `None` for the server's own.
    pub top_p: Option<f64>,
    /// Texts at which an answer ends.
    pub stop: Vec<String>,
    /// True to keep the text of the answers. A measurement has no use for it.
    pub keeps_text: bool,
}

impl RequestSettings {
    /// Returns the JSON body of a request for at most `max_tokens` tokens.
    #[must_use]
    pub fn body(&self, prompt: &Prompt, max_tokens: u32) -> Vec<u8> {
        let value = match self.api {
            Api::Generate => {
                let mut value = json!({
                    "sampling_params": {
                        "temperature": self.temperature,
                        "max_new_tokens": max_tokens,
                        "ignore_eos": self.ignores_end,
                    },
                    "stream": true,
                });
                self.add_sampling(&mut value["sampling_params"]);
                match prompt {
                    Prompt::Ids(ids) => value["input_ids"] = json!(ids),
                    Prompt::Text(text) => value["text"] = json!(text),
                    // A data file with messages is refused for this API.
                    Prompt::Messages(messages) => value["text"] = json!(joined(messages)),
                }
                value
            }
            Api::Completions => {
                let mut value = self.openai_body(max_tokens);
                value["prompt"] = match prompt {
                    Prompt::Ids(ids) => json!(ids),
                    Prompt::Text(text) => json!(text),
                    Prompt::Messages(messages) => json!(joined(messages)),
                };
                value
            }
            Api::Chat => {
                let mut value = self.openai_body(max_tokens);
                value["messages"] = match prompt {
                    Prompt::Text(text) => json!([{ "role": "user", "content": text }]),
                    Prompt::Messages(messages) => json!(messages),
                    // Ids have no place in a message; the command refuses them for this API.
                    Prompt::Ids(_) => json!([]),
                };
                value
            }
        };
        value.to_string().into_bytes()
    }

    /// Adds the settings of sampling that are not left to the server.
    fn add_sampling(&self, value: &mut serde_json::Value) {
        if let Some(top_p) = self.top_p {
            value["top_p"] = json!(top_p);
        }
        if !self.stop.is_empty() {
            value["stop"] = json!(self.stop);
        }
    }

    fn openai_body(&self, max_tokens: u32) -> serde_json::Value {
        let mut value = json!({
            "model": self.model,
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "ignore_eos": self.ignores_end,
            "stream": true,
            // SGLang 0.5.5 and later and vLLM then count the tokens in each chunk.
            "stream_options": { "include_usage": true, "continuous_usage_stats": true },
        });
        self.add_sampling(&mut value);
        value
    }
}

fn joined(messages: &[Message]) -> String {
    let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
    texts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bodies_are_what_each_api_takes() {
        let settings = |api| RequestSettings {
            api,
            model: "m".to_owned(),
            ignores_end: true,
            temperature: 0.0,
            top_p: None,
            stop: Vec::new(),
            keeps_text: false,
        };
        let text = |api, prompt: &Prompt| String::from_utf8(settings(api).body(prompt, 7)).unwrap();
        let ids = Prompt::Ids(vec![5, 6]);
        let words = Prompt::Text("a \"b\"".to_owned());
        let messages = ["system", "user"].map(|role| Message {
            role: role.to_owned(),
            content: "a".to_owned(),
        });
        insta::assert_snapshot!(
            [
                text(Api::Generate, &ids),
                text(Api::Generate, &words),
                text(Api::Completions, &ids),
                text(Api::Completions, &words),
                text(Api::Chat, &words),
                text(Api::Chat, &Prompt::Messages(messages.to_vec())),
            ]
            .join("\n")
        );
    }

    #[test]
    fn sampling_is_in_the_body_only_if_it_is_set() {
        for (api, place) in [
            (Api::Generate, "/sampling_params"),
            (Api::Completions, ""),
            (Api::Chat, ""),
        ] {
            let settings = RequestSettings {
                api,
                model: "m".to_owned(),
                ignores_end: false,
                temperature: 0.6,
                top_p: Some(0.95),
                stop: vec!["Question".to_owned()],
                keeps_text: true,
            };
            let body = settings.body(&Prompt::Text("q".to_owned()), 7);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let sampling = body.pointer(place).unwrap();
            assert_eq!(sampling["top_p"], 0.95, "{body}");
            assert_eq!(sampling["stop"], json!(["Question"]), "{body}");
        }
    }

    #[test]
    fn the_backends_of_sglangs_client_have_their_api() {
        for api in [Api::Generate, Api::Completions, Api::Chat] {
            assert_eq!(Api::of_sglang_backend(api.sglang_backend()), Some(api));
        }
        assert_eq!(Api::of_sglang_backend("trt"), None);
    }
}
