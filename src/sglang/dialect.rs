//! Knobs to the flags and environment of one SGLang version: the only place that spells a knob's flag.
//!
//! Flags have their full names, because `--tp` and `--dp` work only as argparse abbreviations of the long forms.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::profile::{Count, Device, EngineSettings, MoeAllToAll, MoeRunner, Speculative, Version};

/// The arguments and environment variables for the settings of a profile, in one SGLang version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EngineFlags {
    /// Server arguments.
    pub args: Vec<Flag>,
    /// Environment of the server, by name.
    pub env: BTreeMap<String, Variable>,
}

/// One server argument with its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flag {
    /// Flag and values, apart.
    pub words: Vec<String>,
    /// The knob that it comes from, as a path in the profile: `engine.mem_fraction`; or `dsr1` for a default of dsr1.
    pub knob: String,
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// The variable's value.
    pub value: String,
    /// The knob that it comes from.
    pub knob: String,
}

impl EngineFlags {
    /// Returns the arguments as one list of words.
    pub fn argv(&self) -> impl Iterator<Item = &str> {
        self.args
            .iter()
            .flat_map(|flag| flag.words.iter().map(String::as_str))
    }

    /// Returns the environment without the knobs.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let pair = |(name, variable): (&String, &Variable)| (name.clone(), variable.value.clone());
        self.env.iter().map(pair).collect()
    }
}

/// `--moe-runner-backend` replaced one flag per kernel family (`server_args.py`, 0.5.1).
const MOE_RUNNER_BACKEND: Version = Version::new(0, 5, 1);
/// `cutlass` became one of its choices (0.5.4). In older versions only `SGLANG_CUTLASS_MOE` selects it.
const MOE_RUNNER_CUTLASS: Version = Version::new(0, 5, 4);
/// `--moe-a2a-backend` replaced `--enable-deepep-moe` (0.4.10.post2).
const MOE_A2A_BACKEND: Version = Version::new(0, 4, 10).post(2);
/// `none` became one of its choices (0.5.1); before, it was the default without a name.
const MOE_A2A_NONE: Version = Version::new(0, 5, 1);
/// `--attn-dp-size` replaced `--enable-dp-attention` with `--data-parallel-size` (0.5.22).
const ATTN_DP_SIZE: Version = Version::new(0, 5, 22);
/// `SGL_*` variables became `SGLANG_*` (0.5.4). Older versions ignore the new spelling.
const SGLANG_PREFIX: Version = Version::new(0, 5, 4);
/// `--ep-size` alone selects expert parallelism (0.4.10.post2). post1 needs `--enable-ep-moe` beside it.
const EP_SIZE_ALONE: Version = Version::new(0, 4, 10).post(2);
/// CUDA graphs were split into decode and prefill, and all-reduce fusion became a choice (0.5.14).
const GRAPHS_BY_PHASE: Version = Version::new(0, 5, 14);

/// The value of `reasoning_parser` that means none.
const NO_PARSER: &str = "none";

