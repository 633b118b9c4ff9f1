//! The command line: what can be typed, and its help. No behaviour.
//!
//! Not in this module: what a command does (`commands`, one file each).

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::choice::Choice;
use crate::plan::{Flashinfer, Recipe, Transport};
use crate::render::Form;

/// What `dsr1 --help` says after the commands.
const EXAMPLES: &str = "\
Examples:
  dsr1 up --profile rehearsal              the whole chain on a machine without a GPU
  dsr1 doctor --profile high-throughput    is this host fit for it?
  dsr1 pull --fp4                          weights, every hash checked
  dsr1 serve --profile high-throughput     start, wait for READY, verify
  dsr1 serve --profile low-latency --dry-run > serve.sh

Exit codes: 0 ok, 1 unexpected, 2 usage or profile, 3 host not ready, 4 Docker, 5 hub or network,
  6 integrity, 7 server failed, 8 gate missed, 9 measurement not trusted, 130 interrupted.";

/// Shown below the help of `pull`.
const PULL: &str = "\
Examples:
  dsr1 pull --fp8 --dry-run                     what would come, and what is here
  dsr1 pull --fp8                               a profile's weights, into the hub cache
  dsr1 pull owner/name --include '*.json'       a part of any repository
  dsr1 pull --fp8 --local-dir /models/r1        under their own names
  dsr1 pull --to-lock                           what dsr1.lock states, and nothing else
  dsr1 pull --fp8 --endpoint http://node1:8490  from a mirror (dsr1 mirror)";

/// Shown below the help of `weights`.
const WEIGHTS: &str = "\
Examples:
  dsr1 weights list                          what is here, and whether it was proven
  dsr1 weights verify --fp8 --fast           did anything change? sizes and times only
  dsr1 weights verify --fp8                  every byte against its hash
  dsr1 weights verify --fp8 --repair         and what is bad is fetched again, only that
  dsr1 weights verify --local-dir models/r1  what dsr1 pull --local-dir wrote
  dsr1 weights rm owner/name --yes           all of it; with --unfinished, what pulls left";

/// How a mirror is used.
const MIRROR: &str = "\
Examples:
  dsr1 mirror                                          this machine only
  dsr1 mirror --listen 10.0.0.1:8490                   the network of that address
  dsr1 mirror --listen 0.0.0.0:8490 --token-file FILE  every network, for clients with the token

On the other machines:
  export HF_ENDPOINT=http://10.0.0.1:8490              and HF_TOKEN, when the mirror wants a token
  dsr1 pull --fp8
  hf download deepseek-ai/DeepSeek-R1-0528

It speaks plain HTTP: a token keeps out who does not know it, not who listens on the wire.
For TLS, put a proxy in front and let the mirror listen on loopback.";

/// Takes a GPU host from bare to a verified DeepSeek-R1 endpoint on SGLang and FlashInfer.
#[derive(Debug, Parser)]
#[command(name = "dsr1", version, after_help = EXAMPLES, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Form of the result on stdout.
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORM")]
    pub format: Format,
    /// Form of the progress on stderr; auto is tty on a terminal and plain elsewhere.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "FORM")]
    pub progress: Progress,
}

/// Form of a result on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document with a `schema` field.
    Json,
}

