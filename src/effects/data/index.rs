//! The places of the records of a file, by one reading from its beginning to its end: 8 bytes for each record.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::effects::files;
use crate::error::{At, Error, Kind, Result};
use crate::measure::ElementSplitter;
use crate::units::hex;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// The mark of UTF-8 at the beginning of a file (Unicode 16.0, section 23.8). It belongs to no record.
const MARK: &[u8; 3] = b"\xef\xbb\xbf";
/// Bits of the length in a place, and so the longest record: a longer one is broken.
const LENGTH_BITS: u32 = 24;
const LONGEST: u64 = (1 << LENGTH_BITS) - 1;
/// Most records: their places have 128 MiB. Later ones are not used.
const MOST: usize = 1 << 24;

/// The records of a file: its lines, or the elements of its array.
#[derive(Debug, Clone)]
pub(in crate::effects) struct Index {
    file: Arc<File>,
    places: Arc<Vec<Place>>,
    /// True for an array, whose records are no lines.
    pub(in crate::effects) is_array: bool,
    /// The hash of the whole file, in hexadecimal.
    pub(in crate::effects) sha256: String,
    /// Its size.
    pub(in crate::effects) bytes: u64,
}

/// The place of a record: its first byte in the upper 40 bits, its length below.
#[derive(Debug, Clone, Copy)]
struct Place(u64);

impl Place {
    fn new(from: u64, to: u64) -> Option<Self> {
        let length = to.saturating_sub(from).min(LONGEST);
        let from = (from >> (u64::BITS - LENGTH_BITS) == 0).then_some(from << LENGTH_BITS)?;
        Some(Self(from | length))
    }

    const fn from(self) -> u64 {
        self.0 >> LENGTH_BITS
    }

    const fn length(self) -> u64 {
        self.0 & LONGEST
    }
}

/// A record that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its bytes; none for an empty line.
    Bytes(Vec<u8>),
    /// It is too long, or cannot be read.
    Broken(String),
}

impl Index {
    /// Reads a file once.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it cannot be read, is no file, or is larger than a tebibyte.
    pub(in crate::effects) fn read(path: &Path) -> Result<Self> {
        let what = || format!("cannot read `{}`", path.display());
        let mut file = files::open_through(path).at(Kind::Usage, what)?;
        let metadata = file.metadata().at(Kind::Usage, what)?;
        if !metadata.is_file() {
            return Err(Error::new(Kind::Usage, what()).cause("it is not a file"));
        }
        let mut reading = Reading::default();
        let mut hash = Sha256::new();
        let mut mark = [0; MARK.len()];
        if file.read_exact_at(&mut mark, 0).is_ok() && mark == *MARK {
            let end = file.seek(SeekFrom::Start(MARK.len() as u64));
            reading.skip(end.at(Kind::Usage, what)?);
            hash.update(MARK);
        }
        let mut piece = vec![0; PIECE];
        loop {
            let count = match file.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).at(Kind::Usage, what),
            };
            hash.update(&piece[..count]);
            reading.add(&piece[..count]);
        }
        reading.finish();
        if reading.is_too_large {
            return Err(Error::new(Kind::Usage, what()).cause("it is larger than a tebibyte"));
        }
        Ok(Self {
            file: Arc::new(file),
            is_array: matches!(reading.shape, Shape::Array(_)),
            sha256: hex(&hash.finalize()),
            bytes: reading.at,
            places: Arc::new(reading.places),
        })
    }

    /// Returns the number of records, empty lines included.
    pub(in crate::effects) fn count(&self) -> usize {
        self.places.len()
    }

    /// Returns the place of a record in words.
    pub(super) fn name(&self, record: usize) -> String {
        let kind = if self.is_array { "element" } else { "line" };
        format!("{kind} {}", record + 1)
    }

    /// Reads a record.
    pub(super) fn look_at(&self, record: usize) -> Found {
        let Some(place) = self.places.get(record) else {
            return Found::Bytes(Vec::new());
        };
        if place.length() == LONGEST {
            return Found::Broken("it is longer than 16 MiB".to_owned());
        }
        let mut bytes = vec![0; usize::try_from(place.length()).unwrap_or(0)];
        match self.file.read_exact_at(&mut bytes, place.from()) {
            Ok(()) => Found::Bytes(bytes.trim_ascii().to_vec()),
            Err(error) => Found::Broken(format!("it cannot be read: {error}")),
        }
    }
}

/// The reading of a file.
#[derive(Default)]
struct Reading {
    at: u64,
    /// The first byte after the mark.
    begin: u64,
    places: Vec<Place>,
    shape: Shape,
    is_too_large: bool,
}

