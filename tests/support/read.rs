//! Readers of the files that `export` writes, written from the manuals of the tools without code of dsr1. Each returns
//! the container that the tool would start. The fuzz targets use them too.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "each user needs a part, and a wrong file is a panic"
)]

use std::collections::BTreeMap;

use dsr1::plan::{Mount, StartContainer, Ulimit};

/// Returns the settings of a unit file (systemd.syntax(7)): section, key and value, in the order of the file.
pub fn settings(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut lines = text.split('\n');
    while let Some(line) = lines.next() {
        let line = line.trim_matches([' ', '\t']);
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(begun) = whole.strip_suffix('\\') {
            // Comments inside a continued line are skipped.
            let next = lines
                .find(|next| !next.trim_start().starts_with(['#', ';']))
                .unwrap_or_default();
            whole = format!("{begun} {}", next.trim_end_matches([' ', '\t']));
        }
        let (key, value) = whole
            .split_once('=')
            .unwrap_or_else(|| panic!("no setting: {whole}"));
        found.push((
            section.clone(),
            key.trim().to_owned(),
            value.trim_matches([' ', '\t']).to_owned(),
        ));
    }
    found
}

/// Returns the words of a setting (systemd.syntax(7), "Quoting").
pub fn words(value: &str) -> Vec<String> {
    split(value).into_iter().map(|(word, _)| word).collect()
}

/// Returns the words of a setting; the flag of a word is true if it was quoted.
fn split(value: &str) -> Vec<(String, bool)> {
    let mut words = Vec::new();
    let mut rest = value.chars().peekable();
    loop {
        while rest.next_if(|c| [' ', '\t', '\n', '\r'].contains(c)).is_some() {}
        let Some(first) = rest.peek().copied() else {
            return words;
        };
        let quote = ['"', '\''].contains(&first).then_some(first);
        if quote.is_some() {
            rest.next();
        }
        let mut word = String::new();
        loop {
            match (rest.next(), quote) {
                (None, Some(_)) => panic!("a quote is open: {value}"),
                (Some(c), Some(quote)) if c == quote => {
                    assert!(
                        rest.peek().is_none_or(|c| *c == ' '),
                        "something follows a quote: {value}"
                    );
                    break;
                }
                (None | Some(' ' | '\t' | '\n' | '\r'), None) => break,
                (Some('"' | '\''), None) => panic!("a quote inside a word: {value}"),
                (Some('\\'), _) => word.push(match rest.next() {
                    Some(c @ ('\\' | '"' | '\'')) => c,
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('s') => ' ',
                    other => panic!("unknown escape {other:?}: {value}"),
                }),
                (Some(c), _) => word.push(c),
            }
        }
        words.push((word, quote.is_some()));
    }
}

/// Undoes the doubling of `mark`. Panics at a single one, which the tool would expand.
pub fn halved(text: &str, mark: char) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == mark {
            assert_eq!(rest.next(), Some(mark), "a single {mark}: {text}");
        }
        out.push(c);
    }
    out
}

/// Returns a command line as systemd runs it (systemd.service(5), "COMMAND LINES").
pub fn command_line(value: &str) -> Vec<String> {
    let words = split(value);
    let lone = (";".to_owned(), false);
    assert!(!words.contains(&lone), "two commands: {value}");
    words
        .iter()
        .map(|(word, _)| halved(&halved(word, '%'), '$'))
        .collect()
}

/// Returns the words of a POSIX shell's simple command, for scripts that quote only with single quotes and backslashes.
pub fn posix_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\n' => words.extend(word.take()),
            '\'' => {
                let inside: String = rest.by_ref().take_while(|c| *c != '\'').collect();
                word.get_or_insert_default().push_str(&inside);
            }
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => panic!("a backslash ends the command"),
            },
            c if c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c) => {
                word.get_or_insert_default().push(c);
            }
            c => panic!("`{c}` is not quoted: {command}"),
        }
    }
    words.extend(word);
    words
}

fn empty() -> StartContainer {
    StartContainer {
        name: String::new(),
        image: String::new(),
        argv: Vec::new(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        network: String::new(),
        gpus: false,
        shm_bytes: 0,
        ulimits: Vec::new(),
        mounts: Vec::new(),
        init: false,
        cap_drop: Vec::new(),
        security_opt: Vec::new(),
        stop_timeout_s: 0,
        log_driver: String::new(),
        log_opts: BTreeMap::new(),
    }
}

fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or_else(|| panic!("no pair: {text}"));
    (key.to_owned(), value.to_owned())
}

fn ulimit(text: &str) -> Ulimit {
    let (name, limits) = pair(text);
    let (soft, hard) = limits.split_once(':').unwrap();
    Ulimit {
        name,
        soft: soft.parse().unwrap(),
        hard: hard.parse().unwrap(),
    }
}

/// Returns the fields of a CSV record (RFC 4180).
fn csv(record: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut rest = record.chars().peekable();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        let field = fields.last_mut().unwrap();
        match c {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' => {
                assert!(field.is_empty(), "a quote inside a field: {record}");
                quoted = true;
            }
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    assert!(!quoted, "a quote is open: {record}");
    fields
}

