//! Environment variables that a version ignores or warns of, or that a profile may not set.

use crate::profile::Version;
use crate::sglang::check::{Check, Level};
use crate::sglang::dialect::EngineFlags;
use crate::sglang::flags::{Reading, variables};
use crate::sglang::words::words;

/// Allowed prefixes of variables in a profile. A profile may come from a stranger: `LD_*`, `PYTHON*` and the like would
/// run the author's code, and tokens and proxies belong to the host.
const ALLOWED: [&str; 21] = [
    "CUDA_",
    "CUTE_",
    "DG_",
    "FLASHINFER_",
    "GLOO_",
    "IB_",
    "MC_",
    "NCCL_",
    "NVIDIA_",
    "NVSHMEM_",
    "OMP_",
    "SGLANG_",
    "SGL_",
    "TILELANG_",
    "TOKENIZERS_",
    "TORCHINDUCTOR_",
    "TORCH_",
    "TRITON_",
    "TRTLLM_",
    "UCX_",
    "VLLM_",
];

/// Variables that the plan sets itself, or that would change its decisions.
const OWNED: [&str; 5] = [
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "SGLANG_HOST_IP",
    "SGLANG_PORT",
    "SGLANG_USE_MODELSCOPE",
];

/// Returns a finding for each variable that has no effect, is deprecated or may not be set.
pub(super) fn check(flags: &EngineFlags, version: Version) -> Vec<Check> {
    flags
        .env
        .iter()
        .filter_map(|(name, variable)| {
            forbidden(name, &variable.value)
                .or_else(|| ignored(name, version))
                .or_else(|| unread(name, version))
        })
        .collect()
}

fn forbidden(name: &str, value: &str) -> Option<Check> {
    let error = |text: String| Check::new("env.forbidden", Level::Error, name, text);
    let spelled = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if !spelled {
        return Some(error(format!(
            "`{}` is not the name of a variable",
            name.escape_debug()
        )));
    }
    if OWNED.contains(&name) {
        return Some(error(format!("{name} is set by dsr1, not by a profile")));
    }
    if !ALLOWED.iter().any(|prefix| name.starts_with(prefix)) {
        return Some(error(format!("a profile cannot set {name}")).fix(format!(
            "it may set variables that begin with: {}",
            ALLOWED.join(", ")
        )));
    }
    value
        .chars()
        .any(char::is_control)
        .then(|| error(format!("the value of {name} holds a control character")))
}

fn ignored(name: &str, version: Version) -> Option<Check> {
    let word = words().environment.get(name)?;
    let instead = |check: Check| match &word.instead {
        Some(instead) => check.fix(format!("use {instead}")),
        None => check,
    };
    if let Some(since) = word.since.filter(|since| version < *since) {
        let text = format!("SGLang {version} ignores {name}: it is read since {since}");
        return Some(instead(Check::new("env.ignored", Level::Error, name, text)));
    }
    if let Some(gone) = word.gone.filter(|gone| version >= *gone) {
        let text = format!("SGLang {version} ignores {name}: it has no effect since {gone}");
        return Some(instead(Check::new("env.ignored", Level::Error, name, text)));
    }
    let since = word.deprecated.filter(|since| version >= *since)?;
    let text = format!("{name} is deprecated since {since}");
    Some(instead(Check::new("env.deprecated", Level::Note, name, text)))
}

/// Returns a finding about a variable of SGLang that this version's sources do not name: SGLang ignores it silently.
fn unread(name: &str, version: Version) -> Option<Check> {
    let is_sglangs = name.starts_with("SGLANG_") || name.starts_with("SGL_");
    if !is_sglangs || words().environment.contains_key(name) {
        return None;
    }
    let all = variables();
    match all.reading(name, version) {
        Reading::Named => None,
        Reading::Elsewhere(first, last) => {
            let text = format!("SGLang {version} ignores {name}: the sources of {first} to {last} name it");
            Some(Check::new("env.other_version", Level::Warn, name, text).fix("leave it out"))
        }
        Reading::Unknown => {
            let text = format!("no known version of SGLang reads {name}, and SGLang ignores such names");
            let check = Check::new("env.unknown", Level::Note, name, text);
            Some(match crate::profile::spelling::nearest(name, all.names()) {
                Some(nearest) => check.fix(format!("did you mean {nearest}?")),
                None => check,
            })
        }
    }
}
