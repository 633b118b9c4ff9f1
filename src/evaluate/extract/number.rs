//! Decimal numbers in a text.

/// Most digits of a number that is a result. A longer one is no result of any question.
const MOST_DIGITS: usize = 40;

/// Returns the last number of a text in its one form.
pub(super) fn last_number(text: &str) -> Option<String> {
    numbers_of(text).last().flatten()
}

/// Returns the first number of a text in its one form.
pub(in crate::evaluate) fn first_number(text: &str) -> Option<String> {
    numbers_of(text).next().flatten()
}

/// Returns an integer of 0 to 999 without zeros in front; `None` for anything else.
pub(in crate::evaluate) fn read_integer(text: &str) -> Option<String> {
    let is_short = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let value: u32 = is_short.then(|| text.parse().ok())??;
    (value < 1000).then(|| value.to_string())
}

/// Returns the one form of a text that is a number and nothing else.
pub(super) fn whole_number(text: &str) -> Option<String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let (length, form) = is_number.then(|| read_number(digits))??;
    (length == digits.len()).then(|| signed(text.starts_with('-'), form))?
}

/// Returns the numbers of a text from its beginning; `None` for one that is too long to be a result.
fn numbers_of(text: &str) -> impl Iterator<Item = Option<String>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        // The point of `No.5` ends a word.
        let is_point = |at: usize| {
            bytes[at] == b'.' && is_digit(at + 1) && !(at > 0 && bytes[at - 1].is_ascii_alphanumeric())
        };
        // Bytes of other characters are above ASCII, so `start` is always the start of a character.
        let start = (at..bytes.len()).find(|at| is_digit(*at) || is_point(*at))?;
        let (length, form) = read_number(&text[start..])?;
        at = start + length;
        Some(signed(is_negative(bytes, start), form))
    })
}

/// Returns true if a minus before the number is its sign: 5-3 has the numbers 5 and 3. A sign of a currency may be between.
fn is_negative(bytes: &[u8], start: usize) -> bool {
    let before = |at: usize| at.checked_sub(1).map(|at| bytes[at]);
    let sign = match before(start) {
        Some(b'$') => start - 1,
        _ => start,
    };
    before(sign) == Some(b'-')
        && !before(sign - 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b')')
}

/// Returns the length of the number at the start of a text, and its digits before and after the point. Commas count only where
/// they part thousands.
fn read_number(text: &str) -> Option<(usize, (String, String))> {
    let bytes = text.as_bytes();
    let digits_at = |at: usize| {
        bytes
            .iter()
            .skip(at)
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let first = digits_at(0);
    let mut end = first;
    if (1..=3).contains(&first) {
        while bytes.get(end) == Some(&b',') && digits_at(end + 1) == 3 {
            end += 4;
        }
    }
    let whole = text[..end].replace(',', "");
    let mut fraction = "";
    let after = digits_at(end + 1);
    if bytes.get(end) == Some(&b'.') && after > 0 {
        fraction = &text[end + 1..=end + after];
        end += 1 + after;
    }
    (end > 0).then(|| (end, (whole, fraction.to_owned())))
}

/// Returns the one form of a number: no zeros at either end, no sign of zero.
fn signed(is_negative: bool, (whole, fraction): (String, String)) -> Option<String> {
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let fraction = fraction.trim_end_matches('0');
    if whole.len() + fraction.len() > MOST_DIGITS {
        return None;
    }
    let value = if fraction.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{fraction}")
    };
    let sign = if is_negative && value != "0" { "-" } else { "" };
    Some(format!("{sign}{value}"))
}
