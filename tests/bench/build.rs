//! Time and memory of a build, including the start of the process, compared with the Docker CLI on the same daemon. The
//! two run alternately. Run `tests/support/base-image.sh`, then `cargo bench --bench build`. It needs a `docker` that
//! builds with BuildKit by itself or through buildx (`DSR1_BENCH_DOCKER` replaces the one on PATH). With
//! `DSR1_BENCH_BEFORE`, the path of this program in another build, it compares with that instead.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and reports a failure with a panic"
)]

mod measured;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use dsr1::effects::docker::Docker;
use dsr1::effects::env::Env;
use dsr1::event::{Recorder, StepEvents};
use dsr1::plan::{BuildImage, Builder, LABEL_INPUTS};
use measured::{before, measure, median};

const BASE: &str = "debian:bookworm-slim";
/// Size of the large context in bytes.
const LARGE: usize = 500_000_000;
/// The argument that makes this program the child process of the dsr1 side.
const CHILD: &str = "--build";

/// One build: the directory with its context, and the step of dsr1.
struct Turn {
    dir: PathBuf,
    step: BuildImage,
}

/// Returns a build of `run`, as a step of dsr1 and as a directory for the Docker CLI.
fn turn(root: &Path, side: &str, number: usize, wheels: Option<&Path>, run: &str, fresh: bool) -> Turn {
    // The builds differ only in a label at the end; every step before it is the same.
    let inputs = if fresh {
        format!("{side}-{number}")
    } else {
        side.to_owned()
    };
    let dockerfile = format!("FROM {BASE}\nRUN {run}\nLABEL {LABEL_INPUTS}=\"{inputs}\"\n");
    let dir = root.join(format!("{side}-{number}"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("Dockerfile"), &dockerfile).unwrap();
    if let Some(wheels) = wheels {
        std::fs::create_dir_all(dir.join("wheels")).unwrap();
        for file in std::fs::read_dir(wheels).unwrap() {
            let file = file.unwrap();
            let _ = std::fs::hard_link(file.path(), dir.join("wheels").join(file.file_name()));
        }
    }
    let step = BuildImage {
        stack: format!("bench-{side}-{number}"),
        tag: format!("dsr1-bench/{side}:1"),
        also: Vec::new(),
        push: false,
        inline_cache: false,
        base: BASE.to_owned(),
        base_digest: None,
        builder: Builder::Buildkit,
        platform: None,
        dockerfile,
        files: BTreeMap::new(),
        wheels: wheels.map(|_| dir.join("wheels").to_str().unwrap().to_owned()),
        secrets: Vec::new(),
        args: BTreeMap::new(),
        inherited_args: Vec::new(),
        labels: BTreeMap::new(),
        network: "host".to_owned(),
        refresh: None,
        no_cache: false,
        pull: false,
        cache_from: Vec::new(),
        inputs,
        install_bytes: 0,
    };
    Turn { dir, step }
}

/// The dsr1 side: this program, or the same of another build, as a child process, which executes the step in a file.
fn ours(program: &Path, turn: &Turn, no_cache: bool) -> Command {
    let file = turn.dir.join("step.json");
    let step = BuildImage {
        no_cache,
        ..turn.step.clone()
    };
    std::fs::write(&file, serde_json::to_vec(&step).unwrap()).unwrap();
    let mut command = Command::new(program);
    command.arg(CHILD).arg(file);
    command
}

/// The side that dsr1 is compared with.
enum Peer {
    /// The Docker CLI.
    Docker(String),
    /// This program of another build.
    Before(PathBuf),
}

impl Peer {
    const fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Before(_) => "before",
        }
    }

    fn command(&self, turn: &Turn, no_cache: bool) -> Command {
        let docker = match self {
            Self::Docker(docker) => docker,
            Self::Before(program) => return ours(program, turn, no_cache),
        };
        let mut command = Command::new(docker);
        command
            .env("DOCKER_BUILDKIT", "1")
            .args(["build", "--network", "host", "--tag"]);
        command
            .arg(&turn.step.tag)
            .args(no_cache.then_some("--no-cache"))
            .arg(&turn.dir);
        command
    }
}

fn build(file: &str) {
    let step: BuildImage = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let recorder = Recorder::default();
    runtime.block_on(async {
        let docker = Docker::connect(&Env::read()).await.unwrap();
        docker.build(&step, &StepEvents::new(&recorder, 1)).await.unwrap();
    });
}

