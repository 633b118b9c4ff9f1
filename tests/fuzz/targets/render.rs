//! Any strings in a container: every form reads back as that container, or it is refused by name. And any strings
//! in a stack: its Dockerfile keeps its instructions, or it is refused.

use std::collections::BTreeMap;

use dsr1::error::Kind;
use dsr1::facts::Facts;
use dsr1::plan::{
    self, BuildRequest, ImageChoice, Mount, StartContainer, StartProcess, Step, Target, Ulimit,
};
use dsr1::profile::{Catalog, Requirement, Stack};
use dsr1::render;

use super::read;

/// Separates strings in the input; in no UTF-8 text.
const SEPARATOR: u8 = 0xff;

/// Builds a container, a process or a stack from the input, and reads back what is written of it.
pub(crate) fn check_render(data: &[u8]) {
    let strings: Vec<String> = data
        .split(|byte| *byte == SEPARATOR)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    let mut strings = strings.into_iter();
    // The first one chooses what the others are, so that a fuzzer can keep them apart.
    let kind = strings.next().unwrap_or_default();
    match kind.as_str() {
        "stack" => stack(strings),
        "process" => process(strings),
        _ => container(strings),
    }
}

fn container(mut strings: impl Iterator<Item = String>) {
    let mut step = StartContainer {
        name: "dsr1-x".to_owned(),
        image: "dsr1/guide:1".to_owned(),
        argv: vec!["python3".to_owned()],
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        network: "host".to_owned(),
        gpus: true,
        shm_bytes: 1 << 30,
        ulimits: Vec::new(),
        mounts: Vec::new(),
        init: true,
        cap_drop: Vec::new(),
        security_opt: Vec::new(),
        stop_timeout_s: 30,
        log_driver: "json-file".to_owned(),
        log_opts: BTreeMap::new(),
    };
    // Pairs of a field's letter and what goes in there.
    while let (Some(field), Some(value)) = (strings.next(), strings.next()) {
        let pair = || {
            value
                .split_once('=')
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
        };
        match field.as_str() {
            "n" => step.name = value,
            "i" => step.image = value,
            "e" => step.env.extend(pair()),
            "l" => step.labels.extend(pair()),
            "w" => step.network = value,
            "u" => step.ulimits.push(Ulimit {
                name: value,
                soft: -1,
                hard: 7,
            }),
            "b" => step
                .mounts
                .extend(pair().map(|(source, target)| Mount::Bind { source, target })),
            "v" => step
                .mounts
                .extend(pair().map(|(name, target)| Mount::Volume { name, target })),
            "c" => step.cap_drop.push(value),
            "s" => step.security_opt.push(value),
            "d" => step.log_driver = value,
            "o" => step.log_opts.extend(pair()),
            _ => step.argv.push(value),
        }
    }
    let script = render::container(render::BASH, &step, &[]).expect("bash carries everything");
    let (_, command) = script.split_once("\ndocker ").expect("a command");
    let words = read::posix_words(&format!("docker {command}"));
    // An image that begins with a dash is an option to docker, and keys with `=` are other keys: such steps cannot
    // be planned, and the forms below refuse them.
    let forms = [render::COMPOSE, render::SYSTEMD, render::QUADLET];
    let mut carried = 0;
    for format in forms {
        match render::container(format, &step, &[]) {
            Err(error) => {
                assert_eq!(error.kind(), Kind::Usage);
                assert!(!error.message().chars().any(char::is_control), "{error:?}");
            }
            Ok(text) => {
                carried += 1;
                assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
                let mut wanted = step.clone();
                match format.name() {
                    "compose" => {
                        wanted.ulimits.sort_by(|one, other| one.name.cmp(&other.name));
                        assert_eq!(read::compose(&text), wanted, "{text}");
                    }
                    "systemd" => assert_eq!(read::systemd(&text), wanted, "{text}"),
                    _ => assert_eq!(read::quadlet(&text), read::as_podman(&wanted), "{text}"),
                }
            }
        }
    }
    if carried > 0 {
        assert_eq!(read::run_command(&words), step, "{script}");
    }
}

fn process(mut strings: impl Iterator<Item = String>) {
    let mut next = || strings.next().unwrap_or_default();
    let mut step = StartProcess {
        name: "dsr1-x".to_owned(),
        log: next(),
        workdir: next(),
        argv: vec![next()],
        env: BTreeMap::from([("A".to_owned(), next())]),
        labels: BTreeMap::from([("io.dsr1.x".to_owned(), next())]),
    };
    step.argv.extend(strings);
    let Ok(text) = render::process(render::SYSTEMD, &step, &[]) else {
        return;
    };
    let settings = read::settings(&text);
    let one = |wanted: &str, at: usize| {
        let mut found = settings.iter().filter(|(_, key, _)| key == wanted);
        found
            .nth(at)
            .map(|(_, _, value)| value.clone())
            .expect("a setting")
    };
    assert_eq!(read::command_line(&one("ExecStart", 0)), step.argv, "{text}");
    assert_eq!(read::halved(&one("WorkingDirectory", 0), '%'), step.workdir);
    assert_eq!(
        read::halved(&one("StandardOutput", 0), '%'),
        format!("append:{}", step.log)
    );
    let pair: Vec<String> = read::words(&one("Environment", 0))
        .iter()
        .map(|word| read::halved(word, '%'))
        .collect();
    assert_eq!(pair, [format!("A={}", step.env["A"])]);
    let header = plan::log_header(&step.labels);
    assert_eq!(
        read::command_line(&one("ExecStartPre", 1)),
        ["printf", "%s\\n", &header]
    );
}

fn stack(mut strings: impl Iterator<Item = String>) {
    let build = |stack: &Stack, base: &str| {
        let image = ImageChoice {
            base: Some(base.to_owned()),
            ..ImageChoice::default()
        };
        let request = BuildRequest::new(stack.clone(), Target::Docker, image);
        plan::build(&request, &Facts::default())
    };
    let text = |plan: &plan::Plan| match &plan.steps[0] {
        Step::BuildImage(step) => step.dockerfile.clone(),
        other => panic!("{other:?}"),
    };
    let mut next = || strings.next().unwrap_or_default();
    let mut stack = Catalog::load(None)
        .expect("built in")
        .stack("cpu")
        .expect("built in")
        .clone();
    let plain = build(&stack, "debian").expect("built in");
    let base = next();
    stack.name = next();
    stack.image_python = next();
    stack.install.apt.push(next());
    // Among those without hashes, which are installed last: one that has hashes may need a step of its own.
    if let (Some(last), Ok(one)) = (
        stack.install.requirements.last_mut(),
        next().parse::<Requirement>(),
    ) && !one.is_hashed()
    {
        last.push(one);
    }
    stack.install.files.insert(next(), next());
    match build(&stack, &base) {
        Err(error) => assert_eq!(error.kind(), Kind::Usage),
        Ok(made) => read::assert_same_instructions(&text(&made), &text(&plain)),
    }
}
