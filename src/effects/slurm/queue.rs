//! The commands of Slurm: `sbatch`, `squeue`, `scancel`, `sinfo`.
//!
//! Seen with Slurm 22.05. `squeue --json` has no stable fields between versions, so that lines of a named format are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::effects::env::Env;
use crate::effects::files;
use crate::effects::process::command;
use crate::error::{At, Error, Kind, Result};
use crate::plan::SubmitJob;

/// Longest wait for an answer of the controller; `squeue` itself tries for longer.
const ANSWER: Duration = Duration::from_secs(30);
/// Time in which the script of a job stops its steps, beyond the drain.
const STEPS: Duration = Duration::from_secs(5);
/// Longest wait for a job that Slurm cancels.
const KILLED: Duration = Duration::from_mins(2);
/// Time between two looks at a job that ends.
const LOOK: Duration = Duration::from_millis(500);
/// The fields of a job in a line, with a mark between them that no field before the last one has.
const FIELDS: &str = "%i|%T|%r|%N|%j|%k";

/// A job of this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::effects) struct Job {
    /// Its number.
    pub(in crate::effects) id: u64,
    /// Its state in Slurm's words, such as `RUNNING`.
    pub(in crate::effects) state: String,
    /// The reason for the state, such as `Resources`.
    pub(in crate::effects) reason: String,
    /// Its nodes, such as `gb[01-16]`.
    pub(in crate::effects) nodes: String,
    /// Its name.
    pub(in crate::effects) name: String,
    /// Its comment.
    pub(in crate::effects) comment: String,
}

impl Job {
    /// Returns true if the job waits for nodes or for its time.
    pub(in crate::effects) fn waits(&self) -> bool {
        matches!(
            self.state.as_str(),
            "PENDING" | "CONFIGURING" | "SUSPENDED" | "REQUEUED"
        )
    }

    /// Returns true if the job has not ended.
    pub(in crate::effects) fn is_alive(&self) -> bool {
        self.waits() || self.state == "RUNNING"
    }

    /// Returns the folder with the logs of its ranks.
    pub(in crate::effects) fn folder(&self, jobs: &Path) -> PathBuf {
        jobs.join(format!("{}-{}", self.name, self.id))
    }

    /// Returns the file with what the job says of itself.
    pub(in crate::effects) fn log(&self, jobs: &Path) -> PathBuf {
        jobs.join(format!("{}-{}.log", self.name, self.id))
    }

    /// Reads a line of [`FIELDS`].
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.trim().splitn(6, '|');
        let mut next = || fields.next().map(str::to_owned);
        Some(Self {
            id: next()?.parse().ok()?,
            state: next()?,
            reason: next()?,
            nodes: next()?,
            name: next()?,
            comment: next()?,
        })
    }
}

/// Returns the URL of the server in a job; `None` until it takes requests.
pub(in crate::effects) fn endpoint(jobs: &Path, job: &Job) -> Option<String> {
    let text = std::fs::read_to_string(job.folder(jobs).join("endpoint")).ok()?;
    let url = text.trim();
    (url.starts_with("http://") && !url.contains(char::is_whitespace)).then(|| url.to_owned())
}

/// Returns this user's newest job of that name.
///
/// # Errors
/// [`Kind::Server`] when Slurm knows none.
pub(in crate::effects) async fn known_job(env: &Env, name: &str) -> Result<Job> {
    job_of(env, name).await?.ok_or_else(|| {
        Error::new(Kind::Server, format!("Slurm knows no job {name}"))
            .cause("it ended some minutes ago, or another user submitted it")
    })
}

/// Returns the URL of the server in the newest job of that name; one that nobody answers until the job serves.
pub(in crate::effects) async fn url_of(env: &Env, name: &str, jobs: &Path) -> Result<String> {
    let job = job_of(env, name).await?;
    let url = job.and_then(|job| endpoint(jobs, &job));
    Ok(url.unwrap_or_else(|| "http://127.0.0.1:0".to_owned()))
}

/// Returns this user's jobs of that name, the newest last; also those that ended a few minutes ago.
pub(in crate::effects) async fn jobs(env: &Env, name: Option<&str>) -> Result<Vec<Job>> {
    let format = format!("--format={FIELDS}");
    let mut argv = vec!["squeue", "--noheader", "--me", "--states=all", &format];
    if let Some(name) = name {
        argv.extend(["--name", name]);
    }
    let (code, lines) = ask(env, &argv).await?;
    if code != 0 {
        return Err(refused("squeue", &lines));
    }
    let mut found: Vec<Job> = lines.iter().filter_map(|line| Job::read(line)).collect();
    found.sort_by_key(|job| job.id);
    Ok(found)
}

/// Returns this user's newest job of that name; `None` if Slurm knows none.
pub(in crate::effects) async fn job_of(env: &Env, name: &str) -> Result<Option<Job>> {
    Ok(jobs(env, Some(name)).await?.pop())
}

/// Returns the nodes of a list that are down or fail, in Slurm's words; empty if none is, or Slurm does not say it.
pub(in crate::effects) async fn failed_nodes(env: &Env, nodes: &str) -> Vec<String> {
    let argv = [
        "sinfo",
        "--noheader",
        "--Node",
        "--nodes",
        nodes,
        "--states=down,fail,drained,no_respond",
        "--format=%N",
    ];
    match ask(env, &argv).await {
        Ok((0, mut lines)) => {
            lines.sort();
            lines.dedup();
            lines.retain(|line| !line.trim().is_empty());
            lines
        }
        _ => Vec::new(),
    }
}

