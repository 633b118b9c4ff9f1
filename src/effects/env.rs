//! The process environment, read once and passed on as plain data. No other module uses `std::env`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::effects::hub_settings::{HubSettings, absolute};
use crate::facts;
use crate::secret::Secret;

/// The values that dsr1 reads from its environment.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// `HOME`.
    pub home: PathBuf,
    /// `PATH`, for finding Python and nvidia-smi, and for children.
    pub path: String,
    /// True if `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// True if `TERM` is `dumb`.
    pub dumb_terminal: bool,
    /// Directories and the CA bundle.
    pub paths: facts::Paths,
    /// `$XDG_CONFIG_HOME/dsr1`.
    pub config: PathBuf,
    /// Settings of the hub client.
    pub hub: HubSettings,
    /// `DSR1_MIRROR_TOKEN`: the token that clients of a mirror must send. If it is set and empty, the token is
    /// empty.
    pub mirror_token: Option<Secret>,
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// `DOCKER_CONFIG`, else `~/.docker`.
    pub docker_config: PathBuf,
    /// Directory of the TLS files when `DOCKER_TLS_VERIFY` is on: `DOCKER_CERT_PATH`, else `docker_config`.
    pub docker_tls: Option<PathBuf>,
    /// `SSH_AUTH_SOCK`, for a daemon behind `ssh`.
    pub ssh_agent: Option<String>,
    /// Folder of the environment of Python that is active in this shell: `VIRTUAL_ENV`, else `CONDA_PREFIX`.
    pub active: Option<PathBuf>,
    /// Variables that are set and decide which GPUs and which libraries a process uses.
    pub decisive: BTreeMap<String, String>,
    /// Variables that child processes inherit unchanged.
    pub inherited: Vec<(String, String)>,
}

/// Names of the variables that child processes inherit: paths, devices, proxies, certificates, and what a site sets for
/// Slurm's commands. No secrets,
/// and nothing that changes how Python finds its modules.
const INHERITED: [&str; 31] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_CACHE_DIR",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "XDG_CACHE_HOME",
    "SLURM_CONF",
    "SLURM_CLUSTERS",
    "SBATCH_ACCOUNT",
    "SBATCH_PARTITION",
    "SBATCH_QOS",
    "SBATCH_RESERVATION",
    "SBATCH_TIMELIMIT",
];

/// Names of the inherited variables that decide which GPUs and which libraries a process uses.
const DECISIVE: [&str; 2] = ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"];

/// Names of the proxy variables. They are passed to image builds as build arguments: Docker predefines these
/// names and keeps them out of an image's history.
const PROXIES: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// Variables that name a CA bundle, the most specific first.
const CA_BUNDLES: [&str; 4] = [
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
];

impl Env {
    /// Reads the process environment.
    #[must_use]
    pub fn read() -> Self {
        Self::from_lookup(|name| {
            #[expect(clippy::disallowed_methods, reason = "this is the one place")]
            let value = std::env::var(name);
            value.ok()
        })
    }

    /// Returns a path as an absolute one; `~` is the home directory.
    #[must_use]
    pub fn absolute(&self, path: &str) -> String {
        let whole = absolute(if path == "~" { "~/" } else { path }, &self.home);
        // A folder that is there has one spelling, without `..` and links.
        text(&std::fs::canonicalize(&whole).unwrap_or(whole))
    }

    /// Returns the Python of the environment that is active in this shell.
    #[must_use]
    pub fn active_python(&self) -> Option<String> {
        let python = self.active.as_ref()?.join("bin/python3");
        python.is_file().then(|| text(&python))
    }

