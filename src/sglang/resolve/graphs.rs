//! CUDA graphs: whether they are captured, and up to which batch.

use super::{BREAKABLE, COUNTED, GRAPHS_BY_PHASE, PREFILL_GRAPHS, Resolver};
use crate::profile::Version;

/// First version whose default largest batch is bounded by the running requests (`memory_hook.py`, between 0.5.19 and
/// 0.5.23).
const BOUNDED: Version = Version::new(0, 5, 20);
/// First version that captures prefill with a compressed KV cache (`server_args.py`, 0.5.18).
const CAPTURES_MLA: Version = Version::new(0, 5, 18);
/// First version that captures prefill with attention replicas (`server_args.py`, 0.5.17).
const CAPTURES_WITH_REPLICAS: Version = Version::new(0, 5, 17);
/// First version that compiles prefill beside multi-token prediction (`server_args.py`, 0.5.11).
const COMPILES_WITH_DRAFTS: Version = Version::new(0, 5, 11);
/// All-to-all backends that prefill graphs are captured with (`cuda_graph_hook.py`, 0.5.23).
const WITH_PREFILL_GRAPHS: [&str; 4] = ["none", "deepep", "megamoe", "flashinfer"];

impl Resolver<'_> {
    /// Decides which graphs are captured, before the share of memory is computed.
    pub(super) fn graphs(&mut self) {
        let settings = self.settings;
        if self.version >= GRAPHS_BY_PHASE {
            let can = settings.pipeline <= 1 && self.captures_prefill();
            self.out.prefill_graphs = settings.prefill_graphs && (can || settings.prefill_graphs_named);
        } else if self.version >= PREFILL_GRAPHS {
            self.out.prefill_graphs = settings.piecewise_graphs && self.compiles_prefill();
        }
        self.batch = self.largest_batch();
        self.out.graph_batch = self.batch.filter(|_| settings.decode_graphs);
    }

    /// Returns true if this version captures graphs of prefill beside the other settings
    /// (`disable_breakable_cudagraph_if_incompatible` in `server_args.py`, 0.5.14 to 0.5.18, and in `cuda_graph_hook.py`).
    fn captures_prefill(&self) -> bool {
        let a2a = self.out.a2a.as_str();
        if self.version < BREAKABLE {
            return self.compiles_prefill();
        }
        if self.checkpoint.is_deepseek_v3 && self.version < CAPTURES_MLA {
            false
        } else if self.version < CAPTURES_WITH_REPLICAS {
            a2a == "none" && !self.settings.attention_switch
        } else {
            !self.settings.two_batch_overlap && WITH_PREFILL_GRAPHS.contains(&a2a)
        }
    }

    /// Returns true if this version compiles the graphs of prefill beside the other settings
    /// (`_handle_piecewise_cuda_graph` in `server_args.py`, 0.5.10 to 0.5.13;
    /// `_disable_tc_piecewise_cudagraph_if_incompatible`, 0.5.14).
    fn compiles_prefill(&self) -> bool {
        let settings = self.settings;
        let drafts = settings.draft_algorithm.is_some() && self.version < COMPILES_WITH_DRAFTS;
        let is_moved = settings.offloaded_gib > 0.0 || settings.hierarchical_cache || settings.eplb;
        let is_special = settings.torch_compile || settings.deterministic || settings.symmetric_memory;
        !settings.attention_switch
            && settings.pipeline <= 1
            && self.out.a2a == "none"
            && !(drafts || is_moved || is_special)
    }

    /// Returns the largest captured batch: the named one, that of the list, or the default for the GPU.
    fn largest_batch(&self) -> Option<u32> {
        let settings = self.settings;
        if let Some(batch) = settings.graph_batches.iter().max() {
            return Some(*batch);
        }
        if settings.graph_batch.is_some() {
            return settings.graph_batch;
        }
        let few = settings.tensor_parallel < 4;
        let mib = self.machine.memory_mib;
        if self.version < COUNTED {
            // 0.4.10.post2 decides the others when it captures.
            return (mib < 35 * 1024).then_some(if few { 8 } else { 80 });
        }
        let default = if mib >= 160 * 1024 || !few { 512 } else { 256 };
        let running = settings.max_running_requests.unwrap_or(u32::MAX);
        Some(if self.version >= BOUNDED {
            default.min(running)
        } else {
            default
        })
    }
}
