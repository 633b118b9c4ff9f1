//! Arguments of the commands about profiles, stacks and engine options.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::shared::{RuntimeArgs, number};

/// Arguments of `profiles`.
#[derive(Debug, Clone, Args)]
pub struct ProfilesArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub what: Profiles,
}

/// Work on profiles.
#[derive(Debug, Clone, Subcommand)]
pub enum Profiles {
    /// List the profiles.
    #[command(alias = "ls")]
    List,
    /// Show a profile, its stack and the engine's arguments.
    Show(ShowArgs),
    /// List the differences between two profiles.
    Diff(DiffArgs),
    /// Check a profile file against its stack: every option, value and combination.
    Validate(ValidateArgs),
    /// Find the profile for a load, and what to change in it.
    Advise(AdviseArgs),
    /// Print a profile file rewritten for another stack; the file itself is not changed.
    Migrate(MigrateArgs),
    /// Print a profile to start from: it extends another and shows every setting; or one for the GPUs of this host.
    New(NewArgs),
}

/// Arguments of `profiles diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// Name of one profile.
    #[arg(value_name = "PROFILE")]
    pub left: String,
    /// Name of the other profile.
    #[arg(value_name = "PROFILE")]
    pub right: String,
    /// File with a profile of your own; give its name as one of the two.
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
    /// Check it on every stack, not only on its own and those that it names.
    #[arg(long)]
    pub all_stacks: bool,
}

/// Arguments of `profiles advise`.
#[derive(Debug, Clone, Args)]
pub struct AdviseArgs {
    /// Prompt length in tokens.
    #[arg(long, alias = "input-len", value_parser = number::<u32>(1..), value_name = "N")]
    pub isl: u32,
    /// Answer length in tokens, reasoning included.
    #[arg(long, alias = "output-len", value_parser = number::<u32>(1..), value_name = "N")]
    pub osl: u32,
    /// Requests in flight at once.
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N")]
    pub concurrency: u32,
    /// Goal; without it the concurrency decides.
    #[arg(long, value_enum, value_name = "GOAL")]
    pub goal: Option<AdviceGoal>,
    /// Stack to run on instead of each profile's own.
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
    /// Advise for the host that FILE describes (output of `dsr1 doctor --format json` there).
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// A goal.
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
    /// Write it for the GPUs of this host: precision, ranks, stack and memory, each with its reason.
    #[arg(long, conflicts_with = "from")]
    pub for_host: bool,
    /// Goal of a profile for a host [default: high-throughput].
    #[arg(long, value_enum, requires = "for_host", value_name = "GOAL")]
    pub goal: Option<AdviceGoal>,
    /// Write it for the host that FILE describes (output of `dsr1 doctor --format json` there).
    #[arg(long, requires = "for_host", value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// Arguments of `profiles show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// Profile or goal.
    #[arg(value_name = "PROFILE")]
    pub name: Option<String>,
    /// File with a profile of your own.
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
    /// Print the YAML file of the profile, to start one of your own from.
    #[arg(long)]
    pub yaml: bool,
}

/// Arguments of `stacks`.
#[derive(Debug, Clone, Args)]
pub struct StacksArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub what: Stacks,
}

/// Work on stacks.
#[derive(Debug, Clone, Subcommand)]
pub enum Stacks {
    /// List the stacks.
    #[command(alias = "ls")]
    List,
    /// Show a stack: versions, image, hardware.
    Show(StackArgs),
    /// List the differences between two stacks, with their engine options.
    Diff(StackDiffArgs),
}

/// Arguments of `stacks show`.
#[derive(Debug, Clone, Args)]
pub struct StackArgs {
    /// Name of the stack.
    #[arg(value_name = "STACK")]
    pub name: String,
    /// Print the YAML file of the stack.
    #[arg(long)]
    pub yaml: bool,
}

/// Arguments of `stacks diff`.
#[derive(Debug, Clone, Args)]
pub struct StackDiffArgs {
    /// Name of one stack.
    #[arg(value_name = "STACK")]
    pub left: String,
    /// Name of the other stack.
    #[arg(value_name = "STACK")]
    pub right: String,
    /// List every engine option that differs, not only the count.
    #[arg(long)]
    pub flags: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// An option (--mem-fraction-static), a variable (`SGLANG_CUTLASS_MOE`) or a setting (`mem_fraction`).
    #[arg(value_name = "NAME", allow_hyphen_values = true)]
    pub name: String,
}

/// Arguments of `flags`.
#[derive(Debug, Clone, Args)]
pub struct FlagsArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub what: Flags,
}

/// Work on option tables.
#[derive(Debug, Clone, Subcommand)]
pub enum Flags {
    /// Ask the SGLang in a stack's image or venv for its options and list the differences. Exits with 8 if there are any.
    Sync(SyncArgs),
}

/// Arguments of `flags sync`.
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    /// Stack whose image or venv to ask; it must be built.
    #[arg(long, value_name = "STACK")]
    pub stack: String,
    /// The runtime.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}
