//! The transfer of files from a hub to the disk: streams, workers, unfinished files.
//!
//! | file | subject |
//! |---|---|
//! | `download` | all files of a pull or a repair, and their progress |
//! | `workers` | threads that fetch file after file |
//! | `concurrency` | the number of workers |
//! | `assign` | the files under way, and the chunks given to workers |
//! | `chunks` | the chunks of one file |
//! | `fetch` | one file: stream, hash, resume, retry |
//! | `fetch_chunk` | one chunk of a file that another worker fetches |
//! | `retry` | pauses between tries, and the end of trying |
//! | `watch` | streams that stall, crawl, or are slower than others |
//! | `partial` | unfinished files on disk, and their journals |
//! | `space` | free space, and the space that a pull needs |
//! | `leftovers` | what killed pulls left behind |
//!
//! Not in this module: the protocol (`hub`), finished files (`store`).

pub(super) mod assign;
pub(super) mod chunks;
mod concurrency;
pub(super) mod download;
pub(super) mod fetch;
mod fetch_chunk;
pub(super) mod leftovers;
pub(super) mod partial;
mod retry;
pub(super) mod space;
mod watch;
mod workers;
