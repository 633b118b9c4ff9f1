//! The servers on this host.

use std::fmt::Write;

use super::table::{aligned, row};
use crate::report::{ServerState, ServerStatus};

/// Returns one line for each server, and below the table a hint for each that ended.
#[must_use]
pub fn status(servers: &[ServerStatus]) -> String {
    if servers.is_empty() {
        return "no servers; processes of other users are not listed\n".to_owned();
    }
    let mut rows = vec![row(["NAME", "STATE", "URL", "PROFILE", "STACK", "RUNTIME", "ID"])];
    rows.extend(servers.iter().map(|server| {
        // Docker shortens ids in the same way.
        let id: String = server.id.chars().take(12).collect();
        row([
            &server.name,
            &state(server),
            &server.base_url,
            &server.profile,
            &server.stack,
            &server.runtime,
            &id,
        ]
        .map(String::as_str))
    }));
    let mut out = aligned(&rows);
    for server in servers
        .iter()
        .filter(|server| matches!(server.state, ServerState::Exited | ServerState::Hung))
    {
        let name = super::safe(&server.name);
        let _ = match &server.cause {
            Some(cause) if server.state == ServerState::Hung => {
                writeln!(out, "{name} hangs: {}", super::safe(cause))
            }
            Some(cause) => writeln!(out, "{name} ended: {}; dsr1 diagnose {name}", super::safe(cause)),
            None => writeln!(out, "hint: dsr1 logs {name} shows why it ended"),
        };
    }
    out
}

fn state(server: &ServerStatus) -> String {
    match (server.state, server.exit_code) {
        (ServerState::Ready, _) => "ready".to_owned(),
        (ServerState::Starting, _) => "starting".to_owned(),
        (ServerState::Hung, _) => "hung".to_owned(),
        (ServerState::Exited, Some(code)) => format!("exited ({code})"),
        (ServerState::Exited, None) => "exited".to_owned(),
    }
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
        }
    }

    #[test]
    fn servers_are_a_table() {
        assert_eq!(
            status(&[]),
            "no servers; processes of other users are not listed\n"
        );
        let all = [
            server("fp8-low-latency", ServerState::Ready, None),
            server("mine", ServerState::Starting, None),
            server("old", ServerState::Exited, Some(137)),
        ];
        insta::assert_snapshot!(status(&all));
    }
}
