//! `dsr1 ask`: sends one question to a running server.

use std::io::IsTerminal;
use std::pin::Pin;

use serde::Serialize;

use super::context::Context;
use super::status::probe;
use crate::cli::AskArgs;
use crate::effects;
use crate::error::{At, Error, Kind, Result};
use crate::event::Event;
use crate::plan;
use crate::report::{Answer, AnswerPiece, ServerState};
use crate::ui::{self, LiveAnswer};

#[derive(Debug, Serialize)]
struct Answered<'a> {
    schema: &'static str,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// Runs the command.
pub(super) async fn run(context: &Context, mut args: AskArgs) -> Result<()> {
    take_server(context, &mut args).await?;
    let question = question(context, &args.question, args.server.as_deref())?;
    check_temperature(args.temperature)?;
    let takes = "dsr1 ask takes --server NAME, or --url URL for one of another user or host";
    let (own, base_url) = endpoint(context, args.server.as_deref(), args.url.as_deref(), takes).await?;
    // Of a server that dsr1 started, the URL is right.
    let is_endpoint = |error: Error| if args.url.is_some() { of_url(error) } else { error };
    if !context.is_json() && ui::is_live() {
        let mut live = LiveAnswer::default();
        let mut shown = Ok(());
        let mut on_piece = |piece: &AnswerPiece| {
            if shown.is_ok() {
                shown = ui::print(&live.piece(piece));
            }
        };
        let request = context.effects.ask_stream(
            &base_url,
            &question,
            args.max_tokens,
            args.temperature,
            &mut on_piece,
        );
        let answer = context
            .until_interrupted(unless_hung(context, own.as_ref(), &base_url, Box::pin(request)))
            .await;
        shown?;
        return match answer {
            Ok(answer) => ui::print(&live.end(&answer)),
            Err(error) => {
                ui::print(live.end_line())?;
                Err(explained(context, own.as_ref(), is_endpoint(error)).await)
            }
        };
    }
    let request = context
        .effects
        .ask(&base_url, &question, args.max_tokens, args.temperature);
    let request = unless_hung(context, own.as_ref(), &base_url, Box::pin(request));
    let answer = match context.until_interrupted(request).await {
        Ok(answer) => answer,
        Err(error) => return Err(explained(context, own.as_ref(), is_endpoint(error)).await),
    };
    let answered = Answered {
        schema: "dsr1.answer/1",
        answer: &answer,
    };
    context.print_document(&answered, |answered| ui::answer(answered.answer))
}

/// Checks a sampling temperature.
///
/// # Errors
/// [`Kind::Usage`] when it is out of the range of the API.
pub(super) fn check_temperature(temperature: f64) -> Result<()> {
    if (0.0..=2.0).contains(&temperature) {
        return Ok(());
    }
    let text = format!("--temperature {temperature} is out of range");
    Err(Error::new(Kind::Usage, text)
        .hint("give a number between 0 and 2; DeepSeek recommends 0.5 to 0.7 for R1"))
}

/// Returns a URL without a slash or `/v1` at its end: clients of the `OpenAI` API call the URL with `/v1` the base URL.
pub(super) fn base_of(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/v1").unwrap_or(url)
}

/// Returns the server that is asked and its base URL: the URL that the user named, which is no server of dsr1, or that of the
/// ready server of this host. `takes` is the hint that says how the command names a server.
///
/// # Errors
/// [`Kind::Usage`] when the URL is none, or the server is not there; [`Kind::Server`] when it hangs.
pub(super) async fn endpoint(
    context: &Context,
    name: Option<&str>,
    url: Option<&str>,
    takes: &str,
) -> Result<(Option<plan::Server>, String)> {
    match url {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok((None, base_of(url).to_owned()))
        }
        Some(url) => Err(
            Error::new(Kind::Usage, format!("`{}` is not a URL", url.escape_debug()))
                .hint(format!("write it as --url {}", suggested(url))),
        ),
        None => {
            let found = context
                .effects
                .find_server(name, &probe(context)?, ServerState::SERVING)
                .await
                .map_err(|error| {
                    // A server that starts, hangs or ended needs no other name.
                    if error.kind() == Kind::Server {
                        return error;
                    }
                    error.hint(takes)
                })?;
            Ok((Some(found.server), found.status.base_url))
        }
    }
}

