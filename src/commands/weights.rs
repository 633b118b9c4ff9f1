//! `dsr1 weights`: what lies in the hub cache.
//!
//! Not in this module: reading and removing them (`effects::weights`), how they are shown (`ui::weights`).

use std::path::Path;

use serde::Serialize;

use super::context::{Ask, Context, names_profile, nothing_named, pull_options};
use super::pull::absolute;
use crate::cli::{Weights, WeightsArgs, WeightsRmArgs, WeightsVerifyArgs};
use crate::effects::store;
use crate::effects::weights::{self, VerifyOptions};
use crate::error::{Error, Kind, Result};
use crate::plan::{self, CodeFiles, FilePatterns, PullRequest, PullSnapshot, Step};
use crate::quote::shell_word;
use crate::report::{WeightsChecked, WeightsRepo, WrongFile, WrongState};
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

async fn verify(context: &Context, args: WeightsVerifyArgs) -> Result<()> {
    let local_dir = args.local_dir.as_deref().map(absolute).transpose()?;
    // A selection may be what somebody wants of a repository, and never what a profile serves.
    let mut whole = false;
    let (repo, revision) = if let Some(repo) = args.repo {
        (repo, args.revision.unwrap_or_else(|| "main".to_owned()))
    } else if let Some(dir) = local_dir.as_deref().filter(|_| !names_profile(&args.profile)) {
        store::described_directory(Path::new(dir))?
    } else if names_profile(&args.profile) {
        let model = context.select(&args.profile, None).await?.profile.model;
        whole = true;
        (model.repo, model.revision)
    } else {
        return Err(nothing_named("dsr1 weights verify"));
    };
    let stack = context.catalog(None)?.stack("cpu")?.clone();
    let facts = context.gather(&stack, None, &Ask::default()).await;
    let endpoint = if args.repair {
        context.hub_to_ask(&args.hub)?
    } else {
        context.endpoint(&args.hub)?
    };
    let request = PullRequest {
        repo,
        revision,
        endpoint,
        license: String::new(),
        size_bytes: None,
        options: pull_options(&args.hub)?,
        local_dir,
        selection: FilePatterns::default(),
        code: CodeFiles::All,
        locked: None,
    };
    let plan = plan::pull(&request, &facts)?;
    let Some(Step::PullSnapshot(step)) = plan.steps.first() else {
        return Err(Error::new(Kind::Internal, "a pull without a step"));
    };
    let title = format!("check {}", step.repo);
    let check = VerifyOptions {
        fast: args.fast,
        repair: args.repair,
        whole,
    };
    let checked = context
        .one_step(
            &title,
            if args.fast { "compared" } else { "read to the end" },
            async |events| {
                let options = context.effects.hub_options();
                weights::verify(step, options, check, events).await
            },
        )
        .await?;
    let hint = hint(step, &checked, args.repair);
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
    let repo = &step.repo;
    let message = match left.len() {
        1 => format!("a file of {repo} is not what it must be"),
        count => format!("{count} files of {repo} are not what they must be"),
    };
    Err(Error::new(Kind::Integrity, message)
        .cause(format!("`{}`: {}", first.path, first.why))
        .hint(hint)
        .reported_if(context.is_json()))
}

/// What makes it right: a repair knows the files that are there, and a pull all of them.
fn hint(step: &PullSnapshot, checked: &WeightsChecked, repair: bool) -> String {
    let PullSnapshot { repo, revision, .. } = step;
    let mut flags = String::new();
    if revision != "main" {
        flags = format!(" --revision {}", shell_word(revision));
    }
    if let Some(dir) = &step.local_dir {
        flags = format!("{flags} --local-dir {}", shell_word(dir));
    }
    let is = |state| move |file: &WrongFile| file.state == state;
    if checked.wrong.iter().all(is(WrongState::Unknown)) {
        return "remove what does not belong to the model: an engine would read it".to_owned();
    }
    // What a copy or a restore changed is the time and the inode, and none of the bytes.
    if !repair && checked.wrong.iter().all(is(WrongState::Changed)) {
        return format!(
            "dsr1 weights verify {repo}{flags} reads every byte: what is right counts as proven again"
        );
    }
    if repair || !checked.wrong.iter().any(is(WrongState::Wrong)) {
        format!("dsr1 pull {repo}{flags} fetches what lacks")
    } else {
        format!("dsr1 weights verify {repo}{flags} --repair fetches what is wrong, and only that")
    }
}

async fn remove(context: &Context, args: &WeightsRmArgs) -> Result<()> {
    let cache = context.effects.env().paths.hub_cache.clone();
    let cache = Path::new(&cache);
    let bytes = if args.yes {
        let title = format!("remove {}", args.repo);
        context
            .one_step(&title, "removed", async |events| {
                weights::remove(cache, &args.repo, args.unfinished, events)
            })
            .await?
    } else {
        weights::removable(cache, &args.repo, args.unfinished)?
    };
    let removed = Removed {
        schema: "dsr1.weights-removed/1",
        repo: &args.repo,
        dry_run: !args.yes,
        bytes,
    };
    context.print(&removed, |removed| {
        let said = if removed.dry_run {
            "would be freed; --yes removes it"
        } else {
            "freed"
        };
        format!("{}  {} {said}\n", ui::safe(removed.repo), Bytes(removed.bytes))
    })
}
