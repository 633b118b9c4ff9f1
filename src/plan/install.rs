//! Plans the installation of the software that runs an engine: a venv on this host, or an image.

use std::collections::BTreeMap;

use crate::doctor::{Blocker, blockers};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::digest::digest;
use crate::plan::dockerfile::BuildMethod;
use crate::plan::environment::{self, FOUND};
use crate::plan::request::{ServeRequest, Target};
use crate::plan::{
    BuildImage, BuildSecret, Builder, CheckEnvironment, CreateVenv, Flashinfer, ImageChoice,
    LABEL_BASE_DIGEST, LABEL_INPUTS, LABEL_ROLE, LABEL_STACK, Plan, Recipe, SECRET_CA, SECRETS, SecretSource,
    Step, dockerfile,
};
use crate::profile::{Accelerator, Requirement, Stack};
use crate::units::Bytes;

/// The request of `dsr1 build`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// The stack.
    pub stack: Stack,
    /// The runtime that the stack is installed for.
    pub target: Target,
    /// The contents of an image.
    pub image: ImageChoice,
    /// Options of the build.
    pub options: BuildOptions,
    /// Variables that the engine gets beside those of its flags.
    pub variables: BTreeMap<String, String>,
}

impl BuildRequest {
    /// A request with the default options.
    #[must_use]
    pub fn new(stack: Stack, target: Target, image: ImageChoice) -> Self {
        Self {
            stack,
            target,
            image,
            options: BuildOptions::default(),
            variables: BTreeMap::new(),
        }
    }

    /// A request for the software that a server runs on.
    #[must_use]
    pub fn for_server(request: &ServeRequest) -> Self {
        Self {
            variables: request.all_variables(),
            ..Self::new(request.stack.clone(), request.target, request.image.clone())
        }
    }
}

/// Options of an image's build. None of them changes what is in the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct BuildOptions {
    /// The builder; `None` is the best one that the daemon has.
    pub builder: Option<Builder>,
    /// Secrets that steps may read and no layer keeps, besides the site's CA bundle.
    pub secrets: Vec<BuildSecret>,
    /// Directory of this host with the wheels of all requirements; it replaces the package index.
    pub wheels: Option<String>,
    /// True if no step may use the network.
    pub offline: bool,
    /// True if every step is built again.
    pub no_cache: bool,
    /// True if the base's registry is asked even if the daemon has the base.
    pub pull: bool,
    /// Additional tags for the same image.
    pub tags: Vec<String>,
    /// True if the additional tags are pushed to their registries.
    pub push: bool,
    /// True if the image carries the cache data that a build elsewhere needs to reuse its layers.
    pub inline_cache: bool,
    /// A step that runs again with every step after it, and a word that no earlier build used.
    pub refresh: Option<(String, String)>,
    /// Images whose layers may be reused.
    pub cache_from: Vec<String>,
}

