//! The rules for names: of profiles, stacks and servers, of hub repositories, and of revisions.
//!
//! Each of them becomes a path, a part of a URL or a container's name, so each has one rule, and it is here.

/// The rule of [`is_name`], as a hint.
pub const NAME_RULE: &str = "use lower-case letters, digits and dashes, 40 at most";

/// Longest owner, and longest name, of a repository (`huggingface_hub` 2.4.0, `validate_repo_id`).
const MAX_REPO_PART: usize = 96;

/// Longest revision. git sets no limit; a branch is a path below `refs` in the hub cache.
const MAX_REVISION: usize = 200;

/// Returns true for a name of a profile, a stack or a server: names become container names, file names and labels.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 40 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed)
}

/// Returns true for the id of a hub repository: `owner/name`.
///
/// The rule is that of `validate_repo_id` in `huggingface_hub` 2.4.0, which repeats the Hub's own: letters, digits,
/// `-`, `_` and `.`, at most 96 in each part; no part begins or ends with `-` or `.`; no `--` and no `..`; no `.git` at
/// the end. It is stricter in one point: the owner is required, because the Hub redirects ids without one.
#[must_use]
pub fn is_repo(repo: &str) -> bool {
    let fits = |part: &str| {
        (1..=MAX_REPO_PART).contains(&part.len())
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            // A cache's folder has `--` between owner and name.
            && !part.contains("--")
            && !part.contains("..")
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    repo.split_once('/')
        .is_some_and(|(owner, name)| fits(owner) && fits(name) && name.strip_suffix(".git").is_none())
}

/// Returns true for a path of a folder that can be mounted: an absolute one, because a relative one would mean another folder
/// for each working directory; without a comma, which ends the path of a mount, and without quotes.
#[must_use]
pub fn is_mountable(path: &str) -> bool {
    path.starts_with('/') && !path.contains([',', '"']) && !path.chars().any(char::is_control)
}

/// Returns true for a revision: a branch, a tag, a pull request (`refs/pr/1`) or a commit.
///
/// The Hub's revisions are git references, so the rule is that of git-check-ref-format(1). It is stricter in three
/// points: ASCII only, because other characters can look like these; no `-` in front, which git itself refuses for
/// branches and tags; and at most 200 characters.
#[must_use]
pub fn is_revision(revision: &str) -> bool {
    let allowed = |c: char| c.is_ascii_graphic() && !"~^:?*[\\".contains(c);
    let fits =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none();
    revision.len() <= MAX_REVISION
        && revision.chars().all(allowed)
        && revision.split('/').all(fits)
        && !revision.starts_with('-')
        && !revision.ends_with('.')
        && !revision.contains("..")
        && !revision.contains("@{")
        && revision != "@"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_container_names_and_labels() {
        for good in ["a", "fp8-low-latency", "b200x4", &"a".repeat(40)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "4x", "-a", "a_b", "a/b", "a.b", "ä", &"a".repeat(41)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn repositories_are_those_that_the_hub_takes() {
        let longest = format!("{0}/{0}", "a".repeat(96));
        for good in [
            "deepseek-ai/DeepSeek-R1-0528",
            "a/b",
            "_a/b_",
            "a.b/c-d",
            &longest,
        ] {
            assert!(is_repo(good), "{good}");
        }
        let too_long = format!("a/{}", "b".repeat(97));
        for bad in [
            "", "a", "/", "a/", "/b", "a/b/c", "a--b/c", "a/b--c", "a/..", "a/b..c", ".a/b", "a/.b", "a./b",
            "a/b.", "-a/b", "a/-b", "a-/b", "a/b-", "a/b.git", "a/b c", "a/ü", "a\\b/c", &too_long,
        ] {
            assert!(!is_repo(bad), "{bad}");
        }
    }

    #[test]
    fn revisions_are_git_references() {
        let commit = "0123456789".repeat(4);
        for good in [
            "main",
            "refs/pr/1",
            "v1.0",
            "v1.0+cu128",
            "feature/x-y",
            "a@b",
            "fix#1",
            "50%",
            &commit,
        ] {
            assert!(is_revision(good), "{good}");
        }
        let too_long = "a".repeat(201);
        for bad in [
            "", "..", "../x", "a/../b", "/a", "a/", "a//b", ".hidden", "a/.b", "a b", "a\\b", "a..b", "a.",
            "-a", "@", "a@{1}", "a^", "a~1", "a:b", "a?", "a*", "a[b", "a.lock", "a.lock/b", "a\nb", "ä",
            &too_long,
        ] {
            assert!(!is_revision(bad), "{bad}");
        }
    }
}
