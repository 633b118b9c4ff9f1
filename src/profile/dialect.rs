//! Neutral knobs to one SGLang version's flags and environment: the only place that spells a server flag.
//!
//! Full flag names always: `--tp` and `--dp` only work as argparse abbreviations of the long forms.

use std::collections::BTreeMap;

use super::schema::{AttentionBackend, Engine, MoeRunner};
use super::version::Version;

/// What one engine version is told about the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineFlags {
    /// Server arguments, flag and value apart.
    pub args: Vec<String>,
    /// Environment of the server.
    pub env: BTreeMap<String, String>,
}

/// `--moe-runner-backend` replaced one flag per kernel family (`server_args.py`, 0.5.1).
const MOE_RUNNER_BACKEND: Version = Version::new(0, 5, 1);
/// `--attn-dp-size` replaced `--enable-dp-attention` with `--data-parallel-size` (0.5.22).
const ATTN_DP_SIZE: Version = Version::new(0, 5, 22);
/// `SGL_*` variables became `SGLANG_*` (0.5.4); before, the new spelling is ignored.
const SGLANG_PREFIX: Version = Version::new(0, 5, 4);
/// `--ep-size` alone selects expert parallelism (0.4.10.post2); post1 needs `--enable-ep-moe` beside it.
const EP_SIZE_ALONE: Version = Version::new(0, 4, 10).post(2);

/// Renders `engine` for `version`, in the order of the guide's own commands.
#[must_use]
pub fn render(engine: &Engine, version: Version) -> EngineFlags {
    let Engine {
        tensor_parallel,
        attention_data_parallel,
        expert_parallel,
        moe_runner,
        attention_backend,
        quantization,
        deep_gemm,
        mem_fraction,
        max_running_requests,
        chunked_prefill_size,
        max_prefill_tokens,
        max_total_tokens,
        radix_cache,
        overlap_schedule,
        trust_remote_code,
        tokenizer_path: _, // its value is the model path, which the plan knows
        device,
        env,
    } = engine;
    let mut flags = EngineFlags {
        args: Vec::new(),
        env: env.clone(),
    };
    flags.value("--device", device.as_ref());
    flags.switch("--trust-remote-code", *trust_remote_code);
    flags.value("--quantization", quantization.as_ref());
    flags.value("--tensor-parallel-size", tensor_parallel.as_ref());
    if let Some(ranks) = attention_data_parallel {
        if version >= ATTN_DP_SIZE {
            flags.value("--attn-dp-size", Some(ranks));
        } else {
            flags.value("--data-parallel-size", Some(ranks));
            flags.switch("--enable-dp-attention", true);
        }
    }
    if let Some(ranks) = expert_parallel {
        flags.value("--ep-size", Some(ranks));
        flags.switch("--enable-ep-moe", version < EP_SIZE_ALONE);
    }
    if let Some(runner) = moe_runner {
        flags.moe_runner(*runner, version);
    }
    flags.value(
        "--attention-backend",
        attention_backend.map(AttentionBackend::flag).as_ref(),
    );
    flags.switch("--disable-radix-cache", *radix_cache == Some(false));
    flags.switch("--disable-overlap-schedule", *overlap_schedule == Some(false));
    flags.value("--max-running-requests", max_running_requests.as_ref());
    flags.value("--chunked-prefill-size", chunked_prefill_size.as_ref());
    flags.value("--max-prefill-tokens", max_prefill_tokens.as_ref());
    flags.value("--max-total-tokens", max_total_tokens.as_ref());
    flags.value("--mem-fraction-static", mem_fraction.as_ref());
    if let Some(enabled) = deep_gemm {
        let name = if version >= SGLANG_PREFIX {
            "SGLANG_ENABLE_JIT_DEEPGEMM"
        } else {
            "SGL_ENABLE_JIT_DEEPGEMM"
        };
        flags.env.insert(name.to_owned(), u8::from(*enabled).to_string());
    }
    flags
}

impl EngineFlags {
    fn value(&mut self, flag: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.args.extend([flag.to_owned(), value.to_string()]);
        }
    }

    fn switch(&mut self, flag: &str, on: bool) {
        if on {
            self.args.push(flag.to_owned());
        }
    }

    fn moe_runner(&mut self, runner: MoeRunner, version: Version) {
        if version >= MOE_RUNNER_BACKEND {
            return self.value("--moe-runner-backend", Some(&runner.flag()));
        }
        match runner {
            MoeRunner::Cutlass => {
                self.env.insert("SGLANG_CUTLASS_MOE".to_owned(), "1".to_owned());
            }
            MoeRunner::FlashinferCutlass => self.switch("--enable-flashinfer-cutlass-moe", true),
            MoeRunner::FlashinferTrtllm => self.switch("--enable-flashinfer-trtllm-moe", true),
        }
    }
}

impl MoeRunner {
    const fn flag(self) -> &'static str {
        match self {
            Self::Cutlass => "cutlass",
            Self::FlashinferCutlass => "flashinfer_cutlass",
            Self::FlashinferTrtllm => "flashinfer_trtllm",
        }
    }
}

impl AttentionBackend {
    const fn flag(self) -> &'static str {
        match self {
            Self::CutlassMla => "cutlass_mla",
            Self::TrtllmMla => "trtllm_mla",
            Self::TorchNative => "torch_native",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expert_parallel_needs_its_switch_only_on_post1() {
        let engine = Engine {
            expert_parallel: Some(8),
            ..Engine::default()
        };
        assert_eq!(
            render(&engine, Version::new(0, 4, 10).post(1)).args,
            ["--ep-size", "8", "--enable-ep-moe"]
        );
        assert_eq!(
            render(&engine, Version::new(0, 4, 10).post(2)).args,
            ["--ep-size", "8"]
        );
    }

    #[test]
    fn moe_runner_is_a_variable_then_a_flag() {
        let engine = Engine {
            moe_runner: Some(MoeRunner::Cutlass),
            deep_gemm: Some(false),
            ..Engine::default()
        };
        let old = render(&engine, Version::new(0, 4, 10).post(2));
        assert_eq!(old.env["SGLANG_CUTLASS_MOE"], "1");
        assert_eq!(old.env["SGL_ENABLE_JIT_DEEPGEMM"], "0");
        let new = render(&engine, Version::new(0, 5, 23));
        assert_eq!(new.args, ["--moe-runner-backend", "cutlass"]);
        assert_eq!(new.env["SGLANG_ENABLE_JIT_DEEPGEMM"], "0");
    }

    #[test]
    fn dp_attention_changes_spelling() {
        let engine = Engine {
            attention_data_parallel: Some(8),
            ..Engine::default()
        };
        assert_eq!(
            render(&engine, Version::new(0, 4, 10).post(2)).args,
            ["--data-parallel-size", "8", "--enable-dp-attention"]
        );
        assert_eq!(
            render(&engine, Version::new(0, 5, 22)).args,
            ["--attn-dp-size", "8"]
        );
    }
}