/// Returns the runtime, with the reason in words if the user left the choice to dsr1.
///
/// The choice is Docker for every GPU stack. For a CPU stack it is what is ready: an image, then a venv; else Docker if a
/// daemon answers and has or can pull the base image; otherwise process.
///
/// # Errors
/// [`Kind::Usage`] if the runtime `asked` cannot run the stack.
pub fn install_target(
    asked: Option<Target>,
    stack: &Stack,
    image: &ImageChoice,
    facts: &Facts,
) -> Result<(Target, Option<String>)> {
    let base = base_image(stack, image, facts);
    match asked {
        Some(Target::Docker) if stack.name == FOUND => Err(Error::new(
            Kind::Usage,
            "--python and --runtime docker contradict each other",
        )
        .cause("an environment of this host runs as a process")
        .hint("leave out one of them")),
        _ if stack.name == FOUND => Ok((Target::Process, None)),
        Some(Target::Process) if !stack.process_runtime => {
            Err(
                Error::new(Kind::Usage, format!("stack `{}` runs in Docker only", stack.name)).hint(format!(
                    "{} runs the SGLang that is there; or leave out --runtime process",
                    facts.host.python_option()
                )),
            )
        }
        Some(target) => Ok((target, None)),
        None if stack.accelerator == Accelerator::Cuda => Ok((Target::Docker, None)),
        // With a daemon, too, what is ready would be used, unless an image is.
        None if !facts.docker.answers() && has_venv(stack, image, facts) => Ok((Target::Process, None)),
        None if !facts.docker.answers() => {
            let why = facts
                .docker
                .unreachable
                .as_deref()
                .unwrap_or("Docker was not checked");
            Ok((Target::Process, Some(format!("runtime process: {why}"))))
        }
        None if is_installed(
            &BuildRequest::new(stack.clone(), Target::Docker, image.clone()),
            facts,
        ) =>
        {
            Ok((
                Target::Docker,
                Some("runtime docker: a daemon answers and the image is built".to_owned()),
            ))
        }
        // What is ready starts in seconds, and an image takes minutes to build.
        None if has_venv(stack, image, facts) => Ok((
            Target::Process,
            Some("runtime process: its packages are installed, and an image would be built first".to_owned()),
        )),
        None if facts.docker.images.contains_key(&base) => Ok((
            Target::Docker,
            Some("runtime docker: a daemon answers and the base image is present".to_owned()),
        )),
        None if facts.docker.pullable.contains(&base) => Ok((
            Target::Docker,
            Some("runtime docker: a daemon answers and can pull the base image".to_owned()),
        )),
        None => Ok((
            Target::Process,
            Some(format!(
                "runtime process: a Docker daemon answers, but `{base}` is not present and cannot be pulled"
            )),
        )),
    }
}

/// Returns the base image: the chosen one, or the stack's for this platform.
#[must_use]
pub fn base_image(stack: &Stack, image: &ImageChoice, facts: &Facts) -> String {
    image
        .base
        .clone()
        .unwrap_or_else(|| stack.base_reference(facts.host.platform.as_deref()))
}

/// Plans the installation of a stack.
///
/// # Errors
/// [`Kind::Host`] without a Python to plan with; [`Kind::Usage`] if the stack does not support this platform, or if the
/// options of an image are given for a venv.
pub fn build(request: &BuildRequest, facts: &Facts) -> Result<Plan> {
    let has_image_choice = request.image.recipe != Recipe::default() || request.image.flashinfer.is_some();
    if request.target == Target::Process && (has_image_choice || request.options != BuildOptions::default()) {
        return Err(Error::new(
            Kind::Usage,
            "--no-cache, --pull, --tag and similar options need an image",
        )
        .cause("the runtime is process, which installs a venv")
        .hint("dsr1 build --runtime docker builds an image"));
    }
    let installation = Installation::new(request, facts)?;
    let blocker = installation.blocker(request, facts);
    let mut plan = Plan::new("build", vec![installation.into_step()]);
    plan.blockers.extend(blocker);
    Ok(plan)
}

/// The software that runs an engine, decided once per plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Installation {
    /// A venv on this host.
    Venv(CreateVenv),
    /// An environment of the user.
    Environment(CheckEnvironment),
    /// An image.
    Image(Box<BuildImage>),
}

impl Installation {
    /// Decides the software of a request.
    ///
    /// # Errors
    /// [`Kind::Host`] without a Python or a base image to plan with; [`Kind::Usage`] for a build that is not possible.
    pub(super) fn new(request: &BuildRequest, facts: &Facts) -> Result<Self> {
        match request.target {
            Target::Process if request.stack.name == FOUND => {
                environment::check(&request.variables, facts).map(Self::Environment)
            }
            Target::Process => create_venv(&request.stack, facts).map(Self::Venv),
            Target::Docker => build_image(request, facts).map(|image| Self::Image(Box::new(image))),
        }
    }

    /// The step that makes it.
    pub(super) fn into_step(self) -> Step {
        match self {
            Self::Venv(venv) => Step::CreateVenv(venv),
            Self::Environment(environment) => Step::CheckEnvironment(environment),
            Self::Image(image) => Step::BuildImage(*image),
        }
    }

