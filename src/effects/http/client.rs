//! HTTP requests: short ones to servers and hubs, and Server-Sent Events. The only home of reqwest.
//!
//! Not in this module: the hub's protocol (`hub`), what an answer means (`verify`).

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper::body::Bytes;
use reqwest::Client;
use serde_json::Value;

use crate::effects::http::proxy;
use crate::effects::http::sse::Events;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Time to connect: a hub or server that needs longer is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest that a server is left alone because it asks to be.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// Largest answer of a hub that is read: a page of a listing has 1000 entries of some 300 bytes; a hub that sends all at
/// once may have 50 000.
const MAX_PAGE: u64 = 16 << 20;
/// Largest JSON answer read: a listing of 100 000 files has about 30 MB.
const MAX_JSON: u64 = 64 << 20;

/// The clients, made on first use: reading the certificate store takes milliseconds that `--dry-run` does not have.
#[derive(Clone)]
pub struct Http {
    ca_bundle: Option<String>,
    /// Variables, of which some name proxies.
    variables: Vec<(String, String)>,
    remote: OnceLock<Client>,
    local: OnceLock<Client>,
}

/// An answer with what the hub says in headers.
pub(in crate::effects) struct Answer {
    /// Status code.
    pub(in crate::effects) status: u16,
    /// Body, at most 64 MiB.
    pub(in crate::effects) body: Vec<u8>,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// A header's value.
    pub(in crate::effects) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the server asks to be left alone: `Retry-After` in seconds (RFC 9110), or the time to the next
    /// window that `RateLimit: "api";r=0;t=55` states (IETF draft, as hubs send it); no longer than [`LONGEST_WAIT`].
    pub(in crate::effects) fn wait(&self) -> Option<Duration> {
        let seconds = |text: &str| text.trim().parse::<u64>().ok().map(Duration::from_secs);
        let limit = |text: &str| {
            let mut parts = text.split(';').map(str::trim);
            parts.find_map(|part| part.strip_prefix("t=")).and_then(seconds)
        };
        self.header("retry-after")
            .and_then(seconds)
            .or_else(|| self.header("ratelimit").and_then(limit))
            .map(|wait| wait.min(LONGEST_WAIT))
    }

    /// The body as JSON; `null` when it is none.
    pub(in crate::effects) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Http {
    /// Clients that also trust the certificates in the PEM file `ca_bundle`. Of the `variables` some name proxies:
    /// before one is used, they are looked at.
    ///
    /// # Errors
    /// None today; the clients are made when they are first used.
    pub fn new(ca_bundle: Option<&str>, variables: &[(String, String)]) -> Result<Self> {
        Ok(Self {
            ca_bundle: ca_bundle.map(str::to_owned),
            variables: variables.to_vec(),
            remote: OnceLock::new(),
            local: OnceLock::new(),
        })
    }

    /// The same settings with connections of their own.
    pub(in crate::effects) fn alone(&self) -> Self {
        Self {
            ca_bundle: self.ca_bundle.clone(),
            variables: self.variables.clone(),
            remote: OnceLock::new(),
            local: OnceLock::new(),
        }
    }

    /// The client for `url`. Loopback never goes through a proxy.
    pub(in crate::effects) fn client(&self, url: &str) -> Result<Client> {
        let (slot, builder) = if is_loopback(url) {
            (&self.local, builder().no_proxy().tls_certs_only([]))
        } else {
            proxy::check(&self.variables, url)?;
            (&self.remote, builder().tls_certs_merge(self.certificates()?))
        };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let client = builder
            .build()
            .map_err(|error| Error::new(Kind::Host, "cannot make an HTTP client").cause(chain(&error)))?;
        Ok(slot.get_or_init(|| client).clone())
    }

    fn certificates(&self) -> Result<Vec<reqwest::Certificate>> {
        let Some(path) = &self.ca_bundle else {
            return Ok(Vec::new());
        };
        let broken = |cause: String| {
            Error::new(Kind::Host, format!("cannot use the CA bundle `{path}`"))
                .cause(cause)
                .hint("unset PIP_CERT, SSL_CERT_FILE and their like, or correct the path")
        };
        let pem = std::fs::read(path).map_err(|error| broken(error.to_string()))?;
        reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| broken(error.to_string()))
    }

    /// Status code of a GET.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers in time.
    pub async fn get_status(&self, url: &str, timeout: Duration) -> Result<u16> {
        let answer = self
            .client(url)?
            .get(url)
            .timeout(timeout)
            .send()
            .await
            .map_err(|error| failed(url, &error))?;
        Ok(answer.status().as_u16())
    }

