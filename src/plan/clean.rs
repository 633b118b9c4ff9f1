//! The choice of the things that `dsr1 clean` removes. Weights are not among it: `dsr1 weights rm` removes them by name.

use serde::Serialize;

use crate::units::Bytes;

/// A sort of things that dsr1 makes on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A venv of the engine's packages.
    Venv,
    /// Fetched packages that a venv has.
    Packages,
    /// Fetched packages that no venv has.
    UnusedPackages,
    /// The rest of an interrupted installation.
    Unfinished,
    /// The container of a short command that was killed.
    Container,
    /// An image.
    Image,
    /// A volume with compiled kernels.
    Volume,
    /// Temporary files of a server that ended by itself.
    Temporary,
    /// The model of the rehearsal.
    Model,
    /// The log of a server.
    Log,
    /// The file with a result.
    Result,
    /// The file with the measurements of a start.
    Start,
    /// The table of an image that was verified after its build.
    ImageTable,
    /// The shape of a model that is not pulled.
    ModelShape,
    /// An installed engine's answer about arguments.
    EngineAnswer,
}

impl ItemKind {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Venv => "venv",
            Self::Packages => "packages",
            Self::UnusedPackages => "unused packages",
            Self::Unfinished => "unfinished",
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Temporary => "temporary files",
            Self::Model => "model",
            Self::Log => "log",
            Self::Result => "result",
            Self::Start => "measured start",
            Self::ImageTable => "image table",
            Self::ModelShape => "model shape",
            Self::EngineAnswer => "engine answer",
        }
    }
}

/// The reason to leave an item that another command installs or removes, `clean` among them.
pub const BUSY: &str = "another dsr1 installs or removes it";

/// The use of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// Something runs on it; its name.
    By(String),
    /// Another command has it alone, to install or to remove it.
    Busy,
    /// It is not only dsr1's; the reason.
    Foreign(String),
    /// A command of this dsr1 would use it again.
    Current,
    /// Somebody else may use it; the reason.
    Doubt(String),
    /// No command of this dsr1 would use it.
    None,
    /// An interrupted command left it.
    Unfinished,
    /// It is a record of the past, written or used this many seconds ago.
    Record(u64),
    /// It is a measurement of the past, this many seconds old, which nothing can make again.
    Measurement(u64),
}

/// Something that dsr1 made on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its sort.
    pub kind: ItemKind,
    /// Its path, or its name in the Docker daemon.
    pub name: String,
    /// The disk space that it takes, in bytes; `None` if that is not known.
    pub bytes: Option<u64>,
    /// Its use.
    #[serde(skip)]
    pub used: Use,
}

/// The options of `dsr1 clean`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanOptions {
    /// True to remove also what this dsr1 would use again.
    pub all: bool,
    /// Age from which a record is removed, in seconds.
    pub older_than_s: u64,
}

/// An item and its fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The item.
    #[serde(flatten)]
    pub item: Item,
    /// True if it is removed, all of it.
    pub remove: bool,
    /// The disk space that became free although its removal did not end, in bytes; `None` unless a part of it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partly_freed_bytes: Option<u64>,
    /// The reason.
    pub why: String,
}

/// Returns the fate of each item, those to remove first.
#[must_use]
pub fn choose(items: Vec<Item>, options: CleanOptions) -> Vec<Choice> {
    let mut choices: Vec<Choice> = items
        .into_iter()
        .map(|item| {
            let (remove, why) = fate(&item, options);
            Choice {
                item,
                remove,
                partly_freed_bytes: None,
                why,
            }
        })
        .collect();
    choices.sort_by_key(|choice| !choice.remove);
    choices
}

fn fate(item: &Item, options: CleanOptions) -> (bool, String) {
    const DAY: u64 = 86_400;
    let least = options.older_than_s / DAY;
    match &item.used {
        Use::By(name) => (false, format!("{name} uses it")),
        Use::Busy => (false, BUSY.to_owned()),
        Use::Foreign(why) => (false, why.clone()),
        Use::None => (true, "no stack of this dsr1 uses it".to_owned()),
        Use::Unfinished => (true, "an interrupted command left it".to_owned()),
        Use::Current if options.all => (
            true,
            "this dsr1 would make it again: --all removes it, too".to_owned(),
        ),
        Use::Doubt(why) if options.all => (true, format!("{why}: --all removes it, too")),
        Use::Record(_)
            if options.all && matches!(item.kind, ItemKind::Packages | ItemKind::UnusedPackages) =>
        {
            (
                true,
                "an installation would fetch them again: --all removes them, too".to_owned(),
            )
        }
        Use::Current => (false, "this dsr1 would use it again; --all removes it".to_owned()),
        Use::Doubt(why) => (false, format!("{why}; --all removes it")),
        Use::Measurement(age) if !options.all => {
            let days = if *age >= options.older_than_s {
                ""
            } else {
                " --older-than 0"
            };
            (false, format!("a measurement; --all{days} removes it"))
        }
        Use::Record(age) | Use::Measurement(age) if *age >= options.older_than_s => {
            (true, format!("{} days old", age / DAY))
        }
        Use::Record(_) | Use::Measurement(_) => (
            false,
            format!("younger than {least} days; --older-than 0 removes it"),
        ),
    }
}

/// Returns the bytes of the items that are removed, whole or in part.
#[must_use]
pub fn freed(choices: &[Choice]) -> Bytes {
    let bytes = |choice: &Choice| {
        if choice.remove {
            choice.item.bytes
        } else {
            choice.partly_freed_bytes
        }
    };
    Bytes(choices.iter().filter_map(bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_is_only_the_name_of_an_option() {
        let uses = [
            Use::Current,
            Use::Doubt("x".to_owned()),
            Use::Record(0),
            Use::Measurement(0),
        ];
        for used in uses {
            let item = Item {
                kind: ItemKind::Packages,
                name: "x".to_owned(),
                bytes: None,
                used,
            };
            let options = CleanOptions {
                all: true,
                older_than_s: 0,
            };
            let why = choose(vec![item], options).remove(0).why;
            assert!(!why.starts_with("--") && why.contains(' '), "{why}");
        }
    }

    #[test]
    fn what_is_in_use_stays_and_records_go_by_their_age() {
        let item = |name: &str, used| Item {
            kind: ItemKind::Venv,
            name: name.to_owned(),
            bytes: Some(1),
            used,
        };
        let items = || {
            vec![
                item("served", Use::By("dsr1-a".to_owned())),
                item("tagged", Use::Foreign("it has a tag of your own".to_owned())),
                item("today", Use::Current),
                item("shared", Use::Doubt("another host may use it".to_owned())),
                item("half", Use::Unfinished),
                item("measurement", Use::Measurement(40 * 86_400)),
                item("old", Use::None),
                item("log of yesterday", Use::Record(86_400)),
                item("log of 40 days", Use::Record(40 * 86_400)),
            ]
        };
        let removed = |all, days: u64| -> Vec<String> {
            let options = CleanOptions {
                all,
                older_than_s: days * 86_400,
            };
            let choices = choose(items(), options);
            assert_eq!(
                freed(&choices).0,
                choices.iter().filter(|one| one.remove).count() as u64
            );
            let removed = choices.into_iter().take_while(|choice| choice.remove);
            removed.map(|choice| choice.item.name).collect()
        };
        assert_eq!(removed(false, 30), ["half", "old", "log of 40 days"]);
        assert_eq!(
            removed(true, 30),
            ["today", "shared", "half", "measurement", "old", "log of 40 days"]
        );
        assert_eq!(
            removed(false, 0),
            ["half", "old", "log of yesterday", "log of 40 days"]
        );
    }
}
