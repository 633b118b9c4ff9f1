//! A measurement of one load.

use super::run::Run;
use super::sitting::{Place, Sitting, StageEnd, nothing_measured};
use crate::error::{Error, Kind, Result};
use crate::measure::Stage;
use crate::plan::MeasureLoad;
use crate::report::Measurement;
use crate::secret::Secret;

/// Puts the load on the server, and judges the outcome. When the user interrupts it, the part that was measured is kept.
///
/// # Errors
/// [`crate::error::Kind::Server`] when the server cannot be reached; [`crate::error::Kind::Untrusted`] when it answers nothing; [`crate::error::Kind::Usage`] when the size
/// of its vocabulary is not known; [`Kind::Interrupted`] with the places of what is kept.
pub(in crate::effects) async fn measure_load(
    step: &MeasureLoad,
    place: Place<'_>,
    key: Option<Secret>,
) -> Result<Measurement> {
    let stage = Stage {
        load: step.load,
        extent: step.extent,
    };
    let sitting = tokio::select! {
        sitting = Box::pin(Sitting::open(step, place, key, (stage, step.load), None)) => sitting?,
        () = place.interrupt.raised() => {
            return Err(Error::new(Kind::Interrupted, "interrupted").hint("nothing was measured yet"));
        }
    };
    let mut run = Run::start(&sitting);
    let ended = run.stage(&sitting).await?;
    // The load ends before the result is made.
    drop(run);
    let looks = (&ended.before, &ended.after);
    let end = if ended.is_interrupted {
        StageEnd::Interrupted
    } else {
        StageEnd::Whole
    };
    let measurement = sitting.conclude(ended.ran, looks, end).await?;
    if ended.is_interrupted {
        return Err(sitting.interrupted(&measurement));
    }
    if measurement.figures.is_none() {
        let error = nothing_measured(&measurement, sitting.name());
        return Err(sitting.job.target.explain(error).await);
    }
    Ok(measurement)
}
