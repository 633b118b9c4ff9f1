//! Facts about the daemon, for planning.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::effects::docker::session::Session;
use crate::effects::docker::{Docker, errors, registry};
use crate::effects::env::Env;
use crate::effects::host;
use crate::facts;

/// Longest wait for a registry that is asked for an image.
const REGISTRY: Duration = Duration::from_secs(3);

/// Returns true if a pull would fail with the same error: not if a limit is reached, a registry stumbles, or a proxy of
/// the daemon's socket forbids only the question.
fn is_final(why: &str) -> bool {
    [
        "no such host",
        "connection refused",
        "network is unreachable",
        "manifest unknown",
        "not found: manifest",
    ]
    .iter()
    .any(|text| why.contains(text))
}

impl Docker {
    /// Gathers the facts that planning needs. Never fails: a daemon that does not answer is a fact.
    ///
    /// Looks up `images` on the daemon. If it has none of them, their registries are asked for `probe_pull`.
    pub async fn facts(env: &Env, images: &[&str], probe_pull: &[&str]) -> facts::Docker {
        match Self::connect(env).await {
            Ok(docker) => docker.gather_facts(images, probe_pull).await,
            Err(error) => {
                let text = [vec![error.message()], error.causes()].concat().join(": ");
                facts::Docker {
                    unreachable: Some(text),
                    unreachable_fix: error.hints().first().cloned(),
                    ..facts::Docker::default()
                }
            }
        }
    }

    async fn gather_facts(&self, images: &[&str], probe_pull: &[&str]) -> facts::Docker {
        let info = tokio::time::timeout(self.dial.greeting(), self.api.info())
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        let (mut found, mut digests) = (BTreeMap::new(), BTreeMap::new());
        for image in images.iter().filter(|image| !image.is_empty()) {
            match tokio::time::timeout(self.dial.greeting(), self.api.inspect_image(image)).await {
                Ok(Ok(inspect)) => {
                    let id = inspect.id.unwrap_or_default();
                    // An image that was loaded or built here has no digest of a registry: its id takes the place.
                    // A digest under another name does not count for this name.
                    let repository = registry::repository(image);
                    let digest = inspect.repo_digests.into_iter().flatten().find_map(|name| {
                        let (name, digest) = name.split_once('@')?;
                        (name == repository).then(|| digest.to_owned())
                    });
                    digests.insert((*image).to_owned(), digest.unwrap_or_else(|| id.clone()));
                    found.insert((*image).to_owned(), id);
                }
                Ok(Err(_)) => {}
                // The daemon hangs, and would hang for the other images as well.
                Err(_) => break,
            }
        }
        let (mut pullable, mut not_pullable) = (Vec::new(), BTreeMap::new());
        for image in probe_pull.iter().filter(|_| found.is_empty()) {
            let asked = self.api.inspect_registry_image(image, self.login(image).await);
            match tokio::time::timeout(REGISTRY, asked).await {
                Ok(Ok(_)) => pullable.push((*image).to_owned()),
                Ok(Err(error)) => {
                    let why = errors::failed("", &error).causes().join(": ");
                    if is_final(&why) {
                        not_pullable.insert((*image).to_owned(), why);
                    }
                }
                // A slow registry may answer the pull itself.
                Err(_) => {}
            }
        }
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        let sessions = tokio::time::timeout(self.dial.greeting(), Session::is_offered(&self.dial)).await;
        facts::Docker {
            platform: self.platform(),
            sessions: sessions.ok(),
            endpoint: Some(self.dial.endpoint().to_string()),
            unreachable: None,
            unreachable_fix: None,
            version: self
                .version
                .version
                .clone()
                .or_else(|| Some("unknown".to_owned())),
            product: self.product(),
            api_version: self.version.api_version.clone(),
            root_free_bytes: info
                .docker_root_dir
                .as_deref()
                // A remote daemon's path is not on this host's disk.
                .filter(|path| self.dial.endpoint().is_local() && std::path::Path::new(path).exists())
                .and_then(host::free_bytes),
            root_dir: info.docker_root_dir,
            runtimes,
            images: found,
            digests,
            pullable,
            not_pullable,
        }
    }

    /// Returns the daemon's product if it is not Docker, whose first component is `Engine`; that of Podman's service is
    /// `Podman Engine` (4.3, 5.4).
    fn product(&self) -> Option<String> {
        let first = self.version.components.as_ref()?.first()?;
        (first.name != "Engine").then(|| first.name.clone())
    }
}
