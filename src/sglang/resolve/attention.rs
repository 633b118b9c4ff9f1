//! Attention backend, page size and the format of the KV cache.

use super::{COUNTED, Resolver};
use crate::profile::Version;

/// First version that chooses the backend while it resolves its arguments; earlier ones choose when they load the model.
const CHOSEN_EARLY: Version = Version::new(0, 5, 3);

/// First version that takes `trtllm_mla` on Blackwell for DeepSeek-V3 by itself (`server_args.py`, 0.5.5).
const BLACKWELL_BACKEND: Version = Version::new(0, 5, 5);

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
                (false, true) => "fa3",
                (false, false) if self.draft_top_k() <= 1 => "fa3",
                (true, true) if !split && self.version >= BLACKWELL_BACKEND => "trtllm_mla",
                (true, false) => "trtllm_mha",
                _ => "flashinfer",
            };
            self.out.attention_backend = Some(name.to_owned());
        }
        self.pages(decode);
        self.formats(decode);
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

    /// Replaces page sizes that a backend does not have.
    fn pages(&mut self, decode: Option<&str>) {
        let rules: [(&str, &[u32]); 4] = [
            ("flashmla", &[64]),
            ("cutlass_mla", &[128]),
            ("trtllm_mla", &[32, 64]),
            ("cutedsl_mla", &[32, 64]),
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
                self.refuse(
                    "architecture.attention",
                    "engine.attention_backend",
                    format!("{backend} does not run on Hopper"),
                    "use flashinfer, fa3 or flashmla",
                );
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
