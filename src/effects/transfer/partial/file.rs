//! A partial file: its bytes, its journal, and the corrupt ranges in it.
//!
//! A corrupt range is a byte range that fails verification: damage in a finished file that is being repaired,
//! or a hole in a partial file whose disk lost data. Each journal line holds the hash of the whole prefix, so
//! the first line behind a corrupt range verifies the bytes that are fetched for it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::adopt::adopt;
use super::disk::{is_full, retry_io, unshare};
use super::durable::{BackgroundSync, PartialHandle, Synced};
use super::journal::{
    LINE_BYTES, chunk_list_of, drop_chunks, journal_of, parse_journal, read_chunks, write_line,
};
use super::lease::remove_partial_file;
use crate::effects::files;
use crate::effects::hub::limits::Limits;
use crate::effects::hub::listing::Entry;
use crate::effects::store::fingerprint::Fingerprint;
use crate::effects::store::hash::{Bytes32, Hasher, is_data_loss, is_failed_sync, sync_data};
use crate::effects::store::layout::{RepoCache, sync_dir};
use crate::effects::transfer::chunks::RecoveredChunk;
use crate::error::{At, Error, Kind, Result};

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;
/// Largest block that a disk or a filesystem reads as a unit.
const LARGEST_BLOCK: u64 = 64 << 10;

/// A range to fetch before the journal can verify more.
pub(in crate::effects) struct CorruptRange {
    from: u64,
    to: u64,
    /// Hash of all bytes before the range.
    before: Hasher,
    /// True if it was fetched once, and failed again.
    was_fetched: bool,
}

/// A partial file.
pub(in crate::effects) struct PartialFile {
    path: PathBuf,
    limits: Limits,
    file: File,
    journal: File,
    /// Length of the journal up to `at`, in bytes.
    journal_length: u64,
    hasher: Hasher,
    at: u64,
    /// The range to fetch before the journal can verify more.
    corrupt_range: Option<CorruptRange>,
    /// Journal lines for offsets behind `at`.
    later_lines: VecDeque<(u64, Bytes32)>,
    /// Start of the current run of consecutive corrupt ranges.
    run_start: u64,
    last_line: (u64, Instant),
    sync: BackgroundSync,
    /// True if it is in memory, where no space is reserved and nothing is synced.
    in_memory: bool,
    recovered: Vec<RecoveredChunk>,
    /// True if data of an earlier pull was lost.
    lost_data: bool,
}

impl PartialFile {
    /// Opens the partial file of `entry`, with the bytes of an earlier pull that its journal verifies.
    ///
    /// # Errors
    /// [`Kind::Host`] if the disk fails or is too small.
    pub(in crate::effects) fn open(cache: &RepoCache, entry: &Entry) -> Result<Self> {
        let adopted = || adopt(cache, entry).map_err(|error| cannot(&cache.private_dir(), &error));
        let path = adopted()?;
        let failed = || format!("cannot write `{}`", path.display());
        let partial = match Self::resumed(&path, entry, cache.limits()) {
            Err(error) if is_data_loss(&error) => {
                // Nothing tells which of its data is readable, and it would stop every pull. It is removed and
                // started over.
                remove_partial_file(&path).at(Kind::Host, failed)?;
                Self::resumed(&adopted()?, entry, cache.limits()).map(|mut partial| {
                    partial.lost_data = true;
                    partial
                })
            }
            partial => partial,
        };
        let partial = partial.at(Kind::Host, failed)?;
        partial.reserve(entry.size)?;
        Ok(partial)
    }

