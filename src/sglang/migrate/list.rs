//! A list of words in a YAML text, with the place of each word, so that some can be replaced and the rest stays as it is
//! written: order, quotes, comments.

use std::ops::Range;

/// A list of scalars, in brackets or a line each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct List {
    /// The byte behind the colon of its key.
    at: usize,
    items: Vec<Item>,
    /// True for a list in brackets.
    is_flow: bool,
}

/// One word.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    value: String,
    /// Its bytes in the text, quotes included.
    place: Range<usize>,
}

/// New words in the place of some neighbouring ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replacement {
    /// Positions in the list.
    pub(super) words: Range<usize>,
    /// The words that take their place; none to remove them.
    pub(super) by: Vec<String>,
}

impl List {
    /// Reads the list that is the value of a key whose colon ends at byte `at` of `text`; `None` if it is something else
    /// than a list of plain words.
    pub(super) fn read(text: &str, at: usize) -> Option<Self> {
        let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |end| at + end);
        let rest = text.get(at..line_end(at))?;
        if rest.trim_start().starts_with('[') {
            let open = at + rest.find('[')?;
            return Some(Self {
                at,
                items: flow(text, open + 1)?,
                is_flow: true,
            });
        }
        if !rest.trim_start().is_empty() && !rest.trim_start().starts_with('#') {
            return None;
        }
        let mut items = Vec::new();
        let mut start = line_end(at) + 1;
        while start < text.len() {
            let end = line_end(start);
            let line = &text[start..end];
            let word = line.trim_start();
            if let Some(word) = word.strip_prefix("- ") {
                let begin = end - word.trim_start().len();
                items.push(scalar(text, begin, &[])?);
            } else if !word.is_empty() && !word.starts_with('#') {
                break;
            }
            start = end + 1;
        }
        (!items.is_empty()).then_some(Self {
            at,
            items,
            is_flow: false,
        })
    }

    /// Returns the words.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|item| item.value.as_str())
    }

    /// Returns the comments of these words, where each word has a line.
    pub(super) fn comments<'a>(&self, text: &'a str, words: Range<usize>) -> impl Iterator<Item = &'a str> {
        let items = if self.is_flow { &[] } else { &self.items[words] };
        let rests: Vec<&str> = items
            .iter()
            .filter_map(|item| text[item.place.end..].lines().next())
            .collect();
        rests
            .into_iter()
            .filter_map(|rest| Some(rest.trim_start().strip_prefix('#')?.trim()))
    }

    /// Returns the text with replacements, whose words do not overlap.
    pub(super) fn replaced(&self, text: &str, replacements: &[Replacement]) -> String {
        // What becomes of each word: `None` if it stays, else the words in its place.
        let mut new: Vec<Option<&[String]>> = vec![None; self.items.len()];
        for one in replacements {
            for at in one.words.clone() {
                let Some(slot) = new.get_mut(at) else { continue };
                *slot = Some(if at == one.words.start { &one.by } else { &[] });
            }
        }
        let mut text = text.to_owned();
        // From the last word to the first, so that places stay right.
        for (at, item) in self.items.iter().enumerate().rev() {
            match new[at] {
                None => {}
                Some([]) if self.is_flow => self.remove_in_brackets(&mut text, at),
                Some([]) => text.replace_range(line_of(&text, &item.place), ""),
                Some(words) if self.is_flow => text.replace_range(item.place.clone(), &written_all(words)),
                Some(words) => replace_line(&mut text, &item.place, words),
            }
        }
        if new.iter().all(|slot| matches!(slot, Some([]))) && !self.is_flow {
            text.insert_str(self.at, " []");
        }
        text
    }

    /// Removes a word with the comma behind it; a last word with the comma before it, which a removal of the word before
    /// finds no more.
    fn remove_in_brackets(&self, text: &mut String, at: usize) {
        let place = &self.items[at].place;
        let after = &text[place.end..];
        let spaces = after.len() - after.trim_start().len();
        if after.trim_start().starts_with(',') {
            let rest = &after[spaces + 1..];
            let gap = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            text.replace_range(place.start..place.end + spaces + 1 + gap, "");
            return;
        }
        let before = text[..place.start].trim_end();
        let start = if before.ends_with(',') {
            before.len() - 1
        } else {
            place.start
        };
        text.replace_range(start..place.end, "");
    }
}

/// Returns the bytes of the line that holds a word, its end included.
fn line_of(text: &str, place: &Range<usize>) -> Range<usize> {
    let begin = text[..place.start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[place.end..]
        .find('\n')
        .map_or(text.len(), |end| place.end + end + 1);
    begin..end
}

/// Replaces a word on a line of its own: the first new word takes its place, the others get lines behind it.
fn replace_line(text: &mut String, place: &Range<usize>, words: &[String]) {
    let line = line_of(text, place);
    let lead = text[line.start..place.start].to_owned();
    let Some((first, others)) = words.split_first() else {
        return;
    };
    let more = others
        .iter()
        .fold(String::new(), |all, word| all + &lead + &written(word) + "\n");
    text.insert_str(line.end, &more);
    text.replace_range(place.clone(), &written(first));
}

fn written_all(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| written(word)).collect();
    words.join(", ")
}

