//! Connections to the daemon for the two calls that bollard does not make as needed: a session and a build in it.
//!
//! Not in this module: which daemon (`endpoint`), what is sent over the connection (`session`, `build`).

use std::io;

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::error::{At, Kind, Result};

/// A byte stream to the daemon.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A task that ends with its owner: what it holds open, the daemon goes on working for.
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a request carries.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Nothing.
pub(super) fn empty() -> Body {
    Body::new(http_body_util::Empty::new().map_err(|never| match never {}))
}

/// An answer whose connection closes when it is dropped.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Task,
}

/// Sends one request over a connection of its own.
pub(super) async fn post(
    endpoint: &str,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Body,
) -> Result<Answer> {
    let failed = || format!("cannot reach the Docker daemon at `{endpoint}`");
    let stream = dial(endpoint).await.at(Kind::Docker, failed)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .at(Kind::Docker, failed)?;
    let connection = Task::spawn(async move {
        // What goes wrong here is told to the one who reads the answer.
        let _ = connection.with_upgrades().await;
    });
    let request = headers
        .iter()
        .fold(
            Request::post(path).header("host", "docker"),
            |request, (name, value)| request.header(*name, *value),
        )
        .body(body)
        .at(Kind::Internal, failed)?;
    let response = sender.send_request(request).await.at(Kind::Docker, failed)?;
    Ok(Answer { response, connection })
}

async fn dial(endpoint: &str) -> io::Result<Box<dyn Connection>> {
    match endpoint.split_once("://") {
        Some(("unix", path)) => Ok(Box::new(UnixStream::connect(path).await?)),
        Some(("tcp" | "http", address)) => {
            let address = address.trim_end_matches('/');
            // As bollard's URL has it: HTTP's own port where none is named.
            let address = match address.parse::<std::net::IpAddr>() {
                Ok(ip) => std::net::SocketAddr::new(ip, 80),
                Err(_) => address.parse().map_err(io::Error::other)?,
            };
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        _ => Err(io::Error::other(format!(
            "`{endpoint}` is not a URL that is known"
        ))),
    }
}
