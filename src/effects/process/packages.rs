//! Installs pinned packages into a venv: with uv, or with pip where uv cannot be had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::effects::env::Env;
use crate::effects::process::command::{self, Finished};
use crate::effects::process::uv;
use crate::error::{At, Error, Kind, Result};
use crate::event::{Source, StepEvents};
use crate::plan::CreateVenv;

/// Time between two measurements of an installation by uv, which reads only the folders of packages in work.
const OFTEN: Duration = Duration::from_millis(500);
/// Time between two measurements of an installation by pip, which reads every folder of the venv.
const SELDOM: Duration = Duration::from_secs(3);
/// Time for `pip config list`.
const SHORT: Duration = Duration::from_secs(30);

/// Extension of the folder for the temporary files of pip.
pub(super) const TEMPORARY: &str = "tmp";

/// Installs the packages of `step` into its venv, which has pip.
///
/// # Errors
/// [`Kind::Host`] when the disk is full, [`Kind::Integrity`] for a file with another hash, [`Kind::Hub`] when the package
/// index fails.
pub(super) async fn install(step: &CreateVenv, env: &Env, events: &StepEvents<'_>) -> Result<()> {
    let pip = Pip::new(step, env).await;
    let why = match installer(step, &pip, env, events).await? {
        Ok(settings) => {
            uv::note_user(&uv::cache_dir(env), true);
            match with_uv(step, &settings, env, events).await? {
                Ok(()) => return Ok(()),
                Err(why) => why,
            }
        }
        Err(why) => why,
    };
    uv::note_user(&uv::cache_dir(env), false);
    if !why.is_empty() {
        events.note(format!("pip installs the packages, which takes longer: {why}"));
    }
    with_pip(step, &pip, env, events).await
}

/// pip of a venv.
struct Pip {
    python: String,
    /// Its settings, as `pip config list` prints them.
    settings: String,
    /// Folder for temporary files.
    temporary: PathBuf,
    /// Folder for what the index lets pip keep; `None` if the user has chosen one.
    cache: Option<PathBuf>,
}

impl Pip {
    async fn new(step: &CreateVenv, env: &Env) -> Self {
        let python = python(step);
        let settings = command::output(env, &[&python, "-m", "pip", "config", "list"], SHORT)
            .await
            .unwrap_or_default();
        let is_chosen = settings.contains(".cache-dir=") || settings.contains(".no-cache-dir=");
        Self {
            python,
            temporary: Path::new(&step.dir).with_extension(TEMPORARY),
            // In dsr1's folder, so that it goes with what else is fetched.
            cache: (!is_chosen).then(|| uv::cache_dir(env).join("pip")),
            settings,
        }
    }

