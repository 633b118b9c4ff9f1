//! A folder of this host that holds the files of a model, served as it is.

use std::path::{Path, PathBuf};

use super::model;
use crate::error::{Error, Kind, Result};
use crate::facts::ModelFolder;
use crate::plan::CheckFolder;
use crate::report::FolderChecked;

/// Lines about wrong files that are kept; further ones are counted.
const MOST_LINES: usize = 5;

/// Returns what a folder holds: the model, and what is wrong with its files.
///
/// Every shard that the index names must be there, and its header must fit its size. The bytes of the tensors are not read.
#[must_use]
pub fn folder(path: &Path) -> ModelFolder {
    let mut found = ModelFolder::default();
    match std::fs::metadata(path) {
        Err(error) => found.wrong.push(format!("`{}`: {error}", path.display())),
        Ok(metadata) if !metadata.is_dir() => {
            found.wrong.push(format!("`{}` is not a folder", path.display()));
        }
        Ok(_) => read(path, &mut found),
    }
    if found.wrong.len() > MOST_LINES {
        let more = found.wrong.len() - MOST_LINES;
        found.wrong.truncate(MOST_LINES);
        found.wrong.push(format!("and {more} more"));
    }
    found
}

/// Checks a folder before the engine reads it.
///
/// # Errors
/// [`Kind::Integrity`] for a file that is missing or damaged; [`Kind::Host`] for links that a container cannot follow.
pub fn check_folder(step: &CheckFolder) -> Result<FolderChecked> {
    let found = folder(Path::new(&step.path));
    if let Some((first, others)) = found.wrong.split_first() {
        let error = Error::new(
            Kind::Integrity,
            format!("the weights in `{}` are not complete", step.path),
        )
        .cause(first.clone())
        .hint(format!(
            "copy the files again, or pull them: dsr1 pull {}",
            step.repo
        ));
        return Err(error.log(others.to_vec()));
    }
    if let Some(link) = found.outside.filter(|_| step.in_container) {
        return Err(Error::new(
            Kind::Host,
            format!("a container does not see all files of `{}`", step.path),
        )
        .cause(format!("`{link}` is a link to a file outside of it"))
        .hint("name the folder that holds the files themselves, or use --runtime process"));
    }
    Ok(FolderChecked {
        path: step.path.clone(),
        shards: found.shards,
        size_bytes: found.size_bytes,
    })
}

/// Returns the name of the model in a folder: that of the repository for a snapshot in a hub cache
/// (`models--OWNER--NAME/snapshots/COMMIT`), otherwise the folder's own.
#[must_use]
pub fn model_of_path(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let of_cache = parts.iter().rev().find_map(|part| part.strip_prefix("models--"));
    match (of_cache, parts.last()) {
        (Some(repo), _) => repo.replace("--", "/"),
        (None, Some(name)) => (*name).to_owned(),
        (None, None) => "model".to_owned(),
    }
}

fn read(path: &Path, found: &mut ModelFolder) {
    let root = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            found.wrong.push(format!("`{}`: {error}", path.display()));
            return;
        }
    };
    for entry in entries.flatten() {
        let file = entry.path();
        // The size behind a link counts: it is what the engine reads.
        let Ok(metadata) = std::fs::metadata(&file) else {
            continue;
        };
        if metadata.is_file() {
            found.size_bytes = found.size_bytes.saturating_add(metadata.len());
        }
        let leaves = |target: PathBuf| !target.starts_with(&root);
        if found.outside.is_none() && std::fs::canonicalize(&file).is_ok_and(leaves) {
            found.outside = Some(entry.file_name().to_string_lossy().into_owned());
        }
    }
    match model::facts_of_folder(path) {
        Ok(read) => {
            found.model = read.model;
            found.shards = read.shards;
        }
        Err(wrong) => found.wrong = wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::WriteModel;

    /// A folder with the files of the rehearsal's model.
    fn model() -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let step = WriteModel {
            repo: crate::rehearsal::REPO.to_owned(),
            cache_dir: cache.path().to_str().unwrap().to_owned(),
        };
        let commit = crate::effects::weights::write_model(&step).unwrap();
        let snapshot = crate::effects::store::layout::RepoCache::new(cache.path(), crate::rehearsal::REPO)
            .snapshot_dir(&commit);
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(snapshot).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        folder
    }

    fn check(folder: &Path, in_container: bool) -> Result<FolderChecked> {
        check_folder(&CheckFolder {
            path: folder.to_str().unwrap().to_owned(),
            repo: "owner/name".to_owned(),
            in_container,
        })
    }

    #[test]
    fn a_whole_folder_gives_its_model() {
        let folder = model();
        let found = super::folder(folder.path());
        assert_eq!((&found.wrong, found.shards), (&Vec::new(), 2));
        assert!(found.model.unwrap().layers > 0 && found.size_bytes > 100_000);
        assert_eq!(check(folder.path(), true).unwrap().shards, 2);
    }

    #[test]
    fn what_is_wrong_with_a_folder_names_the_file() {
        let cases: [(&str, Option<&[u8]>, &str); 5] = [
            ("config.json", None, "config.json"),
            ("config.json", Some(b"{"), "config.json"),
            ("model-00002-of-00002.safetensors", None, "model-00002"),
            ("model-00001-of-00002.safetensors", Some(b"short"), "model-00001"),
            (
                "model.safetensors.index.json",
                Some(br#"{"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}"#),
                "part-1.safetensors",
            ),
        ];
        for (file, bytes, named) in cases {
            let folder = model();
            let place = folder.path().join(file);
            match bytes {
                Some(bytes) => std::fs::write(place, bytes).unwrap(),
                None => std::fs::remove_file(place).unwrap(),
            }
            let error = check(folder.path(), false).unwrap_err();
            assert_eq!(error.kind(), Kind::Integrity, "{file}");
            assert!(error.causes()[0].contains(named), "{:?}", error.causes());
        }
        let error = check(Path::new("/nonexistent/model"), false).unwrap_err();
        assert!(
            error.causes()[0].contains("/nonexistent/model"),
            "{:?}",
            error.causes()
        );
    }

    #[test]
    fn a_folder_names_its_model() {
        for (path, model) in [
            ("/models/DeepSeek-R1-0528", "DeepSeek-R1-0528"),
            ("./DeepSeek-R1/", "DeepSeek-R1"),
            (
                "/hub/models--deepseek-ai--DeepSeek-R1/snapshots/0123abc",
                "deepseek-ai/DeepSeek-R1",
            ),
            ("/", "model"),
        ] {
            assert_eq!(model_of_path(path), model);
        }
    }

    #[test]
    fn links_out_of_a_folder_are_refused_in_a_container() {
        let (whole, folder) = (model(), tempfile::tempdir().unwrap());
        for entry in std::fs::read_dir(whole.path()).unwrap() {
            let entry = entry.unwrap();
            std::os::unix::fs::symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        assert!(check(folder.path(), false).is_ok());
        let error = check(folder.path(), true).unwrap_err();
        assert!(
            error.causes()[0].ends_with("is a link to a file outside of it"),
            "{:?}",
            error.causes()
        );
    }
}
