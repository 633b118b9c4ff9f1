//! Renders the Dockerfile of a stack. No other module uses tera.
//!
//! Every value is checked against a narrow alphabet or quoted before it is written (`words`), so that a stack file
//! cannot add an instruction. Not in this module tree: building (`effects::docker`), choosing what to build
//! (`install`).

#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use serde::Serialize;
use tera::{Context, Tera};
use words::{apt_packages, check_alphabet, check_file_name, check_url, label_pair, wrong_value};
pub(super) use words::{check_image_name, check_tag};

use super::{Builder, Flashinfer, ImageChoice, Recipe, SECRET_CA};
use crate::error::{At, Error, Kind, Result};
use crate::profile::{Architecture, Repository, Requirement, SourceBuild, Stack};

const NAME: &str = "Dockerfile.tera";
const TEMPLATE: &str = include_str!("../../../Dockerfile.tera");

/// Flags of every installation. `--no-deps` keeps out every package that is not in the list.
const PIP: &str =
    "--no-deps --no-input --disable-pip-version-check --progress-bar=off --root-user-action=ignore";

/// Command and flags of every installation by uv. `--no-deps` keeps out every package that is not in the list.
const UV: &str = "pip install --no-config --no-python-downloads --no-progress --no-deps --compile-bytecode";

/// A rendered build context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// The Dockerfile.
    pub(super) dockerfile: String,
    /// The other files: relative path to text.
    pub(super) files: BTreeMap<String, String>,
}

/// The method of a build: everything that may differ between two builds of the same image.
#[derive(Debug, Clone, Default)]
pub(super) struct BuildMethod<'a> {
    /// The builder.
    pub(super) builder: Builder,
    /// Ids of the available secrets.
    pub(super) secrets: Vec<&'a str>,
    /// True if packages come from the build context instead of an index.
    pub(super) wheels: bool,
    /// True if no step may use the network.
    pub(super) offline: bool,
    /// A step that runs again with every step after it, and a word that no earlier build used.
    pub(super) refresh: Option<(&'a str, &'a str)>,
}

/// The fields of [`BuildMethod`] for the template.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the template")]
struct MethodContext<'a> {
    classic: bool,
    wheels: bool,
    offline: bool,
    ca: bool,
    /// The options of each secret mount.
    secrets: Vec<String>,
    pip_env: String,
    git_env: String,
    pip_flags: String,
    uv_env: String,
    uv_flags: &'a str,
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
            uv_env: uv_env(&method.secrets, method.builder),
            uv_flags: UV,
            refresh,
            token,
        }
    }
}

/// A layer of packages.
#[derive(Serialize)]
struct PackageLayer {
    /// Name for `--refresh`, and of the context directory with its `requirements.txt`.
    step: String,
    /// Flags for pip.
    flags: String,
}

