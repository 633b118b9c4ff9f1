//! Each rule with the public report that it comes from, engines that recipes run, and the versions of each rule.

use crate::profile::{Catalog, Role};
use crate::sglang::{Check, Launch, Level};

/// A rack: prefill and decode on trays of four GPUs.
const RACK: &str = "gpus: 12\ntopology:\n  gpus_per_node: 4\n  nvlink: true\n  network: {interface: eth0}\n  transfer: nixl\n  prefill: \
                    {}\n  decode: {engine: {tensor_parallel: 8, expert_parallel: 8}}\n";
/// Two trays, and a transfer that moves nothing.
const FAKE: &str =
    "gpus: 8\ntopology: {gpus_per_node: 4, nvlink: true, transfer: fake, prefill: {}, decode: {}}\n";
/// Two nodes of eight GPUs with one engine.
const TWO: &str = "gpus: 16\ntopology: {gpus_per_node: 8, network: {interface: eth0}}\n";

/// The findings about a role of `base` on a stack, with these lines of `engine` and of the file.
fn checks(base: &str, stack: &str, role: Role, engine: &str, file: &str) -> Vec<Check> {
    let lines: String = engine
        .lines()
        .fold(String::new(), |all, line| all + "  " + line + "\n");
    let text = format!("name: own\nextends: {base}\n{file}engine:\n  stream_interval: 1\n{lines}");
    let catalog = Catalog::load(Some(("own.yaml", &text))).unwrap();
    let found = catalog
        .resolve("own", Some(stack))
        .unwrap_or_else(|error| panic!("{}\n{text}", error.message()));
    let profile = found
        .profile
        .of_role(role)
        .unwrap_or_else(|| found.profile.clone());
    Launch::new(&profile, &found.stack, &found.origins, &[]).checks
}

fn ids(checks: &[Check]) -> Vec<(String, Level)> {
    checks
        .iter()
        .map(|check| (check.id.clone(), check.level))
        .collect()
}

/// A stack of a version that has no stack of its own.
fn stack_of(version: &str) -> String {
    format!("v{}", version.replace('.', "-"))
}

