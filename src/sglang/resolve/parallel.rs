//! Ranks, attention replicas and the pipeline.

use super::{COUNTED, Resolver};
use crate::profile::{Role, Version};

/// Factor by which attention replicas multiply the scheduler's caution (`server_args.py`, 0.4.10 to 0.5.23).
const CONSERVATIVENESS_FACTOR: f64 = 0.3;
/// First version that accepts all ranks as the ranks of the dense layers (`validation_hook.py`, 0.5.19).
const DENSE_OVER_ALL: Version = Version::new(0, 5, 14);
/// First version that checks two-batch overlap (`server_args.py`, 0.5.8).
const TWO_BATCHES_CHECKED: Version = Version::new(0, 5, 8);
/// First version that overlaps two batches with attention replicas alone (`server_args.py`, 0.5.16).
const TWO_BATCHES_OF_REPLICAS: Version = Version::new(0, 5, 16);
/// First version that lets each attention replica run a request (`kv_cache_configurator.py`, 0.5.23).
pub(crate) const AT_LEAST_ONE_EACH: Version = Version::new(0, 5, 23);
/// First version that checks the caches against each other (`server_args.py`, 0.5.3).
const CACHES_CHECKED: Version = COUNTED;
/// First version that refuses to compile unpadded batches (`server_args.py`, 0.5.12).
const PADDING_CHECKED: Version = Version::new(0, 5, 12);

