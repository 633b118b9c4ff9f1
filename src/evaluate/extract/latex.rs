//! One form for expressions that are written in several ways. Two expressions are equal if their forms are: there is no algebra
//! here, so an equal expression in another shape counts as another one.
//!
//! The form drops: spaces and commands of spacing, `$`, `\left`, `\right`, sizes, `\displaystyle`, percent signs, degrees, commas
//! between thousands, a unit at the end (`\text{ cm}^2`), a point at the end, and what is before the `=` of one letter. It writes
//! `\dfrac`, `\tfrac`, `\cfrac` as `\frac`, `\frac12` as `\frac{1}{2}`, `1/2` of integers as `\frac{1}{2}`, `\frac{-1}{2}` as
//! `-\frac{1}{2}`, `\sqrt3` as `\sqrt{3}`, `x^{2}` as `x^2`, `\leq` as `\le` and their like, `\text{x}` as x, `(C)` as C, and a number
//! without zeros at its ends.

use super::number::whole_number;

/// Most bytes of an expression. A longer one is no result of any question.
const MOST_BYTES: usize = 4 << 10;

/// Commands that change only how an expression looks.
const DROPPED: [&str; 26] = [
    "left",
    "right",
    "!",
    ",",
    ";",
    ":",
    " ",
    ">",
    "quad",
    "qquad",
    "displaystyle",
    "$",
    "%",
    "(",
    ")",
    "[",
    "]",
    "big",
    "Big",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "degree",
    "limits",
    "nobreak",
];
/// Commands whose argument is text, or only looks different.
const TEXTS: [&str; 10] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "mathrm",
    "mathbf",
    "mbox",
    "operatorname",
    "boxed",
    "fbox",
];
/// Commands that are another name of one.
const SAME: [(&str, &str); 9] = [
    ("dfrac", "frac"),
    ("tfrac", "frac"),
    ("cfrac", "frac"),
    ("leq", "le"),
    ("geq", "ge"),
    ("neq", "ne"),
    ("lbrace", "{"),
    ("rbrace", "}"),
    ("infin", "infty"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Command(&'a str),
    Char(char),
}

/// Returns the form of an expression; `None` of an empty or a very long one.
pub(in crate::evaluate) fn normalize_latex(text: &str) -> Option<String> {
    if text.len() > MOST_BYTES {
        return None;
    }
    let tokens = simplify(&split_tokens(text));
    let tokens = with_arguments(&with_fractions(&without_degrees(&tokens)));
    let form = rewrite_form(&write_tokens(&without_braces(&tokens)));
    (!form.is_empty()).then_some(form)
}

fn split_tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        if first != '\\' {
            tokens.push(Token::Char(first));
            rest = after;
            continue;
        }
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let length = match letters {
            0 => after.chars().next().map_or(0, char::len_utf8),
            letters => letters,
        };
        tokens.push(Token::Command(&after[..length]));
        rest = &after[length..];
    }
    tokens
}

/// Returns the tokens without those that change only how they look, and with texts in place of their commands.
fn simplify<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut simple = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Command(name) if TEXTS.contains(name) => {
                let Some(length) = group_length(&tokens[at..]) else {
                    continue;
                };
                let content = &tokens[at + 1..at + length - 1];
                at += length;
                let power = power_length(&tokens[at..]);
                if is_unit(&simple, content, &tokens[at + power..]) {
                    at += power;
                } else {
                    simple.extend(simplify(content));
                }
            }
            Token::Command(name) if DROPPED.contains(name) || name.is_empty() => {}
            Token::Command(name) => {
                let same = SAME.iter().find(|(other, _)| other == name);
                simple.push(Token::Command(same.map_or(name, |(_, name)| name)));
            }
            Token::Char(c) if c.is_whitespace() || c.is_control() || "$%~°".contains(*c) => {}
            Token::Char(c) => simple.push(Token::Char(*c)),
        }
    }
    simple
}

