//! HTTP requests: short ones to servers and hubs, and Server-Sent Events.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper::body::Bytes;
use reqwest::Client;
use serde_json::Value;

use crate::effects::http::authorities::Authorities;
use crate::effects::http::proxy;
use crate::effects::http::sse::{self, Events};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// Largest answer of a hub: a page of a listing has 1000 entries of some 300 bytes, and a hub that sends all entries at
/// once may have 50 000.
const MAX_PAGE: u64 = 16 << 20;
/// Largest JSON answer: a listing of 100 000 files has about 30 MB.
const MAX_JSON: u64 = 64 << 20;

/// HTTP clients, made on first use: reading the certificate store takes milliseconds that `--dry-run` need not spend.
#[derive(Clone)]
pub struct Http {
    ca_bundle: Option<String>,
    /// Environment variables, some of which may name a proxy, or a file of authorities.
    variables: Vec<(String, String)>,
    remote: OnceLock<Client>,
    local: OnceLock<Client>,
    /// For servers of this host behind TLS.
    local_tls: OnceLock<Client>,
    forwarding: OnceLock<Client>,
}

/// An answer with its headers.
pub(in crate::effects) struct Answer {
    /// Status code.
    pub(in crate::effects) status: u16,
    /// Body, at most 64 MiB.
    pub(in crate::effects) body: Vec<u8>,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// Returns a header's value.
    pub(in crate::effects) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the wait that the server asks for: `Retry-After` in seconds (RFC 9110), or the time to the next window in
    /// `RateLimit: "api";r=0;t=55` (IETF draft, as hubs send it); no longer than [`LONGEST_WAIT`].
    pub(in crate::effects) fn requested_wait(&self) -> Option<Duration> {
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

    /// Returns the body as JSON; `null` if it is not JSON.
    pub(in crate::effects) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Http {
    /// Returns clients that also trust the certificates in the PEM file `ca_bundle`. Some of the `variables` may name
    /// a proxy, or a file of authorities in place of those of this host. The file and the variables are read by the first request that needs them, which reports their errors.
    #[must_use]
    pub fn new(ca_bundle: Option<&str>, variables: &[(String, String)]) -> Self {
        Self {
            ca_bundle: ca_bundle.map(str::to_owned),
            variables: variables.to_vec(),
            remote: OnceLock::new(),
            local: OnceLock::new(),
            local_tls: OnceLock::new(),
            forwarding: OnceLock::new(),
        }
    }

    /// Returns clients with the same settings and their own connections.
    pub(in crate::effects) fn with_own_connections(&self) -> Self {
        Self {
            ca_bundle: self.ca_bundle.clone(),
            variables: self.variables.clone(),
            remote: OnceLock::new(),
            local: OnceLock::new(),
            local_tls: OnceLock::new(),
            forwarding: OnceLock::new(),
        }
    }

    /// Returns the client for `url`. Requests to this host never go through a proxy.
    pub(in crate::effects) fn client(&self, url: &str) -> Result<Client> {
        let (slot, builder) = if is_loopback(url) && url.starts_with("https://") {
            let builder = builder().no_proxy().tls_certs_merge(self.certificates()?);
            (&self.local_tls, builder)
        } else if is_loopback(url) {
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

    /// Returns the client that passes requests on to a server of this host. It follows no redirect, which is the client's to follow.
    pub(super) fn forwarding_client(&self) -> Result<Client> {
        if let Some(client) = self.forwarding.get() {
            return Ok(client.clone());
        }
        let builder = builder().no_proxy().tls_certs_only([]);
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::new(Kind::Host, "cannot make an HTTP client").cause(chain(&error)))?;
        Ok(self.forwarding.get_or_init(|| client).clone())
    }

    /// Returns the authorities that are trusted.
    ///
    /// # Errors
    /// Those of [`Authorities::new`].
    pub(in crate::effects) fn authorities(&self) -> Result<Authorities> {
        Authorities::new(self.ca_bundle.as_deref(), &self.variables)
    }

    fn certificates(&self) -> Result<Vec<reqwest::Certificate>> {
        let Some(path) = self.authorities()?.extra else {
            return Ok(Vec::new());
        };
        let unusable = |cause: String| {
            Error::new(Kind::Host, format!("cannot use the CA bundle `{path}`"))
                .cause(cause)
                .hint("correct or unset PIP_CERT, SSL_CERT_FILE and similar variables")
        };
        let pem = std::fs::read(&path).map_err(|error| unusable(error.to_string()))?;
        reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))
    }

    /// Sends a GET and returns its status code.
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

    /// Sends a GET and returns status code and JSON body; a body that is not JSON is `null`.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers in time.
    pub async fn get_json(&self, url: &str, timeout: Duration) -> Result<(u16, Value)> {
        self.get_json_with(url, None, timeout).await
    }

    /// As [`Self::get_json`], with the key of the server, if it needs one: reqwest drops it when a redirect leaves the host.
    ///
    /// # Errors
    /// As [`Self::get_json`].
    pub(in crate::effects) async fn get_json_with(
        &self,
        url: &str,
        key: Option<&Secret>,
        timeout: Duration,
    ) -> Result<(u16, Value)> {
        let request = with_key(self.client(url)?.get(url), key).timeout(timeout);
        let answer = read_answer(
            request.send().await.map_err(|error| failed(url, &error))?,
            url,
            MAX_JSON,
        )
        .await?;
        Ok((answer.status, answer.json()))
    }

    /// Sends a POST and returns status code and JSON body.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers in time.
    pub async fn post_json(&self, url: &str, body: &Value, timeout: Duration) -> Result<(u16, Value)> {
        self.post_json_with(url, None, body, timeout).await
    }

    /// As [`Self::post_json`], with the key of the server, if it needs one.
    ///
    /// # Errors
    /// As [`Self::post_json`].
    pub(in crate::effects) async fn post_json_with(
        &self,
        url: &str,
        key: Option<&Secret>,
        body: &Value,
        timeout: Duration,
    ) -> Result<(u16, Value)> {
        // The answer is one body that arrives when all of it is computed: only the whole has a time limit.
        let request = with_key(self.client(url)?.post(url).json(body), key).timeout(timeout);
        let answer = read_answer(
            request.send().await.map_err(|error| failed(url, &error))?,
            url,
            MAX_JSON,
        )
        .await?;
        Ok((answer.status, answer.json()))
    }

    /// Sends a POST and passes the data of each Server-Sent Event to `on_event`, `[DONE]` included. Returns the status,
    /// and the body if the answer is no stream of events. `idle` is the longest wait between two events: comments, which
    /// some servers send to keep a connection open, are no sign that an answer is computed.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers or the stream breaks.
    pub async fn post_stream(
        &self,
        url: &str,
        body: &Value,
        idle: Duration,
        on_event: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(u16, Value)> {
        self.post_stream_with(url, None, body, idle, on_event).await
    }

    /// As [`Self::post_stream`], with the key of the server, if it needs one.
    ///
    /// # Errors
    /// As [`Self::post_stream`].
    pub(in crate::effects) async fn post_stream_with(
        &self,
        url: &str,
        key: Option<&Secret>,
        body: &Value,
        idle: Duration,
        on_event: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(u16, Value)> {
        let answer = with_key(self.client(url)?.post(url), key)
            .json(body)
            .send()
            .await
            .map_err(|error| failed(url, &error))?;
        let status = answer.status().as_u16();
        if status != 200 {
            let answer = read_answer(answer, url, MAX_JSON).await?;
            return Ok((status, answer.json()));
        }
        let (mut stream, mut events) = (answer.bytes_stream(), Events::default());
        let mut deadline = tokio::time::Instant::now() + idle;
        loop {
            let no_answer = || Error::new(Kind::Server, format!("no answer from {}", origin(url)));
            let Ok(next) = tokio::time::timeout_at(deadline, stream.next()).await else {
                return Err(no_answer().cause(format!("no token came for {} s", idle.as_secs())));
            };
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(|error| failed(url, &error))?;
            let mut has_event = false;
            let pushed = events.push(&chunk, &mut |data| {
                has_event = true;
                on_event(data);
            });
            pushed.map_err(|sse::TooLong| no_answer().cause("an event of the stream has no end"))?;
            if has_event {
                deadline = tokio::time::Instant::now() + idle;
            }
        }
        Ok((status, Value::Null))
    }

    /// Sends a GET that must succeed and returns its body of at most `max` bytes.
    ///
    /// # Errors
    /// [`Kind::Hub`] when it fails or the body is larger.
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
        let answer = read_answer(sent, url, max).await.map_err(as_hub)?;
        match answer.status {
            200 => Ok(answer.body),
            status => {
                Err(Error::new(Kind::Hub, format!("cannot fetch `{url}`")).cause(format!("status {status}")))
            }
        }
    }

    /// Sends a GET to a hub. Only the hub's host gets the token: reqwest drops it when a redirect leaves the host.
    ///
    /// # Errors
    /// [`Broken`] when the answer is not complete.
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

    /// Opens a file of a hub: all of it, or with `range` the bytes from the first number to before the second. The token is
    /// sent as in [`Self::get_from_hub`].
    ///
    /// # Errors
    /// [`Broken`] when no response head arrived.
    pub(in crate::effects) async fn open(
        &self,
        url: &str,
        token: Option<&Secret>,
        range: Option<(u64, u64)>,
        if_range: Option<&str>,
    ) -> std::result::Result<Opened, Broken> {
        // The hash is of the plain bytes: no server or proxy may compress them.
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
            is_at_hub: origin(sent.url().as_str()) == origin(url),
            length: sent.content_length(),
            answer,
            body: Body(sent.bytes_stream().boxed(), url.to_owned()),
        })
    }
}

