//! The catalog: the stacks and profiles inside the binary and of the user, found by name.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Kind, Result};
use crate::profile::choose::{self, Criteria, Selection};
use crate::profile::gpu::{KNOWN_GPUS, known_gpu};
use crate::profile::merge::{self, CatalogFile, Declares};
use crate::profile::names::{NAME_RULE, is_mountable, is_name, is_repo, is_revision};
use crate::profile::origin::{Origins, Place};
use crate::profile::requirement::Requirement;
use crate::profile::schema::{Goal, Precision, Profile};
use crate::profile::spelling;
use crate::profile::stack::{Stack, is_plain_path};
use crate::profile::topology_rules;
use crate::profile::yaml::{self, Document, Source};

/// Embeds files: the path is the name.
macro_rules! embedded {
    ($($path:literal,)*) => {
        [$(Source { origin: $path, text: include_str!(concat!("../../", $path)) },)*]
    };
}

/// Built-in profiles. A new one is one line here and one file. Of several that serve the same goal on the same
/// hardware the first is chosen, so the guide's are first.
const PROFILES: [Source<'_>; 28] = embedded![
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
    "profiles/h100x16-fp8-high-throughput.yaml",
    "profiles/h20x16-fp8-high-throughput.yaml",
    "profiles/gb200x8-fp4-high-throughput.yaml",
    "profiles/gb200x8-fp8-high-throughput.yaml",
    "profiles/gb200x8-fp8-low-latency.yaml",
    "profiles/gb200x20-fp4-low-latency.yaml",
    "profiles/gb200x64-fp4-high-throughput.yaml",
    "profiles/gb200x72-fp8-high-throughput.yaml",
    "profiles/gb300x8-fp8-low-latency.yaml",
    "profiles/gb300x20-fp4-low-latency.yaml",
    "profiles/gb300x64-fp4-high-throughput.yaml",
    "profiles/gb300x72-fp8-high-throughput.yaml",
    "profiles/rehearsal.yaml",
    "profiles/rehearsal-rack.yaml",
];

/// Built-in stacks.
const STACKS: [Source<'_>; 4] = embedded![
    "stacks/guide.yaml",
    "stacks/cuda12.yaml",
    "stacks/current.yaml",
    "stacks/cpu.yaml",
];

/// Returns the names of the built-in profiles, which are those of their files.
pub fn built_in_profiles() -> impl Iterator<Item = &'static str> {
    const { &PROFILES }.iter().map(|source| stem(source.origin))
}

/// Returns the names of the built-in stacks, which are those of their files.
pub fn built_in_stacks() -> impl Iterator<Item = &'static str> {
    const { &STACKS }.iter().map(|source| stem(source.origin))
}

/// A file of the user: its name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFile {
    /// File name, for messages.
    pub origin: String,
    /// The file's text.
    pub text: String,
}

/// The user's files: those below the configuration directory, and the one named on the command line.
#[derive(Debug, Clone, Default)]
pub struct UserFiles {
    /// `$XDG_CONFIG_HOME/dsr1/profiles/*.yaml`.
    pub profiles: Vec<UserFile>,
    /// `$XDG_CONFIG_HOME/dsr1/stacks/*.yaml`.
    pub stacks: Vec<UserFile>,
    /// `--profile-file`.
    pub named: Option<UserFile>,
    /// The files of the two directories that cannot be read.
    pub unread: Vec<UnreadFile>,
}

/// A file of the user whose text cannot be read.
#[derive(Debug, Clone)]
pub struct UnreadFile {
    /// File name, for messages.
    pub origin: String,
    /// True if it is below `stacks`.
    pub is_stack: bool,
    /// The reason.
    pub error: Arc<Error>,
}

/// All known stacks and profiles.
#[derive(Debug, Clone)]
pub struct Catalog {
    profiles: Vec<CatalogFile>,
    stack_files: Vec<CatalogFile>,
    stacks: Vec<(Stack, Origins)>,
    named: Option<String>,
    broken: Vec<BrokenFile>,
}

/// A file of the user that cannot be read.
#[derive(Debug, Clone)]
struct BrokenFile {
    /// The name that it declares; if that cannot be read, its own without the extension.
    name: String,
    is_stack: bool,
    error: Arc<Error>,
}

/// Returns true for a text that starts SGLang, as a shell script or a Compose file does.
fn is_command_line(text: &str) -> bool {
    ["sglang.launch_server", "sglang serve", "docker run", "vllm serve"]
        .iter()
        .any(|command| text.contains(command))
}

/// Returns the name of a file without folders and extension.
fn stem(origin: &str) -> &str {
    let file = origin.rsplit('/').next().unwrap_or(origin);
    let stem = file.strip_suffix(".yaml").or_else(|| file.strip_suffix(".yml"));
    stem.unwrap_or(file)
}

