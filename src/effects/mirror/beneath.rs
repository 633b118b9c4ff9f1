//! Opens files below a directory and no others, whatever links say.
//!
//! Links are normal in a cache: the files of a snapshot are links, and newer hub clients also make blobs links
//! into a store that repositories share. They are followed, but the target must be below the root.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

/// A directory whose files are served.
pub(super) struct Root {
    path: PathBuf,
    dir: OwnedFd,
}

impl Root {
    /// Opens the directory.
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let path = dir.canonicalize()?;
        let dir = File::open(&path)?;
        if !dir.metadata()?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            path,
            dir: dir.into(),
        })
    }

    /// Returns its path, with links resolved.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the real path of `path`, relative to the root; an error if it is outside.
    pub(super) fn find(&self, path: &Path) -> Result<PathBuf> {
        let real = path.canonicalize()?;
        let below = real
            .strip_prefix(&self.path)
            .map_err(|_| Error::new(ErrorKind::PermissionDenied, "it leads out of the cache"))?;
        Ok(below.to_owned())
    }

    /// Opens a path that [`Self::find`] returned. Follows no links, so that a link made since then fails.
    pub(super) fn open(&self, below: &Path) -> Result<File> {
        let mut names = below.components().peekable();
        let mut dir: Option<OwnedFd> = None;
        // A pipe must not block. The caller refuses anything that is not a regular file.
        let of_file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let of_dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        while let Some(Component::Normal(name)) = names.next() {
            let last = names.peek().is_none();
            let flags = if last { of_file } else { of_dir };
            let opened = openat(dir.as_ref().unwrap_or(&self.dir), name, flags, Mode::empty())?;
            if last {
                return Ok(opened.into());
            }
            dir = Some(opened);
        }
        Err(ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_and_refused_outside() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| inside.path().join(name);
        std::fs::create_dir_all(at("blobs/ab")).unwrap();
        std::fs::create_dir(at("snapshot")).unwrap();
        std::fs::write(at("blobs/ab/shared"), "shared").unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        symlink("../blobs/ab/shared", at("snapshot/relative")).unwrap();
        symlink(at("blobs/ab/shared"), at("snapshot/absolute")).unwrap();
        symlink(outside.path().join("secret"), at("snapshot/out")).unwrap();
        symlink("/etc/shadow", at("snapshot/shadow")).unwrap();
        symlink(outside.path(), at("dir")).unwrap();
        let root = Root::new(inside.path()).unwrap();
        for name in ["relative", "absolute"] {
            let found = root.find(&at("snapshot").join(name)).unwrap();
            let text = std::io::read_to_string(root.open(&found).unwrap()).unwrap();
            assert_eq!(text, "shared", "{name}");
        }
        for name in [
            "snapshot/out",
            "snapshot/shadow",
            "dir/secret",
            "snapshot/gone",
            "../x",
        ] {
            assert!(root.find(&at(name)).is_err(), "{name}");
        }
        // Paths that were found and have become links.
        for name in ["snapshot/out", "dir/secret", "", "/etc/passwd", "../secret"] {
            assert!(root.open(Path::new(name)).is_err(), "{name}");
        }
    }
}
