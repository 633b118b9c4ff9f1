//! Servers over several nodes: what `plan` and `export slurm` say of a profile.

use std::process::{Command, Stdio};

use crate::support::{Home, tools};

/// A profile for prefill and decode on trays of four GPUs.
const SPLIT: &str = "\
name: split
extends: b200x4-fp4-high-throughput
gpus: 24
engine:
  env: {NCCL_DEBUG_FILE: \"it's $HOME\"}
topology:
  gpus_per_node: 4
  nvlink: true
  transfer: nixl
  network: {interface: eth0, hcas: [mlx5_0, mlx5_1]}
  prefill: {workers: 2}
  decode: {engine: {tensor_parallel: 16, attention_data_parallel: 16, expert_parallel: 16}}
";

/// A home with the profile, and no Docker.
fn home() -> Home {
    let home = Home::new().without_docker();
    std::fs::write(home.path().join("split.yaml"), SPLIT).unwrap();
    home
}

const JOB: [&str; 9] = [
    "export",
    "slurm",
    "--profile-file",
    "split.yaml",
    "--container-image",
    "lmsysorg/sglang:v0.5.23-cu130",
    "--segment",
    "18",
    "--time=4:00:00",
];

/// A text without the path of the home, and without the digest of the packages, which differs by Python.
fn shown(home: &Home, text: &str) -> String {
    let text = text.replace(&home.path().display().to_string(), "HOME");
    let venv = text.split("/venvs/cpu-").nth(1).map(|rest| rest[..12].to_owned());
    venv.map_or_else(|| text.clone(), |digest| text.replace(&digest, "DIGEST"))
}

/// The part of a job that describes the server.
fn described(job: &str) -> &str {
    job.split("# ---- The rest").next().unwrap()
}

#[test]
fn a_job_for_prefill_and_decode() {
    let home = home();
    let text = home.run(&JOB).expect(0).stdout;
    insta::assert_snapshot!("slurm-split", shown(&home, described(&text)));
    let file = home.path().join("job.sbatch");
    std::fs::write(&file, &text).unwrap();
    let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    if tools::found("shellcheck") {
        let checked = Command::new("shellcheck").arg(&file).output().unwrap();
        assert!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stdout)
        );
    }
}

#[test]
fn the_plan_of_two_nodes_names_ranks_ports_and_router() {
    let home = home();
    let args = ["plan", "--profile", "rehearsal-rack", "--runtime", "process"];
    let text = home.run(&args).expect(0).stdout;
    insta::assert_snapshot!("plan-rehearsal-rack", shown(&home, &text));
}

