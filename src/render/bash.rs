//! The whole plan of `dsr1 up` as a bash script.

use crate::error::Result;
use crate::plan::{Plan, StartContainer, StartProcess, Step};
use crate::render::form::{ExportFile, Form, StartStep};
use crate::render::shell;

/// The form `bash`.
#[derive(Debug)]
pub(super) struct Bash;

impl Form for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn about(&self) -> &'static str {
        "A script: the whole plan of `up`"
    }

    fn noun(&self) -> &'static str {
        "a script"
    }

    fn file_name(&self, server: &str) -> String {
        format!("{server}.sh")
    }

    fn start_commands(&self, _start: &StartStep, file: &ExportFile) -> Vec<String> {
        vec![format!("bash {}", file.word)]
    }

    fn container(&self, step: &StartContainer, head: &[String]) -> Result<String> {
        Ok(script(Step::StartContainer(step.clone()), head))
    }

    fn has_process(&self) -> bool {
        true
    }

    fn process(&self, step: &StartProcess, head: &[String]) -> Result<String> {
        Ok(script(Step::StartProcess(step.clone()), head))
    }

    fn is_whole_plan(&self) -> bool {
        true
    }
}

/// Returns a script of one step under comment lines.
fn script(step: Step, head: &[String]) -> String {
    let mut plan = Plan::new("serve", vec![step]);
    plan.notes = head.to_vec();
    shell::render(&plan)
}
