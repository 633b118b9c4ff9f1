//! Time and memory of a process from its start to its end.
#![allow(unreachable_pub, dead_code, reason = "each benchmark uses a part")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Returns another build to compare with, from `DSR1_BENCH_BEFORE`: dsr1, or for the benchmark of builds that
/// benchmark's program.
pub fn before() -> Option<PathBuf> {
    std::env::var_os("DSR1_BENCH_BEFORE").map(PathBuf::from)
}

/// Clock ticks per second in `/proc` (`sysconf(_SC_CLK_TCK)`, 100 on every Linux).
const TICKS: u64 = 100;

/// The costs of one run.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub wall: Duration,
    /// CPU time of the process and of its children that ended.
    pub cpu: Duration,
    /// Peak memory of the process or of one of its children, in bytes.
    pub memory: u64,
}

/// Runs a command, which must succeed.
pub fn measure(mut command: Command) -> Measured {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut errors).unwrap_or_default());
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
    let mut memory = 0;
    let (wall, cpu) = loop {
        memory = memory.max(most_memory(child.id()));
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // The process is a zombie, so its times are complete.
        if fields[0] == "Z" {
            let ticks: u64 = fields[11..15]
                .iter()
                .map(|field| field.parse::<u64>().unwrap())
                .sum();
            break (begun.elapsed(), Duration::from_millis(ticks * 1000 / TICKS));
        }
        // A long run is looked at less often: the looks would be a load of their own.
        let look = (begun.elapsed() / 100).clamp(Duration::from_millis(1), Duration::from_millis(100));
        std::thread::sleep(look);
    };
    let status = child.wait().unwrap();
    let said = reader.join().unwrap();
    assert!(status.success(), "{command:?}: {said}");
    Measured { wall, cpu, memory }
}

fn most_memory(pid: u32) -> u64 {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = read("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let own = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        * 1024;
    let children = read(&format!("task/{pid}/children"));
    let of_children = children
        .split_whitespace()
        .filter_map(|child| Some(most_memory(child.parse().ok()?)));
    of_children.fold(own, u64::max)
}

/// Returns the median.
pub fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}
