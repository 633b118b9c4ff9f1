//! Raw options that a setting of the profile says as well: the setting is the same for every version.

use super::list::written;
use super::options::Group;
use crate::profile::{EngineSettings, Version, yaml};
use crate::sglang::dialect::render;
use crate::sglang::flags::{Parser, history};
use crate::sglang::words::words;

/// A raw option as a setting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lifted {
    /// Key below `engine`.
    pub(super) key: &'static str,
    /// Its value in YAML.
    pub(super) value: String,
}

/// Returns the setting that becomes exactly this option in `version`; `None` if there is none, or another of the `groups` is
/// about the same.
pub(super) fn lifted(group: &Group<'_>, groups: &[Group<'_>], version: Version) -> Option<Lifted> {
    let key = key_of(&group.name, version)?;
    let is_alone = groups
        .iter()
        .filter(|other| key_of(&other.name, version) == Some(key))
        .count()
        == 1;
    let values = match group.values.as_slice() {
        [] => vec!["true".to_owned(), "false".to_owned()],
        [value] => vec![(*value).to_owned(), written(value)],
        _ => return None,
    };
    values
        .into_iter()
        .filter(|_| is_alone)
        .find(|value| becomes(key, value, group, version))
        .map(|value| Lifted { key, value })
}

fn key_of(name: &str, version: Version) -> Option<&'static str> {
    let spec = history(Parser::Server).table(version).get(name)?;
    words().option(Parser::Server, &spec.names)?.knob.as_deref()
}

/// Returns true if the setting is rendered as the one option of `group`.
fn becomes(key: &str, value: &str, group: &Group<'_>, version: Version) -> bool {
    let is_plain = value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-./\"".contains(c));
    let parsed = yaml::parse::<EngineSettings>(&format!("{key}: {value}\n"), "");
    let (true, Ok(settings)) = (is_plain, parsed) else {
        return false;
    };
    let flags = render(&settings, version);
    let table = history(Parser::Server).table(version);
    let spec = |name: &str| table.get(name).map(|spec| &spec.names);
    match flags.args.as_slice() {
        [flag] if flags.env.is_empty() => {
            let words: Vec<&str> = flag.words.iter().map(String::as_str).collect();
            let [name, rest @ ..] = words.as_slice() else {
                return false;
            };
            spec(name).is_some() && spec(name) == spec(&group.name) && rest == group.values
        }
        _ => false,
    }
}
