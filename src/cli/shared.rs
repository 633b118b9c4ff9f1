//! Arguments that several commands share.

use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::choice::Choice;
use crate::plan::{Flashinfer, GpuChoice, Recipe, Transport};

/// The choice of a profile.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Profile")]
pub struct ProfileArgs {
    /// Profile or goal: rehearsal, high-throughput, low-latency, basic, fp8-low-latency, ...
    #[arg(long, short, value_name = "NAME")]
    pub profile: Option<String>,
    /// File with a profile of your own (YAML; `dsr1 profiles show NAME --yaml` prints one to start from).
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

impl ProfileArgs {
    /// Returns the choice with a profile that was named without `--profile`.
    #[must_use]
    pub fn with_name(&self, named: Option<&String>) -> Self {
        Self {
            profile: named.or(self.profile.as_ref()).cloned(),
            ..self.clone()
        }
    }
}

/// The choice of a runtime and an image.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Runtime")]
pub struct RuntimeArgs {
    /// Runtime of the engine; auto takes Docker if a daemon answers and has the base image or can pull it.
    #[arg(long, value_enum, default_value = "auto", value_name = "RUNTIME")]
    pub runtime: Runtime,
    /// Python of an environment of yours that has SGLang: a venv, conda, the inside of a container. It runs the engine, and
    /// nothing is installed; implies --runtime process.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["base_image", "flashinfer"])]
    pub python: Option<String>,
    /// Variable for the engine, with a value or with that of this shell; can be given several times.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub variables: Vec<String>,
    /// Base image to build from instead of the stack's, for sites without a registry.
    #[arg(long, value_name = "IMAGE")]
    pub base_image: Option<String>,
    /// Recipe of the image; each recipe makes an image of its own.
    #[arg(long, value_parser = choice::<Recipe>(), default_value = "thin", value_name = "RECIPE")]
    pub recipe: Recipe,
    /// Source of FlashInfer's kernels [default: base; aot with --recipe guide].
    #[arg(long, value_parser = choice::<Flashinfer>(), value_name = "KERNELS")]
    pub flashinfer: Option<Flashinfer>,
}

/// A runtime of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Docker if possible, else a process.
    Auto,
    /// A container.
    Docker,
    /// A child process in a venv.
    Process,
}

/// Planning without carrying out.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Planning")]
pub struct PlanArgs {
    /// Print the plan as a shell script (or JSON) and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Plan for the host that FILE describes (output of `dsr1 doctor --format json` there); implies --dry-run.
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// Heading of the options of a server.
pub(super) const SERVER: &str = "Server";

/// A server: profile, runtime, port, name and engine arguments.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Profile or goal, as --profile names it; fp4 and fp8 mean --fp4 and --fp8.
    #[arg(value_name = "PROFILE", conflicts_with_all = ["profile", "profile_file"])]
    pub named: Option<String>,
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// The runtime.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Weights in place of the profile's: a repository (`owner/name`, `owner/name@REVISION`), or a folder of this host
    /// (`/models/DeepSeek-R1`, `./DeepSeek-R1`), which is served as it is.
    #[arg(long, value_name = "REPO|DIR", help_heading = SERVER)]
    pub model: Option<String>,
    /// Port on 127.0.0.1; auto takes the first free port from 30000 on.
    #[arg(long, default_value = "30000", value_parser = port, value_name = "PORT|auto", help_heading = SERVER)]
    pub port: PortChoice,
    /// GPUs of the server, as nvidia-smi counts them: 0-3, or 0,2; free takes as many unused GPUs as the profile needs
    /// [default: the first ones].
    #[arg(long, value_name = "LIST|free", help_heading = SERVER)]
    pub gpus: Option<GpuChoice>,
    /// Name of the server, which gets the prefix `dsr1-` [default: the profile's name].
    #[arg(long, value_name = "NAME", help_heading = SERVER)]
    pub name: Option<String>,
    /// Do not read the weights into memory while the engine starts.
    #[arg(long, help_heading = SERVER)]
    pub no_prefetch: bool,
    /// Print the plan and do nothing.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Raw engine arguments, after `--`.
    #[arg(last = true, value_name = "ENGINE ARGS")]
    pub extra_args: Vec<String>,
}