/// Form of the progress on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Live on a terminal, plain elsewhere.
    Auto,
    /// Live lines and bars.
    Tty,
    /// One line per event, with everything that children print.
    Plain,
    /// Warnings only.
    Quiet,
    /// One JSON object per event.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do everything: install, pull, serve, verify, benchmark.
    ///
    /// Each step that is already true is skipped. Nothing stays half done: Ctrl-C or a failure before READY removes
    /// what was started, and finished downloads are kept. The rehearsal profile stops its engine at the end.
    Up(UpArgs),
    /// Check this host for a profile: system, memory, disk, ports, Docker, GPUs.
    ///
    /// Exits with 3 when something is missing. With --format json it prints the facts that --facts takes elsewhere.
    Doctor(DoctorArgs),
    /// Show what would run: image, mounts, environment, arguments, memory.
    ///
    /// Nothing is started and nothing is fetched. `up --dry-run` prints the same as a script.
    Plan(PlanCommandArgs),
    /// Write a server for another tool: bash, Docker Compose, systemd, Podman's Quadlet.
    ///
    /// The text starts what `serve` starts, and its head says what must be there first. `bash` is all of `up`.
    Export(ExportArgs),
    /// Make the engine: an image, or a venv with --runtime process.
    Build(BuildArgs),
    /// List, show, remove, save and load the images that dsr1 built.
    Image(ImageArgs),
    /// Fetch weights and check every hash before a file gets its name.
    ///
    /// An interrupted pull goes on where it was. The token is read from `HF_TOKEN` or the hub client's token file.
    #[command(after_help = PULL)]
    Pull(PullArgs),
    /// List, check, repair and remove weights in the hub cache.
    #[command(after_help = WEIGHTS)]
    Weights(WeightsArgs),
    /// Serve the local hub cache, read-only, to machines whose `HF_ENDPOINT` it is.
    ///
    /// One node pulls from the hub; the others pull from it, at the speed of their network: with dsr1, `hf`, vLLM,
    /// SGLang or any hub client. Only whole snapshots are served. Those that dsr1 proved are compared with what was
    /// proven before each file is sent; those of other clients are named at the start. It runs until Ctrl-C and writes
    /// a line per request; `--progress json` writes them for machines, `--progress quiet` none.
    #[command(after_help = MIRROR)]
    Mirror(MirrorArgs),
    /// Start a server, follow it to READY, verify its answers and leave it running.
    Serve(ServeArgs),
    /// List the servers of dsr1 on this host.
    Status,
    /// Print the log of a server, as it is.
    Logs(LogsArgs),
    /// Stop a server after its running requests.
    Stop(StopArgs),
    /// Ask a running server one question.
    Ask(AskArgs),
    /// Run the engine's own benchmark against a running server.
    Bench(BenchArgs),
    /// Measure accuracy against a running server.
    Eval(EvalArgs),
    /// List, show, compare, check, migrate and make profiles; ask which fits a load.
    Profiles(ProfilesArgs),
    /// List the engine stacks, show one, or compare two.
    Stacks(StacksArgs),
    /// Say what an engine option, variable or profile setting does, and in which versions.
    Explain(ExplainArgs),
    /// Compare the bundled option tables with an installed SGLang.
    Flags(FlagsArgs),
    /// Write one file that says what a server is: image, weights, arguments.
    Lock(LockArgs),
    /// Say in words what differs between a lock and this host.
    ///
    /// Exits with 8 when something differs that changes what is served.
    Check(CheckArgs),
    /// Print the help of a command, as `--help` behind it does.
    #[command(hide = true)]
    Help(HelpArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Write the manual pages to a directory.
    Man(ManArgs),
}

/// Which profile.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Profile")]
pub struct ProfileArgs {
    /// Profile or goal: rehearsal, high-throughput, low-latency, basic, fp8-low-latency, ...
    #[arg(long, short, value_name = "NAME")]
    pub profile: Option<String>,
    /// A profile of your own (YAML; `dsr1 profiles show NAME --yaml` prints one to start from).
    #[arg(long, value_name = "FILE")]
    pub profile_file: Option<PathBuf>,
    /// Weights in NVFP4 (Blackwell only); alone it means fp4-high-throughput.
    #[arg(long, conflicts_with = "fp8")]
    pub fp4: bool,
    /// Weights in FP8, as DeepSeek publishes them; alone it means fp8-high-throughput.
    #[arg(long)]
    pub fp8: bool,
    /// Stack to run it on instead of the profile's own (`dsr1 stacks list`).
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
}

