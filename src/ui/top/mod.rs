//! The live screen of `dsr1 top` on a terminal, and the keys that are pressed on it.
//!
//! | file | subject |
//! |---|---|
//! | `draw` | the screen in parts, by the size of the terminal |
//! | `detail` | the part about the selected server |
//! | `paint` | colours and tables |
//!
//! Not in this module tree: what is shown and what a key does (`top`).

mod detail;
mod draw;
mod paint;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use crate::error::{At, Kind, Result};
use crate::top::{Key, Screen};
use paint::Paint;

/// The terminal of stdout with a screen of its own. The shell's screen and the modes of the terminal come back when it is
/// dropped, and when any thread panics.
pub struct TopScreen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    paint: Paint,
    _restore: Restore,
}

/// A guard that restores the terminal when it is dropped.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// An input from the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopInput {
    /// A key.
    Key(Key),
    /// The terminal has another size.
    Resized,
}

/// The hook for panics is set once.
static HOOK: Once = Once::new();
/// True while the terminal is taken. It is restored once: a second time would move the cursor back over what was printed since.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

impl TopScreen {
    /// Returns true if stdout is a terminal.
    #[must_use]
    pub fn is_possible() -> bool {
        std::io::stdout().is_terminal()
    }

    /// Takes the terminal.
    ///
    /// # Errors
    /// [`Kind::Internal`] when it cannot be used.
    pub fn new(color: bool) -> Result<Self> {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore_terminal();
                before(panic);
            }));
        });
        // Also if a later step fails.
        let restore = Restore;
        IS_TAKEN.store(true, Ordering::Relaxed);
        enable_raw_mode().at(Kind::Internal, unusable)?;
        execute!(std::io::stdout(), EnterAlternateScreen, Hide).at(Kind::Internal, unusable)?;
        let terminal = Terminal::new(CrosstermBackend::new(std::io::stdout()));
        Ok(Self {
            terminal: terminal.at(Kind::Internal, unusable)?,
            paint: Paint { color },
            _restore: restore,
        })
    }

    /// Draws a screen.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the terminal cannot be written.
    pub fn draw(&mut self, screen: &Screen) -> Result<()> {
        let paint = self.paint;
        let drawn = self
            .terminal
            .draw(|frame| draw::draw_screen(frame, screen, paint));
        drawn.map(drop).at(Kind::Internal, unusable)
    }

    /// Waits for an input, for `wait` at most.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the terminal cannot be read.
    pub fn next_input(&mut self, wait: Duration) -> Result<Option<TopInput>> {
        if !event::poll(wait).at(Kind::Internal, unusable)? {
            return Ok(None);
        }
        Ok(match event::read().at(Kind::Internal, unusable)? {
            Event::Key(key) => key_of(key).map(TopInput::Key),
            Event::Resize(..) => Some(TopInput::Resized),
            _ => None,
        })
    }
}

/// Leaves the screen, shows the cursor and sets the modes of the terminal as they were.
fn restore_terminal() {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    // A terminal that is gone cannot be restored, and nobody sees it.
    let _ = execute!(std::io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

fn unusable() -> String {
    "cannot use the terminal".to_owned()
}

/// Returns the key of an event; `None` for one that no screen needs.
fn key_of(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let with_control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if with_control => Key::Interrupt,
        KeyCode::Char(_) if with_control => return None,
        KeyCode::Char(char) => Key::Char(char),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Esc => Key::Escape,
        _ => return None,
    })
}