const RACK_BASE: &str = "b200x4-fp4-high-throughput";
const HOPPER: &str = "h200-fp8-high-throughput";
const BLACKWELL: &str = "b200-fp8-high-throughput";
const WIDE: &str =
    "moe_a2a: deepep\ndeepep_mode: low_latency\nattention_data_parallel: 4\nmoe_runner: flashinfer_cutedsl\n";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_rule_finds_what_its_report_says() {
    let two_wide = "moe_a2a: deepep\ntensor_parallel: 16\nexpert_parallel: 16\nattention_data_parallel: 16\nmoe_runner: null\n\
                    moe_dense_tensor_parallel: 1\nlm_head_data_parallel: true\n";
    let cases: [(&str, &str, Level, &str, Role, String, &str); 27] = [
        // (report, id, level, base, role, lines of the engine, lines of the file)
        (
            "NVIDIA/srt-slurm#42: raise the dispatch tokens to 4096",
            "deepep.limit",
            Level::Error,
            RACK_BASE,
            Role::Decode,
            format!("{WIDE}env: {{SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK: \"4096\"}}"),
            RACK,
        ),
        (
            "NVIDIA/srt-slurm#44, mid-curve: more requests on a rank than 1024",
            "deepep.tokens",
            Level::Error,
            RACK_BASE,
            Role::Decode,
            format!(
                "{WIDE}max_running_requests: 9216\nenv: {{SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK: \"1024\"}}"
            ),
            RACK,
        ),
        (
            "sglang#29942: 512 tokens, graphs of 128 requests with 6 drafts each",
            "deepep.tokens",
            Level::Error,
            HOPPER,
            Role::Aggregate,
            format!(
                "{two_wide}max_running_requests: 2048\nspeculative: {{steps: 5, top_k: 1, draft_tokens: 6}}\n\
                 env: {{SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK: \"512\"}}"
            ),
            TWO,
        ),
        (
            "deepseek-ai/DeepEP#419: dies at many requests with the default",
            "deepep.tokens",
            Level::Error,
            HOPPER,
            Role::Aggregate,
            format!("{two_wide}max_running_requests: 4096"),
            TWO,
        ),
        (
            "sglang#14426: graphs of the default batch, without a limit of requests",
            "deepep.tokens",
            Level::Error,
            HOPPER,
            Role::Aggregate,
            format!("{two_wide}max_running_requests: null\ngraph_batch: null"),
            TWO,
        ),
        (
            "sglang#12293: a chunk by low-latency kernels",
            "deepep.tokens",
            Level::Error,
            RACK_BASE,
            Role::Prefill,
            WIDE.to_owned(),
            RACK,
        ),
        (
            "sglang#12293: low latency on prefill",
            "deepep.mode",
            Level::Error,
            RACK_BASE,
            Role::Prefill,
            "moe_a2a: deepep\ndeepep_mode: low_latency\nmoe_runner: deep_gemm".to_owned(),
            RACK,
        ),
        (
            "sglang#12293: normal kernels with flashinfer_cutedsl",
            "deepep.cutedsl",
            Level::Error,
            RACK_BASE,
            Role::Prefill,
            WIDE.replace("low_latency", "normal"),
            RACK,
        ),
        (
            "sglang#15385: copies over two nodes",
            "nodes.copies",
            Level::Error,
            HOPPER,
            Role::Aggregate,
            "tensor_parallel: 16\nextra_args: [--data-parallel-size, \"2\"]".to_owned(),
            TWO,
        ),
        (
            "sglang#29725: follow_bootstrap_room conflict",
            "role.copies",
            Level::Error,
            RACK_BASE,
            Role::Prefill,
            "attention_data_parallel: null\nlm_head_data_parallel: null\nextra_args: [--data-parallel-size, \"2\"]".to_owned(),
            RACK,
        ),
        (
            "sglang#12724: fused all-reduce over two nodes of H100",
            "nodes.fusion",
            Level::Error,
            HOPPER,
            Role::Aggregate,
            "tensor_parallel: 16\nallreduce_fusion: true".to_owned(),
            TWO,
        ),
        (
            "sglang#29073: fused all-reduce without memory that others can map",
            "nodes.fusion",
            Level::Warn,
            BLACKWELL,
            Role::Aggregate,
            "tensor_parallel: 16".to_owned(),
            TWO,
        ),
        (
            "sglang#12724: trtllm over two nodes",
            "nodes.fusion",
            Level::Error,
            BLACKWELL,
            Role::Aggregate,
            "tensor_parallel: 16\nextra_args: [--flashinfer-allreduce-fusion-backend, trtllm]".to_owned(),
            TWO,
        ),
        (
            "sglang#29548: decode over two nodes hangs, registration asked for",
            "nodes.graph_registration",
            Level::Warn,
            HOPPER,
            Role::Aggregate,
            "tensor_parallel: 16\nenv: {NCCL_GRAPH_REGISTER: \"1\"}".to_owned(),
            TWO,
        ),
        (
            "sglang#38936: decode of one role with as many replicas as ranks",
            "nodes.graph_registration",
            Level::Error,
            RACK_BASE,
            Role::Decode,
            "attention_data_parallel: 8\nlm_head_data_parallel: null\nenv: {NCCL_GRAPH_REGISTER: \"1\"}".to_owned(),
            "gpus: 16\ntopology:\n  gpus_per_node: 4\n  nvlink: true\n  network: {interface: eth0}\n  transfer: nixl\n  \
             prefill: {engine: {tensor_parallel: 8, expert_parallel: 8}}\n  decode: {engine: {tensor_parallel: 8, \
             expert_parallel: 8}}\n",
        ),
        (
            "sglang#11321: the pool as a number",
            "transfer.memory_pool",
            Level::Error,
            RACK_BASE,
            Role::Decode,
            "env: {SGLANG_MOONCAKE_CUSTOM_MEM_POOL: \"1\"}".to_owned(),
            RACK,
        ),
        (
            "sglang#17866: both kinds of NVLink",
            "transfer.nvlink",
            Level::Error,
            RACK_BASE,
            Role::Decode,
            "env: {MC_INTRANODE_NVLINK: \"1\", MC_FORCE_MNNVL: \"1\"}".to_owned(),
            RACK,
        ),
        (
            "sglang 0.5.10, handle_pd_disaggregation: no report",
            "transfer.fake",
            Level::Error,
            RACK_BASE,
            Role::Prefill,
            String::new(),
            FAKE,
        ),
        (
            "sglang 0.5.10, staging_handler.py: no report",
            "transfer.staging",
            Level::Error,
            RACK_BASE,
            Role::Prefill,
            "env: {SGLANG_DISAGG_STAGING_BUFFER: \"1\"}".to_owned(),
            RACK,
        ),
        (
            "sglang 0.5.14, handle_pd_disaggregation: no report",
            "role.prefixes",
            Level::Error,
            RACK_BASE,
            Role::Decode,
            "extra_args: [--disaggregation-decode-enable-radix-cache]".to_owned(),
            FAKE,
        ),
        (
            "srt-slurm's recipes for Dynamo: skip-tokenizer-init",
            "server.tokenizer",
            Level::Error,
            RACK_BASE,
            Role::Decode,
            "extra_args: [--skip-tokenizer-init]".to_owned(),
            RACK,
        ),
        (
            "srt-slurm's recipes: waits of 100,000 s",
            "benchmark.wait",
            Level::Warn,
            RACK_BASE,
            Role::Decode,
            "env: {SGLANG_DISAGGREGATION_WAITING_TIMEOUT: \"100000\"}".to_owned(),
            RACK,
        ),
        (
            "srt-slurm's recipes: a watchdog of 1,000,000 s",
            "benchmark.watchdog",
            Level::Warn,
            RACK_BASE,
            Role::Decode,
            "extra_args: [--watchdog-timeout, \"1000000\"]".to_owned(),
            RACK,
        ),
        (
            "sglang#3516: no interface is named",
            "nodes.interface",
            Level::Note,
            HOPPER,
            Role::Aggregate,
            "tensor_parallel: 16".to_owned(),
            "gpus: 16\ntopology: {gpus_per_node: 8}\n",
        ),
        (
            "NVIDIA/srt-slurm#429: adapters without a link",
            "transfer.adapters",
            Level::Note,
            RACK_BASE,
            Role::Decode,
            String::new(),
            "gpus: 8\ntopology: {gpus_per_node: 4, prefill: {}, decode: {}}\n",
        ),
        (
            "sglang#6081: experts spread by DeepEP, which --ep-size does not say",
            "experts.redundant",
            Level::Error,
            HOPPER,
            Role::Aggregate,
            "tensor_parallel: 24\nattention_data_parallel: 24\nmoe_dense_tensor_parallel: 1\nmoe_a2a: deepep\n\
             lm_head_data_parallel: true"
                .to_owned(),
            "gpus: 24\ntopology: {gpus_per_node: 8}\n",
        ),
        (
            "sglang#3491: FP8 over 32 GPUs without experts spread",
            "parallel.width",
            Level::Error,
            HOPPER,
            Role::Aggregate,
            "tensor_parallel: 32".to_owned(),
            "gpus: 32\ntopology: {gpus_per_node: 8}\n",
        ),
    ];
    for (report, id, level, base, role, engine, file) in cases {
        let found = checks(base, "current", role, &engine, file);
        assert!(
            ids(&found).contains(&(id.to_owned(), level)),
            "{report}: {id} is missing\n{found:#?}"
        );
        let check = found.iter().find(|check| check.id == id).unwrap();
        assert!(check.fix.is_some(), "{id} has no fix");
    }
}