/// What runs the engine.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Runtime")]
pub struct RuntimeArgs {
    /// What runs the engine; auto takes Docker when a daemon answers and has the base image or can pull it.
    #[arg(long, value_enum, default_value = "auto", value_name = "RUNTIME")]
    pub runtime: Runtime,
    /// Base image to build from instead of the stack's, for sites without a registry.
    #[arg(long, value_name = "IMAGE")]
    pub base_image: Option<String>,
    /// How an image is made; an image of another recipe is another image.
    #[arg(long, value_parser = choice::<Recipe>(), default_value = "thin", value_name = "RECIPE")]
    pub recipe: Recipe,
    /// Where FlashInfer's kernels come from [default: base; aot with --recipe guide].
    #[arg(long, value_parser = choice::<Flashinfer>(), value_name = "KERNELS")]
    pub flashinfer: Option<Flashinfer>,
}

/// What runs the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Docker when it can, else a process.
    Auto,
    /// A container.
    Docker,
    /// A child process in a venv.
    Process,
}

/// Print instead of doing.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Planning")]
pub struct PlanArgs {
    /// Print the plan as a shell script (or JSON) and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Plan for the host that this file describes (`dsr1 doctor --format json` there); implies --dry-run.
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// Arguments of `up` and `plan`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// What to serve and how.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Hub to pull from.
    #[command(flatten)]
    pub hub: HubArgs,
    /// Leave the server running at the end (the default, except for the rehearsal).
    #[arg(long)]
    pub keep: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanCommandArgs {
    /// What to plan.
    #[command(flatten)]
    pub up: UpArgs,
    /// Say of each argument and variable who decided it: file and line, the stack, or dsr1.
    #[arg(long)]
    pub origin: bool,
}

/// Arguments of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The tool.
    #[arg(value_parser = choice::<&'static dyn Form>(), value_name = "TOOL")]
    pub tool: &'static dyn Form,
    /// What to serve and how.
    #[command(flatten)]
    pub up: UpArgs,
    /// File that takes the text, instead of stdout; an existing one is kept.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// Arguments of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// What to serve and how.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Stay attached: print the log until Ctrl-C, which stops the server.
    #[arg(long)]
    pub foreground: bool,
    /// Start only what this file of `dsr1 lock` says, and refuse with 8 when anything differs here.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "dsr1.lock")]
    pub locked: Option<PathBuf>,
}

/// What to serve and how.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Which profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// What runs the engine.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Port on 127.0.0.1.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u16).range(1024..), value_name = "PORT")]
    pub port: u16,
    /// Name of the server, to which `dsr1-` is put; the default is the profile's name.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Print instead of doing.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Raw engine arguments, after `--`.
    #[arg(last = true, value_name = "ENGINE ARGS")]
    pub extra_args: Vec<String>,
}

