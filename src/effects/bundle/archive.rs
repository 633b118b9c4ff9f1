//! An archive that a user sends away: `tar.gz`, complete or absent, and without secrets. Each part goes through
//! [`Archive::add_text`], which redacts it; nothing else writes into the archive.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::effects::files;
use crate::error::{At, Error, Kind, Result};
use crate::redact::{Counts, Redactor};
use crate::report::{Bundled, BundledFile, LeftOut};

/// Level of the compression: logs shrink to a tenth, at some tens of megabytes a second.
const LEVEL: u32 = 4;

/// An archive that is being written, or with a dry run only measured. One that is dropped before its end leaves no file.
pub struct Archive {
    redactor: Redactor,
    counts: Counts,
    files: Vec<BundledFile>,
    left_out: Vec<LeftOut>,
    /// The folder in the archive.
    folder: String,
    output: Option<Output>,
}

/// The file of an archive.
struct Output {
    builder: Option<tar::Builder<GzEncoder<File>>>,
    /// The file under a temporary name, until the archive is complete.
    temporary: PathBuf,
    path: PathBuf,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.builder = None;
        // It is gone after a complete archive.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Returns the error of an archive that cannot be written.
fn unwritable(path: &Path) -> String {
    format!("cannot write `{}`", path.display())
}

/// Returns the error of a name that is taken.
fn taken(path: &Path) -> Error {
    Error::new(Kind::Usage, format!("`{}` exists already", path.display()))
        .hint("choose another name with --output FILE")
}

impl Archive {
    /// Begins an archive at `path`, whose files are in `folder`. Only this user may read it.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the name is taken or names no file; [`Kind::Host`] when it cannot be written.
    pub fn create(path: &Path, folder: &str, redactor: Redactor) -> Result<Self> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(taken(path));
        }
        let Some(name) = path.file_name() else {
            return Err(Error::new(Kind::Usage, unwritable(path)).cause("the path does not name a file"));
        };
        let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .at(Kind::Host, || unwritable(path))?;
        let mut archive = Self::dry(folder, redactor);
        let output = Output {
            temporary,
            path: path.to_owned(),
            builder: Some(tar::Builder::new(GzEncoder::new(
                // Independent of the umask.
                with_mode(file).at(Kind::Host, || unwritable(path))?,
                Compression::new(LEVEL),
            ))),
        };
        archive.output = Some(output);
        Ok(archive)
    }

    /// Returns an archive that is only measured.
    #[must_use]
    pub fn dry(folder: &str, redactor: Redactor) -> Self {
        Self {
            redactor,
            counts: Counts::new(),
            files: Vec::new(),
            left_out: Vec::new(),
            folder: folder.to_owned(),
            output: None,
        }
    }

    /// Adds a text without secrets.
    ///
    /// # Errors
    /// [`Kind::Host`] when the archive cannot be written.
    pub fn add_text(&mut self, name: &str, text: &str) -> Result<()> {
        let text = self.redact(text);
        self.append(name, &text)
    }

    /// Adds a document as JSON, without secrets: by its keys, and by its texts.
    ///
    /// # Errors
    /// As [`Self::add_text`].
    pub fn add_document(&mut self, name: &str, document: &impl Serialize) -> Result<()> {
        let mut value = match serde_json::to_value(document) {
            Ok(value) => value,
            Err(error) => {
                self.leave_out(name, &error.to_string());
                return Ok(());
            }
        };
        let mut redaction = self.redactor.begin();
        redaction.redact_json(&mut value);
        add_counts(&mut self.counts, redaction.counts());
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        self.add_text(name, &(text + "\n"))
    }

    /// Adds the bytes of a file: as a document if they are JSON, else as a text.
    ///
    /// # Errors
    /// As [`Self::add_text`].
    pub fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        match serde_json::from_slice::<serde_json::Value>(bytes) {
            Ok(document) => self.add_document(name, &document),
            Err(_) => self.add_text(name, &String::from_utf8_lossy(bytes)),
        }
    }

    /// Notes that a part is missing, and why.
    pub fn leave_out(&mut self, name: &str, why: &str) {
        let (name, why) = (self.redact(name), self.redact(why));
        self.left_out.push(LeftOut { name, why });
    }

    /// Ends the archive with a text that `write` makes from what is in it, and gives it its name.
    ///
    /// # Errors
    /// As [`Self::add_text`]; [`Kind::Usage`] when the name was taken in the meantime.
    pub fn finish(mut self, name: &str, write: impl FnOnce(&Bundled) -> String) -> Result<Bundled> {
        let text = write(&self.report(None, 0));
        self.add_text(name, &text)?;
        let Some(mut output) = self.output.take() else {
            let bytes = self.files.iter().map(|file| file.bytes).sum();
            return Ok(self.report(None, bytes));
        };
        let failed = || unwritable(&output.path);
        let encoder = output.builder.take().map(tar::Builder::into_inner);
        let encoder = encoder.transpose().at(Kind::Host, failed)?;
        let file = encoder
            .map(GzEncoder::finish)
            .transpose()
            .at(Kind::Host, failed)?;
        let Some(file) = file else {
            return Err(Error::new(Kind::Internal, failed()));
        };
        file.sync_all().at(Kind::Host, failed)?;
        let bytes = file.metadata().at(Kind::Host, failed)?.len();
        // Unlike a rename, a link fails if the name is taken.
        match fs::hard_link(&output.temporary, &output.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken(&output.path)),
            linked => linked.at(Kind::Host, failed)?,
        }
        Ok(self.report(Some(output.path.display().to_string()), bytes))
    }

    fn report(&self, file: Option<String>, bytes: u64) -> Bundled {
        let redacted = self
            .counts
            .iter()
            .map(|(sort, count)| (sort.name().to_owned(), *count));
        Bundled {
            schema: "dsr1.bundle/1",
            dry_run: self.output.is_none() && file.is_none(),
            file,
            bytes,
            files: self.files.clone(),
            left_out: self.left_out.clone(),
            redacted: redacted.collect::<BTreeMap<_, _>>(),
        }
    }

    fn redact(&mut self, text: &str) -> String {
        let mut redaction = self.redactor.begin();
        let text = redaction.redact_text(text);
        add_counts(&mut self.counts, redaction.counts());
        text
    }

    /// Writes a file whose text has no secrets.
    fn append(&mut self, name: &str, text: &str) -> Result<()> {
        let name = safe_name(&self.redact(name));
        let path = format!("{}/{name}", self.folder);
        if let Some(output) = &mut self.output
            && let Some(builder) = &mut output.builder
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(u64::try_from(files::unix_before(0)).unwrap_or(0));
            builder
                .append_data(&mut header, &path, text.as_bytes())
                .at(Kind::Host, || unwritable(&output.path))?;
        }
        self.files.push(BundledFile {
            name,
            bytes: text.len() as u64,
        });
        Ok(())
    }
}

