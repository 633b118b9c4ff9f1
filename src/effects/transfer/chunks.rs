//! The chunks of one file: its own worker fetches from the front, and other workers fetch chunks from the end.
//!
//! Workers without a file help with others, so that the last shard does not hang on one slow connection. Every
//! byte has one writer at a time: a chunk is claimed before it is fetched, and the file's own worker waits for
//! claimed chunks. Fetched chunks are hashed when the file's own worker reaches them, in the file's order.

use std::collections::VecDeque;

use crate::effects::store::hash::Bytes32;

/// A chunk that an earlier pull fetched: start, end, SHA-256 of its bytes.
pub(super) type RecoveredChunk = (u64, u64, Bytes32);

/// The chunks of a file up to its end, in order. The bytes before the first chunk belong to the file's own
/// worker.
#[derive(Debug)]
pub(super) struct Chunks {
    size: u64,
    /// Size of a chunk.
    chunk: u64,
    list: VecDeque<Chunk>,
    /// True if no more chunks are given away.
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chunk {
    from: u64,
    to: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No worker fetches the chunk.
    Free,
    /// A worker fetches the chunk.
    Claimed,
    /// The chunk is on disk. A chunk of an earlier pull has a hash, because a disk can lose data that was not synced.
    Done(Option<Bytes32>),
}

/// The next step of the file's own worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The file is complete.
    End,
    /// Fetch up to this offset, or as far as [`Chunks::fetch_limit`] allows.
    Fetch(u64),
    /// Hash the data that is on disk up to this offset, and compare it with the chunk's hash if there is one.
    AcceptFromDisk(u64, Option<Bytes32>),
    /// Wait for the worker that fetches the next chunk.
    Wait,
}

impl Chunks {
    /// Creates the chunks of a file of `size` bytes, of which the first `front` bytes and the `recovered`
    /// chunks are there.
    pub(super) fn new(size: u64, chunk: u64, front: u64, mut recovered: Vec<RecoveredChunk>) -> Self {
        recovered.sort_unstable();
        let mut chunks = VecDeque::new();
        let mut end = front;
        for (from, to, digest) in recovered {
            if from < end || to <= from || to > size {
                continue;
            }
            // Ranges between two recovered chunks were claimed and never finished.
            if !chunks.is_empty() {
                push_free(&mut chunks, chunk, end, from);
            }
            chunks.push_back(Chunk {
                from,
                to,
                state: State::Done(Some(digest)),
            });
            end = to;
        }
        if !chunks.is_empty() {
            push_free(&mut chunks, chunk, end, size);
        }
        Self {
            size,
            chunk,
            list: chunks,
            closed: false,
        }
    }

    /// Returns the offset where the file's own worker stops fetching.
    pub(super) fn fetch_limit(&self) -> u64 {
        self.list.front().map_or(self.size, |chunk| chunk.from)
    }

    /// Returns the end of the range that the file's own worker requests. It includes claimed chunks, because
    /// their workers may fail while the stream is still open.
    fn request_end(&self) -> u64 {
        let done = self
            .list
            .iter()
            .find(|chunk| matches!(chunk.state, State::Done(_)));
        done.map_or(self.size, |chunk| chunk.from)
    }

    /// Returns the number of bytes in finished chunks.
    pub(super) fn done_bytes(&self) -> u64 {
        let done = self
            .list
            .iter()
            .filter(|chunk| matches!(chunk.state, State::Done(_)));
        done.map(|chunk| chunk.to - chunk.from).sum()
    }

    /// Returns the next step of the file's own worker, with `front` bytes there.
    pub(super) fn next_step(&mut self, front: u64) -> Next {
        // A claimed chunk stays in the list even if the front has passed it: the file must not be published
        // while somebody writes to it.
        let is_past = |chunk: &Chunk| chunk.to <= front && chunk.state != State::Claimed;
        while self.list.front().is_some_and(is_past) {
            self.list.pop_front();
        }
        if front >= self.size && self.list.is_empty() {
            return Next::End;
        }
        match self.list.front().copied() {
            Some(chunk) if chunk.from <= front => match chunk.state {
                State::Done(digest) => Next::AcceptFromDisk(chunk.to, digest),
                State::Claimed => Next::Wait,
                State::Free => {
                    self.list.pop_front();
                    Next::Fetch(self.request_end())
                }
            },
            _ => Next::Fetch(self.request_end()),
        }
    }

