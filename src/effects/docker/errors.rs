//! Errors for the failures of the daemon, by their signatures: text, cause and fix.

use std::time::Duration;

use bollard::errors::Error as Bollard;

use crate::effects::docker::endpoint::{Endpoint, Way};
use crate::error::{Error, Kind};

/// A text by which a failure is recognized, with its cause and its fix.
pub(super) struct Signature {
    /// The situation in which the text has this meaning.
    during: During,
    /// Any of these is in the message; in lower case, for the message is compared in lower case.
    texts: &'static [&'static str],
    pub(super) kind: Kind,
    /// The cause in plain words, with `{socket}` for the socket's path. Without one the message itself is the cause.
    cause: Option<&'static str>,
    /// Text that says what to do.
    pub(super) fix: &'static str,
}

/// The situation in which a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum During {
    /// Connecting to a socket of this host.
    SocketDial,
    /// Connecting to a socket or to a port.
    Dial,
    /// Connecting to a port without TLS.
    PlainDial,
    /// A call to the daemon.
    Call,
    /// A pull from a registry or a push to one.
    Transfer,
    /// A pull of an image that is named by its digest.
    PinnedPull,
}

/// The first that fits counts. The texts are those of Docker 20.10 and 26.1.
const SIGNATURES: [Signature; 19] = [
    Signature {
        during: During::SocketDial,
        texts: &["permission denied"],
        kind: Kind::Docker,
        cause: Some("permission denied on `{socket}`"),
        fix: "add yourself to the group of the socket: sudo usermod -aG docker $USER, then log in again",
    },
    Signature {
        during: During::SocketDial,
        texts: &["no such file"],
        kind: Kind::Docker,
        cause: Some("`{socket}` does not exist"),
        fix: "start Docker (sudo systemctl start docker), or set DOCKER_HOST to a daemon that runs",
    },
    Signature {
        during: During::Dial,
        texts: &["connection refused"],
        kind: Kind::Docker,
        cause: Some("nothing listens there: the daemon is not running"),
        fix: "start Docker (sudo systemctl start docker), or set DOCKER_HOST to a daemon that runs",
    },
    Signature {
        during: During::PlainDial,
        texts: &["http request to an https server"],
        kind: Kind::Docker,
        cause: Some("it speaks TLS only"),
        fix: "set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the directory of ca.pem, cert.pem and key.pem",
    },
    Signature {
        during: During::Call,
        texts: &["could not select device driver"],
        kind: Kind::Host,
        cause: None,
        fix: "install the NVIDIA Container Toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
    },
    Signature {
        during: During::Call,
        texts: &["unsatisfied condition: cuda"],
        kind: Kind::Host,
        cause: None,
        fix: "the NVIDIA driver is too old for this image: install a newer one",
    },
    Signature {
        during: During::Call,
        texts: &["nvidia-container-cli"],
        kind: Kind::Host,
        cause: None,
        fix: "nvidia-smi shows whether the driver works; after a driver update, reboot",
    },
    Signature {
        during: During::Call,
        texts: &["bind source path does not exist"],
        kind: Kind::Host,
        cause: None,
        fix: "pull the weights first: dsr1 pull",
    },
    Signature {
        during: During::Call,
        texts: &["no such image"],
        kind: Kind::Docker,
        cause: None,
        fix: "build it first: dsr1 build",
    },
    Signature {
        during: During::Call,
        texts: &["no space left on device"],
        kind: Kind::Host,
        cause: None,
        fix: "docker system df shows what takes the space",
    },
    Signature {
        during: During::Call,
        texts: &["is already in use by container"],
        kind: Kind::Docker,
        cause: None,
        fix: "dsr1 status shows it; dsr1 stop removes it",
    },
    Signature {
        during: During::Call,
        texts: &["requires buildkit"],
        kind: Kind::Docker,
        cause: None,
        fix: "the daemon has no BuildKit: dsr1 needs Docker 20.10 or newer",
    },
    Signature {
        during: During::Call,
        texts: &["network host is not allowed"],
        kind: Kind::Docker,
        cause: None,
        fix: "the builder forbids the host network: use the daemon's own builder",
    },
    Signature {
        during: During::Call,
        texts: &["could not find bridge docker0"],
        kind: Kind::Docker,
        cause: None,
        fix: "restart the daemon: its bridge is gone",
    },
    Signature {
        during: During::Call,
        texts: &["timeout error"],
        kind: Kind::Docker,
        cause: None,
        fix: "the daemon is busy or hangs: read its log",
    },
    Signature {
        during: During::Call,
        texts: &["error reading a body from connection"],
        kind: Kind::Docker,
        cause: None,
        fix: "the daemon went away: read its log, then run the command again",
    },
    Signature {
        during: During::Transfer,
        texts: &[
            "connection refused",
            "no such host",
            "i/o timeout",
            "deadline exceeded",
            "no route to host",
        ],
        kind: Kind::Hub,
        cause: None,
        fix: "check that the registry is up and that the daemon can reach it",
    },
    Signature {
        during: During::Transfer,
        texts: &[
            "unauthorized",
            "denied",
            "no basic auth",
            "authentication required",
        ],
        kind: Kind::Hub,
        cause: None,
        fix: "docker login REGISTRY with an account that may do this, then run the command again",
    },
    Signature {
        during: During::PinnedPull,
        texts: &["manifest unknown", "not found", "digest"],
        kind: Kind::Integrity,
        cause: None,
        fix: "the registry has no image of that digest: it was removed, or the digest is another registry's; \
              docker load the image, or name another with --base-image",
    },
];

