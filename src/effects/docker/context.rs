//! A build context as BuildKit requests it: first the metadata of every file, then the bytes of the files it lacks.
//!
//! The protocol is fsutil's (`DiffCopy` of `moby.filesync.v1.FileSync`): dsr1 sends a stat of every file, numbered by
//! their order, then an empty stat; the daemon requests files by number; data is sent in pieces with an empty one at a
//! file's end; `FIN` in both directions closes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use crate::error::{self, At, Error, Kind};
use crate::plan::{BuildImage, CONTEXT_WHEELS};

/// Bytes of a file in one packet: with its envelope, eight of HTTP/2's frames. The daemon's work grows with the number of
/// messages and frames more than with the bytes.
const PIECE: usize = 8 * 16 * 1024 - 64;
/// Files that are sent at once: the daemon writes each as it arrives, and a single one would wait for its disk.
const AT_ONCE: usize = 4;
/// Go's `os.ModeDir`: fsutil's modes are Go's, not Unix's.
const DIRECTORY: u32 = 1 << 31;
/// 2020-01-01 in nanoseconds.
const YEAR_2020: u64 = 1_577_836_800_000_000_000;
/// A year in nanoseconds.
const YEAR: u64 = 31_536_000_000_000_000;

/// An error that ends a transfer; its text is sent to the daemon.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One entry of a context.
#[derive(Debug, Clone)]
enum Entry {
    Directory,
    Text(String),
    File {
        path: PathBuf,
        size: u64,
        modified_ns: u64,
    },
}

/// Files by their path in the context, in the order in which they are sent.
#[derive(Debug)]
pub(super) struct BuildContext(BTreeMap<PathBuf, Entry>);

impl BuildContext {
    /// Returns the files of a build; wheels are read from the disk when the daemon requests them.
    ///
    /// # Errors
    /// [`Kind::Host`] when the wheels cannot be listed.
    pub(super) fn new(step: &BuildImage) -> error::Result<Self> {
        let mut entries = BTreeMap::new();
        let texts = step.files.iter().map(|(path, text)| (path.as_str(), text));
        for (path, text) in texts.chain([("Dockerfile", &step.dockerfile)]) {
            entries.insert(PathBuf::from(path), Entry::Text(text.clone()));
        }
        if let Some(dir) = &step.wheels {
            entries.insert(PathBuf::from(CONTEXT_WHEELS), Entry::Directory);
            for path in wheels(dir)? {
                let meta = fs::metadata(&path).at(Kind::Host, || no_wheels(dir))?;
                let Some(name) = path.file_name() else { continue };
                let modified = meta
                    .modified()
                    .ok()
                    .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let entry = Entry::File {
                    size: meta.len(),
                    modified_ns: modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0)),
                    path: path.clone(),
                };
                entries.insert(Path::new(CONTEXT_WHEELS).join(name), entry);
            }
        }
        let parents: Vec<PathBuf> = entries
            .keys()
            .flat_map(|path| path.ancestors().skip(1))
            .filter(|path| !path.as_os_str().is_empty())
            .map(Path::to_owned)
            .collect();
        for parent in parents {
            entries.entry(parent).or_insert(Entry::Directory);
        }
        Ok(Self(entries))
    }

    /// Returns the entries at or below the `wanted` paths, and the directories above them. Without paths, and when one of
    /// them is a pattern, returns every entry: too many entries do no harm.
    pub(super) fn restricted_to(&self, wanted: &[&str]) -> Self {
        let plain = |path: &str| !path.contains(['*', '?', '[', '\\', '!']);
        let wanted: Vec<&Path> = if wanted.iter().all(|path| plain(path)) {
            let trimmed = wanted
                .iter()
                .map(|path| path.trim_start_matches("./").trim_matches('/'));
            trimmed
                .map(|path| Path::new(if path == "." { "" } else { path }))
                .collect()
        } else {
            Vec::new()
        };
        let is_wanted = |path: &Path| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|one| path.starts_with(one) || one.starts_with(path))
        };
        Self(
            self.0
                .iter()
                .filter(|(path, _)| is_wanted(path))
                .map(|(path, entry)| (path.clone(), entry.clone()))
                .collect(),
        )
    }

    /// Returns the metadata that the daemon compares with its own copy.
    fn stat(path: &Path, entry: &Entry) -> Stat {
        let (mode, size, modified_ns) = match entry {
            Entry::Directory => (DIRECTORY | 0o755, 0, YEAR_2020),
            Entry::Text(text) => (0o644, text.len() as u64, time_of(text)),
            Entry::File {
                size, modified_ns, ..
            } => (0o644, *size, *modified_ns),
        };
        Stat {
            path: path.to_string_lossy().into_owned(),
            mode,
            size: i64::try_from(size).unwrap_or(i64::MAX),
            mod_time: i64::try_from(modified_ns).unwrap_or(i64::MAX),
            ..Stat::default()
        }
    }

    /// Sends the context until the daemon has every file that it requests.
    pub(super) async fn send(
        self: Arc<Self>,
        mut asked: Streaming<Packet>,
        to: Sender<Result<Packet, Status>>,
    ) {
        let sent = async {
            for (path, entry) in &self.0 {
                to.send(Ok(packet(
                    PacketType::PacketStat,
                    0,
                    Some(Self::stat(path, entry)),
                )))
                .await?;
            }
            to.send(Ok(packet(PacketType::PacketStat, 0, None))).await?;
            let mut sending = JoinSet::new();
            loop {
                let request = tokio::select! {
                    Some(sent) = sending.join_next() => {
                        sent??;
                        continue;
                    }
                    request = asked.message(), if sending.len() < AT_ONCE => request?,
                };
                let Some(request) = request else { break };
                match request.r#type() {
                    PacketType::PacketReq => {
                        let (context, to) = (Arc::clone(&self), to.clone());
                        sending.spawn(async move { context.file(request.id, &to).await });
                    }
                    PacketType::PacketFin => {
                        to.send(Ok(packet(PacketType::PacketFin, 0, None))).await?;
                        break;
                    }
                    PacketType::PacketErr => return Err(String::from_utf8_lossy(&request.data).into()),
                    PacketType::PacketStat | PacketType::PacketData => {}
                }
            }
            Ok::<(), Failure>(())
        };
        if let Err(error) = sent.await {
            // The build fails with this text. If the daemon is gone, nobody reads it.
            let _ = to.send(Err(Status::internal(error.to_string()))).await;
        }
    }

    async fn file(&self, id: u32, to: &Sender<Result<Packet, Status>>) -> Result<(), Failure> {
        let entry = usize::try_from(id).ok().and_then(|id| self.0.values().nth(id));
        match entry {
            Some(Entry::Text(text)) => {
                for piece in text.as_bytes().chunks(PIECE) {
                    to.send(Ok(data(id, piece.to_vec()))).await?;
                }
            }
            Some(Entry::File { path, size, .. }) => {
                let (path, size, to) = (path.clone(), *size, to.clone());
                tokio::task::spawn_blocking(move || send_file(id, &path, size, &to)).await??;
            }
            Some(Entry::Directory) | None => {
                return Err(format!("the daemon requested entry {id}, which is not a file").into());
            }
        }
        to.send(Ok(data(id, Vec::new()))).await?;
        Ok(())
    }
}

