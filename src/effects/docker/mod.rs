//! The Docker daemon, through its API and never a shell. No other module uses bollard.
//!
//! bollard 0.21.1 has four surprises, each dealt with here: a stream sends no request until it is polled (a task polls
//! it); a non-zero exit of a container is an error (so its state is asked, and nothing waits for its end); every call
//! has a deadline (so there are two handles, for short calls and for long ones); contexts are ignored (so `endpoint`
//! reads them).
//!
//! | file | subject |
//! |---|---|
//! | `daemon` | the connection and its version |
//! | `endpoint` | the address of the daemon |
//! | `errors` | signatures of its failures, with cause and fix |
//! | `facts` | facts about it for planning |
//! | `build` | builds of images |
//! | `session`, `context` | the services that the daemon calls during a build, and its files |
//! | `archive` | tar archives, the classic builder's context among them |
//! | `images` | list, remove, save and load them; volumes |
//! | `registry` | pull, tag, push |
//! | `progress` | messages of a build, and signatures of failing steps |
//! | `credentials` | logins of registries |
//! | `dial` | connections to it |
//! | `transport` | requests over them, those of bollard and two of dsr1 |
//! | `container` | servers: create, start, state, stop, list |
//! | `clients` | commands that run in containers and end with dsr1 |
//! | `exec` | commands and files inside a container |
//! | `logs` | log lines |
//! | `once` | one short command in a container of its own |
//!
//! Not in this module tree: plans (`plan`), the order of steps (`execute`).

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
pub use images::StageImage;
pub use once::OneOff;
