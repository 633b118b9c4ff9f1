//! Logins of registries, as `docker login` keeps them: in `config.json` or behind a credential helper.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::effects::env::Env;
use crate::effects::process::command;
use crate::secret::Secret;

/// Longest run of a helper: some ask a keyring or a cloud.
const HELPER: Duration = Duration::from_secs(20);
/// Docker Hub's name in `config.json`, which is the same for each of its hosts (docker/cli, `registry.IndexServer`).
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The logins of the user, which are read when a registry needs one.
#[derive(Debug, Clone)]
pub(super) struct Credentials(Env);

/// A registry's login; both fields are empty if there is none.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) secret: Secret,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            username: String::new(),
            secret: Secret::new(""),
        }
    }
}

impl Credentials {
    pub(super) fn new(env: &Env) -> Self {
        Self(env.clone())
    }

    /// Returns the login of a registry; `None` if neither the file nor its helper has one.
    pub(super) async fn login_of(&self, host: &str) -> Option<Login> {
        let text = std::fs::read(self.0.docker_config.join("config.json")).ok()?;
        let config: Value = serde_json::from_slice(&text).ok()?;
        let key = key(host);
        let helper = config["credHelpers"][key]
            .as_str()
            .or_else(|| config["credsStore"].as_str());
        match helper.filter(|name| !name.is_empty()) {
            Some(helper) => self.ask_helper(helper, key).await,
            None => stored_login(&config, key),
        }
    }

    /// Asks `docker-credential-NAME get`: the host on its stdin, JSON on its stdout.
    async fn ask_helper(&self, helper: &str, key: &str) -> Option<Login> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !helper.chars().all(known) {
            return None;
        }
        let program = format!("docker-credential-{helper}");
        let extra = BTreeMap::from([(
            "DOCKER_CONFIG".to_owned(),
            self.0.docker_config.display().to_string(),
        )]);
        let command = command::new(&self.0, &[&program, "get"], &extra).ok()?;
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let asked = async {
            let mut stdin = child.stdin.take()?;
            stdin.write_all(key.as_bytes()).await.ok()?;
            drop(stdin);
            child.wait_with_output().await.ok()
        };
        let output = tokio::time::timeout(HELPER, asked).await.ok()??;
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        let username = answer["Username"].as_str()?;
        // This name marks an identity token, which is sent without a name.
        let username = if username == "<token>" { "" } else { username };
        Some(Login {
            username: username.to_owned(),
            secret: Secret::new(answer["Secret"].as_str()?),
        })
    }
}

fn key(host: &str) -> &str {
    match host {
        "registry-1.docker.io" | "docker.io" | "index.docker.io" => DOCKER_HUB,
        host => host,
    }
}

/// Returns a login that the file itself holds: `auth` is `user:password` in base64, or `identitytoken` replaces it.
fn stored_login(config: &Value, key: &str) -> Option<Login> {
    let auths = config["auths"].as_object()?;
    // Old versions of `docker login https://host` stored the URL.
    let host = |name: &str| {
        let name = name
            .strip_prefix("https://")
            .or_else(|| name.strip_prefix("http://"))
            .unwrap_or(name);
        name.split('/').next().unwrap_or(name).to_owned()
    };
    let entry = auths.get(key).or_else(|| {
        auths
            .iter()
            .find(|(name, _)| host(name) == host(key))
            .map(|(_, entry)| entry)
    })?;
    if let Some(token) = entry["identitytoken"].as_str().filter(|token| !token.is_empty()) {
        return Some(Login {
            username: String::new(),
            secret: Secret::new(token),
        });
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(entry["auth"].as_str()?)
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Login {
        username: username.to_owned(),
        secret: Secret::new(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(config: &str, host: &str) -> Option<(String, String)> {
        stored_login(&serde_json::from_str(config).unwrap(), key(host))
            .map(|login| (login.username, login.secret.expose().to_owned()))
    }

    #[test]
    fn a_login_is_found_by_any_name_of_its_registry() {
        // user:pass:word
        let auth = r#"{"auth":"dXNlcjpwYXNzOndvcmQ="}"#;
        let is = Some(("user".to_owned(), "pass:word".to_owned()));
        for (name, host) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("https://ghcr.example/v2/", "ghcr.example"),
            (DOCKER_HUB, "registry-1.docker.io"),
        ] {
            let config = format!(r#"{{"auths":{{"{name}":{auth}}}}}"#);
            assert_eq!(login(&config, host), is, "{name}");
            assert_eq!(login(&config, "elsewhere"), None);
        }
        let token = r#"{"auths":{"h":{"auth":"dTpw","identitytoken":"t"}}}"#;
        assert_eq!(login(token, "h"), Some((String::new(), "t".to_owned())));
        for broken in [
            "{}",
            r#"{"auths":{"h":{}}}"#,
            r#"{"auths":{"h":{"auth":"%%"}}}"#,
            r#"{"auths":[]}"#,
        ] {
            assert_eq!(login(broken, "h"), None, "{broken}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_with_the_host_on_its_stdin() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("docker-credential-lab");
        let script = "#!/bin/sh\nread host\nprintf '{\"Username\":\"%s\",\"Secret\":\"s\"}' \"$1-$host\"\n";
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(
            dir.path().join("config.json"),
            r#"{"credHelpers":{"h:1":"lab","x":"../evil"}}"#,
        )
        .unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let env = Env {
            docker_config: dir.path().to_owned(),
            inherited: vec![("PATH".to_owned(), path.clone())],
            path,
            ..Env::default()
        };
        let credentials = Credentials::new(&env);
        let login = credentials.login_of("h:1").await.unwrap();
        assert_eq!((login.username.as_str(), login.secret.expose()), ("get-h:1", "s"));
        assert!(credentials.login_of("x").await.is_none());
        assert!(credentials.login_of("other").await.is_none());
    }
}
