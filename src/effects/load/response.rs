//! A response of HTTP/1.1, read as its bytes come.

/// Most bytes of a head, and of the line before a chunk.
const MAX_HEAD: usize = 64 << 10;
const MAX_LINE: usize = 4 << 10;

/// The bytes are no response of HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads responses of one connection, one after the other.
#[derive(Debug, Default)]
pub(super) struct ResponseReader {
    held: Vec<u8>,
    place: Place,
    /// The status; 0 before the head is complete.
    pub(super) status: u16,
    /// True if the connection can carry another request.
    pub(super) keeps_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Head,
    /// So many bytes of the body are left.
    Length(u64),
    ChunkSize,
    /// So many bytes of the chunk are left, and then its line end.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
    Complete,
}

impl ResponseReader {
    /// Makes the reader ready for the next response.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.place = Place::Head;
        self.status = 0;
        self.keeps_alive = false;
    }

    /// Returns true if the response is complete.
    pub(super) const fn is_complete(&self) -> bool {
        matches!(self.place, Place::Complete)
    }

    /// Returns true if no byte of the response has come.
    pub(super) const fn is_untouched(&self) -> bool {
        matches!(self.place, Place::Head) && self.held.is_empty()
    }

    /// Takes the end of the connection. Returns true if it is the end of a response that lasts until then.
    pub(super) const fn close(&mut self) -> bool {
        if matches!(self.place, Place::UntilClose) {
            self.place = Place::Complete;
        }
        self.is_complete()
    }

    /// Adds bytes, and passes those of the body on with the status. Bytes behind the end of the response are an error, because nothing was asked.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        on_body: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            bytes = match self.place {
                Place::Head => self.read_head(bytes)?,
                Place::Length(left) => {
                    let (part, rest) = split(bytes, left);
                    on_body(self.status, part);
                    let left = left - part.len() as u64;
                    self.place = if left == 0 {
                        Place::Complete
                    } else {
                        Place::Length(left)
                    };
                    rest
                }
                Place::Chunk(left) => {
                    let (part, rest) = split(bytes, left);
                    on_body(self.status, part);
                    let left = left - part.len() as u64;
                    self.place = if left == 0 {
                        Place::ChunkEnd
                    } else {
                        Place::Chunk(left)
                    };
                    rest
                }
                Place::ChunkSize | Place::ChunkEnd | Place::Trailer => self.read_line(bytes)?,
                Place::UntilClose => {
                    on_body(self.status, bytes);
                    &[]
                }
                Place::Complete => return Err(Malformed("bytes behind the end of the response")),
            };
        }
        Ok(())
    }

    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let before = self.held.len();
        self.held.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; 96];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response
            .parse(&self.held)
            .map_err(|_| Malformed("it does not begin with a head of HTTP/1.1"))?;
        let httparse::Status::Complete(length) = parsed else {
            let is_too_long = self.held.len() > MAX_HEAD;
            return if is_too_long {
                Err(Malformed("its head is longer than 64 KiB"))
            } else {
                Ok(&[])
            };
        };
        let status = response.code.unwrap_or(0);
        let is_newer = response.version == Some(1);
        let mut length_of_body = None;
        let (mut is_chunked, mut closes) = (false, !is_newer);
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                let length: u64 = value
                    .parse()
                    .map_err(|_| Malformed("its Content-Length is no number"))?;
                length_of_body = Some(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.eq_ignore_ascii_case("chunked");
            } else if header.name.eq_ignore_ascii_case("connection") {
                closes = value.eq_ignore_ascii_case("close");
            }
        }
        let rest = &bytes[length - before..];
        self.held.clear();
        if (100..200).contains(&status) {
            // "100 Continue" and its like: the response itself follows.
            return Ok(rest);
        }
        self.status = status;
        self.keeps_alive = !closes;
        // RFC 9112, 6.3.
        self.place = match length_of_body {
            _ if is_chunked => Place::ChunkSize,
            _ if status == 204 || status == 304 => Place::Complete,
            Some(0) => Place::Complete,
            Some(length) => Place::Length(length),
            None => {
                self.keeps_alive = false;
                Place::UntilClose
            }
        };
        Ok(rest)
    }

    /// Reads a line of the chunked coding (RFC 9112, 7.1).
    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.held.extend_from_slice(bytes);
            let is_too_long = self.held.len() > MAX_LINE;
            return if is_too_long {
                Err(Malformed("a line of the chunked coding has no end"))
            } else {
                Ok(&[])
            };
        };
        let place = if self.held.is_empty() {
            after_line(self.place, &bytes[..end])?
        } else {
            self.held.extend_from_slice(&bytes[..end]);
            let place = after_line(self.place, &self.held)?;
            self.held.clear();
            place
        };
        self.place = place;
        Ok(&bytes[end + 1..])
    }
}

