//! The README of the folder.

use std::fmt::Write;

use crate::render::checked::is_hidden;
use crate::render::monitoring::{GRAFANA_PORT, MonitoringRequest, PROMETHEUS_PORT};

/// Returns the README.
pub(super) fn guide(request: &MonitoringRequest) -> String {
    let mut text = String::from(
        "# Monitoring of SGLang servers\n\n`dsr1 monitoring` wrote these files. They are for:\n\n| server | metrics | SGLang |\n|---|---|---|\n",
    );
    for server in &request.servers {
        let name: String = server
            .name
            .chars()
            .map(|c| if is_hidden(c) || "|`".contains(c) { ' ' } else { c })
            .collect();
        let _ = writeln!(
            text,
            "| `{name}` | http://{}/metrics | {} |",
            server.address, server.version
        );
    }
    let _ = write!(
        text,
        "
## Start

Grafana has no default password here. Make one, which only you can read, and start:

```sh
(umask 077; printf 'GRAFANA_PASSWORD=%s\\n' \"$(openssl rand -hex 24)\" > .env)
docker compose up --detach
```

Sign in at http://127.0.0.1:{GRAFANA_PORT} as `admin` with the password in `.env`, and open the dashboard \"SGLang servers of dsr1\".
Prometheus and its alerts are at http://127.0.0.1:{PROMETHEUS_PORT}/alerts. Both listen on 127.0.0.1 only; a tunnel reaches them from
elsewhere: `ssh -N -L {GRAFANA_PORT}:127.0.0.1:{GRAFANA_PORT} user@gpu-host`. Grafana takes the password at its first start; later
`docker compose exec grafana grafana cli admin reset-admin-password NEW` changes it.

The alerts are shown, and sent to nobody: name your Alertmanager below `alerting` in `prometheus.yml` for that.

`docker compose down` stops both and keeps their data; `docker compose down --volumes` removes it, too.

## A Prometheus that runs already

Copy the entry `job_name: sglang` of `prometheus.yml` into its `scrape_configs`, and name `rules.yml` in its `rule_files`. Keep the
name of the job, the label `server` and `metric_relabel_configs`: the queries need them. Import `dashboard.json` into Grafana.

## Another version, another server

The metrics of SGLang change with its versions. After an upgrade, or for another server, write the files again with
`dsr1 monitoring --output DIR --force`, and run `docker compose restart`. `dsr1 monitoring --check` says which metrics a running
server lacks.
"
    );
    text
}
