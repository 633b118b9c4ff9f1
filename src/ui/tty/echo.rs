//! The terminal's echo of control characters.

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// A guard: while it lives, the terminal of stderr does not print `^C`. A live line fills its row, so `^C` would begin a new
/// one, and the line would be removed one row too low.
pub(super) struct NoEcho(Option<Termios>);

impl NoEcho {
    /// Returns the guard. It changes nothing without a terminal, and in the background, where a change would stop dsr1.
    pub(super) fn new() -> Self {
        let stderr = std::io::stderr();
        let is_in_front = tcgetpgrp(&stderr).is_ok_and(|group| group == getpgrp());
        let before = tcgetattr(&stderr).ok().filter(|modes| {
            is_in_front && modes.local_modes.contains(LocalModes::ECHO | LocalModes::ECHOCTL)
        });
        if let Some(mut modes) = before.clone() {
            modes.local_modes.remove(LocalModes::ECHOCTL);
            let _ = tcsetattr(&stderr, OptionalActions::Now, &modes);
        }
        Self(before)
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stderr(), OptionalActions::Now, before);
        }
    }
}

/// A guard: while it lives, the terminal of stdin prints nothing that is typed, so that it does not get into an answer that is
/// being printed. It is kept for the next prompt.
pub struct NoTyping(SavedModes);

impl NoTyping {
    /// Returns the guard. It changes nothing without a terminal, and in the background, where a change would stop dsr1.
    #[must_use]
    pub fn new() -> Self {
        let stdin = std::io::stdin();
        let is_in_front = tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp());
        let before = SavedModes(tcgetattr(&stdin).ok().filter(|_| is_in_front));
        if let Some(mut modes) = before.0.clone() {
            modes.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
        }
        Self(before)
    }
}

impl Default for NoTyping {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for NoTyping {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// The modes of the terminal of stdin at a time.
pub(in crate::ui) struct SavedModes(Option<Termios>);

impl SavedModes {
    /// Returns the modes as they are; none without a terminal.
    pub(in crate::ui) fn of_stdin() -> Self {
        Self(tcgetattr(std::io::stdin()).ok())
    }

    /// Sets the terminal to these modes.
    pub(in crate::ui) fn restore(&self) {
        if let Some(modes) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, modes);
        }
    }
}
