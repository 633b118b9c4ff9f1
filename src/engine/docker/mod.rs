//! Docker.
use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::env::Env;
use crate::error::Result;
use crate::event::StepEvents;
use crate::facts;
use crate::plan::{BuildImage, StartContainer};
use crate::report::Built;

/// x
pub struct Docker;
/// x
pub struct ContainerState {
    /// x
    pub id: String,
    /// x
    pub running: bool,
    /// x
    pub exit_code: Option<i64>,
    /// x
    pub oom_killed: bool,
    /// x
    pub labels: BTreeMap<String, String>,
}
/// x
pub struct ContainerSummary {
    /// x
    pub name: String,
    /// x
    pub id: String,
    /// x
    pub running: bool,
    /// x
    pub exit_code: Option<i64>,
    /// x
    pub labels: BTreeMap<String, String>,
}
/// x
#[derive(PartialEq, Eq, Clone, Copy)]
pub struct Activity {
    /// x
    pub cpu_ns: u64,
    /// x
    pub io_bytes: u64,
}

#[allow(clippy::all, missing_docs, unused)]
impl Docker {
    pub async fn connect(env: &Env) -> Result<Self> { Err(crate::error::Error::new(crate::error::Kind::Docker, "not yet")) }
    pub async fn facts(env: &Env, images: &[&str], probe_pull: &[&str]) -> facts::Docker { facts::Docker { unreachable: Some("not yet".to_owned()), ..Default::default() } }
    pub async fn build(&self, step: &BuildImage, events: &StepEvents<'_>) -> Result<Built> { todo!() }
    pub async fn start(&self, step: &StartContainer, events: &StepEvents<'_>) -> Result<String> { todo!() }
    pub async fn state(&self, name: &str) -> Result<Option<ContainerState>> { todo!() }
    pub async fn wait(&self, name: &str) -> Result<i64> { todo!() }
    pub async fn logs(&self, name: &str, tail: Option<u64>, follow: bool) -> Result<mpsc::Receiver<String>> { todo!() }
    pub async fn exec(&self, name: &str, argv: &[String], env: &BTreeMap<String, String>, on_line: &mut (dyn FnMut(&str) + Send)) -> Result<i64> { todo!() }
    pub async fn upload(&self, name: &str, dir: &str, file: &str, bytes: &[u8]) -> Result<()> { todo!() }
    pub async fn read_file(&self, name: &str, path: &str, max_bytes: u64) -> Result<Vec<u8>> { todo!() }
    pub async fn activity(&self, name: &str) -> Result<Activity> { todo!() }
    pub async fn stop(&self, name: &str, drain_s: u32) -> Result<bool> { todo!() }
    pub async fn list(&self) -> Result<Vec<ContainerSummary>> { todo!() }
}
