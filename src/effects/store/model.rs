//! Shape and sizes of a model, read from config.json and the headers of its safetensors files.
//!
//! Files are hostile until parsed: the length, offsets and names in a header are checked before they are used.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::layout::RepoCache;
use crate::effects::files;
use crate::error::{At, Error, Kind, Result};
use crate::facts::ModelFacts;
use crate::sglang::checkpoint;

/// Largest accepted header, which is the limit of the format; a shard of DeepSeek-R1 has about 100 kB.
const MAX_HEADER: u64 = 100_000_000;
/// Largest accepted config.json or index.
const MAX_JSON: u64 = 64 << 20;

/// File name of the format of the weights in NVIDIA's checkpoints.
pub(in crate::effects) const QUANTIZATION: &str = "hf_quant_config.json";
/// File name of the index of a sharded model.
pub(in crate::effects) const MODEL_INDEX: &str = "model.safetensors.index.json";

/// One tensor of a header. Its size does not depend on its type and shape.
#[derive(Deserialize)]
struct Tensor {
    data_offsets: (u64, u64),
}

/// Returns shape and sizes of a snapshot's model; `None` if it is missing or has an unknown shape.
#[must_use]
pub fn model_facts(cache_dir: &Path, repo: &str, commit: &str) -> Option<ModelFacts> {
    let snapshot = RepoCache::new(cache_dir, repo).snapshot_dir(commit);
    facts_of_folder(&snapshot).ok()?.model
}

/// Returns the files of a snapshot that decide the engine's arguments, by name; `None` without a configuration.
#[must_use]
pub fn configuration(cache_dir: &Path, repo: &str, commit: &str) -> Option<BTreeMap<String, String>> {
    configuration_in(&RepoCache::new(cache_dir, repo).snapshot_dir(commit))
}

/// Returns the files of a model's folder that decide the engine's arguments, by name; `None` without a configuration.
#[must_use]
pub fn configuration_in(folder: &Path) -> Option<BTreeMap<String, String>> {
    let text = |name: &str| {
        let mut text = String::new();
        let file = files::open_through(&folder.join(name)).ok()?;
        file.take(MAX_JSON).read_to_string(&mut text).ok()?;
        Some((name.to_owned(), text))
    };
    let config = text("config.json")?;
    Some([Some(config), text(QUANTIZATION)].into_iter().flatten().collect())
}

/// Returns the file with the format of NVIDIA's weights, if it is there; one that cannot be read states nothing.
fn quantization_of(folder: &Path) -> Option<Value> {
    let place = folder.join(QUANTIZATION);
    place.exists().then(|| read_json(&place).unwrap_or_default())
}

/// A model's folder, as its files describe it.
pub(super) struct Described {
    /// Shape and sizes, if the configuration tells them.
    pub(super) model: Option<ModelFacts>,
    /// Number of files with weights.
    pub(super) shards: usize,
}

