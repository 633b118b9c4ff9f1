//! uv, which installs packages: its settings from those of pip, and its cache, which shows how far it is.
//!
//! The layout of the cache is that of uv 0.13 (`uv-cache`): `wheels-v8/<index>/<name>/<version>-<tags>` is a link to the
//! unpacked package in `archive-v0`; a package that is being unpacked is in a folder `.tmp*` of the cache itself. uv holds
//! a shared lock on the file `.lock` while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::effects::env::Env;
use crate::effects::files;

/// Returns the folder with the packages that were fetched, unpacked. A venv has them as hard links, so they take no space of
/// their own.
pub(in crate::effects) fn cache_dir(env: &Env) -> PathBuf {
    Path::new(&env.paths.cache).join("packages")
}

/// Settings of pip that change nothing for uv.
const WITHOUT_EFFECT: [&str; 17] = [
    "break-system-packages",
    "cache-dir",
    "default-timeout",
    "disable-pip-version-check",
    "log",
    "no-cache-dir",
    "no-color",
    "no-compile",
    "no-input",
    "no-warn-script-location",
    "prefer-binary",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "timeout",
];

/// Returns the environment in which uv finds the packages that pip would find, from the output of `pip config list`.
///
/// # Errors
/// The name of a setting that uv has no equal of.
pub(super) fn settings(listing: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    // The later sections override the earlier ones.
    for section in ["global", "install", ":env:"] {
        for line in listing.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let Some(name) = key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            if WITHOUT_EFFECT.contains(&name) {
                continue;
            }
            let values = words(value);
            let (variable, separator) = match name {
                "index-url" => ("UV_DEFAULT_INDEX", " "),
                "extra-index-url" => ("UV_INDEX", " "),
                "find-links" => ("UV_FIND_LINKS", ","),
                "cert" => ("SSL_CERT_FILE", " "),
                "trusted-host" => ("UV_INSECURE_HOST", " "),
                _ => return Err(name.to_owned()),
            };
            found.insert(variable.to_owned(), values.join(separator));
        }
    }
    Ok(found)
}

