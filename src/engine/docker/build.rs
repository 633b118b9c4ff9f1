//! Builds images with BuildKit in the daemon.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{BuildInfo, BuildInfoAux, ImageInspect};
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion, CreateImageOptionsBuilder};
use futures_util::StreamExt;

use super::{Docker, errors, exec};
use crate::engine::lines::Lines;
use crate::error::{At, Error, Kind, Result};
use crate::event::{Source, StepEvents};
use crate::plan::{BuildImage, CONTEXT_CA, LABEL_INPUTS, SECRET_CA};
use crate::report::Built;

/// Lines of the failing step that are shown.
const SHOWN: usize = 30;

impl Docker {
    /// Builds the image, or finds it built. Dropping the future ends the build in the daemon.
    ///
    /// # Errors
    /// [`Kind::Docker`] when a step fails, with its log; [`Kind::Host`] when the disk is full.
    pub async fn build(&self, step: &BuildImage, events: &StepEvents<'_>) -> Result<Built> {
        if let Some(image) = self.image(&step.tag).await?
            && label(&image, LABEL_INPUTS) == Some(step.inputs.as_str())
        {
            return Ok(built(step, image, true));
        }
        self.pull_base(&step.base, events).await?;
        let context = context(step)?;
        let options = BuildImageOptionsBuilder::default()
            .dockerfile("Dockerfile")
            .t(&step.tag)
            .version(BuilderVersion::BuilderBuildKit)
            .session(&session_id())
            .networkmode(&step.network)
            .forcerm(true)
            .build();
        let mut stream = Box::pin(self.patient.build_image(
            options,
            None,
            Some(bollard::body_full(context.into())),
        ));
        let mut log = BuildLog::default();
        while let Some(info) = stream.next().await {
            match info {
                Ok(info) => log.take(info, events),
                Err(error) => return Err(log.failed(step, &error, events)),
            }
        }
        match self.image(&step.tag).await? {
            Some(image) => Ok(built(step, image, false)),
            None => Err(
                Error::new(Kind::Docker, format!("the build of {} left no image", step.tag))
                    .cause("the daemon ended the build without an error")
                    .hint("is BuildKit there? dsr1 needs Docker 20.10 or newer")
                    .log(log.tail()),
            ),
        }
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInspect>> {
        match self.api.inspect_image(reference).await {
            Ok(image) => Ok(Some(image)),
            Err(error) if errors::is_missing(&error) => Ok(None),
            Err(error) => Err(errors::failed(
                &format!("cannot look at image {reference}"),
                &error,
            )),
        }
    }

    /// Pulls the base image unless the daemon has it.
    async fn pull_base(&self, base: &str, events: &StepEvents<'_>) -> Result<()> {
        if self.image(base).await?.is_some() {
            return Ok(());
        }
        events.note(format!("pulling base image {base}"));
        let from = pullable(base);
        let options = CreateImageOptionsBuilder::default().from_image(&from).build();
        let mut stream = Box::pin(self.patient.create_image(Some(options), None, None));
        let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        while let Some(info) = stream.next().await {
            let info = info.map_err(|error| {
                errors::failed(&format!("cannot pull base image {base}"), &error)
                    .hint("for a site without a registry: docker load or docker import it, or name another with --base-image")
            })?;
            let progress = info.progress_detail.unwrap_or_default();
            let count = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
            if let (Some(id), Some(current), Some(total)) =
                (&info.id, count(progress.current), count(progress.total))
            {
                layers.insert(id.clone(), (current, total));
                let (done, all) = layers
                    .values()
                    .fold((0, 0), |(done, all), (d, a)| (done + d, all + a));
                events.progress(done, Some(all), base);
            }
        }
        Ok(())
    }
}

/// The build context: the Dockerfile, its files, and the CA bundle when the site has one.
fn context(step: &BuildImage) -> Result<Vec<u8>> {
    let ca = match step.secret_file(SECRET_CA) {
        Some(path) => {
            Some(std::fs::read(path).at(Kind::Host, || format!("cannot read the CA bundle `{path}`"))?)
        }
        None => None,
    };
    let files = step
        .files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_bytes()));
    let fixed = [("Dockerfile", step.dockerfile.as_bytes())].into_iter();
    exec::archive(
        fixed
            .chain(files)
            .chain(ca.as_deref().map(|bytes| (CONTEXT_CA, bytes))),
    )
}

