//! A server as a systemd service, from a container or from a process.

use std::fmt::Write;

use crate::error::Result;
use crate::plan::{StartContainer, StartProcess, log_header};
use crate::quote::shell_word;
use crate::render::form::{ExportFile, Form, StartStep, comment_lines};
use crate::render::{shell, unit};

/// The restart settings of a service, with their reasons.
const RESTART: &str = "\
# An engine that ends without `systemctl stop` has failed, whatever its exit code. After three failures in an hour it
# stays down, because the cause (a lost GPU, too little memory) needs attention.
Restart=always
RestartSec=30
";

/// Seconds that a process has to end; SGLang checks its requests every 5 s while it drains.
const PROCESS_STOP_S: u32 = 60;

/// The form `systemd`.
#[derive(Debug)]
pub(super) struct Systemd;

impl Form for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn about(&self) -> &'static str {
        "A service unit, of a container or of a process"
    }

    fn noun(&self) -> &'static str {
        "a systemd service"
    }

    fn file_name(&self, server: &str) -> String {
        format!("{server}.service")
    }

    fn start_commands(&self, start: &StartStep, file: &ExportFile) -> Vec<String> {
        let name = shell_word(unit::name(&file.name));
        match start {
            StartStep::Container(_) => vec![
                file.copy_to("/etc/systemd/system/"),
                format!("systemctl daemon-reload && systemctl enable --now {name}"),
            ],
            StartStep::Process(_) => vec![
                file.copy_to("~/.config/systemd/user/"),
                format!("systemctl --user daemon-reload && systemctl --user enable --now {name}"),
                "loginctl enable-linger  (the server also runs while nobody is logged in)".to_owned(),
            ],
        }
    }

    fn container(&self, step: &StartContainer, head: &[String]) -> Result<String> {
        Ok(container(step, head))
    }

    fn has_process(&self) -> bool {
        true
    }

    fn process(&self, step: &StartProcess, head: &[String]) -> Result<String> {
        Ok(process(step, head))
    }
}

fn head_and_unit(head: &[String], name: &str, extra: &str) -> String {
    format!(
        "{}\n[Unit]\nDescription=SGLang server {name}\n{extra}StartLimitIntervalSec=3600\nStartLimitBurst=3\n\n[Service]\n",
        comment_lines(head)
    )
}

/// The service that runs a container in the foreground.
fn container(step: &StartContainer, head: &[String]) -> String {
    // `container_options` names every field of the step without `..`; only the text around them is written here.
    let options = shell::container_options(step);
    let mut lines: Vec<Vec<&str>> = vec![vec!["docker", "run", "--rm"], vec!["--pull", "never"]];
    lines.extend(
        options
            .iter()
            .map(|line| line.iter().map(String::as_str).collect()),
    );
    lines.push(vec![&step.image]);
    lines.extend(shell::by_flag(&step.argv));
    let seconds = step.stop_timeout_s.to_string();
    let mut text = head_and_unit(
        head,
        &step.name,
        "Requires=docker.service\nAfter=docker.service network-online.target\nWants=network-online.target\n",
    );
    text.push_str(
        "# Removes a container that a crash of the daemon left. Without --force, which would remove a running server.\n",
    );
    text.push_str(&unit::command(
        "ExecStartPre",
        &[vec!["-docker", "rm", &step.name]],
    ));
    text.push_str(&unit::command("ExecStart", &lines));
    text.push_str(&unit::command(
        "ExecStop",
        &[vec!["docker", "stop", "-t", &seconds, &step.name]],
    ));
    text.push_str(RESTART);
    let _ = writeln!(
        text,
        "TimeoutStartSec=60\nTimeoutStopSec={}\n\n[Install]\nWantedBy=multi-user.target",
        u64::from(step.stop_timeout_s) + 30
    );
    text
}

/// The service that runs a process, for the service manager of the user who owns its files.
fn process(step: &StartProcess, head: &[String]) -> String {
    let StartProcess {
        name,
        argv,
        env,
        labels,
        log,
        workdir,
    } = step;
    let header = log_header(labels);
    let previous = format!("{}.ended.log", log.strip_suffix(".log").unwrap_or(log));
    let mut text = head_and_unit(head, name, "");
    let _ = writeln!(text, "WorkingDirectory={}", unit::raw(workdir));
    for (key, value) in env {
        let _ = writeln!(text, "Environment={}", unit::setting(&format!("{key}={value}")));
    }
    text.push_str(
        "# dsr1 finds a server by the first line of its log, which holds its labels. The log may hold prompts.\n",
    );
    let _ = writeln!(text, "UMask=0077\nStandardOutput=append:{}", unit::raw(log));
    text.push_str(&unit::command(
        "ExecStartPre",
        &[vec!["mv", "--force", "--", log, &previous]],
    ));
    text.push_str(&unit::command(
        "ExecStartPre",
        &[vec!["printf", "%s\\n", &header]],
    ));
    text.push_str(&unit::command("ExecStart", &shell::by_flag(argv)));
    text.push_str(
        "# The main process drains and ends its children; systemd kills those that are left.\nKillMode=mixed\n",
    );
    text.push_str(RESTART);
    let _ = writeln!(
        text,
        "TimeoutStartSec=60\nTimeoutStopSec={PROCESS_STOP_S}\n\n[Install]\nWantedBy=default.target"
    );
    text
}