fn with_mode(file: File) -> std::io::Result<File> {
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn add_counts(all: &mut Counts, counts: &Counts) {
    for (sort, count) in counts {
        *all.entry(*sort).or_default() += count;
    }
}

/// Returns a path that every system can unpack and that stays below its root: letters, digits, and `.`, `_`, `-` inside of a
/// name.
fn safe_name(name: &str) -> String {
    let part = |part: &str| -> String {
        let safe = |c: char| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '_'
            }
        };
        let part: String = part.chars().take(120).map(safe).collect();
        match part.strip_prefix('.') {
            Some(rest) => format!("_{rest}"),
            None => part,
        }
    };
    let parts: Vec<String> = name
        .split('/')
        .filter(|part| !part.is_empty())
        .map(part)
        .collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_folder() {
        for (name, safe) in [
            ("servers/dsr1-a/log.txt", "servers/dsr1-a/log.txt"),
            ("../../etc/passwd", "_./_./etc/passwd"),
            ("/a//b c\n*", "a/b_c__"),
            (".hidden", "_hidden"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
    }

    #[test]
    fn an_archive_is_complete_or_absent_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        let begin = || Archive::create(&path, "a", Redactor::default());
        let mut archive = begin().unwrap();
        archive.add_text("x.txt", "HF_TOKEN=abcdefgh").unwrap();
        drop(archive);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let mut archive = begin().unwrap();
        archive.add_text("x.txt", "HF_TOKEN=abcdefgh").unwrap();
        archive
            .add_bytes("y.json", br#"{"api_key": "abcdefgh", "a": 1}"#)
            .unwrap();
        archive.leave_out("z", "no daemon at http://u:p@h");
        let done = archive.finish("README.txt", |_| "it".to_owned()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(done.left_out[0].why, "no daemon at http://***@h");
        assert_eq!(done.redacted["variable"], 1);
        assert_eq!(done.redacted["engine_key"], 1);
        let file = File::open(&path).unwrap();
        let mut unpacked = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let texts: BTreeMap<String, String> = unpacked
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let name = entry.path().unwrap().display().to_string();
                let mut text = String::new();
                std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
                (name, text)
            })
            .collect();
        assert_eq!(texts["a/x.txt"], "HF_TOKEN=***");
        assert_eq!(texts["a/y.json"], "{\n  \"a\": 1,\n  \"api_key\": \"***\"\n}\n");
        assert_eq!(texts["a/README.txt"], "it");

        assert_eq!(begin().err().unwrap().kind(), Kind::Usage);
    }

    #[test]
    fn an_archive_does_not_replace_one_that_came_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        let archive = Archive::create(&path, "a", Redactor::default()).unwrap();
        fs::write(&path, "mine").unwrap();
        let error = archive.finish("README.txt", |_| String::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
