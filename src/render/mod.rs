//! Plans and servers as text for other tools: a shell script, Docker Compose, systemd, Podman's Quadlet; `monitoring` has the
//! files of Prometheus and Grafana.
//!
//! A new form is a file that implements [`Form`], a `mod` line here and an entry of [`FORMS`]; one for a scheduler of several
//! nodes is in `cluster`. Not in this module
//! tree: deciding (`plan`), writing files (`commands::export`).

mod bash;
mod checked;
pub mod cluster;
mod compose;
mod export;
mod form;
pub mod monitoring;
mod quadlet;
pub mod shell;
mod systemd;
mod unit;

use crate::choice::Choice;
use crate::render::cluster::{CLUSTER_FORMS, ClusterForm};

pub use cluster::{ClusterExport, export as export_cluster};
pub use export::{EXPORT_SCHEMA, ExportRequest, Exported, container, export, process};
pub use form::{ExportFile, Form, StartStep};

/// Every form, in the order in which the help lists them.
pub const FORMS: [&dyn Form; 4] = [BASH, COMPOSE, SYSTEMD, QUADLET];
/// The plan of `up` as a bash script.
pub const BASH: &dyn Form = &bash::Bash;
/// A file for `docker compose`.
pub const COMPOSE: &dyn Form = &compose::Compose;
/// A systemd service.
pub const SYSTEMD: &dyn Form = &systemd::Systemd;
/// A Quadlet, which Podman turns into a systemd service.
pub const QUADLET: &dyn Form = &quadlet::Quadlet;

/// A tool that a server is written for.
#[derive(Debug, Clone, Copy)]
pub enum Tool {
    /// One that starts it on one host.
    Host(&'static dyn Form),
    /// A scheduler that starts it on one or more nodes.
    Cluster(&'static dyn ClusterForm),
}

impl Choice for Tool {
    fn table() -> Vec<(Self, &'static str, &'static str)> {
        let host = FORMS.map(|form| (Self::Host(form), form.name(), form.about()));
        let cluster = CLUSTER_FORMS.map(|form| (Self::Cluster(form), form.name(), form.about()));
        host.into_iter().chain(cluster).collect()
    }
}
