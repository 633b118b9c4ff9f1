//! The labels of containers and images, and the first line of a process's log. dsr1 finds its servers by them.

use std::collections::BTreeMap;

/// Label that marks every container and image of dsr1; its value is the purpose: `server`, `image`, `stage`.
pub const LABEL_ROLE: &str = "io.dsr1.role";
/// Label with the server's name.
pub const LABEL_NAME: &str = "io.dsr1.name";
/// Label with the profile's name.
pub const LABEL_PROFILE: &str = "io.dsr1.profile";
/// Label with the stack's name.
pub const LABEL_STACK: &str = "io.dsr1.stack";
/// Label with the port on 127.0.0.1.
pub const LABEL_PORT: &str = "io.dsr1.port";
/// Label with the model path that the engine serves.
pub const LABEL_MODEL: &str = "io.dsr1.model";
/// Label with the digest of the inputs of an image's build, or of a server's plan.
pub const LABEL_INPUTS: &str = "io.dsr1.inputs";

/// Label of a server that the `dsr1 up` which started it stops at its end.
pub const LABEL_TEMPORARY: &str = "io.dsr1.temporary";

/// Label with the Python that runs the engine, absolute or on PATH in its runtime.
pub const LABEL_PYTHON: &str = "io.dsr1.python";

/// Label with the GPUs that the user chose for a server, as indices of nvidia-smi: `0,1`.
pub const LABEL_GPUS: &str = "io.dsr1.gpus";

/// Label with the variables that an environment of the user needs to find its packages, as JSON.
pub const LABEL_VARIABLES: &str = "io.dsr1.variables";

/// Returns the first line of a process's log: its labels. `status` needs only this line and the process whose standard
/// output is that log, so dsr1 keeps no database.
#[must_use]
pub fn log_header(labels: &BTreeMap<String, String>) -> String {
    format!(
        "{LOG_HEADER}{}",
        serde_json::to_string(labels).unwrap_or_default()
    )
}

/// Prefix of [`log_header`].
pub const LOG_HEADER: &str = "# dsr1 ";
