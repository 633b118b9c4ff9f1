//! `dsr1 chat`: a conversation with a running server.

use std::io::IsTerminal;
use std::time::Instant;

use serde::Serialize;

use super::ask::{check_temperature, endpoint, explained, of_url, unless_hung};
use super::context::Context;
use crate::chat::{
    Command, Conversation, Full, HELP, INTERRUPTED, Input, Lines, Request, Sampling, Timing, Turn,
    command_or_message,
};
use crate::cli::{ChatArgs, ShowReasoning};
use crate::effects::{Endpoint, Reply, ServedModel, env, signal, stdin, user_files};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::plan;
use crate::report::{AnswerPiece, StreamedAnswer};
use crate::secret::Secret;
use crate::ui::{self, AnswerLimit, BeforePrompt, LiveTurn, NoTyping, Prompt, Typed};
use crate::units::counted;

/// Most bytes of a message: a context of a million tokens has about 4 MB of text.
const MAX_MESSAGE: usize = 8 << 20;

/// The name of Ctrl-C among the signals.
const CTRL_C: &str = "Ctrl-C";

#[derive(Debug, Serialize)]
struct Answered<'a> {
    schema: &'static str,
    /// Number of the answer since the start of the command.
    turn: usize,
    #[serde(flatten)]
    answer: &'a Turn,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: ChatArgs) -> Result<()> {
    check_temperature(args.temperature)?;
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        let text = format!("--top-p {} is out of range", args.top_p);
        return Err(Error::new(Kind::Usage, text)
            .hint("give a number above 0 and up to 1; DeepSeek recommends 0.95 for R1"));
    }
    let is_typed = std::io::stdin().is_terminal();
    if args.whole && is_typed {
        return Err(
            Error::new(Kind::Usage, "--whole needs a file or a pipe on standard input")
                .hint("dsr1 chat --whole < FILE"),
        );
    }
    let takes =
        "dsr1 chat SERVER names one, --url URL one of another user or host; dsr1 ask sends one question";
    let (own, base_url) = endpoint(context, args.which.server.as_deref(), args.url.as_deref(), takes).await?;
    // A key is for the server that the user names, and not for one of dsr1, which asks for none.
    let key = args.url.as_ref().and_then(|_| env::variable(env::SERVER_KEY));
    let endpoint = Endpoint {
        base_url,
        key: key.map(|key| Secret::new(&key)),
    };
    let listed = context.until_interrupted(context.effects.models(&endpoint)).await;
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) if own.is_none() => return Err(of_url(error)),
        Err(error) => return Err(explained(context, own.as_ref(), error).await),
    };
    let model = chosen_model(&listed, args.model.as_deref())?;
    let source = if args.whole {
        Source::Whole
    } else if is_typed && ui::is_live() && !context.is_json() {
        Source::Edited(Some(Box::new(Prompt::new()?)))
    } else {
        Source::Lines
    };
    let view = args.reasoning.unwrap_or(if ui::is_live() && !context.is_json() {
        ShowReasoning::Fold
    } else {
        ShowReasoning::Show
    });
    let session = Session {
        context,
        own,
        endpoint,
        model,
        sampling: Sampling {
            max_tokens: args.max_tokens,
            temperature: args.temperature,
            top_p: args.top_p,
        },
        view,
        is_typed,
        source,
        lines: Lines::default(),
        conversation: Conversation::new(args.system),
        unanswered: None,
        answers: 0,
        failed: None,
    };
    session.run().await
}

/// Returns the model that is talked with: the one that the user names, else the first.
fn chosen_model(listed: &[ServedModel], named: Option<&str>) -> Result<ServedModel> {
    let Some(name) = named else {
        return listed.first().cloned().ok_or_else(|| {
            Error::new(Kind::Server, "the server lists no model").hint("name it with --model NAME")
        });
    };
    if listed.is_empty() {
        return Ok(ServedModel {
            name: name.to_owned(),
            context_length: None,
        });
    }
    let found = listed.iter().find(|model| model.name == name);
    found.cloned().ok_or_else(|| {
        const MOST: usize = 10;
        let has: Vec<&str> = listed
            .iter()
            .take(MOST)
            .map(|model| model.name.as_str())
            .collect();
        let more = listed.len().saturating_sub(MOST);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let text = format!("the server has no model `{}`", name.escape_debug());
        Error::new(Kind::Usage, text).hint(format!("it has {}{more}", has.join(", ")))
    })
}

