//! The head of a request. It is hostile text until it is parsed into these types. No other module uses httparse.

/// Largest head in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Largest number of header lines.
const MAX_HEADER_LINES: usize = 100;

/// A request without its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The method, such as GET or HEAD.
    pub(super) method: String,
    /// The path of the URL, still percent-encoded.
    pub(super) path: String,
    /// The part of the URL after `?`.
    pub(super) query: String,
    /// True if the client keeps the connection open.
    pub(super) keep_alive: bool,
    /// True if a body follows. Bodies are never read.
    pub(super) has_body: bool,
    /// Headers by lower-case name, the first of each name only.
    headers: Vec<(String, String)>,
}

/// The result of parsing the first bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// An incomplete head.
    Partial,
    /// A head, and its length in bytes.
    Head(Head, usize),
    /// An invalid head, and the status of the answer.
    Wrong(u16),
}

impl Head {
    /// Returns the value of a header, by lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns whether the method is HEAD.
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Returns the base URL under which the client knows this mirror; `None` if it does not say.
    pub(super) fn base(&self) -> Option<String> {
        let host = self.header("host").filter(|host| is_authority(host))?;
        // Behind a proxy that ends TLS, the next page must be requested over TLS too.
        let scheme = match self.header("x-forwarded-proto") {
            Some("https") => "https",
            _ => "http",
        };
        Some(format!("{scheme}://{host}"))
    }
}

/// Parses the head at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADER_LINES];
    let mut request = httparse::Request::new(&mut lines);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Parsed::Wrong(431),
        Err(httparse::Error::Version) => return Parsed::Wrong(505),
        Err(_) => return Parsed::Wrong(400),
    };
    let target = request.path.unwrap_or_default();
    // A full URL, as clients send it to a proxy.
    let local = target
        .split_once("://")
        .filter(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphabetic()))
        .map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        ..Head::default()
    };
    for line in request.headers.iter() {
        let name = line.name.to_ascii_lowercase();
        if head.header(&name).is_none() {
            let value = String::from_utf8_lossy(line.value).trim().to_owned();
            head.headers.push((name, value));
        } else if matches!(&*name, "content-length" | "host" | "transfer-encoding") {
            // Two parsers could disagree about which of the two values counts.
            return Parsed::Wrong(400);
        }
    }
    let closes = |value: &str| {
        value
            .split(',')
            .any(|word| word.trim().eq_ignore_ascii_case("close"))
    };
    head.keep_alive = request.version == Some(1) && !head.header("connection").is_some_and(closes);
    head.has_body = head.header("transfer-encoding").is_some()
        || head.header("content-length").is_some_and(|length| length != "0");
    Parsed::Head(head, length)
}

/// Returns whether a head may end at or after `from`: whether there is an empty line.
pub(super) fn may_end(bytes: &[u8], from: usize) -> bool {
    let new = &bytes[from.saturating_sub(3).min(bytes.len())..];
    new.windows(2).any(|pair| pair == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}

fn is_authority(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.len() <= 260 && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        match parse(text.as_bytes()) {
            Parsed::Head(head, length) => {
                assert_eq!(length, text.len());
                head
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_head_is_read() {
        let read = head("GET /a/b?x=1 HTTP/1.1\r\nHost: mirror:8490\r\nRANGE:  bytes=0-1 \r\n\r\n");
        assert_eq!(
            (
                &*read.method,
                &*read.path,
                &*read.query,
                read.keep_alive,
                read.has_body
            ),
            ("GET", "/a/b", "x=1", true, false)
        );
        assert_eq!(read.header("range"), Some("bytes=0-1"));
        assert_eq!(read.base().as_deref(), Some("http://mirror:8490"));
        let proxied =
            head("GET http://mirror/a HTTP/1.1\r\nHost: mirror\r\nX-Forwarded-Proto: https\r\n\r\n");
        assert_eq!(
            (&*proxied.path, proxied.base().as_deref()),
            ("/a", Some("https://mirror"))
        );
    }

    #[test]
    fn connection_close_and_bodies_are_recognized() {
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(!head("GET / HTTP/1.1\r\nConnection: TE, Close\r\n\r\n").keep_alive);
        assert!(head("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").keep_alive);
        for line in [
            "Content-Length: 5",
            "Content-Length: x",
            "Transfer-Encoding: chunked",
        ] {
            assert!(
                head(&format!("POST / HTTP/1.1\r\n{line}\r\n\r\n")).has_body,
                "{line}"
            );
        }
    }

    #[test]
    fn a_wrong_head_gets_its_status() {
        for (text, status) in [
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("\x16\x03\x01\x02\x00\x01\x00\x01", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                400,
            ),
            ("GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        ] {
            assert_eq!(parse(text.as_bytes()), Parsed::Wrong(status), "{text:?}");
        }
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_HEADER_LINES + 1)
        );
        assert_eq!(parse(many.as_bytes()), Parsed::Wrong(431));
        let long = format!("GET /{}", "a".repeat(MAX_HEAD));
        assert_eq!(parse(long.as_bytes()), Parsed::Wrong(431));
        for host in ["a b", "a/b", "a>", "", "ü", "a\"b"] {
            let read = head(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(read.base(), None, "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), from in 0_usize..400) {
            let _ = (parse(&bytes), may_end(&bytes, from));
        }

        #[test]
        fn no_corrupted_head_makes_it_panic(
            at in 0_usize..100, byte in proptest::num::u8::ANY, cut in 0_usize..130
        ) {
            let mut bytes = b"GET http://h/api/models/a/b?cursor=x HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\nIf-Range: \"x\"\r\n\r\n".to_vec();
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = parse(&bytes);
        }
    }
}
