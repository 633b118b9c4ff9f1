//! A streamed answer: its chunks with their times, its counts, and its end.

use crate::measure::api::{Api, Kept};
use crate::measure::record::{AnswerText, Channel, Chunk, Failure, FailureKind, Finish, Usage};
use crate::measure::stream::event::{ChunkRead, Read, TextRead, describe_failure, read_event};
use crate::measure::stream::sse::{Event, Splitter};

/// Most bytes of a text that is kept. 128000 tokens have some 600 kB.
const MOST_TEXT: usize = 4 << 20;

/// Reads one answer after the other.
#[derive(Debug)]
pub struct AnswerReader {
    api: Api,
    keeps: Kept,
    splitter: Splitter,
    state: State,
}

/// The answer that is being read.
#[derive(Debug, Default)]
struct State {
    chunks: Vec<Chunk>,
    /// Generated tokens that the last chunk counted.
    counted: u64,
    /// The largest counts so far.
    usage: Option<Usage>,
    finish: Option<Finish>,
    is_done: bool,
    failure: Option<Failure>,
    text: AnswerText,
    /// The ids of its tokens, as the server wrote them: with commas between them.
    ids: Vec<u8>,
}

/// An answer that was read.
#[derive(Debug, PartialEq)]
pub struct AnswerRead {
    /// Its chunks.
    pub chunks: Vec<Chunk>,
    /// The server's counts.
    pub usage: Option<Usage>,
    /// The reason of its end, or the failure.
    pub end: Result<Finish, Failure>,
    /// Its text or its ids; `None` unless they are kept.
    pub text: Option<Box<AnswerText>>,
}

impl AnswerReader {
    /// Returns a reader of streams of that API, which keeps a part of the answers.
    #[must_use]
    pub fn new(api: Api, keeps: Kept) -> Self {
        Self {
            api,
            keeps,
            splitter: Splitter::default(),
            state: State::default(),
        }
    }

    /// Adds bytes of the body that arrived `after_us` microseconds after the request was sent. Returns the tokens that the
    /// server counts more than before.
    pub fn push(&mut self, bytes: &[u8], after_us: u32) -> u64 {
        let Self {
            api,
            keeps,
            splitter,
            state,
        } = self;
        let counted = state.counted;
        let result = splitter.push(bytes, &mut |event: Event<'_>| {
            match read_event(*api, event, *keeps) {
                Read::Done => state.is_done = true,
                Read::Chunk(chunk) => {
                    state.add(&chunk, after_us);
                    if *keeps != Kept::Nothing {
                        state.add_text(&chunk.text);
                        state.check_text();
                    }
                }
                // The first failure is the cause of others.
                Read::Failed(failure) => {
                    state.failure.get_or_insert(failure);
                }
            }
        });
        if result.is_err() {
            let too_long = describe_failure(FailureKind::Garbage, b"an event of more than 16 MiB");
            self.state.failure.get_or_insert(too_long);
        }
        self.state.counted - counted
    }

    /// Returns true if an error or garbage came: the rest of the answer does not matter.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.state.failure.is_some()
    }

    /// Ends the answer, whose body was received to its end, and makes the reader ready for another one.
    pub fn finish(&mut self) -> AnswerRead {
        let is_inside = self.splitter.is_inside_event();
        self.splitter.clear();
        let mut state = std::mem::take(&mut self.state);
        let has_ids = self.keeps != Kept::Ids || state.read_ids();
        let end = match (state.failure, state.finish, state.usage) {
            (Some(failure), _, _) => Err(failure),
            (None, Some(Finish::Other(name)), _) if name == "abort" => {
                Err(describe_failure(FailureKind::Aborted, b""))
            }
            (None, None, _) if !state.is_done || is_inside => {
                Err(describe_failure(FailureKind::Truncated, b"the stream has no end"))
            }
            (None, _, None) => Err(describe_failure(FailureKind::NoUsage, b"")),
            (None, _, Some(usage)) if usage.completion == 0 => {
                Err(describe_failure(FailureKind::NoTokens, b""))
            }
            _ if !has_ids => Err(describe_failure(FailureKind::NoIds, b"")),
            (None, finish, _) => Ok(finish.unwrap_or_else(|| Finish::named("none"))),
        };
        AnswerRead {
            chunks: state.chunks,
            usage: state.usage,
            end,
            text: (self.keeps != Kept::Nothing).then(|| Box::new(state.text)),
        }
    }

    /// Returns the parts of the answer that have arrived so far.
    #[must_use]
    pub fn so_far(&self) -> (&[Chunk], Option<Usage>) {
        (&self.state.chunks, self.state.usage)
    }

    /// Drops the answer, which broke off, and returns its parts.
    pub fn abandon(&mut self) -> (Vec<Chunk>, Option<Usage>) {
        self.splitter.clear();
        let state = std::mem::take(&mut self.state);
        (state.chunks, state.usage)
    }
}

