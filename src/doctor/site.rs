//! Findings about a host where the engine runs as a process on GPUs.

use crate::doctor::blockers::Blocker;
use crate::doctor::finding::{Finding, Verdict};
use crate::error::Kind;
use crate::facts::{Environment, Facts, Site, WorkFolder};
use crate::units::Bytes;

/// Size of `/dev/shm` in a container or a pod that was given none (Docker, Kubernetes): NCCL and the queues of the workers of
/// several GPUs do not fit.
const SHM_DEFAULT: u64 = 64 << 20;
/// Size of `/dev/shm` below which there is a warning; SGLang's install page asks for 32 GB.
const SHM: u64 = 1 << 30;
/// Open files that SGLang asks for at its start (`set_ulimit`, sglang/srt/utils, 0.5.23). It also runs with fewer.
const OPEN_FILES: u64 = 65_535;
/// Open files below which there is a warning: four for each of 4096 streams.
const OPEN_FILES_MIN: u64 = 16_384;
/// Space for compiled kernels: the caches of one SGLang 0.5.16 had 0.4 GB after a start on an H200.
const CACHE: u64 = 2 << 30;

/// Returns the findings about the host of a process.
pub(super) fn findings(facts: &Facts, gpus: u32) -> Vec<Finding> {
    let (Some(site), Some(environment)) = (&facts.host.site, &facts.host.environment) else {
        return Vec::new();
    };
    let mut found = vec![shared_memory(site, gpus), open_files(site), locked_memory(site)];
    found.push(nvcc(site, environment));
    found.push(compiler(site, environment));
    let wrong: Vec<Finding> = site.folders.iter().filter_map(folder).collect();
    if wrong.is_empty() && !site.folders.is_empty() {
        let paths: Vec<&str> = site.folders.iter().map(|folder| folder.path.as_str()).collect();
        let text = format!("compiled kernels can be kept in {}", paths.join(", "));
        found.push(Finding::new("process.folder", Verdict::Ok, text));
    }
    found.extend(wrong);
    if let Some(lock) = site.locks.first() {
        let text = format!(
            "{lock} is left of a compilation that was killed, or that still runs: the engine waits for its end"
        );
        let fix = format!("if nothing compiles there: rm {}", site.locks.join(" "));
        found.push(Finding::new("process.lock", Verdict::Warn, text).fix(&fix));
    }
    found
}

fn shared_memory(site: &Site, gpus: u32) -> Finding {
    let id = "process.shm";
    match site.shm_bytes {
        Some(bytes) if bytes < SHM && gpus > 1 => Finding::new(
            id,
            if bytes <= SHM_DEFAULT { Verdict::Fail } else { Verdict::Warn },
            format!("/dev/shm has {}; the processes of {gpus} GPUs share memory there", Bytes(bytes)),
        )
        .fix("in a pod mount an emptyDir with medium Memory at /dev/shm; in a container use --shm-size 32g; as root: mount -o remount,size=32G /dev/shm"),
        Some(bytes) => Finding::new(id, Verdict::Ok, format!("/dev/shm has {}", Bytes(bytes))),
        None => Finding::new(id, Verdict::NotChecked, "the size of /dev/shm is not known"),
    }
}

fn open_files(site: &Site) -> Finding {
    let id = "process.open_files";
    match site.open_files {
        Some(most) if most < OPEN_FILES_MIN => Finding::new(
            id,
            Verdict::Warn,
            format!("a process may open {most} files; SGLang asks for {OPEN_FILES}"),
        )
        .fix("raise the hard limit: ulimit -Hn 65535 as root, or nofile in /etc/security/limits.conf"),
        Some(most) => Finding::new(id, Verdict::Ok, format!("a process may open {most} files")),
        None => Finding::new(id, Verdict::Ok, "a process may open any number of files"),
    }
}

/// On one node nothing needs locked memory; RDMA between nodes does.
fn locked_memory(site: &Site) -> Finding {
    let text = match site.locked_bytes {
        Some(most) => format!(
            "a process may lock {} of memory: enough on one node, too little for RDMA between nodes",
            Bytes(most)
        ),
        None => "a process may lock any amount of memory".to_owned(),
    };
    Finding::new("process.locked_memory", Verdict::Ok, text)
}

fn nvcc(site: &Site, environment: &Environment) -> Finding {
    let id = "process.nvcc";
    let fix = "install the CUDA toolkit of that version, or say where it is: --env CUDA_HOME=/usr/local/cuda";
    let wanted = environment.used_cuda().unwrap_or_default();
    let Some(path) = &site.nvcc else {
        let text = format!(
            "there is no nvcc; kernels that are compiled at their first use need that of CUDA {wanted}"
        );
        return Finding::new(id, Verdict::Warn, text).fix(fix);
    };
    let Some(version) = &site.nvcc_version else {
        return Finding::new(
            id,
            Verdict::NotChecked,
            format!("{path} does not tell its version"),
        );
    };
    let major = |text: &str| text.split('.').next().map(str::to_owned);
    if major(version) == major(wanted) {
        return Finding::new(id, Verdict::Ok, format!("{path} compiles for CUDA {version}"));
    }
    let text = format!("{path} is of CUDA {version}, and PyTorch is built for CUDA {wanted}");
    Finding::new(id, Verdict::Warn, text).fix(fix)
}

