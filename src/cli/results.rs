//! Arguments of `bench compare`, `bench gate` and `bench reproduce`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::number;

/// Examples below the help of `bench compare`.
pub(super) const COMPARE: &str = "\
Examples:
  dsr1 bench compare old.json new.json
  dsr1 bench compare a1.json,a2.json,a3.json b1.json,b2.json,b3.json";

/// Examples below the help of `bench gate`.
pub(super) const GATE: &str = "\
Examples:
  dsr1 bench gate --baseline baseline.json             measure the only server three times
  dsr1 bench gate --baseline a1.json,a2.json now.json  compare results that are there";

/// Arguments of `bench compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Result of the first side; several runs of one load with commas.
    #[arg(value_name = "A[,A...]")]
    pub a: String,
    /// Result of the second side.
    #[arg(value_name = "B[,B...]")]
    pub b: String,
    /// Print ratios also of another load, of other definitions, and of results that must not be used.
    #[arg(long)]
    pub anyway: bool,
}

/// Arguments of `bench gate`.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// Results to compare with; several runs of one load with commas.
    #[arg(long, value_name = "FILE[,FILE...]")]
    pub baseline: String,
    /// Results to judge (with a `/`, or with `.json` at the end); otherwise the name of the server that is measured now.
    #[arg(value_name = "RESULT[,RESULT...]|SERVER")]
    pub subject: Option<String>,
    /// URL of the server that is measured now; the variable `OPENAI_API_KEY` has its key.
    #[arg(long, value_name = "URL", conflicts_with = "subject")]
    pub url: Option<String>,
    /// File of the profile that the server was started from, when it is not a built-in one.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub profile_file: Option<PathBuf>,
    /// Measurements of now.
    #[arg(long, default_value_t = 3, value_parser = number::<u32>(1..=100), value_name = "N")]
    pub repeats: u32,
    /// Part by which throughput and the median of TPOT may be worse.
    #[arg(long, default_value_t = 5.0, value_parser = percent, value_name = "PERCENT")]
    pub tolerance: f64,
    /// Part by which the median of TTFT may be worse.
    #[arg(long, default_value_t = 25.0, value_parser = percent, value_name = "PERCENT")]
    pub ttft_tolerance: f64,
    /// Compare also with a baseline of another load, server or host.
    #[arg(long)]
    pub anyway: bool,
}

/// Arguments of `bench reproduce`.
#[derive(Debug, Clone, Args)]
pub struct ReproduceArgs {
    /// The result.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Reads a part in percent.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: f64 = number.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=1000.0).contains(&percent) {
        Ok(percent)
    } else {
        Err("it is not a number of percent from 0 to 1000".to_owned())
    }
}
