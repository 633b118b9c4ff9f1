//! The findings of `dsr1 doctor` about a profile on a host.

use crate::doctor::finding::{Finding, Verdict};
use crate::doctor::{blockers, environment, gpu, health, site};
use crate::facts::{Access, Facts};
use crate::profile::{Accelerator, Goal, Profile, Selection, Stack};
use crate::sglang::{Check, Launch, Level, rules};
use crate::units::{Bytes, with_margin};

/// The software that runs the engine, as it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Software {
    /// The base image; `None` for packages in a venv.
    pub base_image: Option<String>,
    /// True if the image or the venv is complete.
    pub is_installed: bool,
}

/// Returns the findings about a profile on a host, for a server on `port` with this software.
#[must_use]
pub fn findings(selection: &Selection, facts: &Facts, port: u16, software: &Software) -> Vec<Finding> {
    let Selection { profile, stack, .. } = selection;
    let mut findings = vec![host(facts), memory(stack, facts)];
    let environment = facts.host.environment.as_ref();
    if let Some(environment) = environment {
        findings.extend(environment::findings(environment));
        findings.extend(site::findings(facts, profile.gpus));
    } else {
        findings.push(python_finding(stack, facts, software));
        findings.push(docker(stack, facts, software));
        if stack.accelerator == Accelerator::Cuda {
            findings.push(toolkit(facts));
        }
    }
    findings.extend(gpu::findings(profile, stack, facts));
    if stack.accelerator == Accelerator::Cuda {
        findings.extend(health::findings(facts, profile.gpus == 1));
    }
    if environment.is_none() {
        findings.push(software_source(facts, software));
    }
    if software.base_image.is_some() && !software.is_installed {
        // The build asks from the network of the daemon's host.
        let packages = facts.sources.packages.as_ref();
        findings.extend(packages.map(package_index_of_build));
    }
    if !software.is_installed {
        findings.push(install_disk(stack, facts, software));
    }
    let model = &profile.model;
    let commit = facts.resolved_commit(&model.repo, &model.revision);
    if let Some(path) = &model.path {
        findings.push(folder_finding(path, facts));
    } else if commit.is_some_and(|commit| facts.weights.contains_key(&format!("{}@{commit}", model.repo))) {
        let text = format!("{} is in the cache and verified", model.repo);
        findings.push(Finding::new("weights", Verdict::Ok, text));
    } else if profile.goal != Goal::Rehearsal && facts.cached_commit(&model.repo, &model.revision).is_some() {
        let text = format!(
            "{} was pulled; its files are not known to be unchanged",
            model.repo
        );
        let fix = format!("dsr1 weights verify {}", model.repo);
        findings.push(Finding::new("weights", Verdict::NotChecked, text).fix(&fix));
    } else {
        findings.extend(weights_source(profile, facts));
        findings.push(disk_finding(
            "disk.weights",
            &facts.paths.hub_cache,
            model.size_bytes,
            "weights",
            facts,
        ));
    }
    findings.push(port_finding(port, facts));
    findings.extend(advisories(selection));
    for role in selection.by_role() {
        findings.extend(gpu::memory_findings(&role, facts));
    }
    findings
}

/// Returns the findings about published vulnerabilities of the engine.
fn advisories(selection: &Selection) -> Vec<Finding> {
    let Selection {
        profile,
        stack,
        origins,
        ..
    } = selection;
    let mut checks = Launch::new(profile, stack, origins, &[]).checks;
    checks.retain(|check| check.id == "advisory.option");
    checks.extend(rules::of_port(stack));
    let findings = checks.into_iter().map(
        |Check {
             id, level, text, fix, ..
         }| {
            let fix = fix.unwrap_or_default();
            match level {
                Level::Note => Finding::new(&id, Verdict::Ok, format!("{text}; {fix}")),
                Level::Warn | Level::Error => Finding::new(&id, Verdict::Warn, text).fix(&fix),
            }
        },
    );
    findings.collect()
}