/// Renders `engine` for `version`, in the order of the guide's own commands.
#[must_use]
#[expect(
    clippy::too_many_lines,
    reason = "one line for each knob, and no knob is left out"
)]
pub fn render(engine: &EngineSettings, version: Version) -> EngineFlags {
    let EngineSettings {
        tensor_parallel,
        attention_data_parallel,
        pipeline_parallel,
        expert_parallel,
        redundant_experts,
        moe_a2a,
        deepep_mode,
        moe_dense_tensor_parallel,
        eplb,
        expert_dispatch,
        two_batch_overlap,
        single_batch_overlap,
        moe_runner,
        attention_backend,
        fp8_gemm,
        fp4_gemm,
        kv_cache,
        quantization,
        deep_gemm,
        mem_fraction,
        max_running_requests,
        chunked_prefill_size,
        max_prefill_tokens,
        max_total_tokens,
        page_size,
        context_length,
        graph_batch,
        radix_cache,
        overlap_schedule,
        lm_head_data_parallel,
        local_control_broadcast,
        prefill_delayer,
        schedule_conservativeness,
        scheduler_recv_interval,
        stream_interval,
        symmetric_memory,
        allreduce_fusion,
        shared_experts_fusion,
        speculative,
        trust_remote_code,
        tokenizer_path: _, // its value is the model path, so the plan adds it
        served_name,
        reasoning_parser,
        tool_call_parser,
        metrics,
        device,
        env,
        extra_args,
    } = engine;
    let mut out = EngineFlags::default();
    for (name, value) in env {
        out.variable(&format!("env.{name}"), name, value);
    }
    out.value("device", "--device", device.map(Device::name));
    out.switch(
        "trust_remote_code",
        "--trust-remote-code",
        *trust_remote_code == Some(true),
    );
    out.value("quantization", "--quantization", quantization.as_ref());
    out.value("tensor_parallel", "--tensor-parallel-size", *tensor_parallel);
    // All versions take this spelling; the newer ones show it as the short one's.
    out.value(
        "pipeline_parallel",
        "--pipeline-parallel-size",
        *pipeline_parallel,
    );
    out.attention_data_parallel(*attention_data_parallel, version);
    if let Some(ranks) = expert_parallel {
        out.value("expert_parallel", "--ep-size", Some(ranks));
        out.switch("expert_parallel", "--enable-ep-moe", version < EP_SIZE_ALONE);
    }
    out.value(
        "redundant_experts",
        "--ep-num-redundant-experts",
        *redundant_experts,
    );
    out.all_to_all(*moe_a2a, version);
    out.value("deepep_mode", "--deepep-mode", *deepep_mode);
    out.value(
        "moe_dense_tensor_parallel",
        "--moe-dense-tp-size",
        *moe_dense_tensor_parallel,
    );
    out.switch("eplb", "--enable-eplb", *eplb == Some(true));
    out.value("expert_dispatch", "--ep-dispatch-algorithm", *expert_dispatch);
    out.switch(
        "two_batch_overlap",
        "--enable-two-batch-overlap",
        *two_batch_overlap == Some(true),
    );
    out.switch(
        "single_batch_overlap",
        "--enable-single-batch-overlap",
        *single_batch_overlap == Some(true),
    );
    out.moe_runner(*moe_runner, version);
    out.value("attention_backend", "--attention-backend", *attention_backend);
    out.value("fp8_gemm", "--fp8-gemm-backend", *fp8_gemm);
    out.value("fp4_gemm", "--fp4-gemm-backend", *fp4_gemm);
    out.value("kv_cache", "--kv-cache-dtype", *kv_cache);
    out.switch(
        "radix_cache",
        "--disable-radix-cache",
        *radix_cache == Some(false),
    );
    out.switch(
        "overlap_schedule",
        "--disable-overlap-schedule",
        *overlap_schedule == Some(false),
    );
    out.switch(
        "shared_experts_fusion",
        "--disable-shared-experts-fusion",
        *shared_experts_fusion == Some(false),
    );
    out.switch(
        "lm_head_data_parallel",
        "--enable-dp-lm-head",
        *lm_head_data_parallel == Some(true),
    );
    out.switch(
        "local_control_broadcast",
        "--enable-dp-attention-local-control-broadcast",
        *local_control_broadcast == Some(true),
    );
    out.switch(
        "prefill_delayer",
        "--enable-prefill-delayer",
        *prefill_delayer == Some(true),
    );
    out.switch(
        "symmetric_memory",
        "--enable-symm-mem",
        *symmetric_memory == Some(true),
    );
    out.allreduce_fusion(*allreduce_fusion, version);
    out.speculative(*speculative);
    out.value(
        "max_running_requests",
        "--max-running-requests",
        *max_running_requests,
    );
    let graph = if version < GRAPHS_BY_PHASE {
        "--cuda-graph-max-bs"
    } else {
        "--cuda-graph-max-bs-decode"
    };
    out.value("graph_batch", graph, *graph_batch);
    out.value(
        "chunked_prefill_size",
        "--chunked-prefill-size",
        *chunked_prefill_size,
    );
    out.value("max_prefill_tokens", "--max-prefill-tokens", *max_prefill_tokens);
    out.value("max_total_tokens", "--max-total-tokens", *max_total_tokens);
    out.value("page_size", "--page-size", *page_size);
    out.value("context_length", "--context-length", *context_length);
    out.value("mem_fraction", "--mem-fraction-static", *mem_fraction);
    out.value(
        "schedule_conservativeness",
        "--schedule-conservativeness",
        *schedule_conservativeness,
    );
    out.value(
        "scheduler_recv_interval",
        "--scheduler-recv-interval",
        *scheduler_recv_interval,
    );
    out.value("stream_interval", "--stream-interval", *stream_interval);
    out.value("served_name", "--served-model-name", served_name.as_ref());
    let parser = reasoning_parser.as_ref().filter(|parser| *parser != NO_PARSER);
    out.value("reasoning_parser", "--reasoning-parser", parser);
    out.value(
        "tool_call_parser",
        "--tool-call-parser",
        tool_call_parser.as_ref(),
    );
    out.switch("metrics", "--enable-metrics", *metrics == Some(true));
    if let Some(enabled) = deep_gemm {
        let name = if version >= SGLANG_PREFIX {
            "SGLANG_ENABLE_JIT_DEEPGEMM"
        } else {
            "SGL_ENABLE_JIT_DEEPGEMM"
        };
        out.variable("deep_gemm", name, if *enabled { "1" } else { "0" });
    }
    out.add_raw(extra_args, "engine.extra_args");
    out
}

