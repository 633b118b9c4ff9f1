//! A container as a Quadlet: the `.container` file that Podman's generator turns into a systemd service.
//!
//! The generator writes every value to the command line of that service, so every value is quoted as a word of a
//! command line.

use std::fmt::Write;

use crate::error::Result;
use crate::plan::{Mount, StartContainer, Ulimit};
use crate::quote::shell_word;
use crate::render::form::{ExportFile, Form, StartStep, comment_lines};
use crate::render::{checked, shell, unit};

/// The form `quadlet`.
#[derive(Debug)]
pub(super) struct Quadlet;

impl Form for Quadlet {
    fn name(&self) -> &'static str {
        "quadlet"
    }

    fn about(&self) -> &'static str {
        "A .container file for Podman 5.2 or newer"
    }

    fn noun(&self) -> &'static str {
        "a Quadlet for Podman 5.2 or newer"
    }

    fn file_name(&self, server: &str) -> String {
        format!("{server}.container")
    }

    fn preparations(&self, start: &StartStep) -> Vec<String> {
        let StartStep::Container(step) = start else {
            return Vec::new();
        };
        let mut lines = vec![format!("docker save {} | podman load", shell_word(&step.image))];
        if step.gpus {
            lines.push("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml".to_owned());
        }
        lines
    }

    fn start_commands(&self, _start: &StartStep, file: &ExportFile) -> Vec<String> {
        vec![
            file.copy_to("/etc/containers/systemd/"),
            format!(
                "systemctl daemon-reload && systemctl start {}",
                shell_word(unit::name(&file.name))
            ),
        ]
    }

    fn container(&self, step: &StartContainer, head: &[String]) -> Result<String> {
        render(step, head)
    }
}

/// Writes a container as a Quadlet.
fn render(step: &StartContainer, head: &[String]) -> Result<String> {
    let StartContainer {
        name,
        image,
        argv,
        env,
        labels,
        network,
        gpus,
        shm_bytes,
        ulimits,
        mounts,
        init,
        cap_drop,
        security_opt,
        stop_timeout_s,
        log_driver,
        log_opts,
    } = step;
    // Podman 5.4 drops an empty word, and writes `;` without its quotes, which ends the command in systemd.
    if let Some(word) = argv.iter().find(|word| ["", ";"].contains(&word.as_str())) {
        return Err(checked::refused("argv", word, "is a word that Quadlet drops"));
    }
    let mut text = format!(
        "{}\n[Unit]\nDescription=SGLang server {name}\nAfter=network-online.target\nWants=network-online.target\n\
         StartLimitIntervalSec=3600\nStartLimitBurst=3\n\n[Container]\n",
        comment_lines(head)
    );
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={value}");
    };
    set("ContainerName", name);
    set("Image", &qualified_image(image));
    set("Pull", "never");
    set("Network", network);
    if *gpus {
        set("AddDevice", "nvidia.com/gpu=all");
    }
    set("ShmSize", &shm_bytes.to_string());
    for Ulimit { name, soft, hard } in ulimits {
        set("Ulimit", &format!("{name}={soft}:{hard}"));
    }
    for mount in mounts {
        set("Mount", &unit::word(&mount_option(mount)?));
    }
    set("RunInit", if *init { "true" } else { "false" });
    for capability in cap_drop {
        set("DropCapability", capability);
    }
    for option in security_opt {
        if option == "no-new-privileges" {
            set("NoNewPrivileges", "true");
        } else {
            set("PodmanArgs", &unit::word(&format!("--security-opt={option}")));
        }
    }
    set("StopTimeout", &stop_timeout_s.to_string());
    set("LogDriver", podman_log_driver(log_driver));
    for (key, value) in log_opts {
        if log_driver == "json-file" && key == "max-file" {
            // Podman keeps a single log file.
            set("# has no counterpart here: max-file", value);
        } else {
            set("LogOpt", &unit::word(&format!("{key}={value}")));
        }
    }
    for (key, value) in labels {
        set("Label", &unit::word(&format!("{key}={value}")));
    }
    for (key, value) in env {
        set("Environment", &unit::word(&format!("{key}={value}")));
    }
    text.push_str(&unit::command("Exec", &shell::by_flag(argv)));
    let _ = writeln!(
        text,
        "\n[Service]\n# An engine that ends without `systemctl stop` has failed; after three failures in an hour it stays down.\n\
         Restart=always\nRestartSec=30\nTimeoutStartSec=60\nTimeoutStopSec={}\n\n[Install]\nWantedBy=multi-user.target",
        u64::from(*stop_timeout_s) + 30
    );
    Ok(text)
}

/// Returns the image's name in Podman's store after `podman load`: with its registry.
fn qualified_image(image: &str) -> String {
    match image.split_once('/') {
        None => format!("docker.io/library/{image}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
    }
}

/// Returns Podman's name for a log driver of Docker.
fn podman_log_driver(driver: &str) -> &str {
    if driver == "json-file" { "k8s-file" } else { driver }
}

/// Returns one `--mount` value. Versions of Podman and of its generator differ in how they read quotes in it.
fn mount_option(mount: &Mount) -> Result<String> {
    let plain = |value: &str| {
        if value.contains([',', '"']) {
            Err(checked::refused(
                "mounts",
                value,
                "holds a comma or a quote, which Quadlet's Mount= cannot carry",
            ))
        } else {
            Ok(())
        }
    };
    Ok(match mount {
        Mount::Bind { source, target } => {
            plain(source)?;
            plain(target)?;
            format!("type=bind,source={source},destination={target},ro=true")
        }
        Mount::Volume { name, target } => {
            plain(target)?;
            // The generator reads such a name as a reference to a `.volume` file.
            if name.ends_with(".volume") {
                return Err(checked::refused(
                    "mounts",
                    name,
                    "ends in .volume, which Quadlet reserves",
                ));
            }
            format!("type=volume,source={name},destination={target}")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn words_that_the_generator_loses_are_refused() {
        for word in ["", ";"] {
            let error = render(&sample(&["python3", word]), &[]).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
        }
        assert!(render(&sample(&["python3", ";;", "a;b"]), &[]).is_ok());
    }

    fn sample(argv: &[&str]) -> StartContainer {
        StartContainer {
            name: "x".to_owned(),
            image: "x".to_owned(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            network: "host".to_owned(),
            gpus: false,
            shm_bytes: 1,
            ulimits: Vec::new(),
            mounts: Vec::new(),
            init: true,
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
            stop_timeout_s: 1,
            log_driver: "json-file".to_owned(),
            log_opts: BTreeMap::new(),
        }
    }

    #[test]
    fn images_get_the_name_that_podman_load_gives() {
        assert_eq!(qualified_image("dsr1/guide:1"), "docker.io/dsr1/guide:1");
        assert_eq!(qualified_image("guide:1"), "docker.io/library/guide:1");
        assert_eq!(qualified_image("localhost/guide:1"), "localhost/guide:1");
        assert_eq!(qualified_image("reg:5000/guide"), "reg:5000/guide");
    }
}