fn mount(option: &str) -> Mount {
    let mut values = BTreeMap::new();
    for field in csv(option) {
        let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
        let key = match key {
            "destination" => "target",
            "ro" => "readonly",
            key => key,
        };
        assert!(
            values.insert(key.to_owned(), value.to_owned()).is_none(),
            "twice: {option}"
        );
    }
    let mut take = |key: &str| values.remove(key).unwrap_or_default();
    let mount = match take("type").as_str() {
        "bind" => {
            assert_eq!(take("readonly"), "true", "{option}");
            Mount::Bind {
                source: take("source"),
                target: take("target"),
            }
        }
        "volume" => Mount::Volume {
            name: take("source"),
            target: take("target"),
        },
        other => panic!("mount of type {other}"),
    };
    assert!(values.is_empty(), "{option}: {values:?}");
    mount
}

/// Returns the container that a `docker run` or `podman run` command starts.
pub fn run_command(argv: &[String]) -> StartContainer {
    let mut step = empty();
    let mut rest = argv[2..].iter();
    assert_eq!(argv[1], "run");
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            word.clone_into(&mut step.image);
            break;
        }
        let (flag, inline) = word
            .split_once('=')
            .map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
        let mut value = || inline.map_or_else(|| rest.next().unwrap().clone(), str::to_owned);
        match flag {
            "--detach" | "-d" | "--rm" | "--replace" => {}
            "--init" => step.init = true,
            "--cidfile" | "--cgroups" | "--sdnotify" => drop(value()),
            "--pull" => assert_eq!(value(), "never"),
            "--name" => step.name = value(),
            "--network" => step.network = value(),
            "--gpus" => {
                assert_eq!(value(), "all");
                step.gpus = true;
            }
            "--device" => {
                assert_eq!(value(), "nvidia.com/gpu=all");
                step.gpus = true;
            }
            "--shm-size" => step.shm_bytes = value().parse().unwrap(),
            "--ulimit" => step.ulimits.push(ulimit(&value())),
            "--mount" => step.mounts.push(mount(&value())),
            "--cap-drop" => step.cap_drop.push(value()),
            "--security-opt" => step.security_opt.push(value()),
            "--stop-timeout" => step.stop_timeout_s = value().parse().unwrap(),
            "--log-driver" => step.log_driver = value(),
            "--log-opt" => step.log_opts.extend([pair(&value())]),
            "--label" => step.labels.extend([pair(&value())]),
            "--env" => step.env.extend([pair(&value())]),
            other => panic!("unknown option {other}"),
        }
    }
    step.argv = rest.cloned().collect();
    step
}

/// Returns the container of a systemd service that runs `docker run`.
pub fn systemd(text: &str) -> StartContainer {
    let settings = settings(text);
    let all = |wanted: &str| -> Vec<&String> {
        settings
            .iter()
            .filter(|(_, key, _)| key == wanted)
            .map(|(_, _, value)| value)
            .collect()
    };
    assert_eq!(all("ExecStart").len(), 1);
    let step = run_command(&command_line(all("ExecStart")[0]));
    let before = command_line(all("ExecStartPre")[0]);
    assert_eq!(before, ["-docker", "rm", &step.name]);
    let ending = command_line(all("ExecStop")[0]);
    assert_eq!(
        ending,
        [
            "docker",
            "stop",
            "-t",
            &step.stop_timeout_s.to_string(),
            &step.name
        ]
    );
    step
}

/// Returns the container of a Quadlet (podman-systemd.unit(5)).
pub fn quadlet(text: &str) -> StartContainer {
    let mut step = empty();
    for (section, key, value) in settings(text) {
        if section != "Container" {
            continue;
        }
        let line = command_line(&value);
        let word = || {
            assert_eq!(line.len(), 1, "{key}={value}");
            line[0].clone()
        };
        match key.as_str() {
            "ContainerName" => step.name = word(),
            "Image" => step.image = word(),
            "Pull" => assert_eq!(word(), "never"),
            "Network" => step.network = word(),
            "AddDevice" => {
                assert_eq!(word(), "nvidia.com/gpu=all");
                step.gpus = true;
            }
            "ShmSize" => step.shm_bytes = word().parse().unwrap(),
            "Ulimit" => step.ulimits.push(ulimit(&word())),
            "Mount" => step.mounts.push(mount(&word())),
            "RunInit" => step.init = word() == "true",
            "DropCapability" => step.cap_drop.push(word()),
            "NoNewPrivileges" => step.security_opt.push("no-new-privileges".to_owned()),
            "PodmanArgs" => {
                let option = word();
                step.security_opt
                    .push(option.strip_prefix("--security-opt=").unwrap().to_owned());
            }
            "StopTimeout" => step.stop_timeout_s = word().parse().unwrap(),
            "LogDriver" => step.log_driver = word(),
            "LogOpt" => step.log_opts.extend([pair(&word())]),
            "Label" => step.labels.extend([pair(&word())]),
            "Environment" => step.env.extend([pair(&word())]),
            "Exec" => step.argv = line,
            other => panic!("unknown key {other}"),
        }
    }
    step
}

