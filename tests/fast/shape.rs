//! The shape of a model that is not pulled: read from the hub by ranges, before a byte of its weights is fetched.

use std::collections::BTreeMap;
use std::path::Path;
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

/// The files of a model of `tests/fixtures/models` in this number of shards, and the zeros behind the header of each shard:
/// its weights.
fn files_of(model: &str, shards: usize) -> (BTreeMap<String, RepoFile>, Vec<(String, usize)>) {
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
    (files, zeros)
}

/// A hub with a model of `tests/fixtures/models`.
fn hub_with(model: &str, shards: usize) -> Hub {
    let (files, zeros) = files_of(model, shards);
    let hub = Hub::new("lab/model", files);
    for (path, count) in zeros {
        hub.zeros(&path, count);
    }
    hub
}

/// A folder with the same files; the weights take no space.
fn folder_with(model: &str, shards: usize, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let (files, zeros) = files_of(model, shards);
    for (path, file) in files {
        std::fs::write(folder.join(path), file.bytes).unwrap();
    }
    for (path, count) in zeros {
        let file = std::fs::File::options()
            .append(true)
            .open(folder.join(path))
            .unwrap();
        let size = file.metadata().unwrap().len();
        file.set_len(size + count as u64).unwrap();
    }
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

/// Returns a home with a folder `DeepSeek-R1-copy` of a model, and the profile of two GPUs.
fn home_with_folder() -> Home {
    let home = Home::new().without_docker().with("HF_HUB_OFFLINE", "1");
    std::fs::write(home.path().join("two.yaml"), TWO).unwrap();
    folder_with("odd", 3, &home.path().join("DeepSeek-R1-copy"));
    home
}

/// Returns the arguments of a plan of `serve` from a folder.
fn serve_from(folder: &str) -> Vec<&str> {
    let plan = [
        "plan",
        "--profile-file",
        "two.yaml",
        "--runtime",
        "docker",
        "--format",
        "json",
    ];
    [&plan[..], &["--model", folder]].concat()
}

#[test]
fn a_folder_of_this_host_is_planned_and_served_as_it_is() {
    let home = home_with_folder();
    let run = home.run(&serve_from("./DeepSeek-R1-copy")).expect(3);
    let plan = run.json();
    let path = home.path().join("DeepSeek-R1-copy");
    let path = path.canonicalize().unwrap().display().to_string();
    let memory = &plan["memory"];
    assert_eq!(
        (&memory["weights_known"], &memory["weights_listed"]),
        (&json!(true), &json!(false))
    );
    let gib = memory["weights_bytes"].as_u64().unwrap() >> 20;
    assert!((3400..3700).contains(&gib), "{gib} MiB");
    let steps = plan["steps"].as_array().unwrap();
    let step = |name: &str| steps.iter().find(|step| step["step"] == name);
    assert!(
        step("pull_snapshot").is_none() && step("check_snapshot").is_none(),
        "{plan}"
    );
    assert_eq!(step("check_folder").unwrap()["path"], json!(path));
    // A container gets it read-only under a fixed path.
    let start = step("start_container").unwrap();
    let mount = json!({"type": "bind", "source": path, "target": "/model"});
    assert!(start["mounts"].as_array().unwrap().contains(&mount), "{start}");
    let argv = start["argv"].to_string();
    assert!(argv.contains("\"--model-path\",\"/model\""), "{argv}");
    // Clients see the model's name, not a path of the host.
    assert_eq!(step("await_ready").unwrap()["model"], json!("DeepSeek-R1-copy"));
    let text = home
        .run(&[
            "plan",
            "--profile-file",
            "two.yaml",
            "--runtime",
            "docker",
            "--model",
            &path,
        ])
        .expect(3)
        .stdout;
    assert!(text.contains("(as DeepSeek-R1-copy)"), "{text}");
    assert!(text.contains("are served as they are"), "{text}");
}

#[test]
fn a_profile_names_a_folder() {
    let home = home_with_folder();
    let folder = home.path().join("DeepSeek-R1-copy").canonicalize().unwrap();
    let with = |path: &str| {
        let text = format!("{TWO}model:\n  path: {path}\n");
        std::fs::write(home.path().join("own.yaml"), text).unwrap();
        home.run(&[
            "plan",
            "--profile-file",
            "own.yaml",
            "--runtime",
            "docker",
            "--format",
            "json",
        ])
    };
    let plan = with(folder.to_str().unwrap()).expect(3).json();
    // The repository of the profile goes on naming the model.
    let steps = plan["steps"].as_array().unwrap();
    let ready = steps.iter().find(|step| step["step"] == "await_ready").unwrap();
    assert_eq!(ready["model"], json!("deepseek-ai/DeepSeek-R1-0528"));
    let run = with("weights/here").expect(2);
    assert!(
        run.stdout
            .contains("own.yaml:10: `weights/here` is not an absolute path that can be mounted"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_folder_that_cannot_be_served_blocks_the_plan() {
    let home = home_with_folder();
    let folder = home.path().join("DeepSeek-R1-copy");
    let blocked = |folder: &str, cause: &str| {
        let plan = home.run(&serve_from(folder)).expect(3).json();
        let causes: Vec<&str> = plan["blockers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|blocker| blocker["cause"].as_str())
            .collect();
        assert!(
            causes.iter().any(|found| found.contains(cause)),
            "{cause}: {causes:?}"
        );
    };
    blocked("/nonexistent/DeepSeek-R1", "/nonexistent/DeepSeek-R1");
    blocked("./two.yaml", "is not a folder");
    // Links that leave the folder: as those of a snapshot in a hub cache.
    let links = home.path().join("links");
    std::fs::create_dir(&links).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), links.join(entry.file_name())).unwrap();
    }
    blocked("./links", "is a link to a file outside of it");
    // Half of the shards.
    std::fs::remove_file(folder.join("model-00001.safetensors")).unwrap();
    blocked("./DeepSeek-R1-copy", "model-00001.safetensors");
    std::fs::write(folder.join("config.json"), "<html>").unwrap();
    blocked("./DeepSeek-R1-copy", "config.json` is not JSON");
}

#[test]
fn the_files_of_a_folder_say_what_its_name_does_not() {
    let home = home_with_folder();
    let folder = home.path().join("DeepSeek-R1-copy");
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let with = |changes: Value, args: &[&str]| {
        let mut config = config.clone();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let all = [&serve_from("./DeepSeek-R1-copy")[..], &["--"], args].concat();
        let plan = home.run(&all).expect(3).json();
        let checks = plan["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .filter(|check| check["level"] == "error")
            .map(|check| check["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let awq = json!({"quantization_config": {"quant_method": "awq", "bits": 4}});
    assert_eq!(
        with(awq.clone(), &["--quantization", "gptq"]),
        ["weights.quantization"]
    );
    assert!(with(awq, &[]).is_empty());
    let odd = json!({"num_attention_heads": 7});
    assert_eq!(with(odd, &[]), ["parallel.heads"]);
}

#[test]
fn a_folder_cannot_be_locked_and_says_why() {
    let home = home_with_folder();
    let folder = home.path().join("DeepSeek-R1-copy").canonicalize().unwrap();
    let text = format!("{TWO}model:\n  path: {}\n", folder.display());
    std::fs::write(home.path().join("own.yaml"), text).unwrap();
    let run = home
        .run(&["lock", "--profile-file", "own.yaml", "--runtime", "docker"])
        .expect(2);
    assert!(run.stderr.contains("cannot be locked"), "{}", run.stderr);
}

#[test]
fn a_wait_for_the_shape_is_said() {
    let hub = hub_with("odd", 1);
    hub.delay(Duration::from_millis(700));
    let run = home(&hub).run(&PLAN).expect(3);
    let said = format!("reading the shape of lab/model from {}", hub.endpoint);
    assert!(run.stderr.contains(&said), "{}", run.stderr);
}
