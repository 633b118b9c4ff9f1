//! Images from and to their registries, with the logins of Docker's own configuration.

use std::collections::BTreeMap;

use bollard::auth::DockerCredentials;
use bollard::errors::Error as Bollard;
use bollard::models::ProgressDetail;
use bollard::query_parameters::{CreateImageOptionsBuilder, PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::StreamExt;

use crate::effects::docker::errors::During;
use crate::effects::docker::{Docker, errors};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::profile::hint_without_registry;

impl Docker {
    /// Pulls the base image unless the daemon has it already.
    pub(super) async fn pull_base(&self, base: &str, events: &StepEvents<'_>) -> Result<()> {
        if self.image(base).await?.is_some() {
            return Ok(());
        }
        events.note(format!("pulling base image {base}"));
        let from = with_tag(base);
        let options = CreateImageOptionsBuilder::default().from_image(&from).build();
        let login = self.login(base).await;
        let mut stream = Box::pin(self.patient.create_image(Some(options), None, login));
        let mut layers = Layers::default();
        while let Some(info) = stream.next().await {
            let info = info.map_err(|error| cannot_pull(base, &error))?;
            if let (Some(id), Some(progress)) = (info.id, info.progress_detail) {
                layers.record(id, &progress, events, base);
            }
        }
        Ok(())
    }

    /// Adds tags to an image.
    pub(super) async fn tag(&self, image: &str, also: &[String]) -> Result<()> {
        for name in also {
            let (repo, tag) = split_tag(name);
            let options = TagImageOptionsBuilder::default().repo(repo).tag(tag).build();
            self.api
                .tag_image(image, Some(options))
                .await
                .map_err(|error| errors::failed(&format!("cannot tag the image {name}"), &error))?;
        }
        Ok(())
    }

    /// Pushes a tag to its registry; returns its digest there.
    pub(super) async fn push(&self, name: &str, events: &StepEvents<'_>) -> Result<String> {
        let failure = format!("cannot push the image {name}");
        let (repo, tag) = split_tag(name);
        events.note(format!("pushing {name}"));
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let login = self.login(name).await;
        let mut stream = Box::pin(self.patient.push_image(repo, Some(options), login));
        let mut digest = None;
        while let Some(info) = stream.next().await {
            let info = info.map_err(|error| transfer_failed(&failure, &error))?;
            if let Some(progress) = info.progress_detail
                && let (Some(done), total) = (count(progress.current), count(progress.total))
            {
                events.progress(done, total, name);
            }
            // `1.0: digest: sha256:... size: 527`, the last line.
            let status = info.status.unwrap_or_default();
            let found = status
                .split_once("digest: ")
                .and_then(|(_, rest)| rest.split(' ').next());
            digest = found.map(str::to_owned).or(digest);
        }
        digest.ok_or_else(|| Error::new(Kind::Docker, failure).cause("the registry returned no digest"))
    }

    pub(super) async fn login(&self, reference: &str) -> Option<DockerCredentials> {
        let login = self.credentials.login_of(registry(reference)).await?;
        Some(DockerCredentials {
            username: Some(login.username),
            password: Some(login.secret.expose().to_owned()),
            ..DockerCredentials::default()
        })
    }
}

/// Returns the error of a pull or a push that a registry, or the way to it, refused.
fn transfer_failed(failure: &str, error: &Bollard) -> Error {
    let report = errors::failed(failure, error);
    match errors::signature(&report.causes().join(" "), &[During::Transfer]) {
        Some(signature) => report.with_kind(signature.kind).hint(signature.fix),
        None => report,
    }
}

fn cannot_pull(base: &str, error: &Bollard) -> Error {
    let report = transfer_failed(&format!("cannot pull base image {base}"), error);
    if report.kind() != Kind::Hub
        && base.contains("@sha256:")
        && let Some(signature) = errors::signature(&report.causes().join(" "), &[During::PinnedPull])
    {
        return report.with_kind(signature.kind).hint(signature.fix);
    }
    report.hint(hint_without_registry(base))
}

/// Bytes of the layers of one transfer.
#[derive(Default)]
struct Layers(BTreeMap<String, (u64, u64)>);

impl Layers {
    fn record(&mut self, id: String, progress: &ProgressDetail, events: &StepEvents<'_>, item: &str) {
        let (Some(current), Some(total)) = (count(progress.current), count(progress.total)) else {
            return;
        };
        self.0.insert(id, (current, total));
        let (done, all) = self
            .0
            .values()
            .fold((0, 0), |(done, all), (d, a)| (done + d, all + a));
        events.progress(done, Some(all), item);
    }
}

fn count(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

/// Returns the reference with a tag: without one the daemon would pull every tag of the repository.
fn with_tag(base: &str) -> String {
    let name = base.rsplit('/').next().unwrap_or(base);
    if name.contains([':', '@']) {
        base.to_owned()
    } else {
        format!("{base}:latest")
    }
}

/// Returns a reference without its tag and its digest.
pub(super) fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    split_tag(name).0
}

/// Returns repository and tag of a name. A colon before the last slash is a port.
fn split_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') => (repo, tag),
        _ => (name, "latest"),
    }
}

/// Returns the registry of a reference: its first part if that is a host, else Docker Hub.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_split() {
        assert_eq!(split_tag("host:5000/a"), ("host:5000/a", "latest"));
        assert_eq!(split_tag("host:5000/a:1"), ("host:5000/a", "1"));
        assert_eq!(repository("host:5000/a:1@sha256:00"), "host:5000/a");
        assert_eq!(repository("debian"), "debian");
        assert_eq!(registry("debian:12"), "docker.io");
        assert_eq!(registry("lmsysorg/sglang:v1"), "docker.io");
        assert_eq!(registry("host:5000/a:1"), "host:5000");
        assert_eq!(registry("localhost/a"), "localhost");
    }

    #[test]
    fn one_tag_is_pulled_and_not_all() {
        assert_eq!(with_tag("debian"), "debian:latest");
        assert_eq!(with_tag("host:5000/debian"), "host:5000/debian:latest");
        for whole in [
            "debian:12",
            "host:5000/a/debian:12",
            "a/b@sha256:00",
            "a/b:1@sha256:00",
        ] {
            assert_eq!(with_tag(whole), whole);
        }
    }
}
