//! One request to an exposed server: the checks, and the answer of the engine as it arrives.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::keys::KeyFile;
use crate::access::{Access, Routes, sent_key};
use crate::effects::files;
use crate::effects::http::{Body, Http, Passed};
use crate::event::{Event, Reporter};
use crate::report::ExposedRequest;

/// Largest body of a request: 128k tokens are 0.6 MB, images in base64 more.
const MOST_BODY: usize = 64 << 20;
/// Longest time in which a client sends the body.
const BODY: Duration = Duration::from_mins(1);
/// Most characters of a method and of a path that are kept.
const LONGEST: usize = 200;
/// Longest wait for the engine in a health check.
const HEALTH: Duration = Duration::from_secs(2);
/// Time for which the result of a health check is used again, so that many checks are one request to the engine.
const FRESH: Duration = Duration::from_secs(1);
/// Headers of a request that the engine gets. The key is not among them.
const TO_ENGINE: [&str; 6] = [
    "accept",
    "content-type",
    "user-agent",
    "x-request-id",
    "anthropic-version",
    "anthropic-beta",
];
/// Headers of an answer that the client gets.
const TO_CLIENT: [&str; 5] = [
    "cache-control",
    "content-type",
    "retry-after",
    "x-accel-buffering",
    "x-request-id",
];

/// A body of an answer.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, std::io::Error>;
/// Receives each request when its answer has ended.
pub(super) type OnRequest = Box<dyn Fn(&ExposedRequest) + Send + Sync>;

/// The state that all requests share.
pub(super) struct Gate {
    pub(super) http: Http,
    /// `http://127.0.0.1:PORT` of the engine.
    pub(super) upstream: String,
    pub(super) keys: KeyFile,
    pub(super) routes: Routes,
    /// Most requests at a time.
    pub(super) most: Option<usize>,
    pub(super) running: AtomicUsize,
    pub(super) health: Mutex<Option<(Instant, bool)>>,
    /// True while the server takes requests, as far as dsr1 knows: a hung one goes on answering some paths.
    pub(super) is_serving: Arc<AtomicBool>,
    pub(super) on_request: OnRequest,
    pub(super) reporter: Arc<dyn Reporter>,
}

/// A request that is counted while its answer is sent, and handed on when that ends for any reason.
struct Counted {
    gate: Arc<Gate>,
    request: ExposedRequest,
    begun: Instant,
    bytes: AtomicU64,
    /// True if it takes a place among the requests that run.
    has_place: bool,
}

impl Counted {
    fn mark_whole(&mut self) {
        self.request.whole = true;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.has_place {
            self.gate.running.fetch_sub(1, Ordering::AcqRel);
        }
        self.request.bytes = self.bytes.load(Ordering::Relaxed);
        self.request.ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        (self.gate.on_request)(&self.request);
    }
}

/// A refusal: a status, and the reason in the words of the API.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(&'static str, &'static str)>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            header: None,
        }
    }

    fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }
}

/// Returns the beginning of what a client wrote, which is kept: a line about a request has a bound.
fn beginning(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Answers a request of a client.
pub(super) async fn answer(
    gate: Arc<Gate>,
    request: Request<Incoming>,
    client: IpAddr,
) -> Response<AnswerBody> {
    let path = request.uri().path().to_owned();
    let access = gate.routes.access(request.method().as_str(), &path);
    let mut counted = Counted {
        request: ExposedRequest {
            at: files::utc_now(),
            client: client.to_string(),
            key: None,
            method: beginning(request.method().as_str()),
            path: beginning(&path),
            status: 0,
            bytes: 0,
            ms: 0,
            whole: false,
        },
        begun: Instant::now(),
        bytes: AtomicU64::new(0),
        has_place: false,
        gate,
    };
    let passed = match access {
        Access::Health => return health(counted).await,
        Access::Hidden => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "this path is not exposed: use one of the API, such as /v1/chat/completions",
        )),
        Access::OtherMethod => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path takes another method",
        )),
        Access::Key => pass(&mut counted, request).await,
    };
    match passed {
        Ok((status, headers, body)) => respond(counted, status, &headers, body),
        Err(refusal) => refuse(counted, &refusal),
    }
}

type Headers = Vec<(String, Vec<u8>)>;