/// Returns the error of a server that a URL names, which may be none of a model.
pub(super) fn of_url(error: Error) -> Error {
    if error.kind() != Kind::Server {
        return error;
    }
    error.hint("--url is the base URL of a server with the OpenAI API, such as http://127.0.0.1:30000")
}

/// Awaits an answer, and ends that when a server of this host hangs.
pub(super) async fn unless_hung<T>(
    context: &Context,
    server: Option<&plan::Server>,
    base_url: &str,
    request: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>,
) -> Result<T> {
    match server {
        Some(server) => {
            context
                .effects
                .unless_hung(server, base_url, "the answer", request)
                .await
        }
        None => request.await,
    }
}

/// Returns the error with which the server itself ended, if it did: that explains an answer that did not come.
pub(super) async fn explained(context: &Context, server: Option<&plan::Server>, error: Error) -> Error {
    match server {
        Some(server) if error.kind() == Kind::Server => context
            .effects
            .end_of(server, "the answer")
            .await
            .unwrap_or(error),
        _ => error,
    }
}

/// Returns the URL that a text without a scheme may stand for.
fn suggested(text: &str) -> String {
    let is_address = text.contains(':')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".:-_/[]".contains(c));
    if is_address && !text.contains("://") {
        format!("http://{text}")
    } else {
        "http://127.0.0.1:30000".to_owned()
    }
}

/// Takes the name of a server as its name also if it is the first word, as other commands do: no question begins with a word
/// such as `dsr1-rehearsal`. A short name or an ID, which a question may begin with, is only noted.
async fn take_server(context: &Context, args: &mut AskArgs) -> Result<()> {
    let may_be_name = |word: &&String| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let Some(word) = args.question.first().filter(may_be_name).cloned() else {
        return Ok(());
    };
    if args.server.is_some() || args.url.is_some() {
        return Ok(());
    }
    let (found, _) = context.effects.servers(&probe(context)?).await;
    let known = || found.iter().map(|server| &server.status);
    if known().any(|server| server.name == word) {
        args.question.remove(0);
        args.server = Some(word);
    } else if let Some(server) =
        known().find(|server| server.name == plan::container_name(&word) || server.id == word)
    {
        let text = format!(
            "`{word}` is asked as a word of the question; for the server write --server {}",
            server.name
        );
        context.display().event(&Event::Note { text });
    }
    Ok(())
}

/// Returns the question: the words, where a last `-` stands for what comes on stdin. Without words it is what comes on stdin,
/// if that is not a terminal.
fn question(context: &Context, words: &[String], server: Option<&str>) -> Result<String> {
    let (words, reads_stdin) = match words {
        [before @ .., last] if last == "-" => (before, true),
        [] if std::io::stdin().is_terminal() => {
            let of_server = server.map_or_else(String::new, |server| format!(" --server {server}"));
            return Err(Error::new(Kind::Usage, "there is no question").hint(format!(
                "dsr1 ask{of_server} 'your question'; dsr1 ask{of_server} - reads it from the terminal, up to Ctrl-D"
            )));
        }
        words => (words, words.is_empty()),
    };
    let mut parts = words.to_vec();
    if reads_stdin {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            context.display().event(&Event::Note {
                text: "reading the question from the terminal; Ctrl-D ends it".to_owned(),
            });
        }
        let text = std::io::read_to_string(stdin.lock()).at(Kind::Usage, || {
            "cannot read the question from standard input".to_owned()
        })?;
        parts.push(text.trim_end().to_owned());
    }
    if !reads_stdin && effects::has_unread_input() {
        context.display().event(&Event::Note {
            text: "standard input is not read; add - at the end to ask about it".to_owned(),
        });
    }
    let question = parts.join(" ");
    if question.trim().is_empty() {
        return Err(Error::new(Kind::Usage, "the question is empty").hint("dsr1 ask 'your question'"));
    }
    Ok(question)
}
