//! Access to an exposed server: who may send requests (`keys`), and to which paths (`routes`). Pure: the text of a file of keys and
//! the head of a request in, a decision out.
//!
//! Not in this module tree: files, sockets and TLS (`effects::expose`).

mod keys;
mod routes;

pub use keys::{Keys, RULE, is_key_name};
pub use routes::{Access, Routes};

/// Returns the key that a request carries: that of `Authorization: Bearer KEY`, or of `x-api-key`, which clients of the Messages API
/// send.
#[must_use]
pub fn sent_key<'a>(authorization: Option<&'a str>, api_key: Option<&'a str>) -> Option<&'a str> {
    let bearer = authorization.and_then(|value| {
        let (scheme, key) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer
        .or_else(|| api_key.map(str::trim))
        .filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_as_a_bearer_or_in_its_own_header() {
        for (authorization, api_key, key) in [
            (Some("Bearer abc"), None, Some("abc")),
            (Some("bearer  abc "), None, Some("abc")),
            (None, Some(" abc "), Some("abc")),
            (Some("Basic dTpw"), Some("abc"), Some("abc")),
            (Some("Basic dTpw"), None, None),
            (Some("Bearer "), None, None),
            (Some("Bearer"), Some(""), None),
            (None, None, None),
        ] {
            assert_eq!(
                sent_key(authorization, api_key),
                key,
                "{authorization:?} {api_key:?}"
            );
        }
    }
}
