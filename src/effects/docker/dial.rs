//! Byte streams to the daemon: a socket, a port with or without TLS, a host behind `ssh`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::effects::addresses::addresses_of;
use crate::effects::docker::endpoint::{Endpoint, Way};
use crate::effects::env::Env;
use crate::effects::process::command;
use crate::error::{At, Error, Kind, Result};

/// Longest wait for the first answer: a daemon that hangs must not hang dsr1.
const GREETING: Duration = Duration::from_secs(5);
/// The same through `ssh`, which may ask a name service, a bastion and an agent first.
const FAR_GREETING: Duration = Duration::from_secs(20);
/// Most bytes that are kept of the messages of `ssh`.
const MESSAGES: u64 = 4096;

/// A byte stream to the daemon.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Everything that a connection to one daemon needs.
pub(super) struct Dial {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    env: Env,
}

impl Dial {
    /// Reads the certificates that the endpoint needs; nothing is sent yet.
    ///
    /// # Errors
    /// [`Kind::Docker`] when a certificate or key cannot be read or used.
    pub(super) fn new(endpoint: Endpoint, env: &Env) -> Result<Self> {
        let tls = match &endpoint.way {
            Way::Tcp {
                host, tls: Some(dir), ..
            } => {
                let name = ServerName::try_from(host.clone()).at(Kind::Docker, || {
                    format!("TLS cannot verify the host name `{host}`")
                })?;
                Some((TlsConnector::from(Arc::new(certificates(dir)?)), name))
            }
            _ => None,
        };
        Ok(Self {
            endpoint,
            tls,
            env: env.clone(),
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the longest wait for the first answer.
    pub(super) fn greeting(&self) -> Duration {
        match self.endpoint.way {
            Way::Ssh { .. } => FAR_GREETING,
            Way::Unix(_) | Way::Tcp { .. } => GREETING,
        }
    }

    /// Opens a connection.
    pub(super) async fn stream(&self) -> io::Result<Box<dyn Stream>> {
        match &self.endpoint.way {
            Way::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Way::Tcp { host, port, tls: _ } => {
                // Boxed, because the resolver makes a large future, and many others contain it.
                let stream = Box::pin(connect(host, *port)).await?;
                stream.set_nodelay(true)?;
                match &self.tls {
                    Some((tls, name)) => Ok(Box::new(tls.connect(name.clone(), stream).await?)),
                    None => Ok(Box::new(stream)),
                }
            }
            Way::Ssh { destination, socket } => {
                let stream = ssh(&self.env, destination, socket.as_deref());
                Ok(Box::new(
                    stream.map_err(|error| io::Error::other(error.to_string()))?,
                ))
            }
        }
    }
}

/// Connects to the first address of `host` that accepts a connection.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("`{host}` has no address"));
    for address in addresses_of(host).await? {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Returns TLS settings as Docker's command line has them: `ca.pem` alone authenticates the daemon, and `cert.pem` with
/// `key.pem` authenticates the client.
fn certificates(dir: &Path) -> Result<ClientConfig> {
    let path = |name: &str| dir.join(name);
    let unreadable = |name: &str| {
        format!(
            "cannot use `{}` for the connection to Docker",
            path(name).display()
        )
    };
    let chain = |name: &str| -> Result<Vec<CertificateDer<'static>>> {
        let found: std::result::Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path(name)).and_then(Iterator::collect);
        match found.at(Kind::Docker, || unreadable(name))? {
            none if none.is_empty() => {
                Err(Error::new(Kind::Docker, unreadable(name)).cause("it holds no certificate"))
            }
            some => Ok(some),
        }
    };
    let mut roots = RootCertStore::empty();
    for certificate in chain("ca.pem")? {
        roots.add(certificate).at(Kind::Docker, || unreadable("ca.pem"))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .at(Kind::Internal, || "cannot set up TLS".to_owned())?
        .with_root_certificates(roots);
    // A daemon may need no client certificate.
    if !path("cert.pem").exists() && !path("key.pem").exists() {
        return Ok(config.with_no_client_auth());
    }
    let key = PrivateKeyDer::from_pem_file(path("key.pem")).at(Kind::Docker, || unreadable("key.pem"))?;
    config
        .with_client_auth_cert(chain("cert.pem")?, key)
        .at(Kind::Docker, || unreadable("cert.pem"))
}

/// Both ends of an `ssh` that carries the daemon's socket.
struct Ssh {
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// Its messages, complete when it ends; `None` once the daemon answered, or the messages were read.
    messages: Option<JoinHandle<String>>,
    /// The process, killed when the stream is dropped.
    _child: Child,
}

/// Starts `ssh` without questions: nobody would see one in the middle of a progress line.
fn ssh(env: &Env, destination: &[String], socket: Option<&str>) -> Result<Ssh> {
    let host = socket.map(|path| format!("unix://{path}"));
    let mut argv = vec!["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"];
    argv.extend(destination.iter().map(String::as_str));
    argv.push("docker");
    if let Some(host) = &host {
        argv.extend(["--host", host]);
    }
    argv.extend(["system", "dial-stdio"]);
    let agent: BTreeMap<String, String> = env
        .ssh_agent
        .iter()
        .map(|path| ("SSH_AUTH_SOCK".to_owned(), path.clone()))
        .collect();
    let failed = || "cannot run `ssh`".to_owned();
    let mut child = tokio::process::Command::from(command::new(env, &argv, &agent)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .at(Kind::Docker, failed)?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Error::new(Kind::Internal, failed()));
    };
    let messages = tokio::spawn(async move {
        let mut bytes = Vec::new();
        let mut stderr = stderr;
        let _ = (&mut stderr).take(MESSAGES).read_to_end(&mut bytes).await;
        // An `ssh` that prints more must not block.
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        String::from_utf8_lossy(&bytes).trim().replace('\n', "; ")
    });
    Ok(Ssh {
        stdin,
        stdout,
        messages: Some(messages),
        _child: child,
    })
}

impl Ssh {
    /// Returns the error of an `ssh` that ended before the daemon answered, with its own messages.
    fn early_end(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let messages = match &mut self.messages {
            Some(messages) => ready!(Pin::new(messages).poll(context)).unwrap_or_default(),
            None => String::new(),
        };
        self.messages = None;
        Poll::Ready(io::Error::other(format!("ssh ended: {messages}")))
    }
}

impl AsyncRead for Ssh {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.messages = None;
        } else if buffer.remaining() > 0 && self.messages.is_some() {
            return self.early_end(context).map(Err);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ssh {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stdin).poll_write(context, bytes)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.messages.is_some() => {
                self.early_end(context).map(Err)
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(context)
    }
}
