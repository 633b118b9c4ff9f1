//! Keys of the screen, and the action of each.

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// The arrow up.
    Up,
    /// The arrow down.
    Down,
    /// Esc.
    Escape,
    /// Ctrl-C.
    Interrupt,
}

/// The action of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End the command.
    Quit,
    /// Select the server above.
    SelectAbove,
    /// Select the server below.
    SelectBelow,
    /// Pause the screen, or resume it.
    Pause,
    /// Show the keys, or hide them.
    Help,
}

impl Action {
    /// Returns the action of a key; `None` for a key without one.
    #[must_use]
    pub const fn of(key: Key) -> Option<Self> {
        Some(match key {
            Key::Escape | Key::Interrupt | Key::Char('q' | 'Q') => Self::Quit,
            Key::Up | Key::Char('k') => Self::SelectAbove,
            Key::Down | Key::Char('j') => Self::SelectBelow,
            Key::Char('p' | ' ') => Self::Pause,
            Key::Char('?' | 'h') => Self::Help,
            Key::Char(_) => return None,
        })
    }
}
