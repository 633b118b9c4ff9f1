//! What lies beside a part, and proves it: how far it is, and which chunks helpers wrote.
//!
//! Both are lines of a fixed length, appended: a torn last line is no line. Not in this module: hashing what they state.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk::create_private;
use crate::effects::files;
use crate::effects::store::hash::Bytes32;
use crate::effects::store::layout::TEMPORARY;
use crate::effects::transfer::chunks::RecoveredChunk;

/// Bytes between two records: what a kill costs at most, for each file under way.
pub(in crate::effects) const JOURNAL_STEP: u64 = 4 << 20;
/// One line of a record: a place, little-endian, and a digest, padded with zeros.
pub(super) const LINE_BYTES: usize = 40;
/// One line of what helpers wrote: from, to, and a SHA-256.
const CHUNK_LINE_BYTES: usize = 48;

/// Most that is read of either: a line a second for two days.
const MAX_JOURNAL: u64 = 8 << 20;

/// A line's place and digest.
fn read_line(line: &[u8]) -> (u64, Bytes32) {
    let (mut place, mut digest) = ([0; 8], Bytes32::default());
    place.copy_from_slice(&line[..8]);
    digest.copy_from_slice(&line[8..LINE_BYTES]);
    (u64::from_le_bytes(place), digest)
}

/// The line of a place and a digest.
pub(super) fn write_line(place: u64, digest: Bytes32) -> [u8; LINE_BYTES] {
    let mut line = [0; LINE_BYTES];
    line[..8].copy_from_slice(&place.to_le_bytes());
    line[8..].copy_from_slice(&digest);
    line
}

/// The places and digests of a record, as far as they make sense.
///
/// # Errors
/// When it cannot be read: one that is not there proves nothing, and is none.
pub(in crate::effects) fn read_journal(path: &Path) -> io::Result<Vec<(u64, Bytes32)>> {
    Ok(parse_journal(&files::read(path, MAX_JOURNAL)?).collect())
}

/// The places and digests in the bytes of a record, as far as they make sense.
pub(super) fn parse_journal(bytes: &[u8]) -> impl Iterator<Item = (u64, Bytes32)> {
    let mut last = 0;
    let lines = bytes.chunks_exact(LINE_BYTES).map(read_line);
    lines.take_while(move |(place, _)| std::mem::replace(&mut last, *place) < *place)
}

/// Where a part's record is.
pub(super) fn journal_of(part: &Path) -> PathBuf {
    part.with_extension("record")
}

/// Where it is told which chunks of a part helpers wrote.
pub(super) fn chunk_list_of(part: &Path) -> PathBuf {
    part.with_extension("ahead")
}

fn parse_chunk(line: &[u8]) -> RecoveredChunk {
    let (mut from, (to, digest)) = ([0; 8], read_line(&line[8..]));
    from.copy_from_slice(&line[..8]);
    (u64::from_le_bytes(from), to, digest)
}

/// The chunks that lie between `at` and `end`.
pub(super) fn read_chunks(path: &Path, at: u64, end: u64) -> Vec<RecoveredChunk> {
    let bytes = files::read(path, MAX_JOURNAL).unwrap_or_default();
    let lines = bytes.chunks_exact(CHUNK_LINE_BYTES).map(parse_chunk);
    lines
        .filter(|(from, to, _)| *from >= at && from < to && *to <= end)
        .collect()
}

/// Forgets the chunks of a part that do not lie in this range.
pub(super) fn drop_chunks(part: &Path, range: Range<u64>) -> io::Result<()> {
    let path = chunk_list_of(part);
    if !path.exists() {
        return Ok(());
    }
    let lines = files::read(&path, MAX_JOURNAL)?;
    let lines = lines.chunks_exact(CHUNK_LINE_BYTES);
    let is_kept = |line: &&[u8]| {
        let (from, to, _) = parse_chunk(line);
        from >= range.start && to <= range.end
    };
    let kept: Vec<&[u8]> = lines.clone().filter(is_kept).collect();
    if kept.is_empty() {
        return std::fs::remove_file(&path);
    }
    if kept.len() < lines.len() {
        let new = part.with_extension(TEMPORARY);
        let mut file = create_private(&new)?;
        file.write_all(&kept.concat())?;
        file.sync_all()?;
        std::fs::rename(new, path)?;
    }
    Ok(())
}

/// Notes a chunk of the part that is all there; returns the file with the line.
pub(super) fn append_chunk(part: &Path, from: u64, to: u64, digest: Bytes32) -> io::Result<File> {
    let mut line = from.to_le_bytes().to_vec();
    line.extend(write_line(to, digest));
    let mut log = files::open_to_append(&chunk_list_of(part))?;
    log.write_all(&line)?;
    Ok(log)
}

/// Bytes of a part that its record, and those of its helpers, say are there.
pub(in crate::effects) fn valid_bytes(part: &Path) -> u64 {
    // A copy that was killed is shorter than what is told of it.
    let length = std::fs::metadata(part).map_or(0, |meta| meta.len());
    recorded_ranges(part, length)
        .iter()
        .map(|(from, to)| to - from)
        .sum()
}

/// The ranges of which is told beside a part of `length` bytes that they are there: what its own worker wrote, and the
/// chunks of its helpers.
pub(super) fn recorded_ranges(part: &Path, length: u64) -> Vec<(u64, u64)> {
    let record = read_journal(&journal_of(part)).unwrap_or_default();
    let places = record.iter().map(|(place, _)| *place);
    let at = places.take_while(|place| *place <= length).last().unwrap_or(0);
    let chunks = read_chunks(&chunk_list_of(part), at, length);
    let chunks = chunks.iter().map(|(from, to, _)| (*from, *to));
    [(0, at)].into_iter().filter(|_| at > 0).chain(chunks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_far_as_it_makes_sense() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = Vec::new();
        for place in [5_u64, 9, 9, 12] {
            bytes.extend(write_line(place, [7; 32]));
        }
        bytes.push(1);
        std::fs::write(file.path(), bytes).unwrap();
        assert_eq!(read_journal(file.path()).unwrap(), [(5, [7; 32]), (9, [7; 32])]);
    }
}
