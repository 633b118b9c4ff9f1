//! Progress as JSON lines on stderr.

use super::write_stderr;
use crate::event::{Event, Reporter};

/// One object per event.
pub(super) struct Lines;

impl Reporter for Lines {
    fn event(&self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            write_stderr(&(line + "\n"));
        }
    }
}