#[test]
fn a_profile_for_several_nodes_is_not_served_on_one() {
    for command in ["serve", "up"] {
        let run = home().run(&[command, "--profile", "rehearsal-rack"]).expect(2);
        assert!(
            run.stderr
                .contains("profile `rehearsal-rack` is for several nodes"),
            "{}",
            run.stderr
        );
        assert!(
            run.stderr.contains("dsr1 export slurm --profile rehearsal-rack"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn values_that_a_job_cannot_hold_are_refused() {
    for (option, said) in [
        ("--sbatch=--comment=$(reboot)", "is not an option of sbatch"),
        ("--sbatch=qos", "is not an option of sbatch"),
        ("--partition=a b", "is not an option of sbatch"),
        ("--mount=/a", "is not a mount"),
        ("--mount=a:/b", "cannot be mounted"),
    ] {
        let mut args = JOB.to_vec();
        args.push(option);
        let run = home().run(&args).expect(2);
        assert!(run.stderr.contains(said), "{option}: {}", run.stderr);
    }
    let run = home()
        .run(&["export", "compose", "--profile", "rehearsal", "--segment", "2"])
        .expect(2);
    assert!(
        run.stderr.contains("--segment says nothing to compose"),
        "{}",
        run.stderr
    );
}

/// A job on one node: Slurm is used for one host, too.
#[test]
fn a_job_on_one_node_has_no_router() {
    let args = [
        "export",
        "slurm",
        "--profile",
        "rehearsal",
        "--runtime",
        "process",
    ];
    let text = home().run(&args).expect(0).stdout;
    assert!(described(&text).contains("#SBATCH --nodes=1\n"), "{text}");
    assert!(described(&text).contains("router_engines=0\n"), "{text}");
    assert!(
        described(&text).contains("engine aggregate-0 aggregate 0 1 0 30000 "),
        "{text}"
    );
}

/// A role of a split profile is refused with its line, and so are roles that do not fit each other.
#[test]
fn roles_that_do_not_fit_are_refused_before_anything_is_written() {
    let home = home();
    for (found, with, said) in [
        (
            "prefill: {workers: 2}",
            "prefill: {workers: 2, engine: {page_size: 32}}",
            "prefill has pages of 32 and decode of 64",
        ),
        (
            "expert_parallel: 16}}",
            "expert_parallel: 16, moe_a2a: deepep, moe_runner: flashinfer_cutedsl, graph_batch: 512, max_running_requests: 8192}}",
            "512 requests run on each rank, and DeepEP's low-latency buffers hold 128 tokens, SGLang's default",
        ),
    ] {
        let text = SPLIT.replace(found, with);
        assert_ne!(text, SPLIT);
        std::fs::write(home.path().join("split.yaml"), text).unwrap();
        let run = home.run(&JOB).expect(2);
        assert!(
            run.stdout.is_empty() && run.stderr.contains(said),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn every_profile_of_a_rack_becomes_a_job() {
    let home = home();
    let catalog = dsr1::profile::Catalog::load(None).unwrap();
    let racks: Vec<_> = catalog
        .profiles()
        .unwrap()
        .into_iter()
        .filter(|profile| profile.is_for_several_nodes() && profile.gpus > 0)
        .collect();
    assert!(racks.len() >= 12, "{}", racks.len());
    for profile in racks {
        let args = [
            "export",
            "slurm",
            "--profile",
            &profile.name,
            "--container-image",
            "x:y",
        ];
        let text = home.run(&args).expect(0).stdout;
        let each = profile.topology.as_ref().unwrap().gpus_per_node.get();
        let nodes = format!("#SBATCH --nodes={}\n", profile.gpus / each);
        assert!(text.contains(&nodes), "{}: {nodes}", profile.name);
        assert!(
            text.contains("export SGLANG_HOST_IP=\"$own\"\n"),
            "{}",
            profile.name
        );
        let plan = home
            .run(&["plan", "--profile", &profile.name, "--format", "json"])
            .expect(0);
        let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
        for check in plan["checks"].as_array().unwrap() {
            assert_eq!(check["level"], "note", "{}: {check}", profile.name);
        }
        for group in plan["groups"].as_array().unwrap() {
            let memory = &group["memory"];
            let of = |name: &str| memory[name].as_u64().unwrap();
            assert!(
                of("weights_bytes") + of("pool_bytes") + of("need_bytes") < of("usable_bytes"),
                "{memory}"
            );
            assert!(of("requests_fit") > 0, "{memory}");
        }
        let validated = home.run(&["profiles", "validate", &profile.name]).expect(0);
        assert!(!validated.stdout.contains("ERROR"), "{}", validated.stdout);
    }
}

/// Prints what a job of 10,012 ranks costs: `cargo test --release --test fast -- --ignored --nocapture ten_thousand`.
#[test]
#[ignore = "a measurement, which has no verdict"]
fn the_cost_of_a_job_of_ten_thousand_ranks() {
    let home = home();
    let text = "name: large\nextends: gb200x64-fp4-high-throughput\ngpus: 40048\ntopology:\n  decode: {workers: 834}\n";
    std::fs::write(home.path().join("large.yaml"), text).unwrap();
    for command in [
        &["plan", "--profile-file", "large.yaml"][..],
        &[
            "export",
            "slurm",
            "--profile-file",
            "large.yaml",
            "--container-image",
            "x:y",
        ],
    ] {
        let started = std::time::Instant::now();
        let mut child = home.command(command).stdout(Stdio::null()).spawn().unwrap();
        let mut peak = String::new();
        while child.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            if let Some(line) = status.lines().find(|line| line.starts_with("VmHWM")) {
                line.clone_into(&mut peak);
            }
        }
        eprintln!("{}: {:?}, {peak}", command[0], started.elapsed());
    }
}
