//! The HTTP client: requests with time limits, streams of events, and the proxies in between.
//!
//! Not in this module tree: the protocols over HTTP (`hub`, `serve`).

mod authorities;
mod client;
mod forward;
mod proxy;
mod sse;

pub(in crate::effects) use authorities::Authorities;
pub use client::Http;
pub(in crate::effects) use client::{Answer, Body, Broken, Opened};
pub(in crate::effects) use forward::Passed;
