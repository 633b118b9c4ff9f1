//! Everything that `dsr1 doctor` says about a profile on a host.

use crate::doctor::finding::{Finding, Verdict};
use crate::doctor::{blockers, gpu};
use crate::facts::Facts;
use crate::profile::{Accelerator, Selection, Stack};
use crate::units::Bytes;

/// Everything `dsr1 doctor` says about a profile on these facts.
#[must_use]
pub fn findings(selection: &Selection, facts: &Facts, port_wanted: u16) -> Vec<Finding> {
    let Selection { profile, stack, .. } = selection;
    let mut findings = vec![
        host(facts),
        memory(stack, facts),
        python_finding(stack, facts),
        docker(stack, facts),
    ];
    if stack.accelerator == Accelerator::Cuda {
        findings.push(toolkit(facts));
    }
    findings.extend(gpu::findings(profile, stack, facts));
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
    findings.extend(gpu::memory_finding(selection, facts));
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
    match blockers::python(facts) {
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
