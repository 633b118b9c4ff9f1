//! The address of the daemon: `DOCKER_HOST`, else the context that is named or current, else the default socket.
//!
//! Docker's own command line has the same order (cli/command: `DOCKER_HOST` before `DOCKER_CONTEXT` before
//! `currentContext`).

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::effects::env::Env;
use crate::error::{Error, Kind, Result};
use crate::units::hex;

const DEFAULT: &str = "unix:///var/run/docker.sock";
/// Default ports of a daemon, without and with TLS (docker/cli opts/hosts.go).
const PORTS: [u16; 2] = [2375, 2376];

/// A daemon's address: the URL as it was given, for messages, and the way to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    url: String,
    pub(super) way: Way,
}

/// The way to connect to a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// A socket of this host.
    Unix(PathBuf),
    /// A port; with TLS if `tls` is a directory that holds `ca.pem`, `cert.pem` and `key.pem`.
    Tcp {
        host: String,
        port: u16,
        tls: Option<PathBuf>,
    },
    /// `docker system dial-stdio` on another host.
    Ssh {
        /// Arguments for `ssh`: options, and the host last.
        destination: Vec<String>,
        /// The socket on that host, if it is not Docker's default.
        socket: Option<String>,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Endpoint {
    /// Returns the daemon that the environment names.
    ///
    /// # Errors
    /// [`Kind::Docker`] when it names a context that does not exist, or an address that is not a known URL.
    pub(super) fn resolve(env: &Env) -> Result<Self> {
        if let Some(host) = &env.docker_host {
            // As in Docker's command line, the TLS variables apply to TCP: a socket of this host has no TLS.
            return Self::parse(host, env.docker_tls.clone());
        }
        let named = env
            .docker_context
            .clone()
            .or_else(|| current_context(&env.docker_config));
        match named.filter(|name| name != "default") {
            Some(name) => endpoint_of_context(&env.docker_config, &name),
            None => Self::parse(DEFAULT, None),
        }
    }

    /// Reads a URL; `tls` is the directory of the certificates, if TLS is asked for.
    pub(super) fn parse(url: &str, tls: Option<PathBuf>) -> Result<Self> {
        let unknown = |cause: &str| {
            Error::new(
                Kind::Docker,
                format!("cannot use the Docker daemon at `{}`", masked(url).escape_debug()),
            )
            .cause(cause)
            .hint("DOCKER_HOST looks like unix:///var/run/docker.sock, tcp://host:2376 or ssh://user@host")
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| unknown("it is not a URL with unix://, tcp:// or ssh://"))?;
        let way = match scheme {
            "unix" if rest.is_empty() => return Err(unknown("it names no socket")),
            "unix" => Way::Unix(PathBuf::from(rest)),
            "https" if tls.is_none() => {
                return Err(unknown(
                    "https needs certificates, and DOCKER_TLS_VERIFY is not set",
                ));
            }
            "tcp" | "http" | "https" => {
                let default = PORTS[usize::from(tls.is_some())];
                let (host, port) = host_and_port(rest.trim_end_matches('/'), default)
                    .ok_or_else(|| unknown("its host or port cannot be read"))?;
                Way::Tcp { host, port, tls }
            }
            "ssh" => ssh_way(rest).ok_or_else(|| unknown("its host or port cannot be read"))?,
            _ => return Err(unknown("it is not a URL with unix://, tcp:// or ssh://")),
        };
        Ok(Self {
            url: url.to_owned(),
            way,
        })
    }

    /// Returns true if the daemon runs on this host.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.way, Way::Unix(_))
    }

    /// Returns true for a socket of this host that does not exist.
    pub(super) fn is_missing(&self) -> bool {
        matches!(&self.way, Way::Unix(path) if path.symlink_metadata().is_err())
    }
}

/// Returns a URL without its password.
fn masked(url: &str) -> String {
    match url
        .split_once("://")
        .map(|(scheme, rest)| (scheme, rest.rsplit_once('@')))
    {
        Some((scheme, Some((user, host)))) if user.contains(':') => format!("{scheme}://***@{host}"),
        _ => url.to_owned(),
    }
}

/// Reads `host`, `host:port` or `[v6]:port`. A name that `ssh` could read as an option is refused.
fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        }
    };
    let port = match port? {
        "" => default,
        port => port.parse().ok()?,
    };
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    let fits = !host.is_empty() && !host.starts_with('-') && host.chars().all(known);
    fits.then(|| (host.to_owned(), port))
}

/// Reads `[user@]host[:port][/socket]` into arguments for `ssh`.
fn ssh_way(rest: &str) -> Option<Way> {
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let (user, at) = match authority.rsplit_once('@') {
        Some((user, at)) => (Some(user), at),
        None => (None, authority),
    };
    let (host, port) = host_and_port(at, 0)?;
    let mut destination = Vec::new();
    if let Some(user) = user {
        let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if user.is_empty() || user.starts_with('-') || !user.chars().all(known) {
            return None;
        }
        destination.extend(["-l".to_owned(), user.to_owned()]);
    }
    if port != 0 {
        destination.extend(["-p".to_owned(), port.to_string()]);
    }
    destination.extend(["--".to_owned(), host]);
    // A shell on the other host reads the path.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let path = path.trim_end_matches('/');
    path.chars().all(plain).then(|| Way::Ssh {
        destination,
        socket: (!path.is_empty()).then(|| path.to_owned()),
    })
}

