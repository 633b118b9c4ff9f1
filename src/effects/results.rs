//! Kept results of measurements, read again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::effects::files;
use crate::effects::user_files::decoded;
use crate::error::{At, Error, Kind, Result};
use crate::profile::yaml::in_words;
use crate::report::{Measurement, Sweep};

const SCHEMA: &str = Measurement::SCHEMA;

/// Most bytes of a result. A second of the timeline has some 120 bytes, so that a run of a day has some 10 MB.
const MOST_BYTES: u64 = 64 << 20;

/// Reads a result that `bench` has kept.
///
/// # Errors
/// [`Kind::Usage`] with the file, and with the key and what it should hold, if it is no such result.
pub fn read_measurement(path: &Path) -> Result<Measurement> {
    measurement_of(path, read_document(path)?)
}

/// Reads a result of one load, or those of all points of a sweep or a search, each with its file. A file that is not where the
/// sweep has it is looked for beside the sweep: they may have come from another host together.
///
/// # Errors
/// [`Kind::Usage`] as [`read_measurement`]; for a point also with the sweep and the point's number.
pub fn read_measurements(path: &Path) -> Result<Vec<(PathBuf, Measurement)>> {
    let document = read_document(path)?;
    if document["schema"] != Sweep::SCHEMA {
        return Ok(vec![(path.to_owned(), measurement_of(path, document)?)]);
    }
    let name = path.display().to_string();
    let sweep: Sweep = parse(document, Sweep::SCHEMA).map_err(|cause| {
        Error::new(Kind::Usage, format!("`{name}` is not a result of a sweep")).cause(cause)
    })?;
    if sweep.points.is_empty() {
        return Err(Error::new(
            Kind::Usage,
            format!("the sweep in `{name}` has no point"),
        ));
    }
    let points = sweep.points.iter().enumerate().map(|(index, point)| {
        let file = place_of(Path::new(&point.file), path);
        let measurement = read_measurement(&file).map_err(|error| {
            error.hint(format!(
                "it is point {} of `{name}`: put it there, or beside the sweep",
                index + 1
            ))
        })?;
        Ok((file, measurement))
    });
    points.collect()
}

/// Returns the place of the file of a point.
fn place_of(file: &Path, sweep: &Path) -> PathBuf {
    let beside = || Some(sweep.parent()?.join(file.file_name()?));
    if file.is_file() {
        return file.to_owned();
    }
    beside()
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| file.to_owned())
}

fn measurement_of(path: &Path, document: Value) -> Result<Measurement> {
    parse(document, SCHEMA).map_err(|cause| {
        let name = path.display();
        Error::new(Kind::Usage, format!("`{name}` is not a result of a measurement"))
            .cause(cause)
            .hint("name a file of one measurement; those of a sweep are in its `points`")
    })
}

/// Reads a document of JSON.
fn read_document(path: &Path) -> Result<Value> {
    let name = path.display().to_string();
    let failed = || format!("cannot read `{name}`");
    let bytes = files::read_through(path, MOST_BYTES).map_err(|error| {
        if error.kind() == ErrorKind::FileTooLarge {
            return Error::new(
                Kind::Usage,
                format!("`{name}` is too large: a result has at most {MOST_BYTES} bytes"),
            );
        }
        Error::new(Kind::Usage, failed()).cause(error.to_string())
    })?;
    let text = decoded(bytes).map_err(|cause| Error::new(Kind::Usage, failed()).cause(cause))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    serde_json::from_str(text).at(Kind::Usage, || format!("`{name}` is not JSON"))
}

/// Reads the points of a sweep that is not complete.
///
/// # Errors
/// [`Kind::Usage`] with the file if it is none, and with the advice to remove it.
pub fn read_partial_sweep(path: &Path) -> Result<Sweep> {
    let name = path.display().to_string();
    let wrong = |cause: String| {
        Error::new(Kind::Usage, format!("cannot go on with the sweep in `{name}`"))
            .cause(cause)
            .hint("--fresh measures all points again")
    };
    let bytes = files::read_through(path, MOST_BYTES).map_err(|error| wrong(error.to_string()))?;
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    parse(document, Sweep::SCHEMA).map_err(wrong)
}

