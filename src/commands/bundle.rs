//! `dsr1 bundle`: an archive for a person who helps, with all that dsr1 knows of the servers and the host, without secrets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::doctor;
use super::profiles::show;
use super::status::{self, probe};
use crate::cli::{BundleArgs, DoctorArgs, ProfileArgs, Runtime, RuntimeArgs, VERSION};
use crate::diagnose::{Diagnoser, Diagnosis};
use crate::effects::bundle::{self, Archive, MOST_OF_LOG, Tail};
use crate::effects::docker::Docker;
use crate::effects::{FoundLog, LogPart};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{Recipe, Server, container_name};
use crate::report::{Bundled, ServerStatus};
use crate::ui;
use crate::units::{Bytes, counted};

/// Longest time for a part.
const LONGEST: Duration = Duration::from_secs(20);
/// Most starts before the last one whose logs are kept: `effects::ended_logs` keeps five.
const MOST_STARTS: usize = 5;
/// The text at the top of the archive.
const README: &str = "README.txt";

/// The program that made an archive.
#[derive(Debug, Serialize)]
struct Program {
    version: &'static str,
    architecture: &'static str,
    system: &'static str,
    /// The time in UTC at which the archive was begun.
    made_at: String,
}

#[derive(Debug, Serialize)]
struct Diagnosed<'a> {
    schema: &'static str,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: BundleArgs) -> Result<()> {
    let made_at = bundle::timestamp();
    let title = if args.dry_run {
        "list the parts of a bundle"
    } else {
        "gather a bundle"
    };
    let bundled = context
        .one_step(title, "", async |events| {
            Box::pin(gather(context, &args, made_at, events)).await
        })
        .await?;
    context.print(&bundled, ui::bundled)
}

/// Makes the archive.
async fn gather(
    context: &Context,
    args: &BundleArgs,
    made_at: String,
    events: &StepEvents<'_>,
) -> Result<Bundled> {
    let folder = format!("dsr1-bundle-{made_at}");
    let redactor = context.effects.redactor(args.keep_names);
    events.activity("look for servers", None);
    let (listing, unseen) = status::list_all(context).await?;
    let names = names(context, args.server.as_deref(), &listing.servers)?;
    let mut archive = if args.dry_run {
        Archive::dry(&folder, redactor)
    } else {
        let default = || PathBuf::from(format!("{folder}.tar.gz"));
        let path = args.output.clone().unwrap_or_else(default);
        Archive::create(&path, &folder, redactor)?
    };
    archive.add_document(
        "dsr1.json",
        &Program {
            version: VERSION,
            architecture: std::env::consts::ARCH,
            system: std::env::consts::OS,
            made_at,
        },
    )?;
    archive.add_document("status.json", &listing)?;
    if let Some(why) = unseen {
        archive.leave_out("containers", &why);
    }
    let of_servers = || {
        listing
            .servers
            .iter()
            .filter(|server| names.contains(&server.name))
    };
    add_doctor(context, &mut archive, of_servers().next(), events).await?;
    add_daemon(context, &mut archive, events).await?;
    for part in context.effects.parts_of_host() {
        add_part(&mut archive, part)?;
    }
    for name in &names {
        let status = of_servers().find(|server| server.name == *name);
        Box::pin(add_server(context, &mut archive, name, status, events)).await?;
    }
    events.activity("compress", None);
    archive.finish(README, |bundled| {
        ui::bundle_readme(bundled, VERSION, args.keep_names)
    })
}

/// Returns the names of the servers to gather: the one that is named, or all that dsr1 knows of.
fn names(context: &Context, named: Option<&str>, listed: &[ServerStatus]) -> Result<BTreeSet<String>> {
    let mut known = bundle::servers_of(context.env());
    known.extend(listed.iter().map(|server| server.name.clone()));
    let Some(named) = named else { return Ok(known) };
    let meant = [named.to_owned(), container_name(named)];
    known.retain(|name| meant.contains(name));
    if known.is_empty() {
        return Err(Error::new(
            Kind::Usage,
            format!("nothing is known of a server `{}`", named.escape_debug()),
        )
        .hint("dsr1 status --all lists the servers, and dsr1 bundle without a name takes all of them"));
    }
    Ok(known)
}

