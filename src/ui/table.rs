//! Tables for people.

use std::fmt::Write;

use super::safe;

/// Returns the cells of one line, each made safe.
pub(super) fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    cells.into_iter().map(|cell| safe(cell).into_owned()).collect()
}

/// Returns rows with their columns aligned to the left; no line ends in spaces.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let padded: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| pad(cell, *width))
            .collect();
        let _ = writeln!(out, "{}", padded.join("  ").trim_end());
    }
    out
}

/// Fills a cell up with spaces.
pub(super) fn pad(cell: &str, to: usize) -> String {
    format!("{cell}{}", " ".repeat(to.saturating_sub(width(cell))))
}

/// Returns the columns that a cell takes, without regard to wide characters, which names and paths rarely have.
pub(super) fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [
            row(["NAME", "STATE"]),
            row(["größer", "ready"]),
            row(["x\x1b", ""]),
        ];
        assert_eq!(aligned(&rows), "NAME    STATE\ngrößer  ready\nx\\x1b\n");
    }
}
