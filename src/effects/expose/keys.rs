//! The file of keys of an exposed server: made by dsr1, readable by its user alone, and read again when it changes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::access::{Keys, is_key_name};
use crate::effects::execute::Effects;
use crate::effects::files;
use crate::error::{At, Error, Kind, Result};

/// Most bytes of a file of keys: some thousand keys.
const MOST: u64 = 1 << 20;
/// Shortest time between two looks at the file: a key that is removed counts no longer than this.
const LOOK: Duration = Duration::from_secs(1);
/// Random bytes of a key.
const RANDOM: usize = 24;

/// Extension of the file of keys of a server.
pub(in crate::effects) const EXTENSION: &str = "keys";

impl Effects {
    /// Returns the path of the file of keys of a server, by its full name.
    #[must_use]
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.servers_folder().join(format!("{name}.{EXTENSION}"))
    }
}

/// A file of keys.
pub struct KeyFile {
    path: PathBuf,
    read: Mutex<ReadKeys>,
}

struct ReadKeys {
    keys: Arc<Keys>,
    stamp: Stamp,
    looked: Instant,
}

/// The properties by which a changed file is known: device, inode, size in bytes, and time of the change in seconds and
/// nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

/// Keys as they are now, and the error of a changed file that was not taken.
pub(super) struct Current {
    pub(super) keys: Arc<Keys>,
    pub(super) trouble: Option<Error>,
}

impl KeyFile {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it cannot be read, other users can read it, or a line is wrong.
    pub fn open(path: &Path) -> Result<Self> {
        let (keys, stamp) = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            read: Mutex::new(ReadKeys {
                keys: Arc::new(keys),
                stamp,
                looked: Instant::now(),
            }),
        })
    }

    /// Returns the names of the keys.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.current().keys.names().map(str::to_owned).collect()
    }

    /// Returns the keys, read again if the file changed. If the file is invalid, only the known keys that are still in it are
    /// valid; without a file, none is.
    pub(super) fn current(&self) -> Current {
        let mut read_keys = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut trouble = None;
        if read_keys.looked.elapsed() >= LOOK {
            read_keys.looked = Instant::now();
            let stamp = std::fs::metadata(&self.path)
                .map(|meta| stamp(&meta))
                .unwrap_or_default();
            if stamp != read_keys.stamp {
                read_keys.stamp = stamp;
                match read(&self.path) {
                    Ok((keys, _)) => read_keys.keys = Arc::new(keys),
                    Err(error) => {
                        let text = files::read_through(&self.path, MOST).unwrap_or_default();
                        let left = read_keys.keys.still_in(&String::from_utf8_lossy(&text));
                        read_keys.keys = Arc::new(left);
                        trouble = Some(error);
                    }
                }
            }
        }
        Current {
            keys: Arc::clone(&read_keys.keys),
            trouble,
        }
    }
}

fn stamp(meta: &std::fs::Metadata) -> Stamp {
    (
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.ctime(),
        meta.ctime_nsec(),
    )
}

/// Reads the keys, and what tells a change of the file.
fn read(path: &Path) -> Result<(Keys, Stamp)> {
    let failed = || format!("cannot read the keys in `{}`", path.display());
    let meta = std::fs::metadata(path).map_err(|error| {
        let error_text = error.to_string();
        Error::new(Kind::Usage, failed()).cause(error_text).hint(format!(
            "dsr1 expose --add-key NAME --keys {} makes it",
            path.display()
        ))
    })?;
    if meta.mode() & 0o077 != 0 {
        return Err(Error::new(Kind::Usage, failed())
            .cause(format!(
                "other users can read it (mode {:04o})",
                meta.mode() & 0o777
            ))
            .hint(format!("chmod 600 {}", path.display())));
    }
    // Secrets of Kubernetes are links.
    let bytes = files::read_through(path, MOST).at(Kind::Usage, failed)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::new(Kind::Usage, failed()).cause("it has a byte that is no text in UTF-8"))?;
    Ok((Keys::parse(&text, &path.display().to_string())?, stamp(&meta)))
}

/// Adds a random key to a file, which is made if it is not there.
///
/// # Errors
/// [`Kind::Usage`] for a name that is none or stands there already; [`Kind::Host`] when the file cannot be written.
pub fn add_key(path: &Path, name: &str) -> Result<()> {
    let failed = || format!("cannot add a key to `{}`", path.display());
    if !is_key_name(name) {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` is not a name for a key", name.escape_debug()),
        )
        .hint("use at most 40 letters, digits, `.`, `_` or `-`, and begin with a letter or a digit"));
    }
    let text = std::fs::read(path).unwrap_or_default();
    let ends = text.last().is_none_or(|last| *last == b'\n');
    let is_comment = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
    if !String::from_utf8_lossy(&text).lines().all(is_comment) {
        let (keys, _) = read(path)?;
        if keys.names().any(|known| known == name) {
            return Err(Error::new(Kind::Usage, failed())
                .cause(format!("it has a key of the name {name}"))
                .hint("choose another name, or remove its line first"));
        }
    }
    let mut random = [0; RANDOM];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .at(Kind::Host, failed)?;
    let key = crate::units::hex(&random);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).at(Kind::Host, failed)?;
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .at(Kind::Host, failed)?;
    // One write: a key is whole or absent.
    let begin = if ends { "" } else { "\n" };
    file.write_all(format!("{begin}{name} dsr1-{key}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .at(Kind::Host, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_a_name_and_only_its_user_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/keys");
        add_key(&path, "alice").unwrap();
        add_key(&path, "bob").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(
            lines.iter().map(|line| line.0).collect::<Vec<_>>(),
            ["alice", "bob"]
        );
        assert!(lines.iter().all(|line| line.1.len() == 5 + 2 * RANDOM) && lines[0].1 != lines[1].1);
        assert!(add_key(&path, "bob").unwrap_err().causes()[0].contains("a key of the name bob"));
        assert!(add_key(&path, "a b").is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(KeyFile::open(&link).unwrap().names(), ["alice", "bob"]);
        let file = KeyFile::open(&path).unwrap();
        assert_eq!(file.names(), ["alice", "bob"]);
        assert_eq!(file.current().keys.name_of(lines[1].1), Some("bob"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        add_key(&path, "alice").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = KeyFile::open(&path).err().unwrap();
        assert_eq!(error.causes(), ["other users can read it (mode 0640)"]);
    }

    #[test]
    fn a_changed_file_is_read_again_and_of_a_broken_one_what_still_stands_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        add_key(&path, "alice").unwrap();
        let file = KeyFile::open(&path).unwrap();
        let age = || file.read.lock().unwrap().looked = Instant::now().checked_sub(LOOK).unwrap();
        add_key(&path, "bob").unwrap();
        age();
        assert_eq!(file.names(), ["alice", "bob"]);
        let text = std::fs::read_to_string(&path).unwrap();
        let alice = text.lines().next().unwrap();
        std::fs::write(&path, format!("{alice}\nshort\n")).unwrap();
        age();
        let current = file.current();
        assert!(current.trouble.is_some());
        assert_eq!(current.keys.names().collect::<Vec<_>>(), ["alice"]);
        age();
        assert!(file.current().trouble.is_none());
        std::fs::remove_file(&path).unwrap();
        age();
        let current = file.current();
        assert!(current.trouble.is_some() && current.keys.names().count() == 0);
        // A file of comments takes its first key.
        std::fs::write(&path, "# keys of the team").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        add_key(&path, "carol").unwrap();
        age();
        assert_eq!(file.names(), ["carol"]);
    }
}
