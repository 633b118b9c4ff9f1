//! Corrections of the guide by the recipe of the same name.

use crate::plan::Correction;

/// Largest width of the text in columns.
const WIDTH: usize = 100;

/// Returns each line of the guide, its consequence, the evidence, and the line of the recipe, for `columns`.
#[must_use]
pub fn corrections(corrections: &[Correction], columns: usize) -> String {
    let mut text = String::new();
    for (index, one) in corrections.iter().enumerate() {
        let Correction {
            guide,
            consequence,
            shown,
            recipe,
        } = one;
        if index > 0 {
            text.push('\n');
        }
        for (name, value) in [
            ("guide", guide),
            ("does", consequence),
            ("shown", shown),
            ("recipe", recipe),
        ] {
            paragraph(&mut text, name, value, columns.min(WIDTH));
        }
    }
    text
}

/// Writes a name and its text, broken between words.
fn paragraph(text: &mut String, name: &str, value: &str, columns: usize) {
    let mut line = format!("{name:<8}");
    for word in value.split_whitespace() {
        if line.trim_end().len() + 1 + word.len() > columns {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(8);
        }
        line.push_str(word);
        line.push(' ');
    }
    text.push_str(line.trim_end());
    text.push('\n');
}
