//! The paths of an exposed server: those of the `OpenAI` and the Messages API. The engine has others, which load weights from disk,
//! flush its cache, start a profile or return its arguments (`http_server.py`, 0.4.10.post2 to 0.5.23): they stay on 127.0.0.1.

use crate::error::{Error, Kind, Result};

/// Paths that take a GET.
const GETS: [&str; 1] = ["/v1/models"];
/// Paths that take a POST. Not `/v1/rerank`, which rendered templates of untrusted models (CVE-2026-5760), and not `/generate`, whose
/// options reach further into the engine.
const POSTS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
];
/// The path of the health check, which dsr1 answers itself.
const HEALTH: &str = "/health";

/// The paths that clients may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    more: Vec<String>,
}

/// The right of a request to reach the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is a health check, which needs no key.
    Health,
    /// It needs a key.
    Key,
    /// The path takes another method.
    OtherMethod,
    /// The path is not exposed.
    Hidden,
}

impl Routes {
    /// Returns the usual paths, and `more` of the engine.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what is no path.
    pub fn new(more: &[String]) -> Result<Self> {
        for path in more {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.');
            if !path.starts_with('/') || path.len() < 2 || path.contains("..") || !path.chars().all(fits) {
                return Err(Error::new(
                    Kind::Usage,
                    format!("--route `{}` is not a path", path.escape_debug()),
                )
                .hint("write the path of a route of SGLang, as in --route /generate"));
            }
        }
        Ok(Self { more: more.to_vec() })
    }

    /// Returns the right of a request by its method and its path as it stands in the request, without the query. The path is compared
    /// as it is: nothing is decoded, so no spelling of a hidden path is taken for another one.
    #[must_use]
    pub fn access(&self, method: &str, path: &str) -> Access {
        let is_more = self.more.iter().any(|more| more == path);
        let is_model = path.strip_prefix("/v1/models/").is_some_and(is_model_id);
        let gets = GETS.contains(&path) || is_model || is_more;
        let posts = POSTS.contains(&path) || is_more;
        match method {
            "GET" | "HEAD" if path == HEALTH => Access::Health,
            "GET" if gets => Access::Key,
            "POST" if posts => Access::Key,
            _ if gets || posts || path == HEALTH => Access::OtherMethod,
            _ => Access::Hidden,
        }
    }
}

/// Returns true for the ID of a model as it stands in a path: words between slashes. A percent sign or a backslash would be another
/// character for the engine, and a word of dots another folder.
fn is_model_id(id: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '@' | '+');
    id.split('/')
        .all(|word| !word.is_empty() && word.chars().all(fits) && !word.chars().all(|c| c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_paths_of_the_api_are_exposed() {
        let routes = Routes::new(&["/generate".to_owned()]).unwrap();
        for (method, path, access) in [
            ("GET", "/health", Access::Health),
            ("POST", "/health", Access::OtherMethod),
            ("GET", "/v1/models", Access::Key),
            ("GET", "/v1/models/deepseek-ai/DeepSeek-R1-0528", Access::Key),
            ("POST", "/v1/chat/completions", Access::Key),
            ("GET", "/v1/chat/completions", Access::OtherMethod),
            ("POST", "/generate", Access::Key),
            ("POST", "/v1/models", Access::OtherMethod),
            ("GET", "/", Access::Hidden),
            ("GET", "/metrics", Access::Hidden),
            ("GET", "/server_info", Access::Hidden),
            ("GET", "/flush_cache", Access::Hidden),
            ("POST", "/update_weights_from_disk", Access::Hidden),
            ("POST", "/v1/chat/completions/", Access::Hidden),
            ("POST", "//v1/chat/completions", Access::Hidden),
            ("POST", "/v1/../flush_cache", Access::Hidden),
            ("GET", "/v1/models/../../flush_cache", Access::Hidden),
            ("GET", "/v1/models/%2e%2e/%2e%2e/server_info", Access::Hidden),
            ("GET", "/v1/models/.%2E/x", Access::Hidden),
            ("GET", "/v1/models/x\\..\\y", Access::Hidden),
            ("GET", "/v1/models/./x", Access::Hidden),
            ("GET", "/v1/models//x", Access::Hidden),
            ("GET", "/v1/models/", Access::Hidden),
            ("POST", "/%76%31/completions", Access::Hidden),
            ("POST", "/v1/rerank", Access::Hidden),
        ] {
            assert_eq!(routes.access(method, path), access, "{method} {path}");
        }
        assert_eq!(Routes::default().access("POST", "/generate"), Access::Hidden);
    }

    #[test]
    fn a_route_is_a_path() {
        for wrong in [
            "generate",
            "/",
            "",
            "/a/../b",
            "/a?b=c",
            "/a b",
            "/%61",
            "http://x/",
        ] {
            let error = Routes::new(&[wrong.to_owned()]).unwrap_err();
            assert!(error.message().contains("is not a path"), "{wrong}");
        }
    }
}
