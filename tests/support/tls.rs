//! TLS in front of a server: certificates of each kind, and each way in which a connection ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Bytes of an answer behind its head and some events, and before its end.
const SOME: usize = 800;

/// An authority that tests trust, as a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// For `localhost` and 127.0.0.1.
    Good,
    /// Of the year 2001.
    Expired,
    /// For `other.example`.
    OtherName,
    /// That of the authority itself, as `openssl req -x509` makes it.
    Authority,
}

/// The way in which a front ends connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As the server behind it does.
    AsBehind,
    /// After so many answers, with `close_notify`.
    After(usize),
    /// After so many answers, without `close_notify`.
    AbruptlyAfter(usize),
    /// Within the answer after so many, without `close_notify`, while its side for reading stays open.
    HalfWithinAfter(usize),
}

impl Authority {
    /// Makes an authority, with its certificate in the folder.
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.subject_alt_names = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .subject_alt_names;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority {}", super::unique());
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = dir.join("authority.pem");
        std::fs::write(&file, pem("CERTIFICATE", issuer.der())).unwrap();
        Self { issuer, file }
    }

    /// The PEM file of its certificate.
    pub fn file(&self) -> &str {
        self.file.to_str().unwrap()
    }

    /// Returns a certificate and its key.
    pub fn sign(&self, kind: Certificate) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        if kind == Certificate::Authority {
            let key = PrivatePkcs8KeyDer::from(self.issuer.key().serialize_der());
            return (self.issuer.der().clone(), key.into());
        }
        let names = match kind {
            Certificate::Good | Certificate::Expired => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            Certificate::OtherName | Certificate::Authority => vec!["other.example".to_owned()],
        };
        let mut params = CertificateParams::new(names).unwrap();
        if kind == Certificate::Expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2001, 12, 31);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certificate.der().clone(), key.into())
    }

    /// Writes a good certificate and its key into the folder, as PEM; returns their paths.
    pub fn sign_to(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign(Certificate::Good);
        let paths = (dir.join("server.pem"), dir.join("server.key"));
        std::fs::write(&paths.0, pem("CERTIFICATE", &certificate)).unwrap();
        std::fs::write(&paths.1, pem("PRIVATE KEY", key.secret_der())).unwrap();
        paths
    }
}

/// Returns bytes as PEM (RFC 7468).
fn pem(label: &str, bytes: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// TLS in front of a port of this host. It ends with this value.
pub struct Front {
    port: u16,
    connections: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Front {
    pub fn start(authority: &Authority, kind: Certificate, ending: Ending, behind: u16) -> Self {
        let (certificate, key) = authority.sign(kind);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        // What is behind it speaks nothing else.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that leaves ends its connection.
                    let _ = pass(&acceptor, stream, behind, ending).await;
                });
            }
        });
        Self {
            port,
            connections,
            _runtime: runtime,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Passes the bytes of one connection on.
async fn pass(acceptor: &TlsAcceptor, stream: TcpStream, behind: u16, ending: Ending) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut near = acceptor.accept(stream).await?;
    let mut far = TcpStream::connect(("127.0.0.1", behind)).await?;
    far.set_nodelay(true)?;
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    // The bytes of the answer at hand.
    let (mut bytes, mut answers, mut last) = (0, 0, Vec::new());
    loop {
        tokio::select! {
            count = near.read(&mut asked) => match count? {
                0 => return Ok(()),
                count => far.write_all(&asked[..count]).await?,
            },
            count = far.read(&mut answered) => {
                let count = count?;
                if count == 0 {
                    return near.shutdown().await;
                }
                let part = &answered[..count];
                near.write_all(part).await?;
                near.flush().await?;
                bytes += count;
                // The last chunk of an answer may come in parts.
                last.extend_from_slice(part);
                let keep = last.len().saturating_sub(5);
                last.drain(..keep);
                if last == b"0\r\n\r\n" {
                    (bytes, answers) = (0, answers + 1);
                }
            }
        }
        match ending {
            Ending::After(count) if answers >= count => return near.shutdown().await,
            Ending::AbruptlyAfter(count) if answers >= count => return Ok(()),
            Ending::HalfWithinAfter(count) if answers >= count && bytes > SOME => {
                near.get_mut().0.shutdown().await?;
                tokio::time::sleep(Duration::from_secs(2)).await;
                return Ok(());
            }
            _ => {}
        }
    }
}