/// Returns the finding about weights in a folder.
fn folder_finding(path: &str, facts: &Facts) -> Finding {
    match facts.folders.get(path) {
        None => Finding::new(
            "weights",
            Verdict::NotChecked,
            format!("{path} was not looked at"),
        ),
        Some(folder) => match folder.wrong.first() {
            Some(wrong) => Finding::new("weights", Verdict::Fail, wrong.clone()),
            None => Finding::new(
                "weights",
                Verdict::Ok,
                format!("{path} holds {} of weights", Bytes(folder.size_bytes)),
            ),
        },
    }
}

/// Returns the remarks of a plan about a host whose GPUs are known: what is doubtful, and what is not known.
#[must_use]
pub fn remarks(profile: &Profile, stack: &Stack, facts: &Facts) -> Vec<String> {
    if stack.accelerator == Accelerator::Cpu || facts.host.gpus.as_ref().is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    let mut findings = gpu::findings(profile, stack, facts);
    findings.retain(|finding| ["gpu.mixed", "gpu.driver"].contains(&finding.id.as_str()));
    if facts.docker.answers() {
        findings.push(toolkit(facts));
    }
    let is_doubtful = |finding: &Finding| matches!(finding.verdict, Verdict::Warn | Verdict::NotChecked);
    findings
        .into_iter()
        .filter(is_doubtful)
        .map(|finding| match finding.fix {
            Some(fix) => format!("{}; {fix}", finding.text),
            None => finding.text,
        })
        .collect()
}

/// Returns the finding about the place that the software comes from.
fn software_source(facts: &Facts, software: &Software) -> Finding {
    match &software.base_image {
        Some(_) if software.is_installed => Finding::new("image", Verdict::Ok, "the image is built"),
        Some(base) if facts.docker.images.contains_key(base) => {
            Finding::new("image", Verdict::Ok, format!("base image {base} is present"))
        }
        Some(base) if facts.docker.pullable.contains(base) => {
            Finding::new("image", Verdict::Ok, format!("base image {base} can be pulled"))
        }
        Some(base) => match blockers::base_image(base, facts) {
            Some(blocker) => {
                let text = format!("{}: {}", blocker.message, blocker.cause);
                Finding::new("image", Verdict::Fail, text).fix(&blocker.hint)
            }
            None => Finding::new(
                "image",
                Verdict::NotChecked,
                format!("the registry of base image {base} was not asked"),
            ),
        },
        None if software.is_installed => {
            Finding::new("packages", Verdict::Ok, "the engine's packages are installed")
        }
        None => package_index(facts.sources.packages.as_ref()),
    }
}

fn package_index(access: Option<&Access>) -> Finding {
    source_finding("packages", access, "the package index", "has the engine")
}

/// Returns the finding about the index of an image's packages. pip of this host was asked, whose settings the build does
/// not read.
fn package_index_of_build(access: &Access) -> Finding {
    if access.refused.is_some() || access.source.is_empty() {
        return package_index(Some(access));
    }
    let text = format!(
        "the package index of pip's settings on this host has the engine; the build of an image does not read these \
         settings ({})",
        access.source
    );
    Finding::new("packages", Verdict::Warn, text)
        .fix("dsr1 build --secret pip_conf=FILE hands pip's settings to the build, with FILE such as /etc/pip.conf")
}

/// Returns the finding about the hub; `None` for the rehearsal, whose model dsr1 makes.
fn weights_source(profile: &Profile, facts: &Facts) -> Option<Finding> {
    (profile.goal != Goal::Rehearsal).then(|| {
        let gives = format!("has {}", profile.model.repo);
        source_finding("weights", facts.sources.weights.as_ref(), "the hub", &gives)
    })
}

fn source_finding(id: &str, access: Option<&Access>, source: &str, gives: &str) -> Finding {
    match access {
        None => Finding::new(id, Verdict::NotChecked, format!("{source} was not asked")),
        Some(Access { refused: None, .. }) => Finding::new(id, Verdict::Ok, format!("{source} {gives}")),
        Some(Access {
            refused: Some(why),
            fix,
            ..
        }) => {
            // The reason may name the source itself.
            let text = if why.contains(source) {
                why.clone()
            } else {
                format!("{source}: {why}")
            };
            Finding::new(id, Verdict::Fail, text).fix(fix)
        }
    }
}