impl State {
    fn add_text(&mut self, text: &TextRead<'_>) {
        let known = &mut self.text;
        match text {
            TextRead::Nothing => {}
            TextRead::More { reasoning, answer } => {
                known.reasoning.push_str(reasoning);
                known.answer.push_str(answer);
            }
            TextRead::SoFar(text) if text.starts_with(&known.answer) => {
                known.answer.push_str(&text[known.answer.len()..]);
            }
            TextRead::SoFar(text) => known.answer.push_str(text),
            TextRead::Ids(ids) => self.add_ids(ids),
        }
    }

    /// Adds ids: all so far if they are as many as the server counts, or else those that follow. `SGLang` does either, by its
    /// argument `--stream-output` (later `--incremental-streaming-output`). All so far may be more than are counted yet: 0.5.23
    /// writes a list that grows meanwhile (`tokenizer_manager.py`).
    fn add_ids(&mut self, ids: &[u8]) {
        let count = match ids.trim_ascii() {
            [] => return,
            ids => memchr::memchr_iter(b',', ids).count() as u64 + 1,
        };
        if count >= self.counted {
            self.ids.clear();
        }
        if !self.ids.is_empty() {
            self.ids.push(b',');
        }
        self.ids.extend_from_slice(ids);
    }

    /// Reads the ids that were kept. Returns false if they are not those of all tokens.
    fn read_ids(&mut self) -> bool {
        let list = [b"[", &self.ids[..], b"]"].concat();
        self.text.ids = serde_json::from_slice(&list).unwrap_or_default();
        self.text.ids.len() as u64 == self.counted
    }

    /// Fails an answer whose text is too long to be one, and drops the text.
    fn check_text(&mut self) {
        if self.text.reasoning.len() + self.text.answer.len() + self.ids.len() > MOST_TEXT {
            (self.text, self.ids) = (AnswerText::default(), Vec::new());
            let too_long = describe_failure(FailureKind::Garbage, b"a text of more than 4 MiB");
            self.failure.get_or_insert(too_long);
        }
    }

