//! The flags and variables of an engine that is one of several, or runs on several nodes.
//!
//! The number, the addresses and the ports of a rank are added where the rank is placed: `plan::cluster`.

use crate::profile::{Profile, Role, Topology, Transfer, Version};
use crate::sglang::dialect::{EngineFlags, Flag, Variable};
use crate::sglang::distributed::{NO_REGISTRATION, POOLS_BY_NAME};
use crate::sglang::rules::is_read;

/// The origin of these flags and variables.
const ORIGIN: &str = "topology";

/// First version whose check of equal free memory is a switch that is on (`environ.py`, 0.5.8; 0.5.5 has the inverse one).
const CHECKS_MEMORY: Version = Version::new(0, 5, 8);
/// First version that passes `--disaggregation-ib-device` on to NIXL (`disaggregation/nixl/conn.py`, 0.5.23; sglang#28737).
const NIXL_TAKES_DEVICES: Version = Version::new(0, 5, 23);

/// Adds the flags and variables of a profile of one role. A profile without a topology, or with several roles, gets none.
///
/// A variable that the profile sets itself stays.
pub(super) fn add(flags: &mut EngineFlags, profile: &Profile, version: Version) {
    let Some(topology) = &profile.topology else { return };
    let Some(role) = topology.only_role() else { return };
    let nodes = topology.nodes_of(profile.engine.ranks());
    let transfer = (role != Role::Aggregate).then(|| topology.transfer.unwrap_or(Transfer::Mooncake));
    if nodes > 1 {
        push(flags, "--nnodes", &nodes.to_string());
    }
    if let Some(transfer) = transfer {
        push(flags, "--disaggregation-mode", role.name());
        if topology.transfer.is_some() {
            push(flags, "--disaggregation-transfer-backend", transfer.name());
        }
        let hcas = &topology.network.hcas;
        let takes_devices = match transfer {
            Transfer::Mooncake => true,
            Transfer::Nixl => version >= NIXL_TAKES_DEVICES,
            Transfer::Fake | Transfer::MooncakeTcp => false,
        };
        if takes_devices && !hcas.is_empty() {
            push(flags, "--disaggregation-ib-device", &hcas.join(","));
        }
    }
    for (name, value) in variables(topology, nodes, transfer, version) {
        if name.starts_with("SGLANG_") && !is_read(name, version) {
            continue;
        }
        flags.env.entry(name.to_owned()).or_insert_with(|| Variable {
            value,
            knob: ORIGIN.to_owned(),
        });
    }
}

fn push(flags: &mut EngineFlags, name: &str, value: &str) {
    flags.args.push(Flag {
        words: vec![name.to_owned(), value.to_owned()],
        knob: ORIGIN.to_owned(),
    });
}

/// Returns the variables of the network between the nodes. `transfer` is the library that moves the KV cache, on engines of
/// one role.
fn variables(
    topology: &Topology,
    nodes: u32,
    transfer: Option<Transfer>,
    version: Version,
) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let mut add = |name: &'static str, value: &str| found.push((name, value.to_owned()));
    let spans = nodes > 1;
    if topology.nvlink && spans {
        // NCCL uses memory that is mapped over NVLink between nodes, and not RDMA. 0.5.23 sets both by itself (`engine.py`).
        add("NCCL_MNNVL_ENABLE", "1");
        add("NCCL_CUMEM_ENABLE", "1");
        // Every recipe for GB200 in srt-slurm c88ef73 sets these two: trays differ in the memory that is in use at the start.
        add("SGLANG_USE_MESSAGE_QUEUE_BROADCASTER", "0");
        if version >= CHECKS_MEMORY {
            add("SGLANG_ENABLE_TP_MEMORY_INBALANCE_CHECK", "0");
        } else {
            add("SGLANG_DISABLE_TP_MEMORY_INBALANCE_CHECK", "1");
        }
    }
    if topology.nvlink && matches!(transfer, Some(Transfer::Mooncake | Transfer::Nixl)) {
        // The KV pool is memory that another tray can map, whichever library copies it (`maybe_init_custom_mem_pool`,
        // 0.5.8 to 0.5.23). The recipes set it for NIXL, too.
        let pool = if version >= POOLS_BY_NAME {
            "NVLINK"
        } else {
            "True"
        };
        add("SGLANG_MOONCAKE_CUSTOM_MEM_POOL", pool);
    }
    if topology.nvlink && transfer == Some(Transfer::Mooncake) {
        // Otherwise Mooncake takes RDMA wherever an adapter exists (`transfer_engine_impl.cpp`, 0.3.10).
        add("MC_FORCE_MNNVL", "1");
    }
    if spans && version < NO_REGISTRATION {
        // Decode over two nodes hangs with it under bursts (sglang#38936, #40649, #29548).
        add("NCCL_GRAPH_REGISTER", "0");
    }
    if let Some(interface) = topology
        .network
        .interface
        .as_ref()
        .filter(|_| spans || transfer.is_some())
    {
        // The standard cure of hangs at the first collective (sglang#3794, #836).
        add("GLOO_SOCKET_IFNAME", interface);
        add("NCCL_SOCKET_IFNAME", interface);
    }
    let hcas = &topology.network.hcas;
    if !hcas.is_empty() && spans {
        add("NCCL_IB_HCA", &hcas.join(","));
    }
    if !hcas.is_empty() && transfer == Some(Transfer::Nixl) && version < NIXL_TAKES_DEVICES {
        // Without it UCX opens adapters that have no link, and every transfer ends in its time limit (srt-slurm#429).
        let ports: Vec<String> = hcas.iter().map(|hca| with_port(hca)).collect();
        add("UCX_NET_DEVICES", &ports.join(","));
    }
    found
}

