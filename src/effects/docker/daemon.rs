//! The connection to the daemon.

use std::sync::{Arc, Mutex};

use crate::effects::docker::clients::Client;
use crate::effects::docker::credentials::Credentials;
use crate::effects::docker::dial::Dial;
use crate::effects::docker::endpoint::Endpoint;
use crate::effects::docker::errors;
use crate::effects::docker::transport::{self, LONG};
use crate::effects::env::Env;
use crate::error::Result;

/// A connected daemon.
pub struct Docker {
    /// Handle for short calls.
    pub(super) api: bollard::Docker,
    /// Handle for calls that may take hours.
    pub(super) patient: bollard::Docker,
    pub(super) dial: Arc<Dial>,
    pub(super) credentials: Credentials,
    pub(super) version: bollard::models::SystemVersion,
    /// Commands that run in containers and must end when dsr1 is interrupted.
    pub(super) clients: Mutex<Vec<Client>>,
    /// Names of containers of short commands that must be removed when dsr1 is interrupted.
    pub(super) one_offs: Mutex<Vec<String>>,
}

impl Docker {
    /// Returns true if the daemon of this environment runs on this host.
    #[must_use]
    pub fn is_on_this_host(env: &Env) -> bool {
        Endpoint::resolve(env).is_ok_and(|endpoint| endpoint.is_local())
    }

    /// Returns true if this host has no Docker: nothing names a daemon, and its usual socket does not exist. Then there are no
    /// containers and no images that a command could have missed.
    #[must_use]
    pub fn is_absent(env: &Env) -> bool {
        env.docker_host.is_none() && Endpoint::resolve(env).is_ok_and(|endpoint| endpoint.is_missing())
    }

    /// Returns the versions of the daemon and its parts, as `docker version` prints them.
    #[must_use]
    pub fn version_document(&self) -> serde_json::Value {
        serde_json::to_value(&self.version).unwrap_or_default()
    }

    /// Connects to the daemon that the environment names, and reads its version.
    ///
    /// # Errors
    /// [`crate::error::Kind::Docker`] when none answers in time, with the cause.
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
            credentials: Credentials::new(env),
            version,
            clients: Mutex::default(),
            one_offs: Mutex::default(),
        })
    }
}