#[test]
fn engines_that_recipes_run_are_no_error() {
    let wide = "moe_a2a: deepep\ndeepep_mode: low_latency\nmoe_runner: flashinfer_cutedsl\nmax_running_requests: 8192\n\
                env: {SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK: \"1024\"}\nattention_data_parallel: 8\n\
                lm_head_data_parallel: true\nmoe_dense_tensor_parallel: 1";
    let rack = RACK.replace(
        "decode: {engine: {",
        "decode: {engine: {chunked_prefill_size: 65536, ",
    );
    for (base, role, engine, file) in [
        // srt-slurm, gb200-fp4: 1024 requests on each of 8 ranks.
        (RACK_BASE, Role::Decode, wide, rack.as_str()),
        // srt-slurm, gb200-fp8: prefill by the normal kernels.
        (
            RACK_BASE,
            Role::Prefill,
            "moe_a2a: deepep\ndeepep_mode: normal\nmoe_runner: deep_gemm",
            RACK,
        ),
        (HOPPER, Role::Aggregate, "tensor_parallel: 16", TWO),
        (
            BLACKWELL,
            Role::Aggregate,
            "tensor_parallel: 16\nallreduce_fusion: false",
            TWO,
        ),
    ] {
        let found = checks(base, "current", role, engine, file);
        let own = |check: &&Check| {
            ["deepep.", "nodes.", "role.", "transfer.", "benchmark.wa"]
                .iter()
                .any(|prefix| check.id.starts_with(prefix))
        };
        assert_eq!(found.iter().find(own), None, "{engine}");
        let errors: Vec<_> = found.iter().filter(|check| check.level == Level::Error).collect();
        assert!(errors.is_empty(), "{engine}: {errors:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_version_has_the_rules_of_its_code() {
    let of = |version: &str, role: Role, base: &str, engine: &str, file: &str, id: &str| {
        let name = stack_of(version);
        let stack = format!("name: {name}\nextends: current\npins: {{sglang: {version}}}\n");
        let lines: String = engine
            .lines()
            .fold(String::new(), |all, line| all + "  " + line + "\n");
        let text = format!("name: own\nextends: {base}\n{file}engine:\n  stream_interval: 1\n{lines}");
        let files = crate::profile::UserFiles {
            stacks: vec![crate::profile::UserFile {
                origin: format!("{name}.yaml"),
                text: stack,
            }],
            named: Some(crate::profile::UserFile {
                origin: "own.yaml".to_owned(),
                text,
            }),
            ..crate::profile::UserFiles::default()
        };
        let catalog = Catalog::with(&files).unwrap();
        let found = catalog.resolve("own", Some(&name)).unwrap();
        let profile = found
            .profile
            .of_role(role)
            .unwrap_or_else(|| found.profile.clone());
        let checks = Launch::new(&profile, &found.stack, &found.origins, &[]).checks;
        checks
            .into_iter()
            .find(|check| check.id == id)
            .map(|check| check.level)
    };
    let fused = "tensor_parallel: 16\nextra_args: [--enable-flashinfer-allreduce-fusion]";
    let pool = "env: {SGLANG_MOONCAKE_CUSTOM_MEM_POOL: NVLINK}";
    let robin = "extra_args: [--load-balance-method, round_robin]";
    let prefixes = "extra_args: [--disaggregation-decode-enable-radix-cache]\nspeculative: {steps: 3, top_k: 1, draft_tokens: 4}";
    let spread = "attention_data_parallel: 8\nlm_head_data_parallel: null\nenv: {NCCL_GRAPH_REGISTER: \"1\"}";
    let wide = "gpus: 16\ntopology: {gpus_per_node: 8, prefill: {}, decode: {}}\n";
    for (version, role, base, engine, file, id, level) in [
        // sglang#12724.
        (
            "0.5.13",
            Role::Aggregate,
            BLACKWELL,
            fused,
            TWO,
            "nodes.fusion",
            Some(Level::Error),
        ),
        (
            "0.5.13",
            Role::Aggregate,
            BLACKWELL,
            "tensor_parallel: 16",
            TWO,
            "nodes.fusion",
            None,
        ),
        (
            "0.5.14",
            Role::Aggregate,
            BLACKWELL,
            "tensor_parallel: 16",
            TWO,
            "nodes.fusion",
            Some(Level::Warn),
        ),
        (
            "0.5.14",
            Role::Aggregate,
            HOPPER,
            "tensor_parallel: 16",
            TWO,
            "nodes.fusion",
            None,
        ),
        // sglang#11321.
        (
            "0.5.5",
            Role::Decode,
            RACK_BASE,
            pool,
            RACK,
            "transfer.memory_pool",
            Some(Level::Error),
        ),
        (
            "0.5.8",
            Role::Decode,
            RACK_BASE,
            pool,
            RACK,
            "transfer.memory_pool",
            None,
        ),
        // sglang#16110.
        (
            "0.5.9",
            Role::Prefill,
            RACK_BASE,
            robin,
            RACK,
            "role.balance",
            Some(Level::Warn),
        ),
        (
            "0.5.10",
            Role::Prefill,
            RACK_BASE,
            robin,
            RACK,
            "role.balance",
            None,
        ),
        // Its own conditions, read in the code of each version.
        (
            "0.5.20",
            Role::Decode,
            RACK_BASE,
            prefixes,
            RACK,
            "role.prefixes",
            Some(Level::Error),
        ),
        (
            "0.5.23",
            Role::Decode,
            RACK_BASE,
            prefixes,
            RACK,
            "role.prefixes",
            None,
        ),
        // sglang#38936.
        (
            "0.5.18",
            Role::Decode,
            BLACKWELL,
            spread,
            wide,
            "nodes.graph_registration",
            Some(Level::Error),
        ),
        (
            "0.5.17",
            Role::Decode,
            BLACKWELL,
            spread,
            wide,
            "nodes.graph_registration",
            None,
        ),
    ] {
        assert_eq!(
            of(version, role, base, engine, file, id),
            level,
            "{version} {id}: {engine}"
        );
    }
}
