//! A request of HTTP/1.1 from the bytes of a connection: a body by its length or in chunks, `Expect: 100-continue`.

/// The most bytes of a body.
const LIMIT: usize = 64 << 20;
/// The most bytes of a head.
const HEAD_LIMIT: usize = 64 << 10;

/// A whole request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub method: String,
    /// The path without its query.
    pub path: String,
    pub body: Vec<u8>,
    pub closes: bool,
}

/// A state of the reading.
#[derive(Debug, PartialEq)]
pub enum Read {
    /// More bytes are needed. The flag says that the client waits for `100 Continue`.
    More {
        expects: bool,
    },
    Whole(Request),
    /// An error status with a reason.
    Bad(u16, &'static str),
}

#[derive(Debug)]
struct Head {
    request: Request,
    body: Body,
    expects: bool,
}

#[derive(Debug)]
enum Body {
    Length(usize),
    Chunked,
}

/// The bytes that came in and are not a whole request yet.
#[derive(Debug, Default)]
pub struct Incoming {
    pub bytes: Vec<u8>,
    head: Option<Head>,
}

impl Incoming {
    /// Returns whether a request has begun.
    pub fn has_begun(&self) -> bool {
        self.head.is_some() || !self.bytes.is_empty()
    }

    /// Takes the next whole request from the bytes.
    pub fn take(&mut self) -> Read {
        if self.head.is_none() {
            match parse_head(&self.bytes) {
                Ok(None) if self.bytes.len() > HEAD_LIMIT => {
                    return Read::Bad(431, "the head is too large");
                }
                Ok(None) => return Read::More { expects: false },
                Ok(Some((head, length))) => {
                    self.bytes.drain(..length);
                    if matches!(head.body, Body::Length(length) if length > LIMIT) {
                        return Read::Bad(413, "the body is too large");
                    }
                    self.head = Some(head);
                }
                Err((code, reason)) => return Read::Bad(code, reason),
            }
        }
        let Some(head) = &mut self.head else {
            return Read::More { expects: false };
        };
        match head.body {
            Body::Length(length) if self.bytes.len() >= length => {
                let rest = self.bytes.split_off(length);
                head.request.body = std::mem::replace(&mut self.bytes, rest);
            }
            Body::Length(_) => return more(head),
            Body::Chunked => match decode(&mut self.bytes, &mut head.request.body) {
                Ok(true) => {}
                Ok(false) => return more(head),
                Err(reason) => return Read::Bad(400, reason),
            },
        }
        self.head
            .take()
            .map_or(Read::More { expects: false }, |head| Read::Whole(head.request))
    }
}

fn more(head: &mut Head) -> Read {
    Read::More {
        expects: std::mem::take(&mut head.expects),
    }
}

/// Returns the head and its length.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, (u16, &'static str)> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err((400, "no request of HTTP/1.1")),
    };
    if parsed.version != Some(1) {
        return Err((505, "HTTP/1.1 only"));
    }
    let target = parsed.path.unwrap_or_default();
    // A client behind a proxy sends the whole URL.
    let path = target
        .split_once("://")
        .map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    let mut head = Head {
        request: Request {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: path.split('?').next().unwrap_or_default().to_owned(),
            body: Vec::new(),
            closes: false,
        },
        body: Body::Length(0),
        expects: false,
    };
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = value.parse().map_err(|_| (400, "no length in Content-Length"))?;
            if matches!(head.body, Body::Length(_)) {
                head.body = Body::Length(length);
            }
        } else if is("transfer-encoding") && value.to_ascii_lowercase().contains("chunked") {
            head.body = Body::Chunked;
        } else if is("connection") {
            head.request.closes = value.to_ascii_lowercase().contains("close");
        } else if is("expect") {
            head.expects = value.eq_ignore_ascii_case("100-continue");
        }
    }
    Ok(Some((head, length)))
}

/// Moves the whole chunks from `bytes` to `body`, and returns whether the last one was among them.
fn decode(bytes: &mut Vec<u8>, body: &mut Vec<u8>) -> Result<bool, &'static str> {
    let mut at = 0;
    let is_done = loop {
        match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((line, size))) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if body.len().saturating_add(size) > LIMIT {
                    return Err("the body is too large");
                }
                let (start, end) = (at + line, at + line + size);
                if bytes.len() < end + 2 {
                    break false;
                }
                // A trailer would follow the last chunk; no client of ours sends one.
                if bytes[end..end + 2] != *b"\r\n" {
                    return Err("no end of a chunk");
                }
                body.extend_from_slice(&bytes[start..end]);
                at = end + 2;
                if size == 0 {
                    break true;
                }
            }
            Ok(httparse::Status::Partial) => break false,
            Err(_) => return Err("no size of a chunk"),
        }
    };
    bytes.drain(..at);
    Ok(is_done)
}
