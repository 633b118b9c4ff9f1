//! Environment variables that a version ignores or warns of, or that a profile may not set.

use crate::profile::Version;
use crate::sglang::check::{Check, Level};
use crate::sglang::dialect::EngineFlags;
use crate::sglang::flags::{Reading, variables};
use crate::sglang::words::words;

/// Allowed prefixes of variables in a profile. A profile may come from a stranger: `LD_*`, `PYTHON*` and the like would
/// run the author's code, and tokens and proxies belong to the host.
const ALLOWED: [&str; 25] = [
    "CUDA_",
    "CUTE_",
    "DG_",
    "DYN_",
    "FLASHINFER_",
    "GLOO_",
    "IB_",
    "MC_",
    "MOONCAKE_",
    "NCCL_",
    "NIXL_",
    "NVIDIA_",
    "NVSHMEM_",
    "OMP_",
    "PYTORCH_",
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
                .or_else(|| old_prefix(name, version))
                .or_else(|| unread(name, version))
        })
        .collect()
}

/// A variable that a user names for the engine, by the one who may set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// One of the engine or its libraries: a profile may set it too, and the rules are about it.
    OfEngine,
    /// One that decides which programs and libraries run: only the user of the host may set it.
    OfUser,
    /// One that no option may set; the reason.
    Refused(String),
}

/// Returns the sort of a variable that a user names for the engine; `name` is one of [`is_variable_name`].
#[must_use]
pub fn variable(name: &str, value: &str) -> Variable {
    if OWNED.contains(&name) {
        Variable::Refused(format!("{name} is set by dsr1, not by --env"))
    } else if is_of_host(name) {
        Variable::Refused(format!("--env cannot set {name}: it belongs to the host"))
    } else if value.chars().any(char::is_control) {
        Variable::Refused(format!("the value of {name} holds a control character"))
    } else if is_of_engine(name) {
        Variable::OfEngine
    } else {
        Variable::OfUser
    }
}

