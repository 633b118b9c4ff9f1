//! The server that a user means: by its name, by its ID, or the only one.

use crate::error::{Error, Kind, Result};
use crate::plan::container_name;
use crate::profile::spelling;
use crate::report::{ServerState, ServerStatus};

/// Shortest beginning of an ID that is taken for it.
const SHORTEST_ID: usize = 4;

/// The ID of a process that ended.
const NO_ID: &str = "-";

/// Returns the index of the server that `name` names: its name with or without `dsr1-`, its process ID, or the beginning of
/// its container's ID. Without a name it is the only server in a state of `fits`.
///
/// # Errors
/// [`Kind::Usage`] when there is none, or several; [`Kind::Server`] when it is in another state.
pub(super) fn pick(servers: &[ServerStatus], name: Option<&str>, fits: &[ServerState]) -> Result<usize> {
    let is_wanted = |server: &ServerStatus| match name {
        Some(name) => server.name == name || server.name == container_name(name),
        None => fits.contains(&server.state),
    };
    let mut found = indices(servers, is_wanted);
    if let Some(name) = name.filter(|_| found.is_empty()) {
        found = indices(servers, |server| has_id(server, name));
    }
    match (found.as_slice(), name) {
        // A client of a server that does not take requests would fail or wait without end, also of one that is named.
        ([index], _) if !fits.contains(&servers[*index].state) => {
            Err(in_other_states(&servers[*index..=*index]))
        }
        ([index], _) => Ok(*index),
        ([], Some(name)) => Err(unknown(servers, name)),
        ([], None) => Err(in_other_states(servers)),
        // Two servers of one name differ in their IDs.
        (several, _) => {
            let named: Vec<String> = several.iter().map(|index| described(&servers[*index])).collect();
            Err(Error::new(Kind::Usage, "there is more than one server")
                .hint(format!("name one of: {}", named.join(", ")))
                .hint("an ID of dsr1 status names a server as well as its name"))
        }
    }
}

fn indices(servers: &[ServerStatus], is_wanted: impl Fn(&ServerStatus) -> bool) -> Vec<usize> {
    let all = servers.iter().enumerate();
    all.filter(|(_, server)| is_wanted(server))
        .map(|(index, _)| index)
        .collect()
}

fn has_id(server: &ServerStatus, name: &str) -> bool {
    (server.id == name && name != NO_ID)
        || (name.len() >= SHORTEST_ID && server.runtime == "docker" && server.id.starts_with(name))
}

fn described(server: &ServerStatus) -> String {
    let id: String = server.id.chars().take(12).collect();
    let of = if server.runtime == "docker" {
        "container"
    } else {
        "process"
    };
    format!("{} ({}, {of} {id})", server.name, server.state.word())
}

fn unknown(servers: &[ServerStatus], name: &str) -> Error {
    let error = Error::new(
        Kind::Usage,
        format!("there is no server `{}`", name.escape_debug()),
    );
    if servers.is_empty() {
        return error.hint(
            "no server of this user is running: dsr1 serve --profile NAME starts one; those of other users are not seen",
        );
    }
    let names = servers.iter().map(|server| server.name.as_str());
    let full = container_name(name);
    let error = match spelling::nearest(&full, names) {
        Some(meant) => error.hint(format!("did you mean {meant}?")),
        None => error,
    };
    let known: Vec<String> = servers.iter().map(described).collect();
    error.hint(format!("name one of: {}", known.join(", ")))
}

/// Returns the error for a command that needs a server which runs, and names one that ended and is not there any more.
pub(super) fn gone(server: &ServerStatus) -> Error {
    let name = &server.name;
    let error = if server.state == ServerState::Stopped {
        Error::new(Kind::Usage, format!("{name} was stopped"))
    } else {
        Error::new(Kind::Server, format!("{name} has ended"))
    };
    server
        .cause
        .iter()
        .cloned()
        .fold(error, Error::cause)
        .hint(format!(
            "dsr1 restart {name} starts it again; dsr1 logs {name} and dsr1 events {name} show what happened"
        ))
}

