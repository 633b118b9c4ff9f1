//! Arguments of `pull`, `weights` and `mirror`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::shared::{HubArgs, ProfileArgs};

/// Text below the help of `pull`.
pub(super) const PULL: &str = "\
Examples:
  dsr1 pull --fp8 --dry-run                list what would be downloaded
  dsr1 pull --fp8                          a profile's weights, to the hub cache
  dsr1 pull owner/name --include '*.json'  some files of any repository
  dsr1 pull --fp8 --local-dir /models/r1   to a directory, under their own names
  dsr1 pull --to-lock                      exactly the files in dsr1.lock
  dsr1 pull --fp8 --endpoint http://node1:8490
                                           from a mirror (dsr1 mirror)";

/// Text below the help of `weights`.
pub(super) const WEIGHTS: &str = "\
Examples:
  dsr1 weights list                          what is here, and if it is verified
  dsr1 weights verify --fp8 --fast           compare sizes and times only
  dsr1 weights verify --fp8                  check every byte against its hash
  dsr1 weights verify --fp8 --repair         download corrupt ranges again
  dsr1 weights verify --local-dir models/r1  check what pull --local-dir wrote
  dsr1 weights rm owner/name                 remove it
  dsr1 weights rm --fp8 --unfinished --yes   only partial files, in a script";

/// Text below the help of `mirror`.
pub(super) const MIRROR: &str = "\
Examples:
  dsr1 mirror                         this machine only
  dsr1 mirror --listen 10.0.0.1:8490  the network of that address
  dsr1 mirror --listen 0.0.0.0:8490 --token-file FILE
                                      every network, for clients with the token

On the other machines:
  export HF_ENDPOINT=http://10.0.0.1:8490   and HF_TOKEN, if it needs a token
  dsr1 pull --fp8
  hf download deepseek-ai/DeepSeek-R1-0528

The mirror speaks plain HTTP: anyone who can read the network traffic can read
the token. For TLS, put a proxy in front and let the mirror listen on loopback.";

/// Arguments of `pull`.
#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    /// Repository, owner/name, instead of a profile's.
    #[arg(value_name = "REPO", conflicts_with_all = ["profile", "profile_file", "fp4", "fp8"])]
    pub repo: Option<String>,
    /// Branch, tag or commit of REPO.
    #[arg(long, value_name = "REV", requires = "repo", conflicts_with_all = ["profile", "profile_file", "fp4", "fp8"])]
    pub revision: Option<String>,
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Pull only files that match GLOB; can be repeated. `*` matches `/` too.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Leave out files that match GLOB; can be repeated.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Write the files into DIR under their own names, instead of into the hub cache.
    #[arg(long, value_name = "DIR")]
    pub local_dir: Option<PathBuf>,
    /// Pull exactly what a lock file lists: its commit and its files, each with its hash.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "dsr1.lock", conflicts_with_all = ["repo", "profile", "profile_file", "fp4", "fp8", "allow_code"])]
    pub to_lock: Option<PathBuf>,
    /// Download files with code too, such as .py and .pkl; a profile names the code files of its model.
    #[arg(long)]
    pub allow_code: bool,
    /// Hub to pull from.
    #[command(flatten)]
    pub hub: HubArgs,
    /// Ask the hub and download nothing: print files, sizes, what is already here, disk space and time. Fails with the
    /// same exit code if a pull would be refused at once (code, licence, space).
    #[arg(long)]
    pub dry_run: bool,
    /// Print the plan for the host that FILE describes (output of `dsr1 doctor --format json` there); asks no hub.
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// Arguments of `weights`.
#[derive(Debug, Clone, Args)]
pub struct WeightsArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub what: Weights,
}

/// Work on the weights in the hub cache.
#[derive(Debug, Clone, Subcommand)]
pub enum Weights {
    /// List repositories and snapshots, and whether they are verified.
    #[command(alias = "ls")]
    List,
    /// Check every byte of a snapshot against its hash, as fast as processors and disk allow.
    Verify(WeightsVerifyArgs),
    /// Show the disk space that each repository takes.
    Du,
    /// Remove a repository, or only its unfinished downloads.
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
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Check a directory that `dsr1 pull --local-dir` wrote, instead of the hub cache.
    #[arg(long, value_name = "DIR")]
    pub local_dir: Option<PathBuf>,
    /// Compare sizes and times only: milliseconds instead of minutes.
    #[arg(long, conflicts_with = "repair")]
    pub fast: bool,
    /// Download corrupt files again; of a shard that dsr1 pulled, only the corrupt ranges.
    #[arg(long)]
    pub repair: bool,
    /// Hub to repair from.
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Arguments of `weights rm`.
#[derive(Debug, Clone, Args)]
pub struct WeightsRmArgs {
    /// Repository, owner/name, or the profile whose weights are removed.
    #[arg(value_name = "REPO", conflicts_with_all = ["profile", "profile_file", "fp4", "fp8"])]
    pub repo: Option<String>,
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Remove only unfinished downloads.
    #[arg(long)]
    pub unfinished: bool,
    /// Show what would be removed, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Remove without asking; needed without a terminal, and with --format json.
    #[arg(long, short, conflicts_with = "dry_run")]
    pub yes: bool,
}

/// Arguments of `mirror`.
#[derive(Debug, Clone, Args)]
pub struct MirrorArgs {
    /// Address to listen on, `[::1]:8490` for IPv6; on a LAN address, other machines can read every complete snapshot in
    /// the cache.
    #[arg(long, default_value = "127.0.0.1:8490", value_name = "ADDR:PORT")]
    pub listen: String,
    /// Hub cache to serve [default: `HF_HUB_CACHE`].
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// File with a token that clients must send as their `HF_TOKEN` [default: the token in `DSR1_MIRROR_TOKEN`].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Write the rehearsal model into the cache first.
    #[arg(long)]
    pub rehearsal: bool,
    /// Write the rehearsal model and exit.
    #[arg(long, requires = "rehearsal")]
    pub write_only: bool,
}
