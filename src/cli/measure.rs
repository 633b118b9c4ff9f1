//! Arguments of measurements: the server, the load, and `eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::shared::{WhichArgs, choice, number};
use crate::measure::{Api, Arrivals};

/// The server of a measurement.
#[derive(Debug, Clone, Args)]
pub struct SubjectArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// URL of a server that is not of this host, or not started by dsr1; the variable `OPENAI_API_KEY` has its key.
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
    /// Prompt length in tokens, instead of the profile's.
    #[arg(long, alias = "isl", value_parser = number::<u32>(1..), value_name = "N", help_heading = "Load")]
    pub input_len: Option<u32>,
    /// Output length in tokens, instead of the profile's.
    #[arg(long, alias = "osl", value_parser = number::<u32>(1..), value_name = "N", help_heading = "Load")]
    pub output_len: Option<u32>,
    /// Draw both lengths uniformly from this share of them up to the whole; 1 for fixed lengths.
    #[arg(long, value_parser = share, value_name = "SHARE", help_heading = "Load")]
    pub range_ratio: Option<f64>,
    /// Tokens that all prompts share, before their own.
    #[arg(long, default_value_t = 0, value_parser = number::<u32>(0..), value_name = "N", help_heading = "Load")]
    pub shared_prefix: u32,
    /// Requests in flight, instead of the profile's; with --request-rate, the most.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N", help_heading = "Load")]
    pub max_concurrency: Option<u32>,
    /// Send so many requests a second, and do not wait for answers.
    #[arg(long, value_parser = rate, value_name = "PER_SECOND", help_heading = "Load")]
    pub request_rate: Option<f64>,
    /// Distances between the requests of a rate.
    #[arg(long, value_parser = choice::<Arrivals>(), default_value = "poisson", value_name = "KIND", help_heading = "Load")]
    pub arrivals: Arrivals,
    /// Least number of measured requests; by default the profile's, and five for each one in flight.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N", help_heading = "Load")]
    pub num_prompts: Option<u32>,
    /// Least seconds of measuring.
    #[arg(long, value_parser = number::<u32>(0..), value_name = "SECONDS", help_heading = "Load")]
    pub duration: Option<u32>,
    /// Most seconds of measuring, also before --num-prompts are sent.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "SECONDS", help_heading = "Load")]
    pub max_duration: Option<u32>,
    /// Most seconds without a byte of an answer, after which its request has failed.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "SECONDS", help_heading = "Load")]
    pub timeout: Option<u32>,
    /// Seed of prompts, lengths and distances; by default a new one in each run, so that no cache knows the prompts.
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub seed: Option<u64>,
    /// Let the model end its answers, instead of generating the whole output length.
    #[arg(long, help_heading = "Load")]
    pub stop_at_end: bool,
    /// Measure from the first request on, with all its first requests at once.
    #[arg(long, help_heading = "Load")]
    pub no_warm_up: bool,
}

/// Arguments of `eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// The evaluation.
    #[command(subcommand)]
    pub what: Eval,
}

/// Evaluations.
#[derive(Debug, Clone, Subcommand)]
pub enum Eval {
    /// Grade-school mathematics, few-shot, with SGLang's own script.
    Gsm8k(Gsm8kArgs),
}

/// Arguments of `eval gsm8k`.
#[derive(Debug, Clone, Args)]
pub struct Gsm8kArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// The questions: path or URL of GSM8K's test.jsonl.
    #[arg(long, value_name = "PATH|URL")]
    pub data: String,
    /// SHA-256 of the questions; required for a URL.
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// Worked examples in front of each question.
    #[arg(long, default_value_t = 8, value_parser = number::<u32>(0..), value_name = "N")]
    pub num_shots: u32,
    /// Questions asked.
    #[arg(long, default_value_t = 1316, value_parser = number::<u32>(1..), value_name = "N")]
    pub num_questions: u32,
    /// Requests in flight.
    #[arg(long, default_value_t = 1316, value_parser = number::<u32>(1..), value_name = "N")]
    pub parallel: u32,
    /// Longest answer in tokens.
    #[arg(long, default_value_t = 512, value_parser = number::<u32>(1..), value_name = "N")]
    pub max_new_tokens: u32,
    /// Exit with 8 when the accuracy is below this share, such as 0.94.
    #[arg(long, value_name = "SHARE")]
    pub min_accuracy: Option<f64>,
    /// Print the plan and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Reads a share of 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("it is not a number from 0 to 1".to_owned())
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
