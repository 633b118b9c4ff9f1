//! Renders the Dockerfile of a stack. The only home of tera.
//!
//! Whatever goes into the text is checked against a narrow alphabet first, or quoted: a stack file must not be
//! able to add an instruction (`words`). Not in this module: building (`effects::docker`), what is chosen (`install`).

#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use serde::Serialize;
use tera::{Context, Tera};
use words::{check, file_name, label, packages, url, wrong};
pub(super) use words::{image_name, tag_name};

use super::{Builder, Flashinfer, ImageChoice, Recipe, SECRET_CA};
use crate::error::{At, Error, Kind, Result};
use crate::profile::{Architecture, Repository, Requirement, SourceBuild, Stack};

const NAME: &str = "Dockerfile.tera";
const TEMPLATE: &str = include_str!("../../../Dockerfile.tera");

/// Flags of every installation: what is not in the list does not come.
const PIP: &str =
    "--no-deps --no-input --disable-pip-version-check --progress-bar=off --root-user-action=ignore";

/// A rendered build context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// Text of the Dockerfile.
    pub(super) dockerfile: String,
    /// Files beside it: relative path to text.
    pub(super) files: BTreeMap<String, String>,
}

/// The method of a build: everything that may differ between two builds of the same image.
#[derive(Debug, Clone, Default)]
pub(super) struct BuildMethod<'a> {
    /// The builder.
    pub(super) builder: Builder,
    /// Ids of the secrets that there are.
    pub(super) secrets: Vec<&'a str>,
    /// Whether packages come from the context instead of an index.
    pub(super) wheels: bool,
    /// Whether no step may use the network.
    pub(super) offline: bool,
    /// A step that runs again with all behind it, and a word that was never there before.
    pub(super) refresh: Option<(&'a str, &'a str)>,
}

/// [`BuildMethod`] as the template takes it.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the template")]
struct MethodContext<'a> {
    classic: bool,
    wheels: bool,
    offline: bool,
    ca: bool,
    /// Options of a secret mount.
    secrets: Vec<String>,
    pip_env: String,
    git_env: String,
    pip_flags: String,
    refresh: &'a str,
    token: &'a str,
}

impl<'a> MethodContext<'a> {
    fn new(method: &'a BuildMethod<'_>) -> Self {
        let (refresh, token) = method.refresh.unwrap_or_default();
        let index = if method.wheels {
            " --no-index --find-links /run/wheels"
        } else {
            ""
        };
        Self {
            classic: method.builder == Builder::Classic,
            wheels: method.wheels,
            offline: method.offline,
            ca: method.secrets.contains(&SECRET_CA),
            secrets: method.secrets.iter().map(|id| mount(id)).collect(),
            pip_env: pip_env(&method.secrets, method.builder),
            git_env: git_env(&method.secrets),
            pip_flags: format!("{PIP}{index}"),
            refresh,
            token,
        }
    }
}

/// A layer of packages.
#[derive(Serialize)]
struct PackageLayer {
    /// Its name: of `--refresh`, and of the directory of the context with its `requirements.txt`.
    step: String,
    /// Flags of pip.
    flags: String,
}

/// The guide's steps.
#[derive(Serialize)]
struct SourceContext<'a> {
    apt: &'a [String],
    lm_eval: &'a Repository,
    flashinfer: &'a Repository,
    gpus: String,
    flags: String,
    build_flags: String,
}