/// Returns an error in one sentence.
fn sentence(error: &Error) -> String {
    let parts: Vec<String> = std::iter::once(error.message()).chain(error.causes()).collect();
    parts.join(": ")
}

impl Catalog {
    /// Reads the built-in files, and one profile file (name and text) beside them if given.
    ///
    /// # Errors
    /// [`Kind::Usage`] if that file is not a valid profile.
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
    /// [`Kind::Usage`] if one of the user's is not valid, or has the name of another.
    pub fn with(files: &UserFiles) -> Result<Self> {
        let mut catalog = Self::built_in()?.clone();
        for file in &files.unread {
            catalog.broken.push(BrokenFile {
                name: stem(&file.origin).to_owned(),
                is_stack: file.is_stack,
                error: Arc::clone(&file.error),
            });
        }
        for UserFile { origin, text } in &files.stacks {
            let source = Source { origin, text };
            if let Err(error) = catalog.add_file(Declares::Stack, source, true) {
                catalog.left_out(source, error, true);
            }
        }
        catalog.resolve_stacks()?;
        for UserFile { origin, text } in &files.profiles {
            let source = Source { origin, text };
            if let Err(error) = catalog.add_file(Declares::Profile, source, true) {
                catalog.left_out(source, error, false);
            }
        }
        if let Some(UserFile { origin, text }) = &files.named {
            catalog.add_file(Declares::Profile, Source { origin, text }, true)?;
        }
        if files.named.is_some() {
            let name = catalog
                .profiles
                .last()
                .map(|file| file.name.clone())
                .unwrap_or_default();
            // The named file is checked whole at once; each other file when it is used.
            catalog.resolve(&name, None)?;
            catalog.named = Some(name);
        }
        Ok(catalog)
    }

