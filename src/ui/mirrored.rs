//! The snapshots that a mirror serves.

use std::fmt::Write;

use super::safe;
use super::table::{aligned, row};
use crate::report::{Mirrored, MirroredState};
use crate::units::Bytes;

/// Returns one line for each snapshot; the last line is the variable that clients set.
#[must_use]
pub fn mirrored(mirrored: &Mirrored) -> String {
    let Mirrored {
        schema: _,
        endpoint,
        cache_dir,
        token,
        snapshots,
    } = mirrored;
    let who = if *token {
        ", to clients with the token in HF_TOKEN"
    } else {
        ""
    };
    let mut text = format!("serving {}{who}\n", safe(cache_dir));
    if !snapshots.is_empty() {
        let mut rows = vec![row([
            "REPOSITORY",
            "REVISION",
            "COMMIT",
            "FILES",
            "SIZE",
            "STATE",
        ])];
        rows.extend(snapshots.iter().map(|snapshot| {
            let state = match &snapshot.state {
                MirroredState::Proven => "verified".to_owned(),
                MirroredState::Unlisted => "verified, files may be missing".to_owned(),
                MirroredState::Unproven => "not verified: another client wrote it".to_owned(),
                MirroredState::NotServed { why } => format!("not served: {why}"),
            };
            row([
                &*snapshot.repo,
                &snapshot.revisions.join(", "),
                &snapshot.commit[..12],
                &snapshot.files.to_string(),
                &Bytes(snapshot.bytes).to_string(),
                &state,
            ])
        }));
        text.push_str(&aligned(&rows));
    }
    // Writing to a string does not fail.
    if let Some(port) = port_of_every_address(endpoint) {
        text.push_str("replace THIS_HOST with a name or an address of this host that the clients reach\n");
        let _ = writeln!(text, "HF_ENDPOINT=http://THIS_HOST:{port}");
    } else {
        let _ = writeln!(text, "HF_ENDPOINT={endpoint}");
    }
    text
}

/// Returns the port of a URL that means every address of this host, which no other machine can use as it is.
fn port_of_every_address(endpoint: &str) -> Option<&str> {
    ["http://0.0.0.0:", "http://[::]:"]
        .iter()
        .find_map(|every| endpoint.strip_prefix(every))
}
