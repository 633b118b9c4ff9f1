//! The files that `export` writes: a snapshot per form. Readers that follow the tools' manuals read them back, and so
//! do the tools themselves if they are installed.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::tools::{found, in_bash, in_compose, in_quadlet, in_systemd, shown_by_systemd};
use crate::support::{Home, read};
use dsr1::error::{Error, Kind};
use dsr1::facts::Facts;
use dsr1::plan::{
    self, BuildRequest, ImageChoice, Mount, Plan, StartContainer, StartProcess, Step, Target, Ulimit,
};
use dsr1::profile::{Catalog, Stack};
use dsr1::render::{self, Form};
use proptest::prelude::{Just, Strategy, any, prop_oneof};

const B200: &str = include_str!("../fixtures/facts-b200.json");
const LAPTOP: &str = include_str!("../fixtures/facts-laptop.json");

/// Values that are harmless only as long as they stay values. The first eight can be written to a file.
const EVIL: [&str; 13] = [
    "$(touch /tmp/dsr1-evil)",
    "`touch /tmp/dsr1-evil`",
    "it's \"quoted\" '",
    "100%n %i %%",
    "ends with a backslash \\",
    "${HOME} $HOME $$HOME",
    "x]] && touch /tmp/dsr1-evil; [[ x",
    "--privileged",
    "two\nRUN touch /tmp/dsr1-evil",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "line\u{2028}separator",
    "right\u{202e}to left",
    "nul\0byte",
];

/// Number of values in [`EVIL`] that can be written to a file.
const SHOWN: usize = 8;

fn home(facts: &str) -> Home {
    let home = Home::new().without_docker();
    std::fs::write(home.path().join("facts.json"), facts).unwrap();
    home
}

fn export(args: &[&str], facts: &str) -> String {
    let mut all = vec!["export"];
    all.extend(args);
    let at = all.iter().position(|arg| *arg == "--").unwrap_or(all.len());
    all.splice(at..at, ["--facts", "facts.json"]);
    home(facts).run(&all).expect(0).stdout
}

/// The commands at the head are those for the file that was written, in every form that has such commands.
#[test]
fn the_head_names_the_file_that_was_written() {
    let home = home(B200);
    let written = |form: &str, file: &str| {
        let args = [
            "export",
            form,
            "-p",
            "fp4-high-throughput",
            "--facts",
            "facts.json",
            "-o",
            file,
        ];
        home.run(&args).expect(0);
        std::fs::read_to_string(home.path().join(file)).unwrap()
    };
    std::fs::create_dir(home.path().join("units")).unwrap();
    for (form, file, commands) in [
        (
            "systemd",
            "dsr1-ht.service",
            &[
                "cp dsr1-ht.service /etc/systemd/system/\n",
                "enable --now dsr1-ht\n",
            ][..],
        ),
        (
            "systemd",
            "units/ht.service",
            &["cp units/ht.service /etc/systemd/system/\n", "enable --now ht\n"],
        ),
        // systemd reads no file of this name.
        (
            "systemd",
            "ht.txt",
            &["cp ht.txt /etc/systemd/system/dsr1-fp4-high-throughput.service\n"],
        ),
        (
            "quadlet",
            "ht.container",
            &[
                "cp ht.container /etc/containers/systemd/\n",
                "systemctl start ht\n",
            ],
        ),
        (
            "compose",
            "my file.yaml",
            &["docker compose --file 'my file.yaml' up"],
        ),
    ] {
        let text = written(form, file);
        for command in commands {
            assert!(text.contains(command), "{command}\n{text}");
        }
    }
}

fn plan(args: &[&str], facts: &str) -> Plan {
    // An exported server is not stopped by the command that wrote it.
    let mut all = vec!["plan", "--keep", "--format", "json", "--facts", "facts.json"];
    all.extend(args);
    // A host without Docker blocks a plan, and the plan is printed all the same.
    let run = home(facts).run(&all);
    assert!([0, 3].contains(&run.code), "{}", run.stderr);
    serde_json::from_value(run.json()).unwrap()
}