    /// Returns the catalog of the files inside the binary, which are read at the first call.
    fn built_in() -> Result<&'static Self> {
        static READ: OnceLock<Catalog> = OnceLock::new();
        if let Some(read) = READ.get() {
            return Ok(read);
        }
        let mut catalog = Self {
            profiles: Vec::new(),
            stack_files: Vec::new(),
            stacks: Vec::new(),
            named: None,
            broken: Vec::new(),
        };
        for source in PROFILES {
            catalog.add_file(Declares::Profile, source, false)?;
        }
        for source in STACKS {
            catalog.add_file(Declares::Stack, source, false)?;
        }
        catalog.resolve_stacks()?;
        Ok(READ.get_or_init(|| catalog))
    }

    /// Adds a file without applying its `extends`: the file that it names may come later.
    /// Returns the file of a profile; `None` if no profile has this name.
    #[must_use]
    pub fn origin_of(&self, name: &str) -> Option<&str> {
        self.profile_file(name).map(|file| file.origin.as_str())
    }

    fn add_file(&mut self, what: Declares, source: Source<'_>, is_users: bool) -> Result<()> {
        let document = Document::read(source)?;
        let kind = what.name();
        let Some(name) = document.text("name").map(str::to_owned) else {
            let error = Error::new(
                Kind::Usage,
                format!("{} has no `name`, so it is not a {kind}", source.origin),
            );
            return Err(error.hint(match what {
                Declares::Profile if is_command_line(source.text) => {
                    "this is a command line: dsr1 profiles new NAME prints a profile, whose `extra_args` take its options"
                }
                Declares::Profile => "dsr1 profiles new NAME prints one to start from",
                Declares::Stack => "give it a name, and `extends: current` for what it does not change",
            }));
        };
        check_name(&name, source)?;
        let files = match what {
            Declares::Profile => &mut self.profiles,
            Declares::Stack => &mut self.stack_files,
        };
        if let Some(other) = files.iter().find(|file| file.name == name) {
            return Err(at_key(source, &["name"], &format!("the name `{name}` is taken"))
                .cause(format!("{} has this name", other.origin))
                .hint(format!(
                    "give it a name of its own, and `extends: {name}` to start from that {kind}"
                )));
        }
        files.push(CatalogFile {
            name,
            origin: source.origin.to_owned(),
            text: source.text.to_owned(),
            document,
            is_users,
        });
        Ok(())
    }

    /// Makes a stack of each file that is not one yet. A file of the user that is not valid is left out.
    fn resolve_stacks(&mut self) -> Result<()> {
        for file in self.stack_files.clone() {
            if self.stacks().any(|known| known.name == file.name) {
                continue;
            }
            match self.resolve_stack(&file.name) {
                Ok(found) => self.stacks.push(found),
                Err(error) if file.is_users => {
                    let source = Source {
                        origin: &file.origin,
                        text: &file.text,
                    };
                    self.left_out(source, error, true);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn resolve_stack(&self, name: &str) -> Result<(Stack, Origins)> {
        let chain = merge::chain(Declares::Stack, &self.stack_files, name)?;
        let stack = merge::stack(&chain)?;
        let files = chain.iter().map(|file| (file.origin.clone(), file.text.clone()));
        let origins = Origins::new(files.collect(), "");
        check_stack(&stack, &origins)?;
        Ok((stack, origins))
    }

    fn left_out(&mut self, source: Source<'_>, error: Error, is_stack: bool) {
        let document = Document::read(source).ok();
        let declared = document.and_then(|document| document.text("name").map(str::to_owned));
        self.broken.push(BrokenFile {
            name: declared.unwrap_or_else(|| stem(source.origin).to_owned()),
            is_stack,
            error: Arc::new(error),
        });
    }

    /// Returns every profile, resolved for its own stack, in the order of the catalog. A file of the user that is not valid
    /// is left out; [`Catalog::broken`] names it.
    ///
    /// # Errors
    /// [`Kind::Usage`] if a built-in profile or the file that the command line names is not valid.
    pub fn profiles(&self) -> Result<Vec<Profile>> {
        self.profiles
            .iter()
            .filter_map(|file| match self.resolve_known(&file.name, None) {
                Err(_) if self.is_optional(file) => None,
                found => Some(found.map(|found| found.profile)),
            })
            .collect()
    }

    /// Returns true for a file of the user that the command line does not name.
    fn is_optional(&self, file: &CatalogFile) -> bool {
        file.is_users && self.named.as_deref() != Some(file.name.as_str())
    }

    /// Returns a sentence about each stack file of the user that is not valid.
    #[must_use]
    pub fn broken_stacks(&self) -> Vec<String> {
        let stacks = self.broken.iter().filter(|file| file.is_stack);
        stacks.map(|file| sentence(&file.error)).collect()
    }

    /// Returns a sentence about each file of the user that is not valid.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let unread = self.broken.iter().map(|file| sentence(&file.error));
        let unresolved = self.profiles.iter().filter(|file| self.is_optional(file));
        unread
            .chain(unresolved.filter_map(|file| {
                let error = self.resolve_known(&file.name, None).err()?;
                Some(sentence(&error))
            }))
            .collect()
    }

    /// Returns every stack.
    pub fn stacks(&self) -> impl Iterator<Item = &Stack> + Clone {
        self.stacks.iter().map(|(stack, _)| stack)
    }

    /// Returns the name of the profile in the file that the command line names.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// Returns the text of a profile's own file.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&str> {
        self.profile_file(name).map(|file| file.text.as_str())
    }

    /// Returns the text of a stack's own file.
    #[must_use]
    pub fn stack_source(&self, name: &str) -> Option<&str> {
        Some(self.stack_origins(name)?.files().last()?.1.as_str())
    }

    /// Returns the texts of all files that a stack is made of, the one that extends nothing first.
    #[must_use]
    pub fn stack_text(&self, name: &str) -> String {
        let files = self.stack_origins(name).map(Origins::files).unwrap_or_default();
        files.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Returns the files and lines of a stack's properties.
    #[must_use]
    pub fn stack_origins(&self, name: &str) -> Option<&Origins> {
        let found = self.stacks.iter().find(|(stack, _)| stack.name == name)?;
        Some(&found.1)
    }

    /// Returns the stack of that name.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the nearest name.
    pub fn stack(&self, name: &str) -> Result<&Stack> {
        // Also if another file has the name: the user may mean this one.
        match self.broken_file(name, true) {
            Some(error) => Err(error),
            None => self.stack_of_file(name),
        }
    }

    /// Returns the stack that a file names.
    fn stack_of_file(&self, name: &str) -> Result<&Stack> {
        let names = self.stacks().map(|stack| stack.name.as_str());
        let unknown = || {
            let version = name.strip_prefix('v').unwrap_or(name);
            let of_version = self
                .stacks()
                .find(|stack| stack.pins.sglang.to_string() == version);
            self.broken_file(name, true).unwrap_or_else(|| match of_version {
                Some(stack) => Error::new(Kind::Usage, format!("unknown stack `{}`", name.escape_debug()))
                    .hint(format!("stack `{}` has SGLang {version}", stack.name)),
                None => spelling::unknown_name("stack", name, names),
            })
        };
        self.stacks().find(|stack| stack.name == name).ok_or_else(unknown)
    }

    /// Returns the error of the file that the user names `name` in vain.
    fn broken_file(&self, name: &str, is_stack: bool) -> Option<Error> {
        let is_it = |file: &&BrokenFile| file.name == name && file.is_stack == is_stack;
        let file = self.broken.iter().find(is_it)?;
        let known = &file.error;
        let mut error = Error::new(known.kind(), known.message()).log(known.log_lines().to_vec());
        for cause in known.causes() {
            error = error.cause(cause);
        }
        Some(
            known
                .hints()
                .iter()
                .fold(error, |error, hint| error.hint(hint.clone())),
        )
    }

    fn profile_file(&self, name: &str) -> Option<&CatalogFile> {
        self.profiles.iter().find(|file| file.name == name)
    }

    /// Returns the profile of that exact name, for a stack or its own.
    ///
    /// # Errors
    /// [`Kind::Usage`] if there is none, or it is not valid.
    pub fn resolve(&self, name: &str, stack: Option<&str>) -> Result<Selection> {
        // Also if another file has the name: the user may mean this one.
        match self.broken_file(name, false) {
            Some(error) => Err(error),
            None => self.resolve_known(name, stack),
        }
    }

    /// Returns the profile of a file that was read.
    fn resolve_known(&self, name: &str, stack: Option<&str>) -> Result<Selection> {
        let chain = merge::chain(Declares::Profile, &self.profiles, name)?;
        let mut profile = merge::profile(&chain)?;
        let files = chain.iter().map(|file| (file.origin.clone(), file.text.clone()));
        let written = Origins::new(files.collect(), "");
        let found = match stack {
            Some(named) => self.stack(named),
            None => self.stack_of_file(&profile.stack),
        };
        let stack = found.map_err(|error| {
            let place = written.place_of("stack").filter(|_| stack.is_none());
            with_place(place, &error)
        })?;
        for name in profile.on.keys() {
            self.stack_of_file(name)
                .map_err(|error| with_place(written.place_of(&format!("on.{name}")), &error))?;
        }
        if profile.on.contains_key(&stack.name)
            && let Some(engine) = merge::engine_on(&chain, &stack.name)?
        {
            profile.engine = engine;
        }
        let origins = written.on_stack(&stack.name);
        check_bench(&profile, &origins)?;
        check_model(&profile, &origins)?;
        check_gpu(&profile, &origins)?;
        topology_rules::check(&profile, &origins)?;
        profile.stack.clone_from(&stack.name);
        Ok(Selection {
            profile,
            stack: stack.clone(),
            origins,
            note: None,
        })
    }

    /// Returns true if profiles may serve the goal `name`.
    #[must_use]
    pub fn has_goal(&self, name: &str) -> bool {
        Goal::ALL.iter().any(|goal| goal.name() == name)
    }

    /// Returns true if a profile or a goal has this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.profile_file(name).is_some() || self.has_goal(name)
    }

    /// Finds a profile by its name, or chooses one by its goal.
    ///
    /// # Errors
    /// [`Kind::Usage`] if none meets the criteria, with the nearest name.
    pub fn select(&self, name: &str, criteria: &Criteria) -> Result<Selection> {
        if self.profile_file(name).is_some() {
            let found = self.resolve(name, criteria.stack.as_deref())?;
            let precision = found.profile.precision;
            return match criteria.precision.filter(|required| *required != precision) {
                Some(required) => Err(Error::new(
                    Kind::Usage,
                    format!(
                        "profile `{name}` is {}, not {}",
                        precision.name(),
                        required.name()
                    ),
                )
                .hint(self.of_goal_in(found.profile.goal, required)?)),
                None => Ok(found),
            };
        }
        let profiles = self.built_in_profiles_of_goal(name)?;
        if profiles.is_empty() {
            let goals = Goal::ALL.iter().map(|goal| goal.name());
            let names = self.profiles.iter().map(|file| file.name.as_str());
            return Err(self.unknown_profile(name, names.chain(goals)));
        }
        if let Some(stack) = &criteria.stack {
            self.stack(stack)?;
        }
        let (chosen, reasons) = choose::by_goal(name, profiles, criteria)?;
        let mut found = self.resolve(&chosen, criteria.stack.as_deref())?;
        found.note =
            (!reasons.is_empty()).then(|| format!("profile {chosen} chosen, {}", reasons.join("; ")));
        Ok(found)
    }

    /// Returns the hint for a user who names a profile and another precision than it has.
    fn of_goal_in(&self, goal: Goal, precision: Precision) -> Result<String> {
        let precision_name = precision.name();
        let profiles = self.built_in_profiles_of_goal(goal.name())?;
        Ok(if profiles.iter().any(|profile| profile.precision == precision) {
            format!("use --profile {} --{precision_name}", goal.name())
        } else {
            format!("leave out --{precision_name}")
        })
    }

    /// Returns the error for a name that no profile has.
    fn unknown_profile<'a>(&self, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
        let error = || Error::new(Kind::Usage, format!("unknown profile `{}`", name.escape_debug()));
        let extension = std::path::Path::new(name).extension();
        if extension.is_some_and(|kind| kind.eq_ignore_ascii_case("yaml") || kind.eq_ignore_ascii_case("yml"))
        {
            return error().hint(format!("--profile-file {name} reads a profile of your own"));
        }
        if is_repo(name) {
            let of_repo = |file: &&CatalogFile| {
                let profile = self.resolve(&file.name, None);
                profile.is_ok_and(|found| found.profile.model.repo == name)
            };
            let serving: Vec<&str> = self
                .profiles
                .iter()
                .filter(of_repo)
                .map(|file| file.name.as_str())
                .collect();
            return error()
                .cause("this is a repository and not a profile")
                .hint(if serving.is_empty() {
                    "dsr1 profiles list shows the profiles and their models".to_owned()
                } else {
                    format!("these serve it: {}", serving.join(", "))
                });
        }
        // A port, as docker's -p has it.
        let port = name.split(':').next().unwrap_or_default();
        if !port.is_empty() && name.chars().all(|c| c.is_ascii_digit() || c == ':') {
            return error().hint(format!(
                "this is the place of a profile; the port is --port {port}"
            ));
        }
        let unknown = || spelling::unknown_name("profile", name, known);
        self.broken_file(name, false).unwrap_or_else(unknown)
    }

    /// Returns the built-in profiles of a goal that run on one node. A profile of the user is chosen by its name only, and so is
    /// one for several nodes.
    fn built_in_profiles_of_goal(&self, goal: &str) -> Result<Vec<Profile>> {
        let mut found = Vec::new();
        for file in self.profiles.iter().filter(|file| !file.is_users) {
            // Most files need not be resolved: they state their goal, or inherit it.
            if file.document.text("goal") == Some(goal) || file.document.text("extends").is_some() {
                let profile = self.resolve_known(&file.name, None)?.profile;
                if profile.goal.name() == goal && !profile.is_for_several_nodes() {
                    found.push(profile);
                }
            }
        }
        Ok(found)
    }
}

