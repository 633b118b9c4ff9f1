//! Where the daemon is: `DOCKER_HOST`, else the context that is named or current, else the default socket.
//!
//! As Docker's own command line decides (cli/command: `DOCKER_HOST` before `DOCKER_CONTEXT` before
//! `currentContext`). Not in this module: talking to it.

use std::path::Path;

use bollard::{API_DEFAULT_VERSION, Docker};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::errors;
use crate::engine::env::Env;
use crate::error::{Error, Kind, Result};
use crate::units::hex;

const DEFAULT: &str = "unix:///var/run/docker.sock";

/// The daemon's URL.
pub(super) fn resolve(env: &Env) -> Result<String> {
    if let Some(host) = &env.docker_host {
        // As Docker's command line reads it: the variable is about TCP, and a socket of this host has no TLS.
        let tcp = host.starts_with("tcp://") || host.starts_with("http://");
        return if tcp && env.docker_tls.is_some() {
            Err(no_tls(host))
        } else {
            Ok(host.clone())
        };
    }
    let named = env
        .docker_context
        .clone()
        .or_else(|| current_context(&env.docker_config));
    match named.filter(|name| name != "default") {
        Some(name) => context_host(&env.docker_config, &name),
        None => Ok(DEFAULT.to_owned()),
    }
}

fn current_context(config: &Path) -> Option<String> {
    let text = std::fs::read(config.join("config.json")).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    value["currentContext"]
        .as_str()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// The host of a context: its directory is named by the hash of its name.
fn context_host(config: &Path, name: &str) -> Result<String> {
    let hash = hex(&Sha256::digest(name));
    let path = config.join("contexts/meta").join(&hash).join("meta.json");
    let host = std::fs::read(path)
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
        .and_then(|value| value["Endpoints"]["docker"]["Host"].as_str().map(str::to_owned));
    let host = host.ok_or_else(|| {
        Error::new(
            Kind::Docker,
            format!("the Docker context `{}` has no host", name.escape_debug()),
        )
        .hint("docker context ls shows them; DOCKER_HOST overrides them")
    })?;
    if config.join("contexts/tls").join(hash).exists() {
        return Err(no_tls(&host));
    }
    Ok(host)
}

/// TLS is asked for: plain text in its place would send what the user wants hidden.
fn no_tls(endpoint: &str) -> Error {
    unsupported(
        endpoint,
        "TLS is not spoken here",
        "forward the socket with ssh -L and set DOCKER_HOST=unix://...",
    )
}

fn unsupported(endpoint: &str, what: &str, hint: &str) -> Error {
    Error::new(
        Kind::Docker,
        format!("cannot use the Docker daemon at `{endpoint}`"),
    )
    .cause(what)
    .hint(hint)
}

/// A client for the URL; nothing is sent yet.
pub(super) fn open(endpoint: &str) -> Result<Docker> {
    let unsupported = |what: &str, hint: &str| Err(unsupported(endpoint, what, hint));
    let seconds = super::SHORT.as_secs();
    match endpoint.split_once("://") {
        Some(("unix", path)) => Docker::connect_with_unix(path, seconds, API_DEFAULT_VERSION)
            .map_err(|error| errors::unreachable(endpoint, &error)),
        // A static binary has no name service: glibc would load plugins of another glibc.
        Some(("tcp" | "http", address)) if !is_numeric(address) => unsupported(
            "its host is a name",
            "write the daemon's IP address in DOCKER_HOST",
        ),
        Some(("tcp" | "http", _)) => Docker::connect_with_http(endpoint, seconds, API_DEFAULT_VERSION)
            .map_err(|error| errors::unreachable(endpoint, &error)),
        Some(("ssh", host)) => unsupported(
            "ssh is not spoken here",
            &format!(
                "ssh -NL /tmp/docker.sock:/var/run/docker.sock {host} & then DOCKER_HOST=unix:///tmp/docker.sock"
            ),
        ),
        Some(("https", _)) => Err(no_tls(endpoint)),
        _ => unsupported(
            "it is not a URL that is known",
            "it looks like unix:///var/run/docker.sock or tcp://host:2375",
        ),
    }
}

/// Whether `host:port` needs no name service.
fn is_numeric(address: &str) -> bool {
    let address = address.trim_end_matches('/');
    address.parse::<std::net::SocketAddr>().is_ok() || address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_gives_the_host_unless_it_is_overridden() {
        let dir = tempfile::tempdir().unwrap();
        let mut env = Env {
            docker_config: dir.path().to_owned(),
            ..Env::default()
        };
        assert_eq!(resolve(&env).unwrap(), DEFAULT);
        std::fs::write(dir.path().join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
        assert!(resolve(&env).unwrap_err().message().contains("`lab`"));
        let hash = hex(&Sha256::digest("lab"));
        let meta = dir.path().join("contexts/meta").join(&hash);
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"lab","Endpoints":{"docker":{"Host":"unix:///lab.sock"}}}"#,
        )
        .unwrap();
        assert_eq!(resolve(&env).unwrap(), "unix:///lab.sock");
        let tls = dir.path().join("contexts/tls").join(&hash);
        std::fs::create_dir_all(&tls).unwrap();
        assert_eq!(resolve(&env).unwrap_err().causes(), ["TLS is not spoken here"]);
        env.docker_context = Some("default".to_owned());
        assert_eq!(resolve(&env).unwrap(), DEFAULT);
        env.docker_host = Some("tcp://h:1".to_owned());
        assert_eq!(resolve(&env).unwrap(), "tcp://h:1");
        env.docker_tls = Some(dir.path().to_owned());
        assert_eq!(resolve(&env).unwrap_err().causes(), ["TLS is not spoken here"]);
        env.docker_host = Some("unix:///s".to_owned());
        assert_eq!(resolve(&env).unwrap(), "unix:///s");
        assert_eq!(open("tcp://h:1").unwrap_err().causes(), ["its host is a name"]);
        assert!(open("tcp://127.0.0.1:1").is_ok());
        assert!(open("ssh://h").unwrap_err().hints()[0].contains("ssh -NL"));
    }
}
