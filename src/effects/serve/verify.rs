//! Checks the answers of a ready server: READY means that it answers, VERIFIED that the answers are right.

use std::time::Duration;

use serde_json::Value;

use crate::effects::http::Http;
use crate::error::{Error, Kind, Result};
use crate::plan::VerifyAnswers;
use crate::profile::Verify;
use crate::report::{Answer, AnswerCheck, AnswerPiece, Verification};
use crate::sglang::api::{AnswerStream, answer, chat_body, short, stream_body, unexpected};

/// Longest wait for one answer: a reasoning model thinks for minutes.
const ANSWER: Duration = Duration::from_mins(10);

/// Tokens of an answer in the wiring checks; few, because a random model uses all of them.
const WIRING_TOKENS: u32 = 16;

/// Questions that any DeepSeek-R1 answers correctly, each with a text that the answer must contain.
const QUESTIONS: [(&str, &str); 3] = [
    ("What is 17 * 23? Answer with the number only.", "391"),
    ("What is the capital of France? Answer with one word.", "Paris"),
    (
        "Spell the word `inference` backwards. Answer with the word only.",
        "ecnerefni",
    ),
];

/// Checks the answers of a server.
///
/// # Errors
/// [`Kind::Server`] when it does not answer or a check fails.
pub(in crate::effects) async fn verify(step: &VerifyAnswers, http: &Http) -> Result<Verification> {
    let server = Client {
        http,
        base_url: &step.base_url,
    };
    let model = server.model_name().await?;
    let mut checks = vec![check("one model is listed", true, &model)];
    checks.extend(server.check_wiring(&model).await?);
    if step.checks == Verify::Answers {
        for (question, expected) in QUESTIONS {
            let answer = server.chat(&model, question, 4096, 0.0).await?;
            let name = format!("answers: {question}");
            checks.push(check(
                &name,
                answer.content.contains(expected),
                &short(&answer.content),
            ));
            if let Some(reasoning) = &answer.reasoning {
                checks.push(check(
                    "the reasoning is closed",
                    !reasoning.is_empty() && !answer.content.trim().is_empty(),
                    &format!("{} characters", reasoning.len()),
                ));
            }
        }
    }
    let scope = match step.checks {
        Verify::Wiring => "wiring",
        Verify::Answers => "answers",
    };
    let verification = Verification {
        scope: scope.to_owned(),
        checks,
    };
    match verification.checks.iter().find(|check| !check.passed) {
        None => Ok(verification),
        Some(failed) => Err(Error::new(
            Kind::Server,
            format!("the server's answers are wrong: {}", failed.name),
        )
        .cause(format!("it answered: {}", failed.seen))
        .hint(format!(
            "dsr1 ask --url {} 'your question' shows an answer",
            step.base_url
        ))),
    }
}

/// Sends one question.
///
/// # Errors
/// [`Kind::Server`] when the server does not answer.
pub(in crate::effects) async fn ask(
    http: &Http,
    base_url: &str,
    question: &str,
    max_tokens: u32,
    temperature: f64,
) -> Result<Answer> {
    let server = Client { http, base_url };
    let model = server.model_name().await?;
    server.chat(&model, question, max_tokens, temperature).await
}

/// Sends one question, and passes the pieces of the answer to `on_piece` as they arrive.
///
/// # Errors
/// As [`ask`].
pub(in crate::effects) async fn ask_stream(
    http: &Http,
    base_url: &str,
    question: &str,
    max_tokens: u32,
    temperature: f64,
    on_piece: &mut (dyn FnMut(&AnswerPiece) + Send),
) -> Result<Answer> {
    let server = Client { http, base_url };
    let model = server.model_name().await?;
    let body = stream_body(&model, question, max_tokens, temperature);
    server.stream_chat(&body, on_piece).await?.answer()
}

/// Returns the most tokens that prompt and answer of a request may have together; `None` if the server does not say.
pub(in crate::effects) async fn context_length(http: &Http, base_url: &str) -> Option<u64> {
    let url = format!("{base_url}/v1/models");
    let (_, body) = http.get_json(&url, Duration::from_secs(5)).await.ok()?;
    body["data"][0]["max_model_len"].as_u64()
}

