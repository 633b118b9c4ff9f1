//! Facts that make a plan impossible, each as a [`Blocker`] or as an error.

use serde::{Deserialize, Serialize};

use crate::doctor::finding::Verdict;
use crate::doctor::gpu;
use crate::error::{Error, Kind, Result};
use crate::facts::{Docker, Facts, Python};
use crate::profile::{self, Profile, Stack};
use crate::sglang::memory::MemoryPlan;
use crate::units::{Bytes, with_margin};

/// Lowest Python that the pinned packages support (SGLang 0.5.23 wheel metadata: `>=3.11`).
pub const PYTHON_MIN: (u32, u32) = (3, 11);

/// A fact about the host that makes a plan impossible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// Kind of the error with which the plan is refused.
    #[serde(skip, default = "host")]
    pub kind: Kind,
    /// The problem.
    pub message: String,
    /// The reason, with figures.
    pub cause: String,
    /// The remedy.
    pub hint: String,
}

const fn host() -> Kind {
    Kind::Host
}

impl From<Blocker> for Error {
    fn from(blocker: Blocker) -> Self {
        let error = Self::new(blocker.kind, blocker.message);
        let error = if blocker.cause.is_empty() {
            error
        } else {
            error.cause(blocker.cause)
        };
        error.hint(blocker.hint)
    }
}

/// Returns the Python to make a venv with, or the reason why the host has none.
pub(crate) fn python(facts: &Facts) -> Result<&Python> {
    let fix = "apt-get install python3 python3-venv (Debian, Ubuntu), or use --runtime docker";
    let python = facts.host.python.as_ref().ok_or_else(|| {
        Error::new(Kind::Host, "no Python on this host")
            .cause("`python3` is not on PATH")
            .hint(fix)
    })?;
    if !python_is_new_enough(&python.version) {
        return Err(Error::new(
            Kind::Host,
            format!("Python {} at `{}` is too old", python.version, python.path),
        )
        .cause(format!(
            "the engine's packages need Python {}.{} or newer",
            PYTHON_MIN.0, PYTHON_MIN.1
        ))
        .hint("put a newer python3 first on PATH, or use --runtime docker"));
    }
    if !python.venv {
        return Err(Error::new(
            Kind::Host,
            format!("Python at `{}` cannot make a venv", python.path),
        )
        .cause("the modules `venv` and `ensurepip` are not both installed")
        .hint(fix));
    }
    Ok(python)
}

fn python_is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= PYTHON_MIN
}

/// Refuses a stack whose base image does not exist for this platform.
pub(crate) fn platform(stack: &Stack, facts: &Facts) -> Result<()> {
    match &facts.host.platform {
        Some(platform) if !stack.platforms.contains(platform) => Err(Error::new(
            Kind::Host,
            format!("stack `{}` has no image for {platform}", stack.name),
        )
        .hint(format!("it exists for: {}", stack.platforms.join(", ")))),
        _ => Ok(()),
    }
}

/// Blocks a plan if `path`'s filesystem has no space for `need` bytes and a margin of one twentieth. `variable` is the
/// environment variable that moves the directory.
pub(crate) fn disk(facts: &Facts, path: &str, need: u64, what: &str, variable: &str) -> Option<Blocker> {
    let needed = with_margin(need);
    let free = facts
        .host
        .disk_free_bytes
        .get(path)
        .filter(|free| **free < needed)?;
    Some(Blocker {
        kind: Kind::Host,
        message: format!("not enough disk for {what} at `{path}`"),
        cause: format!("{} needed, {} free", Bytes(needed), Bytes(*free)),
        hint: format!(
            "free {} there, or point {variable} at a larger disk",
            Bytes(needed - free)
        ),
    })
}

/// Blocks a server on another host's Docker daemon: its weights, port and log would be there, and dsr1 would look for
/// them here.
pub(crate) fn remote_docker(facts: &Facts) -> Option<Blocker> {
    let endpoint = facts
        .docker
        .endpoint
        .as_ref()
        .filter(|_| facts.docker.is_remote())?;
    Some(Blocker {
        kind: Kind::Host,
        message: "the Docker daemon is on another host".to_owned(),
        cause: format!("{endpoint}: the weights, the port and the GPUs of a server are those of that host"),
        hint: "run dsr1 on that host; dsr1 build, image and stacks also work from here".to_owned(),
    })
}

/// Blocks a plan that needs Docker where no daemon answers.
pub(crate) fn docker(facts: &Facts) -> Option<Blocker> {
    let docker = &facts.docker;
    let why = docker.unreachable.as_ref().filter(|_| docker.version.is_none())?;
    Some(Blocker {
        kind: Kind::Docker,
        message: why.clone(),
        cause: String::new(),
        hint: format!(
            "{}; without Docker, add {}",
            docker_fix(docker),
            facts.host.python_option()
        ),
    })
}

/// Returns the remedy for a daemon that does not answer.
pub(super) fn docker_fix(docker: &Docker) -> &str {
    let fix = docker.unreachable_fix.as_deref();
    fix.unwrap_or("start the daemon, or set DOCKER_HOST")
}

