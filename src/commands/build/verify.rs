//! `dsr1 build --verify`: checks that the engine in an image or venv accepts the profiles of its stack.

use std::path::PathBuf;

use crate::commands::context::Context;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{self, BuildRequest, EngineSource, ServeRequest};
use crate::profile::Catalog;
use crate::report::{Outcome, ProfileVerified, ProfilesVerified, Report};
use crate::ui;

/// Lets the engine parse the profiles and prints the table; keeps the table of an image under its id.
pub(super) async fn run(
    context: &Context,
    request: &BuildRequest,
    facts: &Facts,
    report: &Report,
) -> Result<()> {
    let (source, subject, image_id) = build_result(request, report)?;
    let requests = requests(&context.catalog(None)?, request)?;
    let lines: Vec<Vec<String>> = requests
        .iter()
        .map(|one| plan::parsed_words(one, facts))
        .collect();
    let asked = context.effects.parse_command_lines(&source, &lines);
    let accepts = context.until_interrupted(asked).await?;
    let verdicts = requests.iter().zip(lines).zip(accepts.complaints);
    let table = ProfilesVerified {
        schema: "dsr1.profiles-verified/1".to_owned(),
        subject,
        sglang: accepts.sglang,
        profiles: verdicts
            .map(|((request, argv), complaint)| ProfileVerified {
                profile: request.profile.name.clone(),
                argv,
                complaint,
            })
            .collect(),
        image_id,
    };
    if let Some(path) = table.image_id.as_ref().map(|id| path(&facts.paths.state, id)) {
        context.effects.write_result(&path, ui::json(&table).as_bytes())?;
    }
    context.print(&table, ui::profiles_verified)?;
    let refused: Vec<&str> = table
        .profiles
        .iter()
        .filter(|one| one.complaint.is_some())
        .map(|one| one.profile.as_str())
        .collect();
    if refused.is_empty() && table.sglang == request.stack.pins.sglang.to_string() {
        return Ok(());
    }
    let error = Error::new(
        Kind::Gate,
        format!("{} does not match stack `{}`", table.subject, request.stack.name),
    );
    let error = if refused.is_empty() {
        error.cause(format!(
            "it has SGLang {}, not {}",
            table.sglang, request.stack.pins.sglang
        ))
    } else {
        error.cause(format!(
            "its engine refuses the arguments of: {}",
            refused.join(", ")
        ))
    };
    Err(error
        .hint(format!(
            "dsr1 flags sync --stack {} shows how its options differ",
            request.stack.name
        ))
        .reported_if(context.is_json()))
}

/// Returns the file of the table of an image.
pub(in crate::commands) fn path(state: &str, image_id: &str) -> PathBuf {
    let id = image_id.trim_start_matches("sha256:");
    PathBuf::from(state).join("images").join(id).join("profiles.json")
}

/// Returns the SGLang that a build made, its name, and the id of an image.
fn build_result(request: &BuildRequest, report: &Report) -> Result<(EngineSource, String, Option<String>)> {
    match report.steps.first().map(|step| &step.outcome) {
        Some(Outcome::Built(built)) => Ok((
            EngineSource::Image {
                image: built.image_id.clone(),
                python: request.stack.image_python.clone(),
            },
            built.tag.clone(),
            Some(built.image_id.clone()),
        )),
        Some(Outcome::Installed(installed)) => Ok((
            EngineSource::Venv {
                python: format!("{}/bin/python3", installed.dir),
                variables: request.variables.clone(),
            },
            installed.dir.clone(),
            None,
        )),
        Some(Outcome::EnvironmentChecked(checked)) => Ok((
            EngineSource::Venv {
                python: checked.python.clone(),
                variables: request.variables.clone(),
            },
            checked.python.clone(),
            None,
        )),
        _ => Err(Error::new(Kind::Internal, "the build has no result")),
    }
}

/// Returns a request of `serve` for every profile that is made for the stack, and for each role of one for several nodes.
fn requests(catalog: &Catalog, request: &BuildRequest) -> Result<Vec<ServeRequest>> {
    let name = &request.stack.name;
    let mut found = Vec::new();
    for profile in catalog.profiles()? {
        if profile.stack != *name && !profile.on.contains_key(name) {
            continue;
        }
        for role in catalog.resolve(&profile.name, Some(name))?.by_role() {
            found.push(ServeRequest {
                image: request.image.clone(),
                ..ServeRequest::new(role, request.target)
            });
        }
    }
    Ok(found)
}
