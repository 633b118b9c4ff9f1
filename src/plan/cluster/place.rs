//! The nodes, GPUs and ports of the engines.

use serde::{Deserialize, Serialize};

/// Ports between the ports of one rank and those of the next one on the same node.
///
/// A rank needs the ports of [`Ports::all`], the last of which is seventeen above the first.
pub const BLOCK: u16 = 20;
/// Number of blocks; more engines than that share them, on different nodes. A node has fewer GPUs.
pub(super) const BLOCKS: u32 = 64;
/// Distance of the first block from the port of the endpoint.
const FIRST: u16 = 100;

/// The ports of one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// HTTP: the API on the first rank of an engine, and only its health on the others.
    pub http: u16,
    /// NCCL's own rendezvous.
    pub nccl: u16,
    /// Rendezvous of prefill and decode, on engines for prefill.
    pub bootstrap: u16,
    /// Rendezvous of the ranks, on the first rank; the engine takes [`Ports::of_rendezvous`], too.
    pub rendezvous: u16,
}

impl Ports {
    /// Returns the ports that an engine takes for its rendezvous: the port and six above it, and the thirteenth above it for
    /// the attention replicas (`PortArgs.init_new` in `server_args.py` and `data_parallel_controller.py`, 0.5.8 to 0.5.23;
    /// five above it before 0.5.13).
    pub fn of_rendezvous(self) -> impl Iterator<Item = u16> {
        (self.rendezvous..=self.rendezvous + 6).chain([self.rendezvous + 13])
    }

    /// Returns the ports in a block, counted from 0; `None` if they are above 65535. `endpoint` is the port that users reach.
    #[must_use]
    pub fn at(endpoint: u16, block: u32) -> Option<Self> {
        let block = u16::try_from(block).ok()?;
        let base = endpoint
            .checked_add(FIRST)?
            .checked_add(block.checked_mul(BLOCK)?)?;
        base.checked_add(BLOCK - 1)?;
        Some(Self {
            http: base,
            nccl: base + 1,
            bootstrap: base + 2,
            rendezvous: base + 4,
        })
    }

    /// Returns every port that the rank may take.
    pub fn all(self) -> impl Iterator<Item = u16> {
        [self.http, self.nccl, self.bootstrap]
            .into_iter()
            .chain(self.of_rendezvous())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_port_is_taken_twice_on_a_node(endpoint in 1024_u16..60_000, ranks in 1_u32..32) {
            let ports: Vec<Ports> = (0..ranks).filter_map(|position| Ports::at(endpoint, position)).collect();
            let all: Vec<u16> = ports.iter().flat_map(|ports| ports.all()).chain([endpoint, endpoint + 1]).collect();
            let distinct: BTreeSet<u16> = all.iter().copied().collect();
            prop_assert_eq!(all.len(), distinct.len());
        }
    }

    #[test]
    fn ports_end_at_65535() {
        assert_eq!(Ports::at(65_000, 0).map(|ports| ports.http), Some(65_100));
        assert_eq!(Ports::at(65_500, 0), None);
        assert_eq!(Ports::at(30_000, 100_000), None);
    }
}
