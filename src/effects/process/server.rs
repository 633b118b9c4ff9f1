//! The engine as a child process that outlives dsr1, found again through `/proc`.
//!
//! A server is the leader of a process group whose standard output is `<state>/servers/<name>.log`; the log's
//! first line holds its labels. So no pid file can be stale, and no database is needed.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

use crate::effects::ended_logs;
use crate::effects::env::Env;
use crate::effects::lines::Splitter;
use crate::effects::process::command;
use crate::error::{At, Error, Kind, Result};
use crate::plan::{LOG_HEADER, StartProcess, log_header};

/// Last line of the log of a server that was stopped on purpose.
const STOPPED: &str = "# dsr1 stopped";

/// A server that left a log.
#[derive(Debug, Clone)]
pub(in crate::effects) struct Known {
    /// Its log.
    pub(in crate::effects) log: PathBuf,
    /// Its labels.
    pub(in crate::effects) labels: BTreeMap<String, String>,
    /// Its process, if it runs.
    pub(in crate::effects) running: Option<Pid>,
    /// True if it was stopped on purpose.
    pub(in crate::effects) stopped: bool,
}

/// Starts the engine and returns its process (and group) id.
///
/// # Errors
/// [`Kind::Server`] when a server of that name runs; [`Kind::Host`] when it cannot be started.
pub(in crate::effects) fn start(step: &StartProcess, env: &Env) -> Result<Pid> {
    let log = Path::new(&step.log);
    let failed = || format!("cannot start {}", step.name);
    if let Some(pid) = find(log) {
        return Err(Error::new(Kind::Server, format!("{} runs already", step.name))
            .cause(format!("process {pid} writes the log `{}`", step.log))
            .hint(format!("dsr1 stop {}", step.name)));
    }
    std::fs::create_dir_all(&step.workdir).at(Kind::Host, failed)?;
    let folder = log.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).at(Kind::Host, failed)?;
    let ended = ended_logs::make_room(folder, &step.name);
    if log.exists() {
        std::fs::rename(log, ended).at(Kind::Host, failed)?;
    }
    // Mode 0600, because prompts may be logged. Append, because the processes of the engine share the file.
    let mut file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(log)
        .at(Kind::Host, failed)?;
    writeln!(file, "{}", log_header(&step.labels)).at(Kind::Host, failed)?;
    let argv: Vec<&str> = step.argv.iter().map(String::as_str).collect();
    let mut extra = step.env.clone();
    if let Some(dir) = temporary(log) {
        remove_temporary(log);
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .at(Kind::Host, failed)?;
        extra.insert("TMPDIR".to_owned(), dir.to_string_lossy().into_owned());
    }
    let mut command = command::new(env, &argv, &extra)?;
    let stderr = file.try_clone().at(Kind::Host, failed)?;
    command
        .current_dir(&step.workdir)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(stderr);
    let child = command.spawn().at(Kind::Host, || {
        format!("cannot run `{}`", step.argv.first().map_or("", String::as_str))
    })?;
    // Dropping the handle neither ends nor reaps the engine; `reap` reaps it.
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::new(Kind::Internal, format!("{} has no process id", step.name)))
}

/// Longest path of a folder for temporary files: the engine makes sockets in it, whose paths have 107 bytes at most
/// (unix(7)), and their names less than 24.
const LONGEST: usize = 80;

/// Returns the folder for the temporary files of the server whose log is `log`. The engine leaves sockets and its metrics
/// there: 150 files in 30 starts (SGLang 0.5.23). `None` if its path is too long; then they are where `TMPDIR` says.
fn temporary(log: &Path) -> Option<PathBuf> {
    let dir = log.with_extension(TEMPORARY);
    (dir.as_os_str().len() <= LONGEST).then_some(dir)
}

/// Extension of that folder.
pub(in crate::effects) const TEMPORARY: &str = "tmp";

/// Removes the temporary files of a server that has ended.
fn remove_temporary(log: &Path) {
    let _ = std::fs::remove_dir_all(log.with_extension(TEMPORARY));
}

/// Returns true if a server runs whose log is `log`.
pub(in crate::effects) fn is_running(log: &Path) -> bool {
    find(log).is_some()
}