impl Resolver<'_> {
    /// Reads the number of attention replicas.
    pub(super) fn replicas(&mut self) {
        let settings = self.settings;
        let version = self.version;
        if settings.attention_switch_alone {
            let text = "--enable-dp-attention without a number of attention replicas";
            let fix = "set attention_data_parallel";
            if version < COUNTED {
                // server_args.py: `assert self.dp_size > 1, "Please set a dp-size > 1..."`.
                self.refuse(
                    "parallel.attention_switch",
                    "--enable-dp-attention",
                    format!("{text} ends SGLang {version} at its start"),
                    fix,
                );
            } else {
                self.warn(
                    "parallel.attention_switch",
                    "--enable-dp-attention",
                    format!("{text} has no effect in SGLang {version}"),
                    fix,
                );
            }
        }
        if settings.attention_data_parallel > 1 && settings.replicas > 1 {
            self.refuse(
                "parallel.both",
                "--data-parallel-size",
                "attention replicas and copies of the model exclude each other".to_owned(),
                "use one of them",
            );
        }
    }

    /// Divides what attention replicas share.
    pub(super) fn split_over_replicas(&mut self) {
        let settings = self.settings;
        let (tp, dp) = (settings.tensor_parallel, self.out.attention_data_parallel);
        if settings.lm_head_data_parallel && dp <= 1 {
            if self.version < COUNTED || settings.replicas > 1 {
                self.refuse(
                    "parallel.lm_head",
                    "engine.lm_head_data_parallel",
                    "the output layer can only be replicated with attention replicas".to_owned(),
                    "leave it out, or set attention_data_parallel",
                );
            } else {
                self.warn(
                    "parallel.lm_head",
                    "engine.lm_head_data_parallel",
                    format!("SGLang {} ignores it without attention replicas", self.version),
                    "leave it out, or set attention_data_parallel",
                );
                self.out.lm_head_data_parallel = false;
            }
        }
        if dp <= 1 {
            return;
        }
        if !tp.is_multiple_of(dp) {
            self.refuse(
                "parallel.attention",
                "engine.attention_data_parallel",
                format!("{dp} attention replicas do not divide tensor parallel {tp}"),
                format!("use a divisor of {tp}"),
            );
        }
        let asked = self.out.conservativeness;
        self.out.conservativeness = asked * CONSERVATIVENESS_FACTOR;
        self.note(
            "schedule.conservativeness",
            "engine.schedule_conservativeness",
            format!(
                "with attention replicas SGLang multiplies schedule conservativeness {asked} by \
                 {CONSERVATIVENESS_FACTOR}: {:.2}",
                self.out.conservativeness
            ),
        );
        let chunk = self.out.chunk;
        self.out.chunk = chunk.div_euclid(i64::from(dp));
        if let Some(named) = settings.chunked_prefill_size.filter(|chunk| *chunk > 0) {
            self.note(
                "schedule.chunk",
                "engine.chunked_prefill_size",
                format!(
                    "chunked prefill {named} is divided by the {dp} attention replicas: {} each",
                    self.out.chunk
                ),
            );
        }
        if let Some(requests) = settings.max_running_requests {
            self.divided_requests(requests, dp);
        }
    }

    /// Says how many requests each attention replica runs.
    fn divided_requests(&mut self, requests: u32, dp: u32) {
        let id = "schedule.requests";
        let subject = "engine.max_running_requests";
        let each = requests / dp;
        let said = format!("{requests} running requests are divided by the {dp} attention replicas");
        if each > 0 {
            self.note(id, subject, format!("{said}: {each} each"));
        } else if self.version >= AT_LEAST_ONE_EACH {
            self.warn(
                id,
                subject,
                format!("{said}, and SGLang runs 1 on each"),
                format!("use at least {dp}"),
            );
        }
        // An older version fails when it makes the pool (`rules`).
    }

    /// Turns off what a pipeline excludes.
    pub(super) fn pipeline(&mut self) {
        if self.settings.pipeline <= 1 {
            return;
        }
        self.out.overlap_schedule = false;
        // With multi-token prediction mixed chunks are switched off before this is checked.
        if self.settings.mixed_chunk && self.settings.draft_tokens.is_none() && self.version < COUNTED {
            self.refuse(
                "parallel.pipeline_mixed",
                "--enable-mixed-chunk",
                "a pipeline and mixed chunks exclude each other".to_owned(),
                "leave --pp-size or --enable-mixed-chunk out",
            );
        }
    }

    /// Checks the sizes that the engine checks at its very start, after the resolution.
    pub(super) fn checked_last(&mut self) {
        let settings = self.settings;
        let tp = settings.tensor_parallel;
        if settings.pipeline > 1 && self.out.drafting.is_some() {
            self.refuse(
                "parallel.pipeline_drafting",
                "engine.pipeline_parallel",
                "a pipeline and multi-token prediction exclude each other".to_owned(),
                "leave --pp-size or `speculative` out",
            );
        }
        let over_all = self.version >= DENSE_OVER_ALL;
        if let Some(dense) = settings
            .dense_tensor_parallel
            .filter(|dense| *dense != 1 && !(over_all && *dense == tp))
        {
            self.refuse(
                "parallel.dense",
                "engine.moe_dense_tensor_parallel",
                format!(
                    "SGLang {} splits the dense layers over 1 GPU or over all, not over {dense}",
                    self.version
                ),
                "use 1, or leave it out",
            );
        }
        if settings.two_batch_overlap
            && self.out.a2a == "none"
            && (self.out.attention_data_parallel <= 1 || self.version < TWO_BATCHES_OF_REPLICAS)
            && self.version >= TWO_BATCHES_CHECKED
        {
            self.refuse(
                "parallel.two_batches",
                "engine.two_batch_overlap",
                format!(
                    "SGLang {} overlaps two batches only with DeepEP{}",
                    self.version,
                    if self.version < TWO_BATCHES_OF_REPLICAS {
                        ""
                    } else {
                        " or with attention replicas"
                    }
                ),
                if self.version < TWO_BATCHES_OF_REPLICAS {
                    "set --moe-a2a-backend deepep"
                } else {
                    "set attention_data_parallel, or --moe-a2a-backend deepep"
                },
            );
        }
        // An engine for decode has no cache of prefixes unless it is asked for.
        let distributed = &settings.distributed;
        let keeps = settings.radix_cache && (!self.has_role(Role::Decode) || distributed.decode_radix_cache);
        if settings.hierarchical_cache && !keeps && self.version >= CACHES_CHECKED {
            self.refuse(
                "cache.hierarchical",
                "--enable-hierarchical-cache",
                "a hierarchical cache needs the cache of prefixes".to_owned(),
                "leave radix_cache: false or --enable-hierarchical-cache out",
            );
        }
        if settings.torch_compile && !settings.graph_padding && self.version >= PADDING_CHECKED {
            self.refuse(
                "graphs.padding",
                "--disable-cuda-graph-padding",
                "without padding torch would compile every batch size".to_owned(),
                "leave --disable-cuda-graph-padding or --enable-torch-compile out",
            );
        }
        let page = i64::from(self.out.page_size.max(1));
        let chunk = self.out.chunk;
        // An engine for decode computes no chunk (`check_server_args`, 0.5.8 to 0.5.23).
        let is_checked = (chunk > 0 || self.version < COUNTED) && !self.has_role(Role::Decode);
        if is_checked && chunk % page != 0 {
            self.refuse(
                "attention.chunk",
                "engine.chunked_prefill_size",
                format!("a prefill chunk of {chunk} tokens is not a multiple of the page size {page}"),
                format!(
                    "use a multiple of {}",
                    page * i64::from(self.out.attention_data_parallel.max(1))
                ),
            );
        }
        if self.out.conservativeness < 0.0 && self.version >= COUNTED {
            self.refuse(
                "range.conservativeness",
                "engine.schedule_conservativeness",
                "a negative caution of the scheduler is refused".to_owned(),
                "use 0 or more",
            );
        }
    }
}
