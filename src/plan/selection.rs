//! Selects the files of a repository that a pull fetches: by the user's patterns, by the known code files, by a lock.
//!
//! Some files can run: Python that `--trust-remote-code` imports, and pickles when they are loaded. dsr1 fetches such a
//! file only if a profile states its name, a lock states its hash, or the user allows it.

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::choice::choices;
use crate::error::{Error, Kind, Result};
use crate::facts::WeightFile;

choices! {
    /// The transport of large files, for a hub that has them in two ways.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Transport {
        /// Xet where the hub offers it; a file that stalls or fails there continues over HTTP.
        #[default]
        Auto = "auto", "Xet where the hub offers it; a file that stalls there continues over HTTP";
        /// Xet where the hub offers it, and nothing else for these files.
        Xet = "xet", "Xet where the hub offers it, HTTP for the rest";
        /// HTTP ranges.
        Http = "http", "HTTP ranges: least memory; works with every mirror and proxy";
    }
}

impl Transport {
    /// Returns whether this is the default.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// Patterns over paths in a repository. `*` and `?` also match `/`, as in `hf download --include`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilePatterns {
    /// Patterns of the selected files; without one, every file is selected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Patterns that remove files from the selection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

impl FilePatterns {
    /// Returns whether every file is selected.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Compiles the patterns.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an invalid pattern.
    pub fn compile(&self) -> Result<PathMatcher> {
        Ok(PathMatcher {
            include: glob_set("--include", &self.include)?,
            exclude: glob_set("--exclude", &self.exclude)?,
        })
    }
}

/// Compiled [`FilePatterns`].
#[derive(Debug, Clone)]
pub struct PathMatcher {
    include: GlobSet,
    exclude: GlobSet,
}

impl PathMatcher {
    /// Returns whether a path is selected.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        (self.include.is_empty() || self.include.is_match(path)) && !self.exclude.is_match(path)
    }
}

fn glob_set(option: &str, patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    let wrong = |pattern: &str, error: &globset::Error| {
        Error::new(
            Kind::Usage,
            format!("`{}` is not a pattern for {option}", pattern.escape_debug()),
        )
        .cause(error.kind().to_string())
        .hint("write it as '*.json', 'model-0000[1-4]-*' or 'original/*'; quote it for the shell")
    };
    for pattern in patterns {
        // A directory selects every file in it.
        let whole = if pattern.ends_with('/') {
            format!("{pattern}*")
        } else {
            pattern.clone()
        };
        set.add(Glob::new(&whole).map_err(|error| wrong(pattern, &error))?);
    }
    set.build().map_err(|error| {
        Error::new(Kind::Usage, format!("too many patterns for {option}")).cause(error.to_string())
    })
}

/// The files with code that a pull may fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeFiles {
    /// The files at these paths.
    Named(Vec<String>),
    /// All files.
    All,
}

impl Default for CodeFiles {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

impl CodeFiles {
    /// Returns whether no file with code may be fetched.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }

    /// Refuses a listing with unknown code files.
    ///
    /// # Errors
    /// [`Kind::Integrity`] that names the first file.
    pub fn check_paths<'a>(&self, repo: &str, paths: impl Iterator<Item = &'a str>) -> Result<()> {
        let Self::Named(known) = self else { return Ok(()) };
        let unknown: Vec<&str> = paths
            .filter(|path| is_code(path) && !known.iter().any(|name| name == path))
            .collect();
        let Some(first) = unknown.first() else {
            return Ok(());
        };
        let more = match unknown.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        Err(Error::new(
            Kind::Integrity,
            format!("{repo} holds unknown code: `{first}`{more}"),
        )
        .cause("the engine may run it: Python when it is imported, a pickle when it is loaded")
        .hint(format!(
            "exclude it with --exclude '*.{}'; or read it and pass --allow-code; or pass --to-lock FILE, a lock with its hash",
            first.rsplit_once('.').map_or("py", |(_, kind)| kind)
        )))
    }
}

/// Suffixes of files that run when an engine, Python or a shell loads them.
const CODE: [&str; 31] = [
    "bat", "bin", "ckpt", "dill", "dll", "dylib", "exe", "h5", "hdf5", "ipynb", "jar", "joblib", "keras",
    "mar", "nemo", "npy", "npz", "pickle", "pkl", "ps1", "pt", "pt2", "pth", "py", "pyc", "pyd", "pyw",
    "pyz", "sh", "so", "whl",
];

/// Returns whether the suffix of a path belongs to code.
#[must_use]
pub fn is_code(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    // A shared library may have its version after its suffix.
    let name = name
        .split_once(".so.")
        .map_or_else(|| name.to_owned(), |(stem, _)| format!("{stem}.so"));
    name.rsplit_once('.').is_some_and(|(_, kind)| {
        let kind = kind.to_ascii_lowercase();
        CODE.contains(&kind.as_str())
    })
}

