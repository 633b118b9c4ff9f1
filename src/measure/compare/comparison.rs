//! A comparison of two sides, or the reasons against one.

use super::difference::{list_differences, list_missing_of_sides};
use super::ratio::{METRICS, compare_figure};
use super::side::Side;
use crate::report::{Comparison, SideDifference, Subject};

/// Returns the comparison of two sides. It has no ratios if there are reasons against them, unless `anyway` is set.
#[must_use]
pub fn compare_sides(a: &Side, b: &Side, anyway: bool) -> Comparison {
    let differences = list_differences(a, b);
    let mut refusals = a.reasons_for_distrust();
    refusals.extend(b.reasons_for_distrust());
    refusals.extend(refuse_differences(&differences));
    let ratios = if refusals.is_empty() || anyway {
        let all = METRICS.iter().map(|metric| compare_figure(metric, a, b));
        all.filter(|ratio| ratio.a.is_some() || ratio.b.is_some())
            .collect()
    } else {
        Vec::new()
    };
    Comparison {
        a: a.describe(),
        b: b.describe(),
        missing: list_missing_of_sides(a, b),
        differences,
        refusals,
        ratios,
    }
}

/// Returns the reasons against ratios: a figure of another load or another definition is another figure.
pub(super) fn refuse_differences(differences: &[SideDifference]) -> Vec<String> {
    let refused = differences.iter().filter(|one| {
        let is_refused = matches!(one.subject, Subject::Load | Subject::Definitions);
        is_refused && one.matters
    });
    refused
        .map(|one| {
            let of = match one.subject {
                Subject::Load => "load",
                _ => "meaning of the figures",
            };
            format!("the {of} differs: {} is {} in A, {} in B", one.what, one.a, one.b)
        })
        .collect()
}
