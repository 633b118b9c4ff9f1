//! `dsr1 monitoring`: the files of a Prometheus and a Grafana for servers, and a check of the metrics that they ask for.

use serde::Serialize;

use super::context::Context;
use super::status::probe;
use crate::cli::MonitoringArgs;
use crate::effects::process::environment;
use crate::effects::{Found, user_folder};
use crate::error::{Error, Kind, Result};
use crate::plan::{self, container_name};
use crate::profile::{Catalog, Version};
use crate::render::monitoring::{MonitoringRequest, Watched, monitoring};
use crate::report::ServerState;
use crate::sglang::metrics::{Absence, absent, needed};
use crate::ui;
use crate::units::counted;

/// The states of a server that has metrics, or had them.
const ALIVE: &[ServerState] = &[
    ServerState::Starting,
    ServerState::Ready,
    ServerState::Busy,
    ServerState::Idle,
    ServerState::Hung,
    ServerState::Draining,
];

#[derive(Debug, Serialize)]
struct Written {
    schema: &'static str,
    folder: String,
    servers: Vec<String>,
    files: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Checked {
    schema: &'static str,
    url: String,
    sglang: Version,
    needed: usize,
    absent: Vec<Absence>,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: MonitoringArgs) -> Result<()> {
    if args.check {
        return check(context, &args).await;
    }
    let Some(output) = &args.output else {
        return Err(Error::new(Kind::Usage, "--output is missing"));
    };
    let request = MonitoringRequest {
        servers: servers(context, &args).await?,
        dcgm: args.dcgm.clone(),
        ttft_limit_s: args.ttft_limit,
    };
    let files = monitoring(&request)?;
    let texts: Vec<(&str, &str)> = files.iter().map(|file| (file.path, &*file.text)).collect();
    user_folder::write_folder(output, &texts, args.force)?;
    let written = Written {
        schema: "dsr1.monitoring/1",
        folder: output.display().to_string(),
        servers: request.servers.iter().map(|server| server.name.clone()).collect(),
        files: files.iter().map(|file| file.path).collect(),
    };
    context.print(&written, |written| {
        ui::monitoring_written(&written.folder, &written.servers)
    })
}

/// Returns the servers that the files are for.
async fn servers(context: &Context, args: &MonitoringArgs) -> Result<Vec<Watched>> {
    let catalog = context.catalog(None)?;
    if let Some(stack) = &args.stack {
        refuse_second(
            &args.servers,
            "with --stack name one server, which does not have to run",
        )?;
        let name = args.servers.first().unwrap_or(stack);
        return Ok(vec![Watched {
            name: container_name(name),
            address: format!("127.0.0.1:{}", args.port),
            version: catalog.stack(stack)?.pins.sglang,
        }]);
    }
    let probe = probe(context)?;
    let mut found = Vec::new();
    for name in &args.servers {
        found.push(context.effects.find_server(Some(name), &probe, ALIVE).await?);
    }
    if args.servers.is_empty() {
        let (all, _) = context.effects.servers(&probe).await;
        found.extend(all.into_iter().filter(|one| ALIVE.contains(&one.status.state)));
    }
    if found.is_empty() {
        // The error of a host without servers, or with one that ended.
        let other = context.effects.find_server(None, &probe, ALIVE).await;
        let other =
            other.map_err(|error| error.hint("--stack NAME writes the files for a server to come"))?;
        found.push(other);
    }
    let mut watched = Vec::new();
    for server in &found {
        let address = server.status.base_url.trim_start_matches("http://");
        watched.push(Watched {
            name: server.status.name.clone(),
            address: address.to_owned(),
            version: version(context, &catalog, server).await?,
        });
    }
    watched.sort_by(|left, right| left.name.cmp(&right.name));
    watched.dedup();
    Ok(watched)
}

/// Returns the SGLang of a server: that of its stack, or of the user's environment that runs it.
async fn version(context: &Context, catalog: &Catalog, server: &Found) -> Result<Version> {
    if server.status.stack != plan::FOUND {
        return Ok(catalog.stack(&server.status.stack)?.pins.sglang);
    }
    let found = environment::read_environment(context.env(), &server.python, &server.variables).await?;
    let catalog = catalog_of(&found)?;
    Ok(catalog.stack(plan::FOUND)?.pins.sglang)
}

/// Returns the built-in catalog with an environment as a stack.
fn catalog_of(found: &crate::facts::Environment) -> Result<Catalog> {
    Catalog::with(&crate::profile::UserFiles {
        stacks: vec![plan::found_stack(found)?],
        ..crate::profile::UserFiles::default()
    })
}

/// Refuses a second server where the command takes one.
fn refuse_second(servers: &[String], hint: &str) -> Result<()> {
    let [_, second, ..] = servers else { return Ok(()) };
    let text = format!("`{}` is one server too many", second.escape_debug());
    Err(Error::new(Kind::Usage, text).hint(hint))
}

/// Compares the names that a server exports with those that the files ask for.
async fn check(context: &Context, args: &MonitoringArgs) -> Result<()> {
    refuse_second(&args.servers, "--check asks one server")?;
    let catalog = context.catalog(None)?;
    let of_stack = match &args.stack {
        Some(stack) => Some(catalog.stack(stack)?.pins.sglang),
        None => None,
    };
    let server = if args.url.is_some() && of_stack.is_some() {
        None
    } else {
        let named = args.servers.first().map(String::as_str);
        let found = context.effects.find_server(named, &probe(context)?, ALIVE).await;
        let hint = "--stack NAME says which SGLang --url has";
        Some(found.map_err(|error| {
            if args.url.is_some() {
                error.hint(hint)
            } else {
                error
            }
        })?)
    };
    let sglang = match (of_stack, &server) {
        (Some(version), _) => version,
        (None, Some(server)) => version(context, &catalog, server).await?,
        (None, None) => return Err(Error::new(Kind::Internal, "no server and no stack")),
    };
    let (url, names) = match (&args.url, &server) {
        (Some(url), _) => context.effects.metric_names(base_url(url)?).await?,
        (None, Some(server)) => {
            context
                .effects
                .server_metric_names(&server.status.base_url)
                .await?
        }
        (None, None) => return Err(Error::new(Kind::Internal, "no server and no URL")),
    };
    let checked = Checked {
        schema: "dsr1.monitoring-check/1",
        url,
        sglang,
        needed: needed(sglang).len(),
        absent: absent(sglang, &names),
    };
    context.print(&checked, |checked| {
        ui::monitoring_checked(&checked.url, checked.sglang, checked.needed, &checked.absent)
    })?;
    let missing = checked.absent.iter().filter(|one| one.reason.is_none()).count();
    if missing == 0 {
        return Ok(());
    }
    let count = counted(missing, "metric");
    let text = format!("{} lacks {count} of SGLang {sglang}", checked.url);
    Err(Error::new(Kind::Server, text)
        .hint("the server may have another SGLang than its stack: --stack NAME names it")
        .reported_if(context.is_json()))
}

/// Returns the base URL without its end.
fn base_url(url: &str) -> Result<&str> {
    if url.starts_with("http://") || url.starts_with("https://") {
        Ok(url.trim_end_matches('/').trim_end_matches("/metrics"))
    } else {
        Err(
            Error::new(Kind::Usage, format!("`{}` is not a URL", url.escape_debug()))
                .hint("write it as --url http://127.0.0.1:9090"),
        )
    }
}