    /// The Python that runs the engine: absolute, or on PATH in the image.
    pub(super) fn python(&self, stack: &Stack) -> String {
        match self {
            Self::Venv(venv) => format!("{}/bin/python3", venv.dir),
            Self::Environment(environment) => environment.python.clone(),
            Self::Image(_) => stack.image_python.clone(),
        }
    }

    /// True if the host has it already.
    pub(super) fn is_present(&self, facts: &Facts) -> bool {
        match self {
            Self::Venv(venv) => facts.paths.ready_venvs.contains(&venv.dir),
            Self::Environment(_) => true,
            Self::Image(image) => facts.docker.images.contains_key(&image.tag),
        }
    }

    /// A lack of disk or memory for the installation; `None` if it is present.
    pub(super) fn blocker(&self, request: &BuildRequest, facts: &Facts) -> Option<Blocker> {
        if self.is_present(facts) {
            return None;
        }
        let bytes = request.stack.peak_bytes();
        match self {
            Self::Environment(_) => None,
            Self::Venv(_) => blockers::disk(
                facts,
                &facts.paths.cache,
                bytes,
                "the engine's packages",
                "XDG_CACHE_HOME",
            ),
            Self::Image(image) => blockers::base_image(&image.base, facts)
                .or_else(|| compile_blocker(request, facts))
                .or_else(|| {
                    let free = facts.docker.root_free_bytes.filter(|free| *free < bytes)?;
                    Some(Blocker {
                        kind: Kind::Host,
                        message: format!(
                            "not enough disk for the image at `{}`",
                            facts.docker.root_dir.as_deref().unwrap_or("Docker's root")
                        ),
                        cause: format!("{} needed, {} free", Bytes(bytes), Bytes(free)),
                        hint: "docker system df shows what takes the space".to_owned(),
                    })
                }),
        }
    }
}

/// Maximum memory of one nvcc job in bytes (FlashInfer's issues 3634, 3899). `Dockerfile.tera` uses the same number.
const NVCC_BYTES: u64 = 8 << 30;
/// Memory in bytes that a build leaves to the host. `Dockerfile.tera` uses the same number.
const HOST_BYTES: u64 = 16 << 30;

/// A lack of memory to compile kernels: the build would be killed after an hour.
fn compile_blocker(request: &BuildRequest, facts: &Facts) -> Option<Blocker> {
    let compiles = request.image.flashinfer() == Flashinfer::Aot;
    let memory = facts.host.memory_available_bytes.filter(|_| compiles)?;
    (memory < NVCC_BYTES + HOST_BYTES).then(|| Blocker {
        kind: Kind::Host,
        message: "not enough memory to compile FlashInfer's kernels".to_owned(),
        cause: format!(
            "{} needed, {} available",
            Bytes(NVCC_BYTES + HOST_BYTES),
            Bytes(memory)
        ),
        hint: "build on a larger host and copy the image here (dsr1 image save, load), or pass --flashinfer base"
            .to_owned(),
    })
}

/// Returns the step that installs the software: an image or a venv.
///
/// # Errors
/// [`Kind::Host`] without a Python or a base image to plan with.
pub fn step(request: &BuildRequest, facts: &Facts) -> Result<Step> {
    Installation::new(request, facts).map(Installation::into_step)
}

/// Plans the venv of a stack. The name of its directory holds the digest of the inputs, so a changed pin is another
/// venv.
fn create_venv(stack: &Stack, facts: &Facts) -> Result<CreateVenv> {
    let python = blockers::python(facts)?;
    let requirements: Vec<String> = stack.install.packages().map(Requirement::line).collect();
    let inputs = digest(&[
        ("stack", &stack.name),
        ("python", &python.version),
        ("requirements", &requirements.join("\n")),
        (
            "files",
            &serde_json::to_string(&stack.install.files).unwrap_or_default(),
        ),
    ]);
    Ok(CreateVenv {
        stack: stack.name.clone(),
        python: python.path.clone(),
        dir: format!("{}/venvs/{}-{}", facts.paths.cache, stack.name, &inputs[..12]),
        requirements,
        installer: stack.install.installer.as_ref().map(Requirement::line),
        files: stack.install.files.clone(),
        inputs,
        install_bytes: stack.install_bytes,
    })
}