/// Returns the words of a value, which pip prints as a Python string: `'https://a'`, `'\nhttps://a\nhttps://b'`.
fn words(value: &str) -> Vec<String> {
    let value = value.trim();
    let inner = ['\'', '"']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    inner
        .replace("\\n", " ")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Removes what an interrupted uv left in its cache, once no uv uses it. The packages that it unpacked completely stay.
pub(in crate::effects) fn remove_unfinished(cache: &Path) {
    let Ok(lock) = files::open_to_append(&cache.join(".lock")) else {
        return;
    };
    // A killed process holds its lock until the kernel has ended it.
    for _ in 0..20 {
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            for dir in temporary(cache) {
                let _ = fs::remove_dir_all(dir);
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the folders of packages that are being unpacked.
fn temporary(cache: &Path) -> Vec<PathBuf> {
    entries(cache)
        .filter(|path| name(path).starts_with(".tmp"))
        .collect()
}

/// File in the cache that exists while the last installation was one by pip, which does not use it.
const BY_PIP: &str = ".by-pip";

/// Notes whether the last installation uses the packages of the cache.
pub(super) fn note_user(cache: &Path, is_uv: bool) {
    let mark = cache.join(BY_PIP);
    let _ = if is_uv {
        fs::remove_file(&mark)
    } else {
        fs::create_dir_all(cache).and_then(|()| fs::write(&mark, ""))
    };
}

/// Returns the number of packages that the next installation does not fetch again; `None` if that is up to pip.
pub(in crate::effects) fn kept_packages(cache: &Path) -> Option<usize> {
    // A package counts from its link on: uv does not look for one without.
    let links = || {
        let names = indexes(cache)
            .into_iter()
            .flat_map(|index| entries(&index).collect::<Vec<_>>());
        let versions = names.flat_map(|name| entries(&name).collect::<Vec<_>>());
        versions.filter(|path| path.is_symlink() && path.exists()).count()
    };
    (!cache.join(BY_PIP).exists()).then(links)
}

/// Returns the unpacked packages in the cache, of all versions.
pub(in crate::effects) fn archives(cache: &Path) -> Vec<PathBuf> {
    entries(cache)
        .filter(|path| name(path).starts_with("archive-v"))
        .flat_map(|path| entries(&path).collect::<Vec<_>>())
        .collect()
}

/// The progress of an installation, read from the cache.
pub(super) struct Progress {
    cache: PathBuf,
    /// Name in the index, and version, of the packages that are not yet unpacked.
    pending: BTreeSet<(String, String)>,
    packages: usize,
    unpacked_bytes: u64,
}

impl Progress {
    /// Returns the progress of the installation of `requirements`, lines of a requirements file.
    pub(super) fn new(cache: &Path, requirements: &[String]) -> Self {
        let pending: BTreeSet<_> = requirements.iter().filter_map(|line| pinned(line)).collect();
        Self {
            cache: cache.to_owned(),
            packages: pending.len(),
            pending,
            unpacked_bytes: 0,
        }
    }

    /// Returns the bytes that are unpacked by now, and the number of complete packages.
    pub(super) fn measure(&mut self) -> (u64, usize) {
        let indexes = indexes(&self.cache);
        let mut unpacked = 0;
        self.pending.retain(|(name, version)| {
            let archive = indexes
                .iter()
                .find_map(|index| archive(&index.join(name), version));
            unpacked += archive.as_deref().map_or(0, size);
            archive.is_none()
        });
        self.unpacked_bytes += unpacked;
        let in_work: u64 = temporary(&self.cache).iter().map(|dir| size(dir)).sum();
        (self.unpacked_bytes + in_work, self.packages - self.pending.len())
    }
}

/// Returns the folders that hold a folder for each package: one for the default index, one for each other.
fn indexes(cache: &Path) -> Vec<PathBuf> {
    let wheels = entries(cache).filter(|path| name(path).starts_with("wheels-v"));
    wheels
        .flat_map(|wheels| entries(&wheels).collect::<Vec<_>>())
        .flat_map(|kind| {
            let nested: Vec<PathBuf> = entries(&kind).collect();
            std::iter::once(kind).chain(nested)
        })
        .collect()
}

/// Returns the unpacked package of a version, from the folder of all its versions.
fn archive(versions: &Path, version: &str) -> Option<PathBuf> {
    let start = format!("{version}-");
    entries(versions)
        .filter(|path| name(path).starts_with(&start) && path.is_symlink())
        .find_map(|path| path.canonicalize().ok())
}

/// Returns the name in the index (PEP 503) and the version of a line `Name[extra]==1.0 --hash=...`.
fn pinned(line: &str) -> Option<(String, String)> {
    let (name, version) = line.split_whitespace().next()?.split_once("==")?;
    let name = name.split('[').next()?;
    let parts: Vec<String> = name
        .split(['-', '_', '.'])
        .filter(|part| !part.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    Some((parts.join("-"), version.to_owned()))
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Returns the bytes of all files below `dir`; links are not followed.
pub(super) fn size(dir: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(dir) else {
        return 0;
    };
    if meta.is_dir() {
        entries(dir).map(|path| size(&path)).sum()
    } else {
        meta.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_settings_become_those_of_uv() {
        let listing = "\
            :env:.cert='/etc/ca.pem'\n\
            :env:.index-url='https://u:p@mirror/simple'\n\
            download.proxy='http://nowhere'\n\
            global.extra-index-url='\\nhttps://a/simple\\nhttps://b/simple'\n\
            global.index-url='https://other/simple'\n\
            global.timeout='60'\n\
            install.trusted-host='mirror a'\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            settings(listing).unwrap(),
            BTreeMap::from([
                pair("SSL_CERT_FILE", "/etc/ca.pem"),
                pair("UV_DEFAULT_INDEX", "https://u:p@mirror/simple"),
                pair("UV_INDEX", "https://a/simple https://b/simple"),
                pair("UV_INSECURE_HOST", "mirror a"),
            ])
        );
        assert_eq!(settings("global.client-cert='/a'\n").unwrap_err(), "client-cert");
        assert!(settings("").unwrap().is_empty());
    }

    #[test]
    fn the_cache_shows_how_far_uv_is() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path();
        let write = |path: &str, bytes: usize| {
            let path = cache.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; bytes]).unwrap();
        };
        let line = |text: &str| format!("{text} --hash=sha256:00");
        let lines = [
            line("Torch_Audio[x]==2.11.0"),
            line("six==1.17.0"),
            line("idna==3.10"),
        ];
        let mut progress = Progress::new(cache, &lines);
        assert_eq!(progress.measure(), (0, 0));
        write("archive-v0/aa/torchaudio/x.so", 500);
        write(".tmpQ/six.py", 30);
        let versions = cache.join("wheels-v8/pypi/torch-audio");
        fs::create_dir_all(&versions).unwrap();
        std::os::unix::fs::symlink("../../../archive-v0/aa", versions.join("2.11.0-cp311-cp311-x")).unwrap();
        assert_eq!(progress.measure(), (530, 1));
        // Another version does not count; an index of its own does.
        write("archive-v0/bb/six.py", 40);
        let versions = cache.join("wheels-v8/index/0123/six");
        fs::create_dir_all(&versions).unwrap();
        std::os::unix::fs::symlink(cache.join("archive-v0/bb"), versions.join("1.16.0-py3")).unwrap();
        assert_eq!(progress.measure(), (530, 1));
        std::os::unix::fs::symlink(cache.join("archive-v0/bb"), versions.join("1.17.0-py3")).unwrap();
        assert_eq!((progress.measure(), kept_packages(cache)), ((570, 2), Some(3)));
        // What was being unpacked goes; what is complete stays.
        write(".lock", 0);
        remove_unfinished(cache);
        assert_eq!((progress.measure(), kept_packages(cache)), ((540, 2), Some(3)));
    }
}