/// Returns a word as it is written in a list: quoted where YAML would read something else than a text.
pub(super) fn written(word: &str) -> String {
    let is_plain = word.starts_with("--")
        || word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
            && !matches!(
                word.to_ascii_lowercase().as_str(),
                "true" | "false" | "null" | "yes" | "no" | "on" | "off"
            );
    if is_plain && !word.contains([',', ']', '[', '{', '}', '#', ':', ' ']) {
        word.to_owned()
    } else {
        serde_json::to_string(word).unwrap_or_else(|_| word.to_owned())
    }
}

/// Reads the words of a list in brackets, from behind the opening one.
fn flow(text: &str, mut at: usize) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    loop {
        let rest = &text[at..];
        let next = rest.trim_start();
        at += rest.len() - next.len();
        match next.chars().next()? {
            ']' => return Some(items),
            ',' => at += 1,
            '#' => at += next.find('\n')?,
            '[' | '{' | '&' | '*' | '!' => return None,
            _ => {
                let item = scalar(text, at, &[',', ']'])?;
                at = item.place.end;
                items.push(item);
            }
        }
    }
}

/// Reads a word at a byte of the text; a plain one ends at a line's end, a comment or one of `ends`.
fn scalar(text: &str, at: usize, ends: &[char]) -> Option<Item> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    if first == '"' {
        let mut escaped = false;
        let close = rest.char_indices().skip(1).find(|(_, c)| {
            let is_end = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            is_end
        })?;
        let place = at..at + close.0 + 1;
        let value = serde_json::from_str(&text[place.clone()]).ok()?;
        return Some(Item { value, place });
    }
    if first == '\'' {
        let close = rest[1..].find('\'')? + 1;
        if rest[close + 1..].starts_with('\'') {
            return None;
        }
        let place = at..at + close + 1;
        let value = rest[1..close].to_owned();
        return Some(Item { value, place });
    }
    let line = rest.lines().next()?;
    let end = line.find(|c| ends.contains(&c)).unwrap_or(line.len());
    let line = &line[..end];
    let comment = line
        .char_indices()
        .find(|(at, c)| *c == '#' && line[..*at].ends_with([' ', '\t']));
    let line = comment.map_or(line, |(at, _)| &line[..at]).trim_end();
    if line.is_empty() || line.starts_with(['&', '*', '!', '|', '>', '%', '@', '`', '{', '[']) {
        return None;
    }
    Some(Item {
        value: line.to_owned(),
        place: at..at + line.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str, replacements: &[(Range<usize>, &[&str])]) -> String {
        let at = text.find(':').unwrap() + 1;
        let list = List::read(text, at).unwrap();
        let replacements: Vec<Replacement> = replacements
            .iter()
            .map(|(words, by)| Replacement {
                words: words.clone(),
                by: by.iter().map(|word| (*word).to_owned()).collect(),
            })
            .collect();
        list.replaced(text, &replacements)
    }

    #[test]
    fn words_in_brackets_are_replaced_where_they_stand() {
        let text = "args: [--a, \"8\", '--b', c]  # mine\nnext: 1\n";
        assert_eq!(
            change(text, &[(0..2, &["--x", "16"])]),
            "args: [--x, \"16\", '--b', c]  # mine\nnext: 1\n"
        );
        assert_eq!(
            change(text, &[(2..4, &[])]),
            "args: [--a, \"8\"]  # mine\nnext: 1\n"
        );
        assert_eq!(
            change(text, &[(0..2, &[]), (2..3, &["--y"])]),
            "args: [--y, c]  # mine\nnext: 1\n"
        );
        assert_eq!(change("a: [--x]\n", &[(0..1, &[])]), "a: []\n");
        // Neighbours that go, at the end, with a comment between them.
        let text = "args: [--a,\n  --b, # why\n  --c]\nnext: 1\n";
        let changed = change(text, &[(1..2, &[]), (2..3, &[])]);
        let value: serde_yaml::Value = serde_yaml::from_str(&changed).unwrap();
        assert_eq!(
            value["args"],
            serde_yaml::from_str::<serde_yaml::Value>("[--a]").unwrap(),
            "{changed}"
        );
        assert_eq!(
            change("a: [--x, --y, --z]\n", &[(1..2, &[]), (2..3, &[])]),
            "a: [--x]\n"
        );
    }

    #[test]
    fn lines_are_replaced_where_they_stand() {
        let text = "args:  # raw\n  - --a  # why\n  - \"8\"\n  # the other\n  - --b\nnext: 1\n";
        let expected = "args:  # raw\n  - --x  # why\n  - \"16\"\n  # the other\n  - --b\nnext: 1\n";
        assert_eq!(change(text, &[(0..2, &["--x", "16"])]), expected);
        let expected = "args:  # raw\n  - --a  # why\n  - \"8\"\n  # the other\nnext: 1\n";
        assert_eq!(change(text, &[(2..3, &[])]), expected);
        assert_eq!(change("a:\n  - --x\nb: 1\n", &[(0..1, &[])]), "a: []\nb: 1\n");
        let spaced = "a:\n-  --x\n-   --y\t# why\n";
        assert_eq!(
            List::read(spaced, 2).unwrap().words().collect::<Vec<_>>(),
            ["--x", "--y"]
        );
    }

    #[test]
    fn what_is_no_list_of_words_is_left_alone() {
        for text in [
            "a: 1\n",
            "a: [[b]]\n",
            "a: {b: c}\n",
            "a: *b\n",
            "a: [b\n",
            "a:\n  - {b: c}\n",
        ] {
            assert_eq!(List::read(text, 2), None, "{text}");
        }
    }
}
