//! The server that a load is put on, from its URL.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::connection::{Connection, Route};
use super::explain::{explain_first, has_no_way, is_of_tls};
use super::tls::{TlsServer, client_hello};
use crate::effects::addresses::addresses_of;
use crate::effects::blocking::blocking;
use crate::effects::http::Http;
use crate::error::{At, Error, Kind, Result};
use crate::secret::Secret;

/// Longest wait for the first bytes of a port that may speak TLS.
const FIRST_BYTES: Duration = Duration::from_secs(2);

/// The server that a load is put on.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// The value of `Host`: name and port, without a port that the scheme implies.
    pub host: String,
    /// The path before that of the API; empty for most servers.
    pub base_path: String,
    /// The key of the server, if it needs one.
    pub key: Option<Secret>,
    /// The settings of TLS; `None` for a server without.
    pub(super) tls: Option<TlsServer>,
}

impl Target {
    /// Returns the target of an address, without TLS and without a key.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            host: address.to_string(),
            base_path: String::new(),
            key: None,
            tls: None,
        }
    }

    /// Returns the target of a base URL. Its name is looked up once: all requests of a run go to one address. `http` says which
    /// authorities are trusted. A server behind TLS is connected to once, for its certificate, and so is
    /// one whose name has several addresses, for one that takes a connection.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a URL of another kind; [`Kind::Hub`] for a name without address; [`Kind::Server`] when no
    /// address takes a connection, or no handshake of TLS is possible, with the reason and what to type.
    pub async fn of_url(base_url: &str, key: Option<Secret>, http: &Http) -> Result<Self> {
        let Parts {
            is_tls,
            host,
            port,
            path,
        } = split_url(base_url)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = Box::pin(addresses_of(bare))
            .await
            .at(Kind::Hub, || format!("cannot find the address of `{bare}`"))?;
        let first = addresses
            .first()
            .ok_or_else(|| Error::new(Kind::Hub, format!("`{bare}` has no address")))?;
        let target = Self {
            address: SocketAddr::new(*first, port),
            host: if port == default_port(is_tls) {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            },
            base_path: path.to_owned(),
            key,
            tls: is_tls
                .then(|| TlsServer::new(bare, http.authorities()?))
                .transpose()?,
        };
        if target.tls.is_none() && addresses.len() == 1 {
            return Ok(target);
        }
        let all = addresses.iter().map(|address| SocketAddr::new(*address, port));
        let all: Vec<SocketAddr> = all.collect();
        blocking(move || target.reach(&all)).await
    }

    /// Returns the way to it.
    pub(super) fn route(&self) -> Route<'_> {
        Route {
            address: self.address,
            host: &self.host,
            tls: self.tls.as_ref(),
        }
    }

    /// Returns the target at the first of the addresses that takes a connection: `localhost` is `::1` and 127.0.0.1, and most servers
    /// listen on one of them.
    fn reach(self, addresses: &[SocketAddr]) -> Result<Self> {
        let mut refused = Vec::new();
        for address in addresses {
            let target = Self {
                address: *address,
                ..self.clone()
            };
            match Connection::open(target.route(), &|| false) {
                Ok(_) => return Ok(target),
                Err(error) if is_of_tls(&error) => return Err(explain_first(target.route(), &error)),
                Err(error) => refused.push((*address, error)),
            }
        }
        Err(match most_telling(&refused) {
            Some((address, error)) => explain_first(
                Route {
                    address: *address,
                    ..self.route()
                },
                error,
            ),
            None => Error::new(Kind::Hub, format!("`{}` has no address", self.host)),
        })
    }

    /// Returns the error with its true cause, if requests were sent without TLS to a port that speaks TLS: such a server closes the
    /// connection, or answers with a page of errors.
    pub async fn explain(&self, error: Error) -> Error {
        let (address, host) = (self.address, &self.host);
        if self.tls.is_some() || !blocking(move || Ok(speaks_tls(address))).await.unwrap_or(false) {
            return error;
        }
        error
            .cause(format!(
                "the port {} speaks TLS, and the URL does not",
                address.port()
            ))
            .hint(format!("type --url https://{host}{}", self.base_path))
    }
}

