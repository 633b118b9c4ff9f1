//! A server in the words of other tools: a bash script, Docker Compose, systemd, Podman's Quadlet.
//!
//! Each form is made from the step that `serve` carries out, so it starts the same engine. What a form cannot carry
//! is an error that names the field; no value is changed on the way. Not in this module tree: writing files
//! (`commands::export`), choosing what to serve (`serve`, `up`).

use std::fmt::Write;

use serde::Serialize;

use crate::error::Result;
use crate::facts::Facts;
use crate::plan::{AwaitReady, Plan, StartContainer, StartProcess, Step, UpRequest, up};
use crate::profile::{Goal, Profile, Stack};
use crate::quote::shell_word;
use crate::render::form::{Form, StartStep};
use crate::render::{checked, shell};

/// Version of the JSON form of [`Exported`].
pub const EXPORT_SCHEMA: &str = "dsr1.export/1";

/// What `dsr1 export` was asked.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The form.
    pub form: &'static dyn Form,
    /// What to serve and how.
    pub up: UpRequest,
    /// File that the profile came from, when it is not a built-in one.
    pub profile_file: Option<String>,
    /// Choices that were made on the way here, for the head of the text.
    pub notes: Vec<String>,
}

/// A server, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Always [`EXPORT_SCHEMA`].
    pub schema: &'static str,
    /// The form's name.
    pub format: &'static str,
    /// The name that the file should have.
    pub file_name: String,
    /// The text.
    pub text: String,
}

/// Writes a server in another form.
///
/// # Errors
/// The error of the plan; [`Kind::Usage`] when the form cannot run the server or cannot carry a value.
///
/// [`Kind::Usage`]: crate::error::Kind::Usage
pub fn export(request: &ExportRequest, facts: &Facts) -> Result<Exported> {
    let ExportRequest { form, up: asked, .. } = request;
    let mut plan = up(asked, facts)?;
    let start = StartStep::from_plan(&plan)?;
    let file_name = form.file_name(start.server());
    let text = if form.is_whole_plan() {
        plan.notes.splice(0..0, head_of_script(request));
        shell::render(&plan)
    } else {
        let head = head(request, &plan, &start, &file_name);
        match &start {
            StartStep::Container(step) => container(*form, step, &head)?,
            StartStep::Process(step) => process(*form, step, &head)?,
        }
    };
    Ok(Exported {
        schema: EXPORT_SCHEMA,
        format: form.name(),
        file_name,
        text,
    })
}

/// Writes the start of a container in a form, under a head of comment lines.
///
/// # Errors
/// [`crate::error::Kind::Usage`] that names the field when the form cannot carry its value.
pub fn container(form: &dyn Form, step: &StartContainer, head: &[String]) -> Result<String> {
    if !form.is_whole_plan() {
        checked::container(step)?;
    }
    form.container(step, head)
}

/// Writes the start of a process in a form, under a head of comment lines.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for a form that describes only containers, and that names the field when the form
/// cannot carry its value.
pub fn process(form: &dyn Form, step: &StartProcess, head: &[String]) -> Result<String> {
    if form.has_process() && !form.is_whole_plan() {
        checked::process(step)?;
    }
    form.process(step, head)
}

/// What a reader of the file needs first: what it is, and what must be there before it can run.
fn head(request: &ExportRequest, plan: &Plan, start: &StartStep, file_name: &str) -> Vec<String> {
    let form = request.form;
    let mut lines = written(request, form.noun());
    lines.extend(
        request
            .notes
            .iter()
            .chain(&plan.notes)
            .map(|note| format!("Note: {note}.")),
    );
    for blocker in &plan.blockers {
        lines.push(format!(
            "NOT FIT for the host it was planned for: {} ({}); {}",
            blocker.message, blocker.cause, blocker.hint
        ));
    }
    lines.push(
        "It starts what `dsr1 serve` starts; it neither builds nor pulls. First, on the host:".to_owned(),
    );
    lines.extend(first(request, start).into_iter().map(|line| format!("  {line}")));
    lines.push("Then:".to_owned());
    lines.extend(
        form.start_commands(start, file_name)
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    if let Some(AwaitReady { base_url, probe, .. }) = plan.steps.iter().find_map(|step| match step {
        Step::AwaitReady(step) => Some(step),
        _ => None,
    }) {
        lines.push("Loading takes minutes. It is ready when this succeeds:".to_owned());
        lines.push(format!(
            "  curl --fail --noproxy '*' {}",
            shell_word(&format!("{base_url}{probe}"))
        ));
    }
    lines
}

/// The head of the script, whose own steps build and pull.
fn head_of_script(request: &ExportRequest) -> Vec<String> {
    let mut lines = written(request, "the whole plan of `dsr1 up`");
    lines.push(
        if request.up.serve.profile.goal == Goal::Rehearsal {
            "needs: bash, curl, hf (pip install huggingface-hub), dsr1, and python3 or Docker with BuildKit"
        } else {
            "needs: bash, curl, hf (pip install huggingface-hub), and Docker with BuildKit and the GPU toolkit"
        }
        .to_owned(),
    );
    lines.extend(request.notes.iter().cloned());
    lines
}

fn written(request: &ExportRequest, what: &str) -> Vec<String> {
    let Profile { name, model, .. } = &request.up.serve.profile;
    let Stack {
        name: stack, pins, ..
    } = &request.up.serve.stack;
    vec![
        format!(
            "{} as {what}, written by dsr1 {}.",
            model.repo,
            env!("CARGO_PKG_VERSION")
        ),
        format!(
            "Profile {name} on stack {stack}: SGLang {}, FlashInfer {}.",
            pins.sglang, pins.flashinfer
        ),
    ]
}

/// The commands that make what the server needs.
fn first(request: &ExportRequest, start: &StartStep) -> Vec<String> {
    let serve = &request.up.serve;
    let profile = match &request.profile_file {
        Some(file) => format!("--profile-file {}", shell_word(file)),
        None => format!("--profile {}", shell_word(&serve.profile.name)),
    };
    let profile = format!("{profile} --stack {}", shell_word(&serve.stack.name));
    let mut install = format!("{profile} --runtime {}", serve.target.name());
    for (option, value) in serve.image.options() {
        let _ = write!(install, " {option} {}", shell_word(&value));
    }
    let mut lines = if serve.profile.goal == Goal::Rehearsal {
        vec![format!("dsr1 up {install}")]
    } else {
        vec![format!("dsr1 build {install}"), format!("dsr1 pull {profile}")]
    };
    match start {
        StartStep::Container(_) => {}
        StartStep::Process(step) => {
            let dir = step.log.rsplit_once('/').map_or("/", |(dir, _)| dir);
            lines.push(format!("mkdir -p {}", shell_word(dir)));
        }
    }
    lines.extend(request.form.preparations(start));
    lines
}