impl EngineFlags {
    /// Appends arguments as they are. A flag gets the words up to the next flag.
    pub fn add_raw(&mut self, words: &[String], origin: &str) {
        let mut start = true;
        for word in words {
            if start || word.starts_with("--") {
                self.args.push(Flag {
                    words: Vec::new(),
                    knob: origin.to_owned(),
                });
            }
            start = false;
            if let Some(flag) = self.args.last_mut() {
                flag.words.push(word.clone());
            }
        }
    }

    fn value(&mut self, knob: &str, flag: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.args.push(Flag {
                words: vec![flag.to_owned(), value.to_string()],
                knob: format!("engine.{knob}"),
            });
        }
    }

    fn switch(&mut self, knob: &str, flag: &str, on: bool) {
        if on {
            self.args.push(Flag {
                words: vec![flag.to_owned()],
                knob: format!("engine.{knob}"),
            });
        }
    }

    fn variable(&mut self, knob: &str, name: &str, value: &str) {
        self.env.insert(
            name.to_owned(),
            Variable {
                value: value.to_owned(),
                knob: format!("engine.{knob}"),
            },
        );
    }

    fn attention_data_parallel(&mut self, ranks: Option<Count>, version: Version) {
        let knob = "attention_data_parallel";
        if version >= ATTN_DP_SIZE {
            self.value(knob, "--attn-dp-size", ranks);
        } else if ranks.is_some_and(|ranks| ranks.get() > 1) {
            // With one replica SGLang refuses the old switch.
            self.value(knob, "--data-parallel-size", ranks);
            self.switch(knob, "--enable-dp-attention", true);
        }
    }

    fn all_to_all(&mut self, exchange: Option<MoeAllToAll>, version: Version) {
        let knob = "moe_a2a";
        match exchange {
            Some(MoeAllToAll::None) if version < MOE_A2A_NONE => {}
            Some(MoeAllToAll::Deepep) if version < MOE_A2A_BACKEND => {
                self.switch(knob, "--enable-deepep-moe", true);
            }
            exchange => self.value(knob, "--moe-a2a-backend", exchange),
        }
    }

    fn moe_runner(&mut self, runner: Option<MoeRunner>, version: Version) {
        let knob = "moe_runner";
        match runner {
            // Without a flag 0.4.10 chooses Triton.
            None => {}
            Some(MoeRunner::Auto | MoeRunner::Triton) if version < MOE_RUNNER_BACKEND => {}
            Some(MoeRunner::Cutlass) if version < MOE_RUNNER_CUTLASS => {
                self.variable(knob, "SGLANG_CUTLASS_MOE", "1");
            }
            Some(runner) if version >= MOE_RUNNER_BACKEND => {
                self.value(knob, "--moe-runner-backend", Some(runner));
            }
            Some(MoeRunner::FlashinferCutlass) => self.switch(knob, "--enable-flashinfer-cutlass-moe", true),
            Some(MoeRunner::FlashinferTrtllm) => self.switch(knob, "--enable-flashinfer-trtllm-moe", true),
            // This version has no such kernels. The rules refuse the flag and name its first version.
            Some(runner) => self.value(knob, "--moe-runner-backend", Some(runner)),
        }
    }

    fn allreduce_fusion(&mut self, fuse: Option<bool>, version: Version) {
        let knob = "allreduce_fusion";
        match fuse {
            Some(true) if version >= GRAPHS_BY_PHASE => {
                self.value(knob, "--flashinfer-allreduce-fusion-backend", Some("auto"));
            }
            Some(true) => self.switch(knob, "--enable-flashinfer-allreduce-fusion", true),
            Some(false) if version >= GRAPHS_BY_PHASE => {
                self.switch(knob, "--enforce-disable-flashinfer-allreduce-fusion", true);
            }
            // Off by default.
            Some(false) | None => {}
        }
    }

    fn speculative(&mut self, speculative: Option<Speculative>) {
        let Some(Speculative {
            steps,
            top_k,
            draft_tokens,
        }) = speculative
        else {
            return;
        };
        self.value("speculative", "--speculative-algorithm", Some("EAGLE"));
        self.value("speculative.steps", "--speculative-num-steps", Some(steps));
        self.value("speculative.top_k", "--speculative-eagle-topk", Some(top_k));
        self.value(
            "speculative.draft_tokens",
            "--speculative-num-draft-tokens",
            Some(draft_tokens),
        );
    }
}