/// Returns the first failure at an address that this host has a way to; without one, the first failure.
fn most_telling(refused: &[(SocketAddr, io::Error)]) -> Option<&(SocketAddr, io::Error)> {
    let is_reached = |(_, error): &&(SocketAddr, io::Error)| !has_no_way(error);
    refused.iter().find(is_reached).or_else(|| refused.first())
}

/// Returns true if the first bytes that a port answers to a handshake are a record of TLS: a handshake or an alert (RFC 8446, 5.1).
fn speaks_tls(address: SocketAddr) -> bool {
    let ask = || -> io::Result<[u8; 2]> {
        let hello = client_hello().map_err(|error| io::Error::other(error.to_string()))?;
        let mut stream = TcpStream::connect_timeout(&address, FIRST_BYTES)?;
        stream.set_read_timeout(Some(FIRST_BYTES))?;
        stream.write_all(&hello)?;
        let mut first = [0; 2];
        stream.read_exact(&mut first)?;
        Ok(first)
    };
    matches!(ask(), Ok([0x15 | 0x16, 0x03]))
}

const fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    is_tls: bool,
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
    let (is_tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(wrong("it begins with neither http:// nor https://")),
    };
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
        _ => (authority, default_port(is_tls)),
    };
    let path = path.trim_end_matches('/');
    Ok(Parts {
        is_tls,
        host,
        port,
        path: path.strip_suffix("/v1").unwrap_or(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `localhost` with the server down, on a host without IPv6.
    #[test]
    fn the_reason_is_that_of_an_address_which_this_host_can_reach() {
        use rustix::io::Errno;
        let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 1));
        let v4 = SocketAddr::from(([127, 0, 0, 1], 1));
        let told = |refused: &[(SocketAddr, Errno)]| {
            let refused: Vec<_> = refused
                .iter()
                .map(|(address, error)| (*address, io::Error::from(*error)))
                .collect();
            most_telling(&refused).map(|(address, _)| *address)
        };
        assert_eq!(
            told(&[(v6, Errno::ADDRNOTAVAIL), (v4, Errno::CONNREFUSED)]),
            Some(v4)
        );
        assert_eq!(
            told(&[(v6, Errno::CONNREFUSED), (v4, Errno::CONNREFUSED)]),
            Some(v6)
        );
        assert_eq!(told(&[(v6, Errno::ADDRNOTAVAIL)]), Some(v6));
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn urls_are_split_or_refused() {
        let parts = |host, port, path| Parts {
            is_tls: false,
            host,
            port,
            path,
        };
        let within_tls = |host, port| Parts {
            is_tls: true,
            ..parts(host, port, "")
        };
        for (url, expected) in [
            ("http://127.0.0.1:30000", parts("127.0.0.1", 30000, "")),
            ("http://127.0.0.1:30000/v1", parts("127.0.0.1", 30000, "")),
            ("http://node-1/", parts("node-1", 80, "")),
            ("http://[::1]:8000/a/v1/", parts("[::1]", 8000, "/a")),
            ("http://[::1]", parts("[::1]", 80, "")),
            ("https://llm.example/v1", within_tls("llm.example", 443)),
            ("https://[::1]:8443", within_tls("[::1]", 8443)),
        ] {
            assert_eq!(split_url(url).unwrap(), expected, "{url}");
        }
        for url in [
            "ftp://a",
            "127.0.0.1:1",
            "http://",
            "https://",
            "http://a b",
            "http://a:x",
            "http://u@a",
            "http://a/\r\nx",
        ] {
            assert_eq!(split_url(url).unwrap_err().kind(), Kind::Usage, "{url}");
        }
    }
}
