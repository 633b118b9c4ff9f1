//! The place in which a setting of a resolved profile is written: file, line, and the comment that gives its source.

use crate::profile::topology::Role;
use crate::profile::yaml;

/// The files from which a profile was merged, the stack that it is for, and the role of a profile of one role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins {
    files: Vec<(String, String)>,
    stack: String,
    role: Option<Role>,
}

/// A line of a file that sets a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// File name, as the user knows it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// The comment at its end.
    pub comment: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Origins {
    pub(super) fn new(files: Vec<(String, String)>, stack: &str) -> Self {
        Self {
            files,
            stack: stack.to_owned(),
            role: None,
        }
    }

    /// Returns the same files with their settings for `stack` applied.
    pub(super) fn on_stack(self, stack: &str) -> Self {
        Self {
            stack: stack.to_owned(),
            ..self
        }
    }

    /// Returns the same files for the profile of one role.
    #[must_use]
    pub fn of_role(&self, role: Role) -> Self {
        Self {
            role: Some(role),
            ..self.clone()
        }
    }

    /// The names and texts of the files, the overriding one last.
    #[must_use]
    pub fn files(&self) -> &[(String, String)] {
        &self.files
    }

    /// Returns the place that sets `path` (`engine.mem_fraction`), if a file does.
    #[must_use]
    pub fn place_of(&self, path: &str) -> Option<Place> {
        let keys: Vec<&str> = path.split('.').collect();
        let is_engine = keys.first() == Some(&"engine");
        if let Some(role) = self.role.filter(|_| is_engine) {
            // The settings of a role override those of all files.
            let keys: Vec<&str> = ["topology", role.name()].iter().chain(&keys).copied().collect();
            let found = self
                .files
                .iter()
                .rev()
                .find_map(|(file, text)| Self::find(file, text, &keys));
            if found.is_some() {
                return found;
            }
        }
        let above = is_engine.then(|| {
            let mut keys = keys.clone();
            keys.splice(0..1, ["on", self.stack.as_str()]);
            keys
        });
        // In one file the settings for this stack override those for all; a file that extends it overrides both.
        self.files.iter().rev().find_map(|(file, text)| {
            let find = |keys: &[&str]| Self::find(file, text, keys);
            above.as_deref().and_then(find).or_else(|| find(&keys))
        })
    }

    fn find(file: &str, text: &str, keys: &[&str]) -> Option<Place> {
        let line = yaml::line_of(text, keys)?;
        // If the line is that of the key above, this setting is not in the file.
        let exact = yaml::line_of(text, &keys[..keys.len() - 1]) != Some(line);
        let flow = || {
            let content = text.lines().nth(line - 1).unwrap_or_default();
            keys.last()
                .is_some_and(|key| content.contains(&format!("{key}:")))
        };
        (exact || flow()).then(|| Place {
            file: file.to_owned(),
            line,
            comment: yaml::comment_of(text, line).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overriding_file_and_the_stack_win() {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let files = vec![
            file(
                "base",
                "engine:\n  a: 1 # guide\n  b: 2\non:\n  current:\n    b: 3\n",
            ),
            file("own", "engine:\n  b: 4\n"),
        ];
        let at = |stack: &str, path: &str| {
            Origins::new(files.clone(), stack)
                .place_of(path)
                .map(|p| p.to_string())
        };
        assert_eq!(at("guide", "engine.a").unwrap(), "base:2");
        assert_eq!(at("guide", "engine.b").unwrap(), "own:2");
        assert_eq!(at("current", "engine.b").unwrap(), "own:2");
        assert_eq!(
            Origins::new(files[..1].to_vec(), "current")
                .place_of("engine.b")
                .unwrap()
                .to_string(),
            "base:6"
        );
        assert_eq!(at("guide", "engine.c"), None);
        let place = Origins::new(files, "guide").place_of("engine.a").unwrap();
        assert_eq!(place.comment.as_deref(), Some("guide"));
    }
}
