//! Whose a part is, and how one that lost its owner goes on.
//!
//! Not in this module: what is in it (the parent, `record`).

use std::collections::hash_map::RandomState;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use sha2::{Digest, Sha256};

use super::super::cache::{RepoCache, TEMPORARY};
use super::super::hash::is_lost;
use super::super::listing::Entry;
use super::damaged::Damaged;
use super::patiently;
use super::record::{ahead_of, kept, record_of, told};
use crate::effects::files;
use crate::units::hex;

/// A part of another host that nobody wrote to for this long has lost its owner.
pub(in crate::effects::hub) const ABANDONED: Duration = Duration::from_mins(2);
/// And after so long nobody is expected back: one that lives says so every few seconds, also while it waits.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Bytes copied at a time: so much around a place that does not read is fetched.
const BLOCK: u64 = 1 << 20;

/// This process, as parts name it: where it runs, process id, start time. A process id alone comes back.
pub(in crate::effects::hub) fn owner() -> String {
    let pid = std::process::id();
    format!("{}.{pid}-{}", here(), started(pid).unwrap_or(0))
}

/// Where this process runs, as parts name it: a label for people, this boot of a system, and in it the namespace of
/// process ids and times (a container has its own). Where the system does not tell, it is a place of its own each time,
/// so that nobody is taken for dead whose process id we cannot know.
pub(super) fn here() -> &'static str {
    static HERE: OnceLock<String> = OnceLock::new();
    HERE.get_or_init(|| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let label: String = name.chars().map(plain).take(32).collect();
        let (boot, inside) = place().unwrap_or_else(|| {
            let unknown = RandomState::new().build_hasher().finish().to_string();
            (unknown.clone(), unknown)
        });
        let short = |text: &str| hex(&Sha256::digest(text))[..12].to_owned();
        format!("{label}-{}-{}", short(&boot), short(&format!("{name}\n{inside}")))
    })
}

/// This boot, and the namespaces in which a process id and a start time mean something (`random(4)`,
/// `pid_namespaces(7)`, `time_namespaces(7)`); `None` where `/proc` is not there, or that of another namespace.
fn place() -> Option<(String, String)> {
    let own = std::fs::read_link("/proc/self").ok()?;
    if own.to_str()?.parse() != Ok(std::process::id()) {
        return None;
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}"));
    let processes = space("pid").ok()?;
    // Systems before Linux 5.6 have no namespaces of time.
    let times = space("time").unwrap_or_default();
    Some((
        boot.trim().to_owned(),
        format!("{}\n{}", processes.display(), times.display()),
    ))
}

/// Whether `on` is a place of this boot of this system: a lock here keeps whoever runs there out too.
fn is_of_this_boot(on: &str) -> bool {
    let boot = |place: &str| {
        let (rest, _) = place.rsplit_once('-')?;
        Some(rest.rsplit_once('-')?.1.to_owned())
    };
    boot(on).is_some_and(|found| boot(here()) == Some(found))
}

/// Start time of a process in clock ticks since boot (`proc(5)`, field 22).
pub(super) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether the process `PID-START` of here lives. Another user's may be hidden (`hidepid` of `proc(5)`): it lives.
fn lives(process: &str) -> bool {
    let parsed = process
        .split_once('-')
        .and_then(|(pid, start)| Some((pid.parse::<i32>().ok()?, start.parse::<u64>().ok()?)));
    let Some((pid, start)) = parsed else {
        return false;
    };
    let Some(id) = Pid::from_raw(pid).filter(|_| pid > 0) else {
        return false;
    };
    if test_kill_process(id) == Err(Errno::SRCH) {
        return false;
    }
    started(pid.unsigned_abs()).is_none_or(|found| found == start)
}

/// Whether another process, which the part's name tells, still writes to it.
pub(in crate::effects::hub) fn is_owned(cache: &RepoCache, name: &str, path: &Path) -> bool {
    let Some((on, process)) = name.rsplit_once('.') else {
        return false;
    };
    if on == here() {
        return name != owner() && lives(process);
    }
    // Another name of this host: a container has one of its own each time.
    if cache.is_alone() {
        return false;
    }
    path.exists() && !is_older(path, ABANDONED)
}

