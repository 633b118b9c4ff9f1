//! A measurement of one load.

use super::run::Run;
use super::sitting::{Place, Sitting, nothing_measured};
use crate::error::Result;
use crate::measure::Stage;
use crate::plan::MeasureLoad;
use crate::report::Measurement;
use crate::secret::Secret;

/// Puts the load on the server, and judges the outcome.
///
/// # Errors
/// [`crate::error::Kind::Server`] when the server cannot be reached; [`crate::error::Kind::Untrusted`] when it answers nothing; [`crate::error::Kind::Usage`] when the size
/// of its vocabulary is not known.
pub(in crate::effects) async fn measure_load(
    step: &MeasureLoad,
    place: Place<'_>,
    key: Option<Secret>,
) -> Result<Measurement> {
    let stage = Stage {
        load: step.load,
        extent: step.extent,
    };
    let sitting = Box::pin(Sitting::open(step, place, key, (stage, step.load), None)).await?;
    let mut run = Run::start(&sitting);
    let ended = run.stage(&sitting).await?;
    // The load ends before the result is made.
    drop(run);
    let looks = (&ended.before, &ended.after);
    let measurement = sitting.conclude(ended.ran, looks, None).await?;
    if measurement.figures.is_none() {
        return Err(nothing_measured(&measurement, sitting.name()));
    }
    Ok(measurement)
}
