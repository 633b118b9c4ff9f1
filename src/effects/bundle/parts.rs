//! Files of this host for an archive, and the secrets and names that must not be in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::effects::env::{Env, variable};
use crate::effects::{Effects, expose, files};
use crate::redact::{Names, Redactor};
use crate::secret::Secret;

/// Most bytes of a file other than a log.
const MOST: u64 = 8 << 20;
/// Most records of starts.
const MOST_STARTS: usize = 20;
/// Most results of benchmarks and evaluations.
const MOST_RESULTS: usize = 3;

/// A file for an archive.
#[derive(Debug)]
pub struct Part {
    /// Its path in the archive.
    pub name: String,
    /// Its bytes, or the reason why it cannot be read.
    pub bytes: std::result::Result<Vec<u8>, String>,
}

impl Part {
    fn read(name: String, path: &Path) -> Self {
        Self {
            name,
            bytes: files::read(path, MOST).map_err(|error| error.to_string()),
        }
    }
}

/// Returns the files of a folder, the newest first.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((meta.modified().ok()?, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Returns the parts of the newest files of a folder whose name ends so.
fn newest_of(folder: &Path, into: &str, end: &str, most: usize) -> Vec<Part> {
    let paths = files_of(folder).into_iter();
    paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            name.ends_with(end)
                .then(|| Part::read(format!("{into}/{name}"), &path))
        })
        .take(most)
        .collect()
}

/// Returns the name of the server that a file of the state directory belongs to.
fn server_of(file: &str) -> Option<&str> {
    let stem = ["plan", "events", "log"]
        .iter()
        .find_map(|end| file.strip_suffix(end)?.strip_suffix('.'))?;
    let name = match stem.split_once(".ended") {
        Some((name, _)) => name,
        None => stem,
    };
    Some(name).filter(|name| !name.is_empty() && !name.starts_with('.'))
}

/// Returns the names of the servers of which the state directory has a plan, a history or a log.
#[must_use]
pub fn servers_of(env: &Env) -> BTreeSet<String> {
    let paths = files_of(&Path::new(&env.paths.state).join("servers"));
    paths
        .iter()
        .filter_map(|path| server_of(path.file_name()?.to_str()?).map(str::to_owned))
        .collect()
}

impl Effects {
    /// Returns what is replaced in files that leave this host; with `keep_names` its names stay.
    #[must_use]
    pub fn redactor(&self, keep_names: bool) -> Redactor {
        let env = self.env();
        let mut known: Vec<Secret> = [&env.hub.token, &env.mirror_token]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        known.extend(exposed_keys(&self.servers_folder()));
        // The key of `dsr1 chat --url`.
        known.extend(variable("OPENAI_API_KEY").map(|key| Secret::new(&key)));
        let logins = env.inherited.iter().filter_map(|(_, value)| password_of(value));
        known.extend(logins);
        let names = if keep_names {
            Names::default()
        } else {
            let user = env.inherited.iter().find(|(name, _)| name == "USER");
            Names {
                home: env.home.to_string_lossy().into_owned(),
                host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                user: user.map(|(_, value)| value.clone()).unwrap_or_default(),
            }
        };
        Redactor::new(&known, &names)
    }

    /// Returns the plan and the history of a server, as files.
    #[must_use]
    pub fn parts_of_server(&self, name: &str) -> Vec<Part> {
        let folder = self.servers_folder();
        let parts = [("plan", "plan.json"), ("events", "events.jsonl")];
        parts
            .iter()
            .map(|(end, file)| (folder.join(format!("{name}.{end}")), file))
            .filter(|(path, _)| path.exists())
            .map(|(path, file)| Part::read(format!("servers/{name}/{file}"), &path))
            .collect()
    }

    /// Returns the records of starts, the results of the last measurements, the user's own profiles and stacks, and the lock in
    /// the working directory.
    #[must_use]
    pub fn parts_of_host(&self) -> Vec<Part> {
        let state = Path::new(&self.env().paths.state);
        let config = &self.env().config;
        let mut parts = newest_of(&state.join("starts"), "starts", ".json", MOST_STARTS);
        parts.extend(newest_of(
            &state.join("results"),
            "results",
            ".json",
            MOST_RESULTS,
        ));
        for folder in ["profiles", "stacks"] {
            for end in [".yaml", ".yml"] {
                let into = format!("config/{folder}");
                parts.extend(newest_of(&config.join(folder), &into, end, usize::MAX));
            }
        }
        let lock = Path::new("dsr1.lock");
        if lock.exists() {
            parts.push(Part::read("dsr1.lock".to_owned(), lock));
        }
        parts
    }
}

/// Returns the keys of exposed servers: each line of a file of keys ends with one.
fn exposed_keys(folder: &Path) -> Vec<Secret> {
    let is_keys = |path: &PathBuf| path.extension().is_some_and(|end| end == expose::EXTENSION);
    let paths = files_of(folder).into_iter().filter(is_keys);
    let texts = paths.filter_map(|path| String::from_utf8(files::read(&path, MOST).ok()?).ok());
    texts
        .flat_map(|text| {
            let keys = text.lines().filter_map(|line| line.split_whitespace().last());
            keys.map(Secret::new).collect::<Vec<_>>()
        })
        .collect()
}

/// Returns the password of a URL, as that of a proxy.
fn password_of(url: &str) -> Option<Secret> {
    let (_, rest) = url.split_once("://")?;
    let (login, _) = rest.rsplit_once('@')?;
    let (_, password) = login.split_once(':')?;
    Some(Secret::new(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_state_directory_names_its_server() {
        for (file, server) in [
            ("dsr1-a.plan", Some("dsr1-a")),
            ("dsr1-a.events", Some("dsr1-a")),
            ("dsr1-a.log", Some("dsr1-a")),
            ("dsr1-a.ended.log", Some("dsr1-a")),
            ("dsr1-a.ended.2.log", Some("dsr1-a")),
            ("dsr1-a.plan.new", None),
            (".ended.log", None),
            ("notes.txt", None),
        ] {
            assert_eq!(server_of(file), server, "{file}");
        }
    }

    #[test]
    fn the_password_of_a_proxy_is_a_secret() {
        let password = |url| password_of(url).map(|secret| secret.expose().to_owned());
        assert_eq!(password("http://u:p@ss@proxy:1").as_deref(), Some("p@ss"));
        assert_eq!(password("http://proxy:1"), None);
    }
}
