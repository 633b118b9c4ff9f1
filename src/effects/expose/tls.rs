//! The certificate and the private key of an exposed server.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::{At, Error, Kind, Result};

/// The files of a certificate, read and checked.
#[derive(Clone)]
pub struct TlsFiles {
    pub(super) acceptor: TlsAcceptor,
}

impl TlsFiles {
    /// Reads a certificate with its chain, and its private key, both as PEM.
    ///
    /// # Errors
    /// [`Kind::Usage`] when one cannot be read, or they do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let failed = |path: &Path| format!("cannot use `{}`", path.display());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .at(Kind::Usage, || failed(certificate))?;
        if chain.is_empty() {
            return Err(Error::new(Kind::Usage, failed(certificate))
                .cause("it has no certificate")
                .hint("name a PEM file with the certificate first, then those that signed it"));
        }
        let secret = PrivateKeyDer::from_pem_file(key).at(Kind::Usage, || failed(key))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .at(Kind::Internal, || "cannot set up TLS".to_owned())?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .at(Kind::Usage, || {
                format!("the key `{}` does not fit the certificate", key.display())
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}