/// Returns true if a text behind an expression is its unit: nothing follows it, and it begins with a space or stands at a number.
fn is_unit(before: &[Token<'_>], content: &[Token<'_>], after: &[Token<'_>]) -> bool {
    let is_at_number = matches!(before.last(), Some(Token::Char('0'..='9' | '}')));
    let is_spaced = matches!(content, [Token::Char(' '), ..]);
    let is_end = after.iter().all(|token| match token {
        Token::Command(name) => DROPPED.contains(name),
        Token::Char(c) => c.is_whitespace() || "$.".contains(*c),
    });
    is_end && !before.is_empty() && (is_at_number || is_spaced)
}

/// Returns the number of tokens of the group in braces at the start, with its braces; `None` if there is none.
fn group_length(tokens: &[Token<'_>]) -> Option<usize> {
    if tokens.first() != Some(&Token::Char('{')) {
        return None;
    }
    let mut depth = 0_usize;
    let end = tokens.iter().position(|token| {
        match token {
            Token::Char('{') => depth += 1,
            Token::Char('}') => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    Some(end + 1)
}

/// Returns the number of tokens of a power at the start; 0 if there is none.
fn power_length(tokens: &[Token<'_>]) -> usize {
    match tokens {
        [Token::Char('^'), after @ ..] => 1 + group_length(after).unwrap_or(after.len().min(1)),
        _ => 0,
    }
}

/// Returns the tokens without `^\circ` and `^{\circ}`, and with `,` in place of `{,}`.
fn without_degrees<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    use Token::{Char, Command};
    let mut rest = tokens;
    let mut kept = Vec::new();
    loop {
        rest = match rest {
            [Char('^'), Command("circ"), after @ ..]
            | [Char('^'), Char('{'), Command("circ"), Char('}'), after @ ..] => after,
            [Char('{'), Char(','), Char('}'), after @ ..] => {
                kept.push(Char(','));
                after
            }
            [token, after @ ..] => {
                kept.push(*token);
                after
            }
            [] => return kept,
        };
    }
}

/// Returns the tokens with `\frac` in place of each division of two integers.
fn with_fractions<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let digits = |from: usize| {
        let is_digit = |token: &&Token<'_>| matches!(token, Token::Char('0'..='9'));
        tokens[from..].iter().take_while(is_digit).count()
    };
    // A digit behind one of these is a part of something else.
    let is_alone = |before: Option<&Token<'_>>| match before {
        None | Some(Token::Command(_)) => true,
        Some(Token::Char(c)) => !c.is_alphanumeric() && !"^_.)}]/".contains(*c),
    };
    let mut written = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let above = digits(at);
        let slash = at + above;
        if above > 0 && tokens.get(slash) == Some(&Token::Char('/')) && is_alone(written.last()) {
            let below = digits(slash + 1);
            let end = slash + 1 + below;
            if below > 0 && !matches!(tokens.get(end), Some(Token::Char('.' | '^' | '/'))) {
                written.extend([Token::Command("frac"), Token::Char('{')]);
                written.extend(&tokens[at..slash]);
                written.extend([Token::Char('}'), Token::Char('{')]);
                written.extend(&tokens[slash + 1..end]);
                written.push(Token::Char('}'));
                at = end;
                continue;
            }
        }
        let next = at + above.max(1);
        written.extend(&tokens[at..next]);
        at = next;
    }
    written
}

/// Returns the tokens without braces around a single token in a power or an index.
fn without_braces<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut rest = tokens;
    let mut kept = Vec::new();
    loop {
        rest = match rest {
            [
                mark @ Token::Char('^' | '_'),
                Token::Char('{'),
                single,
                Token::Char('}'),
                after @ ..,
            ] if !matches!(single, Token::Char('{' | '}')) => {
                kept.extend([*mark, *single]);
                after
            }
            [token, after @ ..] => {
                kept.push(*token);
                after
            }
            [] => return kept,
        };
    }
}

/// Returns the tokens with braces around each argument of `\frac` and `\sqrt`.
fn with_arguments<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut written = Vec::new();
    let mut missing = 0_u32;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        // The brackets of a root's degree are no argument.
        let is_degree = *token == Token::Char('[');
        if missing > 0 && !is_degree {
            missing -= 1;
            if let Some(length) = group_length(&tokens[at..]) {
                written.push(Token::Char('{'));
                written.extend(with_arguments(&tokens[at + 1..at + length - 1]));
                written.push(Token::Char('}'));
                at += length;
                continue;
            }
            if !matches!(token, Token::Command("frac" | "sqrt")) {
                written.extend([Token::Char('{'), *token, Token::Char('}')]);
                at += 1;
                continue;
            }
        }
        match token {
            Token::Command("frac") => missing = 2,
            Token::Command("sqrt") => missing = 1,
            _ if is_degree => missing = 0,
            _ => {}
        }
        written.push(*token);
        at += 1;
    }
    written
}

fn write_tokens(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Char(c) => text.push(*c),
            Token::Command(name) => {
                text.push('\\');
                text.push_str(name);
                // `\pi r` and `\pir` are two things.
                let is_word = name.ends_with(|c: char| c.is_ascii_alphabetic());
                let next = tokens.get(index + 1);
                if is_word && matches!(next, Some(Token::Char(c)) if c.is_ascii_alphabetic()) {
                    text.push(' ');
                }
            }
        }
    }
    text
}

/// Returns the form of the whole text: numbers, fractions, a letter in parentheses, an assignment.
fn rewrite_form(text: &str) -> String {
    let mut text = text.trim_end_matches('.');
    if let Some((name, value)) = text.split_once('=')
        && name.len() == 1
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !value.is_empty()
    {
        text = value;
    }
    if let Some(number) = whole_number(text) {
        return number;
    }
    if let Some(rest) = text.strip_prefix("\\frac{-") {
        return format!("-\\frac{{{rest}");
    }
    let inside = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    if let Some(inside) = inside.filter(|inside| inside.len() == 1 && inside.is_ascii()) {
        return inside.to_owned();
    }
    text.to_owned()
}
