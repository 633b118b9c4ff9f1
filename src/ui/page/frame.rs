//! The frame of a plot: an area that has the width of the page, and labels that keep their size.
//!
//! Places across are percentages and places down are pixels, so that a plot needs no program to fit a screen. Lines and areas
//! are in an inner drawing, which a browser stretches; texts and marks are in the outer one, which it does not.

use super::markup::{Markup, Value};
use super::path::UNITS;
use super::scale::Scale;

/// Opens a plot of a height in pixels, with a text for those who cannot see it.
pub(super) fn open_frame(markup: &mut Markup, height: f64, about: &str) {
    let attributes = [
        ("class", Value::Word("frame")),
        ("height", Value::Number(height)),
        ("role", Value::Word("img")),
        ("aria-label", Value::Text(about)),
    ];
    markup.open("svg", &attributes);
}

/// Closes a plot.
pub(super) fn close_frame(markup: &mut Markup) {
    markup.close("svg");
}

/// Draws the lines of an upward axis and their labels.
pub(super) fn draw_rows(markup: &mut Markup, scale: &Scale, height: f64) {
    for tick in scale.ticks() {
        let y = down(scale, tick, height);
        draw_line(markup, "grid", (0.0, y), (1.0, y));
        let attributes = [
            ("class", Value::Word("tick up")),
            ("x", Value::Number(-8.0)),
            ("y", Value::Number(y + 4.0)),
        ];
        markup.leaf("text", &attributes, &scale.label(tick));
    }
}

/// Draws a label below the plot, and a line above it.
pub(super) fn draw_column(markup: &mut Markup, share: f64, label: &str, height: f64) {
    draw_line(markup, "grid", (share, 0.0), (share, height));
    let class = if share > 0.97 { "tick last" } else { "tick" };
    let attributes = [
        ("class", Value::Word(class)),
        ("x", Value::Share(share)),
        ("y", Value::Number(height + 17.0)),
    ];
    markup.leaf("text", &attributes, label);
}

/// Draws a line between two points, each a share of the width and pixels from the top.
pub(super) fn draw_line(markup: &mut Markup, class: &'static str, from: (f64, f64), to: (f64, f64)) {
    let attributes = [
        ("class", Value::Word(class)),
        ("x1", Value::Share(from.0)),
        ("y1", Value::Number(from.1)),
        ("x2", Value::Share(to.0)),
        ("y2", Value::Number(to.1)),
    ];
    markup.shape("line", &attributes);
}

/// Opens the inner drawing.
pub(super) fn open_stretched(markup: &mut Markup, height: f64) {
    let attributes = [
        ("width", Value::Share(1.0)),
        ("height", Value::Number(height)),
        ("viewBox", Value::Box(UNITS, height)),
        ("preserveAspectRatio", Value::Word("none")),
    ];
    markup.open("svg", &attributes);
}

/// Returns the pixels from the top of a value.
pub(super) fn down(scale: &Scale, value: f64, height: f64) -> f64 {
    height * (1.0 - scale.place_value(value))
}
