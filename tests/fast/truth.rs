//! The server of known times (`tests/support/truth`): each answer, each fault and the plan of its times, seen by a client
//! of bare sockets. No wall time is asserted, because the machine may be busy.

mod answers;
mod client;
mod faults;
mod http;
mod plans;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::truth::Shape;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A shape whose answers take some milliseconds.
fn quick() -> Shape {
    Shape::new(ms(4), ms(1))
}

/// Returns a request for tokens of a stream.
fn prompt(tokens: u32) -> Value {
    json!({"prompt": "one two three", "max_tokens": tokens, "ignore_eos": true, "stream": true})
}

fn chat(tokens: u32) -> Value {
    json!({
        "messages": [{"role": "user", "content": "one two three"}], "max_completion_tokens": tokens,
        "stream": true, "stream_options": {"include_usage": true},
    })
}

fn generate(tokens: u32) -> Value {
    json!({"input_ids": [7, 8, 9], "stream": true, "sampling_params": {"max_new_tokens": tokens}})
}
