//! Conversations with a server of the `OpenAI` API, of this host or of others: its models, and its answers as streams.

use std::time::Duration;

use serde_json::Value;

use crate::chat::Request;
use crate::effects::env::SERVER_KEY;
use crate::effects::execute::Effects;
use crate::error::{Error, Kind, Result};
use crate::report::{AnswerPiece, StreamedAnswer};
use crate::secret::Secret;
use crate::sglang::api::{AnswerStream, unexpected};

/// Longest wait for the list of models.
const MODELS: Duration = Duration::from_secs(30);

/// Longest wait between two tokens: a long prompt is computed for minutes before the first one.
const ANSWER: Duration = Duration::from_mins(10);

/// The function that takes each piece of an answer, with the tokens that were generated so far, if the server counts them.
pub type OnPiece<'a> = &'a mut (dyn FnMut(&AnswerPiece, Option<u64>) + Send);

/// A server of the `OpenAI` API.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Base URL, without `/v1`.
    pub base_url: String,
    /// The key, if the server needs one.
    pub key: Option<Secret>,
}

/// A model that a server lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// Its name in requests.
    pub name: String,
    /// Most tokens of a request and its answer together, if the server says it.
    pub context_length: Option<u64>,
}

/// The outcome of a request that the server answered.
#[derive(Debug)]
pub enum Reply {
    /// A whole answer.
    Answer(StreamedAnswer),
    /// A refusal in the server's own words: this request failed, and others may not.
    Refused(Error),
}

impl Effects {
    /// Returns the models that a server lists, none if it has no such list.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it refuses the key; [`Kind::Server`] when it does not answer.
    pub async fn models(&self, endpoint: &Endpoint) -> Result<Vec<ServedModel>> {
        let url = format!("{}/v1/models", endpoint.base_url);
        let key = endpoint.key.as_ref();
        let (status, body) = self.http.get_json_with(&url, key, MODELS).await?;
        match status {
            200 => {}
            401 | 403 => return Err(without_access("the list of models", status, &body, key)),
            // Not every server of the API has the list.
            404 | 405 | 501 => return Ok(Vec::new()),
            _ => return Err(unexpected("the list of models", status, &body)),
        }
        let Some(listed) = body["data"].as_array() else {
            return Err(unexpected("the list of models", status, &body));
        };
        let model = |model: &Value| {
            Some(ServedModel {
                name: model["id"].as_str()?.to_owned(),
                context_length: model["max_model_len"].as_u64(),
            })
        };
        Ok(listed.iter().filter_map(model).collect())
    }

    /// Sends a conversation, and passes the pieces of the answer to `on_piece` as they arrive.
    ///
    /// # Errors
    /// [`Kind::Server`] when the server does not answer, or its stream ends before the answer does.
    pub async fn chat(&self, endpoint: &Endpoint, request: &Request, on_piece: OnPiece<'_>) -> Result<Reply> {
        let url = format!("{}/v1/chat/completions", endpoint.base_url);
        let key = endpoint.key.as_ref();
        let mut stream = AnswerStream::default();
        let mut on_event = |data: &str| {
            let pieces = stream.read_event(data);
            let generated = stream.generated();
            for piece in &pieces {
                on_piece(piece, generated);
            }
        };
        let body = request.body();
        let (status, body) = self
            .http
            .post_stream_with(&url, key, &body, ANSWER, &mut on_event)
            .await?;
        match status {
            200 => {}
            401 | 403 => return Ok(Reply::Refused(without_access("an answer", status, &body, key))),
            _ => return Ok(Reply::Refused(unexpected("an answer", status, &body))),
        }
        match stream.refusal() {
            Some(refusal) => Ok(Reply::Refused(refusal)),
            None => stream.streamed().map(Reply::Answer),
        }
    }
}

/// Returns the error for a server that refuses the key, or asks for one.
fn without_access(expected: &str, status: u16, body: &Value, key: Option<&Secret>) -> Error {
    let hint = if key.is_some() {
        format!("the server refuses the key in {SERVER_KEY}: set it to a key of this server")
    } else {
        format!("set {SERVER_KEY} to the key of this server")
    };
    unexpected(expected, status, body)
        .with_kind(Kind::Usage)
        .hint(hint)
}
