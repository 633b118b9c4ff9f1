//! The question whether a hub gives a revision, before anything is planned with it.

use std::time::Duration;

use crate::effects::hub::options::{HubOptions, RemoteRevision};
use crate::effects::hub::remote;
use crate::facts::Access;

/// Longest wait for the answer.
const LONGEST: Duration = Duration::from_secs(5);

/// Asks the hub at `endpoint` for a revision of a repository; `None` without an answer in time: a pull is more patient.
pub async fn access(endpoint: &str, repo: &str, revision: &str, options: HubOptions<'_>) -> Option<Access> {
    let remote = RemoteRevision {
        endpoint,
        repo,
        revision,
    };
    let asked = tokio::time::timeout(LONGEST, remote::revision(remote, options));
    let (refused, fix) = match asked.await.ok()? {
        Ok(_) => (None, String::new()),
        Err(error) => (
            Some([vec![error.message()], error.causes()].concat().join(": ")),
            error.hints().first().cloned().unwrap_or_default(),
        ),
    };
    Some(Access {
        source: endpoint.to_owned(),
        refused,
        fix,
    })
}
