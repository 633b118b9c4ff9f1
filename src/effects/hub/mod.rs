//! The hub protocol: listings, questions, and streams of a file's bytes.
//!
//! hf-hub gives the types of a hub's answers, hf-xet below it the bytes that a hub keeps in Xet. hf-hub's own
//! downloads are not used: `snapshot_download` and `download_file` report success on wrong bytes (1.0.0: no status
//! check on the cached path, no size check, no hash), so clippy forbids them; `download_file_stream` asks twice for each
//! file, takes any answer for the range, and follows the redirect that states a file's Xet hash. Listings are parsed
//! here, because the crate drops `lfs.oid`. No other module uses hf-hub and hf-xet.
//!
//! | file | subject |
//! |---|---|
//! | `options` | HTTP clients, token and timeouts of a pull |
//! | `limits` | limits of time and size of a pull |
//! | `names` | what commits, revisions and paths may look like, and how URLs encode them |
//! | `listing` | a repository's file list, hostile until parsed |
//! | `remote` | the two questions to a hub: the commit of a revision, and its files |
//! | `ask` | retries of one question |
//! | `refusal` | the meaning of an answer that says no |
//! | `source` | streams of a file's bytes, and their failures |
//! | `xet` | a hub's Xet store |
//!
//! Not in this module: what is done with the bytes (`transfer`), the files on disk (`store`).

pub(super) mod ask;
pub(super) mod limits;
pub mod listing;
pub(super) mod names;
pub(super) mod options;
pub(super) mod refusal;
pub(super) mod remote;
pub(super) mod source;
pub(super) mod xet;

pub use limits::Limits;
pub use options::HubOptions;