/// Returns the error for a command without a name, when no server is in a state that it needs.
fn in_other_states(servers: &[ServerStatus]) -> Error {
    let usage = |text: String| Error::new(Kind::Usage, text);
    let [server] = servers else {
        if servers.is_empty() {
            return usage("no server is running".to_owned())
                .hint("dsr1 serve --profile NAME starts one; servers of other users are not seen");
        }
        let known: Vec<String> = servers.iter().map(described).collect();
        return usage("no server is ready".to_owned())
            .cause(format!("on this host: {}", known.join(", ")))
            .hint("dsr1 logs NAME shows what a server does; dsr1 restart NAME starts it again");
    };
    let name = &server.name;
    match server.state {
        ServerState::Starting => Error::new(Kind::Server, format!("{name} is still starting")).hint(format!(
            "dsr1 logs {name} -f follows its log, dsr1 stop {name} ends it"
        )),
        ServerState::Hung => Error::new(Kind::Server, format!("{name} hangs"))
            .cause(server.cause.clone().unwrap_or_default())
            .hint(format!("dsr1 status shows why; dsr1 stop {name} ends it")),
        ServerState::Draining => Error::new(Kind::Server, format!("{name} is ending"))
            .cause("it computes its last requests, and dsr1 status shows how many")
            .hint(format!(
                "dsr1 logs {name} -f follows its log; dsr1 stop {name} --drain 0 ends it at once"
            )),
        ServerState::Crashed => ended(Error::new(Kind::Server, format!("{name} has ended")), servers),
        ServerState::Stopped => ended(usage(format!("{name} was stopped")), servers),
        ServerState::Ready | ServerState::Busy | ServerState::Idle => {
            usage(format!("{name} is ready")).hint(format!("dsr1 status shows {name}"))
        }
    }
}

/// Adds the cause of its end to an error about the only server.
fn ended(error: Error, servers: &[ServerStatus]) -> Error {
    let [server] = servers else { return error };
    let name = &server.name;
    let cause = server.cause.iter().cloned();
    cause.fold(error, Error::cause).hint(format!(
        "dsr1 diagnose {name} shows why; dsr1 restart {name} starts it again, and dsr1 stop {name} removes it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, runtime: &str, state: ServerState, id: &str) -> ServerStatus {
        ServerStatus {
            name: name.to_owned(),
            runtime: runtime.to_owned(),
            state,
            id: id.to_owned(),
            profile: "rehearsal".to_owned(),
            stack: "cpu".to_owned(),
            base_url: "http://127.0.0.1:30000".to_owned(),
            model: String::new(),
            served_model: None,
            exit_code: None,
            cause: None,
            age_s: None,
            stage: None,
            load: None,
        }
    }

    const READY: &[ServerState] = ServerState::SERVING;

    #[test]
    fn a_name_with_and_without_its_prefix_and_an_id_name_a_server() {
        let servers = [
            server("dsr1-a", "docker", ServerState::Ready, "cfdc53d26d8e"),
            server("dsr1-b", "process", ServerState::Starting, "31728"),
        ];
        for (name, index) in [
            ("a", 0),
            ("dsr1-a", 0),
            ("cfdc", 0),
            ("cfdc53d26d8e", 0),
            ("b", 1),
            ("31728", 1),
        ] {
            assert_eq!(
                pick(&servers, Some(name), ServerState::ANY).unwrap(),
                index,
                "{name}"
            );
        }
        assert_eq!(pick(&servers, None, READY).unwrap(), 0);
        let starting = pick(&servers, Some("b"), READY).unwrap_err();
        assert_eq!(starting.message(), "dsr1-b is still starting");
        for name in ["c", "cfd", "3172", ""] {
            let error = pick(&servers, Some(name), READY).unwrap_err();
            assert_eq!(error.message(), format!("there is no server `{name}`"));
        }
    }

    #[test]
    fn two_servers_of_one_name_are_told_apart_by_their_ids() {
        let servers = [
            server("dsr1-a", "docker", ServerState::Ready, "cfdc53d26d8e"),
            server("dsr1-a", "process", ServerState::Ready, "31728"),
        ];
        for name in [Some("a"), None] {
            let error = pick(&servers, name, READY).unwrap_err();
            assert!(
                error.hints()[0]
                    .contains("dsr1-a (ready, container cfdc53d26d8e), dsr1-a (ready, process 31728)"),
                "{error:?}"
            );
        }
        assert_eq!(pick(&servers, Some("31728"), READY).unwrap(), 1);
    }

    #[test]
    fn the_only_server_in_another_state_is_named_with_what_it_does() {
        let of = |state| pick(&[server("dsr1-a", "docker", state, "cfdc53d26d8e")], None, READY).unwrap_err();
        assert_eq!(of(ServerState::Starting).message(), "dsr1-a is still starting");
        assert_eq!(of(ServerState::Crashed).message(), "dsr1-a has ended");
        assert_eq!(
            pick(&[], None, READY).unwrap_err().message(),
            "no server is running"
        );
        let two = [
            server("dsr1-a", "docker", ServerState::Starting, "cfdc53d26d8e"),
            server("dsr1-b", "process", ServerState::Crashed, "31728"),
        ];
        assert_eq!(
            pick(&two, None, READY).unwrap_err().message(),
            "no server is ready"
        );
    }
}