/// A port of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortChoice {
    /// This one.
    Fixed(u16),
    /// The first that is free.
    Auto,
}

/// Reads a port of a server.
pub(super) fn port(text: &str) -> Result<PortChoice, String> {
    match (text, text.parse::<u16>()) {
        ("auto", _) => Ok(PortChoice::Auto),
        (_, Ok(port)) if port >= 1024 => Ok(PortChoice::Fixed(port)),
        _ => Err("it takes a whole number from 1024 to 65535, or auto".to_owned()),
    }
}

/// Hub to pull from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hub")]
pub struct HubArgs {
    /// Hub base URL [default: `HF_ENDPOINT`, else the public hub].
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Most streams at once; a pull begins with a few and adds more while that makes it faster.
    #[arg(long, default_value_t = 32, value_parser = number::<u8>(1..=128), value_name = "N")]
    pub max_workers: u8,
    /// Most bytes per second over all files, such as 500m or 1.5g; k, m, g and t are powers of 1024.
    #[arg(long, value_name = "RATE")]
    pub limit_rate: Option<String>,
    /// Transport of large files.
    #[arg(long, value_parser = choice::<Transport>(), default_value = "auto")]
    pub transport: Transport,
    /// Agree to the licence that the hub states, for scripts; on a terminal dsr1 asks if the licence requires it.
    #[arg(long)]
    pub accept_license: bool,
}

/// The choice of a server.
#[derive(Debug, Clone, Args)]
pub struct WhichArgs {
    /// Name of the server; needed only if there are several.
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// The start whose log is read.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// Read the log of the start before the last one, such as the one that crashed before `dsr1 watch` started the server again;
    /// --previous=2 reads the log of the start before that.
    #[arg(long, short, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1",
          value_parser = number::<u8>(1..))]
    pub previous: Option<u8>,
}

impl StartArgs {
    /// Returns how many starts before the last one the log is.
    #[must_use]
    pub fn starts_back(&self) -> usize {
        self.previous.map_or(0, usize::from)
    }
}

/// Returns a parser of the whole numbers of `range`.
pub(super) fn number<T>(range: impl RangeBounds<u64>) -> impl TypedValueParser<Value = T>
where
    T: TryFrom<u64> + Clone + Send + Sync + 'static,
{
    let least = match range.start_bound() {
        Bound::Included(least) => *least,
        Bound::Excluded(below) => below + 1,
        Bound::Unbounded => 0,
    };
    let most = match range.end_bound() {
        Bound::Included(most) => *most,
        Bound::Excluded(above) => above - 1,
        Bound::Unbounded => u64::MAX >> (u64::BITS - 8 * u32::try_from(size_of::<T>()).unwrap_or(8)),
    };
    StringValueParser::new().try_map(move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let number = number.and_then(|number: u64| T::try_from(number).ok());
        number.ok_or_else(|| {
            if most == u64::MAX {
                format!("it takes a whole number, at least {least}")
            } else {
                format!("it takes a whole number from {least} to {most}")
            }
        })
    })
}

/// Returns a parser of the names of a closed set of values.
pub(super) fn choice<T: Choice + Clone + Send + Sync + 'static>() -> impl TypedValueParser<Value = T> {
    let values = T::table()
        .into_iter()
        .map(|(_, name, about)| PossibleValue::new(name).help(about));
    PossibleValuesParser::new(values.collect::<Vec<_>>())
        .try_map(|name| T::by_name(&name).ok_or_else(|| format!("`{name}` is not known")))
}

/// Reads a number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err("it is not a number above 0".to_owned())
    }
}
