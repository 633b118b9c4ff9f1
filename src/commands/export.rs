//! `dsr1 export`: a server for another tool, on stdout or in a file.

use super::context::Context;
use super::up;
use crate::cli::{ExportArgs, Runtime};
use crate::effects::user_files;
use crate::error::Result;
use crate::render::{self, ExportRequest};

/// Runs the command.
pub(super) async fn run(context: &Context, mut args: ExportArgs) -> Result<()> {
    let runtime = &mut args.up.server.runtime.runtime;
    if *runtime == Runtime::Auto && !args.tool.has_process() {
        *runtime = Runtime::Docker;
    }
    let (mut up, mut facts, notes) = up::make_request(context, &args.up).await?;
    // A server that runs here now has nothing to do with the text.
    facts.servers.clear();
    // The other tool decides when the server ends; the script of the whole chain stops the rehearsal as `up` does.
    up.keep |= args.tool.name() != "bash";
    let file = &args.up.server.profile.profile_file;
    let request = ExportRequest {
        form: args.tool,
        up,
        profile_file: file.as_ref().map(|path| path.display().to_string()),
        notes,
        output: args.output.clone(),
    };
    let exported = render::export(&request, &facts)?;
    let Some(path) = &args.output else {
        return context.print_document(&exported, |exported| exported.text.clone());
    };
    user_files::write(path, &exported.text, args.force)?;
    context.print(&exported, |_| format!("wrote {}\n", path.display()))
}
