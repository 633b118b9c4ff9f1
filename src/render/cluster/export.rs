//! The file of a server over several nodes, with its head.

use std::path::PathBuf;

use super::form::ClusterForm;
use super::options::ClusterOptions;
use crate::error::Result;
use crate::facts::Facts;
use crate::plan::ServeRequest;
use crate::plan::cluster::deployment;
use crate::quote::shell_word;
use crate::render::export::{EXPORT_SCHEMA, Exported, title_lines};
use crate::units::counted;

/// The request of `dsr1 export` for a scheduler.
#[derive(Debug, Clone)]
pub struct ClusterExport {
    /// The form.
    pub form: &'static dyn ClusterForm,
    /// The server.
    pub serve: ServeRequest,
    /// The choices of the site.
    pub options: ClusterOptions,
    /// Choices that dsr1 made, for the head of the text.
    pub notes: Vec<String>,
    /// File that the text is written to; `None` prints it.
    pub output: Option<PathBuf>,
}

/// Writes a server over several nodes in a form.
///
/// # Errors
/// The error of the plan; [`crate::error::Kind::Usage`] if the form cannot hold a value.
pub fn export(request: &ClusterExport, facts: &Facts) -> Result<Exported> {
    let ClusterExport {
        form,
        serve,
        options,
        notes,
        output,
    } = request;
    let deployment = deployment(serve, facts)?;
    let file_name = form.file_name(&deployment.name);
    let file = output
        .as_ref()
        .map_or_else(|| file_name.clone(), |path| path.display().to_string());
    let mut head = title_lines(serve, form.noun());
    let ranks = deployment.ranks().count();
    head.push(format!(
        "{} on {}: {}.",
        counted(ranks, "rank"),
        counted(usize::try_from(deployment.nodes).unwrap_or(usize::MAX), "node"),
        deployment
            .groups
            .iter()
            .map(|group| {
                format!(
                    "{} for {} on {} each",
                    counted(group.workers.len(), "engine"),
                    group.role,
                    counted(usize::try_from(group.nodes).unwrap_or(usize::MAX), "node")
                )
            })
            .collect::<Vec<_>>()
            .join(", ")
    ));
    head.extend(notes.iter().map(|note| format!("Note: {note}.")));
    let of_form = form.notes(&deployment, options);
    head.extend(of_form.iter().map(|note| format!("Note: {note}.")));
    head.extend(deployment.checks.iter().map(|check| format!("Note: {check}.")));
    head.push("It starts what the profile says; it neither builds nor pulls. Then:".to_owned());
    let word = shell_word(&file);
    head.extend(
        form.start_commands(&word)
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    Ok(Exported {
        schema: EXPORT_SCHEMA,
        format: form.name(),
        text: form.text(&deployment, options, &head)?,
        file_name,
    })
}
