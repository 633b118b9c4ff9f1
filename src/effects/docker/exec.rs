//! Commands and files inside a running container.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use futures_util::StreamExt;

use crate::effects::docker::clients::Client;
use crate::effects::docker::transport::SHORT;
use crate::effects::docker::{Docker, archive, errors};
use crate::effects::lines::Splitter;
use crate::error::{Error, Kind, Result};
use crate::plan::CLIENT_DIR;

/// Bytes per second of the slowest upload that does not time out.
const SLOWEST: u64 = 1 << 20;

/// A shell that prints its process id and then becomes the command: Docker cannot end an exec, but another exec can.
const ANNOUNCE: [&str; 4] = ["/bin/sh", "-c", "echo \"dsr1-pid $$\"; exec \"$@\"", "sh"];

impl Docker {
    /// Runs a command to its end, passes its lines to `on_line` and returns its exit code.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon cannot run it.
    pub async fn exec(
        &self,
        name: &str,
        argv: &[String],
        env: &BTreeMap<String, String>,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<i64> {
        let failed = |error: &bollard::errors::Error| {
            errors::failed(&format!("cannot run a command in {name}"), error)
        };
        let cmd = ANNOUNCE
            .iter()
            .map(|word| (*word).to_owned())
            .chain(argv.iter().cloned())
            .collect();
        let config = ExecConfig {
            cmd: Some(cmd),
            env: Some(env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            working_dir: Some(CLIENT_DIR.to_owned()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let exec = self
            .api
            .create_exec(name, config)
            .await
            .map_err(|error| failed(&error))?;
        // The handle's deadline limits the answer, not the command.
        let started = self
            .api
            .start_exec(&exec.id, None)
            .await
            .map_err(|error| failed(&error))?;
        let StartExecResults::Attached { mut output, .. } = started else {
            return Err(Error::new(
                Kind::Internal,
                format!("the command in {name} is not attached"),
            ));
        };
        let mut client = None;
        let mut handle_line =
            |line: &str| match line.strip_prefix("dsr1-pid ").and_then(|pid| pid.parse().ok()) {
                Some(pid) if client.is_none() => {
                    let running = Client {
                        container: name.to_owned(),
                        pid,
                    };
                    self.note_client(&running);
                    client = Some(running);
                }
                _ => on_line(line),
            };
        let mut pipes = [Splitter::default(), Splitter::default()];
        while let Some(piece) = output.next().await {
            let piece = piece.map_err(|error| failed(&error))?;
            let pipe = usize::from(matches!(piece, LogOutput::StdErr { .. }));
            pipes[pipe].push(piece.as_ref(), &mut handle_line);
        }
        for mut pipe in pipes {
            pipe.finish(&mut handle_line);
        }
        if let (Some(client), Ok(mut clients)) = (client, self.clients.lock()) {
            clients.retain(|other| *other != client);
        }
        let ended = self
            .api
            .inspect_exec(&exec.id)
            .await
            .map_err(|error| failed(&error))?;
        ended
            .exit_code
            .ok_or_else(|| Error::new(Kind::Docker, format!("the command in {name} has no exit code")))
    }

    fn note_client(&self, client: &Client) {
        if let Ok(mut clients) = self.clients.lock() {
            clients.push(client.clone());
        }
    }

    /// Ends the commands that an interrupted dsr1 left running in containers.
    pub async fn end_clients(&self) {
        let clients = self
            .clients
            .lock()
            .map(|mut clients| std::mem::take(&mut *clients))
            .unwrap_or_default();
        for client in clients {
            let argv = [
                "/bin/sh",
                "-c",
                "kill -TERM \"$1\"",
                "sh",
                &client.pid.to_string(),
            ]
            .map(str::to_owned);
            let _ = Box::pin(self.exec(&client.container, &argv, &BTreeMap::new(), &mut |_| ())).await;
        }
    }

    /// Writes a file into a directory of a container.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon refuses.
    pub async fn upload(&self, name: &str, dir: &str, file: &str, bytes: &[u8]) -> Result<()> {
        let archive = archive::archive_of([(file, bytes)].into_iter())?;
        let options = UploadToContainerOptionsBuilder::default().path(dir).build();
        let limit = SHORT + Duration::from_secs(bytes.len() as u64 / SLOWEST);
        self.api
            .clone()
            .with_timeout(limit)
            .upload_to_container(name, Some(options), bollard::body_full(archive.into()))
            .await
            .map_err(|error| errors::failed(&format!("cannot write `{file}` into {name}"), &error))
    }

    /// Reads a file of a container.
    ///
    /// # Errors
    /// [`Kind::Docker`] when it does not exist, is not a file, or is larger than `max_bytes`.
    pub async fn read_file(&self, name: &str, path: &str, max_bytes: u64) -> Result<Vec<u8>> {
        let failure = format!("cannot read `{path}` in {name}");
        let too_large = |failure: String| {
            Error::new(Kind::Docker, failure).cause(format!("it is larger than {max_bytes} bytes"))
        };
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream = Box::pin(self.api.download_from_container(name, Some(options)));
        let mut bytes = Vec::new();
        let hung = |_| errors::hung(self.dial.endpoint(), SHORT);
        while let Some(piece) = tokio::time::timeout(SHORT, stream.next()).await.map_err(hung)? {
            bytes.extend(piece.map_err(|error| errors::failed(&failure, &error))?);
            // The archive adds headers and padding to the file.
            if bytes.len() as u64 > max_bytes + 64 * 1024 {
                return Err(too_large(failure));
            }
        }
        match archive::only_file(&bytes) {
            Some(content) if content.len() as u64 > max_bytes => Err(too_large(failure)),
            Some(content) => Ok(content),
            None => Err(Error::new(Kind::Docker, failure).cause("it is not a file")),
        }
    }
}
