//! One side of a comparison.

use crate::error::{Error, Kind, Result};
use crate::measure::figures::to_float;
use crate::report::{ComparedSide, Figures, Measurement, Trust, Verdict};

/// A result, or several runs of one load.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Side {
    /// The file of each run.
    pub files: Vec<String>,
    /// The runs.
    pub runs: Vec<Measurement>,
}

impl Side {
    /// Returns the worst trust of the runs; something that could not be looked at does not make it worse.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let known = self.runs.iter().map(|run| run.trust);
        known
            .filter(|trust| *trust != Trust::Unknown)
            .max()
            .unwrap_or(Trust::Unknown)
    }

    /// Returns the side as a part of a report.
    pub(super) fn describe(&self) -> ComparedSide {
        ComparedSide {
            files: self.files.clone(),
            began: self.runs.iter().map(|run| run.began.clone()).collect(),
            trust: self.trust(),
        }
    }

    /// Returns the reasons why runs of this side must not be used, each with the name of its file.
    pub(super) fn reasons_for_distrust(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (file, run) in self.files.iter().zip(&self.runs) {
            let bad = run
                .verdicts
                .iter()
                .filter(|verdict| verdict.trust == Trust::Untrusted);
            let bad: Vec<String> = bad
                .map(|verdict| format!("{}: {}", verdict.about, verdict.text))
                .collect();
            if run.figures.is_none() {
                reasons.push(format!("`{file}` has no figures"));
            } else if run.trust == Trust::Untrusted {
                reasons.push(format!("`{file}` is not trusted: {}", bad.join("; ")));
            }
        }
        reasons
    }

    /// Returns a figure of all runs; `None` if a run does not claim it.
    pub(super) fn values(&self, of: impl Fn(&Figures) -> Option<f64>) -> Option<Vec<f64>> {
        self.runs
            .iter()
            .map(|run| of(run.figures.as_ref()?).filter(|value| *value > 0.0))
            .collect()
    }

    /// Returns true if a run must not be used because its client had no room or too much work, or because the user broke it off.
    pub(super) fn is_fault_of_client(&self) -> bool {
        let spoils = |verdict: &Verdict| {
            verdict.trust == Trust::Untrusted && matches!(verdict.about.as_str(), "client" | "complete")
        };
        self.runs.iter().any(|run| run.verdicts.iter().any(spoils))
    }

    /// Returns the share of the measured requests that failed.
    pub(super) fn failed_share(&self) -> f64 {
        let measured: u64 = self.runs.iter().map(|run| run.requests.measured).sum();
        let completed: u64 = self.runs.iter().map(|run| run.requests.completed).sum();
        to_float(measured.saturating_sub(completed)) / to_float(measured.max(1))
    }
}

/// Refuses sides in which one run is there twice: under one name, or copied under another one. One of the sides may have none.
///
/// # Errors
/// [`Kind::Usage`] with both names.
pub fn refuse_same_run(a: &Side, b: &Side) -> Result<()> {
    let named = |side: &'_ Side| -> Vec<(String, Measurement)> {
        let runs = side.files.iter().cloned().zip(side.runs.iter().cloned());
        // The place of a copy is no part of the run.
        runs.map(|(file, run)| {
            let saved_to = None;
            (file, Measurement { saved_to, ..run })
        })
        .collect()
    };
    let all = [named(a), named(b)].concat();
    for (index, (file, run)) in all.iter().enumerate() {
        let Some((other, _)) = all.iter().skip(index + 1).find(|(_, other)| other == run) else {
            continue;
        };
        let text = if file == other {
            format!("`{file}` is named twice")
        } else {
            format!("`{file}` and `{other}` are the same run")
        };
        return Err(Error::new(Kind::Usage, text)
            .cause("a run beside itself shows no noise and no difference")
            .hint("name another result; dsr1 bench keeps each one and prints its path"));
    }
    Ok(())
}
