//! Measurements as pure data: the load of a run, the record of each request, and what they say.
//!
//! | module | subject |
//! |---|---|
//! | `api` | the APIs, and the prompts that they take |
//! | `settings` | what all requests share, and their bodies |
//! | `transcript` | a prompt as JSON, which grows with the turns of a conversation |
//! | `load` | how many requests of which lengths, and when |
//! | `turns` | the turns of a conversation |
//! | `conversation` | the request of each turn |
//! | `ramp` | the rise of a load to its height |
//! | `random` | the random numbers of a seed |
//! | `source` | where prompts come from, and their form |
//! | `prompt` | prompts that no prefix cache knows |
//! | `data` | prompts and traces of files |
//! | `text` | prompts as text of an exact length |
//! | `gpu` | the GPUs while it was measured: clocks, power |
//! | `histogram` | counts of times |
//! | `phases` | warm-up, measuring, tail |
//! | `stream` | streamed answers as chunks and counts |
//! | `record` | the record of one request |
//! | `shortage` | the things that the client's host may lack for a connection |
//! | `request` | the times of one request |
//! | `times` | distributions of times |
//! | `figures` | the figures of a run, by dsr1's definitions |
//! | `by_turn` | the figures of conversations by their turns |
//! | `noise` | the noise within a run |
//! | `definitions` | the same in the terms of other tools |
//! | `evidence` | all that a verdict may look at |
//! | `verdicts` | reasons to believe the figures, or not |
//! | `course` | several loads one after the other: points, and a search within limits |
//! | `compare` | results beside each other, and the gate |
//! | `summary` | a run as a result |
//! | `timeline` | each second of a run |
//! | `statistics` | percentiles, trends, changes, intervals |
//!
//! Not in this module tree: sockets and clocks (`effects::load`), and how figures look (`ui`).

mod api;
mod by_turn;
pub mod compare;
mod conversation;
pub mod course;
mod data;
mod definitions;
mod evidence;
mod figures;
mod gpu;
mod histogram;
mod load;
mod noise;
mod phases;
mod prompt;
mod ramp;
mod random;
mod record;
mod request;
mod settings;
mod shortage;
mod source;
pub mod statistics;
mod stream;
mod summary;
mod text;
mod timeline;
mod times;
mod transcript;
mod turns;
mod verdicts;

pub use api::{Api, Kept, Message, Prompt};
pub use conversation::{Conversation, TurnRequest};
pub use data::{
    BlockPrompts, Content, ElementSplitter, Item, ItemTurn, Tally, TraceFormat, TraceRow, read_item,
};
pub use definitions::{Tool, translate_figures};
pub use evidence::{ClientFacts, EndedRequests, Evidence, ServerFacts};
pub use figures::compute_figures;
pub use gpu::{GPU_FIELDS, GpuSample, summarize_gpus};
pub use histogram::Histogram;
pub use load::{Arrivals, Extent, Lengths, Load, MOST_TOKENS, Schedule, Stage};
pub use phases::{Longest, Phases};
pub use prompt::{ARRIVALS, Drawn, LaterTurn, RandomPrompts, shorten_first};
pub use random::Random;
pub use record::{
    AnswerText, Channel, Chunk, ConversationTurn, End, Failure, FailureKind, Finish, Moment, Phase, Record,
    Usage, describe_record,
};
pub use settings::RequestSettings;
pub use shortage::Shortage;
pub use source::{PromptFile, PromptForm, PromptSource};
pub use stream::{AnswerRead, AnswerReader, Event, Splitter, TooLong, describe_failure};
pub use summary::{RunDescription, summarize_run};
pub use text::{TextPrompts, TextTokens, exact_text};
pub use timeline::draw_timeline;
pub use turns::{MOST_TURNS, Turns};
pub use verdicts::{judge_run, worst_of};