/// The place that questions come from.
enum Source {
    /// A terminal, whose lines are edited; the prompt is away while it is read.
    Edited(Option<Box<Prompt>>),
    /// Lines of standard input.
    Lines,
    /// All of standard input, which is read once.
    Whole,
}

/// A thing that was read.
enum Read {
    Text(String),
    /// The user or the input is at the end.
    End,
}

/// The text of an answer that arrives.
#[derive(Default)]
struct Arriving {
    reasoning: String,
    content: String,
    /// Tokens so far, if the server counts them with each piece.
    generated: Option<u64>,
    timing: Timing,
}

impl Arriving {
    fn add(&mut self, piece: &AnswerPiece, at: std::time::Duration, generated: Option<u64>) {
        self.generated = generated.or(self.generated);
        match piece {
            AnswerPiece::Reasoning(text) => {
                self.timing.add(at, true);
                self.reasoning += text;
            }
            AnswerPiece::Content(text) => {
                self.timing.add(at, false);
                self.content += text;
            }
            AnswerPiece::ReasoningEnded => {
                self.timing.reasoned = Some(self.timing.last);
                self.reasoning = std::mem::take(&mut self.content);
            }
        }
    }
}

/// A running conversation.
struct Session<'a> {
    context: &'a Context,
    /// The server, if it is one of dsr1.
    own: Option<plan::Server>,
    endpoint: Endpoint,
    model: ServedModel,
    sampling: Sampling,
    view: ShowReasoning,
    /// True if a person types on a terminal.
    is_typed: bool,
    source: Source,
    lines: Lines,
    conversation: Conversation,
    /// The last question, if it has no answer.
    unanswered: Option<String>,
    /// Number of answers since the start.
    answers: usize,
    /// Kind of the first failure of a conversation that nobody types.
    failed: Option<Kind>,
}

