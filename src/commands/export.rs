//! `dsr1 export`: a server for another tool, on stdout or in a file.
//!
//! Not in this module: the forms (`plan::export`).

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::context::Context;
use super::up;
use crate::cli::{ExportArgs, Runtime, Tool};
use crate::error::{At, Error, Kind, Result};
use crate::plan::{self, ExportFormat, ExportRequest};

/// Everybody may read an export: it holds no secret.
const MODE: u32 = 0o644;

/// Runs the command.
pub(super) async fn run(context: &Context, mut args: ExportArgs) -> Result<()> {
    let format = match args.tool {
        Tool::Bash => ExportFormat::Bash,
        Tool::Compose => ExportFormat::Compose,
        Tool::Systemd => ExportFormat::Systemd,
        Tool::Quadlet => ExportFormat::Quadlet,
    };
    let runtime = &mut args.up.server.runtime.runtime;
    if *runtime == Runtime::Auto && format.needs_container() {
        *runtime = Runtime::Docker;
    }
    let (up, facts, notes) = up::request(context, &args.up).await?;
    let file = &args.up.server.profile.profile_file;
    let request = ExportRequest {
        format,
        up,
        profile_file: file.as_ref().map(|path| path.display().to_string()),
        notes,
    };
    let exported = plan::export(&request, &facts)?;
    let Some(path) = &args.output else {
        return context.print(&exported, |exported| exported.text.clone());
    };
    write(path, &exported.text, args.force)?;
    context.print(&exported, |_| format!("wrote {}\n", path.display()))
}

/// Writes a file that is whole or absent; an existing one is replaced only by force.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    let name = path
        .file_name()
        .ok_or_else(|| Error::new(Kind::Usage, failed()).cause("it names no file"))?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let temporary = dir.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let publish = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&temporary)?;
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if force {
            std::fs::rename(&temporary, path)?;
        } else {
            // A link, unlike a rename, fails when the name is taken, also when it was taken a moment ago.
            std::fs::hard_link(&temporary, path)?;
            std::fs::remove_file(&temporary)?;
        }
        File::open(dir)?.sync_all()
    };
    match publish() {
        Ok(()) => Ok(()),
        Err(error) => {
            drop(std::fs::remove_file(&temporary));
            if error.kind() == ErrorKind::AlreadyExists {
                return Err(Error::new(Kind::Usage, format!("`{}` exists", path.display()))
                    .hint("choose another name, or replace it with --force"));
            }
            Err(error).at(Kind::Host, failed)
        }
    }
}
