//! The servers on this host.

use std::fmt::Write;
use std::time::Duration;

use super::table::{aligned, row, width};
use crate::report::{Load, ServerEvent, ServerState, ServerStatus};
use crate::units;

/// Columns that are always shown: a narrower terminal wraps them.
const NEEDED: usize = 7;

/// Returns one line for each server, and below the table the cause of each that ended or hangs. The last columns of the table are
/// left out if the terminal is too narrow for them.
#[must_use]
pub fn status(servers: &[ServerStatus], columns: usize) -> String {
    if servers.is_empty() {
        return "no servers; processes of other users are not listed\n".to_owned();
    }
    let mut rows = vec![row([
        "NAME", "STATE", "AGE", "RUNNING", "WAITING", "TOKENS/S", "KV", "URL", "PROFILE", "RUNTIME", "ID",
    ])];
    rows.extend(servers.iter().map(|server| {
        // Docker shortens ids in the same way.
        let id: String = server.id.chars().take(12).collect();
        let [running, waiting, rate, kv] = load(server.load.as_ref());
        let age = server.age_s.map_or_else(|| "-".to_owned(), age);
        row([
            &server.name,
            &state(server),
            &age,
            &running,
            &waiting,
            &rate,
            &kv,
            &server.base_url,
            &server.profile,
            &server.runtime,
            &id,
        ]
        .map(String::as_str))
    }));
    let mut out = aligned(&rows);
    while rows[0].len() > NEEDED && out.lines().any(|line| width(line) > columns) {
        for row in &mut rows {
            row.pop();
        }
        out = aligned(&rows);
    }
    for server in servers {
        let name = super::safe(&server.name);
        let cause = server.cause.as_deref().map(super::safe);
        let _ = match (server.state, cause) {
            (ServerState::Hung, Some(cause)) => writeln!(out, "{name} hangs: {cause}"),
            (ServerState::Crashed, Some(cause)) => {
                writeln!(out, "{name} ended: {cause}; dsr1 diagnose {name} says more")
            }
            (ServerState::Stopped, Some(cause)) => writeln!(out, "{name} does not run: {cause}"),
            (ServerState::Crashed, None) => writeln!(out, "hint: dsr1 logs {name} shows why it ended"),
            _ => Ok(()),
        };
    }
    out
}

/// Returns the requests that are computed and those that wait, the rate of generated tokens and the use of the KV pool.
fn load(load: Option<&Load>) -> [String; 4] {
    let Some(load) = load else {
        return ["-", "-", "-", "-"].map(str::to_owned);
    };
    [
        load.running.to_string(),
        load.unfinished().saturating_sub(load.running).to_string(),
        format!("{:.0}", load.tokens_per_s),
        format!("{:.0} %", load.kv_use * 100.0),
    ]
}

/// Returns an age in its two largest units.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..86_400 => units::duration(Duration::from_secs(seconds)),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns a state in a few words: with the stage of a start, and with the exit code of an end.
pub(super) fn state(server: &ServerStatus) -> String {
    let word = server.state.word();
    match (server.state, server.exit_code, &server.stage) {
        (ServerState::Starting, _, Some(stage)) => format!("{word} ({stage})"),
        (ServerState::Crashed | ServerState::Stopped, Some(code), _) => format!("{word} ({code})"),
        _ => word.to_owned(),
    }
}

/// Returns a line for each event.
#[must_use]
pub fn events(events: &[ServerEvent]) -> String {
    events.iter().map(|event| event_line(event) + "\n").collect()
}

/// Returns an event in a line, without its end.
pub(super) fn event_line(event: &ServerEvent) -> String {
    let text = if event.text.is_empty() {
        String::new()
    } else {
        format!(": {}", super::safe(&event.text))
    };
    let (at, server) = (super::safe(&event.at), super::safe(&event.server));
    format!("{at}  {server}  {}{text}", event.what.title())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, state: ServerState, exit_code: Option<i64>) -> ServerStatus {
        ServerStatus {
            name: name.to_owned(),
            runtime: "docker".to_owned(),
            state,
            id: "3f2a9c0d1e4b5a69788796a5b4c3d2e1".to_owned(),
            profile: "fp8-low-latency".to_owned(),
            stack: "guide".to_owned(),
            base_url: "http://127.0.0.1:30000".to_owned(),
            model: "/models/x".to_owned(),
            served_model: None,
            exit_code,
            cause: None,
            age_s: (!state.has_ended()).then_some(7500),
            stage: None,
            load: None,
        }
    }

    #[test]
    fn servers_are_a_table() {
        assert_eq!(
            status(&[], 80),
            "no servers; processes of other users are not listed\n"
        );
        let all = [
            ServerStatus {
                load: Some(Load {
                    running: 48,
                    queued: 12,
                    tokens_per_s: 1830.4,
                    kv_use: 0.417,
                    ..Load::default()
                }),
                ..server("fp8-low-latency", ServerState::Busy, None)
            },
            server("plain", ServerState::Ready, None),
            ServerStatus {
                stage: Some("load weights".to_owned()),
                ..server("mine", ServerState::Starting, None)
            },
            ServerStatus {
                cause: Some(
                    "its process 7 is stopped by a signal (SIGSTOP); kill -CONT 7 resumes it".to_owned(),
                ),
                ..server("stuck", ServerState::Hung, None)
            },
            server("ending", ServerState::Draining, None),
            ServerStatus {
                cause: Some("GPU memory ran out under load".to_owned()),
                ..server("old", ServerState::Crashed, Some(137))
            },
            server("asked", ServerState::Stopped, Some(0)),
        ];
        insta::assert_snapshot!(status(&all, usize::MAX));
        insta::assert_snapshot!("servers_of_80_columns", status(&all, 80));
        let document = include_str!("../../docs/operating.md");
        assert!(
            document.contains(&status(&all, 80)),
            "docs/operating.md shows another table"
        );
    }
}
