//! The reasons why no connection comes about, in words, with what to type.

use std::io;

use std::net::SocketAddr;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::connection::{CONNECT, Route};
use super::room::{most_files, shortage_of};
use super::tls::TlsServer;
use crate::error::{Error, Kind};
use crate::measure::Shortage;
use crate::units;

/// Returns the words for an error of a connection.
pub(super) fn describe(error: &io::Error) -> String {
    tls_error(error).map_or_else(|| error.to_string(), |error| describe_tls(error).0)
}

/// Returns the error of a connection that cannot be opened.
pub(super) fn explain(route: Route<'_>, error: &io::Error) -> Error {
    match shortage_of(error) {
        Some(shortage) => explain_shortage(route.address, shortage, error),
        None => explain_refusal(route, error),
    }
}

/// Returns the error of the first connection to a server. It needs one port, so `EADDRNOTAVAIL` says there that this host has no
/// address from which the server's can be reached: `::1` on a host without IPv6.
pub(super) fn explain_first(route: Route<'_>, error: &io::Error) -> Error {
    match shortage_of(error) {
        Some(shortage @ (Shortage::Files | Shortage::FilesOfHost)) => {
            explain_shortage(route.address, shortage, error)
        }
        _ => explain_refusal(route, error),
    }
}

/// Returns true if the error says that nothing was sent to the address, because this host has no way to it.
pub(super) fn has_no_way(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ADDRNOTAVAIL | Errno::NETUNREACH | Errno::AFNOSUPPORT)
    )
}

fn explain_shortage(address: SocketAddr, shortage: Shortage, error: &io::Error) -> Error {
    let failed = Error::new(
        Kind::Host,
        format!("cannot open a further connection to {address}"),
    );
    let failed = match shortage {
        Shortage::Files => failed.cause(format!("{error}; the hard limit is {}", most_files())),
        _ => failed.cause(error.to_string()),
    };
    let failed = failed
        .hint(shortage.remedy(None))
        .hint("a lower --max-concurrency needs fewer connections");
    if shortage == Shortage::Ports && address.is_ipv6() {
        return failed.hint("if IPv6 is off on this host, type an IPv4 address in --url");
    }
    failed
}

fn explain_refusal(route: Route<'_>, error: &io::Error) -> Error {
    let Route { address, host, tls } = route;
    let Some(tls) = tls else {
        return Error::new(Kind::Server, format!("cannot connect to {address}")).cause(error.to_string());
    };
    match tls_error(error) {
        Some(cause) => {
            let (text, hint) = match cause {
                // The first byte is of no record of TLS (RFC 8446, 5.1). Within a session it is a broken record.
                rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                    ("its port does not speak TLS".to_owned(), Remedy::Plain)
                }
                cause => describe_tls(cause),
            };
            let failed = Error::new(Kind::Server, format!("cannot open a TLS connection to {host}"));
            with_hint(failed.cause(text), hint, tls)
        }
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::new(Kind::Server, format!("cannot open a TLS connection to {host}"))
                    .cause("the server closed the connection during the handshake")
                    .hint("if it speaks HTTP without TLS, type --url http://...")
            }
            io::ErrorKind::WouldBlock => {
                Error::new(Kind::Server, format!("cannot open a TLS connection to {host}"))
                    .cause(format!(
                        "the server did not answer the handshake within {} s",
                        CONNECT.as_secs()
                    ))
                    .hint("if it speaks HTTP without TLS, type --url http://...")
            }
            _ => Error::new(Kind::Server, format!("cannot connect to {host} ({address})"))
                .cause(error.to_string()),
        },
    }
}

/// The way in which a user can mend an error of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Trust the authority.
    Trust,
    /// Type another scheme.
    Plain,
    /// Type a name of the certificate.
    Name,
    /// Renew the certificate.
    Renew,
    /// Make a certificate of another kind.
    Leaf,
    /// Nothing is known.
    None,
}

