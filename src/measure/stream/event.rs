//! One event of a streamed answer, read into what a measurement needs of it.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

use crate::measure::api::{Api, Kept};
use crate::measure::record::{Channel, Failure, FailureKind, Finish, Usage};
use crate::measure::stream::sse::Event;

/// Most tokens of one request that a server can count: those of all requests together fit, too.
const MOST_TOKENS: u64 = 1 << 40;
/// Most characters of a server's own words that are kept.
const LONGEST_TEXT: usize = 200;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// The mark at the end of a stream.
    Done,
    /// A chunk.
    Chunk(ChunkRead<'a>),
    /// An error, or no event of the API.
    Failed(Failure),
}

/// A chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ChunkRead<'a> {
    /// The channel of its text; `None` if it has no choice, as the chunk with the usage at the end.
    pub(super) channel: Option<Channel>,
    /// Counts so far.
    pub(super) usage: Option<Usage>,
    /// The reason of the end.
    pub(super) finish: Option<Finish>,
    /// Its text.
    pub(super) text: TextRead<'a>,
}

/// The text of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum TextRead<'a> {
    /// It has none, or nobody asked for it.
    #[default]
    Nothing,
    /// The part that follows the text before it.
    More {
        /// Of the reasoning.
        reasoning: Cow<'a, str>,
        /// Of the answer.
        answer: Cow<'a, str>,
    },
    /// The whole answer so far, or the part that follows the text before it: `/generate` does either.
    SoFar(Cow<'a, str>),
    /// Ids of tokens with commas between them: all so far, or those that follow the ones before them.
    Ids(&'a [u8]),
}

/// Reads an event of that API. The text of `/generate` is read only if it is asked for, because each event repeats all of it.
pub(super) fn read_event(api: Api, event: Event<'_>, keeps: Kept) -> Read<'_> {
    if event.data == b"[DONE]" {
        return Read::Done;
    }
    if event.name == b"error" {
        return Read::Failed(describe_failure(FailureKind::ErrorEvent, event.data));
    }
    let read = match api {
        Api::Generate => read_native(event.data, keeps),
        Api::Completions | Api::Chat => read_openai(event.data),
    };
    read.unwrap_or_else(|| {
        let kind = if std::str::from_utf8(event.data).is_err() {
            FailureKind::Utf8
        } else {
            FailureKind::Garbage
        };
        Read::Failed(describe_failure(kind, event.data))
    })
}

/// Returns a failure with the beginning of the server's words.
#[must_use]
pub fn describe_failure(kind: FailureKind, text: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * LONGEST_TEXT)]);
    let line: Vec<&str> = text.split_whitespace().collect();
    Failure {
        kind,
        text: line.join(" ").chars().take(LONGEST_TEXT).collect(),
    }
}

/// A chunk of the `OpenAI` API. `SGLang` and vLLM send errors as `error`, or as an object of that name.
#[derive(Deserialize)]
struct OpenAi<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<OpenAiUsage>,
    error: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

/// `reasoning_content` is `SGLang`'s key and DeepSeek's, `reasoning` vLLM's.
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct OpenAiUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    reasoning_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

fn read_openai(data: &[u8]) -> Option<Read<'_>> {
    let chunk: OpenAi<'_> = serde_json::from_slice(data).ok()?;
    if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
        return Some(Read::Failed(describe_failure(FailureKind::ErrorEvent, data)));
    }
    if chunk.choices.is_none() && chunk.usage.is_none() {
        return None;
    }
    let choice = chunk.choices.and_then(|choices| choices.into_iter().next());
    Some(Read::Chunk(ChunkRead {
        channel: choice.as_ref().map(channel_of),
        usage: chunk.usage.and_then(openai_usage),
        finish: choice
            .as_ref()
            .and_then(|choice| choice.finish_reason.as_deref().map(Finish::named)),
        text: choice.map_or(TextRead::Nothing, text_of),
    }))
}

