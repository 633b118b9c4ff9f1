//! Arguments of `build` and `image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::shared::{PlanArgs, ProfileArgs, RuntimeArgs, number};

/// Text below the options of `clean`.
pub(super) const CLEAN: &str = "\
Examples:
  dsr1 clean --dry-run             what would go, what stays, and why
  dsr1 clean                       what no stack uses, and logs of 30 days ago
  dsr1 clean --all --older-than 0  everything but weights, to uninstall dsr1
  dsr1 clean --yes                 without a question, as in a script";

/// Arguments of `build`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct BuildArgs {
    /// Profile or goal, as --profile names it; fp4 and fp8 mean --fp4 and --fp8.
    #[arg(value_name = "PROFILE", conflicts_with_all = ["profile", "profile_file"])]
    pub named: Option<String>,
    /// The profile; --stack alone builds that stack.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// The runtime.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Build every step again, even if the image exists, and drop the caches of pip and apt.
    #[arg(long)]
    pub no_cache: bool,
    /// Ask the registry of the base image even if the daemon has the base; without a registry the build fails.
    #[arg(long)]
    pub pull: bool,
    /// One more tag for the image; can be repeated.
    #[arg(long, value_name = "NAME:TAG")]
    pub tag: Vec<String>,
    /// Push each --tag to its registry and print its digest there.
    #[arg(long, requires = "tag")]
    pub push: bool,
    /// Image whose layers may be reused, if it was built with --inline-cache; can be repeated.
    #[arg(long, value_name = "IMAGE")]
    pub cache_from: Vec<String>,
    /// Store the build cache in the image, for --cache-from of another build.
    #[arg(long)]
    pub inline_cache: bool,
    /// Run one step and all later ones again; an unknown name lists the steps.
    #[arg(long, value_name = "STEP", conflicts_with = "no_cache")]
    pub refresh: Option<String>,
    /// Secret that the build may read and the image does not keep: ca (CA bundle), netrc, `pip_conf`; can be repeated.
    #[arg(long, value_name = "ID=FILE|ID=env:NAME")]
    pub secret: Vec<String>,
    /// Take Python packages from this directory instead of an index.
    #[arg(long, value_name = "DIR")]
    pub wheels: Option<String>,
    /// Build without a network: a step that needs one fails.
    #[arg(long)]
    pub offline: bool,
    /// Builder of the image; auto takes `BuildKit` if the daemon has it.
    #[arg(long, value_enum, default_value = "auto", value_name = "BUILDER")]
    pub builder: Builder,
    /// After the build, pass every profile of the stack to the parser of the installed engine, and store the result;
    /// exits with 8 if a profile is refused.
    #[arg(long, conflicts_with_all = ["dry_run", "facts"])]
    pub verify: bool,
    /// List the differences between --recipe guide and the guide's own Dockerfile, with reasons; builds nothing.
    #[arg(long)]
    pub explain: bool,
    /// Print the plan and do nothing.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// Arguments of `image`.
#[derive(Debug, Clone, Args)]
pub struct ImageArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub what: Image,
}

/// Work on images. Images without the labels of dsr1 are never touched.
#[derive(Debug, Clone, Subcommand)]
pub enum Image {
    /// List the images.
    #[command(alias = "ls")]
    List,
    /// Show an image: versions, base, digests, and which profiles its engine accepts.
    Inspect(WhichImageArgs),
    /// Remove old images. Images in use, the newest of each stack, those that a stack would build today, and those with
    /// other tags are kept.
    Prune(PruneArgs),
    /// Write an image to an OCI archive for a host without a network.
    Save(SaveArgs),
    /// Load an image from a file of `dsr1 image save`, after checking the hash of every layer.
    Load(LoadArgs),
}

/// The choice of an image.
#[derive(Debug, Clone, Args)]
pub struct WhichImageArgs {
    /// Tag, or the name of a stack that has one image.
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Arguments of `clean`.
#[derive(Debug, Clone, Args)]
pub struct CleanArgs {
    /// List what would be removed, and what stays, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Remove also the venvs, packages, images, kernels and the model of the rehearsal that this dsr1 would use again, and
    /// results older than --older-than.
    #[arg(long)]
    pub all: bool,
    /// Age in days from which logs, results and unused packages are removed.
    #[arg(long, value_parser = number::<u32>(0..), default_value_t = 30, value_name = "DAYS")]
    pub older_than: u32,
    /// Remove without asking; needed without a terminal, and with --format json.
    #[arg(long, short, conflicts_with = "dry_run")]
    pub yes: bool,
}

/// Arguments of `image prune`.
#[derive(Debug, Clone, Args)]
pub struct PruneArgs {
    /// Also remove the newest image of each stack, and the images that a stack would build today.
    #[arg(long)]
    pub all: bool,
    /// List these images and remove none.
    #[arg(long)]
    pub dry_run: bool,
    /// Remove without asking; needed without a terminal, and with --format json.
    #[arg(long, short, conflicts_with = "dry_run")]
    pub yes: bool,
}

/// Arguments of `image save`.
#[derive(Debug, Clone, Args)]
pub struct SaveArgs {
    /// The image.
    #[command(flatten)]
    pub which: WhichImageArgs,
    /// File to write; an existing file is not replaced.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `image load`.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// File that `dsr1 image save` wrote.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// A builder of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Builder {
    /// The newest that the daemon has.
    Auto,
    /// `BuildKit`, in a session.
    Buildkit,
    /// The classic builder: no secrets, no caches, the whole context sent each time.
    Classic,
}