/// Blocks a server on GPUs whose memory other processes hold.
pub(crate) fn gpu_memory(plan: &MemoryPlan, facts: &Facts) -> Option<Blocker> {
    let gpus = facts.host.gpus.as_deref().filter(|gpus| !gpus.is_empty())?;
    let finding = gpu::free_memory(plan, gpus);
    (finding.verdict == Verdict::Fail).then(|| Blocker {
        kind: Kind::Host,
        message: "other processes hold the memory of the GPUs".to_owned(),
        cause: finding.text,
        hint: finding.fix.unwrap_or_default(),
    })
}

/// Blocks a plan if the image has to be built from a base that is not here and cannot be pulled.
pub(crate) fn base_image(base: &str, facts: &Facts) -> Option<Blocker> {
    let why = facts.docker.not_pullable.get(base)?;
    Some(Blocker {
        kind: Kind::Hub,
        message: format!("base image {base} is not present and cannot be pulled"),
        cause: why.clone(),
        hint: profile::hint_without_registry(base),
    })
}

/// Blocks a plan if the hub at this URL does not give the weights.
pub(crate) fn weights_source(facts: &Facts, hub: &str) -> Option<Blocker> {
    let access = facts
        .sources
        .weights
        .as_ref()
        .filter(|access| access.source == hub)?;
    Some(Blocker {
        kind: Kind::Hub,
        message: "the hub does not give the weights".to_owned(),
        cause: access.refused.clone()?,
        hint: access.fix.clone(),
    })
}

/// Blocks a plan if the host has too little memory to start the engine.
pub(crate) fn memory_blocker(stack: &Stack, facts: &Facts) -> Option<Blocker> {
    let have = facts
        .host
        .memory_available_bytes
        .filter(|have| *have < stack.memory_bytes)?;
    Some(Blocker {
        kind: Kind::Host,
        message: "not enough memory for the engine".to_owned(),
        cause: format!("{} needed, {} available", Bytes(stack.memory_bytes), Bytes(have)),
        hint: match facts.host.memory_bytes {
            Some(all) if all < stack.memory_bytes => {
                format!("this host has {} in all: use a larger one", Bytes(all))
            }
            _ => "stop other processes that use the memory".to_owned(),
        },
    })
}

/// Blocks a plan if a server of dsr1 has the same name or port. One that still starts counts too: it will listen later.
pub(crate) fn server(facts: &Facts, name: &str, port: u16) -> Option<Blocker> {
    let (other, running) = facts
        .servers
        .iter()
        .find(|(other, running)| *other == name || running.port == port)?;
    Some(Blocker {
        kind: Kind::Host,
        message: if other == name {
            format!("{name} runs already")
        } else {
            format!("port {port} on 127.0.0.1 is taken")
        },
        cause: format!("{other} is a server of dsr1 on port {}", running.port),
        hint: if running.temporary {
            format!(
                "the dsr1 command that started {other} stops it at its end, and dsr1 stop {other} does if that command was killed; a second server needs its own --port"
            )
        } else {
            format!(
                "dsr1 status shows it, dsr1 stop {other} stops it; a second server needs its own --name and --port"
            )
        },
    })
}

/// Blocks a server whose GPUs were chosen and belong to another server of dsr1. One that is starting uses no memory there yet.
pub(crate) fn chosen_gpus(facts: &Facts, name: &str, chosen: &[u32]) -> Option<Blocker> {
    let mut others = facts.servers.iter().filter(|(other, _)| *other != name);
    let (other, gpu) = others.find_map(|(other, running)| {
        let gpu = running.gpus.iter().find(|gpu| chosen.contains(gpu))?;
        Some((other, gpu))
    })?;
    Some(Blocker {
        kind: Kind::Host,
        message: format!("GPU {gpu} is taken"),
        cause: format!("the server {other} was started on it"),
        hint: format!("--gpus free chooses others, and dsr1 stop {other} frees it"),
    })
}

/// Blocks a plan if the port is taken. SGLang binds it only after loading, so the whole load would be in vain.
pub(crate) fn port(facts: &Facts, port: u16) -> Option<Blocker> {
    let holder = facts.host.ports_taken.get(&port)?;
    Some(Blocker {
        kind: Kind::Host,
        message: format!("port {port} on 127.0.0.1 is taken"),
        cause: if holder.is_empty() {
            String::new()
        } else {
            format!("held by {holder}")
        },
        hint: format!(
            "use --port {}, or stop the process that holds it",
            port.wrapping_add(1).max(1024)
        ),
    })
}

/// Blocks a plan if the profile cannot run on the host's GPUs. Unknown facts pass.
pub(crate) fn hardware(profile: &Profile, stack: &Stack, facts: &Facts) -> Option<Blocker> {
    let finding = gpu::findings(profile, stack, facts)
        .into_iter()
        .find(|finding| finding.verdict == Verdict::Fail)?;
    Some(Blocker {
        kind: Kind::Host,
        message: format!("profile `{}` cannot run on this host", profile.name),
        cause: finding.text,
        hint: finding.fix.unwrap_or_default(),
    })
}
