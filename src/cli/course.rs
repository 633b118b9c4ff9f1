//! Arguments of `bench sweep` and `bench slo`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::choice::choices;
use crate::cli::measure::{SubjectArgs, TrafficArgs};
use crate::cli::shared::{PortChoice, Runtime, choice, number, port, positive};
use crate::measure::course::{Percentile, Preset};
use crate::plan::GpuChoice;

/// Examples below the help of `bench sweep`.
pub(super) const SWEEP: &str = "\
Examples:
  dsr1 bench sweep --concurrency 1,4,16,64
  dsr1 bench sweep --concurrency 1..256 --repeats 3   doubled, each three times
  dsr1 bench sweep --rates 1,2,4 --duration 60
  dsr1 bench sweep --profiles fp8-low-latency,fp8-high-throughput \
    --stacks cuda12,current --concurrency 1,16,64   start, measure, stop each
  dsr1 bench sweep --preset inferencex-8k1k --html curve.html";

/// Examples below the help of `bench slo`.
pub(super) const SLO: &str = "\
Examples:
  dsr1 bench slo --ttft 2000 --tpot 50
  dsr1 bench slo --tpot 20 --percentile p99 --by rate --from 2";

/// Most points of a sweep.
const MOST_POINTS: usize = 200;

/// Arguments of `bench sweep`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("points").args(["concurrency", "rates", "preset"]).required(true).multiple(true))]
pub struct SweepArgs {
    /// The server.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Servers to start, in place of one that runs.
    #[command(flatten)]
    pub servers: CombinationArgs,
    /// Requests in flight: numbers with commas; A..B doubles A until B.
    #[arg(long, value_parser = counts, value_name = "N[,N...]", conflicts_with_all = ["rates", "request_rate", "max_concurrency"], help_heading = "Points")]
    pub concurrency: Option<Counts>,
    /// Requests a second: numbers with commas.
    #[arg(long, value_parser = rates, value_name = "R[,R...]", conflicts_with_all = ["request_rate", "preset"], help_heading = "Points")]
    pub rates: Option<Rates>,
    /// Points and lengths of a published benchmark; --concurrency, --input-len and the like override it.
    #[arg(long, value_parser = choice::<Preset>(), value_name = "NAME", conflicts_with_all = ["request_rate", "max_concurrency"], help_heading = "Points")]
    pub preset: Option<Preset>,
    /// Measurements of each point: all points once, then all again.
    #[arg(long, default_value_t = 1, value_parser = number::<u32>(1..=100), value_name = "N", help_heading = "Points")]
    pub repeats: u32,
    /// Seconds without a load between two points, instead of handing the load over.
    #[arg(long, default_value_t = 0, value_parser = number::<u32>(0..), value_name = "SECONDS", help_heading = "Points")]
    pub cool_down: u32,
    /// The load.
    #[command(flatten)]
    pub load: TrafficArgs,
    /// Measure all points, also those that are kept of a sweep that was broken off.
    #[arg(long)]
    pub fresh: bool,
    /// Write a page with the curve that needs no network.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Replace the page if it exists.
    #[arg(long, requires = "html")]
    pub force: bool,
    /// Print the plan and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Servers that `bench sweep` starts, measures and stops, one after the other.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Servers")]
pub struct CombinationArgs {
    /// Start, verify, measure and stop a server of each of these profiles, in place of a server that runs.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["server", "url", "profile_file"], value_name = "NAME[,NAME...]")]
    pub profiles: Vec<String>,
    /// Run each profile on each of these stacks, instead of its own.
    #[arg(
        long,
        value_delimiter = ',',
        requires = "profiles",
        value_name = "STACK[,STACK...]"
    )]
    pub stacks: Vec<String>,
    /// Runtime of the engines; auto takes Docker if a daemon answers and has the base image or can pull it [default: auto].
    #[arg(long, value_enum, requires = "profiles", value_name = "RUNTIME")]
    pub runtime: Option<Runtime>,
    /// Port of the servers on 127.0.0.1; auto takes the first free port from 30000 on [default: 30000].
    #[arg(long, value_parser = port, requires = "profiles", value_name = "PORT|auto")]
    pub port: Option<PortChoice>,
    /// GPUs of the servers, as nvidia-smi counts them: 0-3, or 0,2; free takes as many unused GPUs as a profile needs
    /// [default: the first ones].
    #[arg(long, requires = "profiles", value_name = "LIST|free")]
    pub gpus: Option<GpuChoice>,
}