/// Returns true if the error is one of TLS: the server was reached.
pub(super) fn is_of_tls(error: &io::Error) -> bool {
    tls_error(error).is_some()
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn describe_tls(error: &rustls::Error) -> (String, Remedy) {
    match error {
        rustls::Error::InvalidCertificate(error) => describe_certificate(error),
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => (
            "the server does not speak HTTP/1.1 within TLS".to_owned(),
            Remedy::None,
        ),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => (
            "the server wants a certificate of the client, which dsr1 does not have".to_owned(),
            Remedy::None,
        ),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => (
            "the server speaks neither TLS 1.2 nor 1.3".to_owned(),
            Remedy::None,
        ),
        rustls::Error::AlertReceived(alert) => (
            format!("the server ended the handshake with the alert {alert:?}"),
            Remedy::None,
        ),
        other => (other.to_string(), Remedy::None),
    }
}

fn describe_certificate(error: &CertificateError) -> (String, Remedy) {
    match error {
        CertificateError::UnknownIssuer => (
            "its certificate is signed by an authority that this host does not trust".to_owned(),
            Remedy::Trust,
        ),
        CertificateError::BadSignature => (
            "its certificate is not signed by the authority of that name that this host trusts".to_owned(),
            Remedy::Trust,
        ),
        CertificateError::ExpiredContext { not_after, .. } => (
            format!("its certificate expired at {}", units::utc(not_after.as_secs())),
            Remedy::Renew,
        ),
        CertificateError::Expired => ("its certificate has expired".to_owned(), Remedy::Renew),
        CertificateError::NotValidYetContext { not_before, .. } => (
            format!(
                "its certificate is not valid before {}",
                units::utc(not_before.as_secs())
            ),
            Remedy::Renew,
        ),
        CertificateError::NotValidYet => ("its certificate is not valid yet".to_owned(), Remedy::Renew),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = presented.iter().map(|name| shown_name(name));
            let names = names.collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "no name" } else { &names };
            (
                format!("its certificate is for {names}, not for {}", expected.to_str()),
                Remedy::Name,
            )
        }
        CertificateError::NotValidForName => ("its certificate is for another name".to_owned(), Remedy::Name),
        // webpki's own error has no variant in rustls.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => (
            "its certificate is that of an authority, which no server may show".to_owned(),
            Remedy::Leaf,
        ),
        other => (format!("its certificate is refused: {other}"), Remedy::None),
    }
}

/// Returns a name of a certificate as text: webpki shows it as `DnsName("a")` or `IpAddress(127.0.0.1)`.
fn shown_name(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest);
    inner.trim_end_matches(')').trim_matches('"')
}

fn with_hint(error: Error, remedy: Remedy, tls: &TlsServer) -> Error {
    match remedy {
        Remedy::Trust => error.hint(tls.authorities.describe()).hint(
            "SSL_CERT_FILE=FILE dsr1 ... trusts the authorities in FILE (PEM) in place of those of this host",
        ),
        Remedy::Plain => error.hint("type --url http://..."),
        Remedy::Name => {
            error.hint("type a name of the certificate in --url; /etc/hosts can give it the address")
        }
        Remedy::Renew => error.hint("renew it; or is the clock of this host wrong? date -u shows it"),
        Remedy::Leaf => error.hint(
            "make one without the right to sign others: openssl req -x509 -addext basicConstraints=CA:FALSE",
        ),
        Remedy::None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(error: rustls::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn errors_of_tls_are_words_and_those_of_the_system_stay() {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let alert = |alert| error_of(rustls::Error::AlertReceived(alert));
        for (error, words) in [
            (error_of(unknown), "an authority that this host does not trust"),
            (
                alert(AlertDescription::NoApplicationProtocol),
                "does not speak HTTP/1.1",
            ),
            (
                alert(AlertDescription::CertificateRequired),
                "wants a certificate of the client",
            ),
            (alert(AlertDescription::InternalError), "the alert InternalError"),
            (io::Error::other("broken"), "broken"),
        ] {
            assert!(describe(&error).contains(words), "{}", describe(&error));
        }
        assert_eq!(shown_name("DnsName(\"a.example\")"), "a.example");
        assert_eq!(shown_name("IpAddress(127.0.0.1)"), "127.0.0.1");
    }

    #[test]
    fn a_broken_record_within_a_session_is_not_a_port_without_tls() {
        let broken = InvalidMessage::InvalidContentType;
        let text = describe(&error_of(rustls::Error::InvalidMessage(broken)));
        assert!(!text.contains("does not speak TLS"), "{text}");
    }

    #[test]
    fn a_limit_of_this_host_has_its_remedy_and_a_server_that_refuses_has_none_of_it() {
        use rustix::io::Errno;
        let route = Route {
            address: ([127, 0, 0, 1], 1).into(),
            host: "a",
            tls: None,
        };
        let hints = |error: Errno| explain(route, &error.into()).hints().join("\n");
        assert!(hints(Errno::MFILE).contains("ulimit -n N as root"));
        assert!(hints(Errno::ADDRNOTAVAIL).contains("ip_local_port_range"));
        assert!(!hints(Errno::ADDRNOTAVAIL).contains("ulimit"));
        assert!(!hints(Errno::NOMEM).contains("ulimit"));
        assert_eq!(explain(route, &Errno::MFILE.into()).kind(), Kind::Host);
        assert_eq!(explain(route, &Errno::CONNREFUSED.into()).kind(), Kind::Server);
    }

    #[test]
    fn the_first_connection_is_not_refused_for_want_of_ports() {
        use rustix::io::Errno;
        let route = Route {
            address: (std::net::Ipv6Addr::LOCALHOST, 1).into(),
            host: "a",
            tls: None,
        };
        assert_eq!(explain_first(route, &Errno::MFILE.into()).kind(), Kind::Host);
        let error = explain_first(route, &Errno::ADDRNOTAVAIL.into());
        assert_eq!(error.kind(), Kind::Server);
        assert_eq!(error.message(), "cannot connect to [::1]:1");
    }
}