/// Where our part of `entry` is; one that lost its owner is taken over, first that of which most is proven. A rename has
/// one winner. What another host may still have open is copied instead, and stays for a while: whoever wakes up late
/// writes to a file of its own, and not to bytes that were hashed here already.
///
/// # Errors
/// That of a full disk, or of one that cannot be written to now; it then lost nothing of what is there. Whatever else is in
/// the way of one costs only that one.
pub(super) fn adopt(cache: &RepoCache, entry: &Entry) -> io::Result<PathBuf> {
    let dir = cache.parts();
    let ours = dir.join(format!("{}.{}.part", entry.oid.hex(), owner()));
    if ours.exists() {
        return Ok(ours);
    }
    let orphans = orphans(cache, entry)?;
    let most = orphans.first().map_or(0, |orphan| orphan.kept);
    let damaged = Damaged::find(cache, entry).filter(|damaged| damaged.is_better(most));
    // Another made it right meanwhile, or took it away; or there is no room for a copy of it, and a part of which there is
    // less.
    let has_other = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound || (is_full(error) && !orphans.is_empty())
    };
    let needless = match damaged.map(|damaged| damaged.give(cache, &ours)) {
        Some(Ok(())) => 0,
        Some(Err(error)) if !has_other(&error) => return Err(error),
        _ => begin(&orphans, &ours)?,
    };
    for spare in spares(&orphans, needless) {
        // One that cannot be removed is a matter of room, and not of what is right.
        let _ = remove(&spare.path);
    }
    Ok(ours)
}

/// A part that lost its owner.
struct Orphan {
    /// Bytes of it that are proven.
    kept: u64,
    /// Nobody else can have it open: it may be renamed.
    is_of_here: bool,
    path: PathBuf,
}

impl Orphan {
    /// Gives it to us; `false` when there was nothing to be given.
    fn give(&self, ours: &Path) -> io::Result<bool> {
        if self.is_of_here {
            take(&self.path, ours)
        } else if self.kept > 0 {
            copy(&self.path, ours)
        } else {
            Ok(false)
        }
    }
}

/// The parts of `entry` that lost their owners, best first.
///
/// # Errors
/// That of a disk to which nothing can be written now: what is there is not to be begun anew for it.
fn orphans(cache: &RepoCache, entry: &Entry) -> io::Result<Vec<Orphan>> {
    let mut lost: Vec<_> = parts(&cache.parts())
        .filter(|(oid, owner, path)| oid == entry.oid.hex() && !is_owned(cache, owner, path))
        .collect();
    if let Some((_, _, path)) = lost.first() {
        let us = probe(path)?.uid();
        lost.retain(|(_, _, path)| is_ours(path, us));
    }
    let mut orphans: Vec<Orphan> = lost
        .into_iter()
        .map(|(_, owner, path)| Orphan {
            kept: kept(&path),
            is_of_here: is_of_here(cache, &owner, &path)
                && std::fs::symlink_metadata(&path).is_ok_and(|meta| is_private(&meta)),
            path,
        })
        .collect();
    orphans.sort_by(|a, b| (b.kept, b.is_of_here, &b.path).cmp(&(a.kept, a.is_of_here, &a.path)));
    Ok(orphans)
}

/// Whether a part and what lies beside it are files of the user `us`: whoever else may put something there must not lead us
/// elsewhere, nor hold up every pull.
fn is_ours(part: &Path, us: u32) -> bool {
    let is_file = |path: &Path| match std::fs::symlink_metadata(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(meta) => meta.is_file() && meta.uid() == us,
    };
    let is_single = std::fs::symlink_metadata(part).is_ok_and(|meta| meta.nlink() == 1);
    let beside = [record_of(part), ahead_of(part)];
    is_single && is_file(part) && beside.iter().all(|path| is_file(path))
}

