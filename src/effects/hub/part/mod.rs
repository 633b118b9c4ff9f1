//! An unfinished file: what is written of it, and a record that proves how far.
//!
//! Beside `OID.OWNER.part` lies `OID.OWNER.record`: every few MiB the place, and the hash of all bytes before it. A
//! pull that was killed goes on from the last place whose hash still holds, so that neither a torn write nor a disk
//! that lost power is taken for bytes. The record of a proven file is kept: it tells which part of it went bad later.
//!
//! Beside both lies `OID.OWNER.ahead`: the chunks that helpers wrote from the end (see `ahead`), each with its hash.
//!
//! A file that is there and wrong becomes a part by its record: all of it, with gaps where it is bad.
//!
//! Parts have owners, so that two pulls whose filesystem has no working locks (Lustre, some NFS) never write one file.
//! The formats beside it are in `record`, a helper's chunk in `chunk`, whose a part is in `owner` and `silence`, what its
//! disk has of it for sure in `durable`, what is right behind a gap in `gaps`, a file that went bad in `damaged`.
//! Not in this module: where bytes come from (`fetch`).

mod chunk;
mod damaged;
mod durable;
mod gaps;
mod owner;
mod record;
mod silence;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) use chunk::PartChunk;
pub(super) use durable::PartFile;
use durable::{Durable, Kept};
use gaps::Gap;
pub(super) use owner::{ABANDONED, is_of_here, is_owned, owner, parts, remove};
use owner::{adopt, probe};
use record::{LINE, ahead_of, forget_ahead, lines_of, read_ahead, record_of, write_line};
pub(super) use record::{kept, read_record};
pub(super) use silence::wait_for_silence;

use super::ahead::Recovered;
use super::cache::{RepoCache, sync_dir};
use super::hash::{Bytes32, Hasher, is_lost, is_unkept, keep};
use super::listing::Entry;
use super::look::Look;
use crate::effects::files;
use crate::error::{At, Error, Kind, Result};

/// Bytes between two records: what a kill costs at most, for each file under way.
pub(super) const STEP: u64 = 4 << 20;
/// A slow stream is recorded this often.
const OFTEN: Duration = Duration::from_secs(1);
/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;
/// Bytes read at a time.
const READ: usize = 256 << 10;
/// Times that a disk is asked once more for what it does not give: a server of files that is begun anew says `EIO` too.
const ASKED_AGAIN: u32 = 5;
/// Time before the first of them; each waits twice as long as the one before, all of them some six seconds.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// An unfinished file.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    record: File,
    /// Bytes of the record as far as `at`.
    record_length: u64,
    hasher: Hasher,
    at: u64,
    /// What is to be fetched before the record says more.
    gap: Option<Gap>,
    /// What the record says of places behind it.
    beyond: VecDeque<(u64, Bytes32)>,
    /// Where it begins, or the first of those gaps that follow one another up to it.
    bad_from: u64,
    recorded: (u64, Instant),
    durable: Durable,
    /// In memory, where there is nothing to reserve and nothing to sync.
    in_memory: bool,
    recovered: Vec<Recovered>,
    /// Not all that an earlier pull left is there any more.
    is_less: bool,
}

impl Part {
    /// Opens the part of `entry`, with what an earlier pull proved of it.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses or is too small.
    pub(super) fn open(cache: &RepoCache, entry: &Entry) -> Result<Self> {
        let adopted = || adopt(cache, entry).map_err(|error| cannot(&cache.parts(), &error));
        let path = adopted()?;
        let failed = || format!("cannot write `{}`", path.display());
        let part = match Self::resumed(&path, entry) {
            Err(error) if is_lost(&error) => {
                // Nothing tells what its disk has of it, and it would stop every pull: it begins anew.
                remove(&path).at(Kind::Host, failed)?;
                Self::resumed(&adopted()?, entry).map(|mut part| {
                    part.is_less = true;
                    part
                })
            }
            part => part,
        };
        let part = part.at(Kind::Host, failed)?;
        part.reserve(entry.size)?;
        Ok(part)
    }