/// Returns the name of the model that a server lists; `None` if it does not say it.
pub(in crate::effects) async fn served_model(http: &Http, base_url: &str) -> Option<String> {
    let url = format!("{base_url}/v1/models");
    let (_, body) = http.get_json(&url, Duration::from_secs(5)).await.ok()?;
    body["data"][0]["id"].as_str().map(str::to_owned)
}

/// The API of one server.
struct Client<'a> {
    http: &'a Http,
    base_url: &'a str,
}

impl Client<'_> {
    async fn model_name(&self) -> Result<String> {
        let url = format!("{}/v1/models", self.base_url);
        let (status, body) = self.http.get_json(&url, Duration::from_secs(30)).await?;
        let id = body["data"]
            .as_array()
            .and_then(|models| models.first())
            .and_then(|model| model["id"].as_str());
        match id {
            Some(id) if status == 200 => Ok(id.to_owned()),
            _ => Err(unexpected("the list of models", status, &body)),
        }
    }

    async fn chat(&self, model: &str, question: &str, max_tokens: u32, temperature: f64) -> Result<Answer> {
        let url = format!("{}/v1/chat/completions", self.base_url);
        let (status, body) = self
            .http
            .post_json(&url, &chat_body(model, question, max_tokens, temperature), ANSWER)
            .await?;
        if status == 200 {
            answer(&body)
        } else {
            Err(unexpected("an answer", status, &body))
        }
    }

    /// Sends a question and reads the answer as a stream; passes its pieces to `on_piece`.
    async fn stream_chat(
        &self,
        body: &Value,
        on_piece: &mut (dyn FnMut(&AnswerPiece) + Send),
    ) -> Result<AnswerStream> {
        let url = format!("{}/v1/chat/completions", self.base_url);
        let mut stream = AnswerStream::default();
        let mut on_event = |data: &str| stream.read_event(data).iter().for_each(&mut *on_piece);
        let (status, body) = self.http.post_stream(&url, body, ANSWER, &mut on_event).await?;
        if status == 200 {
            Ok(stream)
        } else {
            Err(unexpected("an answer", status, &body))
        }
    }

    /// Checks what any model must do, even a random one.
    async fn check_wiring(&self, model: &str) -> Result<Vec<AnswerCheck>> {
        const QUESTION: &str = "Say hello.";
        let first = self.chat(model, QUESTION, WIRING_TOKENS, 0.0).await?;
        let again = self.chat(model, QUESTION, WIRING_TOKENS, 0.0).await?;
        let body = stream_body(model, QUESTION, WIRING_TOKENS, 0.0);
        let stream = self.stream_chat(&body, &mut |_| {}).await?;
        let (streamed, done, finish) = (stream.full_text(), stream.is_done(), stream.finish_reason());
        let tokens = first.completion_tokens;
        let full_text = |answer: &Answer| {
            format!(
                "{}{}",
                answer.reasoning.as_deref().unwrap_or_default(),
                answer.content
            )
        };
        let finished = matches!(first.finish_reason.as_str(), "stop" | "length");
        let counted = first.prompt_tokens > 0 && (1..=u64::from(WIRING_TOKENS)).contains(&tokens);
        Ok(vec![
            check(
                "an answer ends as the API says",
                finished,
                &format!("finish_reason {}", first.finish_reason),
            ),
            check(
                "tokens are counted",
                counted,
                &format!(
                    "{} prompt, {tokens} generated, at most {WIRING_TOKENS} asked for",
                    first.prompt_tokens
                ),
            ),
            check(
                "temperature 0 repeats itself",
                full_text(&first) == full_text(&again),
                &short(&full_text(&again)),
            ),
            check(
                "a stream carries the same text",
                without_marks(&streamed) == without_marks(&full_text(&first)),
                &short(&streamed),
            ),
            check(
                "a stream ends with its marks",
                done && finish == first.finish_reason,
                &format!(
                    "finish_reason {finish}, [DONE] {}",
                    if done { "seen" } else { "missing" }
                ),
            ),
        ])
    }
}

/// Returns a text without the marks of reasoning and without space, which only one of two answers may have.
fn without_marks(text: &str) -> String {
    let text = text.replace("<think>", "").replace("</think>", "");
    // SGLang strips space around the parts of a whole answer, and not in a stream.
    text.split_whitespace().collect()
}

fn check(name: &str, passed: bool, seen: &str) -> AnswerCheck {
    AnswerCheck {
        name: name.to_owned(),
        passed,
        seen: seen.to_owned(),
    }
}
