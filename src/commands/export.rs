//! `dsr1 export`: a server for another tool, on stdout or in a file.

use super::cluster;
use super::context::Context;
use super::up_request::make_request;
use crate::cli::{ExportArgs, Runtime};
use crate::effects::user_files;
use crate::error::Result;
use crate::event::Event;
use crate::redact::Redactor;
use crate::render::{self, ClusterExport, ExportRequest, Exported, Form, Tool};

/// Runs the command.
pub(super) async fn run(context: &Context, mut args: ExportArgs) -> Result<()> {
    let exported = match args.tool {
        Tool::Host(form) => for_host(context, &mut args, form).await?,
        Tool::Cluster(form) => {
            cluster::refuse_unused(&args.cluster, form.name(), Some(form))?;
            let in_container = form.needs_image() || args.cluster.container_image.is_some();
            let (serve, facts, notes) =
                Box::pin(cluster::request(context, &mut args.up, in_container)).await?;
            let request = ClusterExport {
                form,
                options: cluster::options(&args.cluster, &serve, &facts)?,
                serve,
                notes,
                output: args.output.clone(),
            };
            render::export_cluster(&request, &facts)?
        }
    };
    deliver(context, &args, &exported)
}

/// Returns the text for a tool that starts the server on one host.
async fn for_host(context: &Context, args: &mut ExportArgs, form: &'static dyn Form) -> Result<Exported> {
    cluster::refuse_unused(&args.cluster, form.name(), None)?;
    let runtime = &mut args.up.server.runtime.runtime;
    if *runtime == Runtime::Auto && !form.has_process() {
        *runtime = Runtime::Docker;
    }
    let (mut up, mut facts, notes) = make_request(context, &args.up).await?;
    // A server that runs here now has nothing to do with the text.
    facts.servers.clear();
    // The other tool decides when the server ends; the script of the whole chain stops the rehearsal as `up` does.
    up.keep |= form.name() != "bash";
    let file = &args.up.server.profile.profile_file;
    let request = ExportRequest {
        form,
        up,
        profile_file: file.as_ref().map(|path| path.display().to_string()),
        notes,
        output: args.output.clone(),
    };
    render::export(&request, &facts)
}

/// Prints the text, or writes it to the file that the user names.
fn deliver(context: &Context, args: &ExportArgs, exported: &Exported) -> Result<()> {
    let Some(path) = &args.output else {
        // The text is for a pipe or a file of the user, which is where its secrets belong.
        return context.print_document(exported, |exported| exported.text.clone());
    };
    // The text holds the variables of the server, because it does not work without them.
    let has_secret = Redactor::default().begin().redact_text(&exported.text) != exported.text;
    if has_secret {
        let hint = "choose another name, or replace it with --force";
        user_files::write_private(path, &exported.text, args.force, hint)?;
        let text = format!(
            "{} holds the value of a secret variable: only you may read it",
            path.display()
        );
        context.display().event(&Event::Note { text });
    } else {
        user_files::write(path, &exported.text, args.force)?;
    }
    context.print(exported, |_| format!("wrote {}\n", path.display()))
}