impl Device {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(number: u32) -> Option<Count> {
        Count::new(number)
    }

    fn argv(engine: &EngineSettings, version: &str) -> Vec<String> {
        render(engine, version.parse().unwrap())
            .argv()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn expert_parallel_needs_its_switch_only_on_post1() {
        let engine = EngineSettings {
            expert_parallel: count(8),
            ..EngineSettings::default()
        };
        assert_eq!(
            argv(&engine, "0.4.10.post1"),
            ["--ep-size", "8", "--enable-ep-moe"]
        );
        assert_eq!(argv(&engine, "0.4.10.post2"), ["--ep-size", "8"]);
    }

    #[test]
    fn moe_runner_is_a_variable_then_a_flag() {
        let engine = EngineSettings {
            moe_runner: Some(MoeRunner::Cutlass),
            deep_gemm: Some(false),
            ..EngineSettings::default()
        };
        let old = render(&engine, "0.5.3".parse().unwrap()).environment();
        assert_eq!(old["SGLANG_CUTLASS_MOE"], "1");
        assert_eq!(old["SGL_ENABLE_JIT_DEEPGEMM"], "0");
        let new = render(&engine, "0.5.4".parse().unwrap());
        assert_eq!(
            new.argv().collect::<Vec<_>>(),
            ["--moe-runner-backend", "cutlass"]
        );
        assert_eq!(new.environment()["SGLANG_ENABLE_JIT_DEEPGEMM"], "0");
    }

    #[test]
    fn deepep_is_a_switch_then_a_choice() {
        let engine = |moe_a2a| EngineSettings {
            moe_a2a: Some(moe_a2a),
            ..EngineSettings::default()
        };
        let deepep = engine(MoeAllToAll::Deepep);
        assert_eq!(argv(&deepep, "0.4.10.post1"), ["--enable-deepep-moe"]);
        assert_eq!(argv(&deepep, "0.4.10.post2"), ["--moe-a2a-backend", "deepep"]);
        let none = engine(MoeAllToAll::None);
        assert!(argv(&none, "0.4.10.post2").is_empty());
        assert_eq!(argv(&none, "0.5.1"), ["--moe-a2a-backend", "none"]);
    }

    #[test]
    fn dp_attention_changes_spelling() {
        let engine = EngineSettings {
            attention_data_parallel: count(8),
            ..EngineSettings::default()
        };
        assert_eq!(
            argv(&engine, "0.5.21"),
            ["--data-parallel-size", "8", "--enable-dp-attention"]
        );
        assert_eq!(argv(&engine, "0.5.22"), ["--attn-dp-size", "8"]);
    }

    #[test]
    fn the_graph_batch_changes_spelling() {
        let engine = EngineSettings {
            graph_batch: count(128),
            ..EngineSettings::default()
        };
        assert_eq!(argv(&engine, "0.5.13"), ["--cuda-graph-max-bs", "128"]);
        assert_eq!(argv(&engine, "0.5.14"), ["--cuda-graph-max-bs-decode", "128"]);
    }

    #[test]
    fn raw_arguments_keep_their_values() {
        let mut flags = EngineFlags::default();
        flags.add_raw(&["--a", "1", "2", "--b"].map(str::to_owned), "x");
        let words: Vec<usize> = flags.args.iter().map(|flag| flag.words.len()).collect();
        assert_eq!(words, [3, 1]);
    }
}
