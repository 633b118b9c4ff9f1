//! Servers over several nodes: what `plan` and `export slurm` say of a profile.

use std::process::Command;

use crate::support::Home;

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
    assert!(described(&text).contains("has_router=''\n"), "{text}");
    assert!(
        described(&text).contains("engine aggregate-0 aggregate 0 1 0 30000 "),
        "{text}"
    );
}
