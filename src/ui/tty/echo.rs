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
