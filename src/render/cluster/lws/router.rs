//! The router: its pod, and the rights by which it finds the engines.

use std::collections::BTreeMap;

use super::kinds::{Binding, RoleRef, RouterSet, Rule, Rules, Selector, ServiceAccount, Subject};
use super::object::{Metadata, Spec};
use super::pod::{
    Capabilities, Container, ContainerPort, ContainerSecurity, HTTP, PodSecurity, PodSpec, PodTemplate,
    Probe, RUNTIME_DEFAULT, Resources,
};
use super::site::{ARCHITECTURE, START_S, Site, pod_ip};
use super::words::{POD_IP, literal};
use crate::error::Result;
use crate::plan::cluster::Router;
use crate::profile::{Role, RouterKind};

/// Domain of the labels of the pods of a `LeaderWorkerSet`.
const OF_GROUP: &str = "leaderworkerset.sigs.k8s.io";
/// Domain of the labels of the pods of a `DisaggregatedSet`.
const OF_SET: &str = "disaggregatedset.x-k8s.io";
/// The role of the router among the labels.
pub(super) const ROUTER: &str = "router";
/// Group of the rights.
const RBAC: &str = "rbac.authorization.k8s.io";
/// Version of the kinds of this group.
const VERSION: &str = "rbac.authorization.k8s.io/v1";
/// Seconds between the end of a pod and that of its process: the requests of a router are as long as those of the engines.
const END_S: u32 = 90;
/// A user without rights and without a home, for an image that holds a router alone.
const NOBODY: u32 = 65_532;

/// Returns the documents of a router.
///
/// # Errors
/// As [`super::object::Object::document`].
pub(super) fn documents(site: &Site<'_>, router: &Router) -> Result<Vec<String>> {
    let name = format!("{}-router", site.deployment.name);
    let account = ServiceAccount {
        automount_service_account_token: true,
    };
    let rules = Rules {
        rules: [Rule {
            api_groups: [""],
            resources: ["pods"],
            verbs: ["get", "list", "watch"],
        }],
    };
    let binding = Binding {
        role_ref: RoleRef {
            api_group: RBAC,
            kind: "Role",
            name: name.clone(),
        },
        subjects: [Subject {
            kind: "ServiceAccount",
            name: name.clone(),
            namespace: site.options.namespace.clone(),
        }],
    };
    let pods = Spec {
        spec: RouterSet {
            replicas: 1,
            // It is ready after the engines.
            progress_deadline_seconds: START_S,
            selector: Selector {
                match_labels: site.selector(ROUTER),
            },
            template: template(site, router, &name),
        },
    };
    Ok(vec![
        site.object(("v1", "ServiceAccount"), &name, ROUTER, account)
            .document(
                "The router finds the engines by the labels of their pods, so that it needs an account",
            )?,
        site.object((VERSION, "Role"), &name, ROUTER, rules)
            .document("The right to read the pods of this namespace, and no other.")?,
        site.object((VERSION, "RoleBinding"), &name, ROUTER, binding)
            .document("The account has this right.")?,
        site.object(("apps/v1", "Deployment"), &name, ROUTER, pods)
            .document("The router.")?,
    ])
}

/// Returns the label that finds the leader of each engine of a role.
pub(super) fn leaders(site: &Site<'_>, role: Role) -> BTreeMap<String, String> {
    let name = site.deployment.name.clone();
    let mut labels = BTreeMap::from([(format!("{OF_GROUP}/worker-index"), "0".to_owned())]);
    if role == Role::Aggregate {
        labels.insert(format!("{OF_GROUP}/name"), name);
    } else {
        labels.insert(format!("{OF_SET}/name"), name);
        labels.insert(format!("{OF_SET}/role"), role.name().to_owned());
    }
    labels
}