/// The reference with a tag: without one the daemon would pull every tag of the repository.
fn pullable(base: &str) -> String {
    let name = base.rsplit('/').next().unwrap_or(base);
    if name.contains([':', '@']) {
        base.to_owned()
    } else {
        format!("{base}:latest")
    }
}

/// BuildKit wants a session with a name that nobody else uses.
fn session_id() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("dsr1-{}-{}", std::process::id(), now.as_nanos())
}

fn label<'a>(image: &'a ImageInspect, key: &str) -> Option<&'a str> {
    image
        .config
        .as_ref()?
        .labels
        .as_ref()?
        .get(key)
        .map(String::as_str)
}

fn built(step: &BuildImage, image: ImageInspect, cached: bool) -> Built {
    Built {
        tag: step.tag.clone(),
        image_id: image.id.unwrap_or_default(),
        cached,
        size_bytes: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
    }
}

/// What a build printed, by step.
#[derive(Default)]
struct BuildLog {
    named: BTreeSet<String>,
    lines: BTreeMap<String, Vec<String>>,
    partial: BTreeMap<String, Lines>,
    failing: Option<String>,
    last: String,
}

impl BuildLog {
    fn take(&mut self, info: BuildInfo, events: &StepEvents<'_>) {
        let Some(BuildInfoAux::BuildKit(status)) = info.aux else {
            return;
        };
        for vertex in &status.vertexes {
            // BuildKit reports a step when it is planned, when it starts and when it ends: named at its start.
            if vertex.started.is_some() && self.named.insert(vertex.digest.clone()) {
                let cached = if vertex.cached { "cached " } else { "" };
                events.line(Source::Build, &format!("{cached}{}", vertex.name));
            }
            if !vertex.error.is_empty() && !vertex.error.contains("context canceled") {
                self.failing = Some(vertex.digest.clone());
            }
        }
        for piece in status.logs {
            let kept = self.lines.entry(piece.vertex.clone()).or_default();
            self.partial
                .entry(piece.vertex.clone())
                .or_default()
                .push(&piece.msg, &mut |line| {
                    events.line(Source::Build, line);
                    kept.push(line.to_owned());
                });
            let excess = kept.len().saturating_sub(SHOWN);
            kept.drain(..excess);
            self.last = piece.vertex;
        }
        for vertex in status.vertexes.iter().filter(|vertex| vertex.completed.is_some()) {
            self.finish(&vertex.digest, events);
        }
    }

    /// Hands on what a step printed last without ending the line.
    fn finish(&mut self, digest: &str, events: &StepEvents<'_>) {
        if let Some(mut partial) = self.partial.remove(digest) {
            let kept = self.lines.entry(digest.to_owned()).or_default();
            partial.finish(&mut |line| {
                events.line(Source::Build, line);
                kept.push(line.to_owned());
            });
        }
    }

    /// The last lines of the step that failed, else of the one that printed last.
    fn tail(&self) -> Vec<String> {
        let digest = self.failing.as_ref().unwrap_or(&self.last);
        self.lines.get(digest).cloned().unwrap_or_default()
    }

    fn failed(
        &mut self,
        step: &BuildImage,
        error: &bollard::errors::Error,
        events: &StepEvents<'_>,
    ) -> Error {
        let open: Vec<String> = self.partial.keys().cloned().collect();
        for digest in open {
            self.finish(&digest, events);
        }
        let tail = self.tail();
        let said = |text: &str| tail.iter().any(|line| line.contains(text));
        let report = errors::failed(&format!("cannot build {}", step.tag), error);
        let report = if said("No space left on device") {
            Error::new(Kind::Host, format!("cannot build {}", step.tag))
                .cause("the disk filled up")
                .hint("docker system df shows what takes the space")
        } else if said("CERTIFICATE_VERIFY_FAILED") || said("SSLError") {
            report
                .hint("set PIP_CERT to your site's CA bundle: it is used in the build and stays in no layer")
        } else if said("Temporary failure") || said("Failed to establish") || said("Could not resolve") {
            report.hint(
                "the build has no way to the package index: check the network and proxy of the Docker host",
            )
        } else {
            report
        };
        report.log(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tag_is_pulled_and_not_all() {
        assert_eq!(pullable("debian"), "debian:latest");
        assert_eq!(pullable("host:5000/debian"), "host:5000/debian:latest");
        for whole in [
            "debian:12",
            "host:5000/a/debian:12",
            "a/b@sha256:00",
            "a/b:1@sha256:00",
        ] {
            assert_eq!(pullable(whole), whole);
        }
    }
}