    fn resumed(path: &Path, entry: &Entry) -> io::Result<Self> {
        // Others may read it once it is proven, and nobody else writes to it.
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true);
            options.mode(0o600).custom_flags(files::no_follow());
            patiently(path, || files::open_by(&options, path))
        };
        let file = open(path)?;
        let record = record_of(path);
        patiently(path, || owner::unshare(&record))?;
        let record = open(&record)?;
        let in_memory = rustix::fs::fstatfs(&file).is_ok_and(|at| at.f_type == TMPFS);
        let mut part = Self {
            hasher: Hasher::new(&entry.oid, entry.size),
            at: 0,
            gap: None,
            beyond: VecDeque::new(),
            bad_from: 0,
            recorded: (0, Instant::now()),
            durable: Durable::new(PartFile::new(path), entry.size, in_memory),
            in_memory,
            recovered: Vec::new(),
            record_length: 0,
            is_less: false,
            path: path.to_owned(),
            file,
            record,
        };
        part.resume(entry)?;
        Ok(part)
    }

    /// Reads what is there as far as the record proves it, and forgets what it says nothing of.
    fn resume(&mut self, entry: &Entry) -> io::Result<()> {
        let mut lines = Vec::new();
        let length = patiently(&self.path, || self.file.metadata())?.len();
        let length = length.min(entry.size);
        patiently(&self.path, || {
            lines.clear();
            io::Seek::rewind(&mut self.record)?;
            // One line for each MiB would be plenty: more is not of our making.
            let most = length / 1024 * LINE as u64 + 4096;
            (&self.record).take(most).read_to_end(&mut lines)
        })?;
        if !lines.is_empty() || ahead_of(&self.path).exists() {
            // What was written before a kill may be in memory only, and a disk says once that it did not take it.
            match keep(&self.file) {
                // Nothing tells how much of it that is.
                Err(error) if is_unkept(&error) => {
                    lines.clear();
                    files::remove_if_there(&ahead_of(&self.path))?;
                    self.durable = Durable::new(PartFile::new(&self.path), entry.size, self.in_memory);
                    self.is_less = true;
                }
                kept => kept?,
            }
        }
        self.beyond = lines_of(&lines)
            .take_while(|(place, _)| *place <= length)
            .collect();
        self.pass_right()?;
        self.bad_from = self.at;
        let known = self.beyond.back().map_or(self.at, |(place, _)| *place);
        // What comes anew is not taken for what a helper wrote there once, should the disk not keep it.
        match patiently(&self.path, || forget_ahead(&self.path, known..length)) {
            // It saves work, and no more.
            Err(error) if is_lost(&error) => drop(files::remove_if_there(&ahead_of(&self.path))),
            forgotten => forgotten?,
        }
        self.recovered = read_ahead(&ahead_of(&self.path), known, length);
        let chunks = self.recovered.iter().map(|(_, to, _)| *to);
        let end = chunks.fold(known, u64::max);
        patiently(&self.path, || self.file.set_len(end))?;
        if self.gap.is_none() {
            self.close_record()?;
        }
        self.durable.begin(Kept {
            at: self.at,
            record: self.record_length,
        });
        Ok(())
    }

    /// Reads what lies between here and `to`, a buffer at a time.
    fn read(&self, buffer: &mut [u8], to: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut at = self.at;
        while at < to {
            let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
            patiently(&self.path, || self.file.read_exact_at(&mut buffer[..want], at))?;
            each(&buffer[..want]);
            at += want as u64;
        }
        Ok(())
    }

    /// Takes the space that the file will need: a disk that is too small is known before the bytes come.
    fn reserve(&self, size: u64) -> Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        // In memory, reserving means writing zeros first.
        if size < STEP || self.in_memory {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(error) if error == rustix::io::Errno::NOSPC => Err(self.cannot(&error.into())),
            // Not every filesystem can; then the disk says so when it is full.
            _ => Ok(()),
        }
    }

    /// Where the next byte goes.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Its file, for helpers.
    pub(super) fn file(&self) -> &PartFile {
        self.durable.part()
    }

    /// Whether its disk does not give back all that an earlier pull left.
    pub(super) fn is_less(&self) -> bool {
        self.is_less
    }

    /// The chunks that an earlier pull's helpers wrote.
    pub(super) fn take_recovered(&mut self) -> Vec<Recovered> {
        std::mem::take(&mut self.recovered)
    }

    /// Goes on over what helpers wrote, up to `to`; `false` when it is not what its `digest` says, or does not read.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk cannot be read.
    pub(super) fn take(&mut self, to: u64, digest: Option<Bytes32>) -> Result<bool> {
        let (mut whole, mut chunk) = (self.hasher.clone(), Hasher::sha256());
        let (mut at, mut lines) = (self.at, Vec::new());
        let read = self.read(&mut vec![0; READ], to, |bytes| {
            whole.update(bytes);
            if digest.is_some() {
                chunk.update(bytes);
            }
            at += bytes.len() as u64;
            // As if it had come in its order: what goes bad of it later is a step, and not all of it.
            if at == to || at - lines.last().map_or(self.at, |(last, _)| *last) >= STEP {
                lines.push((at, whole.digest()));
            }
        });
        let does_not_read = match read {
            Err(error) if is_lost(&error) => true,
            read => read.map(|()| false).map_err(|error| self.cannot(&error))?,
        };
        if does_not_read || digest.is_some_and(|digest| chunk.digest() != digest) {
            // As in `resume`.
            let part = self.durable.part();
            let forgotten = part.unless_lost(|| forget_ahead(&self.path, to..u64::MAX));
            forgotten.transpose().map_err(|error| self.cannot(&error))?;
            return Ok(false);
        }
        // What came before it has a line of its own.
        self.record()?;
        (self.hasher, self.at) = (whole, to);
        self.note(&lines)?;
        self.durable.reached(to, self.record_length);
        Ok(true)
    }

    /// Writes and hashes bytes.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses, or refused before; what it has for sure is kept.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let checked = self.durable.check();
        let written = checked.and_then(|()| self.file.write_all_at(bytes, self.at));
        if let Err(error) = written {
            // A server of files may say only now that it has no room for what came before.
            if !self.in_memory && self.file.sync_data().is_err() {
                self.durable.cut_back();
            }
            return Err(self.cannot(&error));
        }
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        let (last, when) = self.recorded;
        if self.at - last >= STEP || when.elapsed() >= OFTEN {
            self.record()?;
        }
        self.durable.reached(self.at, self.record_length);
        Ok(())
    }

    /// Notes how far it is: another pull goes on from here.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses.
    pub(super) fn record(&mut self) -> Result<()> {
        // Behind a gap the record is there already.
        if self.recorded.0 == self.at || self.gap.is_some() {
            return Ok(());
        }
        self.note(&[(self.at, self.hasher.digest())])
    }

    /// Adds these places to the record, the last of which is here.
    fn note(&mut self, lines: &[(u64, Bytes32)]) -> Result<()> {
        let lines: Vec<u8> = lines
            .iter()
            .flat_map(|(at, digest)| write_line(*at, *digest))
            .collect();
        let checked = self.durable.check();
        let written = checked.and_then(|()| self.record.write_all(&lines));
        written.map_err(|error| self.cannot(&error))?;
        self.recorded = (self.at, Instant::now());
        self.record_length += lines.len() as u64;
        Ok(())
    }

    /// Tells other hosts that it is not abandoned.
    pub(super) fn touch(&self) {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
        let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        // By the clock of its filesystem. One that is taken for abandoned is copied, not taken away.
        let now = Timestamps {
            last_access: at(UTIME_OMIT),
            last_modification: at(UTIME_NOW),
        };
        let _ = futimens(&self.file, &now);
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses.
    pub(super) fn restart(&mut self, entry: &Entry) -> Result<()> {
        self.hasher = Hasher::new(&entry.oid, entry.size);
        self.at = 0;
        self.durable.begin(Kept::default());
        self.recorded = (0, Instant::now());
        self.record_length = 0;
        self.gap = None;
        self.beyond.clear();
        self.recovered.clear();
        let _ = std::fs::remove_file(ahead_of(&self.path));
        let emptied = self
            .file
            .set_len(0)
            .and_then(|()| self.record.set_len(0))
            .and_then(|()| io::Seek::rewind(&mut self.record));
        emptied.map_err(|error| self.cannot(&error))?;
        self.reserve(entry.size)
    }

    /// The hash of what is there, in hex.
    pub(super) fn hex(&self) -> String {
        self.hasher.clone().hex()
    }

    /// Gives a proven part its name: sync, rename, sync of the directory. Returns what it looks like under its name;
    /// `None` when that is not what was hashed any more.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses, or something else writes to the part; then nothing has the name.
    pub(super) fn publish(mut self, place: &Path, records: &Path) -> Result<Option<Look>> {
        self.record()?;
        let failed = || format!("cannot write `{}`", place.display());
        if self.file.metadata().at(Kind::Host, failed)?.len() < self.at {
            return Err(taken(&self.path));
        }
        self.file
            .set_permissions(Permissions::from_mode(0o644))
            .at(Kind::Host, failed)?;
        self.file.set_len(self.at).at(Kind::Host, failed)?;
        let synced = self.file.sync_all();
        // One that fails now must not cut back what has its name already.
        self.durable.settle();
        if let Err(error) = synced.and_then(|()| self.durable.check()) {
            self.durable.cut_back();
            return Err(error).at(Kind::Host, failed);
        }
        let proven = self.look().at(Kind::Host, failed)?;
        // Nobody else gives a part another name; if one did all the same, what has this one was not hashed here.
        if !files::is_at(&self.file, &self.path) {
            return Err(taken(&self.path));
        }
        std::fs::rename(&self.path, place).at(Kind::Host, failed)?;
        let look = Look::at(place).filter(|look| look.has_bytes_of(&proven));
        let record = record_of(&self.path);
        let _ = std::fs::remove_file(ahead_of(&self.path));
        // For a repair some day; a pull is right without it.
        if self.at <= STEP || std::fs::rename(&record, records).is_err() {
            let _ = std::fs::remove_file(&record);
        }
        sync_dir(place.parent().unwrap_or(place))?;
        Ok(look)
    }

    fn look(&self) -> io::Result<Look> {
        Look::of(&self.file.metadata()?).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn cannot(&self, error: &io::Error) -> Error {
        cannot(&self.path, error)
    }
}

/// What a disk gives when it is asked more than once. That something is lost is said by one that answers otherwise: a
/// server of files that is away has lost nothing.
fn patiently<T>(path: &Path, mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for again in 0..ASKED_AGAIN {
        match ask() {
            Err(error) if is_lost(&error) => std::thread::sleep(ASK_AGAIN * 2_u32.pow(again)),
            answer => return answer,
        }
    }
    match probe(path) {
        // It was asked, and has no room.
        Err(error) if !owner::is_full(&error) => {
            Err(io::Error::other(format!("its disk does not answer: {error}")))
        }
        _ => ask(),
    }
}

/// Something else has the part, or writes to it.
fn taken(path: &Path) -> Error {
    Error::new(
        Kind::Host,
        format!("`{}` is not what was written to it", path.display()),
    )
    .cause("another process took it")
    .hint("end other pulls of the repository, on other hosts too, then pull again")
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    let report =
        Error::new(Kind::Host, format!("cannot write `{}`", path.display())).cause(error.to_string());
    if owner::is_full(error) {
        report.hint("free some space and pull again: what is here is kept")
    } else {
        report
    }
}

impl Drop for Part {
    /// An interrupted pull goes on from here.
    fn drop(&mut self) {
        let _ = self.record();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::owner::{here, started};
    use super::*;
    use crate::effects::hub::listing::Oid;
    use crate::effects::hub::space::{elsewhere, missing_bytes};

    pub(super) fn cache() -> (tempfile::TempDir, RepoCache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(dir.path(), "a/b");
        cache.prepare().unwrap();
        (dir, cache)
    }

    pub(super) fn entry(bytes: &[u8]) -> Entry {
        let mut hasher = Hasher::new(&Oid::Sha256(String::new()), 0);
        hasher.update(bytes);
        Entry {
            path: "x".to_owned(),
            size: bytes.len() as u64,
            oid: Oid::Sha256(hasher.hex()),
            xet: None,
        }
    }

    pub(super) fn noise(count: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..count).map(next).collect()
    }

    #[tokio::test]
    async fn what_the_record_does_not_prove_is_not_taken() {
        let (_dir, cache) = cache();
        let bytes = noise(11 << 20);
        let entry = entry(&bytes);
        let mut part = Part::open(&cache, &entry).unwrap();
        for chunk in bytes[..10 << 20].chunks(300_000) {
            part.write(chunk).unwrap();
        }
        let path = part.path.clone();
        drop(part);
        // A kill: up to a step is lost.
        let places: Vec<u64> = read_record(&record_of(&path))
            .unwrap()
            .iter()
            .map(|line| line.0)
            .collect();
        let part = Part::open(&cache, &entry).unwrap();
        assert_eq!(Some(part.at()), places.last().copied());
        assert!((10 << 20) - part.at() < STEP + 300_000);
        drop(part);
        // A disk that lost some of the middle: what lies behind is still right.
        let at = |place: u64| usize::try_from(place).unwrap();
        let come = |part: &mut Part, first: u8| {
            let mut come = bytes[at(places[0])..at(places[1])].to_vec();
            come[0] ^= first;
            part.write(&come).unwrap();
            // A kill before the end of a gap leaves the record as it is.
            assert_eq!(read_record(&record_of(&path)).unwrap().len(), places.len());
            part.pass_gap().unwrap()
        };
        // What comes wrong is asked for once more.
        for firsts in [&[1, 0][..], &[1, 1], &[0]] {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[0; 4096], places[0] + 1).unwrap();
            let mut part = Part::open(&cache, &entry).unwrap();
            for (time, first) in firsts.iter().enumerate() {
                assert_eq!((part.at(), part.gap()), (places[0], Some(places[1])));
                assert_eq!(come(&mut part, *first), *first == 0 || time == 0);
            }
            if firsts.ends_with(&[0]) {
                assert_eq!((Some(part.at()), part.gap()), (places.last().copied(), None));
            }
        }
        let mut part = Part::open(&cache, &entry).unwrap();
        part.write(&bytes[at(part.at())..]).unwrap();
        assert_eq!(part.hex(), entry.oid.hex());
        part.publish(&cache.place(&entry), &cache.record(&entry)).unwrap();
        assert_eq!(std::fs::read(cache.place(&entry)).unwrap(), bytes);
        assert_eq!(parts(&cache.parts()).count(), 0);
        let lines = read_record(&cache.record(&entry)).unwrap();
        assert_eq!(
            (lines.len(), lines.last().unwrap().0),
            (places.len() + 1, entry.size)
        );
    }

    /// What goes bad later costs a step, whoever brought it.
    #[tokio::test]
    async fn the_record_of_what_a_helper_wrote_has_its_steps() {
        let (_dir, cache) = cache();
        let bytes = noise(14 << 20);
        let entry = entry(&bytes);
        let mut part = Part::open(&cache, &entry).unwrap();
        part.write(&bytes[..1 << 20]).unwrap();
        let mut chunk = PartChunk::open(part.file(), 1 << 20).unwrap();
        chunk.write(&bytes[1 << 20..]).unwrap();
        chunk.finish().unwrap();
        assert!(part.take(entry.size, None).unwrap());
        let lines = read_record(&record_of(&part.path)).unwrap();
        let mib: Vec<u64> = lines.iter().map(|(place, _)| place >> 20).collect();
        assert_eq!(mib, [1, 5, 9, 13, 14]);
        drop(part);
        assert_eq!(Part::open(&cache, &entry).unwrap().at(), entry.size);
    }

    /// What is in its place and wrong is better than a part of which less is there, and stays until a right one comes.
    #[tokio::test]
    async fn a_damaged_file_is_gone_on_from_where_it_is_right() {
        let (_dir, cache) = cache();
        let bytes = noise(21 << 20);
        let entry = entry(&bytes);
        let place = cache.place(&entry);
        let mut part = Part::open(&cache, &entry).unwrap();
        for mib in bytes.chunks(1 << 20) {
            part.write(mib).unwrap();
        }
        part.publish(&place, &cache.record(&entry)).unwrap();
        let file = OpenOptions::new().write(true).open(&place).unwrap();
        file.write_all_at(&[0; 4096], 9 << 20).unwrap();
        let part = Part::open(&cache, &entry).unwrap();
        assert_eq!((part.at(), part.gap()), (8 << 20, Some(12 << 20)));
        assert_eq!(std::fs::read(&place).unwrap().len(), bytes.len());
        let path = part.path.clone();
        drop(part);
        // What was mended of it is gone on from, and not begun anew.
        let before = File::open(&path).unwrap();
        drop(Part::open(&cache, &entry).unwrap());
        assert!(files::is_at(&before, &path));
        remove(&path).unwrap();
        // A record that is of another file says nothing.
        std::fs::write(cache.record(&entry), write_line(4 << 20, [1; 32])).unwrap();
        let part = Part::open(&cache, &entry).unwrap();
        assert_eq!((part.at(), part.gap()), (0, None));
    }

    /// A part of `entry` with these bytes, as another host left it so long ago.
    fn left_elsewhere(cache: &RepoCache, entry: &Entry, host: &str, bytes: &[u8], ago: Duration) -> PathBuf {
        // In another cache, where nobody left anything.
        let (_dir, own) = self::cache();
        let mut part = Part::open(&own, entry).unwrap();
        part.write(bytes).unwrap();
        let path = part.path.clone();
        drop(part);
        let far = cache.parts().join(format!("{}.{host}.7-7.part", entry.oid.hex()));
        std::fs::rename(record_of(&path), record_of(&far)).unwrap();
        std::fs::rename(&path, &far).unwrap();
        let open = OpenOptions::new().write(true).open(&far).unwrap();
        open.set_modified(SystemTime::now() - ago).unwrap();
        far
    }

    /// Another host may wake up and go on writing to what it has open.
    #[tokio::test]
    async fn what_another_host_abandoned_is_copied_and_left_to_it() {
        let (_dir, cache) = cache();
        let bytes = noise(9 << 20);
        let entry = entry(&bytes);
        let far = left_elsewhere(&cache, &entry, "elsewhere", &bytes[..8 << 20], 2 * ABANDONED);
        let open = OpenOptions::new().write(true).open(&far).unwrap();
        let mut part = Part::open(&cache, &entry).unwrap();
        assert_eq!((part.at(), part.path == far), (8 << 20, false));
        assert!(far.exists());
        part.write(&bytes[8 << 20..]).unwrap();
        let place = cache.place(&entry);
        part.publish(&place, &cache.record(&entry)).unwrap();
        open.set_len(5).unwrap();
        assert_eq!(std::fs::read(place).unwrap(), bytes);
    }

    /// Space is reserved, and helpers write at the far end: neither is copied for the holes that it leaves.
    #[tokio::test]
    async fn a_copy_takes_no_more_than_what_is_proven() {
        const SIZE: u64 = 1 << 30;
        let (_dir, cache) = cache();
        let bytes = noise(8 << 20);
        let entry = Entry {
            size: SIZE,
            ..entry(&bytes)
        };
        let far = left_elsewhere(&cache, &entry, "elsewhere", &bytes, 2 * ABANDONED);
        let mut chunk = PartChunk::open(&PartFile::new(&far), SIZE - (4 << 20)).unwrap();
        chunk.write(&bytes[..4 << 20]).unwrap();
        chunk.finish().unwrap();
        let open = OpenOptions::new().write(true).open(&far).unwrap();
        open.set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        let ours = adopt(&cache, &entry).unwrap();
        let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap()) * 512;
        assert_eq!((kept(&ours), kept(&far)), (12 << 20, 12 << 20));
        assert!(blocks(&ours) < 16 << 20, "{} of {}", blocks(&ours), blocks(&far));
        let mut part = Part::open(&cache, &entry).unwrap();
        assert_eq!(part.at(), 8 << 20);
        let [(from, to, _)] = part.take_recovered()[..] else {
            panic!("the chunk is lost");
        };
        assert_eq!((from, to), (SIZE - (4 << 20), SIZE));
    }

    /// Hosts come and go: what they leave does not grow, and what is still good for something stays.
    #[tokio::test]
    async fn what_other_hosts_left_long_ago_is_removed() {
        let (_dir, cache) = cache();
        let bytes = noise(9 << 20);
        let entry = entry(&bytes);
        let left =
            |host: &str, mib: usize, ago| left_elsewhere(&cache, &entry, host, &bytes[..mib << 20], ago);
        let day = Duration::from_hours(24);
        let (best, other) = (left("best", 8, day), left("other", 5, day));
        let young = left("young", 4, 2 * ABANDONED);
        let busy = left("busy", 4, Duration::ZERO);
        let part = Part::open(&cache, &entry).unwrap();
        assert_eq!(part.at(), 8 << 20);
        assert_eq!(
            [best, other, young, busy].map(|path| path.exists()),
            [false, false, true, true]
        );
        assert_eq!(parts(&cache.parts()).count(), 3);
    }

    /// Room for a copy is needed anew; what was begun here is written on.
    #[tokio::test]
    async fn what_another_host_has_is_not_here() {
        let (_dir, cache) = cache();
        let bytes = noise(9 << 20);
        let entry = entry(&bytes);
        let entries = std::slice::from_ref(&entry);
        left_elsewhere(&cache, &entry, "elsewhere", &bytes[..8 << 20], 2 * ABANDONED);
        assert_eq!(missing_bytes(&cache, entries), 9 << 20);
        assert!(elsewhere(&cache) >= 8 << 20);
        let alone = cache.clone().alone(true);
        assert!(missing_bytes(&alone, entries) <= 1 << 20);
        assert_eq!(elsewhere(&alone), 0);
        drop(Part::open(&cache, &entry).unwrap());
        assert_eq!(missing_bytes(&cache, entries), 0, "its space is reserved");
    }

    /// Whoever may write there must not hold up every pull that comes.
    #[tokio::test]
    async fn a_part_with_a_link_beside_it_is_passed_over() {
        for beside in ["record", "ahead"] {
            let (dir, cache) = cache();
            let entry = entry(&noise(100));
            let orphan = cache
                .parts()
                .join(format!("{}.{}.1-1.part", entry.oid.hex(), here()));
            std::fs::write(&orphan, b"x").unwrap();
            std::os::unix::fs::symlink(dir.path().join("elsewhere"), orphan.with_extension(beside)).unwrap();
            let part = Part::open(&cache, &entry).unwrap();
            assert!(part.path.exists() && orphan.exists(), "{beside}");
            assert!(!dir.path().join("elsewhere").exists(), "{beside}");
        }
    }

    #[tokio::test]
    async fn a_part_of_a_process_that_lives_is_left_alone() {
        let (_dir, cache) = cache();
        let entry = entry(&noise(100));
        let init = format!("{}.{}.1-{}.part", entry.oid.hex(), here(), started(1).unwrap());
        let gone = format!("{}.{}.1-1.part", entry.oid.hex(), here());
        let far = format!("{}.elsewhere.7-7.part", entry.oid.hex());
        for name in [&init, &gone, &far] {
            std::fs::write(cache.parts().join(name), b"x").unwrap();
        }
        let part = Part::open(&cache, &entry).unwrap();
        assert_eq!(part.at(), 0, "no record proves the byte");
        assert!(part.path.exists() && !cache.parts().join(gone).exists());
        assert!(cache.parts().join(init).exists() && cache.parts().join(far).exists());
    }
}
