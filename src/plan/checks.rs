//! Checks before anything starts: pure rules over facts. An unknown fact passes and is listed as not checked.
//!
//! Not in this module: gathering facts (`effects::host`, `effects::docker`).

use serde::{Deserialize, Serialize};

use super::memory;
use super::{Blocker, ServeRequest};
use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, Python};
use crate::profile::lint::{self, Level};
use crate::profile::{self, Accelerator, Architecture, Origins, Profile, Stack};
use crate::units::Bytes;

/// Lowest Python that the pinned packages support (SGLang 0.5.23 wheel metadata: `>=3.11`).
pub const PYTHON_MIN: (u32, u32) = (3, 11);

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with a drawback.
    Warn,
    /// Will not work.
    Fail,
    /// Not known, not guessed.
    NotChecked,
}

/// One line of `dsr1 doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id, such as `docker.reachable`.
    pub id: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, and what is wanted.
    pub text: String,
    /// What to do when it is not ok.
    pub fix: Option<String>,
}

impl Finding {
    fn new(id: &str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            verdict,
            text: text.into(),
            fix: None,
        }
    }

    fn fix(mut self, fix: &str) -> Self {
        self.fix = Some(fix.to_owned());
        self
    }
}

/// The Python to make a venv from.
pub(super) fn python(facts: &Facts) -> Result<&Python> {
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

/// Refuses a base image that does not exist for this platform.
pub(super) fn platform(stack: &Stack, facts: &Facts) -> Result<()> {
    match &facts.host.platform {
        Some(platform) if !stack.platforms.contains(platform) => Err(Error::new(
            Kind::Host,
            format!("stack `{}` has no image for {platform}", stack.name),
        )
        .hint(format!("it exists for: {}", stack.platforms.join(", ")))),
        _ => Ok(()),
    }
}

/// Too little space on `path`'s filesystem for `need` bytes and a margin of one twentieth. `variable` is what
/// moves the directory elsewhere.
pub(super) fn disk(facts: &Facts, path: &str, need: u64, what: &str, variable: &str) -> Option<Blocker> {
    let wanted = need + need / 20;
    let free = facts
        .host
        .disk_free_bytes
        .get(path)
        .filter(|free| **free < wanted)?;
    Some(Blocker {
        message: format!("not enough disk for {what} at `{path}`"),
        cause: format!("need {}, {} free", Bytes(wanted), Bytes(*free)),
        hint: format!(
            "free {} there, or point {variable} at a larger disk",
            Bytes(wanted - free)
        ),
    })
}

/// A daemon on another host: weights, port and log of a server would be there, and this host would ask its own.
pub(super) fn remote_docker(facts: &Facts) -> Option<Blocker> {
    let endpoint = facts
        .docker
        .endpoint
        .as_ref()
        .filter(|_| facts.docker.is_remote())?;
    Some(Blocker {
        message: "the Docker daemon is on another host".to_owned(),
        cause: format!("{endpoint}: the weights, the port and the GPUs of a server are those of that host"),
        hint: "run dsr1 there; from here, build, image and stacks work".to_owned(),
    })
}

/// Too little memory for the engine to start at all.
pub(super) fn memory_blocker(stack: &Stack, facts: &Facts) -> Option<Blocker> {
    let have = facts
        .host
        .memory_available_bytes
        .filter(|have| *have < stack.memory_bytes)?;
    Some(Blocker {
        message: "not enough memory for the engine".to_owned(),
        cause: format!("need {}, {} available", Bytes(stack.memory_bytes), Bytes(have)),
        hint: "close what uses the memory".to_owned(),
    })
}

/// A server of ours with the same name or port, also one that only starts: it will listen later.
pub(super) fn server(facts: &Facts, name: &str, port: u16) -> Option<Blocker> {
    let (other, at) = facts
        .servers
        .iter()
        .find(|(other, at)| *other == name || **at == port)?;
    Some(Blocker {
        message: if other == name {
            format!("{name} runs already")
        } else {
            format!("port {port} on 127.0.0.1 is taken")
        },
        cause: format!("{other} is a server of dsr1 on port {at}"),
        hint: format!(
            "dsr1 status shows it, dsr1 stop {other} ends it; a second one needs a --name and --port of its own"
        ),
    })
}

/// A port that is taken: SGLang binds only after loading, so a taken port would cost the whole load.
pub(super) fn port(facts: &Facts, port: u16) -> Option<Blocker> {
    let holder = facts.host.ports_taken.get(&port)?;
    Some(Blocker {
        message: format!("port {port} on 127.0.0.1 is taken"),
        cause: if holder.is_empty() {
            String::new()
        } else {
            format!("held by {holder}")
        },
        hint: format!(
            "use --port {}, or stop what holds it",
            port.wrapping_add(1).max(1024)
        ),
    })
}

/// Hardware that the profile cannot run on. Unknown facts pass.
pub(super) fn hardware(profile: &Profile, stack: &Stack, facts: &Facts) -> Option<Blocker> {
    let finding = findings_gpu(profile, stack, facts)
        .into_iter()
        .find(|finding| finding.verdict == Verdict::Fail)?;
    Some(Blocker {
        message: format!("profile `{}` cannot run on this host", profile.name),
        cause: finding.text,
        hint: finding.fix.unwrap_or_default(),
    })
}

fn findings_gpu(profile: &Profile, stack: &Stack, facts: &Facts) -> Vec<Finding> {
    if stack.accelerator == Accelerator::Cpu {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let wanted = profile.gpus;
    findings.push(match &facts.host.gpus {
        None => Finding::new(
            "gpu.count",
            Verdict::NotChecked,
            format!("GPUs not known, {wanted} wanted"),
        ),
        Some(gpus) if (gpus.len() as u64) < u64::from(wanted) => Finding::new(
            "gpu.count",
            Verdict::Fail,
            format!("{} GPUs found, {wanted} wanted", gpus.len()),
        )
        .fix("choose a profile for this host: dsr1 profiles list"),
        Some(gpus) => {
            let name = gpus.first().map_or("", |gpu| gpu.name.as_str());
            Finding::new("gpu.count", Verdict::Ok, format!("{} x {name}", gpus.len()))
        }
    });
    findings.push(architecture(profile, stack, facts));
    if let Some(min) = stack.driver_min {
        findings.push(match (facts.host.driver_major(), &facts.host.driver) {
            (Some(major), Some(driver)) if major < min => Finding::new(
                "gpu.driver",
                Verdict::Fail,
                format!("driver {driver}, stack `{}` needs {min} or newer", stack.name),
            )
            .fix("install a newer NVIDIA driver, then reboot"),
            (Some(_), Some(driver)) => Finding::new("gpu.driver", Verdict::Ok, format!("driver {driver}")),
            _ => Finding::new(
                "gpu.driver",
                Verdict::NotChecked,
                format!("driver not known, {min} or newer wanted"),
            ),
        });
    }
    findings
}

/// Whether the GPUs are of a family that the stack's kernels, the weights and the profile's backends are for.
fn architecture(profile: &Profile, stack: &Stack, facts: &Facts) -> Finding {
    let id = "gpu.architecture";
    let names = |wanted: &[Architecture]| {
        wanted
            .iter()
            .map(|one| one.name())
            .collect::<Vec<_>>()
            .join(" or ")
    };
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    let Some(gpu) = gpus.first() else {
        let wanted = names(&profile.architectures);
        return Finding::new(
            id,
            Verdict::NotChecked,
            format!("architecture not known, {wanted} wanted"),
        );
    };
    let Some(have) =
        Architecture::of(&gpu.compute_capability).filter(|have| stack.architectures.contains(have))
    else {
        return Finding::new(
            id,
            Verdict::Fail,
            format!(
                "{} has compute capability {}, the image of stack `{}` is for {}",
                gpu.name,
                gpu.compute_capability,
                stack.name,
                names(&stack.architectures)
            ),
        )
        .fix("choose a profile and a stack for this GPU: dsr1 profiles list, dsr1 stacks list");
    };
    // The profile's own rules, asked about this host's GPUs.
    let here = Profile {
        architectures: vec![have],
        ..profile.clone()
    };
    let flags = profile::render(&here.engine, stack.pins.sglang);
    let wrong = lint::lint(&flags, &here, stack, &Origins::default())
        .into_iter()
        .find(|check| check.id.starts_with("architecture.") && check.level == Level::Error);
    if let Some(check) = wrong {
        let fix = check
            .fix
            .unwrap_or_else(|| "choose a profile for this GPU: dsr1 profiles list".to_owned());
        return Finding::new(id, Verdict::Fail, check.text).fix(&fix);
    }
    if profile.architectures.is_empty() || profile.architectures.contains(&have) {
        return Finding::new(id, Verdict::Ok, have.name());
    }
    let tuned = names(&profile.architectures);
    Finding::new(
        id,
        Verdict::Warn,
        format!("{}, the profile is tuned for {tuned}", have.name()),
    )
    .fix("dsr1 profiles list shows what is for this GPU")
}

/// What the memory plan says of the host's GPUs; nothing where none is planned.
#[must_use]
pub fn memory_finding(request: &ServeRequest, facts: &Facts) -> Option<Finding> {
    let plan = memory::memory(request, facts)?;
    let id = "gpu.memory";
    let told = format!(
        "{} of weights per GPU, {} requests of {} tokens fit",
        memory::gib(plan.weights_bytes),
        plan.requests_fit,
        plan.request_tokens
    );
    if !plan.gpu_known {
        return Some(Finding::new(id, Verdict::NotChecked, told));
    }
    let worst = memory::check(&plan, request.profile.bench.max_concurrency.get())
        .into_iter()
        .max_by_key(|check| check.level);
    Some(match worst {
        None => Finding::new(id, Verdict::Ok, told),
        Some(check) => {
            let verdict = if check.level == Level::Error {
                Verdict::Fail
            } else {
                Verdict::Warn
            };
            Finding::new(id, verdict, check.text).fix(&check.fix.unwrap_or_default())
        }
    })
}

/// Everything `dsr1 doctor` says about a profile on these facts.
#[must_use]
pub fn findings(profile: &Profile, stack: &Stack, facts: &Facts, port_wanted: u16) -> Vec<Finding> {
    let mut findings = vec![
        host(facts),
        memory(stack, facts),
        python_finding(stack, facts),
        docker(stack, facts),
    ];
    if stack.accelerator == Accelerator::Cuda {
        findings.push(toolkit(facts));
    }
    findings.extend(findings_gpu(profile, stack, facts));
    findings.push(disk_finding(
        "disk.install",
        &facts.paths.cache,
        stack.install_bytes,
        "packages",
        facts,
    ));
    findings.push(disk_finding(
        "disk.weights",
        &facts.paths.hub_cache,
        profile.model.size_bytes,
        "weights",
        facts,
    ));
    findings.push(match facts.host.ports_taken.get(&port_wanted) {
        Some(holder) => Finding::new(
            "port",
            Verdict::Fail,
            format!("port {port_wanted} is taken {holder}").trim().to_owned(),
        )
        .fix("stop what holds it, or use --port"),
        None => Finding::new("port", Verdict::Ok, format!("port {port_wanted} is free")),
    });
    findings
}

fn host(facts: &Facts) -> Finding {
    let known = [&facts.host.os, &facts.host.kernel, &facts.host.platform];
    let words: Vec<&str> = known.into_iter().flatten().map(String::as_str).collect();
    if words.is_empty() {
        return Finding::new("host", Verdict::NotChecked, "host not known");
    }
    let cpus = facts
        .host
        .cpus
        .map_or_else(String::new, |cpus| format!(", {cpus} processors"));
    Finding::new("host", Verdict::Ok, format!("{}{cpus}", words.join(", ")))
}

fn memory(stack: &Stack, facts: &Facts) -> Finding {
    let want = Bytes(stack.memory_bytes);
    match facts.host.memory_available_bytes {
        None => Finding::new(
            "memory",
            Verdict::NotChecked,
            format!("memory not known, {want} wanted"),
        ),
        Some(have) if have < stack.memory_bytes => Finding::new(
            "memory",
            Verdict::Fail,
            format!("{} available, {want} wanted", Bytes(have)),
        )
        .fix("close what uses the memory"),
        Some(have) => Finding::new(
            "memory",
            Verdict::Ok,
            format!("{} available, {want} wanted", Bytes(have)),
        ),
    }
}

fn python_finding(stack: &Stack, facts: &Facts) -> Finding {
    if !stack.process_runtime {
        return Finding::new("python", Verdict::Ok, "not needed, the stack runs in Docker");
    }
    match python(facts) {
        Ok(python) => Finding::new(
            "python",
            Verdict::Ok,
            format!("Python {} at {}", python.version, python.path),
        ),
        Err(error) => {
            let verdict = if facts.docker.answers() {
                Verdict::Warn
            } else {
                Verdict::Fail
            };
            let text = [vec![error.message()], error.causes()].concat().join(": ");
            let fix = error.hints().first().cloned().unwrap_or_default();
            Finding::new("python", verdict, text).fix(&fix)
        }
    }
}

fn docker(stack: &Stack, facts: &Facts) -> Finding {
    let docker = &facts.docker;
    match (&docker.version, &docker.unreachable) {
        (Some(version), _) => {
            let api = docker.api_version.as_deref().unwrap_or("?");
            let at = docker.endpoint.as_deref().unwrap_or("?");
            let builder = match docker.sessions {
                Some(true) => ", builds with BuildKit",
                Some(false) => ", builds with the classic builder: no secrets, no caches",
                None => "",
            };
            let product = docker.product.as_deref().unwrap_or("Docker");
            let text = format!("{product} {version}, API {api} at {at}{builder}");
            if docker.is_remote() {
                return Finding::new(
                    "docker",
                    Verdict::Warn,
                    format!("{text}; it is on another host: images only, no servers"),
                )
                .fix("run dsr1 on that host to serve there");
            }
            Finding::new("docker", Verdict::Ok, text)
        }
        (None, Some(why)) => {
            let verdict = if stack.process_runtime {
                Verdict::Warn
            } else {
                Verdict::Fail
            };
            Finding::new("docker", verdict, why.clone())
                .fix("start the daemon, set DOCKER_HOST, or use --runtime process")
        }
        (None, None) => Finding::new("docker", Verdict::NotChecked, "Docker was not asked"),
    }
}

fn toolkit(facts: &Facts) -> Finding {
    if !facts.docker.answers() {
        return Finding::new(
            "docker.nvidia",
            Verdict::NotChecked,
            "NVIDIA Container Toolkit not known",
        );
    }
    if facts.docker.runtimes.iter().any(|runtime| runtime == "nvidia") {
        return Finding::new(
            "docker.nvidia",
            Verdict::Ok,
            "NVIDIA Container Toolkit is registered",
        );
    }
    Finding::new("docker.nvidia", Verdict::Warn, "no `nvidia` runtime in Docker")
        .fix("install the NVIDIA Container Toolkit, then: nvidia-ctk runtime configure --runtime=docker, and restart docker")
}

fn disk_finding(id: &str, path: &str, need: u64, what: &str, facts: &Facts) -> Finding {
    match facts.host.disk_free_bytes.get(path) {
        None => Finding::new(
            id,
            Verdict::NotChecked,
            format!("{what}: {} wanted at {path}", Bytes(need)),
        ),
        Some(free) if *free < need + need / 20 => Finding::new(
            id,
            Verdict::Fail,
            format!("{what}: {} free at {path}, {} wanted", Bytes(*free), Bytes(need)),
        )
        .fix("free some space, or point XDG_CACHE_HOME or HF_HOME at a larger disk"),
        Some(free) => Finding::new(
            id,
            Verdict::Ok,
            format!("{what}: {} free at {path}, {} wanted", Bytes(*free), Bytes(need)),
        ),
    }
}