/// Returns the tag of a stack's image.
///
/// # Errors
/// [`Kind::Usage`] if the Dockerfile of the stack cannot be rendered.
pub fn image_tag(request: &BuildRequest, facts: &Facts) -> Result<String> {
    build_image(request, facts).map(|step| step.tag)
}

/// Plans the image of a stack. Its tag holds the digest of the inputs, so a changed pin is another image.
fn build_image(request: &BuildRequest, facts: &Facts) -> Result<BuildImage> {
    let stack = &request.stack;
    blockers::platform(stack, facts)?;
    let options = &request.options;
    check_options(request)?;
    let base = base_image(stack, &request.image, facts);
    let base_digest = stack
        .base_digest(facts.host.platform.as_deref())
        .filter(|_| request.image.base.is_none())
        .or_else(|| facts.docker.digests.get(&base).map(String::as_str));
    let secrets = secrets(options, facts)?;
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
    if let Some(source) = stack
        .source
        .as_ref()
        .filter(|_| request.image.recipe == Recipe::Guide)
    {
        labels.insert(
            "io.dsr1.flashinfer.revision".to_owned(),
            source.flashinfer.commit.clone(),
        );
    }
    let builder = options.builder.unwrap_or(match facts.docker.sessions {
        Some(false) => Builder::Classic,
        _ => Builder::Buildkit,
    });
    // The digest covers the contents and not the build method, so that every method builds the same image.
    let draft = dockerfile::render(stack, &base, &request.image, &BuildMethod::default(), &labels)?;
    let inputs = digest(&[
        ("dockerfile", &draft.dockerfile),
        ("files", &serde_json::to_string(&draft.files).unwrap_or_default()),
    ]);
    labels.insert(LABEL_INPUTS.to_owned(), inputs.clone());
    labels.extend(base_digest.map(|digest| (LABEL_BASE_DIGEST.to_owned(), digest.to_owned())));
    let method = BuildMethod {
        builder,
        secrets: secrets.iter().map(|secret| secret.id.as_str()).collect(),
        wheels: options.wheels.is_some(),
        offline: options.offline,
        refresh: options
            .refresh
            .as_ref()
            .map(|(step, word)| (step.as_str(), word.as_str())),
    };
    let rendered = dockerfile::render(stack, &base, &request.image, &method, &labels)?;
    Ok(BuildImage {
        stack: stack.name.clone(),
        tag: format!("dsr1/{}:{}-{}", stack.name, stack.pins.sglang, &inputs[..12]),
        also: options.tags.clone(),
        push: options.push,
        inline_cache: options.inline_cache,
        base,
        base_digest: base_digest.map(str::to_owned),
        builder,
        platform: facts.host.platform.clone(),
        dockerfile: rendered.dockerfile,
        files: rendered.files,
        wheels: options.wheels.clone(),
        secrets,
        args: BTreeMap::new(),
        inherited_args: facts.paths.proxies.clone(),
        labels,
        network: if options.offline {
            "none"
        } else {
            stack.network.name()
        }
        .to_owned(),
        refresh: options.refresh.as_ref().map(|(step, _)| step.clone()),
        no_cache: options.no_cache,
        pull: options.pull,
        cache_from: options.cache_from.clone(),
        inputs,
        install_bytes: stack.install_bytes,
    })
}

