//! Attention backend, page size and the format of the KV cache.

use super::{BREAKABLE, COUNTED, Resolver};
use crate::profile::Version;

/// First version that chooses the backend while it resolves its arguments; earlier ones choose when they load the model.
const CHOSEN_EARLY: Version = Version::new(0, 5, 3);

/// First version that takes `trtllm_mla` on Blackwell for DeepSeek-V3 by itself (`server_args.py`, 0.5.5).
const BLACKWELL_BACKEND: Version = Version::new(0, 5, 5);
/// First version that takes `trtllm_mha` on Hopper (`attention_hook.py`, 0.5.19).
const MHA_ON_HOPPER: Version = Version::new(0, 5, 19);
/// First version whose `trtllm_mha` has pages of 128 tokens, too (`overrides.py`, 0.5.17).
const MHA_PAGES_OF_128: Version = Version::new(0, 5, 17);
/// First version that takes `tokenspeed_mla` as another name of `cutedsl_mla` (`serving_hook.py`, after 0.5.19).
const TOKENSPEED_RENAMED: Version = Version::new(0, 5, 20);
/// First version that reads an NVFP4 KV cache by one backend in prefill and by `trtllm_mha` in decode (`kv_cache_hook.py`,
/// after 0.5.19).
const NVFP4_BY_PHASE: Version = Version::new(0, 5, 20);
/// First version that excludes `flashinfer` for DeepSeek's deterministic answers (`server_args.py`, 0.5.5).
const DETERMINISTIC_BY_MODEL: Version = Version::new(0, 5, 5);

/// First version whose `fa4` has pages of 128 tokens in any phase (`overrides.py`, 0.5.16).
const FA4_IN_ANY_PHASE: Version = Version::new(0, 5, 16);
/// First version that takes `fa4` for the deterministic answers of DeepSeek-V3 (`server_args.py`, 0.5.17).
const FA4_READS_MLA: Version = Version::new(0, 5, 17);

