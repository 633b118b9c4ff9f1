//! URLs of the hub protocol: parsing of paths and queries.

use crate::effects::hub::names::percent_decode;
use crate::profile::{is_repo, is_revision};

/// Number of entries per page of a tree, as the Hub has it.
pub(super) const PAGE_ENTRIES: usize = 1000;

/// The resource that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// The commit of a revision, and its files.
    Revision {
        /// owner/name
        repo: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// Files with sizes and hashes, in pages.
    Tree {
        /// owner/name
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// Only files below this directory; empty for all.
        below: String,
    },
    /// The bytes of a file.
    File {
        /// owner/name
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// Path in the repository.
        path: String,
    },
}

/// Parses the path of a URL; returns `None` if it is not of the protocol.
pub(super) fn parse(path: &str) -> Option<Resource> {
    let parts: Vec<String> = path
        .strip_prefix('/')?
        .split('/')
        .map(percent_decode)
        .collect::<Option<_>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let name = |owner: &str, name: &str| Some(format!("{owner}/{name}")).filter(|repo| is_repo(repo));
    let named = |revision: &str| Some(revision.to_owned()).filter(|revision| is_revision(revision));
    match parts[..] {
        ["api", "models", owner, repo] => Some(Resource::Revision {
            repo: name(owner, repo)?,
            revision: "main".to_owned(),
        }),
        ["api", "models", owner, repo, "revision", revision] => Some(Resource::Revision {
            repo: name(owner, repo)?,
            revision: named(revision)?,
        }),
        ["api", "models", owner, repo, "tree", revision, ref below @ ..] => Some(Resource::Tree {
            repo: name(owner, repo)?,
            revision: named(revision)?,
            below: below.join("/").trim_end_matches('/').to_owned(),
        }),
        [owner, repo, "resolve", revision, ref file @ ..] if !file.is_empty() => Some(Resource::File {
            repo: name(owner, repo)?,
            revision: named(revision)?,
            path: file.join("/"),
        }),
        _ => None,
    }
}

/// A page of a tree. Other parameters (`recursive`, `expand`) are ignored, because a tree is always complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The path after which the page begins.
    pub(super) after: Option<String>,
    /// Largest number of entries.
    pub(super) limit: usize,
}

/// Parses a query; returns `None` if its cursor is invalid.
pub(super) fn page(query: &str) -> Option<Page> {
    let mut page = Page {
        after: None,
        limit: PAGE_ENTRIES,
    };
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("cursor", cursor)) if !cursor.is_empty() => page.after = Some(percent_decode(cursor)?),
            Some(("limit", limit)) => {
                page.limit = limit.parse().unwrap_or(PAGE_ENTRIES).clamp(1, PAGE_ENTRIES);
            }
            _ => {}
        }
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_protocol_are_read_and_no_others() {
        let tree = |below: &str| Resource::Tree {
            repo: "a/b".to_owned(),
            revision: "refs/pr/1".to_owned(),
            below: below.to_owned(),
        };
        assert_eq!(parse("/api/models/a/b/tree/refs%2Fpr%2F1").unwrap(), tree(""));
        assert_eq!(parse("/api/models/a/b/tree/refs%2Fpr%2F1/").unwrap(), tree(""));
        assert_eq!(
            parse("/api/models/a/b/tree/refs%2Fpr%2F1/d/e").unwrap(),
            tree("d/e")
        );
        let file = parse("/a/b/resolve/main/d/x%20y").unwrap();
        assert_eq!(
            file,
            Resource::File {
                repo: "a/b".to_owned(),
                revision: "main".to_owned(),
                path: "d/x y".to_owned()
            }
        );
        for path in [
            "/",
            "",
            "/api/models/a/..",
            "/../b/resolve/main/x",
            "/a/b/resolve/main",
            "/a/%zz/resolve/main/x",
            "/a/b/resolve/%2e%2e/x",
            "/a/b/resolve/..%2f..%2fx/y",
            "/api/models/a/.git/tree/main",
            "/api/models/a%2Fc/b/tree/main",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn pages_are_read_leniently_and_cursors_strictly() {
        let read = |query: &str| page(query).map(|page| (page.after, page.limit));
        assert_eq!(read(""), Some((None, PAGE_ENTRIES)));
        assert_eq!(read("recursive=true&expand=false"), Some((None, PAGE_ENTRIES)));
        assert_eq!(read("cursor=a%2Fb&limit=3"), Some((Some("a/b".to_owned()), 3)));
        assert_eq!(read("limit=0&cursor="), Some((None, 1)));
        assert_eq!(read("limit=x"), Some((None, PAGE_ENTRIES)));
        assert_eq!(read("limit=99999999999999999999"), Some((None, PAGE_ENTRIES)));
        assert_eq!(read("cursor=%f"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_read_or_refused(text in "(/|%|%2[0-9a-fA-F]|\\PC|[a-z.]){0,40}") {
            let _ = (parse(&text), parse(&format!("/api/models/a/b/{text}")), page(&text));
        }

        #[test]
        fn decoding_reverses_encoding(text in "\\PC{0,40}") {
            let encoded = crate::effects::hub::names::percent_encode(&text);
            proptest::prop_assert!(encoded.is_ascii() && !encoded.contains(['&', '<', '>', ' ', '/']));
            proptest::prop_assert_eq!(percent_decode(&encoded), Some(text));
        }
    }
}
