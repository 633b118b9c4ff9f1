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

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::adopt::adopt;
use super::disk::{is_full, patiently, unshare};
use super::durable::{Durable, Kept, PartFile};
use super::journal::{LINE, STEP, ahead_of, forget_ahead, lines_of, read_ahead, record_of, write_line};
use super::lease::remove;
use crate::effects::files;
use crate::effects::hub::listing::Entry;
use crate::effects::store::fingerprint::Look;
use crate::effects::store::hash::{Bytes32, Hasher, is_lost, is_unkept, keep};
use crate::effects::store::layout::{RepoCache, sync_dir};
use crate::effects::transfer::chunks::Recovered;
use crate::error::{At, Error, Kind, Result};

/// A slow stream is recorded this often.
const OFTEN: Duration = Duration::from_secs(1);
/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;
/// Bytes read at a time.
const READ: usize = 256 << 10;
/// Most bytes in a row that are bad where a disk or a copy went wrong: more are another file's.
const MOST_IN_A_ROW: u64 = 16 << 20;

/// Largest block of a disk or a filesystem that is read as one.
const BLOCK: u64 = 64 << 10;

/// What is to be fetched before the record says more.
pub(in crate::effects) struct Gap {
    from: u64,
    to: u64,
    /// Of all bytes before it.
    before: Hasher,
    /// It came once, and was not what the record says.
    is_second: bool,
}

/// An unfinished file.
pub(in crate::effects) struct Part {
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
    pub(in crate::effects) fn open(cache: &RepoCache, entry: &Entry) -> Result<Self> {
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
        patiently(path, || unshare(&record))?;
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
    pub(in crate::effects) fn at(&self) -> u64 {
        self.at
    }

    /// Its file, for helpers.
    pub(in crate::effects) fn file(&self) -> &PartFile {
        self.durable.part()
    }

    /// Whether its disk does not give back all that an earlier pull left.
    pub(in crate::effects) fn is_less(&self) -> bool {
        self.is_less
    }

    /// The chunks that an earlier pull's helpers wrote.
    pub(in crate::effects) fn take_recovered(&mut self) -> Vec<Recovered> {
        std::mem::take(&mut self.recovered)
    }

    /// Goes on over what helpers wrote, up to `to`; `false` when it is not what its `digest` says, or does not read.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk cannot be read.
    pub(in crate::effects) fn take(&mut self, to: u64, digest: Option<Bytes32>) -> Result<bool> {
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
    pub(in crate::effects) fn write(&mut self, bytes: &[u8]) -> Result<()> {
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
    pub(in crate::effects) fn record(&mut self) -> Result<()> {
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
    pub(in crate::effects) fn touch(&self) {
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
    pub(in crate::effects) fn restart(&mut self, entry: &Entry) -> Result<()> {
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
    pub(in crate::effects) fn hex(&self) -> String {
        self.hasher.clone().hex()
    }

    /// Gives a proven part its name: sync, rename, sync of the directory. Returns what it looks like under its name;
    /// `None` when that is not what was hashed any more.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses, or something else writes to the part; then nothing has the name.
    pub(in crate::effects) fn publish(mut self, place: &Path, records: &Path) -> Result<Option<Look>> {
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

    /// Where the gap ends that begins at [`Part::at`] or before; `None` where nothing is known of what lies behind.
    pub(in crate::effects) fn gap(&self) -> Option<u64> {
        self.gap.as_ref().map(|gap| gap.to)
    }

    /// At the end of a gap, goes on over what is right behind it, or once back to where it begins when what came is not
    /// right; `false` when what the record says of the rest is of no use.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when the disk refuses.
    pub(in crate::effects) fn pass_gap(&mut self) -> Result<bool> {
        let at = self.at;
        let Some(gap) = self.gap.as_mut().filter(|gap| gap.to == at) else {
            return Ok(true);
        };
        let is_line = |line: &&(u64, _)| line.0 == at;
        let digest = self.beyond.iter().find(is_line).map(|(_, digest)| *digest);
        if digest != Some(self.hasher.digest()) {
            if gap.is_second {
                // The record is wrong, or all that comes is: the whole file's hash will say.
                return Ok(false);
            }
            gap.is_second = true;
            (self.at, self.hasher) = (gap.from, gap.before.clone());
            return Ok(true);
        }
        while self.beyond.front().is_some_and(|(place, _)| *place <= at) {
            self.pop_line(at);
        }
        self.pass_right().map_err(|error| self.cannot(&error))?;
        if self.at > at {
            self.bad_from = self.at;
        }
        if self.gap.is_some() && self.at - self.bad_from >= MOST_IN_A_ROW {
            return Ok(false);
        }
        if self.gap.is_none() {
            self.close_record().map_err(|error| self.cannot(&error))?;
        }
        self.durable.reached(self.at, self.record_length);
        Ok(true)
    }

    /// Goes by the record no more: all that follows is fetched.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when the disk refuses.
    pub(in crate::effects) fn forget_beyond(&mut self) -> Result<()> {
        self.gap = None;
        self.beyond.clear();
        self.close_record().map_err(|error| self.cannot(&error))
    }

    /// Reads what is here as far as the record proves it. What it says of the rest stays known.
    pub(in crate::effects) fn pass_right(&mut self) -> io::Result<()> {
        let (mut buffer, mut does_not_read) = (vec![0; READ], false);
        while let Some((place, digest)) = self.beyond.front().copied() {
            let mut hasher = self.hasher.clone();
            match self.read(&mut buffer, place, |bytes| hasher.update(bytes)) {
                // What does not read is bad.
                Err(error) if is_lost(&error) => {
                    does_not_read = true;
                    break;
                }
                read => read?,
            }
            if hasher.digest() != digest {
                break;
            }
            (self.hasher, self.at) = (hasher, place);
            self.pop_line(place);
        }
        // Lines of a slow stream lie close: a request for each of them would take longer than what lies between.
        let places = || self.beyond.iter().map(|(place, _)| *place);
        let end = places().find(|place| place - self.at >= STEP);
        self.gap = end.or_else(|| places().next_back()).map(|to| Gap {
            from: self.at,
            to,
            before: self.hasher.clone(),
            is_second: false,
        });
        if let Some(to) = self.gap().filter(|_| does_not_read) {
            self.give_back(to);
        }
        Ok(())
    }

    /// The next line of the record is right, as is all that lies before `at`.
    fn pop_line(&mut self, at: u64) {
        self.beyond.pop_front();
        self.record_length += LINE as u64;
        self.recorded = (at, Instant::now());
    }

    /// Gives the blocks between here and `to` back to the disk: one that does not read is not written to, either, unless
    /// all of it is at once.
    fn give_back(&self, to: u64) {
        use rustix::fs::{FallocateFlags, fallocate};
        let punch = |to| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, flags, self.at, to - self.at)
        };
        // Of a block that does not read a part cannot be given back, either: what follows in it is then bad, too. Not every
        // filesystem can.
        let _ = punch(to).or_else(|_| punch(to.next_multiple_of(BLOCK)));
    }

    /// From here on the record is written again.
    pub(in crate::effects) fn close_record(&mut self) -> io::Result<()> {
        patiently(&self.path, || self.record.set_len(self.record_length))?;
        io::Seek::seek(&mut self.record, io::SeekFrom::Start(self.record_length))?;
        Ok(())
    }

    fn look(&self) -> io::Result<Look> {
        Look::of(&self.file.metadata()?).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn cannot(&self, error: &io::Error) -> Error {
        cannot(&self.path, error)
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
    if is_full(error) {
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
mod tests;
