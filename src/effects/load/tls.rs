//! TLS: the settings for a server, and the state of one connection, whose bytes others move.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection};
use rustls_platform_verifier::Verifier;

use crate::effects::http::Authorities;
use crate::error::{At, Error, Kind, Result};

/// The settings of TLS for one server.
#[derive(Debug, Clone)]
pub(super) struct TlsServer {
    config: Arc<ClientConfig>,
    /// The name or the address that its certificate must have.
    pub(super) name: ServerName<'static>,
    /// The authorities that may have signed it.
    pub(super) authorities: Authorities,
}

impl TlsServer {
    /// Returns the settings for a host: its certificate must be signed by one of the authorities, as those of servers that reqwest
    /// speaks to.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a host that no certificate can name; [`Kind::Host`] when the authorities cannot be read.
    pub(super) fn new(host: &str, authorities: Authorities) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned()).at(Kind::Usage, || {
            format!("`{host}` is not a name that a certificate can have")
        })?;
        let extra = authorities
            .extra
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), read_certificates)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier::new_with_extra_roots(extra, provider.clone()).map_err(|error| {
            Error::new(Kind::Host, "cannot read the certificate authorities of this host")
                .cause(error.to_string())
                .hint("install ca-certificates, or name a PEM file: SSL_CERT_FILE=FILE; an empty SSL_CERT_FILE is better unset")
        })?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .at(Kind::Internal, || "cannot set up TLS".to_owned())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            name,
            authorities,
        })
    }
}

/// Returns the first message of a client that trusts nobody, to see if a port answers in TLS.
pub(super) fn client_hello() -> Result<Vec<u8>> {
    let failed = || "cannot set up TLS".to_owned();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .at(Kind::Internal, failed)?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").at(Kind::Internal, failed)?;
    let mut connection = ClientConnection::new(Arc::new(config), name).at(Kind::Internal, failed)?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).at(Kind::Internal, failed)?;
    Ok(bytes)
}

fn read_certificates(path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let failed = || format!("cannot use the CA bundle `{path}`");
    let hint = "correct or unset PIP_CERT, SSL_CERT_FILE and similar variables";
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .at(Kind::Host, failed)
        .map_err(|error| error.hint(hint))?;
    if found.is_empty() {
        return Err(Error::new(Kind::Host, failed())
            .cause("it has no certificate")
            .hint(hint));
    }
    Ok(found)
}

/// The state of TLS of one connection.
#[derive(Debug)]
pub(super) struct Session {
    state: Box<ClientConnection>,
    /// True after the server's `close_notify`: nothing follows, and nothing was cut off.
    pub(super) is_closed: bool,
}

impl Session {
    /// Returns the state before the handshake.
    pub(super) fn begin(server: &TlsServer) -> io::Result<Self> {
        let state = ClientConnection::new(server.config.clone(), server.name.clone()).map_err(invalid)?;
        Ok(Self {
            state: Box::new(state),
            is_closed: false,
        })
    }

    /// Does the handshake over a stream that blocks.
    pub(super) fn finish_handshake(&mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        while self.state.is_handshaking() {
            self.state.complete_io(stream)?;
        }
        Ok(())
    }

    /// Returns true until both sides have finished the handshake: no byte of a request goes out before.
    pub(super) fn is_handshaking(&self) -> bool {
        self.state.is_handshaking()
    }

    /// Returns true if encrypted bytes wait to be written.
    pub(super) fn wants_write(&self) -> bool {
        self.state.wants_write()
    }

    /// Takes bytes that arrived, and appends what they say to `plain`.
    pub(super) fn decrypt(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() && !self.is_closed {
            self.state.read_tls(&mut bytes)?;
            let state = self.state.process_new_packets().map_err(invalid)?;
            let (begin, ready) = (plain.len(), state.plaintext_bytes_to_read());
            if ready > 0 {
                plain.resize(begin + ready, 0);
                self.state.reader().read_exact(&mut plain[begin..])?;
            }
            self.is_closed = state.peer_has_closed();
        }
        Ok(())
    }

    /// Encrypts bytes, as many as there is room for, and writes what `out` takes. Returns the number of bytes that were encrypted;
    /// [`io::ErrorKind::WouldBlock`] if the handshake goes on, or earlier bytes wait.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<usize> {
        self.flush(out)?;
        if self.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.state.writer().write(bytes)?;
        match self.flush(out) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    /// Writes the encrypted bytes that wait.
    pub(super) fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        while self.state.wants_write() {
            self.state.write_tls(out)?;
        }
        Ok(())
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
