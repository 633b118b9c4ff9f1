//! Arguments of `bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::course::{SLO, SWEEP, SloArgs, SweepArgs};
use crate::cli::measure::{SubjectArgs, TrafficArgs};
use crate::cli::results::{COMPARE, CompareArgs, GATE, GateArgs, ReproduceArgs};
use crate::cli::shared::choice;
use crate::measure::Tool;

/// Examples below the help of `bench`.
pub(super) const BENCH: &str = "\
Examples:
  dsr1 bench                              the only server, its profile's load
  dsr1 bench --max-concurrency 64 --isl 1000 --osl 1000
  dsr1 bench --request-rate 4 --duration 60
  dsr1 bench --url http://10.0.0.7:30000 --isl 1000 --osl 500 --as vllm
  dsr1 bench --api chat                   text; reasoning and answer apart
  dsr1 bench --data prompts.jsonl         prompts of a file
  dsr1 bench --trace mooncake.jsonl --speed 2
  dsr1 bench --turns 5 --think-time 2     conversations of five turns
  dsr1 bench --engine-client              the client of the server's own SGLang
  dsr1 bench sweep --concurrency 1..64    a curve
  dsr1 bench compare OLD.json NEW.json    two kept results
  dsr1 bench report RESULT.json --html report.html";

/// Examples below the help of `bench report`.
const REPORT: &str = "\
Examples:
  dsr1 bench report RESULT.json                        the figures and the verdicts again
  dsr1 bench report RESULT.json --html report.html
  dsr1 bench report SWEEP.json --html sweep.html       all points of a sweep
  dsr1 bench report run-*.json --html runs.html --csv runs.csv";

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// Other work than one measurement.
    #[command(subcommand)]
    pub what: Option<BenchPart>,
    /// The server.
    #[command(flatten)]
    pub subject: SubjectArgs,
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
    #[arg(long, conflicts_with_all = ["url", "api", "prompts", "tokenizer", "data", "trace", "ramp", "request_rate", "arrivals", "duration", "max_duration", "seed", "shared_prefix", "turns", "think_time", "no_warm_up", "timeout", "strict", "records", "as_tool", "vocabulary", "stop_at_end"])]
    pub engine_client: bool,
    /// Print the plan and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Measurements of several loads, and work with kept results.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchPart {
    /// Measure several loads, one after the other: a curve of throughput against speed.
    ///
    /// Each load is handed over from the one before it, so that the server is never drained. A sweep that was broken off
    /// goes on when the same command is typed again.
    #[command(after_help = SWEEP)]
    Sweep(SweepArgs),
    /// Find the largest load that keeps limits of TTFT and TPOT.
    ///
    /// Doubles or halves the load until one keeps the limits and one misses them, then halves the distance. A load that
    /// can no longer keep them ends early.
    #[command(after_help = SLO)]
    Slo(SloArgs),
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
    /// Results that `bench`, `bench sweep` and `bench slo` kept; of several loads, the page has a plot of throughput against speed.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write a page that needs no network.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Write a table with a row for each file.
    #[arg(long, value_name = "OUT")]
    pub csv: Option<PathBuf>,
    /// Write the results that may be used with the keys of the board of `InferenceX`, as JSON.
    #[arg(long, value_name = "OUT")]
    pub inferencex: Option<PathBuf>,
    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
    /// Print the same requests in the terms of another tool, too.
    #[arg(long = "as", value_parser = choice::<Tool>(), value_name = "TOOL", conflicts_with_all = ["html", "csv", "inferencex"])]
    pub as_tool: Option<Tool>,
}