/// Returns the process group leader whose standard output is `log`.
#[must_use]
pub(in crate::effects) fn find(log: &Path) -> Option<Pid> {
    let log = std::fs::metadata(log).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        (writes_to(&entry.path(), "1", &log) && group(pid)? == pid).then(|| Pid::from_raw(pid))?
    })
}

/// Returns true if a process is not gone.
#[must_use]
pub(in crate::effects) fn is_alive(pid: i32) -> bool {
    group(pid).is_some()
}

/// Returns the process group of a process that is not gone (field 5 of /proc/PID/stat; the name before it may hold
/// spaces). The first thread of a killed process may be a zombie (field 3) while others (field 20) still free memory.
fn group(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let threads: u32 = fields.get(17)?.parse().ok()?;
    let is_gone = fields[0] == "Z" && threads <= 1;
    (!is_gone).then(|| fields.get(2)?.parse().ok())?
}

/// Returns true if a process writes to a log with this descriptor. Files are compared and not paths: a container may have
/// another file of the same path.
fn writes_to(process: &Path, descriptor: &str, log: &Metadata) -> bool {
    std::fs::metadata(process.join("fd").join(descriptor))
        .is_ok_and(|file| (file.dev(), file.ino()) == (log.dev(), log.ino()))
}

/// Returns the logs in `<state>/servers`, sorted, without those of earlier starts.
#[must_use]
pub(in crate::effects) fn logs(state: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(Path::new(state).join("servers")) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Only a regular file can be read without waiting.
        name.ends_with(".log") && !ended_logs::is_ended(&name) && path.is_file()
    });
    found.sort();
    found
}

/// Returns every server that left a log in `<state>/servers`.
#[must_use]
pub(in crate::effects) fn list(state: &str) -> Vec<Known> {
    let known = |log: PathBuf| {
        Some(Known {
            labels: read_labels(&log)?,
            running: find(&log),
            stopped: is_stopped(&log),
            log,
        })
    };
    logs(state).into_iter().filter_map(known).collect()
}

/// Returns true if the server of a log was stopped on purpose.
#[must_use]
pub(in crate::effects) fn is_stopped(log: &Path) -> bool {
    tail(log, 1).first().is_some_and(|line| line == STOPPED)
}

fn read_labels(log: &Path) -> Option<BTreeMap<String, String>> {
    let mut first = String::new();
    BufReader::new(File::open(log).ok()?.take(64 * 1024))
        .read_line(&mut first)
        .ok()?;
    serde_json::from_str(first.strip_prefix(LOG_HEADER)?.trim_end()).ok()
}

/// Returns the last `count` lines of a log, at most those of its last 256 KiB.
#[must_use]
pub(in crate::effects) fn tail(log: &Path, count: usize) -> Vec<String> {
    const WINDOW: u64 = 256 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(WINDOW);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(WINDOW).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let (mut lines, mut found) = (Splitter::default(), Vec::new());
    lines.push(&read().unwrap_or_default(), &mut |line| {
        found.push(line.to_owned());
    });
    lines.finish(&mut |line| found.push(line.to_owned()));
    let skip = found.len().saturating_sub(count);
    found.split_off(skip)
}

/// Returns every process of the server: its group, and others that write to its log (a child may have left the group).
pub(in crate::effects) fn members(log: &Path, leader: Option<Pid>) -> Vec<i32> {
    let leader = leader.map(|pid| pid.as_raw_nonzero().get());
    let log = std::fs::metadata(log).ok();
    let us = i32::try_from(std::process::id()).ok();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let group = group(pid)?;
            let path = entry.path();
            let writes = |log| {
                ["1", "2"]
                    .iter()
                    .any(|descriptor| writes_to(&path, descriptor, log))
            };
            // `dsr1 stop 2>> LOG` writes to the log, too.
            let is_member = Some(group) == leader || log.as_ref().is_some_and(writes);
            (is_member && Some(pid) != us).then_some(pid)
        })
        .collect()
}

/// Clock ticks per second in `proc_pid_stat(5)`, on x86-64 and arm64.
const TICKS: u64 = 100;

/// Returns the seconds since a process started.
#[must_use]
pub(in crate::effects) fn age_s(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // `starttime` is field 22, and field 3 is the first behind the name.
    let begun: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let now: u64 = uptime.split('.').next()?.parse().ok()?;
    now.checked_sub(begun / TICKS)
}