    /// Returns the number of bytes that other workers could claim, with `front` bytes there.
    pub(super) fn claimable_bytes(&self, front: u64) -> u64 {
        if self.closed {
            return 0;
        }
        let free = self.list.iter().filter(|chunk| chunk.state == State::Free);
        // The first free chunk is the next one of the file's own worker.
        let free: u64 = free.skip(1).map(|chunk| chunk.to - chunk.from).sum();
        let rest = self.fetch_limit().saturating_sub(front);
        free + if rest >= 2 * self.chunk { rest } else { 0 }
    }

    /// Claims a chunk; returns its range.
    pub(super) fn claim_chunk(&mut self, front: u64) -> Option<(u64, u64)> {
        if self.claimable_bytes(front) == 0 {
            return None;
        }
        let limit = self.fetch_limit();
        if limit.saturating_sub(front) >= 2 * self.chunk {
            let chunk = Chunk {
                from: limit - self.chunk,
                to: limit,
                state: State::Claimed,
            };
            self.list.push_front(chunk);
            return Some((chunk.from, chunk.to));
        }
        let free = self.list.iter_mut().filter(|chunk| chunk.state == State::Free);
        let chunk = free.last()?;
        chunk.state = State::Claimed;
        Some((chunk.from, chunk.to))
    }

    /// Ends a claim. The bytes before `done_to` are there, and the rest is free again.
    pub(super) fn finish_claim(&mut self, from: u64, done_to: u64) {
        let is_it = |chunk: &Chunk| chunk.from == from && chunk.state == State::Claimed;
        if let Some(index) = self.list.iter().position(is_it) {
            let chunk = &mut self.list[index];
            let to = chunk.to;
            chunk.state = State::Free;
            if done_to > from {
                (chunk.to, chunk.state) = (done_to.min(to), State::Done(None));
                let rest = Chunk {
                    from: chunk.to,
                    to,
                    state: State::Free,
                };
                if rest.from < to {
                    self.list.insert(index + 1, rest);
                }
            }
        }
        // Free chunks at the front go back to the file's own worker, whose stream continues over them.
        while self.list.front().is_some_and(|chunk| chunk.state == State::Free) {
            self.list.pop_front();
        }
    }

    /// Marks a chunk on disk as corrupt, so that it is fetched again.
    pub(super) fn mark_corrupt(&mut self, to: u64) {
        if let Some(chunk) = self.list.iter_mut().find(|chunk| chunk.to == to) {
            chunk.state = State::Free;
        }
    }

    /// Returns whether no more chunks are given away. Chunks in progress are then useless.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Stops giving chunks away; returns whether none is claimed.
    pub(super) fn close(&mut self) -> bool {
        self.closed = true;
        self.list.iter().all(|chunk| chunk.state != State::Claimed)
    }

    /// Starts over with no chunks.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.size, self.chunk, 0, Vec::new());
    }
}