    /// Status code and JSON body of a GET; a body that is not JSON is `null`.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers in time.
    pub async fn get_json(&self, url: &str, timeout: Duration) -> Result<(u16, Value)> {
        let request = self.client(url)?.get(url).timeout(timeout);
        let answer = take(
            request.send().await.map_err(|error| failed(url, &error))?,
            url,
            MAX_JSON,
        )
        .await?;
        Ok((answer.status, answer.json()))
    }

    /// Status code and JSON body of a POST.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers in time.
    pub async fn post_json(&self, url: &str, body: &Value, timeout: Duration) -> Result<(u16, Value)> {
        // The answer is one body that comes when all of it is computed: only the whole is limited.
        let request = self.client(url)?.post(url).json(body).timeout(timeout);
        let answer = take(
            request.send().await.map_err(|error| failed(url, &error))?,
            url,
            MAX_JSON,
        )
        .await?;
        Ok((answer.status, answer.json()))
    }

    /// POSTs and hands on the data of each Server-Sent Event, `[DONE]` included.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers or the stream breaks.
    pub async fn post_stream(
        &self,
        url: &str,
        body: &Value,
        on_event: &mut (dyn FnMut(&str) + Send),
    ) -> Result<u16> {
        let answer = self
            .client(url)?
            .post(url)
            .json(body)
            .send()
            .await
            .map_err(|error| failed(url, &error))?;
        let status = answer.status().as_u16();
        let (mut stream, mut events) = (answer.bytes_stream(), Events::default());
        while let Some(chunk) = stream.next().await {
            events.push(&chunk.map_err(|error| failed(url, &error))?, on_event);
        }
        Ok(status)
    }

    /// The body of a successful GET of at most `max` bytes.
    ///
    /// # Errors
    /// [`Kind::Hub`] when it fails or is larger.
    pub async fn get_bytes(&self, url: &str, max: u64) -> Result<Vec<u8>> {
        let as_hub = |error: Error| {
            Error::new(Kind::Hub, format!("cannot fetch `{url}`")).cause(error.causes().join(": "))
        };
        let sent = self
            .client(url)?
            .get(url)
            .timeout(Duration::from_mins(10))
            .send()
            .await
            .map_err(|error| as_hub(failed(url, &error)))?;
        let answer = take(sent, url, max).await.map_err(as_hub)?;
        match answer.status {
            200 => Ok(answer.body),
            status => {
                Err(Error::new(Kind::Hub, format!("cannot fetch `{url}`")).cause(format!("status {status}")))
            }
        }
    }

    /// GET from a hub. The token goes to the hub's host only: reqwest drops it when a redirect leaves the host.
    ///
    /// # Errors
    /// [`Broken`] when no whole answer came.
    pub(in crate::effects) async fn get_from_hub(
        &self,
        url: &str,
        token: Option<&Secret>,
    ) -> std::result::Result<Answer, Broken> {
        let mut request = self.client(url)?.get(url).timeout(Duration::from_mins(2));
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        let sent = request.send().await.map_err(|error| broken(url, &error))?;
        let (status, headers) = (sent.status().as_u16(), sent.headers().clone());
        let mut body = Body(sent.bytes_stream().boxed(), url.to_owned());
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await? {
            bytes.extend(chunk);
            if bytes.len() as u64 > MAX_PAGE {
                return Err(too_large(url, MAX_PAGE).with_kind(Kind::Hub).into());
            }
        }
        Ok(Answer {
            status,
            body: bytes,
            headers,
        })
    }

    /// Opens a file of a hub: all of it, or with `range` the bytes from the first number to before the second. As to
    /// the token, see [`Self::get_from_hub`].
    ///
    /// # Errors
    /// [`Broken`] when no head of an answer came.
    pub(in crate::effects) async fn open(
        &self,
        url: &str,
        token: Option<&Secret>,
        range: Option<(u64, u64)>,
        if_range: Option<&str>,
    ) -> std::result::Result<Opened, Broken> {
        // What is hashed is what is sent: nothing on the way may pack it.
        let mut request = self.client(url)?.get(url).header("accept-encoding", "identity");
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if let Some((from, to)) = range {
            request = request.header("range", format!("bytes={from}-{}", to.saturating_sub(1)));
            if let Some(etag) = if_range {
                request = request.header("if-range", etag);
            }
        }
        let sent = request.send().await.map_err(|error| broken(url, &error))?;
        let answer = Answer {
            status: sent.status().as_u16(),
            body: Vec::new(),
            headers: sent.headers().clone(),
        };
        Ok(Opened {
            is_at_hub: place(sent.url().as_str()) == place(url),
            length: sent.content_length(),
            answer,
            body: Body(sent.bytes_stream().boxed(), url.to_owned()),
        })
    }
}