/// Returns the result of that schema in a document.
///
/// # Errors
/// A line with the key and what it should hold.
fn parse<T: serde::de::DeserializeOwned>(document: Value, expected: &str) -> std::result::Result<T, String> {
    if !document.is_object() {
        return Err("it is not a mapping with the key `schema`".to_owned());
    }
    match &document["schema"] {
        Value::String(schema) if schema == expected => {}
        Value::Null => return Err(format!("it has no `schema`, expected `{expected}`")),
        Value::String(schema) => {
            return Err(format!(
                "`schema` is `{}`, expected `{expected}`",
                schema.escape_debug()
            ));
        }
        _ => return Err(format!("`schema` is not a text, expected `{expected}`")),
    }
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        let message = in_words(&error.into_inner().to_string());
        // A missing key at the top has no path.
        if key == "." {
            message
        } else {
            format!("`{key}`: {message}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Measurement> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        std::fs::write(&path, text).unwrap();
        read_measurement(&path)
    }

    fn example_result() -> Value {
        serde_json::json!({
            "schema": SCHEMA, "began": "2026-11-30T12:00:00Z", "run_s": 1.5, "warm_up_s": null, "window_s": null,
            "figures": null, "definitions": {}, "verdicts": [], "trust": "untrusted", "timeline": [], "saved_to": null,
            "server": {
                "name": null, "base_url": "http://127.0.0.1:30000", "model": "m", "profile": null, "stack": null,
                "sglang": null, "arguments": {}, "host": {},
            },
            "load": {
                "api": "generate", "kind": "concurrency", "max_concurrency": 4, "request_rate": null, "input_len": 8,
                "output_len": 8, "range_ratio": 1.0, "shared_prefix": 0, "requests": 4, "least_s": 1.0,
                "data": "random", "seed": 1, "warm_up": true, "ignores_end": true, "temperature": 0.0,
            },
            "client": serde_json::to_value(crate::report::MeasuringClient::default()).unwrap(),
            "requests": serde_json::to_value(crate::report::RequestCounts::default()).unwrap(),
        })
    }

    #[test]
    fn a_kept_result_is_read() {
        let measurement = read(&example_result().to_string()).unwrap();
        assert_eq!(
            (measurement.run_s, measurement.load.max_concurrency),
            (1.5, Some(4))
        );
    }

    #[test]
    fn an_error_names_file_and_key_and_what_is_expected() {
        let cause = |change: &dyn Fn(&mut Value)| {
            let mut document = example_result();
            change(&mut document);
            let error = read(&document.to_string()).unwrap_err();
            assert!(
                error.message().contains("result.json` is not a result"),
                "{error}"
            );
            error.innermost()
        };
        assert_eq!(
            cause(&|document| document["load"]["seed"] = "x".into()),
            "`load.seed`: wrong value: string \"x\", expected a whole number"
        );
        assert_eq!(
            cause(&|document| document["schema"] = "dsr1.report/1".into()),
            "`schema` is `dsr1.report/1`, expected `dsr1.measurement/1`"
        );
        assert!(cause(&|document| *document = Value::Array(Vec::new())).contains("not a mapping"));
        assert!(cause(&|document| drop(document["load"].take())).starts_with("`load`: "));
        let missing = |document: &mut Value| drop(document.as_object_mut().unwrap().remove("trust"));
        assert_eq!(cause(&missing), "missing field `trust`");
    }

    #[test]
    fn what_is_no_file_or_no_json_is_refused() {
        assert!(read("{").unwrap_err().message().ends_with("is not JSON"));
        let folder = read_measurement(Path::new("/")).unwrap_err();
        assert_eq!(folder.kind(), Kind::Usage);
        assert!(
            read_measurement(Path::new("/none.json"))
                .unwrap_err()
                .message()
                .contains("/none.json")
        );
    }
}
