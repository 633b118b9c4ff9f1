//! Log lines of a container.
//!
//! Not in this module: what a line means (`startup`).

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::{Docker, errors};
use crate::effects::lines::Lines;
use crate::error::Result;

impl Docker {
    /// The log's lines: the last `tail` or all, and what comes when `follow` is set. Ends with the container.
    ///
    /// # Errors
    /// [`crate::error::Kind::Docker`] when there is no such container.
    pub async fn logs(&self, name: &str, tail: Option<u64>, follow: bool) -> Result<mpsc::Receiver<String>> {
        self.api
            .inspect_container(name, None)
            .await
            .map_err(|error| errors::failed(&format!("cannot read the log of {name}"), &error))?;
        let tail = tail.map_or_else(|| "all".to_owned(), |count| count.to_string());
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(follow)
            .tail(&tail)
            .build();
        let (sender, receiver) = mpsc::channel(1024);
        let (docker, name) = (self.api.clone(), name.to_owned());
        tokio::spawn(async move {
            let mut stream = Box::pin(docker.logs(&name, Some(options)));
            // Each pipe has its own unfinished line.
            let mut pipes = [Lines::default(), Lines::default()];
            while let Some(Ok(output)) = stream.next().await {
                let pipe = usize::from(matches!(output, LogOutput::StdErr { .. }));
                let mut found = Vec::new();
                pipes[pipe].push(output.as_ref(), &mut |line| found.push(line.to_owned()));
                for line in found {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
            }
            for mut pipe in pipes {
                let mut found = Vec::new();
                pipe.finish(&mut |line| found.push(line.to_owned()));
                for line in found {
                    let _ = sender.send(line).await;
                }
            }
        });
        Ok(receiver)
    }
}
