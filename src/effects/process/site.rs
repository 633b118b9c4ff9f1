//! Limits, compilers and folders of this host for a process that runs the engine on GPUs. Read-only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, statvfs};
use rustix::process::{Resource, getrlimit};

use crate::effects::env::Env;
use crate::effects::host;
use crate::effects::process::command;
use crate::facts::{Site, WorkFolder};

/// Longest run of `nvcc --version`.
const PROBE: Duration = Duration::from_secs(10);
/// Most lock files that are listed.
const MOST_LOCKS: usize = 8;

/// Reads the limits, compilers and folders of a process that gets `variables` beside those that it inherits.
pub async fn read_site(env: &Env, variables: &BTreeMap<String, String>) -> Site {
    let get = |name: &str| -> Option<String> {
        let inherited = || env.inherited.iter().find(|(key, _)| key == name);
        let named = variables.get(name).cloned();
        named.or_else(|| inherited().map(|(_, value)| value.clone()))
    };
    let limits = |resource| getrlimit(resource).maximum;
    let nvcc = nvcc(env, &get);
    let nvcc_version = match &nvcc {
        Some(path) => {
            let output = command::output(env, &[path.as_str(), "--version"], PROBE).await;
            output.as_deref().and_then(release_of)
        }
        None => None,
    };
    let compiler = get("CC").or_else(|| {
        let found = ["gcc", "clang", "cc"]
            .iter()
            .find_map(|name| host::on_path(env, name))?;
        Some(found.to_string_lossy().into_owned())
    });
    let cache = get("XDG_CACHE_HOME").map_or_else(|| env.home.join(".cache"), PathBuf::from);
    Site {
        shm_bytes: statvfs("/dev/shm").ok().map(|stat| stat.f_blocks * stat.f_frsize),
        open_files: limits(Resource::Nofile),
        locked_bytes: limits(Resource::Memlock),
        nvcc,
        nvcc_version,
        compiler,
        folders: folders(env, &get),
        locks: locks(
            &get("TORCH_EXTENSIONS_DIR").map_or_else(|| cache.join("torch_extensions"), PathBuf::from),
        ),
    }
}

/// Returns CUDA's compiler where `torch.utils.cpp_extension` looks for it (`_find_cuda_home`, 2.11), and FlashInfer after it.
fn nvcc(env: &Env, get: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let home = get("CUDA_HOME").or_else(|| get("CUDA_PATH"));
    let found = match home {
        Some(home) => Some(Path::new(&home).join("bin/nvcc")),
        None => host::on_path(env, "nvcc").or_else(|| Some(PathBuf::from("/usr/local/cuda/bin/nvcc"))),
    };
    let found = found.filter(|path| path.is_file())?;
    Some(found.to_string_lossy().into_owned())
}

/// Returns the version in what `nvcc --version` prints: `Cuda compilation tools, release 13.0, V13.0.88`.
fn release_of(output: &str) -> Option<String> {
    let (_, rest) = output.split_once("release ")?;
    let version: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .take(16)
        .collect();
    (!version.is_empty()).then_some(version)
}

/// Returns the folders to which the engine writes, each with the variable that moves it.
fn folders(env: &Env, get: &dyn Fn(&str) -> Option<String>) -> Vec<WorkFolder> {
    let at = |variable: &str, default: PathBuf| {
        let path = get(variable).map_or(default, PathBuf::from);
        folder(&path, variable)
    };
    let flashinfer = get("FLASHINFER_WORKSPACE_BASE").map_or_else(|| env.home.clone(), PathBuf::from);
    vec![
        // FlashInfer does not follow `XDG_CACHE_HOME` (`flashinfer/jit/env.py`).
        folder(&flashinfer.join(".cache/flashinfer"), "FLASHINFER_WORKSPACE_BASE"),
        // SGLang and extensions of PyTorch.
        at("XDG_CACHE_HOME", env.home.join(".cache")),
        at("TRITON_CACHE_DIR", env.home.join(".triton/cache")),
        at("TMPDIR", PathBuf::from("/tmp")),
    ]
}

/// Returns what this user may do in a folder, or in the nearest one above it that is there.
fn folder(path: &Path, variable: &str) -> WorkFolder {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    let existing = existing.unwrap_or(Path::new("/"));
    let stat = statvfs(existing).ok();
    let has = |flag: StatVfsMountFlags| stat.as_ref().is_some_and(|stat| stat.f_flag.contains(flag));
    let may_write = accessat(CWD, existing, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    WorkFolder {
        path: path.to_string_lossy().into_owned(),
        variable: variable.to_owned(),
        is_writable: may_write && existing.is_dir() && !has(StatVfsMountFlags::RDONLY),
        is_executable: !has(StatVfsMountFlags::NOEXEC),
        free_bytes: stat.map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
    }
}

/// Returns the lock files of PyTorch's extensions: `VERSION/NAME/lock`. One is made with a compilation and removed at its end,
/// and the next process waits for that without limit (`torch.utils.file_baton`, 2.11).
fn locks(dir: &Path) -> Vec<String> {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        let found = std::fs::read_dir(dir).into_iter().flatten().flatten();
        found.map(|entry| entry.path()).collect()
    };
    let found = entries(dir)
        .into_iter()
        .flat_map(|version| entries(&version))
        .map(|name| name.join("lock"))
        .filter(|lock| lock.is_file())
        .map(|lock| lock.to_string_lossy().into_owned());
    found.take(MOST_LOCKS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_nvcc_is_read() {
        let output =
            "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.88\n";
        assert_eq!(release_of(output).as_deref(), Some("13.0"));
        assert_eq!(release_of("release of something"), None);
        assert_eq!(release_of(""), None);
    }

    #[tokio::test]
    async fn a_lock_of_a_killed_compilation_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let lock = dir.path().join(".cache/torch_extensions/py312_cu130/fused/lock");
        std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
        std::fs::write(&lock, "").unwrap();
        let env = Env::from_lookup(|name| (name == "HOME").then(|| home.clone()));
        let site = read_site(&env, &BTreeMap::new()).await;
        assert_eq!(site.locks, [lock.to_string_lossy()]);
        assert!(site.folders.iter().all(|folder| folder.is_executable));
        assert!(
            site.folders[0].path.ends_with(".cache/flashinfer"),
            "{:?}",
            site.folders
        );
        let below_a_file = lock.join("cache").to_string_lossy().into_owned();
        let named = BTreeMap::from([("XDG_CACHE_HOME".to_owned(), below_a_file)]);
        let site = read_site(&env, &named).await;
        assert!(!site.folders[1].is_writable, "{:?}", site.folders);
        assert!(site.locks.is_empty());
    }
}
