//! A Python environment of the user.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A Python environment of the user that has the engine, as `--python` names it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its Python: an absolute path.
    pub python: String,
    /// Version of Python.
    pub version: String,
    /// Versions of the installed packages, by name in lower case with `-`.
    pub packages: BTreeMap<String, String>,
    /// CUDA version that torch was built for; `None` without torch, and for a build without CUDA.
    pub cuda: Option<String>,
    /// SHA-256 of Python's version, and of the name, the version and the list of files of each package.
    pub sha256: String,
    /// True if the program `sglang` is beside its Python.
    pub has_program: bool,
    /// Folders in which the engine looks for programs, as `PATH` has them: that of its Python, then those of the shell.
    pub path: String,
    /// True if the headers of its Python are there, which Triton needs to compile; `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<bool>,
    /// True if the engine uses the processor, because the profile does, whatever its torch was built for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_cpu: bool,
}

impl Environment {
    /// Returns the version of CUDA that the engine uses there; `None` on the processor.
    #[must_use]
    pub fn used_cuda(&self) -> Option<&str> {
        self.cuda.as_deref().filter(|_| !self.on_cpu)
    }
}