/// Returns an error about the value at a key of a file.
fn at_key(source: Source<'_>, path: &[&str], message: &str) -> Error {
    let line = yaml::line_of(source.text, path).unwrap_or(1);
    Error::new(Kind::Usage, format!("{}:{line}: {message}", source.origin))
}

fn check_name(name: &str, source: Source<'_>) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!("`{}` is not a name", name.escape_debug());
    Err(at_key(source, &["name"], &message).hint(NAME_RULE))
}

/// Returns the same error with the place of the value that it is about.
fn with_place(place: Option<Place>, error: &Error) -> Error {
    let message = in_place(place, &error.message());
    error
        .hints()
        .iter()
        .fold(Error::new(Kind::Usage, message), |error, hint| {
            error.hint(hint.clone())
        })
}

fn in_place(place: Option<Place>, message: &str) -> String {
    match place {
        Some(place) => format!("{place}: {message}"),
        None => message.to_owned(),
    }
}

/// Refuses paths of a stack that cannot become parts of a URL or of an image, and packages of another version than it states.
fn check_stack(stack: &Stack, origins: &Origins) -> Result<()> {
    let error = |key: &str, message: &str| Error::new(Kind::Usage, in_place(origins.place_of(key), message));
    // In a URL, a path without the slash would become part of the host's name.
    for (key, path) in std::iter::once(("probe", &stack.probe))
        .chain(stack.cache_paths.iter().map(|path| ("cache_paths", path)))
    {
        if !path.starts_with('/') {
            let message = format!("`{}` is not a path", path.escape_debug());
            return Err(error(key, &message).hint("write it with a / at its beginning"));
        }
    }
    if let Some(path) = stack.install.files.keys().find(|path| !is_plain_path(path)) {
        let message = format!("`{}` is not a file name", path.escape_debug());
        return Err(error("install.files", &message).cause(
            "a path below site-packages holds letters, digits and `._-/`, and no part begins with a dot",
        ));
    }
    let pinned = stack.pins.sglang.to_string();
    let other = |package: &&Requirement| {
        package.name() == "sglang" && package.version().split('+').next() != Some(&pinned)
    };
    if let Some(package) = stack.install.packages().find(other) {
        let message = format!("SGLang {pinned} is pinned, but `install` has {package}");
        return Err(error("pins.sglang", &message).hint(
            "name the packages of that version, or `install: {requirements: []}` for the SGLang of the base image",
        ));
    }
    Ok(())
}