/// Checks the key and the load, and passes a request on to the engine.
async fn pass(
    counted: &mut Counted,
    request: Request<Incoming>,
) -> Result<(StatusCode, Headers, Body), Refusal> {
    let gate = Arc::clone(&counted.gate);
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let current = gate.keys.current();
    if let Some(trouble) = current.trouble {
        gate.reporter.event(&Event::Warning {
            text: format!(
                "{}; until that is corrected, only known keys that are still in the file are valid",
                trouble.message()
            ),
            hint: trouble
                .hints()
                .first()
                .cloned()
                .unwrap_or_else(|| "correct the file of keys".to_owned()),
        });
    }
    let sent = sent_key(header("authorization"), header("x-api-key"));
    let Some(name) = sent.and_then(|key| current.keys.name_of(key)) else {
        let message = match sent {
            None => "no key was sent: send it as `Authorization: Bearer KEY`",
            Some(_) => "this key is not valid: ask the operator of this server for one",
        };
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
            .with_header("www-authenticate", "Bearer"));
    };
    counted.request.key = Some(name.to_owned());
    counted.has_place = true;
    let running = gate.running.fetch_add(1, Ordering::AcqRel) + 1;
    if gate.most.is_some_and(|most| running > most) {
        let message = "the limit of requests at a time is reached: send the request again later".to_owned();
        return Err(
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
                .with_header("retry-after", "1"),
        );
    }
    let headers = keep_headers(request.headers().iter(), &TO_ENGINE);
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let passed = Passed {
        method: parts.method.as_str(),
        origin: &gate.upstream,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers,
        body,
    };
    let answer = gate.http.forward(passed).await.map_err(|_| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_unavailable",
            "the engine does not answer: it is starting, or has ended; send the request again later",
        )
        .with_header("retry-after", "5")
    })?;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok((status, answer.headers, answer.body))
}

/// Reads the body of a request, which has a limit of size and of time.
async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY, Limited::new(body, MOST_BODY).collect()).await;
    match read {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            format!("the body is larger than {} MiB", MOST_BODY >> 20),
        )),
        Ok(Err(_)) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "the body of the request ended before it was complete",
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            format!(
                "the body of the request did not arrive within {} s",
                BODY.as_secs()
            ),
        )),
    }
}

fn keep_headers<'a>(
    headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    names: &[&str],
) -> Headers {
    headers
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// Returns the answer of the engine; its body is sent as it arrives.
fn respond(mut counted: Counted, status: StatusCode, headers: &Headers, body: Body) -> Response<AnswerBody> {
    counted.request.status = status.as_u16();
    let stream = futures_util::stream::unfold((body, counted), |(mut body, mut counted)| async move {
        match body.next().await {
            Ok(Some(bytes)) => {
                counted.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Some((Ok(Frame::data(bytes)), (body, counted)))
            }
            Ok(None) => {
                counted.mark_whole();
                None
            }
            // The client must see that the answer is not whole: its connection is closed.
            Err(broken) => {
                let error = std::io::Error::other(broken.into_error().innermost());
                Some((Err(error), (body, counted)))
            }
        }
    });
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    *response.status_mut() = status;
    for (name, value) in headers {
        if TO_CLIENT.contains(&name.as_str())
            && let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value),
            )
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Returns an error in the form of the `OpenAI` API.
fn refuse(counted: Counted, refusal: &Refusal) -> Response<AnswerBody> {
    let kind = if refusal.status.is_server_error() {
        "server_error"
    } else {
        "invalid_request_error"
    };
    let body = serde_json::json!({
        "error": { "message": refusal.message, "type": kind, "code": refusal.code },
    });
    let mut response = whole(counted, refusal.status, &body);
    if let Some((name, value)) = refusal.header {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn whole(mut counted: Counted, status: StatusCode, body: &serde_json::Value) -> Response<AnswerBody> {
    let text = body.to_string();
    counted.request.status = status.as_u16();
    counted.request.whole = true;
    counted.bytes.store(text.len() as u64, Ordering::Relaxed);
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Answers whether the engine takes requests: the list of its models costs it no token.
async fn health(counted: Counted) -> Response<AnswerBody> {
    let gate = Arc::clone(&counted.gate);
    let known = *gate.health.lock().unwrap_or_else(PoisonError::into_inner);
    let is_well = match known {
        Some((looked, is_well)) if looked.elapsed() < FRESH => is_well,
        _ => {
            let url = format!("{}/v1/models", gate.upstream);
            let is_well = gate.is_serving.load(Ordering::Relaxed)
                && matches!(gate.http.get_status(&url, HEALTH).await, Ok(200));
            *gate.health.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), is_well));
            is_well
        }
    };
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let word = if is_well { "ok" } else { "unavailable" };
    whole(counted, status, &serde_json::json!({ "status": word }))
}
