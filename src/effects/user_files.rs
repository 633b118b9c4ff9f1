//! The user's own files: profiles and stacks below the configuration directory, and files that a command names.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{At, Error, Kind, Result};
use crate::profile::{MAX_BYTES, UnreadFile, UserFile, UserFiles};
use crate::secret::Secret;

/// Reads `profiles/*.yaml` and `stacks/*.yaml` below `config`, and the file `named`. A file of these directories that
/// cannot be read does not keep the others from being read.
///
/// # Errors
/// [`Kind::Usage`] when `named` cannot be read or is too large, or a directory is one that every local user may write to.
pub fn read(config: &Path, named: Option<&Path>) -> Result<UserFiles> {
    let mut unread = Vec::new();
    Ok(UserFiles {
        profiles: directory(&config.join("profiles"), false, &mut unread)?,
        stacks: directory(&config.join("stacks"), true, &mut unread)?,
        named: named.map(file).transpose()?,
        unread,
    })
}

/// Bytes of a log that are read at once.
const PIECE: usize = 1 << 20;

/// Hands on the bytes of a log, which may be larger than memory.
///
/// # Errors
/// [`Kind::Usage`] when the file cannot be read.
pub fn read_log(path: &Path, on_bytes: &mut dyn FnMut(&[u8])) -> Result<()> {
    let file = File::open(path).at(Kind::Usage, || format!("cannot read `{}`", path.display()))?;
    read_stream(file, &path.display().to_string(), on_bytes)
}

/// Hands on the bytes of a stream.
///
/// # Errors
/// [`Kind::Usage`] when it cannot be read.
pub fn read_stream(mut stream: impl Read, name: &str, on_bytes: &mut dyn FnMut(&[u8])) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => on_bytes(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).at(Kind::Usage, || format!("cannot read `{name}`")),
        }
    }
}

fn directory(path: &Path, is_stacks: bool, unread: &mut Vec<UnreadFile>) -> Result<Vec<UserFile>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            unread.push(UnreadFile {
                origin: path.display().to_string(),
                is_stack: is_stacks,
                error: Arc::new(
                    Error::new(Kind::Usage, format!("cannot read `{}`", path.display()))
                        .cause(error.to_string()),
                ),
            });
            return Ok(Vec::new());
        }
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
    let mut files = Vec::new();
    for path in paths {
        // A pipe would wait for a writer.
        let found = match fs::metadata(&path) {
            Ok(kind) if !kind.is_file() => {
                let what = if kind.is_dir() {
                    "a folder"
                } else {
                    "no regular file"
                };
                Err(Error::new(
                    Kind::Usage,
                    format!("cannot read `{}`: it is {what}", path.display()),
                ))
            }
            _ => file(&path),
        };
        match found {
            Ok(file) => files.push(file),
            Err(error) => unread.push(UnreadFile {
                origin: path.display().to_string(),
                is_stack: is_stacks,
                error: Arc::new(error),
            }),
        }
    }
    Ok(files)
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

/// Advice for a name that is taken.
const TAKEN: &str = "choose another name, or replace it with --force";

/// Writes a text that every user may read, completely or not at all; replaces an existing file only if `replace` is set.
///
/// # Errors
/// [`Kind::Usage`] when it exists; [`Kind::Host`] when it cannot be written.
pub fn write(path: &Path, text: &str, replace: bool) -> Result<()> {
    write_with_mode(path, text, replace, 0o644, TAKEN)
}

/// Checks before long work that a file can be written at its end. A device or a pipe is refused, because it would be replaced.
///
/// # Errors
/// As [`write()`].
pub fn check_new(path: &Path, replace: bool) -> Result<()> {
    if path.exists() && !replace {
        return Err(taken(path, TAKEN));
    }
    if path.exists() && !path.is_file() {
        let name = path.display();
        return Err(Error::new(Kind::Usage, format!("cannot write `{name}`"))
            .cause("it is not a file")
            .hint("name a file"));
    }
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let failed = || format!("cannot write `{}`", path.display());
    let access = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK);
    access.map_err(std::io::Error::from).at(Kind::Host, failed)
}

