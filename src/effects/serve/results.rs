//! The files of results.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::effects::files;
use crate::error::{At, Kind, Result};

/// Returns the path of a new result of a server.
pub(super) fn path_of(dir: &str, name: &str, measurement: &str) -> PathBuf {
    let start = format!("{name}-{measurement}-{}", files::timestamp());
    // A second result of the same second gets a number.
    let names =
        std::iter::once(format!("{start}.json")).chain((2..).map(|number| format!("{start}-{number}.json")));
    let mut paths = names.map(|name| Path::new(dir).join(name));
    paths.find(|path| !path.exists()).unwrap_or_default()
}

/// Writes a result with its schema.
pub(super) fn save(path: &Path, schema: &str, result: &impl serde::Serialize) -> Result<()> {
    let mut value =
        serde_json::to_value(result).at(Kind::Internal, || "cannot write the result".to_owned())?;
    value["schema"] = Value::from(schema);
    files::write_atomic(path, format!("{value:#}\n").as_bytes())
}