/// Returns true for the name of a variable, as a shell spells it.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns true for a variable of the engine or its libraries.
fn is_of_engine(name: &str) -> bool {
    ALLOWED.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns true for tokens and proxies.
fn is_of_host(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.starts_with("HF_") || upper.starts_with("HUGGING") || upper.ends_with("_PROXY")
}

fn forbidden(name: &str, value: &str) -> Option<Check> {
    let error = |text: String| Check::new("env.forbidden", Level::Error, name, text);
    if !is_variable_name(name) {
        return Some(error(format!(
            "`{}` is not the name of a variable",
            name.escape_debug()
        )));
    }
    if OWNED.contains(&name) {
        return Some(error(format!("{name} is set by dsr1, not by a profile")));
    }
    if is_of_host(name) {
        return Some(
            error(format!("a profile cannot set {name}: it belongs to the host"))
                .fix(format!("set {name} where dsr1 runs, and remove it here")),
        );
    }
    if !is_of_engine(name) {
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

/// First version that sets `SGLANG_X` to the value of each variable `SGL_X`, with a warning (`environ.py` of 0.5.3; that of
/// 0.5.2 has no such line).
const RENAMES_SINCE: Version = Version::new(0, 5, 3);

/// Returns true if a version reads a variable of SGLang.
pub(in crate::sglang) fn is_read(name: &str, version: Version) -> bool {
    match words().environment.get(name) {
        Some(word) => {
            word.since.is_none_or(|since| version >= since) && word.gone.is_none_or(|gone| version < gone)
        }
        None => variables().reading(name, version) == Reading::Named,
    }
}

/// Returns the new form of a variable `SGL_X` that a version only reads as `SGLANG_X`.
pub(in crate::sglang) fn renamed_prefix(name: &str, version: Version) -> Option<String> {
    let new = format!("SGLANG_{}", name.strip_prefix("SGL_")?);
    let is_old = is_read(name, version) && version < RENAMES_SINCE;
    (!is_old && is_read(&new, version)).then_some(new)
}

/// Returns a finding about a variable `SGL_X`, the old form of `SGLANG_X`.
fn old_prefix(name: &str, version: Version) -> Option<Check> {
    let rest = name.strip_prefix("SGL_")?;
    if words().environment.contains_key(name) {
        return None;
    }
    let new = format!("SGLANG_{rest}");
    let all = variables();
    let is_read = |name: &str| is_read(name, version);
    if is_read(name) && (version < RENAMES_SINCE || !is_read(&new)) {
        return None;
    }
    if is_read(&new) && version < RENAMES_SINCE {
        let text = format!(
            "SGLang {version} ignores {name}: it reads {new}, and only {RENAMES_SINCE} and later rename the one to the other"
        );
        return Some(Check::new("env.ignored", Level::Warn, name, text).fix(format!("use {new}")));
    }
    if is_read(&new) {
        let text = format!("SGLang {version} reads {name} as {new}, with a warning");
        return Some(Check::new("env.deprecated", Level::Note, name, text).fix(format!("use {new}")));
    }
    // Under its new name it is ignored, or another version has it.
    if all.reading(&new, version) == Reading::Unknown && !words().environment.contains_key(&new) {
        return None;
    }
    let mut check = ignored(&new, version).or_else(|| unread(&new, version))?;
    name.clone_into(&mut check.subject);
    if version >= RENAMES_SINCE {
        check.text = format!("{name} is the old form of {new}: {}", check.text);
    } else {
        check.text = check.text.replace(&new, name);
    }
    Some(check)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, version: &str) -> Option<Check> {
        let version: Version = version.parse().unwrap();
        old_prefix(name, version)
            .or_else(|| ignored(name, version))
            .or_else(|| unread(name, version))
    }

    #[test]
    fn a_variable_of_the_old_prefix_is_judged_by_what_each_version_does_with_it() {
        for (name, version, expected) in [
            // Both forms of a version before the renaming.
            ("SGL_DG_CACHE_DIR", "0.4.10.post2", None),
            ("SGL_DISABLE_TP_MEMORY_INBALANCE_CHECK", "0.4.10.post2", None),
            ("SGL_RADIX_FORCE_MISS", "0.4.10.post2", Some("env.ignored")),
            ("SGL_TORCH_PROFILER_DIR", "0.4.10.post2", Some("env.ignored")),
            ("SGL_TORCH_PROFILER_DIR", "0.5.2", Some("env.ignored")),
            ("SGL_TORCH_PROFILER_DIR", "0.5.3", Some("env.deprecated")),
            ("SGL_TORCH_PROFILER_DIR", "0.5.23", Some("env.deprecated")),
            ("SGL_RADIX_FORCE_MISS", "0.5.19", Some("env.deprecated")),
            ("SGL_FORCE_SHUTDOWN", "0.5.23", Some("env.deprecated")),
            ("SGL_CUTLASS_MOE", "0.5.23", Some("env.ignored")),
            ("SGL_ENABLE_JIT_DEEPGEMM", "0.4.10.post2", None),
            ("SGL_ENABLE_JIT_DEEPGEMM", "0.5.23", Some("env.deprecated")),
            ("SGL_NO_SUCH_THING", "0.5.23", Some("env.unknown")),
        ] {
            let found = finding(name, version);
            let id = found.as_ref().map(|check| check.id.as_str());
            assert_eq!(id, expected, "{name} in {version}: {found:?}");
            if let Some(check) = found {
                assert_eq!(check.subject, name);
            }
        }
        let ignored = finding("SGL_CUTLASS_MOE", "0.5.23").unwrap();
        assert!(
            ignored.text.contains("the old form of SGLANG_CUTLASS_MOE"),
            "{ignored:?}"
        );
    }

    #[test]
    fn variables_of_other_programs_that_people_set_are_no_finding() {
        let version = Version::new(0, 5, 23);
        for name in [
            "PYTORCH_CUDA_ALLOC_CONF",
            "PYTORCH_ALLOC_CONF",
            "NCCL_IB_HCA",
            "MC_TE_METRIC",
            "MOONCAKE_MASTER",
            "DYN_SKIP_SGLANG_LOG_FORMATTING",
            "CUDA_DEVICE_MAX_CONNECTIONS",
            "NIXL_LOG_LEVEL",
            "NVSHMEM_IB_GID_INDEX",
        ] {
            assert_eq!(forbidden(name, "1"), None, "{name}");
            assert_eq!(finding(name, "0.5.23"), None, "{name} {version}");
        }
        for name in ["HF_TOKEN", "http_proxy", "HTTPS_PROXY", "HUGGING_FACE_HUB_TOKEN"] {
            let check = forbidden(name, "1").unwrap();
            assert!(check.text.contains("belongs to the host"), "{check:?}");
        }
        for name in ["1A", "A-B", "", "A B"] {
            assert!(
                forbidden(name, "1").unwrap().text.contains("not the name"),
                "{name}"
            );
        }
        assert!(check(&EngineFlags::default(), version).is_empty());
    }
}
