//! The server that a load is put on, from its URL.

use std::net::SocketAddr;

use crate::effects::addresses::addresses_of;
use crate::error::{At, Error, Kind, Result};
use crate::secret::Secret;

/// The server that a load is put on.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// The value of `Host`.
    pub host: String,
    /// The path before that of the API; empty for most servers.
    pub base_path: String,
    /// The key of the server, if it needs one.
    pub key: Option<Secret>,
}

impl Target {
    /// Returns the target of a base URL. Its name is looked up once: all requests of a run go to one address.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a URL of another kind; [`Kind::Hub`] for a name without address.
    pub async fn of_url(base_url: &str, key: Option<Secret>) -> Result<Self> {
        let Parts { host, port, path } = split_url(base_url)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = Box::pin(addresses_of(bare))
            .await
            .at(Kind::Hub, || format!("cannot find the address of `{bare}`"))?;
        let address = addresses
            .first()
            .ok_or_else(|| Error::new(Kind::Hub, format!("`{bare}` has no address")))?;
        Ok(Self {
            address: SocketAddr::new(*address, port),
            host: format!("{host}:{port}"),
            base_path: path.to_owned(),
            key,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    host: &'a str,
    port: u16,
    path: &'a str,
}

fn split_url(url: &str) -> Result<Parts<'_>> {
    let wrong = |cause: &str| {
        Error::new(Kind::Usage, format!("cannot put a load on `{url}`"))
            .cause(cause.to_owned())
            .hint("give the URL as in --url http://10.0.0.1:30000")
    };
    if url.starts_with("https://") {
        return Err(Error::new(Kind::Usage, format!("cannot put a load on `{url}`"))
            .cause("dsr1's client speaks HTTP without TLS: the times would be those of a proxy, too")
            .hint("name the engine itself, or a tunnel to it: ssh -L 30000:127.0.0.1:30000 HOST"));
    }
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| wrong("it does not begin with http://"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if authority.is_empty() || !authority.chars().all(is_plain) {
        return Err(wrong("its host is not a name or an address"));
    }
    if !path.chars().all(|c| c.is_ascii_graphic()) {
        return Err(wrong("its path has characters that a URL cannot have"));
    }
    let is_bare_v6 = authority.ends_with(']');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 => {
            (host, port.parse().map_err(|_| wrong("its port is not a number"))?)
        }
        _ => (authority, 80),
    };
    let path = path.trim_end_matches('/');
    Ok(Parts {
        host,
        port,
        path: path.strip_suffix("/v1").unwrap_or(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_or_refused() {
        let parts = |host, port, path| Parts { host, port, path };
        for (url, expected) in [
            ("http://127.0.0.1:30000", parts("127.0.0.1", 30000, "")),
            ("http://127.0.0.1:30000/v1", parts("127.0.0.1", 30000, "")),
            ("http://node-1/", parts("node-1", 80, "")),
            ("http://[::1]:8000/a/v1/", parts("[::1]", 8000, "/a")),
            ("http://[::1]", parts("[::1]", 80, "")),
        ] {
            assert_eq!(split_url(url).unwrap(), expected, "{url}");
        }
        for url in [
            "https://a",
            "127.0.0.1:1",
            "http://",
            "http://a b",
            "http://a:x",
            "http://u@a",
            "http://a/\r\nx",
        ] {
            assert_eq!(split_url(url).unwrap_err().kind(), Kind::Usage, "{url}");
        }
    }
}
