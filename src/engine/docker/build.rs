//! Builds images with BuildKit in the daemon.

use std::collections::BTreeMap;

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use http_body_util::BodyExt;

use super::context::{self, BuildContext};
use super::progress::BuildLog;
use super::session::{Served, Session};
use super::{Docker, errors, transport};
use crate::engine::env;
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{BuildImage, LABEL_INPUTS, SecretSource};
use crate::report::Built;

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
        let id = session_id();
        let served = Served {
            context: BuildContext::new(step)?,
            secrets: secrets(step)?,
            credentials: self.credentials.clone(),
        };
        let key = format!("dsr1-{}", step.stack);
        let Some(_session) = Session::open(&self.endpoint, &id, &key, served).await? else {
            return Err(Error::new(Kind::Docker, format!("cannot build {}", step.tag))
                .cause("the daemon knows no build sessions: its BuildKit is off, or it is not Docker")
                .hint("dsr1 needs Docker 20.10 or newer with BuildKit; or use --runtime process"));
        };
        let mut answer = transport::post(&self.endpoint, &path(step, &id), &[]).await?;
        let refused = !answer.response.status().is_success();
        let mut log = BuildLog::default();
        let mut body = Vec::new();
        while let Some(frame) = answer.response.frame().await {
            let bytes = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => return Err(log.failed(step, &format!("the daemon is gone: {error}"), events)),
            };
            if refused {
                body.extend_from_slice(&bytes);
            } else if let Err(said) = log.take(&bytes, events) {
                return Err(log.failed(step, &said, events));
            }
        }
        drop(answer.connection);
        if refused {
            let message = serde_json::from_slice::<serde_json::Value>(&body)
                .ok()
                .and_then(|value| value["message"].as_str().map(str::to_owned))
                .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
            return Err(log.failed(step, &message, events));
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
        let login = self
            .credentials
            .of(registry(base))
            .await
            .map(|login| DockerCredentials {
                username: Some(login.username),
                password: Some(login.secret.expose().to_owned()),
                ..DockerCredentials::default()
            });
        let mut stream = Box::pin(self.patient.create_image(Some(options), None, login));
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

/// The request: everything but the context and the secrets, which the daemon asks for.
fn path(step: &BuildImage, session: &str) -> String {
    let mut args = step.args.clone();
    for name in &step.inherited_args {
        args.extend(env::variable(name).map(|value| (name.clone(), value)));
    }
    let flag = |on: bool| if on { "1" } else { "0" };
    let cache_from = serde_json::to_string(&step.cache_from).unwrap_or_default();
    let args = serde_json::to_string(&args).unwrap_or_default();
    let mut query = vec![
        ("version", "2"),
        ("session", session),
        ("buildid", session),
        ("remote", "client-session"),
        ("dockerfile", "Dockerfile"),
        ("networkmode", &step.network),
        ("rm", "1"),
        ("forcerm", "1"),
        ("buildargs", &args),
        ("cachefrom", &cache_from),
        ("nocache", flag(step.no_cache)),
        ("pull", flag(step.pull)),
    ];
    query.extend(
        std::iter::once(&step.tag)
            .chain(&step.also)
            .map(|tag| ("t", tag.as_str())),
    );
    let query: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{key}={}", percent(value)))
        .collect();
    format!("/build?{}", query.join("&"))
}

/// A value in a URL's query.
fn percent(value: &str) -> String {
    use std::fmt::Write as _;

    value.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// What steps may read. One that is missing is known before the build begins.
fn secrets(step: &BuildImage) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for secret in &step.secrets {
        let value = match &secret.source {
            SecretSource::File(path) => context::secret(&secret.id, path)?,
            SecretSource::Env(name) => env::variable(name).map(String::into_bytes).ok_or_else(|| {
                Error::new(
                    Kind::Usage,
                    format!("the build's secret `{}` is missing", secret.id),
                )
                .cause(format!("${name} is not set"))
            })?,
        };
        found.insert(secret.id.clone(), value);
    }
    Ok(found)
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

/// The registry of a reference: its first part when that is a host, else Docker Hub.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
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
