//! Limits, compilers and folders of a host, for a process: a container brings its own.

use serde::{Deserialize, Serialize};

/// Limits, compilers and folders of a process that runs the engine on GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// Size of `/dev/shm` in bytes; `None` without one.
    pub shm_bytes: Option<u64>,
    /// Most open files that a process may ask for; `None` without a limit.
    pub open_files: Option<u64>,
    /// Most memory in bytes that a process may lock; `None` without a limit.
    pub locked_bytes: Option<u64>,
    /// Path of CUDA's compiler, as PyTorch and FlashInfer look for it; `None` if there is none.
    pub nvcc: Option<String>,
    /// Version of CUDA that it compiles for, such as `13.0`.
    pub nvcc_version: Option<String>,
    /// Path of a C compiler; `None` if there is none.
    pub compiler: Option<String>,
    /// The folders to which engines write compiled kernels and temporary files.
    pub folders: Vec<WorkFolder>,
    /// Lock files of compilations, which a killed one leaves behind and the next one waits for.
    pub locks: Vec<String>,
}

/// A folder to which the engine writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkFolder {
    /// Its path; it need not exist yet.
    pub path: String,
    /// The variable that moves it.
    pub variable: String,
    /// True if this user may write there.
    pub is_writable: bool,
    /// True if libraries in it may be loaded: not so on a file system that is mounted with `noexec`.
    pub is_executable: bool,
    /// Free bytes; `None` if that is not known.
    pub free_bytes: Option<u64>,
}
