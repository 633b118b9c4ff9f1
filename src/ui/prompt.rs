//! The prompt of a conversation: a line that the user edits, with the lines before it in its history.

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{ColorMode, Config, Editor};

use super::output::write_stderr;
use super::tty::echo::SavedModes;
use crate::error::{At, Error, Kind, Result};

/// Lines that the history holds.
const HISTORY: usize = 1000;

/// The sequence that ends the marks around a paste (xterm, "Bracketed Paste Mode"), which the editor switched on.
const NO_PASTE_MARKS: &str = "\x1b[?2004l\r\n";

/// A thing that the user did at the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A line, or a paste of several.
    Line(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or a terminal that was closed.
    Ended,
}

/// A prompt on a terminal.
pub struct Prompt {
    editor: Editor<(), MemHistory>,
}

impl Prompt {
    /// Returns a prompt with an empty history.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the terminal cannot be used.
    pub fn new() -> Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY)
            .and_then(|config| config.history_ignore_dups(true))
            .at(Kind::Internal, unusable)?
            .color_mode(ColorMode::Disabled)
            .build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).at(Kind::Internal, unusable)?;
        editor.set_auto_add_history(true);
        Ok(Self { editor })
    }

    /// Shows `prompt` and returns the next line. It blocks.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the terminal cannot be read.
    pub fn read(&mut self, prompt: &str) -> Result<Typed> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Typed::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Typed::Interrupted),
            Err(ReadlineError::Eof | ReadlineError::Io(_) | ReadlineError::Errno(_)) => Ok(Typed::Ended),
            Err(error) => Err(Error::new(Kind::Internal, unusable()).cause(error.to_string())),
        }
    }
}

/// The modes of the terminal before a prompt, for a signal that ends dsr1 while the prompt is shown.
pub struct BeforePrompt(SavedModes);

impl BeforePrompt {
    /// Returns the modes as they are.
    #[must_use]
    pub fn new() -> Self {
        Self(SavedModes::of_stdin())
    }

    /// Gives the terminal back as it was.
    pub fn restore(&self) {
        self.0.restore();
        write_stderr(NO_PASTE_MARKS);
    }
}

impl Default for BeforePrompt {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows the text before a line that the terminal itself edits.
pub fn print_prompt(text: &str) {
    write_stderr(text);
}

fn unusable() -> String {
    "cannot read the terminal".to_owned()
}
