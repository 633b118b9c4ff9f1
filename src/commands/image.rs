//! `dsr1 image`: the images that dsr1 built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::build::verify;
use super::context::Context;
use crate::cli::{Image, ImageArgs, LoadArgs, PruneArgs, SaveArgs, WhichImageArgs};
use crate::effects::docker::{Docker, ImageRecord};
use crate::effects::host;
use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, Host};
use crate::plan::{self, BuildRequest, ImageChoice, LABEL_STACK, Target};
use crate::report::{ImageSummary, ProfilesVerified};
use crate::ui;
use crate::units::{Bytes, counted};

#[derive(Debug, Serialize)]
struct Listing {
    schema: &'static str,
    images: Vec<ImageSummary>,
}

#[derive(Debug, Serialize)]
struct Shown {
    schema: &'static str,
    image: ImageSummary,
    /// Result of `dsr1 build --verify`.
    verified: Option<ProfilesVerified>,
}

#[derive(Debug, Serialize)]
struct Pruned {
    schema: &'static str,
    dry_run: bool,
    removed: Vec<ImageSummary>,
}

#[derive(Debug, Serialize)]
struct Moved<'a> {
    schema: &'static str,
    file: &'a Path,
    image: ImageRecord,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: ImageArgs) -> Result<()> {
    let docker = context.effects.docker().await?;
    match args.what {
        Image::List => {
            let listing = Listing {
                schema: "dsr1.images/1",
                images: docker.images().await?,
            };
            context.print(&listing, |listing| ui::images(&listing.images))
        }
        Image::Inspect(args) => inspect(context, docker, &args).await,
        Image::Prune(args) => prune(context, docker, &args).await,
        Image::Save(args) => save(context, docker, &args).await,
        Image::Load(args) => load(context, docker, &args).await,
    }
}

async fn inspect(context: &Context, docker: &Docker, args: &WhichImageArgs) -> Result<()> {
    let image = find(docker, &args.image).await?.0;
    let kept = verify::path(&context.effects.env().paths.state, &image.image_id);
    let shown = Shown {
        schema: "dsr1.image-shown/1",
        verified: std::fs::read(kept)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok()),
        image,
    };
    context.print(&shown, |shown| {
        let verified = shown
            .verified
            .as_ref()
            .map_or_else(String::new, |table| format!("\n{}", ui::profiles_verified(table)));
        ui::image(&shown.image) + &verified
    })
}

async fn prune(context: &Context, docker: &Docker, args: &PruneArgs) -> Result<()> {
    let images = docker.images().await?;
    let kept = if args.all {
        Vec::new()
    } else {
        ids_to_keep(context, docker, &images)?
    };
    let mut pruned = Pruned {
        schema: "dsr1.images-pruned/1",
        dry_run: args.dry_run,
        removed: Vec::new(),
    };
    let old = images
        .into_iter()
        .filter(|image| image.used_by.is_empty() && !kept.contains(&image.image_id))
        // An image with a tag of the user's own may be in use elsewhere.
        .filter(|image| image.tags.iter().all(|tag| tag.starts_with("dsr1/")));
    // A build that runs may need a young stage.
    let stages = docker.stages().await?.into_iter();
    let stages = stages.filter(|stage| args.all || !stage.is_awaited);
    let old: Vec<ImageSummary> = old.chain(stages.map(|stage| stage.image)).collect();
    if !args.dry_run && !args.yes && !old.is_empty() {
        if ui::can_ask() && !context.is_json() {
            ui::print(&ui::fitted(&ui::pruned(&old, true), ui::columns()))?;
        }
        let all = if args.all { " --all" } else { "" };
        context.ask_for_removal(&format!("dsr1 image prune{all}"))?;
    }
    let mut failed = None;
    if args.dry_run || old.is_empty() {
        pruned.removed = old;
    } else {
        let title = format!("remove {}", counted(old.len(), "image"));
        let removed = context.one_shown_step(&title, "", async |events| {
            for image in old {
                let name = image.tags.first().unwrap_or(&image.image_id);
                events.activity(name, None);
                context.until_interrupted(docker.remove_image(&image)).await?;
                pruned.removed.push(image);
            }
            Ok(())
        });
        failed = removed.await.err();
    }
    // The removed images are shown even if a later removal failed.
    context.print(&pruned, |pruned| ui::pruned(&pruned.removed, pruned.dry_run))?;
    failed.map_or(Ok(()), Err)
}