fn port_finding(port: u16, facts: &Facts) -> Finding {
    if let Some((name, _)) = facts.servers.iter().find(|(_, running)| running.port == port) {
        let text = format!("port {port} is taken by {name}, a server of dsr1");
        return Finding::new("port", Verdict::Fail, text).fix(&format!(
            "dsr1 stop {name}, or use another --port and --name beside it"
        ));
    }
    if !facts.host.ports_taken.contains_key(&port) && !facts.host.ports_examined.contains(&port) {
        let text = format!("port {port} was not examined");
        return Finding::new("port", Verdict::NotChecked, text);
    }
    let Some(holder) = facts.host.ports_taken.get(&port) else {
        return Finding::new("port", Verdict::Ok, format!("port {port} is free"));
    };
    let by = if holder.is_empty() {
        String::new()
    } else {
        format!(" by {holder}")
    };
    Finding::new("port", Verdict::Fail, format!("port {port} is taken{by}"))
        .fix("stop the process that holds it, or use --port")
}

fn host(facts: &Facts) -> Finding {
    let known = [&facts.host.os, &facts.host.kernel, &facts.host.platform];
    let words: Vec<&str> = known.into_iter().flatten().map(String::as_str).collect();
    if words.is_empty() {
        return Finding::new("host", Verdict::NotChecked, "the host is not known");
    }
    let cpus = facts
        .host
        .cpus
        .map_or_else(String::new, |cpus| format!(", {cpus} processors"));
    Finding::new("host", Verdict::Ok, format!("{}{cpus}", words.join(", ")))
}

fn memory(stack: &Stack, facts: &Facts) -> Finding {
    let needed = Bytes(stack.memory_bytes);
    match facts.host.memory_available_bytes {
        None => Finding::new(
            "memory",
            Verdict::NotChecked,
            format!("memory is not known, {needed} needed"),
        ),
        Some(have) if have < stack.memory_bytes => Finding::new(
            "memory",
            Verdict::Fail,
            format!("{} available, {needed} needed", Bytes(have)),
        )
        .fix(&match facts.host.memory_bytes {
            Some(all) if all < stack.memory_bytes => {
                format!("this host has {} in all: use a larger one", Bytes(all))
            }
            _ => "stop other processes that use the memory".to_owned(),
        }),
        Some(have) => Finding::new(
            "memory",
            Verdict::Ok,
            format!("{} available, {needed} needed", Bytes(have)),
        ),
    }
}

fn python_finding(stack: &Stack, facts: &Facts, software: &Software) -> Finding {
    if !stack.process_runtime {
        return Finding::new("python", Verdict::Ok, "not needed: the stack runs in Docker");
    }
    match blockers::python(facts) {
        Ok(python) => Finding::new(
            "python",
            Verdict::Ok,
            format!("Python {} at {}", python.version, python.path),
        ),
        Err(error) => {
            let verdict = if software.base_image.is_some() {
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

fn docker(stack: &Stack, facts: &Facts, software: &Software) -> Finding {
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
                    format!("{text}; it is on another host, for images only, not for servers"),
                )
                .fix("run dsr1 on that host to serve there");
            }
            Finding::new("docker", Verdict::Ok, text)
        }
        (None, Some(why)) => {
            let (verdict, or) = match (&software.base_image, stack.process_runtime) {
                (None, _) => (Verdict::Warn, ""),
                (Some(_), true) => (Verdict::Fail, ", or use --runtime process"),
                (Some(_), false) => (Verdict::Fail, ""),
            };
            let fix = format!("{}{or}", blockers::docker_fix(docker));
            Finding::new("docker", verdict, why.clone()).fix(&fix)
        }
        (None, None) => Finding::new("docker", Verdict::NotChecked, "the Docker daemon was not asked"),
    }
}

