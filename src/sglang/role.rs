//! The flags and variables of an engine that is one of several, or runs on several nodes.
//!
//! What differs from rank to rank (its number, addresses and ports) is added where a rank is placed: `plan::cluster`.

use crate::profile::{Profile, Role, Topology};
use crate::sglang::dialect::{EngineFlags, Flag, Variable};

/// The origin of these flags and variables.
const ORIGIN: &str = "topology";

/// Variables of engines whose nodes share one `NVLink` domain.
///
/// NCCL and Mooncake then use memory that is mapped over `NVLink` between nodes, and not RDMA (SGLang's documents on
/// disaggregation, "NVL72"; every GB200 recipe of srt-slurm c88ef73).
const NVLINK_VARIABLES: [(&str, &str); 6] = [
    ("NCCL_MNNVL_ENABLE", "1"),
    ("NCCL_CUMEM_ENABLE", "1"),
    ("MC_FORCE_MNNVL", "1"),
    ("SGLANG_MOONCAKE_CUSTOM_MEM_POOL", "True"),
    // The queue lies in shared memory, which ends at the node.
    ("SGLANG_USE_MESSAGE_QUEUE_BROADCASTER", "0"),
    ("SGLANG_DISABLE_TP_MEMORY_INBALANCE_CHECK", "1"),
];

/// Adds the flags and variables of a profile of one role. A profile without a topology, or with several roles, gets none.
///
/// A variable that the profile sets itself stays.
pub(super) fn add(flags: &mut EngineFlags, profile: &Profile) {
    let Some(topology) = &profile.topology else { return };
    let Some(role) = topology.only_role() else { return };
    let nodes = topology.nodes_of(profile.engine.ranks());
    if nodes > 1 {
        push(flags, "--nnodes", &nodes.to_string());
    }
    if role != Role::Aggregate {
        push(flags, "--disaggregation-mode", role.name());
        if let Some(transfer) = topology.transfer {
            push(flags, "--disaggregation-transfer-backend", transfer.name());
        }
        if !topology.network.hcas.is_empty() {
            push(
                flags,
                "--disaggregation-ib-device",
                &topology.network.hcas.join(","),
            );
        }
    }
    for (name, value) in variables(topology, nodes > 1 || role != Role::Aggregate) {
        flags.env.entry(name).or_insert_with(|| Variable {
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

/// Returns the variables of the network between the nodes, for an engine that uses it.
fn variables(topology: &Topology, uses_network: bool) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    if !uses_network {
        return found;
    }
    let mut add = |name: &str, value: &str| found.push((name.to_owned(), value.to_owned()));
    if topology.nvlink {
        for (name, value) in NVLINK_VARIABLES {
            add(name, value);
        }
    }
    if let Some(interface) = &topology.network.interface {
        // The standard cure of hangs at the first collective (sglang#3794, #836).
        add("GLOO_SOCKET_IFNAME", interface);
        add("NCCL_SOCKET_IFNAME", interface);
    }
    if !topology.network.hcas.is_empty() {
        add("NCCL_IB_HCA", &topology.network.hcas.join(","));
    }
    found
}
