//! The user's own files: profiles and stacks below the configuration directory, and files that a command names.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{At, Error, Kind, Result};
use crate::profile::{MAX_BYTES, UserFile, UserFiles};
use crate::secret::Secret;

/// Reads `profiles/*.yaml` and `stacks/*.yaml` below `config`, and the file `named`.
///
/// # Errors
/// [`Kind::Usage`] when one cannot be read, is too large, or is in a directory that every local user may write to.
pub fn read(config: &Path, named: Option<&Path>) -> Result<UserFiles> {
    Ok(UserFiles {
        profiles: directory(&config.join("profiles"))?,
        stacks: directory(&config.join("stacks"))?,
        named: named.map(file).transpose()?,
    })
}

fn directory(path: &Path) -> Result<Vec<UserFile>> {
    let Ok(entries) = fs::read_dir(path) else {
        return Ok(Vec::new());
    };
    // A profile decides what runs: another user must not be able to change it.
    let mode = fs::metadata(path)
        .at(Kind::Usage, || format!("cannot read `{}`", path.display()))?
        .permissions()
        .mode();
    if mode & 0o002 != 0 {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "refusing to read `{}`: every user may write to it",
                path.display()
            ),
        )
        .hint(format!("chmod o-w {}", path.display())));
    }
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "yaml" || kind == "yml")
        })
        .collect();
    paths.sort();
    paths.iter().map(|path| file(path)).collect()
}

/// Reads one file that a command names.
///
/// # Errors
/// [`Kind::Usage`] when it cannot be read or is too large.
pub fn read_file(path: &Path) -> Result<UserFile> {
    file(path)
}

/// Reads a secret from a file that a command names.
///
/// # Errors
/// [`Kind::Usage`] when it cannot be read or is too large.
pub fn read_secret(path: &Path) -> Result<Secret> {
    file(path).map(|file| Secret::new(&file.text))
}

/// Writes a text that every user may read, completely or not at all; replaces an existing file only if `replace` is set.
///
/// # Errors
/// [`Kind::Usage`] when it exists; [`Kind::Host`] when it cannot be written.
pub fn write(path: &Path, text: &str, replace: bool) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    let name = path
        .file_name()
        .ok_or_else(|| Error::new(Kind::Usage, failed()).cause("the path does not name a file"))?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let temporary = dir.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let publish = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        // Independent of the umask.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if replace {
            fs::rename(&temporary, path)?;
        } else {
            // Unlike a rename, a link fails if the name is taken.
            fs::hard_link(&temporary, path)?;
            fs::remove_file(&temporary)?;
        }
        File::open(dir)?.sync_all()
    };
    match publish() {
        Ok(()) => Ok(()),
        Err(error) => {
            drop(fs::remove_file(&temporary));
            if error.kind() == ErrorKind::AlreadyExists {
                return Err(
                    Error::new(Kind::Usage, format!("`{}` exists already", path.display()))
                        .hint("choose another name, or replace it with --force"),
                );
            }
            Err(error).at(Kind::Host, failed)
        }
    }
}

/// Reads one file. Stops one byte beyond the limit, because a pipe or a device may have no end.
fn file(path: &Path) -> Result<UserFile> {
    let name = path.display().to_string();
    let failed = || format!("cannot read `{name}`");
    let mut text = String::new();
    let most = MAX_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_string(&mut text))
        .at(Kind::Usage, failed)?;
    if text.len() > MAX_BYTES {
        return Err(Error::new(
            Kind::Usage,
            format!("`{name}` is too large: it has more than {MAX_BYTES} bytes"),
        ));
    }
    Ok(UserFile { origin: name, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yaml_that_others_cannot_write_is_read() {
        let home = tempfile::tempdir().unwrap();
        let profiles = home.path().join("profiles");
        fs::create_dir(&profiles).unwrap();
        fs::write(profiles.join("b.yaml"), "b").unwrap();
        fs::write(profiles.join("a.yml"), "a").unwrap();
        fs::write(profiles.join("notes.txt"), "x").unwrap();
        let texts: Vec<String> = read(home.path(), None)
            .unwrap()
            .profiles
            .into_iter()
            .map(|file| file.text)
            .collect();
        assert_eq!(texts, ["a", "b"]);
        fs::set_permissions(&profiles, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            read(home.path(), None)
                .unwrap_err()
                .message()
                .contains("every user")
        );
        let big = home.path().join("big.yaml");
        fs::write(&big, "x".repeat(MAX_BYTES + 1)).unwrap();
        let error = read(Path::new("/nonexistent"), Some(&big)).unwrap_err();
        assert!(error.message().contains("too large"));
    }
}
