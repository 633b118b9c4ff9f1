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
use super::disk::{is_full, retry_io, unshare};
use super::durable::{BackgroundSync, PartialHandle, Synced};
use super::journal::{
    JOURNAL_STEP, LINE_BYTES, chunk_list_of, drop_chunks, journal_of, parse_journal, read_chunks, write_line,
};
use super::lease::remove_partial_file;
use crate::effects::files;
use crate::effects::hub::listing::Entry;
use crate::effects::store::fingerprint::Fingerprint;
use crate::effects::store::hash::{Bytes32, Hasher, is_data_loss, is_failed_sync, sync_data};
use crate::effects::store::layout::{RepoCache, sync_dir};
use crate::effects::transfer::chunks::RecoveredChunk;
use crate::error::{At, Error, Kind, Result};

/// A slow stream is recorded this often.
const JOURNAL_INTERVAL: Duration = Duration::from_secs(1);
/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// Most bytes in a row that are bad where a disk or a copy went wrong: more are another file's.
const MAX_CORRUPT_RUN: u64 = 16 << 20;

/// Largest block of a disk or a filesystem that is read as one.
const LARGEST_BLOCK: u64 = 64 << 10;

/// What is to be fetched before the record says more.
pub(in crate::effects) struct CorruptRange {
    from: u64,
    to: u64,
    /// Of all bytes before it.
    before: Hasher,
    /// It came once, and was not what the record says.
    is_second: bool,
}

/// An unfinished file.
pub(in crate::effects) struct PartialFile {
    path: PathBuf,
    file: File,
    journal: File,
    /// Bytes of the record as far as `at`.
    journal_length: u64,
    hasher: Hasher,
    at: u64,
    /// What is to be fetched before the record says more.
    corrupt_range: Option<CorruptRange>,
    /// What the record says of places behind it.
    later_lines: VecDeque<(u64, Bytes32)>,
    /// Where it begins, or the first of those gaps that follow one another up to it.
    run_start: u64,
    last_line: (u64, Instant),
    sync: BackgroundSync,
    /// In memory, where there is nothing to reserve and nothing to sync.
    in_memory: bool,
    recovered: Vec<RecoveredChunk>,
    /// Not all that an earlier pull left is there any more.
    lost_data: bool,
}

