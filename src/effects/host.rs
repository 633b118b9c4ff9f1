//! Facts about this host: operating system, memory, disk, ports, Python, GPUs. Read-only.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::effects::env::Env;
use crate::effects::nvidia_smi;
use crate::effects::process::command;
use crate::facts::{Gpu, Host, Python};
use crate::units::MIB;

/// Longest run of a foreign program; `nvidia-smi` can block for ever on a lost GPU.
const PROBE: Duration = Duration::from_secs(10);

/// The facts that a command needs; others stay unknown and cost nothing.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Directories whose free space is needed; they need not exist yet.
    pub disks: Vec<String>,
    /// Ports on 127.0.0.1.
    pub ports: Vec<u16>,
    /// True to look for Python.
    pub python: bool,
    /// True to look for GPUs.
    pub gpus: bool,
}

/// Gathers the facts that are asked for. Never fails: an unknown fact is `None`.
pub async fn gather(env: &Env, wanted: &Wanted) -> Host {
    let python = async { if wanted.python { python(env).await } else { None } };
    let gpus = async {
        if wanted.gpus {
            gpus(env).await
        } else {
            (None, None)
        }
    };
    let (python, (gpus, driver)) = tokio::join!(python, gpus);
    let memory = read("/proc/meminfo");
    let kernel = rustix::system::uname();
    Host {
        platform: platform(),
        os: os_name(&read("/etc/os-release")),
        kernel: Some(format!("kernel {}", kernel.release().to_string_lossy())),
        cpus: std::thread::available_parallelism()
            .ok()
            .and_then(|count| u32::try_from(count.get()).ok()),
        memory_bytes: meminfo(&memory, "MemTotal:"),
        memory_available_bytes: meminfo(&memory, "MemAvailable:"),
        python,
        environment: None,
        active_python: env.active_python(),
        site: None,
        variables: env.decisive.clone(),
        gpus,
        driver,
        disk_free_bytes: wanted
            .disks
            .iter()
            .filter_map(|path| Some((path.clone(), free_bytes(path)?)))
            .collect(),
        ports_taken: ports_taken(&wanted.ports),
        ports_examined: wanted.ports.iter().copied().collect(),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Returns the platform of this host, in Docker's spelling.
#[must_use]
pub fn platform() -> Option<String> {
    match rustix::system::uname().machine().to_bytes() {
        b"x86_64" => Some("linux/amd64".to_owned()),
        b"aarch64" => Some("linux/arm64".to_owned()),
        _ => None,
    }
}

fn os_name(release: &str) -> Option<String> {
    let value = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns true if a port of 127.0.0.1 can be bound now.
#[must_use]
pub fn is_port_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Returns the bytes that an unprivileged user may still write on the filesystem of `path`, which need not exist yet.
#[must_use]
pub fn free_bytes(path: &str) -> Option<u64> {
    let existing = Path::new(path).ancestors().find(|ancestor| ancestor.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Returns the memory that is available without swapping, in bytes.
pub(super) fn available_memory() -> Option<u64> {
    meminfo(&read("/proc/meminfo"), "MemAvailable:")
}

/// Returns the number of processors that this process may use.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Returns the processor time that this process used.
pub(super) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Raises the limit of open files as far as allowed: 1024 is the usual soft limit, and a stream needs four.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If it cannot be raised, it is enough for a few streams.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        );
    }
}

/// Returns those of `ports` that cannot be bound on 127.0.0.1, each with its listener as far as /proc shows it.
#[must_use]
pub fn ports_taken(ports: &[u16]) -> BTreeMap<u16, String> {
    ports
        .iter()
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, **port)).is_err())
        .map(|port| (*port, holder(*port).unwrap_or_default()))
        .collect()
}

/// Returns name and pid of the process that listens on `port`, or the user of a process that this user may not see.
pub(super) fn holder(port: u16) -> Option<String> {
    let Some(pid) = listener(port) else {
        let uid = listening_socket(port)?.uid;
        let of = if uid == rustix::process::getuid().as_raw() {
            "this user, in another namespace"
        } else {
            "another user"
        };
        return Some(format!("a process of {of} (uid {uid})"));
    };
    Some(format!(
        "{} (pid {pid})",
        read(&format!("/proc/{pid}/comm")).trim().escape_debug()
    ))
}

/// Returns the process that listens on `port`; `None` if there is none, or this user may not see it.
pub(super) fn listener(port: u16) -> Option<i32> {
    let inode = listening_socket(port)?.inode;
    let socket = PathBuf::from(format!("socket:[{inode}]"));
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let descriptors = std::fs::read_dir(entry.path().join("fd")).ok()?;
        let holds = descriptors
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link == socket));
        holds.then_some(pid)
    })
}

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct ListeningSocket {
    inode: u64,
    uid: u32,
}

fn listening_socket(port: u16) -> Option<ListeningSocket> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_in(&read(table), port))
}

/// Returns the socket that listens on `port` from a table in the format of /proc/net/tcp (`proc_net_tcp.rst`).
fn listening_in(table: &str, port: u16) -> Option<ListeningSocket> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
        let is_it = local == port && *fields.get(3)? == LISTEN;
        is_it.then(|| {
            Some(ListeningSocket {
                inode: fields.get(9)?.parse().ok()?,
                uid: fields.get(7)?.parse().ok()?,
            })
        })?
    })
}