fn container_of(plan: &Plan) -> StartContainer {
    let found = plan.steps.iter().find_map(|step| match step {
        Step::StartContainer(step) => Some(step.clone()),
        _ => None,
    });
    found.unwrap()
}

fn process_of(plan: &Plan) -> StartProcess {
    let found = plan.steps.iter().find_map(|step| match step {
        Step::StartProcess(step) => Some(step.clone()),
        _ => None,
    });
    found.unwrap()
}

/// Returns a container that uses every field.
fn sample() -> StartContainer {
    static SAMPLE: std::sync::OnceLock<StartContainer> = std::sync::OnceLock::new();
    SAMPLE
        .get_or_init(|| container_of(&plan(&["--profile", "fp8-high-throughput"], B200)))
        .clone()
}

/// Returns the container that a service of Podman's generator starts.
fn podman_container(service: &str) -> StartContainer {
    let start = read::settings(service)
        .into_iter()
        .find(|(section, key, _)| section == "Service" && key == "ExecStart")
        .unwrap()
        .2;
    // The generator's own words have specifiers, which `export` never writes.
    let own = start.replacen("--cidfile=%t/%N.cid", "--cidfile=x", 1);
    let mut step = read::run_command(&read::command_line(&own));
    for capability in &mut step.cap_drop {
        // The generator writes capabilities in lower case; Podman accepts both.
        capability.make_ascii_uppercase();
    }
    step
}

