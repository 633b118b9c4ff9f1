//! Shards over loopback from `dsr1 mirror`, compared with nginx with sendfile, alternately and to the same clients:
//! wall time, and CPU time of the server per gigabyte. Run `cargo bench --bench mirror`. It needs nginx, curl and 4 GB
//! in `/dev/shm` (`DSR1_BENCH_DIR` sets another directory, `DSR1_BENCH_MIB` the size of a shard, `DSR1_BENCH_RUNS` the
//! number of runs, default 5, `DSR1_BENCH_CLIENTS` the numbers of clients, default 1, 8 and 64).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and reports a failure with a panic"
)]

mod measured;
#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, Stdio};
use std::time::Instant;

use measured::median;
use support::nginx::Nginx;
use support::{Home, cache};

const REPO: &str = "bench/shards";
const SHARDS: usize = 4;
/// Clock ticks per second in `/proc`, 100 on every Linux.
const TICKS: f64 = 100.0;

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Returns the CPU seconds of a process and of its children so far.
fn cpu(pid: u32) -> f64 {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let stat = read("stat");
    let own: f64 = stat.rsplit_once(')').map_or(0.0, |(_, fields)| {
        let fields: Vec<&str> = fields.split_whitespace().collect();
        fields[11..13]
            .iter()
            .map(|field| field.parse::<f64>().unwrap())
            .sum::<f64>()
            / TICKS
    });
    let children = read(&format!("task/{pid}/children"));
    let of_children = children
        .split_whitespace()
        .map(|child| cpu(child.parse().unwrap()));
    own + of_children.sum::<f64>()
}

/// Fetches every shard once and discards it. Each client fetches its slice of one shard after the other over one
/// connection.
fn fetch(urls: &[String], size: usize, clients: usize) -> f64 {
    let slice = size.div_ceil(clients);
    let begun = Instant::now();
    let curls: Vec<_> = (0..clients)
        .map(|client| {
            let range = format!("{}-{}", client * slice, ((client + 1) * slice).min(size) - 1);
            let mut curl = Command::new("curl");
            curl.args(["--fail", "--silent", "--show-error", "--range", &range]);
            for url in urls {
                curl.args(["--output", "/dev/null", url]);
            }
            curl.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut curl in curls {
        assert!(curl.wait().unwrap().success());
    }
    begun.elapsed().as_secs_f64()
}

fn main() {
    let (mib, runs) = (setting("DSR1_BENCH_MIB", 512), setting("DSR1_BENCH_RUNS", 5));
    let clients = match setting("DSR1_BENCH_CLIENTS", 0) {
        0 => vec![1, 8, 64],
        number => vec![number],
    };
    let parent = std::env::var("DSR1_BENCH_DIR").unwrap_or_else(|_| "/dev/shm".to_owned());
    let root = tempfile::Builder::new()
        .prefix("dsr1-bench-")
        .tempdir_in(&parent)
        .unwrap();
    // The workers of an nginx that root starts run as nobody.
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let size = mib << 20;
    let hub = root.path().join("hub");
    let files = root.path().join("files");
    std::fs::create_dir_all(&files).unwrap();
    for number in 0..SHARDS {
        let bytes = support::hub::noise(u32::try_from(number).unwrap(), size);
        cache::write(&hub, REPO, &[(format!("shard-{number}"), bytes.clone())]);
        std::fs::hard_link(
            cache::blob(&hub, REPO, &bytes),
            files.join(format!("shard-{number}")),
        )
        .unwrap();
    }
    let nginx = Nginx::serve(root.path(), REPO, cache::COMMIT, &[]);
    let home = Home::new();
    let (mirror, endpoint) = cache::mirror(&home, &hub, &["--progress", "quiet"]);
    let urls = |base: &str| -> Vec<String> {
        (0..SHARDS)
            .map(|number| format!("{base}/shard-{number}"))
            .collect()
    };
    let sides = [
        (
            "dsr1 mirror",
            urls(&format!("{endpoint}/{REPO}/resolve/main")),
            u32::try_from(mirror.pid()).unwrap(),
        ),
        ("nginx, sendfile on", urls(&nginx.cdn), nginx.pid()),
    ];
    #[expect(clippy::cast_precision_loss, reason = "gigabytes")]
    let gigabytes = (SHARDS * size) as f64 / 1e9;
    println!("{SHARDS} x {mib} MiB over loopback, in {parent}, medians of {runs} runs, alternating");
    println!(
        "{:>7} {:<20} {:>8} {:>8} {:>14}",
        "clients", "", "wall s", "GB/s", "CPU s per GB"
    );
    for clients in clients {
        let mut found = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        for run in 0..=runs {
            for ((_, urls, pid), (walls, costs)) in sides.iter().zip(&mut found) {
                let before = cpu(*pid);
                let wall = fetch(urls, size, clients);
                let cost = cpu(*pid) - before;
                // The first run does not count, because it fills caches.
                if run > 0 {
                    walls.push(wall);
                    costs.push(cost / gigabytes);
                }
            }
        }
        let middle = found.map(|(mut walls, mut costs)| (median(&mut walls), median(&mut costs)));
        for ((name, ..), (wall, cost)) in sides.iter().zip(middle) {
            println!(
                "{clients:>7} {name:<20} {wall:8.2} {:8.2} {cost:14.3}",
                gigabytes / wall
            );
        }
        let [ours, theirs] = middle;
        println!(
            "{clients:>7} {:<20} {:8.2} {:>8} {:14.2}",
            "ours / nginx",
            ours.0 / theirs.0,
            "",
            ours.1 / theirs.1
        );
    }
}