impl Session<'_> {
    async fn run(mut self) -> Result<()> {
        if self.is_typed {
            self.greet()?;
        }
        let mut is_empty = true;
        while let Read::Text(text) = self.next_text().await? {
            let input = if matches!(self.source, Source::Whole) {
                match text.trim_end() {
                    "" => Ok(Input::Nothing),
                    text => Ok(Input::Message(text.to_owned())),
                }
            } else {
                command_or_message(&text)
            };
            is_empty &= matches!(input, Ok(Input::Nothing));
            match input {
                Ok(Input::Nothing) => {}
                Ok(Input::Message(question)) => self.ask(question).await?,
                Ok(Input::Command(Command::Quit)) => break,
                Ok(Input::Command(command)) => self.carry_out(command).await?,
                Err(error) => self.note_failure(&error),
            }
            if matches!(self.source, Source::Whole) {
                break;
            }
        }
        if is_empty && !self.is_typed {
            return Err(Error::new(Kind::Usage, "there is no question on standard input")
                .hint("printf '17 * 23?\\n' | dsr1 chat"));
        }
        match self.failed {
            Some(kind) => Err(Error::new(kind, "a question was not answered").reported()),
            None => Ok(()),
        }
    }

    /// Says who answers.
    fn greet(&self) -> Result<()> {
        let of_context = self
            .model
            .context_length
            .map_or_else(String::new, |tokens| format!(", context of {tokens} tokens"));
        let text = format!(
            "{} at {}{of_context}; /help lists the commands",
            self.model.name, self.endpoint.base_url
        );
        if matches!(self.source, Source::Edited(_)) {
            return ui::print(&ui::dimmed(&text, self.has_color()));
        }
        self.note(text);
        Ok(())
    }

    fn has_color(&self) -> bool {
        !self.context.env().no_color && !self.context.env().dumb_terminal
    }

    /// Returns true if answers are printed as they arrive.
    fn is_live(&self) -> bool {
        ui::is_live() && !self.context.is_json()
    }

    fn note(&self, text: String) {
        self.context.display().event(&Event::Note { text });
    }

    /// Prints an error after which the conversation continues.
    fn note_failure(&mut self, error: &Error) {
        ui::print_error(error, self.context.output.format, self.has_color());
        if !self.is_typed {
            self.failed.get_or_insert(error.kind());
        }
    }

    /// Returns the next text of the user.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when a signal ends dsr1; [`Kind::Usage`] when the input cannot be read.
    async fn next_text(&mut self) -> Result<Read> {
        loop {
            let line = match &mut self.source {
                Source::Edited(prompt) => {
                    let text = if self.lines.is_begun() { ". " } else { "> " };
                    match read_edited(prompt, text).await? {
                        Typed::Line(line) => Some(line),
                        Typed::Interrupted | Typed::Ended => None,
                    }
                }
                Source::Lines => {
                    if self.is_typed {
                        ui::print_prompt(if self.lines.is_begun() { ". " } else { "> " });
                    }
                    let most = MAX_MESSAGE.saturating_sub(self.lines.size());
                    match unless_signalled(move || stdin::read_line(most)).await? {
                        Ended::Done(line) => line,
                        Ended::Signalled(CTRL_C) if self.is_typed => return Ok(Read::End),
                        Ended::Signalled(name) => return Err(interrupted(name)),
                    }
                }
                Source::Whole => {
                    return match unless_signalled(|| stdin::read_all(MAX_MESSAGE)).await? {
                        Ended::Done(text) => Ok(Read::Text(text)),
                        Ended::Signalled(name) => Err(interrupted(name)),
                    };
                }
            };
            let Some(line) = line else {
                // A last line that ends with a backslash has no next one.
                let rest = self.lines.end().filter(|_| !self.is_typed);
                return Ok(rest.map_or(Read::End, Read::Text));
            };
            if let Some(text) = self.lines.add(&line) {
                return Ok(Read::Text(text));
            }
        }
    }

    async fn carry_out(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Help => ui::print_help(HELP),
            Command::Reset => {
                self.unanswered = None;
                let count = self.conversation.clear();
                self.note(format!("a new conversation begins; {} forgotten", were(count)));
            }
            Command::Show => self.show()?,
            Command::Save(path) => match self.save(&path) {
                Ok(()) => self.note(format!(
                    "wrote {path}: {}",
                    counted(self.conversation.turns().len(), "turn")
                )),
                Err(error) => self.note_failure(&error),
            },
            Command::Retry => {
                let last = || self.conversation.turns().last().map(|turn| turn.question.clone());
                let failed = self.unanswered.take();
                if failed.is_none() && last().is_none() {
                    let error = Error::new(Kind::Usage, "there is no question to ask again");
                    self.note_failure(&error);
                    return Ok(());
                }
                let question = match failed {
                    Some(question) => question,
                    None => self
                        .conversation
                        .remove_last()
                        .map_or_else(String::new, |turn| turn.question),
                };
                self.ask(question).await?;
            }
            Command::Quit => {}
        }
        Ok(())
    }

    /// Prints the reasoning of the last answer.
    fn show(&self) -> Result<()> {
        let last = self.conversation.turns().last();
        match last.and_then(ui::reasoning_of) {
            // Each line of JSON has its own reasoning.
            Some(_) if self.context.is_json() => Ok(()),
            Some(reasoning) => {
                let color = self.has_color() && ui::is_live();
                ui::print(&ui::dimmed(reasoning, color))
            }
            None => {
                self.note("the last answer has no reasoning".to_owned());
                Ok(())
            }
        }
    }

    /// Writes the conversation into a file.
    fn save(&self, path: &str) -> Result<()> {
        if self.conversation.turns().is_empty() {
            return Err(Error::new(Kind::Usage, "there is no answer to save yet"));
        }
        let home = &self.context.env().home;
        let path = match path.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => path.into(),
        };
        let document = self.conversation.document(&self.model.name);
        user_files::write_private(&path, &ui::json(&document), false, "choose another name")
    }

    /// Asks a question, prints the answer and keeps both.
    ///
    /// # Errors
    /// Those after which the conversation cannot continue.
    async fn ask(&mut self, question: String) -> Result<()> {
        let context_length = self.model.context_length;
        let most = self.sampling.max_tokens;
        let max_tokens = match self.conversation.room(&question, most, context_length) {
            Ok(tokens) => tokens,
            Err(full) => {
                self.unanswered = Some(question);
                self.note_failure(&no_room(full));
                return Ok(());
            }
        };
        let limit = match context_length {
            Some(context) if max_tokens < most => AnswerLimit::Context(context),
            _ => AnswerLimit::MaxTokens(most),
        };
        let request = Request {
            model: self.model.name.clone(),
            messages: self.conversation.messages(&question),
            sampling: Sampling {
                max_tokens,
                ..self.sampling
            },
            counts_each: self.own.is_some(),
        };
        let (outcome, arriving) = self.answer(&request).await?;
        let turn = match outcome {
            Ok(Reply::Answer(answer)) => turn_of(question, answer, &arriving),
            Ok(Reply::Refused(error)) => {
                self.unanswered = Some(question);
                self.note_failure(&with_room(error));
                return Ok(());
            }
            Err(Unanswered::Cut) if arriving.reasoning.is_empty() && arriving.content.is_empty() => {
                self.unanswered = Some(question);
                self.note("nothing came, so the question is forgotten; /retry asks it again".to_owned());
                return Ok(());
            }
            Err(Unanswered::Cut) => cut_turn(question, &arriving),
            Err(Unanswered::Failed(error)) => {
                let error = match &self.own {
                    Some(_) => explained(self.context, self.own.as_ref(), error).await,
                    None if self.answers == 0 => of_url(error),
                    None => error,
                };
                if !self.is_typed {
                    return Err(error);
                }
                self.unanswered = Some(question);
                self.note_failure(
                    &error.hint("/retry asks the question again; /save FILE keeps the conversation"),
                );
                return Ok(());
            }
        };
        self.print_turn(&turn, &arriving.timing, limit)?;
        self.unanswered = None;
        self.conversation.add(turn);
        Ok(())
    }

    /// Sends a request, and prints its answer as it arrives if the output is live.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when a signal ends dsr1; [`Kind::Internal`] when stdout cannot be written.
    async fn answer(&self, request: &Request) -> Result<(std::result::Result<Reply, Unanswered>, Arriving)> {
        let moves = !self.context.env().dumb_terminal;
        let mut live = self
            .is_live()
            .then(|| LiveTurn::new(self.view, self.has_color(), moves));
        let (mut arriving, mut printed) = (Arriving::default(), Ok(()));
        let begun = Instant::now();
        let quiet = self.is_typed.then(NoTyping::new);
        let outcome = {
            let mut on_piece = |piece: &AnswerPiece, generated: Option<u64>| {
                let at = begun.elapsed();
                arriving.add(piece, at, generated);
                if let (Some(live), Ok(())) = (&mut live, &printed) {
                    printed = ui::print(&live.piece(piece, at, generated));
                }
            };
            let sent = self.context.effects.chat(&self.endpoint, request, &mut on_piece);
            let base_url = &self.endpoint.base_url;
            let work = unless_hung(self.context, self.own.as_ref(), base_url, Box::pin(sent));
            tokio::select! {
                done = work => Ended::Done(done),
                name = signal::wait() => Ended::Signalled(name?),
            }
        };
        drop(quiet);
        if let Some(live) = &mut live {
            ui::print(&live.end())?;
        }
        printed?;
        match outcome {
            Ended::Done(Ok(reply)) => Ok((Ok(reply), arriving)),
            Ended::Done(Err(error)) => Ok((Err(Unanswered::Failed(error)), arriving)),
            Ended::Signalled(CTRL_C) if self.is_typed => Ok((Err(Unanswered::Cut), arriving)),
            Ended::Signalled(name) => Err(interrupted(name)),
        }
    }

    /// Prints a turn, as far as it was not printed as it arrived, and its statistics.
    fn print_turn(&mut self, turn: &Turn, timing: &Timing, limit: AnswerLimit) -> Result<()> {
        self.answers += 1;
        if self.context.is_json() {
            return ui::print_json_line(&Answered {
                schema: "dsr1.chat/1",
                turn: self.answers,
                answer: turn,
            });
        }
        let counts = ui::turn_counts(turn, limit);
        if self.is_live() {
            return ui::print(&ui::dimmed(&format!("({counts})"), self.has_color()));
        }
        let between = if self.answers > 1 { "\n" } else { "" };
        ui::print(&format!("{between}{}", ui::turn(turn, self.view, timing)))?;
        self.note(counts);
        Ok(())
    }
}

