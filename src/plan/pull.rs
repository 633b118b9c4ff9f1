//! Plans a pull.

use crate::doctor::{Blocker, blockers};
use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, WeightFile};
use crate::plan::{CheckSnapshot, CodeFiles, FilePatterns, Plan, PullSnapshot, Step, Transport};
use crate::profile::is_repo;
use crate::rehearsal;

/// The default hub.
pub const PUBLIC_HUB: &str = "https://huggingface.co";

/// The names of the public hub's host.
const PUBLIC_NAMES: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];

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
    plan.blockers.extend(blockers(request, facts));
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
pub(super) fn blockers(request: &PullRequest, facts: &Facts) -> Vec<Blocker> {
    if request.repo == rehearsal::REPO && request.endpoint == PUBLIC_HUB {
        return vec![Blocker {
            kind: Kind::Usage,
            message: format!("nothing to pull: {} is not on a public hub", request.repo),
            cause: "dsr1 generates this model itself".to_owned(),
            hint: "run dsr1 up --profile rehearsal; or run dsr1 mirror --rehearsal, and pass its address to --endpoint".to_owned(),
        }];
    }
    // For another directory or a selection of files, the listing states the size.
    if request.local_dir.is_some() || !request.selection.is_all() {
        return Vec::new();
    }
    let missing = facts.cached_commit(&request.repo, &request.revision).is_none();
    let Some(size) = request.size_bytes.filter(|_| missing) else {
        return Vec::new();
    };
    let source = blockers::weights_source(facts, &request.endpoint);
    let disk = blockers::disk(facts, &facts.paths.hub_cache, size, "the weights", "HF_HOME");
    source.into_iter().chain(disk).collect()
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
    // The hub has other kinds of repositories below these names.
    if is_repo(repo) && !repo.starts_with("datasets/") && !repo.starts_with("spaces/") {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!("`{}` is not a repository", repo.escape_debug()),
    )
    .hint("write it as owner/name, such as deepseek-ai/DeepSeek-R1-0528"))
}

/// A repository as users write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoReference {
    /// The repository, `owner/name`; or the whole text, if it has another form.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: Option<String>,
    /// Hub base URL, if it is not the public hub's.
    pub endpoint: Option<String>,
}

impl RepoReference {
    /// Reads `owner/name`, with `:REVISION` or `@REVISION` behind it; the URL of a repository's page or of one revision of
    /// it; and `hf://owner/name`. Any other text, such as the URL of a file or a dataset, stays as it is, and is refused
    /// by [`check_repo`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let unread = || Self {
            repo: text.to_owned(),
            revision: None,
            endpoint: None,
        };
        let (host, path) = match text.split_once("://") {
            Some(("hf", path)) => (None, path),
            Some((scheme @ ("http" | "https"), rest)) => {
                let Some((host, path)) = rest.split_once('/') else {
                    return unread();
                };
                (Some((scheme, host)), path)
            }
            Some(_) => return unread(),
            None => PUBLIC_NAMES
                .iter()
                .find_map(|name| text.strip_prefix(name)?.strip_prefix('/'))
                .map_or((None, text), |path| (None, path)),
        };
        let endpoint = host
            .filter(|(_, host)| !PUBLIC_NAMES.contains(host))
            .map(|(scheme, host)| format!("{scheme}://{host}"));
        let path = path.split(['?', '#']).next().unwrap_or_default();
        // A revision behind the name may hold slashes.
        let (path, revision) = match path.split_once(['@', ':']) {
            Some((path, revision)) => (path, Some(revision)),
            None => (path.trim_end_matches('/'), None),
        };
        let words: Vec<&str> = path.split('/').collect();
        let (owner, name, revision) = match (words.as_slice(), revision) {
            ([owner, name], revision) => (owner, name, revision),
            ([owner, name, "tree", revision], None) => (owner, name, Some(*revision)),
            _ => return unread(),
        };
        if matches!(*owner, "datasets" | "spaces") || revision == Some("") {
            return unread();
        }
        Self {
            repo: format!("{owner}/{name}"),
            revision: revision.map(str::to_owned),
            endpoint,
        }
    }
}

/// Returns the folder of a repository in a hub cache: `models--owner--name`.
#[must_use]
pub fn repo_folder(repo: &str) -> String {
    format!("models--{}", repo.replace('/', "--"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_read_in_every_form_that_users_write() {
        let r1 = "deepseek-ai/DeepSeek-R1-0528";
        for (text, revision, endpoint) in [
            ("deepseek-ai/DeepSeek-R1-0528", None, None),
            ("deepseek-ai/DeepSeek-R1-0528:main", Some("main"), None),
            ("deepseek-ai/DeepSeek-R1-0528@4236a6a", Some("4236a6a"), None),
            ("hf://deepseek-ai/DeepSeek-R1-0528", None, None),
            ("hf.co/deepseek-ai/DeepSeek-R1-0528", None, None),
            ("https://huggingface.co/deepseek-ai/DeepSeek-R1-0528/", None, None),
            (
                "https://huggingface.co/deepseek-ai/DeepSeek-R1-0528/tree/main",
                Some("main"),
                None,
            ),
            ("deepseek-ai/DeepSeek-R1-0528@refs/pr/1", Some("refs/pr/1"), None),
            ("https://hf.co/deepseek-ai/DeepSeek-R1-0528?x=y#z", None, None),
            (
                "http://node1:8490/deepseek-ai/DeepSeek-R1-0528",
                None,
                Some("http://node1:8490"),
            ),
        ] {
            let read = RepoReference::parse(text);
            assert_eq!(read.repo, r1, "{text}");
            assert_eq!(
                (read.revision.as_deref(), read.endpoint.as_deref()),
                (revision, endpoint),
                "{text}"
            );
        }
        for text in [
            "",
            "x",
            "https://x",
            "ftp://a/b/c",
            "a/b/c",
            "a/b@",
            "a//",
            "https://huggingface.co/a",
            "https://huggingface.co/datasets/gsm8k",
            "https://huggingface.co/a/b/blob/main/config.json",
            "https://huggingface.co/a/b/tree/main/figures",
            "git@github.com:a/b.git",
        ] {
            let read = RepoReference::parse(text);
            assert!(check_repo(&read.repo).is_err(), "{text}: {read:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_plain_repository_is_read_as_it_is(owner in "[a-z0-9]{1,9}", name in "[A-Za-z0-9._-]{1,9}") {
            let text = format!("{owner}/{name}");
            let read = RepoReference::parse(&text);
            proptest::prop_assert_eq!(read, RepoReference { repo: text, revision: None, endpoint: None });
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,40}") {
            let _ = RepoReference::parse(&text);
        }
    }
}
