//! Shared code of the tests of `dsr1 pull`: a hub, a pull from it, and the paths of the pulled files.

use std::path::PathBuf;

use super::hub::{Hub, small_model};
use super::{Home, Run, cache};

/// The repository of most of these tests.
pub const REPO: &str = "lab/tiny-r1";

/// Returns a new home, and a hub with a small model.
pub fn setup() -> (Home, Hub) {
    (Home::new(), Hub::new(REPO, small_model()))
}

/// Returns the arguments that pull the hub's repository.
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

/// Verifies the pulled files of the hub's repository.
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

/// Returns the hub cache of a home.
pub fn hub_cache(home: &Home) -> PathBuf {
    home.path().join(".cache/huggingface/hub")
}

/// Returns the directory of [`REPO`] in the hub cache.
pub fn repo(home: &Home) -> PathBuf {
    cache::repo_dir(&hub_cache(home), REPO)
}

/// Returns the snapshot directory of the hub's repository.
pub fn snapshot(home: &Home, hub: &Hub) -> PathBuf {
    let repo = cache::repo_dir(&hub_cache(home), hub.repo());
    repo.join("snapshots").join(hub.commit())
}