/// A reason why an answer is missing.
#[derive(Debug)]
pub(in crate::effects) enum Broken {
    /// The request cannot work: the name, the certificate or the settings are wrong. A retry does not help.
    Never(Error),
    /// The server cannot be reached.
    Unreachable(Error),
    /// The connection broke.
    Dropped(Error),
}

impl Broken {
    pub(super) fn of(url: &str, error: &reqwest::Error) -> Self {
        broken(url, error)
    }

    /// Returns the error.
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
    /// True if the hub itself answers, and not a server that it redirected to.
    pub(in crate::effects) is_at_hub: bool,
    /// Length of the body, if it is known.
    pub(in crate::effects) length: Option<u64>,
    /// The body.
    pub(in crate::effects) body: Body,
}

/// A body that is being received.
pub(in crate::effects) struct Body(BoxStream<'static, reqwest::Result<Bytes>>, String);

impl Body {
    /// Returns the body of an answer of `url`.
    pub(super) fn of(answer: reqwest::Response, url: &str) -> Self {
        Self(answer.bytes_stream().boxed(), url.to_owned())
    }

    /// Returns the next bytes; `None` at the end.
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
    // Errors of rustls that a CA bundle would mend.
    if text.contains("certificate") {
        Broken::Never(report.hint("behind a proxy that inspects TLS, set SSL_CERT_FILE to its CA bundle"))
    } else if error.is_connect() {
        Broken::Unreachable(report)
    } else if error.is_builder() || error.is_redirect() {
        Broken::Never(report)
    } else {
        Broken::Dropped(report)
    }
}

/// Returns a builder without a read timeout: a reasoning model computes for minutes before its first byte. Each call has
/// its own limit, and a pull watches its streams.
fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("dsr1/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
}

/// Returns a request with the key of its server, if there is one.
fn with_key(request: reqwest::RequestBuilder, key: Option<&Secret>) -> reqwest::RequestBuilder {
    match key {
        Some(key) => request.bearer_auth(key.expose()),
        None => request,
    }
}

/// Returns true if the URL's host is this machine, by literal address or the name `localhost`.
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

/// Reads an answer of at most `max` bytes.
async fn read_answer(response: reqwest::Response, url: &str, max: u64) -> Result<Answer> {
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
    Error::new(Kind::Server, format!("no answer from {}", origin(url)))
        .cause(format!("the answer is larger than {max} bytes"))
}

fn failed(url: &str, error: &reqwest::Error) -> Error {
    Error::new(Kind::Server, format!("no answer from {}", route(url))).cause(chain(error))
}

/// Returns the server of a URL, and the proxy on the way to it, which may be the one that does not answer.
fn route(url: &str) -> String {
    let proxy = proxy::proxy_of(url).filter(|_| !is_loopback(url));
    let through = proxy.map(|proxy| format!(" through the proxy {proxy}"));
    origin(url) + &through.unwrap_or_default()
}

/// Returns scheme, host and port; the rest may hold a signature.
fn origin(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

/// Returns the chain of errors, the innermost last, without the URL and without repetition.
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
    let text = if parts.is_empty() {
        error.to_string()
    } else {
        parts.join(": ")
    };
    unresolved(&text).unwrap_or(text)
}

/// Returns a sentence for the error of a name that no DNS server knows, whose own text shows the query as the program sees it
/// (hickory-proto 0.25, `DnsError::NoRecordsFound`).
fn unresolved(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("no records found for Query { name: Name(\"")?;
    let (name, _) = rest.split_once('"')?;
    Some(format!(
        "the name {} does not resolve",
        name.trim_end_matches('.')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognized_by_its_address() {
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
    fn a_name_that_does_not_resolve_is_said_in_words() {
        let text = "client error (Connect): dns error: error resolving DNS: DNS error: no records found for Query { name: \
                    Name(\"hub.example.\"), query_type: AAAA, query_class: IN }";
        assert_eq!(unresolved(text).unwrap(), "the name hub.example does not resolve");
        assert_eq!(unresolved("connection refused"), None);
    }

    #[test]
    fn a_signature_is_not_shown() {
        assert_eq!(
            origin("https://cdn.example:8443/a/b?sig=secret"),
            "https://cdn.example:8443"
        );
    }
}