    /// Reads the environment through `raw`, which returns `None` for unset variables.
    pub fn from_lookup(raw: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| raw(name).filter(|value| !value.is_empty());
        let home = get("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let xdg = |name: &str, default: &str| {
            // The XDG base directory specification says that relative paths must be ignored.
            get(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .unwrap_or_else(|| home.join(default))
        };
        let hf_home = get("HF_HOME").map_or_else(
            || xdg("XDG_CACHE_HOME", ".cache").join("huggingface"),
            |path| absolute(&path, &home),
        );
        let hub_cache = get("HF_HUB_CACHE")
            .or_else(|| get("HUGGINGFACE_HUB_CACHE"))
            .map_or_else(|| hf_home.join("hub"), |path| absolute(&path, &home));
        let docker_config = get("DOCKER_CONFIG").map_or_else(|| home.join(".docker"), PathBuf::from);
        let tls = get("DOCKER_TLS_VERIFY").is_some();
        Self {
            path: get("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned()),
            no_color: get("NO_COLOR").is_some(),
            dumb_terminal: get("TERM").as_deref() == Some("dumb"),
            paths: facts::Paths {
                hub_cache: text(&hub_cache),
                cache: text(&xdg("XDG_CACHE_HOME", ".cache").join("dsr1")),
                state: text(&xdg("XDG_STATE_HOME", ".local/state").join("dsr1")),
                ca_bundle: CA_BUNDLES
                    .iter()
                    .find_map(|name| get(name))
                    .filter(|path| Path::new(path).is_file()),
                pip_cert: None,
                proxies: PROXIES
                    .iter()
                    .filter(|name| get(name).is_some())
                    .map(|name| (*name).to_owned())
                    .collect(),
                ready_venvs: Vec::new(),
            },
            config: xdg("XDG_CONFIG_HOME", ".config").join("dsr1"),
            hub: HubSettings::from_lookup(&get, &home, &hf_home),
            mirror_token: raw("DSR1_MIRROR_TOKEN").map(|token| Secret::new(&token)),
            docker_host: get("DOCKER_HOST"),
            ssh_agent: get("SSH_AUTH_SOCK"),
            docker_context: get("DOCKER_CONTEXT"),
            docker_tls: tls
                .then(|| get("DOCKER_CERT_PATH").map_or_else(|| docker_config.clone(), PathBuf::from)),
            docker_config,
            active: get("VIRTUAL_ENV")
                .or_else(|| get("CONDA_PREFIX"))
                .map(PathBuf::from),
            decisive: DECISIVE
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), get(name)?)))
                .collect(),
            inherited: INHERITED
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), get(name)?)))
                .collect(),
            home,
        }
    }
}

/// The variable with the key of a server: that of the clients of `OpenAI`.
pub const SERVER_KEY: &str = "OPENAI_API_KEY";

/// Returns the value of a variable that the user named as a secret, for a build or for the engine; `None` if it is unset
/// or empty.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        let map: BTreeMap<&str, &str> = pairs.iter().copied().collect();
        Env::from_lookup(|name| map.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn hub_cache_follows_the_hub_clients_order() {
        assert_eq!(
            env(&[("HOME", "/h")]).paths.hub_cache,
            "/h/.cache/huggingface/hub"
        );
        assert_eq!(
            env(&[("HOME", "/h"), ("HF_HOME", "~/hf")]).paths.hub_cache,
            "/h/hf/hub"
        );
        assert_eq!(
            env(&[("HF_HOME", "/a"), ("HF_HUB_CACHE", "/b")]).paths.hub_cache,
            "/b"
        );
    }

    #[test]
    fn an_empty_variable_counts_as_unset_except_the_mirrors_token() {
        let env = env(&[("HOME", "/h"), ("HF_HOME", ""), ("DSR1_MIRROR_TOKEN", "")]);
        assert_eq!(env.paths.hub_cache, "/h/.cache/huggingface/hub");
        assert_eq!(env.mirror_token.as_ref().map(Secret::expose), Some(""));
    }

    #[test]
    fn relative_xdg_directories_are_ignored() {
        assert_eq!(
            env(&[("HOME", "/h"), ("XDG_STATE_HOME", "s")]).paths.state,
            "/h/.local/state/dsr1"
        );
    }
}
