//! A diagnosis: the cause, its place, the remedies, and what else was found.

use super::safe;
use super::table::{aligned, row};
use crate::diagnose::{Diagnosis, Evidence, Verdict};
use crate::units::counted;

/// Returns the diagnosis for people.
#[must_use]
pub fn diagnosis(diagnosis: &Diagnosis) -> String {
    let Diagnosis {
        verdict,
        kind,
        title,
        why,
        exception,
        fix,
        evidence,
        others,
        was_ready,
        stage,
        lines,
        fraction: _,
    } = diagnosis;
    let Some(evidence) = evidence else {
        let lines = counted(usize::try_from(*lines).unwrap_or(usize::MAX), "line");
        let state = match (was_ready, stage) {
            (true, _) => "; the engine was ready".to_owned(),
            (false, Some(stage)) => format!("; the log ends in the stage {}", stage.title()),
            (false, None) => String::new(),
        };
        return format!("no failure found in {lines}{state}\n");
    };
    let label = match verdict {
        Verdict::Failure => "cause",
        Verdict::Consequence => "effect",
        Verdict::Stopped | Verdict::NoFailure => "stopped",
    };
    let mut rows = vec![
        row([label, &format!("{} ({kind})", safe(title))]),
        row(["where", &place_of(evidence)]),
        row(["line", &safe(&evidence.text)]),
    ];
    if let Some(exception) = exception
        .as_ref()
        .filter(|text| !text.starts_with(&evidence.text))
    {
        rows.push(row(["exception", &safe(exception)]));
    }
    rows.push(row(["why", &safe(why)]));
    if *verdict == Verdict::Consequence {
        rows.push(row([
            "",
            "The cause is in the log of another rank or node, or was not logged.",
        ]));
    }
    for (index, fix) in fix.iter().enumerate() {
        let label = if index == 0 { "do" } else { "or" };
        rows.push(row([label, &safe(fix)]));
    }
    for other in others {
        let text = format!(
            "{} ({}): {}, {}",
            safe(&other.title),
            other.kind,
            other.why_not,
            place_of(&other.evidence)
        );
        rows.push(row(["not", &text]));
    }
    aligned(&rows)
}

fn place_of(evidence: &Evidence) -> String {
    let mut words = Vec::new();
    if let Some(rank) = &evidence.rank {
        words.push(format!("rank {}", safe(rank)));
    }
    words.push(format!("line {} of {}", evidence.line, safe(&evidence.file)));
    if let Some(origin) = &evidence.origin {
        words.push(safe(origin).into_owned());
    }
    if let Some(time) = &evidence.time {
        words.push(safe(time).into_owned());
    }
    if let Some(stage) = evidence.stage {
        words.push(match stage {
            crate::event::Stage::Ready => "after READY".to_owned(),
            stage => format!("during {}", stage.title()),
        });
    }
    words.join(", ")
}
