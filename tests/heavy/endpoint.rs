//! The endpoint as clients use it: each block of `docs/endpoint.md`, with the real `openai` package and a real proxy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::servers::Site;
use super::stand_in;
use crate::support::{Run, documents, free_port, must_run, tool};

/// Returns the blocks of the document with this language.
fn blocks(language: &str) -> Vec<String> {
    let (_, text) = documents()
        .into_iter()
        .find(|(path, _)| path == "docs/endpoint.md")
        .unwrap();
    let begin = format!("```{language}\n");
    let parts = text.split(&begin).skip(1);
    parts
        .map(|part| part.split("\n```").next().unwrap().to_owned())
        .collect()
}

/// Returns a Python with the `openai` package.
fn python() -> PathBuf {
    tool("openai.sh", "the package index must be reachable")
}

/// Runs a block of Python as a client of `url`.
fn client(code: &str, url: &str, key: &str, more: &[(&str, &str)]) -> Run {
    let mut command = Command::new(python());
    command
        .args(["-c", code])
        .env_clear()
        .env("OPENAI_BASE_URL", url)
        .env("OPENAI_API_KEY", key)
        .envs(more.iter().copied());
    command.output().unwrap().into()
}

/// Runs every Python block of the document against a server.
pub(crate) fn python_blocks(url: &str) {
    let blocks = blocks("python");
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let run = client(&block, url, "none", &[]).expect(0);
        assert!(run.stdout.trim().len() > 3, "{block}\n{}", run.stdout);
    }
}

/// A program that ends with the test: nginx, sshd, ssh.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its workers.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Starts nginx with the configuration of the document, for other ports and files.
fn proxy(dir: &Path, port: u16, upstream: &str) -> Proxy {
    let blocks = blocks("nginx");
    let mut server = blocks[0].clone();
    for (from, to) in [
        ("listen 8443 ", format!("listen 127.0.0.1:{port} ")),
        ("/etc/nginx/", format!("{}/", dir.display())),
        ("http://127.0.0.1:30000", upstream.to_owned()),
    ] {
        assert!(server.contains(from), "{from}");
        server = server.replace(from, &to);
    }
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(temporary, "{kind}_temp_path {}/{kind};", dir.display()).unwrap();
    }
    let config = format!(
        "daemon off; pid {0}/pid; error_log {0}/error.log;\nevents {{}}\nhttp {{ access_log off;\n{temporary}{server}\n}}\n",
        dir.display()
    );
    std::fs::write(dir.join("nginx.conf"), config).unwrap();
    let config = dir.join("nginx.conf");
    let log = dir.join("error.log");
    let args = [
        "-p",
        dir.to_str().unwrap(),
        "-e",
        log.to_str().unwrap(),
        "-c",
        config.to_str().unwrap(),
    ];
    let proxy = Proxy(
        Command::new("nginx")
            .args(args)
            .spawn()
            .expect("install nginx-light"),
    );
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        let errors = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", errors());
        std::thread::sleep(Duration::from_millis(50));
    }
    proxy
}

/// Waits until something listens on a port.
fn wait_for_port(port: u16, program: &str) {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{program} does not listen"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Opens the tunnel of the document from `local` to the port of a server, through an sshd of this test.
fn tunnel(dir: &Path, local: u16, server: &str) -> [Proxy; 2] {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    for key in ["host", "user"] {
        let args = ["-q", "-t", "ed25519", "-N", "", "-f", &path(key)];
        must_run("ssh-keygen", &args, "install openssh-client");
    }
    let port = free_port();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n",
        path("host"),
        path("user.pub")
    );
    std::fs::write(dir.join("sshd_config"), config).unwrap();
    let sshd = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f", &path("sshd_config")])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("install openssh-server");
    let sshd = Proxy(sshd);
    wait_for_port(port, "sshd");
    let user = must_run("id", &["-un"], "install coreutils");
    let block = blocks("sh")
        .into_iter()
        .find(|block| block.contains("ssh -N"))
        .unwrap();
    let line = block
        .replace("30000:127.0.0.1:30000", &format!("{local}:127.0.0.1:{server}"))
        .replace("user@gpu-host", &format!("{}@127.0.0.1", user.trim()));
    assert_ne!(line, block);
    let words: Vec<&str> = line.split_whitespace().collect();
    let ssh = Command::new(words[0])
        .args(["-F", "none", "-p", &port.to_string(), "-i", &path("user")])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(&words[1..])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("install openssh-client");
    let ssh = Proxy(ssh);
    wait_for_port(local, "the tunnel");
    [ssh, sshd]
}

