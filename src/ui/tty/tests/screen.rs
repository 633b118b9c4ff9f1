//! A screen in memory: the text that a user would see after every cursor move.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use indicatif::TermLike;

/// A terminal of some width and endless height.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    width: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    raw: String,
}

impl Screen {
    /// An empty screen.
    pub(super) fn new(width: u16) -> Self {
        Self {
            width,
            state: Arc::default(),
        }
    }

    /// The rows, without spaces at their ends.
    pub(super) fn text(&self) -> String {
        let state = self.state();
        let rows: Vec<String> = state
            .rows
            .iter()
            .map(|row| row.iter().collect::<String>().trim_end().to_owned())
            .collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// Everything that was ever written.
    pub(super) fn raw(&self) -> String {
        self.state().raw.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn put(&mut self, c: char, width: usize) {
        if c == '\n' || self.column == width {
            self.row += 1;
            self.column = 0;
        }
        if c == '\n' {
            return;
        }
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
        let row = &mut self.rows[self.row];
        if row.len() <= self.column {
            row.resize(self.column + 1, ' ');
        }
        row[self.column] = c;
        self.column += 1;
    }
}

impl io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_str(&String::from_utf8_lossy(bytes))
            .map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.width
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        let mut state = self.state();
        state.row = state.row.saturating_sub(n);
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.state().row += n;
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.state().column += n;
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        let mut state = self.state();
        state.column = state.column.saturating_sub(n);
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut state = self.state();
        state.raw.push_str(text);
        text.chars().for_each(|c| state.put(c, usize::from(self.width)));
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        let mut state = self.state();
        state.column = 0;
        let row = state.row;
        if let Some(row) = state.rows.get_mut(row) {
            row.clear();
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
