//! What tests of `dsr1 pull` begin with: a hub, a pull from it, and where its files come to lie.

use std::path::PathBuf;

use super::hub::{Hub, small_model};
use super::{Home, Run, cache};

/// The repository of most of them.
pub const REPO: &str = "lab/tiny-r1";

/// A new home, and a hub with a small model.
pub fn setup() -> (Home, Hub) {
    (Home::new(), Hub::new(REPO, small_model()))
}

/// Arguments that pull the hub's repository.
pub fn args<'a>(hub: &'a Hub, more: &[&'a str]) -> Vec<&'a str> {
    let pull = [
        "pull",
        hub.repo(),
        "--endpoint",
        &hub.endpoint,
        "--progress",
        "plain",
    ];
    [&pull, more].concat()
}

/// Pulls the hub's repository.
pub fn pull(home: &Home, hub: &Hub, more: &[&str]) -> Run {
    home.run(&args(hub, more))
}

/// Checks what was pulled of it.
pub fn verify(home: &Home, hub: &Hub, more: &[&str]) -> Run {
    let verify = [
        "weights",
        "verify",
        hub.repo(),
        "--endpoint",
        &hub.endpoint,
        "--progress",
        "plain",
    ];
    home.run(&[&verify, more].concat())
}

/// The hub cache of a home.
pub fn hub_cache(home: &Home) -> PathBuf {
    home.path().join(".cache/huggingface/hub")
}

/// Where [`REPO`] lies in it.
pub fn repo(home: &Home) -> PathBuf {
    cache::repo_dir(&hub_cache(home), REPO)
}

/// Where the files of the hub's repository have their names.
pub fn snapshot(home: &Home, hub: &Hub) -> PathBuf {
    let repo = cache::repo_dir(&hub_cache(home), hub.repo());
    repo.join("snapshots").join(hub.commit())
}