/// Returns the executable `name` on `PATH`.
pub(super) fn on_path(env: &Env, name: &str) -> Option<PathBuf> {
    env.path
        .split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_absolute() && path.is_file())
}

/// A script with which the interpreter prints its real path, its version, and 1 if it has venv and ensurepip (which are
/// separate packages on Debian).
const PYTHON_PROBE: &str = "import sys,importlib.util as u;\
print(sys.executable,sys.version.split()[0],int(all(map(u.find_spec,('venv','ensurepip')))),sep='\\n')";

async fn python(env: &Env) -> Option<Python> {
    let found = on_path(env, "python3")?;
    let output = command::output(env, &[&found.to_string_lossy(), "-I", "-c", PYTHON_PROBE], PROBE).await?;
    let mut lines = output.lines();
    let path = lines.next().filter(|path| path.starts_with('/'))?.to_owned();
    let version = lines.next()?.to_owned();
    let venv = lines.next()? == "1";
    Some(Python { path, version, venv })
}

/// Returns the GPUs of this host; none if nvidia-smi does not tell.
pub async fn read_gpus(env: &Env) -> Vec<Gpu> {
    gpus(env).await.0.unwrap_or_default()
}

async fn gpus(env: &Env) -> (Option<Vec<Gpu>>, Option<String>) {
    let Some(smi) = on_path(env, "nvidia-smi") else {
        // Without the tool and without the kernel module there is no usable NVIDIA GPU; with the module there may be
        // some, which cannot be counted.
        let module = Path::new("/proc/driver/nvidia").exists();
        return (if module { None } else { Some(Vec::new()) }, None);
    };
    let smi = smi.to_string_lossy();
    let query = "--query-gpu=index,name,memory.total,memory.used,compute_cap,driver_version,mig.mode.current";
    let argv = [&*smi, query, "--format=csv,noheader,nounits"];
    let health = [&*smi, "-q", "-x"];
    let (rows, health) = tokio::join!(
        command::output(env, &argv, PROBE),
        command::output(env, &health, PROBE)
    );
    let (mut gpus, driver) = match rows {
        Some(output) => parse_gpus(&output),
        None => (None, None),
    };
    let health = health.and_then(|xml| nvidia_smi::read(&xml)).unwrap_or_default();
    if let Some(gpus) = &mut gpus
        && gpus.len() == health.len()
    {
        for (gpu, health) in gpus.iter_mut().zip(health) {
            gpu.health = Some(health);
        }
    }
    (gpus, driver)
}

fn parse_gpus(csv: &str) -> (Option<Vec<Gpu>>, Option<String>) {
    let mut driver = None;
    let gpus: Option<Vec<Gpu>> = csv
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [index, name, memory, used, capability, version, ref mig @ ..] = fields[..] else {
                return None;
            };
            driver = Some(version.to_owned());
            Some(Gpu {
                index: index.parse().ok()?,
                name: name.to_owned(),
                memory_bytes: memory.parse::<u64>().ok()?.checked_mul(MIB)?,
                // `[N/A]` on GPUs that share the host's memory.
                memory_used_bytes: used.parse::<u64>().ok().and_then(|mib| mib.checked_mul(MIB)),
                compute_capability: capability.to_owned(),
                // `[N/A]` on GPUs that have no MIG.
                mig: (mig == ["Enabled"]).then_some(true),
                health: None,
            })
        })
        .collect();
    (gpus, driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvidia_smi_rows_are_read() {
        let rows = "0, NVIDIA B200, 183359, 4, 10.0, 575.57.08, Enabled\n1, NVIDIA B200, 183359, [N/A], 10.0, 575.57.08, [N/A]\n";
        let (gpus, driver) = parse_gpus(rows);
        assert_eq!(driver.as_deref(), Some("575.57.08"));
        let gpus = gpus.unwrap();
        assert_eq!(gpus[1].memory_bytes, 183_359 * MIB);
        let used: Vec<_> = gpus.iter().map(|gpu| gpu.memory_used_bytes).collect();
        assert_eq!(used, [Some(4 * MIB), None]);
        let sliced: Vec<_> = gpus.iter().map(Gpu::is_sliced).collect();
        assert_eq!(sliced, [true, false]);
        assert_eq!(parse_gpus("NVIDIA-SMI has failed\n").0, None);
    }

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = ports_taken(&[port]);
        assert!(
            taken[&port].contains(&format!("pid {}", std::process::id())),
            "{taken:?}"
        );
        drop(listener);
        assert_eq!(ports_taken(&[port]), BTreeMap::new());
    }

    #[test]
    fn the_user_of_a_listener_is_in_its_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:7530 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 25 1 0\n";
        let socket = ListeningSocket { inode: 25, uid: 1001 };
        assert_eq!(listening_in(table, 0x7530), Some(socket));
        assert_eq!(listening_in(table, 80), None);
    }

    #[test]
    fn system_files_are_read() {
        assert_eq!(meminfo("MemTotal:       24 kB\n", "MemTotal:"), Some(24 * 1024));
        assert_eq!(
            os_name("ID=x\nPRETTY_NAME=\"Debian 12\"\n").as_deref(),
            Some("Debian 12")
        );
        assert!(free_bytes("/does/not/exist/yet").is_some());
    }
}
