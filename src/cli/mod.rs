//! The command line: its arguments and its help. No behaviour.
//!
//! A file per group of commands; a new command is a variant of [`Command`]. Not in this module tree: what a command does
//! (`commands`, one file each).

mod bench;
mod cluster;
mod course;
mod docs;
mod evaluate;
mod expose;
mod image;
mod measure;
mod monitoring;
mod output;
mod profiles;
mod results;
mod server;
mod shared;
mod weights;

use clap::{Parser, Subcommand};

pub use bench::{BenchArgs, BenchPart, BenchReportArgs};
pub use cluster::{ClusterArgs, ContainerToolArg, KubernetesArgs, SlurmArgs, TargetArg};
pub use course::{Counts, Rates, SearchedBy, SloArgs, SweepArgs};
pub use docs::{CompletionsArgs, HelpArgs, ManArgs};
pub use evaluate::{AimeArgs, Eval, EvalArgs, EvaluationArgs, Gsm8kArgs, TaskArgs};
pub use expose::ExposeArgs;
pub use image::{
    BuildArgs, Builder, CleanArgs, Image, ImageArgs, LoadArgs, PruneArgs, SaveArgs, WhichImageArgs,
};
pub use measure::{SubjectArgs, TrafficArgs};
pub use monitoring::MonitoringArgs;
pub use output::{Format, Output, Progress};
pub use profiles::{
    AdviceGoal, AdviseArgs, DiffArgs, ExplainArgs, Flags, FlagsArgs, MigrateArgs, NewArgs, Profiles,
    ProfilesArgs, ShowArgs, StackArgs, StackDiffArgs, Stacks, StacksArgs, SyncArgs, ValidateArgs,
};
pub use results::{CompareArgs, GateArgs, ReproduceArgs};
pub use server::{
    AskArgs, BundleArgs, ChatArgs, CheckArgs, DiagnoseArgs, DoctorArgs, EventsArgs, ExportArgs, LockArgs,
    LogsArgs, PlanCommandArgs, RestartArgs, ServeArgs, ShowReasoning, StatusArgs, StopArgs, TopArgs, UpArgs,
    UpCommandArgs, UpgradeArgs, WatchArgs,
};
pub use shared::{HubArgs, PlanArgs, PortChoice, ProfileArgs, Runtime, RuntimeArgs, ServerArgs, WhichArgs};
pub use weights::{MirrorArgs, PullArgs, Weights, WeightsArgs, WeightsRmArgs, WeightsVerifyArgs};

use self::bench::BENCH;
use self::evaluate::EVAL;
use self::expose::EXPOSE;
use self::image::CLEAN;
use self::weights::{MIRROR, PULL, WEIGHTS};

/// Text below the commands in `dsr1 --help`.
const EXAMPLES: &str = "\
Examples:
  dsr1 up --profile rehearsal            the whole chain, without a GPU
  dsr1 doctor --profile high-throughput  check this host for that profile
  dsr1 pull --fp4                        weights, every hash checked
  dsr1 serve --profile high-throughput   start, wait for READY, verify
  dsr1 serve --profile low-latency --dry-run > serve.sh

Exit codes: 0 ok, 1 unexpected, 2 usage or profile, 3 host not ready,
  4 Docker, 5 hub or network, 6 integrity, 7 server failed, 8 gate missed,
  9 measurement not trusted, 130 interrupted.";

/// Text below the options of `dsr1 bundle`.
const BUNDLE: &str = "\
Examples:
  dsr1 bundle --dry-run         list what would be put in
  dsr1 bundle                   write dsr1-bundle-TIME.tar.gz here
  dsr1 bundle low-latency -o help.tar.gz
  tar -xzOf help.tar.gz | less  look at it before you send it";

/// The answer to `dsr1` alone: short, so that it fits on a terminal of 24 rows.
pub const SHORT_HELP: &str = "\
Takes a GPU host from bare to a verified DeepSeek-R1 endpoint on SGLang.

Usage: dsr1 [OPTIONS] COMMAND

  all at once    up
  before it      doctor, plan, explain
  install        build, image, clean
  weights        pull, weights, mirror
  servers        serve, expose, status, top, watch, restart, upgrade, stop,
                 ask, chat
  their past     logs, events, diagnose, bundle
  measurements   bench, eval
  settings       profiles, stacks, flags, lock, check
  elsewhere      export, monitoring, completions, man

dsr1 up rehearsal         tries the whole chain on any machine, without a GPU
dsr1 COMMAND --help       explains a command and its options
dsr1 --help               lists the commands with what they do, and exit codes
";

