//! A daemon of the test: with an empty cache, a disk of a chosen size, and permission to stop it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dsr1::effects::LogEnd;
use dsr1::effects::docker::Docker;
use dsr1::effects::env::Env;
use dsr1::error::Kind;
use dsr1::event::{Recorder, StepEvents};

use super::{BASE, Name, docker, image, must_run, support};

/// A second `dockerd`, without a network of its own. It needs root, as every daemon does.
pub(super) struct Daemon {
    child: Child,
    bridge: String,
    dir: tempfile::TempDir,
    more: Vec<String>,
}

impl Daemon {
    /// Starts a daemon; `size` is the space for its images, in MB.
    pub(super) fn start(size: Option<u32>) -> Self {
        Self::start_at(size, &[])
    }

    /// Starts a daemon that also listens on the addresses in `more`.
    pub(super) fn start_at(size: Option<u32>, more: &[String]) -> Self {
        let dir = tempfile::Builder::new().prefix("dsr1-daemon-").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(path("data")).unwrap();
        if let Some(size) = size {
            let size = format!("size={size}m");
            let mount = ["-t", "tmpfs", "-o", &size, "tmpfs", &path("data")];
            must_run(
                "mount",
                &mount,
                "this test mounts a small file system: run it as root",
            );
        }
        // Not the machine's own settings, which may contradict the flags.
        std::fs::write(path("config"), "{}").unwrap();
        // A bridge of its own: with `none` it would delete the bridge of the machine's daemon.
        let bridge = format!("dsr1t{:x}-{}", std::process::id(), support::unique());
        must_run(
            "ip",
            &["link", "add", &bridge, "type", "bridge"],
            "this test makes a bridge: run it as root",
        );
        let child = Self::run(dir.path(), &bridge, more);
        let daemon = Self {
            child,
            bridge,
            dir,
            more: more.to_vec(),
        };
        daemon.await_answer();
        daemon
    }

    fn run(dir: &Path, bridge: &str, more: &[String]) -> Child {
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let log = std::fs::File::create(path("log")).unwrap();
        Command::new("dockerd")
            .args(["--config-file", &path("config")])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args([
                "--pidfile",
                &path("pid"),
                "--host",
                &format!("unix://{}", path("sock")),
            ])
            .args(["--bridge", bridge, "--iptables=false", "--ip6tables=false"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("this test starts a daemon of its own: install dockerd and run it as root")
    }

    fn await_answer(&self) {
        let begun = Instant::now();
        while !self.cli(&["version"]) {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "dockerd does not answer:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills the daemon and starts it again.
    pub(super) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // Its own containerd goes with it, and a daemon that finds the one of another refuses to start.
        std::thread::sleep(Duration::from_secs(3));
        let _ = std::fs::remove_file(self.dir.path().join("pid"));
        self.child = Self::run(self.dir.path(), &self.bridge, &self.more);
        self.await_answer();
    }

    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("sock").display())
    }

    pub(super) fn cli(&self, args: &[&str]) -> bool {
        let status = Command::new("docker")
            .args(["--host", &self.host()])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    }

    /// Loads the base image of the tests.
    pub(super) fn with_base(&self, dir: &Path) {
        let saved = dir.join("base.tar");
        must_run(
            "docker",
            &["save", "--output", saved.to_str().unwrap(), BASE],
            "install docker",
        );
        assert!(self.cli(&["load", "--input", saved.to_str().unwrap()]));
        std::fs::remove_file(saved).unwrap();
    }

    pub(super) async fn connect(&self) -> Docker {
        let env = Env {
            docker_host: Some(self.host()),
            ..Env::read()
        };
        Docker::connect(&env).await.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let _ = self.child.wait();
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).status();
        // A killed daemon leaves its mounts, and running steps, which end by themselves.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.dir.path().to_str().unwrap_or_default();
        let targets = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for target in targets
            .filter(|target| target.starts_with(own))
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            let _ = Command::new("umount").args(["-l", target]).status();
        }
    }
}

/// F6: a daemon that is killed and comes back, with containers that outlive it: no line of a followed log is lost or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_after_the_daemon_was_killed() {
    docker().await;
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_at(None, &["--live-restore".to_owned()]);
    daemon.with_base(dir.path());
    let docker = daemon.connect().await;
    let name = Name::new("outlives");
    let script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.05; done";
    super::start(&docker, &super::stub(&name, script)).await.unwrap();
    let mut lines = docker.logs(&name.0, None, true).await.unwrap();
    let mut found = lines.wait(None).await;
    tokio::task::block_in_place(|| daemon.restart());
    while lines.end().is_none() {
        found.extend(lines.wait(None).await);
    }
    let expected: Vec<String> = (0..300).map(|line| format!("line {line}")).collect();
    assert_eq!(found, expected);
    assert_eq!(lines.end(), Some(&LogEnd::Complete));
}

#[tokio::test]
async fn a_full_disk_under_the_daemon_is_the_hosts_fault() {
    docker().await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(Some(600));
    daemon.with_base(dir.path());
    let docker = daemon.connect().await;
    let name = Name::new("full");
    let step = image(&name, "dd if=/dev/zero of=/big bs=1M count=2000");
    let recorder = Recorder::default();
    let error = docker
        .build(&step, &StepEvents::new(&recorder, 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Host, "{error:?}");
    let causes = error.causes();
    assert_eq!(causes.len(), 2, "{error:?}");
    assert!(causes[0].contains("dd if=/dev/zero"), "{error:?}");
    assert_eq!(causes[1], "the disk filled up", "{error:?}");
    assert!(!daemon.cli(&["image", "inspect", &step.tag]));
}

#[tokio::test]
async fn a_daemon_that_goes_away_during_a_build_is_named() {
    docker().await;
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(None);
    daemon.with_base(dir.path());
    let docker = daemon.connect().await;
    let name = Name::new("gone");
    let step = image(&name, "sh -c 'echo up; sleep 20'");
    let recorder = Recorder::default();
    let events = StepEvents::new(&recorder, 1);
    let ends = async {
        while !super::build_lines(&recorder).iter().any(|line| line == "up") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        daemon.child.kill().unwrap();
    };
    let (built, ()) = tokio::join!(docker.build(&step, &events), ends);
    let error = built.unwrap_err();
    assert_eq!(error.kind(), Kind::Docker, "{error:?}");
    assert!(
        error
            .causes()
            .join(" ")
            .contains("the connection to the daemon broke"),
        "{error:?}"
    );
    assert!(
        error.hints().join(" ").contains("run the command again"),
        "{error:?}"
    );
}