/// As [`is_ours`], for whoever has not asked who we are there.
pub(super) fn is_ours_here(part: &Path) -> bool {
    probe(part).is_ok_and(|us| is_ours(part, us.uid()))
}

/// Whether only its owner can write to a file. What others may have open is copied: they must not write into what was
/// hashed. Some volumes give every file to a group (`fsGroup` of Kubernetes), or to all (SMB).
fn is_private(meta: &Metadata) -> bool {
    meta.mode() & 0o022 == 0
}

/// Makes our part of the first orphan that can be had; from which on they are of no use then. Those before could not be had
/// now, and are still good for something.
fn begin(orphans: &[Orphan], ours: &Path) -> io::Result<usize> {
    for (place, orphan) in orphans.iter().enumerate() {
        match orphan.give(ours) {
            Ok(true) => return Ok(place + 1),
            Err(error) if is_full(&error) => return Err(error),
            // Another took it, or its disk does not read: the next one may be better.
            _ => {}
        }
    }
    Ok(orphans.len() + 1)
}

/// The orphans that nobody needs once ours was begun, from `needless` on. What ours was copied from stays with the host
/// that may have it open, and so do its others, until they are forgotten.
fn spares(orphans: &[Orphan], needless: usize) -> impl Iterator<Item = &Orphan> {
    let spare = move |(place, orphan): (usize, &Orphan)| {
        if orphan.is_of_here {
            place >= needless
        } else {
            (place + 1 >= needless || orphan.kept == 0) && is_older(&orphan.path, FORGOTTEN)
        }
    };
    orphans
        .iter()
        .enumerate()
        .filter(move |one| spare(*one))
        .map(|(_, orphan)| orphan)
}

/// Whether there is no room: what was begun is then not given up for another try.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether no process that lives can have a part of this owner open: it ran here, or a lock that keeps everybody out is
/// ours. What another boot left may be that of another system, whose locks a server does not see among its own (NFS):
/// only once it is old is that one surely gone.
pub(in crate::effects::hub) fn is_of_here(cache: &RepoCache, owner: &str, path: &Path) -> bool {
    match owner.rsplit_once('.') {
        Some((on, _)) if on == here() => true,
        Some((on, _)) if is_of_this_boot(on) => cache.is_alone(),
        _ => cache.is_alone() && is_older(path, ABANDONED),
    }
}

/// Whether nobody wrote to a file for so long, by the clock of its filesystem: the server's, where several hosts share
/// one, whatever theirs say.
fn is_older(path: &Path, least: Duration) -> bool {
    age(path).is_some_and(|age| age >= least)
}

/// How long nobody wrote to a file, by that clock.
pub(super) fn age(path: &Path) -> Option<Duration> {
    let changed = std::fs::symlink_metadata(path).and_then(|meta| meta.modified());
    now_beside(path).ok()?.duration_since(changed.ok()?).ok()
}

/// The time that a file gets which is written now, beside another.
fn now_beside(path: &Path) -> io::Result<SystemTime> {
    probe(path)?.modified()
}

/// What a file looks like that we write beside another: its server decides about its time and its owner.
pub(super) fn probe(path: &Path) -> io::Result<Metadata> {
    let probe = path.with_file_name(format!("now.{}.{TEMPORARY}", owner()));
    let options = &mut OpenOptions::new();
    options.create(true).write(true).truncate(true);
    let mut file = files::open_by(options.custom_flags(files::no_follow()), &probe)?;
    let written = file.write_all(b"\n").and_then(|()| file.sync_all());
    let _ = std::fs::remove_file(&probe);
    written.and_then(|()| file.metadata())
}

