//! Child processes that end by themselves: pip, probes, clients. The whole group is killed when its handle is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::effects::env::Env;
use crate::effects::lines::Splitter;
use crate::error::{At, Error, Kind, Result};

/// Returns a command with a clean environment and its own process group.
///
/// The environment is not inherited: a stray `PYTHONPATH` or `VIRTUAL_ENV` must not change the program that runs.
pub(in crate::effects) fn new(
    env: &Env,
    argv: &[&str],
    extra: &BTreeMap<String, String>,
) -> Result<std::process::Command> {
    let mut command = of(env, argv, extra)?;
    command.process_group(0);
    Ok(command)
}

/// Returns a command with a clean environment, in the process group of this one.
fn of(env: &Env, argv: &[&str], extra: &BTreeMap<String, String>) -> Result<std::process::Command> {
    let (program, rest) = argv
        .split_first()
        .ok_or_else(|| Error::new(Kind::Internal, "an empty command"))?;
    #[expect(clippy::disallowed_methods, reason = "the only place that starts processes")]
    let mut command = std::process::Command::new(program);
    command
        .args(rest)
        .env_clear()
        .envs(env.inherited.iter().map(|(key, value)| (key, value)))
        .envs(extra);
    Ok(command)
}

/// Becomes another program, which reads `input` and has this terminal. Does not return if that succeeds.
///
/// # Errors
/// [`Kind::Host`] if there is no such program, or it cannot be run.
pub(in crate::effects) fn become_program(
    env: &Env,
    argv: &[&str],
    extra: &BTreeMap<String, String>,
    input: &[u8],
) -> Result<Infallible> {
    let failed = || format!("cannot run `{}`", argv[0]);
    let mut command = of(env, argv, extra)?;
    // A file without a name: nobody would read the other end of a pipe.
    let file = rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC).map_err(std::io::Error::from);
    let mut file = File::from(file.at(Kind::Host, failed)?);
    file.write_all(input)
        .and_then(|()| file.rewind())
        .at(Kind::Host, failed)?;
    Err(command.stdin(file).exec()).at(Kind::Host, failed)
}

/// A process group that is killed when it is dropped, so that an interrupted step leaves no grandchild.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// The result of a command.
#[derive(Debug)]
pub(in crate::effects) struct Finished {
    /// Its exit status.
    pub(in crate::effects) status: ExitStatus,
    /// Its last lines, for error reports.
    pub(in crate::effects) tail: Vec<String>,
}

/// Lines that are kept for error reports.
const TAIL: usize = 30;

/// Longest wait for the output of a child that ended.
const DRAIN: Duration = Duration::from_millis(300);

/// Runs a command to its end and passes each line of its stdout and stderr to `on_line`. Dropping the future kills it.
pub(in crate::effects) async fn run(
    env: &Env,
    argv: &[&str],
    extra: &BTreeMap<String, String>,
    stdin: Option<&[u8]>,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Finished> {
    let mut command = Command::from(new(env, argv, extra)?);
    command.stdin(if stdin.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command, argv)?;
    let group = Group(
        child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw),
    );
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), stdin) {
        // A child that does not read its input has failed already, and its own message has the cause.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut pipe, bytes).await;
    }
    let (sender, mut receiver) = mpsc::channel(256);
    read_lines(child.stdout.take(), sender.clone());
    read_lines(child.stderr.take(), sender);
    let mut tail = VecDeque::new();
    let mut handle_line = |line: String| {
        on_line(&line);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    };
    let status = loop {
        tokio::select! {
            Some(line) = receiver.recv() => handle_line(line),
            status = child.wait() => break status.at(Kind::Internal, || format!("cannot wait for `{}`", argv[0]))?,
        }
    };
    // A grandchild may keep the pipe open: output from before the end arrives within this time.
    while let Ok(Some(line)) = tokio::time::timeout(DRAIN, receiver.recv()).await {
        handle_line(line);
    }
    drop(group);
    Ok(Finished {
        status,
        tail: tail.into(),
    })
}

/// Sends each line of `pipe`, until it ends or the receiver is gone.
fn read_lines<R: AsyncRead + Unpin + Send + 'static>(pipe: Option<R>, sender: mpsc::Sender<String>) {
    let Some(mut pipe) = pipe else { return };
    tokio::spawn(async move {
        let (mut buffer, mut lines) = (vec![0; 16 * 1024], Splitter::default());
        loop {
            let count = pipe.read(&mut buffer).await.unwrap_or(0);
            let mut found = Vec::new();
            let mut keep = |line: &str| found.push(line.to_owned());
            if count == 0 {
                lines.finish(&mut keep);
            } else {
                lines.push(&buffer[..count], &mut keep);
            }
            for line in found {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
            if count == 0 {
                return;
            }
        }
    });
}

fn spawn(command: &mut Command, argv: &[&str]) -> Result<Child> {
    command
        .kill_on_drop(true)
        .spawn()
        .at(Kind::Host, || format!("cannot run `{}`", argv[0]))
}

/// Returns the standard output of a command that must succeed within `limit`.
///
/// # Errors
/// [`Kind::Host`] with the end of its standard error when it does not.
pub(in crate::effects) async fn capture(
    env: &Env,
    argv: &[&str],
    extra: &BTreeMap<String, String>,
    limit: Duration,
) -> Result<Vec<u8>> {
    let program = argv.first().copied().unwrap_or_default();
    let failed = || format!("`{program}` failed");
    let mut command = Command::from(new(env, argv, extra)?);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output())
        .await
        .map_err(|_| {
            Error::new(Kind::Host, failed()).cause(format!("it did not end within {} s", limit.as_secs()))
        })?
        .at(Kind::Host, || format!("cannot run `{program}`"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let last = lines[lines.len().saturating_sub(TAIL)..].to_vec();
    Err(Error::new(Kind::Host, failed())
        .cause(output.status.to_string())
        .log(last))
}

/// Returns the standard output of a command; `None` unless it succeeds within `limit`.
pub(in crate::effects) async fn output(env: &Env, argv: &[&str], limit: Duration) -> Option<String> {
    let mut command = Command::from(new(env, argv, &BTreeMap::new()).ok()?);
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output()).await.ok()?.ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
