//! `dsr1 diagnose`: the first cause of a failure, by logs.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::context::Context;
use super::status::probe;
use crate::cli::DiagnoseArgs;
use crate::diagnose::{Diagnoser, Diagnosis, Verdict};
use crate::effects::{LogPart, user_files};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::plan::Server;
use crate::report::ServerState;
use crate::ui;

#[derive(Debug, Serialize)]
struct Diagnosed<'a> {
    schema: &'static str,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: DiagnoseArgs) -> Result<()> {
    let mut diagnoser = Diagnoser::default();
    if args.logs.is_empty() {
        server(context, None, &mut diagnoser).await?;
    }
    for name in &args.logs {
        if name == "-" {
            diagnoser.begin("standard input");
            user_files::read_stream(std::io::stdin().lock(), "standard input", &mut |bytes| {
                diagnoser.feed(bytes);
            })?;
        } else if Path::new(name).is_file() || name.contains('/') {
            diagnoser.begin(name);
            user_files::read_log(Path::new(name), &mut |bytes| diagnoser.feed(bytes))?;
        } else {
            server(context, Some(name), &mut diagnoser).await?;
        }
    }
    let diagnosis = diagnoser.finish();
    let document = Diagnosed {
        schema: "dsr1.diagnosis/1",
        diagnosis: &diagnosis,
    };
    context.print(&document, |document| ui::diagnosis(document.diagnosis))?;
    let failed = matches!(diagnosis.verdict, Verdict::Failure | Verdict::Consequence);
    if args.check && failed {
        return Err(Error::new(Kind::Server, diagnosis.title).reported_if(true));
    }
    Ok(())
}

/// Returns the server that ended last, with its log, if none is named and none is there.
async fn last_that_ended(context: &Context, name: Option<&str>) -> Result<Option<(Server, PathBuf)>> {
    let (servers, _) = context.effects.servers(&probe(context)?).await;
    let is_meant = name.is_none() && servers.is_empty();
    Ok(context.effects.last_log().filter(|_| is_meant))
}

/// Reads the log of a server of this host, also of one that ended.
async fn server(context: &Context, name: Option<&str>, diagnoser: &mut Diagnoser) -> Result<()> {
    let states = ServerState::ANY;
    let found = context.effects.find_log(name, &probe(context)?, states).await;
    let (server, kept) = match found {
        Ok(found) => found,
        Err(error) => match last_that_ended(context, name).await? {
            Some((server, log)) => (server, Some(log)),
            None => return Err(error.hint("dsr1 diagnose FILE reads a log in a file, and - standard input")),
        },
    };
    if let Some(path) = kept {
        let text = format!(
            "{} has ended; this is about the log that it left: {}",
            server.name(),
            path.display()
        );
        context.display().event(&Event::Note { text });
    }
    let read = context.effects.feed_log(&server, LogPart::default(), diagnoser);
    context.until_interrupted(read).await.map(|_| ())
}
