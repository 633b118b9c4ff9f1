//! The types of a profile's knobs. Each refuses values that no version of SGLang accepts, with the line of the file.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A whole number of 1 or more: ranks, requests, tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Count(u32);

impl Count {
    /// Makes a count; `None` for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 1 to {}", u32::MAX)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
                u32::try_from(number).ok().and_then(Count::new).ok_or_else(|| {
                    E::custom(format!("{number} is not a whole number from 1 to {}", u32::MAX))
                })
            }
        }
        deserializer.deserialize_u64(Whole)
    }
}

/// Size of a prefill chunk in tokens, or no chunking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// A chunk of so many tokens.
    Tokens(Count),
    /// Whole prompts; `-1` in a profile and on SGLang's command line.
    Whole,
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens(tokens) => tokens.fmt(f),
            Self::Whole => f.write_str("-1"),
        }
    }
}

impl Serialize for Chunk {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tokens(tokens) => tokens.serialize(serializer),
            Self::Whole => serializer.serialize_i64(-1),
        }
    }
}

impl<'de> Deserialize<'de> for Chunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = Chunk;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of tokens, or -1 for no chunking")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Chunk, E> {
                let count = u32::try_from(number).ok().and_then(Count::new);
                count.map(Chunk::Tokens).ok_or_else(|| {
                    E::custom(format!(
                        "{number} is not a number of tokens from 1 to {}, or -1 for no chunking",
                        u32::MAX
                    ))
                })
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Chunk, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) if number == -1 => Ok(Chunk::Whole),
                    Err(_) => Err(E::custom(format!(
                        "{number} is not a number of tokens from 1 to {}, or -1 for no chunking",
                        u32::MAX
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Size)
    }
}

/// A share between 0 and 1, both excluded.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Fraction(f64);

impl Fraction {
    /// Makes a fraction; `None` for 0, 1 and everything outside.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share < 1.0).then_some(Self(share))
    }

    /// The share.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Fraction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = number(deserializer)?;
        Self::new(share)
            .ok_or_else(|| de::Error::custom(format!("{share} is not a share between 0 and 1, such as 0.85")))
    }
}

/// A finite number above 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Positive(f64);

impl Positive {
    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Positive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Positive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = number(deserializer)?;
        if value.is_finite() && value > 0.0 {
            Ok(Self(value))
        } else {
            Err(de::Error::custom(format!("{value} is not a number above 0")))
        }
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Number;
    impl Visitor<'_> for Number {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<f64, E> {
            Ok(number)
        }

        #[expect(clippy::cast_precision_loss, reason = "a knob this large is refused anyway")]
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<f64, E> {
            Ok(number as f64)
        }

        #[expect(clippy::cast_precision_loss, reason = "a knob this large is refused anyway")]
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<f64, E> {
            Ok(number as f64)
        }
    }
    deserializer.deserialize_any(Number)
}

/// Declares an enum whose variants are spelled the same in profiles and on a command line: SGLang's, or that of dsr1.
/// A variant without a spelling does not compile, and `ALL` is complete.
macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$about])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The spelling in profiles and on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use spelled;

spelled! {
    /// Kernel family of the mixture-of-experts layers.
    MoeRunner {
        /// SGLang chooses.
        Auto = "auto",
        /// SGLang's CUTLASS block-FP8 kernels, Blackwell.
        Cutlass = "cutlass",
        /// DeepGEMM, FP8 on Hopper and Blackwell.
        DeepGemm = "deep_gemm",
        /// FlashInfer's `CuteDSL` kernels (NVFP4).
        FlashinferCutedsl = "flashinfer_cutedsl",
        /// FlashInfer's CUTLASS kernels (NVFP4).
        FlashinferCutlass = "flashinfer_cutlass",
        /// FlashInfer's TensorRT-LLM generated kernels, Blackwell.
        FlashinferTrtllm = "flashinfer_trtllm",
        /// Triton, any GPU.
        Triton = "triton",
    }
}

spelled! {
    /// Exchange of tokens between experts on different GPUs; those of SGLang that run on NVIDIA GPUs.
    MoeAllToAll {
        /// `DeepEP`.
        Deepep = "deepep",
        /// `DeepEP`, second version.
        DeepepV2 = "deepep_v2",
        /// FlashInfer's exchange over `NVLink`.
        Flashinfer = "flashinfer",
        /// FlashInfer's kernels that join exchange and experts.
        FlashinferMegamoe = "flashinfer_megamoe",
        /// Kernels that join exchange and experts.
        Megamoe = "megamoe",
        /// Mooncake.
        Mooncake = "mooncake",
        /// NIXL.
        Nixl = "nixl",
        /// All-gather and all-reduce, SGLang's default.
        None = "none",
        /// Perplexity's kernels.
        Pplx = "pplx",
    }
}

