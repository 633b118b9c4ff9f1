//! The stacks and profiles inside the binary, and how a name on the command line finds one.

use serde::{Deserialize, Serialize};

use super::schema::Profile;
use super::stack::Stack;
use super::yaml;
use crate::error::{Error, Kind, Result};

/// Built-in profile files: name and text. A new profile is one line here and one file.
const PROFILES: [(&str, &str); 5] = [
    (
        "profiles/fp4-basic.yaml",
        include_str!("../../profiles/fp4-basic.yaml"),
    ),
    (
        "profiles/fp4-high-throughput.yaml",
        include_str!("../../profiles/fp4-high-throughput.yaml"),
    ),
    (
        "profiles/fp8-high-throughput.yaml",
        include_str!("../../profiles/fp8-high-throughput.yaml"),
    ),
    (
        "profiles/fp8-low-latency.yaml",
        include_str!("../../profiles/fp8-low-latency.yaml"),
    ),
    (
        "profiles/rehearsal.yaml",
        include_str!("../../profiles/rehearsal.yaml"),
    ),
];

/// Built-in stack files: name and text.
const STACKS: [(&str, &str); 2] = [
    ("stacks/cpu.yaml", include_str!("../../stacks/cpu.yaml")),
    ("stacks/guide.yaml", include_str!("../../stacks/guide.yaml")),
];

/// Number format of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// NVFP4: 4-bit floats with block scales; Blackwell only.
    Fp4,
    /// FP8 with 128x128 block scales, the format DeepSeek publishes.
    Fp8,
    /// bfloat16.
    Bf16,
}

impl Precision {
    /// The spelling used in profiles and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp4 => "fp4",
            Self::Fp8 => "fp8",
            Self::Bf16 => "bf16",
        }
    }
}

/// A profile that was chosen, and why when the name left it open.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The profile.
    pub profile: Profile,
    /// Its stack.
    pub stack: Stack,
    /// The choice in words, when dsr1 made one.
    pub note: Option<String>,
}

/// All known stacks and profiles.
#[derive(Debug, Clone)]
pub struct Catalog {
    profiles: Vec<Profile>,
    stacks: Vec<Stack>,
    overlay: Option<(String, String)>,
}

impl Catalog {
    /// Parses the built-in files, and `overlay` (file name and text) on top when given.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the overlay is not a valid profile.
    pub fn load(overlay: Option<(&str, &str)>) -> Result<Self> {
        let parse_all = |(origin, text): (&str, &str)| yaml::parse::<Profile>(text, origin);
        let mut profiles: Vec<Profile> = PROFILES.into_iter().map(parse_all).collect::<Result<_>>()?;
        let stacks = STACKS
            .into_iter()
            .map(|(origin, text)| yaml::parse(text, origin))
            .collect::<Result<_>>()?;
        let mut overlaid = None;
        if let Some((origin, text)) = overlay {
            let own: Profile = yaml::parse(text, origin)?;
            check_name(&own.name, origin)?;
            if profiles.iter().any(|profile| profile.name == own.name) {
                return Err(
                    Error::new(Kind::Usage, format!("{origin}: the name `{}` is taken", own.name))
                        .hint("give the profile a name of its own; built-in ones cannot be replaced"),
                );
            }
            overlaid = Some((own.name.clone(), text.to_owned()));
            profiles.push(own);
        }
        Ok(Self {
            profiles,
            stacks,
            overlay: overlaid,
        })
    }

    /// Every profile, in the order of their names.
    #[must_use]
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Name of the profile that was laid on top.
    #[must_use]
    pub fn overlay(&self) -> Option<&str> {
        self.overlay.as_ref().map(|(name, _)| name.as_str())
    }

