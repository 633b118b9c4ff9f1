//! Findings about a model that its files describe, here or at the hub: what its name alone does not tell.

use super::combinations;
use crate::facts::Facts;
use crate::profile::{Accelerator, Architecture, Profile, Stack};
use crate::sglang::check::Check;
use crate::sglang::memory::{From, known_model, machine};
use crate::sglang::resolve::{Checkpoint, resolve};
use crate::sglang::settings::EffectiveSettings;

/// Returns what the engine refuses, replaces or ignores for the files of the profile's model, on the host's GPUs; nothing if
/// the files are not known.
#[must_use]
pub fn of_files(profile: &Profile, stack: &Stack, settings: &EffectiveSettings, facts: &Facts) -> Vec<Check> {
    let (Some((machine, _)), Some((model, from))) = (machine(profile, facts), known_model(profile, facts))
    else {
        return Vec::new();
    };
    if stack.accelerator == Accelerator::Cpu || from == From::Shape {
        return Vec::new();
    }
    let checkpoint = Checkpoint::new(profile, Some(&model));
    let mut found = resolve(settings, machine, &checkpoint).checks;
    found.extend(combinations::of_model(
        settings,
        &model,
        &checkpoint,
        stack.pins.sglang,
    ));
    if model.is_modelopt && machine.architecture == Architecture::Hopper {
        found.push(combinations::nvfp4_on_hopper("model.repo", stack.pins.sglang));
    }
    found
}
