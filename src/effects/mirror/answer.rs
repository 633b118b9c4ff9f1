//! Answers of the mirror, as data.

use std::fmt::Write;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::catalog::{Absent, Catalog};
use super::condition::{Portion, client_has_it, portion};
use super::head::Head;
use super::path::{self, Resource};
use super::snapshot::{Item, OpenError, Opened, Snapshot};
use crate::effects::hub::listing::{Entry, Oid};
use crate::effects::hub::names::percent_encode;
use crate::effects::store::hash::Hasher;
use crate::secret::Secret;

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    headers: Vec<(&'static str, String)>,
    /// The body, which is not sent if only the head was requested.
    pub(super) body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Body {
    /// No body and no length (304).
    None,
    /// Text.
    Text(String),
    /// Bytes of a file.
    File {
        /// The file.
        opened: Opened,
        /// Offset of the first byte.
        from: u64,
        /// Number of bytes.
        length: u64,
    },
}

/// Everything that answers are made from.
pub(super) struct Source<'a> {
    /// The cache.
    pub(super) catalog: &'a Catalog,
    /// The token that clients must send.
    pub(super) token: Option<&'a Secret>,
    /// The base URL for clients that send no `Host` header.
    pub(super) endpoint: &'a str,
    /// Called once for each snapshot that turns out to be corrupt.
    pub(super) on_corrupt: &'a dyn Fn(&str, &str),
}