/// Refuses a listing in which a locked file is missing or differs; `found` returns size and hash of a path.
///
/// # Errors
/// [`Kind::Integrity`] that names the first file.
pub fn check_locked<'a>(
    repo: &str,
    locked: &[WeightFile],
    found: impl Fn(&str) -> Option<(u64, &'a str)>,
) -> Result<()> {
    for WeightFile { path, size, hash } in locked {
        let cause = match found(path) {
            Some(found) if found == (*size, hash.as_str()) => continue,
            Some((_, other)) => format!("the lock states {hash}, the hub {other}"),
            None => "the hub does not list it".to_owned(),
        };
        return Err(Error::new(
            Kind::Integrity,
            format!("`{path}` of {repo} does not match the lock"),
        )
        .cause(cause)
        .hint("the repository changed, or this is another hub; dsr1 lock writes a new lock"));
    }
    Ok(())
}

/// Licences that grant use without acceptance, by the identifiers that hubs use (SPDX in lower case).
const FREE: [&str; 16] = [
    "afl-3.0",
    "apache-2.0",
    "artistic-2.0",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsl-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "isc",
    "mit",
    "mit-0",
    "mpl-2.0",
    "unlicense",
    "zlib",
];

/// Returns whether the user must accept a licence that a hub states. An empty licence needs no acceptance.
#[must_use]
pub fn must_be_accepted(license: &str) -> bool {
    !license.is_empty() && !FREE.contains(&license.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(include: &[&str], exclude: &[&str], path: &str) -> bool {
        let own = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        let selection = FilePatterns {
            include: own(include),
            exclude: own(exclude),
        };
        selection.compile().unwrap().matches(path)
    }

    #[test]
    fn patterns_are_those_of_hf() {
        assert!(selected(&[], &[], "a/b.json"));
        assert!(
            selected(&["*.json"], &[], "a/b.json"),
            "a star crosses directories"
        );
        assert!(selected(&["a/"], &[], "a/b/c"));
        assert!(!selected(&["a/"], &[], "b/a"));
        assert!(!selected(&["*.json"], &["a/*"], "a/b.json"));
        assert!(selected(
            &["model-0000[1-4]-*"],
            &[],
            "model-00003-of-00163.safetensors"
        ));
        let wrong = FilePatterns {
            include: vec!["a[".to_owned()],
            exclude: Vec::new(),
        };
        assert_eq!(wrong.compile().unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn code_is_known_by_its_suffix() {
        for path in [
            "x.py",
            "a/b.PY",
            "pytorch_model.bin",
            "x.tar.pt",
            "run.sh",
            "lib.so.1.2",
        ] {
            assert!(is_code(path), "{path}");
        }
        for path in [
            "model.safetensors",
            "config.json",
            "py",
            "x.py/readme.md",
            "LICENSE",
        ] {
            assert!(!is_code(path), "{path}");
        }
    }

    #[test]
    fn code_that_is_not_known_is_refused() {
        let known = CodeFiles::Named(vec!["modeling_deepseek.py".to_owned()]);
        known
            .check_paths("a/b", ["modeling_deepseek.py", "x.json"].into_iter())
            .unwrap();
        let error = known
            .check_paths(
                "a/b",
                ["modeling_deepseek.py", "evil/modeling_deepseek.py", "x.pkl"].into_iter(),
            )
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Integrity);
        assert!(
            error.message().contains("`evil/modeling_deepseek.py` and 1 more"),
            "{}",
            error.message()
        );
        CodeFiles::All.check_paths("a/b", ["x.pkl"].into_iter()).unwrap();
    }

    #[test]
    fn a_locked_file_must_exist_and_match() {
        let locked = [WeightFile {
            path: "x".to_owned(),
            size: 1,
            hash: "a".to_owned(),
        }];
        check_locked("a/b", &locked, |_| Some((1, "a"))).unwrap();
        for other in [Some((1, "b")), Some((2, "a")), None] {
            assert_eq!(
                check_locked("a/b", &locked, |_| other).unwrap_err().kind(),
                Kind::Integrity
            );
        }
    }

    #[test]
    fn licences_that_must_be_accepted() {
        assert!(!must_be_accepted("mit") && !must_be_accepted("Apache-2.0") && !must_be_accepted(""));
        assert!(must_be_accepted("other") && must_be_accepted("llama3.1"));
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "\\PC{0,40}", path in "\\PC{0,40}") {
            let selection = FilePatterns { include: vec![pattern], exclude: Vec::new() };
            if let Ok(patterns) = selection.compile() {
                let _ = patterns.matches(&path);
            }
        }
    }
}