/// The version; with its commit and its date if the script that builds a release names them.
pub const VERSION: &str = match option_env!("DSR1_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Takes a GPU host from bare to a verified DeepSeek-R1 endpoint on SGLang and FlashInfer.
#[derive(Debug, Parser)]
#[command(name = "dsr1", version = VERSION, after_help = EXAMPLES, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// The forms of output.
    #[command(flatten)]
    pub output: Output,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Returns the command of a line that dsr1 itself has made, without the program's name; `None` if it is wrong.
    #[must_use]
    pub fn command_of(words: &[String]) -> Option<Command> {
        let line = std::iter::once("dsr1").chain(words.iter().map(String::as_str));
        Some(Self::try_parse_from(line).ok()?.command)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do everything: install, pull, serve, verify, benchmark.
    ///
    /// Installed packages and verified files are not fetched again. Ctrl-C or a failure before READY removes the server
    /// that was started and keeps finished downloads. The rehearsal profile stops its engine at the end.
    Up(Box<UpCommandArgs>),
    /// Check this host for a profile: system, memory, disk, ports, Docker, GPUs.
    ///
    /// Exits with 3 when something is missing. With --format json it prints the facts of this host,
    /// which --facts reads on another host.
    Doctor(DoctorArgs),
    /// Show what would run: image, mounts, environment, arguments, memory.
    ///
    /// Nothing is started and nothing is fetched. Exits with 3 when something on this host blocks the start.
    /// `up --dry-run` prints the same as a script.
    Plan(PlanCommandArgs),
    /// Write a server for another tool: bash, Docker Compose, systemd, Podman's Quadlet.
    ///
    /// The text starts the same server as `serve`; the comments at its head list what must exist first. `bash` writes
    /// the whole of `up`; `slurm` and `lws` (Kubernetes) start a server on several nodes, too.
    Export(Box<ExportArgs>),
    /// Write the files of a Prometheus and a Grafana for servers.
    ///
    /// The queries are those of the SGLang of each server. With --check it asks a server, or a Prometheus, which of their metrics it
    /// has, and exits with 7 if one is missing.
    Monitoring(MonitoringArgs),
    /// Install the engine: build an image, or a venv with --runtime process.
    Build(BuildArgs),
    /// List, show, remove, save and load the images that dsr1 built.
    Image(ImageArgs),
    /// Remove what dsr1 made on this host and no longer uses.
    ///
    /// These are venvs, images, compiled kernels, logs, results, and kept answers of hubs and engines.
    /// The things that a server or a start uses stay. Those that the stacks of this dsr1 would use again stay unless --all is given.
    /// Weights are never removed: `weights rm` removes them by name.
    #[command(after_help = CLEAN)]
    Clean(CleanArgs),
    /// Download weights and check every hash before a file gets its final name.
    ///
    /// An interrupted pull resumes where it stopped. The token is read from `HF_TOKEN` or the hub client's token file.
    #[command(after_help = PULL, alias = "download")]
    Pull(PullArgs),
    /// List, check, repair and remove weights in the hub cache.
    #[command(after_help = WEIGHTS)]
    Weights(WeightsArgs),
    /// Serve the local hub cache, read-only, as the `HF_ENDPOINT` of other machines.
    ///
    /// One node pulls from the hub; the others pull from that node, at the speed of their network: with dsr1, `hf`,
    /// vLLM, SGLang or any hub client. Only complete snapshots are served. Before it sends a file that dsr1 verified, the
    /// mirror checks that the file has not changed; it lists the snapshots of other clients when it starts. It runs until
    /// Ctrl-C and writes a line per request; `--progress json` writes JSON instead, `--progress quiet` nothing.
    #[command(after_help = MIRROR)]
    Mirror(MirrorArgs),
    /// Start a server, follow it to READY, verify its answers and leave it running.
    #[command(aliases = ["run", "start", "launch", "deploy"])]
    Serve(ServeArgs),
    /// List the servers of dsr1 on this host with their state and load.
    ///
    /// A server is starting, ready (busy or idle, if its metrics show it), hung (it has requests and does not work on them),
    /// draining (it was asked to end, and computes its last requests), crashed or stopped. The metrics and the log decide;
    /// no request is sent to a server that was ready.
    #[command(aliases = ["ps", "ls", "list"])]
    Status(StatusArgs),
    /// Show the servers of this host on a live screen: load, rates, latencies, GPUs, events.
    ///
    /// The screen is renewed every second. Rates come from two looks at a server's counters: prompt and generated tokens a second,
    /// finished requests a second. Latencies are the quantiles of about the last minute, by the buckets of the server's histograms.
    /// The arrows select a server, p pauses, ? explains the figures, and q quits. It sends no request to a model, and it needs a
    /// terminal: `status` prints the servers, also as JSON.
    Top(TopArgs),
    /// Take requests of other hosts for a server: with a key, over TLS.
    ///
    /// A server itself listens on 127.0.0.1 and asks for no key. This command checks the key of each request, and passes those for
    /// the paths of the API on; the engine never gets the key, so none of its logs and answers can hold it. It prints a line for each request, and ends after the
    /// running requests at Ctrl-C. It goes on while the server is restarted, and answers 503 until that is ready.
    #[command(after_help = EXPOSE)]
    Expose(ExposeArgs),
    /// Print the log of a server.
    #[command(alias = "log")]
    Logs(LogsArgs),
    /// Say why a server failed: the first cause in its log, or in logs of any host.
    #[command(alias = "why")]
    Diagnose(DiagnoseArgs),
    /// List what happened to the servers: started, ready, hung, crashed, stopped.
    Events(EventsArgs),
    /// Pack logs, plans and facts for a person who helps you, without secrets.
    ///
    /// The archive has the logs of the last starts (the last 50 MB of each), their diagnoses, events, plans and records, the facts
    /// of doctor, Docker's description of the containers, your profiles and stacks, and the last results. Tokens, keys, passwords
    /// and the text of prompts are replaced by ***. README.txt in it says what was left out. Only you may read the archive: look at
    /// it before you send it. Nothing is sent.
    #[command(alias = "support-bundle", after_help = BUNDLE)]
    Bundle(BundleArgs),
    /// Stop a server and start it again with the plan that started it.
    ///
    /// Before the start, dsr1 makes sure that nothing of the old server is left: processes, port, memory of the GPUs, shared
    /// memory. It also starts a server that ended.
    Restart(RestartArgs),
    /// Replace a server by another plan, and go back if the new one fails or is slower.
    ///
    /// It takes the arguments of `up`. Image, environment and weights of the new server are made while the old one answers; then
    /// that is stopped after its running requests, and the new one starts, is verified and measured. If a step fails, or the new
    /// server generates fewer tokens per second than --tolerance allows, the old one is started again from its plan, and its image
    /// and compiled kernels are still there. The result says for how long nobody answered.
    Upgrade(UpgradeArgs),
    /// Look after a server, and start it again when that helps.
    ///
    /// A server that crashed is diagnosed first. It is started again after causes that can pass: a killed process, a hang, a
    /// failed kernel under load. It is left as it is after causes that need a person: a refused argument, missing weights, a
    /// GPU with a fault. What happens is printed and kept: `dsr1 events` lists it. The command ends when the server is stopped
    /// by `dsr1 stop`, and with exit code 7 when the server is not started again.
    #[command(alias = "supervise")]
    Watch(WatchArgs),
    /// Stop a server after its running requests, and remove its container.
    #[command(alias = "down")]
    Stop(StopArgs),
    /// Ask a running server one question.
    #[command(alias = "generate")]
    Ask(AskArgs),
    /// Talk with a running server: each question is sent with the conversation before it.
    ///
    /// The reasoning of earlier turns is not sent again. On a terminal /help lists the commands, and Ctrl-C ends an answer.
    /// Without a terminal each line of stdin is a question.
    Chat(ChatArgs),
    /// Measure a running server, and judge the measurement.
    ///
    /// Exits with 9 if the figures must not be used.
    #[command(alias = "benchmark", after_help = BENCH)]
    Bench(Box<BenchArgs>),
    /// Measure the accuracy of a running server.
    ///
    /// The questions are in a file that you bring, in its public format. An evaluation that was interrupted is resumed by the same
    /// command. Exits with 8 below --min-accuracy or beside --expect-tokens, and with 9 if questions have no answer.
    #[command(after_help = EVAL)]
    Eval(EvalArgs),
    /// List, show, compare, check, migrate and create profiles; find one for a load.
    Profiles(ProfilesArgs),
    /// List the engine stacks, show one, or compare two.
    Stacks(StacksArgs),
    /// Explain an engine option, variable or profile setting, and list its versions.
    Explain(ExplainArgs),
    /// Compare the bundled option tables with an installed SGLang.
    Flags(FlagsArgs),
    /// Write a lock file: the image, weights and arguments of a server.
    Lock(LockArgs),
    /// List the differences between a lock file and this host.
    ///
    /// Exits with 8 if a difference changes what is served.
    Check(CheckArgs),
    /// Print the help of a command, as `COMMAND --help` does.
    #[command(hide = true)]
    Help(HelpArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Show the page of a command in the manual, or write all pages.
    Man(ManArgs),
}