/// The inputs of the guide's steps.
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
/// [`Kind::Usage`] for an invalid value, and for a choice that the stack does not support.
pub(super) fn render(
    stack: &Stack,
    base: &str,
    choice: &ImageChoice,
    method: &BuildMethod<'_>,
    labels: &BTreeMap<String, String>,
) -> Result<Rendered> {
    let install = &stack.install;
    check_image_name(base)?;
    check_alphabet("python", &stack.image_python, |c| {
        c.is_ascii_alphanumeric() || "._-/".contains(c)
    })?;
    let apt = apt_packages(&install.apt, choice.base.is_some() || method.offline)?;
    for path in install.files.keys() {
        check_file_name(path)?;
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
    // Wheels and a configuration of pip are for pip.
    let uses_uv = !venv.is_empty()
        && install.installer.is_some()
        && !method.wheels
        && !method.secrets.contains(&"pip_conf");
    context.insert("uv", &uses_uv);
    context.insert("groups", &groups);
    context.insert("replaced", &replaced);
    context.insert("files", &(source.is_none() && !install.files.is_empty()));
    context.insert("python", &stack.image_python);
    context.insert(
        "user",
        &install.user.map_or_else(String::new, |user| user.to_string()),
    );
    context.insert("flashinfer", choice.flashinfer().name());
    // The server compiles for these GPUs only: that takes as long as in a build, and a server has the stack's GPUs.
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
            .map(|(key, value)| label_pair(key, value))
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

/// Returns the layers of packages and the context files. The guide's recipe names its layers in the template.
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
        if let Some(installer) = &install.installer {
            layer("uv", std::slice::from_ref(installer), "");
        }
        match (choice.flashinfer(), &stack.flashinfer.prebuilt) {
            (Flashinfer::Base, _) => {}
            (Flashinfer::Jit, _) if !stack.flashinfer.jit.is_empty() => {
                groups.push(layer("flashinfer", &stack.flashinfer.jit, ""));
            }
            (Flashinfer::Prebuilt, Some(prebuilt)) => {
                check_url("index of packages", &prebuilt.index)?;
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

/// Returns the directory of the stack's venv; empty without one.
fn venv(stack: &Stack) -> Result<&str> {
    match (
        stack.install.venv,
        stack.image_python.strip_suffix("/bin/python3"),
    ) {
        (true, Some(dir)) if dir.starts_with('/') => Ok(dir),
        (true, _) => {
            Err(wrong_value("python", &stack.image_python).hint("the python of a venv ends in /bin/python3"))
        }
        (false, _) => Ok(""),
    }
}

/// Returns the names of the steps for `--refresh`, in their order.
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
    if stack.install.venv && stack.install.installer.is_some() {
        found.extend(names(&["uv"]));
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

/// Returns the pins of the guide's recipe, if that recipe is chosen.
fn source<'a>(stack: &'a Stack, choice: &ImageChoice) -> Result<Option<&'a SourceBuild>> {
    if choice.recipe == Recipe::Thin {
        return match choice.flashinfer() {
            Flashinfer::Aot => Err(Error::new(
                Kind::Usage,
                "only the guide's recipe compiles FlashInfer during a build",
            )
            .hint("pass --recipe guide --flashinfer aot")),
            _ => Ok(None),
        };
    }
    let Some(source) = &stack.source else {
        return Err(Error::new(
            Kind::Usage,
            format!("stack `{}` does not support the guide's recipe", stack.name),
        )
        .cause("its file has no `source`")
        .hint("pass --stack guide, or leave out --recipe guide"));
    };
    if choice.flashinfer() == Flashinfer::Prebuilt {
        return Err(not_offered(stack, Flashinfer::Prebuilt));
    }
    apt_packages(&source.apt, false)?;
    for repository in [&source.lm_eval.repository, &source.flashinfer] {
        check_url("git repository", &repository.url)?;
        let commit = &repository.commit;
        if commit.len() != 40 || !commit.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(
                wrong_value("commit", commit).hint("write all 40 hex digits: a branch or a tag can move")
            );
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
            "stack `{}` does not support --flashinfer {} with this recipe",
            stack.name,
            kernels.name()
        ),
    )
    .hint(format!("it supports: {}", offered.join(", ")))
}

fn requirements_file(requirements: &[Requirement]) -> String {
    requirements.iter().map(|one| one.line() + "\n").collect()
}

/// Returns the flags for a list of packages. pip accepts hashes for all packages of a list or for none.
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

/// Returns the architectures for nvcc. `a` selects the instructions of exactly this architecture, which the kernels
/// use.
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

/// Returns the mount options of a secret.
fn mount(id: &str) -> String {
    match id {
        // git looks for this name in its HOME. A target elsewhere would leave an empty file in the layer.
        "netrc" => "id=netrc,target=/run/secrets/.netrc,required=true".to_owned(),
        _ => format!("id={id},required=true"),
    }
}

/// Returns the variables of pip's steps. Debian and Ubuntu mark their Python as externally managed; in an image no
/// other tool manages it.
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

/// Returns the variables of uv's steps.
fn uv_env(secrets: &[&str], builder: Builder) -> String {
    let mut env = String::new();
    for id in secrets {
        env.push_str(match (*id, builder) {
            (SECRET_CA, Builder::Buildkit) => "SSL_CERT_FILE=/run/secrets/ca ",
            (SECRET_CA, Builder::Classic) => "SSL_CERT_FILE=/run/ca/ca ",
            ("netrc", _) => "NETRC=/run/secrets/.netrc ",
            _ => "",
        });
    }
    env
}

/// Returns the title of a step of the build, from the name that the builder gives it: its instruction. `None` for other
/// steps, whose names say enough.
#[must_use]
pub fn step_title(name: &str) -> Option<String> {
    let after = |text| name.split_once(text).map(|(_, rest): (&str, &str)| rest);
    let is_list = name.contains("COPY pip/");
    // BuildKit mounts the list of a layer, the classic builder copies it first.
    let layer = after("source=pip/")
        .or_else(|| after("COPY pip/"))
        .or_else(|| after("/run/dsr1/pip/"))
        .and_then(|rest| rest.split([',', ' ', '/']).next());
    let title = match layer {
        Some(layer) if is_list => format!("list of packages, layer {layer}"),
        Some("uv") => "uv, the installer".to_owned(),
        Some(layer) => format!("packages, layer {layer}"),
        None if name.contains("apt-get update") => "Debian packages".to_owned(),
        None if name.contains("-m venv") => "venv".to_owned(),
        None if name.contains("source=site") || name.contains("COPY site") => "files of the stack".to_owned(),
        None if name.contains("useradd") => "user".to_owned(),
        None => return None,
    };
    // `[stage-0 4/8]` stays.
    let number = name.split_once("] ").filter(|(start, _)| start.starts_with('['));
    Some(number.map_or_else(|| title.clone(), |(number, _)| format!("{number}] {title}")))
}

/// Returns the variables of git's steps.
fn git_env(secrets: &[&str]) -> String {
    let variable = |id: &&str| match *id {
        SECRET_CA => "GIT_SSL_CAINFO=/run/secrets/ca ",
        "netrc" => "HOME=/run/secrets ",
        _ => "",
    };
    secrets.iter().map(variable).collect()
}
