//! `dsr1 bench report`: kept results again, as text, as a page or as a table.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::BenchReportArgs;
use crate::commands::context::Context;
use crate::effects::results::read_measurements;
use crate::effects::user_files;
use crate::error::Result;
use crate::event::Event;
use crate::measure::Tool;
use crate::measure::compare::{Side, refuse_same_run};
use crate::report::Measurement;
use crate::ui::{self, KeptResult};

/// The result of the command.
#[derive(Debug, Serialize)]
struct Reported {
    schema: &'static str,
    /// The files that were written.
    written: Vec<String>,
    /// The results, in the order of the command line.
    measurements: Vec<Measurement>,
}

/// Makes the text of a file of results.
type Writer = fn(&[KeptResult<'_>]) -> String;

/// Runs the command.
pub(super) fn run(context: &Context, args: &BenchReportArgs) -> Result<()> {
    let paths: Vec<&Path> = args.files.iter().map(PathBuf::as_path).collect();
    let (names, measurements) = read_all(&paths)?;
    let results = named(&names, &measurements);
    let outputs: [(&Option<PathBuf>, Writer); 3] = [
        (&args.html, ui::results_page),
        (&args.csv, ui::results_sheet),
        (&args.inferencex, ui::inferencex_sheet),
    ];
    let mut written = Vec::new();
    for (path, text) in outputs {
        if let Some(path) = path {
            user_files::write(path, &text(&results), args.force)?;
            written.push(path.display().to_string());
        }
    }
    let reported = Reported {
        schema: "dsr1.bench-report/1",
        written,
        measurements,
    };
    context.print(&reported, |reported| {
        if reported.written.is_empty() {
            describe_results(&reported.measurements, args.as_tool)
        } else {
            let lines = reported
                .written
                .iter()
                .map(|path| format!("wrote {}", ui::safe(path)));
            lines.collect::<Vec<_>>().join("\n") + "\n"
        }
    })
}

/// Writes a page of kept results, and says so.
pub(super) fn write_page(context: &Context, files: &[&Path], page: &Path, replace: bool) -> Result<()> {
    let (names, measurements) = read_all(files)?;
    user_files::write(page, &ui::results_page(&named(&names, &measurements)), replace)?;
    context.display().event(&Event::Note {
        text: format!("wrote {}", page.display()),
    });
    Ok(())
}

/// Reads results; returns their names for people, too.
fn read_all(paths: &[&Path]) -> Result<(Vec<String>, Vec<Measurement>)> {
    let mut all = Side::default();
    for path in paths {
        for (file, measurement) in read_measurements(path)? {
            // The file may have come from another host, or have another name by now.
            let saved_to = Some(file.display().to_string());
            all.files.push(file.display().to_string());
            all.runs.push(Measurement {
                saved_to,
                ..measurement
            });
        }
    }
    refuse_same_run(&all, &Side::default())?;
    let names = all.files.iter().map(|file| name_of(Path::new(file)));
    Ok((names.collect(), all.runs))
}

fn named<'a>(names: &'a [String], measurements: &'a [Measurement]) -> Vec<KeptResult<'a>> {
    names
        .iter()
        .zip(measurements)
        .map(|(file, measurement)| KeptResult { file, measurement })
        .collect()
}

/// Returns the results as `bench` prints them, one below the other.
fn describe_results(measurements: &[Measurement], as_tool: Option<Tool>) -> String {
    let texts = measurements
        .iter()
        .map(|measurement| ui::measurement(measurement) + &ui::in_terms_of(as_tool, measurement));
    texts.collect::<Vec<_>>().join("\n")
}

/// Returns the name of a file without its folders, which say nothing to those who get the page.
fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
