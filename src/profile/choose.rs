//! The choice of a profile by its goal, the precision, the stack and the host's GPUs.

use crate::error::{Error, Kind, Result};
use crate::profile::gpu::Architecture;
use crate::profile::origin::Origins;
use crate::profile::schema::{Precision, Profile};
use crate::profile::stack::Stack;

/// The criteria by which a profile is chosen when only its goal is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Criteria {
    /// Required precision; `None` leaves it to the GPUs.
    pub precision: Option<Precision>,
    /// Required stack; `None` leaves it to the profile.
    pub stack: Option<String>,
    /// Number of the host's GPUs, and their family, or the reason why they are not supported. `None` if the host was not
    /// examined.
    pub gpus: Option<(u32, std::result::Result<Architecture, String>)>,
}

impl Criteria {
    /// Returns the family of the host's GPUs, if it is a supported one.
    fn family(&self) -> Option<Architecture> {
        let (_, family) = self.gpus.as_ref()?;
        family.as_ref().ok().copied()
    }

    /// Returns the reason why no GPU decides.
    fn why_no_family(&self) -> &str {
        match &self.gpus {
            Some((_, Err(reason))) => reason,
            _ => "no GPU is known to choose by",
        }
    }
}

/// A chosen profile, resolved for its stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The profile; its `extends` and its settings for this stack are applied.
    pub profile: Profile,
    /// The stack that it runs on.
    pub stack: Stack,
    /// The file and line of each setting.
    pub origins: Origins,
    /// The reason for the choice, if dsr1 made one.
    pub note: Option<String>,
}

/// Returns the name of the first of `profiles`, all of one goal, that meets the criteria best, and the reasons for the
/// choices that the user left open.
///
/// Without a precision the GPU decides: NVFP4 on Blackwell, FP8 on Hopper (guide, "Note on Quantization Choice").
///
/// # Errors
/// [`Kind::Usage`] if none meets them, or the precision stays open.
pub(super) fn by_goal(
    goal: &str,
    mut profiles: Vec<Profile>,
    criteria: &Criteria,
) -> Result<(String, Vec<String>)> {
    let mut reasons = Vec::new();
    // A server over several nodes is not started where a goal is named: its profile is named.
    profiles.retain(|profile| !profile.is_for_several_nodes());
    let all: Vec<String> = profiles.iter().map(|profile| profile.name.clone()).collect();
    let architecture = criteria.family();
    let precision = precision(goal, &profiles, criteria, &mut reasons)?;
    profiles.retain(|profile| profile.precision == precision);
    if let Some(architecture) = architecture {
        profiles.retain(|profile| {
            profile.architectures.is_empty() || profile.architectures.contains(&architecture)
        });
    }
    if let Some(stack) = &criteria.stack {
        let tuned = |profile: &Profile| profile.stack == *stack;
        if profiles.iter().any(tuned) {
            profiles.retain(tuned);
        } else {
            profiles.retain(|profile| profile.on.contains_key(stack));
        }
    }
    if let Some(&(count, _)) = criteria.gpus.as_ref()
        && profiles.iter().any(|profile| profile.gpus <= count)
    {
        profiles.retain(|profile| profile.gpus <= count);
        let most = profiles.iter().map(|profile| profile.gpus).max().unwrap_or(0);
        if most < 8 && most > 0 {
            reasons.push(format!("for {most} GPUs: the host has {count}"));
        }
        profiles.retain(|profile| profile.gpus == most);
    }
    let chosen = profiles.first().ok_or_else(|| {
        let on = criteria
            .stack
            .as_ref()
            .map_or_else(String::new, |stack| format!(" on stack `{stack}`"));
        let of = architecture.map_or_else(String::new, |gpu| format!(" for {}", gpu.name()));
        Error::new(
            Kind::Usage,
            format!("there is no `{goal}` profile in {}{on}{of}", precision.name()),
        )
        .hint(format!("the profiles of this goal are: {}", all.join(", ")))
    })?;
    if let Some(stack) = &criteria.stack
        && reasons.is_empty()
    {
        reasons.push(format!("the first for stack {stack}"));
    }
    Ok((chosen.name.clone(), reasons))
}

/// Returns the precision: the required one, else that of the GPUs, else that of all profiles if it is one.
fn precision(
    goal: &str,
    profiles: &[Profile],
    criteria: &Criteria,
    reasons: &mut Vec<String>,
) -> Result<Precision> {
    if let Some(required) = criteria.precision {
        return Ok(required);
    }
    match criteria.family() {
        Some(Architecture::Blackwell) => {
            reasons.push("NVFP4: the GPUs are Blackwell".to_owned());
            return Ok(Precision::Fp4);
        }
        Some(Architecture::Hopper) => {
            reasons.push("FP8: the GPUs are Hopper".to_owned());
            return Ok(Precision::Fp8);
        }
        None => {}
    }
    let mut precisions = profiles.iter().map(|profile| profile.precision);
    match precisions.next() {
        Some(first) if precisions.all(|other| other == first) => Ok(first),
        _ => Err(
            Error::new(Kind::Usage, format!("profile `{goal}` exists in two precisions"))
                .cause(criteria.why_no_family())
                .hint("add --fp8 or --fp4"),
        ),
    }
}
