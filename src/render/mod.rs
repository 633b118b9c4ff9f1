//! Plans and servers as text for other tools: a shell script, Docker Compose, systemd, Podman's Quadlet; `monitoring` has the
//! files of Prometheus and Grafana.
//!
//! A new form is a file that implements [`Form`], a `mod` line here and an entry of [`FORMS`]. Not in this module
//! tree: deciding (`plan`), writing files (`commands::export`).

mod bash;
mod checked;
mod compose;
mod export;
mod form;
pub mod monitoring;
mod quadlet;
pub mod shell;
mod systemd;
mod unit;

use crate::choice::Choice;

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

impl Choice for &'static dyn Form {
    fn table() -> Vec<(Self, &'static str, &'static str)> {
        FORMS.map(|form| (form, form.name(), form.about())).to_vec()
    }
}
