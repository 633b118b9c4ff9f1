//! Colours and tables of the live screen.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::report::ServerState;
use crate::ui::safe;

/// A painter of text, with the colours of all output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    /// False to leave every text unpainted.
    pub(super) color: bool,
}

impl Paint {
    fn of(self, style: Style) -> Style {
        if self.color { style } else { Style::new() }
    }

    /// The style of a failure.
    pub(super) fn red(self) -> Style {
        self.of(Style::new().fg(Color::Red).add_modifier(Modifier::BOLD))
    }

    /// The style of a warning.
    pub(super) fn yellow(self) -> Style {
        self.of(Style::new().fg(Color::Yellow))
    }

    /// The style of what works.
    pub(super) fn green(self) -> Style {
        self.of(Style::new().fg(Color::Green))
    }

    /// The style of a chart.
    pub(super) fn cyan(self) -> Style {
        self.of(Style::new().fg(Color::Cyan))
    }

    /// The style of less important text.
    pub(super) fn dim(self) -> Style {
        self.of(Style::new().add_modifier(Modifier::DIM))
    }

    /// The style of the selected server.
    pub(super) fn bold(self) -> Style {
        self.of(Style::new().add_modifier(Modifier::BOLD))
    }

    /// The style of a state.
    pub(super) fn state(self, state: ServerState) -> Style {
        match state {
            ServerState::Ready | ServerState::Busy | ServerState::Idle => self.green(),
            ServerState::Starting | ServerState::Draining => self.yellow(),
            ServerState::Hung | ServerState::Crashed => self.red(),
            ServerState::Stopped => self.dim(),
        }
    }
}

/// A cell of a table: its text, made safe, and its style.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
    is_right: bool,
}

impl Cell {
    /// Returns a cell that is aligned to the left.
    pub(super) fn left(text: &str) -> Self {
        Self {
            text: safe(text).into_owned(),
            style: Style::new(),
            is_right: false,
        }
    }

    /// Returns a cell that is aligned to the right, as numbers are.
    pub(super) fn right(text: &str) -> Self {
        Self {
            is_right: true,
            ..Self::left(text)
        }
    }

    /// Returns the cell in a style.
    pub(super) fn painted(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// Returns the lines of a table, whose columns are as wide as their cells.
pub(super) fn table(rows: &[Vec<Cell>]) -> Vec<Line<'static>> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.width()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<Cell>| {
        let spans = row.iter().zip(&widths).flat_map(|(cell, width)| {
            let fill = " ".repeat(width.saturating_sub(cell.text.width()));
            let text = Span::styled(cell.text.clone(), cell.style);
            let (before, after) = if cell.is_right {
                (fill, String::new())
            } else {
                (String::new(), fill)
            };
            [Span::raw(before), text, Span::raw(after + "  ")]
        });
        Line::from(spans.collect::<Vec<_>>())
    };
    rows.iter().map(line).collect()
}

/// Returns a bar of this many columns for a share of 0 to 1, and the share in percent.
pub(super) fn gauge(share: f64, columns: u16) -> String {
    format!("{} {}", bar(share, columns), percent(share))
}

/// Returns a bar of this many columns for a share of 0 to 1.
pub(super) fn bar(share: f64, columns: u16) -> String {
    let columns = usize::from(columns);
    let filled = (0..columns)
        .take_while(|column| share * as_columns(columns) >= as_columns(*column) + 0.5)
        .count();
    "█".repeat(filled) + &"░".repeat(columns - filled)
}

fn as_columns(columns: usize) -> f64 {
    f64::from(u32::try_from(columns).unwrap_or(u32::MAX))
}

/// Returns a share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Returns a number with one decimal below 9.95, else without decimals, and with spaces between thousands.
pub(super) fn number(value: f64) -> String {
    if value < 9.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        for (value, text) in [
            (0.0, "0.0"),
            (3.24, "3.2"),
            (9.96, "10"),
            (999.6, "1 000"),
            (1_234_567.0, "1 234 567"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_gauge_has_its_columns() {
        for (share, text) in [
            (0.0, "░░░░ 0 %"),
            (0.57, "██░░ 57 %"),
            (1.0, "████ 100 %"),
            (7.0, "████ 700 %"),
        ] {
            assert_eq!(gauge(share, 4), text);
        }
    }
}