fn after_line(place: Place, line: &[u8]) -> Result<Place, Malformed> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match place {
        Place::ChunkEnd if line.is_empty() => Ok(Place::ChunkSize),
        Place::ChunkEnd => Err(Malformed("a chunk is longer than it says")),
        Place::Trailer => Ok(if line.is_empty() {
            Place::Complete
        } else {
            Place::Trailer
        }),
        _ => {
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(size).unwrap_or_default().trim();
            let size =
                u64::from_str_radix(size, 16).map_err(|_| Malformed("the size of a chunk is no number"))?;
            Ok(if size == 0 {
                Place::Trailer
            } else {
                Place::Chunk(size)
            })
        }
    }
}

fn split(bytes: &[u8], left: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a response in parts of `size` bytes.
    fn read(text: &str, size: usize) -> Result<(u16, String, bool, bool), Malformed> {
        let (mut reader, mut body) = (ResponseReader::default(), Vec::new());
        for part in text.as_bytes().chunks(size) {
            reader.push(part, &mut |_, bytes| body.extend_from_slice(bytes))?;
        }
        let text = String::from_utf8(body).unwrap();
        Ok((reader.status, text, reader.is_complete(), reader.keeps_alive))
    }

    #[test]
    fn bodies_end_by_their_length_by_their_last_chunk_or_with_the_connection() {
        let table = [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
                (200, "hello", true, true),
            ),
            (
                "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                (503, "", true, false),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
                (200, "hello!", true, true),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
                (200, "0123456789", true, true),
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\nuntil the end",
                (200, "until the end", false, false),
            ),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
                (200, "ok", true, false),
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
                (204, "", true, true),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
                (200, "hel", false, true),
            ),
        ];
        for (text, (status, body, is_complete, keeps_alive)) in table {
            for size in [1, 2, 3, 7, text.len()] {
                let expected = (status, body.to_owned(), is_complete, keeps_alive);
                assert_eq!(read(text, size), Ok(expected), "{text:?} in parts of {size}");
            }
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let endless = format!("{chunked}{}", "1".repeat(MAX_LINE + 1));
        for text in [
            "<html>",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            &format!("{chunked}zz\r\n"),
            &format!("{chunked}1\r\nab\r\n"),
            &endless,
            &long,
        ] {
            assert!(read(text, 1000).is_err(), "{text:.80}");
        }
    }

    #[test]
    fn the_end_of_a_connection_ends_only_a_response_without_length() {
        let mut reader = ResponseReader::default();
        assert!(!reader.close() && reader.is_untouched());
        reader.push(b"HTTP/1.1 200 OK\r\n\r\nx", &mut |_, _| ()).unwrap();
        assert!(reader.close());
        reader.clear();
        reader
            .push(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", &mut |_, _| ())
            .unwrap();
        assert!(!reader.close() && !reader.is_untouched());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), size in 1_usize..50) {
            let head: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            for start in [&b""[..], head] {
                let mut reader = ResponseReader::default();
                let all = [start, &bytes].concat();
                for part in all.chunks(size) {
                    if reader.push(part, &mut |_, _| ()).is_err() {
                        break;
                    }
                }
            }
        }
    }
}
