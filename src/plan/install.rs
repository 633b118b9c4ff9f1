//! Plans the software: a venv on this host or an image.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{
    Blocker, BuildImage, BuildSecret, Builder, CreateVenv, LABEL_INPUTS, LABEL_ROLE, LABEL_STACK, Plan,
    SECRET_CA, SecretSource, Step, checks, dockerfile,
};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::profile::{Accelerator, Stack};
use crate::units::{Bytes, hex};

/// Which runtime a stack is installed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An image, for containers.
    Docker,
    /// A venv, for child processes.
    Process,
}

impl Target {
    /// The spelling on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }
}

/// What `dsr1 build` was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// The stack.
    pub stack: Stack,
    /// Where it goes.
    pub target: Target,
    /// Base image to use instead of the stack's.
    pub base_image: Option<String>,
    /// How an image is built.
    pub options: BuildOptions,
}

/// How an image is built. None of it changes what is in the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct BuildOptions {
    /// The builder; `None` takes what the daemon has.
    pub builder: Option<Builder>,
    /// What steps may read and no layer keeps, besides the site's CA bundle.
    pub secrets: Vec<BuildSecret>,
    /// Directory of this host with the wheels of all requirements, instead of an index.
    pub wheels: Option<String>,
    /// No step may use the network.
    pub offline: bool,
    /// Build every step again.
    pub no_cache: bool,
    /// Ask the base's registry even when the daemon has the base.
    pub pull: bool,
    /// More tags for the same image.
    pub tags: Vec<String>,
    /// Whether those go to their registries.
    pub push: bool,
    /// Images whose layers may be used instead of building them.
    pub cache_from: Vec<String>,
    /// Names of variables of the environment that are handed on as build arguments: proxies.
    pub inherited_args: Vec<String>,
}

/// Chooses the runtime when the user left it open, with the reason in words.
///
/// Docker when a daemon answers and the base image is there (or, for a GPU stack, in any case); else process.
///
/// # Errors
/// [`Kind::Usage`] when `asked` cannot run the stack; [`Kind::Docker`] when only Docker can and none answers.
pub fn install_target(
    asked: Option<Target>,
    stack: &Stack,
    base_image: Option<&str>,
    facts: &Facts,
) -> Result<(Target, Option<String>)> {
    let base = base_image.map_or_else(|| stack.base_reference(), str::to_owned);
    match asked {
        Some(Target::Process) if !stack.process_runtime => Err(Error::new(
            Kind::Usage,
            format!("stack `{}` runs in Docker only", stack.name),
        )
        .hint("leave out --runtime process, or choose --profile rehearsal")),
        Some(target) => Ok((target, None)),
        None if stack.accelerator == Accelerator::Cuda => Ok((Target::Docker, None)),
        None if !facts.docker.answers() => {
            let why = facts
                .docker
                .unreachable
                .as_deref()
                .unwrap_or("Docker was not asked");
            Ok((Target::Process, Some(format!("runtime process: {why}"))))
        }
        None if has_image(
            &BuildRequest {
                stack: stack.clone(),
                target: Target::Docker,
                base_image: base_image.map(str::to_owned),
                options: BuildOptions::default(),
            },
            facts,
        ) =>
        {
            Ok((
                Target::Docker,
                Some("runtime docker: a daemon answers and the image is built".to_owned()),
            ))
        }
        None if facts.docker.images.contains_key(&base) => Ok((
            Target::Docker,
            Some("runtime docker: a daemon answers and the base image is there".to_owned()),
        )),
        None if facts.docker.pullable.contains(&base) => Ok((
            Target::Docker,
            Some("runtime docker: a daemon answers and can pull the base image".to_owned()),
        )),
        None => Ok((
            Target::Process,
            Some(format!(
                "runtime process: a Docker daemon answers, but `{base}` is not there and cannot be pulled"
            )),
        )),
    }
}

/// Plans the installation of a stack.
///
/// # Errors
/// [`Kind::Host`] when Python, disk or memory lack; [`Kind::Usage`] when the stack does not fit this platform.
pub fn build(request: &BuildRequest, facts: &Facts) -> Result<Plan> {
    let mut plan = Plan::new("build", vec![step(request, facts)?]);
    plan.blockers.extend(blocker(request, facts)?);
    Ok(plan)
}

/// The disk for the install, unless it is there already.
pub(super) fn blocker(request: &BuildRequest, facts: &Facts) -> Result<Option<Blocker>> {
    let stack = &request.stack;
    Ok(match request.target {
        Target::Process => {
            let venv = create_venv(stack, facts)?;
            if facts.paths.ready_venvs.contains(&venv.dir) {
                return Ok(None);
            }
            checks::disk(
                facts,
                &facts.paths.cache,
                stack.install_bytes,
                "the engine's packages",
                "XDG_CACHE_HOME",
            )
        }
        Target::Docker => {
            let free = facts
                .docker
                .root_free_bytes
                .filter(|free| *free < stack.install_bytes);
            free.filter(|_| !has_image(request, facts)).map(|free| Blocker {
                message: format!(
                    "not enough disk for the image at `{}`",
                    facts.docker.root_dir.as_deref().unwrap_or("Docker's root")
                ),
                cause: format!("need {}, {} free", Bytes(stack.install_bytes), Bytes(free)),
                hint: "docker system df shows what takes the space".to_owned(),
            })
        }
    })
}

