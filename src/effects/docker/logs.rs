//! Log lines of a container.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::effects::docker::{Docker, errors};
use crate::effects::lines::{LogStream, Splitter};
use crate::error::Result;

impl Docker {
    /// Returns the log's lines: the last `tail` or all, and those that arrive until the container ends if `follow` is set.
    ///
    /// # Errors
    /// [`crate::error::Kind::Docker`] when the container does not exist.
    pub async fn logs(&self, name: &str, tail: Option<u64>, follow: bool) -> Result<LogStream> {
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
            let mut pipes = [Splitter::default(), Splitter::default()];
            let mut broken = None;
            while let Some(output) = stream.next().await {
                let output = match output {
                    Ok(output) => output,
                    Err(error) => {
                        broken = Some(error.to_string());
                        break;
                    }
                };
                let pipe = usize::from(matches!(output, LogOutput::StdErr { .. }));
                let mut found = Vec::new();
                pipes[pipe].push(output.as_ref(), &mut |line| found.push(line.to_owned()));
                for line in found {
                    if sender.send(Ok(line)).await.is_err() {
                        return;
                    }
                }
            }
            let mut found = Vec::new();
            for pipe in &mut pipes {
                pipe.finish(&mut |line| found.push(Ok(line.to_owned())));
            }
            found.extend(broken.map(Err));
            for item in found {
                let _ = sender.send(item).await;
            }
        });
        Ok(LogStream::of_daemon(receiver))
    }
}
