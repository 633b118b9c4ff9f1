//! Tests of partial files on a real disk: what is resumed, repaired, adopted and removed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::adopt::adopt;
use super::super::chunk_writer::ChunkWriter;
use super::super::durable::{PartialHandle, Synced};
use super::super::journal::{chunk_list_of, journal_of, read_journal, valid_bytes, write_line};
use super::super::lease::{partial_files, remove_partial_file};
use super::PartialFile;
use crate::effects::files;
use crate::effects::hub::limits::Limits;
use crate::effects::hub::listing::{Entry, Oid};
use crate::effects::store::hash::Hasher;
use crate::effects::store::layout::RepoCache;
use crate::effects::store::owner::{location, start_time};
use crate::effects::transfer::space::{missing_bytes, other_hosts_bytes};

fn cache() -> (tempfile::TempDir, RepoCache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = RepoCache::new(dir.path(), "a/b");
    cache.create_dirs().unwrap();
    (dir, cache)
}

fn entry(bytes: &[u8]) -> Entry {
    let mut hasher = Hasher::new(&Oid::Sha256(String::new()), 0);
    hasher.update(bytes);
    Entry {
        path: "x".to_owned(),
        size: bytes.len() as u64,
        oid: Oid::Sha256(hasher.hex()),
        xet: None,
    }
}

fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..count).map(next).collect()
}

#[tokio::test]
async fn only_data_that_the_journal_verifies_is_resumed() {
    let (_dir, cache) = cache();
    let bytes = noise(11 << 20);
    let entry = entry(&bytes);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    for chunk in bytes[..10 << 20].chunks(300_000) {
        partial.write(chunk).unwrap();
    }
    let path = partial.path.clone();
    drop(partial);
    // A kill loses up to one step.
    let places: Vec<u64> = read_journal(&journal_of(&path))
        .unwrap()
        .iter()
        .map(|line| line.0)
        .collect();
    let partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!(Some(partial.at()), places.last().copied());
    assert!((10 << 20) - partial.at() < Limits::DEFAULT.journal_step + 300_000);
    drop(partial);
    // A disk lost data in the middle: what lies behind is still valid.
    let at = |place: u64| usize::try_from(place).unwrap();
    let come = |partial: &mut PartialFile, first: u8| {
        let mut come = bytes[at(places[0])..at(places[1])].to_vec();
        come[0] ^= first;
        partial.write(&come).unwrap();
        // A kill before the end of a corrupt range leaves the journal as it is.
        assert_eq!(read_journal(&journal_of(&path)).unwrap().len(), places.len());
        partial.pass_corrupt_range().unwrap()
    };
    // Wrong bytes are requested once more.
    for firsts in [&[1, 0][..], &[1, 1], &[0]] {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 4096], places[0] + 1).unwrap();
        let mut partial = PartialFile::open(&cache, &entry).unwrap();
        for (time, first) in firsts.iter().enumerate() {
            assert_eq!(
                (partial.at(), partial.corrupt_range_end()),
                (places[0], Some(places[1]))
            );
            assert_eq!(come(&mut partial, *first), *first == 0 || time == 0);
        }
        if firsts.ends_with(&[0]) {
            assert_eq!(
                (Some(partial.at()), partial.corrupt_range_end()),
                (places.last().copied(), None)
            );
        }
    }
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    partial.write(&bytes[at(partial.at())..]).unwrap();
    assert_eq!(partial.hex(), entry.oid.hex());
    partial
        .finish(&cache.file_path(&entry), &cache.journal_path(&entry))
        .unwrap();
    assert_eq!(std::fs::read(cache.file_path(&entry)).unwrap(), bytes);
    assert_eq!(partial_files(&cache.private_dir()).count(), 0);
    let lines = read_journal(&cache.journal_path(&entry)).unwrap();
    assert_eq!(
        (lines.len(), lines.last().unwrap().0),
        (places.len() + 1, entry.size)
    );
}

/// Later damage costs one step, whoever fetched the bytes.
#[tokio::test]
async fn the_journal_of_a_chunk_has_the_usual_steps() {
    let (_dir, cache) = cache();
    let bytes = noise(14 << 20);
    let entry = entry(&bytes);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    partial.write(&bytes[..1 << 20]).unwrap();
    let mut chunk = ChunkWriter::open(partial.handle(), 1 << 20).unwrap();
    chunk.write(&bytes[1 << 20..]).unwrap();
    chunk.finish().unwrap();
    assert!(partial.accept_from_disk(entry.size, None).unwrap());
    let lines = read_journal(&journal_of(&partial.path)).unwrap();
    let mib: Vec<u64> = lines.iter().map(|(place, _)| place >> 20).collect();
    assert_eq!(mib, [1, 5, 9, 13, 14]);
    drop(partial);
    assert_eq!(PartialFile::open(&cache, &entry).unwrap().at(), entry.size);
}

