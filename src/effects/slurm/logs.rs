//! The logs of all ranks of a job as one stream, each line with the name of its log in front.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::queue::{Job, job_of};
use crate::effects::env::Env;
use crate::effects::lines::{LogFile, LogPart, LogStream};

/// Time between two looks at the files.
const POLL: Duration = Duration::from_millis(200);
/// Time between two questions to Slurm.
const ASK: Duration = Duration::from_secs(3);
/// Messages that wait for a slow reader.
const WAITING: usize = 16;

/// Returns the logs of a job: what it says of itself, and those of its ranks, of its router and of `srun`.
pub(in crate::effects) fn log_of_job(env: &Env, jobs: &Path, job: &Job, part: LogPart) -> LogStream {
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut logs = RankLogs::new(&job.log(jobs), job.folder(jobs), part);
    let (env, name, id) = (env.clone(), job.name.clone(), job.id);
    tokio::spawn(async move {
        let mut asked: Option<Instant> = None;
        let mut is_over = !part.follow;
        loop {
            let lines = logs.read();
            let is_quiet = lines.is_empty();
            if !is_quiet && sender.send(Ok(lines)).await.is_err() {
                return;
            }
            if is_quiet && is_over {
                return;
            }
            if !is_over && asked.is_none_or(|asked| asked.elapsed() > ASK) {
                asked = Some(Instant::now());
                let now = job_of(&env, &name).await.ok().flatten();
                is_over = !now.is_some_and(|now| now.id == id && now.is_alive());
            }
            if is_quiet {
                tokio::time::sleep(POLL).await;
            }
        }
    });
    LogStream::of_daemon(receiver)
}

/// The logs of a job, as far as they were read.
struct RankLogs {
    folder: PathBuf,
    part: LogPart,
    /// The logs by name; that of the job itself has none.
    files: BTreeMap<String, LogFile>,
}

impl RankLogs {
    fn new(log: &Path, folder: PathBuf, part: LogPart) -> Self {
        let file = at_part(log, part);
        Self {
            folder,
            part,
            files: [(String::new(), file)].into(),
        }
    }

    /// Returns the lines that arrived, rank after rank.
    fn read(&mut self) -> Vec<String> {
        let listed = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in listed {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".log") {
                let new = || at_part(&entry.path(), self.part);
                self.files.entry(name.to_owned()).or_insert_with(new);
            }
        }
        let mut found = Vec::new();
        for (name, file) in &mut self.files {
            let lines = file.read_lines();
            if name.is_empty() {
                found.extend(lines);
            } else {
                found.extend(lines.into_iter().map(|line| format!("{name} | {line}")));
            }
        }
        found
    }
}

fn at_part(path: &Path, part: LogPart) -> LogFile {
    let file = LogFile::new(path, |_| false);
    let file = match part.tail {
        Some(count) => file.skip_to_last(count),
        None => file,
    };
    match part.since_s {
        Some(seconds) => file.skip_to_recent(seconds),
        None => file,
    }
}
