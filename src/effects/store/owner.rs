//! The name of this process on a shared filesystem, and a test whether a process on this host is alive.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use sha2::{Digest, Sha256};

use crate::units::hex;

/// Returns the name of this process in names of partial files: host label, process id and start time. The start
/// time is needed because process ids are reused.
pub(in crate::effects) fn owner() -> String {
    let pid = std::process::id();
    format!("{}.{pid}-{}", location(), start_time(pid).unwrap_or(0))
}

/// Returns the name of the place where this process runs: a label for people, the boot id of the system, and
/// the namespaces of process ids and time (a container has its own). If the system does not provide them, the
/// name is random, so that no process with an unknown id is taken for dead.
pub(in crate::effects) fn location() -> &'static str {
    static HERE: OnceLock<String> = OnceLock::new();
    HERE.get_or_init(|| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let label: String = name.chars().map(plain).take(32).collect();
        let (boot, inside) = boot_and_namespaces().unwrap_or_else(|| {
            let unknown = RandomState::new().build_hasher().finish().to_string();
            (unknown.clone(), unknown)
        });
        let short = |text: &str| hex(&Sha256::digest(text))[..12].to_owned();
        format!("{label}-{}-{}", short(&boot), short(&format!("{name}\n{inside}")))
    })
}

/// Returns the boot id and the namespaces in which process ids and start times are valid (`random(4)`,
/// `pid_namespaces(7)`, `time_namespaces(7)`); `None` if `/proc` is missing or belongs to another namespace.
fn boot_and_namespaces() -> Option<(String, String)> {
    let own = std::fs::read_link("/proc/self").ok()?;
    if own.to_str()?.parse() != Ok(std::process::id()) {
        return None;
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}"));
    let processes = space("pid").ok()?;
    // Linux before 5.6 has no time namespaces.
    let times = space("time").unwrap_or_default();
    Some((
        boot.trim().to_owned(),
        format!("{}\n{}", processes.display(), times.display()),
    ))
}

/// Returns whether `on` names a place on this boot of this system. A local lock excludes processes there too.
pub(in crate::effects) fn is_of_this_boot(on: &str) -> bool {
    let boot = |place: &str| {
        let (rest, _) = place.rsplit_once('-')?;
        Some(rest.rsplit_once('-')?.1.to_owned())
    };
    boot(on).is_some_and(|found| boot(location()) == Some(found))
}

/// Returns the start time of a process in clock ticks since boot (`proc(5)`, field 22).
pub(in crate::effects) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Returns whether the local process `PID-START` is alive. A process of another user that `hidepid` (`proc(5)`)
/// hides counts as alive.
pub(in crate::effects) fn is_alive(process: &str) -> bool {
    let parsed = process
        .split_once('-')
        .and_then(|(pid, start)| Some((pid.parse::<i32>().ok()?, start.parse::<u64>().ok()?)));
    let Some((pid, start)) = parsed else {
        return false;
    };
    let Some(id) = Pid::from_raw(pid).filter(|_| pid > 0) else {
        return false;
    };
    if test_kill_process(id) == Err(Errno::SRCH) {
        return false;
    }
    start_time(pid.unsigned_abs()).is_none_or(|found| found == start)
}