#[track_caller]
fn write_out(format: &dyn Form, step: &StartContainer) -> String {
    render::container(format, step, &["head".to_owned()]).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Asserts that every form of every step reads back as the step, with the readers and with the tools.
#[track_caller]
fn assert_all_read_back(steps: &[StartContainer]) {
    let texts = |format| {
        steps
            .iter()
            .map(|step| write_out(format, step))
            .collect::<Vec<_>>()
    };
    let calls = in_bash(&texts(render::BASH));
    assert_eq!(calls.len(), steps.len());
    for (call, step) in calls.iter().zip(steps) {
        assert_eq!(&read::run_command(call), step);
    }
    let compose = texts(render::COMPOSE);
    for (text, step) in compose.iter().zip(steps) {
        assert_eq!(&read::compose(text), &sorted(step), "{text}");
    }
    if let Some(services) = in_compose(&compose) {
        for step in steps {
            let read = read::compose_service(&services[&step.name], false);
            assert_eq!(by_name(&read), by_name(step));
        }
    }
    let systemd = texts(render::SYSTEMD);
    for (text, step) in systemd.iter().zip(steps) {
        assert_eq!(&read::systemd(text), step, "{text}");
    }
    if found("systemd-analyze") {
        let mut service = "[Service]\nType=oneshot\n".to_owned();
        for text in &systemd {
            let (_, start) = text.split_once("\nExecStart=").unwrap();
            let (start, _) = start.split_once("\nExecStop=").unwrap();
            service.extend(["ExecStart=", start, "\n"]);
        }
        let lines = in_systemd(&service);
        assert_eq!(lines.len(), steps.len());
        for (line, step) in lines.iter().zip(steps) {
            assert_eq!(&read::run_command(line), step);
        }
    }
    // A step that Quadlet cannot hold is refused, and skipped here.
    let (quadlet, carried): (Vec<String>, Vec<&StartContainer>) = steps
        .iter()
        .filter_map(|step| Some((render::container(render::QUADLET, step, &[]).ok()?, step)))
        .unzip();
    for (text, step) in quadlet.iter().zip(&carried) {
        assert_eq!(read::quadlet(text), read::as_podman(step), "{text}");
    }
    if let Some(services) = in_quadlet(&quadlet) {
        for (service, step) in services.iter().zip(&carried) {
            assert_eq!(podman_container(service), read::as_podman(step), "{service}");
        }
    }
}

/// Returns a step in the order of Compose, which sorts limits by name and prints mounts by target.
fn by_name(step: &StartContainer) -> StartContainer {
    let target = |mount: &Mount| match mount {
        Mount::Bind { target, .. } | Mount::Volume { target, .. } => target.clone(),
    };
    let mut step = sorted(step);
    step.mounts.sort_by_key(target);
    step
}

/// Returns a step in the order of the exported Compose file, which sorts limits by name.
fn sorted(step: &StartContainer) -> StartContainer {
    let mut step = step.clone();
    step.ulimits.sort_by(|one, other| one.name.cmp(&other.name));
    step
}

#[test]
fn a_snapshot_of_every_form() {
    for tool in ["bash", "compose", "systemd", "quadlet"] {
        let text = export(&[tool, "--profile", "fp8-high-throughput"], B200);
        insta::assert_snapshot!(format!("fp8-high-throughput-{tool}"), text);
        let text = export(&[tool, "--profile", "rehearsal", "--runtime", "docker"], LAPTOP);
        insta::assert_snapshot!(format!("rehearsal-docker-{tool}"), text);
    }
    for tool in ["bash", "systemd"] {
        let text = export(&[tool, "--profile", "rehearsal"], LAPTOP);
        insta::assert_snapshot!(format!("rehearsal-process-{tool}"), text);
    }
}

#[test]
fn the_built_in_profiles_read_back() {
    let mut steps = vec![container_of(&plan(
        &["--profile", "rehearsal", "--runtime", "docker"],
        LAPTOP,
    ))];
    for profile in [
        "fp4-basic",
        "fp4-high-throughput",
        "fp8-high-throughput",
        "fp8-low-latency",
    ] {
        steps.push(container_of(&plan(&["--profile", profile], B200)));
    }
    assert_all_read_back(&steps);
}

#[test]
fn a_process_is_a_service_of_its_user() {
    let process = process_of(&plan(&["--profile", "rehearsal"], LAPTOP));
    let text = export(&["systemd", "--profile", "rehearsal"], LAPTOP);
    let settings = read::settings(&text);
    let all = |wanted: &str| -> Vec<&str> {
        settings
            .iter()
            .filter(|(_, key, _)| key == wanted)
            .map(|(_, _, value)| value.as_str())
            .collect()
    };
    let StartProcess {
        name,
        argv,
        env,
        labels,
        log,
        workdir,
    } = process;
    assert_eq!(all("Description"), [format!("SGLang server {name}")]);
    assert_eq!(read::command_line(all("ExecStart")[0]), argv);
    let read_env: BTreeMap<String, String> = all("Environment")
        .iter()
        .map(|line| read::halved(&read::words(line)[0], '%'))
        .map(|pair| {
            pair.split_once('=')
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .unwrap()
        })
        .collect();
    assert_eq!(read_env, env);
    assert_eq!(all("StandardOutput"), [format!("append:{log}")]);
    assert_eq!(all("WorkingDirectory"), [workdir]);
    let header = plan::log_header(&labels);
    assert_eq!(
        read::command_line(all("ExecStartPre")[1]),
        ["printf", "%s\\n", &header]
    );
    if found("systemd-analyze") {
        let lines = in_systemd(&text);
        assert!(
            lines.contains(&argv) && lines.contains(&vec!["printf".to_owned(), "%s\\n".to_owned(), header]),
            "{lines:?}"
        );
    }
}

/// systemd accepts the exported services. Docker need not be installed for this.
#[test]
fn systemd_accepts_the_services() {
    if !found("systemd-analyze") {
        return;
    }
    for (args, facts) in [
        (&["systemd", "--profile", "fp8-high-throughput"][..], B200),
        (
            &["systemd", "--profile", "rehearsal", "--runtime", "docker"],
            LAPTOP,
        ),
        (&["systemd", "--profile", "rehearsal"], LAPTOP),
    ] {
        let text = export(args, facts);
        assert!(in_systemd(&text).len() >= 3, "{text}");
    }
}

#[test]
fn the_bash_form_is_the_plan_of_up() {
    let args = ["--profile", "fp8-high-throughput"];
    let script = export(&["bash", "--profile", "fp8-high-throughput"], B200);
    let home = home(B200);
    let planned = home
        .run(&["up", args[0], args[1], "--facts", "facts.json"])
        .expect(0)
        .stdout;
    let steps = |script: &str| script[script.find("\n# 1/").unwrap()..].to_owned();
    assert_eq!(steps(&script), steps(&planned));
    let checked = Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(checked.success());
    let (_, run) = script.split_once("\ndocker run --detach").unwrap();
    let (run, _) = run.split_once("\n\n").unwrap();
    let calls = in_bash(&[format!("docker run --detach{run}")]);
    assert_eq!(read::run_command(&calls[0]), container_of(&plan(&args, B200)));
}

#[test]
fn a_file_is_written_whole_once_and_readable() {
    let home = home(B200);
    let args = [
        "export",
        "compose",
        "--profile",
        "fp8-low-latency",
        "--facts",
        "facts.json",
    ];
    let printed = home.run(&args).expect(0).stdout;
    let with = |more: &[&str]| home.run(&args.iter().chain(more).copied().collect::<Vec<_>>());
    assert_eq!(
        with(&["-o", "compose.yaml"]).expect(0).stdout,
        "wrote compose.yaml\n"
    );
    let file = home.path().join("compose.yaml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed);
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o644
    );
    std::fs::write(&file, "mine").unwrap();
    let run = with(&["-o", "compose.yaml"]).expect(2);
    assert!(
        run.stderr.contains("`compose.yaml` exists") && run.stderr.contains("--force"),
        "{}",
        run.stderr
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    with(&["-o", "compose.yaml", "--force"]).expect(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed);
    with(&["-o", "no/such/dir/x"]).expect(3);
    with(&["-o", ".."]).expect(2);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
    let json = with(&["--format", "json"]).expect(0).json();
    assert_eq!(
        (&json["schema"], &json["text"]),
        (&"dsr1.export/1".into(), &printed.into())
    );
}

#[test]
fn a_form_that_cannot_run_the_server_is_refused() {
    let home = home(LAPTOP);
    for tool in ["compose", "quadlet"] {
        let args = [
            "export",
            tool,
            "--profile",
            "rehearsal",
            "--runtime",
            "process",
            "--facts",
            "facts.json",
        ];
        let run = home.run(&args).expect(2);
        assert!(run.stderr.contains("describes a container"), "{}", run.stderr);
    }
    // The file states that the host does not fit, and is written anyway, because it may be for another host.
    let text = export(&["compose", "--profile", "fp8-low-latency"], LAPTOP);
    assert!(
        text.contains("# BLOCKED on the host that it was planned for: "),
        "{text}"
    );
}

#[test]
fn evil_values_stay_values() {
    let mut steps = Vec::new();
    for (index, evil) in EVIL.iter().take(SHOWN).enumerate() {
        steps.push(with_everywhere(evil, &format!("evil-{index}")));
    }
    assert_all_read_back(&steps);
    for evil in EVIL.iter().skip(SHOWN) {
        for (field, step) in with_each(evil) {
            for format in [render::COMPOSE, render::SYSTEMD, render::QUADLET] {
                let error: Error = render::container(format, &step, &[]).unwrap_err();
                assert_eq!(error.kind(), Kind::Usage);
                assert!(
                    error.message().contains(&format!("`{field}`")),
                    "{}",
                    error.message()
                );
                assert!(
                    !error
                        .message()
                        .chars()
                        .any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c))
                );
            }
        }
    }
    // In the head the values stay comments.
    for format in [render::COMPOSE, render::SYSTEMD, render::QUADLET] {
        let head: Vec<String> = EVIL.iter().map(|evil| (*evil).to_owned()).collect();
        let text = render::container(format, &sample(), &head).unwrap();
        assert!(
            text.lines().take(EVIL.len()).all(|line| line.starts_with("# ")),
            "{text}"
        );
        assert!(!text.contains(['\u{1b}', '\0', '\u{2028}', '\u{202e}']));
    }
}

