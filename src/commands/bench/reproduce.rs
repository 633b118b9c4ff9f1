//! `dsr1 bench reproduce`: the plan to get a result again on this host.

use serde::Serialize;

use super::arguments::{argv_of, compare_arguments};
use crate::cli::{Cli, Command, ReproduceArgs};
use crate::commands::context::Context;
use crate::effects::results::read_measurement;
use crate::error::Result;
use crate::facts::Facts;
use crate::measure::compare::{flags_of_load, list_missing};
use crate::plan::{self, Plan, ServeRequest};
use crate::profile::Goal;
use crate::quote::shell_word;
use crate::report::{MeasuredFile, Measurement, Reproduction, Shortfall, Trust};
use crate::ui;

#[derive(Debug, Serialize)]
struct Reproduced {
    schema: &'static str,
    #[serde(flatten)]
    reproduction: Reproduction,
}

/// Runs the command.
pub(super) async fn run(context: &Context, args: &ReproduceArgs) -> Result<()> {
    let run = read_measurement(&args.file)?;
    let mut lacks = Vec::new();
    if run.trust == Trust::Untrusted {
        lacks.push(shortfall(
            "verdicts",
            "untrusted",
            "",
            "the figures of the file are not to be used: ask for another result",
        ));
    }
    let mut commands = Vec::new();
    if let (Some(profile), Some(stack)) = (&run.server.profile, &run.server.stack) {
        let planned = plan_here(context, &run, profile, stack, &mut lacks).await;
        commands.extend(server_commands(&run, profile, stack, planned, &mut lacks));
        commands.push(bench_command(&run, &[]));
    } else {
        lacks.push(shortfall(
                "server",
                &describe_server(&run),
                "not known",
                "the file knows it by its URL only: start one with these arguments, or ask for a result of dsr1 bench on its host",
            ));
        let url = run.server.base_url.clone();
        commands.push(bench_command(
            &run,
            &[
                "--url".to_owned(),
                url,
                "--model".to_owned(),
                run.server.model.clone(),
            ],
        ));
    }
    if let Some(file) = &run.load.file
        && let Some(found) = missing_data(file)
    {
        lacks.push(shortfall(
            "data",
            &format!(
                "{} of {} bytes with the SHA-256 {}",
                file.path, file.bytes, file.sha256
            ),
            &found,
            "ask for the file, and name its path here in the last command",
        ));
    }
    add_host(&run, &context.gpu_facts(None).await?, &mut lacks);
    let version = env!("CARGO_PKG_VERSION");
    if run.client.name != "dsr1" || run.client.version != version {
        lacks.push(shortfall(
            "client",
            &format!("{} {}", run.client.name, run.client.version),
            &format!("dsr1 {version}"),
            "install that version of dsr1, or measure both with one version",
        ));
    }
    let reproduced = Reproduced {
        schema: "dsr1.reproduction/1",
        reproduction: Reproduction {
            file: args.file.to_string_lossy().into_owned(),
            commands,
            lacks,
            missing: list_missing(&run),
        },
    };
    context.print(&reproduced, |reproduced| {
        ui::reproduction(&reproduced.reproduction)
    })
}

fn shortfall(what: &str, wanted: &str, here: &str, fix: &str) -> Shortfall {
    Shortfall {
        what: what.to_owned(),
        wanted: wanted.to_owned(),
        here: here.to_owned(),
        fix: fix.to_owned(),
    }
}

/// Returns what a file without a profile tells of its server.
fn describe_server(run: &Measurement) -> String {
    let mut parts = vec![format!("model {}", run.server.model)];
    if let Some(version) = &run.server.sglang {
        parts.push(format!("SGLang {version}"));
    }
    let told = run.server.arguments.iter();
    parts.extend(
        told.filter(|(name, _)| *name != "version")
            .map(|(name, value)| format!("{name} {value}")),
    );
    parts.join(", ")
}

