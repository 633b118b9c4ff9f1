//! The live screen of `dsr1 top` as data: what looks at the servers showed over time, and what a key does.
//!
//! | module | subject |
//! |---|---|
//! | `history` | the looks at one server: rates and latencies from the differences of counters |
//! | `latency` | quantiles of a histogram |
//! | `key` | keys, and the action of each |
//! | `screen` | all servers, the choice among them, and what is shown |
//!
//! Not in this module tree: looking at servers (`effects`), the terminal and how a screen looks (`ui::top`), the meaning of
//! metrics (`sglang`).

mod history;
mod key;
mod latency;
mod screen;

pub use history::{Count, Minute, Rates};
pub use key::{Action, Key};
pub use latency::{Latencies, Latency};
pub use screen::{Detail, Imbalance, Look, Screen, Seen, Top};
