//! SGLang's own resolution of its arguments as the oracle of `sglang::resolve`: three versions, on the CPU.
//!
//! The engine's code runs unchanged from its wheels, with the real torch of the rehearsal, stand-ins for the kernels, and the
//! GPU of the request. Each field and each refusal must be equal.

use std::path::PathBuf;
use std::process::Command;

use dsr1::profile::{Architecture, Precision, Version};
use dsr1::report::Difference;
use dsr1::sglang::EffectiveSettings;
use dsr1::sglang::flags::{Parser, history};
use dsr1::sglang::resolve::{self, Checkpoint, Machine, compared};
use serde_json::{Value, json};

use crate::parsers::{combinations, engine_args};
use crate::support::cache::mirror;
use crate::support::random::Random;
use crate::support::{Home, free_port};

/// The versions whose resolution is the oracle.
const VERSIONS: [&str; 3] = ["0.4.10.post2", "0.5.19", "0.5.23"];

/// Name, compute capability and memory in MiB of the GPUs that are asked for.
const GPUS: [(&str, [u32; 2], u64); 5] = [
    ("NVIDIA H100 80GB HBM3", [9, 0], 81_559),
    ("NVIDIA H20", [9, 0], 97_871),
    ("NVIDIA H200", [9, 0], 143_771),
    ("NVIDIA B200", [10, 0], 183_359),
    ("NVIDIA GB200", [10, 0], 189_471),
];

/// A checkpoint: the files that the resolution reads.
#[derive(Clone, Copy, PartialEq)]
enum Files {
    Fp8,
    Fp4,
    Dense,
}

impl Files {
    fn checkpoint(self) -> Checkpoint {
        Checkpoint {
            is_deepseek_v3: self != Self::Dense,
            quantization: match self {
                Self::Fp8 => Some("fp8".to_owned()),
                // NVIDIA's checkpoint states its format in a file of its own, which is read with the weights.
                Self::Fp4 | Self::Dense => None,
            },
            is_modelopt: self == Self::Fp4,
            context: Some(if self == Self::Dense { 131_072 } else { 163_840 }),
        }
    }

    fn files(self) -> Value {
        let config = match self {
            Self::Dense => json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192,
                "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
                "intermediate_size": 28672, "vocab_size": 128_256, "max_position_embeddings": 131_072,
                "torch_dtype": "bfloat16", "rms_norm_eps": 1e-5, "hidden_act": "silu",
                "rope_theta": 500_000.0, "bos_token_id": 128_000, "eos_token_id": 128_001,
            }),
            Self::Fp8 | Self::Fp4 => {
                let mut config = deepseek();
                if self == Self::Fp8 {
                    config["quantization_config"] = json!({"activation_scheme": "dynamic", "fmt": "e4m3",
                        "quant_method": "fp8", "weight_block_size": [128, 128]});
                }
                config
            }
        };
        let mut files = json!({"config.json": config.to_string()});
        if self == Self::Fp4 {
            let quantization = json!({"producer": {"name": "modelopt", "version": "0.29"}, "quantization":
                {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16, "exclude_modules": ["lm_head"]}});
            files["hf_quant_config.json"] = Value::String(quantization.to_string());
        }
        files
    }
}

/// Returns the `config.json` of DeepSeek-R1 without the format of its weights.
fn deepseek() -> Value {
    serde_json::from_str(
        r#"{"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
        "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "intermediate_size": 18432,
        "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
        "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 129280, "max_position_embeddings": 163840,
        "num_nextn_predict_layers": 1, "n_group": 8, "topk_group": 4, "topk_method": "noaux_tc",
        "scoring_func": "sigmoid", "routed_scaling_factor": 2.5, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-6,
        "rope_theta": 10000, "hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 1,
        "tie_word_embeddings": false, "moe_layer_freq": 1,
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}, "norm_topk_prob": true,
        "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096, "type": "yarn"}}"#,
    )
    .unwrap()
}

/// Lines for one GPU and one checkpoint.
struct Case {
    gpu: usize,
    files: Files,
    lines: Vec<Vec<String>>,
}

