//! The Docker daemon, through its API and never a shell. The only home of bollard.
//!
//! What bollard 0.21.1 does and a caller would not expect, and what is done about it here:
//! streams send nothing until polled (they are polled by tasks of ours); a non-zero exit of a container is an
//! error (not waited for: state is asked); every call has a client-side deadline of its own (two handles: short
//! calls, and calls that take as long as they take); contexts are ignored (read in `endpoint`).
//!
//! | file | subject |
//! |---|---|
//! | `daemon` | the connection and its version |
//! | `endpoint` | where the daemon is |
//! | `errors` | what the daemon says, with cause and cure |
//! | `facts` | what planning may know of it |
//! | `build` | images |
//! | `session`, `context` | what the daemon asks of us during a build |
//! | `archive` | tar archives, the classic builder's context among them |
//! | `images` | list, remove, save and load them |
//! | `registry` | pull, tag, push |
//! | `progress` | what it says meanwhile |
//! | `credentials` | logins of registries |
//! | `dial` | connections to it |
//! | `transport` | requests over them, bollard's and ours |
//! | `container` | servers: create, start, state, stop, list |
//! | `clients` | commands that run in containers and end with dsr1 |
//! | `exec` | commands and files inside a container |
//! | `logs` | log lines |
//! | `once` | one short command in a container of its own |
//!
//! Not in this module: what is to be done (`plan`), the order of steps (`execute`).

mod archive;
mod build;
mod clients;
mod container;
mod context;
mod credentials;
mod daemon;
mod dial;
mod endpoint;
mod errors;
mod exec;
mod facts;
mod images;
mod logs;
mod once;
mod progress;
mod registry;
mod session;
mod transport;

pub use archive::oci::ImageRecord;
pub use container::{ContainerState, ContainerSummary};
pub use daemon::Docker;