/// Hub to pull from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hub")]
pub struct HubArgs {
    /// Hub base URL [default: `HF_ENDPOINT`, else the public hub].
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Most streams at once; a pull begins with a few and adds more as long as that makes it faster.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=128), value_name = "N")]
    pub max_workers: u8,
    /// Most bytes a second over all files, such as 500m or 1.5g; k, m, g and t are powers of 1024.
    #[arg(long, value_name = "RATE")]
    pub limit_rate: Option<String>,
    /// How large files come.
    #[arg(long, value_parser = choice::<Transport>(), default_value = "auto")]
    pub transport: Transport,
    /// Agree to the licence that the hub states, for scripts; on a terminal you are asked when it wants that.
    #[arg(long)]
    pub accept_license: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Which profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Port on 127.0.0.1.
    #[arg(long, default_value_t = 30_000, value_name = "PORT")]
    pub port: u16,
    /// Check the host that this file describes (`dsr1 doctor --format json` there), not this one.
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// Arguments of `build`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct BuildArgs {
    /// Which profile; --stack alone builds that stack.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// What runs the engine.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Build every step again, even when the image is there. Throws away what pip and apt fetched before, too.
    #[arg(long)]
    pub no_cache: bool,
    /// Ask the base's registry even when the daemon has the base; without a registry the build then fails.
    #[arg(long)]
    pub pull: bool,
    /// One more tag for the image; can be repeated.
    #[arg(long, value_name = "NAME:TAG")]
    pub tag: Vec<String>,
    /// Send each --tag to its registry; prints the digest that it has there.
    #[arg(long, requires = "tag")]
    pub push: bool,
    /// Image whose layers may be used instead of building them, if it was built with its cache inside; can be repeated.
    #[arg(long, value_name = "IMAGE")]
    pub cache_from: Vec<String>,
    /// Keep in the image what --cache-from of another build needs.
    #[arg(long)]
    pub inline_cache: bool,
    /// Run one step again, and those behind it; a wrong name lists the steps.
    #[arg(long, value_name = "STEP", conflicts_with = "no_cache")]
    pub refresh: Option<String>,
    /// What the build may read and the image does not keep: ca (CA bundle), netrc, `pip_conf`; can be repeated.
    #[arg(long, value_name = "ID=FILE|ID=env:NAME")]
    pub secret: Vec<String>,
    /// Take Python packages from this directory instead of an index.
    #[arg(long, value_name = "DIR")]
    pub wheels: Option<String>,
    /// Let no step use the network: what builds is proven to need none.
    #[arg(long)]
    pub offline: bool,
    /// What builds the image; auto takes `BuildKit` where the daemon has it.
    #[arg(long, value_enum, default_value = "auto", value_name = "BUILDER")]
    pub builder: Builder,
    /// Then put every profile of the stack to the engine's own parser inside, and keep the table; exits with 8 when one
    /// is refused.
    #[arg(long, conflicts_with_all = ["dry_run", "facts"])]
    pub verify: bool,
    /// Say what --recipe guide does otherwise than the guide's own Dockerfile, and why; builds nothing.
    #[arg(long)]
    pub explain: bool,
    /// Print instead of doing.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// Arguments of `image`.
#[derive(Debug, Clone, Args)]
pub struct ImageArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: Image,
}

/// What to do with images. Images without the labels of dsr1 are left alone.
#[derive(Debug, Clone, Subcommand)]
pub enum Image {
    /// One line per image.
    List,
    /// What is in an image: versions, base, digests, and how its engine took the profiles.
    Inspect(WhichImageArgs),
    /// Remove old images: not in use, not the newest of their stack, not what a stack would build today, without tags of
    /// yours.
    Prune(PruneArgs),
    /// Write an image to a file for a host without a network: an OCI archive that says what it is.
    Save(SaveArgs),
    /// Load an image from such a file, after every layer's hash is checked.
    Load(LoadArgs),
}

