//! Transports to a daemon besides its socket: TLS, and a host behind `ssh`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dsr1::effects::docker::Docker;
use dsr1::effects::env::Env;
use dsr1::error::{Error, Kind};
use dsr1::event::{Recorder, StepEvents};

use super::daemon::Daemon;
use super::{Name, docker, image, must_run, support};

/// Writes a CA, a certificate for 127.0.0.1 and one for a client, under the file names that the Docker CLI expects.
fn certificates(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let script = r#"
        cd "$1"
        new() { openssl req -newkey rsa:2048 -nodes -keyout "$1" -subj "/CN=$2" "${@:3}" 2> /dev/null; }
        new ca-key.pem ca -x509 -days 2 -out ca.pem
        sign() { openssl x509 -req -days 2 -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile <(echo "$1") -out "$2" 2> /dev/null; }
        new server-key.pem daemon | sign 'subjectAltName=IP:127.0.0.1,DNS:localhost' server-cert.pem
        new key.pem client | sign 'extendedKeyUsage=clientAuth' cert.pem
    "#;
    must_run(
        "bash",
        &["-euc", script, "bash", dir.to_str().unwrap()],
        "apt-get install openssl",
    );
}

async fn refused(env: Env) -> Error {
    let begun = Instant::now();
    let error = Docker::connect(&env).await.err().expect("it is connected");
    assert!(begun.elapsed() < Duration::from_secs(5), "{error:?}");
    assert_eq!(error.kind(), Kind::Docker, "{error:?}");
    error
}

#[tokio::test]
async fn a_daemon_behind_tls_builds_and_nobody_else_is_trusted() {
    docker().await;
    let dir = tempfile::tempdir().unwrap();
    let (ours, foreign) = (dir.path().join("ours"), dir.path().join("foreign"));
    certificates(&ours);
    certificates(&foreign);
    let file = |name: &str| ours.join(name).to_str().unwrap().to_owned();
    let port = support::free_port();
    let mut more = vec![
        "--tlsverify".to_owned(),
        "--host".to_owned(),
        format!("tcp://127.0.0.1:{port}"),
    ];
    for (flag, name) in [
        ("--tlscacert", "ca.pem"),
        ("--tlscert", "server-cert.pem"),
        ("--tlskey", "server-key.pem"),
    ] {
        more.extend([flag.to_owned(), file(name)]);
    }
    let daemon = Daemon::start_at(None, &more);
    daemon.with_base(dir.path());
    let at = |host: &str, tls: Option<PathBuf>| Env {
        docker_host: Some(format!("tcp://{host}:{port}")),
        docker_tls: tls,
        ..Env::read()
    };

    // A build uses one connection for the session and another one to follow it. `localhost` must be resolved.
    for host in ["127.0.0.1", "localhost"] {
        let connected = Docker::connect(&at(host, Some(ours.clone()))).await.unwrap();
        let name = Name::new("tls");
        let recorder = Recorder::default();
        let built = connected
            .build(
                &image(&name, &format!("echo over TLS to {host}")),
                &StepEvents::new(&recorder, 1),
            )
            .await;
        built.unwrap();
        assert!(
            super::build_lines(&recorder)
                .iter()
                .any(|line| *line == format!("over TLS to {host}"))
        );
    }

    // A wrong certificate of the daemon; a wrong certificate of the client; a connection without TLS.
    let error = refused(at("127.0.0.1", Some(foreign.clone()))).await;
    assert!(
        error.causes().join(" ").contains("invalid peer certificate"),
        "{error:?}"
    );
    std::fs::copy(ours.join("ca.pem"), foreign.join("ca.pem")).unwrap();
    refused(at("127.0.0.1", Some(foreign.clone()))).await;
    let error = refused(at("127.0.0.1", None)).await;
    assert!(
        error.hints().join(" ").contains("DOCKER_TLS_VERIFY=1"),
        "{error:?}"
    );
    std::fs::remove_file(foreign.join("ca.pem")).unwrap();
    let error = refused(at("127.0.0.1", Some(foreign.clone()))).await;
    assert!(error.message().contains("foreign/ca.pem"), "{error:?}");
}

/// Puts an `ssh` on PATH that runs `script` in place of the connection.
fn with_ssh(dir: &Path, script: &str) -> Env {
    let path = dir.join("ssh");
    std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut env = Env {
        docker_host: Some("ssh://me@gpu-1:2222".to_owned()),
        ..Env::read()
    };
    env.path = format!("{}:{}", dir.display(), env.path);
    for (key, value) in &mut env.inherited {
        if key == "PATH" {
            value.clone_from(&env.path);
        }
    }
    env
}

