//! The HTTP proxy that is in the way of a URL, and whether the variables that name one can be used.
//!
//! Not in this module: the connection through it (`http`), children's proxies (`env` hands them on).

use hyper_util::client::proxy::matcher::Matcher;

use crate::error::{Error, Kind, Result};

/// Variables that name a proxy for a scheme, in the order in which the client looks; the first that is set counts.
const VARIABLES: [(&str, [&str; 4]); 2] = [
    ("http://", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
    (
        "https://",
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
    ),
];
/// Variables that name hosts which are asked without one; the first that is set counts.
const EXEMPT: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// What a proxy's URL begins with. Anything else in that place may be a part of a password.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Refuses a proxy that the client would pass over without a word: what is sent would go another way than was said.
/// It is about `url` only, and not about what that may lead to.
///
/// # Errors
/// [`Kind::Usage`], naming the variable.
pub(in crate::effects) fn check(variables: &[(String, String)], url: &str) -> Result<()> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let (_, value) = variables.iter().find(|(known, _)| known == name)?;
            Some((*name, value.as_str()))
        })
    };
    let names = VARIABLES.iter().find(|(scheme, _)| url.starts_with(scheme));
    let Some((name, value)) = names.and_then(|(_, names)| first(names)) else {
        return Ok(());
    };
    let exempt = first(&EXEMPT).map_or("", |(_, hosts)| hosts);
    let any = Matcher::builder().all("http://proxy:1").no(exempt).build();
    if is_usable(value) || through(&any, url).is_none() {
        return Ok(());
    }
    Err(
        Error::new(Kind::Usage, format!("`{name}` names no proxy that can be used"))
            .cause(format!("it is `{}`, and no URL of an HTTP proxy", shown(value)))
            .hint("write it as http://HOST:PORT, or unset it"),
    )
}

/// The proxy of the environment that a URL is asked for through, without its user and password.
pub(in crate::effects) fn of(url: &str) -> Option<String> {
    through(&Matcher::from_system(), url)
}

fn is_usable(value: &str) -> bool {
    let Some(proxy) = through(&Matcher::builder().all(value).build(), "http://x/") else {
        return false;
    };
    let place = place(value);
    let (_, port) = name_and_port(place);
    // The client has no SOCKS: it would speak HTTP to it. And of a login with marks of its own (`@`, `#`) it takes a
    // part for the host.
    let is_read_so = ["http://", "https://"].iter().any(|scheme| {
        proxy
            .strip_prefix(scheme)
            .is_some_and(|host| host.eq_ignore_ascii_case(place))
    });
    is_read_so && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn through(proxies: &Matcher, url: &str) -> Option<String> {
    let proxy = proxies.intercept(&url.parse().ok()?)?;
    Some(proxy.uri().to_string().trim_end_matches('/').to_owned())
}

/// What may be shown of a value that is no proxy's URL: wherever a password may stand in it, it is not shown.
fn shown(value: &str) -> String {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme);
    let scheme = scheme.filter(|scheme| SCHEMES.contains(scheme));
    let scheme = scheme.map_or_else(String::new, |scheme| format!("{scheme}://"));
    let login = if value.contains('@') { "***@" } else { "" };
    let (name, port) = name_and_port(place(value));
    let port = match port {
        Some(port) if port.is_empty() || port.parse::<u16>().is_ok() => format!(":{port}"),
        Some(_) => ":***".to_owned(),
        None => String::new(),
    };
    format!("{scheme}{login}{}{port}", name.escape_debug())
}

/// Host and port: what follows a login and a scheme, up to a path.
fn place(value: &str) -> &str {
    let place = value.rsplit_once('@').map_or_else(
        || {
            let scheme = SCHEMES
                .iter()
                .find_map(|scheme| value.strip_prefix(scheme)?.strip_prefix("://"));
            scheme.unwrap_or(value)
        },
        |(_, place)| place,
    );
    place.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The two sides of the colon; an IPv6 address has some of its own, in brackets.
fn name_and_port(place: &str) -> (&str, Option<&str>) {
    let address = place.strip_prefix('[').and_then(|rest| rest.find(']'));
    let from = address.map_or(0, |end| end + 2);
    match place[from..].find(':') {
        Some(colon) => (&place[..from + colon], Some(&place[from + colon + 1..])),
        None => (place, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(pairs: &[(&str, &str)], url: &str) -> Result<()> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        check(&pairs.iter().map(own).collect::<Vec<_>>(), url)
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named() {
        for (value, seen) in [
            ("http://bad host:1", "http://bad host:1"),
            ("nonsense://", "nonsense:"),
            ("socks5://h:1", "socks5://h:1"),
            ("socks5://[::1]:1", "socks5://[::1]:1"),
            ("http://u:s3cret@bad host:1", "http://***@bad host:1"),
            // The host was forgotten.
            ("http://alice:s3cret", "http://alice:***"),
            ("alice:s3cret", "alice:***"),
            ("alice:s3c://ret@bad host:1", "***@bad host:1"),
            ("http://alice:1234567", "http://alice:***"),
            ("http://u:s3@cret@h:1", "http://***@h:1"),
        ] {
            let error = checked(&[("HTTPS_PROXY", value)], "https://hub/").unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert_eq!(error.message(), "`HTTPS_PROXY` names no proxy that can be used");
            assert_eq!(
                error.causes(),
                [format!("it is `{seen}`, and no URL of an HTTP proxy")]
            );
        }
        for value in [
            "http://10.0.0.1:3128",
            "proxy:3128",
            "https://u:p@proxy.example",
            "http://[::1]:3128/",
        ] {
            checked(&[("http_proxy", value)], "http://hub/").unwrap();
        }
    }

    #[test]
    fn only_the_variable_that_counts_is_looked_at() {
        let unusable = ("all_proxy", "socks5://a:1");
        let both = [("HTTP_PROXY", "http://a:1"), unusable];
        checked(&both, "http://hub/").unwrap();
        assert!(checked(&both, "https://hub/").is_err());
        let exempt = [unusable, ("NO_PROXY", "hub.example,10.0.0.0/8")];
        for url in [
            "https://hub.example/x",
            "http://a.hub.example:80/",
            "http://10.1.2.3:8490",
        ] {
            checked(&exempt, url).unwrap();
        }
        assert!(checked(&exempt, "https://other.example/").is_err());
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
    }

    proptest! {
        /// Wherever a login stands in a value, what follows its colon is not shown.
        #[test]
        fn no_password_is_shown(
            scheme in "(http://|https://|socks5://|socks5h:/|ftp://|)",
            before in "[a-z:/ ]{0,3}",
            after in "[a-z:/ #?]{0,3}",
            host in "(@bad host(:1)?|@h:x|@|@h:1|@x@h:1|@@h:1|)",
        ) {
            let value = format!("{scheme}alice:{before}S3CRET{after}{host}");
            match checked(&[("HTTP_PROXY", &value)], "http://hub/") {
                Ok(()) => {
                    let used = through(&Matcher::builder().all(&*value).build(), "http://hub/");
                    prop_assert!(!used.unwrap_or_default().contains("S3CRET"), "{}", value);
                }
                Err(error) => prop_assert!(!error.causes().concat().contains("S3CRET"), "{}", value),
            }
            prop_assert!(!shown(&value).contains("S3CRET"), "{}", value);
        }
    }
}