impl PartialFile {
    /// Opens the part of `entry`, with what an earlier pull proved of it.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses or is too small.
    pub(in crate::effects) fn open(cache: &RepoCache, entry: &Entry) -> Result<Self> {
        let adopted = || adopt(cache, entry).map_err(|error| cannot(&cache.private_dir(), &error));
        let path = adopted()?;
        let failed = || format!("cannot write `{}`", path.display());
        let part = match Self::resumed(&path, entry) {
            Err(error) if is_data_loss(&error) => {
                // Nothing tells what its disk has of it, and it would stop every pull: it begins anew.
                remove_partial_file(&path).at(Kind::Host, failed)?;
                Self::resumed(&adopted()?, entry).map(|mut part| {
                    part.lost_data = true;
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
            retry_io(path, || files::open_by(&options, path))
        };
        let file = open(path)?;
        let journal = journal_of(path);
        retry_io(path, || unshare(&journal))?;
        let journal = open(&journal)?;
        let in_memory = rustix::fs::fstatfs(&file).is_ok_and(|at| at.f_type == TMPFS);
        let mut part = Self {
            hasher: Hasher::new(&entry.oid, entry.size),
            at: 0,
            corrupt_range: None,
            later_lines: VecDeque::new(),
            run_start: 0,
            last_line: (0, Instant::now()),
            sync: BackgroundSync::new(PartialHandle::new(path), entry.size, in_memory),
            in_memory,
            recovered: Vec::new(),
            journal_length: 0,
            lost_data: false,
            path: path.to_owned(),
            file,
            journal,
        };
        part.resume(entry)?;
        Ok(part)
    }

    /// Reads what is there as far as the record proves it, and forgets what it says nothing of.
    fn resume(&mut self, entry: &Entry) -> io::Result<()> {
        let mut lines = Vec::new();
        let length = retry_io(&self.path, || self.file.metadata())?.len();
        let length = length.min(entry.size);
        retry_io(&self.path, || {
            lines.clear();
            io::Seek::rewind(&mut self.journal)?;
            // One line for each MiB would be plenty: more is not of our making.
            let most = length / 1024 * LINE_BYTES as u64 + 4096;
            (&self.journal).take(most).read_to_end(&mut lines)
        })?;
        if !lines.is_empty() || chunk_list_of(&self.path).exists() {
            // What was written before a kill may be in memory only, and a disk says once that it did not take it.
            match sync_data(&self.file) {
                // Nothing tells how much of it that is.
                Err(error) if is_failed_sync(&error) => {
                    lines.clear();
                    files::remove_if_there(&chunk_list_of(&self.path))?;
                    self.sync =
                        BackgroundSync::new(PartialHandle::new(&self.path), entry.size, self.in_memory);
                    self.lost_data = true;
                }
                kept => kept?,
            }
        }
        self.later_lines = parse_journal(&lines)
            .take_while(|(place, _)| *place <= length)
            .collect();
        self.skip_valid_data()?;
        self.run_start = self.at;
        let known = self.later_lines.back().map_or(self.at, |(place, _)| *place);
        // What comes anew is not taken for what a helper wrote there once, should the disk not keep it.
        match retry_io(&self.path, || drop_chunks(&self.path, known..length)) {
            // It saves work, and no more.
            Err(error) if is_data_loss(&error) => drop(files::remove_if_there(&chunk_list_of(&self.path))),
            forgotten => forgotten?,
        }
        self.recovered = read_chunks(&chunk_list_of(&self.path), known, length);
        let chunks = self.recovered.iter().map(|(_, to, _)| *to);
        let end = chunks.fold(known, u64::max);
        retry_io(&self.path, || self.file.set_len(end))?;
        if self.corrupt_range.is_none() {
            self.truncate_journal()?;
        }
        self.sync.start_at(Synced {
            at: self.at,
            record: self.journal_length,
        });
        Ok(())
    }

    /// Reads what lies between here and `to`, a buffer at a time.
    fn read(&self, buffer: &mut [u8], to: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut at = self.at;
        while at < to {
            let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
            retry_io(&self.path, || self.file.read_exact_at(&mut buffer[..want], at))?;
            each(&buffer[..want]);
            at += want as u64;
        }
        Ok(())
    }

    /// Takes the space that the file will need: a disk that is too small is known before the bytes come.
    fn reserve(&self, size: u64) -> Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        // In memory, reserving means writing zeros first.
        if size < JOURNAL_STEP || self.in_memory {
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
    pub(in crate::effects) fn handle(&self) -> &PartialHandle {
        self.sync.handle()
    }

    /// Whether its disk does not give back all that an earlier pull left.
    pub(in crate::effects) fn lost_data(&self) -> bool {
        self.lost_data
    }

    /// The chunks that an earlier pull's helpers wrote.
    pub(in crate::effects) fn take_recovered(&mut self) -> Vec<RecoveredChunk> {
        std::mem::take(&mut self.recovered)
    }

    /// Goes on over what helpers wrote, up to `to`; `false` when it is not what its `digest` says, or does not read.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk cannot be read.
    pub(in crate::effects) fn accept_from_disk(&mut self, to: u64, digest: Option<Bytes32>) -> Result<bool> {
        let (mut whole, mut chunk) = (self.hasher.clone(), Hasher::sha256());
        let (mut at, mut lines) = (self.at, Vec::new());
        let read = self.read(&mut vec![0; READ_BYTES], to, |bytes| {
            whole.update(bytes);
            if digest.is_some() {
                chunk.update(bytes);
            }
            at += bytes.len() as u64;
            // As if it had come in its order: what goes bad of it later is a step, and not all of it.
            if at == to || at - lines.last().map_or(self.at, |(last, _)| *last) >= JOURNAL_STEP {
                lines.push((at, whole.digest()));
            }
        });
        let does_not_read = match read {
            Err(error) if is_data_loss(&error) => true,
            read => read.map(|()| false).map_err(|error| self.cannot(&error))?,
        };
        if does_not_read || digest.is_some_and(|digest| chunk.digest() != digest) {
            // As in `resume`.
            let part = self.sync.handle();
            let forgotten = part.if_intact(|| drop_chunks(&self.path, to..u64::MAX));
            forgotten.transpose().map_err(|error| self.cannot(&error))?;
            return Ok(false);
        }
        // What came before it has a line of its own.
        self.write_journal()?;
        (self.hasher, self.at) = (whole, to);
        self.append_lines(&lines)?;
        self.sync.sync_if_due(to, self.journal_length);
        Ok(true)
    }

    /// Writes and hashes bytes.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses, or refused before; what it has for sure is kept.
    pub(in crate::effects) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let checked = self.sync.check();
        let written = checked.and_then(|()| self.file.write_all_at(bytes, self.at));
        if let Err(error) = written {
            // A server of files may say only now that it has no room for what came before.
            if !self.in_memory && self.file.sync_data().is_err() {
                self.sync.cut_back();
            }
            return Err(self.cannot(&error));
        }
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        let (last, when) = self.last_line;
        if self.at - last >= JOURNAL_STEP || when.elapsed() >= JOURNAL_INTERVAL {
            self.write_journal()?;
        }
        self.sync.sync_if_due(self.at, self.journal_length);
        Ok(())
    }

    /// Notes how far it is: another pull goes on from here.
    ///
    /// # Errors
    /// [`Kind::Host`] when the disk refuses.
    pub(in crate::effects) fn write_journal(&mut self) -> Result<()> {
        // Behind a gap the record is there already.
        if self.last_line.0 == self.at || self.corrupt_range.is_some() {
            return Ok(());
        }
        self.append_lines(&[(self.at, self.hasher.digest())])
    }

    /// Adds these places to the record, the last of which is here.
    fn append_lines(&mut self, lines: &[(u64, Bytes32)]) -> Result<()> {
        let lines: Vec<u8> = lines
            .iter()
            .flat_map(|(at, digest)| write_line(*at, *digest))
            .collect();
        let checked = self.sync.check();
        let written = checked.and_then(|()| self.journal.write_all(&lines));
        written.map_err(|error| self.cannot(&error))?;
        self.last_line = (self.at, Instant::now());
        self.journal_length += lines.len() as u64;
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
        self.sync.start_at(Synced::default());
        self.last_line = (0, Instant::now());
        self.journal_length = 0;
        self.corrupt_range = None;
        self.later_lines.clear();
        self.recovered.clear();
        let _ = std::fs::remove_file(chunk_list_of(&self.path));
        let emptied = self
            .file
            .set_len(0)
            .and_then(|()| self.journal.set_len(0))
            .and_then(|()| io::Seek::rewind(&mut self.journal));
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
    pub(in crate::effects) fn finish(
        mut self,
        place: &Path,
        journal_path: &Path,
    ) -> Result<Option<Fingerprint>> {
        self.write_journal()?;
        let failed = || format!("cannot write `{}`", place.display());
        if self.file.metadata().at(Kind::Host, failed)?.len() < self.at {
            return Err(taken_error(&self.path));
        }
        self.file
            .set_permissions(Permissions::from_mode(0o644))
            .at(Kind::Host, failed)?;
        self.file.set_len(self.at).at(Kind::Host, failed)?;
        let synced = self.file.sync_all();
        // One that fails now must not cut back what has its name already.
        self.sync.wait();
        if let Err(error) = synced.and_then(|()| self.sync.check()) {
            self.sync.cut_back();
            return Err(error).at(Kind::Host, failed);
        }
        let proven = self.fingerprint().at(Kind::Host, failed)?;
        // Nobody else gives a part another name; if one did all the same, what has this one was not hashed here.
        if !files::is_at(&self.file, &self.path) {
            return Err(taken_error(&self.path));
        }
        std::fs::rename(&self.path, place).at(Kind::Host, failed)?;
        let fingerprint = Fingerprint::at(place).filter(|fingerprint| fingerprint.has_same_bytes(&proven));
        let journal = journal_of(&self.path);
        let _ = std::fs::remove_file(chunk_list_of(&self.path));
        // For a repair some day; a pull is right without it.
        if self.at <= JOURNAL_STEP || std::fs::rename(&journal, journal_path).is_err() {
            let _ = std::fs::remove_file(&journal);
        }
        sync_dir(place.parent().unwrap_or(place))?;
        Ok(fingerprint)
    }

    /// Where the gap ends that begins at [`Part::at`] or before; `None` where nothing is known of what lies behind.
    pub(in crate::effects) fn corrupt_range_end(&self) -> Option<u64> {
        self.corrupt_range.as_ref().map(|corrupt_range| corrupt_range.to)
    }

    /// At the end of a gap, goes on over what is right behind it, or once back to where it begins when what came is not
    /// right; `false` when what the record says of the rest is of no use.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when the disk refuses.
    pub(in crate::effects) fn pass_corrupt_range(&mut self) -> Result<bool> {
        let at = self.at;
        let Some(corrupt_range) = self
            .corrupt_range
            .as_mut()
            .filter(|corrupt_range| corrupt_range.to == at)
        else {
            return Ok(true);
        };
        let is_line = |line: &&(u64, _)| line.0 == at;
        let digest = self.later_lines.iter().find(is_line).map(|(_, digest)| *digest);
        if digest != Some(self.hasher.digest()) {
            if corrupt_range.is_second {
                // The record is wrong, or all that comes is: the whole file's hash will say.
                return Ok(false);
            }
            corrupt_range.is_second = true;
            (self.at, self.hasher) = (corrupt_range.from, corrupt_range.before.clone());
            return Ok(true);
        }
        while self.later_lines.front().is_some_and(|(place, _)| *place <= at) {
            self.pop_line(at);
        }
        self.skip_valid_data().map_err(|error| self.cannot(&error))?;
        if self.at > at {
            self.run_start = self.at;
        }
        if self.corrupt_range.is_some() && self.at - self.run_start >= MAX_CORRUPT_RUN {
            return Ok(false);
        }
        if self.corrupt_range.is_none() {
            self.truncate_journal().map_err(|error| self.cannot(&error))?;
        }
        self.sync.sync_if_due(self.at, self.journal_length);
        Ok(true)
    }

    /// Goes by the record no more: all that follows is fetched.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] when the disk refuses.
    pub(in crate::effects) fn drop_later_lines(&mut self) -> Result<()> {
        self.corrupt_range = None;
        self.later_lines.clear();
        self.truncate_journal().map_err(|error| self.cannot(&error))
    }

    /// Reads what is here as far as the record proves it. What it says of the rest stays known.
    pub(in crate::effects) fn skip_valid_data(&mut self) -> io::Result<()> {
        let (mut buffer, mut does_not_read) = (vec![0; READ_BYTES], false);
        while let Some((place, digest)) = self.later_lines.front().copied() {
            let mut hasher = self.hasher.clone();
            match self.read(&mut buffer, place, |bytes| hasher.update(bytes)) {
                // What does not read is bad.
                Err(error) if is_data_loss(&error) => {
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
        let places = || self.later_lines.iter().map(|(place, _)| *place);
        let end = places().find(|place| place - self.at >= JOURNAL_STEP);
        self.corrupt_range = end.or_else(|| places().next_back()).map(|to| CorruptRange {
            from: self.at,
            to,
            before: self.hasher.clone(),
            is_second: false,
        });
        if let Some(to) = self.corrupt_range_end().filter(|_| does_not_read) {
            self.discard_blocks(to);
        }
        Ok(())
    }

    /// The next line of the record is right, as is all that lies before `at`.
    fn pop_line(&mut self, at: u64) {
        self.later_lines.pop_front();
        self.journal_length += LINE_BYTES as u64;
        self.last_line = (at, Instant::now());
    }

    /// Gives the blocks between here and `to` back to the disk: one that does not read is not written to, either, unless
    /// all of it is at once.
    fn discard_blocks(&self, to: u64) {
        use rustix::fs::{FallocateFlags, fallocate};
        let punch = |to| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, flags, self.at, to - self.at)
        };
        // Of a block that does not read a part cannot be given back, either: what follows in it is then bad, too. Not every
        // filesystem can.
        let _ = punch(to).or_else(|_| punch(to.next_multiple_of(LARGEST_BLOCK)));
    }

    /// From here on the record is written again.
    pub(in crate::effects) fn truncate_journal(&mut self) -> io::Result<()> {
        retry_io(&self.path, || self.journal.set_len(self.journal_length))?;
        io::Seek::seek(&mut self.journal, io::SeekFrom::Start(self.journal_length))?;
        Ok(())
    }

    fn fingerprint(&self) -> io::Result<Fingerprint> {
        Fingerprint::of(&self.file.metadata()?).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn cannot(&self, error: &io::Error) -> Error {
        cannot(&self.path, error)
    }
}

/// Something else has the part, or writes to it.
fn taken_error(path: &Path) -> Error {
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

impl Drop for PartialFile {
    /// An interrupted pull goes on from here.
    fn drop(&mut self) {
        let _ = self.write_journal();
    }
}

#[cfg(test)]
mod tests;