/// Refuses options that the build cannot carry out.
fn check_options(request: &BuildRequest) -> Result<()> {
    let BuildRequest {
        stack,
        image,
        options,
        ..
    } = request;
    let usage = |message: &str| Error::new(Kind::Usage, message);
    for name in &options.cache_from {
        dockerfile::check_image_name(name)?;
    }
    for name in &options.tags {
        dockerfile::check_tag(name)?;
    }
    if options.push && options.tags.is_empty() {
        return Err(usage("--push needs a tag to push")
            .hint("name the destination: --tag registry.example:5000/dsr1:1"));
    }
    if let Some((step, _)) = &options.refresh {
        let steps = dockerfile::steps(stack, image);
        if !steps.contains(step) {
            return Err(usage(&format!("the build has no step `{}`", step.escape_debug()))
                .hint(format!("it has: {}", steps.join(", "))));
        }
    }
    if options.builder == Some(Builder::Classic) {
        if image.recipe == Recipe::Guide {
            return Err(usage("the guide's recipe needs BuildKit").hint("leave out --builder classic"));
        }
        if let Some(secret) = options.secrets.iter().find(|secret| secret.id != SECRET_CA) {
            return Err(usage(&format!(
                "the classic builder cannot keep the secret `{}`",
                secret.id
            ))
            .cause("it has no secret mounts: a file that a step reads stays in a layer")
            .hint("leave out --builder classic"));
        }
        if options.inline_cache {
            return Err(usage("the classic builder does not support an inline cache")
                .hint("leave out --builder classic"));
        }
    }
    let packages = stack.install.packages().count() + stack.flashinfer.jit.len();
    if options.offline && image.recipe == Recipe::Guide {
        return Err(usage("the guide's recipe cannot be built offline")
            .cause("it clones its sources")
            .hint("run dsr1 image save on a host with network access, then dsr1 image load here"));
    }
    if options.offline && options.pull {
        return Err(usage("--offline and --pull contradict each other"));
    }
    if options.offline && options.wheels.is_none() && packages > 0 && !stack.install.requirements.is_empty() {
        return Err(usage(&format!(
            "stack `{}` installs packages, and --offline has no index",
            stack.name
        ))
        .hint("pass --wheels DIR; `pip download -d DIR -r FILE` on another host fills the directory"));
    }
    Ok(())
}

/// Returns the secrets of the steps: the site's CA bundle, and those of the request.
fn secrets(options: &BuildOptions, facts: &Facts) -> Result<Vec<BuildSecret>> {
    let mut secrets: Vec<BuildSecret> = Vec::new();
    for secret in &options.secrets {
        if !SECRETS.contains(&secret.id.as_str()) {
            let id = secret.id.escape_debug();
            return Err(
                Error::new(Kind::Usage, format!("no step of the build reads a secret `{id}`"))
                    .hint(format!("known secrets: {}", SECRETS.join(", "))),
            );
        }
        if secrets.iter().any(|known| known.id == secret.id) {
            return Err(Error::new(
                Kind::Usage,
                format!("the secret `{}` is given twice", secret.id),
            ));
        }
        secrets.push(secret.clone());
    }
    let given = secrets.iter().any(|secret| secret.id == SECRET_CA);
    // pip of this host trusts the bundle in its configuration, so its question before the build tells nothing without it.
    let bundle = facts.paths.ca_bundle.as_ref().or(facts.paths.pip_cert.as_ref());
    if let Some(path) = bundle.filter(|_| !given) {
        let source = SecretSource::File(path.clone());
        secrets.insert(
            0,
            BuildSecret {
                id: SECRET_CA.to_owned(),
                source,
            },
        );
    }
    Ok(secrets)
}

/// Returns the directory of the venv of a request; `None` if this host cannot have one.
#[must_use]
pub fn venv_dir(request: &BuildRequest, facts: &Facts) -> Option<String> {
    create_venv(&request.stack, facts).ok().map(|venv| venv.dir)
}

/// Returns true if the host has the software of a request already.
#[must_use]
pub fn is_installed(request: &BuildRequest, facts: &Facts) -> bool {
    Installation::new(request, facts).is_ok_and(|installation| installation.is_present(facts))
}

fn has_venv(stack: &Stack, image: &ImageChoice, facts: &Facts) -> bool {
    let request = BuildRequest::new(stack.clone(), Target::Process, image.clone());
    // A choice about images asks for an image.
    let may_be_venv = stack.process_runtime && *image == ImageChoice::default();
    may_be_venv && is_installed(&request, facts)
}