#[tokio::test]
async fn a_daemon_behind_ssh_builds_with_dial_stdio() {
    docker().await;
    let dir = tempfile::tempdir().unwrap();
    // The remote side: runs here the command that `sshd` would run there.
    let asked = dir.path().join("asked");
    let script = format!(
        "echo \"$@\" >> {}\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nexec \"$@\"",
        asked.display()
    );
    let env = with_ssh(dir.path(), &script);
    let connected = Docker::connect(&env).await.unwrap();
    let name = Name::new("ssh");
    let recorder = Recorder::default();
    let step = image(&name, &format!("echo over ssh {}", name.0));
    connected
        .build(&step, &StepEvents::new(&recorder, 1))
        .await
        .unwrap();
    let line = format!("over ssh {}", name.0);
    assert!(super::build_lines(&recorder).contains(&line));
    must_run("docker", &["image", "inspect", &step.tag], "install docker");
    must_run("docker", &["image", "rm", &step.tag], "install docker");
    let asked = std::fs::read_to_string(asked).unwrap();
    for line in asked.lines() {
        assert!(
            line.ends_with("-l me -p 2222 -- gpu-1 docker system dial-stdio"),
            "{line}"
        );
    }
    // The connections end with their client.
    drop(connected);
    let begun = Instant::now();
    while must_run("ps", &["-eo", "args"], "install procps").contains("docker system dial-stdio") {
        assert!(begun.elapsed() < Duration::from_secs(10), "ssh is still running");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_message_of_ssh_is_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let env = with_ssh(
        dir.path(),
        "echo 'me@gpu-1: Permission denied (publickey).' >&2; exit 255",
    );
    let error = refused(env).await;
    assert!(
        error
            .causes()
            .join(" ")
            .contains("ssh ended: me@gpu-1: Permission denied (publickey)."),
        "{error:?}"
    );
    assert!(error.hints()[0].contains("ssh-add"), "{error:?}");
    let mut nowhere = with_ssh(dir.path(), "");
    nowhere.inherited.retain(|(key, _)| key != "PATH");
    nowhere
        .inherited
        .push(("PATH".to_owned(), "/nonexistent".to_owned()));
    nowhere.path = "/nonexistent".to_owned();
    refused(nowhere).await;
}

/// Podman's service, on a socket and a storage of the test.
struct Podman(std::process::Child, tempfile::TempDir);

impl Podman {
    fn args(dir: &Path) -> [String; 4] {
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        [
            "--root".to_owned(),
            path("root"),
            "--runroot".to_owned(),
            path("run"),
        ]
    }

    fn start() -> (Self, Env) {
        let dir = tempfile::Builder::new().prefix("dsr1-podman-").tempdir().unwrap();
        let socket = format!("unix://{}/sock", dir.path().display());
        let child = std::process::Command::new("podman")
            .args(Self::args(dir.path()))
            .args([
                "--storage-driver",
                "vfs",
                "system",
                "service",
                "--time",
                "0",
                &socket,
            ])
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .expect("apt-get install podman");
        let begun = Instant::now();
        while !dir.path().join("sock").exists() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "podman does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let env = Env {
            docker_host: Some(socket),
            ..Env::read()
        };
        (Self(child, dir), env)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn podman_is_named_and_builds_as_a_classic_builder() {
    docker().await;
    let (podman, env) = Podman::start();
    let saved = podman.1.path().join("base.tar");
    let saved = saved.to_str().unwrap();
    must_run(
        "docker",
        &["save", "--output", saved, super::BASE],
        "install docker",
    );
    let mut load: Vec<String> = Podman::args(podman.1.path()).to_vec();
    load.extend(["--storage-driver", "vfs", "load", "--input", saved].map(str::to_owned));
    let load: Vec<&str> = load.iter().map(String::as_str).collect();
    must_run("podman", &load, "apt-get install podman");

    let facts = Docker::facts(&env, &[super::BASE], &[]).await;
    assert_eq!(
        (facts.product.as_deref(), facts.sessions),
        (Some("Podman Engine"), Some(false)),
        "{facts:?}"
    );
    assert_eq!(facts.images.len(), 1, "{facts:?}");
    let connected = Docker::connect(&env).await.unwrap();
    let name = Name::new("podman");
    let recorder = Recorder::default();
    let events = StepEvents::new(&recorder, 1);
    let mut step = image(&name, "true");
    let error = connected.build(&step, &events).await.unwrap_err();
    assert!(error.hints().join(" ").contains("--builder classic"), "{error:?}");
    step = super::classic::classic(&name, "echo built by podman");
    let built = connected.build(&step, &events).await;
    let lines = super::build_lines(&recorder);
    assert!(
        !built
            .unwrap_or_else(|error| panic!("{error:?}\n{lines:#?}"))
            .cached
    );
    assert!(lines.iter().any(|line| line == "built by podman"), "{lines:#?}");
    assert!(connected.build(&step, &events).await.unwrap().cached);
}