fn current_context(config: &Path) -> Option<String> {
    let text = std::fs::read(config.join("config.json")).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    value["currentContext"]
        .as_str()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// Returns the endpoint of a context, whose directories are named by the hash of its name.
fn endpoint_of_context(config: &Path, name: &str) -> Result<Endpoint> {
    let hash = hex(&Sha256::digest(name));
    let unusable = |what: &str| {
        Error::new(
            Kind::Docker,
            format!("the Docker context `{}` {what}", name.escape_debug()),
        )
        .hint("docker context ls lists the contexts; DOCKER_HOST overrides them")
    };
    let path = config.join("contexts/meta").join(&hash).join("meta.json");
    let meta: Value = std::fs::read(path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let docker = &meta["Endpoints"]["docker"];
    let host = docker["Host"].as_str().ok_or_else(|| unusable("has no host"))?;
    if docker["SkipTLSVerify"] == true {
        return Err(unusable("switches the check of certificates off").cause(
            "another host could answer and receive the secrets that dsr1 sends; give the context its CA",
        ));
    }
    let tls = config.join("contexts/tls").join(hash).join("docker");
    Endpoint::parse(host, tls.exists().then_some(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(env: &Env) -> String {
        Endpoint::resolve(env).unwrap().to_string()
    }

    #[test]
    fn the_context_gives_the_host_unless_it_is_overridden() {
        let dir = tempfile::tempdir().unwrap();
        let mut env = Env {
            docker_config: dir.path().to_owned(),
            ..Env::default()
        };
        assert_eq!(url(&env), DEFAULT);
        std::fs::write(dir.path().join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
        assert!(Endpoint::resolve(&env).unwrap_err().message().contains("`lab`"));
        let hash = hex(&Sha256::digest("lab"));
        let meta = dir.path().join("contexts/meta").join(&hash);
        std::fs::create_dir_all(&meta).unwrap();
        let write = |endpoint: &str| {
            let text = format!(r#"{{"Name":"lab","Endpoints":{{"docker":{endpoint}}}}}"#);
            std::fs::write(meta.join("meta.json"), text).unwrap();
        };
        write(r#"{"Host":"tcp://lab"}"#);
        assert_eq!(url(&env), "tcp://lab");
        let tls = dir.path().join("contexts/tls").join(&hash).join("docker");
        std::fs::create_dir_all(&tls).unwrap();
        let tcp = |port, tls| Way::Tcp {
            host: "lab".to_owned(),
            port,
            tls,
        };
        assert_eq!(Endpoint::resolve(&env).unwrap().way, tcp(2376, Some(tls.clone())));
        write(r#"{"Host":"tcp://lab","SkipTLSVerify":true}"#);
        assert!(
            Endpoint::resolve(&env)
                .unwrap_err()
                .message()
                .contains("switches the check")
        );
        env.docker_context = Some("default".to_owned());
        assert_eq!(url(&env), DEFAULT);
        env.docker_host = Some("tcp://lab:1".to_owned());
        assert_eq!(Endpoint::resolve(&env).unwrap().way, tcp(1, None));
        env.docker_tls = Some(tls.clone());
        assert_eq!(Endpoint::resolve(&env).unwrap().way, tcp(1, Some(tls)));
        env.docker_host = Some("unix:///s".to_owned());
        assert_eq!(Endpoint::resolve(&env).unwrap().way, Way::Unix("/s".into()));
    }

    #[test]
    fn only_a_socket_can_be_missing() {
        let is_missing = |url| Endpoint::parse(url, None).unwrap().is_missing();
        assert!(is_missing("unix:///nonexistent/docker.sock"));
        assert!(!is_missing("unix:///dev/null") && !is_missing("tcp://127.0.0.1:9"));
    }

    #[test]
    fn addresses_are_read_or_refused() {
        let tcp = |url: &str| match Endpoint::parse(url, None).unwrap().way {
            Way::Tcp {
                host,
                port,
                tls: None,
            } => (host, port),
            other => panic!("{other:?}"),
        };
        assert_eq!(tcp("tcp://10.0.0.1"), ("10.0.0.1".to_owned(), 2375));
        assert_eq!(tcp("http://node-1.lab:99/"), ("node-1.lab".to_owned(), 99));
        assert_eq!(tcp("tcp://[::1]:5"), ("::1".to_owned(), 5));
        let ssh = |url: &str| match Endpoint::parse(url, None).unwrap().way {
            Way::Ssh { destination, socket } => (destination.join(" "), socket),
            other => panic!("{other:?}"),
        };
        assert_eq!(ssh("ssh://node"), ("-- node".to_owned(), None));
        assert_eq!(
            ssh("ssh://me@node:2222/run/podman.sock"),
            (
                "-l me -p 2222 -- node".to_owned(),
                Some("/run/podman.sock".to_owned())
            )
        );
        for wrong in [
            "node:2375",
            "ftp://node",
            "https://node",
            "tcp://",
            "tcp://node:port",
            "tcp://a b",
            "ssh://-oProxyCommand=x",
            "ssh://-x@node",
            "ssh://node/$(reboot)",
            "ssh://node;reboot",
            "tcp://[::1",
            "unix://",
            "ssh://me:hunter2@node",
        ] {
            let error = Endpoint::parse(wrong, None).unwrap_err();
            assert!(!error.message().contains("hunter2"), "{error:?}");
            assert_eq!(error.kind(), Kind::Docker, "{wrong}");
        }
    }
}