/// Runs the same clients through `dsr1 expose`, whose key is in no place that another user or the engine reads.
fn exposed(site: &Site, certificate: &str, trust: &[(&str, &str)]) {
    let home = &site.home;
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let private = certificate.replace(".crt", ".key");
    let tls = ["--tls-cert", certificate, "--tls-key", &private];
    let mut exposed = home.start(&[&["expose", "endpoint", "--listen", &listen][..], &tls].concat());
    wait_for_port(port, "dsr1 expose");
    let servers = home.path().join(".local/state/dsr1/servers");
    let keys = std::fs::read_to_string(servers.join("dsr1-endpoint.keys")).unwrap();
    let key = keys.lines().next().unwrap().split(' ').nth(1).unwrap();
    let url = format!("https://localhost:{port}/v1");
    for block in blocks("python") {
        client(&block, &url, key, trust).expect(0);
    }
    let refused = client(&blocks("python")[0], &url, "wrong", trust).expect(1);
    assert!(
        refused.stderr.contains("AuthenticationError"),
        "{}",
        refused.stderr
    );
    // The engine's arguments and log, and the command lines of all processes.
    let has_key = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains(key);
    for file in ["dsr1-endpoint.log", "dsr1-endpoint.plan", "dsr1-endpoint.events"] {
        assert!(!has_key(std::fs::read(servers.join(file)).unwrap()), "{file}");
    }
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let argv = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!has_key(argv), "{}", process.path().display());
    }
    exposed.signal("TERM");
    let run = exposed.wait().expect(0);
    assert!(
        !run.stdout.contains(key) && run.stdout.contains("POST /v1/chat/completions  200"),
        "{}",
        run.stdout
    );
}

#[test]
fn the_documented_clients_the_tunnel_and_the_proxy_work() {
    let site: Site = stand_in::site("process");
    let port = free_port().to_string();
    let home = &site.home;
    home.run(&site.serve_args("endpoint", &port)).expect(0);
    let url = format!("http://127.0.0.1:{port}");
    let checked = std::panic::catch_unwind(|| {
        python_blocks(&format!("{url}/v1"));
        let dir = home.path().join("proxy");
        std::fs::create_dir(&dir).unwrap();
        let local = free_port();
        let through = tunnel(&dir, local, &port);
        python_blocks(&format!("http://127.0.0.1:{local}/v1"));
        drop(through);
        let (key, certificate) = (dir.join("dsr1.key"), dir.join("dsr1.crt"));
        let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
        let request = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ];
        let files = [
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            key,
            "-out",
            certificate,
        ];
        must_run("openssl", &[&request[..], &files].concat(), "install openssl");
        let tls = free_port();
        let _proxy = proxy(&dir, tls, &url);
        let url = format!("https://localhost:{tls}/v1");
        let trust = [("SSL_CERT_FILE", certificate)];
        for block in blocks("python") {
            client(&block, &url, "CHANGE-ME", &trust).expect(0);
        }
        let refused = client(&blocks("python")[0], &url, "wrong", &trust).expect(1);
        assert!(
            refused.stderr.contains("AuthenticationError"),
            "{}",
            refused.stderr
        );
        exposed(&site, certificate, &trust);
    });
    home.run(&["stop", "endpoint", "--drain", "0"]).expect(0);
    if let Err(panic) = checked {
        std::panic::resume_unwind(panic);
    }
}