/// Plans the same server on this host; `None`, and a shortfall, if that is not possible.
async fn plan_here(
    context: &Context,
    run: &Measurement,
    profile: &str,
    stack: &str,
    lacks: &mut Vec<Shortfall>,
) -> Option<(ServeRequest, Facts, Plan)> {
    let catalog = match context.catalog(None) {
        Ok(catalog) => catalog,
        Err(error) => {
            lacks.push(shortfall("profiles", "", &error.message(), &error.innermost()));
            return None;
        }
    };
    let mut is_known = true;
    if catalog.source(profile).is_none() {
        is_known = false;
        lacks.push(shortfall(
            "profile",
            profile,
            "not known",
            &format!(
                "ask for the output of `dsr1 profiles show {} --yaml`, and put it below {}",
                shell_word(profile),
                context.env().config.join("profiles").display()
            ),
        ));
    }
    if stack == plan::FOUND {
        is_known = false;
        lacks.push(shortfall(
            "environment",
            run.server
                .host
                .get("environment")
                .map_or("one of the user", String::as_str),
            "not known",
            "make an environment with the same packages (pip freeze there), and name it with --python PATH",
        ));
    } else if catalog.stack(stack).is_err() {
        is_known = false;
        lacks.push(shortfall(
            "stack",
            stack,
            "not known",
            &format!(
                "ask for the output of `dsr1 stacks show {} --yaml`, and put it below {}",
                shell_word(stack),
                context.env().config.join("stacks").display()
            ),
        ));
    }
    if !is_known {
        return None;
    }
    let words: Vec<String> = [
        serve_words(run, profile, stack),
        vec!["--port".to_owned(), "auto".to_owned()],
    ]
    .concat();
    let Some(Command::Serve(args)) = Cli::command_of(&words) else {
        return None;
    };
    let planned = match Box::pin(context.server_request(&args.server, false, None)).await {
        Ok((request, facts, _)) => plan::serve(&request, &facts).map(|plan| (request, facts, plan)),
        Err(error) => Err(error),
    };
    match planned {
        Ok(planned) => Some(planned),
        Err(error) => {
            let causes = error.causes().join("; ");
            let hint = error.hints().first().cloned().unwrap_or_default();
            lacks.push(shortfall(
                "this host",
                "a server of this profile",
                &[error.message(), causes].join("; "),
                &hint,
            ));
            None
        }
    }
}

/// Returns the words of the command that starts the server.
fn serve_words(run: &Measurement, profile: &str, stack: &str) -> Vec<String> {
    let runtime = if run.server.host.contains_key("image") {
        "docker"
    } else {
        "process"
    };
    let mut words = ["serve", "--profile", profile].map(str::to_owned).to_vec();
    if stack == plan::FOUND {
        words.extend(["--python".to_owned(), "PATH".to_owned()]);
    } else {
        words.extend(["--stack", stack, "--runtime", runtime].map(str::to_owned));
    }
    words
}

