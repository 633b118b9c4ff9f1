//! One short command in a container of its own, without network, mounts, GPUs or capabilities.
//!
//! The container is removed when the command ends, and when dsr1 is interrupted. Only a dsr1 that is killed leaves it;
//! `dsr1 clean` removes it then.

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::PoisonError;

use crate::effects::docker::build::unused_name;
use crate::effects::docker::{Docker, errors};
use crate::error::{Error, Kind, Result};
use crate::plan::LABEL_ROLE;

/// Most bytes that are kept of each stream.
const MOST: usize = 16 << 20;

/// The role in the label of such a container.
const ROLE: &str = "once";

/// A container of a short command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOff {
    /// Name.
    pub name: String,
    /// True if its command may still be that of a dsr1 that waits for it.
    pub is_awaited: bool,
}

impl Docker {
    /// Runs `argv` in `image` to its end and returns its standard output.
    ///
    /// # Errors
    /// [`Kind::Docker`] when it cannot run or its exit code is not 0, with the end of its standard error.
    pub async fn run_once(&self, image: &str, argv: &[String]) -> Result<Vec<u8>> {
        let failure = format!("cannot run a command in {image}");
        let failed = |error: &bollard::errors::Error| errors::failed(&failure, error);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // Replaces the entry point of the image, which may be a server.
            entrypoint: Some(argv.first().cloned().into_iter().collect()),
            cmd: Some(argv.iter().skip(1).cloned().collect()),
            labels: Some([(LABEL_ROLE.to_owned(), ROLE.to_owned())].into()),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                init: Some(true),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let name = unused_name(&format!("dsr1-{ROLE}"));
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        // Noted before it exists: Ctrl-C between creation and answer must not leave a container.
        self.one_offs().push(name.clone());
        let done = async {
            let created = self.api.create_container(Some(options), body).await;
            let id = created.map_err(|error| failed(&error))?.id;
            self.run_created(&id, &failed).await
        }
        .await;
        self.end_one_offs().await;
        let (code, stdout, stderr) = done?;
        if code == 0 {
            return Ok(stdout);
        }
        let text = String::from_utf8_lossy(&stderr);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let last = lines[lines.len().saturating_sub(12)..].to_vec();
        Err(Error::new(Kind::Docker, failure.clone())
            .cause(format!("exit code {code}"))
            .log(last))
    }

    async fn run_created(
        &self,
        id: &str,
        failed: &(dyn Fn(&bollard::errors::Error) -> Error + Sync),
    ) -> Result<(i64, Vec<u8>, Vec<u8>)> {
        self.api
            .start_container(id, None)
            .await
            .map_err(|error| failed(&error))?;
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(true)
            .build();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut stream = Box::pin(self.patient.logs(id, Some(options)));
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| failed(&error))?;
            let kept = if matches!(piece, LogOutput::StdErr { .. }) {
                &mut stderr
            } else {
                &mut stdout
            };
            let room = MOST.saturating_sub(kept.len());
            let bytes: &[u8] = piece.as_ref();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        // The log ends a moment before the state changes.
        for _ in 0..100 {
            let state = self
                .api
                .inspect_container(id, None)
                .await
                .map_err(|error| failed(&error))?
                .state;
            if let Some(state) = state.filter(|state| state.running != Some(true)) {
                return Ok((state.exit_code.unwrap_or(-1), stdout, stderr));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Err(Error::new(
            Kind::Docker,
            "a command closed its output and did not end within 5 s",
        ))
    }

    /// Names of the containers of short commands that this dsr1 made and has not removed.
    fn one_offs(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.one_offs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the containers of short commands that this dsr1 made, whether their commands have ended or not.
    pub async fn end_one_offs(&self) {
        let names = std::mem::take(&mut *self.one_offs());
        for name in names {
            // What cannot be removed is listed and removed by `dsr1 clean`.
            let _ = self.remove(&name).await;
        }
    }

    /// Returns the containers of short commands, of any dsr1.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn list_one_offs(&self) -> Result<Vec<OneOff>> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL_ROLE}={ROLE}")])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self
            .api
            .list_containers(Some(options))
            .await
            .map_err(|error| errors::failed("cannot list containers", &error))?;
        let found = listed.into_iter().map(|container| {
            let name = container.names.and_then(|names| names.into_iter().next());
            OneOff {
                name: name.unwrap_or_default().trim_start_matches('/').to_owned(),
                is_awaited: runs_for_minutes(&container.status.unwrap_or_default()),
            }
        });
        Ok(found.collect())
    }

    /// Removes the container of a short command.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon refuses.
    pub async fn remove_one_off(&self, name: &str) -> Result<()> {
        self.remove(name).await
    }
}

/// Returns true for a container that runs for less than ten minutes, from the daemon's text about its state, such as
/// `Up 12 minutes`: the longest of these commands takes one. The age is by the daemon's clock, which also gave the begin.
fn runs_for_minutes(status: &str) -> bool {
    let words: Vec<&str> = status.split_whitespace().collect();
    match words[..] {
        ["Up", "Less", "than", ..]
        | ["Up", "About", "a", "minute", ..]
        | ["Up", _, "second" | "seconds", ..] => true,
        ["Up", count, "minutes", ..] => count.parse().is_ok_and(|count: u32| count < 10),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_ended_or_runs_for_long_is_not_awaited() {
        for status in [
            "Up Less than a second",
            "Up 1 second",
            "Up 30 seconds",
            "Up About a minute",
            "Up 9 minutes",
        ] {
            assert!(runs_for_minutes(status), "{status}");
        }
        for status in [
            "Up 10 minutes",
            "Up About an hour",
            "Up 2 weeks",
            "Created",
            "Exited (137) 2 seconds ago",
            "",
        ] {
            assert!(!runs_for_minutes(status), "{status}");
        }
    }
}
