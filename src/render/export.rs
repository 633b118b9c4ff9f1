//! Exports a server as a file for another tool: a bash script, Docker Compose, systemd, Podman's Quadlet.
//!
//! Each form is written from the step that `serve` executes, so it starts the same engine. A value that a form cannot
//! hold is an error that names the field; no value is changed.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::facts::Facts;
use crate::plan::{AwaitReady, Plan, ServeRequest, StartContainer, StartProcess, Step, UpRequest, up};
use crate::profile::{Goal, Profile, Stack};
use crate::quote::shell_word;
use crate::render::form::{ExportFile, Form, StartStep};
use crate::render::shell::in_parentheses;
use crate::render::{checked, shell};

/// Version of the JSON form of [`Exported`].
pub const EXPORT_SCHEMA: &str = "dsr1.export/1";

/// The request of `dsr1 export`.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The form.
    pub form: &'static dyn Form,
    /// The server.
    pub up: UpRequest,
    /// File of the profile, if the profile is not built in.
    pub profile_file: Option<String>,
    /// Choices that dsr1 made, for the head of the text.
    pub notes: Vec<String>,
    /// File that the text is written to; `None` prints it.
    pub output: Option<PathBuf>,
}

/// An exported server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Always [`EXPORT_SCHEMA`].
    pub schema: &'static str,
    /// The form's name.
    pub format: &'static str,
    /// The name of the file where the tool looks for it.
    pub file_name: String,
    /// The text.
    pub text: String,
}

/// Exports a server in a form.
///
/// # Errors
/// The error of the plan; [`Kind::Usage`] if the form cannot run the server or cannot hold a value.
///
/// [`Kind::Usage`]: crate::error::Kind::Usage
pub fn export(request: &ExportRequest, facts: &Facts) -> Result<Exported> {
    let ExportRequest { form, up: asked, .. } = request;
    let mut plan = up(asked, facts)?;
    let start = StartStep::from_plan(&plan)?;
    let file = ExportFile::new(request.output.as_deref(), &form.file_name(start.server()));
    let text = if form.is_whole_plan() {
        plan.notes.splice(0..0, head_of_script(request));
        shell::render(&plan)
    } else {
        let head = head(request, &plan, &start, &file);
        match &start {
            StartStep::Container(step) => container(*form, step, &head)?,
            StartStep::Process(step) => process(*form, step, &head)?,
        }
    };
    Ok(Exported {
        schema: EXPORT_SCHEMA,
        format: form.name(),
        file_name: file.name,
        text,
    })
}

/// Returns the text that starts a container in a form, under a head of comment lines.
///
/// # Errors
/// [`crate::error::Kind::Usage`] that names the field if the form cannot hold its value.
pub fn container(form: &dyn Form, step: &StartContainer, head: &[String]) -> Result<String> {
    if !form.is_whole_plan() {
        checked::container(step)?;
    }
    form.container(step, head)
}

/// Returns the text that starts a process in a form, under a head of comment lines.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for a form that describes only containers, and one that names the field if the form
/// cannot hold its value.
pub fn process(form: &dyn Form, step: &StartProcess, head: &[String]) -> Result<String> {
    if form.has_process() && !form.is_whole_plan() {
        checked::process(step)?;
    }
    form.process(step, head)
}

/// Returns the head of the file: its contents, and the commands that must run before the server can start.
fn head(request: &ExportRequest, plan: &Plan, start: &StartStep, file: &ExportFile) -> Vec<String> {
    let form = request.form;
    let mut lines = title_lines(&request.up.serve, form.noun());
    lines.extend(
        request
            .notes
            .iter()
            .chain(&plan.notes)
            .map(|note| format!("Note: {note}.")),
    );
    for blocker in &plan.blockers {
        lines.push(format!(
            "BLOCKED on the host that it was planned for: {}{}; {}",
            blocker.message,
            in_parentheses(&blocker.cause),
            blocker.hint
        ));
    }
    lines.push(
        "It starts what `dsr1 serve` starts; it neither builds nor pulls. First, on the host:".to_owned(),
    );
    lines.extend(
        preparations(request, start)
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    lines.push("Then:".to_owned());
    lines.extend(
        form.start_commands(start, file)
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

/// Returns the head of the script, which builds and pulls by itself.
fn head_of_script(request: &ExportRequest) -> Vec<String> {
    let mut lines = title_lines(&request.up.serve, "the whole plan of `dsr1 up`");
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

/// Returns the first lines of a head: the model, the profile and the versions.
pub(super) fn title_lines(serve: &ServeRequest, what: &str) -> Vec<String> {
    let Profile { name, model, .. } = &serve.profile;
    let Stack {
        name: stack, pins, ..
    } = &serve.stack;
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

/// Returns the commands that must run before the server can start.
fn preparations(request: &ExportRequest, start: &StartStep) -> Vec<String> {
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
