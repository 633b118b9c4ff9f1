//! Kernels and spread of the experts, and the format of the weights.

use super::{COUNTED, Resolver};
use crate::profile::Version;

/// First version with `--moe-runner-backend`.
const MOE_RUNNER_BACKEND: Version = Version::new(0, 5, 1);
/// All-to-all backends that spread the experts over all ranks (`overrides.py`, 0.5.23).
const SPREAD_OVER_ALL: [&str; 9] = [
    "megamoe",
    "deepep",
    "deepep_v2",
    "mooncake",
    "nixl",
    "flashinfer",
    "flashinfer_megamoe",
    "mori",
    "pplx",
];

impl Resolver<'_> {
    /// Refuses a named format that is not the checkpoint's, and a context that is longer than the checkpoint's.
    pub(super) fn checkpoint(&mut self) {
        let named = self.settings.quantization.as_deref().unwrap_or_default();
        let wrong = match self.checkpoint.quantization.as_deref() {
            Some("fp8") => named.starts_with("modelopt"),
            _ => self.checkpoint.is_modelopt && !named.is_empty() && !named.starts_with("modelopt"),
        };
        // Before 0.5.3 the checkpoint is read here only to compute the fraction; otherwise it fails when it is loaded.
        if wrong && self.version < COUNTED && self.settings.mem_fraction.is_none() {
            self.refuse(
                "weights.quantization",
                "engine.quantization",
                format!("the checkpoint is in another format than {named}"),
                "leave quantization out, or use the other weights",
            );
        }
        let longest = self.checkpoint.context;
        if let (Some(named), Some(longest)) = (self.settings.context_length, longest)
            && named > longest
            && !self.settings.longer_context
            && self.version >= COUNTED
        {
            self.refuse(
                "context.longer",
                "engine.context_length",
                format!("the model takes {longest} tokens, not {named}"),
                format!("use at most {longest}, or set env SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN: \"1\""),
            );
        }
    }

    /// Takes the format of the weights from the checkpoint, and the kernels of the experts on Blackwell, as 0.5.3 and later
    /// do for DeepSeek-V3.
    pub(super) fn format_of_checkpoint(&mut self) {
        if !self.checkpoint.is_deepseek_v3 || !self.is_blackwell() || self.version < COUNTED {
            return;
        }
        if self.out.quantization.is_none() {
            self.out.quantization.clone_from(&self.checkpoint.quantization);
        }
        let fits = matches!(
            self.out.quantization.as_deref(),
            Some("fp8" | "modelopt_fp8" | "modelopt_fp4" | "modelopt_mixed") | None
        );
        if fits && self.out.a2a == "none" && self.out.moe_runner.as_deref() == Some("auto") {
            self.out.moe_runner = Some("flashinfer_trtllm".to_owned());
        }
    }

    /// Checks kernels against format and spread.
    pub(super) fn experts(&mut self) {
        let version = self.version;
        let tp = self.settings.tensor_parallel;
        let ep = self.out.expert_parallel;
        let quantization = self.out.quantization.clone();
        let runner = self.out.moe_runner.clone().unwrap_or_default();
        let old = version < MOE_RUNNER_BACKEND;
        let formats: Option<&[Option<&str>]> = match runner.as_str() {
            "flashinfer_cutlass" if old => Some(&[Some("modelopt_fp4")]),
            "flashinfer_cutlass" => Some(&[
                Some("modelopt_fp4"),
                Some("modelopt_fp8"),
                Some("modelopt_mixed"),
                None,
            ]),
            "flashinfer_cutedsl" => {
                Some(&[Some("modelopt_fp4"), Some("modelopt_mixed"), Some("nvfp4_online")])
            }
            "flashinfer_trtllm" if !old => Some(&[
                Some("modelopt_fp4"),
                Some("nvfp4_online"),
                Some("fp8"),
                Some("mxfp8"),
                Some("modelopt_fp8"),
                Some("modelopt_mixed"),
                Some("compressed-tensors"),
                None,
            ]),
            "flashinfer_trtllm_routed" => Some(&[
                Some("fp8"),
                Some("mxfp8"),
                Some("modelopt_fp4"),
                Some("modelopt_mixed"),
                Some("nvfp4_online"),
                None,
            ]),
            _ => None,
        };
        if formats.is_some_and(|formats| !formats.contains(&quantization.as_deref())) {
            self.refuse(
                "experts.quantization",
                "engine.moe_runner",
                format!(
                    "{runner} does not compute {} experts in SGLang {version}",
                    quantization.as_deref().unwrap_or("unquantized")
                ),
                "use it only with quantization: modelopt_fp4",
            );
        }
        let whole = matches!(runner.as_str(), "flashinfer_cutlass" | "flashinfer_cutedsl");
        if whole && ep != 1 && ep != tp {
            self.refuse(
                "experts.whole",
                "engine.expert_parallel",
                format!("{runner} needs expert parallel 1 or {tp}, not {ep}"),
                format!("use 1 or {tp}"),
            );
        }
        if matches!(
            runner.as_str(),
            "flashinfer_cutedsl" | "flashinfer_trtllm" | "flashinfer_trtllm_routed"
        ) && !old
        {
            self.out.shared_experts_fusion = false;
        }
        if runner == "cutlass" && matches!(quantization.as_deref(), Some("fp8" | "mxfp8")) && ep != 1 {
            self.refuse(
                "experts.cutlass",
                "engine.expert_parallel",
                format!("the cutlass kernels of FP8 experts need expert parallel 1, not {ep}"),
                "leave expert_parallel out, or use moe_runner: flashinfer_trtllm",
            );
        }
        self.all_to_all();
    }

    /// Applies what the communication between experts decides.
    fn all_to_all(&mut self) {
        let a2a = self.out.a2a.clone();
        if SPREAD_OVER_ALL.contains(&a2a.as_str()) {
            let tp = self.settings.tensor_parallel;
            if self.out.expert_parallel != tp && self.out.expert_parallel != 1 {
                self.warn(
                    "experts.spread",
                    "engine.expert_parallel",
                    format!(
                        "{a2a} spreads the experts over all {tp} GPUs, not over {}",
                        self.out.expert_parallel
                    ),
                    format!("use {tp}, or leave it out"),
                );
            }
            self.out.expert_parallel = tp;
        }
        if a2a == "deepep" && self.settings.deepep_mode.as_deref() == Some("normal") {
            if self.out.graph_batch.is_some() {
                self.warn(
                    "graphs.deepep",
                    "engine.deepep_mode",
                    "with DeepEP's normal mode SGLang captures no CUDA graph: decode is slow".to_owned(),
                    "use --deepep-mode auto",
                );
            }
            self.out.graph_batch = None;
            self.out.prefill_graphs = false;
        }
    }
}
