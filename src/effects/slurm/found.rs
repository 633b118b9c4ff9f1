//! The servers that run in jobs of this user.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::queue::{Job, endpoint, jobs};
use crate::effects::Effects;
use crate::effects::serve::servers::{Found, describe};
use crate::error::Result;
use crate::plan::Server;
use crate::plan::cluster::jobs_folder;
use crate::report::ServerState;

impl Effects {
    /// Returns the servers in jobs of this user. A host from which none was submitted has none.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when Slurm does not answer.
    pub(in crate::effects) async fn servers_in_jobs(&self) -> Result<Vec<Found>> {
        let folder = PathBuf::from(jobs_folder(&self.env().paths.state));
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut newest: BTreeMap<String, Job> = BTreeMap::new();
        for job in jobs(self.env(), None).await? {
            newest.insert(job.name.clone(), job);
        }
        // Slurm lists a job for some minutes after its end.
        let is_shown = |job: &&Job| job.is_alive() || !self.was_asked_to_stop(&job.name);
        let shown = newest.values().filter(is_shown);
        Ok(shown.filter_map(|job| found(job, &folder)).collect())
    }
}

/// Returns the server of a job, which its comment describes; `None` for a job of another program, and for one that was stopped.
fn found(job: &Job, folder: &Path) -> Option<Found> {
    let labels: BTreeMap<String, String> = serde_json::from_str(&job.comment).ok()?;
    let server = Server::Slurm {
        name: job.name.clone(),
        folder: folder.to_string_lossy().into_owned(),
    };
    let state = if job.is_alive() {
        ServerState::Starting
    } else if matches!(job.state.as_str(), "COMPLETED" | "CANCELLED" | "COMPLETING") {
        return None;
    } else {
        ServerState::Crashed
    };
    let mut found = describe(&labels, server, "slurm", state, job.id.to_string())?;
    match endpoint(folder, job) {
        Some(url) => found.status.base_url = url,
        None if job.waits() => found.status.stage = Some(format!("waits: {}", job.reason)),
        // Only a job that serves knows its URL.
        None => "-".clone_into(&mut found.status.base_url),
    }
    Some(found)
}
