//! One server's flags, the settings that they result in, and the findings about them: the only place that makes them.

use crate::error::Result;
use crate::profile::{EngineSettings, Origins, Profile, Stack};
use crate::sglang::check::Check;
use crate::sglang::deepseek_r1::is_deepseek_r1;
use crate::sglang::dialect::{EngineFlags, Flag, render};
use crate::sglang::flags::{Parsed, Parser, history};
use crate::sglang::settings::EffectiveSettings;
use crate::sglang::{role, rules};

/// A profile as the stack's SGLang version reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The profile's flags and environment, followed by the raw arguments.
    pub flags: EngineFlags,
    /// The settings that result from the flags and the environment.
    pub settings: EffectiveSettings,
    /// Findings about the flags, the worst first.
    pub checks: Vec<Check>,
}

impl Launch {
    /// Reads a profile for a stack. `extra_args` are raw engine arguments of the command line.
    #[must_use]
    pub fn new(profile: &Profile, stack: &Stack, origins: &Origins, extra_args: &[String]) -> Self {
        let version = stack.pins.sglang;
        let table = history(Parser::Server).table(version);
        let mut flags = render(&profile.engine, version);
        role::add(&mut flags, profile, version);
        let of_profile = flags.args.len();
        flags.add_raw(extra_args, rules::COMMAND_LINE);
        let args: Vec<String> = flags.argv().map(str::to_owned).collect();
        let defaults = defaults(profile, &table.parse(&args));
        flags.args.splice(of_profile..of_profile, defaults);
        let args: Vec<String> = flags.argv().map(str::to_owned).collect();
        let parsed = table.parse(&args);
        let settings = EffectiveSettings::new(&parsed, &flags.environment(), version);
        let checks = rules::check(&flags, &parsed, &settings, profile, stack, origins);
        Self {
            flags,
            settings,
            checks,
        }
    }

    /// Reads a profile for a stack, as [`Launch::new`] does, and refuses arguments that the engine would refuse.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] for an argument that dsr1 sets itself, and for the first finding that is an error.
    pub fn accepted(
        profile: &Profile,
        stack: &Stack,
        origins: &Origins,
        extra_args: &[String],
    ) -> Result<Self> {
        let version = stack.pins.sglang;
        rules::check_owned(extra_args, version, "")?;
        let place = origins
            .place_of("engine.extra_args")
            .map_or_else(String::new, |place| format!("{place}: "));
        rules::check_owned(&profile.engine.extra_args, version, &place)?;
        let launch = Self::new(profile, stack, origins, extra_args);
        rules::refuse(&launch.checks, &profile.name, stack)?;
        Ok(launch)
    }
}

/// Returns the flags that dsr1 adds for clients of the endpoint, unless the profile or the user decides: the model's name
/// is the repository and no path, the reasoning is apart from the answer, and `/metrics` exists.
fn defaults(profile: &Profile, given: &Parsed<'_>) -> Vec<Flag> {
    let EngineSettings {
        reasoning_parser,
        metrics,
        ..
    } = &profile.engine;
    let repo = &profile.model.repo;
    let mut flags = Vec::new();
    let mut add = |is_wanted: bool, words: &[&str]| {
        if is_wanted && !given.has_option(words[0]) {
            flags.push(Flag {
                words: words.iter().map(|word| (*word).to_owned()).collect(),
                knob: "dsr1".to_owned(),
            });
        }
    };
    add(true, &["--served-model-name", repo]);
    let splits = reasoning_parser.is_none() && is_deepseek_r1(repo);
    // `deepseek-r1` is a choice in every version from 0.4.9 to 0.5.23 (`reasoning_parser.py`).
    add(splits, &["--reasoning-parser", "deepseek-r1"]);
    add(metrics.is_none(), &["--enable-metrics"]);
    flags
}
