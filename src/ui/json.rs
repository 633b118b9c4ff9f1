//! Results and progress for machines.
//!
//! Not in this module: the shape of what is written (the types in `event` and `report` derive it).

use super::{safe, write_stderr};
use crate::event::{Event, Reporter};

/// A result as one JSON document, newline-terminated.
#[must_use]
pub fn json<T: serde::Serialize>(value: &T) -> String {
    safe::json(serde_json::to_string_pretty(value).unwrap_or_default() + "\n")
}

/// Progress: one object per event and line.
pub(super) struct Lines;

impl Reporter for Lines {
    fn event(&self, event: &Event) {
        write_stderr(&line(event));
    }
}

fn line(event: &Event) -> String {
    safe::json(serde_json::to_string(event).unwrap_or_default() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Source;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let event = Event::Line {
            step: 2,
            source: Source::Engine,
            text: "\x1b[1mhi\u{9b}\n".to_owned(),
        };
        assert_eq!(
            line(&event),
            "{\"event\":\"line\",\"step\":2,\"source\":\"engine\",\"text\":\"\\u001b[1mhi\\u009b\\n\"}\n"
        );
    }
}