/// Which image.
#[derive(Debug, Clone, Args)]
pub struct WhichImageArgs {
    /// Tag, or the name of its stack when there is one image of it.
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Arguments of `image prune`.
#[derive(Debug, Clone, Args)]
pub struct PruneArgs {
    /// Also the newest, and those that a stack would build today.
    #[arg(long)]
    pub all: bool,
    /// Name them and remove none.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `image save`.
#[derive(Debug, Clone, Args)]
pub struct SaveArgs {
    /// Which image.
    #[command(flatten)]
    pub which: WhichImageArgs,
    /// File that takes it; an existing one is kept.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `image load`.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// File of `dsr1 image save`.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What turns a Dockerfile into an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Builder {
    /// What the daemon has.
    Auto,
    /// `BuildKit`, in a session.
    Buildkit,
    /// The builder of old: no secrets, no caches, everything sent each time.
    Classic,
}

/// Arguments of `pull`.
#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    /// Repository, owner/name, instead of a profile's.
    #[arg(value_name = "REPO", conflicts_with_all = ["profile", "profile_file", "fp4", "fp8"])]
    pub repo: Option<String>,
    /// Branch, tag or commit of REPO.
    #[arg(long, value_name = "REV", requires = "repo", conflicts_with_all = ["profile", "profile_file", "fp4", "fp8"])]
    pub revision: Option<String>,
    /// Which profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Only files that match; may be given again. `*` matches `/` too.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// No file that matches; may be given again.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Write the files into DIR under their own names, instead of into the hub cache.
    #[arg(long, value_name = "DIR")]
    pub local_dir: Option<PathBuf>,
    /// Pull what a lock states: its commit, its files, each with its hash, and nothing else.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "dsr1.lock", conflicts_with_all = ["repo", "profile", "profile_file", "fp4", "fp8", "allow_code"])]
    pub to_lock: Option<PathBuf>,
    /// Fetch files that hold code too, such as .py and .pkl; a profile names those of its model.
    #[arg(long)]
    pub allow_code: bool,
    /// Hub to pull from.
    #[command(flatten)]
    pub hub: HubArgs,
    /// Ask the hub what would come, and fetch nothing: files, sizes, what is here, space, time. Where a pull would be
    /// refused at once (code, licence, space), so is this, with the same exit code.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the plan for the host that this file describes (`dsr1 doctor --format json` there); asks no hub.
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// Arguments of `weights`.
#[derive(Debug, Clone, Args)]
pub struct WeightsArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: Weights,
}

/// What to do with the weights in the hub cache.
#[derive(Debug, Clone, Subcommand)]
pub enum Weights {
    /// List repositories and snapshots, and whether they were proven.
    List,
    /// Check every byte of a snapshot against its hash, as fast as processors and disk go.
    Verify(WeightsVerifyArgs),
    /// Show what takes the space.
    Du,
    /// Remove a repository, or what is unfinished of it.
    Rm(WeightsRmArgs),
}

/// Arguments of `weights verify`.
#[derive(Debug, Clone, Args)]
pub struct WeightsVerifyArgs {
    /// Repository, owner/name, instead of a profile's.
    #[arg(value_name = "REPO", conflicts_with_all = ["profile", "profile_file", "fp4", "fp8"])]
    pub repo: Option<String>,
    /// Branch, tag or commit of REPO.
    #[arg(long, value_name = "REV", requires = "repo", conflicts_with_all = ["profile", "profile_file", "fp4", "fp8"])]
    pub revision: Option<String>,
    /// Which profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Check a directory of `dsr1 pull --local-dir` instead of the hub cache.
    #[arg(long, value_name = "DIR")]
    pub local_dir: Option<PathBuf>,
    /// Compare sizes and times only: milliseconds instead of minutes.
    #[arg(long, conflicts_with = "repair")]
    pub fast: bool,
    /// Fetch again what is wrong, and only that: of a shard that dsr1 pulled, the ranges that went bad.
    #[arg(long)]
    pub repair: bool,
    /// Hub to repair from.
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Arguments of `weights rm`.
#[derive(Debug, Clone, Args)]
pub struct WeightsRmArgs {
    /// Repository, owner/name.
    #[arg(value_name = "REPO")]
    pub repo: String,
    /// Only what pulls left unfinished.
    #[arg(long)]
    pub unfinished: bool,
    /// Do it: without, what would go is shown.
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `mirror`.
#[derive(Debug, Clone, Args)]
pub struct MirrorArgs {
    /// Address to listen on, `[::1]:8490` for IPv6; a LAN address lets other machines in, who can read every whole
    /// snapshot in the cache.
    #[arg(long, default_value = "127.0.0.1:8490", value_name = "ADDR:PORT")]
    pub listen: String,
    /// Hub cache to serve [default: `HF_HUB_CACHE`].
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// File with a token that clients must send [default: that in `DSR1_MIRROR_TOKEN`]; theirs is `HF_TOKEN`.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Write the rehearsal model into the cache first.
    #[arg(long)]
    pub rehearsal: bool,
    /// Write the rehearsal model and end.
    #[arg(long, requires = "rehearsal")]
    pub write_only: bool,
}

/// Which running server.
#[derive(Debug, Clone, Args)]
pub struct WhichArgs {
    /// Name of the server; may be left out when there is one.
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// Arguments of `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Which server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Go on printing until the server ends.
    #[arg(long, short)]
    pub follow: bool,
    /// Only the last N lines.
    #[arg(long, short = 'n', value_name = "N")]
    pub tail: Option<u64>,
}

/// Arguments of `stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// Which server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Seconds that running requests have.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub drain: u32,
}

/// Arguments of `ask`.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// The question.
    pub question: String,
    /// Name of the server; may be left out when there is one.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    pub server: Option<String>,
    /// Base URL of a server that dsr1 did not start.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Longest answer, in tokens, reasoning included.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub max_tokens: u32,
    /// Sampling temperature; DeepSeek recommends 0.5 to 0.7 for R1.
    #[arg(long, default_value_t = 0.6, allow_negative_numbers = true, value_name = "T")]
    pub temperature: f64,
}

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Which server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// File of the profile that the server was started from, when it is not a built-in one.
    #[arg(long, value_name = "FILE")]
    pub profile_file: Option<PathBuf>,
    /// Prompt length in tokens, instead of the profile's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub input_len: Option<u32>,
    /// Output length in tokens, instead of the profile's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub output_len: Option<u32>,
    /// Requests in flight, instead of the profile's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub max_concurrency: Option<u32>,
    /// Requests in all, instead of the profile's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub num_prompts: Option<u32>,
    /// Print instead of doing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// What to measure.
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
    /// Which server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// The questions: path or URL of GSM8K's test.jsonl.
    #[arg(long, value_name = "PATH|URL")]
    pub data: String,
    /// SHA-256 of the questions; required for a URL.
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// Worked examples in front of each question.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub num_shots: u32,
    /// Questions asked.
    #[arg(long, default_value_t = 1316, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub num_questions: u32,
    /// Requests in flight.
    #[arg(long, default_value_t = 1316, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub parallel: u32,
    /// Longest answer in tokens.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub max_new_tokens: u32,
    /// Exit with 8 when the accuracy is below this share, such as 0.94.
    #[arg(long, value_name = "SHARE")]
    pub min_accuracy: Option<f64>,
    /// Print instead of doing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `profiles`.
#[derive(Debug, Clone, Args)]
pub struct ProfilesArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: Profiles,
}

