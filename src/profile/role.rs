//! One role of a profile for several nodes, as a profile of its own.

use crate::profile::choose::Selection;
use crate::profile::engine_settings::EngineSettings;
use crate::profile::schema::Profile;
use crate::profile::topology::{Role, RoleSettings, Topology};

impl Selection {
    /// Returns the profile of each role, resolved for the same stack; a profile without a topology as it is.
    #[must_use]
    pub fn by_role(&self) -> Vec<Self> {
        let Some(topology) = &self.profile.topology else {
            return vec![self.clone()];
        };
        let of = |role: Role| {
            Some(Self {
                profile: self.profile.of_role(role)?,
                origins: self.origins.of_role(role),
                ..self.clone()
            })
        };
        topology
            .roles()
            .into_iter()
            .filter_map(|(role, _)| of(role))
            .collect()
    }
}

impl Profile {
    /// Returns the profile of one engine of a role: its settings, its GPUs, and a topology with that role alone. `None` if
    /// the profile has no such role.
    #[must_use]
    pub fn of_role(&self, role: Role) -> Option<Self> {
        let topology = self.topology.as_ref()?;
        let (_, settings) = topology.roles().into_iter().find(|(one, _)| *one == role)?;
        let engine = self.engine.overlaid(&settings.engine);
        let only = |one: Role| (one == role).then(|| settings.clone());
        Some(Self {
            gpus: if self.gpus == 0 { 0 } else { engine.ranks() },
            engine,
            topology: Some(Topology {
                aggregate: only(Role::Aggregate),
                prefill: only(Role::Prefill),
                decode: only(Role::Decode),
                ..topology.clone()
            }),
            ..self.clone()
        })
    }

    /// Returns the settings of the engines of each role; those of the profile without a topology.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineSettings> {
        let Some(topology) = &self.topology else {
            return vec![self.engine.clone()];
        };
        let of = |role: &RoleSettings| self.engine.overlaid(&role.engine);
        topology.roles().iter().map(|(_, role)| of(role)).collect()
    }

    /// Returns true if the profile needs more than one engine on one node.
    #[must_use]
    pub fn is_for_several_nodes(&self) -> bool {
        let Some(topology) = &self.topology else {
            return false;
        };
        let roles = topology.roles();
        let nodes_of = |role: Role| {
            self.of_role(role)
                .map_or(0, |one| topology.nodes_of(one.engine.ranks()))
        };
        roles.len() > 1
            || roles
                .iter()
                .any(|(role, settings)| settings.count() > 1 || nodes_of(*role) > 1)
    }
}
