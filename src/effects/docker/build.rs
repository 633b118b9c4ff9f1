//! Builds images in the daemon, by BuildKit or by the classic builder.

use std::collections::BTreeMap;

use bollard::models::ImageInspect;
use http_body_util::BodyExt;

use crate::effects::docker::context::{self, BuildContext};
use crate::effects::docker::progress::BuildLog;
use crate::effects::docker::session::{Served, Session};
use crate::effects::docker::{Docker, archive, errors, transport};
use crate::effects::env;
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{BuildImage, Builder, LABEL_BASE_DIGEST, LABEL_INPUTS, SecretSource};
use crate::report::Built;

impl Docker {
    /// Builds the image unless it exists already. Dropping the future ends the build in the daemon.
    ///
    /// # Errors
    /// [`Kind::Docker`] when a step fails, with its log; [`Kind::Host`] when the disk is full.
    pub async fn build(&self, step: &BuildImage, events: &StepEvents<'_>) -> Result<Built> {
        self.require_platform(step)?;
        // A missing secret is reported before anything is pulled or built.
        let secrets = secrets(step)?;
        // These options ask for a new build even if the image exists.
        let anew = step.no_cache || step.pull || step.inline_cache || step.refresh.is_some();
        if !anew
            && let Some(image) = self.image(&step.tag).await?
            && label(&image, LABEL_INPUTS) == Some(step.inputs.as_str())
        {
            let built_on = label(&image, LABEL_BASE_DIGEST);
            if has_changed(built_on, step.base_digest.as_deref()) {
                events.note(format!(
                    "the base image {} changed since {} was built: building again",
                    step.base, step.tag
                ));
            } else {
                self.tag(&step.tag, &step.also).await?;
                let pushed = self.push_all(step, events).await?;
                return Ok(built(step, image, true, pushed));
            }
        }
        self.provide_base(step, events).await?;
        let id = unused_name("dsr1");
        let with_secrets = !secrets.is_empty();
        let (_session, headers, body) = match step.builder {
            Builder::Buildkit => {
                let served = Served {
                    context: BuildContext::new(step)?,
                    secrets,
                    credentials: self.credentials.clone(),
                };
                let key = format!("dsr1-{}", step.stack);
                let Some(session) = Session::open(&self.dial, &id, &key, served).await? else {
                    return Err(Error::new(Kind::Docker, format!("cannot build {}", step.tag))
                        .cause("the daemon has no build sessions: its BuildKit is off, or it is not Docker")
                        .hint("--builder classic needs none, and works if the build has no secret"));
                };
                (Some(session), &[][..], transport::empty())
            }
            Builder::Classic => (
                None,
                &[("content-type", "application/x-tar")][..],
                archive::context(step, secrets)?,
            ),
        };
        let mut answer = transport::post(&self.dial, &request_path(step, &id), headers, body).await?;
        let refused = !answer.response.status().is_success();
        let mut log = BuildLog::default();
        let mut body = Vec::new();
        while let Some(frame) = answer.response.frame().await {
            let bytes = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => {
                    return Err(log.failed(
                        step,
                        &format!("the connection to the daemon broke: {error}"),
                        events,
                    ));
                }
            };
            if refused {
                body.extend_from_slice(&bytes);
            } else if let Err(message) = log.read_bytes(&bytes, events) {
                return Err(log.failed(step, &message, events));
            }
        }
        drop(answer.connection);
        log.step_ended(events);
        if step.builder == Builder::Classic && with_secrets {
            // Its stages stay as images without a name, and these hold the secret.
            self.remove_stages(|id| log.has_made(id)).await?;
        }
        if refused {
            let message = serde_json::from_slice::<serde_json::Value>(&body)
                .ok()
                .and_then(|value| value["message"].as_str().map(str::to_owned))
                .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
            return Err(log.failed(step, &message, events));
        }
        match self.image(&step.tag).await? {
            Some(image) => {
                let pushed = self.push_all(step, events).await?;
                Ok(built(step, image, false, pushed))
            }
            None => Err(
                Error::new(Kind::Docker, format!("the build of {} left no image", step.tag))
                    .cause("the daemon ended the build without an error")
                    .hint("check that the daemon has BuildKit: dsr1 needs Docker 20.10 or newer")
                    .log(log.tail()),
            ),
        }
    }

    /// Pulls the base image if the build may use the network; offline, requires that the daemon has it.
    async fn provide_base(&self, step: &BuildImage, events: &StepEvents<'_>) -> Result<()> {
        if step.network != "none" {
            // With `pull`, BuildKit asks the registry itself.
            return if step.pull {
                Ok(())
            } else {
                self.pull_base(&step.base, events).await
            };
        }
        if self.image(&step.base).await?.is_some() {
            return Ok(());
        }
        Err(
            Error::new(Kind::Docker, format!("cannot build {} offline", step.tag))
                .cause(format!("the daemon does not have the base image {}", step.base))
                .hint("docker load it on this host, or name one that the daemon has with --base-image"),
        )
    }

    /// Refuses a build for another platform than the daemon's: emulated, kernels would compile for hours, and the image
    /// would not run here.
    fn require_platform(&self, step: &BuildImage) -> Result<()> {
        let (Some(wanted), Some(arch)) = (&step.platform, &self.version.arch) else {
            return Ok(());
        };
        let daemon = format!("linux/{arch}");
        if *wanted == daemon {
            return Ok(());
        }
        Err(Error::new(Kind::Host, format!("cannot build {}", step.tag))
            .cause(format!(
                "the plan is for {wanted}, and the Docker daemon at `{}` is {daemon}",
                self.dial.endpoint()
            ))
            .hint("build on a host of that architecture: dsr1 emulates no other"))
    }

    /// Pushes every tag that was asked for; returns each with its digest in the registry.
    async fn push_all(&self, step: &BuildImage, events: &StepEvents<'_>) -> Result<Vec<String>> {
        let mut pushed = Vec::new();
        for name in step.also.iter().filter(|_| step.push) {
            pushed.push(format!("{name}@{}", self.push(name, events).await?));
        }
        Ok(pushed)
    }

    /// Returns the id of an image, `sha256:...`; `None` if it is not here.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn image_id(&self, reference: &str) -> Result<Option<String>> {
        Ok(self.image(reference).await?.and_then(|image| image.id))
    }

    pub(super) async fn image(&self, reference: &str) -> Result<Option<ImageInspect>> {
        match self.api.inspect_image(reference).await {
            Ok(image) => Ok(Some(image)),
            Err(error) if errors::is_missing(&error) => Ok(None),
            Err(error) => Err(errors::failed(
                &format!("cannot inspect the image {reference}"),
                &error,
            )),
        }
    }
}

