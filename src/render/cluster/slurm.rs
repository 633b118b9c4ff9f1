//! A job for Slurm: one bash script that `sbatch` takes, and that needs no dsr1, no Python and no shared checkout.
//!
//! The words of the commands are quoted here; what the script does with them is `templates/slurm.sh`.

use std::fmt::Write;

use super::form::ClusterForm;
use super::options::{ClusterOptions, Container, ContainerTool, SlurmOptions};
use crate::error::{Error, Kind, Result};
use crate::plan::cluster::{Addresses, Deployment, EngineGroup, PortUse, words_at};
use crate::quote::{is_hidden, shell_word};
use crate::render::form::comment_lines;

/// The form `slurm`.
pub const SLURM: &dyn ClusterForm = &Slurm;

/// The part of the script that is the same for every server.
const BODY: &str = include_str!("../../../templates/slurm.sh");
/// The word that ends the text of a command in the script.
const END: &str = "END_OF_COMMAND";
/// Seconds without a line in any log after which a start counts as stalled, as for a server on one node.
const STALL_S: u64 = 600;

#[derive(Debug)]
struct Slurm;

impl ClusterForm for Slurm {
    fn name(&self) -> &'static str {
        "slurm"
    }

    fn about(&self) -> &'static str {
        "A job for Slurm: a script for sbatch, over one or more nodes"
    }

    fn noun(&self) -> &'static str {
        "a job for Slurm"
    }

    fn file_name(&self, server: &str) -> String {
        format!("{server}.sbatch")
    }

    fn start_commands(&self, file: &str) -> Vec<String> {
        vec![format!("sbatch {file}")]
    }

    fn text(&self, deployment: &Deployment, options: &ClusterOptions, head: &[String]) -> Result<String> {
        let mut text = "#!/bin/bash\n".to_owned();
        text += &comment_lines(head);
        for option in directives(deployment, &options.slurm) {
            let _ = writeln!(text, "#SBATCH {}", directive(&option)?);
        }
        text.push('\n');
        text += &data(deployment, options)?;
        text.push('\n');
        text += BODY;
        Ok(text)
    }
}

/// Returns the options of `sbatch`, each as one word.
fn directives(deployment: &Deployment, options: &SlurmOptions) -> Vec<String> {
    let Deployment {
        name,
        nodes,
        gpus_per_node,
        ..
    } = deployment;
    let mut found = vec![
        format!("--job-name={name}"),
        format!("--nodes={nodes}"),
        "--ntasks-per-node=1".to_owned(),
        format!("--output={name}-%j.log"),
        // A server that lost a node is started again by whoever follows it, and not without a word.
        "--no-requeue".to_owned(),
    ];
    if *gpus_per_node > 0 {
        found.push(format!("--gpus-per-node={gpus_per_node}"));
        found.push("--exclusive".to_owned());
        found.push("--mem=0".to_owned());
    }
    let SlurmOptions {
        partition,
        account,
        time,
        segment,
        further,
        tool: _,
    } = options;
    for (option, value) in [("partition", partition), ("account", account), ("time", time)] {
        found.extend(value.as_ref().map(|value| format!("--{option}={value}")));
    }
    found.extend(segment.map(|nodes| format!("--segment={nodes}")));
    // The script has a minute to end its steps before the time limit.
    found.extend(time.as_ref().map(|_| "--signal=B:TERM@60".to_owned()));
    found.extend(further.iter().cloned());
    found
}

/// Returns an option as it may stand behind `#SBATCH`: one visible word.
fn directive(option: &str) -> Result<&str> {
    let is_word = option.starts_with('-')
        && !option
            .chars()
            .any(|c| is_hidden(c) || c.is_whitespace() || "\"'\\`$#".contains(c));
    if is_word {
        return Ok(option);
    }
    Err(Error::new(
        Kind::Usage,
        format!("`{}` is not an option of sbatch", option.escape_debug()),
    )
    .hint("write it as one word, such as --qos=high"))
}

/// Returns the part of the script that describes this server.
fn data(deployment: &Deployment, options: &ClusterOptions) -> Result<String> {
    let mut text = String::new();
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}={}", shell_word(value));
    };
    let Deployment {
        name,
        nodes,
        port,
        interface,
        router,
        ..
    } = deployment;
    set("name", name);
    set("node_count", &nodes.to_string());
    set("port", &port.to_string());
    set("interface", interface.as_deref().unwrap_or_default());
    set("stall_s", &STALL_S.to_string());
    let engines: usize = deployment.groups.iter().map(|group| group.workers.len()).sum();
    let behind_router = if router.is_some() { engines } else { 0 };
    set("router_engines", &behind_router.to_string());
    let (step, inside) = container_words(options)?;
    let _ = writeln!(text, "engine_options=({})", step.join(" "));
    let _ = writeln!(text, "inside=({})", inside.join(" "));
    for group in &deployment.groups {
        let _ = write!(
            text,
            "\n# The command of each rank for {}.\nprogram_{}() {{\n  cat << '{END}'\n",
            group.role, group.role
        );
        text += &program(deployment, group)?;
        let _ = write!(text, "{END}\n}}\n");
    }
    text += "\nengines() {\n";
    for group in &deployment.groups {
        for worker in &group.workers {
            let ports = worker.ports;
            let _ = writeln!(
                text,
                "  engine {} {} {} {} {} {} {} {} {}",
                worker.name(group),
                group.role,
                worker.first_node,
                group.nodes,
                worker.position,
                deployment.http_port(worker),
                ports.nccl,
                ports.bootstrap,
                ports.rendezvous,
            );
        }
    }
    text += "}\n\nrouter() {\n";
    match router {
        Some(router) => {
            let words = words_at(&router.words, &OnNode).join(" ");
            let _ = writeln!(
                text,
                "  start_step router 0 1 \"${{engine_options[@]}}\" -- \"${{inside[@]}}\" {words}"
            );
        }
        None => text += "  :\n",
    }
    text += "}\n";
    Ok(text)
}

