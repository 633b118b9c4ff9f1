//! The shape of a model that is not pulled: its configuration and the headers of its safetensors files, read from the hub by
//! ranges. Kept by commit, so that a repository is asked once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::effects::files;
use crate::effects::hub::listing::Entry;
use crate::effects::hub::names::is_commit;
use crate::effects::hub::options::{HubOptions, RemoteRevision};
use crate::effects::hub::remote;
use crate::effects::hub::source::{Failure, Route, Source};
use crate::effects::hub::xet::Origin;
use crate::effects::store::model::{self, MODEL_INDEX, QUANTIZATION};
use crate::error::{At, Error, Kind, Result};
use crate::facts::{Listed, ModelFacts};
use crate::sglang::checkpoint;

/// Folder of the kept shapes below the cache; its number is that of their form.
pub(in crate::effects) const FOLDER: &str = "models-1";
/// Bytes of a shard that the first request asks for: a header of DeepSeek-R1 has about 100 kB.
const FIRST: u64 = 128 << 10;
/// Largest configuration or index that is read.
const MAX_JSON: u64 = 64 << 20;
/// Largest header of a shard, and of all together.
const MAX_HEADER: u64 = 16 << 20;
/// See [`MAX_HEADER`].
const MAX_HEADERS: u64 = 256 << 20;
/// Requests at once.
const AT_ONCE: usize = 24;
/// Tries for each file.
const TRIES: u32 = 4;

/// Reads the shape of a revision from the hub at `endpoint`, or from the file that an earlier call left below `cache`.
///
/// # Errors
/// [`Kind::Hub`] if the hub does not give it; [`Kind::Integrity`] for a configuration, an index or a header that is wrong,
/// with the file and the key. Nothing is kept then.
pub async fn listed(
    endpoint: &str,
    repo: &str,
    revision: &str,
    cache: &Path,
    options: HubOptions<'_>,
) -> Result<Listed> {
    // A commit never changes, so its shape may be read without a question to the hub.
    if is_commit(revision)
        && let Some(known) = read_kept(&shape_path(cache, repo, revision))
    {
        return Ok(known);
    }
    let remote = RemoteRevision {
        endpoint,
        repo,
        revision,
    };
    let found = remote::revision(remote, options).await?;
    let place = shape_path(cache, repo, &found.commit);
    if let Some(known) = read_kept(&place) {
        return Ok(known);
    }
    let (entries, size_bytes) = remote::entries(remote, &found.commit, options).await?;
    let source = source_of(remote, &found.commit, options);
    let listed = Listed {
        model: read(&source, repo, &entries).await?,
        commit: found.commit,
        size_bytes,
        license: found.license,
    };
    files::keep(&place, &listed);
    Ok(listed)
}

/// Returns the files of a revision that decide the engine's arguments, by name.
///
/// # Errors
/// As [`listed`].
pub async fn configuration(
    endpoint: &str,
    repo: &str,
    revision: &str,
    options: HubOptions<'_>,
) -> Result<BTreeMap<String, String>> {
    let remote = RemoteRevision {
        endpoint,
        repo,
        revision,
    };
    let found = remote::revision(remote, options).await?;
    let (entries, _) = remote::entries(remote, &found.commit, options).await?;
    let source = source_of(remote, &found.commit, options);
    let mut files = BTreeMap::new();
    for entry in entries {
        if matches!(&*entry.path, "config.json" | QUANTIZATION) {
            files.insert(entry.path.clone(), json(&source, &entry).await?.to_string());
        }
    }
    if files.contains_key("config.json") {
        return Ok(files);
    }
    Err(wrong(repo, "config.json", "the repository does not have it"))
}

fn shape_path(cache: &Path, repo: &str, commit: &str) -> PathBuf {
    cache
        .join(FOLDER)
        .join(format!("{}@{commit}.json", repo.replace('/', "--")))
}

fn read_kept(place: &Path) -> Option<Listed> {
    files::read_kept(place).filter(|listed: &Listed| !listed.commit.is_empty() && listed.model.layers > 0)
}

fn source_of(remote: RemoteRevision<'_>, commit: &str, options: HubOptions<'_>) -> Source {
    Source {
        origin: Origin {
            http: options.http.clone(),
            token: options.token.cloned(),
            endpoint: remote.endpoint.to_owned(),
            repo: remote.repo.to_owned(),
            commit: commit.to_owned(),
        },
        xet: None,
        limit: None,
        answer_timeout: options.limits.answer,
        idle: options.limits.idle,
    }
}

