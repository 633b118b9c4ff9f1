//! The one command `docker run` that starts a container.

use crate::error::Result;
use crate::plan::{Plan, StartContainer, Step};
use crate::render::form::{Form, StartStep, comment_lines};
use crate::render::shell;

/// The form `docker-run`.
#[derive(Debug)]
pub(super) struct DockerRun;

impl Form for DockerRun {
    fn name(&self) -> &'static str {
        "docker-run"
    }

    fn about(&self) -> &'static str {
        "The command `docker run`"
    }

    fn noun(&self) -> &'static str {
        "a command"
    }

    fn file_name(&self, server: &str) -> String {
        format!("{server}.docker-run.sh")
    }

    fn start_commands(&self, _start: &StartStep, file_name: &str) -> Vec<String> {
        vec![format!("bash {file_name}")]
    }

    fn container(&self, step: &StartContainer, head: &[String]) -> Result<String> {
        let plan = Plan::new("serve", vec![Step::StartContainer(step.clone())]);
        Ok(format!("{}{}", comment_lines(head), shell::render(&plan)))
    }
}
