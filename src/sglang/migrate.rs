//! A profile file rewritten for another stack, line by line, so that its comments stay.

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::profile::yaml::line_of;
use crate::profile::{Selection, Version};
use crate::sglang::flags::{Kind as OptionKind, Parser, history};
use crate::sglang::rules::successor;
use crate::sglang::words::words;

/// A file's new text and its changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// The whole text.
    pub text: String,
    /// One line for each change, with the version that made it necessary.
    pub changes: Vec<String>,
}

/// Rewrites `text`, the file of the profile in `found`, for the stack in `found`.
///
/// Values that the new version removed are replaced by their successor, renamed variables and raw options get their new
/// name, and the file's `stack` becomes the new one. Settings of the profiles that it extends do not change.
///
/// # Errors
/// [`Kind::Usage`] if the file has no line after which the stack's name can be written.
pub fn migrate(text: &str, found: &Selection) -> Result<Migration> {
    let version = found.stack.pins.sglang;
    let mut file = File {
        lines: text.lines().map(str::to_owned).collect(),
        changes: Vec::new(),
    };
    file.set_stack(&found.stack.name)?;
    file.replace_values(found, version);
    file.replace_variables(found, version);
    file.replace_options(found, version);
    Ok(Migration {
        text: file.lines.join("\n") + "\n",
        changes: file.changes,
    })
}

struct File {
    lines: Vec<String>,
    changes: Vec<String>,
}

impl File {
    fn line(&self, path: &[&str]) -> Option<usize> {
        let text = self.lines.join("\n");
        let parent = line_of(&text, &path[..path.len() - 1]);
        line_of(&text, path).filter(|line| parent != Some(*line))
    }

    fn set_stack(&mut self, name: &str) -> Result<()> {
        if let Some(line) = self.line(&["stack"]) {
            if value_at(&self.lines[line - 1]) != name {
                self.replace(line, name, "");
                self.changes.push(format!("stack: {name}"));
            }
            return Ok(());
        }
        let Some(line) = self.line(&["extends"]).or_else(|| self.line(&["name"])) else {
            return Err(Error::new(
                Kind::Usage,
                "the file has no `name` in a line of its own",
            ));
        };
        self.lines.insert(line, format!("stack: {name}"));
        self.changes.push(format!("stack: {name}"));
        Ok(())
    }

    /// Replaces values that were removed and have a successor.
    fn replace_values(&mut self, found: &Selection, version: Version) {
        let Some(backend) = found.profile.engine.attention_backend else {
            return;
        };
        let option = "--attention-backend";
        let gone = history(Parser::Server)
            .choice_lifetime(option, backend.name())
            .and_then(|life| life.gone)
            .filter(|gone| *gone <= version);
        if let (Some(gone), Some(next)) = (gone, successor(option, backend.name()))
            && let Some(line) = self.line(&["engine", "attention_backend"])
        {
            let was = format!("was {backend}, removed in SGLang {gone}");
            self.replace(line, next, &was);
            self.changes
                .push(format!("engine.attention_backend: {next} ({was})"));
        }
    }

    /// Replaces variables that this version reads under another name, and removes those that became a knob.
    fn replace_variables(&mut self, found: &Selection, version: Version) {
        for name in found.profile.engine.env.keys() {
            let Some(word) = words().environment.get(name) else {
                continue;
            };
            let old = word
                .gone
                .or(word.deprecated)
                .is_some_and(|since| version >= since);
            let early = word.since.is_some_and(|since| version < since);
            let Some(line) = self.line(&["engine", "env", name]).filter(|_| old || early) else {
                continue;
            };
            let instead = word.instead.as_deref().unwrap_or_default();
            if words().environment.contains_key(instead) {
                self.lines[line - 1] = self.lines[line - 1].replacen(name.as_str(), instead, 1);
                self.changes.push(format!("engine.env.{instead} (was {name})"));
            } else if word.gone.is_some_and(|gone| version >= gone) {
                self.lines.remove(line - 1);
                let knob = word
                    .knob
                    .as_ref()
                    .map_or_else(String::new, |knob| format!(", knob {knob}"));
                self.changes.push(format!(
                    "engine.env.{name} removed: SGLang {version} ignores it; use {instead}{knob}"
                ));
            }
        }
    }

    /// Replaces raw options that only got a new name.
    fn replace_options(&mut self, found: &Selection, version: Version) {
        let history = history(Parser::Server);
        let table = history.table(version);
        for word in &found.profile.engine.extra_args {
            let name = word.split('=').next().unwrap_or(word);
            if !name.starts_with("--")
                || table
                    .get(name)
                    .is_some_and(|spec| !spec.deprecated && !spec.rejects)
            {
                continue;
            }
            let takes = |name: &str| table.get(name).is_some_and(|spec| spec.kind == OptionKind::Store);
            let next = history.replacement(name).filter(|next| takes(next));
            let Some(next) = next else { continue };
            let Some(line) = self.lines.iter().position(|line| mentions(line, name)) else {
                continue;
            };
            self.lines[line] = self.lines[line].replacen(name, next, 1);
            self.changes.push(format!(
                "{next} (was {name}, which SGLang {version} does not have)"
            ));
        }
    }

    /// Writes `value` into the line `key: value  # comment`, with `why` in front of the comment.
    fn replace(&mut self, line: usize, value: &str, why: &str) {
        let old = &self.lines[line - 1];
        let Some((key, rest)) = old.split_once(':') else {
            return;
        };
        let comment = rest.split_once(" #").map_or("", |(_, comment)| comment.trim());
        let remarks: Vec<&str> = [why, comment]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        self.lines[line - 1] = if remarks.is_empty() {
            format!("{key}: {value}")
        } else {
            format!("{key}: {value}  # {}", remarks.join("; "))
        };
    }
}

fn value_at(line: &str) -> &str {
    let value = line.split_once(':').map_or("", |(_, value)| value);
    value.split(" #").next().unwrap_or_default().trim()
}

/// Returns true if a line holds `name` as a whole word.
fn mentions(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let after = line[at + name.len()..].chars().next();
        !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;

    #[test]
    fn a_profile_of_the_guides_time_becomes_one_of_today() {
        let text = "\
# mine
name: mine
extends: fp8-high-throughput   # the guide's
engine:
  attention_backend: cutlass_mla  # B200
  env:
    SGL_ENABLE_JIT_DEEPGEMM: \"1\"
    SGLANG_CUTLASS_MOE: \"1\"
  extra_args:
    - --cuda-graph-max-bs
    - \"256\"
";
        let catalog = Catalog::load(Some(("mine.yaml", text))).unwrap();
        let found = catalog.resolve("mine", Some("current")).unwrap();
        let migration = migrate(text, &found).unwrap();
        insta::assert_snapshot!(migration.text);
        insta::assert_snapshot!(migration.changes.join("\n"));
        let again = Catalog::load(Some(("mine.yaml", &migration.text))).unwrap();
        assert_eq!(again.resolve("mine", None).unwrap().stack.name, "current");
    }
}
