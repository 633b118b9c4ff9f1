//! The merging of profile files: the chain of `extends`, and the settings of each file for one stack.

use crate::error::{Error, Kind, Result};
use crate::profile::schema::{EngineSettings, Profile};
use crate::profile::spelling;
use crate::profile::yaml::{self, Document, Source};

/// Longest chain of `extends`: nobody can follow a longer one.
const MAX_CHAIN: usize = 8;

/// A profile file that was read; its `extends` is not applied yet.
#[derive(Debug, Clone)]
pub(super) struct ProfileFile {
    /// Name of the profile.
    pub(super) name: String,
    /// File name, as the user knows it.
    pub(super) origin: String,
    /// The file's text.
    pub(super) text: String,
    /// The text as a document.
    pub(super) document: Document,
    /// The file is the user's, not a built-in one.
    pub(super) is_users: bool,
}

impl ProfileFile {
    fn source(&self) -> Source<'_> {
        Source {
            origin: &self.origin,
            text: &self.text,
        }
    }

    /// The line of `extends`, with the file's name.
    fn line_of_extends(&self) -> String {
        let line = yaml::line_of(&self.text, &["extends"]).unwrap_or(1);
        format!("{}:{line}", self.origin)
    }
}

/// Returns the files of a profile, from the one that extends nothing to the profile's own.
///
/// # Errors
/// [`Kind::Usage`] for an unknown name, a circle, and a chain that is too long.
pub(super) fn chain<'a>(files: &'a [ProfileFile], name: &str) -> Result<Vec<&'a ProfileFile>> {
    let mut chain: Vec<&ProfileFile> = Vec::new();
    let mut next = Some(name);
    while let Some(name) = next {
        let extending = chain.last().copied();
        let Some(file) = files.iter().find(|file| file.name == name) else {
            return Err(unknown_profile(files, name, extending));
        };
        let names = || {
            let names = chain.iter().chain([&file]).map(|file| file.name.as_str());
            names.collect::<Vec<_>>().join(" -> ")
        };
        if let Some(extending) = extending.filter(|_| chain.iter().any(|known| known.name == file.name)) {
            return Err(Error::new(
                Kind::Usage,
                format!("{} closes a circle of `extends`", extending.line_of_extends()),
            )
            .cause(names()));
        }
        if chain.len() == MAX_CHAIN {
            return Err(Error::new(
                Kind::Usage,
                format!("`extends` goes through more than {MAX_CHAIN} files"),
            )
            .cause(names()));
        }
        next = file.document.text("extends");
        chain.push(file);
    }
    chain.reverse();
    Ok(chain)
}

/// Returns the error for a name that no file has; `extending` is the file that extends it, if one does.
fn unknown_profile(files: &[ProfileFile], name: &str, extending: Option<&ProfileFile>) -> Error {
    let names = files.iter().map(|file| file.name.as_str());
    let error = spelling::unknown_name("profile", name, names);
    let Some(extending) = extending else {
        return error;
    };
    let message = format!(
        "{} extends an unknown profile `{}`",
        extending.line_of_extends(),
        name.escape_debug()
    );
    error
        .hints()
        .iter()
        .fold(Error::new(Kind::Usage, message), |error, hint| {
            error.hint(hint.clone())
        })
}

/// Returns the profile of a chain, without the settings of its files for single stacks.
///
/// # Errors
/// [`Kind::Usage`] with the file and line of a value that is not valid, also below `on`.
pub(super) fn profile(chain: &[&ProfileFile]) -> Result<Profile> {
    chain
        .iter()
        .map(|file| file.document.clone())
        .reduce(|mut base, over| {
            base.merge_file(over);
            base
        })
        .ok_or_else(|| Error::new(Kind::Internal, "a profile without a file"))?
        .into_type(&sources(chain), &[])
}

/// Returns the engine's settings of a chain on one stack.
///
/// The files are merged one by one. In each file the settings for the stack override those for all stacks, and a file that
/// extends another overrides both. `None` if no file has settings.
///
/// # Errors
/// [`Kind::Usage`] with the file and line of settings that are valid alone but not together.
pub(super) fn engine_on(chain: &[&ProfileFile], stack: &str) -> Result<Option<EngineSettings>> {
    let parts = chain
        .iter()
        .flat_map(|file| [file.document.at(&["engine"]), file.document.at(&["on", stack])]);
    let engine = parts
        .flatten()
        .filter(|part| !part.is_null())
        .reduce(|mut below, over| {
            below.merge(over);
            below
        });
    engine
        .map(|engine| engine.into_type(&sources(chain), &["engine"]))
        .transpose()
}

fn sources<'a>(chain: &[&'a ProfileFile]) -> Vec<Source<'a>> {
    chain.iter().map(|file| file.source()).collect()
}
