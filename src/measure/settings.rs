//! The settings that all requests of a run share, and the bodies of requests.

use serde_json::json;

use crate::measure::api::{Api, Kept, Prompt};
use crate::measure::transcript::Transcript;

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
    /// The part of the answers that is kept.
    pub keeps: Kept,
}

impl RequestSettings {
    /// Returns the JSON body of a request for at most `max_tokens` tokens.
    #[must_use]
    pub fn body(&self, prompt: &Prompt, max_tokens: u32) -> Vec<u8> {
        self.body_of(&Transcript::new(self.api, prompt), max_tokens)
    }

    /// Returns the JSON body of a request whose prompt is JSON.
    #[must_use]
    pub fn body_of(&self, prompt: &Transcript, max_tokens: u32) -> Vec<u8> {
        let fields = match self.api {
            Api::Generate => self.native_body(max_tokens),
            Api::Completions | Api::Chat => self.openai_body(max_tokens),
        };
        let mut body = fields.to_string();
        // The prompt becomes the last member of the object.
        body.pop();
        body.push(',');
        prompt.push_to(&mut body);
        body.push('}');
        body.into_bytes()
    }

    fn native_body(&self, max_tokens: u32) -> serde_json::Value {
        let mut sampling = json!({
            "temperature": self.temperature,
            "max_new_tokens": max_tokens,
            "ignore_eos": self.ignores_end,
        });
        self.add_sampling(&mut sampling);
        json!({ "sampling_params": sampling, "stream": true })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::api::Message;

    #[test]
    fn the_bodies_are_what_each_api_takes() {
        let settings = |api| RequestSettings {
            api,
            model: "m".to_owned(),
            ignores_end: true,
            temperature: 0.0,
            top_p: None,
            stop: Vec::new(),
            keeps: Kept::Nothing,
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
                keeps: Kept::Text,
            };
            let body = settings.body(&Prompt::Text("q".to_owned()), 7);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let sampling = body.pointer(place).unwrap();
            assert_eq!(sampling["top_p"], 0.95, "{body}");
            assert_eq!(sampling["stop"], json!(["Question"]), "{body}");
        }
    }
}