    fn resumed(path: &Path, entry: &Entry, limits: &Limits) -> io::Result<Self> {
        // Only the owner may write to it. Others may read it after it was verified.
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true);
            options.mode(0o600).custom_flags(files::no_follow());
            retry_io(path, limits.io_retry, || files::open_by(&options, path))
        };
        let file = open(path)?;
        let journal = journal_of(path);
        retry_io(path, limits.io_retry, || unshare(&journal))?;
        let journal = open(&journal)?;
        let in_memory = rustix::fs::fstatfs(&file).is_ok_and(|at| at.f_type == TMPFS);
        let mut partial = Self {
            hasher: Hasher::new(&entry.oid, entry.size),
            at: 0,
            corrupt_range: None,
            later_lines: VecDeque::new(),
            run_start: 0,
            last_line: (0, Instant::now()),
            sync: BackgroundSync::new(PartialHandle::new(path, limits), entry.size, in_memory),
            in_memory,
            recovered: Vec::new(),
            journal_length: 0,
            lost_data: false,
            path: path.to_owned(),
            limits: *limits,
            file,
            journal,
        };
        partial.resume(entry)?;
        Ok(partial)
    }

    /// Reads the data that the journal verifies, and drops the rest.
    fn resume(&mut self, entry: &Entry) -> io::Result<()> {
        let mut lines = Vec::new();
        let length = retry_io(&self.path, self.limits.io_retry, || self.file.metadata())?.len();
        let length = length.min(entry.size);
        retry_io(&self.path, self.limits.io_retry, || {
            lines.clear();
            io::Seek::rewind(&mut self.journal)?;
            // One line per MiB would be plenty; a longer journal is not ours.
            let most = length / 1024 * LINE_BYTES as u64 + 4096;
            (&self.journal).take(most).read_to_end(&mut lines)
        })?;
        if !lines.is_empty() || chunk_list_of(&self.path).exists() {
            // Data written before a kill may be only in memory, and a disk reports a failed write only once.
            match sync_data(&self.file) {
                // Nothing tells how much was lost.
                Err(error) if is_failed_sync(&error) => {
                    lines.clear();
                    files::remove_if_there(&chunk_list_of(&self.path))?;
                    self.sync = BackgroundSync::new(
                        PartialHandle::new(&self.path, &self.limits),
                        entry.size,
                        self.in_memory,
                    );
                    self.lost_data = true;
                }
                kept => kept?,
            }
        }
        self.later_lines = parse_journal(&lines)
            .take_while(|(offset, _)| *offset <= length)
            .collect();
        self.skip_valid_data()?;
        self.run_start = self.at;
        let known = self.later_lines.back().map_or(self.at, |(offset, _)| *offset);
        // Bytes that are fetched now must not be taken for a listed chunk, in case the disk loses them.
        match retry_io(&self.path, self.limits.io_retry, || {
            drop_chunks(&self.path, known..length)
        }) {
            // The list only saves work.
            Err(error) if is_data_loss(&error) => drop(files::remove_if_there(&chunk_list_of(&self.path))),
            forgotten => forgotten?,
        }
        self.recovered = read_chunks(&chunk_list_of(&self.path), known, length);
        let chunks = self.recovered.iter().map(|(_, to, _)| *to);
        let end = chunks.fold(known, u64::max);
        retry_io(&self.path, self.limits.io_retry, || self.file.set_len(end))?;
        if self.corrupt_range.is_none() {
            self.truncate_journal()?;
        }
        self.sync.start_at(Synced {
            at: self.at,
            journal: self.journal_length,
        });
        Ok(())
    }

    /// Reads the bytes from here to `to`, one buffer at a time.
    fn read(&self, buffer: &mut [u8], to: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut at = self.at;
        while at < to {
            let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
            retry_io(&self.path, self.limits.io_retry, || {
                self.file.read_exact_at(&mut buffer[..want], at)
            })?;
            each(&buffer[..want]);
            at += want as u64;
        }
        Ok(())
    }

    /// Reserves the space of the whole file, so that a disk that is too small is noticed before the bytes
    /// arrive.
    fn reserve(&self, size: u64) -> Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        // In memory, reserving would write zeros.
        if size < self.limits.journal_step || self.in_memory {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(error) if error == rustix::io::Errno::NOSPC => Err(self.cannot(&error.into())),
            // Not every filesystem can do this. Then a full disk is noticed during the transfer.
            _ => Ok(()),
        }
    }

    /// Returns the offset of the next byte.
    pub(in crate::effects) fn at(&self) -> u64 {
        self.at
    }

    /// Returns the handle for chunk writers.
    pub(in crate::effects) fn handle(&self) -> &PartialHandle {
        self.sync.handle()
    }

    /// Returns whether data of an earlier pull was lost.
    pub(in crate::effects) fn lost_data(&self) -> bool {
        self.lost_data
    }

    /// Returns the chunks that an earlier pull listed.
    pub(in crate::effects) fn take_recovered(&mut self) -> Vec<RecoveredChunk> {
        std::mem::take(&mut self.recovered)
    }

    /// Hashes data on disk up to `to`, which other workers wrote. Returns `false` if it is unreadable or does
    /// not match `digest`.
    ///
    /// # Errors
    /// [`Kind::Host`] if the disk cannot be read.
    pub(in crate::effects) fn accept_from_disk(&mut self, to: u64, digest: Option<Bytes32>) -> Result<bool> {
        let (mut whole, mut chunk) = (self.hasher.clone(), Hasher::sha256());
        let (mut at, mut lines) = (self.at, Vec::new());
        let read = self.read(&mut vec![0; self.limits.read], to, |bytes| {
            whole.update(bytes);
            if digest.is_some() {
                chunk.update(bytes);
            }
            at += bytes.len() as u64;
            // Lines at the usual distance, so that later damage costs one step and not the whole chunk.
            if at == to || at - lines.last().map_or(self.at, |(last, _)| *last) >= self.limits.journal_step {
                lines.push((at, whole.digest()));
            }
        });
        let is_unreadable = match read {
            Err(error) if is_data_loss(&error) => true,
            read => read.map(|()| false).map_err(|error| self.cannot(&error))?,
        };
        if is_unreadable || digest.is_some_and(|digest| chunk.digest() != digest) {
            // As in `resume`.
            let partial = self.sync.handle();
            let forgotten = partial.if_intact(|| drop_chunks(&self.path, to..u64::MAX));
            forgotten.transpose().map_err(|error| self.cannot(&error))?;
            return Ok(false);
        }
        // The bytes before the chunk get their own line.
        self.write_journal()?;
        (self.hasher, self.at) = (whole, to);
        self.append_lines(&lines)?;
        self.sync.sync_if_due(to, self.journal_length);
        Ok(true)
    }

    /// Writes and hashes bytes.
    ///
    /// # Errors
    /// [`Kind::Host`] if the disk fails or failed before; synced data is kept.
    pub(in crate::effects) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let checked = self.sync.check();
        let written = checked.and_then(|()| self.file.write_all_at(bytes, self.at));
        if let Err(error) = written {
            // A file server may report only now that earlier data found no space.
            if !self.in_memory && self.file.sync_data().is_err() {
                self.sync.cut_back();
            }
            return Err(self.cannot(&error));
        }
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        let (last, when) = self.last_line;
        if self.at - last >= self.limits.journal_step || when.elapsed() >= self.limits.journal_interval {
            self.write_journal()?;
        }
        self.sync.sync_if_due(self.at, self.journal_length);
        Ok(())
    }

    /// Adds a line to the journal, from which another pull can resume.
    ///
    /// # Errors
    /// [`Kind::Host`] if the disk fails.
    pub(in crate::effects) fn write_journal(&mut self) -> Result<()> {
        // Behind a corrupt range the journal has its lines already.
        if self.last_line.0 == self.at || self.corrupt_range.is_some() {
            return Ok(());
        }
        self.append_lines(&[(self.at, self.hasher.digest())])
    }

    /// Appends lines to the journal, the last of which is for the current offset.
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

    /// Updates the modification time, so that other hosts do not take the file for abandoned.
    pub(in crate::effects) fn touch(&self) {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
        let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        // The time comes from the file server. A file that is taken for abandoned by mistake is copied, not
        // moved.
        let now = Timestamps {
            last_access: at(UTIME_OMIT),
            last_modification: at(UTIME_NOW),
        };
        let _ = futimens(&self.file, &now);
    }

    /// Discards all data.
    ///
    /// # Errors
    /// [`Kind::Host`] if the disk fails.
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

    /// Returns the hash of the bytes so far, in hex.
    pub(in crate::effects) fn hex(&self) -> String {
        self.hasher.clone().hex()
    }

    /// Gives a verified partial file its final name: sync, rename, sync of the directory. Returns its
    /// fingerprint under that name; `None` if the file was replaced meanwhile.
    ///
    /// # Errors
    /// [`Kind::Host`] if the disk fails, or if another process writes to the file; then it does not get its
    /// name.
    pub(in crate::effects) fn finish(
        mut self,
        target: &Path,
        journal_path: &Path,
    ) -> Result<Option<Fingerprint>> {
        self.write_journal()?;
        let failed = || format!("cannot write `{}`", target.display());
        if self.file.metadata().at(Kind::Host, failed)?.len() < self.at {
            return Err(taken_error(&self.path));
        }
        self.file
            .set_permissions(Permissions::from_mode(0o644))
            .at(Kind::Host, failed)?;
        self.file.set_len(self.at).at(Kind::Host, failed)?;
        let synced = self.file.sync_all();
        // A sync that fails after the rename must not truncate the finished file.
        self.sync.wait();
        if let Err(error) = synced.and_then(|()| self.sync.check()) {
            self.sync.cut_back();
            return Err(error).at(Kind::Host, failed);
        }
        let hashed = self.fingerprint().at(Kind::Host, failed)?;
        // No other process should rename our partial file. If one did, the file under this name was not hashed
        // here.
        if !files::is_at(&self.file, &self.path) {
            return Err(taken_error(&self.path));
        }
        std::fs::rename(&self.path, target).at(Kind::Host, failed)?;
        let fingerprint = Fingerprint::at(target).filter(|fingerprint| fingerprint.has_same_bytes(&hashed));
        let journal = journal_of(&self.path);
        let _ = std::fs::remove_file(chunk_list_of(&self.path));
        // The journal is kept for a later repair; the pull does not depend on it.
        if self.at <= self.limits.journal_step || std::fs::rename(&journal, journal_path).is_err() {
            let _ = std::fs::remove_file(&journal);
        }
        sync_dir(target.parent().unwrap_or(target))?;
        Ok(fingerprint)
    }

    /// Returns the end of the corrupt range that starts at [`Self::at`] or before; `None` if nothing behind it
    /// is known.
    pub(in crate::effects) fn corrupt_range_end(&self) -> Option<u64> {
        self.corrupt_range.as_ref().map(|corrupt_range| corrupt_range.to)
    }

    /// Skips the valid data behind a corrupt range whose end is reached; or returns to its start once, if the fetched
    /// bytes are wrong. Returns `false` if the rest of the journal is useless.
    ///
    /// # Errors
    /// [`Kind::Host`] if the disk fails.
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
            if corrupt_range.was_fetched {
                // The journal is wrong, or the bytes that arrive are. The hash of the whole file will tell.
                return Ok(false);
            }
            corrupt_range.was_fetched = true;
            (self.at, self.hasher) = (corrupt_range.from, corrupt_range.before.clone());
            return Ok(true);
        }
        while self.later_lines.front().is_some_and(|(offset, _)| *offset <= at) {
            self.pop_line(at);
        }
        self.skip_valid_data().map_err(|error| self.cannot(&error))?;
        if self.at > at {
            self.run_start = self.at;
        }
        if self.corrupt_range.is_some() && self.at - self.run_start >= self.limits.corrupt_run {
            return Ok(false);
        }
        if self.corrupt_range.is_none() {
            self.truncate_journal().map_err(|error| self.cannot(&error))?;
        }
        self.sync.sync_if_due(self.at, self.journal_length);
        Ok(true)
    }

    /// Drops the rest of the journal, so that all following bytes are fetched.
    ///
    /// # Errors
    /// [`Kind::Host`] if the disk fails.
    pub(in crate::effects) fn drop_later_lines(&mut self) -> Result<()> {
        self.corrupt_range = None;
        self.later_lines.clear();
        self.truncate_journal().map_err(|error| self.cannot(&error))
    }

    /// Reads data as far as the journal verifies it. The lines behind that are kept.
    pub(in crate::effects) fn skip_valid_data(&mut self) -> io::Result<()> {
        let (mut buffer, mut is_unreadable) = (vec![0; self.limits.read], false);
        while let Some((offset, digest)) = self.later_lines.front().copied() {
            let mut hasher = self.hasher.clone();
            match self.read(&mut buffer, offset, |bytes| hasher.update(bytes)) {
                // Unreadable data counts as corrupt.
                Err(error) if is_data_loss(&error) => {
                    is_unreadable = true;
                    break;
                }
                read => read?,
            }
            if hasher.digest() != digest {
                break;
            }
            (self.hasher, self.at) = (hasher, offset);
            self.pop_line(offset);
        }
        // Lines of a slow stream are close together. Requesting each range would take longer than fetching up
        // to the next full step.
        let offsets = || self.later_lines.iter().map(|(offset, _)| *offset);
        let end = offsets().find(|offset| offset - self.at >= self.limits.journal_step);
        self.corrupt_range = end.or_else(|| offsets().next_back()).map(|to| CorruptRange {
            from: self.at,
            to,
            before: self.hasher.clone(),
            was_fetched: false,
        });
        if let Some(to) = self.corrupt_range_end().filter(|_| is_unreadable) {
            self.discard_blocks(to);
        }
        Ok(())
    }

    /// Accepts the next journal line: all bytes before `at` are valid.
    fn pop_line(&mut self, at: u64) {
        self.later_lines.pop_front();
        self.journal_length += LINE_BYTES as u64;
        self.last_line = (at, Instant::now());
    }

    /// Frees the blocks from here to `to`. An unreadable block can only be rewritten as a whole.
    fn discard_blocks(&self, to: u64) {
        use rustix::fs::{FallocateFlags, fallocate};
        let punch = |to| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, flags, self.at, to - self.at)
        };
        // A part of an unreadable block cannot be freed either; then the bytes behind it are corrupt, too. Not
        // every filesystem can do this.
        let _ = punch(to).or_else(|_| punch(to.next_multiple_of(LARGEST_BLOCK)));
    }

    /// Truncates the journal here, so that new lines follow.
    pub(in crate::effects) fn truncate_journal(&mut self) -> io::Result<()> {
        retry_io(&self.path, self.limits.io_retry, || {
            self.journal.set_len(self.journal_length)
        })?;
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

/// Returns the error for a partial file that another process moved or writes to.
fn taken_error(path: &Path) -> Error {
    Error::new(
        Kind::Host,
        format!("`{}` was changed by another process", path.display()),
    )
    .cause("another process moved it or wrote to it")
    .hint("stop other pulls of the repository, also on other hosts, and pull again")
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    let report =
        Error::new(Kind::Host, format!("cannot write `{}`", path.display())).cause(error.to_string());
    if is_full(error) {
        report.hint("free some space and pull again: downloaded data is kept")
    } else {
        report
    }
}

impl Drop for PartialFile {
    /// An interrupted pull resumes from here.
    fn drop(&mut self) {
        let _ = self.write_journal();
    }
}

#[cfg(test)]
mod tests;