/// Returns a step that holds `value` in every field of free text.
fn with_everywhere(value: &str, name: &str) -> StartContainer {
    let mut step = sample();
    name.clone_into(&mut step.name);
    step.argv.extend([
        "--flag".to_owned(),
        value.to_owned(),
        format!("--flag={value}"),
        "last".to_owned(),
    ]);
    step.env.insert("EVIL".to_owned(), value.to_owned());
    step.labels.insert("io.dsr1.evil".to_owned(), value.to_owned());
    let bare: String = value.chars().filter(|c| !['"', ','].contains(c)).collect();
    step.mounts.push(Mount::Bind {
        source: format!("/{bare}"),
        target: format!("/mnt/{bare}"),
    });
    step
}

/// Returns steps that each hold `value` in one field.
fn with_each(value: &str) -> Vec<(&'static str, StartContainer)> {
    let change = |change: fn(&mut StartContainer, String)| {
        let mut step = sample();
        change(&mut step, value.to_owned());
        step
    };
    vec![
        ("name", change(|step, value| step.name = value)),
        ("image", change(|step, value| step.image = value)),
        ("argv", change(|step, value| step.argv.push(value))),
        (
            "env",
            change(|step, value| drop(step.env.insert("A".to_owned(), value))),
        ),
        (
            "env",
            change(|step, value| drop(step.env.insert(value, String::new()))),
        ),
        (
            "labels",
            change(|step, value| drop(step.labels.insert("a".to_owned(), value))),
        ),
        (
            "labels",
            change(|step, value| drop(step.labels.insert(value, String::new()))),
        ),
        ("network", change(|step, value| step.network = value)),
        (
            "ulimits",
            change(|step, value| {
                step.ulimits.push(Ulimit {
                    name: value,
                    soft: 0,
                    hard: 0,
                });
            }),
        ),
        (
            "mounts",
            change(|step, value| {
                step.mounts.push(Mount::Bind {
                    source: format!("/{value}"),
                    target: "/x".to_owned(),
                });
            }),
        ),
        (
            "mounts",
            change(|step, value| {
                step.mounts.push(Mount::Volume {
                    name: value,
                    target: "/x".to_owned(),
                });
            }),
        ),
        ("cap_drop", change(|step, value| step.cap_drop.push(value))),
        (
            "security_opt",
            change(|step, value| step.security_opt.push(value)),
        ),
        ("log_driver", change(|step, value| step.log_driver = value)),
        (
            "log_opts",
            change(|step, value| drop(step.log_opts.insert("tag".to_owned(), value))),
        ),
    ]
}

