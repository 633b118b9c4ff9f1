//! Tests with a real Docker daemon, and with containers that stand in for an engine. Without a daemon these tests fail.

mod classic;
mod daemon;
mod images;
mod once;
mod registry;
mod session;
mod transports;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::{self, Home, must_run};
use dsr1::effects::LogEnd;
use dsr1::effects::docker::Docker;
use dsr1::effects::env::Env;
use dsr1::error::Kind;
use dsr1::event::{BuildState, Event, Recorder, StepEvents};
use dsr1::plan::{BuildImage, LABEL_INPUTS, LABEL_ROLE, Mount, Plan, StartContainer, Step, Ulimit};
use dsr1::redact::Redactor;
use dsr1::render::shell;

const BASE: &str = "debian:bookworm-slim";

async fn docker() -> Docker {
    support::base_image();
    Docker::connect(&Env::read())
        .await
        .expect("these tests need a Docker daemon")
}

fn cli(args: &[&str]) -> String {
    must_run("docker", args, "install the Docker command line")
}

/// The name of a container that is removed at the end of the test.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!(
            "dsr1-test-{what}-{}-{}",
            std::process::id(),
            support::unique()
        ))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker")
            .args(["rm", "--force", &self.0])
            .output();
    }
}

/// Returns a container that runs a shell script instead of the engine.
fn stub(name: &Name, script: &str) -> StartContainer {
    StartContainer {
        name: name.0.clone(),
        image: BASE.to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("A".to_owned(), "it's \"a\" $value".to_owned())]),
        labels: BTreeMap::from([(LABEL_ROLE.to_owned(), "server".to_owned())]),
        network: "host".to_owned(),
        gpus: false,
        shm_bytes: 64 << 20,
        ulimits: Vec::new(),
        mounts: Vec::new(),
        init: true,
        cap_drop: vec!["ALL".to_owned()],
        security_opt: vec!["no-new-privileges".to_owned()],
        stop_timeout_s: 5,
        log_driver: "json-file".to_owned(),
        log_opts: BTreeMap::from([("max-size".to_owned(), "1m".to_owned())]),
    }
}

async fn start(docker: &Docker, step: &StartContainer) -> dsr1::error::Result<String> {
    let recorder = Recorder::default();
    docker.start(step, &StepEvents::new(&recorder, 1)).await
}

/// Waits for a stub's first line, because a signal before its trap is set would end it at once.
async fn is_up(docker: &Docker, name: &Name) {
    let mut lines = docker.logs(&name.0, None, true).await.unwrap();
    assert_eq!(lines.wait(None).await, ["up"]);
}

