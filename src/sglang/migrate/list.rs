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
                let begin = end - word.len();
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

    /// Returns the text with replacements, whose words do not overlap.
    pub(super) fn replaced(&self, text: &str, replacements: &[Replacement]) -> String {
        let mut text = text.to_owned();
        let mut in_order: Vec<&Replacement> = replacements.iter().collect();
        in_order.sort_by_key(|one| std::cmp::Reverse(one.words.start));
        for one in in_order {
            if one.words.is_empty() || one.words.end > self.items.len() {
                continue;
            }
            if self.is_flow {
                self.replace_in_brackets(&mut text, one);
            } else {
                self.replace_lines(&mut text, one);
            }
        }
        let removed: usize = replacements
            .iter()
            .filter(|one| one.by.is_empty())
            .map(|one| one.words.len())
            .sum();
        if !self.is_flow && removed == self.items.len() {
            text.insert_str(self.at, " []");
        }
        text
    }

    fn replace_in_brackets(&self, text: &mut String, one: &Replacement) {
        let (first, last) = (&self.items[one.words.start], &self.items[one.words.end - 1]);
        if one.by.is_empty() {
            // With the comma after it, or for the last word with the one before it.
            let (from, to) = match (self.items.get(one.words.end), one.words.start.checked_sub(1)) {
                (Some(next), _) => (first.place.start, next.place.start),
                (None, Some(before)) => (self.items[before].place.end, last.place.end),
                (None, None) => (first.place.start, last.place.end),
            };
            text.replace_range(from..to, "");
        } else {
            let words: Vec<String> = one.by.iter().map(|word| written(word)).collect();
            text.replace_range(first.place.start..last.place.end, &words.join(", "));
        }
    }

    fn replace_lines(&self, text: &mut String, one: &Replacement) {
        // From the last word to the first, so that places stay right.
        for at in one.words.clone().rev() {
            let place = &self.items[at].place;
            let begin = text[..place.start].rfind('\n').map_or(0, |end| end + 1);
            let end = text[place.end..]
                .find('\n')
                .map_or(text.len(), |end| place.end + end + 1);
            if at > one.words.start || one.by.is_empty() {
                text.replace_range(begin..end, "");
                continue;
            }
            let lead = text[begin..place.start].to_owned();
            let words: Vec<String> = one.by.iter().map(|word| written(word)).collect();
            let (first, others) = words
                .split_first()
                .map_or((String::new(), &[][..]), |(f, o)| (f.clone(), o));
            let more = others
                .iter()
                .fold(String::new(), |all, word| all + &lead + word + "\n");
            text.insert_str(end, &more);
            text.replace_range(place.clone(), &first);
        }
    }
}

/// Returns a word as it is written in a list: quoted where YAML would read something else than a text.
fn written(word: &str) -> String {
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
    let line = line.find(" #").map_or(line, |end| &line[..end]).trim_end();
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
    }

    #[test]
    fn lines_are_replaced_where_they_stand() {
        let text = "args:  # raw\n  - --a  # why\n  - \"8\"\n  # the other\n  - --b\nnext: 1\n";
        let expected = "args:  # raw\n  - --x  # why\n  - \"16\"\n  # the other\n  - --b\nnext: 1\n";
        assert_eq!(change(text, &[(0..2, &["--x", "16"])]), expected);
        let expected = "args:  # raw\n  - --a  # why\n  - \"8\"\n  # the other\nnext: 1\n";
        assert_eq!(change(text, &[(2..3, &[])]), expected);
        assert_eq!(change("a:\n  - --x\nb: 1\n", &[(0..1, &[])]), "a: []\nb: 1\n");
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