/// Returns the Dockerfile of a stack.
fn dockerfile(stack: &Stack, base: &str) -> dsr1::error::Result<String> {
    let image = ImageChoice {
        base: Some(base.to_owned()),
        ..ImageChoice::default()
    };
    let request = BuildRequest::new(stack.clone(), Target::Docker, image);
    plan::build(&request, &Facts::default()).map(|plan| match &plan.steps[0] {
        Step::BuildImage(step) => step.dockerfile.clone(),
        other => panic!("{other:?}"),
    })
}

/// Asserts that no value reaches a Dockerfile's instructions or the shell of its RUN steps: it is refused, or it
/// becomes the value of a label or a file beside the Dockerfile.
fn assert_values_stay_values(value: &str) {
    let stack = Catalog::load(None).unwrap().stack("cpu").unwrap().clone();
    let plain = dockerfile(&stack, "debian").unwrap();
    let with = |change: fn(&mut Stack, &str)| {
        let mut hostile = stack.clone();
        change(&mut hostile, value);
        hostile
    };
    let hostile = [
        with(|stack, value| value.clone_into(&mut stack.name)),
        with(|stack, value| stack.image_python = format!("{value}/bin/python3")),
        with(|stack, value| stack.install.apt.push(value.to_owned())),
        with(|stack, value| {
            stack
                .install
                .requirements
                .extend(value.parse().map(|one| vec![one]));
        }),
        with(|stack, value| drop(stack.install.files.insert(value.to_owned(), String::new()))),
        with(|stack, value| {
            let texts = stack.install.files.values_mut();
            texts.for_each(|text| value.clone_into(text));
        }),
    ];
    let files = hostile.iter().map(|stack| dockerfile(stack, "debian"));
    for file in files.chain([dockerfile(&stack, value)]) {
        let text = match file {
            Err(error) => {
                assert_eq!(error.kind(), Kind::Usage, "{value:?}");
                continue;
            }
            Ok(text) => text,
        };
        read::assert_same_instructions(&text, &plain);
    }
}

