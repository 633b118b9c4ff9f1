//! Arguments of the commands that start, find, ask and describe servers.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::cluster::{ClusterArgs, TargetArg};
use crate::cli::shared::{
    HubArgs, ProfileArgs, RuntimeArgs, SERVER, ServerArgs, StartArgs, WhichArgs, choice, number,
};
use crate::plan::DRAIN_S;
use crate::render::Tool;
use crate::units::period;

/// Arguments of `up` and `plan`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Hub to pull from.
    #[command(flatten)]
    pub hub: HubArgs,
    /// Leave the server running at the end (the default, except for the rehearsal).
    #[arg(long, help_heading = SERVER)]
    pub keep: bool,
}

/// Arguments of `up`.
#[derive(Debug, Clone, Args)]
pub struct UpCommandArgs {
    /// The server.
    #[command(flatten)]
    pub up: UpArgs,
    /// The place of the server: this host, or the nodes of a job of Slurm.
    #[arg(
        long,
        value_enum,
        default_value = "host",
        value_name = "PLACE",
        help_heading = "Nodes"
    )]
    pub target: TargetArg,
    /// The nodes of a job.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanCommandArgs {
    /// The plan.
    #[command(flatten)]
    pub up: UpArgs,
    /// Show the origin of each argument and variable: file and line, the stack, or dsr1.
    #[arg(long)]
    pub origin: bool,
    /// Ask the installed SGLang what it makes of the arguments, which takes half a minute: what it refuses, replaces or
    /// chooses is compared with the plan.
    #[arg(long)]
    pub prove: bool,
}

/// Arguments of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The tool.
    #[arg(value_parser = choice::<Tool>(), value_name = "TOOL")]
    pub tool: Tool,
    /// The server.
    #[command(flatten)]
    pub up: UpArgs,
    /// File to write instead of stdout; an existing file is not replaced.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// The nodes, for a scheduler.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Stay attached: print the log until Ctrl-C, which stops the server.
    #[arg(long, help_heading = SERVER)]
    pub foreground: bool,
    /// Start only what this file of `dsr1 lock` says; exit with 8 if this host differs.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "dsr1.lock", help_heading = SERVER)]
    pub locked: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Name of a server; without it, all are listed.
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
    /// List the servers that were stopped, too, and those that are gone: their plans are kept for `dsr1 restart`.
    #[arg(long, short, conflicts_with = "server")]
    pub all: bool,
    /// Exit with 7 unless a server is listed and every listed one takes requests.
    #[arg(long, conflicts_with_all = ["watch", "all"])]
    pub check: bool,
    /// Renew the list every two seconds until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,
}

/// Arguments of `top`.
#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    /// Name of a server; without it, all are shown.
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
    /// Seconds between two looks at the servers.
    #[arg(long, value_parser = number::<u32>(1..=3600), default_value_t = 1, value_name = "SECONDS")]
    pub interval: u32,
}

/// Arguments of `events`.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Name of a server; without it, the events of all are listed.
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
    /// Keep printing until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Profile or goal, as --profile names it; fp4 and fp8 mean --fp4 and --fp8.
    #[arg(value_name = "PROFILE", conflicts_with_all = ["profile", "profile_file"])]
    pub named: Option<String>,
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// The runtime.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Port on 127.0.0.1.
    #[arg(long, default_value_t = 30_000, value_parser = number::<u16>(1024..), value_name = "PORT")]
    pub port: u16,
    /// Check the host that FILE describes (output of `dsr1 doctor --format json` there) instead of this one.
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// Arguments of `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Keep printing until the server ends.
    #[arg(long, short, conflicts_with = "previous")]
    pub follow: bool,
    /// The start whose log is read.
    #[command(flatten)]
    pub start: StartArgs,
    /// Only the last N lines.
    #[arg(long, short = 'n', value_parser = number::<u64>(0..), value_name = "N")]
    pub tail: Option<u64>,
    /// Only the lines of the last 90s, 10m, 2h or 1d.
    #[arg(long, value_parser = period, value_name = "TIME")]
    pub since: Option<Duration>,
    /// Only the lines that have this regular expression.
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
}

/// Arguments of `diagnose`.
#[derive(Debug, Clone, Args)]
pub struct DiagnoseArgs {
    /// Servers of this host, files with logs (those of all nodes of one server together), or - for standard input; without
    /// any, the only server, also one that ended.
    #[arg(value_name = "SERVER|FILE")]
    pub logs: Vec<String>,
    /// The start whose log is read.
    #[command(flatten)]
    pub start: StartArgs,
    /// End with exit code 7 if a failure is found.
    #[arg(long)]
    pub check: bool,
}