fn toolkit(facts: &Facts) -> Finding {
    if !facts.docker.answers() {
        return Finding::new(
            "docker.nvidia",
            Verdict::NotChecked,
            "the NVIDIA Container Toolkit is not known",
        );
    }
    if facts.docker.runtimes.iter().any(|runtime| runtime == "nvidia") {
        return Finding::new(
            "docker.nvidia",
            Verdict::Ok,
            "the NVIDIA Container Toolkit is registered",
        );
    }
    Finding::new("docker.nvidia", Verdict::Warn, "Docker has no `nvidia` runtime")
        .fix("install the NVIDIA Container Toolkit, then: nvidia-ctk runtime configure --runtime=docker, and restart docker")
}

/// Returns the finding about the disk of a venv, or of Docker's images.
fn install_disk(stack: &Stack, facts: &Facts, software: &Software) -> Finding {
    let (id, bytes) = ("disk.install", stack.peak_bytes());
    if software.base_image.is_none() {
        return disk_finding(id, &facts.paths.cache, bytes, "packages", facts);
    }
    let docker = &facts.docker;
    let at = docker.root_dir.as_deref().unwrap_or("Docker's root");
    let needed = Bytes(bytes);
    match docker.root_free_bytes {
        None => Finding::new(
            id,
            Verdict::NotChecked,
            format!("image: {needed} needed at {at}, the free space is not known"),
        ),
        Some(free) if free < bytes => Finding::new(
            id,
            Verdict::Fail,
            format!("image: {} free at {at}, {needed} needed", Bytes(free)),
        )
        .fix("docker system df shows what takes the space"),
        Some(free) => Finding::new(
            id,
            Verdict::Ok,
            format!("image: {} free at {at}, {needed} needed", Bytes(free)),
        ),
    }
}