/// A reason why there is no whole answer.
enum Unanswered {
    /// The user ended it.
    Cut,
    /// The server did not answer to the end.
    Failed(Error),
}

/// The end of some work.
enum Ended<T> {
    /// It is done.
    Done(T),
    /// A signal of this name came.
    Signalled(&'static str),
}

/// Runs work that blocks on a thread of its own, and ends the wait for it when a signal comes.
async fn unless_signalled<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Ended<T>> {
    tokio::select! {
        done = tokio::task::spawn_blocking(work) => match done {
            Ok(done) => done.map(Ended::Done),
            Err(error) => Err(Error::new(Kind::Internal, "a worker thread failed").cause(error.to_string())),
        },
        name = signal::wait() => Ok(Ended::Signalled(name?)),
    }
}

/// Reads a line at a prompt.
async fn read_edited(prompt: &mut Option<Box<Prompt>>, text: &'static str) -> Result<Typed> {
    let Some(mut editor) = prompt.take() else {
        return Ok(Typed::Ended);
    };
    let before = BeforePrompt::new();
    let read = move || {
        let typed = editor.read(text)?;
        Ok((editor, typed))
    };
    match unless_signalled(read).await? {
        Ended::Done((editor, typed)) => {
            *prompt = Some(editor);
            Ok(typed)
        }
        // The editor still has the terminal.
        Ended::Signalled(name) => {
            before.restore();
            Err(interrupted(name))
        }
    }
}

fn interrupted(name: &str) -> Error {
    Error::new(Kind::Interrupted, format!("interrupted by {name}"))
}

fn were(turns: usize) -> String {
    let verb = if turns == 1 { "is" } else { "are" };
    format!("{} {verb}", counted(turns, "turn"))
}

fn turn_of(question: String, answer: StreamedAnswer, arriving: &Arriving) -> Turn {
    let tokens = answer.usage.map(|usage| usage.completion_tokens);
    Turn {
        question,
        reasoning: answer.reasoning,
        content: answer.content,
        finish_reason: answer.finish_reason,
        usage: answer.usage,
        ttft_ms: arriving.timing.ttft_ms(),
        tokens_per_s: tokens.and_then(|tokens| arriving.timing.rate(tokens)),
    }
}

fn cut_turn(question: String, arriving: &Arriving) -> Turn {
    let reasoning = arriving.reasoning.trim();
    Turn {
        question,
        reasoning: (!reasoning.is_empty()).then(|| reasoning.to_owned()),
        content: arriving.content.trim().to_owned(),
        finish_reason: INTERRUPTED.to_owned(),
        // The server sends its counts behind the last piece.
        usage: None,
        ttft_ms: arriving.timing.ttft_ms(),
        tokens_per_s: arriving.generated.and_then(|tokens| arriving.timing.rate(tokens)),
    }
}

fn no_room(full: Full) -> Error {
    let Full { used, context } = full;
    let text =
        format!("the context is full: about {used} of {context} tokens are used, and nothing was sent");
    Error::new(Kind::Usage, text)
        .hint("/reset begins a new conversation; /save FILE keeps this one before that")
}

/// Adds what to do to the refusal of a request that is too long.
fn with_room(error: Error) -> Error {
    if error.causes().concat().contains("context length") {
        return error.hint("/reset begins a new conversation; a lower --max-tokens leaves more room for it");
    }
    error
}