/// Returns the engine's answers to all lines of all cases.
fn ask(version: &str, cases: &[Case]) -> Vec<Vec<Value>> {
    let machines: Vec<Value> = cases
        .iter()
        .map(|case| {
            let (name, capability, mib) = GPUS[case.gpu];
            json!({
                "gpu": {"name": name, "capability": capability, "memory_mib": mib, "count": 16},
                "files": case.files.files(), "lines": case.lines,
            })
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let request = folder.path().join("request.json");
    std::fs::write(&request, json!({"machines": machines}).to_string()).unwrap();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let fetched = Command::new(root.join("tests/support/sglang-wheels.sh"))
        .arg(version)
        .status();
    assert!(fetched.unwrap().success());
    let output = Command::new(python())
        .args(["-B", "tests/support/resolve.py", "--root"])
        .arg(root.join("target/sglang-wheels").join(version))
        .arg("--request")
        .arg(format!("@{}", request.display()))
        .current_dir(&root)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["sglang"], version);
    serde_json::from_value(answer["machines"].clone()).unwrap()
}

/// Returns the Python of the rehearsal's packages, which the tests of the chain install too.
fn python() -> PathBuf {
    let home = Home::new().with_shared_packages();
    let built = home
        .command(&["build", "--stack", "cpu", "--runtime", "process"])
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    // Other tests make venvs of other packages in the same cache.
    let text = String::from_utf8(built.stdout).unwrap();
    let dir = text.lines().find_map(|line| line.strip_prefix("venv ")).unwrap();
    PathBuf::from(dir.trim()).join("bin/python")
}

/// Returns the differences between dsr1 and the engine on all cases, and the number of lines that the engine accepts.
fn differences(version: &str, cases: &[Case]) -> (Vec<String>, usize) {
    let answers = ask(version, cases);
    let version: Version = version.parse().unwrap();
    let table = history(Parser::Server).table(version);
    let (mut found, mut accepted) = (Vec::new(), 0);
    for (case, answers) in cases.iter().zip(answers) {
        let (name, capability, memory_mib) = GPUS[case.gpu];
        let machine = Machine {
            architecture: Architecture::of("", &format!("{}.{}", capability[0], capability[1])).unwrap(),
            memory_mib,
        };
        for (line, answer) in case.lines.iter().zip(answers) {
            let parsed = table.parse(line);
            let settings = EffectiveSettings::new(&parsed, &std::collections::BTreeMap::new(), version);
            let resolution = resolve::resolve(&settings, machine, &case.files.checkpoint());
            let refused = !parsed.is_accepted() || resolution.is_refused();
            let place = || format!("{version} on {name}: {}", line[2..].join(" "));
            if let Some(text) = answer.get("failed") {
                found.push(format!("{}\n   SGLang could not be asked: {text}", place()));
                continue;
            }
            match (refused, answer.get("refused").and_then(Value::as_str)) {
                (true, Some(_)) => {}
                (false, Some(text)) => found.push(format!("{}\n   dsr1 accepts; SGLang: {text}", place())),
                (true, None) => found.push(format!(
                    "{}\n   SGLang accepts; dsr1: {:?}",
                    place(),
                    resolution.checks
                )),
                (false, None) => {
                    accepted += 1;
                    let (ours, theirs) = (&resolution.resolved, &answer["resolved"]);
                    assert!(compared(version, ours, theirs) >= 17);
                    for one in resolve::differences(version, ours, theirs) {
                        let Difference {
                            field,
                            planned,
                            engine,
                        } = one;
                        found.push(format!(
                            "{}\n   {field}: dsr1 {planned}, SGLang {engine}",
                            place()
                        ));
                    }
                }
            }
        }
    }
    (found, accepted)
}

/// A flag with the values from which a random line takes one; none for a switch.
type Choice = (u64, &'static str, &'static [&'static str]);

/// The flags of profiles and of what people report, each with its chance in percent.
const CHOICES: &[Choice] = &[
    (20, "--disaggregation-mode", &["prefill", "decode"]),
    (60, "--ep-size", &["1", "2", "4", "8", "16"]),
    (6, "--enable-ep-moe", &[]),
    (6, "--enable-deepep-moe", &[]),
    (12, "--ep-num-redundant-experts", &["0", "8", "32"]),
    (4, "--enable-eplb", &[]),
    (4, "--ep-dispatch-algorithm", &["static", "dynamic", "fake"]),
    (10, "--enable-flashinfer-cutlass-moe", &[]),
    (10, "--enable-flashinfer-trtllm-moe", &[]),
    (
        45,
        "--moe-runner-backend",
        &[
            "auto",
            "triton",
            "flashinfer_trtllm",
            "flashinfer_cutlass",
            "flashinfer_cutedsl",
            "cutlass",
            "deep_gemm",
        ],
    ),
    (
        45,
        "--attention-backend",
        &[
            "trtllm_mla",
            "flashinfer",
            "fa3",
            "flashmla",
            "triton",
            "cutlass_mla",
            "fa4",
            "cutedsl_mla",
            "trtllm_mha",
            "tokenspeed_mla",
        ],
    ),
    (
        3,
        "--prefill-attention-backend",
        &["fa3", "flashinfer", "trtllm_mla"],
    ),
    (
        3,
        "--decode-attention-backend",
        &["flashmla", "flashinfer", "trtllm_mla"],
    ),
    (
        15,
        "--fp8-gemm-backend",
        &["auto", "deep_gemm", "flashinfer_trtllm", "cutlass", "triton"],
    ),
    (
        30,
        "--kv-cache-dtype",
        &["auto", "fp8_e4m3", "fp8_e5m2", "bfloat16", "bf16"],
    ),
    (
        25,
        "--quantization",
        &[
            "fp8",
            "fp8",
            "modelopt_fp4",
            "modelopt_fp4",
            "awq",
            "w8a8_int8",
            "nvfp4_online",
            "modelopt_fp8",
        ],
    ),
    (30, "--mem-fraction-static", &["0.8", "0.85", "0.9"]),
    (
        35,
        "--max-running-requests",
        &["4", "8", "64", "128", "400", "512", "1024", "2048", "3072"],
    ),
    (
        35,
        "--chunked-prefill-size",
        &["-1", "1000", "2048", "4096", "8192", "16384", "32768", "131072"],
    ),
    (20, "--max-prefill-tokens", &["8192", "16384", "32768"]),
    (8, "--max-total-tokens", &["100", "65536", "1000000"]),
    (
        30,
        "--cuda-graph-max-bs",
        &["8", "64", "128", "256", "300", "400", "512", "1024"],
    ),
    (
        30,
        "--cuda-graph-max-bs-decode",
        &["8", "64", "128", "256", "300", "400", "512", "1024"],
    ),
    (
        6,
        "--cuda-graph-config",
        &[
            "{\"decode\":{\"max_bs\":16}}",
            "{\"decode\":{\"backend\":\"disabled\"}}",
            "{\"prefill\":{\"backend\":\"disabled\"},\"decode\":{\"bs\":[1,2,24]}}",
        ],
    ),
    (8, "--disable-cuda-graph", &[]),
    (4, "--disable-prefill-cuda-graph", &[]),
    (4, "--disable-decode-cuda-graph", &[]),
    (10, "--disable-radix-cache", &[]),
    (3, "--enable-hierarchical-cache", &[]),
    (3, "--enable-torch-compile", &[]),
    (3, "--disable-cuda-graph-padding", &[]),
    (3, "--enable-deterministic-inference", &[]),
    (10, "--disable-overlap-schedule", &[]),
    (12, "--enable-dp-lm-head", &[]),
    (
        20,
        "--schedule-conservativeness",
        &["0", "0.3", "0.5", "1.0", "2"],
    ),
    (10, "--stream-interval", &["1", "5", "10"]),
    (8, "--enable-symm-mem", &[]),
    (15, "--disable-shared-experts-fusion", &[]),
    (12, "--page-size", &["1", "16", "32", "64", "128"]),
    (12, "--context-length", &["8192", "32768", "163840"]),
    (6, "--moe-dense-tp-size", &["1", "2", "8"]),
    (
        10,
        "--moe-a2a-backend",
        &["none", "deepep", "deepep", "flashinfer", "mooncake"],
    ),
    (8, "--deepep-mode", &["auto", "normal", "low_latency"]),
    (4, "--pp-size", &["1", "2"]),
    (3, "--enable-two-batch-overlap", &[]),
    (4, "--enable-mixed-chunk", &[]),
    (2, "--speculative-num-steps", &["3"]),
];

/// Numbers of multi-token prediction: steps, candidates, tokens.
const DRAFTS: [[&str; 3]; 6] = [
    ["3", "1", "4"],
    ["1", "1", "2"],
    ["2", "1", "2"],
    ["3", "4", "8"],
    ["2", "1", "3"],
    ["3", "1", "8"],
];

fn random_line(random: &mut Random, version: &str, files: Files) -> Vec<String> {
    let version: Version = version.parse().unwrap();
    let table = history(Parser::Server).table(version);
    let mut line = [
        "--model-path",
        "{model}",
        "--trust-remote-code",
        "--tensor-parallel-size",
    ]
    .map(str::to_owned)
    .to_vec();
    let pick = |random: &mut Random, from: &[&'static str]| {
        from[usize::try_from(random.below(from.len() as u64)).unwrap()]
    };
    let tp = pick(random, &["1", "2", "4", "8", "8", "8", "8", "16"]);
    line.push(tp.to_owned());
    let dp = pick(random, &["1", "1", "1", "1", "2", "4", "8", tp]);
    let has_new = table.get("--attn-dp-size").is_some() && random.below(100) < 70;
    if dp != "1" && has_new {
        line.extend(["--attn-dp-size", dp].map(str::to_owned));
    } else if dp != "1" {
        line.extend(["--data-parallel-size", dp].map(str::to_owned));
    }
    if (dp != "1" && !has_new && random.below(100) < 95) || random.below(100) < 2 {
        line.push("--enable-dp-attention".to_owned());
    }
    for (chance, name, values) in CHOICES {
        if random.below(100) >= *chance || table.get(name).is_none() {
            continue;
        }
        // A dense model has no experts, and dsr1 says so before.
        if files == Files::Dense && (name.contains("ep-") || name.contains("moe")) {
            continue;
        }
        line.push((*name).to_owned());
        if !values.is_empty() {
            line.push(pick(random, values).to_owned());
        }
    }
    if files != Files::Dense && random.below(100) < 30 {
        line.push("--speculative-algorithm".to_owned());
        line.push(
            pick(
                random,
                &["EAGLE", "EAGLE", "EAGLE", "NEXTN", "NEXTN", "NEXTN", "MTP"],
            )
            .to_owned(),
        );
        if random.below(100) < 90 {
            let [steps, top_k, tokens] = DRAFTS[usize::try_from(random.below(6)).unwrap()];
            for (name, value) in [
                ("--speculative-num-steps", steps),
                ("--speculative-eagle-topk", top_k),
                ("--speculative-num-draft-tokens", tokens),
            ] {
                line.extend([name, value].map(str::to_owned));
            }
        }
    }
    line
}

fn sweep(version: &str, lines: usize, cases: &[(usize, Files)]) {
    let mut random = Random::new("resolution");
    // Each machine is an import of SGLang: a commit asks two of the four, and the sweep all of them.
    let first = usize::try_from(random.below(2)).unwrap();
    let step = if std::env::var_os("SOAK").is_some() { 1 } else { 2 };
    let cases: Vec<(usize, Files)> = cases
        .iter()
        .copied()
        .skip(if step == 1 { 0 } else { first })
        .step_by(step)
        .collect();
    let cases: Vec<Case> = cases
        .iter()
        .map(|(gpu, files)| Case {
            gpu: *gpu,
            files: *files,
            lines: (0..lines)
                .map(|_| random_line(&mut random, version, *files))
                .collect(),
        })
        .collect();
    let (found, accepted) = differences(version, &cases);
    let asked = lines * cases.len();
    assert!(
        accepted * 4 > asked,
        "{version}: SGLang accepts only {accepted} of {asked} lines"
    );
    assert!(
        found.is_empty(),
        "{version}: {} differences on {asked} lines ({accepted} accepted)\n{}",
        found.len(),
        found.iter().take(60).cloned().collect::<Vec<_>>().join("\n")
    );
}

/// Public launch commands of people who serve DeepSeek-R1 or V3, in the words of the versions that they used.
const REPORTED: [&str; 14] = [
    "--tp-size 8 --trust-remote-code --attention-backend fa3 --mem-fraction-static 0.907 --cuda-graph-max-bs 256",
    "--tp-size 8 --dp-size 8 --enable-dp-attention --chunked-prefill-size 8192 --mem-fraction-static 0.907",
    "--tp-size 8 --speculative-algorithm NEXTN --speculative-num-steps 2 --speculative-eagle-topk 1 --speculative-num-draft-tokens 2 --mem-fraction-static 0.96 --context-length 32768",
    "--tp-size 8 --speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 4 --speculative-num-draft-tokens 16",
    "--tp-size 8 --enable-dp-attention",
    "--tp-size 8 --attn-dp-size 8 --ep-size 8 --moe-a2a-backend deepep --deepep-mode normal --moe-dense-tp-size 1 --enable-dp-lm-head",
    "--tp-size 8 --dp-size 8 --enable-dp-attention --moe-a2a-backend deepep --enable-two-batch-overlap --ep-num-redundant-experts 32",
    "--tp-size 8 --moe-runner-backend flashinfer_cutlass",
    "--tp-size 8 --moe-runner-backend flashinfer_trtllm --quantization fp8 --kv-cache-dtype fp8_e4m3",
    "--tp-size 8 --moe-dense-tp-size 2",
    "--tp-size 8 --pp-size 2 --chunked-prefill-size -1",
    "--tp-size 8 --disable-cuda-graph --page-size 64 --context-length 65535 --attention-backend fa3 --kv-cache-dtype fp8_e4m3",
    "--tp-size 8 --max-running-requests 512 --max-total-tokens 100 --disable-radix-cache",
    "--tp-size 4 --dp-size 4 --enable-dp-attention --enable-dp-lm-head --attention-backend trtllm_mla --disable-cuda-graph --context-length 9600",
];

/// Lines on which dsr1 and the engine once differed, found by sweeps: each version has the options of its own.
const FOUND: [(Version, &str); 7] = [
    (
        Version::new(0, 5, 3),
        "--tp-size 8 --enable-deterministic-inference",
    ),
    (
        Version::new(0, 5, 3),
        "--tp-size 8 --enable-deterministic-inference --prefill-attention-backend fa3",
    ),
    (
        Version::new(0, 5, 3),
        "--tp-size 8 --enable-deterministic-inference --decode-attention-backend flashinfer",
    ),
    (
        Version::new(0, 5, 3),
        "--tp-size 8 --speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 4 --speculative-num-draft-tokens 8",
    ),
    (
        Version::new(0, 5, 10),
        "--tp-size 8 --attention-backend trtllm_mha --page-size 128",
    ),
    (
        Version::new(0, 5, 16),
        "--tp-size 8 --enable-deterministic-inference --attention-backend fa4",
    ),
    (
        Version::new(0, 5, 16),
        "--tp-size 8 --attention-backend tokenspeed_mla --kv-cache-dtype fp8_e4m3",
    ),
];

/// Returns those of them that a version has.
fn found_lines(version: &str) -> impl Iterator<Item = &'static str> {
    let version: Version = version.parse().unwrap();
    FOUND
        .iter()
        .filter(move |(since, _)| version >= *since)
        .map(|(_, line)| *line)
}

/// Returns the lines of every profile on a stack of this version, and the reported commands, for one GPU.
fn known_lines(version: &str, gpu: usize, files: Files) -> Case {
    let architecture = if GPUS[gpu].1[0] == 9 {
        Architecture::Hopper
    } else {
        Architecture::Blackwell
    };
    let precision = if files == Files::Fp4 {
        Precision::Fp4
    } else {
        Precision::Fp8
    };
    let mut lines: Vec<Vec<String>> = combinations()
        .iter()
        .filter(|found| {
            found.stack.pins.sglang.to_string() == version
                && found.profile.architectures.contains(&architecture)
                && found.profile.precision == precision
        })
        .map(|found| with_model(engine_args(found)))
        .collect();
    let reported = REPORTED
        .iter()
        .copied()
        .chain(found_lines(version))
        .map(|line| line.split_whitespace().map(str::to_owned));
    lines.extend(reported.map(|line| {
        ["--model-path", "{model}"]
            .map(str::to_owned)
            .into_iter()
            .chain(line)
            .collect()
    }));
    Case { gpu, files, lines }
}

/// Returns a line with the model's folder first, and without the files of a server.
fn with_model(line: Vec<String>) -> Vec<String> {
    let mut words = line.into_iter();
    let mut out = ["--model-path", "{model}"].map(str::to_owned).to_vec();
    while let Some(word) = words.next() {
        if matches!(word.as_str(), "--model-path" | "--tokenizer-path" | "--revision") {
            words.next();
        } else {
            out.push(word);
        }
    }
    out
}

#[test]
fn every_profile_and_reported_command_resolves_as_in_the_engine() {
    for version in VERSIONS {
        // Each GPU is a further import of SGLang, so each commit asks for two of the five.
        let gpus: &[usize] = if std::env::var_os("SOAK").is_some() {
            &[0, 1, 2, 3, 4]
        } else {
            &[2, 3]
        };
        let mut cases: Vec<Case> = gpus
            .iter()
            .copied()
            .map(|gpu| known_lines(version, gpu, Files::Fp8))
            .collect();
        cases.push(known_lines(version, 3, Files::Fp4));
        let profiles = cases
            .iter()
            .map(|case| case.lines.len() - REPORTED.len() - found_lines(version).count())
            .sum::<usize>();
        // A model with a plain KV cache: the reported commands are of others.
        let lines =
            found_lines(version).map(|line| with_model(line.split_whitespace().map(str::to_owned).collect()));
        cases.push(Case {
            gpu: 3,
            files: Files::Dense,
            lines: lines.collect(),
        });
        let (found, accepted) = differences(version, &cases);
        assert!(
            profiles > 0 && accepted > profiles,
            "{version}: {profiles} profiles, {accepted} accepted"
        );
        assert!(
            found.is_empty(),
            "{version}: {} differences\n{}",
            found.len(),
            found.join("\n")
        );
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn random_lines_resolve_as_in_0_5_23() {
    sweep(
        "0.5.23",
        number("LINES", 40),
        &[
            (2, Files::Fp8),
            (3, Files::Fp8),
            (3, Files::Fp4),
            (1, Files::Dense),
        ],
    );
}

#[test]
fn random_lines_resolve_as_in_0_5_19() {
    sweep(
        "0.5.19",
        number("LINES", 40),
        &[
            (0, Files::Fp8),
            (4, Files::Fp8),
            (4, Files::Fp4),
            (2, Files::Dense),
        ],
    );
}

#[test]
fn random_lines_resolve_as_in_0_4_10_post2() {
    sweep(
        "0.4.10.post2",
        number("LINES", 40),
        &[
            (2, Files::Fp8),
            (3, Files::Fp8),
            (3, Files::Fp4),
            (0, Files::Dense),
        ],
    );
}

/// Versions between those of the stacks, which stacks of users name.
const FURTHER: [&str; 4] = ["0.5.10", "0.5.12", "0.5.14", "0.5.16"];

#[test]
#[ignore = "tests/run --all asks these versions"]
fn random_lines_resolve_as_in_further_versions() {
    for version in FURTHER {
        sweep(version, number("LINES", 40), &[(2, Files::Fp8), (3, Files::Fp8)]);
    }
}

#[test]
fn a_plan_is_proven_by_the_installed_engine() {
    python();
    let home = Home::new().with_shared_packages().without_docker();
    let plan = [
        "plan",
        "--profile",
        "rehearsal",
        "--runtime",
        "process",
        "--prove",
        "--format",
        "json",
    ];
    let run = home.run(&plan).expect(0);
    let proof = &run.json()["proof"];
    assert_eq!(proof["sglang"], "0.5.23");
    assert_eq!(proof["refused"], Value::Null);
    let refused = [
        &plan[..],
        &["--", "--page-size", "64", "--chunked-prefill-size", "100"],
    ]
    .concat();
    let run = home.run(&refused).expect(2);
    let why = "chunked_prefill_size must be divisible by page_size";
    assert!(
        run.json()["proof"]["refused"].as_str().unwrap().contains(why),
        "{}",
        run.stdout
    );
}

/// Returns a home with the rehearsal's packages and model as if they were for a GPU: a stack and a profile of that kind, and
/// an `nvidia-smi` that lists an H200.
fn home_with_a_gpu() -> Home {
    let home = Home::new().with_shared_packages().without_docker();
    let home = {
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let smi = bin.join("nvidia-smi");
        std::fs::write(
            &smi,
            "#!/bin/sh\necho '0, NVIDIA H200, 143771, 4, 9.0, 580.95.05'\n",
        )
        .unwrap();
        std::fs::set_permissions(&smi, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let hub = home.path().join("hub");
        home.with("PATH", path)
            .with("HF_HUB_CACHE", hub.to_str().unwrap())
    };
    let stack = home.run(&["stacks", "show", "cpu", "--yaml"]).expect(0).stdout;
    let stack = stack
        .replace("\nname: cpu\n", "\nname: gpu\n")
        .replace("\naccelerator: cpu\n", "\naccelerator: cuda\n")
        .replace("\narchitectures: []\n", "\narchitectures: [hopper]\n")
        .replace("\ndriver_min: null\n", "\ndriver_min: 550\n");
    let profile = "name: tiny\ntitle: the model of the rehearsal on a GPU\nsource: a test\ngoal: low-latency\n\
                   precision: bf16\nstack: gpu\ngpus: 1\narchitectures: [hopper]\n\
                   model: {repo: dsr1/rehearsal-qwen2, revision: main, size_bytes: 760000, license: Apache-2.0}\n\
                   engine: {mem_fraction: 0.2}\n\
                   bench: {backend: sglang-oai, dataset: random-ids, input_len: 64, output_len: 16, range_ratio: 1, \
                   max_concurrency: 4, num_prompts: 4}\nverify: wiring\n";
    for (folder, name, text) in [("stacks", "gpu", &*stack), ("profiles", "tiny", profile)] {
        let dir = home.path().join(".config/dsr1").join(folder);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{name}.yaml")), text).unwrap();
    }
    home
}

#[test]
fn a_start_on_gpus_asks_the_engine_before_it_pulls_and_keeps_the_answer() {
    python();
    let home = home_with_a_gpu();
    let (mirror, endpoint) = mirror(&home, &home.path().join("hub"), &["--rehearsal"]);
    // A cache of its own, to which nothing was pulled.
    let home = {
        let empty = home.path().join("empty");
        home.with("HF_HUB_CACHE", empty.to_str().unwrap())
    };
    let port = free_port().to_string();
    let up = [
        "up",
        "--profile",
        "tiny",
        "--runtime",
        "process",
        "--port",
        &port,
        "--endpoint",
        &endpoint,
    ];
    // The parser takes it, dsr1 knows nothing about it, and the engine refuses it.
    let refused = [&up[..], &["--", "--swa-full-tokens-ratio", "2"]].concat();
    let run = home.run(&refused).expect(2);
    assert!(
        run.stderr
            .contains("error: SGLang 0.5.23 refuses the arguments\ncause: ValueError: "),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("] pull "), "{}", run.stderr);
    assert!(!home.path().join("empty").exists(), "nothing was pulled");
    // What it takes goes on: to a start that this machine without a GPU does not survive.
    let run = home.run(&up).expect(7);
    assert!(
        run.stderr.contains("accepted, as planned (19 values)"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("] pull dsr1/rehearsal-qwen2"),
        "{}",
        run.stderr
    );
    // The same question is not asked again, also by another command.
    let plan = [&["plan"], &up[1..], &["--prove", "--format", "json"]].concat();
    let proof = home.run(&plan).expect(0).json()["proof"].clone();
    assert_eq!(
        (&proof["cached"], &proof["compared"]),
        (&Value::Bool(true), &Value::from(19))
    );
    assert_eq!(proof["differences"], Value::Array(Vec::new()));
    mirror.signal("INT");
    mirror.end();
}
