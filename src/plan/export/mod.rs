//! A server in the words of other tools: a bash script, Docker Compose, systemd, Podman's Quadlet.
//!
//! Each form is made from the step that `serve` carries out, so it starts the same engine. What a form cannot carry
//! is an error that names the field; no value is changed on the way. Not in this module tree: writing files
//! (`commands::export`), choosing what to serve (`serve`, `up`).

mod checked;
mod compose;
mod quadlet;
mod systemd;
mod unit;

use std::fmt::Write;

use serde::Serialize;

use super::{AwaitReady, Plan, StartContainer, StartProcess, Step, Target, UpRequest, shell, up};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::profile::{Goal, Profile, Stack};

/// Version of the JSON form of [`Exported`].
pub const EXPORT_SCHEMA: &str = "dsr1.export/1";

/// What a server can be written as. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// The plan of `up` as a bash script.
    Bash,
    /// A file for `docker compose`.
    Compose,
    /// A systemd service.
    Systemd,
    /// A Quadlet: Podman turns it into a systemd service.
    Quadlet,
}

impl ExportFormat {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::Bash, Self::Compose, Self::Systemd, Self::Quadlet];

    /// The spelling on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Compose => "compose",
            Self::Systemd => "systemd",
            Self::Quadlet => "quadlet",
        }
    }

    /// Whether the form can only describe a container.
    #[must_use]
    pub const fn needs_container(self) -> bool {
        matches!(self, Self::Compose | Self::Quadlet)
    }

    /// The file that the tool looks for, for a server of that name.
    fn file_name(self, server: &str) -> String {
        match self {
            Self::Bash => format!("{server}.sh"),
            Self::Compose => "compose.yaml".to_owned(),
            Self::Systemd => format!("{server}.service"),
            Self::Quadlet => format!("{server}.container"),
        }
    }
}

/// What `dsr1 export` was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRequest {
    /// The form.
    pub format: ExportFormat,
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
    /// The form.
    pub format: ExportFormat,
    /// The name that the file should have.
    pub file_name: String,
    /// The text.
    pub text: String,
}

/// Writes a server in another form.
///
/// # Errors
/// What planning it fails with; [`Kind::Usage`] when the form cannot run it or cannot carry a value.
pub fn export(request: &ExportRequest, facts: &Facts) -> Result<Exported> {
    let ExportRequest {
        format, up: asked, ..
    } = request;
    if format.needs_container() && asked.serve.target == Target::Process {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "`{}` describes a container, and the runtime is process",
                format.name()
            ),
        )
        .hint("use --runtime docker, or export systemd, which can run a process"));
    }
    let mut plan = up(asked, facts)?;
    let start = start(&plan)?;
    let server = match &start {
        Start::Container(step) => step.name.clone(),
        Start::Process(step) => step.name.clone(),
    };
    let file_name = format.file_name(&server);
    let text = match (format, &start) {
        (ExportFormat::Bash, _) => {
            plan.notes.splice(0..0, head_of_script(request));
            shell::render(&plan)
        }
        (_, Start::Container(step)) => container(*format, step, &head(request, &plan, &start, &file_name))?,
        (_, Start::Process(step)) => process(step, &head(request, &plan, &start, &file_name))?,
    };
    Ok(Exported {
        schema: EXPORT_SCHEMA,
        format: *format,
        file_name,
        text,
    })
}

/// Writes the start of a container in a form, under a head of comment lines.
///
/// # Errors
/// [`Kind::Usage`] that names the field when the form cannot carry its value.
pub fn container(format: ExportFormat, step: &StartContainer, head: &[String]) -> Result<String> {
    if format != ExportFormat::Bash {
        checked::container(step)?;
    }
    match format {
        ExportFormat::Bash => {
            let mut plan = Plan::new("serve", vec![Step::StartContainer(step.clone())]);
            plan.notes = head.to_vec();
            Ok(shell::render(&plan))
        }
        ExportFormat::Compose => compose::render(step, head),
        ExportFormat::Systemd => Ok(systemd::container(step, head)),
        ExportFormat::Quadlet => quadlet::render(step, head),
    }
}

