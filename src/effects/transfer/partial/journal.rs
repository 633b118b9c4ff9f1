//! The files beside a partial file: its journal, and the list of its chunks.
//!
//! Both consist of appended lines of a fixed length. A torn last line is ignored.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk::create_private;
use crate::effects::files;
use crate::effects::store::hash::Bytes32;
use crate::effects::store::layout::TEMPORARY;
use crate::effects::transfer::chunks::RecoveredChunk;

/// Length of a journal line: an offset, little-endian, and a digest, padded with zeros.
pub(super) const LINE_BYTES: usize = 40;
/// Length of a line in the chunk list: start, end, and a SHA-256.
const CHUNK_LINE_BYTES: usize = 48;

/// Largest journal or list that is read: one line a second for two days.
const MAX_JOURNAL: u64 = 8 << 20;

/// Parses the offset and the digest of a line.
fn read_line(line: &[u8]) -> (u64, Bytes32) {
    let (mut offset, mut digest) = ([0; 8], Bytes32::default());
    offset.copy_from_slice(&line[..8]);
    digest.copy_from_slice(&line[8..LINE_BYTES]);
    (u64::from_le_bytes(offset), digest)
}

/// Returns the line of an offset and a digest.
pub(super) fn write_line(offset: u64, digest: Bytes32) -> [u8; LINE_BYTES] {
    let mut line = [0; LINE_BYTES];
    line[..8].copy_from_slice(&offset.to_le_bytes());
    line[8..].copy_from_slice(&digest);
    line
}

/// Returns the offsets and digests of a journal, up to the first invalid line.
///
/// # Errors
/// If it cannot be read. A missing journal is an error too.
pub(in crate::effects) fn read_journal(path: &Path) -> io::Result<Vec<(u64, Bytes32)>> {
    Ok(parse_journal(&files::read(path, MAX_JOURNAL)?).collect())
}

/// Parses the offsets and digests of a journal, up to the first invalid line.
pub(super) fn parse_journal(bytes: &[u8]) -> impl Iterator<Item = (u64, Bytes32)> {
    let mut last = 0;
    let lines = bytes.chunks_exact(LINE_BYTES).map(read_line);
    lines.take_while(move |(offset, _)| std::mem::replace(&mut last, *offset) < *offset)
}

/// Returns the path of a partial file's journal.
pub(super) fn journal_of(partial: &Path) -> PathBuf {
    partial.with_extension("record")
}

/// Returns the path of a partial file's chunk list.
pub(super) fn chunk_list_of(partial: &Path) -> PathBuf {
    partial.with_extension("ahead")
}

fn parse_chunk(line: &[u8]) -> RecoveredChunk {
    let (mut from, (to, digest)) = ([0; 8], read_line(&line[8..]));
    from.copy_from_slice(&line[..8]);
    (u64::from_le_bytes(from), to, digest)
}

/// Returns the listed chunks between `at` and `end`.
pub(super) fn read_chunks(path: &Path, at: u64, end: u64) -> Vec<RecoveredChunk> {
    let bytes = files::read(path, MAX_JOURNAL).unwrap_or_default();
    let lines = bytes.chunks_exact(CHUNK_LINE_BYTES).map(parse_chunk);
    lines
        .filter(|(from, to, _)| *from >= at && from < to && *to <= end)
        .collect()
}

/// Removes chunks outside of this range from the list.
pub(super) fn drop_chunks(partial: &Path, range: Range<u64>) -> io::Result<()> {
    let path = chunk_list_of(partial);
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
        let new = partial.with_extension(TEMPORARY);
        let mut file = create_private(&new)?;
        file.write_all(&kept.concat())?;
        file.sync_all()?;
        std::fs::rename(new, path)?;
    }
    Ok(())
}

/// Adds a synced chunk to the list; returns the open list.
pub(super) fn append_chunk(partial: &Path, from: u64, to: u64, digest: Bytes32) -> io::Result<File> {
    let mut line = from.to_le_bytes().to_vec();
    line.extend(write_line(to, digest));
    let mut log = files::open_to_append(&chunk_list_of(partial))?;
    log.write_all(&line)?;
    Ok(log)
}

/// Returns the number of bytes that the journal and the chunk list cover.
pub(in crate::effects) fn valid_bytes(partial: &Path) -> u64 {
    // A copy that was killed is shorter than its journal says.
    let length = std::fs::metadata(partial).map_or(0, |meta| meta.len());
    recorded_ranges(partial, length)
        .iter()
        .map(|(from, to)| to - from)
        .sum()
}

/// Returns the ranges of a partial file of `length` bytes that the journal and the chunk list cover.
pub(super) fn recorded_ranges(partial: &Path, length: u64) -> Vec<(u64, u64)> {
    let record = read_journal(&journal_of(partial)).unwrap_or_default();
    let offsets = record.iter().map(|(offset, _)| *offset);
    let at = offsets.take_while(|offset| *offset <= length).last().unwrap_or(0);
    let chunks = read_chunks(&chunk_list_of(partial), at, length);
    let chunks = chunks.iter().map(|(from, to, _)| (*from, *to));
    [(0, at)].into_iter().filter(|_| at > 0).chain(chunks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_up_to_the_first_invalid_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = Vec::new();
        for offset in [5_u64, 9, 9, 12] {
            bytes.extend(write_line(offset, [7; 32]));
        }
        bytes.push(1);
        std::fs::write(file.path(), bytes).unwrap();
        assert_eq!(read_journal(file.path()).unwrap(), [(5, [7; 32]), (9, [7; 32])]);
    }
}
