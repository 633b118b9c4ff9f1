//! Makes a stack's venv: under its final name it is complete, or it does not exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::effects::env::Env;
use crate::effects::files::{self, SharedLock};
use crate::effects::process::packages::{self, TEMPORARY};
use crate::effects::process::{command, uv};
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

/// Returns the lock of a venv: an installation and a removal hold it alone, starts of servers share it.
#[must_use]
pub(in crate::effects) fn lock_path(dir: &Path) -> PathBuf {
    dir.with_extension("lock")
}

/// Keeps `dsr1 clean` from removing a venv, until the result is dropped; waits while another command installs or removes it.
/// `None` if nothing can be locked there.
///
/// # Errors
/// [`Kind::Host`] if the venv is not complete, or not any more.
pub(in crate::effects) async fn keep(
    dir: &Path,
    stack: &str,
    events: &StepEvents<'_>,
) -> Result<Option<SharedLock>> {
    let lock = files::share(&lock_path(dir), events, HELD).await;
    if is_ready(dir) {
        return Ok(lock);
    }
    Err(
        Error::new(Kind::Host, format!("the packages of stack `{stack}` are gone"))
            .cause(format!(
                "`{}` is missing or not complete: another command, such as dsr1 clean, removed it meanwhile",
                dir.display()
            ))
            .hint(format!(
                "dsr1 build --stack {stack} --runtime process installs them again, and so does dsr1 up"
            )),
    )
}

/// The reason to wait for the lock of a venv.
const HELD: &str = "another dsr1 installs or removes the same packages";

/// Returns the number of packages that an installation does not fetch again, because uv keeps them; `None` if the last
/// installation was one by pip, which keeps what the package index allows.
#[must_use]
pub fn kept_packages(env: &Env) -> Option<usize> {
    uv::kept_packages(&uv::cache_dir(env))
}

/// Makes the venv unless it exists. After an interruption, the packages that uv unpacked completely are not fetched again.
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
    let lock = files::lock(&lock_path(dir), events, HELD).await?;
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
    events.activity("make the venv", None);
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
    packages::install(step, env, events).await?;
    write_files(step, env).await?;
    files::write_atomic(&dir.join(MARKER), step.inputs.as_bytes())?;
    unfinished.keep();
    drop(lock);
    Ok(Installed {
        cached: false,
        ..done
    })
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
