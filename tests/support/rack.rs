//! A real Slurm of several nodes on this machine: munge, the controller and a daemon for each node, with GPUs that are device
//! files only. Every node has an address of its own on loopback, so that two racks run at the same time.
#![allow(
    clippy::print_stderr,
    reason = "what does not end is said even where a test has failed already"
)]

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{free_port, must_run};

/// A running Slurm. Its daemons, its jobs and all that they started end with this value.
pub struct Rack {
    dir: tempfile::TempDir,
    daemons: Vec<Child>,
    network: String,
    nodes: u32,
}

/// A job of a rack.
pub struct Job<'a> {
    rack: &'a Rack,
    id: String,
    name: String,
}

impl Rack {
    /// Starts Slurm on `nodes` nodes, named `n1` and so on, with `gpus` GPUs each. Panics with the reason where it cannot run.
    pub fn start(nodes: u32, gpus: u32) -> Self {
        let is_root = must_run("id", &["-u"], "install coreutils").trim() == "0";
        assert!(
            is_root,
            "the tests of Slurm need root: its daemons run the jobs of others, and mknod makes the GPUs"
        );
        let dir = tempfile::Builder::new().prefix("dsr1-rack-").tempdir().unwrap();
        // munge refuses a socket that others cannot reach.
        must_run(
            "chmod",
            &["755", dir.path().to_str().unwrap()],
            "install coreutils",
        );
        let random = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
            .to_le_bytes();
        let mut rack = Self {
            dir,
            daemons: Vec::new(),
            network: format!("127.{}.{}", random[0].max(1), random[1]),
            nodes,
        };
        rack.write_files(gpus);
        let munge = [
            "--foreground",
            "--key-file=key",
            "--socket=socket",
            "--pid-file=munged.pid",
            "--log-file=munged.log",
            "--seed-file=seed",
        ];
        let munge = munge.map(|option| match option.split_once('=') {
            Some((name, file)) => format!("{name}={}", rack.path(file).display()),
            None => option.to_owned(),
        });
        rack.daemon("munged", &munge.each_ref().map(String::as_str));
        rack.until("munge has no socket", |rack| rack.path("socket").exists());
        rack.daemon("slurmctld", &["-D"]);
        for node in 1..=nodes {
            rack.daemon("slurmd", &["-D", "-N", &format!("n{node}")]);
        }
        rack.wait_until_idle();
        rack
    }

    /// Waits until no node is down or busy.
    pub fn wait_until_idle(&self) {
        let idle = self.nodes.to_string();
        self.until("Slurm's nodes are not idle", |rack| {
            let states = rack.command("sinfo", &["-h", "-t", "idle", "-o", "%D"]).output();
            String::from_utf8_lossy(&states.unwrap().stdout).trim() == idle
        });
    }