/// What to do with profiles.
#[derive(Debug, Clone, Subcommand)]
pub enum Profiles {
    /// One line per profile.
    List,
    /// One profile, its stack, and the engine's arguments.
    Show(ShowArgs),
    /// What two profiles do not agree on.
    Diff(DiffArgs),
    /// Check a profile file against its stack: every option, value and combination.
    Validate(ValidateArgs),
    /// Which profile fits a load, and what to change in it.
    Advise(AdviseArgs),
    /// Rewrite a profile file for another stack; the new text is printed, the file stays as it is.
    Migrate(MigrateArgs),
    /// Print a profile to start from: it extends another and shows every setting.
    New(NewArgs),
}

/// Arguments of `profiles diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// One profile.
    pub left: String,
    /// The other.
    pub right: String,
    /// A profile of your own, to be named in one of the two places.
    #[arg(long, value_name = "FILE")]
    pub profile_file: Option<PathBuf>,
    /// Compare them on this stack instead of each on its own.
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
}

/// Arguments of `profiles validate`.
#[derive(Debug, Clone, Args)]
pub struct ValidateArgs {
    /// Profile file, or the name of a profile.
    #[arg(value_name = "FILE")]
    pub profile: String,
    /// Check it on every stack, not only on its own and those it speaks of.
    #[arg(long)]
    pub all_stacks: bool,
}

/// Arguments of `profiles advise`.
#[derive(Debug, Clone, Args)]
pub struct AdviseArgs {
    /// Prompt length in tokens.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub isl: u32,
    /// Answer length in tokens, reasoning included.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub osl: u32,
    /// Requests in flight at once.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub concurrency: u32,
    /// What matters more; without it the concurrency decides.
    #[arg(long, value_enum, value_name = "GOAL")]
    pub goal: Option<AdviceGoal>,
    /// Stack to run on instead of each profile's own.
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
    /// Advise for the host that this file describes (`dsr1 doctor --format json` there).
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// What matters more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AdviceGoal {
    /// Time per token of each request.
    LowLatency,
    /// Tokens per second of all requests.
    HighThroughput,
}