#[test]
fn evil_values_reach_no_dockerfile() {
    for evil in EVIL {
        assert_values_stay_values(evil);
        let stack = Catalog::load(None).unwrap().stack("cpu").unwrap().clone();
        assert_eq!(
            dockerfile(&stack, evil).unwrap_err().kind(),
            Kind::Usage,
            "{evil:?}"
        );
    }
}

/// systemd reads the settings of a process as they were planned.
#[test]
fn evil_values_stay_values_of_a_process() {
    for (index, evil) in EVIL.iter().enumerate() {
        let mut process = process_of(&plan(&["--profile", "rehearsal"], LAPTOP));
        process.argv.push((*evil).to_owned());
        process.env = BTreeMap::from([("EVIL".to_owned(), (*evil).to_owned())]);
        let written = render::process(render::SYSTEMD, &process, &[]);
        if index >= SHOWN {
            assert_eq!(written.unwrap_err().kind(), Kind::Usage);
            continue;
        }
        let text = written.unwrap();
        if !found("systemd-analyze") {
            continue;
        }
        assert!(in_systemd(&text).contains(&process.argv), "{text}");
        let shown = shown_by_systemd(&text);
        assert!(
            shown.contains(&format!("\t\tEnvironment: EVIL={evil}\n")),
            "{shown}"
        );
    }
}

