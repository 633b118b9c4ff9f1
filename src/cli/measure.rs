//! Arguments of `bench` and `eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::shared::{WhichArgs, number};

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// File of the profile that the server was started from, when it is not a built-in one.
    #[arg(long, value_name = "FILE")]
    pub profile_file: Option<PathBuf>,
    /// Prompt length in tokens, instead of the profile's.
    #[arg(long, alias = "isl", value_parser = number::<u32>(1..), value_name = "N")]
    pub input_len: Option<u32>,
    /// Output length in tokens, instead of the profile's.
    #[arg(long, alias = "osl", value_parser = number::<u32>(1..), value_name = "N")]
    pub output_len: Option<u32>,
    /// Requests in flight, instead of the profile's.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N")]
    pub max_concurrency: Option<u32>,
    /// Requests in all, instead of the profile's.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N")]
    pub num_prompts: Option<u32>,
    /// Print the plan and do nothing.
    #[arg(long)]
    pub dry_run: bool,
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