/// Sends the bytes of a file of this host.
fn send_file(id: u32, path: &Path, size: u64, to: &Sender<Result<Packet, Status>>) -> Result<(), Failure> {
    let mut file = File::open(path)?.take(size);
    let mut sent = 0;
    loop {
        let mut piece = vec![0; PIECE];
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        piece.truncate(count);
        sent += count as u64;
        to.blocking_send(Ok(data(id, piece)))?;
    }
    if sent == size {
        Ok(())
    } else {
        Err(format!("`{}` changed while it was sent", path.display()).into())
    }
}

/// Returns the files of a directory of wheels, in the order of their names.
///
/// # Errors
/// [`Kind::Host`] when it cannot be listed.
pub(super) fn wheels(dir: &str) -> error::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .at(Kind::Host, || no_wheels(dir))?;
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

fn no_wheels(dir: &str) -> String {
    format!("cannot read the wheels in `{dir}`")
}

fn packet(kind: PacketType, id: u32, stat: Option<Stat>) -> Packet {
    Packet {
        r#type: kind.into(),
        stat,
        id,
        data: Vec::new(),
    }
}

fn data(id: u32, bytes: Vec<u8>) -> Packet {
    Packet {
        data: bytes,
        ..packet(PacketType::PacketData, id, None)
    }
}

/// Returns a modification time that depends on the content only: `BuildKit` compares sizes and times, and keeps its copy
/// if both are unchanged.
fn time_of(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    let number = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    YEAR_2020 + number % YEAR
}

/// Largest size of a secret (moby/buildkit session/secrets, `MaxSecretSize`).
pub(super) const SECRET_LIMIT: usize = 500 * 1024;

/// Reads a secret from a file.
///
/// # Errors
/// [`Kind::Host`] when the file cannot be read or is larger than [`SECRET_LIMIT`].
pub(super) fn read_secret(id: &str, path: &str) -> error::Result<Vec<u8>> {
    let failure = || format!("cannot read `{path}` for the build's secret `{id}`");
    // Reading a pipe may block, and a device may have no end.
    let meta = fs::metadata(path).at(Kind::Host, failure)?;
    if !meta.is_file() {
        return Err(Error::new(Kind::Host, failure()).cause("it is not a file"));
    }
    if meta.len() > SECRET_LIMIT as u64 {
        return Err(
            Error::new(Kind::Host, format!("`{path}` is too large for a secret")).cause(format!(
                "BuildKit accepts {SECRET_LIMIT} bytes, the file has {}",
                meta.len()
            )),
        );
    }
    fs::read(path).at(Kind::Host, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_entries_are_sent_and_others_are_not() {
        let paths = [
            "Dockerfile",
            "pip",
            "pip/1",
            "pip/1/a",
            "pip/10",
            "pip/10/a",
            "wheels",
            "wheels/a.whl",
        ];
        let entry = |path: &&str| (PathBuf::from(path), Entry::Directory);
        let context = BuildContext(paths.iter().map(entry).collect());
        let only = |wanted: &[&str]| {
            let paths = context.restricted_to(wanted).0.into_keys();
            paths
                .map(|path| path.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            only(&["Dockerfile", "Dockerfile.dockerignore", ".dockerignore"]),
            ["Dockerfile"]
        );
        assert_eq!(only(&["/pip/1"]), ["pip", "pip/1", "pip/1/a"]);
        assert_eq!(only(&["./wheels/"]), ["wheels", "wheels/a.whl"]);
        for all in [&[][..], &["."], &["/"], &["*.whl"], &["wheels", "p?p"]] {
            assert_eq!(only(all).len(), paths.len(), "{all:?}");
        }
    }
}
