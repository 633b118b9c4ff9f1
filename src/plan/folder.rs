//! Plans with weights in a folder of this host, which is served as it is.

use crate::doctor::Blocker;
use crate::error::Kind;
use crate::facts::Facts;
use crate::plan::request::{ServeRequest, Target};
use crate::plan::{CheckFolder, Mount, Step, pull};

/// Mount point of a folder with weights in a container.
pub const MODEL: &str = "/model";

/// Returns the path of the folder for the engine; `None` if the weights come from a hub.
pub(super) fn path(request: &ServeRequest) -> Option<&str> {
    let path = request.profile.model.path.as_deref()?;
    Some(match request.target {
        Target::Docker => MODEL,
        Target::Process => path,
    })
}

/// Returns the mount of the folder.
pub(super) fn mount(request: &ServeRequest) -> Option<Mount> {
    Some(Mount::Bind {
        source: request.profile.model.path.clone()?,
        target: MODEL.to_owned(),
    })
}

/// Returns the step that checks the weights, in the folder or in the hub cache.
pub(super) fn check_step(request: &ServeRequest, facts: &Facts) -> Step {
    let model = &request.profile.model;
    match &model.path {
        Some(path) => Step::CheckFolder(CheckFolder {
            path: path.clone(),
            repo: model.repo.clone(),
            in_container: request.target == Target::Docker,
        }),
        None => pull::check_step(&model.repo, &model.revision, facts),
    }
}

/// Returns the note about weights that nobody verified.
pub(super) fn note(request: &ServeRequest) -> Option<String> {
    let model = &request.profile.model;
    let path = model.path.as_deref()?;
    // A folder of its own name says nothing about a repository.
    let repo = if model.repo.contains('/') {
        model.repo.as_str()
    } else {
        "OWNER/NAME"
    };
    Some(format!(
        "the files in {path} are served as they are: dsr1 weights verify {repo} --local-dir {path} compares them with a hub"
    ))
}

/// Returns the reason why the folder cannot be served, if it was looked at.
pub(super) fn blocker(request: &ServeRequest, facts: &Facts) -> Option<Blocker> {
    let path = request.profile.model.path.as_deref()?;
    let folder = facts.folders.get(path)?;
    let outside = folder
        .outside
        .as_ref()
        .filter(|_| request.target == Target::Docker);
    let (kind, cause, hint) = match (folder.wrong.first(), outside) {
        (Some(wrong), _) => (
            Kind::Integrity,
            wrong.clone(),
            "name the folder of the model, copy the files again, or name a repository, which dsr1 pulls"
                .to_owned(),
        ),
        (None, Some(link)) => (
            Kind::Host,
            format!("`{link}` is a link to a file outside of it, which a container does not see"),
            "name the folder that holds the files themselves, or use --runtime process".to_owned(),
        ),
        (None, None) => return None,
    };
    Some(Blocker {
        kind,
        message: format!("the weights in `{path}` cannot be served"),
        cause,
        hint,
    })
}