fn compiler(site: &Site, environment: &Environment) -> Finding {
    let id = "process.compiler";
    let fix = "apt-get install gcc g++ python3-dev, or the same with conda or module load";
    match (&site.compiler, environment.headers) {
        (None, _) => {
            let text = "there is no C compiler; Triton needs one for kernels that are not compiled yet";
            Finding::new(id, Verdict::Warn, text).fix(fix)
        }
        (Some(_), Some(false)) => {
            let text = format!(
                "Python.h of {} is missing; Triton needs it for kernels that are not compiled yet",
                environment.python
            );
            Finding::new(id, Verdict::Warn, text).fix(fix)
        }
        (Some(path), _) => Finding::new(id, Verdict::Ok, format!("{path} is the C compiler")),
    }
}

/// Returns the finding about a folder in which something is wrong.
fn folder(folder: &WorkFolder) -> Option<Finding> {
    let WorkFolder { path, variable, .. } = folder;
    let id = "process.folder";
    let fix = format!("name another folder: --env {variable}=PATH");
    if !folder.is_writable {
        let text = format!("this user may not write to {path}, where compiled kernels are kept");
        return Some(Finding::new(id, Verdict::Fail, text).fix(&fix));
    }
    if !folder.is_executable {
        let text = format!("{path} is mounted with noexec: compiled kernels cannot be loaded from it");
        return Some(Finding::new(id, Verdict::Fail, text).fix(&fix));
    }
    match folder.free_bytes {
        Some(free) if free < CACHE => {
            let text = format!(
                "{path} has {} left; compiled kernels need up to {}",
                Bytes(free),
                Bytes(CACHE)
            );
            Some(Finding::new(id, Verdict::Warn, text).fix(&fix))
        }
        _ => None,
    }
}

/// Blocks a start on what surely ends it: the first failed finding.
pub(crate) fn blocker(facts: &Facts, gpus: u32) -> Option<Blocker> {
    let failed = findings(facts, gpus)
        .into_iter()
        .find(|finding| finding.verdict == Verdict::Fail)?;
    Some(Blocker {
        kind: Kind::Host,
        message: "the engine cannot run as a process on this host".to_owned(),
        cause: failed.text,
        hint: failed.fix.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Host;

    fn facts(site: Site, headers: bool) -> Facts {
        Facts {
            host: Host {
                environment: Some(Environment {
                    python: "/opt/sglang/bin/python3".to_owned(),
                    cuda: Some("13.0".to_owned()),
                    headers: Some(headers),
                    ..Environment::default()
                }),
                site: Some(Box::new(site)),
                ..Host::default()
            },
            ..Facts::default()
        }
    }

    /// The site of a bare H200 machine.
    fn good() -> Site {
        Site {
            shm_bytes: Some(64 << 30),
            open_files: Some(1_048_576),
            locked_bytes: None,
            nvcc: Some("/usr/local/cuda/bin/nvcc".to_owned()),
            nvcc_version: Some("13.0".to_owned()),
            compiler: Some("/usr/bin/gcc".to_owned()),
            folders: vec![WorkFolder {
                path: "/root/.cache".to_owned(),
                variable: "XDG_CACHE_HOME".to_owned(),
                is_writable: true,
                is_executable: true,
                free_bytes: Some(1 << 40),
            }],
            locks: Vec::new(),
        }
    }

    fn verdicts(site: Site, gpus: u32) -> Vec<(String, Verdict)> {
        let found = findings(&facts(site, true), gpus);
        let wrong = found.into_iter().filter(|finding| finding.verdict != Verdict::Ok);
        wrong.map(|finding| (finding.id, finding.verdict)).collect()
    }

    #[test]
    fn a_good_site_has_no_finding() {
        assert_eq!(verdicts(good(), 8), []);
        assert!(blocker(&facts(good(), true), 8).is_none());
    }

    #[test]
    fn each_fault_of_a_site_is_found() {
        type Fault = fn(&mut Site);
        let cases: [(Fault, &str, Verdict); 11] = [
            (
                |site| site.shm_bytes = Some(64 << 20),
                "process.shm",
                Verdict::Fail,
            ),
            (
                |site| site.shm_bytes = Some(512 << 20),
                "process.shm",
                Verdict::Warn,
            ),
            (|site| site.shm_bytes = None, "process.shm", Verdict::NotChecked),
            (
                |site| site.open_files = Some(4096),
                "process.open_files",
                Verdict::Warn,
            ),
            (|site| site.nvcc = None, "process.nvcc", Verdict::Warn),
            (
                |site| site.nvcc_version = Some("12.8".to_owned()),
                "process.nvcc",
                Verdict::Warn,
            ),
            (|site| site.compiler = None, "process.compiler", Verdict::Warn),
            (
                |site| site.folders[0].is_writable = false,
                "process.folder",
                Verdict::Fail,
            ),
            (
                |site| site.folders[0].is_executable = false,
                "process.folder",
                Verdict::Fail,
            ),
            (
                |site| site.folders[0].free_bytes = Some(1 << 20),
                "process.folder",
                Verdict::Warn,
            ),
            (
                |site| site.locks = vec!["/root/.cache/torch_extensions/a/b/lock".to_owned()],
                "process.lock",
                Verdict::Warn,
            ),
        ];
        for (change, id, verdict) in cases {
            let mut site = good();
            change(&mut site);
            assert_eq!(verdicts(site.clone(), 8), [(id.to_owned(), verdict)]);
            let is_blocked = blocker(&facts(site, true), 8).is_some();
            assert_eq!(is_blocked, verdict == Verdict::Fail, "{id}");
        }
        // One GPU shares no memory with others.
        let mut site = good();
        site.shm_bytes = Some(64 << 20);
        assert_eq!(verdicts(site, 1), []);
        let found = findings(&facts(good(), false), 8);
        assert!(found.iter().any(|finding| finding.text.contains("Python.h")));
    }
}