/// Returns the first signature of a message in one of these situations.
pub(super) fn signature(message: &str, during: &[During]) -> Option<&'static Signature> {
    let lower = message.to_lowercase();
    SIGNATURES.iter().find(|signature| {
        during.contains(&signature.during) && signature.texts.iter().any(|text| lower.contains(text))
    })
}

/// Returns the error of a daemon that cannot be reached.
pub(super) fn unreachable(endpoint: &Endpoint, error: &Bollard) -> Error {
    let (cause, fix) = explain_dial(&chain(error), endpoint);
    let what = if cause.starts_with("permission denied") {
        "no access to the Docker daemon"
    } else {
        "no Docker daemon"
    };
    Error::new(Kind::Docker, format!("{what} at `{endpoint}`"))
        .cause(cause)
        .hint(fix)
}

/// Returns the cause and the fix of a connection that failed.
fn explain_dial(message: &str, endpoint: &Endpoint) -> (String, String) {
    let (during, socket) = match &endpoint.way {
        Way::Unix(path) => (
            &[During::SocketDial, During::Dial][..],
            path.display().to_string(),
        ),
        Way::Tcp { tls: None, .. } => (&[During::Dial, During::PlainDial][..], String::new()),
        Way::Tcp { tls: Some(_), .. } => (&[During::Dial][..], String::new()),
        Way::Ssh { .. } => (&[][..], String::new()),
    };
    if let Some(signature) = signature(message, during) {
        let cause = signature.cause.unwrap_or(message);
        return (cause.replace("{socket}", &socket), signature.fix.to_owned());
    }
    let fix = match &endpoint.way {
        Way::Ssh { destination, .. } => format!(
            "`ssh {} docker version` must work without a question: load the key (ssh-add), and accept the host's key once",
            destination.join(" ")
        ),
        Way::Tcp { tls: Some(dir), .. } => format!("check the certificates in {}", dir.display()),
        Way::Unix(_) | Way::Tcp { tls: None, .. } => {
            "start Docker, or set DOCKER_HOST to a daemon that runs".to_owned()
        }
    };
    (message.to_owned(), fix)
}

/// Returns the error of a daemon that accepts connections and does not answer.
pub(super) fn hung(endpoint: &Endpoint, waited: Duration) -> Error {
    Error::new(Kind::Docker, format!("the Docker daemon at `{endpoint}` hangs"))
        .cause(format!("no answer within {} s", waited.as_secs()))
        .hint("sudo systemctl restart docker")
}

/// Returns the error of a call: `failure` says what failed, as in "cannot start container x".
pub(super) fn failed(failure: &str, error: &Bollard) -> Error {
    of_message(failure, &chain(error))
}

/// Returns the error of a call whose message did not arrive through bollard.
pub(super) fn of_message(failure: &str, message: &str) -> Error {
    let message = one_line(message);
    match signature(&message, &[During::Call]) {
        Some(signature) => Error::new(signature.kind, failure.to_owned())
            .cause(message)
            .hint(signature.fix),
        None => Error::new(Kind::Docker, failure.to_owned()).cause(message),
    }
}

/// Returns the limit that a container's start failed on because the daemon itself lacks a capability: 7 is nofile, 8 is
/// memlock, 3 is stack (`setrlimit(2)` numbers on x86 and arm).
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

/// Returns true if the daemon answers that the object does not exist.
pub(super) fn is_missing(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { status_code: 404, .. })
}

/// Returns true if the daemon answers that the name is taken.
pub(super) fn is_conflict(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { status_code: 409, .. })
}

/// Returns the daemon's message, or else the errors from the outermost to the innermost.
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

    #[test]
    fn signatures_are_in_lower_case() {
        for text in SIGNATURES.iter().flat_map(|signature| signature.texts) {
            assert_eq!(*text, text.to_lowercase());
        }
    }

    fn server(message: &str) -> Bollard {
        Bollard::DockerResponseServerError {
            status_code: 500,
            message: message.to_owned(),
        }
    }

    #[test]
    fn permission_denied_on_the_socket_names_the_group() {
        let denied = Bollard::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        let error = unreachable(
            &Endpoint::parse("unix:///var/run/docker.sock", None).unwrap(),
            &denied,
        );
        assert_eq!(
            (error.kind(), error.causes()),
            (
                Kind::Docker,
                vec!["permission denied on `/var/run/docker.sock`".to_owned()]
            )
        );
        assert!(error.hints()[0].contains("usermod -aG docker"));
    }

    #[test]
    fn a_missing_gpu_toolkit_has_a_fix() {
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
