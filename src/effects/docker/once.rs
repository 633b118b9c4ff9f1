//! One short command in a container of its own, without network, mounts, GPUs or capabilities.

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, LogsOptionsBuilder};
use futures_util::StreamExt;

use crate::effects::docker::{Docker, errors};
use crate::error::{Error, Kind, Result};
use crate::plan::LABEL_ROLE;

/// Most bytes that are kept of each stream.
const MOST: usize = 16 << 20;

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
            labels: Some([(LABEL_ROLE.to_owned(), "once".to_owned())].into()),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                init: Some(true),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().build();
        let id = self
            .api
            .create_container(Some(options), body)
            .await
            .map_err(|error| failed(&error))?
            .id;
        // The container is removed in any case, also when the caller drops the future.
        let mut guard = Removal(Some((self.api.clone(), id.clone())));
        let done = self.run_created(&id, &failed).await;
        if let Some((api, id)) = guard.0.take() {
            remove(&api, &id).await;
        }
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
}

/// A guard that removes a container when it is dropped.
struct Removal(Option<(bollard::Docker, String)>);

impl Drop for Removal {
    fn drop(&mut self) {
        if let (Some((api, id)), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { remove(&api, &id).await });
        }
    }
}

async fn remove(api: &bollard::Docker, id: &str) {
    let options = bollard::query_parameters::RemoveContainerOptionsBuilder::default()
        .force(true)
        .build();
    let _ = api.remove_container(id, Some(options)).await;
}
