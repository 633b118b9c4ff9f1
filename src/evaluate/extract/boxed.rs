//! The last `\boxed{}` of a text.

const COMMAND: &str = "\\boxed{";

/// Returns the content of the last `\boxed{...}` whose braces are balanced; of one inside another, the outer one. An escaped brace
/// (`\{`) is no brace. One pass, whatever the text holds.
pub(super) fn last_boxed(text: &str) -> Option<&str> {
    // The open braces: of a box, the start of its content.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut found = None;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if text[at..].starts_with(COMMAND) => {
                at += COMMAND.len();
                open.push(Some(at));
                continue;
            }
            b'\\' => {
                // The next character is escaped, also if it has several bytes: none of them is a brace.
                at += 2;
                continue;
            }
            b'{' => open.push(None),
            b'}' => {
                if let Some(Some(start)) = open.pop() {
                    found = Some(&text[start..at]);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}
