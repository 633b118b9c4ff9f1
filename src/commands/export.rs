//! `dsr1 export`: a server for another tool, on stdout or in a file.
//!
//! Not in this module: the forms (`plan::export`).

use super::context::Context;
use super::up;
use crate::cli::{ExportArgs, Runtime, Tool};
use crate::effects::user_files;
use crate::error::Result;
use crate::plan::{self, ExportFormat, ExportRequest};

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
    user_files::write(path, &exported.text, args.force)?;
    context.print(&exported, |_| format!("wrote {}\n", path.display()))
}
