//! Several runs as curves: runs of the same server and the same lengths differ in their load only.

use super::kept::KeptResult;
use super::words::{describe_lengths, load_label};
use crate::report::Trust;

/// A run as a point of the plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// Its place in the order of the runs.
    pub(super) run: usize,
    /// Its load, short.
    pub(super) label: String,
    /// Output tokens a second of a user, by the median TPOT.
    pub(super) per_user: f64,
    /// The same by the 90th percentile of TPOT, as `MLPerf` has it, if the samples claim it.
    pub(super) per_user_p90: Option<f64>,
    /// Output tokens a second of the server, or of each GPU.
    pub(super) rate: f64,
    /// Its trust.
    pub(super) trust: Trust,
}

/// Runs that differ in their load only.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// The properties in which it differs from the others; empty for the only one.
    pub(super) name: String,
    /// Its points, in the order of the runs.
    pub(super) points: Vec<Point>,
}

impl Series {
    /// Returns the points that no other one is better than in both directions, by falling tokens of a user. Figures that must
    /// not be used are in no curve.
    pub(super) fn frontier(&self) -> Vec<&Point> {
        let usable = self.points.iter().filter(|point| point.trust < Trust::Untrusted);
        let mut usable: Vec<&Point> = usable.collect();
        usable.sort_by(|one, other| {
            other
                .per_user
                .total_cmp(&one.per_user)
                .then(other.rate.total_cmp(&one.rate))
        });
        let mut best = f64::NEG_INFINITY;
        usable.retain(|point| {
            let is_better = point.rate > best;
            best = best.max(point.rate);
            is_better
        });
        usable
    }
}

/// Returns the output tokens a second of a user with this TPOT; `None` for none.
pub(super) fn per_user(tpot_ms: Option<f64>) -> Option<f64> {
    tpot_ms.filter(|tpot| *tpot > 0.0).map(|tpot| 1000.0 / tpot)
}

/// Returns the number of GPUs by which rates of these runs can be divided; `None` if that of one is not known, because rates of
/// servers and rates of GPUs are not to be compared.
pub(super) fn gpus_of_all(runs: &[KeptResult<'_>]) -> Option<Vec<u32>> {
    runs.iter().map(|run| run.measurement.server.gpus()).collect()
}

/// Returns the curves of the runs, and the places of those without a median of TPOT, which have no point.
pub(super) fn list_series(runs: &[KeptResult<'_>]) -> (Vec<Series>, Vec<usize>) {
    let (_, names) = name_runs(runs);
    let gpus = gpus_of_all(runs);
    let (mut all, mut without): (Vec<Series>, Vec<usize>) = (Vec::new(), Vec::new());
    for (index, (run, name)) in runs.iter().zip(names).enumerate() {
        let point = run.measurement.figures.as_ref().and_then(|figures| {
            let divisor = gpus.as_ref().map_or(1.0, |gpus| f64::from(gpus[index]));
            Some(Point {
                run: index,
                label: load_label(&run.measurement.load),
                per_user: per_user(figures.tpot.p50_ms)?,
                per_user_p90: per_user(figures.tpot.p90_ms),
                rate: figures.output_throughput / divisor,
                trust: run.measurement.trust,
            })
        });
        let Some(point) = point else {
            without.push(index);
            continue;
        };
        match all.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => all.push(Series {
                name,
                points: vec![point],
            }),
        }
    }
    (all, without)
}

/// Returns the properties in which all runs agree, and of each run the others: the name of its series.
pub(super) fn name_runs(runs: &[KeptResult<'_>]) -> (String, Vec<String>) {
    let properties: Vec<Vec<String>> = runs.iter().map(|run| list_properties(run)).collect();
    let differs: Vec<bool> = (0..properties.first().map_or(0, Vec::len))
        .map(|at| properties.iter().any(|all| all[at] != properties[0][at]))
        .collect();
    let join = |all: &[String], is_different: bool| {
        let parts = all.iter().zip(&differs);
        let parts = parts.filter(|(part, differs)| !part.is_empty() && **differs == is_different);
        parts
            .map(|(part, _)| part.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let common = properties.first().map(|all| join(all, false)).unwrap_or_default();
    (common, properties.iter().map(|all| join(all, true)).collect())
}

/// Returns the properties of a run that make it another curve.
fn list_properties(run: &KeptResult<'_>) -> Vec<String> {
    let (server, load) = (&run.measurement.server, &run.measurement.load);
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    let place = server.name.clone().unwrap_or_else(|| server.base_url.clone());
    let version = server.sglang.as_ref().map(|version| format!("SGLang {version}"));
    let gpus = server.gpus().map(|gpus| {
        if gpus == 1 {
            "1 GPU".to_owned()
        } else {
            format!("{gpus} GPUs")
        }
    });
    vec![
        server.model.clone(),
        or_empty(&server.profile),
        or_empty(&server.stack),
        or_empty(&version),
        or_empty(&gpus),
        place,
        describe_lengths(load),
        load.api.clone(),
    ]
}
