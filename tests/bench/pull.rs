//! Eight shards of 512 MiB over loopback, fetched by dsr1 and by its peers, alternately: wall time, CPU time, memory.
//! Run `cargo bench --bench pull`. It needs nginx, aria2c, curl, Python for `hf`, and 10 GB in `/dev/shm`
//! (`DSR1_BENCH_DIR` sets another directory, `DSR1_BENCH_MIB` the size of a shard, `DSR1_BENCH_RUNS` the number of
//! runs, default 5, `DSR1_BENCH_ONLY` selects the peers whose names contain its value, and `DSR1_BENCH_BEFORE` names another dsr1
//! that is a peer).
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

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use measured::{Measured, before, measure, median};
use sha2::Digest;
use support::nginx::Nginx;

const REPO: &str = "bench/shards";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SHARDS: usize = 8;
/// The argument that makes this program the peer that uses only hf-hub.
const HF_HUB: &str = "--hf-hub";

/// Name of the peer that is another build of dsr1.
const BEFORE: &str = "dsr1 pull, the build before";

/// The argument that makes this program the bare peer.
const BARE: &str = "--bare";

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Returns the name of a shard.
fn shard(number: usize) -> String {
    format!("model-{:05}-of-{SHARDS:05}.safetensors", number + 1)
}

/// Writes shards of one tensor of noise, and returns the listing and the hashes.
fn shards(dir: &Path, mib: usize) -> (Vec<serde_json::Value>, Vec<String>) {
    std::fs::create_dir_all(dir).unwrap();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let (mut listing, mut hashes) = (Vec::new(), Vec::new());
    for number in 0..SHARDS {
        let mut file = std::fs::File::create(dir.join(shard(number))).unwrap();
        let mut hash = sha2::Sha256::new();
        for number in 0..mib {
            let mut bytes = Vec::with_capacity(1 << 20);
            if number == 0 {
                let data = (mib << 20) - 8 - 248;
                let header =
                    serde_json::json!({ "w": { "dtype": "U8", "shape": [data], "data_offsets": [0, data] } });
                bytes.extend_from_slice(&248_u64.to_le_bytes());
                bytes.extend(format!("{:<248}", header.to_string()).bytes());
            }
            while bytes.len() < 1 << 20 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend_from_slice(&state.to_le_bytes());
            }
            hash.update(&bytes);
            file.write_all(&bytes).unwrap();
        }
        let (hash, size) = (dsr1::units::hex(&hash.finalize()), mib << 20);
        listing.push(serde_json::json!({
            "type": "file", "path": shard(number), "size": size, "oid": "0".repeat(40),
            "lfs": { "oid": hash, "size": size, "pointerSize": 130 },
        }));
        hashes.push(hash);
    }
    (listing, hashes)
}

/// The peer that uses only hf-hub.
fn hf_hub_alone(endpoint: &str, cache: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = hf_hub::HFClient::builder()
            .endpoint(endpoint)
            .cache_dir(cache)
            .build()
            .unwrap();
        #[expect(clippy::disallowed_methods, reason = "this call is measured")]
        let pulled = client.model("bench", "shards").snapshot_download().send().await;
        pulled.unwrap();
    });
}

/// The bare peer: it only receives, hashes and writes, in at least four threads, without retry, resume, sync or
/// publishing. It shows the limit of the machine.
fn bare(arguments: &[String]) {
    let (dir, shards) = arguments.split_first().unwrap();
    let queue = std::sync::Mutex::new(shards.chunks_exact(3));
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().unwrap().get();
        for _ in 0..processors.clamp(4, SHARDS) {
            scope.spawn(|| {
                let mut buffer = vec![0; 512 << 10];
                loop {
                    let next = queue.lock().unwrap().next();
                    let Some([host, path, hash]) = next else { return };
                    let found = bare_shard(host, path, Path::new(dir), &mut buffer);
                    assert_eq!(found, *hash);
                }
            });
        }
    });
}