fn push_free(chunks: &mut VecDeque<Chunk>, chunk: u64, mut from: u64, to: u64) {
    while from < to {
        let end = to.min(from + chunk);
        chunks.push_back(Chunk {
            from,
            to: end,
            state: State::Free,
        });
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::hub::limits::Limits;

    const CHUNK_BYTES: u64 = Limits::DEFAULT.chunk;
    const SIZE: u64 = 10 * CHUNK_BYTES + 5;

    #[test]
    fn chunks_are_claimed_from_the_end() {
        let mut chunks = Chunks::new(SIZE, CHUNK_BYTES, 0, Vec::new());
        assert_eq!(chunks.claim_chunk(0), Some((SIZE - CHUNK_BYTES, SIZE)));
        assert_eq!(
            chunks.claim_chunk(0),
            Some((SIZE - 2 * CHUNK_BYTES, SIZE - CHUNK_BYTES))
        );
        // The request covers everything, because other workers may fail; the limit is the first claimed chunk.
        assert_eq!(
            (chunks.next_step(0), chunks.fetch_limit()),
            (Next::Fetch(SIZE), SIZE - 2 * CHUNK_BYTES)
        );
        // The rest is not worth a connection.
        assert_eq!(chunks.claim_chunk(SIZE - 3 * CHUNK_BYTES), None);
        let front = SIZE - 2 * CHUNK_BYTES;
        assert_eq!(chunks.next_step(front), Next::Wait);
        chunks.finish_claim(front, SIZE);
        assert_eq!(
            chunks.next_step(front),
            Next::AcceptFromDisk(SIZE - CHUNK_BYTES, None)
        );
        assert_eq!(chunks.next_step(SIZE - CHUNK_BYTES), Next::Wait);
        chunks.finish_claim(SIZE - CHUNK_BYTES, 0);
        assert_eq!(chunks.next_step(SIZE - CHUNK_BYTES), Next::Fetch(SIZE));
        assert_eq!(chunks.next_step(SIZE), Next::End);
    }

    /// A hub that serves one stream and refuses all others.
    #[test]
    fn a_failed_chunk_goes_back_to_the_files_own_worker() {
        let mut chunks = Chunks::new(SIZE, CHUNK_BYTES, 0, Vec::new());
        let (last, _) = chunks.claim_chunk(0).unwrap();
        let (first, _) = chunks.claim_chunk(0).unwrap();
        chunks.finish_claim(last, 0);
        assert_eq!(chunks.fetch_limit(), first, "somebody holds a chunk before it");
        chunks.finish_claim(first, 0);
        assert_eq!(chunks.fetch_limit(), SIZE);
    }

    #[test]
    fn chunks_of_an_earlier_pull_are_accepted_and_the_rest_is_fetched() {
        let chunk = |number: u64| {
            (
                SIZE - number * CHUNK_BYTES,
                SIZE - (number - 1) * CHUNK_BYTES,
                [1; 32],
            )
        };
        let mut chunks = Chunks::new(
            SIZE,
            CHUNK_BYTES,
            7,
            vec![chunk(1), chunk(4), chunk(3), (3, 9, [1; 32])],
        );
        assert_eq!(chunks.done_bytes(), 3 * CHUNK_BYTES);
        assert_eq!(chunks.next_step(7), Next::Fetch(SIZE - 4 * CHUNK_BYTES));
        assert_eq!(
            chunks.next_step(SIZE - 4 * CHUNK_BYTES),
            Next::AcceptFromDisk(SIZE - 3 * CHUNK_BYTES, Some([1; 32]))
        );
        chunks.mark_corrupt(SIZE - 3 * CHUNK_BYTES);
        assert_eq!(
            chunks.next_step(SIZE - 4 * CHUNK_BYTES),
            Next::Fetch(SIZE - 3 * CHUNK_BYTES)
        );
        assert_eq!(
            chunks.next_step(SIZE - 3 * CHUNK_BYTES),
            Next::AcceptFromDisk(SIZE - 2 * CHUNK_BYTES, Some([1; 32]))
        );
        assert_eq!(
            chunks.next_step(SIZE - 2 * CHUNK_BYTES),
            Next::Fetch(SIZE - CHUNK_BYTES)
        );
    }

    /// The part of a chunk that arrived before its stream broke is not fetched again.
    #[test]
    fn a_chunk_that_arrived_in_part_is_accepted_in_part() {
        let mut chunks = Chunks::new(SIZE, CHUNK_BYTES, 0, Vec::new());
        let (from, to) = chunks.claim_chunk(0).unwrap();
        chunks.finish_claim(from, from + 10);
        assert_eq!((chunks.done_bytes(), chunks.fetch_limit()), (10, from));
        assert_eq!(chunks.next_step(from), Next::AcceptFromDisk(from + 10, None));
        assert_eq!(chunks.next_step(from + 10), Next::Fetch(to));
    }

    #[test]
    fn a_restart_waits_for_claimed_chunks() {
        let mut chunks = Chunks::new(SIZE, CHUNK_BYTES, 0, Vec::new());
        let (from, _) = chunks.claim_chunk(0).unwrap();
        assert!(!chunks.close());
        assert_eq!(chunks.claim_chunk(0), None);
        chunks.finish_claim(from, SIZE);
        assert!(chunks.close());
        chunks.reset();
        assert_eq!(chunks.next_step(0), Next::Fetch(SIZE));
    }

    /// A Xet frame has up to 64 MiB: the file's own worker may write one while others still see the front
    /// before it.
    #[test]
    fn a_claim_inside_a_large_frame_delays_the_publication() {
        let mut chunks = Chunks::new(2 * CHUNK_BYTES, CHUNK_BYTES, 0, Vec::new());
        // The worker took the limit (the whole file) and writes one frame of 2 * CHUNK_BYTES; a chunk is
        // claimed meanwhile.
        assert_eq!(chunks.fetch_limit(), 2 * CHUNK_BYTES);
        assert_eq!(chunks.claim_chunk(0), Some((CHUNK_BYTES, 2 * CHUNK_BYTES)));
        // The frame is written and the chunk's worker still writes, so the file must not be published.
        assert_ne!(chunks.next_step(2 * CHUNK_BYTES), Next::End);
    }

    proptest::proptest! {
        /// For any sequence of steps: every byte is fetched or accepted once, in order, and never claimed
        /// twice.
        #[test]
        fn every_byte_has_one_writer(steps in proptest::collection::vec(0_u8..7, 0..200), size in 0_u64..(12 * CHUNK_BYTES)) {
            let mut chunks = Chunks::new(size, CHUNK_BYTES, 0, Vec::new());
            let (mut front, mut held): (u64, Vec<(u64, u64)>) = (0, Vec::new());
            for step in steps {
                match step {
                    0 | 1 => if let Some((from, to)) = chunks.claim_chunk(front) {
                        proptest::prop_assert!(from >= front && to <= size && from < to);
                        proptest::prop_assert!(held.iter().all(|(a, b)| to <= *a || *b <= from));
                        held.push((from, to));
                    },
                    2 => if let Some((from, to)) = held.pop() { chunks.finish_claim(from, to); },
                    6 => if let Some((from, to)) = held.pop() { chunks.finish_claim(from, from + (to - from) / 3); },
                    3 => if !held.is_empty() { let (from, _) = held.remove(0); chunks.finish_claim(from, 0); },
                    _ => match chunks.next_step(front) {
                        Next::End => proptest::prop_assert_eq!(front, size),
                        Next::Fetch(to) => {
                            let to = to.min(chunks.fetch_limit());
                            proptest::prop_assert!(to > front);
                            proptest::prop_assert!(held.iter().all(|(a, b)| to <= *a || *b <= front));
                            front = to.min(front + CHUNK_BYTES / 2 + 1);
                        }
                        Next::AcceptFromDisk(to, _) => { proptest::prop_assert!(to > front); front = to; }
                        Next::Wait => proptest::prop_assert!(held.iter().any(|(a, b)| *a <= front && front < *b)),
                    },
                }
            }
            for (from, to) in held { chunks.finish_claim(from, to); }
            let mut turns = 0;
            loop {
                turns += 1;
                proptest::prop_assert!(turns < 100);
                match chunks.next_step(front) {
                    Next::End => break,
                    Next::Fetch(to) => front = to.min(chunks.fetch_limit()),
                    Next::AcceptFromDisk(to, _) => front = to,
                    Next::Wait => proptest::prop_assert!(false, "nobody holds a chunk"),
                }
            }
            proptest::prop_assert_eq!(front, size);
        }
    }
}
