//! Points and lengths of published benchmarks.

use crate::choice::choices;

choices! {
    /// A published benchmark whose points and lengths are measured.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    Preset {
        /// `InferenceX` with prompts and answers of 1024 tokens.
        Inferencex1k1k = "inferencex-1k1k", "1024 and 1024 tokens, range 0.8, 4 to 64 in flight, ten requests for each";
        /// `InferenceX` with prompts of 8192 tokens and answers of 1024.
        Inferencex8k1k = "inferencex-8k1k", "8192 and 1024 tokens, range 0.8, 4 to 64 in flight, ten requests for each";
        /// The curve of `MLPerf` Endpoints.
        Mlperf = "mlperf", "1, 16, 128 and 1024 in flight, 600 s at 1 and 1200 s at each of the others";
    }
}

/// The points and the lengths of a preset.
#[derive(Debug, Clone, PartialEq)]
pub struct PresetPoints {
    /// Requests in flight, each with its least seconds of measuring; `None` for the usual ones.
    pub points: Vec<(u32, Option<u32>)>,
    /// Longest prompt, longest answer, and the share from which both are drawn; `None` for those of the profile.
    pub lengths: Option<(u32, u32, f64)>,
    /// Measured requests of each slot; `None` for the usual ones.
    pub waves: Option<u32>,
}

impl Preset {
    /// Returns its points and lengths.
    ///
    /// `InferenceX`: `configs/nvidia-master.yaml` (`dsr1-fp8-h200-sglang`: concurrency 4 to 64, doubled), `RANDOM_RANGE_RATIO` 0.8
    /// of `benchmark-tmpl.yml`, ten prompts for each slot (`benchmarks/single_node`), at 843c6254 of August 2026. Its prompts are
    /// warmed up with two waves, which a handed-over load has by itself.
    ///
    /// `MLPerf` Endpoints: the rules of v1.0, in development in September 2026, demand a point of ultra-low concurrency (1 to 32)
    /// with a steady part of 600 s, and a low, a medium and a high one with 1200 s each. Three more are free. The limits of the
    /// regions are not in its public sources: a submission names its own points with `--concurrency`.
    #[must_use]
    pub fn points(self) -> PresetPoints {
        let inferencex = |input| PresetPoints {
            points: [4, 8, 16, 32, 64].map(|slots| (slots, None)).to_vec(),
            lengths: Some((input, 1024, 0.8)),
            waves: Some(10),
        };
        match self {
            Self::Inferencex1k1k => inferencex(1024),
            Self::Inferencex8k1k => inferencex(8192),
            Self::Mlperf => PresetPoints {
                points: vec![
                    (1, Some(600)),
                    (16, Some(1200)),
                    (128, Some(1200)),
                    (1024, Some(1200)),
                ],
                lengths: None,
                waves: None,
            },
        }
    }
}
