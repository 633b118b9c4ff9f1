//! The weights that a user names: `owner/name`, with a revision behind it, the URL of its page, or a profile's.

use super::context::{Context, precision_by_name};
use crate::cli::{HubArgs, ProfileArgs};
use crate::error::{Error, Kind, Result};
use crate::plan::RepoReference;

/// The arguments REPO and `--revision`, read.
pub(super) struct NamedWeights {
    /// The repository; `None` if a profile names it.
    pub(super) repo: Option<String>,
    /// Branch, tag or commit.
    pub(super) revision: Option<String>,
    /// The profile, if one is named.
    pub(super) profile: ProfileArgs,
    /// The hub.
    pub(super) hub: HubArgs,
}

impl NamedWeights {
    /// Reads the arguments. A word without `/` that a profile or a goal has is that profile.
    ///
    /// # Errors
    /// [`Kind::Usage`] for two revisions or two hubs.
    pub(super) fn read(
        context: &Context,
        repo: Option<String>,
        revision: Option<String>,
        profile: &ProfileArgs,
        hub: &HubArgs,
    ) -> Result<Self> {
        let mut named = Self {
            repo: None,
            revision,
            profile: profile.clone(),
            hub: hub.clone(),
        };
        let Some(text) = repo else {
            return Ok(named);
        };
        if named.revision.is_none() && names_a_profile(context, &text)? {
            named.profile.profile = Some(text);
            return Ok(named);
        }
        let reference = RepoReference::parse(&text);
        named.revision = one_of(named.revision, reference.revision, "revisions", "--revision")?;
        if let Some(endpoint) = reference.endpoint {
            let known = named
                .hub
                .endpoint
                .as_ref()
                .or(context.env().hub.endpoint.as_ref());
            // A token is sent to the hub, so its address is chosen on purpose and not with a URL that was copied.
            if known.is_none_or(|known| known.trim_end_matches('/') != endpoint) {
                return Err(Error::new(
                    Kind::Usage,
                    format!(
                        "`{}` is on another hub than the one that is asked",
                        text.escape_debug()
                    ),
                )
                .hint(format!(
                    "to pull from it: dsr1 pull {} --endpoint {endpoint}",
                    reference.repo
                )));
            }
        }
        named.repo = Some(reference.repo);
        Ok(named)
    }
}

/// Returns true if a word names a profile, a goal or a precision, and not a repository.
pub(super) fn names_a_profile(context: &Context, text: &str) -> Result<bool> {
    if text.contains('/') {
        return Ok(false);
    }
    Ok(precision_by_name(text).is_some() || context.catalog(None)?.knows(text))
}

/// Returns the value that was given, or the one in the text. Two must be equal.
fn one_of(given: Option<String>, read: Option<String>, what: &str, option: &str) -> Result<Option<String>> {
    match (given, read) {
        (Some(given), Some(read)) if given.trim_end_matches('/') != read => Err(Error::new(
            Kind::Usage,
            format!(
                "the repository and {option} name two {what}: `{}` and `{}`",
                read.escape_debug(),
                given.escape_debug()
            ),
        )
        .hint(format!("leave out {option}"))),
        (given, read) => Ok(given.or(read)),
    }
}