/// A damaged file is preferred to a partial file with less data, and stays until it is replaced.
#[tokio::test]
async fn a_damaged_file_is_repaired_from_its_valid_data() {
    let (_dir, cache) = cache();
    let bytes = noise(21 << 20);
    let entry = entry(&bytes);
    let place = cache.file_path(&entry);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    for mib in bytes.chunks(1 << 20) {
        partial.write(mib).unwrap();
    }
    partial.finish(&place, &cache.journal_path(&entry)).unwrap();
    let file = OpenOptions::new().write(true).open(&place).unwrap();
    file.write_all_at(&[0; 4096], 9 << 20).unwrap();
    let partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!(
        (partial.at(), partial.corrupt_range_end()),
        (8 << 20, Some(12 << 20))
    );
    assert_eq!(std::fs::read(&place).unwrap().len(), bytes.len());
    let path = partial.path.clone();
    drop(partial);
    // A repaired copy is resumed and not started over.
    let before = File::open(&path).unwrap();
    drop(PartialFile::open(&cache, &entry).unwrap());
    assert!(files::is_at(&before, &path));
    remove_partial_file(&path).unwrap();
    // The journal of another file is ignored.
    std::fs::write(cache.journal_path(&entry), write_line(4 << 20, [1; 32])).unwrap();
    let partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!((partial.at(), partial.corrupt_range_end()), (0, None));
}

/// Creates a partial file of `entry` with these bytes, as another host left it some time ago.
fn left_elsewhere(cache: &RepoCache, entry: &Entry, host: &str, bytes: &[u8], ago: Duration) -> PathBuf {
    // In another cache, where there is nothing to adopt.
    let (_dir, own) = self::cache();
    let mut partial = PartialFile::open(&own, entry).unwrap();
    partial.write(bytes).unwrap();
    let path = partial.path.clone();
    drop(partial);
    let far = cache
        .private_dir()
        .join(format!("{}.{host}.7-7.part", entry.oid.hex()));
    std::fs::rename(journal_of(&path), journal_of(&far)).unwrap();
    std::fs::rename(&path, &far).unwrap();
    let open = OpenOptions::new().write(true).open(&far).unwrap();
    open.set_modified(SystemTime::now() - ago).unwrap();
    far
}

/// Another host may wake up and write to the file that it has open.
#[tokio::test]
async fn an_abandoned_file_of_another_host_is_copied_and_stays() {
    let (_dir, cache) = cache();
    let bytes = noise(9 << 20);
    let entry = entry(&bytes);
    let far = left_elsewhere(
        &cache,
        &entry,
        "elsewhere",
        &bytes[..8 << 20],
        2 * Limits::DEFAULT.abandoned,
    );
    let open = OpenOptions::new().write(true).open(&far).unwrap();
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!((partial.at(), partial.path == far), (8 << 20, false));
    assert!(far.exists());
    partial.write(&bytes[8 << 20..]).unwrap();
    let place = cache.file_path(&entry);
    partial.finish(&place, &cache.journal_path(&entry)).unwrap();
    open.set_len(5).unwrap();
    assert_eq!(std::fs::read(place).unwrap(), bytes);
}

/// Space is reserved, and chunks are at the far end: holes are not copied.
#[tokio::test]
async fn a_copy_takes_only_the_space_of_valid_data() {
    const SIZE: u64 = 1 << 30;
    let (_dir, cache) = cache();
    let bytes = noise(8 << 20);
    let entry = Entry {
        size: SIZE,
        ..entry(&bytes)
    };
    let far = left_elsewhere(&cache, &entry, "elsewhere", &bytes, 2 * Limits::DEFAULT.abandoned);
    let mut chunk = ChunkWriter::open(&PartialHandle::new(&far, cache.limits()), SIZE - (4 << 20)).unwrap();
    chunk.write(&bytes[..4 << 20]).unwrap();
    chunk.finish().unwrap();
    let open = OpenOptions::new().write(true).open(&far).unwrap();
    open.set_modified(SystemTime::now() - 2 * Limits::DEFAULT.abandoned)
        .unwrap();
    let ours = adopt(&cache, &entry).unwrap();
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap()) * 512;
    assert_eq!((valid_bytes(&ours), valid_bytes(&far)), (12 << 20, 12 << 20));
    assert!(blocks(&ours) < 16 << 20, "{} of {}", blocks(&ours), blocks(&far));
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!(partial.at(), 8 << 20);
    let [(from, to, _)] = partial.take_recovered()[..] else {
        panic!("the chunk is lost");
    };
    assert_eq!((from, to), (SIZE - (4 << 20), SIZE));
}

