//! Lines that fit on a terminal: sentences broken between words, table rows broken between cells, commands broken so that
//! they can be pasted.

use super::table::{pad, width};

/// Least columns for a text beside other cells; with less it is below them.
const LEAST: usize = 24;

/// Space before the cells of a row that are below its first line.
const INDENT: usize = 4;

/// Returns a text of at most `most` characters; a sign at its end shows that something is left out. It ends with a whole word
/// or figure, unless less than half of the room would be used.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let is_word = |c: char| c != ' ';
    let room = most.saturating_sub(1);
    let kept: String = text.chars().take(room).collect();
    let is_inside = kept.ends_with(is_word) && text.chars().nth(room).is_some_and(is_word);
    let whole = if is_inside {
        kept.trim_end_matches(is_word)
    } else {
        &kept
    };
    let whole = whole.trim_end();
    let kept = if width(whole) * 2 > most { whole } else { &kept };
    format!("{kept}…")
}

/// Returns a text of at most `most` characters without its middle: the end of a line of a traceback says where it was, after
/// a long path.
pub(super) fn shortened_inside(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let end = most * 2 / 5;
    let begin = most.saturating_sub(end + 1);
    let head: String = text.chars().take(begin).collect();
    let tail: String = text.chars().skip(count - end).collect();
    format!("{head}…{tail}")
}

/// Returns a text in lines of at most `width` characters, broken between words; a longer word has lines of its own.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    hanging(text, width, 0)
}

/// Returns a text in lines of at most `width` characters, broken between words; the later lines begin with `indent` spaces. A
/// path that does not fit behind these spaces has fewer, and one that is longer than a line is broken after a slash.
#[must_use]
pub fn hanging(text: &str, width: usize, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if self::width(line) + 1 + self::width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => {
                let indent = if lines.is_empty() { 0 } else { indent };
                lines.extend(pieces(word, width, indent));
            }
        }
    }
    lines.join("\n")
}

/// Returns a word as the begin of a line, or a path that is longer than a line as several.
fn pieces(word: &str, width: usize, indent: usize) -> Vec<String> {
    let length = self::width(word);
    // A quoted word is for a shell, which takes a line end inside it for a part of it.
    if length <= width || !word.contains('/') || word.contains(['\'', '"']) {
        let indent = indent.min(width.saturating_sub(length));
        return vec![pad("", indent) + word];
    }
    let mut lines = vec![pad("", indent)];
    for part in word.split_inclusive('/') {
        match lines.last_mut() {
            Some(line) if self::width(line) + self::width(part) <= width || line.trim().is_empty() => {
                line.push_str(part);
            }
            _ => lines.push(pad("", indent) + part),
        }
    }
    lines
}

/// Returns a result whose lines have at most `columns` characters, unless a word has more. Words and cells, which two spaces
/// separate, stay whole, and all text is kept.
#[must_use]
pub fn fitted(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len());
    // First column of the last cell of the rows above, which a row without a label continues.
    let mut column = None;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut done = 0;
    while let Some(line) = lines.get(done) {
        let content = line.strip_suffix('\n').unwrap_or(line);
        let cells = cells(content);
        let above = column;
        column = match cells[..] {
            [(start, _)] => above.filter(|above| *above == start),
            [.., (start, _)] => Some(start),
            [] => None,
        };
        let table: Vec<_> = lines[done..]
            .iter()
            .map(|line| self::cells(line.trim_end_matches('\n')))
            .take_while(|row| is_row_of(&cells, row))
            .collect();
        if let Some(most) = cells_beside(&table, columns) {
            for row in &table {
                out.push_str(&row_in_parts(row, most, columns));
                out.push('\n');
            }
            done += table.len();
            if !lines[done - 1].ends_with('\n') {
                out.pop();
            }
            continue;
        }
        done += 1;
        if width(content) <= columns {
            out.push_str(line);
            continue;
        }
        out.push_str(&fitted_line(content.trim_end(), columns, column));
        if line.len() > content.len() {
            out.push('\n');
        }
    }
    out
}

/// Cells of a line, each with its first column.
type Cells<'a> = Vec<(usize, &'a str)>;

/// Returns true for a row of the table that begins with `first`: its cells are in the same columns.
fn is_row_of(first: &Cells<'_>, row: &Cells<'_>) -> bool {
    let starts = |cells: &Cells<'_>| cells.iter().map(|(start, _)| *start).collect::<Vec<_>>();
    first.len() > 2
        && row.len() > 2
        && starts(row)
            .iter()
            .zip(&starts(first))
            .all(|(left, right)| left == right)
}

