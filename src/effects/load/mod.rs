//! The client of a measurement: it puts a load on a server and notes when each part of each answer arrived.
//!
//! | module | subject |
//! |---|---|
//! | `driver` | the loop of one thread |
//! | `slot` | one request at a time, with its connection |
//! | `connection` | connections, plain or within TLS |
//! | `socket` | sockets, and the kernel's stamps of arrival |
//! | `tls` | the settings and the state of TLS |
//! | `explain` | the reasons why no connection comes about |
//! | `clock` | moments, and jumps of the time of day |
//! | `response` | HTTP/1.1 |
//! | `job` | what a run and its stages need, and what they leave |
//! | `room` | the room for connections on this host |
//! | `run` | the run |
//! | `source` | the bodies of requests, made ahead |
//! | `stub` | a server that answers at once: the most that the client can take |
//! | `target` | a server, from its URL |
//!
//! Not in this module tree: what the times say (`measure`).

mod clock;
mod connection;
mod driver;
mod explain;
mod job;
mod response;
mod room;
mod run;
mod slot;
mod socket;
mod source;
mod stub;
mod target;
mod tls;

pub use job::{Handover, InFlight, Job, NextStage, Ran, StopOnDrop, Watch};
pub use room::check_room;
pub use run::{run_load, run_stages};
pub use stub::find_ceiling;
pub use target::Target;
