//! The shape of a model that is not pulled: read from the hub by ranges, before a byte of its weights is fetched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Home;
use crate::support::hub::{Hub, RepoFile};

/// Returns the names that a name with ranges such as `{0-255}` stands for.
fn expanded(name: &str) -> Vec<String> {
    let Some((head, rest)) = name.split_once('{') else {
        return vec![name.to_owned()];
    };
    let (range, tail) = rest.split_once('}').unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
    (first..=last)
        .flat_map(|number| expanded(&format!("{head}{number}{tail}")))
        .collect()
}

/// A hub with a model of `tests/fixtures/models`, whose weights are zeros, in this number of shards.
fn hub_with(model: &str, shards: usize) -> Hub {
    let path = format!(
        "{}/tests/fixtures/models/{model}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let model: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut tensors = Vec::new();
    for tensor in model["tensors"].as_array().unwrap() {
        let element = match tensor[1].as_str().unwrap() {
            "F8_E4M3" => 1,
            "F32" => 4,
            _ => 2,
        };
        let sides = tensor[2].as_array().unwrap();
        let bytes = sides
            .iter()
            .fold(element, |bytes, side| bytes * side.as_u64().unwrap());
        for name in expanded(tensor[0].as_str().unwrap()) {
            tensors.push((name, tensor.clone(), bytes));
        }
    }
    let mut files = BTreeMap::new();
    let mut zeros = Vec::new();
    let mut map = serde_json::Map::new();
    for number in 0..shards {
        let path = format!("model-{number:05}.safetensors");
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for (name, tensor, bytes) in tensors.iter().skip(number).step_by(shards) {
            header.insert(
                name.clone(),
                json!({"dtype": tensor[1], "shape": tensor[2], "data_offsets": [end, end + bytes]}),
            );
            end += bytes;
            map.insert(name.clone(), json!(path));
        }
        let header = Value::from(header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        zeros.push((path.clone(), usize::try_from(end).unwrap()));
        files.insert(path, RepoFile { bytes, large: true });
    }
    let small = |value: &Value| RepoFile {
        bytes: value.to_string().into_bytes(),
        large: false,
    };
    files.insert("config.json".to_owned(), small(&model["config"]));
    files.insert(
        "model.safetensors.index.json".to_owned(),
        small(&json!({"metadata": {}, "weight_map": map})),
    );
    let hub = Hub::new("lab/model", files);
    for (path, count) in zeros {
        hub.zeros(&path, count);
    }
    hub
}

/// A profile of two GPUs, as the runs on H200s had them.
const TWO: &str = "name: two\nextends: h200-fp8-low-latency\ngpus: 2\nengine:\n  tensor_parallel: 2\n  attention_backend: triton\n  mem_fraction: 0.8\n  graph_batch: 256\n";

fn home(hub: &Hub) -> Home {
    let home = Home::new().without_docker().with("HF_ENDPOINT", &hub.endpoint);
    std::fs::write(home.path().join("two.yaml"), TWO).unwrap();
    home
}

const PLAN: [&str; 7] = [
    "plan",
    "--profile-file",
    "two.yaml",
    "--model",
    "lab/model",
    "--format",
    "json",
];

#[test]
#[expect(clippy::cast_precision_loss, reason = "gigabytes are exact in an f64")]
fn a_model_never_seen_before_has_the_weights_that_the_engine_loads() {
    // "Load weight end. ... mem usage" of SGLang 0.5.16 on two H200 (tests/fixtures/memory).
    for (model, engine, parts) in [("odd", 3.46, 2), ("dense", 6.80, 4), ("r12", 13.46, 6)] {
        let hub = hub_with(model, parts);
        let home = home(&hub);
        // The host has no GPU, which blocks the plan; it is printed all the same.
        let run = home.run(&PLAN).expect(3);
        let memory = &run.json()["memory"];
        assert_eq!(memory["weights_listed"], true, "{memory}");
        let weights = memory["weights_bytes"].as_f64().unwrap() / (1_u64 << 30) as f64;
        assert!(
            (weights - engine).abs() < 0.05,
            "{model}: {weights} GiB, the engine has {engine}"
        );
        // Nothing of the weights was fetched.
        assert!(hub.bytes_sent() < 16 << 20, "{}", hub.bytes_sent());
    }
}

#[test]
fn the_shape_is_kept_by_commit() {
    let hub = hub_with("odd", 3);
    let home = home(&hub);
    let first = home.run(&PLAN).expect(3).json();
    let asked = hub.arrived();
    let second = home.run(&PLAN).expect(3).json();
    assert_eq!(first["memory"], second["memory"]);
    // The hub is asked for the commit of the branch, and whether it gives it.
    assert!(hub.arrived() - asked <= 2, "{}", hub.arrived() - asked);
}

#[test]
#[expect(clippy::print_stderr, reason = "the time is printed")]
fn the_headers_of_163_files_are_asked_for_once_each() {
    let hub = hub_with("odd", 163);
    hub.delay(Duration::from_millis(50));
    let home = home(&hub);
    let begun = Instant::now();
    home.run(&PLAN).expect(3);
    eprintln!("163 headers with 50 ms before each answer: {:?}", begun.elapsed());
    for number in 0..163 {
        let path = format!("model-{number:05}");
        let asked = hub.asked();
        let of_file = asked.iter().filter(|one| one.path.contains(&path) && one.on_cdn);
        assert_eq!(of_file.count(), 1, "{path}");
    }
}

#[test]
fn a_model_that_is_wrong_is_named_with_its_file_and_nothing_is_kept() {
    for (file, cause, named) in [
        // A header that promises more than the file has.
        ("model-00000.safetensors", "tensors end at", "model-00000"),
        ("config.json", "num_hidden_layers", "config.json"),
        ("model.safetensors.index.json", "names no file", "index"),
        ("model-00001.safetensors", "is missing", "model-00001"),
    ] {
        let hub = changed(file);
        let home = home(&hub);
        let run = home.run(&PLAN).expect(6);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains(cause) && said.contains(named), "{file}: {said}");
        assert!(!home.path().join(".cache/dsr1/models-1").exists(), "{file}");
    }
}

/// A hub whose model lacks what `file` should have.
fn changed(file: &str) -> Hub {
    let shard = |name: &str, end: u64| {
        let header = json!({name: {"dtype": "BF16", "shape": [1], "data_offsets": [0, end]}}).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend([0, 0]);
        RepoFile { bytes, large: true }
    };
    let small = |value: Value| RepoFile {
        bytes: value.to_string().into_bytes(),
        large: false,
    };
    let config = json!({"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8});
    let map = json!({"a": "model-00000.safetensors", "b": "model-00001.safetensors"});
    let mut files = BTreeMap::from([
        (
            "config.json".to_owned(),
            small(if file == "config.json" { json!({}) } else { config }),
        ),
        (
            "model.safetensors.index.json".to_owned(),
            small(if file.ends_with("index.json") {
                json!({})
            } else {
                json!({"weight_map": map})
            }),
        ),
        (
            "model-00000.safetensors".to_owned(),
            shard("a", if file == "model-00000.safetensors" { 6 } else { 2 }),
        ),
        ("model-00001.safetensors".to_owned(), shard("b", 2)),
    ]);
    if file.starts_with("model-00001") {
        files.remove(file);
    }
    Hub::new("lab/model", files)
}

#[test]
fn a_hub_that_answers_with_a_page_is_said_and_plans_no_memory() {
    let hub = hub_with("dense", 2);
    hub.fault(
        "config.json",
        crate::support::hub::Fault::Status(200, "", "<html>welcome</html>"),
        9,
    );
    let home = home(&hub);
    let run = home.run(&PLAN).expect(6);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("config.json"), "{said}");
}

#[test]
fn what_the_engine_would_refuse_for_such_a_model_blocks_the_plan() {
    let hub = hub_with("odd", 1);
    let home = home(&hub);
    let run = home
        .run(&[&PLAN[..], &["--", "--attention-backend", "trtllm_mla"]].concat())
        .expect(3);
    let blockers = run.json()["blockers"].to_string();
    assert!(
        blockers.contains("trtllm_mla does not run on Hopper"),
        "{blockers}"
    );
    let run = home.run(&PLAN).expect(3);
    assert!(
        !run.json()["blockers"]
            .to_string()
            .contains("does not fit lab/model"),
        "{}",
        run.stdout
    );
}
