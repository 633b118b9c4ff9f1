//! Kernels and spread of the experts, and the format of the weights.

use super::{COUNTED, Checkpoint, Resolver};
use crate::profile::{Role, Version};
use crate::sglang::check::{Check, Level};

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

/// Returns true if an all-to-all backend spreads the experts over all ranks, whatever `--ep-size` says.
pub(crate) fn spreads_over_all(a2a: &str) -> bool {
    SPREAD_OVER_ALL.contains(&a2a)
}

/// First version that always compares a named format with the checkpoint's (`server_args.py`, 0.5.5).
const FORMAT_COMPARED: Version = Version::new(0, 5, 5);
/// First version that checks what `flashinfer_cutedsl` computes (`server_args.py`, 0.5.11).
const CUTEDSL_CHECKED: Version = Version::new(0, 5, 11);
/// First version that computes experts made NVFP4 at load by `flashinfer_cutedsl` (0.5.17).
const ONLINE_BY_CUTEDSL: Version = Version::new(0, 5, 17);
/// First version that checks the choice of an expert's copy (`server_args.py`, 0.5.17).
const DISPATCH_CHECKED: Version = Version::new(0, 5, 17);

/// Returns the refusal of weights that are named in another format than theirs.
pub(crate) fn wrong_format(checkpoint: &Checkpoint, named: &str, version: Version) -> Check {
    let (weights, fix) = match checkpoint.quantization.as_deref() {
        _ if checkpoint.is_modelopt => ("NVFP4", "quantization: modelopt_fp4"),
        Some("fp8") | None => ("FP8", "leave quantization out, or use other weights"),
        Some(other) => (
            other,
            "leave quantization out: SGLang reads the format from the files",
        ),
    };
    Check::new(
        "weights.quantization",
        Level::Error,
        "engine.quantization",
        format!("SGLang {version} does not read {weights} weights as {named}"),
    )
    .fix(fix)
}