    /// Installs the requirements.
    async fn install(
        &self,
        requirements: &[String],
        env: &Env,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Finished> {
        let cache = self
            .cache
            .as_ref()
            .map(|dir| format!("--cache-dir={}", dir.display()));
        let mut argv = vec![
            self.python.as_str(),
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar=off",
            // Python compiles what it imports, when it imports it first.
            "--no-compile",
            // Two tries show that a package index cannot be reached; the default is five with back-off.
            "--retries=1",
            "--timeout=15",
            "-r",
            "/dev/stdin",
        ];
        argv.extend(cache.as_deref());
        // pip unpacks gigabytes into the folder for temporary files, and leaves them there when it is killed.
        let temporary = Temporary(self.temporary.clone());
        std::fs::create_dir_all(&temporary.0)
            .at(Kind::Host, || format!("cannot make `{}`", temporary.0.display()))?;
        let extra = BTreeMap::from([("TMPDIR".to_owned(), temporary.0.to_string_lossy().into_owned())]);
        let requirements = requirements.join("\n") + "\n";
        command::run(env, &argv, &extra, Some(requirements.as_bytes()), on_line).await
    }
}

/// Puts uv into the venv. Returns its settings, or the reason why pip has to do: empty if the stack names no uv.
async fn installer(
    step: &CreateVenv,
    pip: &Pip,
    env: &Env,
    events: &StepEvents<'_>,
) -> Result<std::result::Result<BTreeMap<String, String>, String>> {
    let Some(installer) = &step.installer else {
        return Ok(Err(String::new()));
    };
    let name = installer.split_whitespace().next().unwrap_or_default();
    let mut settings = match uv::settings(&pip.settings) {
        Ok(settings) => settings,
        Err(setting) => {
            return Ok(Err(format!(
                "uv does not support pip's setting `{}`",
                setting.escape_debug()
            )));
        }
    };
    if let Some(bundle) = &env.paths.ca_bundle {
        settings
            .entry("SSL_CERT_FILE".to_owned())
            .or_insert_with(|| bundle.clone());
    }
    events.activity(&format!("fetch {}", name.replace("==", " ")), None);
    let mut on_line = |line: &str| events.line(Source::Build, line);
    let finished = pip
        .install(std::slice::from_ref(installer), env, &mut on_line)
        .await?;
    if finished.status.success() {
        return Ok(Ok(settings));
    }
    // pip says this also if it reaches no index.
    if has(&finished.tail, "No matching distribution found") && !is_unreachable(&finished.tail) {
        return Ok(Err(format!("the package index does not have {name}")));
    }
    Err(pip_error(finished.tail))
}

/// Installs the packages with uv. Returns the reason if the environment suits pip only.
async fn with_uv(
    step: &CreateVenv,
    settings: &BTreeMap<String, String>,
    env: &Env,
    events: &StepEvents<'_>,
) -> Result<std::result::Result<(), String>> {
    let cache = uv::cache_dir(env);
    std::fs::create_dir_all(&cache).at(Kind::Host, || format!("cannot make `{}`", cache.display()))?;
    uv::remove_unfinished(&cache);
    let _unfinished = UnfinishedPackages(&cache);
    let (program, python) = (format!("{}/bin/uv", step.dir), python(step));
    let cache_dir = cache.to_string_lossy();
    let mut argv = vec![
        program.as_str(),
        "pip",
        "install",
        "--no-config",
        "--no-python-downloads",
        "--no-progress",
        "--no-deps",
        "--only-binary=:all:",
        // `clean` finds the packages in use by their links.
        "--link-mode=hardlink",
        "--cache-dir",
        &cache_dir,
        "--python",
        &python,
        "-r",
        "-",
    ];
    let mut extra = settings.clone();
    if step.requirements.iter().all(|line| line.contains("--hash=")) {
        argv.push("--require-hashes");
        // pip takes a package from any of its indexes; a hash makes that safe.
        extra.insert("UV_INDEX_STRATEGY".to_owned(), "unsafe-best-match".to_owned());
    }
    let requirements = step.requirements.join("\n") + "\n";
    let mut progress = uv::Progress::new(&cache, &step.requirements);
    let (packages, total) = (step.requirements.len(), step.install_bytes);
    let show = || {
        let (bytes, ready) = progress.measure();
        let item = format!("{ready} of {packages} packages");
        events.progress(bytes, Some(total.max(bytes)), &item);
    };
    let mut on_line = |line: &str| events.line(Source::Build, line);
    let work = command::run(env, &argv, &extra, Some(requirements.as_bytes()), &mut on_line);
    let finished = while_showing(work, OFTEN, show).await?;
    if finished.status.success() {
        return Ok(Ok(()));
    }
    uv_error(finished.tail)
}

/// Returns the error for uv's last lines; `Ok` is a reason to try pip, which reached the same index a moment before.
fn uv_error(tail: Vec<String>) -> Result<std::result::Result<(), String>> {
    if has(&tail, "No space left on device") {
        return Err(disk_full().log(tail));
    }
    if has(&tail, "Hash mismatch for") {
        return Err(other_file().log(tail));
    }
    // The last cause is the most specific.
    let last = tail.iter().rev().find(|line| !line.trim().is_empty());
    let last = last.map_or("uv failed", |line| line.trim().trim_start_matches("cause: "));
    Ok(Err(format!("uv failed: {last}")))
}

/// Installs the packages with pip.
async fn with_pip(step: &CreateVenv, pip: &Pip, env: &Env, events: &StepEvents<'_>) -> Result<()> {
    let packages = step.requirements.len() as u64;
    let site = PathBuf::from(&step.dir).join("lib");
    let (collected, is_unpacking) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut on_line = |line: &str| {
        events.line(Source::Build, line);
        if line.trim_start().starts_with("Collecting ") {
            let done = collected.fetch_add(1, Ordering::Relaxed) + 1;
            events.activity("fetch packages", Some((done, packages)));
        }
        is_unpacking.fetch_or(
            line.starts_with("Installing collected packages"),
            Ordering::Relaxed,
        );
    };
    let show = || {
        if is_unpacking.load(Ordering::Relaxed) {
            let bytes = uv::size(&site);
            events.progress(bytes, Some(step.install_bytes.max(bytes)), "unpack the packages");
        }
    };
    let work = pip.install(&step.requirements, env, &mut on_line);
    let finished = while_showing(work, SELDOM, show).await?;
    if finished.status.success() {
        Ok(())
    } else {
        Err(pip_error(finished.tail))
    }
}

fn python(step: &CreateVenv) -> String {
    format!("{}/bin/python3", step.dir)
}

/// Awaits `work`, and calls `show` from time to time until it ends.
async fn while_showing<T>(work: impl Future<Output = T>, every: Duration, mut show: impl FnMut()) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => show(),
        }
    }
}

