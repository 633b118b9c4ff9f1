//! Plans a pull.
//!
//! Not in this module: which files of a repository (`selection`), any network.

use crate::doctor::{Blocker, blockers};
use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, WeightFile};
use crate::plan::{CheckSnapshot, CodeFiles, FilePatterns, Plan, PullSnapshot, Step, Transport};
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
    /// How it is fetched.
    pub options: PullOptions,
    /// Directory that gets the files, instead of the hub cache.
    pub local_dir: Option<String>,
    /// Which files.
    pub selection: FilePatterns,
    /// Which files may come that hold code.
    pub code: CodeFiles,
    /// The only files that may come.
    pub locked: Option<Vec<WeightFile>>,
}

/// How weights are fetched, whichever they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// Most files fetched at once.
    pub max_workers: usize,
    /// Most bytes a second.
    pub limit_rate: Option<u64>,
    /// How large files come.
    pub transport: Transport,
    /// Whether the licence was agreed to.
    pub accept_license: bool,
}

/// Plans the pull of one snapshot.
///
/// # Errors
/// [`Kind::Usage`] for a repository that is not `owner/name`, or a pattern that is none.
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

/// The disk, before the listing says exactly what is missing.
pub(super) fn blocker(request: &PullRequest, facts: &Facts) -> Option<Blocker> {
    if request.repo == rehearsal::REPO && request.endpoint == PUBLIC_HUB {
        return Some(Blocker {
            message: format!("{} is on no public hub", request.repo),
            cause: "dsr1 makes it itself".to_owned(),
            hint: "dsr1 up --profile rehearsal does it all; or dsr1 mirror --rehearsal, and --endpoint with its address".to_owned(),
        });
    }
    // Elsewhere, or not all of it: the listing will say how much.
    if request.local_dir.is_some() || !request.selection.is_all() {
        return None;
    }
    let missing = facts.cached_commit(&request.repo, &request.revision).is_none();
    let size = request.size_bytes.filter(|_| missing)?;
    blockers::disk(facts, &facts.paths.hub_cache, size, "the weights", "HF_HOME")
}

pub(super) fn check(repo: &str, revision: &str, facts: &Facts) -> Step {
    Step::CheckSnapshot(CheckSnapshot {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        cache_dir: facts.paths.hub_cache.clone(),
    })
}

/// Refuses what is no repository's id.
///
/// # Errors
/// [`Kind::Usage`], with how one is written.
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

/// Whether this is a repository's id: it becomes paths and URLs, and is two segments of letters, digits, `.`, `_`, `-`.
#[must_use]
pub fn is_repo(repo: &str) -> bool {
    let fits = |part: &str| part.len() <= 96 && is_repo_part(part);
    repo.split_once('/')
        .is_some_and(|(owner, name)| fits(owner) && fits(name))
}

/// Whether a repository's owner or name stays one segment of a path and of a URL, and of a cache's folder name, where
/// `--` stands between the two: hubs have no `--` in an id (`huggingface_hub`, `validate_repo_id`).
#[must_use]
pub fn is_repo_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && !part.contains("..")
        && !part.contains("--")
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Folder of a repository in a hub cache: `models--owner--name`.
#[must_use]
pub fn repo_folder(repo: &str) -> String {
    format!("models--{}", repo.replace('/', "--"))
}