fn bare_shard(host: &str, path: &str, dir: &Path, buffer: &mut [u8]) -> String {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut file = std::fs::File::create(dir.join(path.trim_start_matches('/'))).unwrap();
    let (mut hash, mut head) = (sha2::Sha256::new(), Some(Vec::new()));
    loop {
        let count = stream.read(buffer).unwrap();
        if count == 0 {
            return dsr1::units::hex(&hash.finalize());
        }
        let mut bytes = &buffer[..count];
        if let Some(seen) = &mut head {
            seen.extend_from_slice(bytes);
            let end = seen.windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = end else { continue };
            // The bytes after the head are at the end of the last read.
            let body = seen.len() - end - 4;
            bytes = &bytes[bytes.len() - body..];
            head = None;
        }
        hash.update(bytes);
        file.write_all(bytes).unwrap();
    }
}

/// Prints the number of processors that a client needs for a rate, computed from its CPU time for these bytes.
fn limits(cpu: f64, gigabytes: f64) {
    println!(
        "processors that dsr1 needs for a rate, at {:.2} CPU seconds per GB here:",
        cpu / gigabytes
    );
    for (rate, what) in [
        (1.0, "10 GbE"),
        (10.0, "a fast array of disks"),
        (12.5, "100 GbE"),
    ] {
        println!(
            "{rate:5.1} GB/s ({what}): {:4.1} processors",
            rate * cpu / gigabytes
        );
    }
}

/// One side: its command for an empty directory.
struct Side<'a> {
    name: &'static str,
    verifies: bool,
    command: Box<dyn Fn(&Path) -> Command + 'a>,
}

