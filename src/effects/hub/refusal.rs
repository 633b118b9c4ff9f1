//! The meaning of an answer with which a hub refuses a request.

use super::options::{HubOptions, RemoteRevision};
use crate::effects::http::Answer;
use crate::error::{Error, Kind};

/// Returns the hub's own error message, without control characters and shortened.
pub(in crate::effects) fn hub_message(answer: &Answer) -> Option<String> {
    let text = answer.header("x-error-message")?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// Returns the error that describes a refusal, with its cause and a hint.
pub(in crate::effects) fn refusal_error(
    remote: RemoteRevision<'_>,
    answer: &Answer,
    options: HubOptions<'_>,
) -> Error {
    let RemoteRevision {
        endpoint,
        repo,
        revision,
    } = remote;
    let code = answer.header("x-error-code").unwrap_or_default();
    let message = hub_message(answer);
    let sent = options.token.map(|_| options.token_from);
    match (answer.status, code, message) {
        // The text of a dsr1 mirror.
        (_, "GatedRepo", Some(message)) if message.contains("HF_TOKEN") => match sent {
            Some(from) => Error::new(Kind::Hub, format!("{endpoint} refuses the token that was sent"))
                .cause(format!("the token in {from} is not the mirror's"))
                .hint("set HF_TOKEN to the token that the mirror was started with"),
            None => Error::new(Kind::Hub, format!("{endpoint} needs a token"))
                .cause(message)
                .hint("set HF_TOKEN to the token that the mirror was started with"),
        },
        (_, "GatedRepo", _) => Error::new(Kind::Hub, format!("{repo} is gated"))
            .cause(match sent {
                Some(from) => format!("the account of the token in {from} has not accepted its terms"),
                None => "no token was sent".to_owned(),
            })
            .hint(format!(
                "accept the terms at {endpoint}/{repo}, then set HF_TOKEN"
            )),
        (_, "RevisionNotFound", Some(message)) => {
            Error::new(Kind::Hub, format!("{endpoint} does not serve {repo}@{revision}"))
                .cause(message)
                .hint("name another --revision, or another hub with --endpoint")
        }
        (_, "RevisionNotFound", None) => {
            Error::new(Kind::Hub, format!("{repo} has no revision `{revision}`"))
                .hint(format!("{endpoint}/{repo}/tree/main lists branches and tags"))
        }
        (401, ..) if sent.is_some() => Error::new(
            Kind::Hub,
            format!("{repo} was not found, or the token is not valid"),
        )
        .cause(format!(
            "{endpoint} answered 401 to the token in {}",
            sent.unwrap_or_default()
        ))
        .hint("check the token and the spelling of the repository"),
        (401 | 404, ..) => Error::new(Kind::Hub, format!("{repo} was not found"))
            .cause(format!(
                "{endpoint} answered {}: it does not exist, or it is private",
                answer.status
            ))
            .hint("check the spelling; for a private repository set HF_TOKEN"),
        (403, ..) => Error::new(Kind::Hub, format!("access to {repo} is forbidden"))
            .cause(format!("{endpoint} answered 403: the token may not read it"))
            .hint(format!("open {endpoint}/{repo} with the token's account")),
        (429, ..) => Error::new(Kind::Hub, format!("the hub limits requests for {repo}"))
            .cause(format!("{endpoint} answered 429"))
            .hint("wait five minutes, or set HF_TOKEN for a higher limit"),
        // A server error: it says nothing about the repository.
        (status @ (408 | 425 | 500..=599), _, message) => {
            let error = Error::new(Kind::Hub, format!("the hub answered with status {status}"));
            let asked = format!("{endpoint} was asked for {repo} several times");
            error
                .cause(message.map_or_else(|| asked.clone(), |message| format!("{asked}: {message}")))
                .hint("try again later, or name another hub with --endpoint")
        }
        (status, ..) => Error::new(Kind::Hub, format!("the hub does not serve {repo}"))
            .cause(format!("{endpoint} answered {status}"))
            .hint("try again later, or name another hub with --endpoint"),
    }
}
