//! The comparison of two sides of results, the gate over it, and the reproduction of a result.

use serde::{Deserialize, Serialize};

use crate::report::Trust;

/// Two sides of results beside each other. Its JSON form has the schema `dsr1.comparison/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first side.
    pub a: ComparedSide,
    /// The second side.
    pub b: ComparedSide,
    /// Differences between the sides, the weightiest first.
    pub differences: Vec<SideDifference>,
    /// Facts that a result lacks, so that a difference of them cannot be seen.
    pub missing: Vec<MissingFact>,
    /// Reasons against ratios; empty if the sides can be compared.
    pub refusals: Vec<String>,
    /// Ratios of B to A; empty if they are refused.
    pub ratios: Vec<Ratio>,
}

/// One side: a result, or several runs of the same load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedSide {
    /// The files, in their order; a measurement of now has the file in which it is kept.
    pub files: Vec<String>,
    /// The times at which the runs began.
    pub began: Vec<String>,
    /// The worst trust of its runs.
    pub trust: Trust,
}

/// The subject of a difference, the weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The verdicts.
    Verdicts,
    /// The model and its weights.
    Model,
    /// The load.
    Load,
    /// The engine: its version, stack, image and arguments.
    Server,
    /// The host of the server.
    Host,
    /// The client.
    Client,
    /// The meaning of the figures.
    Definitions,
}

impl Subject {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verdicts => "verdicts",
            Self::Model => "model",
            Self::Load => "load",
            Self::Server => "server",
            Self::Host => "host",
            Self::Client => "client",
            Self::Definitions => "definitions",
        }
    }
}

/// A fact that differs between two sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideDifference {
    /// Its subject.
    pub subject: Subject,
    /// The fact, such as `tp_size` or `driver`.
    pub what: String,
    /// Its value on side A; several runs with different values have all of them.
    pub a: String,
    /// Its value on side B.
    pub b: String,
    /// True if it can change the figures; false for a note.
    pub matters: bool,
}

/// A fact that a result does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingFact {
    /// The fact.
    pub what: String,
    /// The sides without it: `A`, `B`, `A and B`; empty for a single result.
    pub sides: String,
    /// The way to find it out.
    pub fix: String,
}

/// The source of the width of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseSource {
    /// The spread of the runs of both sides.
    BothSides,
    /// The spread of the runs of one side; the other one has a single run.
    OneSide,
    /// The spread within each of two single runs: the noise between runs is not in it.
    WithinRuns,
    /// None: there is no interval.
    Unknown,
}

/// The ratio of a figure of two sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Name of the figure, as in a result: `output_throughput`, `tpot.p50_ms`.
    pub metric: String,
    /// True if more of it is better.
    pub more_is_better: bool,
    /// The figure of A: the geometric mean of its runs. `None` if a run does not claim it.
    pub a: Option<f64>,
    /// The figure of B.
    pub b: Option<f64>,
    /// B over A.
    pub ratio: Option<f64>,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end of its 95 % interval.
    pub high: Option<f64>,
    /// The source of the interval.
    pub noise: NoiseSource,
}

/// The verdict on one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureVerdict {
    /// Not worse than the tolerance allows.
    Passed,
    /// Better by more than the tolerance, and by more than the noise.
    Better,
    /// Worse than the tolerance allows, but not by more than the noise.
    Noise,
    /// Worse than the tolerance allows, and by more than the noise.
    Regression,
    /// One of the sides does not claim the figure.
    Missing,
}

impl FigureVerdict {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Better => "better",
            Self::Noise => "noise",
            Self::Regression => "WORSE",
            Self::Missing => "?",
        }
    }
}

/// A figure at the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatedFigure {
    /// Its ratio.
    #[serde(flatten)]
    pub ratio: Ratio,
    /// The part by which it may be worse, in percent.
    pub tolerance_percent: f64,
    /// Its verdict.
    pub verdict: FigureVerdict,
}

/// The verdict of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// Nothing is worse.
    Passed,
    /// A figure is worse.
    Regression,
    /// The results must not be used, or do not claim the figures.
    Untrusted,
    /// The sides are not of one load, one server and one host.
    Refused,
}

/// Results at a gate. Its JSON form has the schema `dsr1.gate/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gated {
    /// The baseline.
    pub baseline: ComparedSide,
    /// The result.
    pub result: ComparedSide,
    /// Differences from the baseline, the weightiest first.
    pub differences: Vec<SideDifference>,
    /// Facts that a side lacks.
    pub missing: Vec<MissingFact>,
    /// Reasons against the comparison; ignored with `--anyway`.
    pub refusals: Vec<String>,
    /// Reasons not to believe a side.
    pub untrusted: Vec<String>,
    /// The figures; empty if the comparison is refused.
    pub figures: Vec<GatedFigure>,
    /// The verdict.
    pub verdict: GateVerdict,
}

/// The plan to get a result again on this host. Its JSON form has the schema `dsr1.reproduction/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproduction {
    /// The file.
    pub file: String,
    /// The commands, in order.
    pub commands: Vec<String>,
    /// Differences of this host, the weightiest first.
    pub lacks: Vec<Shortfall>,
    /// Facts that the file does not have.
    pub missing: Vec<MissingFact>,
}

/// A thing that a host lacks or has otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// The thing.
    pub what: String,
    /// Its value in the file.
    pub wanted: String,
    /// Its value on this host.
    pub here: String,
    /// The remedy.
    pub fix: String,
}
