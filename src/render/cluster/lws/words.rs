//! Words of a command as a container of Kubernetes gets them.
//!
//! Kubernetes replaces `$(NAME)` in `command`, `args` and the values of `env`, and makes one dollar of two
//! (`third_party/forked/golang/expansion/expand.go`, Kubernetes 1.34).

use crate::error::{Error, Kind, Result};
use crate::plan::cluster::Word;

/// The variable that holds the address of a pod.
pub(super) const POD_IP: &str = "DSR1_POD_IP";

/// Variables that the controller of LWS puts first into each container, and in place of others of the same name (LWS 0.6
/// and later, `pkg/utils/pod/pod_utils.go`).
pub(super) const OF_LWS: [&str; 3] = ["LWS_GROUP_SIZE", "LWS_LEADER_ADDRESS", "LWS_WORKER_INDEX"];

/// Doubles every dollar, so that nothing in the text is a variable.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Returns a word of the command of an engine. A pod has a network of its own, so that all engines use the same ports.
///
/// # Errors
/// [`Kind::Internal`] for the address of a node: the scheduler chooses the nodes.
pub(super) fn in_pod(word: &Word) -> Result<String> {
    Ok(match word {
        Word::Text(text) => literal(text),
        Word::OwnAddress => format!("$({POD_IP})"),
        Word::NodeRank => "$(LWS_WORKER_INDEX)".to_owned(),
        Word::Port { of: _, port } => port.to_string(),
        Word::Leader { port } => format!("$(LWS_LEADER_ADDRESS):{port}"),
        Word::Url { node, port: _ } => {
            let message = format!("the command of an engine names node {node}, which no one has chosen yet");
            return Err(Error::new(Kind::Internal, message));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_literal_word_is_a_variable() {
        for (text, written) in [
            ("plain", "plain"),
            ("$(HOME)", "$$(HOME)"),
            ("$$(HOME)", "$$$$(HOME)"),
            ("ends with $", "ends with $$"),
        ] {
            assert_eq!(literal(text), written);
        }
    }
}
