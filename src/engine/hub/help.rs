//! A worker without a file of its own helps with another's: it fetches a chunk that it claimed.
//!
//! Not in this module: who gets which chunk (`ahead`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ahead::Ahead;
use super::board::Claim;
use super::fetch::Fetcher;
use super::part::PartChunk;
use super::source::{Failure, broken};
use super::watch::Watch;

/// Pause after a chunk that failed; doubled with each that fails after it. Whether the file can be had at all is its own
/// worker's to find out.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Fetcher {
    /// Helps as long as it is let: a file whose part is not open yet, or whose chunk turns out wrong, needs help later.
    pub(super) async fn help(&self) {
        let mut pause = PAUSE;
        loop {
            let Some(claim) = self.board.claim() else {
                self.board.news().await;
                continue;
            };
            if self.fetch_chunk(claim).await.is_ok() {
                pause = PAUSE;
                continue;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn fetch_chunk(&self, claim: Claim) -> Result<(), Failure> {
        let (mut counted, done) = (0, &self.counts.done);
        let came = self.stream_chunk(&claim, &mut counted).await;
        match came {
            Ok(chunk) => {
                chunk.finish();
                claim.came();
                Ok(())
            }
            Err(failure) => {
                done.fetch_sub(counted, Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    async fn stream_chunk(&self, claim: &Claim, counted: &mut u64) -> Result<PartChunk, Failure> {
        let Claim { file, from, to, .. } = claim;
        let entry = &file.entry;
        let mut chunk = PartChunk::open(&claim.part, *from).map_err(Failure::Final)?;
        let via = self.source.via(entry);
        let mut arriving = self.source.open(entry, (*from, *to), None, via).await?;
        if arriving.skip > 0 {
            // The server sends all of the file for each part of it: help would cost more than it brings.
            file.with(Ahead::close);
            return Err(Failure::Again(broken(entry, "the server ignores ranges")));
        }
        let mut watch = Watch::new(self.source.idle());
        while chunk.at() < *to {
            let next = watch.next(entry, &mut arriving).await?;
            let Some(bytes) = next else {
                return Err(Failure::Again(broken(
                    entry,
                    "the connection ended before the last byte",
                )));
            };
            self.count(bytes.len());
            let left = usize::try_from(to - chunk.at()).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(left)];
            chunk.write(bytes).map_err(Failure::Final)?;
            *counted += bytes.len() as u64;
            self.counts.done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.source.pace(bytes.len()).await;
        }
        Ok(chunk)
    }
}
