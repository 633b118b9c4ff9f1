//! Follows a job from its submission until its server takes requests, or to the cause of its failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::queue::{Job, failed_nodes, job_of, known_job};
use crate::diagnose::{Diagnoser, Diagnosis};
use crate::effects::env::Env;
use crate::effects::lines::LogFile;
use crate::effects::serve::cause::explained;
use crate::effects::user_files;
use crate::error::{Error, Kind, Result};
use crate::event::{Source, Stage, StepEvents};
use crate::plan::AwaitJob;
use crate::plan::cluster::{JobFailure, JobLine, job_line};
use crate::report::{EngineMemory, Ready, StageTime};
use crate::sglang::log;

/// Time between two looks at the logs.
const TICK: Duration = Duration::from_millis(300);
/// Time between two questions to Slurm.
const ASK: Duration = Duration::from_secs(2);
/// Looks without an answer of Slurm, or without the job, after which it is over.
const MISSED: u32 = 10;
/// Lines that an error shows.
const SHOWN: usize = 20;

/// Follows a job until its server takes requests.
///
/// # Errors
/// [`Kind::Server`] when the job ends before that, with the rank and the node that ended first and the cause in its log.
pub(in crate::effects) async fn await_job(
    step: &AwaitJob,
    env: &Env,
    jobs: &Path,
    events: &StepEvents<'_>,
) -> Result<Ready> {
    let name = step.server.name();
    let job = known_job(env, name).await?;
    let mut start = JobStart::new(step, jobs, &job, events);
    let mut asked: Option<Instant> = None;
    let mut missed = 0;
    loop {
        if let Some(ready) = start.read() {
            return Ok(ready);
        }
        if start.is_over {
            return Err(start.failed(env, &job).await);
        }
        if asked.is_none_or(|asked| asked.elapsed() > ASK) {
            asked = Some(Instant::now());
            match job_of(env, name).await {
                Ok(Some(now)) if now.id == job.id => {
                    missed = 0;
                    if now.waits() {
                        events.activity(&waiting(&now), None);
                    } else if !now.is_alive() {
                        start.is_over = true;
                        start.state = now.state;
                    }
                }
                // The controller may be busy, and forgets a job some minutes after its end.
                _ => missed += 1,
            }
            if missed > MISSED {
                start.is_over = true;
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Returns in words what a job waits for.
fn waiting(job: &Job) -> String {
    match job.reason.as_str() {
        "" | "None" => format!("job {} gets its nodes", job.id),
        reason => format!("job {} waits: {reason}", job.id),
    }
}

/// The progress of a job.
struct JobStart<'a> {
    step: &'a AwaitJob,
    events: &'a StepEvents<'a>,
    begun: Instant,
    log: LogFile,
    folder: PathBuf,
    /// The logs of the ranks, with the stage that each has reached.
    ranks: BTreeMap<&'a str, (LogFile, Stage)>,
    /// The stage that all ranks have reached.
    reached: Option<Stage>,
    stages: Vec<StageTime>,
    kv_pool_tokens: Option<u64>,
    /// The failure that tells the cause.
    failure: Option<JobFailure>,
    /// The job has ended, or says that it does.
    is_over: bool,
    /// The last state of the job in Slurm's words.
    state: String,
}

impl<'a> JobStart<'a> {
    fn new(step: &'a AwaitJob, jobs: &Path, job: &Job, events: &'a StepEvents<'a>) -> Self {
        let folder = job.folder(jobs);
        let ranks = step.ranks.iter().map(|(rank, file)| {
            let log = LogFile::new(&folder.join(file), |_| false);
            (rank.as_str(), (log, Stage::Starting))
        });
        Self {
            step,
            events,
            begun: Instant::now(),
            log: LogFile::new(&job.log(jobs), |_| false),
            ranks: ranks.collect(),
            folder,
            reached: None,
            stages: Vec::new(),
            kv_pool_tokens: None,
            failure: None,
            is_over: false,
            state: job.state.clone(),
        }
    }

    /// Reads the lines that arrived; returns the server once it takes requests.
    fn read(&mut self) -> Option<Ready> {
        self.read_ranks();
        for line in self.log.read_lines() {
            self.events.line(Source::Engine, &line);
            match job_line(&line) {
                Some(JobLine::Ready { rank, done, of }) => {
                    self.events
                        .activity(&format!("ranks answer, the last one {rank}"), Some((done, of)));
                }
                Some(JobLine::Serving(url)) => return Some(self.ready(url)),
                Some(JobLine::Failed(next)) => self.failure = Some(next.or_first(self.failure.take())),
                Some(JobLine::Stopped) => self.is_over = true,
                Some(JobLine::Silent(text)) => self.events.warning(format!("no answer of {text}"), ""),
                _ => {}
            }
        }
        None
    }

    /// Reads the logs of the ranks, and says a stage once all of them have reached it.
    fn read_ranks(&mut self) {
        for (rank, (log, stage)) in &mut self.ranks {
            for line in log.read_lines() {
                self.events.line(Source::Engine, &format!("{rank} | {line}"));
                self.kv_pool_tokens = log::kv_pool_tokens(&line).or(self.kv_pool_tokens);
                if let Some((next, _)) = log::stage(&line) {
                    *stage = next.max(*stage);
                }
            }
        }
        let slowest = self.ranks.iter().min_by_key(|(_, (_, stage))| *stage);
        let Some((rank, (_, stage))) = slowest else { return };
        if self.reached.is_none_or(|reached| *stage > reached) && *stage != Stage::Ready {
            let elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let detail = if self.ranks.len() > 1 {
                format!("the last rank is {rank}")
            } else {
                String::new()
            };
            self.events.stage(*stage, elapsed_ms, &detail);
            self.stages.push(StageTime {
                stage: *stage,
                at_ms: elapsed_ms,
            });
            self.reached = Some(*stage);
        }
    }

    fn ready(&self, base_url: String) -> Ready {
        Ready {
            server: self.step.server.name().to_owned(),
            base_url,
            model: self.step.model.clone(),
            stages: self.stages.clone(),
            kv_pool_tokens: self.kv_pool_tokens,
            memory: EngineMemory::default(),
            planned: None,
        }
    }

    /// Returns the error of a job that ended, with the first failure and its cause in the logs of all ranks.
    async fn failed(&mut self, env: &Env, job: &Job) -> Error {
        // The last lines of the job come with its end.
        tokio::time::sleep(TICK).await;
        let _ = self.read();
        let reason = match &self.failure {
            Some(failure) => failure.text().to_owned(),
            None => reason_of(env, &self.state, &job.nodes).await,
        };
        let name = self.step.server.name();
        let stage = self.reached.unwrap_or(Stage::Starting).title();
        let error = Error::new(Kind::Server, format!("{name} ended during: {stage}"));
        let lines = self.last_lines();
        let diagnosis = self.diagnosis();
        explained(error, &diagnosis, &reason, name, lines.iter().map(String::as_str))
            .log(lines.iter().rev().take(SHOWN).rev().cloned().collect())
            .hint(format!("the logs of all ranks are in {}", self.folder.display()))
    }

    /// Returns the diagnosis of the logs of all ranks together.
    fn diagnosis(&self) -> Diagnosis {
        let mut diagnoser = Diagnoser::default();
        for (rank, file) in &self.step.ranks {
            diagnoser.begin(rank);
            let _ = user_files::read_log(&self.folder.join(file), &mut |bytes| diagnoser.feed(bytes));
        }
        diagnoser.finish()
    }

    /// Returns the last lines of the log of the rank that failed, as far as the job names it; of all logs otherwise.
    fn last_lines(&self) -> Vec<String> {
        let named = self.failure.as_ref().map_or("", JobFailure::text);
        let is_named = |rank: &str| {
            let (engine, number) = rank.rsplit_once('.').unwrap_or((rank, "0"));
            named.starts_with(&format!("{engine} rank {number} "))
        };
        let any = self.step.ranks.keys().any(|rank| is_named(rank));
        let mut found = Vec::new();
        for (rank, file) in &self.step.ranks {
            if !any || is_named(rank) {
                let count = if any { SHOWN as u64 } else { 5 };
                let mut log = LogFile::new(&self.folder.join(file), |_| false).skip_to_last(count);
                found.extend(
                    log.read_lines()
                        .into_iter()
                        .map(|line| format!("{rank} | {line}")),
                );
            }
        }
        found
    }
}

/// Returns what the newest job of that name says of itself, if that tells the cause of its end: a rank that was killed or stopped, or
/// a node that is down. Of a rank that ended by itself its own log tells the cause.
pub(in crate::effects) async fn own_verdict(env: &Env, name: &str, jobs: &Path) -> Option<Vec<String>> {
    let job = job_of(env, name).await.ok().flatten()?;
    let mut lines = LogFile::new(&job.log(jobs), |_| false).read_lines();
    // Behind a failure the job repeats the last lines of the rank's log.
    lines.retain(|line| job_line(line).is_some());
    let tells = lines.iter().any(|line| match job_line(line) {
        Some(JobLine::Failed(failure)) => !failure.is_told_by_its_log(),
        _ => false,
    });
    tells.then_some(lines)
}

/// Returns the reason for the end of a job in words: the first failure that it says itself, or what Slurm says.
pub(in crate::effects) async fn reason_of_end(env: &Env, jobs: &Path, job: &Job) -> String {
    let lines = LogFile::new(&job.log(jobs), |_| false).read_lines();
    let failures = lines.iter().filter_map(|line| match job_line(line) {
        Some(JobLine::Failed(failure)) => Some(failure),
        _ => None,
    });
    match failures.fold(None, |known, next: JobFailure| Some(next.or_first(known))) {
        Some(failure) => failure.text().to_owned(),
        None => reason_of(env, &job.state, &job.nodes).await,
    }
}

/// Returns the reason for the end of a job in words, by its state in Slurm.
async fn reason_of(env: &Env, state: &str, nodes: &str) -> String {
    match state {
        "NODE_FAIL" => {
            let failed = failed_nodes(env, nodes).await;
            match failed.as_slice() {
                [] => format!("Slurm ended the job because a node of {nodes} failed"),
                failed => format!(
                    "Slurm ended the job because of node {}, which is down",
                    failed.join(", ")
                ),
            }
        }
        "CANCELLED" => "the job was cancelled".to_owned(),
        "PREEMPTED" => "another job preempted it".to_owned(),
        "TIMEOUT" => "the job reached its time limit".to_owned(),
        "OUT_OF_MEMORY" => "Slurm ended the job because memory of a node ran out".to_owned(),
        "COMPLETED" => "the job ended by itself".to_owned(),
        "RUNNING" | "PENDING" => "Slurm does not know the job any more".to_owned(),
        state => format!("Slurm says {state}"),
    }
}