    fn add(&mut self, read: &ChunkRead<'_>, after_us: u32) {
        let mut growth = 0;
        if let Some(usage) = read.usage {
            growth = usage.completion.saturating_sub(self.counted);
            self.counted = self.counted.max(usage.completion);
            // The chunks in between have fewer counts than the last one.
            let known = self.usage.unwrap_or_default();
            self.usage = Some(Usage {
                prompt: usage.prompt.max(known.prompt),
                completion: usage.completion.max(known.completion),
                cached: usage.cached.or(known.cached),
                reasoning: usage.reasoning.or(known.reasoning),
            });
        }
        if read.finish.is_some() {
            self.finish.clone_from(&read.finish);
        }
        let Some(channel) = read.channel else {
            return;
        };
        if growth == 0 && channel == Channel::Silent {
            return;
        }
        if growth == 0 && self.counted > 0 {
            // Its tokens were counted in the chunk before: SGLang counts the first one in the chunk with the role.
            if let Some(last) = self
                .chunks
                .last_mut()
                .filter(|last| last.channel == Channel::Silent)
            {
                last.channel = channel;
            }
            return;
        }
        self.chunks.push(Chunk {
            after_us,
            tokens: u16::try_from(growth).unwrap_or(u16::MAX),
            channel,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(api: Api, events: &[&str]) -> AnswerRead {
        let mut reader = AnswerReader::new(api, Kept::Text);
        for (index, event) in (0..).zip(events) {
            reader.push(format!("data: {event}\n\n").as_bytes(), 10 * (index + 1));
        }
        reader.finish()
    }

    fn native(tokens: u64, finish: &str) -> String {
        format!(
            r#"{{"text":"x","meta_info":{{"finish_reason":{finish},"prompt_tokens":5,"completion_tokens":{tokens}}}}}"#
        )
    }

    #[test]
    fn chunks_have_the_growth_of_the_servers_count() {
        let events = [
            native(1, "null"),
            native(11, "null"),
            native(16, r#"{"type":"length"}"#),
        ];
        let mut events: Vec<&str> = events.iter().map(String::as_str).collect();
        events.push("[DONE]");
        let answer = read(Api::Generate, &events);
        let growth: Vec<_> = answer
            .chunks
            .iter()
            .map(|chunk| (chunk.after_us, chunk.tokens))
            .collect();
        assert_eq!(growth, [(10, 1), (20, 10), (30, 5)]);
        assert_eq!(answer.end, Ok(Finish::Length));
        assert_eq!(answer.usage.unwrap().completion, 16);
    }

    #[test]
    fn the_text_is_kept_in_both_forms_of_generate_and_by_its_channel() {
        let event = |text: &str, tokens: u64, finish: &str| {
            format!(
                r#"{{"text":"{text}","meta_info":{{"finish_reason":{finish},"prompt_tokens":5,"completion_tokens":{tokens}}}}}"#
            )
        };
        let stop = r#"{"type":"stop"}"#;
        let kept = |events: &[String]| {
            let mut events: Vec<&str> = events.iter().map(String::as_str).collect();
            events.push("[DONE]");
            read(Api::Generate, &events).text.unwrap().answer
        };
        let so_far = [
            event("The", 1, "null"),
            event("The \\n 7", 2, "null"),
            event("The \\n 7.", 3, stop),
        ];
        assert_eq!(kept(&so_far), "The \n 7.");
        let pieces = [
            event("The", 1, "null"),
            event(" 7", 2, "null"),
            event(".", 3, stop),
        ];
        assert_eq!(kept(&pieces), "The 7.");
        let both = r#"{"choices":[{"delta":{"reasoning_content":"hm","content":"so"}}]}"#;
        let more = r#"{"choices":[{"delta":{"content":" 7"},"finish_reason":"stop"}]}"#;
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":3}}"#;
        let text = read(Api::Chat, &[both, more, usage, "[DONE]"]).text.unwrap();
        assert_eq!((text.reasoning.as_str(), text.answer.as_str()), ("hm", "so 7"));
    }

    #[test]
    fn the_ids_are_kept_in_both_forms_of_generate_and_must_be_those_of_all_tokens() {
        let event = |ids: &str, tokens: u64| {
            format!(
                r#"{{"text":"\"output_ids\":[9]","output_ids":{ids},"meta_info":{{"finish_reason":null,"prompt_tokens":5,"completion_tokens":{tokens}}}}}"#
            )
        };
        let kept = |events: &[String]| {
            let mut reader = AnswerReader::new(Api::Generate, Kept::Ids);
            for event in events.iter().map(String::as_str).chain(["[DONE]"]) {
                reader.push(format!("data: {event}\n\n").as_bytes(), 1);
            }
            let answer = reader.finish();
            (
                answer.text.unwrap().ids,
                answer.end.map_err(|failure| failure.kind),
            )
        };
        let end = || Ok(Finish::named("none"));
        let so_far = [event("[4]", 1), event("[4,5, 6]", 2), event("[4, 5,6,7]", 4)];
        assert_eq!(kept(&so_far), (vec![4, 5, 6, 7], end()));
        let parts = [
            event(" [4]", 1),
            event("[5,6]", 3),
            event("[]", 3),
            event("[7]", 4),
        ];
        assert_eq!(kept(&parts), (vec![4, 5, 6, 7], end()));
        for broken in [
            vec![event("[4]", 1), event("[6]", 3)],
            vec![event("null", 2)],
            vec![event("[4,-5]", 2)],
            vec![event("[4,\"x\"]", 2)],
            vec![event("[4,5", 2)],
        ] {
            assert_eq!(kept(&broken).1, Err(FailureKind::NoIds), "{broken:?}");
        }
    }

    #[test]
    fn a_text_without_end_fails_if_it_is_kept() {
        let long = "x".repeat(1 << 20);
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{long}\"}}}}]}}\n\n");
        for keeps in [Kept::Text, Kept::Nothing] {
            let mut reader = AnswerReader::new(Api::Chat, keeps);
            for _ in 0..5 {
                reader.push(event.as_bytes(), 1);
            }
            assert_eq!(reader.has_failed(), keeps == Kept::Text);
        }
    }

    #[test]
    fn a_server_that_counts_at_the_end_only_has_chunks_without_counts() {
        let text = r#"{"choices":[{"text":" a","finish_reason":null}]}"#;
        let last = r#"{"choices":[{"text":"","finish_reason":"length"}]}"#;
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":8}}"#;
        let answer = read(Api::Completions, &[text, text, last, usage, "[DONE]"]);
        assert_eq!(answer.chunks.len(), 2);
        assert!(answer.chunks.iter().all(|chunk| chunk.tokens == 0));
        assert_eq!(answer.end, Ok(Finish::Length));
    }

    #[test]
    fn the_role_is_no_token_and_reasoning_is_told_apart() {
        let role = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
        let chunk = |key: &str, tokens: u64| {
            format!(
                r#"{{"choices":[{{"delta":{{"{key}":"x"}}}}],"usage":{{"prompt_tokens":3,"completion_tokens":{tokens}}}}}"#
            )
        };
        let (thought, answered) = (chunk("reasoning_content", 2), chunk("content", 3));
        let end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"reasoning_tokens":2}}"#;
        let answer = read(Api::Chat, &[role, &thought, &answered, end, "[DONE]"]);
        let seen: Vec<_> = answer
            .chunks
            .iter()
            .map(|chunk| (chunk.after_us, chunk.tokens, chunk.channel))
            .collect();
        let expected = [
            (20, 2, Channel::Reasoning),
            (30, 1, Channel::Answer),
            (40, 1, Channel::Silent),
        ];
        assert_eq!(seen, expected);
        assert_eq!(answer.usage.unwrap().reasoning, Some(2));
    }

    #[test]
    fn a_token_that_is_counted_with_the_role_has_the_channel_of_its_text() {
        let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":1}"#;
        let role = format!(r#"{{"choices":[{{"delta":{{"role":"assistant","content":""}}}}],{usage}}}"#);
        let text = format!(r#"{{"choices":[{{"delta":{{"content":"x"}},"finish_reason":"stop"}}],{usage}}}"#);
        let answer = read(Api::Chat, &[&role, &text, "[DONE]"]);
        let expected = Chunk {
            after_us: 10,
            tokens: 1,
            channel: Channel::Answer,
        };
        assert_eq!(answer.chunks, [expected]);
    }

    #[test]
    fn an_answer_that_is_none_has_its_kind_of_failure() {
        let kind = |events: &[&str]| read(Api::Chat, events).end.unwrap_err().kind;
        let text = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
        let stop = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
        let aborted = r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#;
        let zero = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":0}}"#;
        assert_eq!(kind(&[text]), FailureKind::Truncated);
        assert_eq!(kind(&[]), FailureKind::Truncated);
        assert_eq!(kind(&[text, stop, "[DONE]"]), FailureKind::NoUsage);
        assert_eq!(kind(&[stop, zero, "[DONE]"]), FailureKind::NoTokens);
        assert_eq!(kind(&[text, aborted, "[DONE]"]), FailureKind::Aborted);
        assert_eq!(kind(&[text, "{", stop, "[DONE]"]), FailureKind::Garbage);
    }

    #[test]
    fn a_reader_reads_the_next_answer_anew() {
        let mut reader = AnswerReader::new(Api::Generate, Kept::Nothing);
        assert_eq!(
            reader.push(format!("data: {}\n\ndata: {{", native(4, "null")).as_bytes(), 1),
            4
        );
        assert!(!reader.has_failed());
        assert_eq!(reader.abandon().0.len(), 1);
        let event = format!("data: {}\n\ndata: [DONE]\n\n", native(2, "\"stop\""));
        assert_eq!(reader.push(event.as_bytes(), 2), 2);
        let answer = reader.finish();
        assert_eq!((answer.chunks.len(), answer.end), (1, Ok(Finish::Stop)));
        assert_eq!(answer.text, None);
    }
}
