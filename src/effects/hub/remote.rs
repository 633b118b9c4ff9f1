//! The two requests to a hub: the commit of a revision, and the files of a commit.

use hf_hub::repository::ModelInfo;
use serde_json::Value;

use super::ask::HubRequests;
use super::listing::{self, Entry};
use super::names::{is_commit, percent_encode};
use super::options::{HubOptions, RemoteRevision};
use super::refusal::refusal_error;
use crate::error::{Error, Kind, Result};
use crate::profile::is_revision;

/// Largest number of pages of a listing; a hub sends 1000 entries a page.
const MAX_PAGES: usize = 200;

/// A revision, as the hub resolved it.
pub(in crate::effects) struct Revision {
    /// Its commit.
    pub(in crate::effects) commit: String,
    /// Identifier of the licence that the hub states; empty if it states none.
    pub(in crate::effects) license: String,
}

/// Returns the commit and the licence of a revision.
pub(in crate::effects) async fn revision(
    remote: RemoteRevision<'_>,
    options: HubOptions<'_>,
) -> Result<Revision> {
    let RemoteRevision {
        endpoint,
        repo,
        revision,
    } = remote;
    if !is_revision(revision) {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` is not a revision", revision.escape_debug()),
        )
        .hint("name a branch, a tag or a 40-digit commit"));
    }
    let url = format!(
        "{endpoint}/api/models/{repo}/revision/{}",
        percent_encode(revision)
    );
    let answer = HubRequests::new(endpoint, options).get(&url).await?;
    if answer.status != 200 {
        return Err(refusal_error(remote, &answer, options));
    }
    let info = model_info(&answer.json());
    let commit = info
        .as_ref()
        .and_then(|info| info.sha.clone())
        .unwrap_or_default();
    if !is_commit(&commit) || (is_commit(revision) && commit != revision) {
        return Err(
            Error::new(Kind::Hub, format!("{endpoint} does not answer like a hub"))
                .cause(format!("its answer names no commit for {repo}@{revision}"))
                .hint("check HF_ENDPOINT or --endpoint"),
        );
    }
    Ok(Revision {
        commit,
        license: info.map(|info| license(&info)).unwrap_or_default(),
    })
}

/// Parses what the hub says about a repository. Reads only the fields that are used, so that changes of other
/// fields break nothing.
fn model_info(answer: &Value) -> Option<ModelInfo> {
    let used = ["id", "sha", "cardData", "tags"].map(|key| (key.to_owned(), answer[key].clone()));
    serde_json::from_value(Value::Object(used.into_iter().collect())).ok()
}

/// Returns the identifier of the licence: from the model card, else from the tags.
fn license(info: &ModelInfo) -> String {
    let card = info.card_data.as_ref().and_then(|card| card["license"].as_str());
    let tags = info.tags.iter().flatten();
    let tag = tags.into_iter().find_map(|tag| tag.strip_prefix("license:"));
    let found = card.or(tag).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if found.len() <= 64 && found.chars().all(plain) {
        found.to_owned()
    } else {
        "other".to_owned()
    }
}

/// Returns the files of a commit, and the sum of their sizes in bytes.
pub(in crate::effects) async fn entries(
    remote: RemoteRevision<'_>,
    commit: &str,
    options: HubOptions<'_>,
) -> Result<(Vec<Entry>, u64)> {
    let RemoteRevision { endpoint, repo, .. } = remote;
    let mut url = format!("{endpoint}/api/models/{repo}/tree/{commit}?recursive=true&expand=false");
    let mut entries = Vec::new();
    let mut questions = HubRequests::new(endpoint, options);
    for _ in 0..MAX_PAGES {
        let answer = questions.get(&url).await?;
        if answer.status != 200 {
            return Err(refusal_error(remote, &answer, options));
        }
        entries.extend(listing::parse_page(&answer.body)?);
        // Checked before the next page, because a listing that does not end must not fill the memory.
        listing::check_count(&entries)?;
        if let Some(next) = next_page(answer.header("link"), endpoint)? {
            url = next;
        } else {
            let total = listing::check_whole(&entries)?;
            return Ok((entries, total));
        }
    }
    Err(Error::new(Kind::Integrity, "the hub's listing cannot be trusted").cause("it does not end"))
}

/// Returns the next page that a `Link` header names (RFC 8288). It must be on the same hub, because the token
/// is sent to it.
fn next_page(link: Option<&str>, endpoint: &str) -> Result<Option<String>> {
    let next = link
        .unwrap_or_default()
        .split(',')
        .find(|part| part.contains("rel=\"next\""));
    let Some(url) = next.and_then(|part| part.trim().strip_prefix('<')?.split('>').next()) else {
        return Ok(None);
    };
    if url.starts_with(&format!("{endpoint}/")) {
        return Ok(Some(url.to_owned()));
    }
    Err(Error::new(Kind::Integrity, "the hub's listing cannot be trusted")
        .cause("its next page is on another host"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_licence_is_an_identifier() {
        let of = |answer: Value| license(&model_info(&answer).unwrap());
        let sha = "0".repeat(40);
        assert_eq!(
            of(json!({"id": "a/b", "sha": sha, "cardData": {"license": "mit"}})),
            "mit"
        );
        assert_eq!(
            of(json!({"id": "a/b", "tags": ["x", "license:llama3"], "spaces": 5})),
            "llama3"
        );
        assert_eq!(of(json!({"id": "a/b"})), "");
        assert_eq!(
            of(json!({"id": "a/b", "cardData": {"license": "a\u{1b}[2J"}})),
            "other"
        );
    }

    #[test]
    fn the_next_page_stays_on_the_hub() {
        let hub = "https://hub.example";
        let link = |url: &str| format!("<{url}>; rel=\"next\"");
        let next = next_page(Some(&link("https://hub.example/api/x?cursor=a")), hub).unwrap();
        assert_eq!(next.as_deref(), Some("https://hub.example/api/x?cursor=a"));
        assert!(next_page(Some(&link("https://hub.example.evil/api")), hub).is_err());
        assert_eq!(next_page(None, hub).unwrap(), None);
    }
}
