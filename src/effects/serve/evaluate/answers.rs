//! The file of answers: one line for each, written when it came. An evaluation that was interrupted reads it and asks the rest.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::effects::files;
use crate::error::{At, Error, Kind, Result};
use crate::evaluate::{SampledAnswer, read_answer};

/// Longest line that is read. An answer of 32768 tokens has some 150 kB.
const MOST_LINE: u64 = 64 << 20;

/// An open file of answers, which no other process writes.
#[derive(Debug)]
pub(super) struct AnswerFile {
    path: PathBuf,
    file: File,
}

impl AnswerFile {
    /// Opens the file of an evaluation, whose first line is `head`, and calls `on_answer` for each answer in it. An answer that was
    /// being written when its process ended is dropped. `fresh` drops all.
    ///
    /// # Errors
    /// [`Kind::Host`] if another process has the file, or it cannot be written; [`Kind::Integrity`] for a file of another kind.
    pub(super) fn open(
        path: &Path,
        head: &str,
        fresh: bool,
        on_answer: &mut dyn FnMut(SampledAnswer),
    ) -> Result<Self> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(files::no_follow());
        let file =
            files::open_by(&options, path).at(Kind::Host, || format!("cannot open `{}`", path.display()))?;
        // On a filesystem without locks, nobody is asked.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(
                Error::new(Kind::Host, format!("cannot write `{}`", path.display()))
                    .cause("another dsr1 process writes it")
                    .hint("wait for it, or end it"),
            );
        }
        let mut opened = Self {
            path: path.to_owned(),
            file,
        };
        let kept = if fresh {
            0
        } else {
            opened.read_lines(head, on_answer)?
        };
        opened
            .file
            .set_len(kept)
            .at(Kind::Host, || format!("cannot write `{}`", path.display()))?;
        if kept == 0 {
            opened.append(head)?;
        }
        Ok(opened)
    }

    /// Reads the lines, and returns the bytes of the whole ones.
    fn read_lines(&mut self, head: &str, on_answer: &mut dyn FnMut(SampledAnswer)) -> Result<u64> {
        let path = self.path.display().to_string();
        let cannot_read = || format!("cannot read `{path}`");
        self.file.seek(SeekFrom::Start(0)).at(Kind::Host, cannot_read)?;
        let mut reader = BufReader::new(&self.file);
        let (mut kept, mut number) = (0, 0_u64);
        let mut line = Vec::new();
        loop {
            line.clear();
            let count = reader
                .by_ref()
                .take(MOST_LINE)
                .read_until(b'\n', &mut line)
                .at(Kind::Host, cannot_read)?;
            let is_long = count as u64 == MOST_LINE;
            let Some(text) = line.strip_suffix(b"\n").filter(|_| !is_long) else {
                if is_long {
                    return Err(wrong_file(&path, number + 1, "it is longer than 64 MiB"));
                }
                // The end, or a line that was being written.
                return Ok(kept);
            };
            number += 1;
            if number == 1 {
                if text != head.as_bytes() {
                    return Err(wrong_file(
                        &path,
                        1,
                        "its first line is that of an evaluation with other settings",
                    ));
                }
            } else {
                let answer = read_answer(text);
                on_answer(answer.ok_or_else(|| wrong_file(&path, number, "it is not an answer"))?);
            }
            kept += count as u64;
        }
    }

    /// Appends a line.
    pub(super) fn append(&mut self, line: &str) -> Result<()> {
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(b'\n');
        // One call, so that a line is there or not, if the disk is not full.
        self.file
            .write_all(&bytes)
            .at(Kind::Host, || format!("cannot write `{}`", self.path.display()))
    }

    /// Gives the file of a finished evaluation its last name.
    pub(super) fn rename(self, path: &Path) -> Result<()> {
        std::fs::rename(&self.path, path)
            .at(Kind::Host, || format!("cannot rename `{}`", self.path.display()))
    }
}

fn wrong_file(path: &str, line: u64, cause: &str) -> Error {
    Error::new(Kind::Integrity, format!("cannot resume from `{path}:{line}`"))
        .cause(cause.to_owned())
        .hint("pass --fresh to ask all questions again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: u32) -> SampledAnswer {
        SampledAnswer {
            question,
            sample: 1,
            finish: "stop".to_owned(),
            prompt_tokens: 1,
            completion_tokens: 2,
            reasoning_tokens: None,
            seconds: 0.1,
            reasoning: String::new(),
            answer: "a\nb".to_owned(),
        }
    }

    /// Opens the file, and returns the numbers of the questions in it.
    fn open(path: &Path, head: &str, fresh: bool) -> Result<(AnswerFile, Vec<u32>)> {
        let mut found = Vec::new();
        let file = AnswerFile::open(path, head, fresh, &mut |answer| found.push(answer.question))?;
        Ok((file, found))
    }

    #[test]
    fn a_file_that_was_cut_anywhere_has_all_whole_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let (mut file, found) = open(&path, "{\"head\":1}", false).unwrap();
        assert!(found.is_empty());
        for question in 1..=2 {
            file.append(&serde_json::to_string(&answer(question)).unwrap())
                .unwrap();
        }
        drop(file);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut file, found) = open(&path, "{\"head\":1}", false).unwrap();
            let complete = ends.iter().filter(|end| **end < length).count();
            assert_eq!(found.len(), complete.saturating_sub(1), "{length}");
            file.append(&serde_json::to_string(&answer(9)).unwrap()).unwrap();
            drop(file);
            let (_, found) = open(&path, "{\"head\":1}", false).unwrap();
            assert_eq!(found.last(), Some(&9), "{length}");
        }
        assert!(open(&path, "{\"head\":1}", true).unwrap().1.is_empty());
    }

    #[test]
    fn another_file_is_refused_and_a_busy_one_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, "{\"head\":1}\nnonsense\n").unwrap();
        let error = open(&path, "{\"head\":1}", false).unwrap_err();
        assert_eq!(error.kind(), Kind::Integrity);
        assert!(error.message().ends_with("a.jsonl:2`"), "{error:?}");
        let error = open(&path, "{\"head\":2}", false).unwrap_err();
        assert!(error.message().ends_with("a.jsonl:1`"), "{error:?}");
        let (file, _) = open(&path, "{\"head\":2}", true).unwrap();
        let error = open(&path, "{\"head\":2}", false).unwrap_err();
        assert_eq!(error.kind(), Kind::Host);
        file.rename(&dir.path().join("b.jsonl")).unwrap();
        assert!(!path.exists());
        let link = dir.path().join("c.jsonl");
        std::os::unix::fs::symlink(dir.path().join("b.jsonl"), &link).unwrap();
        assert!(open(&link, "{\"head\":2}", false).is_err());
    }
}