/// Returns an adapter with its port, as UCX names it.
fn with_port(hca: &str) -> String {
    if hca.contains(':') {
        hca.to_owned()
    } else {
        format!("{hca}:1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;

    /// The flags and variables of a role of a profile with these lines of topology, in a version.
    fn added(topology: &str, role: Role, version: &str) -> String {
        let text = format!(
            "name: own\nextends: b200x4-fp4-high-throughput\ngpus: 24\ntopology:\n  gpus_per_node: 4\n  prefill: {{workers: 2}}\n  \
             decode: {{engine: {{tensor_parallel: 16}}}}\n{topology}\n"
        );
        let catalog = Catalog::load(Some(("own.yaml", &text))).unwrap();
        let profile = catalog.resolve("own", None).unwrap().profile;
        let mut flags = EngineFlags::default();
        add(
            &mut flags,
            &profile.of_role(role).unwrap(),
            version.parse().unwrap(),
        );
        let env = flags.environment();
        let env = env.iter().map(|(name, value)| format!("{name}={value}"));
        let argv = flags.argv().map(str::to_owned);
        argv.chain(env).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_version_and_library_gets_the_variables_that_it_reads() {
        let rack = "  nvlink: true\n  transfer: ";
        for (topology, role, version, expected) in [
            (
                format!("{rack}mooncake"),
                Role::Prefill,
                "0.5.23",
                "--disaggregation-mode prefill --disaggregation-transfer-backend mooncake MC_FORCE_MNNVL=1 \
                 SGLANG_MOONCAKE_CUSTOM_MEM_POOL=NVLINK",
            ),
            (
                format!("{rack}mooncake"),
                Role::Prefill,
                "0.5.5",
                "--disaggregation-mode prefill --disaggregation-transfer-backend mooncake MC_FORCE_MNNVL=1 \
                 SGLANG_MOONCAKE_CUSTOM_MEM_POOL=True",
            ),
            (
                format!("{rack}nixl"),
                Role::Decode,
                "0.5.23",
                "--nnodes 4 --disaggregation-mode decode --disaggregation-transfer-backend nixl NCCL_CUMEM_ENABLE=1 \
                 NCCL_MNNVL_ENABLE=1 SGLANG_ENABLE_TP_MEMORY_INBALANCE_CHECK=0 SGLANG_MOONCAKE_CUSTOM_MEM_POOL=NVLINK \
                 SGLANG_USE_MESSAGE_QUEUE_BROADCASTER=0",
            ),
            (
                format!("{rack}mooncake_tcp"),
                Role::Prefill,
                "0.5.19",
                "--disaggregation-mode prefill --disaggregation-transfer-backend mooncake_tcp",
            ),
            (
                "  transfer: nixl\n  network: {hcas: [mlx5_0, \"mlx5_1:2\"]}".to_owned(),
                Role::Prefill,
                "0.5.22",
                "--disaggregation-mode prefill --disaggregation-transfer-backend nixl UCX_NET_DEVICES=mlx5_0:1,mlx5_1:2",
            ),
            (
                "  transfer: nixl\n  network: {hcas: [mlx5_0]}".to_owned(),
                Role::Decode,
                "0.5.19",
                "--nnodes 4 --disaggregation-mode decode --disaggregation-transfer-backend nixl NCCL_GRAPH_REGISTER=0 \
                 NCCL_IB_HCA=mlx5_0 UCX_NET_DEVICES=mlx5_0:1",
            ),
            (
                "  network: {interface: eth0, hcas: [mlx5_0]}".to_owned(),
                Role::Prefill,
                "0.5.23",
                "--disaggregation-mode prefill --disaggregation-ib-device mlx5_0 GLOO_SOCKET_IFNAME=eth0 \
                 NCCL_SOCKET_IFNAME=eth0",
            ),
        ] {
            assert_eq!(
                added(&topology, role, version),
                expected,
                "{topology} {role} {version}"
            );
        }
    }
}