    /// The text that a profile was parsed from.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&str> {
        let own = self
            .overlay
            .as_ref()
            .filter(|(own, _)| own == name)
            .map(|(_, text)| text.as_str());
        let file = format!("profiles/{name}.yaml");
        own.or_else(|| {
            PROFILES
                .iter()
                .find(|(origin, _)| *origin == file)
                .map(|(_, text)| *text)
        })
    }

    /// The stack of that name.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the nearest name.
    pub fn stack(&self, name: &str) -> Result<&Stack> {
        let names = || self.stacks.iter().map(|stack| stack.name.as_str());
        self.stacks
            .iter()
            .find(|stack| stack.name == name)
            .ok_or_else(|| unknown("stack", name, names()))
    }

    /// Finds a profile by its name, or by its goal with a precision.
    ///
    /// Without a precision the GPU decides: NVFP4 on Blackwell, FP8 on Hopper (guide, "Note on Quantization
    /// Choice"). `blackwell` is `None` when no GPU is known.
    ///
    /// # Errors
    /// [`Kind::Usage`] when nothing fits, with the nearest name.
    pub fn select(
        &self,
        name: &str,
        precision: Option<Precision>,
        blackwell: Option<bool>,
    ) -> Result<Selection> {
        if let Some(profile) = self.profiles.iter().find(|profile| profile.name == name) {
            if let Some(asked) = precision.filter(|asked| *asked != profile.precision) {
                return Err(Error::new(
                    Kind::Usage,
                    format!(
                        "profile `{name}` is {}, not {}",
                        profile.precision.name(),
                        asked.name()
                    ),
                )
                .hint(format!("use --profile {}", profile.goal.name())));
            }
            return self.selection(profile, None);
        }
        let fitting: Vec<&Profile> = self
            .profiles
            .iter()
            .filter(|profile| profile.goal.name() == name)
            .collect();
        if fitting.is_empty() {
            let goals = self.profiles.iter().map(|profile| profile.goal.name());
            let names = self.profiles.iter().map(|profile| profile.name.as_str());
            return Err(unknown("profile", name, names.chain(goals)));
        }
        let (wanted, why) = match (precision, blackwell) {
            (Some(asked), _) => (asked, None),
            (None, Some(true)) => (Precision::Fp4, Some("NVFP4: the GPUs are Blackwell")),
            (None, Some(false)) => (Precision::Fp8, Some("FP8: the GPUs are not Blackwell")),
            (None, None) if fitting.len() == 1 => (fitting[0].precision, None),
            (None, None) => {
                return Err(
                    Error::new(Kind::Usage, format!("profile `{name}` exists in two precisions"))
                        .cause("no GPU is known to choose by")
                        .hint("add --fp8 or --fp4"),
                );
            }
        };
        let profile = fitting
            .iter()
            .find(|profile| profile.precision == wanted)
            .ok_or_else(|| {
                let have: Vec<&str> = fitting.iter().map(|profile| profile.name.as_str()).collect();
                Error::new(
                    Kind::Usage,
                    format!("there is no `{name}` profile in {}", wanted.name()),
                )
                .hint(format!("there is: {}", have.join(", ")))
            })?;
        self.selection(
            profile,
            why.map(|why| format!("profile {} chosen, {why}", profile.name)),
        )
    }

    fn selection(&self, profile: &Profile, note: Option<String>) -> Result<Selection> {
        Ok(Selection {
            profile: profile.clone(),
            stack: self.stack(&profile.stack)?.clone(),
            note,
        })
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let error = Error::new(Kind::Usage, format!("unknown {what} `{name}`"));
    if let Some(nearest) = yaml::nearest(name, known.clone()) {
        error.hint(format!("did you mean `{nearest}`?"))
    } else {
        let mut names: Vec<&str> = known.collect();
        names.sort_unstable();
        names.dedup();
        error.hint(format!("known: {}", names.join(", ")))
    }
}

/// Profile names become container names, file names and labels.
fn check_name(name: &str, origin: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!("{origin}: `{}` is not a profile name", name.escape_debug()),
    )
    .hint("use lower-case letters, digits and dashes, 40 at most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        Catalog::load(None).unwrap()
    }

    #[test]
    fn built_in_names_are_valid_and_match_their_files() {
        for (profile, (file, _)) in catalog().profiles().iter().zip(PROFILES) {
            check_name(&profile.name, file).unwrap();
            assert_eq!(file, format!("profiles/{}.yaml", profile.name));
            catalog().stack(&profile.stack).unwrap();
        }
    }

    #[test]
    fn goal_and_precision_find_the_profile() {
        let by = |name, precision, blackwell| catalog().select(name, precision, blackwell);
        let found = by("high-throughput", Some(Precision::Fp8), None).unwrap();
        assert_eq!(
            (found.profile.name.as_str(), found.note),
            ("fp8-high-throughput", None)
        );
        let found = by("high-throughput", None, Some(true)).unwrap();
        assert_eq!(found.profile.name, "fp4-high-throughput");
        assert!(found.note.unwrap().contains("Blackwell"));
        assert_eq!(
            by("high-throughput", None, None).unwrap_err().hints(),
            ["add --fp8 or --fp4"]
        );
        assert_eq!(
            by("low-latency", None, None).unwrap().profile.name,
            "fp8-low-latency"
        );
        assert_eq!(
            by("reharsal", None, None).unwrap_err().hints(),
            ["did you mean `rehearsal`?"]
        );
        assert!(by("fp8-low-latency", Some(Precision::Fp4), None).is_err());
    }

    #[test]
    fn an_overlay_cannot_replace_a_built_in_profile() {
        let text = PROFILES[4].1;
        assert!(
            Catalog::load(Some(("own.yaml", text)))
                .unwrap_err()
                .message()
                .contains("is taken")
        );
        let own = text.replace("name: rehearsal", "name: mine");
        assert_eq!(
            Catalog::load(Some(("own.yaml", &own))).unwrap().profiles().len(),
            6
        );
    }
}
