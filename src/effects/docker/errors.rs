//! What the daemon says, as an error with a cause and a cure. The texts are those of Docker 20.10 and 26.1.
//!
//! Not in this module: failures inside a container, which its log tells (`startup`).

use std::time::Duration;

use bollard::errors::Error as Bollard;

use crate::effects::docker::endpoint::{Endpoint, Way};
use crate::error::{Error, Kind};

/// The daemon cannot be reached.
pub(super) fn unreachable(endpoint: &Endpoint, error: &Bollard) -> Error {
    let (cause, hint) = reach(&chain(error), endpoint);
    Error::new(Kind::Docker, format!("no Docker daemon at `{endpoint}`"))
        .cause(cause)
        .hint(hint)
}

fn reach(text: &str, endpoint: &Endpoint) -> (String, String) {
    let lower = text.to_lowercase();
    let local = "set DOCKER_HOST to a daemon that runs, or use --runtime process";
    match &endpoint.way {
        Way::Unix(_) if lower.contains("permission denied") => (
            "permission denied on its socket".to_owned(),
            "add yourself to its group (sudo usermod -aG docker $USER, then log in again), or use --runtime process"
                .to_owned(),
        ),
        Way::Unix(path) if lower.contains("no such file") => (
            format!("`{}` does not exist", path.display()),
            format!("start it (sudo systemctl start docker), {local}"),
        ),
        Way::Ssh { destination, socket: _ } => (
            text.to_owned(),
            format!(
                "`ssh {} docker version` must work without a question: load the key (ssh-add), and accept the host's key once",
                destination.join(" ")
            ),
        ),
        Way::Unix(_) | Way::Tcp { .. } if lower.contains("connection refused") => (
            "nothing listens there: the daemon is not running".to_owned(),
            format!("start it (sudo systemctl start docker), {local}"),
        ),
        Way::Tcp { tls: None, .. } if lower.contains("http request to an https server") => (
            "it speaks TLS only".to_owned(),
            "set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the directory of ca.pem, cert.pem and key.pem".to_owned(),
        ),
        Way::Tcp { tls: Some(dir), .. } => (
            text.to_owned(),
            format!("the certificates are those in {}", dir.display()),
        ),
        Way::Unix(_) | Way::Tcp { .. } => (text.to_owned(), format!("start it, {local}")),
    }
}

/// The daemon took the connection and says nothing.
pub(super) fn hung(endpoint: &Endpoint, waited: Duration) -> Error {
    Error::new(Kind::Docker, format!("the Docker daemon at `{endpoint}` hangs"))
        .cause(format!("no answer within {} s", waited.as_secs()))
        .hint("sudo systemctl restart docker, or use --runtime process")
}

/// A call failed: what was being done, and what the daemon said about it.
pub(super) fn failed(doing: &str, error: &Bollard) -> Error {
    said(doing, &chain(error))
}

/// As [`failed`], of a message that came by another way than bollard.
pub(super) fn said(doing: &str, text: &str) -> Error {
    let text = one_line(text);
    let (kind, hint) = cure(&text);
    let report = Error::new(kind, doing.to_owned()).cause(text);
    match hint {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

/// Kind and cure of a daemon's message.
fn cure(text: &str) -> (Kind, Option<&'static str>) {
    let rules: [(&str, Kind, &str); 12] = [
        (
            "could not select device driver",
            Kind::Host,
            "install the NVIDIA Container Toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
        ),
        (
            "unsatisfied condition: cuda",
            Kind::Host,
            "the NVIDIA driver is too old for this image: install a newer one",
        ),
        (
            "nvidia-container-cli",
            Kind::Host,
            "nvidia-smi shows whether the driver works; after a driver update, reboot",
        ),
        (
            "bind source path does not exist",
            Kind::Host,
            "pull the weights first: dsr1 pull",
        ),
        ("No such image", Kind::Docker, "build it first: dsr1 build"),
        (
            "no space left on device",
            Kind::Host,
            "docker system df shows what takes the space",
        ),
        (
            "is already in use by container",
            Kind::Docker,
            "dsr1 status shows it; dsr1 stop removes it",
        ),
        (
            "requires BuildKit",
            Kind::Docker,
            "the daemon has no BuildKit: dsr1 needs Docker 20.10 or newer",
        ),
        (
            "network host is not allowed",
            Kind::Docker,
            "the builder forbids the host network: use the daemon's own builder",
        ),
        (
            "could not find bridge docker0",
            Kind::Docker,
            "restart the daemon: its bridge is gone",
        ),
        (
            "Timeout error",
            Kind::Docker,
            "the daemon is busy or hangs: look at its log",
        ),
        (
            "error reading a body from connection",
            Kind::Docker,
            "the daemon went away: look at its log, then run the command again",
        ),
    ];
    let lower = text.to_lowercase();
    rules
        .iter()
        .find(|(pattern, _, _)| lower.contains(&pattern.to_lowercase()))
        .map_or((Kind::Docker, None), |(_, kind, hint)| (*kind, Some(*hint)))
}

/// The limit that a start failed on for want of a capability of the daemon itself: 7 is nofile, 8 is memlock, 3
/// is stack (`setrlimit(2)` numbers on x86 and arm).
pub(super) fn refused_limit(error: &Bollard) -> Option<&'static str> {
    let text = chain(error);
    let number = text
        .split("setting rlimit type ")
        .nth(1)?
        .split(|c: char| !c.is_ascii_digit())
        .next()?;
    match number {
        "3" => Some("stack"),
        "7" => Some("nofile"),
        "8" => Some("memlock"),
        _ => None,
    }
}

/// Whether the daemon says that the thing is not there.
pub(super) fn is_missing(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { status_code: 404, .. })
}

/// Whether the daemon says that the name is taken.
pub(super) fn is_conflict(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { status_code: 409, .. })
}

/// What went wrong, in the daemon's words where there are any.
pub(super) fn chain(error: &Bollard) -> String {
    match error {
        Bollard::DockerResponseServerError { message, .. } => one_line(message),
        Bollard::DockerStreamError { error } => one_line(error),
        error => {
            let mut parts = vec![error.to_string()];
            let mut next = std::error::Error::source(error);
            while let Some(source) = next {
                let text = source.to_string();
                if parts.last().is_none_or(|last| !last.contains(&text)) {
                    parts.push(text);
                }
                next = source.source();
            }
            one_line(&parts.join(": "))
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(message: &str) -> Bollard {
        Bollard::DockerResponseServerError {
            status_code: 500,
            message: message.to_owned(),
        }
    }

    #[test]
    fn permission_denied_on_the_socket_says_which_group() {
        let denied = Bollard::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        let error = unreachable(
            &Endpoint::parse("unix:///var/run/docker.sock", None).unwrap(),
            &denied,
        );
        assert_eq!(
            (error.kind(), error.causes()),
            (Kind::Docker, vec!["permission denied on its socket".to_owned()])
        );
        assert!(error.hints()[0].contains("usermod -aG docker"));
    }

    #[test]
    fn a_missing_gpu_toolkit_has_a_cure() {
        let error = failed(
            "cannot start x",
            &server("could not select device driver \"\" with capabilities: [[gpu]]"),
        );
        assert_eq!(error.kind(), Kind::Host);
        assert!(error.hints()[0].contains("nvidia-ctk"));
    }

    #[test]
    fn a_refused_limit_is_named() {
        let error = server(
            "OCI runtime create failed: error setting rlimit type 8: operation not permitted: unknown",
        );
        assert_eq!(refused_limit(&error), Some("memlock"));
        assert_eq!(refused_limit(&server("other")), None);
    }
}
