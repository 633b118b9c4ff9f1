//! Text on standard input: lines as they arrive, or all of it.

use std::io::{BufRead, ErrorKind, Read};

use crate::error::{At, Error, Kind, Result};

/// Reads the next line of standard input, without its end, of at most `most` bytes; `None` at the end.
///
/// # Errors
/// [`Kind::Usage`] when it is longer, or not UTF-8.
pub fn read_line(most: usize) -> Result<Option<String>> {
    line_of(&mut std::io::stdin().lock(), most)
}

/// Reads the rest of standard input, of at most `most` bytes.
///
/// # Errors
/// [`Kind::Usage`] when it is longer, or not UTF-8.
pub fn read_all(most: usize) -> Result<String> {
    let mut bytes = Vec::new();
    let limit = most as u64 + 1;
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .at(Kind::Usage, unreadable)?;
    text_of(bytes, most)
}

fn line_of(stream: &mut impl BufRead, most: usize) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    // The line, its end, and one byte that shows that it is longer.
    let limit = most as u64 + 2;
    let read = stream.by_ref().take(limit).read_until(b'\n', &mut bytes);
    match read {
        // A terminal that was closed.
        Err(error) if error.raw_os_error() == Some(EIO) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read.at(Kind::Usage, unreadable)?,
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    text_of(bytes, most).map(Some)
}

/// Number of the error of a terminal that was closed (errno(3)).
const EIO: i32 = 5;

fn text_of(bytes: Vec<u8>, most: usize) -> Result<String> {
    if bytes.len() > most {
        let text = format!("a message on standard input is longer than {most} bytes");
        return Err(Error::new(Kind::Usage, text));
    }
    String::from_utf8(bytes).map_err(|error| {
        Error::new(Kind::Usage, unreadable())
            .cause(format!(
                "it is not UTF-8 at byte {}",
                error.utf8_error().valid_up_to()
            ))
            .hint("convert it, as in: iconv -t UTF-8")
    })
}

fn unreadable() -> String {
    "cannot read standard input".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_up_to_a_limit() {
        let mut stream: &[u8] = b"one\r\n\ntwo";
        let mut next = || line_of(&mut stream, 10).unwrap();
        assert_eq!(next().unwrap(), "one");
        assert_eq!(next().unwrap(), "");
        assert_eq!(next().unwrap(), "two");
        assert_eq!(next(), None);
        assert_eq!(line_of(&mut &b"0123456789\n"[..], 10).unwrap().unwrap().len(), 10);
        for wrong in [&b"0123456789a\n"[..], b"\xff\n"] {
            let error = line_of(&mut &*wrong, 10).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
        }
    }
}