/// Gives an orphan our name; whether it was there to be given. What lies beside it gets the name first, and keeps its
/// own until then: a kill between must not part them.
fn take(orphan: &Path, ours: &Path) -> io::Result<bool> {
    let taken = give_beside(orphan, ours, link).and_then(|()| std::fs::rename(orphan, ours));
    if taken.is_ok() {
        // Whatever was made of its rights meanwhile: it is written on.
        let _ = std::fs::set_permissions(ours, Permissions::from_mode(0o600));
    }
    let stale = if taken.is_ok() { orphan } else { ours };
    // The record last: what has one is looked for (`tidy`).
    for of in [ahead_of, record_of] {
        let _ = std::fs::remove_file(of(stale));
    }
    found(taken)
}

/// Copies what is proven of an orphan, and what proves it; whether it was there to be copied. Where nothing was written
/// yet nothing is: a part has its space reserved, and may have chunks at its far end.
fn copy(orphan: &Path, ours: &Path) -> io::Result<bool> {
    let copied = give_beside(orphan, ours, copy_anew).and_then(|()| copy_ranges(orphan, ours));
    if copied.is_err() {
        let _ = remove(ours);
    }
    found(copied)
}

/// Whether what was done could be: a file that is gone was another's to take.
fn found(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

fn copy_ranges(from: &Path, to: &Path) -> io::Result<()> {
    // What is told beside the copy: more may be told beside the other meanwhile.
    let from = files::open(from)?;
    let path = to;
    let ranges = told(path, from.metadata()?.len());
    let mut to = create(path)?;
    ranges
        .into_iter()
        .try_for_each(|range| copy_range(&from, &mut to, range, path))
}

/// Copies a range of a file to its place in another, beside `ours`. What does not read stays empty: it is fetched.
pub(super) fn copy_range(
    from: &File,
    to: &mut File,
    (start, end): (u64, u64),
    ours: &Path,
) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let next = end.min(at + BLOCK);
        let copied = patiently(ours, || {
            let mut from = from;
            from.seek(SeekFrom::Start(at))?;
            to.seek(SeekFrom::Start(at))?;
            io::copy(&mut from.take(next - at), to)
        });
        match copied {
            Err(error) if is_lost(&error) => {}
            copied => drop(copied?),
        }
        at = next;
    }
    Ok(())
}

/// Gives what lies beside one part to another.
fn give_beside(from: &Path, to: &Path, give: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    [record_of, ahead_of]
        .iter()
        .try_for_each(|of| give(&of(from), &of(to)))
}

/// A second name for what lies beside a part, which needs no room; a copy where a filesystem has no such thing. What is
/// not there needs none.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(to);
    std::fs::hard_link(from, to).or_else(|_| copy_anew(from, to))
}

/// Copies a file, which is on the disk then; nothing where nothing is.
pub(super) fn copy_anew(from: &Path, to: &Path) -> io::Result<()> {
    match files::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        from => {
            let mut to = create(to)?;
            io::copy(&mut from?, &mut to)?;
            // What it proves may be on the disk soon, and is worth nothing without it.
            to.sync_all()
        }
    }
}

/// Makes a file that has another name too one of its own: what is written to it goes nowhere else.
pub(super) fn unshare(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.nlink() > 1) {
        return Ok(());
    }
    let copy = path.with_extension(TEMPORARY);
    copy_anew(path, &copy)?;
    std::fs::rename(copy, path)
}

/// Makes a file that nobody else can write to, in the place of what has its name: a link there is not followed.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let _ = std::fs::remove_file(path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Removes a part and what lies beside it.
///
/// # Errors
/// That of the part itself, unless it is gone already; then what lies beside it stays too.
pub(in crate::effects::hub) fn remove(part: &Path) -> io::Result<()> {
    files::remove_if_there(part)?;
    // The record last: what has one is looked for (`tidy`).
    for path in [ahead_of(part), record_of(part)] {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// The parts in a directory: hash, owner, path.
pub(in crate::effects::hub) fn parts(dir: &Path) -> impl Iterator<Item = (String, String, PathBuf)> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|item| {
            let name = item.file_name().into_string().ok()?;
            let (oid, owner) = name.strip_suffix(".part")?.split_once('.')?;
            Some((oid.to_owned(), owner.to_owned(), item.path()))
        })
}
