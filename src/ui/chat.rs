//! A turn of a conversation: as it arrives on a terminal, or whole.

use std::fmt::Write;
use std::time::Duration;

use unicode_width::UnicodeWidthChar;

use super::safe::{self, safe};
use super::style::Style;
use crate::chat::{INTERRUPTED, Timing, Turn};
use crate::cli::ShowReasoning;
use crate::report::AnswerPiece;

/// Most rows for reasoning that is folded later. What scrolls off the screen could not be removed.
const WINDOW: usize = 8;

/// Shortest time between two drawings of the window: a terminal behind `ssh` shows 20 in a second.
const TICK: Duration = Duration::from_millis(50);

/// Columns between two tab stops.
const TAB: usize = 8;

/// The limit at which an answer is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerLimit {
    /// `--max-tokens`.
    MaxTokens(u32),
    /// The end of a context of so many tokens, of which the conversation takes a part.
    Context(u64),
}

/// Returns the columns and rows of the terminal of stdout; `None` without one.
fn screen() -> Option<(usize, usize)> {
    terminal_size::terminal_size_of(std::io::stdout())
        .map(|(columns, rows)| (usize::from(columns.0).max(8), usize::from(rows.0).max(4)))
}

/// The part of an answer that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Nothing came.
    Start,
    /// The reasoning.
    Reasoning,
    /// The answer.
    Content,
}

/// An answer on a terminal, piece by piece.
#[derive(Debug)]
pub struct LiveTurn {
    view: ShowReasoning,
    style: Style,
    /// The size of the terminal; `None` from a terminal whose cursor cannot be moved.
    screen: fn() -> Option<(usize, usize)>,
    part: Part,
    /// The end of the reasoning, as far as the window may show it.
    tail: String,
    /// Rows of the window that are on the screen.
    drawn: usize,
    drawn_at: Option<Duration>,
    /// The text of the answer so far; it is reasoning if its mark comes.
    printed: String,
    /// Pieces of this part, each of them about a token.
    pieces: u64,
    /// Tokens of the reasoning, as the server counted them.
    counted: Option<u64>,
    timing: Timing,
}

impl LiveTurn {
    /// Returns an answer of which nothing came. `moves` is true for a terminal whose cursor can be moved.
    #[must_use]
    pub fn new(view: ShowReasoning, color: bool, moves: bool) -> Self {
        Self::on(view, color, if moves { screen } else { || None })
    }

    fn on(view: ShowReasoning, color: bool, screen: fn() -> Option<(usize, usize)>) -> Self {
        Self {
            view,
            style: Style { color },
            screen,
            part: Part::Start,
            tail: String::new(),
            drawn: 0,
            drawn_at: None,
            printed: String::new(),
            pieces: 0,
            counted: None,
            timing: Timing::default(),
        }
    }

    /// Returns the text to print for a piece that came `at` so long after its question, when the server had generated so
    /// many tokens.
    #[must_use]
    pub fn piece(&mut self, piece: &AnswerPiece, at: Duration, generated: Option<u64>) -> String {
        self.pieces += 1;
        match piece {
            AnswerPiece::Reasoning(text) => {
                self.timing.add(at, true);
                self.counted = generated;
                self.part = Part::Reasoning;
                self.reasoning(text, at)
            }
            AnswerPiece::Content(text) => {
                let folded = if self.part == Part::Reasoning {
                    self.end_reasoning()
                } else {
                    self.timing.add(at, true);
                    self.counted = generated;
                    String::new()
                };
                self.part = Part::Content;
                folded + &self.content(text)
            }
            AnswerPiece::ReasoningEnded => self.end_unmarked(),
        }
    }

    /// Returns the text to print behind the last piece: it ends the line, and the reasoning if no answer came.
    #[must_use]
    pub fn end(&mut self) -> String {
        let folded = if self.part == Part::Reasoning {
            self.end_reasoning()
        } else {
            String::new()
        };
        self.part = Part::Start;
        folded + &self.end_line()
    }

    fn reasoning(&mut self, text: &str, at: Duration) -> String {
        if self.view == ShowReasoning::Show {
            return self.style.dim(&self.begun(text));
        }
        let Some((columns, rows)) = (self.screen)() else {
            return String::new();
        };
        let window = WINDOW.min(rows - 2);
        if self.view == ShowReasoning::Fold {
            self.tail += &safe::document(text).replace('\t', "    ");
            let most = window * columns * 4;
            if self.tail.len() > most {
                let from = self.tail.ceil_char_boundary(self.tail.len() - most);
                self.tail.drain(..from);
            }
        }
        if self.drawn_at.is_some_and(|drawn| at.saturating_sub(drawn) < TICK) {
            return String::new();
        }
        self.drawn_at = Some(at);
        let erased = self.erase_window();
        let lines = if self.view == ShowReasoning::Fold {
            // One column stays free: a full row would wrap.
            let all = rows_of(self.tail.trim(), columns - 1);
            all[all.len().saturating_sub(window)..].to_vec()
        } else {
            vec![self.summary("")]
        };
        self.drawn = lines.len();
        let shown = lines.iter().fold(String::new(), |mut out, line| {
            let _ = writeln!(out, "{}", self.style.dim(line));
            out
        });
        erased + &shown
    }