choices! {
    /// The quantity that `bench slo` searches.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    SearchedBy {
        /// Requests in flight.
        Concurrency = "concurrency", "requests in flight";
        /// Requests a second.
        Rate = "rate", "requests a second, with the distances of --arrivals";
    }
}

/// Arguments of `bench slo`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("limits").args(["ttft", "tpot", "e2e"]).required(true).multiple(true))]
pub struct SloArgs {
    /// The server.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Largest TTFT in milliseconds.
    #[arg(long, value_parser = millis, value_name = "MS", help_heading = "Limits")]
    pub ttft: Option<f64>,
    /// Largest TPOT of a request in milliseconds.
    #[arg(long, value_parser = millis, value_name = "MS", help_heading = "Limits")]
    pub tpot: Option<f64>,
    /// Largest end-to-end latency in milliseconds.
    #[arg(long, value_parser = millis, value_name = "MS", help_heading = "Limits")]
    pub e2e: Option<f64>,
    /// Percentile of the requests that must keep all limits.
    #[arg(long, value_parser = choice::<Percentile>(), default_value = "p90", value_name = "P", help_heading = "Limits")]
    pub percentile: Percentile,
    /// Quantity that is searched.
    #[arg(long, value_parser = choice::<SearchedBy>(), default_value = "concurrency", value_name = "WHAT", conflicts_with = "request_rate", help_heading = "Search")]
    pub by: SearchedBy,
    /// First load; by default the profile's requests in flight, or one request a second.
    #[arg(long, value_parser = positive, value_name = "N", help_heading = "Search")]
    pub from: Option<f64>,
    /// Largest load.
    #[arg(long, value_parser = positive, value_name = "N", help_heading = "Search")]
    pub to: Option<f64>,
    /// Distance of the two last loads at which the search ends, in percent.
    #[arg(long, value_parser = number::<u32>(1..=100), default_value_t = 5, value_name = "PERCENT", help_heading = "Search")]
    pub precision: u32,
    /// The load.
    #[command(flatten)]
    pub load: TrafficArgs,
    /// Measure all points, also those that are kept of a search that was broken off.
    #[arg(long)]
    pub fresh: bool,
    /// Print the plan and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Numbers of requests in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(pub Vec<u32>);

/// Numbers of requests a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates(pub Vec<f64>);

fn counts(text: &str) -> Result<Counts, String> {
    let count = |text: &str| match text.trim().parse::<u32>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("`{text}` is not a number from 1 on")),
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        let Some((from, to)) = part.split_once("..") else {
            all.push(count(part)?);
            continue;
        };
        let (from, to) = (count(from)?, count(to)?);
        if from > to {
            return Err(format!("`{part}` begins with the larger number"));
        }
        let doubled = std::iter::successors(Some(from), |count| count.checked_mul(2));
        all.extend(doubled.take_while(|count| *count < to));
        all.push(to);
    }
    at_most(all).map(Counts)
}

fn rates(text: &str) -> Result<Rates, String> {
    let all: Result<Vec<f64>, String> = text
        .split(',')
        .map(|part| super::measure::rate(part.trim()).map_err(|error| format!("`{part}`: {error}")))
        .collect();
    at_most(all?).map(Rates)
}

fn at_most<T>(all: Vec<T>) -> Result<Vec<T>, String> {
    if all.len() > MOST_POINTS {
        return Err(format!("it has {} points, at most {MOST_POINTS}", all.len()));
    }
    Ok(all)
}

/// Reads milliseconds.
fn millis(text: &str) -> Result<f64, String> {
    positive(text.strip_suffix("ms").unwrap_or(text).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_numbers_and_doubled_ranges() {
        let read = |text| counts(text).map(|counts| counts.0);
        assert_eq!(read("1,4, 16"), Ok(vec![1, 4, 16]));
        assert_eq!(read("1..8"), Ok(vec![1, 2, 4, 8]));
        assert_eq!(read("3..20,64"), Ok(vec![3, 6, 12, 20, 64]));
        assert_eq!(read("5..5"), Ok(vec![5]));
        for text in ["", "0", "1,,2", "8..1", "a", "1..", "-1", "1..99999999999"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(rates("0.5,2"), Ok(Rates(vec![0.5, 2.0])));
        assert!(rates("0").is_err() && rates("x").is_err());
        assert_eq!(millis("50ms"), Ok(50.0));
        assert!(millis("-1").is_err() && millis("nan").is_err());
    }
}
