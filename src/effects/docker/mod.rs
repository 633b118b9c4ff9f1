//! The Docker daemon, through its API and never a shell. The only home of bollard.
//!
//! What bollard 0.21.1 does and a caller would not expect, and what is done about it here:
//! streams send nothing until polled (they are polled by tasks of ours); a non-zero exit of a container is an
//! error (not waited for: state is asked); every call has a client-side deadline of its own (two handles: short
//! calls, and calls that take as long as they take); contexts are ignored (read in `endpoint`).
//!
//! | file | subject |
//! |---|---|
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
//! | `exec` | commands and files inside a container |
//! | `logs` | log lines |
//! | `once` | one short command in a container of its own |
//!
//! Not in this module: what is to be done (`plan`), the order of steps (`execute`).

mod archive;
mod build;
mod container;
mod context;
mod credentials;
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

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use archive::oci::ImageRecord;
pub use container::{ContainerState, ContainerSummary};

use self::dial::Dial;
use self::endpoint::Endpoint;
use super::env::Env;
use crate::error::Result;

/// Deadline of a short call.
const SHORT: Duration = Duration::from_secs(30);
/// Deadline of a call that takes as long as it takes: a build, a stop with its drain.
const LONG: Duration = Duration::from_hours(24);

/// A daemon that answered.
pub struct Docker {
    /// For short calls.
    api: bollard::Docker,
    /// For calls without a deadline worth the name.
    patient: bollard::Docker,
    dial: Arc<Dial>,
    credentials: credentials::Credentials,
    version: bollard::models::SystemVersion,
    /// Commands that run in containers, to be ended when dsr1 is interrupted.
    clients: Mutex<Vec<exec::Client>>,
}

impl Docker {
    /// Connects to the daemon that the environment names, and asks its version.
    ///
    /// # Errors
    /// [`crate::error::Kind::Docker`] when none answers in time, with what is in the way.
    pub async fn connect(env: &Env) -> Result<Self> {
        let dial = Arc::new(Dial::new(Endpoint::resolve(env)?, env)?);
        let endpoint = dial.endpoint();
        let api =
            transport::client(Arc::clone(&dial)).map_err(|error| errors::unreachable(endpoint, &error))?;
        let patient = api.clone().with_timeout(LONG);
        let version = match tokio::time::timeout(dial.greeting(), api.version()).await {
            Ok(Ok(version)) => version,
            Ok(Err(error)) => return Err(errors::unreachable(endpoint, &error)),
            Err(_) => return Err(errors::hung(endpoint, dial.greeting())),
        };
        Ok(Self {
            api,
            patient,
            dial,
            credentials: credentials::Credentials::new(env),
            version,
            clients: Mutex::default(),
        })
    }
}
