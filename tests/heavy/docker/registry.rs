//! Tests with Debian's registry: digests, tags that move, and layers of a build elsewhere.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dsr1::effects::docker::Docker;
use dsr1::effects::env::Env;
use dsr1::error::Kind;
use dsr1::event::{Event, Recorder, StepEvents};
use dsr1::plan::{BuildImage, LABEL_BASE_DIGEST};

use super::daemon::Daemon;
use super::session::build;
use super::{BASE, Name, build_lines, cli, docker, image, support};

/// A registry on loopback, with a directory of its own.
struct Registry {
    child: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = format!("127.0.0.1:{}", support::free_port());
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("install docker-registry");
        let begun = Instant::now();
        while std::net::TcpStream::connect(&host).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the registry does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            host,
            _dir: dir,
        }
    }

    /// Pushes the base image under a name of this registry, and returns that name.
    fn base(&self) -> String {
        let name = format!("{}/base:1", self.host);
        cli(&["tag", BASE, &name]);
        cli(&["push", "--quiet", &name]);
        name
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let all = Command::new("docker")
            .args(["image", "ls", "--digests", "--format"])
            .arg("{{.Repository}}:{{.Tag}}\n{{.Repository}}@{{.Digest}}")
            .output()
            .unwrap();
        for name in String::from_utf8_lossy(&all.stdout).lines() {
            if name.starts_with(&self.host) {
                let _ = Command::new("docker").args(["image", "rm", name]).output();
            }
        }
    }
}

/// Returns a build on a base, whose label states the base.
fn on(base: &str, digest: Option<&str>, name: &Name) -> BuildImage {
    let step = image(name, &format!("sh -c 'echo a step; : {}'", name.0));
    BuildImage {
        dockerfile: format!(
            "{}LABEL {LABEL_BASE_DIGEST}=\"{}\"\n",
            step.dockerfile.replace(BASE, base),
            digest.unwrap_or_default()
        ),
        base: base.to_owned(),
        base_digest: digest.map(str::to_owned),
        ..step
    }
}

#[tokio::test]
async fn an_image_that_is_pushed_is_found_by_its_digest() {
    docker().await;
    let registry = Registry::start();
    let base = registry.base();
    let name = Name::new("push");
    let mut step = on(&base, None, &name);
    step.also = vec![format!("{}/made:1", registry.host)];
    step.push = true;
    let (built, _) = build(&step).await;
    let pushed = built.unwrap().pushed;
    let (tag, digest) = pushed[0].split_once('@').unwrap();
    assert_eq!(tag, step.also[0]);
    cli(&["image", "rm", tag]);
    let by_digest = format!("{}/made@{digest}", registry.host);
    cli(&["pull", "--quiet", &by_digest]);
    assert!(cli(&["image", "inspect", &by_digest]).contains(&step.inputs));
    cli(&["image", "rm", &by_digest]);
    // A second push of the same image has the same digest.
    let (again, _) = build(&step).await;
    let again = again.unwrap();
    assert!(again.cached);
    assert_eq!(again.pushed, pushed);
    cli(&["image", "rm", &step.tag]);
}

#[tokio::test]
async fn a_base_that_has_another_digest_is_refused() {
    docker().await;
    let registry = Registry::start();
    let base = format!("{}@sha256:{}", registry.base(), "0".repeat(64));
    let name = Name::new("mismatch");
    let error = build(&on(&base, None, &name)).await.0.unwrap_err();
    assert_eq!(error.kind(), Kind::Integrity, "{error:?}");
    assert!(error.message().contains(&base), "{error:?}");
    assert!(error.hints().join(" ").contains("digest"), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_named() {
    docker().await;
    let base = format!("127.0.0.1:{}/base:1", support::free_port());
    let name = Name::new("unreachable");
    let error = build(&on(&base, None, &name)).await.0.unwrap_err();
    assert_eq!(error.kind(), Kind::Hub, "{error:?}");
    assert!(
        error.causes().join(" ").contains("connection refused"),
        "{error:?}"
    );
    assert!(error.hints().join(" ").contains("--base-image"), "{error:?}");
}

#[tokio::test]
async fn a_base_whose_tag_moved_is_built_on_again() {
    docker().await;
    let registry = Registry::start();
    let base = registry.base();
    let digest = async || {
        let facts = Docker::facts(&Env::read(), &[&base], &[]).await;
        facts.digests[&base].clone()
    };
    let name = Name::new("moved");
    let first = digest().await;
    build(&on(&base, Some(&first), &name)).await.0.unwrap();
    assert!(build(&on(&base, Some(&first), &name)).await.0.unwrap().cached);
    // The tag moves to another image.
    let other = Name::new("other");
    let mut step = image(&other, "true");
    step.also = vec![base.clone()];
    step.push = true;
    build(&step).await.0.unwrap();
    let second = digest().await;
    assert_ne!(first, second);
    let recorder = Recorder::default();
    let moved = on(&base, Some(&second), &name);
    let built = docker()
        .await
        .build(&moved, &StepEvents::new(&recorder, 1))
        .await
        .unwrap();
    assert!(!built.cached);
    let said = |event: &Event| matches!(event, Event::Note { text } if text.contains("changed since"));
    assert!(recorder.events().iter().any(said), "{:?}", recorder.events());
    assert!(cli(&["image", "inspect", &moved.tag]).contains(&second));
    cli(&["image", "rm", &moved.tag, &step.tag]);
}

/// A build elsewhere is not repeated: the other daemon gets all layers from the registry.
#[tokio::test]
async fn layers_of_a_build_elsewhere_are_used() {
    docker().await;
    let registry = Registry::start();
    let base = registry.base();
    let name = Name::new("inline");
    let mut step = on(&base, None, &name);
    let cached = format!("{}/cache:1", registry.host);
    step.also = vec![cached.clone()];
    step.push = true;
    step.inline_cache = true;
    build(&step).await.0.unwrap();
    let daemon = Daemon::start(None);
    let elsewhere = daemon.connect().await;
    let mut step = on(&base, None, &name);
    step.cache_from = vec![cached];
    step.inputs.push('2');
    let recorder = Recorder::default();
    elsewhere
        .build(&step, &StepEvents::new(&recorder, 1))
        .await
        .unwrap();
    let lines = build_lines(&recorder);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("cached ") && line.contains("RUN")),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line == "a step"), "{lines:?}");
    cli(&["image", "rm", &step.tag]);
}
