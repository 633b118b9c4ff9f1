//! Objects of Kubernetes: what `export lws` writes.

use std::collections::BTreeMap;

use dsr1::error::Kind;
use dsr1::plan::cluster::Deployment;
use dsr1::render::cluster::{ClusterOptions, Container, KubernetesOptions, LWS, RdmaDevices, WeightsVolume};
use proptest::prelude::*;
use serde::Deserialize;
use serde_yaml::Value;

use crate::support::Home;
use crate::support::manifests::{manifest, manifests};

#[test]
fn a_snapshot_of_each_kind_of_server() {
    for (name, text) in manifests() {
        insta::assert_snapshot!(format!("lws-{name}"), text);
    }
}

/// Returns the documents of a text.
fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// Replaces variables as Kubernetes does: two dollars are one, `$(NAME)` is the value if there is one.
fn expanded(text: &str, values: &BTreeMap<&str, &str>) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        found.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(next) = rest.strip_prefix('$') {
            found.push('$');
            rest = next;
        } else if let Some((name, next)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match values.get(name) {
                Some(value) => found.push_str(value),
                None => found.extend(["$(", name, ")"]),
            }
            rest = next;
        } else {
            found.push('$');
        }
    }
    found + rest
}

/// The variables that a pod of rank 1 has.
fn variables() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("DSR1_POD_IP", "10.0.0.7"),
        ("LWS_LEADER_ADDRESS", "leader.example"),
        ("LWS_WORKER_INDEX", "1"),
    ])
}

/// Returns the container of the followers.
fn follower(text: &str) -> Value {
    let set = documents(text)
        .into_iter()
        .find(|document| document["kind"] == "LeaderWorkerSet")
        .unwrap();
    set["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0].clone()
}

/// Returns a command as the kubelet starts it.
fn command(container: &Value) -> Vec<String> {
    ["command", "args"]
        .iter()
        .flat_map(|key| container[*key].as_sequence().unwrap())
        .map(|word| expanded(word.as_str().unwrap(), &variables()))
        .collect()
}

/// A server over two nodes.
fn deployment() -> Deployment {
    let home = Home::new().without_docker();
    let args = [
        "plan",
        "--profile",
        "rehearsal-rack",
        "--runtime",
        "process",
        "--format",
        "json",
    ];
    home.run(&args).expect(0).json_as()
}

fn options() -> ClusterOptions {
    ClusterOptions {
        container: Some(Container {
            image: "image:1".to_owned(),
            weights: "/hub".to_owned(),
            weights_at: "/models".to_owned(),
            mounts: Vec::new(),
        }),
        kubernetes: KubernetesOptions {
            weights: Some(WeightsVolume::Claim("weights".to_owned())),
            ..KubernetesOptions::default()
        },
        ..ClusterOptions::default()
    }
}

#[test]
fn a_rank_gets_its_own_command() {
    let deployment = deployment();
    let text = LWS.text(&deployment, &options(), &[]).unwrap();
    let words = command(&follower(&text)).join(" ");
    assert!(words.contains(" --host 10.0.0.7 --port 30100 "), "{words}");
    assert!(
        words.ends_with(" --dist-init-addr leader.example:30104 --node-rank 1"),
        "{words}"
    );
}

/// Words that are harmless only as long as they stay values.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        "[$(){}'\"`\\\\:#,&*!|>%@ -]{0,20}",
        Just("$(LWS_LEADER_ADDRESS)".to_owned()),
        Just("$$(DSR1_POD_IP)".to_owned()),
        Just("{{ .Values.x }}".to_owned()),
        Just("two\n---\nkind: Secret".to_owned()),
        Just("no".to_owned()),
        Just("1_000".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_values_stay_values_or_are_refused(value in hostile()) {
        static DEPLOYMENT: std::sync::OnceLock<Deployment> = std::sync::OnceLock::new();
        let mut deployment = DEPLOYMENT.get_or_init(deployment).clone();
        for group in &mut deployment.groups {
            group.command.push(value.clone());
            group.env.insert("EVIL".to_owned(), value.clone());
        }
        let mut options = options();
        options.kubernetes.networks = Some(value.clone());
        match LWS.text(&deployment, &options, std::slice::from_ref(&value)) {
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::Usage);
                prop_assert!(error.message().contains("`argv`"), "{}", error.message());
                prop_assert!(!error.message().chars().any(char::is_control));
            }
            Ok(text) => {
                let container = follower(&text);
                let plain = deployment.groups[0].command.len();
                prop_assert_eq!(&command(&container)[..plain], &deployment.groups[0].command);
                let env = container["env"].as_sequence().unwrap();
                let evil = env.iter().find(|one| one["name"] == "EVIL").unwrap();
                let read = expanded(evil["value"].as_str().unwrap(), &variables());
                prop_assert_eq!(&read, &value);
                let kinds: Vec<String> = documents(&text)
                    .iter()
                    .map(|one| one["kind"].as_str().unwrap().to_owned())
                    .collect();
                let wanted = ["LeaderWorkerSet", "ServiceAccount", "Role", "RoleBinding", "Deployment", "Service"];
                prop_assert_eq!(kinds, wanted);
                let set = &documents(&text)[0];
                let pod = &set["spec"]["leaderWorkerTemplate"]["workerTemplate"];
                let networks = &pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"];
                prop_assert_eq!(networks.as_str(), Some(value.as_str()));
            }
        }
    }
}

/// A change of a deployment or of options.
type Change = fn(&mut Deployment, &mut ClusterOptions, &str);