/// Renders a stack on a base image.
///
/// # Errors
/// [`Kind::Usage`] for a value that is not what its place takes, and for a choice that the stack does not offer.
pub(super) fn render(
    stack: &Stack,
    base: &str,
    choice: &ImageChoice,
    method: &BuildMethod<'_>,
    labels: &BTreeMap<String, String>,
) -> Result<Rendered> {
    let install = &stack.install;
    image_name(base)?;
    check("python", &stack.image_python, |c| {
        c.is_ascii_alphanumeric() || "._-/".contains(c)
    })?;
    let apt = packages(&install.apt, choice.base.is_some() || method.offline)?;
    for path in install.files.keys() {
        file_name(path)?;
    }
    let venv = venv(stack)?;
    let source = source(stack, choice)?;
    let (groups, files) = layers(stack, choice, source)?;
    let gpus = architectures(&stack.architectures);
    let replaced: Vec<&str> = install.packages().map(Requirement::name).collect();
    let mut context = Context::new();
    context.insert("base", base);
    context.insert("apt", &apt);
    context.insert("venv", venv);
    context.insert("groups", &groups);
    context.insert("replaced", &replaced);
    context.insert("files", &(source.is_none() && !install.files.is_empty()));
    context.insert("python", &stack.image_python);
    context.insert(
        "user",
        &install.user.map_or_else(String::new, |user| user.to_string()),
    );
    context.insert("flashinfer", choice.flashinfer().name());
    // Compiling on the server takes as long as here, and a server's GPUs are the stack's.
    context.insert(
        "gpus_at_run",
        if choice.flashinfer() == Flashinfer::Jit {
            gpus.as_str()
        } else {
            ""
        },
    );
    context.insert(
        "source",
        &source.map(|source| {
            let flags = |requirements: &[Requirement]| flags(requirements, "");
            SourceContext {
                apt: &source.apt,
                lm_eval: &source.lm_eval.repository,
                flashinfer: &source.flashinfer,
                gpus: gpus.clone(),
                flags: flags(&source.pip),
                build_flags: format!(
                    "{} --no-build-isolation --no-binary :all:",
                    flags(std::slice::from_ref(&source.sglang))
                ),
            }
        }),
    );
    context.insert("method", &MethodContext::new(method));
    context.insert(
        "labels",
        &labels
            .iter()
            .map(|(key, value)| label(key, value))
            .collect::<Result<Vec<_>>>()?,
    );
    let failed = || "cannot render Dockerfile.tera".to_owned();
    let mut tera = Tera::default();
    tera.add_raw_template(NAME, TEMPLATE).at(Kind::Internal, failed)?;
    let dockerfile = tera.render(NAME, &context).at(Kind::Internal, failed)?;
    Ok(Rendered {
        dockerfile: dockerfile.trim_start().to_owned(),
        files,
    })
}

/// The layers of packages, and the files of the context; the guide's recipe names its layers itself.
fn layers(
    stack: &Stack,
    choice: &ImageChoice,
    source: Option<&SourceBuild>,
) -> Result<(Vec<PackageLayer>, BTreeMap<String, String>)> {
    let install = &stack.install;
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut layer = |name: &str, requirements: &[Requirement], index: &str| {
        files.insert(
            format!("pip/{name}/requirements.txt"),
            requirements_file(requirements),
        );
        PackageLayer {
            step: name.to_owned(),
            flags: flags(requirements, index),
        }
    };
    let mut groups = Vec::new();
    if let Some(source) = source {
        for (name, requirements) in [
            ("tools", source.pip.as_slice()),
            ("lm-eval", &source.lm_eval.requirements),
            ("sglang", std::slice::from_ref(&source.sglang)),
            ("cudnn", std::slice::from_ref(&source.cudnn)),
            ("clients", &source.clients),
        ] {
            layer(name, requirements, "");
        }
    } else {
        for (index, requirements) in install.requirements.iter().enumerate() {
            groups.push(layer(&(index + 1).to_string(), requirements, ""));
        }
        match (choice.flashinfer(), &stack.flashinfer.prebuilt) {
            (Flashinfer::Base, _) => {}
            (Flashinfer::Jit, _) if !stack.flashinfer.jit.is_empty() => {
                groups.push(layer("flashinfer", &stack.flashinfer.jit, ""));
            }
            (Flashinfer::Prebuilt, Some(prebuilt)) => {
                url("index of packages", &prebuilt.index)?;
                groups.push(layer("flashinfer", &prebuilt.requirements, &prebuilt.index));
            }
            (other, _) => return Err(not_offered(stack, other)),
        }
        if !install.files.is_empty() {
            let texts = install.files.iter();
            files.extend(texts.map(|(path, text)| (format!("site/{path}"), text.clone())));
        }
    }
    Ok((groups, files))
}

/// Directory of the stack's venv; empty without one.
fn venv(stack: &Stack) -> Result<&str> {
    match (
        stack.install.venv,
        stack.image_python.strip_suffix("/bin/python3"),
    ) {
        (true, Some(dir)) if dir.starts_with('/') => Ok(dir),
        (true, _) => Err(wrong("python", &stack.image_python).hint("a venv's python ends in /bin/python3")),
        (false, _) => Ok(""),
    }
}

/// Names of the steps that `--refresh` takes, in their order.
pub(super) fn steps(stack: &Stack, choice: &ImageChoice) -> Vec<String> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    if choice.recipe == Recipe::Guide {
        return names(&[
            "apt",
            "tools",
            "lm-eval",
            "sglang",
            "flashinfer",
            "cudnn",
            "clients",
        ]);
    }
    let mut found = Vec::new();
    if !stack.install.apt.is_empty() {
        found.extend(names(&["apt"]));
    }
    found.extend((1..=stack.install.requirements.len()).map(|number| number.to_string()));
    if choice.flashinfer() != Flashinfer::Base {
        found.extend(names(&["flashinfer"]));
    }
    if !stack.install.files.is_empty() {
        found.extend(names(&["files"]));
    }
    found
}

