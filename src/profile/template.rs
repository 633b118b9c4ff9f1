//! A profile file to start from: it extends another profile and shows every setting that it can change.

use std::fmt::Write;

use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::profile::choose::Selection;
use crate::profile::names::{NAME_RULE, is_name};

/// Refuses a text that is not a name for a profile.
///
/// # Errors
/// [`Kind::Usage`] with the rule.
pub fn check_profile_name(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!("`{}` is not a name for a profile", name.escape_debug()),
    )
    .hint(NAME_RULE))
}

/// Returns the text of a new profile called `name` that extends `base`.
///
/// # Errors
/// [`Kind::Usage`] if `name` is not a valid name.
pub fn template(name: &str, base: &Selection) -> Result<String> {
    check_profile_name(name)?;
    let profile = &base.profile;
    let mut text = format!(
        "# A profile of your own. Settings that it leaves out are those of `{base}`; null sets one back to SGLang's\n\
         # default. Check it: dsr1 profiles validate FILE. Run it: dsr1 plan --profile-file FILE\n\
         name: {name}\n\
         extends: {base}\n\
         title: \"say what it is for\"\n\
         source: \"say where the values come from\"\n",
        base = profile.name
    );
    let own = base.stack.name == profile.stack;
    let _ = writeln!(text, "{}stack: {}", if own { "# " } else { "" }, base.stack.name);
    text.push_str("engine:   # uncomment what you change\n");
    let Ok(Value::Object(knobs)) = serde_json::to_value(&profile.engine) else {
        return Ok(text);
    };
    for (knob, value) in &knobs {
        match value {
            Value::Null => {
                let _ = writeln!(text, "  # {knob}:");
            }
            Value::Object(map) if map.is_empty() => {
                let _ = writeln!(text, "  # {knob}: {{NAME: value}}");
            }
            value => {
                let _ = writeln!(text, "  # {knob}: {value}");
            }
        }
    }
    let bench = &profile.bench;
    let _ = write!(
        text,
        "bench:\n  # input_len: {}\n  # output_len: {}\n  # max_concurrency: {}\n  # num_prompts: {}\n",
        bench.input_len, bench.output_len, bench.max_concurrency, bench.num_prompts
    );
    Ok(text)
}
