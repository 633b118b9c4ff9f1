//! `dsr1 pull`: fetches weights and verifies them.

use std::io::IsTerminal;
use std::path::Path;

use super::context::{Ask, Context, names_profile, nothing_named, pull_options};
use super::lock;
use super::repo::NamedWeights;
use crate::cli::PullArgs;
use crate::effects::weights;
use crate::error::{At, Error, Kind, Result};
use crate::event::StepEvents;
use crate::facts::{Facts, WeightFile};
use crate::plan::{self, CodeFiles, FilePatterns, PullRequest, PullSnapshot, Step};
use crate::profile::Model;
use crate::report::PullSurvey;
use crate::sglang::memory::published_code;
use crate::ui;

/// The files to pull, before a plan is made.
struct Wanted {
    model: Model,
    code: CodeFiles,
    locked: Option<Vec<WeightFile>>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, mut args: PullArgs) -> Result<()> {
    let named = NamedWeights::read(context, args.repo, args.revision, &args.profile, &args.hub)?;
    (args.repo, args.revision) = (named.repo, named.revision);
    (args.profile, args.hub) = (named.profile, named.hub);
    let file = Context::facts(args.facts.as_deref())?;
    let print = file.is_some();
    let (Wanted { model, code, locked }, facts) = Box::pin(wanted(context, &args, file)).await?;
    let mut request = PullRequest {
        repo: model.repo,
        revision: model.revision,
        endpoint: context.hub_to_ask(&args.hub)?,
        license: model.license,
        size_bytes: (model.size_bytes > 0).then_some(model.size_bytes),
        options: pull_options(&args.hub)?,
        local_dir: args.local_dir.as_deref().map(absolute).transpose()?,
        selection: FilePatterns {
            include: args.include,
            exclude: args.exclude,
        },
        code,
        locked,
    };
    let mut plan = plan::pull(&request, &facts)?;
    if print {
        return context.print_or_finish(&plan, true).await;
    }
    let step = plan.steps.first();
    let asks = !request.options.accept_license && std::io::stdin().is_terminal();
    if let Some(Step::PullSnapshot(step)) = step
        && (args.dry_run || asks)
    {
        if let Some(blocker) = plan.blockers.first().filter(|_| !args.dry_run) {
            return Err(blocker.clone().into());
        }
        // On a terminal the user is asked about the licence later: the survey must not refuse because of it.
        let step = PullSnapshot {
            accept_license: step.accept_license || asks,
            ..step.clone()
        };
        let (survey, refusal) = survey(context, &step).await?;
        if args.dry_run {
            context.print(&survey, ui::pull_survey)?;
            return refusal.map_or(Ok(()), |error| Err(error.reported_if(context.is_json())));
        }
        request.options.accept_license = agreed(&survey)?;
        plan = plan::pull(&request, &facts)?;
    }
    context.finish(&plan).await
}

/// Returns the files that the arguments name, and the facts of this host.
async fn wanted(context: &Context, args: &PullArgs, file: Option<Facts>) -> Result<(Wanted, Facts)> {
    let any = async || {
        let stack = context.catalog(None)?.stack("cpu")?.clone();
        Ok::<_, Error>(context.gather(&stack, None, &Ask::default()).await)
    };
    let unknown = |repo: &str, revision: &str| Model {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        size_bytes: 0,
        license: String::new(),
        code_files: Vec::new(),
        path: None,
    };
    let (mut wanted, facts) = if let Some(path) = &args.to_lock {
        let lock = lock::read(path, "--to-lock FILE")?;
        let weights = lock.weights;
        let locked = weights.files.ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!("`{}` has no hashes of weights", path.display()),
            )
            .cause("the weights were not pulled when it was written")
            .hint(format!(
                "dsr1 pull --profile {0}, then dsr1 lock --profile {0} --output {1} --force",
                lock.profile.name,
                path.display()
            ))
        })?;
        let wanted = Wanted {
            model: unknown(&weights.repo, &weights.commit),
            code: CodeFiles::All,
            locked: Some(locked),
        };
        (wanted, Box::pin(any()).await?)
    } else if let Some(repo) = &args.repo {
        let wanted = Wanted {
            model: unknown(repo, args.revision.as_deref().unwrap_or("main")),
            code: CodeFiles::Named(published_code(repo)),
            locked: None,
        };
        (wanted, Box::pin(any()).await?)
    } else if !names_profile(&args.profile) {
        return Err(nothing_named("dsr1 pull"));
    } else {
        let selection = context.select(&args.profile, file.as_ref()).await?;
        let facts = context
            .gather(&selection.stack, Some(&selection.profile), &Ask::default())
            .await;
        let model = selection.profile.model;
        let wanted = Wanted {
            code: CodeFiles::Named(model.code_files.clone()),
            model,
            locked: None,
        };
        (wanted, facts)
    };
    if args.allow_code {
        wanted.code = CodeFiles::All;
    }
    Ok((wanted, file.unwrap_or(facts)))
}

async fn survey(context: &Context, step: &PullSnapshot) -> Result<(PullSurvey, Option<Error>)> {
    let display = context.display();
    let options = context
        .effects
        .hub_options()
        .with_events(StepEvents::new(&*display, 1));
    context.until_interrupted(weights::dry_run(step, options)).await
}

/// Asks the user to agree to the licence if it must be accepted.
fn agreed(survey: &PullSurvey) -> Result<bool> {
    if !survey.must_be_accepted {
        return Ok(false);
    }
    let question = format!(
        "{} has the licence `{}` ({}).\nDo you agree to it? [y/N] ",
        survey.repo, survey.license, survey.page
    );
    if ui::agrees(&question)? {
        return Ok(true);
    }
    Err(Error::new(
        Kind::Interrupted,
        format!("you did not agree to the licence of {}", survey.repo),
    ))
}

/// Returns the absolute path of a directory: a plan may be carried out in another working directory.
pub(super) fn absolute(dir: &Path) -> Result<String> {
    let dir =
        std::path::absolute(dir).at(Kind::Usage, || format!("`{}` is not a directory", dir.display()))?;
    dir.into_os_string().into_string().map_err(|dir| {
        Error::new(
            Kind::Usage,
            format!("the name of the directory {} is not UTF-8", dir.display()),
        )
    })
}