/// Returns a container that was planned for Docker as Podman starts it.
pub fn as_podman(step: &StartContainer) -> StartContainer {
    let mut step = step.clone();
    let registry =
        step.image.split('/').next().unwrap().contains(['.', ':']) || step.image.starts_with("localhost/");
    if !step.image.contains('/') {
        step.image = format!("docker.io/library/{}", step.image);
    } else if !registry {
        step.image = format!("docker.io/{}", step.image);
    }
    if step.log_driver == "json-file" {
        "k8s-file".clone_into(&mut step.log_driver);
        step.log_opts.remove("max-file");
    }
    step
}

/// Returns the only service of a Compose file (the Compose specification).
pub fn compose(text: &str) -> StartContainer {
    let file: serde_json::Value =
        serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let services = file["services"].as_object().unwrap();
    assert_eq!(services.len(), 1);
    compose_service(services.values().next().unwrap(), true)
}

/// Returns the container of a service, as `export` wrote it or as Compose prints it, which omits `create_host_path`.
pub fn compose_service(service: &serde_json::Value, written: bool) -> StartContainer {
    let text = |value: &serde_json::Value| {
        let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
        halved(text, '$')
    };
    let list = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(text).collect()
    };
    // Compose has two forms of pairs, and prints the one that `export` does not write.
    let pairs = |value: &serde_json::Value| -> BTreeMap<String, String> {
        match value {
            serde_json::Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
            other => list(other).iter().map(|line| pair(line)).collect(),
        }
    };
    let devices = &service["deploy"]["resources"]["reservations"]["devices"];
    if !devices.is_null() {
        assert_eq!(devices[0]["driver"], "nvidia");
        assert_eq!(devices[0]["capabilities"][0], "gpu");
    }
    let mounts =
        service["volumes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|volume| match volume["type"].as_str() {
                Some("bind") => {
                    assert_eq!(volume["read_only"], true);
                    assert!(!written || volume["bind"]["create_host_path"] == false);
                    Mount::Bind {
                        source: text(&volume["source"]),
                        target: text(&volume["target"]),
                    }
                }
                _ => Mount::Volume {
                    name: text(&volume["source"]),
                    target: text(&volume["target"]),
                },
            });
    let ulimits = service["ulimits"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, limit)| Ulimit {
            name: name.clone(),
            soft: limit["soft"].as_i64().unwrap(),
            hard: limit["hard"].as_i64().unwrap(),
        });
    let shm = &service["shm_size"];
    StartContainer {
        name: text(&service["container_name"]),
        image: text(&service["image"]),
        argv: list(&service["command"]),
        env: pairs(&service["environment"]),
        labels: pairs(&service["labels"]),
        network: text(&service["network_mode"]),
        gpus: !devices.is_null(),
        shm_bytes: shm
            .as_u64()
            .unwrap_or_else(|| shm.as_str().unwrap().parse().unwrap()),
        ulimits: ulimits.collect(),
        mounts: mounts.collect(),
        init: service["init"] == true,
        cap_drop: list(&service["cap_drop"]),
        security_opt: list(&service["security_opt"]),
        stop_timeout_s: seconds(&text(&service["stop_grace_period"])),
        log_driver: text(&service["logging"]["driver"]),
        log_opts: pairs(&service["logging"]["options"]),
    }
}

/// Parses a duration such as `8m26s`.
fn seconds(text: &str) -> u32 {
    let mut sum = 0;
    for part in text.split_inclusive(['h', 'm', 's']) {
        let (number, unit) = part.split_at(part.len() - 1);
        let length = match unit {
            "h" => 3600,
            "m" => 60,
            _ => 1,
        };
        sum += number.parse::<u32>().unwrap() * length;
    }
    sum
}

/// Returns the instructions of a Dockerfile, with continuation lines joined.
pub fn instructions(dockerfile: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    for line in dockerfile.lines() {
        let comment = line.trim_start().starts_with('#');
        if !comment && !line.trim().is_empty() {
            if open {
                found.last_mut().unwrap().push_str(line);
            } else {
                found.push(line.to_owned());
            }
            open = line.trim_end().ends_with('\\');
        }
    }
    found
}

/// Panics unless two Dockerfiles have the same instructions with different values: a RUN step may hold no additional
/// character with a meaning for the shell.
pub fn assert_same_instructions(dockerfile: &str, other: &str) {
    let (read, wanted) = (instructions(dockerfile), instructions(other));
    assert_eq!(read.len(), wanted.len(), "{dockerfile}");
    for (read, wanted) in read.iter().zip(&wanted) {
        let word = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        assert_eq!(word(read), word(wanted), "{dockerfile}");
        let meaning = |c: char| "$`;&|<>(){}*?!#'\"\\".contains(c);
        let count = |line: &str| line.chars().filter(|c| meaning(*c)).count();
        assert!(word(read) == "LABEL" || count(read) == count(wanted), "{read}");
    }
}
