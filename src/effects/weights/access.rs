//! The question whether a hub gives a revision, before anything is planned with it.

use std::time::Duration;

use crate::effects::hub::options::{HubOptions, RemoteRevision};
use crate::effects::hub::remote;
use crate::facts::Access;

/// Longest wait for the answer.
const LONGEST: Duration = Duration::from_secs(5);

/// Asks the hub at `endpoint` for a revision of a repository.
pub async fn access(endpoint: &str, repo: &str, revision: &str, options: HubOptions<'_>) -> Access {
    let remote = RemoteRevision {
        endpoint,
        repo,
        revision,
    };
    let (refused, fix) = match tokio::time::timeout(LONGEST, remote::revision(remote, options)).await {
        Ok(Ok(_)) => (None, String::new()),
        Ok(Err(error)) => (
            Some([vec![error.message()], error.causes()].concat().join(": ")),
            error.hints().first().cloned().unwrap_or_default(),
        ),
        Err(_) => (
            Some(format!(
                "{endpoint} does not answer within {} s",
                LONGEST.as_secs()
            )),
            "check the network and proxy, or name another hub with HF_ENDPOINT or --endpoint".to_owned(),
        ),
    };
    Access { refused, fix }
}
