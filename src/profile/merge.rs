//! The merging of files of profiles and of stacks: the chain of `extends`, and the settings of a profile for one stack.

use crate::error::{Error, Kind, Result};
use crate::profile::engine_settings::EngineSettings;
use crate::profile::schema::Profile;
use crate::profile::spelling;
use crate::profile::stack::{ABSENT, Stack, UNKNOWN_PIN};
use crate::profile::version::Version;
use crate::profile::yaml::{self, Document, Source};

/// Longest chain of `extends`: nobody can follow a longer one.
const MAX_CHAIN: usize = 8;

/// A file of a profile or a stack that was read; its `extends` is not applied yet.
#[derive(Debug, Clone)]
pub(super) struct CatalogFile {
    /// Name of the profile or the stack.
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

impl CatalogFile {
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

/// The kind of thing that a file declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declares {
    /// A profile.
    Profile,
    /// A stack.
    Stack,
}

impl Declares {
    /// The word for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Stack => "stack",
        }
    }
}

/// Returns the files of a profile or a stack, from the one that extends nothing to its own.
///
/// # Errors
/// [`Kind::Usage`] for an unknown name, a circle, and a chain that is too long.
pub(super) fn chain<'a>(
    what: Declares,
    files: &'a [CatalogFile],
    name: &str,
) -> Result<Vec<&'a CatalogFile>> {
    let mut chain: Vec<&CatalogFile> = Vec::new();
    let mut next = Some(name);
    while let Some(name) = next {
        let extending = chain.last().copied();
        let Some(file) = files.iter().find(|file| file.name == name) else {
            return Err(unknown_parent(what, files, name, extending));
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
fn unknown_parent(
    what: Declares,
    files: &[CatalogFile],
    name: &str,
    extending: Option<&CatalogFile>,
) -> Error {
    let names = files.iter().map(|file| file.name.as_str());
    let error = spelling::unknown_name(what.name(), name, names);
    let Some(extending) = extending else {
        return error;
    };
    let message = format!(
        "{} extends an unknown {} `{}`",
        extending.line_of_extends(),
        what.name(),
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
pub(super) fn profile(chain: &[&CatalogFile]) -> Result<Profile> {
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
pub(super) fn engine_on(chain: &[&CatalogFile], stack: &str) -> Result<Option<EngineSettings>> {
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

/// First version whose image starts with `sglang serve` (0.5.10).
const SERVE_PROGRAM: Version = Version::new(0, 5, 10);
/// First version whose benchmark client is `sglang.benchmark.serving` (0.5.15).
const BENCHMARK_MODULE: Version = Version::new(0, 5, 15);
/// First version with `/ready` (0.5.20).
const READY: Version = Version::new(0, 5, 20);
/// First version whose evaluation takes a host without a scheme.
const HOST_WITHOUT_SCHEME: Version = Version::new(0, 5, 0);

/// Returns the stack of a chain. Where a file changes the version of SGLang, what it inherits follows: the version in the
/// image's tag, and the commands of older versions. Digests of another image are dropped.
///
/// # Errors
/// [`Kind::Usage`] with the file and line of a value that is not valid.
pub(super) fn stack(chain: &[&CatalogFile]) -> Result<Stack> {
    let mut files = chain.iter();
    let first = files
        .next()
        .ok_or_else(|| Error::new(Kind::Internal, "a stack without a file"))?;
    let mut merged = first.document.clone();
    for over in files {
        follow_version(&mut merged, &over.document)?;
        merged.merge_file(over.document.clone());
    }
    merged.into_type(&sources(chain), &[])
}

/// Changes what `over` inherits from `base` and does not fit its version of SGLang or its image.
fn follow_version(base: &mut Document, over: &Document) -> Result<()> {
    let text = |document: &Document, path: &[&str]| document.at(path)?.scalar().map(str::to_owned);
    let version = ["pins", "sglang"];
    let (old, new) = (text(base, &version), text(over, &version));
    let (image, name) = (text(base, &["base_image"]), text(base, &["name"]));
    let mut inherited: Vec<(&str, String)> = Vec::new();
    if let (Some(old), Some(new)) = (&old, &new)
        && old != new
    {
        let title = format!("SGLang {new}, otherwise as {}", name.unwrap_or_default());
        inherited.push(("title", title));
        base.merge(unknown_pins(base)?);
        let tag = image.as_ref().map(|image| image.replace(old, new));
        inherited.extend(tag.map(|tag| ("base_image", tag)));
        if let (Ok(old), Ok(new)) = (old.parse::<Version>(), new.parse::<Version>()) {
            let goes_below = |first: Version| new < first && old >= first;
            if goes_below(SERVE_PROGRAM) {
                inherited.push(("launch", "{python: [-m, sglang.launch_server]}".to_owned()));
            }
            if goes_below(BENCHMARK_MODULE) {
                inherited.push(("bench", "[-m, sglang.bench_serving]".to_owned()));
            }
            if goes_below(READY) {
                inherited.push(("probe", "/health".to_owned()));
            }
            inherited.push(("gsm8k_host_scheme", (new < HOST_WITHOUT_SCHEME).to_string()));
        }
    }
    inherited.retain(|(key, _)| over.at(&[key]).is_none());
    for (key, value) in &inherited {
        base.set(key, value)?;
    }
    let new_image = text(over, &["base_image"]).or_else(|| text(base, &["base_image"]));
    if new_image != image {
        base.set("base_digests", "{}")?;
    }
    Ok(())
}

/// Returns the pins of the packages that come with SGLang as unknown: another version of it comes with others. A package that
/// a stack does not have stays absent.
fn unknown_pins(base: &Document) -> Result<Document> {
    let pins: Vec<String> = ["flashinfer", "kernel", "torch"]
        .into_iter()
        .filter(|name| {
            let pin = base.at(&["pins", name]);
            pin.is_some_and(|pin| pin.scalar() != Some(ABSENT))
        })
        .map(|name| format!("{name}: {UNKNOWN_PIN}"))
        .collect();
    Document::read(Source {
        origin: "pins",
        text: &format!("pins: {{{}}}", pins.join(", ")),
    })
}

fn sources<'a>(chain: &[&'a CatalogFile]) -> Vec<Source<'a>> {
    chain.iter().map(|file| file.source()).collect()
}
