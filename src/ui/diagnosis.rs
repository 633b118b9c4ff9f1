//! A diagnosis: the cause, its place, the remedies, and what else was found.

use super::safe;
use super::table::{aligned, row};
use crate::diagnose::{Diagnosis, Evidence, Verdict};
use crate::report::{ServerState, ServerStatus};
use crate::units::counted;

/// Returns the diagnosis for people, and the state of the server if that says more than the log does.
#[must_use]
pub fn diagnosis(diagnosis: &Diagnosis, server: Option<&ServerStatus>) -> String {
    let state = server.map_or_else(String::new, |server| state_of(server, diagnosis));
    state + &by_log(diagnosis)
}

/// Returns rows about a server that hangs, or ended and logged no cause.
fn state_of(server: &ServerStatus, diagnosis: &Diagnosis) -> String {
    let name = safe(&server.name);
    let cause = server.cause.as_deref().unwrap_or_default();
    match server.state {
        ServerState::Hung => {
            let (cause, remedy) = cause.split_once("; ").unwrap_or((cause, ""));
            aligned(&[
                row(["state", &format!("{name} hangs: {}", safe(cause))]),
                row(["do", &safe(remedy)]),
            ])
        }
        ServerState::Crashed if diagnosis.evidence.is_none() => aligned(&[
            row(["state", &format!("{name} has ended: {}", safe(cause))]),
            row([
                "why",
                "A process that is killed (SIGKILL) logs nothing. The kernel kills one when memory runs out.",
            ]),
            row([
                "do",
                "sudo dmesg -T | grep -i 'killed process' shows what the kernel killed",
            ]),
            row(["or", &format!("dsr1 restart {name} starts it again")]),
        ]),
        _ => String::new(),
    }
}

fn by_log(diagnosis: &Diagnosis) -> String {
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
        rows.push(row(["also", &text]));
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