/// Prints one line: the medians of both sides, and their ratio.
fn compare(what: &str, peer: &Peer, runs: usize, mut sides: impl FnMut(usize) -> (Command, Command)) {
    let (mut times, mut memory) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for run in 0..=runs {
        let (ours, peer) = sides(run);
        let (left, right) = (measure(ours), measure(peer));
        let (left, right) = ((left.wall, left.memory), (right.wall, right.memory));
        // The first run does not count, because it may fill a cache.
        if run > 0 {
            times.0.push(left.0);
            times.1.push(right.0);
            memory.0.push(left.1);
            memory.1.push(right.1);
        }
    }
    let seconds = (
        median(&mut times.0).as_secs_f64(),
        median(&mut times.1).as_secs_f64(),
    );
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let megabytes = (
        median(&mut memory.0) as f64 / 1e6,
        median(&mut memory.1) as f64 / 1e6,
    );
    println!(
        "{what:<34} ours {:7.3} s {:5.0} MB   {} {:7.3} s {:5.0} MB   ratio {:.2} ({runs} runs each)",
        seconds.0,
        megabytes.0,
        peer.name(),
        seconds.1,
        megabytes.1,
        seconds.0 / seconds.1
    );
}

/// Writes files of noise: 500 MB that do not compress.
fn large(dir: &Path) {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for number in 0..10 {
        let mut bytes = Vec::with_capacity(LARGE / 10);
        while bytes.len() < LARGE / 10 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        let mut file = std::fs::File::create(dir.join(format!("{number}.whl"))).unwrap();
        file.write_all(&bytes).unwrap();
    }
}

fn output(docker: &str, args: &[&str]) -> String {
    let output = Command::new(docker).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, file] = args.as_slice()
        && flag == CHILD
    {
        return build(file);
    }
    let docker = std::env::var("DSR1_BENCH_DOCKER").unwrap_or_else(|_| "docker".to_owned());
    println!(
        "docker {} on dockerd {}, {BASE}",
        output(&docker, &["version", "--format", "{{.Client.Version}}"]),
        output(&docker, &["version", "--format", "{{.Server.Version}}"])
    );
    let root = tempfile::Builder::new().prefix("dsr1-bench-").tempdir().unwrap();
    let root = root.path();
    let peer = before().map_or_else(|| Peer::Docker(docker.clone()), Peer::Before);
    let this = std::env::current_exe().unwrap();
    let small = |side: &str, number, fresh| turn(root, side, number, None, "true", fresh);
    compare("unchanged", &peer, 20, |_| {
        (
            ours(&this, &small("ours", 0, false), false),
            peer.command(&small("docker", 0, false), false),
        )
    });
    compare("another label, every step cached", &peer, 20, |run| {
        (
            ours(&this, &small("ours-label", run, true), false),
            peer.command(&small("docker-label", run, true), false),
        )
    });
    compare("--no-cache", &peer, 10, |_| {
        (
            ours(&this, &small("ours-none", 0, false), true),
            peer.command(&small("docker-none", 0, false), true),
        )
    });
    let wheels = root.join("large");
    std::fs::create_dir(&wheels).unwrap();
    large(&wheels);
    let read = "--mount=type=bind,source=wheels,target=/run/wheels ls /run/wheels";
    let with = |side: &str, number, fresh| turn(root, side, number, Some(&wheels), read, fresh);
    compare("500 MB context, cold", &peer, 4, |run| {
        (
            ours(&this, &with("ours-cold", run, true), false),
            peer.command(&with("docker-cold", run, true), false),
        )
    });
    // The same context as before; another label makes it a new build.
    compare("500 MB context, unchanged", &peer, 10, |run| {
        let again = |side: &str| {
            let mut turn = with(side, 0, true);
            turn.step.inputs = format!("{side}-again-{run}");
            turn.step.dockerfile = turn
                .step
                .dockerfile
                .replace(&format!("{side}-0"), &turn.step.inputs);
            std::fs::write(turn.dir.join("Dockerfile"), &turn.step.dockerfile).unwrap();
            turn
        };
        (
            ours(&this, &again("ours-cold"), false),
            peer.command(&again("docker-cold"), false),
        )
    });
    for side in [
        "ours",
        "docker",
        "ours-label",
        "docker-label",
        "ours-none",
        "docker-none",
        "ours-cold",
        "docker-cold",
    ] {
        output(&docker, &["image", "rm", &format!("dsr1-bench/{side}:1")]);
    }
    // Removes the images that lost their tag to a later build.
    output(
        &docker,
        &[
            "image",
            "prune",
            "--force",
            "--filter",
            &format!("label={LABEL_INPUTS}"),
        ],
    );
}