fn has(tail: &[String], text: &str) -> bool {
    tail.iter().any(|line| line.contains(text))
}

fn disk_full() -> Error {
    Error::new(Kind::Host, "the disk filled up while installing packages")
        .hint("set XDG_CACHE_HOME to a directory on a larger disk")
}

fn other_file() -> Error {
    Error::new(Kind::Integrity, "cannot install packages")
        .cause("the package index served another file than the stack names")
        .hint("ask the administrator of the index, or name another with PIP_INDEX_URL")
}

fn unreachable_index() -> Error {
    Error::new(Kind::Hub, "cannot install packages")
        .cause("the package index cannot be reached")
        .hint("check the network and proxy, or set PIP_INDEX_URL to a mirror")
}

/// Returns true if pip's last lines tell of an index that it cannot reach.
fn is_unreachable(tail: &[String]) -> bool {
    [
        "NewConnectionError",
        "Connection refused",
        "Failed to establish",
        "Temporary failure in name",
        "ConnectTimeout",
        "ProxyError",
        "Max retries exceeded",
    ]
    .into_iter()
    .any(|text| has(tail, text))
}

/// Returns the error for pip's last lines.
fn pip_error(tail: Vec<String>) -> Error {
    let printed = |text: &str| has(&tail, text);
    let error = if printed("No space left on device") {
        disk_full()
    } else if printed("DO NOT MATCH THE HASHES") {
        other_file()
    } else if printed("CERTIFICATE_VERIFY_FAILED") {
        Error::new(Kind::Hub, "cannot install packages")
            .cause("the package index has a certificate that pip does not trust")
            .hint("set PIP_CERT to your site's CA bundle")
    } else if is_unreachable(&tail) {
        unreachable_index()
    } else if printed("No matching distribution found") {
        Error::new(Kind::Hub, "cannot install packages")
            .cause("the package index has no wheel of a pinned version for this platform")
            .hint("the log names the package; the stack needs x86-64 Linux and CPython 3.11 or newer")
    } else {
        Error::new(Kind::Hub, "cannot install packages").cause("pip failed")
    };
    error.log(tail)
}

/// A folder that is removed when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A guard that removes packages that are not completely unpacked when it is dropped, by an error or by Ctrl-C.
struct UnfinishedPackages<'a>(&'a Path);

impl Drop for UnfinishedPackages<'_> {
    fn drop(&mut self) {
        uv::remove_unfinished(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_failures_have_causes() {
        let case = |line: &str| pip_error(vec![line.to_owned()]);
        assert_eq!(
            case("OSError: [Errno 28] No space left on device").kind(),
            Kind::Host
        );
        let refused = case("WARNING: Retrying ... NewConnectionError('...: Connection refused')");
        assert_eq!(
            (refused.kind(), refused.causes()),
            (Kind::Hub, vec!["the package index cannot be reached".to_owned()])
        );
        assert!(case("[SSL: CERTIFICATE_VERIFY_FAILED]").hints()[0].contains("PIP_CERT"));
    }

    /// The texts are those that uv 0.13.9 printed.
    #[test]
    fn uv_failures_have_causes_or_are_left_to_pip() {
        let case = |line: &str| uv_error(vec!["error: Failed to fetch: x".to_owned(), line.to_owned()]);
        let kind = |line: &str| case(line).unwrap_err().kind();
        let full = "  cause: failed to write to file `/c/.tmp9/x.so`: No space left on device (os error 28)";
        assert_eq!(kind(full), Kind::Host);
        assert_eq!(kind("  cause: Hash mismatch for `six==1.17.0`"), Kind::Integrity);
        assert_eq!(
            case("  cause: invalid peer certificate: UnknownIssuer").unwrap(),
            Err("uv failed: invalid peer certificate: UnknownIssuer".to_owned())
        );
    }
}
