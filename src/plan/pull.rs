//! Plans a pull.

use super::{Blocker, CheckSnapshot, Plan, PullSnapshot, Step, checks};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::rehearsal;

/// The hub that is asked when no other is named.
pub const PUBLIC_HUB: &str = "https://huggingface.co";

/// What `dsr1 pull` was asked.
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
    /// Size when it is known beforehand, in bytes.
    pub size_bytes: Option<u64>,
    /// Files fetched at once.
    pub max_workers: usize,
    /// Most bytes a second.
    pub limit_rate: Option<u64>,
}

/// Plans the pull of one snapshot.
///
/// # Errors
/// [`Kind::Usage`] for a repository that is not `owner/name`.
pub fn pull(request: &PullRequest, facts: &Facts) -> Result<Plan> {
    let mut plan = Plan::new("pull", vec![step(request, facts)?]);
    plan.blockers.extend(blocker(request, facts));
    Ok(plan)
}

pub(super) fn step(request: &PullRequest, facts: &Facts) -> Result<Step> {
    check_repo(&request.repo)?;
    Ok(Step::PullSnapshot(PullSnapshot {
        endpoint: request.endpoint.trim_end_matches('/').to_owned(),
        repo: request.repo.clone(),
        revision: request.revision.clone(),
        cache_dir: facts.paths.hub_cache.clone(),
        license: request.license.clone(),
        max_workers: request.max_workers,
        limit_rate: request.limit_rate,
    }))
}

/// The disk, before the listing says exactly what is missing.
pub(super) fn blocker(request: &PullRequest, facts: &Facts) -> Option<Blocker> {
    if request.repo == rehearsal::REPO && request.endpoint == PUBLIC_HUB {
        return Some(Blocker {
            message: format!("{} is on no public hub", request.repo),
            cause: "dsr1 makes it itself".to_owned(),
            hint: "dsr1 up --profile rehearsal does it all; or dsr1 mirror --rehearsal, and --endpoint with its address".to_owned(),
        });
    }
    let missing = facts.commit(&request.repo, &request.revision).is_none();
    let size = request.size_bytes.filter(|_| missing)?;
    checks::disk(facts, &facts.paths.hub_cache, size, "the weights", "HF_HOME")
}

pub(super) fn check(repo: &str, revision: &str, facts: &Facts) -> Step {
    Step::CheckSnapshot(CheckSnapshot {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        cache_dir: facts.paths.hub_cache.clone(),
    })
}

/// Repository ids become paths and URLs: two segments of letters, digits, `.`, `_`, `-`.
fn check_repo(repo: &str) -> Result<()> {
    let fits = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with('.')
            && !part.contains("..")
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    match repo.split_once('/') {
        Some((owner, name)) if fits(owner) && fits(name) => Ok(()),
        _ => Err(Error::new(
            Kind::Usage,
            format!("`{}` is not a repository", repo.escape_debug()),
        )
        .hint("write it as owner/name, such as deepseek-ai/DeepSeek-R1-0528")),
    }
}

/// Folder of a repository in a hub cache: `models--owner--name`.
#[must_use]
pub fn repo_folder(repo: &str) -> String {
    format!("models--{}", repo.replace('/', "--"))
}