/// Leftovers of other hosts do not pile up, and useful ones stay.
#[tokio::test]
async fn expired_files_of_other_hosts_are_removed() {
    let (_dir, cache) = cache();
    let bytes = noise(9 << 20);
    let entry = entry(&bytes);
    let left = |host: &str, mib: usize, ago| left_elsewhere(&cache, &entry, host, &bytes[..mib << 20], ago);
    let day = Duration::from_hours(24);
    let (best, other) = (left("best", 8, day), left("other", 5, day));
    let young = left("young", 4, 2 * Limits::DEFAULT.abandoned);
    let busy = left("busy", 4, Duration::ZERO);
    let partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!(partial.at(), 8 << 20);
    assert_eq!(
        [best, other, young, busy].map(|path| path.exists()),
        [false, false, true, true]
    );
    assert_eq!(partial_files(&cache.private_dir()).count(), 3);
}

/// A copy needs its own space; a partial file of this host is continued in place.
#[tokio::test]
async fn a_partial_file_of_another_host_still_needs_space() {
    let (_dir, cache) = cache();
    let bytes = noise(9 << 20);
    let entry = entry(&bytes);
    let entries = std::slice::from_ref(&entry);
    left_elsewhere(
        &cache,
        &entry,
        "elsewhere",
        &bytes[..8 << 20],
        2 * Limits::DEFAULT.abandoned,
    );
    assert_eq!(missing_bytes(&cache, entries), 9 << 20);
    assert!(other_hosts_bytes(&cache) >= 8 << 20);
    let alone = cache.clone().with_exclusive(true);
    assert!(missing_bytes(&alone, entries) <= 1 << 20);
    assert_eq!(other_hosts_bytes(&alone), 0);
    drop(PartialFile::open(&cache, &entry).unwrap());
    assert_eq!(missing_bytes(&cache, entries), 0, "its space is reserved");
}

/// A user who may write there must not block every pull.
#[tokio::test]
async fn a_partial_file_with_a_link_beside_it_is_skipped() {
    for beside in ["record", "ahead"] {
        let (dir, cache) = cache();
        let entry = entry(&noise(100));
        let orphan = cache
            .private_dir()
            .join(format!("{}.{}.1-1.part", entry.oid.hex(), location()));
        std::fs::write(&orphan, b"x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), orphan.with_extension(beside)).unwrap();
        let partial = PartialFile::open(&cache, &entry).unwrap();
        assert!(partial.path.exists() && orphan.exists(), "{beside}");
        assert!(!dir.path().join("elsewhere").exists(), "{beside}");
    }
}

#[tokio::test]
async fn a_partial_file_of_a_live_process_is_not_touched() {
    let (_dir, cache) = cache();
    let entry = entry(&noise(100));
    let init = format!(
        "{}.{}.1-{}.part",
        entry.oid.hex(),
        location(),
        start_time(1).unwrap()
    );
    let gone = format!("{}.{}.1-1.part", entry.oid.hex(), location());
    let far = format!("{}.elsewhere.7-7.part", entry.oid.hex());
    for name in [&init, &gone, &far] {
        std::fs::write(cache.private_dir().join(name), b"x").unwrap();
    }
    let partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!(partial.at(), 0, "no record proves the byte");
    assert!(partial.path.exists() && !cache.private_dir().join(gone).exists());
    assert!(cache.private_dir().join(init).exists() && cache.private_dir().join(far).exists());
}

const MIB: usize = 1 << 20;

/// Creates a finished file.
fn published(cache: &RepoCache, bytes: &[u8]) -> Entry {
    let entry = entry(bytes);
    let mut partial = PartialFile::open(cache, &entry).unwrap();
    bytes.chunks(MIB).for_each(|mib| partial.write(mib).unwrap());
    partial
        .finish(&cache.file_path(&entry), &cache.journal_path(&entry))
        .unwrap();
    entry
}

fn spoil(path: &Path, at: usize) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0; 4096], at as u64).unwrap();
}

/// Returns the offset of a partial file and the end of its corrupt range, in MiB.
fn position(partial: &PartialFile) -> (u64, Option<u64>) {
    (partial.at() >> 20, partial.corrupt_range_end().map(|to| to >> 20))
}

/// Two corrupt steps in a row are still the same file.
#[tokio::test]
async fn two_corrupt_steps_are_still_the_same_file() {
    let (_dir, cache) = cache();
    let bytes = noise(40 * MIB);
    let entry = published(&cache, &bytes);
    spoil(&cache.file_path(&entry), 24 * MIB - 2048);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    for from in [20, 24] {
        assert_eq!(position(&partial), (from, Some(from + 4)));
        let from = usize::try_from(from).unwrap() * MIB;
        partial.write(&bytes[from..from + 4 * MIB]).unwrap();
        assert!(partial.pass_corrupt_range().unwrap());
    }
    assert_eq!(position(&partial), (40, None));
    assert_eq!(partial.hex(), entry.oid.hex());
}

