//! Names that other programs have for a setting: SGLang, vLLM, TensorRT-LLM, TGI, transformers, Docker.
//!
//! Spelling alone leads to wrong hints (`fp8` is near to `mxfp8`), so meaning decides first. A name that is not here gets no
//! hint by meaning.

use serde::de::DeserializeOwned;

use crate::profile::engine_settings::EngineSettings;
use crate::profile::knob::{AttentionBackend, Fp8Gemm, KvCache, MoeRunner};
use crate::profile::schema::{Bench, Model, Profile};

/// The equals of a name of another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Equal {
    /// The names with blanks between them, each in lower case, with `_` between words and without dashes in front.
    names: &'static str,
    /// The equal in a profile.
    pub(crate) profile: InProfile,
    /// The equal on SGLang's command line, or the reason why there is none; empty if the name is SGLang's own.
    pub(crate) option: &'static str,
}

/// The equal in a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InProfile {
    /// A setting of `engine`.
    Setting(&'static str),
    /// A setting of `engine` with a value, because the name means the opposite or takes another kind of value.
    Written(&'static str),
    /// None: an option among `extra_args`.
    Argument(&'static str),
    /// None: a sentence tells what to do.
    Sentence(&'static str),
}

use InProfile::{Argument, Sentence, Setting, Written};

const fn equal(names: &'static str, profile: InProfile, option: &'static str) -> Equal {
    Equal {
        names,
        profile,
        option,
    }
}

/// Returns the equal whose option is the same among `extra_args` and on the command line.
const fn argument(names: &'static str, option: &'static str) -> Equal {
    equal(names, Argument(option), option)
}

/// Returns the equal that is the same sentence everywhere.
const fn sentence(names: &'static str, text: &'static str) -> Equal {
    equal(names, Sentence(text), text)
}

const CONTAINER: &str =
    "dsr1 decides how the container runs: dsr1 plan shows it, dsr1 export writes it for another tool";
const EAGLE: &str = "speculative: {steps: 3, top_k: 1, draft_tokens: 4}";
const EAGLE_OPTIONS: &str = "--speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1 \
     --speculative-num-draft-tokens 4";

/// Names with their equals (SGLang 0.4.9 to 0.5.23, vLLM 0.11, TensorRT-LLM 1.1, TGI 3, transformers 4.57).
const EQUALS: &[Equal] = &[
    equal(
        "tp tp_size tp_degree tensor_parallel_size tensor_parallelism tensor_parallel_degree num_shard \
         num_shards",
        Setting("tensor_parallel"),
        "--tp-size N",
    ),
    equal(
        "dp dp_size data_parallel data_parallel_size attn_dp attn_dp_size attention_dp attention_dp_size \
         dp_attention_size",
        Setting("attention_data_parallel"),
        "--dp-size N --enable-dp-attention",
    ),
    equal(
        "enable_dp_attention enable_attention_dp dp_attention",
        Written("attention_data_parallel: N"),
        "--dp-size N --enable-dp-attention",
    ),
    equal(
        "ep ep_size expert_parallel_size moe_ep_size moe_expert_parallel_size expert_parallelism",
        Setting("expert_parallel"),
        "--ep-size N",
    ),
    equal(
        "enable_expert_parallel enable_ep_moe",
        Written("expert_parallel: N"),
        "--ep-size N",
    ),
    equal(
        "ep_num_redundant_experts num_redundant_experts",
        Setting("redundant_experts"),
        "--ep-num-redundant-experts N",
    ),
    equal(
        "mem_fraction_static mem_frac mem_frac_static memory_fraction memory_fraction_static \
         gpu_memory_utilization gpu_mem_utilization gpu_memory_fraction gpu_mem_fraction cuda_memory_fraction \
         memory_utilization",
        Setting("mem_fraction"),
        "--mem-fraction-static",
    ),
    equal(
        "free_gpu_memory_fraction kv_cache_free_gpu_memory_fraction kv_cache_free_gpu_mem_fraction",
        Sentence(
            "`mem_fraction` is the nearest: the share of all GPU memory for weights and KV pool together",
        ),
        "--mem-fraction-static, the share of all GPU memory for weights and KV pool together",
    ),
    equal(
        "kv_cache_dtype kv_cache_type kv_dtype kv_cache_quant kv_cache_quantization kv_cache_quant_algo",
        Setting("kv_cache"),
        "--kv-cache-dtype",
    ),
    equal(
        "context_len context_size context max_model_len max_seq_len max_seq_length max_sequence_length \
         max_context_len max_context_length model_max_length ctx_size n_ctx num_ctx",
        Setting("context_length"),
        "--context-length",
    ),
    equal(
        "max_num_seqs max_batch_size max_num_sequences max_num_requests max_concurrent_requests max_running \
         max_running_seqs max_running_reqs max_requests",
        Setting("max_running_requests"),
        "--max-running-requests",
    ),
    equal(
        "max_num_batched_tokens max_num_tokens max_batch_prefill_tokens max_prefill",
        Setting("max_prefill_tokens"),
        "--max-prefill-tokens and --chunked-prefill-size",
    ),
    equal(
        "chunked_prefill chunk_size chunked_prefill_tokens prefill_chunk_size chunk_prefill_size",
        Setting("chunked_prefill_size"),
        "--chunked-prefill-size",
    ),
    equal(
        "enable_chunked_prefill enable_chunked_context",
        Sentence("prefill in chunks is on; `chunked_prefill_size` sets the tokens of a chunk"),
        "none: it is on, and --chunked-prefill-size sets the tokens of a chunk",
    ),
    argument(
        "enforce_eager disable_cuda_graph disable_cuda_graphs",
        "--disable-cuda-graph",
    ),
    equal(
        "use_cuda_graph cuda_graph cuda_graphs enable_cuda_graph use_cuda_graphs",
        Sentence(
            "CUDA graphs are on; `graph_batch` sets the largest batch, and --disable-cuda-graph among extra_args turns them off",
        ),
        "none: they are on, and --disable-cuda-graph turns them off",
    ),
    equal(
        "cuda_graph_max_bs cuda_graph_max_bs_decode cuda_graph_max_batch_size cuda_graph_max_batch \
         max_cudagraph_capture_size",
        Setting("graph_batch"),
        "--cuda-graph-max-bs",
    ),
    argument(
        "cuda_graph_bs cuda_graph_bs_decode cudagraph_capture_sizes cuda_graph_batch_sizes",
        "--cuda-graph-bs",
    ),
    equal(
        "enable_prefix_caching prefix_caching enable_block_reuse enable_radix_cache kv_cache_reuse",
        Setting("radix_cache"),
        "none: it is on, and --disable-radix-cache turns it off",
    ),
    equal(
        "disable_radix_cache no_enable_prefix_caching disable_prefix_caching",
        Written("radix_cache: false"),
        "--disable-radix-cache",
    ),
    equal(
        "disable_overlap_schedule no_async_scheduling",
        Written("overlap_schedule: false"),
        "--disable-overlap-schedule",
    ),
    equal(
        "async_scheduling",
        Setting("overlap_schedule"),
        "none: it is on, and --disable-overlap-schedule turns it off",
    ),
    equal(
        "disable_shared_experts_fusion",
        Written("shared_experts_fusion: false"),
        "",
    ),
    equal("served_model_name", Setting("served_name"), "--served-model-name"),
    equal("tool_parser", Setting("tool_call_parser"), "--tool-call-parser"),
    equal(
        "enable_auto_tool_choice",
        Sentence("`tool_call_parser` alone turns tool calls on"),
        "none: --tool-call-parser alone turns tool calls on",
    ),
    equal(
        "enable_reasoning",
        Sentence("`reasoning_parser` alone splits the reasoning from the answer"),
        "none: --reasoning-parser alone splits the reasoning from the answer",
    ),
    equal(
        "speculative_algorithm speculative_config speculative_decoding speculative_decode \
         speculative_num_steps speculative_eagle_topk speculative_num_draft_tokens num_speculative_tokens \
         spec_steps mtp use_mtp enable_mtp num_nextn_predict_layers eagle spec_decoding",
        Written(EAGLE),
        EAGLE_OPTIONS,
    ),
    equal(
        "attn_backend attention attn_implementation attention_impl",
        Setting("attention_backend"),
        "--attention-backend",
    ),
    equal(
        "moe_backend moe_runner_backend moe_kernel",
        Setting("moe_runner"),
        "--moe-runner-backend",
    ),
    equal(
        "enable_flashinfer_cutlass_moe",
        Written("moe_runner: flashinfer_cutlass"),
        "",
    ),
    equal(
        "enable_flashinfer_trtllm_moe",
        Written("moe_runner: flashinfer_trtllm"),
        "",
    ),
    equal(
        "moe_a2a_backend all2all_backend a2a_backend moe_all_to_all",
        Setting("moe_a2a"),
        "--moe-a2a-backend",
    ),
    equal(
        "enable_deepep_moe enable_deepep use_deepep deepep",
        Written("moe_a2a: deepep"),
        "--moe-a2a-backend deepep",
    ),
    equal(
        "fp8_gemm_backend fp8_gemm_runner_backend",
        Setting("fp8_gemm"),
        "--fp8-gemm-backend",
    ),
    equal(
        "quant quantize quant_method quant_algo quantization_method quantization_config",
        Setting("quantization"),
        "--quantization",
    ),
    argument("torch_dtype dtype", "--dtype"),
    equal("enable_symm_mem symm_mem", Setting("symmetric_memory"), ""),
    equal(
        "enable_flashinfer_allreduce_fusion flashinfer_allreduce_fusion_backend enable_allreduce_fusion",
        Setting("allreduce_fusion"),
        "",
    ),
    equal(
        "enable_dp_lm_head dp_lm_head",
        Setting("lm_head_data_parallel"),
        "",
    ),
    equal(
        "enable_dp_attention_local_control_broadcast",
        Setting("local_control_broadcast"),
        "",
    ),
    equal("enable_prefill_delayer", Setting("prefill_delayer"), ""),
    equal("enable_metrics", Setting("metrics"), ""),
    equal(
        "pp pp_size pipeline_parallel_size pipeline_parallelism",
        Setting("pipeline_parallel"),
        "--pp-size",
    ),
    equal("block_size tokens_per_block", Setting("page_size"), "--page-size"),
    argument("tokenizer", "--tokenizer-path"),
    argument("load_format", "--load-format"),
    argument("log_level", "--log-level"),
    argument("log_requests", "--log-requests"),
    argument("schedule_policy scheduling_policy", "--schedule-policy"),
    argument("enable_torch_compile torch_compile", "--enable-torch-compile"),
    argument("watchdog_timeout", "--watchdog-timeout"),
    argument("chat_template", "--chat-template"),
    equal(
        "moe_dense_tp_size moe_dense_tp dense_tp_size",
        Setting("moe_dense_tensor_parallel"),
        "--moe-dense-tp-size",
    ),
    equal("enable_eplb", Setting("eplb"), "--enable-eplb"),
    equal(
        "enable_two_batch_overlap enable_dbo tbo enable_tbo dbo",
        Setting("two_batch_overlap"),
        "--enable-two-batch-overlap",
    ),
    argument("download_dir", "--download-dir"),
    equal(
        "disable_log_requests",
        Sentence("SGLang logs no requests unless --log-requests is given"),
        "none: SGLang logs no requests unless --log-requests is given",
    ),
    equal(
        "swap_space",
        Sentence("SGLang has no such memory: remove it"),
        "none: it has no such memory",
    ),
    sentence(
        "device_map",
        "SGLang spreads the model by tensor parallelism: tensor_parallel in a profile, --tp-size N after `--`",
    ),
    sentence(
        "load_in_8bit load_in_4bit",
        "the weights decide the format: --fp8 and --fp4 choose the profiles of each",
    ),
    equal(
        "env_vars environment envs environment_variables env_var",
        Setting("env"),
        "none: variables are in a profile, below engine.env",
    ),
    equal(
        "args extra extra_flags additional_args extra_arguments engine_args server_args flags \
         additional_arguments extra_options",
        Setting("extra_args"),
        "none: write SGLang's options one by one",
    ),
    equal(
        "model model_path model_id repo repo_id hf_model",
        Sentence("the repository is `model.repo`, at the top level"),
        "none: the profile names the model, and --model REPO before `--` another one",
    ),
    equal(
        "num_gpus gpu gpu_count n_gpus ngpus num_devices gpus_per_node gpus",
        Sentence("the number of GPUs is `gpus`, at the top level"),
        "none: a profile names its number of GPUs (dsr1 profiles list)",
    ),
    sentence("port", "dsr1 sets the port: --port N of dsr1 serve and dsr1 up"),
    sentence(
        "host bind listen",
        "a server listens on 127.0.0.1: dsr1 expose takes requests from other hosts, and so does an ssh tunnel",
    ),
    sentence(
        "api_key",
        "a key in the arguments can be read by every local user: dsr1 expose takes requests with a key",
    ),
    sentence(
        "shm_size ipc volume volumes mount v restart network net network_mode privileged ulimit ulimits rm \
         container_name entrypoint security_opt cap_add p publish ports deploy services command",
        CONTAINER,
    ),
    equal(
        "e env_file",
        Sentence("variables of the engine are in a profile, below engine.env"),
        "none: variables of the engine are in a profile, below engine.env",
    ),
    sentence(
        "extra_llm_api_options config compilation_config",
        "the settings are in a profile: dsr1 profiles new NAME, then --profile-file FILE",
    ),
    // SGLang itself, up to 0.4.6.
    equal(
        "enable_flashinfer_mla",
        Written("attention_backend: flashinfer"),
        "--attention-backend flashinfer",
    ),
    equal(
        "enable_flashmla",
        Written("attention_backend: flashmla"),
        "--attention-backend flashmla",
    ),
];

/// Returns a name in lower case, with `_` between words: `tp_size` for `--tp-size`, `tpSize` and `TP_SIZE`.
pub(crate) fn plain(word: &str) -> String {
    let word = word.trim_start_matches(['-', '\u{2013}', '\u{2014}']);
    let is_camel =
        word.starts_with(|c: char| c.is_ascii_lowercase()) && word.contains(|c: char| c.is_ascii_uppercase());
    let mut plain = String::new();
    for c in word.chars() {
        if is_camel && c.is_ascii_uppercase() {
            plain.push('_');
        }
        plain.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
    }
    plain
}

/// Returns true if a name is one of those that stand in a text with blanks between them.
fn has(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|one| one == name)
}

/// Returns the equals of a name of another program; `None` if it is not known.
pub(crate) fn equal_of(word: &str) -> Option<&'static Equal> {
    let name = plain(word);
    EQUALS.iter().find(|equal| has(equal.names, &name))
}

/// Returns the hint for a name of another program that a user wants explained.
pub(crate) fn explained(word: &str) -> Option<String> {
    let equal = equal_of(word)?;
    let option = Some(equal.option).filter(|option| option.starts_with("--"));
    let in_sglang = option.map_or_else(String::new, |option| format!("in SGLang: {option}"));
    let parts = match equal.profile {
        Setting(setting) => [format!("the setting is `{setting}`"), in_sglang],
        Written(text) => [format!("in a profile: `{text}`"), in_sglang],
        Argument(_) => [String::new(), in_sglang],
        Sentence(text) => [text.to_owned(), in_sglang],
    };
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Some(parts.join("; "))
}

/// Returns the equal of a name on SGLang's command line; `None` if it is not known, or SGLang's own.
pub(crate) fn option_of(word: &str) -> Option<&'static str> {
    equal_of(word)
        .map(|equal| equal.option)
        .filter(|option| !option.is_empty())
}

