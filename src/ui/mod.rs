//! All output: events as progress on stderr, results on stdout, errors. No other module prints.
//!
//! | form | progress | result | error |
//! |---|---|---|---|
//! | people | `tty` on a terminal, else `plain` | one file for each sort of result, joined in `text` | `error` |
//! | machines | `json` | `json` | `error` |
//!
//! Text from a child, a hub or a file goes through [`safe()`] first.
//! Not in this module tree: the events and results themselves (`event`, `report`), decisions (`commands`).

mod advice;
mod answer;
mod bundled;
mod chat;
mod cleaned;
mod combined;
mod compared;
mod corrections;
mod deployment;
mod diagnosis;
mod display;
mod error;
mod evaluation;
mod explanation;
mod exposed;
mod findings;
mod images;
mod inferencex;
mod json;
mod lock;
mod measured;
mod measurement;
mod memory;
mod mirrored;
mod monitoring;
mod output;
mod page;
mod parsed;
mod plain;
mod plan;
mod profiles;
mod prompt;
mod proof;
mod rate;
mod safe;
mod servers;
mod stacks;
mod style;
mod swept;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod top;
mod tty;
mod upgraded;
mod verification;
mod weights;
mod wrap;

pub use advice::advice;
pub use answer::{LiveAnswer, answer};
pub use bundled::{bundle_readme, bundled};
pub use chat::{AnswerLimit, LiveTurn, dimmed, reasoning_of, turn, turn_counts};
pub use cleaned::cleaned;
pub use combined::combinations;
pub use compared::{comparison, gated, reproduction};
pub use corrections::corrections;
pub use deployment::deployment;
pub use diagnosis::diagnosis;
pub use display::{display, shows_steps};
pub use evaluation::evaluation;
pub use explanation::explanation;
pub use exposed::{added_key, exposed, exposed_request};
pub use findings::findings;
pub use images::{image, images, pruned};
pub use inferencex::inferencex_sheet;
pub use json::json;
pub use lock::lock_check;
pub use measured::{benchmark, gsm8k};
pub use measurement::{in_terms_of, measurement};
pub use memory::memory;
pub use mirrored::mirrored;
pub use monitoring::{monitoring_checked, monitoring_written};
pub use output::{
    Renewed, agrees, can_ask, columns, columns_of_errors, is_live, print, print_error, print_help,
    print_json_line, print_log_lines, print_on,
};
pub use page::{KeptResult, results_page, results_sheet};
pub use parsed::profiles_verified;
pub use plan::{ShownPlan, plan};
pub use profiles::{checks, profile, profile_diff, profiles};
pub use prompt::{BeforePrompt, Prompt, Typed, print_prompt};
pub use proof::proof;
pub use safe::safe;
pub use servers::{events, status};
pub use stacks::{drift, stack, stack_diff, stacks};
pub use swept::sweep;
pub use text::{outcome, report};
pub use top::{TopInput, TopScreen};
pub use tty::echo::NoTyping;
pub use upgraded::upgraded;
pub use verification::verification;
pub use weights::{pull_survey, weights, weights_checked, weights_space};
pub use wrap::{fitted, hanging};
