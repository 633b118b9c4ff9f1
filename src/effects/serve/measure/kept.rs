//! The file of a sweep over servers, until all of them are measured.

use std::path::{Path, PathBuf};

use super::course::lock;
use crate::effects::files;
use crate::effects::results::read_partial_sweep;
use crate::effects::serve::results;
use crate::error::{At, Kind, Result};
use crate::event::StepEvents;
use crate::measure::course::{combine, sum_up};
use crate::plan::{KeptSweepFile, MeasureCourse};
use crate::report::{Sweep, SweptCombination, SweptPoint};

/// A sweep over servers under way. No other process has it.
pub struct KeptSweep {
    file: KeptSweepFile,
    lock_path: PathBuf,
    _lock: files::Lock,
    sweep: Sweep,
}

impl KeptSweep {
    /// Opens the file, with the servers that are measured already. A server that failed, or of which a result is gone, is measured
    /// again. If `is_fresh`, the file and those of its courses are removed: no earlier point is a point of this sweep.
    ///
    /// # Errors
    /// [`Kind::Usage`] when another process has it, or when it is no sweep; [`Kind::Host`] when a file cannot be removed.
    pub fn open(file: KeptSweepFile, is_fresh: bool, events: &StepEvents<'_>) -> Result<Self> {
        let lock_path = PathBuf::from(format!("{}.lock", file.partial));
        let lock = lock(&lock_path, events)?;
        let path = Path::new(&file.partial);
        let mut sweep = Sweep {
            key: file.key.clone(),
            ..Sweep::default()
        };
        if is_fresh {
            for earlier in file.courses.iter().chain([&file.partial]) {
                remove(earlier)?;
            }
        }
        if path.exists() {
            let kept = read_partial_sweep(path)?;
            for one in kept.combinations {
                let is_own = |point: &&SweptPoint| point.combination.as_ref() == Some(&one.name);
                let points: Vec<SweptPoint> = kept.points.iter().filter(is_own).cloned().collect();
                let are_there = points.iter().all(|point| Path::new(&point.file).is_file());
                if one.failure.is_none() && are_there {
                    combine(&mut sweep, one, points);
                }
            }
        }
        Ok(Self {
            file,
            lock_path,
            _lock: lock,
            sweep,
        })
    }

    /// Returns the sweep so far.
    #[must_use]
    pub const fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    /// Returns true if a server is measured.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.sweep.combinations.iter().any(|one| one.name == name)
    }

    /// Adds a server that was measured or failed, and keeps the sweep.
    ///
    /// # Errors
    /// [`Kind::Host`] when it cannot be written.
    pub fn add(&mut self, combination: SweptCombination, points: Vec<SweptPoint>) -> Result<()> {
        combine(&mut self.sweep, combination, points);
        results::save(Path::new(&self.file.partial), Sweep::SCHEMA, &self.sweep)
    }

    /// Keeps the sweep under its final name, with the servers in the order of `names`. If one of them failed, the file of those that
    /// are measured stays: the same command measures the others.
    ///
    /// # Errors
    /// [`Kind::Host`] when it cannot be written.
    pub fn finish(mut self, names: &[&str]) -> Result<Sweep> {
        let place = |name: &str| names.iter().position(|other| *other == name);
        let sweep = &mut self.sweep;
        sweep.combinations.sort_by_key(|one| place(&one.name));
        sweep
            .points
            .sort_by_key(|point| point.combination.as_deref().and_then(place));
        sweep.loads = sum_up(&sweep.points);
        // A profile on several stacks has one name of a server.
        let mut servers: Vec<&str> = Vec::new();
        for one in &sweep.combinations {
            if !servers.contains(&one.server.as_str()) {
                servers.push(&one.server);
            }
        }
        sweep.server = servers.join(", ");
        sweep.complete = sweep.combinations.len() == names.len()
            && sweep.combinations.iter().all(|one| one.failure.is_none());
        let path = results::path_of(&self.file.results_dir, "profiles", "sweep");
        sweep.saved_to = Some(path.to_string_lossy().into_owned());
        results::save(&path, Sweep::SCHEMA, sweep)?;
        if sweep.complete {
            remove(&self.file.partial)?;
        }
        // It names no holder any more; a process that waits for it finds its own file.
        let _ = files::remove_if_there(&self.lock_path);
        Ok(self.sweep)
    }
}

fn remove(path: &str) -> Result<()> {
    files::remove_if_there(Path::new(path)).at(Kind::Host, || format!("cannot remove `{path}`"))?;
    Ok(())
}

/// Returns the points that are kept of a course that was broken off.
#[must_use]
pub fn kept_points(course: &MeasureCourse) -> Vec<SweptPoint> {
    let path = Path::new(&course.partial);
    read_partial_sweep(path).map_or_else(|_| Vec::new(), |sweep| sweep.points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Recorder;

    /// Opens a sweep of one server whose course has a file, as has the sweep itself.
    fn open(dir: &Path, is_fresh: bool) -> KeptSweep {
        let name = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let file = KeptSweepFile {
            key: "k".to_owned(),
            partial: name("sweep.partial.json"),
            courses: vec![name("course.partial.json")],
            results_dir: name(""),
        };
        let recorder = Recorder::default();
        KeptSweep::open(file, is_fresh, &StepEvents::new(&recorder, 1)).unwrap()
    }

    fn named(name: &str, server: &str) -> SweptCombination {
        SweptCombination {
            name: name.to_owned(),
            server: server.to_owned(),
            ..SweptCombination::default()
        }
    }

    #[test]
    fn a_fresh_sweep_keeps_no_point_of_an_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let course = dir.path().join("course.partial.json");
        std::fs::write(&course, "{}").unwrap();
        open(dir.path(), false)
            .add(named("a", "dsr1-a"), Vec::new())
            .unwrap();
        assert!(open(dir.path(), false).has("a") && course.exists());
        assert!(!open(dir.path(), true).has("a") && !course.exists());
        // Not in the next one either, if this one ends before its first point.
        assert!(!open(dir.path(), false).has("a"));
    }

    #[test]
    fn a_server_on_two_stacks_is_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = open(dir.path(), false);
        let names = ["a on x", "a on y", "b on x", "b on y"];
        for name in names {
            let server = format!("dsr1-{}", &name[..1]);
            kept.add(named(name, &server), Vec::new()).unwrap();
        }
        assert_eq!(kept.finish(&names).unwrap().server, "dsr1-a, dsr1-b");
    }
}