/// Five corrupt steps in a row are another file.
#[tokio::test]
async fn a_long_corrupt_run_is_another_file() {
    let (_dir, cache) = cache();
    let bytes = noise(40 * MIB);
    let entry = published(&cache, &bytes);
    (4..24).for_each(|mib| spoil(&cache.file_path(&entry), mib * MIB));
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    let mut passed = Vec::new();
    while passed.last() != Some(&false) {
        let (from, to) = position(&partial);
        let place = |mib| usize::try_from(mib).unwrap() * MIB;
        partial.write(&bytes[place(from)..place(to.unwrap())]).unwrap();
        passed.push(partial.pass_corrupt_range().unwrap());
    }
    assert_eq!(passed, [true, true, true, false]);
    partial.drop_later_lines().unwrap();
    assert_eq!(position(&partial), (20, None));
}

/// A disk reports a failed write only once: a chunk that was listed before says nothing about new bytes.
#[tokio::test]
async fn new_bytes_are_not_taken_for_a_listed_chunk() {
    let (_dir, cache) = cache();
    let bytes = noise(20 * MIB);
    let entry = entry(&bytes);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    partial.write(&bytes[..4 * MIB]).unwrap();
    let mut chunk = ChunkWriter::open(partial.handle(), 4 << 20).unwrap();
    chunk.write(&bytes[4 * MIB..12 * MIB]).unwrap();
    chunk.finish().unwrap();
    assert!(partial.accept_from_disk(12 << 20, None).unwrap());
    partial.write(&bytes[12 * MIB..16 * MIB]).unwrap();
    let path = partial.path.clone();
    drop(partial);
    spoil(&path, 5 * MIB);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!(position(&partial), (4, Some(8)));
    partial.write(&bytes[4 * MIB..8 * MIB]).unwrap();
    // As a failed sync does.
    partial.sync.cut_back();
    drop(partial);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    assert_eq!(
        (position(&partial), partial.take_recovered().len()),
        ((4, None), 0)
    );
    assert!(!chunk_list_of(&path).exists());
}

/// A chunk that fails its hash is also removed from the list.
#[tokio::test]
async fn a_corrupt_chunk_is_removed_from_the_list() {
    let (_dir, cache) = cache();
    let bytes = noise(12 * MIB);
    let entry = entry(&bytes);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    partial.write(&bytes[..4 * MIB]).unwrap();
    for from in [8, 4] {
        let mut chunk = ChunkWriter::open(partial.handle(), from << 20).unwrap();
        let from = usize::try_from(from).unwrap() * MIB;
        chunk.write(&bytes[from..from + 4 * MIB]).unwrap();
        chunk.finish().unwrap();
    }
    let path = partial.path.clone();
    drop(partial);
    spoil(&path, 5 * MIB);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    let recovered = partial.take_recovered();
    let (_, to, digest) = *recovered.iter().find(|(from, _, _)| *from == 4 << 20).unwrap();
    assert!(!partial.accept_from_disk(to, Some(digest)).unwrap());
    drop(partial);
    let mut partial = PartialFile::open(&cache, &entry).unwrap();
    let left: Vec<u64> = partial
        .take_recovered()
        .iter()
        .map(|chunk| chunk.0 >> 20)
        .collect();
    assert_eq!(left, [8]);
}

/// Repeated failures of syncs leave no more than one partial file.
#[tokio::test]
async fn repeated_repairs_leave_one_partial_file() {
    let (_dir, cache) = cache();
    let bytes = noise(20 * MIB);
    let entry = published(&cache, &bytes);
    spoil(&cache.file_path(&entry), 9 * MIB);
    spoil(&cache.file_path(&entry), 17 * MIB);
    for round in 1..4 {
        let mut partial = PartialFile::open(&cache, &entry).unwrap();
        partial.write(&bytes[8 * MIB..12 * MIB]).unwrap();
        assert!(partial.pass_corrupt_range().unwrap());
        let (at, journal) = (partial.at, partial.journal_length);
        partial.sync.start_at(Synced { at, journal });
        partial.sync.cut_back();
        let path = partial.path.clone();
        drop(partial);
        let name = format!("{}.{}.1-{round}.part", entry.oid.hex(), location());
        let dead = cache.private_dir().join(name);
        std::fs::rename(journal_of(&path), journal_of(&dead)).unwrap();
        std::fs::rename(&path, &dead).unwrap();
        assert_eq!(partial_files(&cache.private_dir()).count(), 1, "round {round}");
    }
}
