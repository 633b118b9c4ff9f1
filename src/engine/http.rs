//! HTTP requests: short ones to servers and hubs, and Server-Sent Events. The only home of reqwest.
//!
//! Not in this module: the hub's protocol (`hub`), what an answer means (`verify`).

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Client;
use serde_json::Value;

use super::sse::Events;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Time to connect: a hub or server that needs longer is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest JSON answer read: a listing of 100 000 files has about 30 MB.
const MAX_JSON: u64 = 64 << 20;

/// The clients, made on first use: reading the certificate store takes milliseconds that `--dry-run` does not have.
pub struct Http {
    ca_bundle: Option<String>,
    remote: OnceLock<Client>,
    local: OnceLock<Client>,
}

/// An answer with what the hub says in headers.
pub(super) struct Answer {
    /// Status code.
    pub(super) status: u16,
    /// Body, at most 64 MiB.
    pub(super) body: Vec<u8>,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; `null` when it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Http {
    /// Clients that also trust the certificates in the PEM file `ca_bundle`.
    ///
    /// # Errors
    /// None today; the clients are made when they are first used.
    pub fn new(ca_bundle: Option<&str>) -> Result<Self> {
        Ok(Self {
            ca_bundle: ca_bundle.map(str::to_owned),
            remote: OnceLock::new(),
            local: OnceLock::new(),
        })
    }

    /// The client for `url`. Loopback never goes through a proxy.
    pub(super) fn client(&self, url: &str) -> Result<Client> {
        let (slot, builder) = if is_loopback(url) {
            (&self.local, builder().no_proxy().tls_certs_only([]))
        } else {
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
    /// [`Kind::Hub`] when nothing answers.
    pub(super) async fn get_from_hub(&self, url: &str, token: Option<&Secret>) -> Result<Answer> {
        let as_hub = |error: Error| {
            Error::new(Kind::Hub, "cannot reach the hub")
                .cause(error.causes().join(": "))
                .hint("check the network and proxy, or name another hub with HF_ENDPOINT or --endpoint")
        };
        let mut request = self.client(url)?.get(url).timeout(Duration::from_mins(2));
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        let sent = request
            .send()
            .await
            .map_err(|error| as_hub(failed(url, &error)))?;
        take(sent, url, MAX_JSON).await.map_err(as_hub)
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
            return Err(Error::new(Kind::Server, format!("no answer from {}", place(url)))
                .cause(format!("the answer is larger than {max} bytes")));
        }
    }
    Ok(Answer {
        status,
        body,
        headers,
    })
}

fn failed(url: &str, error: &reqwest::Error) -> Error {
    Error::new(Kind::Server, format!("no answer from {}", place(url))).cause(chain(error))
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
