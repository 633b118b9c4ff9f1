//! Images of dsr1: list, remove, save to a file and load from one. Only their labels identify them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bollard::models::ImageInspect;
use bollard::query_parameters::{
    ImportImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use futures_util::{StreamExt, stream};
use hyper::body::Bytes;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::effects::docker::archive::Pieces;
use crate::effects::docker::archive::oci::{self, Fault, ImageRecord};
use crate::effects::docker::{Docker, errors};
use crate::error::{At, Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::LABEL_ROLE;
use crate::report::ImageSummary;
use crate::units;

/// Pieces of an image in flight.
const IN_FLIGHT: usize = 16;
/// Time between two reports of progress.
const SHOWN: Duration = Duration::from_millis(200);
/// Bytes of a piece for the daemon.
const PIECE: usize = 256 * 1024;

/// Age from which the stage of a classic build is a remainder, in seconds. The daemon does not tell which builds run, and
/// no container holds a stage while the stages after it run, which takes minutes.
const STAGE_AWAITED_S: u64 = 3600;

/// A stage of the classic builder: an image without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageImage {
    /// The image.
    pub image: ImageSummary,
    /// True if a build that still runs may need it.
    pub is_awaited: bool,
}

/// Returns true if a build that runs at `now_s` may need a stage that was made at `created_s`, both in seconds since 1970.
fn is_awaited(created_s: i64, now_s: u64) -> bool {
    u64::try_from(created_s).is_ok_and(|created| now_s.saturating_sub(created) < STAGE_AWAITED_S)
}

impl Docker {
    /// Returns every image of dsr1, newest first.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn images(&self) -> Result<Vec<ImageSummary>> {
        self.images_with("image").await
    }

    /// Returns the stages that the classic builder left as images without a name.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn stages(&self) -> Result<Vec<StageImage>> {
        // By the daemon's clock, which also gave the images their times.
        let info = self.api.info().await;
        let info = info.map_err(|error| errors::failed("cannot ask the daemon for its time", &error))?;
        let now_s = info
            .system_time
            .as_deref()
            .and_then(units::seconds_of)
            .unwrap_or(0);
        let stages = self.images_with("stage").await?.into_iter();
        Ok(stages
            .filter(|stage| stage.tags.is_empty())
            .map(|image| StageImage {
                is_awaited: is_awaited(image.created_s, now_s),
                image,
            })
            .collect())
    }

    /// Removes the stages for whose ids `is_chosen` returns true.
    pub(super) async fn remove_stages(&self, is_chosen: impl Fn(&str) -> bool) -> Result<()> {
        for stage in self.stages().await? {
            if is_chosen(&stage.image.image_id) {
                let _ = self.remove_image(&stage.image).await;
            }
        }
        Ok(())
    }

    /// Returns the daemon's platform, such as `linux/amd64`.
    #[must_use]
    pub fn platform(&self) -> Option<String> {
        self.version.arch.as_ref().map(|arch| format!("linux/{arch}"))
    }

    /// Returns the volumes whose names begin with one of `prefixes`, each with the directory of its files, and true if no
    /// container uses it.
    ///
    /// # Errors
    /// [`Kind::Docker`] when the daemon does not answer.
    pub async fn volumes(&self, prefixes: &[String]) -> Result<Vec<(String, PathBuf, bool)>> {
        let mut found = Vec::new();
        for is_unused in [true, false] {
            let filters = HashMap::from([("dangling", vec![is_unused.to_string()])]);
            let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
            let listed = self
                .api
                .list_volumes(Some(options))
                .await
                .map_err(|error| errors::failed("cannot list volumes", &error))?;
            found.extend(
                listed
                    .volumes
                    .into_iter()
                    .flatten()
                    .filter(|volume| prefixes.iter().any(|prefix| volume.name.starts_with(prefix)))
                    .map(|volume| (volume.name, PathBuf::from(volume.mountpoint), is_unused)),
            );
        }
        Ok(found)
    }

    /// Removes a volume.
    ///
    /// # Errors
    /// [`Kind::Docker`] when a container uses it.
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        let options = RemoveVolumeOptionsBuilder::default().build();
        match self.patient.remove_volume(name, Some(options)).await {
            Err(error) if !errors::is_missing(&error) => Err(errors::failed(
                &format!("cannot remove the volume {name}"),
                &error,
            )),
            _ => Ok(()),
        }
    }

    async fn images_with(&self, role: &str) -> Result<Vec<ImageSummary>> {
        let failed = |error| errors::failed("cannot list images", &error);
        let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL_ROLE}={role}")])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let found = self.api.list_images(Some(options)).await.map_err(failed)?;
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let containers = self.api.list_containers(Some(options)).await.map_err(failed)?;
        let mut images: Vec<ImageSummary> = found
            .into_iter()
            .filter(|image| is_ours(&image.repo_tags))
            .map(|image| ImageSummary {
                used_by: containers
                    .iter()
                    .filter(|container| container.image_id.as_deref() == Some(&image.id))
                    .filter_map(|container| container.names.as_ref()?.first())
                    .map(|name| name.trim_start_matches('/').to_owned())
                    .collect(),
                tags: image
                    .repo_tags
                    .into_iter()
                    .filter(|tag| tag != "<none>:<none>")
                    .collect(),
                labels: image.labels.into_iter().collect(),
                size_bytes: u64::try_from(image.size).unwrap_or(0),
                created_s: image.created,
                image_id: image.id,
            })
            .collect();
        images.sort_by(|left, right| (right.created_s, &left.tags).cmp(&(left.created_s, &right.tags)));
        Ok(images)
    }

    /// Removes an image with all its tags.
    ///
    /// # Errors
    /// [`Kind::Docker`] when a container uses it.
    pub async fn remove_image(&self, image: &ImageSummary) -> Result<()> {
        // By its tags: the daemon does not remove an image with two tags by its id.
        let mut names: Vec<&str> = image.tags.iter().map(String::as_str).collect();
        if names.is_empty() {
            names.push(&image.image_id);
        }
        for name in names {
            // The tag may have moved to another image since the list was made.
            let now = self.image(name).await?.and_then(|now| now.id);
            if now.as_deref() != Some(image.image_id.as_str()) {
                continue;
            }
            let options = RemoveImageOptionsBuilder::default().build();
            match self.patient.remove_image(name, Some(options), None).await {
                Err(error) if !errors::is_missing(&error) => {
                    return Err(errors::failed(&format!("cannot remove the image {name}"), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Saves an image to a file, completely or not at all; returns its record.
    ///
    /// # Errors
    /// [`Kind::Host`] when the file cannot be written; [`Kind::Integrity`] when the daemon's layers do not match their
    /// hashes.
    pub async fn save_image(
        &self,
        tag: &str,
        file: &Path,
        dsr1: &str,
        events: &StepEvents<'_>,
    ) -> Result<ImageRecord> {
        let image = self.image(tag).await?;
        let image =
            image.ok_or_else(|| Error::new(Kind::Docker, format!("the image {tag} does not exist")))?;
        let total = image.size.and_then(|size| u64::try_from(size).ok());
        let record = record(tag, image, dsr1);
        let unfinished = Unfinished::beside(file);
        let writer = File::create_new(&unfinished.0)
            .at(Kind::Host, || format!("cannot write `{}`", file.display()))?;
        let (to, from) = mpsc::channel(IN_FLIGHT);
        let pieces = Exported {
            from,
            piece: Bytes::new(),
        };
        let saving = tokio::task::spawn_blocking(move || oci::save(pieces, BufWriter::new(writer), record));
        let mut export = Box::pin(self.patient.export_image(tag));
        let mut done = 0;
        while let Some(piece) = export.next().await {
            let piece =
                piece.map_err(|error| errors::failed(&format!("cannot save the image {tag}"), &error))?;
            done += piece.len() as u64;
            if to.send(piece).await.is_err() {
                break;
            }
            events.progress(done, total.filter(|total| *total >= done), tag);
        }
        drop(to);
        let saved = saving
            .await
            .at(Kind::Internal, || format!("cannot save the image {tag}"))?;
        let record = saved.map_err(|fault| explain(&format!("cannot save the image {tag}"), fault))?;
        unfinished.publish(file)?;
        Ok(record)
    }

    /// Loads an image from a file that [`Docker::save_image`] wrote, after verifying it.
    ///
    /// # Errors
    /// [`Kind::Integrity`] when a blob does not match its hash: nothing is loaded then; [`Kind::Host`] when the image is for
    /// another platform.
    pub async fn load_image(&self, file: &Path, events: &StepEvents<'_>) -> Result<ImageRecord> {
        let failure = format!("cannot load `{}`", file.display());
        // Reading a pipe could block without end.
        let meta = std::fs::metadata(file).at(Kind::Host, || failure.clone())?;
        if !meta.is_file() {
            return Err(Error::new(Kind::Host, failure).cause("it is not a file"));
        }
        let from = File::open(file).at(Kind::Host, || failure.clone())?;
        let total = Some(meta.len());
        let item = file.display().to_string();
        let platform = self.platform();
        let (to, mut pieces) = mpsc::channel(IN_FLIGHT);
        let (api, runtime) = (self.api.clone(), tokio::runtime::Handle::current());
        let approve = move |record: &ImageRecord| {
            require_platform(record, platform.as_deref())?;
            runtime.block_on(require_free_tag(&api, &record.tag))
        };
        let verifying = tokio::task::spawn_blocking(move || send_verified(from, &to, approve));
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let body = stream::poll_fn(move |context| {
            let piece: Poll<Option<io::Result<Bytes>>> = pieces.poll_recv(context);
            if let Poll::Ready(Some(Ok(bytes))) = &piece {
                counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            piece
        });
        let options = ImportImageOptionsBuilder::default().build();
        let mut loading = Box::pin(self.patient.import_image_stream(options, body, None));
        let mut refused = None;
        loop {
            tokio::select! {
                message = loading.next() => match message {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => refused = Some(error),
                    None => break,
                },
                () = tokio::time::sleep(SHOWN) => events.progress(sent.load(Ordering::Relaxed), total, &item),
            }
        }
        let verified = verifying.await.at(Kind::Internal, || failure.clone())?;
        let record = match (verified, refused) {
            (Ok(record), None) => record,
            // The daemon ended the request, and its message has the reason.
            (Ok(_) | Err(Fault::HungUp), Some(error)) => return Err(errors::failed(&failure, &error)),
            // The daemon only saw that the archive ended early.
            (Err(fault), _) => return Err(explain(&failure, fault)),
        };
        let labels = self
            .image(&record.tag)
            .await?
            .map(|image| self::record(&record.tag, image, "").labels);
        if labels.as_ref() == Some(&record.labels) {
            Ok(record)
        } else {
            Err(Error::new(Kind::Docker, failure).cause(format!(
                "the daemon loaded it, but {} is another image",
                record.tag
            )))
        }
    }
}

/// Returns true if an image with the labels of dsr1 was built by dsr1: an image that somebody built on top of one inherits
/// the labels, and has another name.
fn is_ours(tags: &[String]) -> bool {
    let mut named = tags.iter().filter(|tag| *tag != "<none>:<none>").peekable();
    named.peek().is_none() || named.any(|tag| tag.starts_with("dsr1/"))
}

/// A file under a temporary name, removed when it is dropped without being published.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Self(file.with_file_name(format!(".{name}.{}", std::process::id())))
    }

    fn publish(&self, file: &Path) -> Result<()> {
        File::open(&self.0)
            .and_then(|written| written.sync_all())
            .and_then(|()| std::fs::rename(&self.0, file))
            .at(Kind::Host, || format!("cannot write `{}`", file.display()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the record of an image that the daemon has.
fn record(tag: &str, image: ImageInspect, dsr1: &str) -> ImageRecord {
    ImageRecord {
        schema: oci::SCHEMA.to_owned(),
        dsr1: dsr1.to_owned(),
        tag: tag.to_owned(),
        image_id: image.id.unwrap_or_default(),
        platform: format!(
            "{}/{}",
            image.os.unwrap_or_default(),
            image.architecture.unwrap_or_default()
        ),
        labels: image
            .config
            .and_then(|config| config.labels)
            .unwrap_or_default()
            .into_iter()
            .collect(),
        layers: image.root_fs.and_then(|root| root.layers).unwrap_or_default(),
    }
}

fn explain(failure: &str, fault: Fault) -> Error {
    match fault {
        Fault::Form(what) => Error::new(Kind::Integrity, failure)
            .cause(what)
            .hint("write it again with dsr1 image save; docker load reads archives of other tools"),
        Fault::Hash(what) => Error::new(Kind::Integrity, failure)
            .cause(format!("{what} does not match its hash"))
            .hint("the file is damaged: copy it again, or save it again"),
        Fault::Platform(what) => Error::new(Kind::Host, failure)
            .cause(what)
            .hint("save the image on a host of this architecture: dsr1 emulates no other"),
        Fault::Taken(tag) => Error::new(Kind::Docker, failure)
            .cause(format!(
                "the daemon has an image {tag} already, which dsr1 did not build"
            ))
            .hint(format!(
                "docker tag {tag} ANOTHER-NAME && docker rmi {tag}, then load it again"
            )),
        Fault::HungUp => Error::new(Kind::Docker, failure).cause("the daemon ended the request"),
        Fault::Io(error) => Error::new(Kind::Host, failure).cause(error.to_string()),
    }
}

/// Sends an archive to the daemon while it is verified. If a part is wrong, the request ends before the manifest, without
/// which the daemon loads nothing.
fn send_verified(
    from: File,
    to: &Sender<io::Result<Bytes>>,
    approve: impl FnOnce(&ImageRecord) -> std::result::Result<(), Fault>,
) -> std::result::Result<ImageRecord, Fault> {
    let verified = oci::verify(
        BufReader::with_capacity(PIECE, from),
        Pieces::new(to.clone()),
        approve,
    );
    if verified.is_err() {
        let _ = to.blocking_send(Err(io::Error::other("the archive is not verified")));
    }
    verified
}

/// Refuses an archive that dsr1 did not write, or whose image is for another platform.
fn require_platform(record: &ImageRecord, platform: Option<&str>) -> std::result::Result<(), Fault> {
    if record.labels.get(LABEL_ROLE).map(String::as_str) != Some("image") {
        return Err(Fault::Form(
            "it does not hold an image that dsr1 built".to_owned(),
        ));
    }
    match platform {
        Some(platform) if platform != record.platform => Err(Fault::Platform(format!(
            "it holds an image for {}, and the Docker daemon is {platform}",
            record.platform
        ))),
        _ => Ok(()),
    }
}

/// Refuses a tag that an image has which dsr1 did not build.
async fn require_free_tag(api: &bollard::Docker, tag: &str) -> std::result::Result<(), Fault> {
    let there = api.inspect_image(tag).await.ok();
    let role = there.map(|image| record(tag, image, "").labels.remove(LABEL_ROLE));
    match role {
        Some(role) if role.as_deref() != Some("image") => Err(Fault::Taken(tag.to_owned())),
        _ => Ok(()),
    }
}

/// A reader of the archive that the daemon sends.
struct Exported {
    from: Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Exported {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(into.len());
        let rest = self.piece.split_off(count);
        into[..count].copy_from_slice(&self.piece);
        self.piece = rest;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_young_stage_may_belong_to_a_build_that_runs() {
        let now = 1_800_000_000;
        for (age, awaited) in [
            (0, true),
            (3599, true),
            (3600, false),
            (86_400, false),
            (-60, true),
        ] {
            assert_eq!(is_awaited(now - age, 1_800_000_000), awaited, "{age}");
        }
        // Some builders give an image no time.
        assert!(!is_awaited(-62_135_596_800, 1_800_000_000));
    }
}