/// Returns the ids of the images to keep: those that the stacks of this dsr1 would build today, the newest of each stack,
/// and all images of stacks that this configuration does not have.
pub(super) fn ids_to_keep(
    context: &Context,
    docker: &Docker,
    images: &[ImageSummary],
) -> Result<Vec<String>> {
    let facts = Facts {
        host: Host {
            platform: docker.platform().or_else(host::platform),
            ..Host::default()
        },
        ..Facts::default()
    };
    let catalog = context.catalog(None)?;
    let mut known = BTreeMap::new();
    for stack in catalog.stacks() {
        let request = BuildRequest::new(stack.clone(), Target::Docker, ImageChoice::default());
        known.insert(stack.name.clone(), plan::image_tag(&request, &facts).ok());
    }
    let mut newest = BTreeSet::new();
    let keeps = |image: &&ImageSummary| {
        let stack = image.labels.get(LABEL_STACK).cloned().unwrap_or_default();
        // The list begins with the newest.
        let first = !image.tags.is_empty() && newest.insert(stack.clone());
        match known.get(&stack) {
            Some(today) => first || today.as_ref().is_some_and(|tag| image.tags.contains(tag)),
            None => !image.tags.is_empty(),
        }
    };
    Ok(images
        .iter()
        .filter(keeps)
        .map(|image| image.image_id.clone())
        .collect())
}

async fn save(context: &Context, docker: &Docker, args: &SaveArgs) -> Result<()> {
    let file = args.output.as_path();
    if file.exists() && !file.is_file() {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` is not a file", file.display()),
        ));
    }
    if file.exists() && !args.force {
        return Err(
            Error::new(Kind::Usage, format!("`{}` exists already", file.display()))
                .hint("--force replaces it"),
        );
    }
    let (image, tag) = find(docker, &args.which.image).await?;
    let title = format!("save {tag}, {}", Bytes(image.size_bytes));
    let image = context
        .one_step(&title, "every hash checked", async |events| {
            docker
                .save_image(&tag, file, env!("CARGO_PKG_VERSION"), events)
                .await
        })
        .await?;
    print_moved(context, file, image)
}

async fn load(context: &Context, docker: &Docker, args: &LoadArgs) -> Result<()> {
    let file = args.file.as_path();
    let title = format!("load {}", file.display());
    let image = context
        .one_step(&title, "every hash checked", async |events| {
            docker.load_image(file, events).await
        })
        .await?;
    print_moved(context, file, image)
}

/// Prints the image that was saved or loaded.
fn print_moved(context: &Context, file: &Path, image: ImageRecord) -> Result<()> {
    let moved = Moved {
        schema: "dsr1.image-file/1",
        file,
        image,
    };
    context.print(&moved, |moved| {
        format!(
            "{}  {}  {}\n",
            ui::safe(&moved.image.tag),
            ui::safe(&moved.image.image_id),
            moved.file.display()
        )
    })
}

/// Returns the image of a tag, or the only one of a stack, and its tag.
async fn find(docker: &Docker, name: &str) -> Result<(ImageSummary, String)> {
    let images = docker.images().await?;
    let is_of = |image: &&ImageSummary| {
        image.tags.iter().any(|tag| tag == name)
            || (!image.tags.is_empty() && image.labels.get(LABEL_STACK).is_some_and(|stack| stack == name))
    };
    let found: Vec<&ImageSummary> = images.iter().filter(is_of).collect();
    match found.as_slice() {
        [image] => {
            let tag = image
                .tags
                .iter()
                .find(|tag| *tag == name)
                .or_else(|| image.tags.first());
            Ok(((*image).clone(), tag.cloned().unwrap_or_default()))
        }
        [] => Err(Error::new(
            Kind::Usage,
            format!("dsr1 built no image `{}`", name.escape_debug()),
        )
        .hint("dsr1 image list shows the images; dsr1 build makes one")),
        several => {
            let tags: Vec<&str> = several
                .iter()
                .flat_map(|image| &image.tags)
                .map(String::as_str)
                .collect();
            Err(Error::new(
                Kind::Usage,
                format!("stack `{}` has {} images", name.escape_debug(), several.len()),
            )
            .hint(format!("name one: {}", tags.join(", "))))
        }
    }
}
