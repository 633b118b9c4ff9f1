//! Arguments of `monitoring`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::number;

/// Arguments of `monitoring`.
#[derive(Debug, Clone, Args)]
pub struct MonitoringArgs {
    /// Names of servers of this host; without any, all that run. With --stack, the name of a server that does not run.
    #[arg(value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Folder to write; an existing one is refused.
    #[arg(long, short, value_name = "DIR", required_unless_present = "check")]
    pub output: Option<PathBuf>,
    /// Replace the files of an existing folder; its other files stay.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Write the files for the SGLang of this stack instead of a server that runs.
    #[arg(long, value_name = "STACK")]
    pub stack: Option<String>,
    /// With --stack: port on 127.0.0.1 of the server to come.
    #[arg(long, default_value_t = 30_000, value_parser = number::<u16>(1024..), value_name = "PORT")]
    pub port: u16,
    /// URL of a dcgm-exporter that runs, for a row of GPUs (port 9400 by default).
    #[arg(long, value_name = "URL", requires = "output")]
    pub dcgm: Option<String>,
    /// Limit of the time to first token (99th percentile), above which an alert fires.
    #[arg(long, default_value_t = 30, value_parser = number::<u32>(1..400), value_name = "SECONDS")]
    pub ttft_limit: u32,
    /// Write nothing: name the metrics of the dashboard and of the alerts that the server lacks, and exit with 7 if one is missing.
    #[arg(long, conflicts_with_all = ["output", "force", "dcgm"])]
    pub check: bool,
    /// With --check: base URL of a Prometheus, or of a server that dsr1 did not start.
    #[arg(long, value_name = "URL", requires = "check", conflicts_with = "servers")]
    pub url: Option<String>,
}
