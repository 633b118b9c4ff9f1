//! A worker without a file of its own helps with another's: it fetches a chunk that it claimed.
//!
//! Not in this module: who gets which chunk (`ahead`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ahead::Ahead;
use super::board::Claim;
use super::fetch::Fetcher;
use super::fetch::LONGEST_WAIT;
use super::part::PartChunk;
use super::source::{Failure, Via, broken};
use super::watch::{SLOWER, Watch};

/// How long a stream is watched before it is called slow.
const TRIAL: Duration = Duration::from_secs(2);

impl Fetcher {
    /// Helps as long as it is let: a file whose part is not open yet, or whose chunk turns out wrong, needs help later.
    pub(super) async fn help(&self) {
        loop {
            match self.board.claim() {
                Some(claim) => self.fetch_chunk(claim).await,
                None => self.board.news().await,
            }
        }
    }

    async fn fetch_chunk(&self, claim: Claim) {
        let mut counted = 0;
        let via = self.source.via(&claim.file.entry);
        match self.stream_chunk(&claim, via, &mut counted).await {
            Ok((chunk, rate)) => {
                chunk.finish();
                claim.came();
                self.board.helped(rate);
            }
            Err(failure) => {
                self.counts.done.fetch_sub(counted, Ordering::Relaxed);
                if via == Via::Xet && self.source.may_switch() && failure.is_of_the_way() {
                    self.source.xet_failed();
                }
                match failure {
                    Failure::Slow => {}
                    Failure::Asked(_, wait) => self.board.refused(Some(wait.min(LONGEST_WAIT))),
                    _ => self.board.refused(None),
                }
            }
        }
    }

    async fn stream_chunk(
        &self,
        claim: &Claim,
        via: Via,
        counted: &mut u64,
    ) -> Result<(PartChunk, Option<u64>), Failure> {
        let Claim { file, from, to, .. } = claim;
        let entry = &file.entry;
        let mut chunk = PartChunk::open(&claim.part, *from).map_err(Failure::Final)?;
        let mut arriving = self.source.open(entry, (*from, *to), None, via).await?;
        if arriving.skip > 0 {
            // The server sends all of the file for each part of it: help would cost more than it brings.
            file.with(Ahead::close);
            return Err(Failure::Again(broken(entry, "the server ignores ranges")));
        }
        let mut watch = Watch::new(self.source.idle());
        while chunk.at() < *to {
            if file.with(|ahead| ahead.is_closed()) || (file.is_at(*from) && is_slow(&watch, file.rate())) {
                // What comes is of no use any more, or its own worker, which waits for it, is faster.
                return Err(Failure::Slow);
            }
            let next = self.next(&mut watch, entry, &mut arriving).await?;
            let Some(bytes) = next else {
                return Err(Failure::Again(broken(
                    entry,
                    "the connection ended before the last byte",
                )));
            };
            let left = usize::try_from(to - chunk.at()).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(left)];
            chunk.write(bytes).map_err(Failure::Final)?;
            *counted += bytes.len() as u64;
            self.counts.done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok((chunk, watch.mean(Duration::ZERO)))
    }
}

/// Whether a stream is much slower than the file's own.
fn is_slow(watch: &Watch, own: Option<u64>) -> bool {
    let mean = watch.mean(TRIAL);
    mean.zip(own).is_some_and(|(mean, own)| mean < own / SLOWER)
}