    /// Writes the configuration, and makes the device files.
    fn write_files(&self, gpus: u32) {
        let random = |path: &str, bytes: u32| {
            let command = format!(
                "umask 077; head -c {bytes} /dev/urandom > {}",
                self.path(path).display()
            );
            must_run("sh", &["-c", &command], "install coreutils");
        };
        random("key", 1024);
        // Slurm sets CUDA_VISIBLE_DEVICES only for GPUs that have files. These are as /dev/null.
        for gpu in 0..gpus {
            let file = self.path(&format!("gpu{gpu}"));
            must_run(
                "mknod",
                &[file.to_str().unwrap(), "c", "1", "3"],
                "the tests of Slurm need the right to make device files, which some containers lack",
            );
        }
        let host = must_run("uname", &["-n"], "install coreutils");
        let host = host.trim();
        let dir = self.dir.path().display();
        let mut text = format!(
            "ClusterName=rack
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={dir}/socket
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd.%n.log
PlugStackConfig={dir}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
GresTypes=gpu
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP
",
            free_port()
        );
        let gres = match gpus {
            0 => String::new(),
            gpus => format!(" Gres=gpu:{gpus}"),
        };
        let mut devices = String::new();
        for node in 1..=self.nodes {
            writeln!(
                text,
                "NodeName=n{node} NodeHostname={host} NodeAddr={} Port={} CPUs=4 Boards=1 SocketsPerBoard=1 \
                 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=1000{gres} State=UNKNOWN",
                self.address(node),
                free_port()
            )
            .unwrap();
            if gpus > 0 {
                writeln!(
                    devices,
                    "NodeName=n{node} Name=gpu File={dir}/gpu[0-{}]",
                    gpus - 1
                )
                .unwrap();
            }
        }
        let write = |path: &str, text: &str| std::fs::write(self.path(path), text).unwrap();
        write("slurm.conf", &text);
        write("gres.conf", &devices);
        write("cgroup.conf", "CgroupPlugin=cgroup/v1\nConstrainDevices=no\n");
        write("plugstack.conf", "");
        for folder in ["state", "spool", "bin", "jobs"] {
            std::fs::create_dir(self.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink(bash(), self.path("bin/bash")).unwrap();
        for node in 1..=self.nodes {
            std::fs::create_dir(self.path(&format!("spool/n{node}"))).unwrap();
        }
    }

    /// Starts a daemon in the foreground of its own. It ends with the thread of the test, should that die without this value.
    fn daemon(&mut self, program: &str, args: &[&str]) {
        let log = std::fs::File::create(self.path(&format!("{program}-{}.out", self.daemons.len()))).unwrap();
        let mut command = self.command("setpriv", &["--pdeathsig", "TERM", program]);
        command.args(args).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemons.push(command.spawn().expect("install util-linux"));
    }

    /// Waits until Slurm is so far.
    fn until(&self, otherwise: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            // One that has ended is a zombie until this value is dropped.
            let ended = self
                .daemons
                .iter()
                .any(|daemon| text_of(Path::new(&format!("/proc/{}/stat", daemon.id()))).contains(") Z "));
            let logs = || {
                let files = std::fs::read_dir(self.dir.path()).unwrap().flatten();
                let logs = files.filter(|file| {
                    [".out", ".log"]
                        .iter()
                        .any(|end| file.file_name().to_str().unwrap().ends_with(end))
                });
                logs.map(|file| std::fs::read_to_string(file.path()).unwrap())
                    .collect::<String>()
            };
            assert!(
                !ended,
                "a daemon of Slurm ended (install slurm-wlm and munge): {}",
                logs()
            );
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{otherwise}: {}",
                logs()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// A path in the folder of the rack.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The address of a node, counted from 1 as its name is.
    pub fn address(&self, node: u32) -> String {
        format!("{}.{node}", self.network)
    }

    /// Writes a program that jobs find on their path.
    pub fn program(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Returns a command of Slurm, not started, in the folder of the jobs.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env_clear().stdin(Stdio::null());
        let place = self.path("jobs");
        if place.exists() {
            command.current_dir(place);
        }
        let path = std::env::var("PATH").unwrap();
        command
            .env("SLURM_CONF", self.path("slurm.conf"))
            .env("HOME", self.dir.path())
            .env(
                "PATH",
                format!("{}:{path}:/usr/sbin:/sbin", self.path("bin").display()),
            );
        command
    }

    /// Runs a command of Slurm, and returns what it prints.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program, args).output().expect("install slurm-wlm");
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The configuration that makes Slurm's commands talk to this rack.
    pub fn configuration(&self) -> String {
        self.path("slurm.conf").to_string_lossy().into_owned()
    }

    /// Returns the job of that number, which another program submitted.
    pub fn job(&self, id: &str, name: &str) -> Job<'_> {
        Job {
            rack: self,
            id: id.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Submits a job, with options of `sbatch` and variables for it.
    #[track_caller]
    pub fn submit(&self, text: &str, options: &[&str], env: &[(&str, &str)]) -> Job<'_> {
        let file = self.path(&format!("jobs/{}.sbatch", super::unique()));
        let own = text.replacen("#!/bin/bash\n", &format!("#!{}\n", bash()), 1);
        std::fs::write(&file, own).unwrap();
        let mut command = self.command("sbatch", &["--parsable"]);
        command.args(options).arg(&file).envs(env.iter().copied());
        let output = command.output().expect("install slurm-wlm");
        assert!(output.status.success(), "{output:?}");
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("#SBATCH --job-name="));
        Job {
            rack: self,
            id: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
            name: name.unwrap().to_owned(),
        }
    }

    /// Returns the processes of jobs, by id, with their command lines: their environment or command line names this rack, and
    /// they are not Slurm's own.
    pub fn processes(&self) -> Vec<(u32, String)> {
        self.all_processes()
            .into_iter()
            .filter(|(pid, _)| {
                let name = text_of(Path::new(&format!("/proc/{pid}/comm")));
                !["slurmctld", "slurmd", "slurmscriptd", "munged"].contains(&name.trim())
            })
            .collect()
    }

    /// Returns all processes that name this rack.
    fn all_processes(&self) -> Vec<(u32, String)> {
        let needle = self.dir.path().to_str().unwrap();
        let read = |pid: u32, file: &str| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .map(|pid| (pid, read(pid, "cmdline"), read(pid, "environ")))
            .filter(|(_, line, environ)| line.contains(needle) || environ.contains(needle))
            .map(|(pid, line, _)| (pid, line))
            .collect()
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let begun = Instant::now();
        loop {
            let left = self.all_processes();
            if left.is_empty() {
                return;
            }
            if begun.elapsed() > Duration::from_secs(10) {
                eprintln!("these processes of a rack do not end: {left:?}");
                return;
            }
            for (pid, _) in left {
                let _ = Command::new("kill")
                    .args(["-KILL", &pid.to_string()])
                    .stderr(Stdio::null())
                    .status();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Job<'_> {
    /// The number of the job.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder of its logs.
    pub fn folder(&self) -> PathBuf {
        self.rack.path(&format!("jobs/{}-{}", self.name, self.id))
    }

    /// Returns what the job printed.
    pub fn log(&self) -> String {
        text_of(&self.rack.path(&format!("jobs/{}-{}.log", self.name, self.id)))
    }

    /// Returns the log of a rank, or of another file of its folder.
    pub fn file(&self, name: &str) -> String {
        text_of(&self.folder().join(name))
    }

    /// Returns the state of the job as Slurm says it: `JobState`, `Reason` and the like.
    pub fn state(&self, key: &str) -> String {
        let all = self.rack.run("scontrol", &["-o", "show", "job", &self.id]);
        all.split(' ')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until the job's log holds `text`, and returns how long that took; panics if the job ends before, or after `limit`.
    #[track_caller]
    pub fn wait_for(&self, text: &str, limit: Duration) -> Duration {
        let begun = Instant::now();
        while !self.log().contains(text) {
            let state = self.state("JobState");
            let is_over = !["PENDING", "CONFIGURING", "RUNNING", "COMPLETING"].contains(&state.as_str());
            let late = begun.elapsed() > limit;
            assert!(
                !(is_over || late) || self.log().contains(text),
                "no `{text}` after {:?}, {state}:\n{}\n{}",
                begun.elapsed(),
                self.log(),
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        begun.elapsed()
    }

    /// Returns the ends of all logs of the job, for a person who reads why a test failed.
    fn logs(&self) -> String {
        let mut all = String::new();
        for file in std::fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let text = text_of(&file.path());
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            writeln!(all, "-- {}\n{end}", file.path().display()).unwrap();
        }
        all
    }

    /// Waits until the job is over and nothing of it is left: no process, and no node that is still busy with it. Returns
    /// its state and how long that took.
    #[track_caller]
    pub fn wait_for_end(&self, limit: Duration) -> (String, Duration) {
        let begun = Instant::now();
        loop {
            let state = self.state("JobState");
            let is_over = !["PENDING", "CONFIGURING", "RUNNING", "COMPLETING"].contains(&state.as_str());
            let left = self.rack.processes();
            if is_over && left.is_empty() {
                return (state, begun.elapsed());
            }
            assert!(
                begun.elapsed() < limit,
                "{state} after {limit:?}, {left:?}\n{}\n{}",
                self.log(),
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns the process of a rank: the one that took the place of its shell.
    #[track_caller]
    pub fn process_of(&self, rank: &str) -> u32 {
        let (engine, number) = rank.rsplit_once('.').unwrap();
        let (engine, job) = (
            format!("DSR1_ENGINE={engine}"),
            format!("SLURM_JOB_ID={}", self.id),
        );
        let number = format!("SLURM_PROCID={number}");
        let found = self.rack.processes().into_iter().find_map(|(pid, _)| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let environ = String::from_utf8_lossy(&environ).into_owned();
            let has = |pair: &str| environ.split('\0').any(|one| one == pair);
            let parent = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = parent.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned();
            let parent = std::fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
            (has(&engine) && has(&job) && has(&number) && parent.starts_with("slurmstepd")).then_some(pid)
        });
        found.unwrap_or_else(|| panic!("no process of {rank}: {:?}", self.rack.processes()))
    }
}

/// Returns the bash of the jobs: that of the system, or another version, which `RACK_BASH` names.
fn bash() -> String {
    std::env::var("RACK_BASH").unwrap_or_else(|_| "/bin/bash".to_owned())
}

/// Sends a signal to a process.
#[track_caller]
pub fn signal(pid: u32, name: &str) {
    must_run("kill", &[&format!("-{name}"), &pid.to_string()], "install procps");
}

/// Asserts that nothing listens at an address, on any of these ports.
#[track_caller]
pub fn assert_free(address: &str, ports: impl IntoIterator<Item = u16>) {
    for port in ports {
        let bound = std::net::TcpListener::bind((address, port));
        assert!(bound.is_ok(), "{address}:{port}: {bound:?}");
    }
}

/// Returns the text of a file, empty if it is not there.
pub fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
