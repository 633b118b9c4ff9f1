//! The manifests that the tests look at: a text of `export lws` for each kind of server.

use super::Home;

/// A profile for two nodes of eight H100.
const WIDE: &str = "\
name: wide
extends: h200-fp8-high-throughput
gpus: 16
engine: {tensor_parallel: 16}
topology:
  gpus_per_node: 8
  network: {interface: eth0}
";

/// A profile for prefill and decode on the trays of a GB200 rack.
const RACK: &str = "\
name: rack
extends: b200x4-fp4-high-throughput
gpus: 24
topology:
  gpus_per_node: 4
  nvlink: true
  transfer: nixl
  network: {interface: eth0}
  prefill: {workers: 2}
  decode: {engine: {tensor_parallel: 16, attention_data_parallel: 16, expert_parallel: 16}}
";

/// An image by its digest.
const IMAGE: &str = "lmsysorg/sglang@sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// The names, profiles and options.
const MANIFESTS: [(&str, &str, &[&str]); 4] = [
    (
        "two-nodes",
        WIDE,
        &["--weights-claim", "deepseek-r1", "--pull-secret", "site"],
    ),
    (
        "two-nodes-rdma",
        WIDE,
        &[
            "--weights-folder",
            "/data/hub",
            "--rdma",
            "rdma/ib=8",
            "--pod-network",
            "ib0,ib1",
        ],
    ),
    (
        "rack",
        RACK,
        &[
            "--weights-claim",
            "deepseek-r1",
            "--namespace",
            "dsr1",
            "--node-selector",
            "nvidia.com/gpu.product=NVIDIA-GB200",
            "--router-image",
            "lightseekorg/smg@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        ],
    ),
    (
        "one-node",
        "name: one\nextends: h200-fp8-high-throughput\n",
        &[
            "--weights-folder",
            "/data/hub",
            "--mount",
            "/data/kernels:/root/.cache",
        ],
    ),
];

/// Returns the manifests by name.
pub fn manifests() -> Vec<(&'static str, String)> {
    MANIFESTS
        .map(|(name, profile, options)| (name, manifest(profile, options).expect(0).stdout))
        .into()
}

/// Runs `export lws` for a profile.
pub fn manifest(profile: &str, options: &[&str]) -> super::Run {
    let home = Home::new().without_docker();
    std::fs::write(home.path().join("profile.yaml"), profile).unwrap();
    let mut args = vec![
        "export",
        "lws",
        "--profile-file",
        "profile.yaml",
        "--container-image",
        IMAGE,
    ];
    args.extend(options);
    home.run(&args)
}
