//! This process as other hosts know it, and whether a process of this host lives.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use sha2::{Digest, Sha256};

use crate::units::hex;

/// This process, as parts name it: where it runs, process id, start time. A process id alone comes back.
pub(in crate::effects) fn owner() -> String {
    let pid = std::process::id();
    format!("{}.{pid}-{}", here(), started(pid).unwrap_or(0))
}

/// Where this process runs, as parts name it: a label for people, this boot of a system, and in it the namespace of
/// process ids and times (a container has its own). Where the system does not tell, it is a place of its own each time,
/// so that nobody is taken for dead whose process id we cannot know.
pub(in crate::effects) fn here() -> &'static str {
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
        let (boot, inside) = place().unwrap_or_else(|| {
            let unknown = RandomState::new().build_hasher().finish().to_string();
            (unknown.clone(), unknown)
        });
        let short = |text: &str| hex(&Sha256::digest(text))[..12].to_owned();
        format!("{label}-{}-{}", short(&boot), short(&format!("{name}\n{inside}")))
    })
}

/// This boot, and the namespaces in which a process id and a start time mean something (`random(4)`,
/// `pid_namespaces(7)`, `time_namespaces(7)`); `None` where `/proc` is not there, or that of another namespace.
fn place() -> Option<(String, String)> {
    let own = std::fs::read_link("/proc/self").ok()?;
    if own.to_str()?.parse() != Ok(std::process::id()) {
        return None;
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}"));
    let processes = space("pid").ok()?;
    // Systems before Linux 5.6 have no namespaces of time.
    let times = space("time").unwrap_or_default();
    Some((
        boot.trim().to_owned(),
        format!("{}\n{}", processes.display(), times.display()),
    ))
}

/// Whether `on` is a place of this boot of this system: a lock here keeps whoever runs there out too.
pub(in crate::effects) fn is_of_this_boot(on: &str) -> bool {
    let boot = |place: &str| {
        let (rest, _) = place.rsplit_once('-')?;
        Some(rest.rsplit_once('-')?.1.to_owned())
    };
    boot(on).is_some_and(|found| boot(here()) == Some(found))
}

/// Start time of a process in clock ticks since boot (`proc(5)`, field 22).
pub(in crate::effects) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether the process `PID-START` of here lives. Another user's may be hidden (`hidepid` of `proc(5)`): it lives.
pub(in crate::effects) fn lives(process: &str) -> bool {
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
    started(pid.unsigned_abs()).is_none_or(|found| found == start)
}
