//! The lines that a user types: messages, which may have several lines, and commands, which begin with a slash.

use crate::error::{Error, Kind, Result};

/// The answer to `/help`.
pub const HELP: &str = "\
/show       prints the reasoning of the last answer
/retry      asks the last question again, and forgets its answer
/reset      begins a new conversation
/save FILE  writes the conversation as JSON; an existing file is not replaced
/quit       leaves, as Ctrl-D does

A message of several lines: end a line with \\, or paste it. A message that begins with / is written with //.
Ctrl-C ends an answer and keeps the conversation.
";

/// A command of the user to dsr1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// List the commands.
    Help,
    /// Forget the conversation.
    Reset,
    /// Print the last reasoning.
    Show,
    /// Write the conversation into a file.
    Save(String),
    /// Ask the last question again.
    Retry,
    /// Leave.
    Quit,
}

/// A thing that the user typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message for the model.
    Message(String),
    /// A command for dsr1.
    Command(Command),
    /// Nothing but space.
    Nothing,
}

/// The names of the commands, without their slashes.
const NAMES: [&str; 6] = ["help", "reset", "show", "save", "retry", "quit"];

/// Reads what was typed: a first line that begins with one slash is a command, unless it is part of a longer text.
///
/// # Errors
/// [`Kind::Usage`] for a command that does not exist, or whose argument is missing or too much.
pub fn command_or_message(text: &str) -> Result<Input> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Input::Nothing);
    }
    if let Some(rest) = trimmed.strip_prefix("//") {
        return Ok(Input::Message(format!("/{rest}")));
    }
    let Some(line) = trimmed.strip_prefix('/').filter(|line| !line.contains('\n')) else {
        return Ok(Input::Message(text.trim_end().to_owned()));
    };
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let command = match name {
        "help" | "?" => Command::Help,
        "reset" | "clear" | "new" => Command::Reset,
        "show" => Command::Show,
        "save" if argument.is_empty() => {
            return Err(
                Error::new(Kind::Usage, "/save needs the name of a file").hint("/save conversation.json")
            );
        }
        "save" => return Ok(Input::Command(Command::Save(argument.to_owned()))),
        "retry" => Command::Retry,
        "quit" | "exit" | "bye" => Command::Quit,
        _ => return Err(unknown(name)),
    };
    if argument.is_empty() {
        Ok(Input::Command(command))
    } else {
        let text = format!(
            "/{name} takes no argument, and `{}` was given",
            argument.escape_debug()
        );
        Err(Error::new(Kind::Usage, text).hint(format!(
            "/{name}; a message that begins with / is written with //"
        )))
    }
}

fn unknown(name: &str) -> Error {
    let near = NAMES.iter().find(|known| {
        let shorter = name.len().min(known.len());
        shorter >= 2
            && (known.starts_with(name) || name.starts_with(*known) || is_one_letter_off(name, known))
    });
    let hint = near.map_or_else(
        || "/help lists the commands; a message that begins with / is written with //".to_owned(),
        |known| format!("did you mean /{known}? A message that begins with / is written with //"),
    );
    let text = format!("`/{}` is not a command", name.escape_debug());
    Error::new(Kind::Usage, text).hint(hint)
}

/// Returns true if two words of one length differ in one letter, or in the order of two.
fn is_one_letter_off(word: &str, other: &str) -> bool {
    let differing: Vec<(char, char)> = word.chars().zip(other.chars()).filter(|(a, b)| a != b).collect();
    word.chars().count() == other.chars().count()
        && match differing.as_slice() {
            [_] => true,
            [(a, b), (c, d)] => a == d && b == c,
            _ => false,
        }
}

/// Lines that are joined to one message: a line that ends with a backslash continues in the next one.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Option<String>,
}

