//! Profiles that fit a load.

use super::safe;
use super::table::{aligned, row};
use crate::plan::advise::{Advice, Load};

/// Returns the best profile with its reasons and a command, then one line for each other profile.
#[must_use]
pub fn advice(load: Load, hardware: &str, advice: &[Advice]) -> String {
    let mut text = safe(&format!(
        "{} requests of {} + {} tokens, {}; {hardware}",
        load.concurrency,
        load.input_len,
        load.output_len,
        load.goal.name()
    ))
    .into_owned();
    text.push_str("\n\n");
    let Some(best) = advice.first().filter(|best| best.fits) else {
        text.push_str(
            "no profile fits; dsr1 profiles new NAME --for-host writes one for this host, if one can run\n\n",
        );
        text.push_str(&others(advice));
        return text;
    };
    let mut rows = vec![row(["use", &format!("{} on stack {}", best.profile, best.stack)])];
    rows.extend(best.reasons.iter().map(|reason| row(["", reason])));
    let mut label = "change";
    for setting in &best.settings {
        rows.push(row([label, setting]));
        label = "";
    }
    rows.push(row([
        "see",
        &format!("dsr1 plan --profile {} --stack {}", best.profile, best.stack),
    ]));
    if !best.settings.is_empty() {
        rows.push(row([
            "",
            &format!("dsr1 profiles new mine --from {}", best.profile),
        ]));
    }
    text.push_str(&aligned(&rows));
    if advice.len() > 1 {
        text.push('\n');
        text.push_str(&others(&advice[1..]));
    }
    text
}

fn others(advice: &[Advice]) -> String {
    let rows: Vec<Vec<String>> = advice
        .iter()
        .map(|one| {
            let fits = match (one.fits, one.limited) {
                (true, false) => "fits",
                (true, true) => "limited",
                (false, _) => "no",
            };
            row([fits, &one.profile, &one.stack, &one.reasons.join("; ")])
        })
        .collect();
    aligned(&rows)
}
