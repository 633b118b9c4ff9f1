//! The names under which a finding speaks of options: those of the profile's settings, unless a raw argument decided.

use crate::sglang::check::Check;
use crate::sglang::dialect::{EngineFlags, Flag};
use crate::sglang::flags::{Parsed, Parser, history};
use crate::sglang::words::words;

/// The origin of arguments that are in no file.
pub const COMMAND_LINE: &str = "command line";
/// The origin of the raw arguments in a profile.
const EXTRA_ARGS: &str = "engine.extra_args";

/// Returns the last argument that is spelled `name`.
pub(super) fn typed<'a>(flags: &'a EngineFlags, name: &str) -> Option<&'a Flag> {
    let named = |word: &String| word.split('=').next() == Some(name);
    flags
        .args
        .iter()
        .rev()
        .find(|flag| flag.words.first().is_some_and(named))
}

/// Returns the argument that decided a setting (`page_size`): the profile's own, or a raw one that overrides it.
pub(super) fn deciding<'a>(flags: &'a EngineFlags, parsed: &Parsed<'_>, setting: &str) -> Option<&'a Flag> {
    let of = |names: &[String]| words().option(Parser::Server, names)?.knob.as_deref();
    let last = parsed
        .settings
        .iter()
        .rev()
        .find(|one| of(one.names) == Some(setting))?;
    typed(flags, last.typed)
}

fn is_raw(flag: &Flag) -> bool {
    flag.knob == COMMAND_LINE || flag.knob == EXTRA_ARGS
}

/// Replaces options by the profile's settings in the words of a finding about a setting that no raw argument decided:
/// `--page-size 64` becomes `page_size: 64`, and `--page-size` alone the name of the setting.
pub(super) fn say_settings(check: &mut Check, flags: &EngineFlags, parsed: &Parsed<'_>) {
    let Some(setting) = check.subject.strip_prefix("engine.") else {
        return;
    };
    if deciding(flags, parsed, setting).is_some_and(is_raw) {
        return;
    }
    for text in std::iter::once(&mut check.text).chain(&mut check.fix) {
        *text = in_settings(text, flags, parsed);
    }
}

fn in_settings(text: &str, flags: &EngineFlags, parsed: &Parsed<'_>) -> String {
    let mut words = text.split(' ').peekable();
    let mut said: Vec<String> = Vec::new();
    while let Some(word) = words.next() {
        let name = word.trim_end_matches([',', ';', ':', '.', ')', '`']);
        let end = &word[name.len()..];
        let Some(setting) = setting_of(name, flags, parsed) else {
            said.push(word.to_owned());
            continue;
        };
        let value = words.next_if(|next| end.is_empty() && is_value(name, next));
        said.push(match value {
            Some(value) => format!("{setting}: {value}"),
            None => format!("`{setting}`{end}"),
        });
    }
    said.join(" ")
}

/// Returns the setting that an option has in profiles; `None` if it has none with the same meaning, or stands among the raw
/// arguments.
fn setting_of(name: &str, flags: &EngineFlags, parsed: &Parsed<'_>) -> Option<&'static str> {
    if !name.starts_with("--") || name.starts_with("--disable-") {
        return None;
    }
    let spec = history(Parser::Server).newest(name)?;
    let setting = words().option(Parser::Server, &spec.names)?.knob.as_deref()?;
    (!deciding(flags, parsed, setting).is_some_and(is_raw)).then_some(setting)
}

/// Returns true for a number or a choice of the option.
fn is_value(name: &str, word: &str) -> bool {
    let word = word.trim_end_matches([',', ';', '.']);
    let choices = history(Parser::Server)
        .newest(name)
        .and_then(|spec| spec.choices.as_ref());
    word.parse::<f64>().is_ok() || choices.is_some_and(|all| all.iter().any(|choice| choice == word))
}

#[cfg(test)]
mod tests {
    use crate::sglang::Check;
    use crate::sglang::rules::tests::checks;

    fn finding(base: &str, stack: &str, engine: &str, id: &str) -> Check {
        let checks = checks(base, stack, engine);
        let all = format!("{checks:?}");
        checks.into_iter().find(|check| check.id == id).expect(&all)
    }

    #[test]
    fn a_finding_names_the_setting_where_it_was_used_and_the_flag_where_that_was() {
        let blackwell = "fp8-low-latency";
        let hopper = "h200-fp8-high-throughput";
        for (base, id, setting, raw, said, said_raw) in [
            (
                blackwell,
                "attention.page_size",
                "page_size: 16\nattention_backend: trtllm_mla",
                "extra_args: [--page-size, \"16\"]\nattention_backend: trtllm_mla",
                "leave `page_size` out",
                "leave --page-size out",
            ),
            (
                hopper,
                "parallel.two_batches",
                "two_batch_overlap: true\nattention_data_parallel: null",
                "extra_args: [--enable-two-batch-overlap]\nattention_data_parallel: null",
                "or moe_a2a: deepep",
                "or --moe-a2a-backend deepep",
            ),
            (
                hopper,
                "graphs.deepep",
                "deepep_mode: normal\nmoe_a2a: deepep",
                "extra_args: [--deepep-mode=normal]\nmoe_a2a: deepep",
                "use deepep_mode: auto",
                "use --deepep-mode auto",
            ),
            (
                hopper,
                "parallel.pipeline",
                "pipeline_parallel: 2",
                "extra_args: [--pp-size, \"2\"]",
                "leave `pipeline_parallel` out",
                "leave --pp-size out",
            ),
        ] {
            let (of_setting, of_raw) = (
                finding(base, "current", setting, id),
                finding(base, "current", raw, id),
            );
            let fix = |check: &Check| check.fix.clone().unwrap_or_default();
            assert!(fix(&of_setting).contains(said), "{of_setting:?}");
            assert!(fix(&of_raw).contains(said_raw), "{of_raw:?}");
            for check in [of_setting, of_raw] {
                assert_eq!(check.place.as_deref(), Some("own.yaml:4"), "{check:?}");
                assert!(check.subject.starts_with("engine."), "{check:?}");
            }
        }
    }

    #[test]
    fn a_refusal_of_a_setting_names_its_line() {
        let hopper = "h200-fp8-high-throughput";
        for (stack, engine, id) in [
            ("current", "moe_dense_tensor_parallel: 2", "parallel.dense"),
            (
                "current",
                "pipeline_parallel: 2\ntensor_parallel: 2",
                "parallel.gpus",
            ),
            ("current", "context_length: 200000", "context.longer"),
            ("current", "context_length: 1000", "benchmark.context"),
            (
                "current",
                "chunked_prefill_size: 100\npage_size: 64",
                "attention.chunk",
            ),
            ("guide", "moe_a2a: mooncake", "flag.choice"),
            ("cuda12", "moe_a2a: flashinfer_megamoe", "flag.choice"),
        ] {
            let base = if stack == "guide" {
                "fp8-low-latency"
            } else {
                hopper
            };
            let check = finding(base, stack, engine, id);
            assert_eq!(check.place.as_deref(), Some("own.yaml:4"), "{check:?}");
        }
        let late = finding("fp8-low-latency", "guide", "moe_a2a: mooncake", "flag.choice");
        assert!(late.text.contains("since SGLang 0.5.4"), "{late:?}");
    }
}
