//! The HTTP proxy for a URL, and a check of the variables that name one.

use hyper_util::client::proxy::matcher::Matcher;

use crate::error::{Error, Kind, Result};

/// Variables that name a proxy for a scheme, in the order of the client; the first that is set counts.
const VARIABLES: [(&str, [&str; 4]); 2] = [
    ("http://", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
    (
        "https://",
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
    ),
];
/// Variables that name hosts without a proxy; the first that is set counts.
const EXEMPT: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Schemes of a proxy's URL. Any other text in their place may be a part of a password.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Refuses a proxy that the client would ignore silently, so that no request bypasses a proxy that the user named. Checks
/// `url` only, and not the URLs that it may redirect to.
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
        Error::new(Kind::Usage, format!("`{name}` does not name a usable proxy"))
            .cause(format!("`{}` is not the URL of an HTTP proxy", masked(value)))
            .hint("write it as http://HOST:PORT, or unset it"),
    )
}

/// Returns the proxy of the environment for a URL, without its user and password.
pub(in crate::effects) fn proxy_of(url: &str) -> Option<String> {
    through(&Matcher::from_system(), url)
}

fn is_usable(value: &str) -> bool {
    let Some(proxy) = through(&Matcher::builder().all(value).build(), "http://x/") else {
        return false;
    };
    let address = address(value);
    let (_, port) = name_and_port(address);
    // The client has no SOCKS and would speak HTTP to such a proxy. And it reads a part of a login with `@` or `#` as the
    // host.
    let is_read_as_meant = ["http://", "https://"].iter().any(|scheme| {
        proxy
            .strip_prefix(scheme)
            .is_some_and(|host| host.eq_ignore_ascii_case(address))
    });
    is_read_as_meant && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn through(proxies: &Matcher, url: &str) -> Option<String> {
    let proxy = proxies.intercept(&url.parse().ok()?)?;
    Some(proxy.uri().to_string().trim_end_matches('/').to_owned())
}

/// Returns a value that is not a proxy's URL without any part that may be a password.
fn masked(value: &str) -> String {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme);
    let scheme = scheme.filter(|scheme| SCHEMES.contains(scheme));
    let scheme = scheme.map_or_else(String::new, |scheme| format!("{scheme}://"));
    let login = if value.contains('@') { "***@" } else { "" };
    let (name, port) = name_and_port(address(value));
    let port = match port {
        Some(port) if port.is_empty() || port.parse::<u16>().is_ok() => format!(":{port}"),
        Some(_) => ":***".to_owned(),
        None => String::new(),
    };
    format!("{scheme}{login}{}{port}", name.escape_debug())
}

/// Returns host and port: the text after a scheme and a login, up to a path.
fn address(value: &str) -> &str {
    let address = value.rsplit_once('@').map_or_else(
        || {
            let scheme = SCHEMES
                .iter()
                .find_map(|scheme| value.strip_prefix(scheme)?.strip_prefix("://"));
            scheme.unwrap_or(value)
        },
        |(_, address)| address,
    );
    address.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Splits at the colon before the port; an IPv6 address has colons of its own, in brackets.
fn name_and_port(address: &str) -> (&str, Option<&str>) {
    let bracket = address.strip_prefix('[').and_then(|rest| rest.find(']'));
    let from = bracket.map_or(0, |end| end + 2);
    match address[from..].find(':') {
        Some(colon) => (&address[..from + colon], Some(&address[from + colon + 1..])),
        None => (address, None),
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
            // A URL without a host.
            ("http://alice:s3cret", "http://alice:***"),
            ("alice:s3cret", "alice:***"),
            ("alice:s3c://ret@bad host:1", "***@bad host:1"),
            ("http://alice:1234567", "http://alice:***"),
            ("http://u:s3@cret@h:1", "http://***@h:1"),
        ] {
            let error = checked(&[("HTTPS_PROXY", value)], "https://hub/").unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert_eq!(error.message(), "`HTTPS_PROXY` does not name a usable proxy");
            assert_eq!(
                error.causes(),
                [format!("`{seen}` is not the URL of an HTTP proxy")]
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
    fn only_the_variable_that_applies_is_checked() {
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
        /// The text after the colon of a login is never shown, wherever the login is in a value.
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
            prop_assert!(!masked(&value).contains("S3CRET"), "{}", value);
        }
    }
}