fn text_of(choice: Choice<'_>) -> TextRead<'_> {
    let (reasoning, answer) = match choice.delta {
        Some(delta) => (delta.reasoning_content.or(delta.reasoning), delta.content),
        None => (None, choice.text),
    };
    if reasoning.is_none() && answer.is_none() {
        return TextRead::Nothing;
    }
    TextRead::More {
        reasoning: reasoning.unwrap_or_default(),
        answer: answer.unwrap_or_default(),
    }
}

fn openai_usage(usage: OpenAiUsage) -> Option<Usage> {
    let details = usage.completion_tokens_details;
    possible(Usage {
        prompt: usage.prompt_tokens.unwrap_or(0),
        completion: usage.completion_tokens?,
        cached: usage
            .prompt_tokens_details
            .and_then(|details| details.cached_tokens),
        // SGLang has the count beside the details.
        reasoning: details
            .and_then(|details| details.reasoning_tokens)
            .or(usage.reasoning_tokens),
    })
}

/// Returns counts that a server can have; `None` for others.
fn possible(usage: Usage) -> Option<Usage> {
    let counts = [
        usage.prompt,
        usage.completion,
        usage.cached.unwrap_or(0),
        usage.reasoning.unwrap_or(0),
    ];
    counts.iter().all(|count| *count <= MOST_TOKENS).then_some(usage)
}

fn channel_of(choice: &Choice<'_>) -> Channel {
    let is_text = |text: &Option<Cow<'_, str>>| text.as_deref().is_some_and(|text| !text.is_empty());
    match &choice.delta {
        Some(delta) if is_text(&delta.reasoning_content) || is_text(&delta.reasoning) => Channel::Reasoning,
        Some(delta) if is_text(&delta.content) => Channel::Answer,
        _ if is_text(&choice.text) => Channel::Answer,
        _ => Channel::Silent,
    }
}

/// The facts that `/generate` has about an answer (`tokenizer_manager.py`, 0.4.10 to 0.5.23).
#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow)]
    finish_reason: Option<NativeFinish<'a>>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cached_tokens: Option<u64>,
}

/// An object with a type; a word in some versions.
#[derive(Deserialize)]
#[serde(untagged)]
enum NativeFinish<'a> {
    Typed {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    },
    Word(#[serde(borrow)] Cow<'a, str>),
}

#[derive(Deserialize)]
struct Native<'a> {
    error: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

/// Reads an event of `/generate`.
///
/// Each event repeats the whole text so far, so only what follows the last `"meta_info":` is parsed: inside a JSON string, such
/// a quote would be escaped. The last event, which has a reason of the end, is parsed whole.
fn read_native(data: &[u8], keeps: Kept) -> Option<Read<'_>> {
    const KEY: &[u8] = b"\"meta_info\":";
    let Some(at) = memmem::rfind(data, KEY) else {
        let native: Native<'_> = serde_json::from_slice(data).ok()?;
        let error = Read::Failed(describe_failure(FailureKind::ErrorEvent, data));
        return native.error.is_some().then_some(error);
    };
    let mut values = serde_json::Deserializer::from_slice(&data[at + KEY.len()..]).into_iter::<Meta<'_>>();
    let meta = values.next()?.ok()?;
    let finish = meta.finish_reason.map(|finish| match finish {
        NativeFinish::Typed { r#type } => Finish::named(&r#type),
        NativeFinish::Word(word) => Finish::named(&word),
    });
    let mut text = TextRead::Nothing;
    if finish.is_some() || keeps == Kept::Text {
        let native: Native<'_> = serde_json::from_slice(data).ok()?;
        if let Some(so_far) = native.text.filter(|_| keeps == Kept::Text) {
            text = TextRead::SoFar(so_far);
        }
    }
    if let Some(ids) = find_ids(&data[..at]).filter(|_| keeps == Kept::Ids) {
        text = TextRead::Ids(ids);
    }
    let usage = possible(Usage {
        prompt: meta.prompt_tokens.unwrap_or(0),
        completion: meta.completion_tokens?,
        cached: meta.cached_tokens,
        reasoning: None,
    })?;
    Some(Read::Chunk(ChunkRead {
        channel: Some(Channel::Answer),
        usage: Some(usage),
        finish,
        text,
    }))
}