/// Returns the number of cells that fit beside each other in every row of a table, if a row has more that cannot be wrapped in
/// its last cell; `None` for a table that needs no change, or a single row.
fn cells_beside(table: &[Cells<'_>], columns: usize) -> Option<usize> {
    let is_broken = |row: &&Cells<'_>| {
        row.last().is_some_and(|(start, last)| {
            let longest = last.split(' ').map(width).max().unwrap_or(0);
            let room = columns.saturating_sub(*start);
            start + width(last) > columns && (room < LEAST || longest > room)
        })
    };
    if table.len() < 2 || !table.iter().any(|row| is_broken(&row)) {
        return None;
    }
    let fits = |row: &Cells<'_>| {
        row.iter()
            .take_while(|(start, cell)| start + width(cell) <= columns)
            .count()
    };
    table
        .iter()
        .filter(is_broken)
        .map(fits)
        .min()
        .map(|most| most.max(1))
}

/// Returns a row with `most` cells in their columns, and the others below them.
fn row_in_parts(row: &Cells<'_>, most: usize, columns: usize) -> String {
    let (beside, others) = row.split_at(most.min(row.len()));
    let mut head = String::new();
    for (start, cell) in beside {
        head = pad(&head, *start) + cell;
    }
    let Some((first, _)) = row.first() else {
        return head;
    };
    let indent = first + INDENT;
    let cells: Vec<&str> = others.iter().map(|(_, cell)| *cell).collect();
    let line = cells.join("  ");
    let lines = if indent + width(&line) <= columns {
        vec![line.as_str()]
    } else {
        cells
    };
    let lines = lines.into_iter().filter(|line| !line.is_empty());
    std::iter::once(head)
        .chain(lines.map(|line| below(line, indent, columns, INDENT / 2)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns a line in lines of at most `columns` characters. `column` is the first column of its last cell, if that belongs to
/// a table.
fn fitted_line(line: &str, columns: usize, column: Option<usize>) -> String {
    let cells = cells(line);
    let Some((start, last)) = cells.last().copied() else {
        return line.to_owned();
    };
    if let [_] = cells[..] {
        let indent = if column.is_some() { 0 } else { INDENT / 2 };
        return below(last, start, columns, indent);
    }
    let room = columns.saturating_sub(start);
    let longest = last.split(' ').map(width).max().unwrap_or(0);
    if room >= LEAST && longest <= room {
        let head: String = line.chars().take(start).collect();
        let text = wrapped(last, room);
        return head + &text.replace('\n', &format!("\n{}", pad("", start)));
    }
    rows_of_cells(&cells, columns)
}

/// Returns as many cells as fit beside each other, and the others below them.
fn rows_of_cells(cells: &[(usize, &str)], columns: usize) -> String {
    let indent = cells.first().map_or(0, |(start, _)| *start) + INDENT;
    let mut lines = vec![String::new()];
    for (start, cell) in cells {
        let is_first = lines.len() == 1;
        let line = lines.last_mut().map_or_else(String::new, std::mem::take);
        let beside = if is_first {
            pad(&line, *start) + cell
        } else {
            format!("{line}  {cell}")
        };
        lines.pop();
        if width(&beside) <= columns {
            lines.push(beside);
            continue;
        }
        let at = if line.is_empty() { *start } else { indent };
        if !line.is_empty() {
            lines.push(line);
        }
        lines.push(below(cell, at, columns, INDENT / 2));
    }
    lines.join("\n")
}

/// Returns a cell that begins at column `at`, in lines of at most `columns` characters; the later ones have `indent` spaces
/// more.
fn below(cell: &str, at: usize, columns: usize, indent: usize) -> String {
    // A path stays whole if it fits into a line.
    let longest = cell.split(' ').map(width).max().unwrap_or(0);
    let at = if longest <= columns {
        at.min(columns - longest)
    } else {
        at
    };
    let text = hanging(cell, columns.saturating_sub(at), indent);
    let lines: Vec<String> = text.lines().map(|line| pad("", at) + line).collect();
    lines.join("\n")
}

/// Returns the cells of a line, which two spaces separate, each with its first column.
fn cells(line: &str) -> Cells<'_> {
    let mut found = Vec::new();
    let mut column = 0;
    for part in line.split("  ") {
        let cell = part.trim_start_matches(' ');
        let start = column + (part.len() - cell.len());
        if !cell.is_empty() {
            found.push((start, cell));
        }
        column += width(part) + 2;
    }
    found
}

/// Returns a command in lines of at most `width` characters, which a shell reads as one: each but the last ends in `\`.
/// A word stays whole, but for JSON in quotes that is longer than a line: it is broken after commas, where a line end is a
/// space to JSON.
pub(super) fn command(words: &[&str], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if let Some((json, before)) = words.split_last()
        && self::width(json) + 2 > width
        && json.starts_with("'{\"")
        && !before.is_empty()
    {
        lines = command(before, width.saturating_sub(2));
        if let Some(line) = lines.last_mut() {
            line.push_str(" \\");
        }
        lines.extend(json_lines(json, width));
        return lines;
    }
    for (index, word) in words.iter().enumerate() {
        // The last word needs no room for the sign behind it.
        let sign = if index + 1 == words.len() { 0 } else { 2 };
        match lines.last_mut() {
            Some(line) if self::width(line) + 1 + self::width(word) + sign <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(format!("  {word}"));
            }
            None => lines.push((*word).to_owned()),
        }
    }
    lines
}

/// Returns JSON in quotes in lines of at most `width` characters, as far as the commas between its values allow.
fn json_lines(json: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::from("  ")];
    let (mut part, mut is_inside, mut is_escaped) = (String::new(), false, false);
    let mut add = |part: &mut String| {
        match lines.last_mut() {
            Some(line) if self::width(line) + self::width(part) <= width || line.trim().is_empty() => {
                line.push_str(part);
            }
            _ => lines.push(part.clone()),
        }
        part.clear();
    };
    for c in json.chars() {
        part.push(c);
        is_inside ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        if c == ',' && !is_inside {
            add(&mut part);
        }
    }
    add(&mut part);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_broken_in_its_last_cell_or_between_cells() {
        let row = "what      a text that is longer than the terminal is wide";
        assert_eq!(
            fitted(row, 40),
            "what      a text that is longer than the\n          terminal is wide"
        );
        let row = "removed  venv  1 GB  /a/path/that/needs/all/of/the/line  no stack of this dsr1 uses it\n";
        assert_eq!(
            fitted(row, 40),
            "removed  venv  1 GB\n    /a/path/that/needs/all/of/the/line\n    no stack of this dsr1 uses it\n"
        );
        let path = "a/b   12.0 GB  0 B         /a/path/that/is/long";
        assert_eq!(fitted(path, 40), "a/b   12.0 GB  0 B\n    /a/path/that/is/long");
        assert_eq!(
            fitted("a sentence of six short words", 12),
            "a sentence\n  of six\n  short\n  words"
        );
        assert_eq!(fitted(row, usize::MAX), row);
    }

    #[test]
    fn the_rows_of_a_table_are_broken_at_the_same_cell() {
        let table = "would remove  venv       2.1 GB  /a/path/venvs/cpu-1  no stack of this dsr1 uses it\n\
                     kept          packages   0 B     /a/path/uv           too new\n\
                     would free about 2.1 GB\n";
        assert_eq!(
            fitted(table, 60),
            "would remove  venv       2.1 GB  /a/path/venvs/cpu-1\n    no stack of this dsr1 uses it\n\
             kept          packages   0 B     /a/path/uv\n    too new\n\
             would free about 2.1 GB\n"
        );
        let longer = table
            .replace("cpu-1 ", "cpu-12345678 ")
            .replace("uv ", "uv        ");
        assert_eq!(
            fitted(&longer, 58),
            "would remove  venv       2.1 GB\n    /a/path/venvs/cpu-12345678\n    no stack of this dsr1 uses it\n\
             kept          packages   0 B\n    /a/path/uv  too new\n\
             would free about 2.1 GB\n"
        );
        assert_eq!(fitted(table, 100), table);
    }

    #[test]
    fn a_long_path_is_whole_in_a_line_or_broken_after_a_slash() {
        let path = "/home/somebody/.local/state/results/x-20261129T233811Z.json";
        assert_eq!(width(path), 59);
        assert_eq!(
            fitted(&format!("kept in {path}"), 60),
            format!("kept in\n {path}")
        );
        assert_eq!(fitted(&format!("kept in {path}"), 59), format!("kept in\n{path}"));
        assert_eq!(
            fitted(&format!("kept in {path}\n"), 40),
            "kept in\n  /home/somebody/.local/state/results/\n  x-20261129T233811Z.json\n"
        );
        assert_eq!(
            fitted(&format!("removed  venv  1 GB  {path}  no stack uses it"), 60),
            format!("removed  venv  1 GB\n {path}\n    no stack uses it")
        );
        assert_eq!(wrapped(&format!("in {path} it is"), 40).lines().count(), 3);
        // A part that is longer than a line is not broken.
        assert_eq!(wrapped("/a/0123456789/b", 6), "/a/\n0123456789/\nb");
    }

    #[test]
    fn a_quoted_word_is_never_broken() {
        let word = format!("'{{\"model\":\"deepseek-ai/{}\"}}'", "x".repeat(60));
        let lines: Vec<String> = fitted(&format!("curl  curl -d {word}\n"), 40)
            .lines()
            .map(str::to_owned)
            .collect();
        assert!(lines.iter().any(|line| line.ends_with(&word)), "{lines:?}");
        let label = format!("curl      curl http://127.0.0.1:30000/v1/chat/completions -d {word}");
        assert!(fitted(&label, 80).contains(&word));
    }

    #[test]
    fn a_row_without_a_label_is_broken_at_the_column_of_the_rows_above() {
        let text = "option  --x\n        a text that is longer than the terminal is wide\ncounts  GPUs\n";
        assert_eq!(
            fitted(text, 28),
            "option  --x\n        a text that is\n        longer than the\n        terminal is wide\ncounts  GPUs\n"
        );
        // An entry of a list, which no row is above, uses all columns, too.
        let entry = "  a sentence of six short words, and of more";
        assert_eq!(
            fitted(entry, 24),
            "  a sentence of six\n    short words, and of\n    more"
        );
    }

    #[test]
    fn a_shortened_text_ends_with_a_whole_word_or_figure() {
        assert_eq!(
            shortened("fetched 120 MB of 800 MB", 24),
            "fetched 120 MB of 800 MB"
        );
        assert_eq!(
            shortened("fetched 120 MB of 800 MB", 23),
            "fetched 120 MB of 800…"
        );
        assert_eq!(shortened("fetched 120 MB of 800 MB", 21), "fetched 120 MB of…");
        // A long word is not left out for the sake of a short one.
        assert_eq!(shortened("pull nvidia/DeepSeek-R1", 16), "pull nvidia/Dee…");
        assert_eq!(shortened("word", 0), "…");
    }

    #[test]
    fn a_long_line_keeps_its_begin_and_its_end() {
        assert_eq!(shortened_inside("0123456789abcdef", 10), "01234…cdef");
        assert_eq!(shortened_inside("0123456789", 10), "0123456789");
    }

    #[test]
    fn a_broken_command_is_one_for_the_shell() {
        let words = ["curl", "http://a/v1", "-H 'Content-Type: x'", "-d", "'{}'"];
        assert_eq!(
            command(&words, 80),
            ["curl http://a/v1 -H 'Content-Type: x' -d '{}'"]
        );
        assert_eq!(
            command(&words, 24),
            ["curl http://a/v1 \\", "  -H 'Content-Type: x' \\", "  -d '{}'"]
        );
    }

    #[test]
    fn a_request_can_be_pasted_from_a_narrow_terminal() {
        let body = r#"'{"messages":[{"content":"Hello, you","role":"user"}],"model":"deepseek-ai/DeepSeek-R1-0528"}'"#;
        let lines = command(&["curl", "http://a/v1", "-d", body], 50);
        assert_eq!(
            lines,
            [
                "curl http://a/v1 -d \\",
                r#"  '{"messages":[{"content":"Hello, you","#,
                r#""role":"user"}],"#,
                r#""model":"deepseek-ai/DeepSeek-R1-0528"}'"#,
            ]
        );
        let pasted = lines[1..].join("\n");
        let json: serde_json::Value = serde_json::from_str(pasted.trim().trim_matches('\'')).unwrap();
        assert_eq!(json["messages"][0]["content"], "Hello, you");
    }

    proptest::proptest! {
        #[test]
        fn no_word_is_lost_and_only_words_are_longer(text in "[a-z/ ]{0,120}", columns in 8_usize..60) {
            let shown = fitted(&text, columns);
            let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
            proptest::prop_assert_eq!(words(&shown).concat(), words(&text).concat());
            for line in shown.lines().filter(|line| width(line) > columns) {
                proptest::prop_assert_eq!(words(line).len(), 1);
            }
        }
    }
}
