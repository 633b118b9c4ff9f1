//! The question whether pip of this host finds the engine, before an installation.

use std::time::Duration;

use crate::effects::env::Env;
use crate::effects::process::command;
use crate::facts::Access;

/// Longest wait for pip.
const LONGEST: Duration = Duration::from_secs(15);

/// Asks the package index, as pip of `python` is configured, for SGLang. `None` if this Python has no pip.
pub async fn access(env: &Env, python: &str) -> Option<Access> {
    command::output(env, &[python, "-m", "pip", "--version"], LONGEST).await?;
    let argv = [
        python,
        "-m",
        "pip",
        "index",
        "versions",
        "sglang",
        "--disable-pip-version-check",
        "--no-input",
        "--retries=0",
        "--timeout=5",
    ];
    let found = command::output(env, &argv, LONGEST).await;
    let refused = found
        .is_none()
        .then(|| "it cannot be reached, or has no package `sglang`".to_owned());
    let fix = match refused {
        Some(_) => "check the network and proxy, or set PIP_INDEX_URL to a mirror".to_owned(),
        None => String::new(),
    };
    Some(Access {
        source: String::new(),
        refused,
        fix,
    })
}
