//! Arguments of measurements: the server and the load.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::{WhichArgs, choice, number};
use crate::measure::{Api, Arrivals, MOST_TOKENS, MOST_TURNS, PromptForm};

/// The server of a measurement.
#[derive(Debug, Clone, Args)]
pub struct SubjectArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// URL of a server that is not of this host, or not started by dsr1; the variable `OPENAI_API_KEY` has its key, and
    /// `SSL_CERT_FILE` names a PEM file of authorities that are trusted for https://, in place of those of
    /// this host.
    #[arg(long, value_name = "URL", conflicts_with_all = ["server", "profile_file"])]
    pub url: Option<String>,
    /// Model's name in requests, instead of the first one that the server lists.
    #[arg(long, value_name = "NAME", requires = "url")]
    pub model: Option<String>,
    /// Size of the model's vocabulary, if neither its files nor its name tell it.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N")]
    pub vocabulary: Option<u32>,
    /// File of the profile that the server was started from, when it is not a built-in one.
    #[arg(long, value_name = "FILE")]
    pub profile_file: Option<PathBuf>,
}

/// The load of a measurement.
#[derive(Debug, Clone, Args)]
pub struct TrafficArgs {
    /// API of the server, instead of the profile's.
    #[arg(long, value_parser = choice::<Api>(), value_name = "API", help_heading = "Load")]
    pub api: Option<Api>,
    /// Form of the prompts; by default ids where the API takes them.
    #[arg(long, value_parser = choice::<PromptForm>(), value_name = "FORM", help_heading = "Load")]
    pub prompts: Option<PromptForm>,
    /// File of the model's tokenizer, or its folder; by default that of the server's own model.
    #[arg(long, value_name = "PATH", help_heading = "Load")]
    pub tokenizer: Option<PathBuf>,
    /// Prompts of a file: JSON lines with `prompt`, `text`, `messages` or `input_ids`, or an array of `ShareGPT`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input_len", "range_ratio", "shared_prefix", "prompts"], help_heading = "Load")]
    pub data: Option<PathBuf>,
    /// Use the prompts again when all were used; a prefix cache then knows them.
    #[arg(long, requires = "data", help_heading = "Load")]
    pub repeat_data: bool,
    /// Times and lengths of the requests of a trace: JSON lines of Mooncake, or a table of Azure or `BurstGPT`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "input_len", "output_len", "range_ratio", "shared_prefix", "request_rate"], help_heading = "Load")]
    pub trace: Option<PathBuf>,
    /// Replay the trace this many times as fast.
    #[arg(long, requires = "trace", default_value_t = 1.0, value_parser = speed, value_name = "FACTOR", help_heading = "Load")]
    pub speed: f64,
    /// Prompt length in tokens, instead of the profile's.
    #[arg(long, alias = "isl", value_parser = number::<u32>(1..=MOST_TOKENS), value_name = "N", help_heading = "Load")]
    pub input_len: Option<u32>,
    /// Output length in tokens, instead of the profile's.
    #[arg(long, alias = "osl", value_parser = number::<u32>(1..=MOST_TOKENS), value_name = "N", help_heading = "Load")]
    pub output_len: Option<u32>,
    /// Draw both lengths uniformly from this share of them up to the whole; 1 for fixed lengths.
    #[arg(long, value_parser = share, value_name = "SHARE", help_heading = "Load")]
    pub range_ratio: Option<f64>,
    /// Tokens that all prompts share, before their own.
    #[arg(long, default_value_t = 0, value_parser = number::<u32>(0..=MOST_TOKENS), value_name = "N", help_heading = "Load")]
    pub shared_prefix: u32,
    /// Hold conversations of this many turns, each with its own lengths; a request carries all turns before it.
    #[arg(long, default_value_t = 1, value_parser = number::<u32>(1..=MOST_TURNS), conflicts_with_all = ["trace", "request_rate"], value_name = "N", help_heading = "Load")]
    pub turns: u32,
    /// Seconds from the end of an answer to the next turn of its conversation.
    #[arg(long, requires = "turns", default_value_t = 0.0, value_parser = think_time, value_name = "SECONDS", help_heading = "Load")]
    pub think_time: f64,
    /// Requests in flight, instead of the profile's; with --request-rate, the most.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N", help_heading = "Load")]
    pub max_concurrency: Option<u32>,
    /// Send so many requests a second, and do not wait for answers.
    #[arg(long, value_parser = rate, value_name = "PER_SECOND", help_heading = "Load")]
    pub request_rate: Option<f64>,
    /// Distances between the requests of a rate.
    #[arg(long, value_parser = choice::<Arrivals>(), default_value = "poisson", value_name = "KIND", help_heading = "Load")]
    pub arrivals: Arrivals,
    /// Seconds over which the load rises to its full height; they are part of the warm-up.
    #[arg(long, default_value_t = 0, value_parser = number::<u32>(0..), conflicts_with_all = ["trace", "no_warm_up"], value_name = "SECONDS", help_heading = "Load")]
    pub ramp: u32,
    /// Least number of measured requests; by default the profile's, and five for each one in flight.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N", help_heading = "Load")]
    pub num_prompts: Option<u32>,
    /// Least seconds of measuring.
    #[arg(long, value_parser = number::<u32>(0..), value_name = "SECONDS", help_heading = "Load")]
    pub duration: Option<u32>,
    /// Most seconds of measuring, also before --num-prompts are sent.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "SECONDS", help_heading = "Load")]
    pub max_duration: Option<u32>,
    /// A request fails after this many seconds without a byte of its answer.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "SECONDS", help_heading = "Load")]
    pub timeout: Option<u32>,
    /// Seed of prompts, lengths and distances; by default a new one in each run, so that no cache knows the prompts.
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub seed: Option<u64>,
    /// Let the model end its answers, instead of generating the whole output length.
    #[arg(long, help_heading = "Load")]
    pub stop_at_end: bool,
    /// Measure from the first request on; all slots start at once.
    #[arg(long, help_heading = "Load")]
    pub no_warm_up: bool,
}

/// Reads a share of 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("it is not a number from 0 to 1".to_owned())
    }
}

/// Reads the speed of a trace.
fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if speed.is_finite() && (0.001..=1000.0).contains(&speed) {
        Ok(speed)
    } else {
        Err("it is not a number from 0.001 to 1000".to_owned())
    }
}

/// Reads the seconds between two turns.
fn think_time(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=3600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("it is not a number of seconds from 0 to 3600".to_owned())
    }
}

/// Reads a rate of requests.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if rate.is_finite() && (0.001..=100_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("it is not a number of requests a second from 0.001 to 100000".to_owned())
    }
}
