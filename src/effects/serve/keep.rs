//! The plan that started a server, kept for its next start.

use std::path::{Path, PathBuf};

use crate::effects::files;
use crate::plan::{self, Plan};

/// Extension of the file with the plan.
pub(in crate::effects) const EXTENSION: &str = "plan";

/// Extension of the file with the plan before the last upgrade.
pub(in crate::effects) const BEFORE: &str = "before";

/// Returns the path of the plan of a server.
pub(super) fn path(state: &Path, name: &str) -> PathBuf {
    state.join("servers").join(format!("{name}.{EXTENSION}"))
}

/// Keeps the part of a plan that starts its server. A state directory that cannot be written is no reason to fail.
pub(in crate::effects) fn keep_plan(state: &Path, plan: &Plan) {
    let Some(part) = plan::restart(plan) else { return };
    let Some((server, _)) = plan::server_of(&part) else {
        return;
    };
    let path = path(state, server.name());
    let temporary = path.with_extension("plan.new");
    if let Ok(bytes) = serde_json::to_vec_pretty(&part) {
        // Mode 0600: variables of the user may stand in it.
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = files::write_through(&temporary, &path, &bytes, Some(0o600));
    }
}
