//! Makes a stack's venv: under its final name it is complete, or it does not exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::effects::env::Env;
use crate::effects::files;
use crate::effects::process::command;
use crate::error::{At, Error, Kind, Result};
use crate::event::{Source, StepEvents};
use crate::plan::CreateVenv;
use crate::report::Installed;

/// File in a venv that names the inputs it was made from; written last.
const MARKER: &str = "dsr1-inputs";

/// Returns true if the venv at `dir` is complete.
#[must_use]
pub fn is_ready(dir: &Path) -> bool {
    dir.join(MARKER).is_file()
}

/// Returns the complete venvs below `<cache>/venvs`.
#[must_use]
pub fn list_ready(cache: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(Path::new(cache).join("venvs")) else {
        return Vec::new();
    };
    let mut dirs: Vec<String> = entries
        .flatten()
        .filter(|entry| is_ready(&entry.path()))
        .map(|entry| entry.path().to_string_lossy().into_owned())
        .collect();
    dirs.sort();
    dirs
}

/// Makes the venv unless it exists. After an interruption, only what the index lets pip keep in its cache is not fetched
/// again.
///
/// # Errors
/// [`Kind::Host`] when Python or the disk fails, [`Kind::Hub`] when the package index does.
pub async fn create(step: &CreateVenv, env: &Env, events: &StepEvents<'_>) -> Result<Installed> {
    let dir = Path::new(&step.dir);
    let done = Installed {
        dir: step.dir.clone(),
        cached: true,
        packages: step.requirements.len(),
    };
    if std::fs::read_to_string(dir.join(MARKER)).is_ok_and(|inputs| inputs.trim() == step.inputs) {
        return Ok(done);
    }
    // A venv cannot be renamed (its scripts hold the path). So a marker, written last, makes it complete, and an unfinished
    // venv is removed when this guard is dropped, by an error or by Ctrl-C.
    let lock = files::lock(
        &dir.with_extension("lock"),
        events,
        "another dsr1 is installing the same packages",
    )
    .await?;
    if is_ready(dir) {
        return Ok(done);
    }
    let unfinished = Unfinished(dir);
    // What a killed installation left.
    for left in [
        dir.to_owned(),
        dir.with_extension(TRASH),
        dir.with_extension(TEMPORARY),
    ] {
        remove(&left)?;
    }
    events.note(format!(
        "installing {} packages into {}",
        step.requirements.len(),
        step.dir
    ));
    let mut on_line = |line: &str| events.line(Source::Build, line);
    let made = command::run(
        env,
        &[&step.python, "-m", "venv", &step.dir],
        &BTreeMap::new(),
        None,
        &mut on_line,
    )
    .await?;
    if !made.status.success() {
        return Err(
            Error::new(Kind::Host, format!("cannot make a venv at `{}`", step.dir))
                .cause("`python3 -m venv` failed")
                .hint("apt-get install python3-venv")
                .log(made.tail),
        );
    }
    install(step, env, events).await?;
    write_files(step, env).await?;
    files::write_atomic(&dir.join(MARKER), step.inputs.as_bytes())?;
    unfinished.keep();
    drop(lock);
    Ok(Installed {
        cached: false,
        ..done
    })
}

async fn install(step: &CreateVenv, env: &Env, events: &StepEvents<'_>) -> Result<()> {
    let python = format!("{}/bin/python3", step.dir);
    let argv = [
        &python,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--disable-pip-version-check",
        "--no-input",
        // One line for each package instead of a bar: the display shows the last line.
        "--progress-bar=off",
        // Two tries show that a package index cannot be reached; the default is five with back-off.
        "--retries=1",
        "--timeout=15",
        "-r",
        "/dev/stdin",
    ];
    // pip unpacks gigabytes into the folder for temporary files, and leaves them there when it is killed.
    let temporary = Temporary(Path::new(&step.dir).with_extension(TEMPORARY));
    std::fs::create_dir_all(&temporary.0)
        .at(Kind::Host, || format!("cannot make `{}`", temporary.0.display()))?;
    let extra = BTreeMap::from([("TMPDIR".to_owned(), temporary.0.to_string_lossy().into_owned())]);
    let requirements = step.requirements.join("\n") + "\n";
    let total = step.requirements.len() as u64;
    let mut collected = 0;
    let mut on_line = |line: &str| {
        if let Some(name) = line.trim_start().strip_prefix("Collecting ") {
            collected += 1;
            events.line(Source::Build, &format!("[{collected}/{total}] {name}"));
        } else {
            events.line(Source::Build, line);
        }
    };
    let finished = command::run(env, &argv, &extra, Some(requirements.as_bytes()), &mut on_line).await?;
    if finished.status.success() {
        Ok(())
    } else {
        Err(pip_error(finished.tail))
    }
}

/// Returns the error for pip's last lines.
fn pip_error(tail: Vec<String>) -> Error {
    let printed = |text: &str| tail.iter().any(|line| line.contains(text));
    let error = if printed("No space left on device") {
        Error::new(Kind::Host, "the disk filled up while installing packages")
            .hint("set XDG_CACHE_HOME to a directory on a larger disk")
    } else if printed("CERTIFICATE_VERIFY_FAILED") {
        Error::new(Kind::Hub, "cannot install packages")
            .cause("the package index has a certificate that pip does not trust")
            .hint("set PIP_CERT to your site's CA bundle")
    } else if [
        "NewConnectionError",
        "Connection refused",
        "Failed to establish",
        "Temporary failure in name",
        "ConnectTimeout",
        "ProxyError",
        "Max retries exceeded",
    ]
    .into_iter()
    .any(printed)
    {
        Error::new(Kind::Hub, "cannot install packages")
            .cause("the package index cannot be reached")
            .hint("check the network and proxy, or set PIP_INDEX_URL to a mirror")
    } else if printed("No matching distribution found") {
        Error::new(Kind::Hub, "cannot install packages")
            .cause("the package index has no wheel of a pinned version for this platform")
            .hint("the log names the package; the stack needs x86-64 Linux and CPython 3.11 or newer")
    } else {
        Error::new(Kind::Hub, "cannot install packages").cause("pip failed")
    };
    error.log(tail)
}

async fn write_files(step: &CreateVenv, env: &Env) -> Result<()> {
    if step.files.is_empty() {
        return Ok(());
    }
    let python = format!("{}/bin/python3", step.dir);
    let probe = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let limit = std::time::Duration::from_secs(30);
    let site = command::output(env, &[&python, "-c", probe], limit)
        .await
        .ok_or_else(|| Error::new(Kind::Host, format!("`{python}` does not run")))?;
    for (path, text) in &step.files {
        files::write_atomic(&Path::new(site.trim()).join(path), text.as_bytes())?;
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at(Kind::Host, || {
            format!("cannot remove the unfinished `{}`", dir.display())
        }),
        _ => Ok(()),
    }
}

/// Extension of the folder for the temporary files of an installation.
const TEMPORARY: &str = "tmp";

/// A folder that is removed when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Extension of an unfinished venv that is being removed.
const TRASH: &str = "unfinished";

/// A guard that renames an unfinished venv at once when it is dropped, and then removes it.
struct Unfinished<'a>(&'a Path);

impl Unfinished<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let trash = self.0.with_extension(TRASH);
        if std::fs::rename(self.0, &trash).is_ok() {
            let _ = std::fs::remove_dir_all(trash);
        }
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
}