    /// Ends reasoning that was marked as such.
    fn end_reasoning(&mut self) -> String {
        if self.view == ShowReasoning::Show {
            let end = self.end_line() + "\n";
            self.printed.clear();
            return end;
        }
        let erased = self.erase_window();
        erased + &self.fold_line()
    }

    /// Ends reasoning that was printed as an answer, because the server does not mark it.
    fn end_unmarked(&mut self) -> String {
        let printed = std::mem::take(&mut self.printed);
        let end = match printed.as_str() {
            "" => "",
            text if text.ends_with('\n') => "",
            _ => "\n",
        };
        if self.view == ShowReasoning::Show {
            return format!("{end}\n");
        }
        let erased = (self.screen)().and_then(|(columns, rows)| {
            let taken = rows_of(&printed, columns).len();
            // What scrolled off the screen stays.
            (taken < rows).then(|| erase(taken.saturating_sub(1)))
        });
        erased.unwrap_or_else(|| end.to_owned()) + &self.fold_line()
    }

    /// Returns the line that stands for the reasoning; nothing if it is hidden.
    fn fold_line(&mut self) -> String {
        let line = match self.view {
            ShowReasoning::Fold => self.style.dim(&self.summary("; /show prints it")) + "\n",
            ShowReasoning::Hide | ShowReasoning::Show => String::new(),
        };
        self.pieces = 0;
        line
    }

    fn summary(&self, end: &str) -> String {
        let (about, tokens) = match self.counted {
            Some(tokens) => ("", tokens),
            // The piece behind the reasoning was counted, too.
            None => ("about ", self.pieces.saturating_sub(1).max(1)),
        };
        let took = self
            .timing
            .last
            .saturating_sub(self.timing.first.unwrap_or_default());
        format!(
            "(reasoning, {about}{tokens} tokens, {:.1} s{end})",
            took.as_secs_f64()
        )
    }

    fn content(&mut self, text: &str) -> String {
        self.begun(text)
    }

    /// Returns a text without space before its first word, safe for a terminal.
    fn begun(&mut self, text: &str) -> String {
        let text = if self.printed.is_empty() {
            text.trim_start()
        } else {
            text
        };
        let shown = safe::document(text);
        self.printed += &shown;
        shown
    }

    fn end_line(&mut self) -> String {
        let is_ended = self.printed.is_empty() || self.printed.ends_with('\n');
        self.printed.clear();
        if is_ended { String::new() } else { "\n".to_owned() }
    }

    fn erase_window(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            rows => erase(rows),
        }
    }
}

/// Returns the sequence that moves the cursor up by so many rows, and removes all that is behind it (ECMA-48, CUU and ED).
fn erase(rows: usize) -> String {
    match rows {
        0 => "\r\x1b[J".to_owned(),
        rows => format!("\r\x1b[{rows}A\x1b[J"),
    }
}

/// Returns the rows that a text takes on a terminal, which breaks a line at its last column.
fn rows_of(text: &str, columns: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let (mut row, mut used) = (String::new(), 0);
        for c in line.chars() {
            let width = match c {
                '\t' => TAB - used % TAB,
                c => c.width().unwrap_or(0),
            };
            if used + width > columns {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            row.push(c);
            used += width;
        }
        rows.push(row);
    }
    rows
}

/// Returns a whole turn: its reasoning in the form asked for, and the answer.
#[must_use]
pub fn turn(turn: &Turn, view: ShowReasoning, timing: &Timing) -> String {
    let mut out = String::new();
    match (view, reasoning_of(turn)) {
        (ShowReasoning::Show, Some(reasoning)) => {
            out = format!("reasoning:\n{}\n", safe::lines(reasoning, "  "));
        }
        (ShowReasoning::Fold, Some(_)) => {
            let tokens = turn.usage.and_then(|usage| usage.reasoning_tokens);
            let tokens = tokens.map_or_else(String::new, |tokens| format!(", {tokens} tokens"));
            let end = timing.reasoned.unwrap_or(timing.last);
            let took = end.saturating_sub(timing.first.unwrap_or_default());
            let _ = writeln!(out, "(reasoning{tokens}, {:.1} s)", took.as_secs_f64());
        }
        _ => {}
    }
    let content = safe::document(turn.content.trim());
    if !content.is_empty() {
        let _ = writeln!(out, "{content}");
    }
    out
}

