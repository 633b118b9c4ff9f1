//! The stacks and profiles inside the binary and of the user, and how a name on the command line finds one.
//!
//! Not in this module: what a profile says (`schema`), whether a stack takes it (`lint`).

use std::sync::OnceLock;

use crate::error::{Error, Kind, Result};
use crate::profile::origin::{Origins, Place};
use crate::profile::schema::{Goal, Precision, Profile};
use crate::profile::spelling;
use crate::profile::stack::{Architecture, Stack};
use crate::profile::yaml::{self, Document, Source};

/// Embeds files: the path is the name.
macro_rules! embedded {
    ($($path:literal,)*) => {
        [$(Source { origin: $path, text: include_str!(concat!("../../", $path)) },)*]
    };
}

/// Built-in profiles. A new one is one line here and one file. Of several that serve the same goal on the same
/// hardware the first is chosen, so the guide's stand first.
const PROFILES: [Source<'_>; 15] = embedded![
    "profiles/fp4-basic.yaml",
    "profiles/fp4-high-throughput.yaml",
    "profiles/fp8-high-throughput.yaml",
    "profiles/fp8-low-latency.yaml",
    "profiles/b200-fp4-high-throughput.yaml",
    "profiles/b200-fp4-low-latency.yaml",
    "profiles/b200-fp8-high-throughput.yaml",
    "profiles/b200-fp8-low-latency.yaml",
    "profiles/b200x4-fp4-high-throughput.yaml",
    "profiles/b200x4-fp4-low-latency.yaml",
    "profiles/b200x4-fp8-high-throughput.yaml",
    "profiles/b200x4-fp8-low-latency.yaml",
    "profiles/h200-fp8-high-throughput.yaml",
    "profiles/h200-fp8-low-latency.yaml",
    "profiles/rehearsal.yaml",
];

/// Built-in stacks.
const STACKS: [Source<'_>; 4] = embedded![
    "stacks/guide.yaml",
    "stacks/cuda12.yaml",
    "stacks/current.yaml",
    "stacks/cpu.yaml",
];

/// Longest chain of `extends`: nobody can follow a longer one.
const MAX_CHAIN: usize = 8;

/// A file of the user: its name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFile {
    /// File name, for messages.
    pub origin: String,
    /// Its text.
    pub text: String,
}

/// What the user brings: the files below the configuration directory, and the one named on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserFiles {
    /// `$XDG_CONFIG_HOME/dsr1/profiles/*.yaml`.
    pub profiles: Vec<UserFile>,
    /// `$XDG_CONFIG_HOME/dsr1/stacks/*.yaml`.
    pub stacks: Vec<UserFile>,
    /// `--profile-file`.
    pub named: Option<UserFile>,
}

/// What is known when a profile is chosen by its goal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Precision asked for.
    pub precision: Option<Precision>,
    /// Stack asked for.
    pub stack: Option<String>,
    /// The GPUs of the host: how many, and their family where it is one we know. `None` when not looked at.
    pub gpus: Option<(u32, Option<Architecture>)>,
}

/// A profile that was chosen, and why when the name left it open.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The profile, for this stack: what it extends and what it says of the stack is applied.
    pub profile: Profile,
    /// Its stack.
    pub stack: Stack,
    /// Where its settings were written.
    pub origins: Origins,
    /// The choice in words, when dsr1 made one.
    pub note: Option<String>,
}

/// All known stacks and profiles.
#[derive(Debug, Clone)]
pub struct Catalog {
    profiles: Vec<Entry>,
    stacks: Vec<(Stack, String)>,
    named: Option<String>,
}

/// A profile file that was read and not resolved yet.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    origin: String,
    text: String,
    document: Document,
    own: bool,
}

impl Catalog {
    /// Reads the built-in files, and a profile file (name and text) on top when given.
    ///
    /// # Errors
    /// [`Kind::Usage`] when that file is not a valid profile.
    pub fn load(named: Option<(&str, &str)>) -> Result<Self> {
        let named = named.map(|(origin, text)| UserFile {
            origin: origin.to_owned(),
            text: text.to_owned(),
        });
        Self::with(&UserFiles {
            named,
            ..UserFiles::default()
        })
    }

