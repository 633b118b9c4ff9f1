//! Multi-token prediction.

use super::{COUNTED, Drafting, Resolver};
use crate::profile::Version;
use crate::sglang::check::{Check, Level};

/// Requests at once with multi-token prediction if none are named (`_handle_eagle_family`, 0.5.23; 0.4.10).
pub(crate) const RUNNING: u32 = 48;
/// The algorithms of `SpeculativeAlgorithm` (`spec_info.py`, 0.5.23); from 0.5.12 on the parser takes any word.
const ALGORITHMS: [&str; 10] = [
    "DFLASH",
    "DSPARK",
    "EAGLE",
    "EAGLE3",
    "FROZEN_KV_MTP",
    "NEXTN",
    "NGRAM",
    "NONE",
    "STANDALONE",
    "UNO",
];
/// First version whose scheduler works beside multi-token prediction without `SGLANG_ENABLE_SPEC_V2` (`server_args.py`,
/// 0.5.12).
const OVERLAPS: Version = Version::new(0, 5, 11);
/// First version whose scheduler also works beside drafts with several candidates (`speculative_hook.py`, 0.5.13;
/// `server_args.py` of 0.5.11 and 0.5.12 switches it off).
const OVERLAPS_TREES: Version = Version::new(0, 5, 13);
/// First version that refuses such drafts beside the scheduler (`server_args.py`, 0.5.8 to 0.5.10).
const TREES_REFUSED: Version = Version::new(0, 5, 8);
/// Steps, candidates and tokens that SGLang chooses for DeepSeek-V3 (`_auto_choose_speculative_params`).
const AUTOMATIC: Drafting = Drafting {
    steps: 3,
    top_k: Some(1),
    tokens: Some(4),
};

impl Resolver<'_> {
    /// Completes and checks the numbers of multi-token prediction.
    pub(super) fn drafting(&mut self) {
        let settings = self.settings;
        let Some(algorithm) = settings.draft_algorithm.as_deref() else {
            return;
        };
        if !ALGORITHMS.contains(&algorithm.to_ascii_uppercase().as_str()) {
            self.refuse(
                "speculative.algorithm",
                "--speculative-algorithm",
                format!("SGLang {} has no speculative algorithm {algorithm}", self.version),
                "use EAGLE: multi-token prediction of DeepSeek's own layer",
            );
        }
        if settings.mixed_chunk {
            self.note(
                "speculative.mixed_chunk",
                "--enable-mixed-chunk",
                "with multi-token prediction SGLang switches mixed chunks off".to_owned(),
            );
        }
        self.out.max_running_requests.get_or_insert(RUNNING);
        let is_asked = settings.draft_overlap.unwrap_or(self.version >= OVERLAPS);
        let is_tree = settings.draft_top_k.is_some_and(|top_k| top_k > 1);
        if !is_asked || (is_tree && self.version < OVERLAPS_TREES) {
            self.out.overlap_schedule = false;
        }
        if is_asked && is_tree && (TREES_REFUSED..OVERLAPS).contains(&self.version) {
            self.refuse(
                "speculative.top_k",
                "engine.speculative",
                format!(
                    "SGLANG_ENABLE_SPEC_V2 of SGLang {} drafts with top_k 1 only",
                    self.version
                ),
                "top_k: 1, or leave SGLANG_ENABLE_SPEC_V2 out",
            );
        }
        let named = (
            settings.draft_steps,
            settings.draft_top_k,
            settings.draft_tokens_named,
        );
        let mut drafting = match named {
            (None, None, None) => AUTOMATIC,
            (None, ..) => {
                self.refuse(
                    "speculative.steps",
                    "engine.speculative",
                    "without a number of steps SGLang chooses all three numbers, and refuses the other two"
                        .to_owned(),
                    "name --speculative-num-steps too",
                );
                AUTOMATIC
            }
            (Some(_), None, _) if self.version >= COUNTED => {
                self.refuse(
                    "speculative.top_k",
                    "engine.speculative",
                    "SGLang fails on a number of steps without a number of candidates".to_owned(),
                    "name --speculative-eagle-topk too",
                );
                AUTOMATIC
            }
            (Some(steps), top_k, tokens) => Drafting { steps, top_k, tokens },
        };
        let right = drafting.steps.saturating_add(1);
        if drafting.top_k == Some(1) && drafting.tokens != Some(right) {
            if let Some(named) = drafting.tokens {
                let text = format!(
                    "with top_k 1, SGLang makes draft_tokens {right} of the {named} that are named: one more than the steps"
                );
                self.found.push(
                    Check::new(
                        "speculative.draft_tokens",
                        Level::Note,
                        "engine.speculative",
                        text,
                    )
                    .fix(format!("draft_tokens: {right}")),
                );
            }
            drafting.tokens = Some(right);
        }
        let backend = self.out.attention_backend.clone().unwrap_or_default();
        let tree = matches!(backend.as_str(), "flashinfer" | "fa3" | "triton");
        let top_k = drafting.top_k.unwrap_or(1);
        if top_k > 1 && self.out.page_size > 1 && !tree && self.version >= COUNTED {
            self.refuse(
                "speculative.top_k",
                "engine.speculative",
                format!("{backend} drafts with top_k 1 only, not {top_k}"),
                "top_k: 1",
            );
        }
        self.out.drafting = Some(drafting);
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::{Architecture, Version};
    use crate::sglang::EffectiveSettings;
    use crate::sglang::flags::{Parser, history};
    use crate::sglang::resolve::{Checkpoint, Machine, resolve};

    /// Returns whether the scheduler overlaps with drafts of `top_k` candidates; `None` if the engine refuses them.
    fn overlaps(version: Version, top_k: u32, variable: Option<&str>) -> Option<bool> {
        let line = format!(
            "--tp-size 8 --speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk {top_k} --speculative-num-draft-tokens 8"
        );
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let env = variable.map(|value| ("SGLANG_ENABLE_SPEC_V2".to_owned(), value.to_owned()));
        let parsed = history(Parser::Server).table(version).parse(&words);
        let settings = EffectiveSettings::new(&parsed, &env.into_iter().collect(), version);
        let checkpoint = Checkpoint {
            is_deepseek_v3: true,
            quantization: Some("fp8".to_owned()),
            is_modelopt: false,
            context: None,
        };
        let resolution = resolve(&settings, Machine::nominal(Architecture::Hopper), &checkpoint);
        (!resolution.is_refused()).then_some(resolution.resolved.overlap_schedule)
    }

    #[test]
    fn drafts_with_several_candidates_overlap_from_0_5_13_on() {
        for (version, top_k, variable, expected) in [
            ("0.5.10", 1, None, Some(false)),
            ("0.5.10", 1, Some("1"), Some(true)),
            ("0.5.10", 4, Some("1"), None),
            ("0.5.11", 4, None, Some(false)),
            ("0.5.12", 1, None, Some(true)),
            ("0.5.12", 1, Some("0"), Some(false)),
            ("0.5.12", 4, None, Some(false)),
            ("0.5.13", 4, None, Some(true)),
            ("0.5.23", 4, Some("0"), Some(false)),
        ] {
            let found = overlaps(version.parse().unwrap(), top_k, variable);
            assert_eq!(found, expected, "{version}, top_k {top_k}, {variable:?}");
        }
    }
}