/// Returns words of fragments with a meaning in some format, between arbitrary characters.
fn word() -> impl Strategy<Value = String> {
    let meaning = [
        "$",
        "$$",
        "${X}",
        "%",
        "%n",
        "%%",
        "\\",
        "\"",
        "'",
        "`",
        ";",
        "#",
        " ",
        "  ",
        "=",
        "-",
        "--",
        "@",
        "&",
        "*",
        "!",
        "|",
        ">",
        "<",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "?",
        "~",
        "1_000",
        "22:22",
        "2024-01-01",
        "no",
        "null",
        "0x1f",
        "1e3",
        ".inf",
        "<<",
        "{{",
        "}}",
        "{%",
        "\u{a0}",
        "\u{3000}",
        "\u{200b}",
        "é",
        "\u{1f600}",
        "\\n",
        "\\x41",
        "\\s",
    ];
    let part = prop_oneof![
        3 => proptest::sample::select(meaning.to_vec()).prop_map(str::to_owned),
        2 => "[a-z0-9/.-]{1,6}",
        1 => any::<char>().prop_filter("hidden", |c| is_visible(*c)).prop_map(|c| c.to_string()),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// Returns whether a character may be in a file.
fn is_visible(c: char) -> bool {
    let hidden = c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}');
    !hidden && u32::from(c) & 0xfffe != 0xfffe
}

fn step() -> impl Strategy<Value = StartContainer> {
    // Paths in normal form: Compose normalizes paths.
    let name = || word().prop_map(|word| word.replace('/', ""));
    let mount = prop_oneof![
        (name(), name()).prop_map(|(source, target)| Mount::Bind {
            source: format!("/s{source}"),
            target: format!("/bind{target}")
        }),
        ("[a-z][a-z0-9_.-]{0,8}", name()).prop_map(|(name, target)| Mount::Volume {
            name,
            target: format!("/volume{target}")
        }),
    ];
    let pairs = |key: &'static str| proptest::collection::btree_map(key, word(), 0..4);
    (
        proptest::collection::vec(word(), 0..8),
        pairs("[A-Za-z_][A-Za-z0-9_]{0,6}"),
        pairs("[a-z0-9][a-z0-9.]{0,6}"),
        proptest::collection::vec(mount, 0..3),
        any::<bool>(),
        any::<u32>(),
        prop_oneof![Just("json-file"), Just("journald"), Just("none")],
        prop_oneof![Just(-1_i64), 1_i64..1000],
    )
        .prop_map(
            |(argv, env, labels, mounts, flag, number, driver, limit)| StartContainer {
                name: "x".to_owned(),
                image: "dsr1/guide:1".to_owned(),
                argv: std::iter::once("python3".to_owned()).chain(argv).collect(),
                env,
                labels,
                network: "host".to_owned(),
                gpus: flag,
                shm_bytes: u64::from(number) + 1,
                ulimits: vec![Ulimit {
                    name: "stack".to_owned(),
                    soft: limit,
                    hard: limit,
                }],
                mounts,
                init: true,
                cap_drop: vec!["ALL".to_owned()],
                security_opt: vec!["no-new-privileges".to_owned()],
                stop_timeout_s: number % 1000,
                log_driver: driver.to_owned(),
                log_opts: BTreeMap::from([("max-size".to_owned(), "50m".to_owned())]),
            },
        )
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 12, max_shrink_iters: 64, failure_persistence: None, ..Default::default() })]

    /// A case is a batch of steps, because a tool starts once per batch.
    #[test]
    fn any_container_reads_back(steps in proptest::collection::vec(step(), 40)) {
        let steps: Vec<StartContainer> = steps
            .into_iter()
            .enumerate()
            .map(|(index, mut step)| {
                step.name = format!("dsr1-x{index}");
                // No runtime accepts two mounts on one target.
                for (index, mount) in step.mounts.iter_mut().enumerate() {
                    let (Mount::Bind { target, .. } | Mount::Volume { target, .. }) = mount;
                    target.insert_str(1, &index.to_string());
                }
                step
            })
            .collect();
        assert_all_read_back(&steps);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Any text reads back, or is refused with the name of its field.
    #[test]
    fn nothing_is_changed_silently(value in any::<String>()) {
        for (field, step) in with_each(&value) {
            for format in [render::COMPOSE, render::SYSTEMD, render::QUADLET] {
                match render::container(format, &step, &[]) {
                    Err(error) => {
                        proptest::prop_assert_eq!(error.kind(), Kind::Usage);
                        let named = format!("`{field}`");
                        proptest::prop_assert!(error.message().contains(&named));
                    }
                    Ok(text) => {
                        let (read, wanted) = match format.name() {
                            "compose" => (read::compose(&text), sorted(&step)),
                            "systemd" => (read::systemd(&text), step.clone()),
                            _ => (read::quadlet(&text), read::as_podman(&step)),
                        };
                        proptest::prop_assert_eq!(read, wanted);
                    }
                }
            }
        }
    }

    #[test]
    fn any_value_keeps_the_instructions_of_a_dockerfile(value in prop_oneof![word(), any::<String>()]) {
        assert_values_stay_values(&value);
    }
}
