//! The default size of a prefill chunk, and the default share of GPU memory for weights and KV pool.

use super::{ATTN_DP_SIZE, BREAKABLE, COUNTED, GRAPHS_BY_PHASE, PREFILL_GRAPHS, Resolver};
use crate::profile::{Role, Version};

/// First version that leaves memory for `DeepEP` in the graphs of prefill (`server_args.py`, 0.5.17).
const DEEPEP_IN_PREFILL: Version = Version::new(0, 5, 17);

/// Fraction digits of the engine's rounding.
const THOUSAND: f64 = 1000.0;

impl Resolver<'_> {
    /// Fills in the chunk and the fraction that are not named.
    pub(super) fn memory(&mut self) {
        let mib = self.machine.memory_mib;
        let by_gpu = match mib {
            0..35_840 => 2048,
            35_840..61_440 if self.version >= COUNTED => 4096,
            35_840..163_840 => 8192,
            _ => 16_384,
        };
        self.out.chunk = self.settings.chunked_prefill_size.unwrap_or(by_gpu);
        if self.settings.mem_fraction.is_none() {
            let reserved = if self.version < COUNTED {
                self.reserved_by_gpu()
            } else {
                self.reserved_by_load()
            };
            #[expect(clippy::cast_precision_loss, reason = "MiB of a GPU are exact in an f64")]
            let gpu = (mib as f64).max(1.0);
            self.out.fraction = (((gpu - reserved) / gpu) * THOUSAND).round() / THOUSAND;
        }
    }

    /// Returns the MiB that versions before 0.5.3 leave free.
    fn reserved_by_gpu(&self) -> f64 {
        let ranks = f64::from(self.settings.tensor_parallel) * f64::from(self.settings.pipeline);
        let by_gpu = match self.machine.memory_mib {
            0..35_840 => 2.8 + ranks / 10.0,
            35_840..92_160 => 9.5 + ranks / 2.0,
            92_160..163_840 => 12.0 + ranks / 2.0,
            _ => 32.0,
        };
        let drafts = if self.settings.draft_tokens.is_some() {
            2.0
        } else {
            0.0
        };
        let replicas = if self.settings.attention_switch { 4.0 } else { 0.0 };
        (by_gpu + drafts + replicas) * 1024.0
    }

    /// Returns the MiB that 0.5.3 and later leave free: 512 for metadata, 1.5 for each token of a chunk, 1024 for 8 ranks,
    /// and the graphs.
    fn reserved_by_load(&self) -> f64 {
        let settings = self.settings;
        #[expect(clippy::cast_precision_loss, reason = "tokens of a chunk are exact in an f64")]
        let tokens = match self.out.chunk {
            _ if self.has_role(Role::Decode) && self.version >= BREAKABLE => self.decoded_at_once(),
            chunk if chunk > 0 => chunk as f64,
            _ => self.out.max_prefill_tokens as f64,
        };
        let ranks = f64::from(settings.tensor_parallel) * f64::from(settings.pipeline);
        let mut sum = 512.0 + tokens.max(2048.0) * 1.5 + ranks / 8.0 * 1024.0 + self.reserved_for_graphs();
        if self.machine.memory_mib > 60 * 1024 {
            sum = sum.max(10_240.0);
        }
        if self.version >= BREAKABLE && self.out.graph_batch.is_some() && self.out.a2a == "deepep" {
            sum += 2048.0;
        }
        if self.version < GRAPHS_BY_PHASE {
            let algorithm = settings.draft_algorithm.as_deref().map(str::to_ascii_uppercase);
            sum += match algorithm.as_deref() {
                None | Some("NGRAM") => 0.0,
                Some("STANDALONE") => 6144.0,
                Some(_) if self.version >= PREFILL_GRAPHS => 4096.0,
                Some(_) => 2048.0,
            };
        }
        sum
    }

    /// Returns the tokens that an engine for decode computes at once (`memory_hook.py`, 0.5.15 to 0.5.23).
    fn decoded_at_once(&self) -> f64 {
        let requests = self.settings.max_running_requests.or(self.batch).unwrap_or(1);
        f64::from(requests) * f64::from(self.settings.draft_tokens_named.unwrap_or(1))
    }

    /// Returns the number of prefill graphs of a model without a compressed KV cache
    /// (`generate_prefill_cuda_graph_batch_sizes` in `cuda_graph_hook.py`, 0.5.19 and 0.5.23).
    fn prefill_shapes(&self) -> u32 {
        let most = self.settings.max_total_tokens.map_or(i64::MAX, i64::from);
        let largest = self
            .settings
            .prefill_graph_tokens
            .map_or(self.out.chunk.min(most), i64::from);
        let steps = [
            (4, 32, 4),
            (48, 256, 16),
            (288, 512, 32),
            (576, 1024, 64),
            (1280, 4096, 256),
            (4608, i64::MAX, 512),
        ];
        let count: i64 = steps
            .iter()
            .map(|&(first, last, step)| {
                let end = largest.min(last);
                if end < first { 0 } else { (end - first) / step + 1 }
            })
            .sum();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Returns the MiB that 0.5.3 and later leave free for graphs: 2 for each request of the largest batch, more with
    /// attention replicas, and 1536 for the prefill graphs of a model with a compressed KV cache.
    fn reserved_for_graphs(&self) -> f64 {
        // A batch that is not captured still counts for the replicas.
        let batch = f64::from(self.batch.unwrap_or_default());
        let mut sum = 0.0;
        if self.out.graph_batch.is_some() || self.version < BREAKABLE {
            sum += batch * 2.0;
        }
        let replicated = if self.version >= ATTN_DP_SIZE {
            self.out.attention_data_parallel > 1
        } else {
            self.settings.attention_switch
        };
        let decodes = !(self.has_role(Role::Prefill) && self.version >= BREAKABLE);
        if replicated && decodes {
            let dp = f64::from(self.out.attention_data_parallel);
            sum += batch * dp * if batch > 300.0 { 4.5 } else { 3.0 };
        }
        let prefills = !(self.has_role(Role::Decode) && self.version >= BREAKABLE);
        if self.out.prefill_graphs && prefills {
            sum += if self.checkpoint.is_deepseek_v3 {
                1536.0
            } else {
                8.0 * f64::from(self.prefill_shapes())
            };
            if self.out.a2a == "deepep" && self.version >= DEEPEP_IN_PREFILL {
                sum += 1024.0;
            }
        }
        sum
    }
}
