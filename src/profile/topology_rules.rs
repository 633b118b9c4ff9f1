//! The rules that the `topology` of a profile obeys by itself, without a version of SGLang.

use crate::error::{Error, Kind, Result};
use crate::profile::origin::Origins;
use crate::profile::schema::Profile;
use crate::profile::topology::{Role, RouterKind, Topology};

/// Refuses roles that do not go together, engines that do not fill their nodes, and a number of GPUs that is not theirs.
pub(super) fn check(profile: &Profile, origins: &Origins) -> Result<()> {
    let Some(topology) = &profile.topology else {
        return Ok(());
    };
    let error = |key: &str, message: String| {
        let place = origins
            .place_of(key)
            .map_or_else(String::new, |place| format!("{place}: "));
        Error::new(Kind::Usage, format!("{place}{message}"))
    };
    let roles = topology.roles();
    let has = |role: Role| roles.iter().any(|(one, _)| *one == role);
    if has(Role::Aggregate) && roles.len() > 1 {
        return Err(error(
            "topology.aggregate",
            "an aggregate engine does prefill and decode: it has no other role beside it".to_owned(),
        )
        .hint("name `aggregate`, or `prefill` and `decode`"));
    }
    if has(Role::Prefill) != has(Role::Decode) {
        let (named, missing) = if has(Role::Prefill) {
            (Role::Prefill, Role::Decode)
        } else {
            (Role::Decode, Role::Prefill)
        };
        return Err(error(
            &format!("topology.{named}"),
            format!("engines for {named} answer nothing without engines for {missing}"),
        )
        .hint(format!("add `{missing}` below `topology`")));
    }
    let each = topology.gpus_per_node.get();
    let mut gpus = 0_u32;
    for (role, settings) in &roles {
        let Some(one) = profile.of_role(*role) else {
            continue;
        };
        let ranks = one.engine.ranks();
        if !ranks.is_multiple_of(each) && !each.is_multiple_of(ranks) {
            return Err(error(
                &format!("topology.{role}"),
                format!("an engine for {role} has {ranks} ranks, which do not fill nodes of {each} GPUs"),
            )
            .hint(format!(
                "make tensor_parallel times pipeline_parallel a multiple or a divisor of gpus_per_node ({each})"
            )));
        }
        gpus = gpus.saturating_add(ranks.saturating_mul(settings.count()));
    }
    if profile.gpus != gpus && profile.gpus > 0 {
        return Err(error(
            "gpus",
            format!(
                "`gpus` is {}, and the engines of the topology have {gpus}",
                profile.gpus
            ),
        )
        .hint(format!("write `gpus: {gpus}`")));
    }
    let engines: u64 = roles.iter().map(|(_, role)| u64::from(role.count())).sum();
    if engines > 1 && topology.router == Some(RouterKind::None) {
        return Err(error(
            "topology.router",
            "several engines need a router before them".to_owned(),
        )
        .hint("write `router: smg`, or leave `router` out"));
    }
    check_network(topology, &error)
}

/// Refuses names of interfaces and adapters that cannot become parts of variables and arguments.
fn check_network(topology: &Topology, error: &impl Fn(&str, String) -> Error) -> Result<()> {
    let network = &topology.network;
    let is_device = |name: &str| {
        !name.is_empty()
            && name.len() < 64
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-:@".contains(c))
    };
    let named = network
        .interface
        .iter()
        .map(|name| ("topology.network.interface", name));
    let named = named.chain(network.hcas.iter().map(|name| ("topology.network.hcas", name)));
    for (key, name) in named {
        if !is_device(name) {
            let message = format!("`{}` is not the name of a network device", name.escape_debug());
            return Err(error(key, message).hint("write names as `ip link` or `ibv_devices` list them"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::profile::Catalog;

    /// Returns the error of a profile that has these lines over the one of 8 H200.
    fn refusal(lines: &str) -> String {
        let text = format!("name: own\nextends: h200-fp8-high-throughput\n{lines}\n");
        let resolved =
            Catalog::load(Some(("own.yaml", &text))).and_then(|catalog| catalog.resolve("own", None));
        match resolved {
            Ok(_) => String::new(),
            Err(error) => error.message(),
        }
    }

    #[test]
    fn a_topology_that_cannot_be_placed_is_refused_with_its_line() {
        let tp16 = "gpus: 16\nengine: {tensor_parallel: 16}\n";
        assert_eq!(refusal(&format!("{tp16}topology: {{gpus_per_node: 8}}")), "");
        for (lines, said) in [
            (
                format!("{tp16}topology: {{gpus_per_node: 8, aggregate: {{}}, prefill: {{}}}}"),
                "own.yaml:5: an aggregate engine",
            ),
            (
                format!("{tp16}topology:\n  gpus_per_node: 8\n  prefill: {{}}"),
                "own.yaml:7: engines for prefill answer nothing",
            ),
            (
                format!("{tp16}topology: {{gpus_per_node: 6}}"),
                "has 16 ranks, which do not fill nodes of 6 GPUs",
            ),
            (
                "gpus: 8\nengine: {tensor_parallel: 16}\ntopology: {gpus_per_node: 8}".to_owned(),
                "own.yaml:3: `gpus` is 8, and the engines of the topology have 16",
            ),
            (
                "gpus: 16\ntopology:\n  gpus_per_node: 8\n  router: none\n  aggregate: {workers: 2}"
                    .to_owned(),
                "own.yaml:6: several engines need a router",
            ),
            (
                format!("{tp16}topology:\n  gpus_per_node: 8\n  network: {{interface: \"eth0; reboot\"}}"),
                "own.yaml:7: `eth0; reboot` is not the name of a network device",
            ),
            (
                format!("{tp16}topology: {{gpus_per_node: 8, gpu: 1}}"),
                "own.yaml:5",
            ),
        ] {
            let refused = refusal(&lines);
            assert!(refused.contains(said), "{lines}\n{refused}");
        }
    }
}