impl Lines {
    /// Adds a line, and returns the text that it completes; `None` if another line must follow.
    pub fn add(&mut self, line: &str) -> Option<String> {
        let mut text = self.begun.take().unwrap_or_default();
        // A text of several lines was pasted, and is whole.
        let continued = line.strip_suffix('\\').filter(|_| !line.contains('\n'));
        text.push_str(continued.unwrap_or(line));
        if continued.is_none() {
            return Some(text);
        }
        text.push('\n');
        self.begun = Some(text);
        None
    }

    /// Returns the text that was begun and lacks its last line; `None` if none was.
    pub fn end(&mut self) -> Option<String> {
        self.begun.take()
    }

    /// Returns true if another line must follow.
    #[must_use]
    pub const fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Returns the bytes of the text that was begun.
    #[must_use]
    pub fn size(&self) -> usize {
        self.begun.as_ref().map_or(0, String::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_messages_are_read() {
        let message = |text: &str| Input::Message(text.to_owned());
        for (typed, read) in [
            ("", Input::Nothing),
            (" \t\n", Input::Nothing),
            ("hello", message("hello")),
            ("  indented\n  text\n", message("  indented\n  text")),
            ("/help", Input::Command(Command::Help)),
            ("  /quit  ", Input::Command(Command::Quit)),
            ("/exit", Input::Command(Command::Quit)),
            ("/reset", Input::Command(Command::Reset)),
            ("/clear", Input::Command(Command::Reset)),
            ("/show", Input::Command(Command::Show)),
            ("/retry", Input::Command(Command::Retry)),
            (
                "/save my file.json",
                Input::Command(Command::Save("my file.json".to_owned())),
            ),
            ("//etc/hosts?", message("/etc/hosts?")),
            ("/etc/hosts\nsecond line", message("/etc/hosts\nsecond line")),
            ("a /help b", message("a /help b")),
        ] {
            assert_eq!(command_or_message(typed).unwrap(), read, "{typed:?}");
        }
    }

    #[test]
    fn a_wrong_command_is_answered_with_the_right_one() {
        for (typed, message, hint) in [
            ("/rest", "`/rest` is not a command", "/help lists the commands"),
            ("/resets", "`/resets` is not a command", "did you mean /reset?"),
            ("/hlep", "`/hlep` is not a command", "did you mean /help?"),
            ("/savx", "`/savx` is not a command", "did you mean /save?"),
            (
                "/etc/hosts",
                "`/etc/hosts` is not a command",
                "is written with //",
            ),
            (
                "/save",
                "/save needs the name of a file",
                "/save conversation.json",
            ),
            ("/reset now", "/reset takes no argument", "/reset"),
            ("/\u{1b}[2J", "`/\\u{1b}[2J` is not a command", "/help"),
        ] {
            let error = command_or_message(typed).unwrap_err();
            assert!(error.message().starts_with(message), "{typed}: {error}");
            assert!(
                error.hints().concat().contains(hint),
                "{typed}: {:?}",
                error.hints()
            );
        }
    }

    #[test]
    fn every_command_is_in_the_help() {
        for name in NAMES.iter().filter(|name| **name != "help") {
            assert!(HELP.contains(&format!("/{name} ")), "{name}");
        }
    }

    #[test]
    fn a_backslash_joins_two_lines() {
        let mut lines = Lines::default();
        assert_eq!(lines.add("one\\"), None);
        assert!(lines.is_begun() && lines.size() == 4);
        assert_eq!(lines.add("two\\"), None);
        assert_eq!(lines.add("three").unwrap(), "one\ntwo\nthree");
        assert_eq!(lines.add("pasted\\\nlines\\").unwrap(), "pasted\\\nlines\\");
        assert_eq!(lines.add("open\\"), None);
        assert_eq!(lines.end().unwrap(), "open\n");
        assert_eq!(lines.end(), None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_typed_panics(text in "[/\\\\a-z \n\u{1b}é]{0,20}") {
            let _ = command_or_message(&text);
            let _ = Lines::default().add(&text);
        }
    }
}
