//! The job of `dsr1 export slurm` in a real Slurm of several nodes on this machine: with the real SGLang over two of them, and
//! with a stand-in where a test is about the job. The router is the real one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use super::servers::Site;
use crate::support::rack::{Job, Rack, assert_free, signal};
use crate::support::{Home, lock};

/// The program that stands in for a rank.
const SGLANG: &str = include_str!("slurm/sglang.py");
/// Runs the command in place of a container.
const APPTAINER: &str = "#!/bin/sh
[ \"$1 $2 $3\" = 'exec --nv --bind' ] || exit 2
shift 4
[ \"$1\" = /images/sglang.sif ] || exit 2
shift
exec \"$@\"
";
/// A value that a shell, a here-document, a list of options and a line-by-line reader would each change.
const HOSTILE: &str = "it's $HOME `id` \"x\" \\ ; END_OF_COMMAND,a=b %t * \u{e9}";
/// The endpoint of each job. Each rack has its own addresses; no other program takes a port from 31000 to 32767 by chance.
const PORT: u16 = 31_000;
/// The time in which a fault is told.
const SOON: Duration = Duration::from_secs(5);

/// A home and a rack in which jobs of the stand-in run.
struct Lab {
    home: Home,
    rack: Rack,
}

impl Lab {
    /// Returns a lab with nodes of `gpus` GPUs.
    fn new(nodes: u32, gpus: u32) -> Self {
        let home = Home::new().with_shared_packages().without_docker();
        let rack = Rack::start(nodes, gpus);
        rack.program("sglang", SGLANG);
        rack.program("apptainer", APPTAINER);
        rack.program(
            "smg",
            &format!("#!/bin/sh\nexec {}/bin/smg \"$@\"\n", venv(&home)),
        );
        Self { home, rack }
    }

    /// Returns the job of a profile: that of four GPUs, with a topology.
    fn job(&self, topology: &str) -> String {
        self.job_in(
            topology,
            &[
                "--container-tool",
                "apptainer",
                "--container-image",
                "/images/sglang.sif",
            ],
        )
    }

    /// Returns the job of a profile in a container.
    fn job_in(&self, topology: &str, container: &[&str]) -> String {
        let mut profile = "name: lab\nextends: b200x4-fp4-high-throughput\n".to_owned();
        let hostile = serde_json::Value::from(HOSTILE);
        writeln!(
            profile,
            "engine:\n  env: {{NCCL_DEBUG_FILE: {hostile}}}\n{topology}"
        )
        .unwrap();
        std::fs::write(self.home.path().join("lab.yaml"), profile).unwrap();
        let port = PORT.to_string();
        let args = ["export", "slurm", "--profile-file", "lab.yaml", "--port", &port];
        self.home.run(&[&args, container].concat()).expect(0).stdout
    }

    /// Asserts that nothing of a job is left on the nodes.
    #[track_caller]
    fn assert_nothing_left(&self, job: &Job<'_>, nodes: u32) {
        job.wait_for_end(Duration::from_secs(20));
        for node in 1..=nodes {
            assert_free(&self.rack.address(node), PORT..PORT + 160);
        }
        assert!(!job.folder().join("endpoint").exists());
    }
}

/// Returns the folder of the packages of the real engine and router.
fn venv(home: &Home) -> String {
    let built = home
        .run(&["build", "--stack", "cpu", "--runtime", "process"])
        .expect(0);
    let line = built.stdout.lines().find_map(|line| line.strip_prefix("venv "));
    line.unwrap().trim().to_owned()
}

/// Two engines for prefill that share a node of eight GPUs, and one for decode on two nodes.
const SPLIT: &str = "gpus: 24
topology:
  gpus_per_node: 8
  transfer: nixl
  prefill: {workers: 2}
  decode: {engine: {tensor_parallel: 16, attention_data_parallel: 16, expert_parallel: 16}}
";
/// One engine on one node of four GPUs.
const ONE: &str = "topology: {gpus_per_node: 4}\n";
/// One engine on three nodes of four GPUs.
const THREE: &str = "gpus: 12
topology:
  gpus_per_node: 4
  aggregate: {engine: {tensor_parallel: 4, expert_parallel: 4, pipeline_parallel: 3}}
";

/// Asks the server of a job, as a client does.
fn ask(job: &Job<'_>, model: &str) -> serde_json::Value {
    let url = job.file("endpoint");
    let body = serde_json::json!({
        "model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0,
    });
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--header",
            "Content-Type: application/json",
        ])
        .args([
            "--data",
            &body.to_string(),
            &format!("{}/v1/chat/completions", url.trim()),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Returns the model of a job.
fn model(job: &str) -> &str {
    let (_, rest) = job.split_once("--served-model-name ").unwrap();
    rest.split(' ').next().unwrap()
}

#[test]
fn prefill_and_decode_serve_behind_a_router_and_scancel_leaves_nothing() {
    let lab = Lab::new(3, 8);
    let text = lab.job(SPLIT);
    let facts = lab.rack.path("facts");
    std::fs::create_dir(&facts).unwrap();
    // A job that was submitted with --export=NONE has this variable, and yet each rank gets its own.
    let env = [
        ("STAND_IN_FACTS", facts.to_str().unwrap()),
        ("SLURM_EXPORT_ENV", "NONE"),
    ];
    let job = lab.rack.submit(&text, &[], &env);
    job.wait_for("serving http://", Duration::from_mins(1));
    let answer = ask(&job, model(&text));
    assert_eq!(answer["choices"][0]["message"]["content"], "decode-0", "{answer}");
    let asked = job.file("prefill-0.0.log") + &job.file("prefill-1.0.log");
    assert!(
        asked.contains(&format!("asked by {} in room ", lab.rack.address(1))),
        "{asked}"
    );
    let fact = |rank: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(facts.join(format!("{rank}.json"))).unwrap()).unwrap()
    };
    let gpus = |rank: &str| {
        fact(rank)["env"]["CUDA_VISIBLE_DEVICES"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        ["prefill-0.0", "prefill-1.0", "decode-0.0", "decode-0.1"].map(gpus),
        ["0,1,2,3", "4,5,6,7", "0,1,2,3,4,5,6,7", "0,1,2,3,4,5,6,7"]
    );
    let words = |rank: &str, flag: &str| {
        let words = fact(rank)["words"].clone();
        let at = words
            .as_array()
            .unwrap()
            .iter()
            .position(|word| word == flag)
            .unwrap();
        words[at + 1].as_str().unwrap().to_owned()
    };
    let mut ports = BTreeSet::new();
    for rank in ["prefill-0.0", "prefill-1.0"] {
        for flag in ["--port", "--nccl-port", "--disaggregation-bootstrap-port"] {
            assert!(ports.insert(words(rank, flag)), "{rank} {flag}");
        }
        assert!(
            ports.insert(
                words(rank, "--dist-init-addr")
                    .rsplit_once(':')
                    .unwrap()
                    .1
                    .to_owned()
            )
        );
    }
    assert_eq!(words("decode-0.1", "--node-rank"), "1");
    for rank in ["prefill-0.0", "decode-0.1"] {
        assert_eq!(fact(rank)["env"]["NCCL_DEBUG_FILE"], HOSTILE);
    }
    lab.rack.run("scancel", &[job.id()]);
    let (state, time) = job.wait_for_end(Duration::from_secs(20));
    assert_eq!(state, "CANCELLED", "{}", job.log());
    assert!(time < Duration::from_secs(15), "{time:?}");
    assert!(
        job.log().contains(" stopped\n") && !job.log().contains(" failed "),
        "{}",
        job.log()
    );
    lab.assert_nothing_left(&job, 3);
}

/// Starts a job of the split server with a fault, and returns its log once it is over.
#[track_caller]
fn failed(lab: &Lab, text: &str, fault: &str, said: &str) -> String {
    let job = lab.rack.submit(text, &[], &[("STAND_IN", fault)]);
    job.wait_for(said, Duration::from_secs(30));
    let (state, _) = job.wait_for_end(Duration::from_secs(20));
    assert_eq!(state, "FAILED", "{}", job.log());
    lab.assert_nothing_left(&job, 3);
    job.log()
}

#[test]
fn a_rank_that_dies_or_never_starts_is_told_by_node_and_rank() {
    let lab = Lab::new(3, 8);
    let text = lab.job(SPLIT);
    for (fault, said) in [
        (
            "decode-0.1:die:start",
            "failed decode-0 rank 1 on node n3: Exited with exit code 9\n",
        ),
        (
            "prefill-1.0:die:load",
            "failed prefill-1 rank 0 on node n1: Exited with exit code 9\n",
        ),
        (
            "decode-0.0:die:rendezvous",
            "failed decode-0 rank 0 on node n2: Exited with exit code 9\n",
        ),
    ] {
        let log = failed(&lab, &text, fault, said);
        // The end of the log of that rank, and not of another one.
        assert!(
            log.contains("    | [") && log.contains("RuntimeError: told to die at "),
            "{log}"
        );
        assert_eq!(log.matches(" failed ").count(), 1, "{log}");
    }
    let short = text.replace("\nstall_s=600\n", "\nstall_s=3\n");
    let log = failed(
        &lab,
        &short,
        "decode-0.1:hang:rendezvous",
        "failed decode-0 rank 1 on node n3: it is not ready, and no log has a new line for 3 s\n",
    );
    // The first rank waits for the other one; those of other engines are ready.
    assert!(log.contains("failed decode-0 rank 0 on node n2: "), "{log}");
    assert!(
        log.contains("ready prefill-1 rank 0 on node n1, ") && !log.contains("failed prefill"),
        "{log}"
    );
    let log = failed(
        &lab,
        &short,
        "decode-0.0:refuse:serve",
        "failed decode-0 rank 0 on node n2: ",
    );
    assert!(log.contains("ready decode-0 rank 1 on node n3, "), "{log}");
}

/// The router answers that it is ready as soon as one engine of each role is.
#[test]
fn a_job_serves_only_when_the_router_has_all_engines() {
    let lab = Lab::new(3, 8);
    let text = lab.job(SPLIT).replace("\nstall_s=600\n", "\nstall_s=8\n");
    let log = failed(
        &lab,
        &text,
        "prefill-1.0:refuse:route",
        "failed router rank 0 on node n1: its 3 engines are not healthy for 8 s\n",
    );
    assert!(
        log.contains("generates prefill-1") && !log.contains(" router ready"),
        "{log}"
    );
}

/// pyxis is a plugin of `srun`, and gets its options from there.
#[test]
fn a_step_of_a_container_has_the_words_of_pyxis() {
    let lab = Lab::new(1, 8);
    let srun = "#!/bin/bash
words=()
for word; do
  case $word in
    --container-* | --no-container-*) echo \"$word\" >> \"$HOME/pyxis\" ;;
    *) words+=(\"$word\") ;;
  esac
done
exec /usr/bin/srun \"${words[@]}\"
";
    lab.rack.program("srun", srun);
    let image = "registry.example#lab/sglang:v0.5.23";
    let text = lab.job_in(
        ONE,
        &[
            "--container-image",
            image,
            "--mount",
            "/data:/data",
            "--mount",
            "/a b:/c",
        ],
    );
    let job = lab.rack.submit(&text, &[], &[]);
    job.wait_for("serving http://", Duration::from_secs(30));
    lab.rack.run("scancel", &[job.id()]);
    job.wait_for_end(Duration::from_secs(20));
    let words = std::fs::read_to_string(lab.rack.path("pyxis")).unwrap();
    let words: Vec<&str> = words.lines().collect();
    let hub = crate::support::target().join("rehearsal-cache/huggingface/hub");
    let mounts = format!("--container-mounts={}:/models,/data:/data,/a b:/c", hub.display());
    assert_eq!(
        words,
        [
            format!("--container-image={image}").as_str(),
            "--no-container-entrypoint",
            "--no-container-mount-home",
            &mounts,
        ]
    );
}

#[test]
fn a_rank_that_is_silent_killed_or_stopped_while_it_serves_is_told() {
    let lab = Lab::new(3, 8);
    let text = lab.job(SPLIT);
    let job = lab
        .rack
        .submit(&text, &[], &[("STAND_IN", "decode-0.1:refuse:later")]);
    job.wait_for("silent decode-0 rank 1 on node n3\n", Duration::from_mins(1));
    assert_eq!(job.state("JobState"), "RUNNING");
    lab.rack.run("scancel", &[job.id()]);
    lab.assert_nothing_left(&job, 3);
    for (name, said) in [
        ("KILL", "failed decode-0 rank 1 on node n3: Killed\n"),
        (
            "STOP",
            "failed decode-0 rank 1 on node n3: its processes are stopped\n",
        ),
    ] {
        let job = lab.rack.submit(&text, &[], &[]);
        job.wait_for("serving http://", Duration::from_mins(1));
        signal(job.process_of("decode-0.1"), name);
        let time = job.wait_for(said, Duration::from_secs(10));
        assert!(time < SOON, "{name}: {time:?}");
        let (state, _) = job.wait_for_end(Duration::from_secs(20));
        assert_eq!(state, "FAILED", "{}", job.log());
        lab.assert_nothing_left(&job, 3);
    }
}

#[test]
fn a_port_that_another_program_has_is_never_taken_for_a_rank() {
    let lab = Lab::new(3, 8);
    let text = lab.job(SPLIT);
    // The health of a rank, the rendezvous of an engine, the bootstrap of prefill, the endpoint.
    for (node, above, said) in [
        (
            3,
            140,
            "failed decode-0 rank 1 on node n3: Exited with exit code 1\n",
        ),
        (
            2,
            144 + 13,
            "failed decode-0 rank 0 on node n2: Exited with exit code 1\n",
        ),
        (
            1,
            122,
            "failed prefill-1 rank 0 on node n1: Exited with exit code 1\n",
        ),
        (1, 0, " is taken by another program\n"),
    ] {
        let address = (lab.rack.address(node), PORT + above);
        let taken = TcpListener::bind((address.0.as_str(), address.1)).unwrap();
        let job = lab.rack.submit(&text, &[], &[]);
        job.wait_for(said, Duration::from_secs(30));
        job.wait_for_end(Duration::from_secs(20));
        let which = format!("port {} at {}", address.1, address.0);
        assert!(job.log().contains(&which), "{}", job.log());
        drop(taken);
        lab.assert_nothing_left(&job, 3);
    }
}

#[test]
fn a_job_that_cannot_be_placed_as_planned_says_so_before_it_starts() {
    let lab = Lab::new(3, 8);
    let text = lab.job(SPLIT);
    let job = lab.rack.submit(&text, &["--nodes=2"], &[]);
    job.wait_for(
        "failed the job has 2 nodes, and the server needs 3\n",
        Duration::from_secs(20),
    );
    job.wait_for_end(Duration::from_secs(10));
    let network = SPLIT.replace("topology:", "topology:\n  network: {interface: nosuch0}");
    let job = lab.rack.submit(&lab.job(&network), &[], &[]);
    let said = "failed node n1 has no IPv4 address on interface nosuch0\n";
    job.wait_for(said, Duration::from_secs(20));
    assert_eq!(job.wait_for_end(Duration::from_secs(10)).0, "FAILED");
    assert!(
        job.file("addresses.0.log").contains("nosuch0"),
        "{}",
        job.file("addresses.0.log")
    );
    // An interface that is there: that of the machine, which all of these nodes share.
    let network = ONE.replace('}', ", network: {interface: lo}}");
    let job = lab.rack.submit(&lab.job(&network), &[], &[]);
    job.wait_for(
        &format!("serving http://127.0.0.1:{PORT}\n"),
        Duration::from_secs(30),
    );
    lab.rack.run("scancel", &[job.id()]);
    job.wait_for_end(Duration::from_secs(20));
}

#[test]
fn two_jobs_on_one_node_never_share_a_port() {
    let lab = Lab::new(1, 8);
    let text = lab.job(ONE);
    let first = lab.rack.submit(&text, &[], &[]);
    first.wait_for("serving http://", Duration::from_secs(30));
    // The job wants its node for itself.
    let second = lab.rack.submit(&text, &[], &[]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(second.state("JobState"), "PENDING");
    lab.rack.run("scancel", &[first.id(), second.id()]);
    first.wait_for_end(Duration::from_secs(20));
    // Without that line both get four GPUs, and the second one does not take the health of the first for its own.
    let shared = text.replace("#SBATCH --exclusive\n#SBATCH --mem=0\n", "#SBATCH --mem=100\n");
    assert_ne!(shared, text);
    let first = lab.rack.submit(&shared, &[], &[]);
    first.wait_for("serving http://", Duration::from_secs(30));
    let second = lab.rack.submit(&shared, &[], &[]);
    second.wait_for("failed aggregate-0 rank 0 on node n1: ", Duration::from_secs(20));
    second.wait_for(
        &format!("port {} at {}", PORT, lab.rack.address(1)),
        Duration::from_secs(5),
    );
    assert_eq!(first.state("JobState"), "RUNNING");
    assert!(!second.log().contains(" ready "), "{}", second.log());
    lab.rack.run("scancel", &[first.id()]);
    lab.assert_nothing_left(&first, 1);
}

#[test]
fn a_node_that_goes_down_ends_the_job_with_its_reason() {
    let lab = Lab::new(3, 4);
    let text = lab.job(THREE);
    for node in ["n3", "n1"] {
        let job = lab.rack.submit(&text, &[], &[]);
        job.wait_for("serving http://", Duration::from_secs(30));
        let name = format!("nodename={node}");
        lab.rack
            .run("scontrol", &["update", &name, "state=down", "reason=test"]);
        let (state, time) = job.wait_for_end(Duration::from_secs(30));
        assert_eq!(
            (state.as_str(), job.state("Reason").as_str()),
            ("NODE_FAIL", "NodeDown")
        );
        assert!(time < Duration::from_secs(15), "{time:?}");
        let said = format!(" failed node {node} is down\n");
        assert!(job.log().contains(&said), "{}", job.log());
        lab.assert_nothing_left(&job, 3);
        // Slurm takes the node back by itself once its daemon has told what it has.
        lab.rack.wait_until_idle();
    }
}

#[test]
fn a_job_that_is_told_to_end_before_it_serves_leaves_nothing() {
    let lab = Lab::new(3, 4);
    let text = lab.job(THREE);
    for fault in [
        "aggregate-0.1:hang:start",
        "aggregate-0.2:hang:load",
        "aggregate-0.0:hang:serve",
    ] {
        let job = lab.rack.submit(&text, &[], &[("STAND_IN", fault)]);
        job.wait_for(" folder ", Duration::from_secs(20));
        std::thread::sleep(Duration::from_secs(3));
        lab.rack.run("scancel", &[job.id()]);
        let (state, time) = job.wait_for_end(Duration::from_secs(20));
        assert_eq!(state, "CANCELLED");
        assert!(time < Duration::from_secs(10), "{time:?}");
        assert!(!job.log().contains(" failed "), "{}", job.log());
        lab.assert_nothing_left(&job, 3);
    }
}

/// Starts the real SGLang on two nodes, and asks it once.
fn with_the_real_engine(then: impl FnOnce(&Rack, &Job<'_>)) {
    let _alone = lock::engine();
    let home = Home::new().with_shared_packages().without_docker();
    let site = Site::new(home, "process", "cpu");
    let rack = Rack::start(2, 0);
    let args = [
        "export",
        "slurm",
        "--profile",
        "rehearsal-rack",
        "--runtime",
        "process",
        "--port",
        &PORT.to_string(),
    ];
    let text = site.home.run(&args).expect(0).stdout;
    let begun = Instant::now();
    let job = rack.submit(&text, &[], &[]);
    job.wait_for("serving http://", Duration::from_mins(5));
    eprintln!("the real engine serves on two nodes after {:?}", begun.elapsed());
    let answer = ask(&job, "dsr1/rehearsal-qwen2");
    assert_eq!(answer["object"], "chat.completion", "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 8, "{answer}");
    for rank in 0..2 {
        let log = job.file(&format!("aggregate-0.{rank}.log"));
        assert!(log.contains(&format!("TP{rank}")), "{log}");
    }
    then(&rack, &job);
    let (state, time) = job.wait_for_end(Duration::from_secs(40));
    eprintln!("its job was over {time:?} later:\n{}", job.log());
    assert_eq!(state, "FAILED");
    for node in 1..=2 {
        assert_free(&rack.address(node), PORT..PORT + 140);
    }
}

#[test]
#[ignore = "soak: each commit has the same kill of a job that `up` submitted"]
fn the_real_engine_over_two_nodes_answers_and_a_killed_rank_is_told() {
    with_the_real_engine(|_, job| {
        signal(job.process_of("aggregate-0.1"), "KILL");
        let time = job.wait_for(
            "failed aggregate-0 rank 1 on node n2: Killed\n",
            Duration::from_secs(20),
        );
        assert!(time < SOON, "{time:?}");
    });
}

#[test]
fn the_real_engine_over_two_nodes_whose_rank_is_stopped_is_told() {
    with_the_real_engine(|_, job| {
        signal(job.process_of("aggregate-0.1"), "STOP");
        let said = "failed aggregate-0 rank 1 on node n2: its processes are stopped\n";
        let time = job.wait_for(said, Duration::from_secs(20));
        assert!(time < SOON, "{time:?}");
    });
}

/// The command that takes the rehearsal up on two nodes.
const UP: [&str; 8] = [
    "up",
    "--target",
    "slurm",
    "--profile",
    "rehearsal-rack",
    "--port",
    "31000",
    "--keep",
];
/// The name of its server.
const SERVER: &str = "dsr1-rehearsal-rack";

/// A rack of two nodes, and a home on its login node.
fn login_node() -> (Rack, Home) {
    let rack = Rack::start(2, 0);
    let home = Home::new()
        .with_shared_packages()
        .without_docker()
        .with("SLURM_CONF", rack.configuration());
    (rack, home)
}

/// One command goes from nothing to a verified and measured server over two nodes, and the others know the server.
#[test]
fn the_real_engine_is_up_in_a_job_that_every_command_knows() {
    let _alone = lock::engine();
    let (rack, home) = login_node();
    let done = home.run(&UP).expect(0);
    for said in [
        "READY on http://127.",
        "VERIFIED (wiring",
        "Serving Benchmark Result",
    ] {
        assert!(done.stdout.contains(said), "{said}: {}", done.stdout);
    }
    // Each stage is said once all ranks have reached it.
    assert!(done.stderr.contains("load weights after "), "{}", done.stderr);

    let status = home
        .run(&["status", "--format", "json", "--check"])
        .expect(0)
        .json();
    let server = &status["servers"][0];
    assert_eq!(
        (&server["name"], &server["runtime"], &server["state"]),
        (&SERVER.into(), &"slurm".into(), &"ready".into()),
        "{status:#}"
    );
    let answer = home
        .run(&["ask", "Say something.", "--max-tokens", "4"])
        .expect(0);
    assert!(
        answer.stderr.contains("4 generated") || answer.stdout.contains("4 generated"),
        "{answer:?}"
    );
    let logs = home.run(&["logs", "--tail", "40"]).expect(0).stdout;
    for rank in ["aggregate-0.0 | ", "aggregate-0.1 | ", "router.0 | "] {
        assert!(logs.contains(rank), "{rank}: {logs}");
    }
    let again = home.run(&UP).expect(2);
    assert!(
        again
            .stderr
            .contains("has the name dsr1-rehearsal-rack and is running"),
        "{}",
        again.stderr
    );

    let id = server["id"].as_str().unwrap();
    let job = rack.job(id, SERVER);
    signal(job.process_of("aggregate-0.1"), "KILL");
    let begun = Instant::now();
    let told = loop {
        let status = home.run(&["status", "--format", "json"]).expect(0).json();
        if status["servers"][0]["state"] == "crashed" {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{status:#}");
    };
    let cause = "aggregate-0 rank 1 on node n2: Killed";
    assert_eq!(told["servers"][0]["cause"], cause, "{told:#}");
    let why = home.run(&["diagnose", "--check"]).expect(7).stdout;
    assert!(
        why.contains("A process of a rank was killed (rank.killed)"),
        "{why}"
    );
    home.run(&["stop", SERVER]).expect(0);
    let left = home.run(&["status", "--format", "json"]).expect(0).json();
    assert_eq!(left["servers"], serde_json::json!([]), "{left:#}");
    for node in 1..=2 {
        assert_free(&rack.address(node), PORT..PORT + 140);
    }
}

#[test]
#[ignore = "soak: two starts of the real engine; each commit has one, and the same command on one host"]
fn the_real_engine_in_a_job_is_submitted_again_by_watch() {
    let _alone = lock::engine();
    let (rack, home) = login_node();
    home.run(&UP).expect(0);
    let mut watch = home.start(&["watch", SERVER]);
    watch.wait_for("which is ready", Duration::from_secs(20));
    let status = home.run(&["status", "--format", "json"]).expect(0).json();
    let first = status["servers"][0]["id"].as_str().unwrap().to_owned();
    signal(rack.job(&first, SERVER).process_of("aggregate-0.1"), "KILL");
    let begun = Instant::now();
    loop {
        let status = home.run(&["status", "--format", "json"]).expect(0).json();
        let server = &status["servers"][0];
        if server["state"] == "ready" && server["id"] != first.as_str() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(3), "{status:#}");
    }
    let told = watch.stdout();
    assert!(
        told.contains("crashed: A process of a rank was killed") && told.contains("restart 1 in "),
        "{told}"
    );
    watch.signal("INT");
    watch.wait();
    home.run(&["restart", SERVER]).expect(0);
    home.run(&["stop", SERVER]).expect(0);
}

/// Starts a job of many nodes, asks it, and kills a rank of its decode.
fn with_a_rack(nodes: u32, topology: &str, ranks: u32, last: &str) {
    let lab = Lab::new(nodes, 4);
    let text = lab.job(topology);
    let begun = Instant::now();
    let job = lab.rack.submit(&text, &[], &[]);
    job.wait_for("serving http://", Duration::from_mins(2));
    eprintln!("{ranks} ranks on {nodes} nodes serve after {:?}", begun.elapsed());
    assert!(
        job.log().contains(&format!(", {ranks} of {ranks}\n")),
        "{}",
        job.log()
    );
    let answers: BTreeSet<String> = (0..8)
        .map(|_| ask(&job, model(&text))["choices"].to_string())
        .collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    signal(job.process_of(last), "KILL");
    let (engine, rank) = last.rsplit_once('.').unwrap();
    let said = format!("failed {engine} rank {rank} on node n{nodes}: Killed\n");
    let time = job.wait_for(&said, Duration::from_secs(20));
    let (state, end) = job.wait_for_end(Duration::from_secs(40));
    eprintln!("a killed rank was told after {time:?}, and the job was over {end:?} later");
    assert!(time < SOON, "{time:?}");
    assert_eq!(state, "FAILED");
    lab.assert_nothing_left(&job, nodes);
}

/// Settings of a decode over many GPUs, as published recipes for trays of four have them.
const WIDE: &str = "redundant_experts: 32, moe_a2a: deepep, deepep_mode: low_latency, moe_dense_tensor_parallel: 1, \
    moe_runner: flashinfer_cutedsl, max_running_requests: 4800, chunked_prefill_size: 49152";

#[test]
#[ignore = "soak: 16 nodes; the gate has three"]
fn sixteen_nodes_of_prefill_and_decode() {
    let topology = format!(
        "gpus: 64
topology:
  gpus_per_node: 4
  nvlink: true
  transfer: nixl
  prefill: {{workers: 4}}
  decode: {{engine: {{tensor_parallel: 48, attention_data_parallel: 48, expert_parallel: 48, {WIDE}}}}}
"
    );
    with_a_rack(16, &topology, 16, "decode-0.11");
}

#[test]
#[ignore = "soak: a rack of 18 nodes; the gate has three"]
fn a_rack_of_eighteen_nodes() {
    let topology = format!(
        "gpus: 72
topology:
  gpus_per_node: 4
  nvlink: true
  transfer: nixl
  prefill: {{workers: 6, engine: {{tensor_parallel: 8, attention_data_parallel: 8, expert_parallel: 8}}}}
  decode: {{engine: {{tensor_parallel: 24, attention_data_parallel: 24, expert_parallel: 24, {WIDE}}}}}
"
    );
    with_a_rack(18, &topology, 18, "decode-0.5");
}