/// Writes the start of a process as a systemd service, under a head of comment lines.
///
/// # Errors
/// [`Kind::Usage`] that names the field when the form cannot carry its value.
pub fn process(step: &StartProcess, head: &[String]) -> Result<String> {
    checked::process(step)?;
    Ok(systemd::process(step, head))
}

/// The step that starts the engine.
enum Start {
    Container(StartContainer),
    Process(StartProcess),
}

fn start(plan: &Plan) -> Result<Start> {
    let found = plan.steps.iter().find_map(|step| match step {
        Step::StartContainer(step) => Some(Start::Container(step.clone())),
        Step::StartProcess(step) => Some(Start::Process(step.clone())),
        _ => None,
    });
    found.ok_or_else(|| Error::new(Kind::Internal, "the plan starts no server"))
}

/// What a reader of the file needs first: what it is, and what must be there before it can run.
fn head(request: &ExportRequest, plan: &Plan, start: &Start, file_name: &str) -> Vec<String> {
    let format = request.format;
    let what = match format {
        ExportFormat::Bash => "a script",
        ExportFormat::Compose => "a Compose file",
        ExportFormat::Systemd => "a systemd service",
        ExportFormat::Quadlet => "a Quadlet for Podman 5.2 or newer",
    };
    let mut lines = written(request, what);
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
        then(format, start, file_name)
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
            shell::quote(&format!("{base_url}{probe}"))
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
fn first(request: &ExportRequest, start: &Start) -> Vec<String> {
    let serve = &request.up.serve;
    let profile = match &request.profile_file {
        Some(file) => format!("--profile-file {}", shell::quote(file)),
        None => format!("--profile {}", shell::quote(&serve.profile.name)),
    };
    let profile = format!("{profile} --stack {}", shell::quote(&serve.stack.name));
    let mut install = format!("{profile} --runtime {}", serve.target.name());
    for (option, value) in serve.image.options() {
        let _ = write!(install, " {option} {}", shell::quote(&value));
    }
    let mut lines = if serve.profile.goal == Goal::Rehearsal {
        vec![format!("dsr1 up {install}")]
    } else {
        vec![format!("dsr1 build {install}"), format!("dsr1 pull {profile}")]
    };
    match start {
        Start::Container(step) if request.format == ExportFormat::Quadlet => {
            lines.push(format!("docker save {} | podman load", shell::quote(&step.image)));
            if step.gpus {
                lines.push("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml".to_owned());
            }
        }
        Start::Container(_) => {}
        Start::Process(step) => {
            let dir = step.log.rsplit_once('/').map_or("/", |(dir, _)| dir);
            lines.push(format!("mkdir -p {}", shell::quote(dir)));
        }
    }
    lines
}

/// The commands that start it.
fn then(format: ExportFormat, start: &Start, file_name: &str) -> Vec<String> {
    let unit = file_name.rsplit_once('.').map_or(file_name, |(unit, _)| unit);
    match (format, start) {
        (ExportFormat::Bash, _) => vec![format!("bash {file_name}")],
        (ExportFormat::Compose, _) => vec![format!("docker compose --file {file_name} up --detach")],
        (ExportFormat::Systemd, Start::Container(_)) => vec![
            format!("cp {file_name} /etc/systemd/system/"),
            format!("systemctl daemon-reload && systemctl enable --now {unit}"),
        ],
        (ExportFormat::Systemd, Start::Process(_)) => vec![
            format!("cp {file_name} ~/.config/systemd/user/"),
            format!("systemctl --user daemon-reload && systemctl --user enable --now {unit}"),
            "loginctl enable-linger  (it runs also while nobody is logged in)".to_owned(),
        ],
        (ExportFormat::Quadlet, _) => vec![
            format!("cp {file_name} /etc/containers/systemd/"),
            format!("systemctl daemon-reload && systemctl start {unit}"),
        ],
    }
}

/// Comment lines of a file. Whatever they hold, each stays one comment.
fn comment(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let clean: String = line
            .chars()
            .map(|c| if checked::hides(c) { ' ' } else { c })
            .collect();
        let _ = writeln!(text, "# {}", clean.trim_end());
    }
    text
}