/// Refuses a repository and a revision that cannot become paths and parts of a URL.
fn check_model(profile: &Profile, origins: &Origins) -> Result<()> {
    let model = &profile.model;
    for (path, text, is_valid, example) in [
        ("model.repo", &model.repo, is_repo(&model.repo), "owner/name"),
        (
            "model.revision",
            &model.revision,
            is_revision(&model.revision),
            "a branch, a tag or a commit",
        ),
    ] {
        if !is_valid {
            let message = format!("`{}` is not a {path}", text.escape_debug());
            return Err(
                Error::new(Kind::Usage, in_place(origins.place_of(path), &message))
                    .hint(format!("write it as {example}")),
            );
        }
    }
    if let Some(path) = model.path.as_ref().filter(|path| !is_mountable(path)) {
        let message = format!(
            "`{}` is not an absolute path that can be mounted",
            path.escape_debug()
        );
        return Err(
            Error::new(Kind::Usage, in_place(origins.place_of("model.path"), &message))
                .hint("write it as /folder/of/the/model, without commas and quotes"),
        );
    }
    Ok(())
}

/// Refuses a benchmark whose requests cannot reach its load.
fn check_bench(profile: &Profile, origins: &Origins) -> Result<()> {
    let bench = &profile.bench;
    if bench.num_prompts >= bench.max_concurrency {
        return Ok(());
    }
    let message = format!(
        "a benchmark of {} requests cannot have {} in flight",
        bench.num_prompts, bench.max_concurrency
    );
    Err(Error::new(
        Kind::Usage,
        in_place(origins.place_of("bench.num_prompts"), &message),
    )
    .hint("set bench.num_prompts to at least bench.max_concurrency, best to a multiple of it"))
}