/// Returns the commands of one rank: its variables, and the engine in place of the shell.
fn program(deployment: &Deployment, group: &EngineGroup) -> Result<String> {
    let Some(first) = group.workers.first() else {
        return Ok(String::new());
    };
    let mut text = String::new();
    for (name, value) in &group.env {
        let _ = writeln!(text, "export {name}={}", shell_word(value));
    }
    for (name, value) in &group.own_env {
        let value = words_at(std::slice::from_ref(value), &OnNode).concat();
        let _ = writeln!(text, "export {name}={value}");
    }
    let shares_node = group.gpus > 0 && group.gpus < deployment.gpus_per_node;
    if shares_node {
        let gpus = group.gpus;
        let _ = writeln!(text, "all=(${{CUDA_VISIBLE_DEVICES//,/ }})");
        let _ = writeln!(text, "own_gpus=\"${{all[*]:DSR1_POSITION * {gpus}:{gpus}}}\"");
        let _ = writeln!(text, "export CUDA_VISIBLE_DEVICES=\"${{own_gpus// /,}}\"");
    }
    let words = words_at(&deployment.words(group, first), &OnNode);
    let _ = writeln!(text, "exec {}", words.join(" "));
    let is_whole = |line: &str| line == END;
    if text.contains('\0') || text.lines().any(is_whole) {
        return Err(Error::new(
            Kind::Usage,
            format!("the command for {} cannot be written into a script", group.role),
        ));
    }
    Ok(text)
}

/// Returns the options of `srun` and the words before the command, for the container.
fn container_words(options: &ClusterOptions) -> Result<(Vec<String>, Vec<String>)> {
    let Some(Container {
        image,
        weights,
        weights_at,
        mounts,
    }) = &options.container
    else {
        return Ok((Vec::new(), Vec::new()));
    };
    let mounts: Vec<(String, String)> = std::iter::once((weights.clone(), weights_at.clone()))
        .chain(mounts.iter().cloned())
        .collect();
    let pair = |(source, target): &(String, String)| format!("{source}:{target}");
    if let Some(wrong) = mounts.iter().find(|(source, target)| {
        [source, target]
            .iter()
            .any(|path| !path.starts_with('/') || path.contains([',', ':']) || path.chars().any(is_hidden))
    }) {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "`{}` cannot be mounted into a container",
                pair(wrong).escape_debug()
            ),
        )
        .hint("write it as /folder/on/the/node:/folder/in/the/container, without commas and colons"));
    }
    let mounts = mounts.iter().map(pair).collect::<Vec<_>>().join(",");
    Ok(match options.slurm.tool {
        ContainerTool::Pyxis => {
            let mut words = vec![
                shell_word(&format!("--container-image={image}")),
                // The image's entry point would run in place of the command (pyxis#61), and the home of a user can hide
                // the image's own packages.
                "--no-container-entrypoint".to_owned(),
                "--no-container-mount-home".to_owned(),
            ];
            if !mounts.is_empty() {
                words.push(shell_word(&format!("--container-mounts={mounts}")));
            }
            (words, Vec::new())
        }
        ContainerTool::Apptainer => {
            let mut words: Vec<String> = ["apptainer", "exec", "--nv"].map(str::to_owned).into();
            if !mounts.is_empty() {
                words.extend(["--bind".to_owned(), shell_word(&mounts)]);
            }
            words.push(shell_word(image));
            (Vec::new(), words)
        }
    })
}

/// Words in the shell of a rank, or of the job on node 0.
struct OnNode;

impl Addresses for OnNode {
    fn text(&self, text: &str) -> String {
        shell_word(text)
    }

    fn own(&self) -> String {
        "\"$own\"".to_owned()
    }

    fn node_rank(&self) -> String {
        "\"$rank\"".to_owned()
    }

    fn port(&self, of: PortUse, _port: u16) -> String {
        match of {
            PortUse::Http => "\"$DSR1_HTTP\"",
            PortUse::Nccl => "\"$DSR1_NCCL\"",
            PortUse::Bootstrap => "\"$DSR1_BOOTSTRAP\"",
        }
        .to_owned()
    }

    fn leader(&self, _port: u16) -> String {
        "\"$leader:$DSR1_RENDEZVOUS\"".to_owned()
    }

    fn url(&self, node: u32, port: u16) -> String {
        format!("\"http://${{addresses[{node}]}}:{port}\"")
    }
}
