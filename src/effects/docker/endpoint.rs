//! Where the daemon is: `DOCKER_HOST`, else the context that is named or current, else the default socket.
//!
//! As Docker's own command line decides (cli/command: `DOCKER_HOST` before `DOCKER_CONTEXT` before
//! `currentContext`). Not in this module: talking to it (`dial`).

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::effects::env::Env;
use crate::error::{Error, Kind, Result};
use crate::units::hex;

const DEFAULT: &str = "unix:///var/run/docker.sock";
/// Ports of a daemon that names none, without and with TLS (docker/cli opts/hosts.go).
const PORTS: [u16; 2] = [2375, 2376];

/// A daemon's address: as it was given, which is what users are told, and as it is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    url: String,
    pub(super) way: Way,
}

/// How a daemon is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// A socket of this host.
    Unix(PathBuf),
    /// A port; with TLS when there is a directory that holds `ca.pem`, `cert.pem` and `key.pem`.
    Tcp {
        host: String,
        port: u16,
        tls: Option<PathBuf>,
    },
    /// `docker system dial-stdio` on another host.
    Ssh {
        /// What `ssh` is told: options, and the host last.
        destination: Vec<String>,
        /// The socket over there, when it is not Docker's own.
        socket: Option<String>,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Endpoint {
    /// The daemon that the environment names.
    ///
    /// # Errors
    /// [`Kind::Docker`] when it names a context that is not there, or an address of no known form.
    pub(super) fn resolve(env: &Env) -> Result<Self> {
        if let Some(host) = &env.docker_host {
            // As Docker's command line reads it: the variable is about TCP, and a socket of this host has no TLS.
            return Self::parse(host, env.docker_tls.clone());
        }
        let named = env
            .docker_context
            .clone()
            .or_else(|| current_context(&env.docker_config));
        match named.filter(|name| name != "default") {
            Some(name) => of_context(&env.docker_config, &name),
            None => Self::parse(DEFAULT, None),
        }
    }

    /// Reads a URL; `tls` is the directory of the certificates, where TLS is asked for.
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
            .ok_or_else(|| unknown("it is not a URL that is known"))?;
        let way = match scheme {
            "unix" if rest.is_empty() => return Err(unknown("it names no socket")),
            "unix" => Way::Unix(PathBuf::from(rest)),
            "https" if tls.is_none() => {
                return Err(unknown(
                    "https wants certificates, and DOCKER_TLS_VERIFY is not set",
                ));
            }
            "tcp" | "http" | "https" => {
                let default = PORTS[usize::from(tls.is_some())];
                let (host, port) = host_and_port(rest.trim_end_matches('/'), default)
                    .ok_or_else(|| unknown("its host or port cannot be read"))?;
                Way::Tcp { host, port, tls }
            }
            "ssh" => ssh(rest).ok_or_else(|| unknown("its host or port cannot be read"))?,
            _ => return Err(unknown("it is not a URL that is known")),
        };
        Ok(Self {
            url: url.to_owned(),
            way,
        })
    }

    /// Whether its paths are this host's paths.
    pub(super) fn is_here(&self) -> bool {
        matches!(self.way, Way::Unix(_))
    }
}

/// A URL without the password that it should not have.
fn masked(url: &str) -> String {
    match url
        .split_once("://")
        .map(|(scheme, rest)| (scheme, rest.rsplit_once('@')))
    {
        Some((scheme, Some((user, host)))) if user.contains(':') => format!("{scheme}://***@{host}"),
        _ => url.to_owned(),
    }
}

/// `host`, `host:port`, `[v6]:port`; a name that could be an option of `ssh` is none.
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

/// `[user@]host[:port][/socket]`, as `ssh` is told it.
fn ssh(rest: &str) -> Option<Way> {
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
    // What `ssh` sends is read by a shell over there.
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

/// The endpoint of a context: its directories are named by the hash of its name.
fn of_context(config: &Path, name: &str) -> Result<Endpoint> {
    let hash = hex(&Sha256::digest(name));
    let wrong = |what: &str| {
        Error::new(
            Kind::Docker,
            format!("the Docker context `{}` {what}", name.escape_debug()),
        )
        .hint("docker context ls shows them; DOCKER_HOST overrides them")
    };
    let path = config.join("contexts/meta").join(&hash).join("meta.json");
    let meta: Value = std::fs::read(path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let docker = &meta["Endpoints"]["docker"];
    let host = docker["Host"].as_str().ok_or_else(|| wrong("has no host"))?;
    if docker["SkipTLSVerify"] == true {
        return Err(wrong("says that certificates are not to be checked").cause(
            "whoever answers there would get what dsr1 sends, secrets included; give the context its CA",
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
                .contains("not to be checked")
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