async fn read(source: &Source, repo: &str, entries: &[Entry]) -> Result<ModelFacts> {
    let find = |path: &str| entries.iter().find(|entry| entry.path == path);
    let missing = |path: &str| {
        Error::new(Kind::Integrity, format!("`{path}` of {repo} is missing"))
            .cause("the shape of a model is read from its configuration and its safetensors files")
            .hint("name a repository of a model in this form")
    };
    let config = find("config.json").ok_or_else(|| missing("config.json"))?;
    let config = json(source, config).await?;
    let shards: BTreeSet<String> = match find(MODEL_INDEX) {
        Some(index) => {
            model::shards_of(&json(source, index).await?).map_err(|why| wrong(repo, MODEL_INDEX, &why))?
        }
        None => ["model.safetensors".to_owned()].into(),
    };
    let entries: Vec<&Entry> = shards
        .iter()
        .map(|shard| find(shard).ok_or_else(|| missing(shard)))
        .collect::<Result<_>>()?;
    let read = AtomicU64::new(0);
    let headers = entries
        .into_iter()
        .map(|entry| header(source, repo, entry, &read));
    let headers: Vec<Vec<(String, u64)>> = stream::iter(headers)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let own = match find(QUANTIZATION) {
        Some(entry) => Some(json(source, entry).await?),
        None => None,
    };
    checkpoint::facts(&config, own.as_ref(), headers.into_iter().flatten())
        .map_err(|key| wrong(repo, "config.json", &format!("it has no `{key}`")))
}

fn wrong(repo: &str, file: &str, why: &str) -> Error {
    Error::new(
        Kind::Integrity,
        format!("`{file}` of {repo} is not what a model has"),
    )
    .cause(why.to_owned())
    .hint("check the repository and HF_ENDPOINT or --endpoint")
}

/// Returns a whole file as JSON.
async fn json(source: &Source, entry: &Entry) -> Result<Value> {
    if entry.size > MAX_JSON {
        return Err(wrong(
            &source.origin.repo,
            &entry.path,
            "it is larger than 64 MiB",
        ));
    }
    let bytes = range(source, entry, (0, entry.size)).await?;
    serde_json::from_slice(&bytes).at(Kind::Integrity, || {
        format!("`{}` of {} is not JSON", entry.path, source.origin.repo)
    })
}

/// Returns names and sizes of the tensors of a shard.
///
/// `read` counts the bytes of all headers: a stranger's repository must not fill the memory.
async fn header(source: &Source, repo: &str, entry: &Entry, read: &AtomicU64) -> Result<Vec<(String, u64)>> {
    let mut bytes = range(source, entry, (0, FIRST.min(entry.size))).await?;
    let length = model::header_length(&bytes, entry.size).map_err(|why| wrong(repo, &entry.path, &why))?;
    let all = read.fetch_add(length, Ordering::Relaxed).saturating_add(length);
    if length > MAX_HEADER || all > MAX_HEADERS {
        return Err(wrong(repo, &entry.path, "the headers are too large for a model"));
    }
    let end = length.saturating_add(8);
    let have = bytes.len() as u64;
    if end > have {
        bytes.extend(range(source, entry, (have, end)).await?);
    }
    let end = usize::try_from(end).unwrap_or(usize::MAX);
    let text = bytes.get(8..end).unwrap_or_default();
    model::tensors_of(text, entry.size).map_err(|why| wrong(repo, &entry.path, &why))
}

/// Returns the bytes of a file in a range, whose end is exclusive.
async fn range(source: &Source, entry: &Entry, range: (u64, u64)) -> Result<Vec<u8>> {
    let mut pause = Duration::from_millis(250);
    for attempt in 1.. {
        let failure = match fetch(source, entry, range).await {
            Ok(bytes) => return Ok(bytes),
            Err(failure) => failure,
        };
        let (error, wait) = match failure {
            Failure::Retry(error) | Failure::Unreachable(error) | Failure::WrongBytes(error) => {
                (error, pause)
            }
            Failure::RetryAfter(error, wait) => (error, wait.max(pause)),
            Failure::Final(error) => return Err(error),
            Failure::Slow => continue,
        };
        if attempt >= TRIES {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
    Err(Error::new(Kind::Internal, "a range has no answer"))
}

async fn fetch(source: &Source, entry: &Entry, range: (u64, u64)) -> std::result::Result<Vec<u8>, Failure> {
    let mut stream = source.open(entry, range, None, Route::Http).await?;
    let wanted = usize::try_from(range.1 - range.0).unwrap_or(usize::MAX);
    let mut skip = usize::try_from(stream.skip).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    loop {
        let next = tokio::time::timeout(source.idle(), stream.next()).await;
        let Ok(next) = next else {
            let error = Error::new(Kind::Hub, format!("cannot read `{}`", entry.path))
                .cause(format!("no byte for {} s", source.idle().as_secs()));
            return Err(Failure::Retry(error));
        };
        let Some(part) = next.map_err(|error| error.into_failure(entry))? else {
            break;
        };
        let from = skip.min(part.len());
        skip -= from;
        bytes.extend_from_slice(&part[from..]);
        if bytes.len() >= wanted {
            break;
        }
    }
    bytes.truncate(wanted);
    if bytes.len() == wanted {
        return Ok(bytes);
    }
    let error = Error::new(Kind::Hub, format!("cannot read `{}`", entry.path)).cause(format!(
        "the answer ended after {} of {wanted} bytes",
        bytes.len()
    ));
    Err(Failure::Retry(error))
}
