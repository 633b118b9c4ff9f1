//! The kinds of objects that dsr1 writes, each with the fields that it uses.
//!
//! The fields are those of Kubernetes 1.34 to 1.37, of `LeaderWorkerSet` and `DisaggregatedSet` in LWS 0.9 and 0.10, and of
//! `ComputeDomain` in NVIDIA's DRA driver 0.4 (`v1beta1`).

use serde::Serialize;

use super::object::{Labels, Named};
use super::pod::PodTemplate;

/// The engines of one role: groups of pods, each with a leader.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeaderWorkerSet {
    pub(super) replicas: usize,
    pub(super) startup_policy: &'static str,
    pub(super) rollout_strategy: RolloutStrategy,
    pub(super) leader_worker_template: LeaderWorkerTemplate,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RolloutStrategy {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) rolling_update_configuration: RollingUpdate,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RollingUpdate {
    pub(super) max_surge: u32,
    pub(super) max_unavailable: u32,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeaderWorkerTemplate {
    pub(super) size: u32,
    pub(super) restart_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leader_template: Option<PodTemplate>,
    pub(super) worker_template: PodTemplate,
}

/// The engines of several roles.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DisaggregatedSet {
    pub(super) slices: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) placement_policy: Option<PlacementPolicy>,
    pub(super) roles: Vec<SetRole>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PlacementPolicy {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) topology: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct SetRole {
    pub(super) name: String,
    pub(super) spec: LeaderWorkerSet,
}

/// Nodes whose GPUs may map each other's memory over `NVLink`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ComputeDomain {
    pub(super) num_nodes: u32,
    pub(super) channel: Channel,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Channel {
    pub(super) resource_claim_template: Named,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Service {
    pub(super) selector: Labels,
    pub(super) ports: [ServicePort; 1],
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePort {
    pub(super) name: &'static str,
    pub(super) port: u16,
    pub(super) target_port: &'static str,
}

/// The router's pods.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RouterSet {
    pub(super) replicas: u32,
    pub(super) progress_deadline_seconds: u32,
    pub(super) selector: Selector,
    pub(super) template: PodTemplate,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Selector {
    pub(super) match_labels: Labels,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceAccount {
    pub(super) automount_service_account_token: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Rules {
    pub(super) rules: [Rule; 1],
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) api_groups: [&'static str; 1],
    pub(super) resources: [&'static str; 1],
    pub(super) verbs: [&'static str; 3],
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Binding {
    pub(super) role_ref: RoleRef,
    pub(super) subjects: [Subject; 1],
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleRef {
    pub(super) api_group: &'static str,
    pub(super) kind: &'static str,
    pub(super) name: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Subject {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) namespace: String,
}
