//! Arguments of `bench` and `eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::results::{COMPARE, CompareArgs, GATE, GateArgs, ReproduceArgs};
use crate::cli::shared::{WhichArgs, choice, number};
use crate::measure::{Api, Arrivals, Tool};

/// Examples below the help of `bench`.
pub(super) const BENCH: &str = "\
Examples:
  dsr1 bench                              the only server, its profile's load
  dsr1 bench --max-concurrency 64 --isl 1000 --osl 1000
  dsr1 bench --request-rate 4 --duration 60
  dsr1 bench --url http://10.0.0.7:30000 --isl 1000 --osl 500 --as vllm
  dsr1 bench --engine-client              the client of the server's own SGLang
  dsr1 bench compare OLD.json NEW.json    two kept results
  dsr1 bench report RESULT.json --html report.html";

/// Examples below the help of `bench report`.
const REPORT: &str = "\
Examples:
  dsr1 bench report RESULT.json                        the figures and the verdicts again
  dsr1 bench report RESULT.json --html report.html
  dsr1 bench report run-*.json --html sweep.html --csv sweep.csv";

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// Work with kept results, instead of a measurement.
    #[command(subcommand)]
    pub what: Option<BenchPart>,
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// URL of a server that is not of this host, or not started by dsr1; the variable `OPENAI_API_KEY` has its key.
    #[arg(long, value_name = "URL", conflicts_with_all = ["server", "profile_file", "engine_client"])]
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
    /// The load.
    #[command(flatten)]
    pub load: TrafficArgs,
    /// Print the same requests in the terms of another tool, too.
    #[arg(long = "as", value_parser = choice::<Tool>(), value_name = "TOOL")]
    pub as_tool: Option<Tool>,
    /// Exit with 9 also if something speaks against some of the figures.
    #[arg(long)]
    pub strict: bool,
    /// Write each request as JSON on a line of this file.
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// Run the benchmark client of the server's own SGLang instead.
    #[arg(long, conflicts_with_all = ["api", "request_rate", "arrivals", "duration", "max_duration", "seed", "shared_prefix", "no_warm_up", "timeout", "strict", "records", "as_tool", "vocabulary", "stop_at_end"])]
    pub engine_client: bool,
    /// Print the plan and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Work with kept results.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchPart {
    /// Compare two results, or several runs of two sides: the first difference, all others, and ratios.
    #[command(after_help = COMPARE)]
    Compare(CompareArgs),
    /// Exit with 8 if a result is worse than its baseline by more than noise and tolerance.
    ///
    /// Without RESULT the load of the baseline is measured now. Exits with 9 if a result must not be used.
    #[command(after_help = GATE)]
    Gate(GateArgs),
    /// Plan a result of another host here: the commands, and what this host lacks or has otherwise.
    Reproduce(ReproduceArgs),
    /// Show kept results again, or write them as a page or a table.
    #[command(after_help = REPORT)]
    Report(BenchReportArgs),
}

/// Arguments of `bench report`.
#[derive(Debug, Clone, Args)]
pub struct BenchReportArgs {
    /// Results that `bench` kept; of several, the page has a plot of throughput against speed.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write a page that needs no network.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Write a table with a row for each file.
    #[arg(long, value_name = "OUT")]
    pub csv: Option<PathBuf>,
    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
    /// Print the same requests in the terms of another tool, too.
    #[arg(long = "as", value_parser = choice::<Tool>(), value_name = "TOOL", conflicts_with_all = ["html", "csv"])]
    pub as_tool: Option<Tool>,
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
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if rate.is_finite() && (0.001..=100_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("it is not a number of requests a second from 0.001 to 100000".to_owned())
    }
}
