//! Options that dsr1 sets itself: a second value would make its plan wrong.

use crate::error::{Error, Kind, Result};
use crate::profile::Version;
use crate::sglang::check::{Check, Level};
use crate::sglang::flags::{Parser, history};

/// The alternative to the options of nodes.
const NODES: &str = "dsr1 places the ranks: the key `topology` of a profile says on how many GPUs a node has";

/// The options, each with the alternative to passing it.
const OWNED: [(&str, &str); 16] = [
    (
        "--host",
        "the server binds 127.0.0.1; dsr1 expose takes requests from other hosts, and so does an ssh tunnel",
    ),
    ("--port", "use dsr1's own --port before `--`"),
    ("--model-path", "use a profile with another model: --profile-file"),
    ("--model", "use a profile with another model: --profile-file"),
    (
        "--api-key",
        "a key in argv can be read by every local user; dsr1 expose takes requests with a key",
    ),
    (
        "--admin-api-key",
        "dsr1 expose passes on the paths of the API only: nobody needs this key",
    ),
    ("--config", "dsr1 checks every option; write them into a profile"),
    ("--nnodes", NODES),
    ("--node-rank", NODES),
    ("--dist-init-addr", NODES),
    ("--nccl-init-addr", NODES),
    ("--nccl-port", NODES),
    (
        "--disaggregation-mode",
        "use `prefill` and `decode` below `topology` of a profile",
    ),
    (
        "--disaggregation-bootstrap-port",
        "dsr1 gives each engine for prefill a port of its own, and tells the router",
    ),
    (
        "--disaggregation-transfer-backend",
        "use `transfer` below `topology` of a profile, for both roles",
    ),
    (
        "--disaggregation-ib-device",
        "use `network: {hcas: [NAME]}` below `topology` of a profile",
    ),
];

/// Refuses raw engine arguments that dsr1 sets itself, in any spelling that this version accepts, and control characters.
///
/// # Errors
/// [`Kind::Usage`], with `place` in front: the file and line of the arguments, or nothing.
pub fn check(args: &[String], version: Version, place: &str) -> Result<()> {
    if let Some(arg) = args.iter().find(|arg| arg.chars().any(is_hidden)) {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "{place}engine argument `{}` holds a control character",
                arg.escape_debug()
            ),
        ));
    }
    let table = history(Parser::Server).table(version);
    let parsed = table.parse(args);
    let typed = args.iter().map(|arg| arg.split('=').next().unwrap_or(arg));
    let named = parsed
        .settings
        .iter()
        .flat_map(|setting| setting.names.iter().map(String::as_str));
    for name in named.chain(typed) {
        if let Some((name, hint)) = OWNED.iter().find(|(owned, _)| *owned == name) {
            return Err(Error::new(
                Kind::Usage,
                format!("{place}`{name}` cannot be passed to the engine"),
            )
            .cause("dsr1 sets it itself, so that its plan stays right")
            .hint(*hint));
        }
    }
    Ok(())
}

/// Returns a finding for an argument with characters that a terminal or a line-based format would not show.
pub(super) fn hidden(args: &[String]) -> Option<Check> {
    let arg = args.iter().find(|arg| arg.chars().any(is_hidden))?;
    let text = format!(
        "engine argument `{}` holds a control character",
        arg.escape_debug()
    );
    Some(Check::new("flag.hidden", Level::Error, arg, text))
}

fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_an_owned_option_passes() {
        let version = "0.5.23".parse().unwrap();
        let check = |arg: &str| check(&[arg.to_owned(), "x".to_owned()], version, "");
        for arg in [
            "--host",
            "--hos",
            "--port=1",
            "--model",
            "--api-k=k",
            "--config=f",
            "--nccl-init-addr=a",
        ] {
            assert!(check(arg).is_err(), "{arg}");
        }
        assert!(check("--hot").is_ok());
        assert!(check("--x=a\u{202e}b").is_err());
    }
}