fn add_part(archive: &mut Archive, part: bundle::Part) -> Result<()> {
    match part.bytes {
        Ok(bytes) => archive.add_bytes(&part.name, &bytes),
        Err(why) => {
            archive.leave_out(&part.name, &why);
            Ok(())
        }
    }
}

/// Awaits a part; notes one that fails or takes too long as missing.
async fn part<T>(archive: &mut Archive, name: &str, work: impl Future<Output = Result<T>>) -> Option<T> {
    match tokio::time::timeout(LONGEST, work).await {
        Ok(Ok(part)) => Some(part),
        Ok(Err(error)) => {
            let words = std::iter::once(error.message()).chain(error.causes());
            archive.leave_out(name, &words.collect::<Vec<_>>().join(": "));
            None
        }
        Err(_) => {
            archive.leave_out(name, &too_long());
            None
        }
    }
}

fn too_long() -> String {
    format!("it took longer than {} seconds", LONGEST.as_secs())
}

/// Adds the facts about this host and the findings, for the profile of a server. Neither a hub nor a package index is asked.
async fn add_doctor(
    context: &Context,
    archive: &mut Archive,
    server: Option<&ServerStatus>,
    events: &StepEvents<'_>,
) -> Result<()> {
    const NAME: &str = "doctor.json";
    events.activity("examine this host", None);
    let of_server = server.map(profile_of);
    let rehearsal = || ProfileArgs {
        profile: Some("rehearsal".to_owned()),
        ..profile_args()
    };
    // A profile of the user may be gone.
    let known = of_server.filter(|profile| show::describe(context, profile).is_ok());
    let args = doctor_args(known.unwrap_or_else(rehearsal));
    let examined = Box::pin(doctor::examine(context, &args, false));
    match part(archive, NAME, examined).await {
        Some(examination) => archive.add_document(NAME, &examination),
        None => Ok(()),
    }
}

fn profile_of(server: &ServerStatus) -> ProfileArgs {
    ProfileArgs {
        profile: Some(server.profile.clone()),
        stack: Some(server.stack.clone()),
        ..profile_args()
    }
}

const fn profile_args() -> ProfileArgs {
    ProfileArgs {
        profile: None,
        profile_file: None,
        fp4: false,
        fp8: false,
        stack: None,
    }
}

const fn doctor_args(profile: ProfileArgs) -> DoctorArgs {
    DoctorArgs {
        named: None,
        profile,
        runtime: RuntimeArgs {
            runtime: Runtime::Auto,
            python: None,
            variables: Vec::new(),
            base_image: None,
            recipe: Recipe::Thin,
            flashinfer: None,
        },
        port: crate::plan::DEFAULT_PORT,
        facts: None,
    }
}

/// Adds the versions of the daemon.
async fn add_daemon(context: &Context, archive: &mut Archive, events: &StepEvents<'_>) -> Result<()> {
    const NAME: &str = "docker/daemon.json";
    if Docker::is_absent(context.env()) {
        archive.leave_out(NAME, "this host has no Docker");
        return Ok(());
    }
    events.activity("ask Docker", None);
    let version = async { context.effects.docker().await.map(Docker::version_document) };
    match part(archive, NAME, version).await {
        Some(version) => archive.add_document(NAME, &version),
        None => Ok(()),
    }
}