async fn ended(docker: &Docker, name: &Name) -> Option<i64> {
    for _ in 0..200 {
        let state = docker.state(&name.0).await.unwrap().unwrap();
        if !state.running {
            return state.exit_code;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// Returns the output of `docker inspect` without the values that differ between any two containers.
fn inspected(name: &str) -> serde_json::Value {
    let mut all: serde_json::Value = serde_json::from_str(&cli(&["container", "inspect", name])).unwrap();
    let mut value = all[0].take();
    let own = [
        "Id",
        "Created",
        "Name",
        "State",
        "HostnamePath",
        "HostsPath",
        "LogPath",
        "ResolvConfPath",
        "GraphDriver",
        "NetworkSettings",
    ];
    for key in own {
        value.as_object_mut().unwrap().remove(key);
    }
    let config = value["Config"].as_object_mut().unwrap();
    // The order of environment variables does not matter, and attaching concerns only the client.
    for key in ["Hostname", "AttachStdout", "AttachStderr"] {
        config.remove(key);
    }
    config["Env"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(ToString::to_string);
    let host = value["HostConfig"].as_object_mut().unwrap();
    host.remove("ContainerIDFile");
    // The daemon lists mounts in random order.
    value["Mounts"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|mount| mount["Destination"].to_string());
    without_empty(&mut value);
    value
}

/// Drops empty values: the Docker CLI sends `[]` where the API client sends nothing, with the same effect.
fn without_empty(value: &mut serde_json::Value) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    object.values_mut().for_each(without_empty);
    let empty = |value: &serde_json::Value| {
        value.is_null()
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    object.retain(|_, value| !empty(value));
}

/// Returns the paths at which two values differ, with both values.
fn differences(a: &serde_json::Value, b: &serde_json::Value) -> Vec<String> {
    if let (Some(left), Some(right)) = (a.as_object(), b.as_object()) {
        let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let null = serde_json::Value::Null;
        return keys
            .into_iter()
            .flat_map(|key| {
                let inner = differences(left.get(key).unwrap_or(&null), right.get(key).unwrap_or(&null));
                inner.into_iter().map(move |text| format!("{key}.{text}"))
            })
            .collect();
    }
    if a == b {
        Vec::new()
    } else {
        vec![format!(": {a} is not {b}")]
    }
}

#[tokio::test]
async fn a_container_from_the_api_equals_that_of_the_printed_docker_run() {
    let docker = docker().await;
    let dir = tempfile::tempdir().unwrap();
    let by_api = Name::new("api");
    let by_shell = Name::new("shell");
    for gpus in [false, true] {
        let mut step = StartContainer {
            gpus,
            ulimits: vec![
                Ulimit {
                    name: "memlock".to_owned(),
                    soft: -1,
                    hard: -1,
                },
                Ulimit {
                    name: "stack".to_owned(),
                    soft: 67_108_864,
                    hard: 67_108_864,
                },
            ],
            mounts: vec![
                Mount::Bind {
                    source: dir.path().to_str().unwrap().to_owned(),
                    target: "/models".to_owned(),
                },
                Mount::Volume {
                    name: by_api.0.clone(),
                    target: "/root/.triton".to_owned(),
                },
            ],
            ..stub(&by_api, "echo 'hello \"you\"'; exit 3")
        };
        // The container is created and not started, so that the comparison needs no GPU.
        docker.create(&step).await.unwrap();
        step.name.clone_from(&by_shell.0);
        let script = shell::render(&Plan::new("serve", vec![Step::StartContainer(step)]));
        let create = script.replace("docker run --detach", "docker create");
        assert_ne!(create, script);
        must_run("bash", &["-c", &create], "install bash");
        assert_eq!(
            differences(&inspected(&by_api.0), &inspected(&by_shell.0)),
            Vec::<String>::new()
        );
        cli(&["rm", &by_api.0, &by_shell.0]);
    }
    cli(&["volume", "rm", &by_api.0]);
}

#[tokio::test]
async fn a_crash_is_never_a_success() {
    let docker = docker().await;
    let name = Name::new("crash");
    // After a crash SGLang kills itself. As PID 1 it would ignore that signal, and the container would exit with 0.
    start(&docker, &stub(&name, "kill -9 $$; exit 0")).await.unwrap();
    assert_eq!(ended(&docker, &name).await, Some(137));
    let listed = docker.list().await.unwrap();
    let own = listed.iter().find(|container| container.name == name.0).unwrap();
    assert_eq!((own.running, own.exit_code), (false, Some(137)));
}

/// `dsr1 bundle` has the daemon's description of a container, in which the variables and the arguments of the engine are.
#[tokio::test]
async fn the_description_of_a_container_has_no_secret_when_it_leaves_the_host() {
    let docker = docker().await;
    let name = Name::new("bundle");
    let mut step = stub(&name, "sleep 60");
    let secrets = ["canary of a variable", "canary-of-an-option"];
    step.env.insert("MY_SECRET".to_owned(), secrets[0].to_owned());
    step.argv.extend(["--api-key", secrets[1]].map(str::to_owned));
    start(&docker, &step).await.unwrap();
    let mut document = docker.inspect_document(&name.0).await.unwrap().unwrap();
    let found = |text: &str| secrets.map(|secret| text.contains(secret));
    assert_eq!(found(&document.to_string()), [true, true]);
    Redactor::default().begin().redact_json(&mut document);
    assert_eq!(found(&document.to_string()), [false, false]);
    assert_eq!(document["Name"], format!("/{}", name.0));
    assert_eq!(docker.inspect_document("dsr1-test-nobody").await.unwrap(), None);
}

#[tokio::test]
async fn a_stop_waits_for_the_drain_and_removes_the_container() {
    let docker = docker().await;
    let name = Name::new("drain");
    start(
        &docker,
        &stub(
            &name,
            "trap 'sleep 1; exit 0' TERM; echo up; while :; do sleep 0.1; done",
        ),
    )
    .await
    .unwrap();
    is_up(&docker, &name).await;
    let begun = Instant::now();
    assert!(!docker.stop(&name.0, 20).await.unwrap(), "it was killed");
    assert!(begun.elapsed() >= Duration::from_secs(1), "it did not drain");
    assert_eq!(docker.state(&name.0).await.unwrap(), None);
    assert!(
        !docker.stop(&name.0, 20).await.unwrap(),
        "stopping twice is not an error"
    );
}

#[tokio::test]
async fn a_stop_kills_after_the_drain_time() {
    let docker = docker().await;
    let name = Name::new("stubborn");
    start(
        &docker,
        &stub(&name, "trap '' TERM; echo up; while :; do sleep 0.1; done"),
    )
    .await
    .unwrap();
    is_up(&docker, &name).await;
    assert!(docker.stop(&name.0, 1).await.unwrap(), "it ended by itself");
    assert_eq!(docker.state(&name.0).await.unwrap(), None);
}

#[tokio::test]
async fn a_container_that_is_not_ours_is_never_touched() {
    let docker = docker().await;
    let name = Name::new("foreign");
    cli(&[
        "run",
        "--detach",
        "--network",
        "host",
        "--name",
        &name.0,
        BASE,
        "sleep",
        "100",
    ]);
    let error = docker.stop(&name.0, 1).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Docker);
    let error = start(&docker, &stub(&name, "true")).await.unwrap_err();
    assert!(error.message().contains("that dsr1 did not start"), "{error:?}");
    assert!(docker.state(&name.0).await.unwrap().unwrap().running);
    assert!(
        docker
            .list()
            .await
            .unwrap()
            .iter()
            .all(|container| container.name != name.0)
    );
}

#[tokio::test]
async fn a_second_server_of_the_same_name_is_refused() {
    let docker = docker().await;
    let name = Name::new("twice");
    let step = stub(&name, "sleep 100");
    start(&docker, &step).await.unwrap();
    let error = start(&docker, &step).await.unwrap_err();
    assert!(error.message().contains("runs already"), "{error:?}");
    cli(&["kill", &name.0]);
    start(&docker, &step)
        .await
        .expect("an ended one of ours makes room");
}

#[tokio::test]
async fn a_container_that_cannot_start_is_removed() {
    let docker = docker().await;
    let name = Name::new("gpu");
    let error = start(
        &docker,
        &StartContainer {
            gpus: true,
            ..stub(&name, "true")
        },
    )
    .await
    .unwrap_err();
    assert_eq!((error.kind(), error.hints().len()), (Kind::Host, 1), "{error:?}");
    assert!(error.hints()[0].contains("NVIDIA Container Toolkit"), "{error:?}");
    assert_eq!(docker.state(&name.0).await.unwrap(), None);
    let step = StartContainer {
        mounts: vec![Mount::Bind {
            source: "/does/not/exist".to_owned(),
            target: "/m".to_owned(),
        }],
        ..stub(&name, "true")
    };
    let error = start(&docker, &step).await.unwrap_err();
    assert!(error.hints()[0].contains("dsr1 pull"), "{error:?}");
}

#[tokio::test]
async fn commands_run_in_a_container_and_files_are_copied_in_and_out() {
    let docker = docker().await;
    let name = Name::new("exec");
    start(&docker, &stub(&name, "sleep 100")).await.unwrap();
    docker
        .upload(&name.0, "/tmp", "in.txt", b"some\nbytes")
        .await
        .unwrap();
    let argv = ["sh", "-c", "cat /tmp/in.txt; echo; echo \"$B\" >&2; exit 5"].map(str::to_owned);
    let env = BTreeMap::from([("B".to_owned(), "x y".to_owned())]);
    let mut lines = Vec::new();
    let code = docker
        .exec(&name.0, &argv, &env, &mut |line| lines.push(line.to_owned()))
        .await
        .unwrap();
    lines.sort();
    assert_eq!(
        (code, lines),
        (5, vec!["bytes".to_owned(), "some".to_owned(), "x y".to_owned()])
    );
    assert_eq!(
        docker.read_file(&name.0, "/tmp/in.txt", 1000).await.unwrap(),
        b"some\nbytes"
    );
    assert!(docker.read_file(&name.0, "/tmp/none", 1000).await.is_err());
    assert!(docker.read_file(&name.0, "/etc", 1 << 20).await.is_err());
}

#[tokio::test]
async fn a_command_is_waited_for_after_it_closed_its_output() {
    let docker = docker().await;
    let name = Name::new("closed");
    start(&docker, &stub(&name, "sleep 100")).await.unwrap();
    let run = |script: &str| ["sh", "-c", script].map(str::to_owned);
    let env = BTreeMap::new();
    let code = docker
        .exec(
            &name.0,
            &run("exec > /dev/null 2>&1; sleep 2; exit 5"),
            &env,
            &mut |_| (),
        )
        .await
        .unwrap();
    assert_eq!(code, 5);
    // Sometimes the stream ends before the daemon records the exit.
    for _ in 0..50 {
        let code = docker.exec(&name.0, &run("exit 6"), &env, &mut |_| ()).await;
        assert_eq!(code.unwrap(), 6);
    }
}

#[tokio::test]
async fn a_file_over_the_limit_is_not_read() {
    let docker = docker().await;
    let name = Name::new("large");
    start(
        &docker,
        &stub(&name, "head -c 5000 /dev/zero > /tmp/f; sleep 100"),
    )
    .await
    .unwrap();
    for _ in 0..100 {
        if docker
            .read_file(&name.0, "/tmp/f", 5000)
            .await
            .is_ok_and(|bytes| bytes.len() == 5000)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        docker.read_file(&name.0, "/tmp/f", 5000).await.unwrap().len(),
        5000
    );
    let error = docker.read_file(&name.0, "/tmp/f", 4999).await.unwrap_err();
    assert!(
        error.causes().join(" ").contains("larger than 4999 bytes"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_limit_that_the_daemon_may_not_raise_is_left_out_with_a_warning() {
    let docker = docker().await;
    let name = Name::new("limit");
    let step = StartContainer {
        ulimits: vec![Ulimit {
            name: "memlock".to_owned(),
            soft: -1,
            hard: -1,
        }],
        ..stub(&name, "ulimit -l; sleep 100")
    };
    let recorder = Recorder::default();
    docker.start(&step, &StepEvents::new(&recorder, 1)).await.unwrap();
    let warned = recorder
        .events()
        .iter()
        .any(|event| matches!(event, Event::Warning { text, .. } if text.contains("memlock")));
    let mut lines = docker.logs(&name.0, None, true).await.unwrap();
    // A daemon with CAP_SYS_RESOURCE raises the limit; without it dsr1 leaves the limit out and warns. Exactly one
    // happens.
    assert_eq!(lines.wait(None).await == ["unlimited"], !warned);
}

#[tokio::test]
async fn an_interrupted_client_ends_inside_the_container() {
    let docker = docker().await;
    let name = Name::new("client");
    start(&docker, &stub(&name, "sleep 100")).await.unwrap();
    let argv = ["sleep", "987"].map(str::to_owned);
    let env = BTreeMap::new();
    let mut ignore = |_: &str| ();
    let interrupted = tokio::time::timeout(
        Duration::from_secs(2),
        docker.exec(&name.0, &argv, &env, &mut ignore),
    )
    .await;
    assert!(interrupted.is_err());
    assert!(cli(&["top", &name.0]).contains("sleep 987"));
    docker.end_clients().await;
    assert!(!cli(&["top", &name.0]).contains("sleep 987"));
}

#[tokio::test]
async fn logs_keep_long_lines_and_split_progress_bars() {
    let docker = docker().await;
    let name = Name::new("logs");
    let script = "printf '10%%\\r20%%\\r\\n'; head -c 40000 /dev/zero | tr '\\0' x; echo; echo err >&2; sleep 0.5; echo last";
    start(&docker, &stub(&name, script)).await.unwrap();
    ended(&docker, &name).await.unwrap();
    let mut lines = docker.logs(&name.0, None, true).await.unwrap();
    let mut found = Vec::new();
    while lines.end().is_none() {
        found.extend(lines.wait(None).await);
    }
    assert_eq!(lines.end(), Some(&LogEnd::Complete));
    assert_eq!(found.iter().map(String::len).max(), Some(40_000));
    found.retain(|line| line.len() < 100);
    found.sort();
    assert_eq!(found, ["10%", "20%", "err", "last"]);
    let mut tail = docker.logs(&name.0, Some(1), false).await.unwrap();
    assert_eq!(tail.wait(None).await, ["last"]);
}

fn image(name: &Name, run: &str) -> BuildImage {
    // The value becomes a label, so it must not hold characters that a Dockerfile interprets in quotes.
    let inputs = format!("inputs of {}", run.replace(['"', '$'], ""));
    BuildImage {
        stack: "test".to_owned(),
        tag: format!("dsr1/test:{}", name.0),
        base: BASE.to_owned(),
        base_digest: None,
        inline_cache: false,
        dockerfile: format!(
            "FROM {BASE}\nRUN --mount=type=bind,target=/run/dsr1 {run}\nLABEL {LABEL_INPUTS}=\"{inputs}\"\n"
        ),
        files: BTreeMap::from([("site/a.txt".to_owned(), "from the context\n".to_owned())]),
        also: Vec::new(),
        push: false,
        builder: dsr1::plan::Builder::default(),
        platform: None,
        wheels: None,
        secrets: Vec::new(),
        args: BTreeMap::new(),
        inherited_args: Vec::new(),
        refresh: None,
        no_cache: false,
        pull: false,
        cache_from: Vec::new(),
        labels: BTreeMap::from([(LABEL_INPUTS.to_owned(), inputs.clone())]),
        network: "host".to_owned(),
        inputs,
        install_bytes: 0,
    }
}

fn build_lines(recorder: &Recorder) -> Vec<String> {
    let lines = recorder.events().into_iter().filter_map(|event| match event {
        Event::Line { text, .. } => Some(text),
        Event::BuildStep { name, state, .. } => match state {
            BuildState::Started => Some(name),
            BuildState::Cached => Some(format!("cached {name}")),
            BuildState::Done | BuildState::Failed => None,
        },
        _ => None,
    });
    lines.collect()
}

fn remove_image(step: &BuildImage) {
    let _ = std::process::Command::new("docker")
        .args(["image", "rm", "--force", &step.tag])
        .output();
}

#[tokio::test]
async fn an_image_is_built_once_per_inputs() {
    let docker = docker().await;
    let name = Name::new("build");
    // The random name keeps the step out of the daemon's cache.
    let step = image(&name, &format!("sh -c 'cat /run/dsr1/site/a.txt; : {}'", name.0));
    let recorder = Recorder::default();
    let first = docker.build(&step, &StepEvents::new(&recorder, 1)).await.unwrap();
    assert!(!first.cached && first.size_bytes > 0);
    let lines = build_lines(&recorder);
    assert!(lines.iter().any(|line| line == "from the context"), "{lines:?}");
    let again = docker.build(&step, &StepEvents::new(&recorder, 1)).await.unwrap();
    assert!(again.cached);
    assert_eq!(again.image_id, first.image_id);
    // The context is bind-mounted, so the image holds none of its files.
    let listing = cli(&[
        "run",
        "--rm",
        "--network",
        "host",
        &step.tag,
        "sh",
        "-c",
        "ls -A /run/dsr1",
    ]);
    assert_eq!(listing, "");
    remove_image(&step);
}

#[tokio::test]
async fn a_build_step_that_fails_shows_its_log() {
    let docker = docker().await;
    let name = Name::new("fail");
    let step = image(&name, "sh -c 'echo the reason; exit 37'");
    let recorder = Recorder::default();
    let error = docker
        .build(&step, &StepEvents::new(&recorder, 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Docker);
    assert_eq!(error.log_lines(), ["the reason"]);
    assert!(error.causes().join(" ").contains("37"), "{error:?}");
}

#[tokio::test]
async fn a_build_names_its_steps_and_shows_a_last_line_without_end() {
    let docker = docker().await;
    let name = Name::new("names");
    let step = image(&name, &format!("printf 'half a {}'; exit 37", name.0));
    let recorder = Recorder::default();
    let error = docker
        .build(&step, &StepEvents::new(&recorder, 1))
        .await
        .unwrap_err();
    assert_eq!(error.log_lines(), [format!("half a {}", name.0)]);
    let lines = build_lines(&recorder);
    let steps = lines.iter().filter(|line| line.contains("] RUN ")).count();
    assert_eq!(steps, 1, "{lines:?}");
}

#[tokio::test]
async fn a_full_disk_is_the_hosts_fault() {
    let docker = docker().await;
    let name = Name::new("full");
    let step = image(&name, "cat /etc/os-release > /dev/full");
    let recorder = Recorder::default();
    let error = docker
        .build(&step, &StepEvents::new(&recorder, 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Host, "{error:?}");
    assert!(error.hints()[0].contains("docker system df"), "{error:?}");
}

#[tokio::test]
async fn an_interrupted_build_ends_in_the_daemon() {
    let docker = docker().await;
    let name = Name::new("cancel");
    let marker = format!("sleep 1234.{}", support::unique() + std::process::id() as usize);
    let step = image(&name, &marker);
    let recorder = Recorder::default();
    let events = StepEvents::new(&recorder, 1);
    let running = || {
        String::from_utf8(
            std::process::Command::new("ps")
                .args(["-eo", "args"])
                .output()
                .unwrap()
                .stdout,
        )
        .unwrap()
        .lines()
        .any(|line| line == marker || line.ends_with(&format!(" {marker}")))
    };
    tokio::select! {
        _ = docker.build(&step, &events) => panic!("the build ended"),
        () = async { while !running() { tokio::time::sleep(Duration::from_millis(50)).await; } } => {}
    }
    let begun = Instant::now();
    while running() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "the step is still running"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(docker.build(&image(&name, "true"), &events).await.is_ok());
    remove_image(&image(&name, "true"));
}

#[tokio::test]
async fn a_base_image_that_cannot_be_pulled_says_what_to_do() {
    let docker = docker().await;
    let name = Name::new("nobase");
    let mut step = image(&name, "true");
    step.base = "127.0.0.1:1/nobody/nothing:1".to_owned();
    let recorder = Recorder::default();
    let error = docker
        .build(&step, &StepEvents::new(&recorder, 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Hub);
    assert!(
        error.hints().iter().any(|hint| hint.contains("--base-image")),
        "{error:?}"
    );
}

#[test]
fn no_daemon_is_known_at_once_and_says_what_to_do() {
    let home = Home::new();
    let dir = home.path();
    let dead = dir.join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let cases = [
        (
            "/nonexistent.sock".to_owned(),
            "cause: `/nonexistent.sock` does not exist",
        ),
        (
            dead.to_str().unwrap().to_owned(),
            "cause: nothing listens there: the daemon is not running",
        ),
    ];
    for (socket, cause) in cases {
        let home = Home::new().with("DOCKER_HOST", format!("unix://{socket}"));
        let begun = Instant::now();
        let run = home
            .run(&["build", "--stack", "cpu", "--runtime", "docker"])
            .expect(4);
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(
            run.stderr.contains(&format!(
                "error: no Docker daemon at `unix://{socket}`\n{cause}\nhint: start Docker"
            )),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_daemon_that_hangs_does_not_hang_dsr1() {
    let home = Home::new();
    let socket = home.path().join("hung.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let home = Home::new().with("DOCKER_HOST", format!("unix://{}", socket.to_str().unwrap()));
    let begun = Instant::now();
    let run = home
        .run(&["build", "--stack", "cpu", "--runtime", "docker"])
        .expect(4);
    assert!(
        run.stderr.contains("hangs\ncause: no answer within 5 s\nhint: "),
        "{}",
        run.stderr
    );
    assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
}

/// Relays a socket to the daemon, and cuts the first connections that read a log, so many, after each relayed `line`.
fn cuts_logs(socket: &std::path::Path, line: &'static str, times: usize) {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let left = Arc::new(AtomicUsize::new(times));
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut daemon) = (
                client.unwrap(),
                UnixStream::connect("/var/run/docker.sock").unwrap(),
            );
            let (mut to_daemon, mut from_client) = (daemon.try_clone().unwrap(), client.try_clone().unwrap());
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = from_client.read(&mut bytes) {
                    let _ = tell.send(String::from_utf8_lossy(&bytes[..read]).contains("/logs?"));
                    let _ = to_daemon.write_all(&bytes[..read]);
                }
            });
            let left = Arc::clone(&left);
            std::thread::spawn(move || {
                let (mut bytes, mut reads_log) = ([0; 4096], false);
                let cuts = || {
                    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                        .is_ok()
                };
                while let Ok(read @ 1..) = daemon.read(&mut bytes) {
                    reads_log |= told.try_iter().any(|is_log| is_log);
                    let _ = client.write_all(&bytes[..read]);
                    let has_line = || String::from_utf8_lossy(&bytes[..read]).contains(line);
                    if reads_log && has_line() && cuts() {
                        let _ = client.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                }
            });
        }
    });
}

#[tokio::test]
async fn a_log_whose_connection_breaks_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    cuts_logs(&socket, "two", 2);
    let env = Env {
        docker_host: Some(format!("unix://{}", socket.to_str().unwrap())),
        ..Env::default()
    };
    let docker = Docker::connect(&env).await.unwrap();
    let name = Name::new("cut");
    start(
        &docker,
        &stub(&name, "echo one; sleep 1; echo two; sleep 3; echo three"),
    )
    .await
    .unwrap();
    let mut lines = docker.logs(&name.0, None, true).await.unwrap();
    let mut found = Vec::new();
    while lines.end().is_none() {
        found.extend(lines.wait(None).await);
    }
    assert_eq!(found, ["one", "two", "three"]);
    assert_eq!(lines.end(), Some(&LogEnd::Complete));
}

/// Listens on a socket, answers the request `/version`, and answers no later request.
fn hangs_after_greeting(socket: &std::path::Path) {
    use std::io::{Read, Write};
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap();
            if String::from_utf8_lossy(&head[..read]).contains("/version ") {
                let body = r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            } else {
                silent.push(stream);
            }
        }
    });
}

#[tokio::test]
async fn a_daemon_that_hangs_later_hangs_no_call() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    hangs_after_greeting(&socket);
    let env = Env {
        docker_host: Some(format!("unix://{}", socket.to_str().unwrap())),
        ..Env::default()
    };
    let docker = Docker::connect(&env).await.unwrap();
    let (argv, vars, step) = (
        ["true".to_owned()],
        BTreeMap::new(),
        stub(&Name::new("hung"), "true"),
    );
    let mut ignore = |_: &str| ();
    let begun = Instant::now();
    let (state, list, logs, exec, upload, file, started, stopped, activity, facts) = tokio::join!(
        docker.state("x"),
        docker.list(),
        docker.logs("x", None, true),
        docker.exec("x", &argv, &vars, &mut ignore),
        docker.upload("x", "/tmp", "f", b""),
        docker.read_file("x", "/f", 1),
        start(&docker, &step),
        docker.stop("x", 600),
        docker.activity("x"),
        Docker::facts(&env, &["a", "b", "c"], &["d"]),
    );
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let errors = [
        state.err(),
        list.err(),
        logs.err(),
        exec.err(),
        upload.err(),
        file.err(),
        started.err(),
        stopped.err(),
        activity.err(),
    ];
    for (index, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("call {index} succeeded"));
        assert_eq!(error.kind(), Kind::Docker);
        assert!(
            error.hints().join(" ").contains("busy or hangs"),
            "call {index}: {error:?}"
        );
    }
    assert!(facts.images.is_empty() && facts.pullable.is_empty());
}