/// Arguments of `profiles migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// Profile file.
    pub file: PathBuf,
    /// Stack to rewrite it for.
    #[arg(long, value_name = "STACK")]
    pub to: String,
}

/// Arguments of `profiles new`.
#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// Name of the new profile; lower case, digits and dashes.
    pub name: String,
    /// Profile to start from.
    #[arg(long, default_value = "fp8-high-throughput", value_name = "PROFILE")]
    pub from: String,
    /// Stack to write it for instead of that profile's.
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
}

/// Arguments of `profiles show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// Profile or goal.
    pub name: Option<String>,
    /// A profile of your own.
    #[arg(long, value_name = "FILE")]
    pub profile_file: Option<PathBuf>,
    /// Weights in NVFP4.
    #[arg(long, conflicts_with = "fp8")]
    pub fp4: bool,
    /// Weights in FP8.
    #[arg(long)]
    pub fp8: bool,
    /// Stack to show it for instead of its own.
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
    /// Print the file itself, to start one of your own from.
    #[arg(long)]
    pub yaml: bool,
}

/// Arguments of `stacks`.
#[derive(Debug, Clone, Args)]
pub struct StacksArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: Stacks,
}

/// What to do with stacks.
#[derive(Debug, Clone, Subcommand)]
pub enum Stacks {
    /// One line per stack.
    List,
    /// One stack: versions, image, hardware.
    Show(StackArgs),
    /// What two stacks do not agree on, their engine options included.
    Diff(StackDiffArgs),
}

/// Arguments of `stacks show`.
#[derive(Debug, Clone, Args)]
pub struct StackArgs {
    /// Name of the stack.
    pub name: String,
    /// Print the file itself.
    #[arg(long)]
    pub yaml: bool,
}

/// Arguments of `stacks diff`.
#[derive(Debug, Clone, Args)]
pub struct StackDiffArgs {
    /// One stack.
    pub left: String,
    /// The other.
    pub right: String,
    /// List every engine option that differs, not only how many.
    #[arg(long)]
    pub flags: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// An option (--mem-fraction-static), a variable (`SGLANG_CUTLASS_MOE`) or a setting (`mem_fraction`).
    #[arg(value_name = "FLAG", allow_hyphen_values = true)]
    pub name: String,
}

/// Arguments of `flags`.
#[derive(Debug, Clone, Args)]
pub struct FlagsArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: Flags,
}

/// What to do with option tables.
#[derive(Debug, Clone, Subcommand)]
pub enum Flags {
    /// Ask the SGLang inside a stack's image or venv for its options, and say what differs. Exits with 8 on drift.
    Sync(SyncArgs),
}

/// Arguments of `flags sync`.
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    /// Stack whose image or venv is asked; it must be built.
    #[arg(long, value_name = "STACK")]
    pub stack: String,
    /// What runs the engine.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// Arguments of `lock`.
#[derive(Debug, Clone, Args)]
pub struct LockArgs {
    /// What to serve and how.
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
    /// What to compare with it, where that is not what was locked.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `help`.
#[derive(Debug, Clone, Args)]
pub struct HelpArgs {
    /// The command, and the one below it.
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Arguments of `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Shell.
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Directory that takes the pages; without it `dsr1(1)` is printed.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// A parser of the names of a closed set of values.
fn choice<T: Choice + Clone + Send + Sync + 'static>() -> impl TypedValueParser<Value = T> {
    let values = T::table()
        .into_iter()
        .map(|(_, name, about)| PossibleValue::new(name).help(about));
    PossibleValuesParser::new(values.collect::<Vec<_>>())
        .try_map(|name| T::by_name(&name).ok_or_else(|| format!("`{name}` is not known")))
}
