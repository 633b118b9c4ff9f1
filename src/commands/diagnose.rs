//! `dsr1 diagnose`: the first cause of a failure, by logs.

use std::path::Path;

use serde::Serialize;

use super::context::Context;
use super::logs::note_of_file;
use super::status::probe;
use crate::cli::DiagnoseArgs;
use crate::diagnose::{Diagnoser, Diagnosis, Verdict};
use crate::effects::{FoundLog, LogPart, user_files};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::report::{Happening, ServerState, ServerStatus};
use crate::ui;

#[derive(Debug, Serialize)]
struct Diagnosed<'a> {
    schema: &'static str,
    /// The server whose log was read, if it is there.
    server: Option<&'a ServerStatus>,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: DiagnoseArgs) -> Result<()> {
    let back = args.start.starts_back();
    let mut diagnoser = Diagnoser::default();
    let mut servers = Vec::new();
    if args.logs.is_empty() {
        servers.extend(server(context, None, back, &mut diagnoser).await?);
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
            servers.extend(server(context, Some(name), back, &mut diagnoser).await?);
        }
    }
    let diagnosis = diagnoser.finish();
    // The state of one server does not explain the logs of several.
    let status = match servers.as_slice() {
        [status] if args.logs.len() <= 1 => Some(status),
        _ => None,
    };
    let document = Diagnosed {
        schema: "dsr1.diagnosis/1",
        server: status,
        diagnosis: &diagnosis,
    };
    context.print(&document, |document| {
        ui::diagnosis(document.diagnosis, document.server)
    })?;
    if let Some(text) = status.and_then(|status| crash_before(context, status)) {
        context.display().event(&Event::Note { text });
    }
    if !args.check {
        return Ok(());
    }
    match (diagnosis.verdict, status) {
        (Verdict::Failure | Verdict::Consequence, _) => {
            Err(Error::new(Kind::Server, diagnosis.title).reported_if(true))
        }
        (_, Some(status)) if matches!(status.state, ServerState::Hung | ServerState::Crashed) => {
            let text = format!("{} is {}", status.name, status.state.word());
            Err(Error::new(Kind::Server, text).reported_if(true))
        }
        _ => Ok(()),
    }
}

/// Returns a note about the crash after which a server was started again; `None` if its start before the last one did not crash.
fn crash_before(context: &Context, status: &ServerStatus) -> Option<String> {
    let events = context.effects.events(Some(&status.name));
    let start = events
        .iter()
        .rposition(|event| event.what == Happening::Started)?;
    let before = &events[..start];
    let begin = before
        .iter()
        .rposition(|event| event.what == Happening::Started)
        .unwrap_or(0);
    let crash = before[begin..]
        .iter()
        .rfind(|event| event.what == Happening::Crashed)?;
    let name = &status.name;
    let cause = if crash.text.is_empty() {
        "no cause was found"
    } else {
        &crash.text
    };
    Some(format!(
        "the start of {name} before this one crashed at {}: {cause}; dsr1 diagnose {name} --previous reads its log",
        crash.at
    ))
}

/// Reads the log of a server of this host, also of one that ended; returns the server if it is there.
async fn server(
    context: &Context,
    name: Option<&str>,
    back: usize,
    diagnoser: &mut Diagnoser,
) -> Result<Option<ServerStatus>> {
    let found = match context.effects.find_log(name, back, &probe(context)?).await {
        Ok(found) => found,
        Err(error) => match last_that_ended(context, name).await? {
            Some(last) if back == 0 => last,
            _ => return Err(error.hint("dsr1 diagnose FILE reads a log in a file, and - standard input")),
        },
    };
    if let Some(text) = note_of_file(&found, back, "this is about") {
        context.display().event(&Event::Note { text });
    }
    let read = context
        .effects
        .feed_log(&found.server, LogPart::default(), diagnoser);
    context.until_interrupted(read).await?;
    Ok(found.status)
}

/// Returns the log of the server that ended last, if no server is named and none is there.
async fn last_that_ended(context: &Context, name: Option<&str>) -> Result<Option<FoundLog>> {
    let (servers, _) = context.effects.servers(&probe(context)?).await;
    let is_meant = name.is_none() && servers.is_empty();
    Ok(context.effects.last_log().filter(|_| is_meant))
}
