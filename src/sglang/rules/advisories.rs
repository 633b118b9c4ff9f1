//! Findings about published vulnerabilities that a server has.

use crate::profile::{Accelerator, Stack};
use crate::sglang::advisories::{Advisory, Condition, applying};
use crate::sglang::check::{Check, Level};
use crate::sglang::flags::Parsed;

/// Returns a warning for each vulnerability that an option opens.
pub(super) fn check(parsed: &Parsed<'_>, stack: &Stack) -> Vec<Check> {
    let version = stack.pins.sglang;
    let found = applying(version, |option| parsed.has_option(option));
    let warn = |advisory: &Advisory| {
        let Condition::Option(option) = advisory.condition else {
            return None;
        };
        let text = format!("SGLang {version} has {}: {}", advisory.id, advisory.text);
        Some(Check::new("advisory.option", Level::Warn, option, text).fix(advisory.fix))
    };
    found.filter_map(warn).collect()
}

/// Returns a note about the vulnerabilities of a stack that are open to whoever reaches the port of a server; `None` without one, and for
/// an engine on a CPU, which is for tries.
#[must_use]
pub fn of_port(stack: &Stack) -> Option<Check> {
    let version = stack.pins.sglang;
    let open = applying(version, |_| false).filter(|_| stack.accelerator != Accelerator::Cpu);
    let ids: Vec<&str> = open.map(|advisory| advisory.id).collect();
    if ids.is_empty() {
        return None;
    }
    let text = format!(
        "whoever reaches the port of SGLang {version} can run code in it: {}",
        ids.join(", ")
    );
    let fix = "keep it on 127.0.0.1; dsr1 expose passes only the paths of the API on";
    Some(Check::new("advisory.port", Level::Note, "--host", text).fix(fix))
}