/// The one step that makes the engine: an image or a venv.
///
/// # Errors
/// [`Kind::Host`] without a Python or a base image to plan with.
pub fn step(request: &BuildRequest, facts: &Facts) -> Result<Step> {
    match request.target {
        Target::Process => create_venv(&request.stack, facts).map(Step::CreateVenv),
        Target::Docker => build_image(request, facts).map(Step::BuildImage),
    }
}

/// The venv of a stack. Its directory carries the inputs digest, so a changed pin is another venv.
pub(super) fn create_venv(stack: &Stack, facts: &Facts) -> Result<CreateVenv> {
    let python = checks::python(facts)?;
    let inputs = digest(&[
        ("stack", &stack.name),
        ("python", &python.version),
        ("requirements", &stack.install.requirements.join("\n")),
        (
            "files",
            &serde_json::to_string(&stack.install.files).unwrap_or_default(),
        ),
    ]);
    Ok(CreateVenv {
        stack: stack.name.clone(),
        python: python.path.clone(),
        dir: format!("{}/venvs/{}-{}", facts.paths.cache, stack.name, &inputs[..12]),
        requirements: stack.install.requirements.clone(),
        files: stack.install.files.clone(),
        inputs,
        install_bytes: stack.install_bytes,
    })
}

/// The tag that a stack's image gets.
///
/// # Errors
/// [`Kind::Usage`] when the stack cannot be rendered.
pub fn image_tag(request: &BuildRequest, facts: &Facts) -> Result<String> {
    build_image(request, facts).map(|step| step.tag)
}

/// The image of a stack. Its tag carries the inputs digest, so a changed pin is another image.
pub(super) fn build_image(request: &BuildRequest, facts: &Facts) -> Result<BuildImage> {
    let stack = &request.stack;
    checks::platform(stack, facts)?;
    let base = request
        .base_image
        .clone()
        .unwrap_or_else(|| stack.base_reference());
    let mut labels = BTreeMap::from([
        (LABEL_ROLE.to_owned(), "image".to_owned()),
        (LABEL_STACK.to_owned(), stack.name.clone()),
        (
            "org.opencontainers.image.title".to_owned(),
            format!("dsr1 {}", stack.name),
        ),
        (
            "org.opencontainers.image.version".to_owned(),
            stack.pins.sglang.to_string(),
        ),
        ("org.opencontainers.image.base.name".to_owned(), base.clone()),
    ]);
    let options = &request.options;
    let mut secrets: Vec<BuildSecret> = facts
        .paths
        .ca_bundle
        .iter()
        .map(|path| BuildSecret {
            id: SECRET_CA.to_owned(),
            source: SecretSource::File(path.clone()),
        })
        .collect();
    let ca = !secrets.is_empty();
    secrets.extend(options.secrets.iter().cloned());
    let draft = dockerfile::render(stack, &base, false, &labels)?;
    let inputs = digest(&[
        ("dockerfile", &draft.dockerfile),
        ("files", &serde_json::to_string(&draft.files).unwrap_or_default()),
    ]);
    labels.insert(LABEL_INPUTS.to_owned(), inputs.clone());
    let rendered = dockerfile::render(stack, &base, ca, &labels)?;
    Ok(BuildImage {
        stack: stack.name.clone(),
        tag: format!("dsr1/{}:{}-{}", stack.name, stack.pins.sglang, &inputs[..12]),
        also: options.tags.clone(),
        push: options.push,
        base,
        builder: options.builder.unwrap_or_default(),
        platform: facts.host.platform.clone(),
        dockerfile: rendered.dockerfile,
        files: rendered.files,
        wheels: options.wheels.clone(),
        secrets,
        args: BTreeMap::new(),
        inherited_args: options.inherited_args.clone(),
        labels,
        network: if options.offline {
            "none"
        } else {
            stack.network.name()
        }
        .to_owned(),
        no_cache: options.no_cache,
        pull: options.pull,
        cache_from: options.cache_from.clone(),
        inputs,
        install_bytes: stack.install_bytes,
    })
}

/// Whether the image of a stack is built already.
pub(super) fn has_image(request: &BuildRequest, facts: &Facts) -> bool {
    image_tag(request, facts).is_ok_and(|tag| facts.docker.images.contains_key(&tag))
}

/// SHA-256 over named parts, in hex; each part's length is hashed too, so parts cannot run together.
pub(super) fn digest(parts: &[(&str, &String)]) -> String {
    let mut hash = Sha256::new();
    for (name, value) in parts {
        hash.update(format!("{name}:{}:", value.len()));
        hash.update(value);
    }
    hex(&hash.finalize())
}
