//! One server's flags, the settings that they result in, and the findings about them, made once for all who need them.

use crate::error::Result;
use crate::profile::{Origins, Profile, Stack};
use crate::sglang::check::Check;
use crate::sglang::dialect::{EngineFlags, render};
use crate::sglang::flags::{Parser, history};
use crate::sglang::rules;
use crate::sglang::settings::EffectiveSettings;

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
        let mut flags = render(&profile.engine, version);
        flags.add_raw(extra_args, rules::COMMAND_LINE);
        let args: Vec<String> = flags.argv().map(str::to_owned).collect();
        let table = history(Parser::Server).table(version);
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
