//! Reads the weights into the page cache while the engine imports its modules: that takes half a minute, in which the disk would
//! be idle. The reads go on while the engine loads, ahead of it, and end with the loading.
//!
//! They are bound by the memory that is free, of the host and of the control group: pages that push out others would be read
//! twice.

use std::fs::File;
use std::io::IoSliceMut;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::{ReadWriteFlags, preadv2};

use crate::effects::{files, host};

/// Bytes of one read.
const BLOCK: u64 = 16 << 20;
/// Reads at once: enough for an `NVMe` disk, and few for a shared one.
const READERS: usize = 4;
/// Bytes that a sample of a block reads.
const SAMPLE: usize = 4096;
/// Memory that is left to others.
const RESERVE: u64 = 8 << 30;

/// A part of a file.
struct Block {
    file: usize,
    offset: u64,
    length: u64,
}

/// Reads that are under way. They end when this is dropped.
pub(super) struct Prefetch {
    work: Arc<Work>,
    begun: Instant,
}

struct Work {
    files: Vec<File>,
    blocks: Vec<Block>,
    next: AtomicUsize,
    /// Bytes that were read from the disk.
    read: AtomicU64,
    budget: u64,
    is_stopped: AtomicBool,
    /// Readers that still run.
    running: AtomicUsize,
}

impl Prefetch {
    /// Begins to read the shards in a model's folder; `None` if there is nothing to read, or no memory for it.
    pub(super) fn start(folder: &Path) -> Option<Self> {
        let budget = free_memory()?.saturating_sub(RESERVE) / 4 * 3;
        let files: Vec<File> = shards(folder)
            .iter()
            .filter_map(|path| files::open_through(path).ok())
            .collect();
        let blocks = blocks(&files);
        if blocks.is_empty() || budget < BLOCK {
            return None;
        }
        let work = Arc::new(Work {
            files,
            blocks,
            next: AtomicUsize::new(0),
            read: AtomicU64::new(0),
            budget,
            is_stopped: AtomicBool::new(false),
            running: AtomicUsize::new(READERS),
        });
        for _ in 0..READERS {
            let work = Arc::clone(&work);
            tokio::task::spawn_blocking(move || {
                work.read_blocks();
                work.running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        Some(Self {
            work,
            begun: Instant::now(),
        })
    }

    /// Returns the bytes that were read from the disk so far, and the time since the begin.
    pub(super) fn progress(&self) -> (u64, Duration) {
        (self.work.read.load(Ordering::Relaxed), self.begun.elapsed())
    }

    /// Returns true if nothing is left to read.
    pub(super) fn is_done(&self) -> bool {
        self.work.running.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.work.is_stopped.store(true, Ordering::Relaxed);
    }
}

impl Work {
    /// Takes blocks in their order until there is none, or the budget is spent.
    fn read_blocks(&self) {
        let mut buffer = vec![0; usize::try_from(BLOCK).unwrap_or(SAMPLE)];
        while !self.is_stopped.load(Ordering::Relaxed) && self.read.load(Ordering::Relaxed) < self.budget {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(block) = self.blocks.get(index) else {
                return;
            };
            let file = &self.files[block.file];
            if is_cached(file, block) {
                continue;
            }
            let mut at = block.offset;
            let end = block.offset + block.length;
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                match rustix::io::pread(file, &mut buffer[..want], at) {
                    Ok(count) if count > 0 => at += count as u64,
                    // A file that ends early or cannot be read is the engine's to report.
                    _ => return,
                }
            }
            self.read.fetch_add(block.length, Ordering::Relaxed);
        }
    }
}

/// Returns true if the begin, the middle and the end of a block are in the page cache.
fn is_cached(file: &File, block: &Block) -> bool {
    let last = block.length.saturating_sub(SAMPLE as u64);
    [0, block.length / 2, last].into_iter().all(|within| {
        let mut sample = [0; SAMPLE];
        let mut slices = [IoSliceMut::new(&mut sample)];
        preadv2(file, &mut slices, block.offset + within, ReadWriteFlags::NOWAIT).is_ok_and(|count| count > 0)
    })
}

fn blocks(files: &[File]) -> Vec<Block> {
    let mut found = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let mut offset = 0;
        while offset < size {
            let length = BLOCK.min(size - offset);
            found.push(Block {
                file: index,
                offset,
                length,
            });
            offset += length;
        }
    }
    found
}

/// Returns the shards of a model's folder in the order of their names, which is that of the engine.
fn shards(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "safetensors"))
        .collect();
    found.sort();
    found
}

/// Returns the memory that may be filled: what the host has free, and what is left to the control group of this process.
fn free_memory() -> Option<u64> {
    let host = host::available_memory()?;
    Some(group_memory(&|path| std::fs::read_to_string(path).ok()).map_or(host, |group| group.min(host)))
}

/// Returns the bytes that the control group of this process may still take (version 2, `memory.max`); `None` without a limit.
fn group_memory(read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let groups = read("/proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut least: Option<u64> = None;
    // A limit of any group above counts.
    let mut at = path.trim_end_matches('/');
    loop {
        let number =
            |name: &str| -> Option<u64> { read(&format!("/sys/fs/cgroup{at}/{name}"))?.trim().parse().ok() };
        if let (Some(most), Some(current)) = (number("memory.max"), number("memory.current")) {
            let left = most.saturating_sub(current);
            least = Some(least.map_or(left, |least| least.min(left)));
        }
        match at.rsplit_once('/') {
            Some((above, _)) => at = above,
            None => return least,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn all_shards_are_read_once_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in [
            ("model-2.safetensors", 5),
            ("model-1.safetensors", 40 << 20),
            ("other.bin", 9),
        ] {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_len(size).unwrap();
        }
        let names = shards(dir.path());
        assert!(
            names[0].ends_with("model-1.safetensors") && names.len() == 2,
            "{names:?}"
        );
        let prefetch = Prefetch::start(dir.path()).unwrap();
        assert_eq!(prefetch.work.blocks.len(), 4);
        while !prefetch.is_done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(prefetch.progress().0 <= (40 << 20) + 5);
        // What is cached is not read again.
        let again = Prefetch::start(dir.path()).unwrap();
        while !again.is_done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(
            Prefetch::start(&dir.path().join("missing")).map(|one| one.progress()),
            None
        );
    }

    #[test]
    fn the_limit_of_a_control_group_above_counts() {
        let files = |name: &str| -> Option<String> {
            let text = match name {
                "/proc/self/cgroup" => "0::/system.slice/job\n",
                "/sys/fs/cgroup/system.slice/job/memory.max" => "max\n",
                "/sys/fs/cgroup/system.slice/job/memory.current" => "7\n",
                "/sys/fs/cgroup/system.slice/memory.max" => "1000\n",
                "/sys/fs/cgroup/system.slice/memory.current" => "400\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(group_memory(&files), Some(600));
        assert_eq!(group_memory(&|_| None), None);
        assert_eq!(
            group_memory(&|name| (name == "/proc/self/cgroup").then(|| "1:name=x:/\n".to_owned())),
            None
        );
    }
}