/// Adds all that is known of a server.
async fn add_server(
    context: &Context,
    archive: &mut Archive,
    name: &str,
    status: Option<&ServerStatus>,
    events: &StepEvents<'_>,
) -> Result<()> {
    for part in context.effects.parts_of_server(name) {
        add_part(archive, part)?;
    }
    if let Some(status) = status {
        add_profile(context, archive, status)?;
        if status.runtime == "docker" && status.id != "-" {
            let file = format!("servers/{name}/inspect.json");
            let inspect = async { context.effects.docker().await?.inspect_document(name).await };
            match part(archive, &file, inspect).await {
                Some(Some(document)) => archive.add_document(&file, &document)?,
                Some(None) => archive.leave_out(&file, "the container is gone"),
                None => {}
            }
        }
    }
    let probe = probe(context)?;
    for back in 0..=MOST_STARTS {
        let log = context.effects.find_log(Some(name), back, &probe);
        match tokio::time::timeout(LONGEST, log).await {
            Ok(Ok(log)) => {
                events.activity(&format!("read the log of {name}{}", start_of(back)), None);
                Box::pin(add_log(context, archive, name, back, &log)).await?;
            }
            Ok(Err(error)) if back == 0 => {
                archive.leave_out(&format!("servers/{name}/log.txt"), &error.message());
            }
            // There are no older ones.
            Ok(Err(_)) => break,
            Err(_) => archive.leave_out(&format!("servers/{name}/log.txt"), &too_long()),
        }
    }
    Ok(())
}

fn start_of(back: usize) -> String {
    match back {
        0 => String::new(),
        back => format!(", {} before the last one", counted(back, "start")),
    }
}

/// Adds the profile and the stack of a server, as they are resolved now.
fn add_profile(context: &Context, archive: &mut Archive, status: &ServerStatus) -> Result<()> {
    let folder = format!("servers/{}", status.name);
    match show::describe(context, &profile_of(status)) {
        Ok((document, text)) => {
            archive.add_document(&format!("{folder}/profile.json"), &document)?;
            archive.add_text(&format!("{folder}/profile.txt"), &text)
        }
        Err(error) => {
            archive.leave_out(&format!("{folder}/profile.json"), &error.message());
            Ok(())
        }
    }
}

/// Adds the end of a log, and the diagnosis of the whole.
async fn add_log(
    context: &Context,
    archive: &mut Archive,
    name: &str,
    back: usize,
    log: &FoundLog,
) -> Result<()> {
    let number = if back == 0 {
        String::new()
    } else {
        format!("-{back}")
    };
    let file = |what: &str, end: &str| format!("servers/{name}/{what}{number}.{end}");
    let log_file = file("log", "txt");
    let mut tail = Tail::default();
    let mut diagnoser = Diagnoser::default();
    diagnoser.begin(&log_name(log));
    let mut on_lines = |lines: &[String]| {
        for line in lines {
            diagnoser.feed_line(line);
            tail.push_line(line);
        }
        Ok(())
    };
    let read = context
        .effects
        .logs(&log.server, LogPart::default(), &mut on_lines);
    // What was read until then is kept.
    part(archive, &format!("{log_file} (the rest of it)"), read).await;
    let (text, left_out_bytes) = tail.finish();
    if left_out_bytes > 0 {
        archive.leave_out(
            &format!("{log_file} (its begin)"),
            &format!(
                "the first {} are not in it: the last {} are",
                Bytes(left_out_bytes),
                Bytes(MOST_OF_LOG as u64)
            ),
        );
    }
    archive.add_text(&log_file, &text)?;
    // Packing takes a while: a signal is heard after it.
    tokio::task::yield_now().await;
    let diagnosis = diagnoser.finish();
    let document = Diagnosed {
        schema: "dsr1.diagnosis/1",
        diagnosis: &diagnosis,
    };
    archive.add_document(&file("diagnosis", "json"), &document)?;
    archive.add_text(
        &file("diagnosis", "txt"),
        &ui::diagnosis(&diagnosis, log.status.as_ref()),
    )
}

fn log_name(log: &FoundLog) -> String {
    match (&log.file, &log.server) {
        (Some(file), _) => file.display().to_string(),
        (None, Server::Process { log, .. }) => Path::new(log).display().to_string(),
        (None, Server::Docker { name } | Server::Slurm { name, .. }) => name.clone(),
    }
}