/// Refuses a GPU that is not known, or not of a family that the profile is for.
fn check_gpu(profile: &Profile, origins: &Origins) -> Result<()> {
    let Some(name) = &profile.gpu else {
        return Ok(());
    };
    let error = |message: String| {
        let error = Error::new(Kind::Usage, in_place(origins.place_of("gpu"), &message));
        let names = KNOWN_GPUS.map(|gpu| gpu.name);
        match spelling::nearest(name, names.into_iter()) {
            Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
            None => error.hint(format!("the known GPUs are: {}", names.join(", "))),
        }
    };
    match known_gpu(name) {
        None => Err(error(format!("`{}` is not a known GPU", name.escape_debug()))),
        Some(gpu) if !profile.architectures.contains(&gpu.architecture) => Err(error(format!(
            "{} is of the family {}, which `architectures` does not name",
            gpu.name,
            gpu.architecture.name()
        ))),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::gpu::Architecture;
    use crate::profile::schema::Precision;
    use crate::profile::stack::UNKNOWN_PIN;

    fn catalog() -> Catalog {
        Catalog::load(None).unwrap()
    }

    fn criteria(precision: Option<Precision>, family: Option<(u32, Architecture)>) -> Criteria {
        Criteria {
            precision,
            gpus: family.map(|(count, family)| (count, Ok(family))),
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
    fn a_gpu_is_a_known_one_of_the_profiles_families() {
        let refusal = |gpu: &str| {
            let text = format!("name: own\nextends: gb200x8-fp8-low-latency\ngpu: {gpu}\n");
            let resolved = Catalog::load(Some(("own.yaml", &text))).and_then(|one| one.resolve("own", None));
            resolved.err().map(|error| error.message())
        };
        assert_eq!(refusal("NVIDIA GB300"), None);
        for (gpu, said) in [
            ("NVIDIA GB301", "own.yaml:3: `NVIDIA GB301` is not a known GPU"),
            ("NVIDIA H200", "own.yaml:3: NVIDIA H200 is of the family Hopper"),
        ] {
            assert!(
                refusal(gpu).unwrap_or_default().contains(said),
                "{gpu}: {:?}",
                refusal(gpu)
            );
        }
    }

    #[test]
    fn a_goal_never_chooses_a_server_over_several_nodes() {
        let catalog = Catalog::load(None).unwrap();
        for goal in ["low-latency", "high-throughput"] {
            for precision in [Precision::Fp4, Precision::Fp8] {
                for family in [Architecture::Hopper, Architecture::Blackwell] {
                    for count in [4, 8, 16, 72] {
                        let criteria = Criteria {
                            precision: Some(precision),
                            stack: None,
                            gpus: Some((count, Ok(family))),
                        };
                        let Ok(chosen) = catalog.select(goal, &criteria) else {
                            assert_eq!((precision, family), (Precision::Fp4, Architecture::Hopper));
                            continue;
                        };
                        assert!(!chosen.profile.is_for_several_nodes(), "{}", chosen.profile.name);
                    }
                }
            }
        }
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
        let by = |name, precision, gpus| catalog().select(name, &criteria(precision, gpus));
        let blackwell = Some((8, Architecture::Blackwell));
        let found = by("high-throughput", Some(Precision::Fp8), None).unwrap();
        assert_eq!(
            (found.profile.name.as_str(), found.note),
            ("fp8-high-throughput", None)
        );
        let found = by("high-throughput", None, blackwell).unwrap();
        assert_eq!(found.profile.name, "fp4-high-throughput");
        assert!(found.note.unwrap().contains("Blackwell"));
        let found = by("high-throughput", None, Some((8, Architecture::Hopper))).unwrap();
        assert_eq!(found.profile.name, "h200-fp8-high-throughput");
        let found = by("low-latency", None, Some((4, Architecture::Blackwell))).unwrap();
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
        let refused = Criteria {
            gpus: Some((8, Architecture::of("AMD Instinct MI300X", "9.4"))),
            ..Criteria::default()
        };
        let error = catalog().select("high-throughput", &refused).unwrap_err();
        assert_eq!(
            error.causes(),
            ["AMD Instinct MI300X is not supported: the stacks are for NVIDIA GPUs"]
        );
    }

    #[test]
    fn the_requested_stack_chooses_a_profile_that_is_tuned_for_it() {
        let criteria = Criteria {
            precision: Some(Precision::Fp8),
            stack: Some("current".to_owned()),
            gpus: None,
        };
        let found = catalog().select("low-latency", &criteria).unwrap();
        assert_eq!(found.profile.name, "b200-fp8-low-latency");
        let translated = catalog().select("fp8-high-throughput", &criteria).unwrap();
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
            found.origins.place_of("engine.mem_fraction").unwrap().to_string(),
            "own.yaml:4"
        );
        let inherited = found.origins.place_of("engine.radix_cache").unwrap();
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
        // Neither is used for the other; what has another name is.
        let taken = user(&[("a.yaml", "title: x\nname: rehearsal\n")]).unwrap();
        let error = taken.resolve("rehearsal", None).unwrap_err();
        assert_eq!(error.message(), "a.yaml:2: the name `rehearsal` is taken");
        assert_eq!(
            taken.broken()[0],
            "a.yaml:2: the name `rehearsal` is taken: profiles/rehearsal.yaml has this name"
        );
        // The built-in profile of this name is listed.
        let listed = taken.profiles().unwrap();
        assert!(listed.iter().any(|profile| profile.name == "rehearsal"));
        taken.resolve("fp8-low-latency", None).unwrap();
        let twice = user(&[("a.yaml", "name: a\n"), ("b.yaml", "name: a\n")]).unwrap();
        assert_eq!(
            twice.resolve("a", None).unwrap_err().causes(),
            ["a.yaml has this name"]
        );
    }

    fn stacks(texts: &[(&str, &str)]) -> Catalog {
        let file = |(origin, text): &(&str, &str)| UserFile {
            origin: (*origin).to_owned(),
            text: (*text).to_owned(),
        };
        Catalog::with(&UserFiles {
            stacks: texts.iter().map(file).collect(),
            ..UserFiles::default()
        })
        .unwrap()
    }

    #[test]
    fn a_stack_of_four_lines_changes_one_version() {
        // The file that it extends comes later.
        let found = stacks(&[
            ("a.yaml", "name: older\nextends: newer\npins:\n  sglang: 0.5.8\n"),
            (
                "b.yaml",
                "name: newer\nextends: cuda12\npins:\n  sglang: 0.5.18\n",
            ),
        ]);
        let (old, of) = (found.stack("older").unwrap(), found.stack("cuda12").unwrap());
        assert_eq!(old.pins.sglang.to_string(), "0.5.8");
        // Another version of SGLang comes with other packages.
        assert_eq!(old.pins.torch, UNKNOWN_PIN);
        assert_eq!(old.pins.cuda, of.pins.cuda);
        assert_eq!(old.base_image, "lmsysorg/sglang:v0.5.8-cu129");
        assert_eq!(old.title, "SGLang 0.5.8, otherwise as newer");
        assert_eq!(old.launch.command("python3")[1..], ["-m", "sglang.launch_server"]);
        assert_eq!(old.bench, ["-m", "sglang.bench_serving"]);
        assert_eq!((&old.probe, old.gsm8k_host_scheme), (&of.probe, false));
        let origins = found.stack_origins("older").unwrap();
        let place = |path: &str| origins.place_of(path).unwrap().to_string();
        assert_eq!(place("pins.sglang"), "a.yaml:4");
        assert!(place("pins.cuda").starts_with("stacks/cuda12.yaml:"));
        let stated = stacks(&[(
            "a.yaml",
            "name: mine\nextends: cuda12\npins:\n  sglang: 0.5.8\n  torch: 2.9.1\n",
        )]);
        let pins = &stated.stack("mine").unwrap().pins;
        assert_eq!(
            (pins.torch.as_str(), pins.flashinfer.as_str()),
            ("2.9.1", UNKNOWN_PIN)
        );
        assert!(found.stack_text("older").contains("0.5.18"));
        // The profiles of `cuda12` run on it.
        let profile = found
            .resolve("h200-fp8-low-latency", Some("older"))
            .unwrap()
            .profile;
        assert_eq!(profile.stack, "older");
    }

    #[test]
    fn the_digests_of_another_image_are_not_inherited() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let of = |lines: &str| {
            let text = format!("name: mine\nextends: guide\n{lines}");
            stacks(&[("m.yaml", &text)]).stack("mine").unwrap().clone()
        };
        assert_eq!(of("driver_min: 580\n").base_digests.len(), 1);
        assert!(of("base_image: example/sglang:mine\n").base_digests.is_empty());
        let own = of(&format!(
            "base_image: example/sglang:mine\nbase_digests:\n  linux/amd64: {digest}\n"
        ));
        assert_eq!(own.base_digest(Some("linux/amd64")), Some(digest.as_str()));
    }

    #[test]
    fn a_stack_that_is_not_valid_is_named_with_file_and_line_and_leaves_the_others() {
        for (lines, message, hint) in [
            (
                "extends: cuda13\n",
                "m.yaml:2 extends an unknown stack `cuda13`",
                "did you mean `cuda12`?",
            ),
            ("extends: mine\n", "m.yaml:2 closes a circle of `extends`", ""),
            (
                "extends: cuda12\npins:\n  sglan: 0.5.8\n",
                "m.yaml:4 is not valid: unknown field `sglan`",
                "did you mean `sglang`?",
            ),
            (
                "extends: cuda12\npins:\n  sglang: newest\n",
                "m.yaml:4 is not valid",
                "",
            ),
            (
                "extends: cuda12\nprobe: health\n",
                "m.yaml:3: `health` is not a path",
                "write it with a / at its beginning",
            ),
            (
                "extends: guide\npins:\n  sglang: 0.5.8\n",
                "m.yaml:4: SGLang 0.5.8 is pinned, but `install` has sglang==0.4.10.post2",
                "name the packages of that version",
            ),
            ("title: x\n", "m.yaml is not valid: missing field", ""),
        ] {
            let found = stacks(&[
                ("m.yaml", &format!("name: mine\n{lines}")),
                ("n.yaml", "name: fine\nextends: cuda12\n"),
            ]);
            let error = found.stack("mine").unwrap_err();
            assert!(error.message().starts_with(message), "{}", error.message());
            assert!(
                hint.is_empty() || error.hints()[0].starts_with(hint),
                "{:?}",
                error.hints()
            );
            assert_eq!(found.stack("fine").unwrap().pins.sglang.to_string(), "0.5.19");
            assert_eq!(found.broken().len(), 1);
        }
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
    fn a_file_overrides_the_settings_of_its_parent_for_a_stack() {
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
            found.origins.place_of("engine.mem_fraction").unwrap().to_string(),
            "own.yaml:4"
        );
        assert_eq!(
            found.profile.engine.attention_backend.unwrap().name(),
            "trtllm_mla"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_stops_only_what_needs_it() {
        let unread = |origin: &str, is_stack| UnreadFile {
            origin: origin.to_owned(),
            is_stack,
            error: Arc::new(
                Error::new(Kind::Usage, format!("cannot read `{origin}`")).cause("it is a folder"),
            ),
        };
        let files = UserFiles {
            unread: vec![
                unread("profiles/mine.yaml", false),
                unread("profiles/rehearsal.yaml", false),
                unread("stacks/current.yaml", true),
            ],
            ..UserFiles::default()
        };
        let catalog = Catalog::with(&files).unwrap();
        assert_eq!(
            catalog.broken()[0],
            "cannot read `profiles/mine.yaml`: it is a folder"
        );
        assert_eq!(
            catalog.broken_stacks(),
            ["cannot read `stacks/current.yaml`: it is a folder"]
        );
        assert_eq!(catalog.profiles().unwrap().len(), PROFILES.len());
        catalog.resolve("h200-fp8-low-latency", None).unwrap();
        let error = catalog.select("mine", &Criteria::default()).unwrap_err();
        assert_eq!(error.message(), "cannot read `profiles/mine.yaml`");
        assert!(catalog.stack("current").is_err());
    }

    #[test]
    fn a_command_line_in_place_of_a_profile_is_answered_as_one() {
        let text = "python -m sglang.launch_server --tp 8\n";
        let error = Catalog::load(Some(("run.sh", text))).unwrap_err();
        assert!(error.hints()[0].contains("extra_args"), "{:?}", error.hints());
    }
}