/// The compilers that build kernels at their first use, by the names of their processes.
pub(in crate::effects) const COMPILERS: [&str; 8] = [
    "nvcc",
    "cicc",
    "ptxas",
    "cudafe++",
    "fatbinary",
    "ninja",
    "cc1plus",
    "nvlink",
];

/// Signs of life of a server's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::effects) struct Signs {
    /// Processor time in clock ticks plus bytes read and written: any change is a sign of life.
    pub activity: u64,
    /// True while a compiler runs.
    pub compiles: bool,
    /// A process that a signal has stopped (SIGSTOP); others may wait for it without end.
    pub stopped: Option<i32>,
}

/// Returns the signs of life of a server.
#[must_use]
pub(in crate::effects) fn signs(log: &Path, leader: Pid) -> Signs {
    let mut signs = Signs::default();
    for pid in members(log, Some(leader)) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let stat = read("stat");
        let Some((head, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        signs.compiles |= COMPILERS.contains(&name);
        // `state` is field 3 of proc_pid_stat(5), the first here; utime and stime are fields 14 and 15.
        let fields: Vec<&str> = rest.split(' ').collect();
        if fields.first() == Some(&"T") {
            signs.stopped = Some(pid);
        }
        let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<u64>().ok());
        let io = read("io");
        let bytes = |key: &str| {
            io.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        if let (Some(user), Some(system)) = (ticks(11), ticks(12)) {
            signs.activity += user + system + bytes("rchar:") + bytes("wchar:");
        }
    }
    signs
}

/// Longest wait for killed processes to be gone.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Stops the server whose log is `log`: sends SIGTERM to the leader, which drains, and SIGKILL to the group after `drain`
/// and to every remaining process at the end, and waits until they are gone. Returns true if the leader had to be killed.
pub(in crate::effects) async fn stop(log: &Path, drain: Duration) -> bool {
    let leader = find(log);
    let killed = match leader {
        Some(leader) => end_leader(log, leader, drain).await,
        None => false,
    };
    // Also if the leader ended by itself: its children may still run.
    if let Some(leader) = leader {
        let _ = kill_process_group(leader, Signal::KILL);
    }
    // A process that is killed holds its port and its GPU memory until the kernel has freed them.
    let begun = Instant::now();
    loop {
        let left = members(log, leader);
        for pid in left.iter().copied().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if left.is_empty() || begun.elapsed() >= LAST_WAIT {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    remove_temporary(log);
    if let Ok(mut file) = OpenOptions::new().append(true).open(log) {
        // The last line of a killed process may have no end.
        let ends = ends_with_newline(log);
        let _ = writeln!(file, "{}{STOPPED}", if ends { "" } else { "\n" });
    }
    killed
}

/// Returns true if a file is empty or ends with a newline.
fn ends_with_newline(path: &Path) -> bool {
    let last = || -> std::io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last().is_ok_and(|byte| byte == b'\n') || std::fs::metadata(path).is_ok_and(|meta| meta.len() == 0)
}

/// Ends the leader; returns true if it had to be killed.
async fn end_leader(log: &Path, leader: Pid, drain: Duration) -> bool {
    let begun = Instant::now();
    // Not to the group: the scheduler would end before the requests that the leader still waits for.
    let _ = kill_process(leader, Signal::TERM);
    let mut killed = false;
    loop {
        let _ = reap(leader);
        if find(log).is_none() {
            return killed;
        }
        if begun.elapsed() >= drain && !killed {
            killed = true;
            let _ = kill_process_group(leader, Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Reaps a child and returns in words how it ended; `None` while it runs, or if it is not a child of this process.
#[must_use]
pub(in crate::effects) fn reap(pid: Pid) -> Option<String> {
    let (_, status) = waitpid(Some(pid), WaitOptions::NOHANG).ok().flatten()?;
    Some(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => {
            "signal 9 (SIGKILL): killed by a user, or by the kernel because memory ran out".to_owned()
        }
        (None, Some(15)) => {
            "signal 15 (SIGTERM): another process asked it to end, perhaps `dsr1 stop`".to_owned()
        }
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown reason".to_owned(),
    })
}
