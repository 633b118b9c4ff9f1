//! `dsr1 clean`: removes what dsr1 made on this host and no longer uses.

use std::path::Path;

use serde::Serialize;

use super::context::{Ask, Context};
use super::image::ids_to_keep;
use crate::cli::CleanArgs;
use crate::effects::belongings;
use crate::effects::docker::Docker;
use crate::error::Result;
use crate::event::Event;
use crate::plan::clean::{Choice, CleanOptions, Item, ItemKind, Use, choose};
use crate::plan::{self, BuildRequest, ImageChoice, Target};
use crate::report::ImageSummary;
use crate::ui;

#[derive(Debug, Serialize)]
struct Cleaned {
    schema: &'static str,
    dry_run: bool,
    items: Vec<Choice>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: CleanArgs) -> Result<()> {
    let mut items = on_disk(context).await?;
    let mut images = Vec::new();
    match in_docker(context, &mut images).await {
        Ok(found) => items.extend(found),
        Err(error) => {
            let text = [vec![error.message()], error.causes()].concat().join(": ");
            context.display().event(&Event::Note {
                text: format!("images and volumes are not listed: {text}"),
            });
        }
    }
    let options = CleanOptions {
        all: args.all,
        older_than_s: u64::from(args.older_than) * 86_400,
    };
    let mut cleaned = Cleaned {
        schema: "dsr1.clean/1",
        dry_run: args.dry_run,
        items: choose(items, options),
    };
    let mut failed = None;
    if !args.dry_run {
        let work = async {
            for choice in cleaned.items.iter_mut().filter(|choice| choice.remove) {
                if let Err(error) = remove(context, &choice.item, args.all, &images).await {
                    choice.remove = false;
                    choice.why = error.message();
                    failed.get_or_insert(error);
                }
            }
            Ok(())
        };
        context.until_interrupted(work).await?;
    }
    // What was removed is shown even if something could not be removed.
    context.print(&cleaned, |cleaned| ui::cleaned(&cleaned.items, cleaned.dry_run))?;
    failed.map_or(Ok(()), Err)
}

/// Returns what is on the disk.
async fn on_disk(context: &Context) -> Result<Vec<Item>> {
    let catalog = context.catalog(None)?;
    let mut current = Vec::new();
    for stack in catalog.stacks().filter(|stack| stack.process_runtime) {
        let ask = Ask {
            python: true,
            ..Ask::default()
        };
        let facts = context.gather(stack, None, &ask).await;
        let request = BuildRequest::new(stack.clone(), Target::Process, ImageChoice::default());
        current.extend(plan::venv_dir(&request, &facts));
    }
    let servers = context.effects.running_servers().await;
    Ok(belongings::list(context.env(), &current, &servers))
}

/// Returns the images and volumes; `images` gets the images.
async fn in_docker(context: &Context, images: &mut Vec<ImageSummary>) -> Result<Vec<Item>> {
    let docker = context.effects.docker().await?;
    let mut found = docker.images().await?;
    let kept = ids_to_keep(context, docker, &found)?;
    found.extend(docker.stages().await?);
    let mut items: Vec<Item> = found.iter().map(|image| image_item(image, &kept)).collect();
    items.extend(volumes(context, docker).await?);
    *images = found;
    Ok(items)
}

fn image_item(image: &ImageSummary, kept: &[String]) -> Item {
    let used = if let Some(container) = image.used_by.first() {
        Use::By(container.clone())
    } else if !image.tags.iter().all(|tag| tag.starts_with("dsr1/")) {
        Use::Foreign("it has a tag that dsr1 did not give it".to_owned())
    } else if kept.contains(&image.image_id) {
        Use::Current
    } else {
        Use::None
    };
    Item {
        kind: ItemKind::Image,
        name: image.tags.first().unwrap_or(&image.image_id).clone(),
        bytes: image.size_bytes,
        used,
    }
}

/// Returns the volumes with compiled kernels of every version of the known stacks.
async fn volumes(context: &Context, docker: &Docker) -> Result<Vec<Item>> {
    let catalog = context.catalog(None)?;
    let prefixes: Vec<String> = catalog
        .stacks()
        .filter(|stack| !stack.cache_paths.is_empty())
        .map(plan::volume_prefix)
        .collect();
    let current: Vec<String> = catalog.stacks().flat_map(plan::volumes).collect();
    let mut found = docker.volumes(&prefixes).await?;
    // The version follows: `dsr1-guide-x-0.5` belongs to a stack `guide-x`.
    let has_version = |name: &str| {
        let rest = prefixes.iter().filter_map(|prefix| name.strip_prefix(prefix));
        rest.into_iter()
            .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    found.retain(|(name, _, _)| has_version(name));
    let items = found.into_iter().map(|(name, files, is_unused)| Item {
        kind: ItemKind::Volume,
        // Only root may read the files of volumes.
        bytes: belongings::size(Path::new(&files)),
        used: if !is_unused {
            Use::By("a container".to_owned())
        } else if current.contains(&name) {
            Use::Current
        } else {
            Use::None
        },
        name,
    });
    Ok(items.collect())
}

async fn remove(context: &Context, item: &Item, all: bool, images: &[ImageSummary]) -> Result<()> {
    match item.kind {
        ItemKind::Volume => context.effects.docker().await?.remove_volume(&item.name).await,
        ItemKind::Image => {
            let is_it =
                |image: &&ImageSummary| image.tags.contains(&item.name) || image.image_id == item.name;
            match images.iter().find(is_it) {
                Some(image) => context.effects.docker().await?.remove_image(image).await,
                None => Ok(()),
            }
        }
        _ => belongings::remove(item, all),
    }
}