/// Returns the model of a folder.
///
/// # Errors
/// Everything that is wrong with its files, a line each.
pub(super) fn facts_of_folder(folder: &Path) -> std::result::Result<Described, Vec<String>> {
    let line = |error: Error| [vec![error.message()], error.causes()].concat().join(": ");
    let config = read_json(&folder.join("config.json")).map_err(|error| vec![line(error)])?;
    let shards = shards(folder).map_err(|error| vec![line(error)])?;
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for shard in &shards {
        match tensors(&folder.join(shard)) {
            Ok(tensors) => found.extend(tensors),
            Err(error) => wrong.push(line(error)),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let own = quantization_of(folder);
    Ok(Described {
        model: checkpoint::facts(&config, own.as_ref(), found).ok(),
        shards: shards.len(),
    })
}

/// Returns the files that contain the weights: those of the index, or the single file.
fn shards(snapshot: &Path) -> Result<BTreeSet<String>> {
    let index = snapshot.join(MODEL_INDEX);
    if !index.exists() {
        return Ok(["model.safetensors".to_owned()].into());
    }
    shards_of(&read_json(&index)?).map_err(|why| damaged_error(snapshot, &why))
}

/// Returns the shards that an index names.
///
/// # Errors
/// The reason why it is no index.
pub(in crate::effects) fn shards_of(index: &Value) -> std::result::Result<BTreeSet<String>, String> {
    let map = index.get("weight_map").and_then(Value::as_object);
    let names: BTreeSet<String> = map
        .into_iter()
        .flat_map(|map| map.values())
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    match names
        .iter()
        .find(|name| name.contains('/') || name.contains(".."))
    {
        Some(name) => Err(format!("its index names `{}`", name.escape_debug())),
        None if names.is_empty() => Err("its index names no file".to_owned()),
        None => Ok(names),
    }
}

/// Returns whether these files are the least that SGLang needs. It does not check that every shard is there.
pub(in crate::effects) fn is_model(paths: &BTreeSet<&str>) -> bool {
    paths.contains("config.json") && (paths.contains(MODEL_INDEX) || paths.contains("model.safetensors"))
}

/// Returns a shard that the snapshot's index names and `paths` does not contain.
pub(in crate::effects) fn missing_shard(snapshot: &Path, paths: &BTreeSet<&str>) -> Option<String> {
    missing_from(&snapshot.join(MODEL_INDEX), paths).pop_first()
}

/// Returns the shards that the file `index` names and `paths` does not contain.
pub(in crate::effects) fn missing_from(index: &Path, paths: &BTreeSet<&str>) -> BTreeSet<String> {
    let index = read_json(index).ok();
    let map = index.as_ref().and_then(|index| index["weight_map"].as_object());
    let shards = map
        .into_iter()
        .flat_map(|map| map.values())
        .filter_map(Value::as_str);
    shards
        .filter(|shard| !paths.contains(shard))
        .map(str::to_owned)
        .collect()
}

/// Checks a shard's header; returns what is wrong with it, or `None`.
///
/// # Errors
/// [`Kind::Host`] if it cannot be read now, which says nothing about its bytes.
pub(in crate::effects) fn check_shard(path: &Path) -> Result<Option<String>> {
    match tensors(path) {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == Kind::Host => Err(error),
        Err(error) => Ok(Some([vec![error.message()], error.causes()].concat().join(": "))),
    }
}

/// Returns names and sizes of the tensors in a file, from its header.
fn tensors(path: &Path) -> Result<Vec<(String, u64)>> {
    let failed = || format!("cannot read `{}`", path.display());
    let mut file = files::open_through(path).at(Kind::Host, failed)?;
    let size = file.metadata().at(Kind::Host, failed)?.len();
    let mut length = [0; 8];
    let read = file.read_exact(&mut length);
    let kind = match &read {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Kind::Host,
        _ => Kind::Integrity,
    };
    read.at(kind, failed)?;
    let length = header_length(&length, size).map_err(|why| damaged_error(path, &why))?;
    let mut header = Vec::new();
    file.take(length)
        .read_to_end(&mut header)
        .at(Kind::Host, failed)?;
    tensors_of(&header, size).map_err(|why| damaged_error(path, &why))
}

/// Returns the length of the header of a safetensors file that begins with `bytes` and has `size` bytes.
///
/// # Errors
/// The reason why it is no such file.
pub(in crate::effects) fn header_length(bytes: &[u8], size: u64) -> std::result::Result<u64, String> {
    let Some(first) = bytes.first_chunk::<8>() else {
        return Err(format!("it has {} bytes, and no header", bytes.len()));
    };
    let length = u64::from_le_bytes(*first);
    if length > MAX_HEADER || length.saturating_add(8) > size {
        return Err(format!("its header has {length} bytes, but the file has {size}"));
    }
    Ok(length)
}

/// Returns names and sizes of the tensors in the header of a safetensors file of `size` bytes.
///
/// # Errors
/// The reason why it is no such header.
pub(in crate::effects) fn tensors_of(
    header: &[u8],
    size: u64,
) -> std::result::Result<Vec<(String, u64)>, String> {
    let mut entries: BTreeMap<String, Value> =
        serde_json::from_slice(header).map_err(|error| format!("it has no header: {error}"))?;
    entries.remove("__metadata__");
    let mut found = Vec::with_capacity(entries.len());
    let mut end = 0;
    for (name, entry) in entries {
        let Ok(Tensor {
            data_offsets: (first, last),
        }) = serde_json::from_value(entry)
        else {
            return Err(format!("tensor `{}` has no offsets", name.escape_debug()));
        };
        let Some(bytes) = last.checked_sub(first) else {
            return Err(format!("tensor `{}` ends before it begins", name.escape_debug()));
        };
        end = end.max(last);
        found.push((name, bytes));
    }
    let all = end.saturating_add(header.len() as u64).saturating_add(8);
    if all == size {
        Ok(found)
    } else {
        Err(format!(
            "its tensors end at byte {all}, the file has {size} bytes"
        ))
    }
}

/// Reads a file as JSON.
pub(in crate::effects) fn read_json(path: &Path) -> Result<Value> {
    let failed = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    files::open_through(path)
        .and_then(|file| file.take(MAX_JSON).read_to_end(&mut bytes))
        .at(Kind::Integrity, failed)?;
    serde_json::from_slice(&bytes).at(Kind::Integrity, || format!("`{}` is not JSON", path.display()))
}

fn damaged_error(path: &Path, why: &str) -> Error {
    Error::new(Kind::Integrity, format!("`{}` is damaged", path.display())).cause(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> tempfile::NamedTempFile {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn a_header_gives_names_and_sizes() {
        let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F8_E4M3","shape":[2,3],"data_offsets":[0,6]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[6,8]}}"#;
        let found = tensors(file(header, 8).path()).unwrap();
        assert_eq!(found, [("a".to_owned(), 6), ("b".to_owned(), 2)]);
    }

    #[test]
    fn hostile_headers_are_refused() {
        for (header, data) in [
            (r#"{"a":{"data_offsets":[0,6]}}"#, 5),
            (r#"{"a":{"data_offsets":[6,0]}}"#, 6),
            (r#"{"a":{"data_offsets":[0,18446744073709551615]}}"#, 6),
            (r#"{"a":{"data_offsets":[0]}}"#, 6),
            (r#"{"a":1}"#, 6),
            ("[]", 0),
            ("", 0),
        ] {
            let error = tensors(file(header, data).path()).unwrap_err();
            assert_eq!(error.kind(), Kind::Integrity, "{header}");
        }
        let long = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(long.path(), u64::MAX.to_le_bytes()).unwrap();
        assert!(tensors(long.path()).unwrap_err().causes()[0].contains("its header has"));
    }

    #[test]
    fn the_rehearsal_model_is_read_whole() {
        let cache = tempfile::tempdir().unwrap();
        let step = crate::plan::WriteModel {
            repo: crate::rehearsal::REPO.to_owned(),
            cache_dir: cache.path().to_str().unwrap().to_owned(),
        };
        let commit = crate::effects::weights::write_model(&step).unwrap();
        let model = model_facts(cache.path(), crate::rehearsal::REPO, &commit).unwrap();
        assert!(model.layers > 0 && model.kv_lora_rank.is_none() && model.kv_heads.is_some());
        assert!(model.weights.attention_split > 0 && model.weights.embedding > 0);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let _ = tensors(file.path());
        }
    }
}