/// Arguments of `bundle`.
#[derive(Debug, Clone, Args)]
pub struct BundleArgs {
    /// Name of a server; without it, all are put in, also those that were stopped.
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
    /// File to write [default: dsr1-bundle-TIME.tar.gz]; an existing file is not replaced.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Keep the home directory and the names of the host and the user; otherwise they become ~, HOST and USER.
    #[arg(long)]
    pub keep_names: bool,
    /// List the files and their sizes, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `restart`.
#[derive(Debug, Clone, Args)]
pub struct RestartArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Seconds that running requests may take to finish.
    #[arg(long, value_parser = number::<u32>(0..), default_value_t = DRAIN_S, value_name = "SECONDS")]
    pub drain: u32,
    /// Print what would be started, as a script, and stop nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `watch`.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Only watch: print and keep what happens, and start nothing.
    #[arg(long, conflicts_with_all = ["max_restarts", "less_memory"])]
    pub no_restart: bool,
    /// Most restarts within an hour.
    #[arg(long, value_parser = number::<u32>(1..), default_value_t = 3, value_name = "N")]
    pub max_restarts: u32,
    /// After GPU memory ran out, start once with the smaller --mem-fraction-static that the engine's message asks for.
    #[arg(long)]
    pub less_memory: bool,
    /// Stop the server when this command is told to end, as a service manager does.
    #[arg(long)]
    pub stop: bool,
}

/// Arguments of `stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Seconds that running requests may take to finish [default: 30; 5 for a server that hangs].
    #[arg(long, value_parser = number::<u32>(0..), value_name = "SECONDS")]
    pub drain: Option<u32>,
}

/// Arguments of `ask`.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// The question; its words are joined. A last `-` stands for what comes on stdin, and so does no question if stdin is not
    /// a terminal.
    #[arg(num_args = 1..)]
    pub question: Vec<String>,
    /// Name of the server; needed only if there are several. Its full name may also be the first word.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    pub server: Option<String>,
    /// Base URL of a server that dsr1 did not start.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Longest answer, in tokens, reasoning included.
    #[arg(long, default_value_t = 2048, value_parser = number::<u32>(1..), value_name = "N")]
    pub max_tokens: u32,
    /// Sampling temperature; DeepSeek recommends 0.5 to 0.7 for R1.
    #[arg(long, default_value_t = 0.6, allow_negative_numbers = true, value_name = "T")]
    pub temperature: f64,
}

/// Arguments of `chat`.
#[derive(Debug, Clone, Args)]
pub struct ChatArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Base URL of a server of the `OpenAI` API that dsr1 did not start; its key is read from `OPENAI_API_KEY`.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    pub url: Option<String>,
    /// Name of the model, if the server has several; the first that it lists by default.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Longest answer, in tokens, reasoning included.
    #[arg(long, default_value_t = 2048, value_parser = number::<u32>(1..), value_name = "N")]
    pub max_tokens: u32,
    /// Sampling temperature; DeepSeek recommends 0.5 to 0.7 for R1.
    #[arg(long, default_value_t = 0.6, allow_negative_numbers = true, value_name = "T")]
    pub temperature: f64,
    /// Probability mass of the tokens to sample from; DeepSeek recommends 0.95 for R1.
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true, value_name = "P")]
    pub top_p: f64,
    /// System prompt. DeepSeek advises against one for R1: write instructions into the question.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// The reasoning: hidden, folded into one line when the answer begins, or shown. By default fold on a terminal, and show
    /// elsewhere.
    #[arg(long, value_enum, value_name = "FORM")]
    pub reasoning: Option<ShowReasoning>,
    /// The whole of stdin is one question, and not each line.
    #[arg(long)]
    pub whole: bool,
}

/// Form of the reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShowReasoning {
    /// Not shown.
    Hide,
    /// Shown while it arrives, then one line with its length.
    Fold,
    /// Shown.
    Show,
}

/// Arguments of `lock`.
#[derive(Debug, Clone, Args)]
pub struct LockArgs {
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// File to write; - is stdout.
    #[arg(long, short, default_value = "dsr1.lock", value_name = "FILE")]
    pub output: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The lock.
    #[arg(default_value = "dsr1.lock", value_name = "LOCK")]
    pub file: PathBuf,
    /// The server to compare with it [default: the one that was locked].
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `upgrade`.
#[derive(Debug, Clone, Args)]
pub struct UpgradeArgs {
    /// The new server. Its name is that of the old one, if there are several; its port is that of the old one.
    #[command(flatten)]
    pub up: UpArgs,
    /// Go back to the plan before the last upgrade.
    #[arg(long, conflicts_with_all = ["named", "profile", "profile_file"], help_heading = UPGRADE)]
    pub back: bool,
    /// Seconds that running requests may take to finish.
    #[arg(long, value_parser = number::<u32>(0..), default_value_t = DRAIN_S, value_name = "SECONDS", help_heading = UPGRADE)]
    pub drain: u32,
    /// Do not measure before and after.
    #[arg(long, help_heading = UPGRADE)]
    pub no_bench: bool,
    /// Measurements of each server; a single one does not show the noise between runs.
    #[arg(long, value_parser = number::<u32>(1..=100), default_value_t = 3, value_name = "N", conflicts_with = "no_bench", help_heading = UPGRADE)]
    pub repeats: u32,
    /// Go back if throughput or the median of TPOT is worse by more than this, and by more than the noise.
    #[arg(long, value_parser = number::<u32>(1..=99), default_value_t = 15, value_name = "PERCENT", help_heading = UPGRADE)]
    pub tolerance: u32,
    /// The same for the median of TTFT, which varies more between runs.
    #[arg(long, value_parser = number::<u32>(1..=1000), default_value_t = 25, value_name = "PERCENT", help_heading = UPGRADE)]
    pub ttft_tolerance: u32,
}

/// Heading of the options of an upgrade.
const UPGRADE: &str = "Upgrade";
