//! Plans a pull.

use crate::doctor::{Blocker, blockers};
use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, WeightFile};
use crate::plan::{CheckSnapshot, CodeFiles, FilePatterns, Plan, PullSnapshot, Step, Transport};
use crate::profile::is_repo;
use crate::rehearsal;

/// The default hub.
pub const PUBLIC_HUB: &str = "https://huggingface.co";

/// The request of `dsr1 pull`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Repository, `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Hub base URL.
    pub endpoint: String,
    /// Licence of the weights.
    pub license: String,
    /// Size in bytes, if it is known before the listing.
    pub size_bytes: Option<u64>,
    /// Options of the download.
    pub options: PullOptions,
    /// Directory that receives the files instead of the hub cache.
    pub local_dir: Option<String>,
    /// Patterns of the files to fetch.
    pub selection: FilePatterns,
    /// Files with code that may be fetched.
    pub code: CodeFiles,
    /// The only files that may be fetched, if a lock lists them.
    pub locked: Option<Vec<WeightFile>>,
}

/// Options of a download that do not depend on the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// Maximum number of files that are fetched at once.
    pub max_workers: usize,
    /// Maximum bytes per second.
    pub limit_rate: Option<u64>,
    /// Transport of large files.
    pub transport: Transport,
    /// True if the user accepted the licence.
    pub accept_license: bool,
}

/// Plans the pull of one snapshot.
///
/// # Errors
/// [`Kind::Usage`] for a repository that is not `owner/name`, or for an invalid pattern.
pub fn pull(request: &PullRequest, facts: &Facts) -> Result<Plan> {
    let mut plan = Plan::new("pull", vec![step(request, facts)?]);
    plan.blockers.extend(blocker(request, facts));
    Ok(plan)
}

pub(super) fn step(request: &PullRequest, facts: &Facts) -> Result<Step> {
    check_repo(&request.repo)?;
    request.selection.compile()?;
    Ok(Step::PullSnapshot(PullSnapshot {
        endpoint: request.endpoint.trim_end_matches('/').to_owned(),
        repo: request.repo.clone(),
        revision: request.revision.clone(),
        cache_dir: facts.paths.hub_cache.clone(),
        local_dir: request.local_dir.clone(),
        license: request.license.clone(),
        accept_license: request.options.accept_license,
        max_workers: request.options.max_workers,
        limit_rate: request.options.limit_rate,
        transport: request.options.transport,
        selection: request.selection.clone(),
        code: request.code.clone(),
        locked: request.locked.clone(),
    }))
}

/// A lack of disk space, judged by the known size of the repository before the listing states the exact one.
pub(super) fn blocker(request: &PullRequest, facts: &Facts) -> Option<Blocker> {
    if request.repo == rehearsal::REPO && request.endpoint == PUBLIC_HUB {
        return Some(Blocker {
            message: format!("{} is not on a public hub", request.repo),
            cause: "dsr1 generates this model itself".to_owned(),
            hint: "run dsr1 up --profile rehearsal; or run dsr1 mirror --rehearsal, and pass its address to --endpoint".to_owned(),
        });
    }
    // For another directory or a selection of files, the listing states the size.
    if request.local_dir.is_some() || !request.selection.is_all() {
        return None;
    }
    let missing = facts.cached_commit(&request.repo, &request.revision).is_none();
    let size = request.size_bytes.filter(|_| missing)?;
    blockers::disk(facts, &facts.paths.hub_cache, size, "the weights", "HF_HOME")
}

pub(super) fn check_step(repo: &str, revision: &str, facts: &Facts) -> Step {
    Step::CheckSnapshot(CheckSnapshot {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        cache_dir: facts.paths.hub_cache.clone(),
    })
}

/// Refuses a text that is not a repository's id.
///
/// # Errors
/// [`Kind::Usage`] with the expected form.
pub fn check_repo(repo: &str) -> Result<()> {
    if is_repo(repo) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!("`{}` is not a repository", repo.escape_debug()),
    )
    .hint("write it as owner/name, such as deepseek-ai/DeepSeek-R1-0528"))
}

/// Returns the folder of a repository in a hub cache: `models--owner--name`.
#[must_use]
pub fn repo_folder(repo: &str) -> String {
    format!("models--{}", repo.replace('/', "--"))
}
