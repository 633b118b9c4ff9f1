//! Requests to the daemon, each over a connection of its own: those of bollard, and the two that bollard cannot make, a
//! session and a build in it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as Bollard;
use bollard::{API_DEFAULT_VERSION, BollardRequest};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::effects::docker::dial::Dial;
use crate::error::{At, Kind, Result};

/// Deadline of a short call.
pub(super) const SHORT: Duration = Duration::from_secs(30);
/// Deadline of a call that may take hours: a build, a stop with its drain.
pub(super) const LONG: Duration = Duration::from_hours(24);

/// A task that ends with its owner: the daemon works as long as the connection is open.
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

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Returns an empty body.
pub(super) fn empty() -> Body {
    Body::new(http_body_util::Empty::new().map_err(|never| match never {}))
}

/// An answer; its connection closes when it is dropped.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Task,
}

/// Sends one request over a connection of its own.
pub(super) async fn post(
    dial: &Dial,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Body,
) -> Result<Answer> {
    let failed = || format!("cannot reach the Docker daemon at `{}`", dial.endpoint());
    let request = headers
        .iter()
        .fold(Request::post(path), |request, (name, value)| {
            request.header(*name, *value)
        })
        .body(body)
        .at(Kind::Internal, failed)?;
    let (response, connection) = send(dial, request).await.at(Kind::Docker, failed)?;
    Ok(Answer {
        response,
        connection: Task(connection),
    })
}

/// Returns a bollard client over connections of [`Dial`]; nothing is sent yet.
pub(super) fn client(dial: Arc<Dial>) -> std::result::Result<bollard::Docker, Bollard> {
    let transport = move |request: BollardRequest| {
        let dial = Arc::clone(&dial);
        async move {
            let sent = send(&dial, request).await;
            // The connection ends with the response's body.
            let (response, _) = sent.map_err(|err| Bollard::IOError { err })?;
            Ok(response)
        }
    };
    let seconds = SHORT.as_secs();
    bollard::Docker::connect_with_custom_transport(
        transport,
        Some("http://docker"),
        seconds,
        API_DEFAULT_VERSION,
    )
}

async fn send<B>(dial: &Dial, request: Request<B>) -> io::Result<(Response<Incoming>, JoinHandle<()>)>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = dial.stream().await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(async move {
        // The reader of the answer gets the error of the connection.
        let _ = connection.with_upgrades().await;
    });
    let (mut head, body) = request.into_parts();
    head.headers.insert(HOST, HeaderValue::from_static("docker"));
    // A server gets the path alone; a full URI is for a proxy.
    head.uri = match head.uri.into_parts().path_and_query {
        Some(path) => Uri::from(path),
        None => Uri::from_static("/"),
    };
    let response = sender
        .send_request(Request::from_parts(head, body))
        .await
        .map_err(io::Error::other)?;
    Ok((response, connection))
}
