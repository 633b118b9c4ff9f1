//! Filesystems for tests: too small, or on a disk that loses power.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "each test binary uses a part"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::must_run;

const ROOT: &str = "these tests mount filesystems: run them as root, with mount and loop devices";

/// A mounted filesystem; it is unmounted when this value is dropped.
pub struct Mounted {
    pub at: PathBuf,
}

impl Mounted {
    /// Mounts a filesystem in memory.
    pub fn tmpfs(at: &Path, size: &str) -> Self {
        Self::mount(at, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    /// Mounts the filesystem in a file. Its journal is written each second, so a power cut finds names whose bytes are
    /// not on the disk yet.
    pub fn image(at: &Path, image: &Path) -> Self {
        Self::mount(
            at,
            &["-t", "ext4", "-o", "loop,commit=1", image.to_str().unwrap()],
        )
    }

    fn mount(at: &Path, args: &[&str]) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let args: Vec<&str> = args.iter().copied().chain([at.to_str().unwrap()]).collect();
        must_run("mount", &args, ROOT);
        Self { at: at.to_owned() }
    }

    pub fn resize(&self, size: &str) {
        self.remount(&format!("size={size}"));
    }

    /// Limits the number of new names to `count`; `None` removes the limit.
    pub fn leave_names(&self, count: Option<u64>) {
        let at = rustix::fs::statvfs(&self.at).unwrap();
        // 0 is no limit.
        let names = count.map_or(0, |count| at.f_files - at.f_ffree + count);
        self.remount(&format!("nr_inodes={names}"));
    }

    /// Makes the filesystem read-only or writable.
    pub fn read_only(&self, is_read_only: bool) {
        self.remount(if is_read_only { "ro" } else { "rw" });
    }

    fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        must_run("mount", &["-o", &options, self.at.to_str().unwrap()], ROOT);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = || {
            let umount = Command::new("umount").arg(&self.at).output();
            umount.is_ok_and(|output| output.status.success())
        };
        // A process that was just killed may still hold a file.
        for _ in 0..50 {
            if unmounted() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

/// Makes an empty ext4 filesystem in the file `image`.
pub fn make_image(image: &Path, bytes: u64) {
    std::fs::File::create(image).unwrap().set_len(bytes).unwrap();
    must_run(
        "mkfs.ext4",
        &["-q", "-F", image.to_str().unwrap()],
        "install e2fsprogs",
    );
}

/// Copies an image as it is at one point in time, which is the state that a power cut leaves.
pub fn cut(image: &Path, copy: &Path) {
    for _ in 0..50 {
        let first = std::fs::read(image).unwrap();
        if first == std::fs::read(image).unwrap() {
            std::fs::write(copy, first).unwrap();
            return;
        }
    }
    panic!("{} keeps changing", image.display());
}
