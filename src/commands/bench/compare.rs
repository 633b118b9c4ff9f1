//! `dsr1 bench compare`: two sides of kept results beside each other.

use std::path::Path;

use serde::Serialize;

use crate::cli::CompareArgs;
use crate::commands::context::Context;
use crate::effects::results::read_measurement;
use crate::error::{Error, Kind, Result};
use crate::measure::compare::{Side, compare_sides, refuse_same_run};
use crate::report::Comparison;
use crate::ui;

#[derive(Debug, Serialize)]
struct Compared {
    schema: &'static str,
    #[serde(flatten)]
    comparison: Comparison,
}

/// Runs the command.
pub(super) fn run(context: &Context, args: &CompareArgs) -> Result<()> {
    let (a, b) = (read_side(&args.a)?, read_side(&args.b)?);
    refuse_same_run(&a, &b)?;
    let compared = Compared {
        schema: "dsr1.comparison/1",
        comparison: compare_sides(&a, &b, args.anyway),
    };
    context.print(&compared, |compared| {
        ui::comparison(&compared.comparison, args.anyway)
    })?;
    let refusals = &compared.comparison.refusals;
    if refusals.is_empty() || args.anyway {
        return Ok(());
    }
    let error = Error::new(Kind::Usage, "the ratios of these results would say nothing");
    let error = refusals.iter().fold(error, |error, one| error.cause(one.clone()));
    // The document has the reasons.
    Err(error
        .hint("measure both sides with the same options; --anyway prints the ratios")
        .reported_if(context.is_json()))
}

/// Reads the results of one side: files with commas between them.
///
/// # Errors
/// [`Kind::Usage`] for an empty list, and for a file that is no result.
pub(super) fn read_side(list: &str) -> Result<Side> {
    let files: Vec<String> = list.split(',').map(|file| file.trim().to_owned()).collect();
    if files.iter().any(String::is_empty) {
        let text = if files.len() == 1 {
            "an empty list of results".to_owned()
        } else {
            format!("`{list}` names a result without a name")
        };
        return Err(
            Error::new(Kind::Usage, text).hint("write files with one comma between them: a.json,b.json")
        );
    }
    let runs = files
        .iter()
        .map(|file| read_measurement(Path::new(file)))
        .collect::<Result<_>>()?;
    Ok(Side { files, runs })
}