fn template(site: &Site<'_>, router: &Router, account: &str) -> PodTemplate {
    let own_image = site.options.router_image.as_ref();
    // The image of a router alone is for several architectures; that of the engines is for theirs.
    let node_selector = match own_image {
        Some(_) => BTreeMap::new(),
        None => BTreeMap::from([(ARCHITECTURE.to_owned(), site.architecture.to_owned())]),
    };
    PodTemplate {
        metadata: Metadata {
            labels: site.labels(ROUTER),
            ..Metadata::default()
        },
        spec: PodSpec {
            service_account_name: Some(account.to_owned()),
            automount_service_account_token: true,
            enable_service_links: false,
            termination_grace_period_seconds: END_S,
            image_pull_secrets: site.pull_secrets(),
            node_selector,
            tolerations: Vec::new(),
            resource_claims: Vec::new(),
            security_context: PodSecurity {
                // The image of the engines runs as root.
                run_as_non_root: own_image.map(|_| true),
                run_as_user: own_image.map(|_| NOBODY),
                seccomp_profile: RUNTIME_DEFAULT,
            },
            containers: [container(site, router)],
            volumes: Vec::new(),
        },
    }
}

fn container(site: &Site<'_>, router: &Router) -> Container {
    let own_image = site.options.router_image.as_ref();
    let image = own_image.unwrap_or(&site.container.image);
    let program: Vec<String> = match (own_image, router.kind) {
        // The program is on the path of SMG's image; that of the engines has it beside its Python.
        (Some(_), RouterKind::Smg) => ["smg", "launch"].map(str::to_owned).into(),
        _ => router.program.iter().map(|word| literal(word)).collect(),
    };
    Container {
        name: "router",
        image: image.clone(),
        command: program,
        args: arguments(site, router),
        env: vec![pod_ip()],
        ports: vec![ContainerPort {
            name: HTTP,
            container_port: site.deployment.port,
        }],
        startup_probe: Probe::of("/liveness", 2, 5, 60),
        // It says that it has engines.
        readiness_probe: Probe::of("/readiness", 5, 5, 3),
        liveness_probe: Probe::of("/liveness", 10, 5, 6),
        lifecycle: None,
        resources: Resources {
            requests: [("cpu", "2"), ("memory", "4Gi")]
                .map(|(name, amount)| (name.to_owned(), amount.to_owned()))
                .into(),
            ..Resources::default()
        },
        security_context: ContainerSecurity {
            allow_privilege_escalation: false,
            read_only_root_filesystem: own_image.map(|_| true),
            capabilities: Capabilities {
                drop: ["ALL"],
                add: Vec::new(),
            },
        },
        volume_mounts: Vec::new(),
    }
}

/// Returns the options of the router (`smg launch` of SMG 1.13.0, `sglang_router` 0.3.2).
fn arguments(site: &Site<'_>, router: &Router) -> Vec<String> {
    let deployment = site.deployment;
    let mut words: Vec<String> = [
        "--host",
        &format!("$({POD_IP})"),
        "--port",
        &deployment.port.to_string(),
    ]
    .map(str::to_owned)
    .into();
    if let Some(policy) = router.policy {
        words.extend(["--policy", policy.name()].map(str::to_owned));
    }
    words.push("--service-discovery".to_owned());
    words.extend([
        "--service-discovery-namespace".to_owned(),
        site.options.namespace.clone(),
    ]);
    let port = deployment
        .groups
        .iter()
        .find_map(|group| group.workers.first())
        .map(|worker| worker.ports.http.to_string());
    words.extend(
        port.into_iter()
            .flat_map(|port| ["--service-discovery-port".to_owned(), port]),
    );
    if deployment.groups.len() > 1 {
        words.push("--pd-disaggregation".to_owned());
    }
    for group in &deployment.groups {
        let option = match group.role {
            Role::Aggregate => "--selector",
            Role::Prefill => "--prefill-selector",
            Role::Decode => "--decode-selector",
        };
        words.push(option.to_owned());
        let labels = leaders(site, group.role).into_iter();
        words.extend(labels.map(|(key, value)| format!("{key}={value}")));
    }
    words
}
