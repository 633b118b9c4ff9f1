//! A profile file rewritten for another stack, word by word, so that its comments stay.
//!
//! | file | subject |
//! |---|---|
//! | `lift` | raw options that are a setting as well |
//! | `list` | a list of words in a YAML text, with their places |
//! | `options` | raw options of one version said in another |
//!
//! Not in this module tree: reading and writing the file (`commands::profiles`), and findings about the new text (`rules`).

mod lift;
mod list;
mod options;

use serde::Serialize;

use self::list::List;
use crate::error::{Error, Kind, Result};
use crate::profile::yaml::{keys_at, line_of, texts_at};
use crate::profile::{Selection, Version};
use crate::sglang::flags::{Parser, history};
use crate::sglang::rules::{renamed_prefix, successor};
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
/// name, raw options become the setting that says the same, and the file's `stack` becomes the new one. Settings of the profiles that it extends do not change.
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
    file.lift_options(found, version);
    Ok(Migration {
        text: file.lines.join("\n") + "\n",
        changes: file.changes,
    })
}

/// The path of the raw options.
const EXTRA_ARGS: [&str; 2] = ["engine", "extra_args"];

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
            let Some(next) = next_name(name, version) else {
                continue;
            };
            let is_there = |instead: &str| found.profile.engine.env.contains_key(instead);
            let (new, said) = match &next {
                Next::Renamed(instead) if is_there(instead) => {
                    (None, format!("engine.env.{name} removed: {instead} is there"))
                }
                Next::Renamed(instead) => (
                    Some(instead.as_str()),
                    format!("engine.env.{instead} (was {name})"),
                ),
                Next::Gone(instead) => (
                    None,
                    format!("engine.env.{name} removed: SGLang {version} ignores it{instead}"),
                ),
            };
            if self.replace_variable(name, new) {
                self.changes.push(said);
            }
        }
    }

    /// Gives a variable a new name, or removes it; returns false if the file does not write it in a way that can be changed.
    fn replace_variable(&mut self, name: &str, new: Option<&str>) -> bool {
        if let Some(line) = self.line(&["engine", "env", name]) {
            match new {
                Some(new) => self.lines[line - 1] = self.lines[line - 1].replacen(name, new, 1),
                None => {
                    self.lines.remove(line - 1);
                }
            }
            return true;
        }
        // `env: {A: "1", B: "2"}`, in the line of `env` or of `engine`.
        let text = self.lines.join("\n");
        let Some(line) = line_of(&text, &["engine", "env", name]) else {
            return false;
        };
        let old = &self.lines[line - 1];
        let Some(changed) = in_braces(old, name, new) else {
            return false;
        };
        let before = keys_at(&text, &["engine", "env"]);
        let mut lines = self.lines.clone();
        lines[line - 1] = changed;
        let after = keys_at(&lines.join("\n"), &["engine", "env"]);
        let expected: Option<Vec<String>> = before.map(|keys| {
            let renamed = keys.into_iter().filter_map(|key| {
                if key == name {
                    new.map(str::to_owned)
                } else {
                    Some(key)
                }
            });
            renamed.collect()
        });
        // A line that is read otherwise than YAML reads it must not be changed.
        let is_right = expected.is_some() && after == expected;
        if is_right {
            self.lines = lines;
        }
        is_right
    }

    /// Returns the file's text and the list of its raw options; `None` for what is no plain list of words: the findings about
    /// the new text name what is wrong in it.
    fn extra_args(&self) -> Option<(String, List)> {
        let text = self.lines.join("\n") + "\n";
        // The line of the key, or that of `engine: {extra_args: [...]}`.
        let line = line_of(&text, &EXTRA_ARGS)?;
        let start: usize = self.lines[..line - 1].iter().map(|line| line.len() + 1).sum();
        let at = self.lines[line - 1].find("extra_args")?;
        let list = List::read(&text, start + at + "extra_args".len() + 1)?;
        // A list that is read otherwise than YAML reads it must not be changed.
        let is_plain = texts_at(&text, &EXTRA_ARGS).is_some_and(|read| list.words().eq(read));
        is_plain.then_some((text, list))
    }

    /// Says the raw options of this file in the words of this version.
    fn replace_options(&mut self, found: &Selection, version: Version) {
        let Some((text, list)) = self.extra_args() else {
            return;
        };
        let words: Vec<&str> = list.words().collect();
        let changes = options::changes(&words, &found.profile.engine, version);
        let new = list.replaced(&text, &changes.replacements);
        if texts_at(&new, &EXTRA_ARGS).is_none() {
            return;
        }
        self.lines = new.lines().map(str::to_owned).collect();
        self.changes.extend(changes.said);
    }

    /// Writes raw options as settings, above the list that they leave. A setting that this file states stays: its raw option
    /// overrides it for a reason that the file does not tell.
    fn lift_options(&mut self, found: &Selection, version: Version) {
        let (Some((text, list)), Some(line)) = (self.extra_args(), self.line(&EXTRA_ARGS)) else {
            return;
        };
        let words: Vec<&str> = list.words().collect();
        let groups = options::groups(&words, &history(Parser::Server).table(version));
        let of_stacks = |key: &str| {
            let mut stacks = found.profile.on.keys();
            stacks.any(|stack| self.line(&["on", stack, key]).is_some())
        };
        let indent = &self.lines[line - 1][..self.lines[line - 1].find("extra_args").unwrap_or(0)];
        let (mut above, mut gone, mut said) = (Vec::new(), Vec::new(), Vec::new());
        for group in &groups {
            let Some(lift::Lifted { key, value }) = lift::lifted(group, &groups, version) else {
                continue;
            };
            if self.line(&["engine", key]).is_some() || of_stacks(key) {
                continue;
            }
            let comments: Vec<&str> = list.comments(&text, group.first..group.end).collect();
            let comment = if comments.is_empty() {
                String::new()
            } else {
                format!("  # {}", comments.join("; "))
            };
            above.push(format!("{indent}{key}: {value}{comment}"));
            gone.push(list::Replacement {
                words: group.first..group.end,
                by: Vec::new(),
            });
            said.push(format!("engine.{key}: {value} (was {})", group.typed));
        }
        let new = list.replaced(&text, &gone);
        let mut lines: Vec<String> = new.lines().map(str::to_owned).collect();
        lines.splice(line - 1..line - 1, above);
        if texts_at(&(lines.join("\n") + "\n"), &EXTRA_ARGS).is_some() {
            self.lines = lines;
            self.changes.extend(said);
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

/// The use of a variable by a version, if another version read it.
enum Next {
    /// It reads the variable under this name.
    Renamed(String),
    /// It ignores it; the text says what to use instead.
    Gone(String),
}

/// Returns what becomes of a variable in a version; `None` if it stays.
fn next_name(name: &str, version: Version) -> Option<Next> {
    let Some(word) = words().environment.get(name) else {
        return renamed_prefix(name, version).map(Next::Renamed);
    };
    let is_gone = word.gone.is_some_and(|gone| version >= gone);
    let old = is_gone || word.deprecated.is_some_and(|since| version >= since);
    let early = word.since.is_some_and(|since| version < since);
    if !old && !early {
        return None;
    }
    let instead = word.instead.as_deref().unwrap_or_default();
    if words().environment.contains_key(instead) {
        return Some(Next::Renamed(instead.to_owned()));
    }
    let knob = word
        .knob
        .as_ref()
        .map_or_else(String::new, |knob| format!(", knob {knob}"));
    let use_instead = if instead.is_empty() {
        String::new()
    } else {
        format!("; use {instead}{knob}")
    };
    is_gone.then_some(Next::Gone(use_instead))
}

/// Returns a line with a key of a mapping in braces under a new name, or without it and its value.
fn in_braces(line: &str, key: &str, new: Option<&str>) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (start, _) = line.match_indices(key).find(|(at, _)| {
        let rest = line[at + key.len()..].trim_start_matches(['"', '\'']);
        !line[..*at].ends_with(is_part) && rest.starts_with(':')
    })?;
    let end = start + key.len();
    if let Some(new) = new {
        return Some(format!("{}{new}{}", &line[..start], &line[end..]));
    }
    let value = line[end..].find(':').map(|colon| end + colon + 1)?;
    let begin = value + line[value..].len() - line[value..].trim_start().len();
    let close = match line[begin..].chars().next()? {
        quote @ ('"' | '\'') => begin + 1 + line[begin + 1..].find(quote)? + 1,
        _ => begin + line[begin..].find([',', '}'])?,
    };
    let before = line[..start].trim_end_matches(['"', '\'']);
    let after = &line[close..];
    Some(match after.trim_start().strip_prefix(',') {
        Some(rest) => format!("{before}{}", rest.trim_start()),
        None => format!(
            "{}{}",
            before.trim_end().trim_end_matches(','),
            after.trim_start()
        ),
    })
}

fn value_at(line: &str) -> &str {
    let value = line.split_once(':').map_or("", |(_, value)| value);
    value.split(" #").next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Catalog, EngineSettings};
    use crate::sglang::EffectiveSettings;
    use crate::sglang::dialect::render;

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

    /// The files of people who report a broken list.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn options_become_those_of_today_and_settings_where_there_is_one() {
        for (args, rest, settings) in [
            (
                "[--enable-dp-attention, --dp-size, \"8\", --enable-flashinfer-cutlass-moe, --cuda-graph-max-bs, \"512\", --enable-deepep-moe]",
                "[]",
                "  attention_data_parallel: 8\n  moe_runner: flashinfer_cutlass\n  graph_batch: 512\n  moe_a2a: deepep\n",
            ),
            (
                "[--enable-ep-moe, --cuda-graph-bs, \"1\", \"2\", --enable-metrics, --schedule-policy, lpm]",
                "[--cuda-graph-bs-decode, \"1\", \"2\", --schedule-policy, lpm]",
                "  expert_parallel: 8\n  metrics: true\n",
            ),
            ("[--cuda-graph-max-bs=64]", "[]", "  graph_batch: 64\n"),
            ("[--cuda-graph-max, '64']", "[]", "  graph_batch: 64\n"),
            (
                "['--cuda-graph-max-bs', '8', --cuda-graph-max-bs, '16']",
                "[--cuda-graph-max-bs-decode, '8', --cuda-graph-max-bs-decode, '16']",
                "",
            ),
            (
                "[--cuda-graph-bs, '1', '2', '4']",
                "[--cuda-graph-bs-decode, '1', '2', '4']",
                "",
            ),
            (
                "[--piecewise-cuda-graph-tokens, '64', '128']",
                "[--cuda-graph-bs-prefill, '64', '128']",
                "",
            ),
            (
                "[--disable-piecewise-cuda-graph]",
                "[--cuda-graph-backend-prefill, disabled]",
                "",
            ),
            (
                "[--disable-cuda-graph]",
                "[--cuda-graph-backend-decode, disabled, --cuda-graph-backend-prefill, disabled]",
                "",
            ),
            (
                "[--enable-piecewise-cuda-graph]",
                "[--enable-piecewise-cuda-graph]",
                "",
            ),
            ("[--stream-output]", "[--incremental-streaming-output]", ""),
            (
                "[--enable-triton-kernel-moe]",
                "[--moe-runner-backend, triton_kernel]",
                "",
            ),
            (
                "[--attention-backend, cutlass_mla]",
                "[]",
                "  attention_backend: trtllm_mla\n",
            ),
            (
                "[--dp-size, '4', --enable-dp-attention, --dp-size, '8']",
                "[]",
                "  attention_data_parallel: 8\n",
            ),
            (
                "[--dp-size=8, --enable-dp-attention]",
                "[]",
                "  attention_data_parallel: 8\n",
            ),
            ("[--data-parallel-size, '2']", "[--data-parallel-size, '2']", ""),
            ("[--enable-dp-attention]", "[--enable-dp-attention]", ""),
            (
                "[--attn-dp-size, '8', --dp-size, '8', --enable-dp-attention]",
                "[]",
                "  attention_data_parallel: 8\n",
            ),
            (
                "[--json-model-override-args, '{\"a\": 1}']",
                "[--json-model-override-args, '{\"a\": 1}']",
                "",
            ),
            (
                "[--chunked-prefill-size, '-1', --no-such-option, x]",
                "[--no-such-option, x]",
                "  chunked_prefill_size: -1\n",
            ),
            (
                "[--nsa-prefill-cp-mode, nothing]",
                "[--nsa-prefill-cp-mode, nothing]",
                "",
            ),
        ] {
            let text = format!(
                "name: mine\nextends: rehearsal\nstack: guide\nengine:\n  tensor_parallel: 8\n  extra_args: {args}  # ours\n"
            );
            let catalog = Catalog::load(Some(("mine.yaml", &text))).unwrap();
            let found = catalog.resolve("mine", Some("current")).unwrap();
            let migration = migrate(&text, &found).unwrap();
            let expected = format!("{settings}  extra_args: {rest}  # ours\n");
            assert!(migration.text.ends_with(&expected), "{args}: {}", migration.text);
            let again = Catalog::load(Some(("mine.yaml", &migration.text))).unwrap();
            let found = again.resolve("mine", Some("current")).unwrap();
            assert_eq!(
                migrate(&migration.text, &found).unwrap().changes,
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn attention_replicas_beside_the_setting_are_said_once() {
        for (setting, args, stack, expected) in [
            ("8", "[--dp-size, \"8\", --enable-dp-attention]", "current", "[]"),
            ("8", "[--enable-dp-attention]", "current", "[]"),
            ("8", "[--dp-size, \"4\"]", "current", "[--attn-dp-size, \"4\"]"),
            (
                "null",
                "[--attn-dp-size, \"8\"]",
                "guide",
                "[--dp-size, \"8\", --enable-dp-attention]",
            ),
            (
                "null",
                "[--cuda-graph-bs-decode, \"8\", \"16\"]",
                "guide",
                "[--cuda-graph-bs, \"8\", \"16\"]",
            ),
            ("null", "[--cuda-graph-max-bs-decode, \"8\"]", "guide", "[]"),
        ] {
            let text = format!(
                "name: mine\nextends: rehearsal\nengine:\n  tensor_parallel: 8\n  attention_data_parallel: {setting}\n  extra_args: {args}\n"
            );
            let (new, _) = migrated(&text, stack);
            assert!(
                new.contains(&format!("extra_args: {expected}\n")),
                "{args} on {stack}: {new}"
            );
            assert_eq!(migrated(&new, stack).0, new);
        }
    }

    #[test]
    fn variables_get_their_new_name_in_each_form_of_a_mapping() {
        for (env, expected) in [
            (
                "env: {SGL_ENABLE_JIT_DEEPGEMM: \"0\", SGLANG_CUTLASS_MOE: \"1\"}",
                "env: {SGLANG_ENABLE_JIT_DEEPGEMM: \"0\"}",
            ),
            (
                "env: {SGLANG_CUTLASS_MOE: \"1\", NCCL_DEBUG: WARN} # ours",
                "env: {NCCL_DEBUG: WARN} # ours",
            ),
            ("env: {SGLANG_CUTLASS_MOE: \"1\"}", "env: {}"),
            (
                "env: {\"SGL_TORCH_PROFILER_DIR\": /tmp/a}",
                "env: {\"SGLANG_TORCH_PROFILER_DIR\": /tmp/a}",
            ),
            (
                "env:\n    SGL_TORCH_PROFILER_DIR: /tmp/a",
                "env:\n    SGLANG_TORCH_PROFILER_DIR: /tmp/a",
            ),
            (
                "env: {SGL_NO_SUCH: \"1\", SGL_FORCE: \"1\"}",
                "env: {SGL_NO_SUCH: \"1\", SGL_FORCE: \"1\"}",
            ),
        ] {
            let text = format!("name: mine\nextends: rehearsal\nengine:\n  {env}\n");
            let (new, _) = migrated(&text, "current");
            assert!(new.contains(&format!("  {expected}\n")), "{env}: {new}");
            assert_eq!(migrated(&new, "current"), (new.clone(), Vec::new()));
        }
    }

    #[test]
    fn a_list_in_the_line_of_the_section_is_migrated_too() {
        let text = "name: mine\nextends: rehearsal\nengine: {extra_args: [--cuda-graph-bs, \"1\"], radix_cache: true}\n";
        let (new, _) = migrated(text, "current");
        let expected = "engine: {extra_args: [--cuda-graph-bs-decode, \"1\"], radix_cache: true}\n";
        assert!(new.contains(expected), "{new}");
    }

    #[test]
    fn a_deprecated_option_is_not_called_gone() {
        let text = "name: mine\nextends: rehearsal\nengine:\n  extra_args: [--disable-cuda-graph, --cuda-graph-max-bs, \"8\"]\n";
        let said = migrated(text, "current").1.join("\n");
        assert!(
            said.contains("was --disable-cuda-graph, which SGLang 0.5.23 calls deprecated"),
            "{said}"
        );
        assert!(
            said.contains("was --cuda-graph-max-bs, which SGLang 0.5.23 does not have"),
            "{said}"
        );
    }

    fn migrated(text: &str, stack: &str) -> (String, Vec<String>) {
        let catalog = Catalog::load(Some(("mine.yaml", text))).unwrap();
        let found = catalog.resolve("mine", Some(stack)).unwrap();
        let migration = migrate(text, &found).unwrap();
        (migration.text, migration.changes)
    }

    #[test]
    fn an_option_stays_raw_where_the_file_or_another_option_says_otherwise() {
        for lines in [
            "  page_size: 32\n  extra_args: [--page-size, \"64\"]\n",
            "  extra_args: [--page-size, \"64\", --page-size, \"32\"]\n",
            "  extra_args: [--page-size, \"64\"]\non:\n  current:\n    page_size: 32\n",
            "  extra_args: [--page-size, many]\n",
            "  extra_args: [--page-size]\n",
        ] {
            let text = format!("name: mine\nextends: fp8-low-latency\nstack: current\nengine:\n{lines}");
            assert_eq!(migrated(&text, "current").0, text);
        }
    }

    #[test]
    fn the_comments_of_options_stay_with_their_settings() {
        let text = "name: mine\nextends: fp8-low-latency\nstack: current\nengine:\n  extra_args:\n    - --page-size  # pages\n    - \"64\"\n    - --log-level  # less\n    - error\n";
        let expected = "name: mine\nextends: fp8-low-latency\nstack: current\nengine:\n  page_size: 64  # pages\n  extra_args:\n    - --log-level  # less\n    - error\n";
        assert_eq!(migrated(text, "current").0, expected);
    }

    /// The meaning of a profile's settings and raw options in a version.
    fn meaning(engine: &EngineSettings, version: Version) -> EffectiveSettings {
        let flags = render(engine, version);
        let line: Vec<String> = flags.argv().map(str::to_owned).collect();
        let parsed = history(Parser::Server).table(version).parse(&line);
        let settings = EffectiveSettings::new(&parsed, &flags.environment(), version);
        // DeepEP spreads the experts over all GPUs, whichever option asks for it.
        let spread = settings.a2a.as_deref() == Some("deepep");
        EffectiveSettings {
            version: None,
            expert_parallel: if spread { 8 } else { settings.expert_parallel },
            // A switch that an option replaced means the same.
            attention_switch: false,
            ..settings
        }
    }

    proptest::proptest! {
        /// Any list of options of an older version: the result parses, means the same, and changes no more.
        #[test]
        fn a_migrated_list_means_the_same(
            picks in proptest::collection::vec((0_usize..14, 1_u32..9, 0_usize..4), 0..7),
            is_flow: bool,
            says_otherwise: bool,
            old in 0_usize..4,
            new in 0_usize..4,
        ) {
            let versions: Vec<Version> = ["0.4.10.post2", "0.5.3", "0.5.9", "0.5.19"].iter().map(|text| text.parse().unwrap()).collect();
            let stacks = ["guide", "cuda12", "current", "current"];
            let (from, stack) = (versions[old], stacks[new]);
            let table = history(Parser::Server).table(from);
            let mut args: Vec<String> = Vec::new();
            for (which, number, form) in picks {
                let (name, value) = [
                    ("--enable-dp-attention", None), ("--dp-size", Some(number.to_string())), ("--enable-ep-moe", None),
                    ("--enable-deepep-moe", None), ("--enable-flashinfer-cutlass-moe", None),
                    ("--cuda-graph-max-bs", Some((number * 8).to_string())), ("--page-size", Some("64".to_owned())),
                    ("--enable-metrics", None), ("--cuda-graph-bs", Some("4".to_owned())),
                    ("--disable-cuda-graph", None), ("--disable-piecewise-cuda-graph", None), ("--data-parallel-size", Some(number.to_string())),
                    ("--chunked-prefill-size", Some("-1".to_owned())), ("--json-model-override-args", Some("{\"a\": \"b, c\"}".to_owned())),
                ][which].clone();
                let is_there = args.iter().any(|word| word == name);
                // A switch may be there once; the last of several values counts.
                if table.get(name).is_none() || (is_there && value.is_none()) {
                    continue;
                }
                match (value, form) {
                    (Some(value), 0) => args.push(format!("{name}={value}")),
                    (Some(value), 1) if name == "--cuda-graph-bs" => {
                        args.extend([name.to_owned(), "2".to_owned(), value, number.to_string()]);
                    }
                    (value, _) => {
                        args.push(name.to_owned());
                        args.extend(value);
                    }
                }
            }
            let list = if is_flow {
                let words: Vec<String> = args.iter().map(|word| format!("{word:?}")).collect();
                format!("  extra_args: [{}]  # ours", words.join(", "))
            } else if args.is_empty() {
                "  extra_args: []".to_owned()
            } else {
                let lines = args.iter().fold(String::new(), |all, word| format!("{all}\n    - {word:?}  # why"));
                format!("  extra_args:{lines}")
            };
            let experts = if says_otherwise { "8" } else { "null" };
            let text = format!("name: mine\nextends: fp8-low-latency\nengine:\n  tensor_parallel: 8\n  expert_parallel: {experts}\n  moe_runner: null\n{list}\nbench:\n  input_len: 64\n");
            let catalog = Catalog::load(Some(("mine.yaml", &text))).unwrap();
            let found = catalog.resolve("mine", Some(stack)).unwrap();
            let to = found.stack.pins.sglang;
            let migration = migrate(&text, &found).unwrap();
            let again = Catalog::load(Some(("mine.yaml", &migration.text))).unwrap();
            let result = again.resolve("mine", Some(stack)).unwrap();
            let second = migrate(&migration.text, &result).unwrap();
            proptest::prop_assert_eq!(&second.text, &migration.text);
            let words = &result.profile.engine.extra_args;
            if !says_otherwise && from <= to && history(Parser::Server).table(to).parse(words).is_accepted() {
                let (before, after) = (meaning(&found.profile.engine, from), meaning(&result.profile.engine, to));
                // The switch alone has no meaning in newer versions.
                if !before.attention_switch_alone && !after.attention_switch_alone {
                    proptest::prop_assert_eq!(before, after, "{:?} -> {:?} ({} to {})", args, words, from, to);
                }
            }
        }
    }
}
