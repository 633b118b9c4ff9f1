//! `dsr1 expose`: takes requests with a key from other hosts, and passes them on to a server, until it is interrupted.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::status::probe;
use crate::access::Routes;
use crate::cli::{ExposeArgs, Format};
use crate::effects::expose::{ExposeOptions, Exposed, KeyFile, TlsFiles, add_key};
use crate::effects::{Sought, listener, signal};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Reporter};
use crate::report::{ExposedRequest, ExposedServer, ServerState, ServerStatus};
use crate::ui;
use crate::units::counted;

/// Time between two looks at the server.
const LOOK: Duration = Duration::from_secs(2);
/// Most lines about requests that wait to be printed.
const MOST_LINES: usize = 1000;
/// Name of the key that the first use makes.
const FIRST_KEY: &str = "default";

#[derive(Debug, Serialize)]
struct Line<'a> {
    schema: &'static str,
    #[serde(flatten)]
    request: &'a ExposedRequest,
}

#[derive(Debug, Serialize)]
struct AddedKey {
    schema: &'static str,
    name: String,
    keys_file: String,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: ExposeArgs) -> Result<()> {
    if let Some(name) = &args.add_key {
        return add_named_key(context, &args, name).await;
    }
    let server = find(context, &args).await?;
    let routes = Routes::new(&args.route)?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles::read(certificate, key)?),
        _ => None,
    };
    let path = keys_file(context, &args, &server.name);
    if args.keys.is_none() && !path.exists() {
        add_key(&path, FIRST_KEY)?;
    }
    let keys = KeyFile::open(&path)?;
    let names = keys.names();
    let listener = listener::listen(args.listen.as_deref().unwrap_or_default())?;
    refuse_clear_text(&listener, tls.is_some() || args.plain_http)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let reporter: Arc<dyn Reporter> = Arc::from(context.display());
    let is_serving = Arc::new(AtomicBool::new(server.state.is_serving()));
    let options = ExposeOptions {
        upstream: server.base_url.clone(),
        keys,
        routes,
        most_requests: args.max_requests.and_then(|most| usize::try_from(most).ok()),
        tls,
        is_serving: Arc::clone(&is_serving),
        on_request: print_requests(context.output.format),
        reporter: Arc::clone(&reporter),
    };
    let exposed = Exposed::begin(listener, context.effects.http(), options)?;
    let document = ExposedServer {
        schema: ExposedServer::SCHEMA.to_owned(),
        server: server.name.clone(),
        base_url: format!("{scheme}://{}/v1", for_clients(exposed.address())),
        keys_file: path.display().to_string(),
        keys: names,
    };
    match context.output.format {
        Format::Json => ui::print_json_line(&document)?,
        Format::Text => ui::print_on(&ui::exposed(&document))?,
    }
    // An interrupt is the normal end.
    tokio::select! {
        ended = signal::wait() => ended.map(drop)?,
        failed = look_at_server(context, &server.name, &is_serving) => return failed,
    }
    end(&exposed, &reporter, args.drain).await
}

/// Keeps up to date whether the server takes requests, for the answer about its health.
async fn look_at_server(context: &Context, name: &str, is_serving: &AtomicBool) -> Result<()> {
    let probe = probe(context)?;
    loop {
        tokio::time::sleep(LOOK).await;
        let found = context
            .effects
            .seek_server(Some(name), &probe, ServerState::ANY)
            .await;
        let serves = matches!(&found, Ok(Sought::There(found)) if found.status.state.is_serving());
        is_serving.store(serves, Ordering::Relaxed);
    }
}

/// Returns an address as clients write it: that of all networks stands for any name of this host.
fn for_clients(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("HOST:{}", address.port())
    } else {
        address.to_string()
    }
}

/// Ends after the running requests, or at a second signal.
async fn end(exposed: &Exposed, reporter: &Arc<dyn Reporter>, drain_s: u32) -> Result<()> {
    let running = exposed.running();
    if running > 0 {
        let requests = counted(running, "request");
        reporter.event(&Event::Note {
            text: format!("{requests} may take {drain_s} s to finish; Ctrl-C again ends now"),
        });
    }
    let cut = tokio::select! {
        cut = exposed.drain(Duration::from_secs(u64::from(drain_s))) => cut,
        _ = signal::wait() => exposed.running(),
    };
    if cut > 0 {
        let requests = counted(cut, "request");
        reporter.event(&Event::Note {
            text: format!("cut: {requests} that did not finish"),
        });
    }
    Ok(())
}

/// Refuses an address that other hosts reach, unless TLS or the user allows it.
fn refuse_clear_text(listener: &std::net::TcpListener, is_allowed: bool) -> Result<()> {
    let Ok(address) = listener.local_addr() else {
        return Ok(());
    };
    if is_allowed || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!("{address} can be reached by other hosts, and there is no TLS"),
    )
    .cause("anyone on the network path could read the keys and the prompts")
    .hint("give a certificate of this host with --tls-cert and --tls-key")
    .hint("--plain-http allows this, as for a network that is itself encrypted"))
}

/// Adds a key to the file of keys.
async fn add_named_key(context: &Context, args: &ExposeArgs, name: &str) -> Result<()> {
    let path = if let Some(path) = &args.keys {
        path.clone()
    } else {
        let server = find(context, args).await?;
        keys_file(context, args, &server.name)
    };
    add_key(&path, name)?;
    let added = AddedKey {
        schema: "dsr1.key/1",
        name: name.to_owned(),
        keys_file: path.display().to_string(),
    };
    context.print(&added, |added| ui::added_key(&added.name, &added.keys_file))
}

/// Returns the server, also one that was stopped: it may be started later, at the same port.
async fn find(context: &Context, args: &ExposeArgs) -> Result<ServerStatus> {
    let name = args.which.server.as_deref();
    let probe = probe(context)?;
    Ok(
        match context
            .effects
            .seek_server(name, &probe, ServerState::ANY)
            .await?
        {
            Sought::There(found) => found.status,
            Sought::Ended(status) => *status,
        },
    )
}

/// Returns the file of keys: that of the arguments, or that of the server.
fn keys_file(context: &Context, args: &ExposeArgs, server: &str) -> PathBuf {
    let own = || context.effects.key_file(server);
    args.keys.clone().unwrap_or_else(own)
}

/// Returns a function that prints a line for each request, on a thread of its own: a terminal or a pipe that takes no output holds
/// nobody up. What comes meanwhile beyond a thousand lines is left out.
fn print_requests(format: Format) -> Box<dyn Fn(&ExposedRequest) + Send + Sync> {
    let (sender, lines) = std::sync::mpsc::sync_channel::<ExposedRequest>(MOST_LINES);
    std::thread::spawn(move || {
        for request in lines {
            // A reader that went away is no reason to refuse requests.
            let _ = match format {
                Format::Text => ui::print_on(&ui::exposed_request(&request)),
                Format::Json => ui::print_json_line(&Line {
                    schema: "dsr1.exposed-request/1",
                    request: &request,
                }),
            };
        }
    });
    Box::new(move |request| {
        let _ = sender.try_send(request.clone());
    })
}
