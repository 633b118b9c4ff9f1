//! The trait of export forms, and the code that all forms share.

use std::fmt::{Debug, Write};
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::plan::{Plan, StartContainer, StartProcess, Step};
use crate::quote::shell_word;
use crate::render::checked;

/// A form in which a tool starts a server.
///
/// A form writes every field of the step that `serve` executes, or refuses the field by its name.
pub trait Form: Debug + Sync {
    /// The spelling on the command line and in JSON.
    fn name(&self) -> &'static str;

    /// One line of help.
    fn about(&self) -> &'static str;

    /// The noun in the head of the file, such as "a Compose file".
    fn noun(&self) -> &'static str;

    /// The file name that the tool expects, for a server of that name.
    fn file_name(&self, server: &str) -> String;

    /// Commands that must run before the server can start, besides building and pulling.
    fn preparations(&self, start: &StartStep) -> Vec<String> {
        let _ = start;
        Vec::new()
    }

    /// Commands that start the server from the file.
    fn start_commands(&self, start: &StartStep, file: &ExportFile) -> Vec<String>;

    /// The text that starts a container, under comment lines.
    ///
    /// # Errors
    /// [`Kind::Usage`] that names the field if the form cannot hold its value.
    fn container(&self, step: &StartContainer, head: &[String]) -> Result<String>;

    /// Returns whether the form can describe a process as well as a container.
    fn has_process(&self) -> bool {
        false
    }

    /// The text that starts a process, under comment lines.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a form that describes only containers, and as [`Form::container`].
    fn process(&self, step: &StartProcess, head: &[String]) -> Result<String> {
        let _ = (step, head);
        Err(Error::new(
            Kind::Usage,
            format!(
                "`{}` describes a container, and the runtime is process",
                self.name()
            ),
        )
        .hint("use --runtime docker, or export systemd, which can run a process"))
    }

    /// Returns whether the form holds the whole plan, with building and pulling, instead of only the start.
    fn is_whole_plan(&self) -> bool {
        false
    }
}

/// The file with the text, for the commands at its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// Its path, as a word of a shell.
    pub word: String,
    /// Its name where the tool looks for it.
    pub name: String,
}

impl ExportFile {
    /// Returns the file that was written to `path`, or that gets the `expected` name. A name with another extension would not
    /// be read by the tool, so the file is copied to the expected one.
    pub(super) fn new(path: Option<&Path>, expected: &str) -> Self {
        let path = path.unwrap_or(Path::new(expected));
        let fits = path.extension() == Path::new(expected).extension();
        let name = path.file_name().and_then(|name| name.to_str()).filter(|_| fits);
        Self {
            word: shell_word(&path.to_string_lossy()),
            name: name.unwrap_or(expected).to_owned(),
        }
    }

    /// Returns the command that puts the file into a folder of the tool.
    pub(super) fn copy_to(&self, folder: &str) -> String {
        let name = shell_word(&self.name);
        // The name is said only where it changes.
        let is_same = self.word == name || self.word.ends_with(&format!("/{name}"));
        format!("cp {} {folder}{}", self.word, if is_same { "" } else { &name })
    }
}

/// The step that starts the engine.
#[derive(Debug, Clone)]
pub enum StartStep {
    /// In a container.
    Container(StartContainer),
    /// As a process.
    Process(StartProcess),
}

impl StartStep {
    /// Returns the step of a plan that starts the engine.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the plan starts no server.
    pub(super) fn from_plan(plan: &Plan) -> Result<Self> {
        let found = plan.steps.iter().find_map(|step| match step {
            Step::StartContainer(step) => Some(Self::Container(step.clone())),
            Step::StartProcess(step) => Some(Self::Process(step.clone())),
            _ => None,
        });
        found.ok_or_else(|| Error::new(Kind::Internal, "the plan starts no server"))
    }

    /// The server's name.
    pub(super) fn server(&self) -> &str {
        match self {
            Self::Container(step) => &step.name,
            Self::Process(step) => &step.name,
        }
    }
}

/// Returns the comment lines of a file. Each line stays one comment, whatever it holds.
pub(super) fn comment_lines(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let clean: String = line
            .chars()
            .map(|c| if checked::is_hidden(c) { ' ' } else { c })
            .collect();
        let _ = writeln!(text, "# {}", clean.trim_end());
    }
    text
}
