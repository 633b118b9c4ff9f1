//! The reasons why no connection comes about, in words, with what to type.

use std::io;

use rustls::{AlertDescription, CertificateError};

use super::connection::Route;
use super::tls::TlsServer;
use crate::error::{Error, Kind};
use crate::units;

/// Returns the words for an error of a connection.
pub(super) fn describe(error: &io::Error) -> String {
    tls_error(error).map_or_else(|| error.to_string(), |error| describe_tls(error).0)
}

/// Returns the error of a connection that cannot be opened.
pub(super) fn explain(route: Route<'_>, error: &io::Error) -> Error {
    let Route { address, host, tls } = route;
    if is_own_limit(error) {
        return Error::new(
            Kind::Host,
            format!("cannot open a further connection to {address}"),
        )
        .cause(error.to_string())
        .hint("ulimit -n N raises the limit of open files; a lower --max-concurrency needs fewer");
    }
    let Some(tls) = tls else {
        return Error::new(Kind::Server, format!("cannot connect to {address}")).cause(error.to_string());
    };
    match tls_error(error) {
        Some(cause) => {
            let (text, hint) = describe_tls(cause);
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
                    .cause("the server did not answer the handshake within 10 s")
                    .hint("if it speaks HTTP without TLS, type --url http://...")
            }
            _ => Error::new(Kind::Server, format!("cannot connect to {host} ({address})"))
                .cause(error.to_string()),
        },
    }
}

/// Returns true if this host, and not the server, has no room for a further connection: no open files, no ports, no memory
/// (`socket(2)`, `connect(2)`).
pub(super) fn is_own_limit(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::ADDRNOTAVAIL,
        Errno::NOBUFS,
        Errno::NOMEM,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| own.iter().any(|own| own.raw_os_error() == code))
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
        // The first byte is of no record of TLS (RFC 8446, 5.1).
        rustls::Error::InvalidMessage(_) => ("its port does not speak TLS".to_owned(), Remedy::Plain),
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
        Remedy::Trust => error
            .hint(match &tls.ca_bundle {
                Some(path) => format!("trusted are the authorities of this host, and those in {path}"),
                None => {
                    "trusted are the authorities of this host; no variable names a file of others".to_owned()
                }
            })
            .hint("SSL_CERT_FILE=FILE dsr1 ... trusts the authority whose certificate is in FILE, as PEM"),
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
    fn a_limit_of_this_host_is_told_apart_from_a_server_that_refuses() {
        use rustix::io::Errno;
        for own in [Errno::MFILE, Errno::ADDRNOTAVAIL] {
            assert!(is_own_limit(&own.into()), "{own}");
        }
        for other in [Errno::CONNREFUSED, Errno::CONNRESET] {
            assert!(!is_own_limit(&other.into()), "{other}");
        }
        let route = Route {
            address: ([127, 0, 0, 1], 1).into(),
            host: "a",
            tls: None,
        };
        assert_eq!(explain(route, &Errno::MFILE.into()).kind(), Kind::Host);
        assert_eq!(explain(route, &Errno::CONNREFUSED.into()).kind(), Kind::Server);
    }
}
