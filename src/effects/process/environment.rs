//! An environment of the user that has the engine: a venv, a conda environment, the inside of a container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::effects::env::Env;
use crate::effects::host;
use crate::effects::process::command;
use crate::error::{Error, Kind, Result};
use crate::facts::Environment;

/// The script that lists the packages.
const LIST: &str = include_str!("environment.py");
/// Longest run of it. It reads some hundred small files, which takes seconds on a cold network file system.
const LIMIT: Duration = Duration::from_mins(1);

/// The answer of the script.
#[derive(Deserialize)]
struct Listed {
    version: String,
    packages: BTreeMap<String, String>,
    cuda: Option<String>,
    sha256: String,
    headers: Option<bool>,
}

/// Returns the absolute path of a Python: one without a folder is looked for as a shell does. A link stays what it is: the
/// Python of a venv is one.
fn python_path(env: &Env, python: &str) -> String {
    if !python.contains('/')
        && let Some(found) = host::on_path(env, python)
    {
        return found.to_string_lossy().into_owned();
    }
    let path = match python.strip_prefix("~/") {
        Some(rest) => env.home.join(rest),
        None => PathBuf::from(python),
    };
    let absolute = std::path::absolute(&path).unwrap_or(path);
    absolute.to_string_lossy().into_owned()
}

/// Returns what is installed for a Python. `variables` are those that the engine will get, because some decide what Python
/// finds.
///
/// # Errors
/// [`Kind::Usage`] if there is no such file; [`Kind::Host`] if it is no Python, or does not answer.
pub async fn read_environment(
    env: &Env,
    python: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Environment> {
    let path = python_path(env, python);
    if !Path::new(&path).is_file() {
        return Err(Error::new(
            Kind::Usage,
            format!("there is no Python at `{}`", path.escape_debug()),
        )
        .hint("--python names the program itself, such as /opt/sglang/bin/python3"));
    }
    let failed = |cause: String| {
        Error::new(
            Kind::Host,
            format!("`{}` does not list its packages", path.escape_debug()),
        )
        .cause(cause)
    };
    let mut lines = Vec::new();
    let mut keep = |line: &str| lines.push(line.to_owned());
    let argv = [path.as_str(), "-c", LIST];
    let asked = command::run(env, &argv, variables, None, &mut keep);
    let Ok(finished) = tokio::time::timeout(LIMIT, asked).await else {
        return Err(failed(format!("it did not end within {} s", LIMIT.as_secs())));
    };
    let finished = finished?;
    if !finished.status.success() {
        return Err(failed(finished.status.to_string()).log(finished.tail));
    }
    // An environment's own start-up code may print before.
    let listed = lines
        .iter()
        .rev()
        .find_map(|line| serde_json::from_str::<Listed>(line).ok());
    let Some(Listed {
        version,
        packages,
        cuda,
        sha256,
        headers,
    }) = listed
    else {
        return Err(failed("it printed something else".to_owned()).log(finished.tail));
    };
    let folder = Path::new(&path).parent().unwrap_or(Path::new("/"));
    let has_program = folder.join("sglang").is_file();
    let programs = format!("{}:{}", folder.display(), env.path);
    Ok(Environment {
        python: path,
        version,
        packages,
        cuda,
        sha256,
        has_program,
        path: programs,
        headers,
        on_cpu: false,
    })
}