fn taken(path: &Path, hint: &str) -> Error {
    Error::new(Kind::Usage, format!("`{}` exists already", path.display())).hint(hint)
}

/// Writes a text that only this user may read, completely or not at all; replaces an existing file only if `replace` is set.
/// `hint` is for a name that is taken.
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, text: &str, replace: bool, hint: &str) -> Result<()> {
    write_with_mode(path, text, replace, 0o600, hint)
}

/// Writes a text with `mode`; `hint` is for a name that is taken.
fn write_with_mode(path: &Path, text: &str, replace: bool, mode: u32, hint: &str) -> Result<()> {
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
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&temporary)?;
        // Independent of the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
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
                return Err(taken(path, hint));
            }
            Err(error).at(Kind::Host, failed)
        }
    }
}

/// Reads one file. Stops one byte beyond the limit, because a pipe or a device may have no end.
fn file(path: &Path) -> Result<UserFile> {
    let name = path.display().to_string();
    let failed = || format!("cannot read `{name}`");
    let mut bytes = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .at(Kind::Usage, failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(Error::new(
            Kind::Usage,
            format!("`{name}` is too large: it has more than {MAX_BYTES} bytes"),
        ));
    }
    let text = decoded(bytes).map_err(|cause| {
        Error::new(Kind::Usage, failed())
            .cause(cause)
            .hint("save it as UTF-8")
    })?;
    Ok(UserFile { origin: name, text })
}

/// Returns the bytes of a file as text.
///
/// # Errors
/// The reason why they are none.
pub fn decoded(bytes: Vec<u8>) -> std::result::Result<String, String> {
    // With or without a byte order mark: the first character of a YAML file is an ASCII one.
    let is_wide = bytes.starts_with(&[0xFF, 0xFE])
        || bytes.starts_with(&[0xFE, 0xFF])
        || bytes.iter().take(2).any(|byte| *byte == 0);
    if is_wide && bytes.iter().any(|byte| *byte != 0) {
        return Err("it is UTF-16 text, and dsr1 reads UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..at]);
        let line = before.matches('\n').count() + 1;
        format!("line {line} holds a byte that is not UTF-8 text")
    })
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
        fs::set_permissions(&profiles, fs::Permissions::from_mode(0o755)).unwrap();
        let big = home.path().join("big.yaml");
        fs::write(&big, "x".repeat(MAX_BYTES + 1)).unwrap();
        let error = read(Path::new("/nonexistent"), Some(&big)).unwrap_err();
        assert!(error.message().contains("too large"));
    }

    #[test]
    fn a_file_that_cannot_be_read_does_not_keep_the_others_from_being_read() {
        let home = tempfile::tempdir().unwrap();
        let profiles = home.path().join("profiles");
        fs::create_dir_all(profiles.join("folder.yaml")).unwrap();
        fs::write(profiles.join("good.yaml"), "good").unwrap();
        fs::write(profiles.join("latin.yaml"), b"a: 1\nb: caf\xe9\n").unwrap();
        fs::write(profiles.join("wide.yaml"), b"\xff\xfen\0a\0").unwrap();
        fs::write(profiles.join("wide-without-mark.yaml"), b"n\0a\0").unwrap();
        fs::write(profiles.join("huge.yaml"), "x".repeat(MAX_BYTES + 1)).unwrap();
        std::os::unix::fs::symlink("/nonexistent", profiles.join("link.yaml")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            profiles.join("pipe.yaml"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let files = read(home.path(), None).unwrap();
        assert_eq!(files.profiles.len(), 1, "{:?}", files.profiles);
        let why: Vec<String> = files
            .unread
            .iter()
            .map(|file| format!("{}: {}", file.error.message(), file.error.causes().join(", ")))
            .collect();
        for (at, part) in [
            "a folder",
            "too large",
            "line 2 holds a byte",
            "No such file",
            "no regular file",
            "UTF-16",
            "UTF-16",
        ]
        .iter()
        .enumerate()
        {
            assert!(why[at].contains(part), "{part}: {why:#?}");
        }
    }
}
