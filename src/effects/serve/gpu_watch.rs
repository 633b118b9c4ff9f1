//! The GPUs of this host, looked at again and again by one nvidia-smi.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::effects::env::Env;
use crate::effects::host::on_path;
use crate::effects::process::command;
use crate::measure::{GPU_FIELDS, GpuSample};

/// Milliseconds between two looks. The power that nvidia-smi states is a mean of the last second on current GPUs.
const EVERY_MS: &str = "500";
/// Most looks that are kept: eight GPUs for four hours.
const MOST: usize = 250_000;

/// A running nvidia-smi, which ends with the value.
#[derive(Debug)]
pub(super) struct GpuWatch {
    samples: Arc<Mutex<Vec<GpuSample>>>,
    task: tokio::task::JoinHandle<()>,
}

impl GpuWatch {
    /// Starts to look; `None` on a host without nvidia-smi.
    pub(super) fn start(env: &Env) -> Option<Self> {
        let smi = on_path(env, "nvidia-smi")?;
        let query = format!("--query-gpu={GPU_FIELDS}");
        let argv = [
            &*smi.to_string_lossy(),
            &query,
            "--format=csv,noheader,nounits",
            "-lms",
            EVERY_MS,
        ];
        let mut child = tokio::process::Command::from(command::new(env, &argv, &BTreeMap::new()).ok()?);
        let mut child = child
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let lines = child.stdout.take()?;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let kept = samples.clone();
        let task = tokio::spawn(async move {
            // The child lives as long as this task.
            let _child = child;
            let mut lines = BufReader::new(lines).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                if let (Some(sample), Ok(mut kept)) = (GpuSample::read(&line, now.as_secs_f64()), kept.lock())
                    && kept.len() < MOST
                {
                    kept.push(sample);
                }
            }
        });
        Some(Self { samples, task })
    }

    /// Returns the looks so far.
    pub(super) fn samples(&self) -> Vec<GpuSample> {
        self.samples
            .lock()
            .map(|samples| samples.clone())
            .unwrap_or_default()
    }
}

impl Drop for GpuWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