/// Submits a job; returns its number.
///
/// # Errors
/// [`Kind::Usage`] when a job of that name waits or runs; [`Kind::Host`] when Slurm refuses the job, with its words.
pub(in crate::effects) async fn submit(env: &Env, step: &SubmitJob) -> Result<u64> {
    let SubmitJob {
        name,
        folder,
        script,
        labels,
    } = step;
    if let Some(job) = job_of(env, name).await?.filter(Job::is_alive) {
        let state = job.state.to_lowercase();
        return Err(Error::new(
            Kind::Usage,
            format!("job {} has the name {name} and is {state}", job.id),
        )
        .hint(format!(
            "dsr1 stop {name} ends it; --name gives this server another name"
        )));
    }
    std::fs::create_dir_all(folder).at(Kind::Host, || format!("cannot make the folder `{folder}`"))?;
    let file = format!("{folder}/{name}.sbatch");
    let path = Path::new(&file);
    // The script holds the variables of the engines.
    files::write_through(&path.with_extension("new"), path, script.as_bytes(), Some(0o600))?;
    let chdir = format!("--chdir={folder}");
    // The job makes its folder there.
    let own = [("DSR1_FOLDER".to_owned(), folder.clone())].into();
    let (code, lines) = ask_with(env, &["sbatch", "--test-only", &chdir, &file], &own).await?;
    if code != 0 {
        return Err(
            refused("sbatch", &lines).hint(format!("the job is in {file}; sinfo lists partitions and nodes"))
        );
    }
    let comment = format!("--comment={}", serde_json::to_string(labels).unwrap_or_default());
    let (code, lines) = ask_with(env, &["sbatch", "--parsable", &chdir, &comment, &file], &own).await?;
    // The number, and behind a semicolon the cluster.
    let number = lines
        .iter()
        .find_map(|line| line.split(';').next()?.trim().parse().ok());
    match number {
        Some(number) if code == 0 => Ok(number),
        _ => Err(refused("sbatch", &lines)),
    }
}

/// Asks the script of a job to stop its steps, or cancels the job.
async fn cancel(env: &Env, job: u64, gently: bool) -> Result<()> {
    let number = job.to_string();
    let argv: &[&str] = if gently {
        &["scancel", "--signal=TERM", "--batch", &number]
    } else {
        &["scancel", &number]
    };
    match ask(env, argv).await? {
        (0, _) => Ok(()),
        (_, lines) => Err(refused("scancel", &lines)),
    }
}

/// Stops the newest job of that name, and waits until it has ended: its script stops its steps in `drain`, and Slurm then kills
/// them. Returns true if Slurm had to.
pub(in crate::effects) async fn stop(env: &Env, name: &str, drain: Duration) -> Result<bool> {
    let Some(job) = job_of(env, name)
        .await?
        .filter(|job| job.is_alive() || job.state == "COMPLETING")
    else {
        return Ok(false);
    };
    // A job that waits has no script yet.
    let is_gentle = !job.waits();
    cancel(env, job.id, is_gentle).await?;
    let begun = Instant::now();
    let mut killed = false;
    loop {
        let now = job_of(env, name).await?.filter(|now| now.id == job.id);
        if !now.is_some_and(|now| now.is_alive() || now.state == "COMPLETING") {
            return Ok(killed);
        }
        if is_gentle && !killed && begun.elapsed() > drain + STEPS {
            cancel(env, job.id, false).await?;
            killed = true;
        }
        if begun.elapsed() > drain + STEPS + KILLED {
            return Err(Error::new(Kind::Host, format!("job {} does not end", job.id))
                .cause(format!("Slurm was asked to cancel it {} s ago", KILLED.as_secs()))
                .hint(format!("scontrol show job {} says what holds it", job.id)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns the exit code and the lines of a command of Slurm.
async fn ask(env: &Env, argv: &[&str]) -> Result<(i32, Vec<String>)> {
    ask_with(env, argv, &BTreeMap::new()).await
}

/// Returns the same of a command with further variables.
async fn ask_with(
    env: &Env,
    argv: &[&str],
    variables: &BTreeMap<String, String>,
) -> Result<(i32, Vec<String>)> {
    let mut lines = Vec::new();
    let mut keep = |line: &str| lines.push(line.to_owned());
    let run = command::run(env, argv, variables, None, &mut keep);
    let finished = match tokio::time::timeout(ANSWER, run).await {
        Ok(finished) => finished.map_err(|error| {
            error.hint("run this on a login node of the cluster: the commands of Slurm must be on PATH")
        })?,
        Err(_) => {
            return Err(Error::new(Kind::Host, format!("{} does not answer", argv[0]))
                .cause(format!("no answer within {} s", ANSWER.as_secs()))
                .hint("scontrol ping says whether the controller runs"));
        }
    };
    Ok((finished.status.code().unwrap_or(137), lines))
}

/// Returns the error of a command that Slurm refused, with its words.
fn refused(program: &str, lines: &[String]) -> Error {
    let mark = format!("{program}: ");
    let words = lines.iter().map(|line| line.trim().trim_start_matches(&mark));
    let words: Vec<&str> = words.filter(|line| !line.is_empty()).collect();
    Error::new(Kind::Host, format!("Slurm refuses {program}")).cause(words.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_job_is_read_with_any_comment() {
        let line = r#"12|RUNNING|None|gb[01-16]|dsr1-gb200|{"io.dsr1.name":"a|b"}"#;
        let job = Job::read(line).unwrap();
        assert_eq!((job.id, job.nodes.as_str()), (12, "gb[01-16]"));
        assert_eq!(job.comment, r#"{"io.dsr1.name":"a|b"}"#);
        assert!(job.is_alive() && !job.waits());
        assert_eq!(
            Job::read("slurm_load_jobs error: Unable to contact slurm controller"),
            None
        );
        assert_eq!(job.log(Path::new("/j")), Path::new("/j/dsr1-gb200-12.log"));
    }
}
