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

/// Returns the runs by series, in the order in which these begin, and by rising load.
pub(super) fn sort_runs<'a>(runs: &[KeptResult<'a>]) -> Vec<KeptResult<'a>> {
    let (_, names) = name_runs(runs);
    let load = |run: &KeptResult<'_>| {
        let load = &run.measurement.load;
        let most = load.max_concurrency.map_or(f64::INFINITY, f64::from);
        (load.request_rate.unwrap_or(0.0), most)
    };
    let mut sorted: Vec<(usize, KeptResult<'a>)> = runs
        .iter()
        .zip(&names)
        .map(|(run, name)| (names.iter().position(|first| first == name).unwrap_or(0), *run))
        .collect();
    sorted.sort_by(|(series, run), (other_series, other)| {
        let ((rate, most), (other_rate, other_most)) = (load(run), load(other));
        let by_load = rate.total_cmp(&other_rate).then(most.total_cmp(&other_most));
        series.cmp(other_series).then(by_load)
    });
    sorted.into_iter().map(|(_, run)| run).collect()
}

/// Returns the properties of a run that make it another curve.
fn list_properties(run: &KeptResult<'_>) -> Vec<String> {
    let (server, load) = (&run.measurement.server, &run.measurement.load);
    let named = |name: &str, text: &Option<String>| {
        text.as_ref()
            .map_or_else(String::new, |text| format!("{name} {text}"))
    };
    let place = server.name.clone().unwrap_or_else(|| server.base_url.clone());

    let gpus = server.gpus().map(|gpus| {
        if gpus == 1 {
            "1 GPU".to_owned()
        } else {
            format!("{gpus} GPUs")
        }
    });
    vec![
        server.model.clone(),
        named("profile", &server.profile),
        named("stack", &server.stack),
        named("SGLang", &server.sglang),
        gpus.unwrap_or_default(),
        place,
        describe_lengths(load),
        load.api.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_points(points: &[(f64, f64, Trust)]) -> Series {
        let points = points
            .iter()
            .enumerate()
            .map(|(run, (per_user, rate, trust))| Point {
                run,
                label: String::new(),
                per_user: *per_user,
                per_user_p90: None,
                rate: *rate,
                trust: *trust,
            });
        Series {
            name: String::new(),
            points: points.collect(),
        }
    }

    #[test]
    fn a_curve_joins_what_no_other_run_beats() {
        let series = list_points(&[
            (100.0, 500.0, Trust::Trusted),
            (50.0, 900.0, Trust::Doubtful),
            (60.0, 400.0, Trust::Trusted),
            (200.0, 100.0, Trust::Trusted),
            (80.0, 5000.0, Trust::Untrusted),
            (100.0, 450.0, Trust::Trusted),
        ]);
        let runs: Vec<usize> = series.frontier().into_iter().map(|point| point.run).collect();
        assert_eq!(runs, [3, 0, 1]);
    }

    #[test]
    fn a_user_without_a_tpot_has_no_speed() {
        assert_eq!(
            (per_user(Some(20.0)), per_user(None), per_user(Some(0.0))),
            (Some(50.0), None, None)
        );
    }
}