/// Returns the hint for an unknown key below `path`, whose place knows the keys `known`; `None` if its meaning is not known.
pub(super) fn key_hint(word: &str, path: &[&str], known: &[&str]) -> Option<String> {
    let name = plain(word);
    if known.contains(&name.as_str()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let place = match path {
        [] => "",
        ["on", _] | ["engine"] => "engine",
        [.., last] => last,
    };
    if let Some((_, _, meant)) = KEYS
        .iter()
        .find(|(of, names, _)| *of == place && has(names, &name))
    {
        return Some(if meant.contains(' ') {
            (*meant).to_owned()
        } else {
            format!("did you mean `{meant}`?")
        });
    }
    if !matches!(place, "" | "engine") {
        return None;
    }
    let is_top = place.is_empty();
    // The right key at the wrong place.
    let homes = [
        ("engine", keys_of::<EngineSettings>()),
        ("bench", keys_of::<Bench>()),
        ("model", keys_of::<Model>()),
    ];
    for (home, keys) in homes.iter().filter(|(home, _)| *home != place) {
        if keys.contains(&name) {
            return Some(format!("write `{name}` below `{home}:`"));
        }
    }
    if !is_top && keys_of::<Profile>().contains(&name) {
        return Some(format!("write `{name}` at the top level, beside `engine:`"));
    }
    hint(word, is_top)
}

/// Returns the keys of a section: the error of an unknown one lists them.
fn keys_of<T: DeserializeOwned>() -> Vec<String> {
    let error = serde_json::from_str::<T>(r#"{ "?": 1 }"#).err();
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    let expected = text.split_once("expected ").map_or("", |(_, keys)| keys);
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Keys of other programs in the sections of a profile: the section, the names, and the key or a sentence.
const KEYS: &[(&str, &str, &str)] = &[
    (
        "bench",
        "isl input_length input random_input_len random_input prompt_len",
        "input_len",
    ),
    (
        "bench",
        "osl output_length output random_output_len random_output max_tokens",
        "output_len",
    ),
    (
        "bench",
        "concurrency max_concurrent max_concurrent_requests",
        "max_concurrency",
    ),
    (
        "bench",
        "num_requests requests prompts num_prompt request_count",
        "num_prompts",
    ),
    ("bench", "dataset_name", "dataset"),
    ("bench", "random_range_ratio ratio", "range_ratio"),
    (
        "bench",
        "warmup num_warmups warmup_request_count",
        "warmup_requests",
    ),
    (
        "speculative",
        "num_steps speculative_num_steps num_nextn_predict_layers",
        "steps",
    ),
    ("speculative", "topk eagle_topk speculative_eagle_topk", "top_k"),
    (
        "speculative",
        "num_draft_tokens speculative_num_draft_tokens",
        "draft_tokens",
    ),
    (
        "speculative",
        "num_speculative_tokens",
        "write `steps` with this number, `top_k: 1`, and `draft_tokens` with one more",
    ),
    (
        "speculative",
        "method algorithm decoding_type",
        "remove it: EAGLE, which serves MTP, is the only method",
    ),
    (
        "model",
        "name id path repository model model_id model_path repo_id",
        "repo",
    ),
    ("model", "commit branch tag version sha", "revision"),
    ("model", "size bytes", "size_bytes"),
    ("model", "licence", "license"),
];

/// Values of other programs: the settings, the values in lower case, and the value that this program knows.
const VALUES: &[(&str, &str, &str)] = &[
    (
        "kv_cache",
        "fp8 e4m3 float8 float8_e4m3 float8_e4m3fn fp8_e4m3fn fp8e4m3 fp8_e4m3fnuz",
        "fp8_e4m3",
    ),
    ("kv_cache", "bfloat16", "bf16"),
    (
        "attention_backend",
        "flash_attn flash_attn_3 flash_attention_3 flash_attn_mla fa_3 flashattention3",
        "fa3",
    ),
    (
        "attention_backend",
        "trtllm trtllm_gen flashinfer_trtllm tensorrt_llm",
        "trtllm_mla",
    ),
    ("attention_backend", "flashinfer_mla", "flashinfer"),
    ("attention_backend", "triton_mla", "triton"),
    ("attention_backend", "cutlass", "cutlass_mla"),
    ("attention_backend", "cutedsl", "cutedsl_mla"),
    ("moe_runner fp8_gemm", "deepgemm deep_gemm_fp8", "deep_gemm"),
    (
        "moe_runner fp8_gemm",
        "trtllm flashinfer_trtllm_gen trtllm_gen",
        "flashinfer_trtllm",
    ),
    ("moe_runner", "cutedsl cute_dsl", "flashinfer_cutedsl"),
    ("quantization", "nvfp4 fp4 modelopt_nvfp4 nv_fp4", "modelopt_fp4"),
    ("quantization", "fp8_e4m3 float8 fp8_block block_fp8", "fp8"),
    ("precision", "nvfp4 modelopt_fp4 fp4_e2m1 float4", "fp4"),
    ("precision", "fp8_e4m3 float8 e4m3 modelopt", "fp8"),
    ("goal", "latency low_latency interactive", "low-latency"),
    (
        "goal",
        "throughput high_throughput max_throughput",
        "high-throughput",
    ),
    (
        "architectures",
        "h100 h200 h20 h800 gh200 sm90 sm_90 sm90a 9.0",
        "hopper",
    ),
    (
        "architectures",
        "b200 b300 gb200 gb300 sm100 sm_100 sm100a sm103 10.0 10.3",
        "blackwell",
    ),
];

/// Returns the hint for a value that SGLang's option of a setting takes, but the setting does not.
pub(super) fn value_as_argument(setting: &str, value: &str) -> Option<String> {
    let value = value.to_ascii_lowercase();
    let is_of_option =
        setting == "kv_cache" && matches!(value.as_str(), "fp8_e5m2" | "nvfp4" | "fp4_e2m1" | "mxfp8");
    is_of_option.then(|| {
        format!("the setting has no such value: write --kv-cache-dtype and {value} into `extra_args`, and leave `kv_cache` out")
    })
}

/// Returns the value of a setting that another spelling or another program's word means, if it is one of `known`.
pub(crate) fn value_of<'a>(setting: &str, value: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = value.trim().to_ascii_lowercase();
    let same = |one: &str| {
        known
            .iter()
            .copied()
            .find(|known| known.eq_ignore_ascii_case(one))
    };
    if let Some(found) = same(&name).or_else(|| same(&name.replace('-', "_"))) {
        return Some(found);
    }
    let name = name.replace('-', "_");
    let meant = VALUES
        .iter()
        .find(|(settings, values, _)| has(settings, setting) && has(values, &name))?;
    same(meant.2)
}

/// Returns the section of a profile that has a key of this name, and `profile` for the top level.
pub(crate) fn section_of(key: &str) -> Option<&'static str> {
    let key = key.strip_prefix("engine.").unwrap_or(key);
    let sections = [
        ("profile", keys_of::<Profile>()),
        ("engine", keys_of::<EngineSettings>()),
        ("bench", keys_of::<Bench>()),
        ("model", keys_of::<Model>()),
    ];
    sections.into_iter().find_map(|(section, keys)| {
        let below = key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'));
        keys.iter()
            .any(|known| known == below.unwrap_or(key))
            .then_some(section)
    })
}

/// Returns the hint for a value of settings that a user wants explained.
pub(crate) fn explained_value(value: &str) -> Option<String> {
    let name = value.to_ascii_lowercase();
    let of = |setting, names: Vec<&'static str>| (setting, names);
    let all = [
        of("kv_cache", KvCache::ALL.iter().map(|one| one.name()).collect()),
        of(
            "attention_backend",
            AttentionBackend::ALL.iter().map(|one| one.name()).collect(),
        ),
        of(
            "moe_runner",
            MoeRunner::ALL.iter().map(|one| one.name()).collect(),
        ),
        of("fp8_gemm", Fp8Gemm::ALL.iter().map(|one| one.name()).collect()),
        of("precision", vec!["fp4", "fp8"]),
    ];
    let exact: Vec<&str> = all
        .iter()
        .filter(|(_, names)| name != "auto" && names.contains(&name.as_str()))
        .map(|(setting, _)| *setting)
        .collect();
    if exact.is_empty() {
        let meant = |(setting, names): &(&'static str, Vec<&'static str>)| {
            Some(format!(
                "did you mean `{}`, a value of {setting}?",
                value_of(setting, &name, names)?
            ))
        };
        return all.iter().find_map(meant);
    }
    Some(format!("it is a value of {} in a profile", exact.join(", ")))
}

/// Returns the hint for a name of another program that is written into `engine`, or at the top level.
fn hint(word: &str, is_top: bool) -> Option<String> {
    let below = if is_top { " below `engine:`" } else { "" };
    Some(match equal_of(word)?.profile {
        Setting(setting) if !is_top => format!("did you mean `{setting}`?"),
        Setting(setting) => format!("write `{setting}`{below}"),
        Written(text) => format!("write `{text}`{below}"),
        Argument(option) => {
            format!("there is no setting for it: write it as SGLang's {option} into `extra_args`{below}")
        }
        Sentence(text) => text.to_owned(),
    })
}

/// Returns the number that a text means. `64k` is 65536, as context lengths are counted, or 64000, as SGLang reads it.
pub(crate) fn number_of(text: &str, is_whole: bool) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().replace(',', ".").parse().ok()?;
        return (!is_whole).then(|| (percent / 100.0).to_string());
    }
    if !is_whole {
        let number: f64 = text.replace(',', ".").parse().ok()?;
        return number.is_finite().then(|| number.to_string());
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (binary, decimal): (u64, u64) = match text.get(digits.len()..)? {
        "" => (1, 1),
        "k" => (1 << 10, 1000),
        "ki" | "kib" => (1 << 10, 1 << 10),
        "m" => (1 << 20, 1_000_000),
        "mi" | "mib" => (1 << 20, 1 << 20),
        _ => return None,
    };
    let of_factors = |number: u64| {
        let (binary, decimal) = (number.checked_mul(binary)?, number.checked_mul(decimal)?);
        Some(if binary == decimal {
            binary.to_string()
        } else {
            format!("{binary} or {decimal}")
        })
    };
    let digits = digits.trim_end();
    if let Some((whole, part)) = digits.split_once('.')
        && !part.is_empty()
        && part.bytes().all(|digit| digit == b'0')
    {
        return of_factors(whole.parse().ok()?);
    }
    let is_grouped = |mark: char| {
        let mut groups = digits.split(mark);
        groups.next().is_some_and(|first| (1..=3).contains(&first.len()))
            && groups.all(|group| group.len() == 3)
    };
    let plain: String = digits
        .chars()
        .filter(|c| !matches!(c, '_' | ',' | '\'' | ' '))
        .collect();
    if digits.contains(',') && !is_grouped(',') {
        return None;
    }
    of_factors(plain.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_of_another_program_has_one_equal() {
        let mut seen = BTreeSet::new();
        for name in EQUALS.iter().flat_map(|equal| equal.names.split_whitespace()) {
            assert_eq!(plain(name), name);
            assert!(seen.insert(name), "{name} is there twice");
        }
    }

    #[test]
    fn every_setting_of_an_equal_exists() {
        for equal in EQUALS {
            let (key, value) = match equal.profile {
                Setting(key) => (key, "null"),
                Written(text) => text.split_once(": ").unwrap(),
                Argument(_) | Sentence(_) => continue,
            };
            let value = if value == "N" { "8" } else { value };
            let settings = crate::profile::yaml::parse::<crate::profile::EngineSettings>(
                &format!("{key}: {value}\n"),
                "x",
            );
            // `null` is no list and no mapping.
            assert!(
                settings.is_ok() || matches!(key, "env" | "extra_args"),
                "{key}: {value}: {settings:?}"
            );
        }
    }

    #[test]
    fn every_spelling_of_a_name_has_the_same_equal() {
        for word in [
            "tp_size",
            "--tp-size",
            "tp-size",
            "TP_SIZE",
            "tpSize",
            "\u{2014}tp-size",
        ] {
            assert_eq!(
                hint(word, false).as_deref(),
                Some("did you mean `tensor_parallel`?"),
                "{word}"
            );
        }
        for (word, expected) in [
            ("disable_radix_cache", "write `radix_cache: false`"),
            ("max_model_len", "`context_length`"),
            ("maxNumSeqs", "`max_running_requests`"),
            ("shm-size", "dsr1 decides how the container runs"),
        ] {
            assert!(hint(word, false).unwrap().contains(expected), "{word}");
        }
        for word in ["mem_fraction", "fp8", "weird", "", "--"] {
            assert_eq!(equal_of(word), None, "{word}");
        }
    }

    #[test]
    fn numbers_that_people_write_are_understood() {
        for (text, expected) in [
            ("64k", Some("65536 or 64000")),
            ("128K", Some("131072 or 128000")),
            ("4Ki", Some("4096")),
            ("8,192", Some("8192")),
            ("8_192", Some("8192")),
            ("1 048 576", Some("1048576")),
            ("8.0", Some("8")),
            ("8", Some("8")),
            ("1m", Some("1048576 or 1000000")),
            ("0,5", None),
            ("8.5", None),
            ("many", None),
            ("-8", None),
            ("8 GPUs", None),
        ] {
            assert_eq!(number_of(text, true).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("90%", Some("0.9")),
            ("0,85", Some("0.85")),
            ("0.9", Some("0.9")),
            ("inf", None),
        ] {
            assert_eq!(number_of(text, false).as_deref(), expected, "{text}");
        }
    }
}
