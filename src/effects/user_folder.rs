//! A folder that a command writes for the user.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::effects::user_files;
use crate::error::{At, Error, Kind, Result};

/// Writes a folder with files that every user may read: completely or not at all. With `replace` the files of an existing folder
/// are replaced one by one, and its other files stay.
///
/// # Errors
/// [`Kind::Usage`] when it exists; [`Kind::Host`] when it cannot be written.
pub fn write_folder(dir: &Path, files: &[(&str, &str)], replace: bool) -> Result<()> {
    let failed = || format!("cannot write `{}`", dir.display());
    let name = dir
        .file_name()
        .ok_or_else(|| Error::new(Kind::Usage, failed()).cause("the path does not name a folder"))?;
    match fs::symlink_metadata(dir) {
        Ok(_) if !replace => {
            return Err(
                Error::new(Kind::Usage, format!("`{}` exists already", dir.display()))
                    .hint("choose another name, or replace its files with --force"),
            );
        }
        Ok(_) if dir.is_dir() => return write_files(dir, files).at(Kind::Host, failed),
        Ok(_) => {
            let why = format!("`{}` is not a folder", dir.display());
            return Err(Error::new(Kind::Usage, why).hint("choose another name"));
        }
        Err(_) => {}
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = parent.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = make_folder(&temporary)
        .and_then(|()| write_files(&temporary, files))
        .and_then(|()| fs::rename(&temporary, dir));
    written
        .inspect_err(|_| drop(fs::remove_dir_all(&temporary)))
        .at(Kind::Host, failed)
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    fs::create_dir(path)?;
    // Independent of the umask: a container reads the files as another user.
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn write_files(dir: &Path, files: &[(&str, &str)]) -> std::io::Result<()> {
    for (name, text) in files {
        let path: PathBuf = dir.join(name);
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            make_folder(folder)?;
        }
        user_files::write(&path, text, true).map_err(|error| {
            let why = error.causes().last().cloned().unwrap_or(error.message());
            std::io::Error::other(format!("{name}: {why}"))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_written_whole_and_an_existing_one_only_if_asked() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a");
        let files = [("x.yml", "1"), ("sub/y.yml", "2")];
        write_folder(&dir, &files, false).unwrap();
        assert_eq!(fs::read_to_string(dir.join("sub/y.yml")).unwrap(), "2");
        let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("sub"), mode("sub/y.yml")), (0o755, 0o755, 0o644));
        fs::write(dir.join(".env"), "mine").unwrap();
        let error = write_folder(&dir, &[("x.yml", "3")], false).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(fs::read_to_string(dir.join("x.yml")).unwrap(), "1");
        write_folder(&dir, &[("x.yml", "3")], true).unwrap();
        assert_eq!(fs::read_to_string(dir.join("x.yml")).unwrap(), "3");
        assert_eq!(fs::read_to_string(dir.join(".env")).unwrap(), "mine");
        let file = home.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(
            write_folder(&file, &files, true)
                .unwrap_err()
                .message()
                .contains("is not a folder")
        );
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        // A file cannot be below a file.
        let files = [("x.yml", "1"), ("x.yml/y.yml", "2")];
        let error = write_folder(&home.path().join("a"), &files, false).unwrap_err();
        assert_eq!(error.kind(), Kind::Host);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        assert!(write_folder(&home.path().join("none/a"), &files, false).is_err());
    }
}
