//! `dsr1 lock`, `dsr1 check` and `serve --locked`: a file that describes a server exactly.

use std::path::Path;

use serde::Serialize;

use super::context::{Context, names_profile};
use crate::cli::{CheckArgs, LockArgs, Runtime, ServerArgs};
use crate::effects::user_files;
use crate::error::{At, Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::ServeRequest;
use crate::plan::lock::{self, Lock, LockDifference, LockedEngine, lock_differences};
use crate::ui;
use crate::units::counted;

#[derive(Debug, Serialize)]
struct Checked {
    schema: &'static str,
    profile: String,
    stack: String,
    same: bool,
    /// True if the weights are on this host with every hash checked.
    weights_here: bool,
    differences: Vec<LockDifference>,
}

/// Writes a lock.
pub(super) async fn lock(context: &Context, args: LockArgs) -> Result<()> {
    let (request, facts, _) = Box::pin(context.server_request(&args.server, true, None)).await?;
    let lock = lock_of_request(context, &request, &facts)?;
    let text = format!("{}\n", serde_json::to_string_pretty(&lock).unwrap_or_default());
    if args.output == Path::new("-") {
        return ui::print(&text);
    }
    user_files::write(&args.output, &text, args.force)?;
    let files = lock.weights.files.as_ref().map_or_else(
        || "without hashes of weights: they are not pulled yet".to_owned(),
        |files| format!("with the hashes of {}", counted(files.len(), "weight file")),
    );
    let written = serde_json::json!({"schema": "dsr1.locked/1", "file": args.output, "lock": lock});
    context.print(&written, |_| {
        format!(
            "wrote {}: profile {} on stack {}, {files}\n",
            args.output.display(),
            lock.profile.name,
            lock.stack.name
        )
    })
}

/// Compares a lock with this host.
pub(super) async fn check(context: &Context, args: CheckArgs) -> Result<()> {
    let locked = read(&args.file, "dsr1 check LOCK")?;
    let server = as_locked(args.server, &locked);
    let (request, facts, _) = Box::pin(context.server_request(&server, true, None)).await?;
    let here = lock_of_request(context, &request, &facts)?;
    let differences = lock_differences(&locked, &here);
    let checked = Checked {
        schema: "dsr1.check/1",
        profile: locked.profile.name.clone(),
        stack: locked.stack.name.clone(),
        same: !differences.iter().any(|one| one.matters),
        weights_here: here.weights.files.is_some(),
        differences,
    };
    context.print(&checked, |checked| {
        let subject = (checked.profile.as_str(), checked.stack.as_str());
        ui::lock_check(subject, &checked.differences, checked.weights_here)
    })?;
    if checked.same {
        return Ok(());
    }
    Err(error_of_differences(&args.file, &checked.differences).reported_if(context.is_json()))
}

/// Refuses a request that differs from the lock in something that matters.
pub(super) fn refuse(context: &Context, locked: &Lock, request: &ServeRequest, facts: &Facts) -> Result<()> {
    let here = lock_of_request(context, request, facts)?;
    let differences = lock_differences(locked, &here);
    if differences.iter().any(|one| one.matters) {
        let lines = differences
            .iter()
            .filter(|one| one.matters)
            .map(|one| format!("{}: locked {}, now {}", one.what, one.locked, one.here));
        return Err(Error::new(Kind::Gate, "the server would differ from the lock")
            .log(lines.collect())
            .hint("dsr1 check shows every difference; dsr1 lock writes a new lock"));
    }
    Ok(())
}

/// Returns the lock that this host would write for a request.
fn lock_of_request(context: &Context, request: &ServeRequest, facts: &Facts) -> Result<Lock> {
    let catalog = context.catalog(None)?;
    let text = catalog.stack_text(&request.stack.name);
    lock::lock_server(request, &text, facts, env!("CARGO_PKG_VERSION"))
}

fn error_of_differences(file: &Path, differences: &[LockDifference]) -> Error {
    let count = differences.iter().filter(|one| one.matters).count();
    let properties = if count == 1 {
        "property of this host differs"
    } else {
        "properties of this host differ"
    };
    Error::new(
        Kind::Gate,
        format!("{count} {properties} from `{}`", file.display()),
    )
}

/// Reads a lock; `usage` is the command or option with which a user names another file.
pub(super) fn read(path: &Path, usage: &str) -> Result<Lock> {
    let file = user_files::read_file(path).map_err(|error| {
        error.hint(format!(
            "dsr1 lock --profile NAME writes a lock; {usage} names another file"
        ))
    })?;
    let name = &file.origin;
    let lock: Lock =
        serde_json::from_str(&file.text).at(Kind::Usage, || format!("`{name}` is not a lock of dsr1"))?;
    if lock.schema == lock::SCHEMA {
        return Ok(lock);
    }
    Err(
        Error::new(Kind::Usage, format!("`{name}` is not a lock for this dsr1")).cause(format!(
            "its schema is `{}`, not `{}`",
            lock.schema.escape_debug(),
            lock::SCHEMA
        )),
    )
}

/// Returns the arguments, completed from the lock.
pub(super) fn as_locked(mut args: ServerArgs, locked: &Lock) -> ServerArgs {
    if args.named.is_none() && !names_profile(&args.profile) {
        args.profile.profile = Some(locked.profile.name.clone());
    }
    if args.profile.stack.is_none() {
        args.profile.stack = Some(locked.stack.name.clone());
    }
    if args.runtime.runtime == Runtime::Auto {
        args.runtime.runtime = match locked.engine {
            LockedEngine::Docker { .. } => Runtime::Docker,
            LockedEngine::Process { .. } => Runtime::Process,
        };
    }
    args
}
