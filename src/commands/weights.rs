//! `dsr1 weights`: lists, verifies and removes the weights in the hub cache.

use std::path::Path;

use serde::Serialize;

use super::context::{Context, names_profile, nothing_named, pull_options};
use super::pull::absolute;
use super::repo::{NamedWeights, names_a_profile};
use super::status::probe;
use crate::cli::{ProfileArgs, Weights, WeightsArgs, WeightsRmArgs, WeightsVerifyArgs};
use crate::effects::store;
use crate::effects::weights::{self, Download, Place, VerifyOptions};
use crate::error::{Error, Kind, Result};
use crate::plan::{self, RepoReference};
use crate::quote::shell_word;
use crate::report::{ServerStatus, WeightsChecked, WeightsRepo, WrongFile, WrongState};
use crate::ui;
use crate::units::Bytes;

#[derive(Debug, Serialize)]
struct Listing {
    schema: &'static str,
    repositories: Vec<WeightsRepo>,
}

#[derive(Debug, Serialize)]
struct Checked {
    schema: &'static str,
    #[serde(flatten)]
    checked: WeightsChecked,
}

#[derive(Debug, Serialize)]
struct Removed<'a> {
    schema: &'static str,
    repo: &'a str,
    dry_run: bool,
    bytes: u64,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: WeightsArgs) -> Result<()> {
    let cache = &context.effects.env().paths.hub_cache;
    let show = |text: &dyn Fn(&[WeightsRepo]) -> String| {
        let listing = Listing {
            schema: "dsr1.weights/1",
            repositories: weights::list(Path::new(cache))?,
        };
        context.print(&listing, |listing| text(&listing.repositories))
    };
    match args.what {
        Weights::List => show(&|repos| ui::weights(repos, cache)),
        Weights::Du => show(&ui::weights_space),
        Weights::Verify(args) => verify(context, args).await,
        Weights::Rm(args) => remove(context, &args).await,
    }
}

async fn verify(context: &Context, mut args: WeightsVerifyArgs) -> Result<()> {
    let named = NamedWeights::read(context, args.repo, args.revision, &args.profile, &args.hub)?;
    (args.repo, args.revision) = (named.repo, named.revision);
    (args.profile, args.hub) = (named.profile, named.hub);
    let local_dir = args.local_dir.as_deref().map(absolute).transpose()?;
    // A repository may be pulled in part, but a profile needs all of its files.
    let mut whole = false;
    let (repo, revision) = if let Some(repo) = args.repo {
        (repo, args.revision.unwrap_or_else(|| "main".to_owned()))
    } else if let Some(dir) = local_dir.as_deref().filter(|_| !names_profile(&args.profile)) {
        store::last_pull_into(Path::new(dir))?
    } else if names_profile(&args.profile) {
        let model = context.select(&args.profile, None).await?.profile.model;
        whole = true;
        (model.repo, model.revision)
    } else {
        return Err(nothing_named("dsr1 weights verify"));
    };
    let endpoint = if args.repair {
        context.hub_to_ask(&args.hub)?
    } else {
        context.endpoint(&args.hub)?
    };
    let options = pull_options(&args.hub)?;
    plan::check_repo(&repo)?;
    let place = Place {
        repo,
        revision,
        cache_dir: context.effects.env().paths.hub_cache.clone(),
        local_dir,
    };
    let title = format!("check {}", place.repo);
    let download = Download {
        endpoint,
        max_workers: options.max_workers,
        limit_rate: options.limit_rate,
        transport: options.transport,
    };
    let check = VerifyOptions {
        fast: args.fast,
        whole,
        repair: args.repair.then_some(download),
    };
    let checked = context
        .one_step(
            &title,
            if args.fast {
                "sizes and times compared"
            } else {
                "every byte read"
            },
            async |events| {
                let options = context.effects.hub_options();
                weights::verify(&place, options, &check, events).await
            },
        )
        .await?;
    let hint = hint(&place, &checked, args.repair);
    let is_left = |file: &&WrongFile| file.state != WrongState::Repaired;
    let left: Vec<WrongFile> = checked.wrong.iter().filter(is_left).cloned().collect();
    let checked = Checked {
        schema: "dsr1.weights-checked/1",
        checked,
    };
    context.print(&checked, |checked| ui::weights_checked(&checked.checked))?;
    let Some(first) = left.first() else {
        return Ok(());
    };
    let repo = &place.repo;
    let message = match left.len() {
        1 => format!("a file of {repo} is wrong or missing"),
        count => format!("{count} files of {repo} are wrong or missing"),
    };
    Err(Error::new(Kind::Integrity, message)
        .cause(format!("`{}`: {}", first.path, first.why))
        .hint(hint)
        .reported_if(context.is_json()))
}