#[test]
fn names_that_kubernetes_refuses_are_refused_with_their_option() {
    fn image(options: &mut ClusterOptions) -> &mut Container {
        options.container.as_mut().unwrap()
    }
    let changes: [(&str, Change); 14] = [
        ("name", |deployment, _, value| {
            value.clone_into(&mut deployment.name);
        }),
        ("probe", |deployment, _, value| {
            value.clone_into(&mut deployment.probe);
        }),
        ("env", |deployment, _, value| {
            deployment.groups[0].env.insert(value.to_owned(), String::new());
        }),
        ("--namespace", |_, options, value| {
            value.clone_into(&mut options.kubernetes.namespace);
        }),
        ("--container-image", |_, options, value| {
            value.clone_into(&mut image(options).image);
        }),
        ("--router-image", |_, options, value| {
            options.kubernetes.router_image = Some(value.to_owned());
        }),
        ("--mount", |_, options, value| {
            image(options).mounts.push((value.to_owned(), "/x".to_owned()));
        }),
        ("--mount", |_, options, value| {
            image(options).mounts.push(("/x".to_owned(), value.to_owned()));
        }),
        ("--weights-claim", |_, options, value| {
            options.kubernetes.weights = Some(WeightsVolume::Claim(value.to_owned()));
        }),
        ("--weights-folder", |_, options, value| {
            options.kubernetes.weights = Some(WeightsVolume::Folder(value.to_owned()));
        }),
        ("--pull-secret", |_, options, value| {
            options.kubernetes.pull_secrets.push(value.to_owned());
        }),
        ("--node-selector", |_, options, value| {
            options
                .kubernetes
                .node_labels
                .push((value.to_owned(), String::new()));
        }),
        ("--rdma", |_, options, value| {
            options.kubernetes.rdma = Some(RdmaDevices {
                resource: value.to_owned(),
                count: 1,
            });
        }),
        ("--nvlink-label", |_, options, value| {
            value.clone_into(&mut options.kubernetes.nvlink_label);
        }),
    ];
    for (field, change) in changes {
        for value in ["a b", "two\nlines", "x: {y}", "", "é", "\u{202e}x"] {
            let (mut deployment, mut options) = (deployment_once(), options());
            change(&mut deployment, &mut options, value);
            let error = LWS.text(&deployment, &options, &[]).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(
                error.message().contains(&format!("`{field}`")),
                "{field}: {}",
                error.message()
            );
        }
    }
}

fn deployment_once() -> Deployment {
    static DEPLOYMENT: std::sync::OnceLock<Deployment> = std::sync::OnceLock::new();
    DEPLOYMENT.get_or_init(deployment).clone()
}

#[test]
fn values_that_would_break_a_pod_later_are_refused_before() {
    let refusal = |change: Change, value: &str| {
        let (mut deployment, mut options) = (deployment_once(), options());
        change(&mut deployment, &mut options, value);
        LWS.text(&deployment, &options, &[])
            .err()
            .map(|error| error.message())
            .unwrap_or_default()
    };
    let name: Change = |deployment, _, value| value.clone_into(&mut deployment.name);
    // NAME-0-1234567890 is the value of a label, with at most 63 bytes.
    assert_eq!(refusal(name, &"n".repeat(50)), "");
    assert!(refusal(name, &"n".repeat(51)).contains("leaves 50 characters"));
    assert!(refusal(name, "1st").contains("`name`"));
    let variable: Change = |deployment, _, value| {
        deployment.groups[0].env.insert(value.to_owned(), String::new());
    };
    for name in ["DSR1_POD_IP", "LWS_WORKER_INDEX"] {
        assert!(refusal(variable, name).contains("is set in every pod"), "{name}");
    }
    let folder: Change = |_, options, value| {
        options.kubernetes.weights = Some(WeightsVolume::Folder(value.to_owned()));
    };
    assert!(refusal(folder, "/data/../etc").contains("`--weights-folder`"));
}

#[test]
fn what_a_pod_needs_must_be_named() {
    let one = "name: one\nextends: h200-fp8-high-throughput\n";
    let run = manifest(one, &[]).expect(2);
    assert!(run.stderr.contains("--weights-claim NAME"), "{}", run.stderr);
    let home = Home::new().without_docker();
    let run = home
        .run(&["export", "lws", "--profile", "h200-fp8-high-throughput"])
        .expect(2);
    assert!(run.stderr.contains("--container-image"), "{}", run.stderr);
    for (option, said) in [
        ("--rdma=rdma/ib", "is not a number of devices"),
        ("--rdma=rdma/ib=0", "is not a number of devices"),
        ("--node-selector=x", "is not a label"),
        ("--partition=gpu", "--partition says nothing to lws"),
    ] {
        let run = manifest(one, &["--weights-claim", "w", option]).expect(2);
        assert!(run.stderr.contains(said), "{option}: {}", run.stderr);
    }
    let run = home
        .run(&["export", "slurm", "--profile", "rehearsal", "--namespace", "x"])
        .expect(2);
    assert!(
        run.stderr.contains("--namespace says nothing to slurm"),
        "{}",
        run.stderr
    );
}

/// A tray has one channel, so that two pods cannot share it.
#[test]
fn engines_that_share_a_tray_are_refused() {
    let shared = "\
name: shared
extends: b200x4-fp4-high-throughput
gpus: 4
engine: {tensor_parallel: 2, expert_parallel: 2}
topology: {gpus_per_node: 4, nvlink: true, prefill: {}, decode: {}}
";
    let run = manifest(shared, &["--weights-claim", "w"]).expect(2);
    assert!(
        run.stderr.contains("takes 2 of the 4 GPUs of a node"),
        "{}",
        run.stderr
    );
}
