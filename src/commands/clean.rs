//! `dsr1 clean`: removes what dsr1 made on this host and no longer uses.

use std::sync::Arc;

use serde::Serialize;

use super::context::Context;
use super::image::ids_to_keep;
use crate::cli::CleanArgs;
use crate::effects::belongings::{self, Removal};
use crate::effects::docker::{Docker, OneOff, StageImage};
use crate::effects::signal;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, StepEvents};
use crate::facts::{Facts, Host, Python};
use crate::plan::clean::{Choice, CleanOptions, Item, ItemKind, Use, choose, freed};
use crate::plan::{self, BuildRequest, ImageChoice, LABEL_STACK, Target};
use crate::profile::Catalog;
use crate::report::ImageSummary;
use crate::ui;
use crate::units::counted;

#[derive(Debug, Serialize)]
struct Cleaned {
    schema: &'static str,
    dry_run: bool,
    items: Vec<Choice>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: CleanArgs) -> Result<()> {
    let catalog = context.catalog(None)?;
    let paths = &context.env().paths;
    let judge = |dir: &str, python: Option<&str>| venv_use(&catalog, paths, dir, python);
    let found = belongings::list(context.env(), &judge);
    for dir in &found.unreadable {
        let text = format!("this user may not read `{}`", dir.display());
        context.display().event(&Event::Note { text });
    }
    let mut items = found.items;
    let mut images = Vec::new();
    let listed = in_docker(context, &catalog, &mut images).await;
    let is_complete = (listed.is_ok() || Docker::is_absent(context.env())) && found.unreadable.is_empty();
    match listed {
        Ok(found) => items.extend(found),
        Err(_) if Docker::is_absent(context.env()) => {}
        Err(error) => {
            context.display().event(&Event::Note {
                text: format!("images were not looked at: {}", error.innermost()),
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
        if !args.yes && cleaned.items.iter().any(|item| item.remove) {
            if ui::can_ask() && !context.is_json() {
                let listed = ui::cleaned(&cleaned.items, true, is_complete);
                ui::print(&ui::fitted(&listed, ui::columns()))?;
            }
            context.ask_for_removal(&line(&args))?;
        }
        failed = remove_all(context, &mut cleaned.items, &images).await;
    }
    // What was removed is shown even if something could not be removed, or the rest was interrupted.
    context.print(&cleaned, |cleaned| {
        ui::cleaned(&cleaned.items, cleaned.dry_run, is_complete)
    })?;
    match failed {
        Some(error) => Err(error.reported_if(context.is_json())),
        None => Ok(()),
    }
}

/// Returns the command line without `--yes`.
fn line(args: &CleanArgs) -> String {
    let all = if args.all { " --all" } else { "" };
    let days = match args.older_than {
        30 => String::new(),
        days => format!(" --older-than {days}"),
    };
    format!("dsr1 clean{all}{days}")
}

/// Removes what was chosen, and notes what could not be removed. Returns the first error.
async fn remove_all(context: &Context, choices: &mut [Choice], images: &[ImageSummary]) -> Option<Error> {
    let count = choices.iter().filter(|choice| choice.remove).count();
    if count == 0 {
        return None;
    }
    let title = format!("remove {}, {}", counted(count, "item"), freed(choices));
    let done = context
        .one_shown_step(&title, "", async |events| {
            let failed = remove_each(context, choices, images, events).await;
            failed.map_or(Ok(()), Err)
        })
        .await;
    done.err()
}

async fn remove_each(
    context: &Context,
    choices: &mut [Choice],
    images: &[ImageSummary],
    events: &StepEvents<'_>,
) -> Option<Error> {
    let mut failed: Option<Error> = None;
    let of = choices.iter().filter(|choice| choice.remove).count();
    let total = freed(choices).0;
    let mut done = 0;
    for (index, choice) in choices.iter_mut().filter(|choice| choice.remove).enumerate() {
        let Item {
            kind, name, bytes, ..
        } = &choice.item;
        let what = format!("{} of {of}: {} {name}", index + 1, kind.name());
        let bytes = bytes.unwrap_or(0);
        let on_bytes = |removed: u64| {
            let now = done + removed.min(bytes);
            events.progress(now, (total > 0).then_some(total), &what);
        };
        on_bytes(0);
        let is_interrupted = failed
            .as_ref()
            .is_some_and(|error| error.kind() == Kind::Interrupted);
        if is_interrupted {
            choice.remove = false;
            "interrupted before it".clone_into(&mut choice.why);
            continue;
        }
        let removal = Arc::new(Removal::default());
        let work = remove(context, &choice.item, images, &removal, &on_bytes);
        let (is_removed, error) = until_interrupted(work, &removal).await;
        done += bytes;
        let Some(error) = error else { continue };
        if !is_removed {
            choice.remove = false;
            choice.partly_freed_bytes = removal.freed();
            choice.why = [vec![error.message()], error.causes()].concat().join(": ");
        }
        if failed.is_none() || error.kind() == Kind::Interrupted {
            failed = Some(error);
        }
    }
    failed
}

/// Awaits a removal, and ends it early when the user interrupts; a second signal does not wait for its end. Returns true if
/// the item is removed, and the error.
async fn until_interrupted(
    work: impl Future<Output = Result<()>>,
    removal: &Removal,
) -> (bool, Option<Error>) {
    let mut work = std::pin::pin!(work);
    let name = tokio::select! {
        done = &mut work => return (done.is_ok(), done.err()),
        name = signal::wait() => name,
    };
    let name = match name {
        Ok(name) => name,
        Err(error) => return (false, Some(error)),
    };
    removal.stop();
    let is_removed = tokio::select! {
        done = &mut work => done.is_ok(),
        _ = signal::wait() => false,
    };
    let error = Error::new(Kind::Interrupted, format!("interrupted by {name}"));
    (is_removed, Some(error))
}

/// Returns the use of a venv: the stack of its name would make the same one with the same Python, or not.
fn venv_use(catalog: &Catalog, paths: &crate::facts::Paths, dir: &str, python: Option<&str>) -> Use {
    let name = dir.rsplit('/').next().unwrap_or_default();
    let stack = name.rsplit_once('-').map_or(name, |(stack, _)| stack);
    let Ok(stack) = catalog.stack(stack) else {
        return Use::Foreign("its stack is not in this configuration".to_owned());
    };
    let Some(version) = python else {
        return Use::Doubt("its Python is not known".to_owned());
    };
    let facts = Facts {
        host: Host {
            python: Some(Python {
                path: "python3".to_owned(),
                version: version.to_owned(),
                venv: true,
            }),
            ..Host::default()
        },
        paths: paths.clone(),
        ..Facts::default()
    };
    let request = BuildRequest::new(stack.clone(), Target::Process, ImageChoice::default());
    match plan::venv_dir(&request, &facts) {
        Some(today) if today == dir => Use::Current,
        _ => Use::None,
    }
}

/// Returns the images and volumes; `images` gets the images.
async fn in_docker(
    context: &Context,
    catalog: &Catalog,
    images: &mut Vec<ImageSummary>,
) -> Result<Vec<Item>> {
    if !Docker::is_on_this_host(context.env()) {
        return Err(Error::new(
            Kind::Docker,
            "the Docker daemon is on another host: run dsr1 clean there",
        ));
    }
    let docker = context.effects.docker().await?;
    let mut found = docker.images().await?;
    let kept = ids_to_keep(context, docker, &found)?;
    // Containers are first: while they exist, their images cannot be removed.
    let mut items: Vec<Item> = docker
        .list_one_offs()
        .await?
        .into_iter()
        .map(one_off_item)
        .collect();
    for image in &mut found {
        image.used_by.retain(|name| {
            !items
                .iter()
                .any(|item| item.used == Use::Unfinished && item.name == *name)
        });
    }
    items.extend(
        found
            .iter()
            .map(|image| image_item(image, image_use(image, &kept, catalog))),
    );
    let stages = docker.stages().await?;
    items.extend(
        stages
            .iter()
            .map(|stage| image_item(&stage.image, stage_use(stage))),
    );
    items.extend(volumes(docker, catalog).await?);
    found.extend(stages.into_iter().map(|stage| stage.image));
    *images = found;
    Ok(items)
}

/// Returns the container of a short command, with its use.
fn one_off_item(one: OneOff) -> Item {
    let used = if one.is_awaited {
        Use::By("a command of dsr1".to_owned())
    } else {
        Use::Unfinished
    };
    Item {
        kind: ItemKind::Container,
        name: one.name,
        bytes: None,
        used,
    }
}

fn image_item(image: &ImageSummary, used: Use) -> Item {
    Item {
        kind: ItemKind::Image,
        name: image.tags.first().unwrap_or(&image.image_id).clone(),
        bytes: Some(image.size_bytes),
        used,
    }
}

fn stage_use(stage: &StageImage) -> Use {
    if stage.is_awaited {
        Use::Doubt("a build may need it: it is younger than an hour".to_owned())
    } else {
        Use::Unfinished
    }
}

fn image_use(image: &ImageSummary, kept: &[String], catalog: &Catalog) -> Use {
    let stack = image.labels.get(LABEL_STACK).map_or("", String::as_str);
    if let Some(container) = image.used_by.first() {
        Use::By(container.clone())
    } else if !image.tags.iter().all(|tag| tag.starts_with("dsr1/")) {
        Use::Foreign("it has a tag that dsr1 did not give it".to_owned())
    } else if catalog.stack(stack).is_err() {
        Use::Foreign("its stack is not in this configuration".to_owned())
    } else if kept.contains(&image.image_id) {
        Use::Current
    } else {
        Use::None
    }
}

/// Returns the volumes with compiled kernels of every version of the known stacks.
async fn volumes(docker: &Docker, catalog: &Catalog) -> Result<Vec<Item>> {
    let prefixes: Vec<String> = catalog
        .stacks()
        .filter(|stack| !stack.cache_paths.is_empty())
        .map(plan::volume_prefix)
        .collect();
    let current: Vec<String> = catalog.stacks().flat_map(plan::volumes).collect();
    let mut found = docker.volumes(&prefixes).await?;
    // The version follows: `dsr1-guide-x-0.5` belongs to a stack `guide-x`.
    let has_version = |name: &str| {
        let mut rests = prefixes.iter().filter_map(|prefix| name.strip_prefix(prefix));
        rests.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    found.retain(|(name, _, _)| has_version(name));
    let items = found.into_iter().map(|(name, files, is_unused)| Item {
        kind: ItemKind::Volume,
        // Only root may read the files of volumes.
        bytes: belongings::readable_size(&files),
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

async fn remove(
    context: &Context,
    item: &Item,
    images: &[ImageSummary],
    removal: &Arc<Removal>,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    match item.kind {
        ItemKind::Container => context.effects.docker().await?.remove_one_off(&item.name).await,
        ItemKind::Volume => context.effects.docker().await?.remove_volume(&item.name).await,
        ItemKind::Image => {
            let is_it =
                |image: &&ImageSummary| image.tags.contains(&item.name) || image.image_id == item.name;
            match images.iter().find(is_it) {
                Some(image) => context.effects.docker().await?.remove_image(image).await,
                None => Ok(()),
            }
        }
        _ => belongings::remove(context.env(), item.clone(), removal, on_bytes).await,
    }
}
