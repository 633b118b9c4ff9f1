//! The HTTP proxy that is in the way of a URL, and whether the variables that name one can be used.
//!
//! Not in this module: the connection through it (`http`), children's proxies (`env` hands them on).

use hyper_util::client::proxy::matcher::Matcher;

use crate::error::{Error, Kind, Result};

/// Variables that name a proxy, for each scheme in the order in which the client looks; the first that is set counts.
const VARIABLES: [[&str; 4]; 2] = [
    ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
];

/// Refuses a proxy that the client would pass over without a word: what is sent would go another way than was said.
///
/// # Errors
/// [`Kind::Usage`], naming the variable.
pub(super) fn check(variables: &[(String, String)]) -> Result<()> {
    for names in VARIABLES {
        let first = names
            .iter()
            .find_map(|name| variables.iter().find(|(known, _)| known == name));
        if let Some((name, value)) = first
            && !is_usable(value)
        {
            return Err(
                Error::new(Kind::Usage, format!("`{name}` names no proxy that can be used"))
                    .cause(format!(
                        "it is `{}`, and no URL of an HTTP proxy",
                        without_login(value).escape_debug()
                    ))
                    .hint("write it as http://HOST:PORT, or unset it"),
            );
        }
    }
    Ok(())
}

/// The proxy of the environment that a URL is asked for through, without its user and password.
pub(super) fn of(url: &str) -> Option<String> {
    through(&Matcher::from_system(), url)
}

fn is_usable(value: &str) -> bool {
    let proxy = through(&Matcher::builder().all(value).build(), "http://x/");
    // The client has no SOCKS: it would speak HTTP to it.
    proxy.is_some_and(|proxy| proxy.starts_with("http"))
}

fn through(proxies: &Matcher, url: &str) -> Option<String> {
    let proxy = proxies.intercept(&url.parse().ok()?)?;
    Some(proxy.uri().to_string().trim_end_matches('/').to_owned())
}

/// The value without what stands in front of the host.
fn without_login(value: &str) -> String {
    match (value.rsplit_once('@'), value.split_once("://")) {
        (Some((_, host)), Some((scheme, _))) if !scheme.contains('@') => format!("{scheme}://***@{host}"),
        (Some((_, host)), _) => format!("***@{host}"),
        (None, _) => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pairs: &[(&str, &str)]) -> Result<()> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        check(&pairs.iter().map(own).collect::<Vec<_>>())
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named() {
        for value in [
            "http://bad host:1",
            "nonsense://",
            "socks5://h:1",
            "http://u:s3cret@bad host:1",
        ] {
            let error = checked(&[("HTTPS_PROXY", value)]).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.message().contains("`HTTPS_PROXY`"), "{value}");
            assert!(!error.causes().concat().contains("s3cret"), "{value}");
        }
        for value in ["http://10.0.0.1:3128", "proxy:3128", "https://u:p@proxy.example"] {
            checked(&[("http_proxy", value)]).unwrap();
        }
    }

    #[test]
    fn only_the_variable_that_counts_is_looked_at() {
        let both = [("HTTP_PROXY", "http://a:1"), ("HTTPS_PROXY", "http://a:1")];
        checked(&[&both[..], &[("all_proxy", "socks://a:1")]].concat()).unwrap();
        assert!(checked(&[("HTTP_PROXY", "http://a:1"), ("all_proxy", "socks://a:1")]).is_err());
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let proxies = Matcher::builder()
            .http("http://u:s3cret@10.0.0.1:3128")
            .no("b")
            .build();
        assert_eq!(
            through(&proxies, "http://a/x").as_deref(),
            Some("http://10.0.0.1:3128")
        );
        assert_eq!(through(&proxies, "http://b/x"), None);
        assert_eq!(without_login("http://u:p@h:1"), "http://***@h:1");
        assert_eq!(without_login("u:p@h:1"), "***@h:1");
    }
}
