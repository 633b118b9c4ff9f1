//! The records of starts: what the engine said of its memory and how long it took, kept for the next plan of the same server.

use std::collections::BTreeMap;
use std::path::Path;

use crate::effects::files;
use crate::facts::MeasuredStart;
use crate::plan::AwaitReady;
use crate::report::Ready;

/// Folder of the records below the state directory.
pub(in crate::effects) const FOLDER: &str = "starts";
/// Most records that are read.
const MOST: usize = 500;

/// Keeps the record of a start. A state directory that cannot be written is no reason to fail.
pub(in crate::effects) fn keep(state: &Path, step: &AwaitReady, ready: &Ready) {
    if step.inputs.is_empty() || step.runs_already {
        return;
    }
    let record = MeasuredStart {
        inputs: step.inputs.clone(),
        gpus: step.gpus.clone(),
        date: files::utc_now().chars().take(10).collect(),
        ready_ms: ready.stages.last().map_or(0, |stage| stage.at_ms),
        weights_gib: ready.memory.weights_gib.clone(),
        pool_tokens: ready.kv_pool_tokens,
        graphs_gib: ready.memory.graphs_gib.clone(),
        left_gib: ready.memory.left_gib.clone(),
    };
    let name: String = step
        .inputs
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(40)
        .collect();
    if let Ok(text) = serde_json::to_vec_pretty(&record) {
        let _ = files::write_atomic(&state.join(FOLDER).join(name + ".json"), &text);
    }
}

/// Returns the records of this host, by the inputs of the server.
#[must_use]
pub fn measured_starts(state: &Path) -> BTreeMap<String, MeasuredStart> {
    let entries = std::fs::read_dir(state.join(FOLDER))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .take(MOST)
        .filter_map(|entry| {
            let record: MeasuredStart = serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
            Some((record.inputs.clone(), record))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stage;
    use crate::plan::Server;
    use crate::report::{EngineMemory, StageTime};

    fn step(inputs: &str) -> AwaitReady {
        AwaitReady {
            server: Server::Docker {
                name: "dsr1-a".to_owned(),
            },
            base_url: String::new(),
            model: String::new(),
            probe: String::new(),
            prefetch: None,
            planned: None,
            stall_s: 1,
            runs_already: false,
            inputs: inputs.to_owned(),
            gpus: "8 x NVIDIA H200".to_owned(),
            last_ms: None,
        }
    }

    #[test]
    fn a_start_is_remembered_by_what_decides_it() {
        let state = tempfile::tempdir().unwrap();
        let ready = Ready {
            server: "dsr1-a".to_owned(),
            base_url: String::new(),
            model: String::new(),
            stages: vec![StageTime {
                stage: Stage::Ready,
                at_ms: 361_500,
            }],
            kv_pool_tokens: Some(980_344),
            memory: EngineMemory {
                weights_gib: Some("79.60".to_owned()),
                ..EngineMemory::default()
            },
            planned: None,
        };
        keep(state.path(), &step("sha256:ab"), &ready);
        // What cannot be read is no record.
        std::fs::write(state.path().join("starts/broken.json"), "{").unwrap();
        let known = measured_starts(state.path());
        assert_eq!(known.len(), 1);
        let start = &known["sha256:ab"];
        assert_eq!((start.pool_tokens, start.ready_ms), (Some(980_344), 361_500));
        assert_eq!(start.weights_gib.as_deref(), Some("79.60"));
        // A server that ran already was not started.
        let adopted = AwaitReady {
            runs_already: true,
            ..step("sha256:cd")
        };
        keep(state.path(), &adopted, &ready);
        assert_eq!(measured_starts(state.path()).len(), 1);
    }
}
