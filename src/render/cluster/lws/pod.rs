//! The parts of a pod that dsr1 writes (Kubernetes, core/v1).

use std::collections::BTreeMap;

use serde::Serialize;

use super::object::{Metadata, Named};

/// A template of pods.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PodTemplate {
    pub(super) metadata: Metadata,
    pub(super) spec: PodSpec,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_account_name: Option<String>,
    pub(super) automount_service_account_token: bool,
    pub(super) enable_service_links: bool,
    pub(super) termination_grace_period_seconds: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) image_pull_secrets: Vec<Named>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) node_selector: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tolerations: Vec<Toleration>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) resource_claims: Vec<PodClaim>,
    pub(super) security_context: PodSecurity,
    pub(super) containers: [Container; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) volumes: Vec<Volume>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Toleration {
    pub(super) key: &'static str,
    pub(super) operator: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<&'static str>,
    pub(super) effect: &'static str,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodClaim {
    pub(super) name: &'static str,
    pub(super) resource_claim_template_name: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSecurity {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run_as_non_root: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run_as_user: Option<u32>,
    pub(super) seccomp_profile: SeccompProfile,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct SeccompProfile {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

/// The profile of the container runtime, which is that of Docker, too.
pub(super) const RUNTIME_DEFAULT: SeccompProfile = SeccompProfile {
    kind: "RuntimeDefault",
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<Variable>,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) startup_probe: Probe,
    pub(super) readiness_probe: Probe,
    pub(super) liveness_probe: Probe,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lifecycle: Option<Lifecycle>,
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub(super) resources: Resources,
    pub(super) security_context: ContainerSecurity,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) volume_mounts: Vec<VolumeMount>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value_from: Option<ValueFrom>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ValueFrom {
    pub(super) field_ref: FieldRef,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FieldRef {
    pub(super) field_path: &'static str,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerPort {
    pub(super) name: &'static str,
    pub(super) container_port: u16,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Probe {
    pub(super) http_get: HttpGet,
    pub(super) period_seconds: u32,
    pub(super) timeout_seconds: u32,
    pub(super) failure_threshold: u32,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct HttpGet {
    pub(super) path: String,
    pub(super) port: &'static str,
}

/// Name of the port that probes and Services use.
pub(super) const HTTP: &str = "http";

impl Probe {
    /// Returns a probe of a path: `failures` in a row, a `period` apart, count as a failure.
    pub(super) fn of(path: &str, period: u32, timeout: u32, failures: u32) -> Self {
        Self {
            http_get: HttpGet {
                path: path.to_owned(),
                port: HTTP,
            },
            period_seconds: period,
            timeout_seconds: timeout,
            failure_threshold: failures,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lifecycle {
    pub(super) pre_stop: PreStop,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PreStop {
    pub(super) sleep: Sleep,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Sleep {
    pub(super) seconds: u32,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Resources {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) requests: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) limits: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) claims: Vec<Named>,
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty() && self.claims.is_empty()
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerSecurity {
    pub(super) allow_privilege_escalation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_only_root_filesystem: Option<bool>,
    pub(super) capabilities: Capabilities,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Capabilities {
    pub(super) drop: [&'static str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) add: Vec<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeMount {
    pub(super) name: String,
    pub(super) mount_path: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) read_only: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Volume {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) source: VolumeSource,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum VolumeSource {
    #[serde(rename_all = "camelCase")]
    EmptyDir {
        medium: &'static str,
        size_limit: String,
    },
    #[serde(rename_all = "camelCase")]
    PersistentVolumeClaim { claim_name: String, read_only: bool },
    HostPath {
        path: String,
        #[serde(rename = "type")]
        kind: &'static str,
    },
}
