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

/// Returns two sides of some properties beside each other, or if that is wider than `columns`, below each property.
pub(super) fn compared(
    property: &str,
    (left, right): (&str, &str),
    rows: &[[String; 3]],
    columns: usize,
) -> String {
    let mut table = vec![row([property, left, right])];
    table.extend(rows.iter().map(|cells| row(cells.iter().map(String::as_str))));
    let text = aligned(&table);
    if text.lines().all(|line| width(line) <= columns) {
        return text;
    }
    let sides = |[property, of_left, of_right]: &[String; 3]| {
        let sides = [
            ("  ".to_owned() + left, of_left),
            ("  ".to_owned() + right, of_right),
        ];
        let sides: Vec<_> = sides.iter().map(|(side, value)| row([&**side, value])).collect();
        format!("{}\n{}", safe(property), aligned(&sides))
    };
    rows.iter().map(sides).collect()
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
    fn two_sides_are_below_each_other_on_a_narrow_terminal() {
        let rows = [
            ["a", "1", "2"].map(str::to_owned),
            ["b", "one", "a longer text"].map(str::to_owned),
        ];
        assert_eq!(
            compared("NAME", ("x", "yy"), &rows, 80),
            "NAME  x    yy\na     1    2\nb     one  a longer text\n"
        );
        assert_eq!(
            compared("NAME", ("x", "yy"), &rows, 20),
            "a\n  x   1\n  yy  2\nb\n  x   one\n  yy  a longer text\n"
        );
    }

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