fn disk_finding(id: &str, path: &str, bytes: u64, what: &str, facts: &Facts) -> Finding {
    let need = with_margin(bytes);
    // The id says it already.
    let what = if id.ends_with(what) {
        String::new()
    } else {
        format!("{what}: ")
    };
    match facts.host.disk_free_bytes.get(path) {
        None => Finding::new(
            id,
            Verdict::NotChecked,
            format!(
                "{what}{} needed at {path}, the free space is not known",
                Bytes(need)
            ),
        ),
        Some(free) if *free < need => Finding::new(
            id,
            Verdict::Fail,
            format!("{what}{} free at {path}, {} needed", Bytes(*free), Bytes(need)),
        )
        .fix("free some space, or point XDG_CACHE_HOME or HF_HOME at a larger disk"),
        Some(free) => Finding::new(
            id,
            Verdict::Ok,
            format!("{what}{} free at {path}, {} needed", Bytes(*free), Bytes(need)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::profile::Catalog;

    /// Stored facts: name, text, and a profile that fits or nearly fits.
    const HOSTS: [(&str, &str, &str); 10] = [
        (
            "b200",
            include_str!("../../tests/fixtures/facts-b200.json"),
            "fp8-low-latency",
        ),
        (
            "laptop",
            include_str!("../../tests/fixtures/facts-laptop.json"),
            "rehearsal",
        ),
        (
            "h200",
            include_str!("../../tests/fixtures/facts/h200.json"),
            "h200-fp8-low-latency",
        ),
        (
            "driver-too-old",
            include_str!("../../tests/fixtures/facts/driver-too-old.json"),
            "fp8-low-latency",
        ),
        (
            "no-toolkit",
            include_str!("../../tests/fixtures/facts/no-toolkit.json"),
            "fp8-low-latency",
        ),
        (
            "no-docker",
            include_str!("../../tests/fixtures/facts/no-docker.json"),
            "fp8-low-latency",
        ),
        (
            "gpu-memory-held",
            include_str!("../../tests/fixtures/facts/gpu-memory-held.json"),
            "h200-fp8-low-latency",
        ),
        (
            "gpu-memory-shared",
            include_str!("../../tests/fixtures/facts/gpu-memory-shared.json"),
            "h200-fp8-low-latency",
        ),
        (
            "port-taken",
            include_str!("../../tests/fixtures/facts/port-taken.json"),
            "fp8-low-latency",
        ),
        (
            "small-disk",
            include_str!("../../tests/fixtures/facts/small-disk.json"),
            "fp8-low-latency",
        ),
    ];

    /// Every verdict on a line, with the remedy below.
    fn verdicts(profile: &str, facts: &str) -> String {
        let selection = Catalog::load(None).unwrap().resolve(profile, None).unwrap();
        let facts: Facts = serde_json::from_str(facts).unwrap();
        let software = Software {
            base_image: (!selection.stack.process_runtime).then(|| selection.stack.base_image.clone()),
            is_installed: false,
        };
        let mut text = format!("profile {profile}\n");
        for Finding {
            id,
            verdict,
            text: what,
            fix,
        } in findings(&selection, &facts, 30_000, &software)
        {
            let _ = writeln!(text, "{verdict:?} {id}: {what}");
            if let Some(fix) = fix {
                let _ = writeln!(text, "    fix: {fix}");
            }
        }
        text
    }

    #[test]
    fn every_verdict_about_each_host_is_stated() {
        for (name, facts, profile) in HOSTS {
            insta::assert_snapshot!(name, verdicts(profile, facts));
        }
    }

    #[test]
    fn a_profile_for_other_gpus_fails_on_a_host() {
        let (_, b200, _) = HOSTS[0];
        insta::assert_snapshot!("h200-profile-on-b200", verdicts("h200-fp8-low-latency", b200));
        let (_, h200, _) = HOSTS[2];
        insta::assert_snapshot!("b200-profile-on-h200", verdicts("fp4-basic", h200));
        let (_, laptop, _) = HOSTS[1];
        insta::assert_snapshot!("b200-profile-on-laptop", verdicts("fp8-low-latency", laptop));
    }

    /// The verdicts about the GPUs of a host that has these instead of H200.
    fn of_gpus(profile: &str, name: &str, memory_mib: u64, capability: &str) -> String {
        let (_, h200, _) = HOSTS[2];
        let facts = h200
            .replace("NVIDIA H200", name)
            .replace("150754820096", &(memory_mib << 20).to_string())
            .replace("\"9.0\"", &format!("{capability:?}"));
        let text = verdicts(profile, &facts);
        let is_about_gpus = |line: &&str| line.contains(" gpu.") || line.contains("rehearsal");
        text.lines()
            .filter(is_about_gpus)
            .fold(String::new(), |all, line| all + line + "\n")
    }

    #[test]
    fn gpus_of_servers_are_told_from_others() {
        let mut text = String::new();
        for gpu in crate::profile::KNOWN_GPUS {
            let profile = match gpu.architecture {
                crate::profile::Architecture::Hopper => "h200-fp8-low-latency",
                crate::profile::Architecture::Blackwell => "b200-fp4-low-latency",
            };
            let _ = writeln!(text, "{}:", gpu.name);
            text += &of_gpus(profile, gpu.name, gpu.memory_mib, gpu.capability);
        }
        for (profile, name, memory_mib, capability) in [
            ("fp8-low-latency", "NVIDIA B300 SXM6 AC", 275_040, "10.3"),
            ("h200-fp8-low-latency", "AMD Instinct MI300X", 196_592, "9.4"),
            ("h200-fp8-low-latency", "AMD Instinct MI250X", 65_520, "9.0"),
            ("b200-fp4-low-latency", "NVIDIA GeForce RTX 5090", 32_607, "12.0"),
            ("h200-fp8-low-latency", "NVIDIA A100-SXM4-80GB", 81_920, "8.0"),
        ] {
            let _ = writeln!(text, "{name} with {profile}:");
            text += &of_gpus(profile, name, memory_mib, capability);
        }
        insta::assert_snapshot!("gpus", text);
    }

    #[test]
    fn an_unknown_fact_fails_no_check() {
        insta::assert_snapshot!("unknown", verdicts("fp8-low-latency", "{}"));
    }
}
