//! A plan as it is shown: without the values of secret variables.

use std::collections::BTreeMap;

use crate::plan::step::{EngineSource, Plan, Step};
use crate::redact::{Redactor, shown_value};

/// Returns a plan for people and for files that others read: the values of secret variables are `***`. The plan that is carried
/// out, kept for the next start or written as a script has them.
#[must_use]
pub fn without_secrets(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for step in &mut plan.steps {
        match step {
            Step::StartContainer(step) => {
                hide_values(&mut step.env);
                hide_labels(&mut step.labels);
            }
            Step::StartProcess(step) => {
                hide_values(&mut step.env);
                hide_labels(&mut step.labels);
            }
            Step::MeasureLoad(step) => {
                if let Some(client) = &mut step.by_engine {
                    hide_values(&mut client.env);
                }
            }
            Step::EvaluateModel(step) => {
                if let Some(script) = &mut step.by_engine {
                    hide_values(&mut script.env);
                }
            }
            Step::RunBenchmark(step) => hide_values(&mut step.env),
            Step::RunGsm8k(step) => hide_values(&mut step.env),
            Step::SubmitJob(step) => step.script = hidden_in_script(&step.script),
            Step::CheckEnvironment(step) => hide_values(&mut step.variables),
            Step::ProveArguments(step) => hide_source(&mut step.source),
            Step::CreateVenv(_)
            | Step::BuildImage(_)
            | Step::WriteModel(_)
            | Step::ServeMirror(_)
            | Step::PullSnapshot(_)
            | Step::CheckSnapshot(_)
            | Step::CheckFolder(_)
            | Step::AwaitReady(_)
            | Step::AwaitJob(_)
            | Step::VerifyAnswers(_)
            // It has no client of the engine.
            | Step::MeasureCourse(_)
            | Step::StopServer(_) => {}
        }
    }
    plan
}

/// Returns a script without the values of secret variables, which it exports line by line.
fn hidden_in_script(script: &str) -> String {
    let shown = |line: &str| {
        let variable = line.strip_prefix("export ").and_then(|rest| rest.split_once('='));
        match variable {
            Some((name, value)) if shown_value(name, value) != value => format!("export {name}=***"),
            _ => line.to_owned(),
        }
    };
    script.lines().map(|line| shown(line) + "\n").collect()
}

fn hide_values(variables: &mut BTreeMap<String, String>) {
    for (name, value) in variables {
        *value = shown_value(name, value).into_owned();
    }
}

/// A label may hold the variables as JSON.
fn hide_labels(labels: &mut BTreeMap<String, String>) {
    let redactor = Redactor::default();
    for value in labels.values_mut() {
        *value = redactor.begin().redact_text(value);
    }
}

fn hide_source(source: &mut EngineSource) {
    if let EngineSource::Venv { variables, .. } = source {
        hide_values(variables);
    }
}