/// Why no answer came.
#[derive(Debug)]
pub(in crate::effects) enum Broken {
    /// It could not be asked: the name, the certificate, the settings. It will be the same the next time.
    Never(Error),
    /// Nothing listens, or nothing is reached.
    Unreachable(Error),
    /// The connection broke.
    Dropped(Error),
}

impl Broken {
    /// The report.
    pub(in crate::effects) fn into_error(self) -> Error {
        match self {
            Self::Never(error) | Self::Unreachable(error) | Self::Dropped(error) => error,
        }
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Never(error)
    }
}

/// The head of an answer, and its body to be read.
pub(in crate::effects) struct Opened {
    /// Status and headers; no body.
    pub(in crate::effects) answer: Answer,
    /// Whether it is the hub itself that answers, and not where it sent us.
    pub(in crate::effects) is_at_hub: bool,
    /// Length of the body, when it is known.
    pub(in crate::effects) length: Option<u64>,
    /// The body.
    pub(in crate::effects) body: Body,
}

/// A body on its way.
pub(in crate::effects) struct Body(BoxStream<'static, reqwest::Result<Bytes>>, String);

impl Body {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Broken`] when the connection broke.
    pub(in crate::effects) async fn next(&mut self) -> std::result::Result<Option<Bytes>, Broken> {
        let next = self.0.next().await.transpose();
        next.map_err(|error| broken(&self.1, &error))
    }
}

fn broken(url: &str, error: &reqwest::Error) -> Broken {
    let text = chain(error);
    let report = Error::new(Kind::Hub, "cannot reach the hub")
        .cause(format!("no answer from {}: {text}", route(url)))
        .hint("check the network and proxy, or name another hub with HF_ENDPOINT or --endpoint");
    // rustls' own words for what a CA bundle would cure.
    if text.contains("certificate") {
        Broken::Never(report.hint("behind a proxy that opens TLS, set SSL_CERT_FILE to its CA bundle"))
    } else if error.is_connect() {
        Broken::Unreachable(report)
    } else if error.is_builder() || error.is_redirect() {
        Broken::Never(report)
    } else {
        Broken::Dropped(report)
    }
}

/// No read timeout here: a reasoning model computes for minutes before its answer's first byte. Each call has a
/// limit of its own, and a pull watches its streams.
fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("dsr1/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
}

/// Whether the URL's host is this machine, by literal address or the name `localhost`.
fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

async fn take(response: reqwest::Response, url: &str, max: u64) -> Result<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let (mut body, mut stream) = (Vec::new(), response.bytes_stream());
    while let Some(chunk) = stream.next().await {
        body.extend(chunk.map_err(|error| failed(url, &error))?);
        if body.len() as u64 > max {
            return Err(too_large(url, max));
        }
    }
    Ok(Answer {
        status,
        body,
        headers,
    })
}

fn too_large(url: &str, max: u64) -> Error {
    Error::new(Kind::Server, format!("no answer from {}", place(url)))
        .cause(format!("the answer is larger than {max} bytes"))
}

fn failed(url: &str, error: &reqwest::Error) -> Error {
    Error::new(Kind::Server, format!("no answer from {}", route(url))).cause(chain(error))
}

/// Where an answer was to come from, and through which proxy: that may be what does not answer.
fn route(url: &str) -> String {
    let proxy = proxy::of(url).filter(|_| !is_loopback(url));
    let through = proxy.map(|proxy| format!(" through the proxy {proxy}"));
    place(url) + &through.unwrap_or_default()
}

/// Scheme, host and port: a query may hold a signature.
fn place(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

/// What went wrong, innermost last, without the URL and without repetition.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    if parts.is_empty() {
        error.to_string()
    } else {
        parts.join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_address() {
        for url in [
            "http://127.0.0.1:1/x",
            "http://localhost/",
            "http://[::1]:8/",
            "http://127.0.0.2/",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://10.0.0.1/", "https://example.org/127.0.0.1", "x"] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn a_signature_is_not_shown() {
        assert_eq!(
            place("https://cdn.example:8443/a/b?sig=secret"),
            "https://cdn.example:8443"
        );
    }
}