impl Resolver<'_> {
    /// Refuses a named format that is not the checkpoint's, and a context that is longer than the checkpoint's.
    pub(super) fn checkpoint(&mut self) {
        if let Some(named) = self.settings.quantization.as_deref()
            && !self.checkpoint.is_read_as(named, self.version)
            && self.reads_the_checkpoint()
        {
            self.found
                .push(wrong_format(self.checkpoint, named, self.version));
        }
        if self.settings.quantization.as_deref() == Some("nvfp4_online") && !self.is_blackwell() {
            self.refuse(
                "architecture.nvfp4",
                "engine.quantization",
                "nvfp4_online needs Blackwell".to_owned(),
                "leave quantization out",
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

    /// Returns true if this version compares the checkpoint's own format while it resolves its arguments; otherwise it does
    /// when it reads the weights. NVIDIA's checkpoints are compared here only by versions before 0.5.3.
    fn reads_the_checkpoint(&self) -> bool {
        if self.version < FORMAT_COMPARED {
            self.settings.mem_fraction.is_none()
        } else {
            self.checkpoint.quantization.is_some()
                || self.settings.quantization.as_deref() == Some("nvfp4_online")
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
            Some("fp8" | "modelopt_fp8" | "modelopt_fp4" | "modelopt_mixed" | "nvfp4_online") | None
        );
        if fits && self.out.a2a == "none" && self.out.moe_runner.as_deref() == Some("auto") {
            self.out.moe_runner = Some("flashinfer_trtllm".to_owned());
        }
    }

    /// Checks kernels against format and spread.
    pub(super) fn experts(&mut self) {
        self.online_format();
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
            "flashinfer_cutedsl" if version >= CUTEDSL_CHECKED => {
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
        let is_checked = runner != "flashinfer_cutedsl" || version >= CUTEDSL_CHECKED;
        let whole = matches!(runner.as_str(), "flashinfer_cutlass" | "flashinfer_cutedsl");
        if whole && is_checked && ep != 1 && ep != tp {
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
            && is_checked
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

    /// Chooses and checks the kernels of experts that become NVFP4 when they are loaded (`server_args.py`, 0.5.14 to 0.5.16;
    /// `overrides.py`, 0.5.19 and 0.5.23).
    fn online_format(&mut self) {
        if self.out.quantization.as_deref() != Some("nvfp4_online") {
            return;
        }
        let runner = self.out.moe_runner.clone().unwrap_or_default();
        let fits = match runner.as_str() {
            "auto" => {
                self.out.moe_runner = Some("flashinfer_trtllm".to_owned());
                true
            }
            "flashinfer_cutedsl" => self.version >= ONLINE_BY_CUTEDSL,
            other => matches!(other, "flashinfer_trtllm" | "flashinfer_trtllm_routed"),
        };
        if !fits {
            self.refuse(
                "experts.quantization",
                "engine.moe_runner",
                format!(
                    "{runner} does not compute nvfp4_online experts in SGLang {}",
                    self.version
                ),
                "leave moe_runner out",
            );
        }
    }

    /// Checks copies of experts and their choice (`handle_eplb_and_dispatch`, 0.5.23).
    pub(super) fn dispatch(&mut self) {
        let settings = self.settings;
        if settings.eplb && self.out.expert_parallel <= 1 {
            self.refuse(
                "experts.eplb",
                "engine.eplb",
                "EPLB moves experts between GPUs, and needs expert parallel above 1".to_owned(),
                "set expert_parallel, or leave --enable-eplb out",
            );
        }
        if let Some(name @ ("static" | "lp")) = settings.expert_dispatch.as_deref()
            && self.out.a2a == "none"
            && self.version >= DISPATCH_CHECKED
        {
            self.refuse(
                "experts.dispatch",
                "engine.expert_dispatch",
                format!("{name} is refused without an all-to-all backend: GPUs would choose different copies of an expert"),
                "use dynamic, or --moe-a2a-backend deepep",
            );
        }
    }

    /// Applies what the communication between experts decides.
    fn all_to_all(&mut self) {
        let a2a = self.out.a2a.clone();
        if spreads_over_all(&a2a) {
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
        if a2a == "flashinfer" {
            self.flashinfer_all_to_all();
        }
        if a2a == "deepep" && self.settings.deepep_mode.as_deref() == Some("normal") {
            if self.out.graph_batch.is_some() && !self.has_role(Role::Prefill) {
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

    /// Checks what FlashInfer's communication needs (`_handle_a2a_moe`, 0.5.10 to 0.5.23).
    fn flashinfer_all_to_all(&mut self) {
        let runners: &[&str] = match self.version {
            version if version >= Version::new(0, 5, 19) => &[
                "flashinfer_cutlass",
                "flashinfer_cutedsl",
                "flashinfer_trtllm",
                "flashinfer_trtllm_routed",
                "deep_gemm",
            ],
            version if version >= Version::new(0, 5, 16) => {
                &["flashinfer_cutlass", "flashinfer_cutedsl", "flashinfer_trtllm"]
            }
            version if version >= Version::new(0, 5, 14) => &["flashinfer_cutlass", "flashinfer_cutedsl"],
            _ => &["flashinfer_cutlass"],
        };
        let runner = self.out.moe_runner.clone().unwrap_or_default();
        if !runners.contains(&runner.as_str()) {
            self.refuse(
                "experts.all_to_all",
                "engine.moe_a2a",
                format!(
                    "flashinfer exchanges tokens only for {}, not for {runner}",
                    runners.join(", ")
                ),
                "moe_runner: flashinfer_cutlass",
            );
        }
        let (dp, tp) = (self.out.attention_data_parallel, self.settings.tensor_parallel);
        if dp != tp && self.version >= Version::new(0, 5, 14) {
            self.refuse(
                "experts.all_to_all",
                "engine.moe_a2a",
                format!("flashinfer needs as many attention replicas as GPUs: {tp}, not {dp}"),
                format!("attention_data_parallel: {tp}"),
            );
        }
        self.out.shared_experts_fusion = false;
    }
}