/// Returns the path and query of the build request: everything but the context and the secrets, which the daemon requests.
fn request_path(step: &BuildImage, session: &str) -> String {
    let mut args = step.args.clone();
    for name in &step.inherited_args {
        args.extend(env::variable(name).map(|value| (name.clone(), value)));
    }
    let flag = |on: bool| if on { "1" } else { "0" };
    if step.inline_cache {
        args.insert("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned());
    }
    let cache_from = serde_json::to_string(&step.cache_from).unwrap_or_default();
    let args = serde_json::to_string(&args).unwrap_or_default();
    let mut query = match step.builder {
        Builder::Buildkit => vec![
            ("version", "2"),
            ("session", session),
            ("buildid", session),
            ("remote", "client-session"),
        ],
        Builder::Classic => vec![("version", "1")],
    };
    query.extend([
        ("dockerfile", "Dockerfile"),
        ("networkmode", &step.network),
        ("rm", "1"),
        ("forcerm", "1"),
        ("buildargs", &args),
        ("cachefrom", &cache_from),
        ("nocache", flag(step.no_cache)),
        ("pull", flag(step.pull)),
    ]);
    query.extend(
        std::iter::once(&step.tag)
            .chain(&step.also)
            .map(|tag| ("t", tag.as_str())),
    );
    let query: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{key}={}", percent_encoded(value)))
        .collect();
    format!("/build?{}", query.join("&"))
}

/// Encodes a value for a URL's query.
fn percent_encoded(value: &str) -> String {
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

/// Reads the secrets of a build by their id.
fn secrets(step: &BuildImage) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for secret in &step.secrets {
        let value = match &secret.source {
            SecretSource::File(path) => context::read_secret(&secret.id, path)?,
            SecretSource::Env(name) => {
                let wrong = |cause: String| {
                    Error::new(
                        Kind::Usage,
                        format!("the build's secret `{}` is missing", secret.id),
                    )
                    .cause(cause)
                };
                let value = env::variable(name).ok_or_else(|| wrong(format!("${name} is not set")))?;
                if value.len() > context::SECRET_LIMIT {
                    return Err(wrong(format!(
                        "${name} is too large: BuildKit accepts {} bytes",
                        context::SECRET_LIMIT
                    )));
                }
                value.into_bytes()
            }
        };
        found.insert(secret.id.clone(), value);
    }
    Ok(found)
}

/// Returns a name that nothing else at the daemon has: for a session, or a container of a short command.
pub(super) fn unused_name(prefix: &str) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{prefix}-{}-{}", std::process::id(), now.as_nanos())
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

/// Returns true if an image's base has another digest now; false if one of the two is unknown.
fn has_changed(built_on: Option<&str>, now: Option<&str>) -> bool {
    built_on.zip(now).is_some_and(|(built_on, now)| built_on != now)
}

fn built(step: &BuildImage, image: ImageInspect, cached: bool, pushed: Vec<String>) -> Built {
    Built {
        tag: step.tag.clone(),
        image_id: image.id.unwrap_or_default(),
        cached,
        pushed,
        size_bytes: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
    }
}
