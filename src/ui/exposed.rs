//! An exposed server, and a line for each of its requests.

use std::time::Duration;

use super::safe;
use super::table::{aligned, row};
use crate::report::{ExposedRequest, ExposedServer};
use crate::units::{self, Bytes};

/// Returns what a client needs: the base URL, and the file that has its key.
#[must_use]
pub fn exposed(exposed: &ExposedServer) -> String {
    let ExposedServer {
        schema: _,
        server,
        base_url,
        keys_file,
        keys,
    } = exposed;
    aligned(&[
        row(["server", server]),
        row(["clients set", &format!("OPENAI_BASE_URL={base_url}")]),
        row(["keys", &format!("{} in {keys_file}", keys.join(", "))]),
    ])
}

/// Returns the sentence about a key that was added.
#[must_use]
pub fn added_key(name: &str, file: &str) -> String {
    format!(
        "added the key {}: its line is in {}; a running dsr1 expose accepts it within a second\n",
        safe(name),
        safe(file)
    )
}

/// Returns the line of a request.
#[must_use]
pub fn exposed_request(request: &ExposedRequest) -> String {
    let ExposedRequest {
        at,
        client,
        key,
        method,
        path,
        status,
        bytes,
        ms,
        whole,
    } = request;
    let end = if *whole { "" } else { "  cut" };
    format!(
        "{at}  {}  {}  {} {}  {status}  {}  {}{end}\n",
        safe(client),
        safe(key.as_deref().unwrap_or("-")),
        safe(method),
        safe(path),
        Bytes(*bytes),
        units::duration(Duration::from_millis(*ms)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line_that_a_client_cannot_break() {
        let request = ExposedRequest {
            at: "2026-11-30T12:00:00Z".to_owned(),
            client: "10.0.0.7".to_owned(),
            key: None,
            method: "GET".to_owned(),
            path: "/a\u{1b}[2J\n2026".to_owned(),
            status: 404,
            bytes: 34_000,
            ms: 1200,
            whole: true,
        };
        assert_eq!(
            exposed_request(&request),
            "2026-11-30T12:00:00Z  10.0.0.7  -  GET /a\\x1b[2J\\x0a2026  404  34.0 kB  1.2s\n"
        );
        let request = ExposedRequest {
            key: Some("alice".to_owned()),
            path: "/v1/models".to_owned(),
            status: 200,
            whole: false,
            ..request
        };
        assert_eq!(
            exposed_request(&request),
            "2026-11-30T12:00:00Z  10.0.0.7  alice  GET /v1/models  200  34.0 kB  1.2s  cut\n"
        );
    }

    #[test]
    fn an_exposed_server_says_what_a_client_needs() {
        let exposed_server = ExposedServer {
            schema: ExposedServer::SCHEMA.to_owned(),
            server: "dsr1-a".to_owned(),
            base_url: "https://10.0.0.1:8443/v1".to_owned(),
            keys_file: "/home/me/.local/state/dsr1/servers/dsr1-a.keys".to_owned(),
            keys: vec!["default".to_owned(), "alice".to_owned()],
        };
        assert_eq!(
            exposed(&exposed_server),
            "server       dsr1-a\nclients set  OPENAI_BASE_URL=https://10.0.0.1:8443/v1\n\
             keys         default, alice in /home/me/.local/state/dsr1/servers/dsr1-a.keys\n"
        );
    }
}