/// Returns the command that corrects the files: a repair works on the files that exist, and a pull on all files.
fn hint(place: &Place, checked: &WeightsChecked, repair: bool) -> String {
    let Place { repo, revision, .. } = place;
    let mut flags = String::new();
    if revision != "main" {
        flags = format!(" --revision {}", shell_word(revision));
    }
    if let Some(dir) = &place.local_dir {
        flags = format!("{flags} --local-dir {}", shell_word(dir));
    }
    let is = |state| move |file: &WrongFile| file.state == state;
    if checked.wrong.iter().all(is(WrongState::Unknown)) {
        return "remove the files that do not belong to the model: an engine would read them".to_owned();
    }
    // A copy or a restore changes time and inode, and none of the bytes.
    if !repair && checked.wrong.iter().all(is(WrongState::Changed)) {
        return format!(
            "dsr1 weights verify {repo}{flags} reads every byte, and marks right files as verified"
        );
    }
    if repair || !checked.wrong.iter().any(is(WrongState::Wrong)) {
        format!("dsr1 pull {repo}{flags} fetches the missing files")
    } else {
        format!("dsr1 weights verify {repo}{flags} --repair fetches only the corrupt ranges again")
    }
}

async fn remove(context: &Context, args: &WeightsRmArgs) -> Result<()> {
    let repo = repo_to_remove(context, args).await?;
    let cache = context.effects.env().paths.hub_cache.clone();
    let cache = Path::new(&cache);
    if !args.unfinished {
        refuse_used(context, &repo).await?;
    }
    if !args.dry_run && !args.yes {
        let bytes = weights::removable(cache, &repo, args.unfinished)?;
        if ui::can_ask() && !context.is_json() {
            ui::print(&format!("{}  {} would be freed\n", ui::safe(&repo), Bytes(bytes)))?;
        }
        let only = if args.unfinished { " --unfinished" } else { "" };
        context.ask_for_removal(&format!("dsr1 weights rm {repo}{only}"))?;
    }
    let bytes = if args.dry_run {
        weights::removable(cache, &repo, args.unfinished)?
    } else {
        let title = format!("remove {repo}");
        context
            .one_step(&title, "removed", async |events| {
                weights::remove(cache, &repo, args.unfinished, events)
            })
            .await?
    };
    let removed = Removed {
        schema: "dsr1.weights-removed/1",
        repo: &repo,
        dry_run: args.dry_run,
        bytes,
    };
    context.print(&removed, |removed| {
        let result = if removed.dry_run {
            "would be freed; --yes removes it"
        } else {
            "freed"
        };
        format!("{}  {} {result}\n", ui::safe(removed.repo), Bytes(removed.bytes))
    })
}

/// Refuses to remove the weights of a server: it has them in memory, but its clients and its next start need the files.
async fn refuse_used(context: &Context, repo: &str) -> Result<()> {
    let (servers, _) = context.effects.servers(&probe(context)?).await;
    let uses = |status: &ServerStatus| {
        let is_up = !status.state.has_ended();
        is_up && store::model_of_path(&status.model) == repo
    };
    match servers.iter().find(|server| uses(&server.status)) {
        None => Ok(()),
        Some(server) => {
            let name = &server.status.name;
            Err(
                Error::new(Kind::Host, format!("the weights of {repo} are in use"))
                    .cause(format!("{name} serves them"))
                    .hint(format!("dsr1 stop {name} ends it; then remove them")),
            )
        }
    }
}

/// Returns the repository that the arguments name: itself, or by a profile.
async fn repo_to_remove(context: &Context, args: &WeightsRmArgs) -> Result<String> {
    let profile = match &args.repo {
        Some(text) if names_a_profile(context, text)? => ProfileArgs {
            profile: Some(text.clone()),
            ..args.profile.clone()
        },
        Some(text) => return repo_without_revision(text),
        None if names_profile(&args.profile) => args.profile.clone(),
        None => return Err(nothing_named("dsr1 weights rm")),
    };
    Ok(context.select(&profile, None).await?.profile.model.repo)
}

fn repo_without_revision(text: &str) -> Result<String> {
    let RepoReference { repo, revision, .. } = RepoReference::parse(text);
    if let Some(revision) = revision {
        let text = format!("`{}` names a revision", text.escape_debug());
        return Err(Error::new(Kind::Usage, text)
            .cause(format!(
                "weights rm removes every revision, and not only `{}`",
                revision.escape_debug()
            ))
            .hint(format!(
                "dsr1 weights rm {repo} --dry-run shows what would be removed"
            )));
    }
    Ok(repo)
}