impl Resolver<'_> {
    /// Chooses the backend and what follows from it.
    pub(super) fn attention_backend(&mut self) {
        let settings = self.settings;
        let version = self.version;
        let decode = settings.decode_attention_backend.as_deref();
        if let (Some(prefill), Some(decode)) = (settings.prefill_attention_backend.as_deref(), decode)
            && prefill == decode
            && version >= CHOSEN_EARLY
        {
            self.out.attention_backend = Some(prefill.to_owned());
        }
        if self.out.attention_backend.is_none() && version >= CHOSEN_EARLY {
            let is_mla = self.checkpoint.is_deepseek_v3;
            let split = settings.prefill_attention_backend.is_some() || decode.is_some();
            let name = match (self.is_blackwell(), is_mla) {
                // What must not depend on the batch is chosen first, but for the backend that the model asks for
                // (`_deterministic_attention_backend` in `overrides.py`, 0.5.19).
                (false, _) if settings.deterministic => "fa3",
                (true, false) if settings.deterministic => "flashinfer",
                (false, true) => "fa3",
                (false, false) if self.draft_top_k() <= 1 => "fa3",
                (true, true) if !split && self.version >= BLACKWELL_BACKEND => "trtllm_mla",
                (true, false) if self.draft_top_k() <= 1 => "trtllm_mha",
                (true, true) if settings.deterministic && split => "triton",
                _ => "flashinfer",
            };
            self.out.attention_backend = Some(name.to_owned());
        }
        self.renamed(decode);
        let decode = self.block_formats(decode);
        self.pages(decode);
        self.formats(decode);
        self.deterministic();
        self.prefill_without_graphs();
        if self.out.attention_backend.as_deref() == Some("fa3")
            && self.out.kv_cache == "fp8_e5m2"
            && version >= COUNTED
        {
            self.warn(
                "attention.replaced",
                "engine.attention_backend",
                format!("fa3 does not read an fp8_e5m2 KV cache: SGLang {version} uses triton"),
                "use kv_cache: fp8_e4m3, or attention_backend: triton",
            );
            self.out.attention_backend = Some("triton".to_owned());
        }
    }

    /// Switches graphs of prefill off where `trtllm_mla` computes it: captured, it would be another backend
    /// (`disable_prefill_cuda_graph_for_deepseek_trtllm_mla`, 0.5.23).
    fn prefill_without_graphs(&mut self) {
        let settings = self.settings;
        if self.version < BREAKABLE {
            return;
        }
        let backend = self.out.attention_backend.as_deref();
        let prefill = settings.prefill_attention_backend.as_deref().or(match backend {
            Some("cutedsl_mla") => Some("trtllm_mla"),
            other => other,
        });
        if prefill == Some("trtllm_mla") && self.checkpoint.is_deepseek_v3 && !settings.prefill_graphs_named {
            self.out.prefill_graphs = false;
        }
    }

    fn draft_top_k(&self) -> u32 {
        self.settings.draft_top_k.unwrap_or(1)
    }

    /// Returns true if a backend computes decode.
    fn uses(&self, decode: Option<&str>, name: &str) -> bool {
        self.out.attention_backend.as_deref() == Some(name) || decode == Some(name)
    }

    /// Takes the newer name of a backend, with the format that the older one implied (`serving_hook.py`, 0.5.23).
    fn renamed(&mut self, decode: Option<&str>) {
        if !self.uses(decode, "tokenspeed_mla") {
            return;
        }
        if self.version >= TOKENSPEED_RENAMED {
            self.note(
                "attention.renamed",
                "engine.attention_backend",
                format!(
                    "SGLang {} calls tokenspeed_mla cutedsl_mla, with a KV cache of fp8_e4m3",
                    self.version
                ),
            );
            if self.out.attention_backend.as_deref() == Some("tokenspeed_mla") {
                self.out.attention_backend = Some("cutedsl_mla".to_owned());
            }
            "fp8_e4m3".clone_into(&mut self.out.kv_cache);
        }
        if !self.is_blackwell() {
            self.refuse_on_hopper("tokenspeed_mla");
        } else if self.out.kv_cache != "fp8_e4m3" {
            self.refuse(
                "attention.kv_cache",
                "engine.kv_cache",
                format!(
                    "tokenspeed_mla reads a KV cache of fp8_e4m3 only, not {}",
                    self.out.kv_cache
                ),
                "use kv_cache: fp8_e4m3",
            );
        }
    }

    fn refuse_on_hopper(&mut self, backend: &str) {
        self.refuse(
            "architecture.attention",
            "engine.attention_backend",
            format!("{backend} does not run on Hopper"),
            "use flashinfer, fa3 or flashmla",
        );
    }

    /// Refuses 4-bit and block-scaled KV caches where the GPU or the backend has none; returns the backend of decode
    /// (`kv_cache_hook.py`, 0.5.16 to 0.5.23).
    fn block_formats<'b>(&mut self, decode: Option<&'b str>) -> Option<&'b str> {
        let format = self.out.kv_cache.clone();
        if !matches!(format.as_str(), "nvfp4" | "mxfp8") {
            return decode;
        }
        if !self.is_blackwell() {
            self.refuse(
                "architecture.kv_cache",
                "engine.kv_cache",
                format!("a KV cache of {format} needs Blackwell"),
                "use kv_cache: fp8_e4m3",
            );
            return decode;
        }
        let is_split = format == "nvfp4" && self.version >= NVFP4_BY_PHASE;
        let prefill = self.settings.prefill_attention_backend.as_deref();
        let prefill = prefill
            .or(self.out.attention_backend.as_deref())
            .unwrap_or_default();
        let reads = if is_split {
            matches!(prefill, "flashinfer" | "trtllm_mha") && matches!(decode, None | Some("trtllm_mha"))
        } else {
            let by = |backend: &str| matches!(backend, "flashinfer" | "cutlass_mla");
            format != "nvfp4"
                || !self.checkpoint.is_deepseek_v3
                || (by(prefill) && decode.is_none_or(by))
                || (prefill == "fa4" && decode.is_some_and(by))
        };
        if !reads {
            let backend = decode.unwrap_or(prefill).to_owned();
            self.refuse(
                "attention.kv_cache",
                "engine.kv_cache",
                format!(
                    "{backend} does not read a KV cache of {format} in SGLang {}",
                    self.version
                ),
                "use kv_cache: fp8_e4m3",
            );
        }
        if is_split { Some("trtllm_mha") } else { decode }
    }

    /// Refuses backends whose results depend on the batch, where they must not (`_handle_deterministic_inference`, 0.5.3 to
    /// 0.5.23).
    fn deterministic(&mut self) {
        if !self.settings.deterministic {
            return;
        }
        let backend = self.out.attention_backend.clone().unwrap_or_default();
        let is_one = match backend.as_str() {
            "fa3" | "triton" => true,
            // The compressed cache of DeepSeek-V3 is read by it on Blackwell alone (`attention_hook.py`, 0.5.17 to 0.5.23).
            "fa4" if self.checkpoint.is_deepseek_v3 => self.version >= FA4_READS_MLA && self.is_blackwell(),
            "fa4" => self.version >= Version::new(0, 5, 16),
            "flashinfer" => !self.checkpoint.is_deepseek_v3 || self.version < DETERMINISTIC_BY_MODEL,
            _ => false,
        };
        if !is_one {
            self.refuse(
                "attention.deterministic",
                "--enable-deterministic-inference",
                format!(
                    "the answers of {backend} depend on the batch: SGLang {} refuses it here",
                    self.version
                ),
                "attention_backend: triton, or fa3 on Hopper",
            );
        }
        if backend == "flashinfer" {
            self.out.radix_cache = false;
        }
    }

    /// Returns true if `fa4` computes attention in pages of 128 tokens: for a plain KV cache on Blackwell, without a tree of drafts
    /// (`_fa4_page_constraint` in `overrides.py`, 0.5.19; 0.5.13 looks at the backend of prefill alone).
    fn has_fa4_pages(&self, decode: Option<&str>) -> bool {
        let prefill = self.settings.prefill_attention_backend.as_deref();
        let is_used =
            prefill == Some("fa4") || (self.version >= FA4_IN_ANY_PHASE && self.uses(decode, "fa4"));
        is_used && !self.checkpoint.is_deepseek_v3 && self.is_blackwell() && self.draft_top_k() <= 1
    }

    /// Replaces page sizes that a backend does not have.
    fn pages(&mut self, decode: Option<&str>) {
        if self.has_fa4_pages(decode) {
            self.out.page_size = 128;
        }
        let mha: &[u32] = if self.version < MHA_PAGES_OF_128 {
            &[16, 32, 64]
        } else {
            &[16, 32, 128, 64]
        };
        let rules: [(&str, &[u32]); 6] = [
            ("flashmla", &[64]),
            ("cutlass_mla", &[128]),
            ("trtllm_mla", &[32, 64]),
            ("tokenspeed_mla", &[32, 64]),
            ("cutedsl_mla", &[32, 64]),
            ("trtllm_mha", mha),
        ];
        for (backend, pages) in rules {
            if !self.uses(decode, backend) || pages.contains(&self.out.page_size) {
                continue;
            }
            let new = *pages.last().unwrap_or(&64);
            if let Some(named) = self.settings.page_size {
                let choices: Vec<String> = pages.iter().map(u32::to_string).collect();
                self.warn(
                    "attention.page_size",
                    "engine.page_size",
                    format!("{backend} replaces the page size {named} with {new}"),
                    format!("leave --page-size out, or use {}", choices.join(" or ")),
                );
            }
            self.out.page_size = new;
        }
    }

    /// Refuses backends that the GPU or the format of the KV cache excludes.
    fn formats(&mut self, decode: Option<&str>) {
        let version = self.version;
        for (backend, formats) in [
            ("trtllm_mla", &["fp8_e4m3", "bf16", "auto"][..]),
            ("cutedsl_mla", &["fp8_e4m3", "bf16", "bfloat16", "auto"][..]),
        ] {
            if !self.uses(decode, backend) {
                continue;
            }
            if !self.is_blackwell() {
                self.refuse_on_hopper(backend);
            }
            if version >= COUNTED && !formats.contains(&self.out.kv_cache.as_str()) {
                let named = self.out.kv_cache.clone();
                self.refuse(
                    "attention.kv_cache",
                    "engine.kv_cache",
                    format!("{backend} does not read a KV cache of {named} in SGLang {version}"),
                    "use kv_cache: fp8_e4m3, or leave it out",
                );
            }
        }
        if self.uses(decode, "trtllm_mha") && !self.is_blackwell() && version < MHA_ON_HOPPER {
            self.refuse_on_hopper("trtllm_mha");
        }
        if self.uses(decode, "trtllm_mla") && self.settings.draft_tokens.is_some() && version < COUNTED {
            self.refuse(
                "attention.speculative",
                "engine.speculative",
                format!("trtllm_mla does not draft tokens in SGLang {version}"),
                "use another attention_backend, or leave speculative out",
            );
        }
    }
}
