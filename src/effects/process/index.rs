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
    let settings = command::output(env, &[python, "-m", "pip", "config", "list"], LONGEST).await;
    Some(Access {
        source: indexes(&settings.unwrap_or_default()).join(", "),
        refused,
        fix,
    })
}

/// Returns the settings that name an index, from the output of `pip config list`, without their values: a URL may hold a
/// password.
fn indexes(listing: &str) -> Vec<&str> {
    const NAMES: [&str; 4] = ["index-url", "extra-index-url", "find-links", "no-index"];
    let keys = listing.lines().filter_map(|line| line.split_once('='));
    let names = keys.filter_map(|(key, _)| key.rsplit_once('.').map(|(_, name)| name));
    let mut found: Vec<&str> = names.filter(|name| NAMES.contains(name)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_about_indexes_are_named() {
        let listing =
            "global.cert='/ca.pem'\nglobal.index-url='https://u:p@a/'\n:env:.index-url='https://b/'\n";
        assert_eq!(indexes(listing), ["index-url"]);
    }
}