spelled! {
    /// Kernels of `DeepEP`.
    DeepepMode {
        /// Normal for prefill, low latency for decode.
        Auto = "auto",
        /// Least latency; decode with CUDA graphs.
        LowLatency = "low_latency",
        /// Most throughput; no CUDA graphs.
        Normal = "normal",
    }
}

spelled! {
    /// Choice of a copy of an expert for a token.
    ExpertDispatch {
        /// Spread over the copies as they are used.
        Dynamic = "dynamic",
        /// By a linear program over the load.
        Lp = "lp",
        /// The nearest copy, the same for every token of a GPU.
        Static = "static",
    }
}

spelled! {
    /// Kernel family of dense NVFP4 matrix products.
    Fp4Gemm {
        /// SGLang chooses.
        Auto = "auto",
        /// FlashInfer's `CuteDSL` kernels.
        FlashinferCutedsl = "flashinfer_cutedsl",
        /// FlashInfer's cuDNN kernels.
        FlashinferCudnn = "flashinfer_cudnn",
        /// FlashInfer's CUTLASS kernels.
        FlashinferCutlass = "flashinfer_cutlass",
        /// FlashInfer's TensorRT-LLM generated kernels.
        FlashinferTrtllm = "flashinfer_trtllm",
    }
}

spelled! {
    /// Kernel family of attention.
    AttentionBackend {
        /// `CuteDSL` MLA, Blackwell.
        CutedslMla = "cutedsl_mla",
        /// CUTLASS MLA, Blackwell; removed in SGLang 0.5.20.
        CutlassMla = "cutlass_mla",
        /// `FlashAttention` 3, Hopper.
        Fa3 = "fa3",
        /// FlashInfer, any GPU.
        Flashinfer = "flashinfer",
        /// `FlashMLA`, Hopper.
        Flashmla = "flashmla",
        /// `PyTorch`'s own attention, for CPUs.
        TorchNative = "torch_native",
        /// Triton, any GPU.
        Triton = "triton",
        /// TensorRT-LLM generated MLA, Blackwell.
        TrtllmMla = "trtllm_mla",
    }
}

spelled! {
    /// Number format of the KV cache.
    KvCache {
        /// The format of the activations: bfloat16 for DeepSeek-R1.
        Auto = "auto",
        /// bfloat16.
        Bf16 = "bf16",
        /// FP8 with 4 exponent bits: half the bytes.
        Fp8E4m3 = "fp8_e4m3",
        /// FP8 with 5 exponent bits: half the bytes, a wider range, less precision.
        Fp8E5m2 = "fp8_e5m2",
    }
}

spelled! {
    /// Kernel family of dense FP8 matrix products.
    Fp8Gemm {
        /// SGLang chooses: DeepGEMM where it is enabled.
        Auto = "auto",
        /// SGLang's CUTLASS kernels.
        Cutlass = "cutlass",
        /// DeepGEMM, compiled at the first start.
        DeepGemm = "deep_gemm",
        /// FlashInfer's TensorRT-LLM generated kernels.
        FlashinferTrtllm = "flashinfer_trtllm",
        /// Triton.
        Triton = "triton",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: de::DeserializeOwned + fmt::Debug>(text: &str) -> String {
        serde_json::from_str::<T>(text).unwrap_err().to_string()
    }

    #[test]
    fn knobs_refuse_values_that_no_version_accepts() {
        assert_eq!(serde_json::from_str::<Count>("8").unwrap().get(), 8);
        assert!(error::<Count>("0").contains("0 is not a whole number from 1 to"));
        assert!(error::<Count>("-1").contains("a whole number from 1 to"));
        assert!(error::<Count>("\"many\"").contains("a whole number from 1 to"));
        assert!((serde_json::from_str::<Fraction>("0.85").unwrap().get() - 0.85).abs() < 1e-12);
        for wrong in ["0", "1", "1.0", "-0.5", "89"] {
            assert!(
                error::<Fraction>(wrong).contains("a share between 0 and 1"),
                "{wrong}"
            );
        }
        assert!(error::<MoeRunner>("\"flashinfer\"").contains("flashinfer_trtllm"));
        for chunk in ["-1", "8192"] {
            let read: Chunk = serde_json::from_str(chunk).unwrap();
            assert_eq!(
                (read.to_string(), serde_json::to_string(&read).unwrap()),
                (chunk.to_owned(), chunk.to_owned())
            );
        }
        for wrong in ["0", "-2", "\"no\"", "1.5"] {
            assert!(error::<Chunk>(wrong).contains("-1 for no chunking"), "{wrong}");
        }
    }
}