/// Returns the ids of tokens in an event of `/generate`, without their brackets. As that of the facts, the key cannot be inside
/// of a string.
fn find_ids(data: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = b"\"output_ids\":";
    let list = data[memmem::rfind(data, KEY)? + KEY.len()..].trim_ascii_start();
    let list = list.strip_prefix(b"[")?;
    Some(&list[..memchr::memchr(b']', list)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(api: Api, data: &str) -> Read<'_> {
        let event = Event {
            name: b"",
            data: data.as_bytes(),
        };
        read_event(api, event, Kept::Nothing)
    }

    /// Returns an event without its text.
    fn read_counts(api: Api, data: &str) -> Read<'_> {
        match read(api, data) {
            Read::Chunk(chunk) => Read::Chunk(ChunkRead {
                text: TextRead::Nothing,
                ..chunk
            }),
            other => other,
        }
    }

    /// Events as SGLang 0.5.23 writes them, with the real keys that a measurement does not need.
    #[test]
    fn events_of_the_three_apis_are_read() {
        let usage = |prompt, completion| Usage {
            prompt,
            completion,
            ..Usage::default()
        };
        let chunk = |channel, usage, finish| {
            Read::Chunk(ChunkRead {
                channel,
                usage,
                finish,
                text: TextRead::Nothing,
            })
        };
        let cases = [
            (
                Api::Generate,
                r#"{"text":" a \"meta_info\":{","output_ids":[1],"meta_info":{"id":"x","finish_reason":null,"prompt_tokens":4,"weight_version":"default","completion_tokens":3,"cached_tokens":2}}"#,
                chunk(
                    Some(Channel::Answer),
                    Some(Usage {
                        cached: Some(2),
                        ..usage(4, 3)
                    }),
                    None,
                ),
            ),
            (
                Api::Generate,
                r#"{"text":"","meta_info":{"finish_reason":{"type":"length","length":16},"prompt_tokens":4,"completion_tokens":16}}"#,
                chunk(Some(Channel::Answer), Some(usage(4, 16)), Some(Finish::Length)),
            ),
            (
                Api::Completions,
                r#"{"id":"a","object":"text_completion","choices":[{"index":0,"text":" b","logprobs":null,"finish_reason":null}],"usage":null}"#,
                chunk(Some(Channel::Answer), None, None),
            ),
            (
                Api::Chat,
                r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null}}]}"#,
                chunk(Some(Channel::Silent), None, None),
            ),
            (
                Api::Chat,
                r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"},"finish_reason":null}],"usage":{"prompt_tokens":9,"total_tokens":10,"completion_tokens":1}}"#,
                chunk(Some(Channel::Reasoning), Some(usage(9, 1)), None),
            ),
            (
                Api::Chat,
                r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#,
                chunk(Some(Channel::Reasoning), None, None),
            ),
            (
                Api::Chat,
                r#"{"choices":[{"delta":{"content":"so"},"finish_reason":"stop"}]}"#,
                chunk(Some(Channel::Answer), None, Some(Finish::Stop)),
            ),
            (
                Api::Chat,
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"reasoning_tokens":3,"prompt_tokens_details":{"cached_tokens":8}}}"#,
                chunk(
                    None,
                    Some(Usage {
                        cached: Some(8),
                        reasoning: Some(3),
                        ..usage(9, 5)
                    }),
                    None,
                ),
            ),
            (Api::Chat, "[DONE]", Read::Done),
        ];
        for (api, data, expected) in cases {
            assert_eq!(read_counts(api, data), expected, "{data}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_a_failure_of_its_kind() {
        let kind = |api, data: &[u8]| match read_event(api, Event { name: b"", data }, Kept::Nothing) {
            Read::Failed(failure) => failure.kind,
            other => panic!("{other:?}"),
        };
        let error = FailureKind::ErrorEvent;
        assert_eq!(
            kind(Api::Chat, br#"{"error":{"message":"no memory","code":500}}"#),
            error
        );
        assert_eq!(
            kind(Api::Chat, br#"{"object":"error","message":"too long"}"#),
            error
        );
        assert_eq!(kind(Api::Generate, br#"{"error":{"message":"aborted"}}"#), error);
        assert_eq!(
            kind(Api::Chat, b"{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}"),
            FailureKind::Utf8
        );
        for garbage in ["{", "5", "{}", "{\"choices\":7}", "<html>", "null"] {
            assert_eq!(
                kind(Api::Chat, garbage.as_bytes()),
                FailureKind::Garbage,
                "{garbage}"
            );
            assert_eq!(
                kind(Api::Generate, garbage.as_bytes()),
                FailureKind::Garbage,
                "{garbage}"
            );
        }
        let absurd =
            br#"{"text":"a","meta_info":{"finish_reason":null,"completion_tokens":9223372036854775808}}"#;
        assert_eq!(kind(Api::Generate, absurd), FailureKind::Garbage);
        let broken =
            br#"{"text":",,"oops,"meta_info":{"finish_reason":{"type":"stop"},"completion_tokens":1}}"#;
        assert_eq!(kind(Api::Generate, broken), FailureKind::Garbage);
        let named = Event {
            name: b"error",
            data: b"  x \n y ",
        };
        let expected = Failure {
            kind: error,
            text: "x y".to_owned(),
        };
        assert_eq!(read_event(Api::Chat, named, Kept::Text), Read::Failed(expected));
    }

    proptest::proptest! {
        #[test]
        fn any_data_is_read(data in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            for api in [Api::Generate, Api::Completions, Api::Chat] {
                for keeps in [Kept::Nothing, Kept::Text, Kept::Ids] {
                    let _ = read_event(api, Event { name: b"", data: &data }, keeps);
                }
            }
        }

        #[test]
        fn a_text_of_any_kind_does_not_change_the_counts(text in "(\\PC|\"meta_info\":|\\\\){0,12}") {
            let text = serde_json::to_string(&text).unwrap();
            let data = format!(r#"{{"text":{text},"meta_info":{{"finish_reason":null,"prompt_tokens":1,"completion_tokens":2}}}}"#);
            let Read::Chunk(chunk) = read(Api::Generate, &data) else { panic!("{data}") };
            proptest::prop_assert_eq!(chunk.usage.unwrap().completion, 2);
        }
    }
}