    /// Reads the built-in files and the user's.
    ///
    /// # Errors
    /// [`Kind::Usage`] when one of the user's is not valid, or takes a name that is taken.
    pub fn with(files: &UserFiles) -> Result<Self> {
        let mut catalog = Self::built_in()?.clone();
        for UserFile { origin, text } in &files.stacks {
            catalog.add_stack(Source { origin, text })?;
        }
        for UserFile { origin, text } in files.profiles.iter().chain(&files.named) {
            catalog.add_profile(Source { origin, text }, true)?;
        }
        if files.named.is_some() {
            let name = catalog
                .profiles
                .last()
                .map(|entry| entry.name.clone())
                .unwrap_or_default();
            // A file that is asked for is checked whole; the others when one of them is.
            catalog.resolve(&name, None)?;
            catalog.named = Some(name);
        }
        Ok(catalog)
    }

    /// The files inside the binary, read at the first call.
    fn built_in() -> Result<&'static Self> {
        static READ: OnceLock<Catalog> = OnceLock::new();
        if let Some(read) = READ.get() {
            return Ok(read);
        }
        let mut catalog = Self {
            profiles: Vec::new(),
            stacks: Vec::new(),
            named: None,
        };
        for source in PROFILES {
            catalog.add_profile(source, false)?;
        }
        for source in STACKS {
            catalog.add_stack(source)?;
        }
        Ok(READ.get_or_init(|| catalog))
    }

    fn add_profile(&mut self, source: Source<'_>, own: bool) -> Result<()> {
        let document = Document::read(source)?;
        let Some(name) = document.text("name").map(str::to_owned) else {
            return Err(Error::new(
                Kind::Usage,
                format!("{} has no `name`, so it is not a profile", source.origin),
            )
            .hint("dsr1 profiles new NAME prints one to start from"));
        };
        check_name(&name, source)?;
        if let Some(taken) = self.profiles.iter().find(|entry| entry.name == name) {
            let line = yaml::line_of(source.text, &["name"]).unwrap_or(1);
            return Err(Error::new(
                Kind::Usage,
                format!("{}:{line}: the name `{name}` is taken", source.origin),
            )
            .cause(format!("by {}", taken.origin))
            .hint(format!(
                "give it a name of its own, and `extends: {name}` to start from that profile"
            )));
        }
        self.profiles.push(Entry {
            name,
            origin: source.origin.to_owned(),
            text: source.text.to_owned(),
            document,
            own,
        });
        Ok(())
    }

    fn add_stack(&mut self, source: Source<'_>) -> Result<()> {
        let stack: Stack = yaml::parse(source.text, source.origin)?;
        check_name(&stack.name, source)?;
        // A path that does not begin so would become part of the host's name in a URL.
        for (key, path) in std::iter::once(("probe", &stack.probe))
            .chain(stack.cache_paths.iter().map(|path| ("cache_paths", path)))
        {
            if !path.starts_with('/') {
                let line = yaml::line_of(source.text, &[key]).unwrap_or(1);
                let shown = path.escape_debug();
                return Err(Error::new(
                    Kind::Usage,
                    format!("{}:{line}: `{shown}` is not a path", source.origin),
                )
                .hint("it begins with /"));
            }
        }
        for path in stack.install.files.keys() {
            if !crate::profile::is_plain_path(path) {
                let line = yaml::line_of(source.text, &["install", "files"]).unwrap_or(1);
                return Err(Error::new(
                    Kind::Usage,
                    format!("{}:{line}: `{}` is not a file name", source.origin, path.escape_debug()),
                )
                .cause("it is a path below site-packages: letters, digits and `._-/`, no part beginning with a dot"));
            }
        }
        if self.stacks.iter().any(|(known, _)| known.name == stack.name) {
            return Err(Error::new(
                Kind::Usage,
                format!("{}: there is a stack `{}` already", source.origin, stack.name),
            )
            .hint("give it a name of its own"));
        }
        self.stacks.push((stack, source.text.to_owned()));
        Ok(())
    }

    /// Every profile, resolved for its own stack, in the order of the catalog.
    ///
    /// # Errors
    /// [`Kind::Usage`] when one of the user's is not valid.
    pub fn profiles(&self) -> Result<Vec<Profile>> {
        self.profiles
            .iter()
            .map(|entry| self.resolve(&entry.name, None).map(|found| found.profile))
            .collect()
    }

    /// Every stack.
    pub fn stacks(&self) -> impl Iterator<Item = &Stack> + Clone {
        self.stacks.iter().map(|(stack, _)| stack)
    }

    /// Name of the profile in the file that was named.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// The text of a profile's own file.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&str> {
        self.entry(name).map(|entry| entry.text.as_str())
    }

    /// The text of a stack's file.
    #[must_use]
    pub fn stack_source(&self, name: &str) -> Option<&str> {
        let found = self.stacks.iter().find(|(stack, _)| stack.name == name)?;
        Some(&found.1)
    }

    /// The stack of that name.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the nearest name.
    pub fn stack(&self, name: &str) -> Result<&Stack> {
        self.stacks()
            .find(|stack| stack.name == name)
            .ok_or_else(|| unknown("stack", name, self.stacks().map(|stack| stack.name.as_str())))
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.profiles.iter().find(|entry| entry.name == name)
    }

    /// The files of a profile, from the one that extends nothing to the profile's own.
    fn chain(&self, name: &str) -> Result<Vec<&Entry>> {
        let mut chain: Vec<&Entry> = Vec::new();
        let mut next = Some(name.to_owned());
        while let Some(name) = next {
            let asking = chain.last().copied();
            let place = |entry: &Entry| {
                let line = yaml::line_of(&entry.text, &["extends"]).unwrap_or(1);
                format!("{}:{line}", entry.origin)
            };
            let Some(entry) = self.entry(&name) else {
                let error = unknown(
                    "profile",
                    &name,
                    self.profiles.iter().map(|entry| entry.name.as_str()),
                );
                return Err(match asking {
                    Some(asking) => {
                        let whole = format!(
                            "{} extends an unknown profile `{}`",
                            place(asking),
                            name.escape_debug()
                        );
                        error
                            .hints()
                            .iter()
                            .fold(Error::new(Kind::Usage, whole), |error, hint| {
                                error.hint(hint.clone())
                            })
                    }
                    None => error,
                });
            };
            let names = || {
                let all = chain
                    .iter()
                    .map(|entry| entry.name.as_str())
                    .chain([entry.name.as_str()]);
                all.collect::<Vec<_>>().join(" -> ")
            };
            if let Some(asking) = asking.filter(|_| chain.iter().any(|known| known.name == entry.name)) {
                return Err(Error::new(
                    Kind::Usage,
                    format!("{} closes a circle of `extends`", place(asking)),
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
            next = entry.document.text("extends").map(str::to_owned);
            chain.push(entry);
        }
        chain.reverse();
        Ok(chain)
    }

    /// The profile of that exact name, for a stack or its own.
    ///
    /// # Errors
    /// [`Kind::Usage`] when there is none, or it is not valid.
    pub fn resolve(&self, name: &str, stack: Option<&str>) -> Result<Selection> {
        let chain = self.chain(name)?;
        let files: Vec<(String, String)> = chain
            .iter()
            .map(|entry| (entry.origin.clone(), entry.text.clone()))
            .collect();
        let mut merged = chain
            .iter()
            .map(|entry| entry.document.clone())
            .reduce(|mut base, over| {
                base.merge_file(over);
                base
            })
            .ok_or_else(|| Error::new(Kind::Internal, "a profile without a file"))?;
        let sources: Vec<Source<'_>> = chain
            .iter()
            .map(|entry| Source {
                origin: &entry.origin,
                text: &entry.text,
            })
            .collect();
        // Once as it is written, so that a wrong value below `on` is found there.
        let written: Profile = merged.clone().into_type(&sources)?;
        let stack = self.stack(stack.unwrap_or(&written.stack)).map_err(|error| {
            let place = Origins::new(files.clone(), "")
                .place("stack")
                .filter(|_| stack.is_none());
            placed(place, &error)
        })?;
        for name in written.on.keys() {
            self.stack(name).map_err(|error| {
                let place = Origins::new(files.clone(), "").place(&format!("on.{name}"));
                placed(place, &error)
            })?;
        }
        let mut profile = written;
        if profile.on.contains_key(&stack.name) {
            // File by file: what a file says for this stack goes over what it says for all, and a file that extends
            // another goes over both.
            let parts = chain.iter().flat_map(|entry| {
                [
                    entry.document.at(&["engine"]),
                    entry.document.at(&["on", &stack.name]),
                ]
            });
            let engine = parts
                .flatten()
                .filter(|part| !part.is_null())
                .reduce(|mut below, over| {
                    below.merge(over);
                    below
                });
            if let Some(engine) = engine {
                merged.set("engine", engine);
            }
            profile = merged.into_type(&sources)?;
        }
        let origins = Origins::new(files, &stack.name);
        check_bench(&profile, &origins)?;
        check_model(&profile, &origins)?;
        Ok(Selection {
            profile: Profile {
                stack: stack.name.clone(),
                ..profile
            },
            stack: stack.clone(),
            origins,
            note: None,
        })
    }

    /// Whether `name` is a goal that profiles serve.
    #[must_use]
    pub fn has_goal(&self, name: &str) -> bool {
        Goal::ALL.iter().any(|goal| goal.name() == name)
    }

    /// Finds a profile by its name, or by its goal.
    ///
    /// A goal leaves the precision open. Without one the GPU decides: NVFP4 on Blackwell, FP8 on Hopper (guide, "Note
    /// on Quantization Choice").
    ///
    /// # Errors
    /// [`Kind::Usage`] when nothing fits, with the nearest name.
    pub fn select(&self, name: &str, wanted: &Wanted) -> Result<Selection> {
        if self.entry(name).is_some() {
            let found = self.resolve(name, wanted.stack.as_deref())?;
            let (have, asked) = (found.profile.precision, wanted.precision);
            return match asked.filter(|asked| *asked != have) {
                Some(asked) => Err(Error::new(
                    Kind::Usage,
                    format!("profile `{name}` is {}, not {}", have.name(), asked.name()),
                )
                .hint(format!("use --profile {}", found.profile.goal.name()))),
                None => Ok(found),
            };
        }
        let mut fitting = Vec::new();
        for entry in self.profiles.iter().filter(|entry| !entry.own) {
            if entry.document.text("goal") == Some(name) || entry.document.text("extends").is_some() {
                let found = self.resolve(&entry.name, None)?.profile;
                if found.goal.name() == name {
                    fitting.push(found);
                }
            }
        }
        if fitting.is_empty() {
            let goals = Goal::ALL.iter().map(|goal| goal.name());
            let names = self.profiles.iter().map(|entry| entry.name.as_str());
            return Err(unknown("profile", name, names.chain(goals)));
        }
        if let Some(stack) = &wanted.stack {
            self.stack(stack)?;
        }
        let (chosen, why) = choose(name, fitting, wanted)?;
        let mut found = self.resolve(&chosen, wanted.stack.as_deref())?;
        found.note = (!why.is_empty()).then(|| format!("profile {chosen} chosen, {}", why.join("; ")));
        Ok(found)
    }
}

/// The first profile that fits best, and why where something was left open.
fn choose(goal: &str, mut fitting: Vec<Profile>, wanted: &Wanted) -> Result<(String, Vec<String>)> {
    let mut why = Vec::new();
    let architecture = wanted.gpus.and_then(|(_, architecture)| architecture);
    let precision = match (wanted.precision, architecture) {
        (Some(asked), _) => asked,
        (None, Some(Architecture::Blackwell)) => {
            why.push("NVFP4: the GPUs are Blackwell".to_owned());
            Precision::Fp4
        }
        (None, Some(Architecture::Hopper)) => {
            why.push("FP8: the GPUs are Hopper".to_owned());
            Precision::Fp8
        }
        (None, None)
            if fitting
                .iter()
                .all(|profile| profile.precision == fitting[0].precision) =>
        {
            fitting[0].precision
        }
        (None, None) => {
            return Err(
                Error::new(Kind::Usage, format!("profile `{goal}` exists in two precisions"))
                    .cause("no GPU is known to choose by")
                    .hint("add --fp8 or --fp4"),
            );
        }
    };
    let all: Vec<String> = fitting.iter().map(|profile| profile.name.clone()).collect();
    fitting.retain(|profile| profile.precision == precision);
    if let Some(architecture) = architecture {
        fitting.retain(|profile| {
            profile.architectures.is_empty() || profile.architectures.contains(&architecture)
        });
    }
    if let Some(stack) = &wanted.stack {
        let tuned = |profile: &Profile| profile.stack == *stack;
        if fitting.iter().any(tuned) {
            fitting.retain(tuned);
        } else {
            fitting.retain(|profile| profile.on.contains_key(stack));
        }
    }
    if let Some((count, _)) = wanted.gpus
        && fitting.iter().any(|profile| profile.gpus <= count)
    {
        fitting.retain(|profile| profile.gpus <= count);
        let most = fitting.iter().map(|profile| profile.gpus).max().unwrap_or(0);
        if most < 8 && most > 0 {
            why.push(format!("for {most} GPUs: the host has {count}"));
        }
        fitting.retain(|profile| profile.gpus == most);
    }
    let found = fitting.first().ok_or_else(|| {
        let on = wanted
            .stack
            .as_ref()
            .map_or_else(String::new, |stack| format!(" on stack `{stack}`"));
        let of = architecture.map_or_else(String::new, |gpu| format!(" for {}", gpu.name()));
        Error::new(
            Kind::Usage,
            format!("there is no `{goal}` profile in {}{on}{of}", precision.name()),
        )
        .hint(format!("there is: {}", all.join(", ")))
    })?;
    if let Some(stack) = &wanted.stack
        && why.is_empty()
    {
        why.push(format!("the first for stack {stack}"));
    }
    Ok((found.name.clone(), why))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let error = Error::new(Kind::Usage, format!("unknown {what} `{}`", name.escape_debug()));
    if let Some(nearest) = spelling::nearest(name, known.clone()) {
        error.hint(format!("did you mean `{nearest}`?"))
    } else {
        let mut names: Vec<&str> = known.collect();
        names.sort_unstable();
        names.dedup();
        error.hint(format!("known: {}", names.join(", ")))
    }
}

/// Names become container names, file names and labels.
fn check_name(name: &str, source: Source<'_>) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        return Ok(());
    }
    let line = yaml::line_of(source.text, &["name"]).unwrap_or(1);
    Err(Error::new(
        Kind::Usage,
        format!(
            "{}:{line}: `{}` is not a name",
            source.origin,
            name.escape_debug()
        ),
    )
    .hint("use lower-case letters, digits and dashes, 40 at most"))
}

/// An error about a name, with the place where the name was written.
fn placed(place: Option<Place>, error: &Error) -> Error {
    let place = place.map_or_else(String::new, |place| format!("{place}: "));
    let placed = Error::new(Kind::Usage, format!("{place}{}", error.message()));
    error
        .hints()
        .iter()
        .fold(placed, |placed, hint| placed.hint(hint.clone()))
}

/// A repository and a revision become paths and parts of a URL.
fn check_model(profile: &Profile, origins: &Origins) -> Result<()> {
    let plain = |text: &str| {
        !text.is_empty()
            && text.len() <= 100
            && !text.starts_with(['.', '-'])
            && !text.contains("..")
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let model = &profile.model;
    let whole = |text: &str, parts: usize| text.split('/').count() <= parts && text.split('/').all(plain);
    for (path, text, fits, like) in [
        (
            "model.repo",
            &model.repo,
            model.repo.contains('/') && whole(&model.repo, 2),
            "owner/name",
        ),
        (
            "model.revision",
            &model.revision,
            whole(&model.revision, 8),
            "a branch, a tag or a commit",
        ),
    ] {
        if !fits {
            let place = origins
                .place(path)
                .map_or_else(String::new, |place| format!("{place}: "));
            return Err(Error::new(
                Kind::Usage,
                format!("{place}`{}` is not a {path}", text.escape_debug()),
            )
            .hint(format!("it looks like {like}")));
        }
    }
    Ok(())
}

/// Fewer requests than may be in flight never reach that load.
fn check_bench(profile: &Profile, origins: &Origins) -> Result<()> {
    let bench = &profile.bench;
    if bench.num_prompts >= bench.max_concurrency {
        return Ok(());
    }
    let place = origins
        .place("bench.num_prompts")
        .map_or_else(String::new, |place| format!("{place}: "));
    Err(Error::new(
        Kind::Usage,
        format!(
            "{place}{} requests can never be {} in flight",
            bench.num_prompts, bench.max_concurrency
        ),
    )
    .hint("bench.num_prompts is at least bench.max_concurrency, better a multiple of it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        Catalog::load(None).unwrap()
    }

    fn wanted(precision: Option<Precision>, gpus: Option<(u32, Option<Architecture>)>) -> Wanted {
        Wanted {
            precision,
            gpus,
            stack: None,
        }
    }

    fn user(texts: &[(&str, &str)]) -> Result<Catalog> {
        let profiles = texts
            .iter()
            .map(|(origin, text)| UserFile {
                origin: (*origin).to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        Catalog::with(&UserFiles {
            profiles,
            ..UserFiles::default()
        })
    }

    #[test]
    fn built_in_names_match_their_files() {
        for (profile, file) in catalog().profiles().unwrap().iter().zip(PROFILES) {
            assert_eq!(file.origin, format!("profiles/{}.yaml", profile.name));
        }
        for (stack, file) in catalog().stacks().zip(STACKS) {
            assert_eq!(file.origin, format!("stacks/{}.yaml", stack.name));
        }
    }

    #[test]
    fn goal_and_precision_find_the_profile() {
        let by = |name, precision, gpus| catalog().select(name, &wanted(precision, gpus));
        let blackwell = Some((8, Some(Architecture::Blackwell)));
        let found = by("high-throughput", Some(Precision::Fp8), None).unwrap();
        assert_eq!(
            (found.profile.name.as_str(), found.note),
            ("fp8-high-throughput", None)
        );
        let found = by("high-throughput", None, blackwell).unwrap();
        assert_eq!(found.profile.name, "fp4-high-throughput");
        assert!(found.note.unwrap().contains("Blackwell"));
        let found = by("high-throughput", None, Some((8, Some(Architecture::Hopper)))).unwrap();
        assert_eq!(found.profile.name, "h200-fp8-high-throughput");
        let found = by("low-latency", None, Some((4, Some(Architecture::Blackwell)))).unwrap();
        assert_eq!(found.profile.name, "b200x4-fp4-low-latency");
        assert!(found.note.unwrap().contains("the host has 4"));
        assert_eq!(
            by("high-throughput", None, None).unwrap_err().hints(),
            ["add --fp8 or --fp4"]
        );
        assert_eq!(
            by("reharsal", None, None).unwrap_err().hints(),
            ["did you mean `rehearsal`?"]
        );
        assert!(by("fp8-low-latency", Some(Precision::Fp4), None).is_err());
    }

    #[test]
    fn a_stack_that_is_asked_for_chooses_what_is_tuned_for_it() {
        let wanted = Wanted {
            precision: Some(Precision::Fp8),
            stack: Some("current".to_owned()),
            gpus: None,
        };
        let found = catalog().select("low-latency", &wanted).unwrap();
        assert_eq!(found.profile.name, "b200-fp8-low-latency");
        let translated = catalog().select("fp8-high-throughput", &wanted).unwrap();
        assert_eq!(translated.stack.name, "current");
        assert_eq!(
            translated.profile.engine.attention_backend.unwrap().name(),
            "trtllm_mla"
        );
    }

    #[test]
    fn a_profile_extends_another() {
        let own = "name: mine\nextends: fp8-high-throughput\nengine:\n  mem_fraction: 0.8\n  tensor_parallel: null\n";
        let catalog = Catalog::load(Some(("own.yaml", own))).unwrap();
        let found = catalog.resolve("mine", None).unwrap();
        assert!((found.profile.engine.mem_fraction.unwrap().get() - 0.8).abs() < 1e-9);
        assert_eq!(found.profile.engine.tensor_parallel, None);
        assert_eq!(found.profile.bench.max_concurrency.get(), 3072);
        assert_eq!(
            found.origins.place("engine.mem_fraction").unwrap().to_string(),
            "own.yaml:4"
        );
        let inherited = found.origins.place("engine.radix_cache").unwrap();
        assert_eq!(inherited.file, "profiles/fp8-high-throughput.yaml");
    }

    #[test]
    fn circles_unknown_parents_and_taken_names_are_refused() {
        let circle = user(&[
            ("a.yaml", "name: a\nextends: b\n"),
            ("b.yaml", "name: b\nextends: a\n"),
        ])
        .unwrap();
        let error = circle.resolve("a", None).unwrap_err();
        assert_eq!(error.message(), "b.yaml:2 closes a circle of `extends`");
        assert_eq!(error.causes(), ["a -> b -> a"]);
        let missing = user(&[("a.yaml", "name: a\nextends: rehersal\n")]).unwrap();
        let error = missing.resolve("a", None).unwrap_err();
        assert_eq!(error.message(), "a.yaml:2 extends an unknown profile `rehersal`");
        assert_eq!(error.hints(), ["did you mean `rehearsal`?"]);
        let taken = user(&[("a.yaml", "title: x\nname: rehearsal\n")]).unwrap_err();
        assert_eq!(taken.message(), "a.yaml:2: the name `rehearsal` is taken");
        let twice = user(&[("a.yaml", "name: a\n"), ("b.yaml", "name: a\n")]).unwrap_err();
        assert_eq!(twice.causes(), ["by a.yaml"]);
    }

    #[test]
    fn an_error_names_the_file_that_holds_it() {
        let own = "name: mine\nextends: rehearsal\nengine:\n  mem_fraction: 8\n";
        let error = Catalog::load(Some(("own.yaml", own))).unwrap_err();
        assert!(
            error.message().starts_with("own.yaml:4 is not valid:"),
            "{}",
            error.message()
        );
        let below = "name: mine\nextends: rehearsal\non:\n  current:\n    tensor_paralel: 8\n";
        let error = Catalog::load(Some(("own.yaml", below))).unwrap_err();
        assert!(error.message().starts_with("own.yaml:5 "), "{}", error.message());
        assert_eq!(error.hints(), ["did you mean `tensor_parallel`?"]);
        let stack = "name: mine\nextends: rehearsal\non:\n  curent: {}\n";
        let error = Catalog::load(Some(("own.yaml", stack))).unwrap_err();
        assert_eq!(error.message(), "own.yaml:4: unknown stack `curent`");
    }

    #[test]
    fn the_file_on_top_wins_over_what_its_parent_says_for_a_stack() {
        let own = "name: mine\nextends: fp8-high-throughput\nengine:\n  mem_fraction: 0.8\n";
        let catalog = Catalog::load(Some(("own.yaml", own))).unwrap();
        let fraction = |stack| {
            catalog
                .resolve("mine", Some(stack))
                .unwrap()
                .profile
                .engine
                .mem_fraction
                .unwrap()
                .get()
        };
        // The parent says 0.85 for `current`.
        assert!((fraction("current") - 0.8).abs() < 1e-9 && (fraction("guide") - 0.8).abs() < 1e-9);
        let found = catalog.resolve("mine", Some("current")).unwrap();
        assert_eq!(
            found.origins.place("engine.mem_fraction").unwrap().to_string(),
            "own.yaml:4"
        );
        assert_eq!(
            found.profile.engine.attention_backend.unwrap().name(),
            "trtllm_mla"
        );
    }
}