impl Answer {
    fn new(status: u16, body: Body) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }

    /// Returns an answer that refuses a request, with the headers in which a hub states the reason.
    pub(super) fn refusal(status: u16, code: Option<&'static str>, why: &str) -> Self {
        let mut answer = Self::json(status, &json!({ "error": why }));
        if let Some(code) = code {
            answer.set("X-Error-Code", code);
        }
        answer.set("X-Error-Message", why);
        answer
    }

    fn json(status: u16, value: &Value) -> Self {
        let mut answer = Self::new(status, Body::Text(value.to_string()));
        answer.set("Content-Type", "application/json");
        answer
    }

    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.push((name, value.into()));
    }

    /// Returns the head. Text from files and requests cannot end a line of it.
    pub(super) fn head(&self, close: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let length = match &self.body {
            Body::None => None,
            Body::Text(text) => Some(text.len() as u64),
            Body::File { length, .. } => Some(*length),
        };
        // Writing to a string does not fail.
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        for (name, value) in &self.headers {
            let shown: String = value
                .chars()
                .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
                .collect();
            let _ = write!(head, "{name}: {shown}\r\n");
        }
        head.push_str(if close {
            "Connection: close\r\n\r\n"
        } else {
            "\r\n"
        });
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

/// Returns the answer to an invalid head.
pub(super) fn invalid_head(status: u16) -> Answer {
    Answer::refusal(status, None, "this is not a request that a hub understands")
}

/// Answers a request.
pub(super) fn answer(source: &Source<'_>, head: &Head) -> Answer {
    if !source.token.is_none_or(|token| has_token(head, token)) {
        let why = "this mirror needs a token: set HF_TOKEN to the token of the mirror";
        let mut answer = Answer::refusal(401, Some("GatedRepo"), why);
        answer.set("WWW-Authenticate", "Bearer");
        return answer;
    }
    if head.method != "GET" && head.method != "HEAD" {
        let mut answer = Answer::refusal(405, None, "this mirror is read-only");
        answer.set("Allow", "GET, HEAD");
        return answer;
    }
    let Some(asked) = path::parse(&head.path) else {
        return Answer::refusal(404, None, "this mirror serves only models");
    };
    let (Resource::Revision { repo, revision }
    | Resource::Tree { repo, revision, .. }
    | Resource::File { repo, revision, .. }) = &asked;
    let snapshot = match source.catalog.snapshot(repo, revision) {
        Ok(snapshot) => snapshot,
        Err(Absent::Repo) => {
            return Answer::refusal(
                404,
                Some("RepoNotFound"),
                &format!("this mirror does not have {repo}"),
            );
        }
        Err(Absent::Revision) => {
            let why = format!("this mirror does not have {revision} of {repo}");
            return Answer::refusal(404, Some("RevisionNotFound"), &why);
        }
        Err(Absent::NotWhole(why)) => {
            let why = format!("{revision} of {repo} is not complete on this mirror: {why}");
            return Answer::refusal(404, Some("RevisionNotFound"), &why);
        }
    };
    match &asked {
        Resource::Revision { .. } => Answer::json(200, &described(repo, &snapshot)),
        Resource::Tree { below, .. } => tree(source, head, repo, &snapshot, below),
        Resource::File { path, .. } => file(source, head, repo, &snapshot, path),
    }
}

/// Returns whether a request carries the token. Compares hashes in constant time.
fn has_token(head: &Head, token: &Secret) -> bool {
    let given = head
        .header("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map_or("", |(_, token)| token.trim());
    let (given, wanted) = (
        Sha256::digest(given.as_bytes()),
        Sha256::digest(token.expose().as_bytes()),
    );
    let different = given
        .iter()
        .zip(wanted.iter())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    different == 0
}

fn described(repo: &str, snapshot: &Snapshot) -> Value {
    let siblings: Vec<Value> = snapshot
        .files
        .keys()
        .map(|path| json!({ "rfilename": path }))
        .collect();
    let mut value = json!({
        "id": repo, "modelId": repo, "sha": snapshot.commit, "siblings": siblings,
        "private": false, "gated": false, "disabled": false, "tags": [], "downloads": 0, "likes": 0,
    });
    if let Some(license) = &snapshot.license {
        value["cardData"] = json!({ "license": license });
        value["tags"] = json!([format!("license:{license}")]);
    }
    value
}

/// Returns one page of the files, and a link to the next page.
fn tree(source: &Source<'_>, head: &Head, repo: &str, snapshot: &Snapshot, below: &str) -> Answer {
    let Some(page) = path::page(&head.query) else {
        return Answer::refusal(400, None, "the cursor is not valid");
    };
    let begin = match &page.after {
        Some(after) => Bound::Excluded(after.as_str()),
        None => Bound::Unbounded,
    };
    let is_below =
        |path: &str| below.is_empty() || path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/'));
    let mut found = snapshot
        .files
        .range::<str, _>((begin, Bound::Unbounded))
        .filter(|(path, _)| is_below(path));
    let entries: Vec<&Item> = found.by_ref().take(page.limit).map(|(_, item)| item).collect();
    if entries.is_empty() && !below.is_empty() && page.after.is_none() {
        return Answer::refusal(404, Some("EntryNotFound"), "there is no such directory");
    }
    let listed: Value = entries.iter().map(|item| listed(&item.entry)).collect();
    let mut answer = Answer::json(200, &listed);
    answer.set("X-Repo-Commit", &*snapshot.commit);
    if let (Some(last), true) = (entries.last(), found.next().is_some()) {
        // The link names the commit and not the branch, so that all pages belong to one listing.
        let base = head.base().unwrap_or_else(|| source.endpoint.to_owned());
        let below = below
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(String::new(), |url, part| url + "/" + &percent_encode(part));
        answer.set(
            "Link",
            format!(
                "<{base}/api/models/{repo}/tree/{}{below}?recursive=true&expand=false&limit={}&cursor={}>; rel=\"next\"",
                snapshot.commit,
                page.limit,
                percent_encode(&last.entry.path)
            ),
        );
    }
    answer
}

/// Returns a file's entry in a listing. The `oid` of a large file is the hash of git's pointer to it.
fn listed(entry: &Entry) -> Value {
    let mut item = json!({ "type": "file", "path": entry.path, "size": entry.size, "oid": entry.oid.hex() });
    if let Oid::Sha256(hex) = &entry.oid {
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{hex}\nsize {}\n",
            entry.size
        );
        let mut hasher = Hasher::new(&Oid::GitSha1(String::new()), pointer.len() as u64);
        hasher.update(pointer.as_bytes());
        item["oid"] = Value::from(hasher.hex());
        item["lfs"] = json!({ "oid": hex, "size": entry.size, "pointerSize": pointer.len() });
    }
    item
}

fn file(source: &Source<'_>, head: &Head, repo: &str, snapshot: &Arc<Snapshot>, path: &str) -> Answer {
    let Some(item) = snapshot.files.get(path) else {
        let mut answer = Answer::refusal(404, Some("EntryNotFound"), "the repository has no such file");
        answer.set("X-Repo-Commit", &*snapshot.commit);
        return answer;
    };
    // For HEAD too, so that a file that cannot be sent is not promised.
    let opened = match snapshot.open(&source.catalog.root, item) {
        Ok(opened) => opened,
        Err(OpenError::Busy) => {
            let mut answer = Answer::refusal(503, None, "too many files are open on this mirror");
            answer.set("Retry-After", "1");
            return answer;
        }
        Err(OpenError::Wrong(why)) => {
            if source.catalog.mark_corrupt(repo, snapshot, &why) {
                (source.on_corrupt)(repo, &why);
            }
            return Answer::refusal(
                500,
                None,
                &format!("{repo} is not complete on this mirror: {why}"),
            );
        }
    };
    let (entry, etag) = (&item.entry, format!("\"{}\"", item.entry.oid.hex()));
    let body = |from, length| Body::File { opened, from, length };
    // Ranges are defined for GET only (RFC 9110, 14.2).
    let range = head.header("range").filter(|_| !head.is_head());
    let mut answer = if client_has_it(head.header("if-none-match"), &etag) {
        Answer::new(304, Body::None)
    } else {
        match portion(range, head.header("if-range"), &etag, entry.size) {
            Portion::Whole => Answer::new(200, body(0, entry.size)),
            Portion::Bytes(from, to) => {
                let mut answer = Answer::new(206, body(from, to - from + 1));
                answer.set("Content-Range", format!("bytes {from}-{to}/{}", entry.size));
                answer
            }
            Portion::Unsatisfiable => {
                let mut answer = Answer::refusal(416, None, "the file has no such bytes");
                answer.set("Content-Range", format!("bytes */{}", entry.size));
                return answer;
            }
        }
    };
    answer.set("Content-Type", "application/octet-stream");
    answer.set("Accept-Ranges", "bytes");
    answer.set("X-Repo-Commit", &*snapshot.commit);
    if let Oid::Sha256(_) = entry.oid {
        answer.set("X-Linked-Etag", &*etag);
        answer.set("X-Linked-Size", entry.size.to_string());
    }
    answer.set("ETag", etag);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_add_a_header() {
        let mut answer = Answer::new(304, Body::None);
        answer.set("X-Error-Message", "a\r\nSet-Cookie: b\u{85}ü");
        assert_eq!(
            answer.head(true),
            "HTTP/1.1 304 Not Modified\r\nX-Error-Message: a??Set-Cookie: b??\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn the_oid_of_a_large_file_is_that_of_its_pointer() {
        // `printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12\n' 0 | git hash-object --stdin`
        let entry = Entry {
            path: "x".to_owned(),
            size: 12,
            oid: Oid::Sha256("0".repeat(64)),
            xet: None,
        };
        let item = listed(&entry);
        assert_eq!(item["lfs"]["pointerSize"], 127);
        assert_eq!(item["oid"], "76edda3f26133b422da4bb4aa9601907a3dae302");
    }
}
