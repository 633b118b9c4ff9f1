//! `dsr1 doctor`: the findings about a host and a profile.

use std::collections::BTreeMap;

use serde::Serialize;

use super::context::{Ask, Context, asked, image_choice, names_profile, take_variables};
use crate::cli::{DoctorArgs, Format, ProfileArgs};
use crate::doctor::{self, Finding, Software, Verdict};
use crate::effects::process::index;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::facts::{Access, Facts};
use crate::plan::{self, BuildRequest, ServeRequest, Step, Target};
use crate::ui;

/// The JSON form: `facts` is what `--facts` takes.
#[derive(Debug, Serialize)]
pub(super) struct Examination {
    schema: &'static str,
    profile: String,
    stack: String,
    findings: Vec<Finding>,
    facts: Facts,
}

/// Returns true if a check has failed.
fn has_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Fail)
}

/// Returns the finding about the imports of the environment that is used.
async fn imports(context: &Context, build: &BuildRequest, facts: &Facts) -> Result<Finding> {
    let Step::CheckEnvironment(step) = plan::install_step(build, facts)? else {
        return Err(Error::new(Kind::Internal, "an environment without a check"));
    };
    let checked = context
        .one_step(&format!("import SGLang {}", step.sglang), "", async |events| {
            context.effects.check_environment(&step, events).await
        })
        .await;
    match checked {
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        Ok(checked) => {
            let modules: Vec<&str> = checked.imports.iter().map(|one| one.module.as_str()).collect();
            Ok(doctor::imported(&modules, checked.cached))
        }
        Err(error) => Ok(doctor::not_imported(&error)),
    }
}

/// Returns the finding about a URL of a hub that is not one.
fn refused_url(error: &Error) -> Access {
    Access {
        refused: Some([vec![error.message()], error.causes()].concat().join(": ")),
        fix: error.hints().first().cloned().unwrap_or_default(),
        ..Access::default()
    }
}

/// Returns the facts that the examination needs.
fn asked_facts(args: &DoctorArgs, hub: Option<String>, variables: &BTreeMap<String, String>) -> Ask {
    Ask {
        gpus: true,
        weights: true,
        hub,
        ports: vec![args.port],
        variables: variables.clone(),
        ..Ask::of_runtime(asked(&args.runtime), image_choice(&args.runtime))
    }
}

/// Examines this host, or the one of `--facts`. With `asks_sources` the hub and the package index are asked, too, and an
/// environment is tried.
pub(super) async fn examine(context: &Context, args: &DoctorArgs, asks_sources: bool) -> Result<Examination> {
    let profile = args.profile.with_name(args.named.as_ref());
    let named = names_profile(&profile);
    if !named {
        let text =
            "no profile is named: this checks for the rehearsal; for a server add --profile NAME".to_owned();
        context.display().event(&Event::Note { text });
    }
    let profile_args = if named {
        profile
    } else {
        ProfileArgs {
            profile: Some("rehearsal".to_owned()),
            ..profile
        }
    };
    let stored = Context::facts(args.facts.as_deref())?;
    context.use_environment(&args.runtime, stored.as_ref()).await?;
    let mut selection = context.select(&profile_args, stored.as_ref()).await?;
    let variables = take_variables(&args.runtime, &mut selection.profile)?;
    let is_stored = stored.is_some();
    let hub = context.hub_url(None);
    let mut facts = if let Some(mut facts) = stored {
        facts.host.environment = context.environment().or(facts.host.environment);
        facts
    } else {
        let ask = asked_facts(
            args,
            hub.as_ref().ok().filter(|_| asks_sources).cloned(),
            &variables,
        );
        let mut facts = context
            .gather(&selection.stack, Some(&selection.profile), &ask)
            .await;
        facts.servers = context.effects.running_servers().await;
        facts
    };
    let (target, why) = Context::target(&args.runtime, &selection.stack, &facts)?;
    if asks_sources {
        note_runtime(context, why, &facts);
    }
    if target == Target::Process {
        facts.host.keep_visible_gpus();
    }
    let build = BuildRequest::for_server(&ServeRequest {
        image: image_choice(&args.runtime),
        variables,
        ..ServeRequest::new(selection.clone(), target)
    });
    let software = Software {
        base_image: matches!(target, Target::Docker)
            .then(|| plan::base_image(&selection.stack, &build.image, &facts)),
        is_installed: plan::is_installed(&build, &facts),
    };
    if !is_stored {
        if let Err(error) = hub {
            facts.sources.weights = Some(refused_url(&error));
        }
        let needs_packages =
            asks_sources && !software.is_installed && build.stack.install.packages().next().is_some();
        if let Some(python) = facts.host.python.as_ref().filter(|_| needs_packages) {
            facts.sources.packages = index::access(context.env(), &python.path).await;
        }
    }
    let mut findings = doctor::findings(&selection, &facts, args.port, &software);
    let is_ready_to_try = facts.host.environment.is_some() && !is_stored && !has_failed(&findings);
    if is_ready_to_try && asks_sources {
        findings.push(imports(context, &build, &facts).await?);
    }
    Ok(Examination {
        schema: "dsr1.doctor/1",
        profile: selection.profile.name,
        stack: selection.stack.name,
        findings,
        facts,
    })
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: DoctorArgs) -> Result<()> {
    let examination = Box::pin(examine(context, &args, true)).await?;
    let failed: Vec<String> = examination
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fail)
        .map(|finding| finding.id.clone())
        .collect();
    context.print(&examination, |examination| {
        format!(
            "profile {}, stack {}\n{}",
            examination.profile,
            examination.stack,
            ui::findings(&examination.findings, ui::columns())
        )
    })?;
    if failed.is_empty() {
        return Ok(());
    }
    let host = match &args.facts {
        Some(file) => format!("the host of `{}`", file.display()),
        None => "this host".to_owned(),
    };
    let error = Error::new(
        Kind::Host,
        format!("{host} is not ready for profile `{}`", examination.profile),
    )
    .cause(format!("failed checks: {}", failed.join(", ")));
    // In JSON the findings say it all, and stdout stays one document.
    Err(match context.output.format {
        Format::Json => error.reported(),
        Format::Text => error.hint("each failed check above says what to do"),
    })
}

/// Notes why dsr1 chose the runtime; the finding about Docker says why it cannot be used.
fn note_runtime(context: &Context, why: Option<String>, facts: &Facts) {
    let text = match why {
        Some(_) if !facts.docker.answers() => "runtime process, because Docker cannot be used".to_owned(),
        Some(why) => why,
        None => return,
    };
    context.display().event(&Event::Note { text });
}