/// Returns the shipped binary (`cargo static`) if it was built, otherwise the binary of this build.
fn binary() -> PathBuf {
    let shipped = support::target().join("x86_64-unknown-linux-gnu/dist/dsr1");
    if shipped.exists() {
        shipped
    } else {
        PathBuf::from(env!("CARGO_BIN_EXE_dsr1"))
    }
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euc", script]);
    command
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, endpoint, cache] = args.as_slice()
        && flag == HF_HUB
    {
        return hf_hub_alone(endpoint, cache);
    }
    if let [_, flag, rest @ ..] = args.as_slice()
        && flag == BARE
    {
        return bare(rest);
    }
    let (mib, runs) = (setting("DSR1_BENCH_MIB", 512), setting("DSR1_BENCH_RUNS", 5));
    let parent = std::env::var("DSR1_BENCH_DIR").unwrap_or_else(|_| "/dev/shm".to_owned());
    let root = tempfile::Builder::new()
        .prefix("dsr1-bench-")
        .tempdir_in(&parent)
        .unwrap();
    // The workers of an nginx that root starts run as nobody.
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let source = root.path().join("files");
    let (listing, hashes) = shards(&source, mib);
    let nginx = Nginx::serve(root.path(), REPO, COMMIT, &listing);
    let (endpoint, hf) = (nginx.endpoint.clone(), support::hf());
    let mut sums = String::new();
    let (mut urls, mut checked, mut curl) = (String::new(), String::new(), String::new());
    for (number, hash) in hashes.iter().enumerate() {
        let url = format!("{endpoint}/{REPO}/resolve/{COMMIT}/{}", shard(number));
        let _ = writeln!(sums, "{hash}  {}", shard(number));
        let _ = writeln!(urls, "{url}\n  out={}", shard(number));
        let _ = writeln!(
            checked,
            "{url}\n  out={}\n  checksum=sha-256={hash}",
            shard(number)
        );
        let _ = write!(curl, " {url} -o {}", shard(number));
    }
    let file = |name: &str, text: &str| -> PathBuf {
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (sums, urls, checked) = (
        file("sums", &sums),
        file("urls", &urls),
        file("checked", &checked),
    );
    let python = |dir: &Path, then: &str| {
        let mut command = sh(&format!(
            "{hf} download {REPO} > /dev/null 2>&1; {then}",
            hf = hf.display()
        ));
        command
            .env("HF_ENDPOINT", &endpoint)
            .env("HF_HOME", dir)
            .env("HF_HUB_DISABLE_XET", "1");
        command
    };
    let aria = |dir: &Path, list: &Path| {
        sh(&format!(
            "cd {}; aria2c -q -x16 -s16 -j8 --file-allocation=none -i {}",
            dir.display(),
            list.display()
        ))
    };
    let summed = |dir: &Path, fetch: &str| {
        sh(&format!(
            "cd {}; {fetch}; sha256sum --quiet -c {}",
            dir.display(),
            sums.display()
        ))
    };
    let fetch_curl = format!("curl -sfZL --parallel-max 8 {curl}");
    let copy = format!("cp {}/*.safetensors .", source.display());
    let pull = |program: &Path, dir: &Path| {
        let mut command = Command::new(program);
        command
            .args(["pull", REPO, "--endpoint", &endpoint, "--progress", "quiet"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", dir);
        command
    };
    let before = before();
    let sides = [
        Side {
            name: "dsr1 pull",
            verifies: true,
            command: Box::new(|dir| pull(&binary(), dir)),
        },
        Side {
            name: BEFORE,
            verifies: true,
            command: Box::new(|dir| pull(before.as_deref().unwrap(), dir)),
        },
        Side {
            name: "the bound: recv, SHA-256, write",
            verifies: true,
            command: Box::new(|dir| {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.arg(BARE).arg(dir);
                let host = nginx.cdn.trim_start_matches("http://");
                for (number, hash) in hashes.iter().enumerate() {
                    command.args([host, &format!("/{}", shard(number)), hash]);
                }
                command
            }),
        },
        Side {
            name: "hf download",
            verifies: false,
            command: Box::new(|dir| python(dir, "true")),
        },
        Side {
            name: "hf download, hf cache verify",
            verifies: true,
            command: Box::new(|dir| {
                python(
                    dir,
                    &format!("{} cache verify {REPO} > /dev/null 2>&1", hf.display()),
                )
            }),
        },
        Side {
            name: "hf-hub alone",
            verifies: false,
            command: Box::new(|dir| {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args([HF_HUB, &endpoint]).arg(dir);
                command
            }),
        },
        Side {
            name: "aria2c -x16 -s16 -j8",
            verifies: false,
            command: Box::new(|dir| aria(dir, &urls)),
        },
        Side {
            name: "aria2c with checksums",
            verifies: true,
            command: Box::new(|dir| aria(dir, &checked)),
        },
        Side {
            name: "curl -Z",
            verifies: false,
            command: Box::new(|dir| sh(&format!("cd {}; {fetch_curl}", dir.display()))),
        },
        Side {
            name: "curl -Z, sha256sum",
            verifies: true,
            command: Box::new(|dir| summed(dir, &fetch_curl)),
        },
        Side {
            name: "cp, no network",
            verifies: false,
            command: Box::new(|dir| sh(&format!("cd {}; {copy}", dir.display()))),
        },
        Side {
            name: "cp, sha256sum",
            verifies: true,
            command: Box::new(|dir| summed(dir, &copy)),
        },
    ];
    let only = std::env::var("DSR1_BENCH_ONLY").unwrap_or_default();
    let (ours, others) = sides.split_first().unwrap();
    let others = others.iter().filter(|side| {
        if side.name == BEFORE {
            before.is_some()
        } else {
            side.name.contains(&only)
        }
    });
    let sides: Vec<&Side> = std::iter::once(ours).chain(others).collect();
    println!("{}", binary().display());
    println!("{SHARDS} x {mib} MiB over loopback, in {parent}, medians of {runs} runs, alternating");
    let mut found: Vec<Vec<Measured>> = sides.iter().map(|_| Vec::new()).collect();
    for _ in 0..runs {
        for (side, found) in sides.iter().zip(&mut found) {
            let dir = tempfile::Builder::new()
                .prefix("to-")
                .tempdir_in(root.path())
                .unwrap();
            found.push(measure((side.command)(dir.path())));
        }
    }
    let middle =
        |runs: &[Measured], of: fn(&Measured) -> f64| median(&mut runs.iter().map(of).collect::<Vec<_>>());
    let ours = middle(&found[0], |run| run.wall.as_secs_f64());
    println!(
        "{:<32} {:>8} {:>8} {:>8}  verified  times ours",
        "", "wall s", "CPU s", "MB"
    );
    for (side, runs) in sides.iter().zip(&found) {
        let wall = middle(runs, |run| run.wall.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        let memory = middle(runs, |run| run.memory as f64 / 1e6);
        println!(
            "{:<32} {wall:8.2} {:8.2} {memory:8.1}  {:<8} {:10.2}",
            side.name,
            middle(runs, |run| run.cpu.as_secs_f64()),
            if side.verifies { "yes" } else { "no" },
            wall / ours
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "gigabytes")]
    let gigabytes = ((SHARDS * mib) << 20) as f64 / 1e9;
    limits(middle(&found[0], |run| run.cpu.as_secs_f64()), gigabytes);
}
