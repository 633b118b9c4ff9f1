//! HTML and SVG under construction. Only constants of the program are markup; every text from a file becomes text: without
//! secrets, without hidden characters, and escaped.

use std::fmt::Write;

use super::path::PathData;
use crate::redact::redact_certain;
use crate::ui::safe::safe;

/// Most characters of one text: the end of a longer one says nothing to a reader.
const MOST_CHARS: usize = 2000;

/// A page, or a part of one.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

/// A value of an attribute.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// A word of the program.
    Word(&'static str),
    /// A word of the program, and a number behind it.
    Numbered(&'static str, usize),
    /// Foreign text.
    Text(&'a str),
    /// A number, in pixels for a length.
    Number(f64),
    /// A share of 0 to 1, as a percentage.
    Share(f64),
    /// Width and height of a drawing in units of its own.
    Box(f64, f64),
    /// The outline of a shape.
    Path(&'a PathData),
}

/// A name and its value.
pub(super) type Attribute<'a> = (&'static str, Value<'a>);

impl Markup {
    /// Appends markup of the program.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Appends a text.
    pub(super) fn text(&mut self, text: &str) {
        push_escaped(&mut self.0, &shown(text));
    }

    /// Opens an element.
    pub(super) fn open(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.begin(tag, attributes);
        self.0.push('>');
    }

    /// Closes an element.
    pub(super) fn close(&mut self, tag: &'static str) {
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push_str(">\n");
    }

    /// Appends an element that holds a text.
    pub(super) fn leaf(&mut self, tag: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.open(tag, attributes);
        self.text(text);
        self.close(tag);
    }

    /// Appends a shape of SVG.
    pub(super) fn shape(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.begin(tag, attributes);
        self.0.push_str("/>");
    }

    /// Appends a shape of SVG with a text that a browser shows beside the pointer.
    pub(super) fn titled(&mut self, tag: &'static str, attributes: &[Attribute<'_>], title: &str) {
        self.open(tag, attributes);
        self.leaf("title", &[], title);
        self.close(tag);
    }

    /// Returns the text of the page.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn begin(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            // Writing to a String cannot fail.
            let _ = match value {
                Value::Word(word) => write!(self.0, "{word}"),
                Value::Numbered(word, number) => write!(self.0, "{word}{number}"),
                Value::Number(number) => write!(self.0, "{:.1}", finite(*number)),
                Value::Share(share) => write!(self.0, "{:.2}%", finite(*share) * 100.0),
                Value::Box(width, height) => write!(self.0, "0 0 {width} {height}"),
                Value::Path(path) => write!(self.0, "{}", path.data()),
                Value::Text(text) => {
                    push_escaped(&mut self.0, &shown(text));
                    Ok(())
                }
            };
            self.0.push('"');
        }
    }
}

/// Returns a text as a page may show it: without secrets, without hidden characters, and not without end.
pub(super) fn shown(text: &str) -> String {
    // First the secrets: the beginning of one has no form that is known.
    let text = redact_certain(text);
    let text = match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.into_owned(),
    };
    safe(&text).into_owned()
}

/// Appends a text with the characters that mean something in HTML, in SVG or in a value of an attribute as references.
fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '`' => out.push_str("&#96;"),
            c => out.push(c),
        }
    }
}

/// Returns a number that every browser reads.
fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_markup() {
        let mut markup = Markup::default();
        markup.leaf(
            "b",
            &[("title", Value::Text("\"><script>"))],
            "<i>&'`</i>\u{202e}",
        );
        assert_eq!(
            markup.finish(),
            "<b title=\"&quot;&gt;&lt;script&gt;\">&lt;i&gt;&amp;&#39;&#96;&lt;/i&gt;\\u{202e}</b>\n"
        );
    }

    #[test]
    fn a_text_is_cut_behind_its_secrets() {
        let long = format!(
            "{} Authorization: Bearer abcdefghijklmnop",
            "x".repeat(MOST_CHARS - 25)
        );
        let shown = shown(&long);
        assert!(
            !shown.contains("abcdef") && shown.chars().count() <= MOST_CHARS + 4,
            "{shown}"
        );
    }

    #[test]
    fn a_number_is_one_for_every_browser() {
        let mut markup = Markup::default();
        let attributes = [("x", Value::Number(f64::NAN)), ("y", Value::Share(f64::INFINITY))];
        markup.shape("rect", &attributes);
        assert_eq!(markup.finish(), "<rect x=\"0.0\" y=\"0.00%\"/>");
    }
}
