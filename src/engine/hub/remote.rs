//! The two questions to a hub: which commit is a revision, and which files has it.

use std::time::Duration;

use hf_hub::repository::ModelInfo;
use serde_json::Value;

use super::HubOptions;
use super::cache::is_revision;
use super::listing::{self, Entry, is_commit};
use crate::engine::http::{Answer, Broken};
use crate::error::{Error, Kind, Result};
use crate::plan::PullSnapshot;

/// Most pages of a listing; a hub sends 1000 entries a page.
const MAX_PAGES: usize = 200;

/// Tries of a question that a hub may answer a little later.
const TRIES: u32 = 5;
/// How long an answer is waited for, unless `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest wait for an answer that a hub may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// One question. A hub that is busy, or a connection that breaks, is asked again; one that cannot be reached is not:
/// the user waits for the first answer.
async fn ask(url: &str, options: HubOptions<'_>) -> Result<Answer> {
    let mut pause = Duration::from_millis(250);
    let patience = options.idle.unwrap_or(SILENCE);
    for number in 1.. {
        let asked = options.http.get_from_hub(url, options.token);
        let Ok(answer) = tokio::time::timeout(patience, asked).await else {
            if number < 2 {
                continue;
            }
            return Err(Error::new(Kind::Hub, "the hub does not answer")
                .cause(format!(
                    "asked twice, no answer for {} s each time",
                    patience.as_secs()
                ))
                .hint("check the network and proxy, or name another hub with HF_ENDPOINT or --endpoint"));
        };
        let wait = match answer {
            Ok(answer) if matches!(answer.status, 408 | 425 | 429 | 500..=599) && number < TRIES => {
                answer.wait().unwrap_or(pause).min(LONGEST_WAIT)
            }
            Ok(answer) => return Ok(answer),
            Err(Broken::Dropped(_)) if number < TRIES => pause,
            Err(broken) => return Err(broken.into_error()),
        };
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
    Err(Error::new(Kind::Internal, "a question has no answer"))
}

/// What a revision is.
pub(super) struct Revision {
    /// Its commit.
    pub(super) commit: String,
    /// The licence that the hub states, by its identifier; empty when it states none.
    pub(super) license: String,
}

/// What the step's revision is.
pub(super) async fn revision(step: &PullSnapshot, options: HubOptions<'_>) -> Result<Revision> {
    let PullSnapshot {
        endpoint,
        repo,
        revision,
        ..
    } = step;
    if !is_revision(revision) {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` is not a revision", revision.escape_debug()),
        )
        .hint("name a branch, a tag or a 40-digit commit"));
    }
    let url = format!(
        "{endpoint}/api/models/{repo}/revision/{}",
        revision.replace('/', "%2F")
    );
    let answer = ask(&url, options).await?;
    if answer.status != 200 {
        return Err(refused(step, &answer, options.token.is_some()));
    }
    let info = model_info(&answer.json());
    let commit = info
        .as_ref()
        .and_then(|info| info.sha.clone())
        .unwrap_or_default();
    if !is_commit(&commit) || (is_commit(revision) && commit != *revision) {
        return Err(
            Error::new(Kind::Hub, format!("{endpoint} does not answer like a hub"))
                .cause(format!("no commit for {repo}@{revision}"))
                .hint("check HF_ENDPOINT or --endpoint"),
        );
    }
    Ok(Revision {
        commit,
        license: info.map(|info| license(&info)).unwrap_or_default(),
    })
}

/// What a hub says of a repository: of the many fields only those that are used, so that a change of the others
/// breaks nothing.
fn model_info(answer: &Value) -> Option<ModelInfo> {
    let used = ["id", "sha", "cardData", "tags"].map(|key| (key.to_owned(), answer[key].clone()));
    serde_json::from_value(Value::Object(used.into_iter().collect())).ok()
}

/// The licence's identifier: of the model card, else of the tags.
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

/// The files of a commit, with their sum in bytes.
pub(super) async fn entries(
    step: &PullSnapshot,
    commit: &str,
    options: HubOptions<'_>,
) -> Result<(Vec<Entry>, u64)> {
    let PullSnapshot { endpoint, repo, .. } = step;
    let mut url = format!("{endpoint}/api/models/{repo}/tree/{commit}?recursive=true&expand=false");
    let mut entries = Vec::new();
    for _ in 0..MAX_PAGES {
        let answer = ask(&url, options).await?;
        if answer.status != 200 {
            return Err(refused(step, &answer, options.token.is_some()));
        }
        entries.extend(listing::parse_page(&answer.body)?);
        // Before the next page: a listing without end must not fill the memory.
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

/// The next page that a `Link` header names (RFC 8288); on the same hub only, because the token goes with it.
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

/// What a hub says in words, as far as it can be shown.
pub(super) fn said(answer: &Answer) -> Option<String> {
    let text = answer.header("x-error-message")?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// Why a hub said no.
fn refused(step: &PullSnapshot, answer: &Answer, with_token: bool) -> Error {
    let PullSnapshot {
        endpoint,
        repo,
        revision,
        ..
    } = step;
    let code = answer.header("x-error-code").unwrap_or_default();
    let said = said(answer);
    match (answer.status, code, said) {
        // A mirror's words.
        (_, "GatedRepo", Some(said)) if said.contains("HF_TOKEN") => {
            Error::new(Kind::Hub, format!("{endpoint} wants a token"))
                .cause(said)
                .hint("set HF_TOKEN to the token that the mirror was started with")
        }
        (_, "GatedRepo", _) => Error::new(Kind::Hub, format!("{repo} is gated"))
            .cause(if with_token {
                "the token's account has not accepted its terms"
            } else {
                "no token was sent"
            })
            .hint(format!(
                "accept the terms at {endpoint}/{repo}, then set HF_TOKEN"
            )),
        (_, "RevisionNotFound", Some(said)) => Error::new(
            Kind::Hub,
            format!("{repo}@{revision} cannot be had from {endpoint}"),
        )
        .cause(said)
        .hint("name another --revision, or another hub with --endpoint"),
        (_, "RevisionNotFound", None) => {
            Error::new(Kind::Hub, format!("{repo} has no revision `{revision}`"))
                .hint(format!("{endpoint}/{repo}/tree/main lists branches and tags"))
        }
        (401, ..) if with_token => Error::new(
            Kind::Hub,
            format!("{repo} was not found, or the token is not valid"),
        )
        .cause("the hub answered 401")
        .hint("check HF_TOKEN and the spelling of the repository"),
        (401 | 404, ..) => Error::new(Kind::Hub, format!("{repo} was not found"))
            .cause(format!(
                "the hub answered {}: it does not exist, or it is private",
                answer.status
            ))
            .hint("check the spelling; for a private repository set HF_TOKEN"),
        (403, ..) => Error::new(Kind::Hub, format!("{repo} is forbidden"))
            .cause("the hub answered 403: the token may not read it")
            .hint(format!("look at {endpoint}/{repo} with the token's account")),
        (429, ..) => Error::new(Kind::Hub, format!("the hub limits requests for {repo}"))
            .cause("the hub answered 429")
            .hint("wait five minutes, or set HF_TOKEN for a higher limit"),
        (status, ..) => Error::new(Kind::Hub, format!("the hub does not serve {repo}"))
            .cause(format!("the hub answered {status}"))
            .hint("try again later, or name another hub with --endpoint"),
    }
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