/// The shape of a file, by its first character.
#[derive(Default)]
enum Shape {
    /// Nothing but space so far.
    #[default]
    Unknown,
    /// A record on each line; the first byte of the line that is being read.
    Lines(u64),
    /// A JSON array.
    Array(ElementSplitter),
}

impl Reading {
    /// Leaves out the bytes of a mark at the beginning.
    const fn skip(&mut self, bytes: u64) {
        (self.at, self.begin) = (bytes, bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Shape::Unknown = self.shape {
            self.shape = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => Shape::Unknown,
                Some(b'[') => {
                    let mut splitter = ElementSplitter::default();
                    // The space before the array has places, too.
                    splitter.skip(self.at);
                    Shape::Array(splitter)
                }
                Some(_) => Shape::Lines(self.begin),
            };
        }
        let (places, is_too_large) = (&mut self.places, &mut self.is_too_large);
        let mut keep = |from, to| *is_too_large |= !add_place(places, from, to);
        match &mut self.shape {
            Shape::Unknown => {}
            Shape::Array(splitter) => splitter.push(bytes, &mut keep),
            Shape::Lines(begin) => {
                for offset in memchr::memchr_iter(b'\n', bytes) {
                    let end = self.at + offset as u64;
                    keep(*begin, end);
                    *begin = end + 1;
                }
            }
        }
        self.at += bytes.len() as u64;
    }

    fn finish(&mut self) {
        let (places, is_too_large) = (&mut self.places, &mut self.is_too_large);
        let mut keep = |from, to| *is_too_large |= !add_place(places, from, to);
        match &mut self.shape {
            Shape::Array(splitter) => splitter.finish(&mut keep),
            Shape::Lines(begin) if *begin < self.at => keep(*begin, self.at),
            Shape::Unknown | Shape::Lines(_) => {}
        }
    }
}

/// Adds the place of a record, as long as there is room. Returns false if it is too far behind.
fn add_place(places: &mut Vec<Place>, from: u64, to: u64) -> bool {
    let place = Place::new(from, to);
    if let Some(place) = place.filter(|_| places.len() < MOST) {
        places.push(place);
    }
    place.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &[u8]) -> Index {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, text).unwrap();
        Index::read(&path).unwrap()
    }

    fn records(index: &Index) -> Vec<String> {
        let text = |record| match index.look_at(record) {
            Found::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
            Found::Broken(reason) => reason,
        };
        (0..index.count()).map(text).collect()
    }

    #[test]
    fn lines_and_elements_have_their_places() {
        let lines = index(b"{\"a\":1}\r\n\n {\"b\":2}\n{\"c\":");
        assert_eq!(records(&lines), ["{\"a\":1}", "", "{\"b\":2}", "{\"c\":"]);
        assert_eq!(lines.name(2), "line 3");
        assert_eq!(
            lines.sha256,
            hex(&Sha256::digest(b"{\"a\":1}\r\n\n {\"b\":2}\n{\"c\":"))
        );
        let array = index(b"\n [{\"a\": [1]},\n {\"b\" 2} ]\n");
        assert_eq!(records(&array), ["{\"a\": [1]}", "{\"b\" 2}"]);
        assert_eq!(array.name(1), "element 2");
        assert_eq!(index(b" \n ").count(), 0);
        assert_eq!(index(b"").count(), 0);
    }

    #[test]
    fn a_mark_of_the_byte_order_belongs_to_no_record() {
        let lines = index(b"\xef\xbb\xbf{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(records(&lines), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(lines.bytes, 19);
        let whole = Sha256::digest(b"\xef\xbb\xbf{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(lines.sha256, hex(&whole));
        let array = index(b"\xef\xbb\xbf\n [1, {}]");
        assert!(array.is_array);
        assert_eq!(records(&array), ["1", "{}"]);
        assert_eq!(index(b"\xef\xbb\xbf").count(), 0);
    }

    #[test]
    fn bytes_after_the_end_of_an_array_are_a_broken_record() {
        let array = index(b"[{\"a\": 1}}, {\"b\": 2}] {\"c\": 3}");
        assert_eq!(records(&array), ["{\"a\": 1}}", "{\"b\": 2}", "] {\"c\": 3}"]);
    }

    #[test]
    fn a_record_that_is_too_long_is_broken_and_the_next_one_is_not() {
        let mut text = vec![b'x'; usize::try_from(LONGEST).unwrap() + 10];
        text.extend_from_slice(b"\n{}\n");
        assert_eq!(records(&index(&text)), ["it is longer than 16 MiB", "{}"]);
    }

    #[test]
    fn a_folder_and_an_absent_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("none")] {
            let error = Index::read(&path).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
        }
    }
}
