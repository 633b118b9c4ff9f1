//! The place of a server on this host: its port and its GPUs, as its arguments choose them.

use std::collections::BTreeMap;

use crate::cli::{PortChoice, ServerArgs};
use crate::effects::{Effects, host};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::plan::{self, DEFAULT_PORT, ORDER, VISIBLE};
use crate::profile::{Accelerator, Selection};

/// Returns the port of a server; with `auto` that of the running server of its name, or the first that no process and no server has.
pub(super) async fn choose_port(effects: &Effects, args: &ServerArgs) -> Result<u16> {
    if let PortChoice::Fixed(port) = args.port {
        return Ok(port);
    }
    let servers = effects.running_servers().await;
    let named = args.name.as_deref().map(plan::container_name);
    if let Some(server) = named.and_then(|name| servers.get(&name)) {
        return Ok(server.port);
    }
    let is_free =
        |port: &u16| servers.values().all(|server| server.port != *port) && host::is_port_free(*port);
    (DEFAULT_PORT..=u16::MAX)
        .find(is_free)
        .ok_or_else(|| Error::new(Kind::Host, format!("no port from {DEFAULT_PORT} on is free")))
}

/// Leaves only the chosen GPUs in the facts, and adds the variables by which the engine sees no others; returns their indices.
pub(super) fn choose_gpus(
    args: &ServerArgs,
    selection: &Selection,
    facts: &mut Facts,
    variables: &mut BTreeMap<String, String>,
) -> Result<Vec<u32>> {
    let Some(choice) = &args.gpus else {
        return Ok(Vec::new());
    };
    if selection.stack.accelerator == Accelerator::Cpu {
        let text = format!("--gpus {choice} is for a server on GPUs");
        return Err(Error::new(Kind::Usage, text)
            .cause(format!("the stack `{}` runs on the CPU", selection.stack.name)));
    }
    if variables.contains_key(VISIBLE) {
        let text = format!("--gpus and --env {VISIBLE} both choose GPUs");
        return Err(Error::new(Kind::Usage, text).hint(format!("leave out --env {VISIBLE}")));
    }
    let chosen = plan::choose_gpus(choice, selection.profile.gpus, facts)?;
    variables.insert(VISIBLE.to_owned(), plan::joined(&chosen));
    variables.insert(ORDER.0.to_owned(), ORDER.1.to_owned());
    Ok(chosen)
}
