//! Arguments of `eval`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::choice::Choice;
use crate::cli::measure::share;
use crate::cli::shared::{WhichArgs, number, positive};
use crate::measure::Api;

/// Examples below the help of `eval`.
pub(super) const EVAL: &str = "\
Examples:
  dsr1 eval gsm8k --data test.jsonl --min-accuracy 0.94
  dsr1 eval gsm8k --data test.jsonl --api chat
  dsr1 eval aime --data aime_2024.jsonl --samples 16
  dsr1 eval math500 --data test.jsonl --expect-tokens 4000
  dsr1 eval gpqa --data gpqa_diamond.csv --url http://10.0.0.7:30000
  dsr1 eval mlperf --data mlperf_deepseek_r1.jsonl";

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
    /// Grade-school mathematics: GSM8K's test.jsonl, 8 worked examples as in NVIDIA's guide.
    Gsm8k(Gsm8kArgs),
    /// A competition of mathematics: AIME of a year, as JSON lines or an array.
    Aime(AimeArgs),
    /// Mathematics with expressions as results: MATH-500's test.jsonl.
    Math500(TaskArgs),
    /// Graduate-level science with four choices: a table of GPQA as CSV.
    Gpqa(TaskArgs),
    /// The length of answers to `MLPerf`'s 4388 questions for DeepSeek-R1, as JSON lines; no accuracy.
    Mlperf(TaskArgs),
}

/// Arguments of `eval gsm8k`.
#[derive(Debug, Clone, Args)]
pub struct Gsm8kArgs {
    /// The arguments of all evaluations.
    #[command(flatten)]
    pub evaluation: EvaluationArgs,
    /// Worked examples in front of each question [default: 8; 0 with --api chat].
    #[arg(long, value_parser = number::<u32>(0..), value_name = "N", help_heading = "Questions")]
    pub num_shots: Option<u32>,
    /// Run the few-shot script of the server's own SGLang instead.
    #[arg(long, conflicts_with_all = ["api", "samples", "temperature", "top_p", "seed", "timeout", "expect_tokens", "length_tolerance", "fresh", "show_wrong", "url"])]
    pub engine_client: bool,
}

/// Arguments of `eval aime`.
#[derive(Debug, Clone, Args)]
pub struct AimeArgs {
    /// The arguments of all evaluations.
    #[command(flatten)]
    pub evaluation: EvaluationArgs,
    /// Year of the competition, for the published accuracy, if the file does not name it.
    #[arg(long, value_parser = number::<u32>(1983..), value_name = "YEAR", help_heading = "Questions")]
    pub year: Option<u32>,
}

/// Arguments of an evaluation that has none of its own.
#[derive(Debug, Clone, Args)]
pub struct TaskArgs {
    /// The arguments of all evaluations.
    #[command(flatten)]
    pub evaluation: EvaluationArgs,
}

/// Arguments of all evaluations.
#[derive(Debug, Clone, Args)]
pub struct EvaluationArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// URL of a server that is not of this host, or not started by dsr1; the variable `OPENAI_API_KEY` has its key.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    pub url: Option<String>,
    /// Model's name in requests, instead of the first one that the server lists.
    #[arg(long, value_name = "NAME", requires = "url")]
    pub model: Option<String>,
    /// Path or URL of the questions, in the format in which they are published.
    #[arg(long, value_name = "PATH|URL", help_heading = "Questions")]
    pub data: String,
    /// SHA-256 of the questions; required for a URL.
    #[arg(long, value_name = "HEX", help_heading = "Questions")]
    pub sha256: Option<String>,
    /// Questions asked, from the first one [default: all; 1316 of GSM8K].
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N", help_heading = "Questions")]
    pub num_questions: Option<u32>,
    /// Answers to each question [default: 1; 8 of AIME].
    #[arg(long, value_parser = number::<u32>(1..=1024), value_name = "N", help_heading = "Questions")]
    pub samples: Option<u32>,
    /// API of the server [default: chat; completions for GSM8K].
    #[arg(long, value_parser = text_api(), value_name = "API", help_heading = "Requests")]
    pub api: Option<Api>,
    /// Requests in flight [default: 64; 1316 for GSM8K by completions].
    #[arg(long, value_parser = number::<u32>(1..=16384), value_name = "N", help_heading = "Requests")]
    pub parallel: Option<u32>,
    /// Longest answer in tokens, with its reasoning [default: 32768; 512 for GSM8K by completions; 20000 of `mlperf`].
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N", help_heading = "Requests")]
    pub max_new_tokens: Option<u32>,
    /// Sampling temperature [default: 0.6; 0 for GSM8K by completions, and of `mlperf`].
    #[arg(long, value_parser = temperature, value_name = "T", help_heading = "Requests")]
    pub temperature: Option<f64>,
    /// Top-p: cumulative probability of the tokens that are sampled from [default: 0.95; 1 for GSM8K by completions, and of `mlperf`].
    #[arg(long, value_parser = share, value_name = "SHARE", help_heading = "Requests")]
    pub top_p: Option<f64>,
    /// Seed of the order in which choices are shown.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Requests")]
    pub seed: u64,
    /// Most seconds without a byte of an answer, after which its request has failed [default: 600].
    #[arg(long, value_parser = number::<u32>(1..), value_name = "SECONDS", help_heading = "Requests")]
    pub timeout: Option<u32>,
    /// Ask all questions, also those whose answers an interrupted start has kept.
    #[arg(long, help_heading = "Requests")]
    pub fresh: bool,
    /// Exit with 8 when the accuracy is below this share, such as 0.94.
    #[arg(long, value_name = "SHARE", help_heading = "Verdict")]
    pub min_accuracy: Option<f64>,
    /// Exit with 8 unless the mean answer, reasoning included, has this many tokens within --length-tolerance [default: the published one of `mlperf`].
    #[arg(long, value_parser = positive, value_name = "N", help_heading = "Verdict")]
    pub expect_tokens: Option<f64>,
    /// Percent by which that mean may differ [default: 10].
    #[arg(long, value_parser = positive, value_name = "PERCENT", help_heading = "Verdict")]
    pub length_tolerance: Option<f64>,
    /// Print the first N wrong answers.
    #[arg(long, default_value_t = 0, value_parser = number::<u32>(0..=1000), value_name = "N", help_heading = "Verdict")]
    pub show_wrong: u32,
    /// Print the plan and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Returns the parser of the APIs that take a question as text and tell its answer piece by piece.
fn text_api() -> impl TypedValueParser<Value = Api> {
    PossibleValuesParser::new([Api::Completions.name(), Api::Chat.name()])
        .try_map(|name| Api::by_name(&name).ok_or_else(|| format!("`{name}` is not known")))
}

/// Reads a sampling temperature.
fn temperature(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=2.0).contains(&value) {
        Ok(value)
    } else {
        Err("it is not a number from 0 to 2".to_owned())
    }
}