/// What the guide's recipe is pinned to, when it is chosen.
fn source<'a>(stack: &'a Stack, choice: &ImageChoice) -> Result<Option<&'a SourceBuild>> {
    if choice.recipe == Recipe::Thin {
        return match choice.flashinfer() {
            Flashinfer::Aot => Err(Error::new(
                Kind::Usage,
                "FlashInfer is compiled during a build by the guide's recipe only",
            )
            .hint("--recipe guide --flashinfer aot")),
            _ => Ok(None),
        };
    }
    let Some(source) = &stack.source else {
        return Err(Error::new(
            Kind::Usage,
            format!("stack `{}` has no guide's recipe", stack.name),
        )
        .cause("its file has no `source`")
        .hint("--stack guide has it; the thin recipe is made of the official image"));
    };
    if choice.flashinfer() == Flashinfer::Prebuilt {
        return Err(not_offered(stack, Flashinfer::Prebuilt));
    }
    packages(&source.apt, false)?;
    for repository in [&source.lm_eval.repository, &source.flashinfer] {
        url("git repository", &repository.url)?;
        let commit = &repository.commit;
        if commit.len() != 40 || !commit.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(wrong("commit", commit).hint("40 hex digits: a branch or a tag moves"));
        }
    }
    Ok(Some(source))
}

fn not_offered(stack: &Stack, kernels: Flashinfer) -> Error {
    let offered: Vec<&str> = [
        (Flashinfer::Base, true),
        (Flashinfer::Prebuilt, stack.flashinfer.prebuilt.is_some()),
        (Flashinfer::Jit, !stack.flashinfer.jit.is_empty()),
        (Flashinfer::Aot, stack.source.is_some()),
    ]
    .iter()
    .filter(|(_, is)| *is)
    .map(|(kernels, _)| kernels.name())
    .collect();
    Error::new(
        Kind::Usage,
        format!(
            "stack `{}` has no --flashinfer {} with this recipe",
            stack.name,
            kernels.name()
        ),
    )
    .hint(format!("it has: {}", offered.join(", ")))
}

fn requirements_file(requirements: &[Requirement]) -> String {
    requirements.iter().map(|one| one.line() + "\n").collect()
}

/// Flags for a list of packages. pip takes hashes for all of a list or for none.
fn flags(requirements: &[Requirement], index: &str) -> String {
    let mut flags = String::new();
    if !index.is_empty() {
        flags.push_str(" --index-url ");
        flags.push_str(index);
    }
    if requirements.iter().all(Requirement::is_hashed) {
        flags.push_str(" --require-hashes");
    }
    flags
}

/// What nvcc is told to compile for. `a`: with the instructions of this architecture alone, which the kernels use.
fn architectures(architectures: &[Architecture]) -> String {
    let names: Vec<&str> = architectures
        .iter()
        .map(|one| match one {
            Architecture::Hopper => "9.0a",
            Architecture::Blackwell => "10.0a",
        })
        .collect();
    names.join(" ")
}

/// Where a secret is mounted.
fn mount(id: &str) -> String {
    match id {
        // Named as git wants it in its HOME. A target elsewhere would leave an empty file in the layer.
        "netrc" => "id=netrc,target=/run/secrets/.netrc,required=true".to_owned(),
        _ => format!("id={id},required=true"),
    }
}

/// Variables of pip's steps. Debian and Ubuntu mark their Python as managed; in an image nobody else manages it.
fn pip_env(secrets: &[&str], builder: Builder) -> String {
    let mut env = "PIP_BREAK_SYSTEM_PACKAGES=1 ".to_owned();
    for id in secrets {
        env.push_str(match (*id, builder) {
            (SECRET_CA, Builder::Buildkit) => "PIP_CERT=/run/secrets/ca ",
            (SECRET_CA, Builder::Classic) => "PIP_CERT=/run/ca/ca ",
            ("netrc", _) => "NETRC=/run/secrets/.netrc ",
            ("pip_conf", _) => "PIP_CONFIG_FILE=/run/secrets/pip_conf ",
            _ => "",
        });
    }
    env
}

/// Variables of git's steps.
fn git_env(secrets: &[&str]) -> String {
    let of = |id: &&str| match *id {
        SECRET_CA => "GIT_SSL_CAINFO=/run/secrets/ca ",
        "netrc" => "HOME=/run/secrets ",
        _ => "",
    };
    secrets.iter().map(of).collect()
}