/// Returns the reasoning of a turn; `None` if it has none.
#[must_use]
pub fn reasoning_of(turn: &Turn) -> Option<&str> {
    turn.reasoning
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// Returns a text for a terminal, dimmed and safe, with a newline at its end.
#[must_use]
pub fn dimmed(text: &str, color: bool) -> String {
    Style { color }.dim(safe::document(text).trim_end()) + "\n"
}

/// Returns the statistics of a turn, on one line.
#[must_use]
pub fn turn_counts(turn: &Turn, limit: AnswerLimit) -> String {
    let mut parts = Vec::new();
    if let Some(usage) = turn.usage {
        let reasoning = usage
            .reasoning_tokens
            .map_or_else(String::new, |tokens| format!(" ({tokens} of them reasoning)"));
        parts.push(format!(
            "{} prompt tokens, {} generated{reasoning}",
            usage.prompt_tokens, usage.completion_tokens
        ));
    }
    if let Some(ttft) = turn.ttft_ms {
        parts.push(format!("first token after {ttft} ms"));
    }
    if let Some(rate) = turn.tokens_per_s {
        parts.push(format!("{rate:.1} tokens/s"));
    }
    match (turn.finish_reason.as_str(), limit) {
        ("stop", _) => {}
        ("length", AnswerLimit::MaxTokens(most)) => {
            parts.push(format!(
                "cut at --max-tokens {most}: a larger number allows longer answers"
            ));
        }
        ("length", AnswerLimit::Context(context)) => parts.push(format!(
            "cut at the end of the context of {context} tokens: /reset makes room"
        )),
        (INTERRUPTED, _) => parts.push("cut by Ctrl-C".to_owned()),
        (other, _) => parts.push(format!("ended by {}", safe(other))),
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TokenUsage;

    const FIRST: Duration = Duration::from_secs(1);

    fn reasoning(text: &str) -> AnswerPiece {
        AnswerPiece::Reasoning(text.to_owned())
    }

    fn content(text: &str) -> AnswerPiece {
        AnswerPiece::Content(text.to_owned())
    }

    /// Returns what is printed of pieces that come 100 ms apart, the first after a second.
    fn printed(view: ShowReasoning, screen: Option<(usize, usize)>, pieces: &[AnswerPiece]) -> String {
        let screen = match screen {
            None => || None,
            Some((20, 6)) => || Some((20, 6)),
            Some(_) => || Some((80, 24)),
        };
        let mut live = LiveTurn::on(view, false, screen);
        let mut at = FIRST;
        let mut out = String::new();
        for piece in pieces {
            out += &live.piece(piece, at, None);
            at += Duration::from_millis(100);
        }
        out + &live.end()
    }

    const WIDE: Option<(usize, usize)> = Some((80, 24));
    const SMALL: Option<(usize, usize)> = Some((20, 6));

    #[test]
    fn reasoning_is_folded_when_the_answer_begins() {
        let pieces = [
            reasoning("17 *"),
            reasoning(" 20"),
            content("\n\n39"),
            content("1"),
        ];
        assert_eq!(
            printed(ShowReasoning::Fold, WIDE, &pieces),
            "17 *\n\r\x1b[1A\x1b[J17 * 20\n\r\x1b[1A\x1b[J(reasoning, about 2 tokens, 0.1 s; /show prints it)\n391\n"
        );
        assert_eq!(
            printed(ShowReasoning::Hide, WIDE, &pieces),
            "(reasoning, about 1 tokens, 0.0 s)\n\r\x1b[1A\x1b[J(reasoning, about 1 tokens, 0.1 s)\n\r\x1b[1A\x1b[J391\n"
        );
        assert_eq!(printed(ShowReasoning::Show, WIDE, &pieces), "17 * 20\n\n391\n");
        // Without a cursor that can be moved only the line is printed.
        let folded = "(reasoning, about 2 tokens, 0.1 s; /show prints it)\n391\n";
        assert_eq!(printed(ShowReasoning::Fold, None, &pieces), folded);
        // No answer came.
        let ended = printed(ShowReasoning::Fold, None, &pieces[..2]);
        assert!(ended.ends_with("/show prints it)\n"), "{ended}");
    }

    #[test]
    fn the_window_has_the_last_rows_of_the_reasoning() {
        let text = (0..40)
            .map(|line| format!("line {line}"))
            .collect::<Vec<_>>()
            .join("\n");
        let shown = printed(ShowReasoning::Fold, SMALL, &[reasoning(&text), content("x")]);
        assert_eq!(
            shown,
            "line 36\nline 37\nline 38\nline 39\n\r\x1b[4A\x1b[J(reasoning, about 1 tokens, 0.0 s; /show prints it)\nx\n"
        );
    }

    #[test]
    fn reasoning_that_the_server_does_not_mark_is_removed_where_it_can_be() {
        let pieces = [content("hm\nso"), AnswerPiece::ReasoningEnded, content("\n\n391")];
        let fold = "(reasoning, about 1 tokens, 0.0 s; /show prints it)\n391\n";
        assert_eq!(
            printed(ShowReasoning::Fold, WIDE, &pieces),
            format!("hm\nso\r\x1b[1A\x1b[J{fold}")
        );
        assert_eq!(
            printed(ShowReasoning::Fold, None, &pieces),
            format!("hm\nso\n{fold}")
        );
        assert_eq!(printed(ShowReasoning::Show, WIDE, &pieces), "hm\nso\n\n391\n");
        let long = [
            content(&"x\n".repeat(9)),
            AnswerPiece::ReasoningEnded,
            content("391"),
        ];
        assert!(!printed(ShowReasoning::Fold, SMALL, &long).contains('\x1b'));
    }

    #[test]
    fn rows_are_counted_as_a_terminal_breaks_them() {
        assert_eq!(rows_of("abcdef", 3), ["abc", "def"]);
        assert_eq!(rows_of("ab\ncd\n", 3), ["ab", "cd", ""]);
        assert_eq!(rows_of("思考中", 4), ["思考", "中"]);
        assert_eq!(rows_of("a\tb", 8), ["a\t", "b"]);
    }

    #[test]
    fn an_answer_cannot_move_the_cursor_and_keeps_its_tabs() {
        let hostile = [reasoning("\x1b[2Jr"), content("all:\n\tcc\x1b]0;x\x07\r")];
        let shown = printed(ShowReasoning::Show, WIDE, &hostile);
        assert_eq!(shown, "\\x1b[2Jr\n\nall:\n\tcc\\x1b]0;x\\x07\\x0d\n");
    }

    #[test]
    fn the_statistics_say_how_an_answer_ended() {
        let turn = Turn {
            question: "q".to_owned(),
            reasoning: Some("r".to_owned()),
            content: "c".to_owned(),
            finish_reason: "stop".to_owned(),
            usage: Some(TokenUsage {
                prompt_tokens: 9,
                completion_tokens: 60,
                reasoning_tokens: Some(41),
            }),
            ttft_ms: Some(250),
            tokens_per_s: Some(31.26),
        };
        let all =
            "9 prompt tokens, 60 generated (41 of them reasoning), first token after 250 ms, 31.3 tokens/s";
        let limit = AnswerLimit::MaxTokens(60);
        assert_eq!(turn_counts(&turn, limit), all);
        let ended = |finish_reason: &str, limit| {
            let turn = Turn {
                finish_reason: finish_reason.to_owned(),
                usage: None,
                ttft_ms: None,
                tokens_per_s: None,
                ..turn.clone()
            };
            turn_counts(&turn, limit)
        };
        assert_eq!(
            ended("length", limit),
            "cut at --max-tokens 60: a larger number allows longer answers"
        );
        assert_eq!(
            ended("length", AnswerLimit::Context(4096)),
            "cut at the end of the context of 4096 tokens: /reset makes room"
        );
        assert_eq!(ended(INTERRUPTED, limit), "cut by Ctrl-C");
        assert_eq!(ended("abort\x1b", limit), "ended by abort\\x1b");
    }

    proptest::proptest! {
        /// Whatever comes, the only escapes are those that remove what was drawn.
        #[test]
        fn no_piece_reaches_the_terminal_as_it_is(
            texts in proptest::collection::vec(("[a\x1b\u{9b}\u{202e}\n\t思]{0,30}", 0_usize..3), 0..8),
            view in 0_usize..3,
        ) {
            let pieces: Vec<AnswerPiece> = texts.iter().map(|(text, kind)| match kind {
                0 => reasoning(text),
                1 => content(text),
                _ => AnswerPiece::ReasoningEnded,
            }).collect();
            let view = [ShowReasoning::Hide, ShowReasoning::Fold, ShowReasoning::Show][view];
            let mut shown = printed(view, SMALL, &pieces);
            for rows in 0..10 {
                shown = shown.replace(&erase(rows), "");
            }
            let hidden = |c: char| crate::quote::is_hidden(c) && c != '\n' && c != '\t';
            proptest::prop_assert!(!shown.contains(hidden), "{:?}", shown);
        }
    }
}