/// Returns the commands that start the server, and adds what differs here.
fn server_commands(
    run: &Measurement,
    profile: &str,
    stack: &str,
    planned: Option<(ServeRequest, Facts, Plan)>,
    lacks: &mut Vec<Shortfall>,
) -> Vec<String> {
    let mut words = serve_words(run, profile, stack);
    let Some((request, facts, plan)) = planned else {
        return vec![line_of(&words)];
    };
    let pins = &request.stack.pins;
    if let Some(told) = run
        .server
        .sglang
        .as_ref()
        .filter(|told| **told != pins.sglang.to_string())
    {
        lacks.push(shortfall(
            "SGLang",
            told,
            &format!("{} in stack {stack}", pins.sglang),
            "dsr1 stacks list shows the stacks and their versions; ask for the stack's file",
        ));
    }
    let is_rehearsal = request.profile.goal == Goal::Rehearsal;
    let mut commands = Vec::new();
    let model = &request.profile.model;
    let here = facts.resolved_commit(&model.repo, &model.revision);
    let wanted = run.server.host.get("weights").map_or("", String::as_str);
    if here.is_none() && model.path.is_none() {
        lacks.push(shortfall(
            "weights",
            &format!("{} {wanted}", model.repo),
            "not pulled",
            "the first command pulls them",
        ));
        if !is_rehearsal {
            commands.push(line_of(&["pull", "--profile", profile].map(str::to_owned)));
        }
    } else if let Some(here) = here.filter(|here| !wanted.is_empty() && *here != wanted) {
        lacks.push(shortfall(
            "weights",
            wanted,
            here,
            &format!("serve the other commit: --model {}@{wanted}", model.repo),
        ));
    }
    if let Some(argv) = argv_of(&plan) {
        let (differing, extra) = compare_arguments(argv, pins.sglang, &run.server.arguments);
        lacks.extend(differing);
        if !extra.is_empty() {
            words.push("--".to_owned());
            words.extend(extra);
        }
    }
    for blocker in &plan.blockers {
        let here = format!("{}: {}", blocker.message, blocker.cause);
        lacks.push(shortfall(
            "this host",
            "a server of this profile",
            &here,
            &blocker.hint,
        ));
    }
    if is_rehearsal {
        // The rehearsal makes its own model, which only the whole chain does.
        "up".clone_into(&mut words[0]);
        words.insert(1, "--keep".to_owned());
    }
    commands.push(line_of(&words));
    commands
}

/// Returns what is at the path of a data file instead of it; `None` if a file of its size is there. Its hash is not computed: the file
/// may be larger than memory, and the next result has it.
fn missing_data(file: &MeasuredFile) -> Option<String> {
    match std::fs::metadata(&file.path) {
        Ok(found) if found.is_file() && found.len() == file.bytes => None,
        Ok(found) if found.is_file() => Some(format!("a file of {} bytes", found.len())),
        Ok(_) => Some("not a file".to_owned()),
        Err(_) => Some("not there".to_owned()),
    }
}

/// Returns the command that measures the same load. The seed makes the same prompts of the same data file.
fn bench_command(run: &Measurement, server: &[String]) -> String {
    let mut words = vec!["bench".to_owned()];
    words.extend_from_slice(server);
    words.extend(flags_of_load(&run.load));
    words.extend(["--seed".to_owned(), run.load.seed.to_string()]);
    line_of(&words)
}

fn line_of(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    format!("dsr1 {}", words.join(" "))
}

/// Adds the facts of this host that differ from those of the file.
fn add_host(run: &Measurement, facts: &Facts, lacks: &mut Vec<Shortfall>) {
    let host = &facts.host;
    let gpus = host.gpus.as_deref().map(plan::list_gpus);
    let here = [
        (
            "gpus",
            gpus,
            "use a host with these GPUs; otherwise the ratio of the figures is that of the GPUs, too",
        ),
        (
            "driver",
            host.driver.clone(),
            "install that driver, or keep in mind that another one may have other clocks and kernels",
        ),
        (
            "cpus",
            host.cpus.map(|cpus| cpus.to_string()),
            "use a host with as many processors: the scheduler and the client of SGLang run on them",
        ),
    ];
    for (what, here, fix) in here {
        let Some(wanted) = run.server.host.get(what) else {
            continue;
        };
        let here = here.unwrap_or_else(|| "none".to_owned());
        let is_none = |text: &str| text.starts_with("none");
        if *wanted != here && !(is_none(wanted) && is_none(&here)) && !(what == "gpus" && is_none(wanted)) {
            lacks.push(shortfall(what, wanted, &here, fix));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_file_of_another_size_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.jsonl");
        let missing = |path: &std::path::Path| {
            missing_data(&MeasuredFile {
                path: path.to_str().unwrap().to_owned(),
                bytes: 3,
                ..MeasuredFile::default()
            })
        };
        assert_eq!(missing(&path).unwrap(), "not there");
        assert_eq!(missing(dir.path()).unwrap(), "not a file");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(missing(&path).unwrap(), "a file of 2 bytes");
        std::fs::write(&path, "{}\n").unwrap();
        assert_eq!(missing(&path), None);
    }
}
