//! The check of an environment before its engine starts: its packages are the planned ones, and every module that a start
//! imports can be imported, each in a child of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::effects::env::Env;
use crate::effects::process::{command, environment};
use crate::effects::{files, host};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::CheckEnvironment;
use crate::report::{EnvironmentChecked, Imported};
use crate::sglang::preflight;

/// The script that imports one module.
const IMPORT: &str = include_str!("preflight.py");
/// Longest import: the first one of a whole SGLang reads 10 GB, which takes a minute from a slow disk.
const LIMIT: Duration = Duration::from_mins(5);
/// The module that all others import.
const FIRST: &str = "torch";

/// Checks an environment. The result of one that passed is kept, until a package, a variable or the driver changes.
///
/// # Errors
/// [`Kind::Host`] if the packages are not the planned ones, or a module cannot be imported: with its output, and with cause
/// and remedy if they are known.
pub(in crate::effects) async fn check(
    step: &CheckEnvironment,
    env: &Env,
    events: &StepEvents<'_>,
) -> Result<EnvironmentChecked> {
    events.activity("list the packages", None);
    let found = environment::read_environment(env, &step.python, &step.variables).await?;
    if found.sha256 != step.sha256 {
        return Err(Error::new(
            Kind::Host,
            format!(
                "the packages of `{}` changed since the plan was made",
                step.python
            ),
        )
        .cause("a package was installed or removed meanwhile")
        .hint("run the command again when nothing is being installed there"));
    }
    let kept = kept_at(step);
    if let Some(Kept { imports }) = files::read_kept(&kept) {
        return Ok(checked(step, found.packages.len(), imports, true));
    }
    let (first, others): (Vec<&String>, Vec<&String>) =
        step.modules.iter().partition(|module| *module == FIRST);
    let mut imports = Vec::new();
    for module in first {
        imports.push(import(step, module, env, events).await?);
    }
    let at_once = (host::processors() / 2).clamp(1, 4);
    let mut running = stream::iter(others)
        .map(|module| import(step, module, env, events))
        .buffered(at_once);
    while let Some(imported) = running.next().await {
        imports.push(imported?);
    }
    let result = Kept { imports };
    files::keep(&kept, &result);
    Ok(checked(step, found.packages.len(), result.imports, false))
}

/// The result of a check, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    imports: Vec<Imported>,
}

fn kept_at(step: &CheckEnvironment) -> PathBuf {
    Path::new(&step.cache_dir).join(format!("{}.json", step.inputs))
}

fn checked(
    step: &CheckEnvironment,
    packages: usize,
    imports: Vec<Imported>,
    cached: bool,
) -> EnvironmentChecked {
    EnvironmentChecked {
        python: step.python.clone(),
        sglang: step.sglang.clone(),
        packages,
        imports,
        cached,
    }
}

/// Imports a module in a child.
async fn import(
    step: &CheckEnvironment,
    module: &str,
    env: &Env,
    events: &StepEvents<'_>,
) -> Result<Imported> {
    #[derive(Deserialize)]
    struct Took {
        ms: u64,
    }
    events.activity(&format!("import {module}"), None);
    let failed = || {
        Error::new(
            Kind::Host,
            format!("`{module}` cannot be imported by `{}`", step.python),
        )
    };
    let device = if step.on_cpu { "cpu" } else { "cuda" };
    let argv = [step.python.as_str(), "-c", IMPORT, module, device];
    let mut took = None;
    let mut keep = |line: &str| took = serde_json::from_str::<Took>(line).ok().or(took.take());
    let asked = command::run(env, &argv, &step.variables, None, &mut keep);
    let Ok(finished) = tokio::time::timeout(LIMIT, asked).await else {
        return Err(failed()
            .cause(format!("it did not end within {} s", LIMIT.as_secs()))
            .hint("a lock of a killed compilation may be left: look for files named `lock` below ~/.cache"));
    };
    let finished = finished?;
    if let (true, Some(took)) = (finished.status.success(), took) {
        return Ok(Imported {
            module: module.to_owned(),
            ms: took.ms,
        });
    }
    let output = format!("{}\n{}", finished.tail.join("\n"), finished.status);
    let error = match preflight::meaning(&output) {
        Some((cause, fix)) => failed().cause(cause).hint(fix),
        None => failed().cause(finished.status.to_string()),
    };
    Err(error.log(finished.tail))
}
