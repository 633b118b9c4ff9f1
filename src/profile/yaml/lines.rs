//! The line of a key in a YAML text, and the comment of a line: the values of the YAML crate hold neither.

/// Returns the line, from 1, of the key at `path` in block style. For a path that goes into flow style (`{}`), a list or a
/// scalar, it is the line of the deepest key above. `None` if the first key is missing.
pub(crate) fn line_of(text: &str, path: &[&str]) -> Option<usize> {
    let mut found = None;
    let mut wanted = path.iter();
    let mut key = wanted.next()?;
    // The indentation of the mapping that is searched; unknown before its first line.
    let mut indent = Some(0);
    let mut floor = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') || content.starts_with("---") {
            continue;
        }
        let depth = line.len() - content.len();
        if depth < floor {
            break;
        }
        if *indent.get_or_insert(depth) != depth || !has_key(content, key) {
            continue;
        }
        found = Some(number);
        let Some(next) = wanted.next() else { break };
        key = next;
        floor = depth + 1;
        indent = None;
    }
    found
}

fn has_key(content: &str, key: &str) -> bool {
    let bare = content
        .strip_prefix(key)
        .or_else(|| content.strip_prefix('"')?.strip_prefix(key)?.strip_prefix('"'))
        .or_else(|| content.strip_prefix('\'')?.strip_prefix(key)?.strip_prefix('\''));
    bare.is_some_and(|rest| {
        let rest = rest.trim_start();
        rest == ":" || rest.starts_with(": ") || rest.starts_with(":\t")
    })
}

/// Returns the comment at the end of a line: it gives the source of the value.
pub(crate) fn comment_of(text: &str, line: usize) -> Option<&str> {
    let content = text.lines().nth(line.checked_sub(1)?)?;
    let (_, comment) = content.split_once(" #")?;
    Some(comment.trim())
}

/// Returns a line with the line above and the line below, numbered.
pub(super) fn snippet(text: &str, line: usize) -> Vec<String> {
    text.lines()
        .enumerate()
        .map(|(index, content)| (index + 1, content))
        .filter(|(number, _)| number.abs_diff(line) <= 1)
        .map(|(number, content)| {
            format!(
                "{}{number:>4} | {content}",
                if number == line { ">" } else { " " }
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_key_is_found_in_its_own_mapping() {
        let text = "name: x\n# bench:\nengine:\n  env:\n    bench: 1\n  \"mem_fraction\" : 0.9 # guide\nbench:\n  input_len: 1\n  on: {a: {b: 1}}\n";
        assert_eq!(line_of(text, &["engine", "mem_fraction"]), Some(6));
        assert_eq!(line_of(text, &["bench"]), Some(7));
        assert_eq!(line_of(text, &["bench", "on", "a"]), Some(9));
        assert_eq!(line_of(text, &["engine", "env", "bench"]), Some(5));
        assert_eq!(line_of(text, &["engine", "nothing"]), Some(3));
        assert_eq!(line_of(text, &["nothing"]), None);
        assert_eq!(comment_of(text, 6), Some("guide"));
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_looked_up_without_panic(text in "([ a-c:#'\"\n]|\\PC){0,60}", path in proptest::collection::vec("[a-c]{0,2}", 0..4)) {
            let keys: Vec<&str> = path.iter().map(String::as_str).collect();
            let _ = line_of(&text, &keys);
        }
    }
}
