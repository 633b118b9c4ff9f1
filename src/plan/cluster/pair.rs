//! Findings about an engine for prefill and one for decode that do not fit each other.
//!
//! SGLang compares little of it, and only when the first request is on its way: the engine for decode then ends, or the answer is wrong.
//! Each rule names the public report and the code that it comes from.

use std::collections::BTreeMap;

use super::launches::RoleLaunch;
use crate::profile::{Architecture, Profile, Role, Version};
use crate::sglang::flags::{Parser, history};
use crate::sglang::memory::bundled;
use crate::sglang::resolve::{Checkpoint, Machine, Resolved, resolve};
use crate::sglang::{Check, EffectiveSettings, Level};

/// First version that compares the formats of both KV caches (`disaggregation/common/conn.py`, 0.5.10).
const KV_COMPARED: Version = Version::new(0, 5, 10);
/// First version that compares the format which the pool has, and not the one that is named (`conn.py`, 0.5.17).
const KV_OF_POOL: Version = Version::new(0, 5, 17);
/// The subject of these findings.
const SUBJECT: &str = "topology.decode";

/// One engine of a pair.
struct Leg<'a> {
    settings: &'a EffectiveSettings,
    resolved: Resolved,
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

/// An engine for prefill and one for decode, on one architecture.
struct Pair<'a> {
    prefill: Leg<'a>,
    decode: Leg<'a>,
    version: Version,
    profile: &'a Profile,
    is_modelopt: bool,
}

/// Returns the findings about the roles; none without prefill and decode.
pub(super) fn check(roles: &[RoleLaunch]) -> Vec<Check> {
    let of = |role: Role| roles.iter().find(|one| one.role == role);
    let (Some(prefill), Some(decode)) = (of(Role::Prefill), of(Role::Decode)) else {
        return Vec::new();
    };
    let profile = &decode.request.profile;
    let checkpoint = Checkpoint::new(profile, bundled(&profile.model.repo).as_ref());
    let mut found: Vec<Check> = Vec::new();
    // A CPU has no architecture: its engines are compared as those of the first one.
    let architectures = match profile.architectures.as_slice() {
        [] => &[Architecture::Hopper],
        named => named,
    };
    for architecture in architectures {
        let machine = Machine::tuned_for(profile, *architecture);
        let leg = |one: &RoleLaunch| resolve(&one.launch.settings, machine, &checkpoint).resolved;
        let pair = Pair {
            prefill: Leg::new(prefill, leg(prefill)),
            decode: Leg::new(decode, leg(decode)),
            version: decode.request.stack.pins.sglang,
            profile,
            is_modelopt: checkpoint.is_modelopt,
        };
        for mut check in pair.findings() {
            check.place = decode
                .request
                .origins
                .place_of(SUBJECT)
                .map(|place| place.to_string());
            if !found.contains(&check) {
                found.push(check);
            }
        }
    }
    found
}

impl<'a> Leg<'a> {
    fn new(one: &'a RoleLaunch, resolved: Resolved) -> Self {
        Self {
            settings: &one.launch.settings,
            resolved,
            args: one.launch.flags.argv().map(str::to_owned).collect(),
            env: one.launch.flags.environment(),
        }
    }

    /// Returns the ranks over which one replica splits attention.
    fn attention_ranks(&self) -> u32 {
        (self.settings.tensor_parallel / self.resolved.attention_data_parallel.max(1)).max(1)
    }
}

/// A rule: a finding about a pair, or none.
type Rule = fn(&Pair<'_>) -> Option<Check>;

/// The rules that have one finding at most.
const RULES: [Rule; 9] = [
    page_size,
    kv_cache,
    drafting,
    attention,
    pipeline,
    context,
    served_name,
    quantization,
    prompts,
];

/// Options that both roles must have alike, the severity if they have not, and the consequence.
///
/// `disaggregation/common/conn.py` and `kv_checksum_signature` in `decode.py` (0.5.23); the decode engine's answer is the one that
/// users get, so that parsers and the chat template of both must agree (llm-d#2426, #499 pair only equal roles).
const SAME_OPTIONS: [(&str, Level, &str); 9] = [
    (
        "--disaggregation-decode-allocation-policy",
        Level::Error,
        "decode ends at the first request",
    ),
    (
        "--disaggregation-enable-kv-checksum",
        Level::Error,
        "each transfer is refused",
    ),
    (
        "--enable-kv-cache-sharding",
        Level::Error,
        "their KV caches have different layouts",
    ),
    (
        "--sampling-mask-max-tokens",
        Level::Error,
        "the slots for a request's data have different sizes",
    ),
    (
        "--enable-unified-memory",
        Level::Warn,
        "their KV pools are made differently",
    ),
    (
        "--allow-auto-truncate",
        Level::Warn,
        "one of them cuts a prompt that the other refuses",
    ),
    (
        "--chat-template",
        Level::Error,
        "they make different prompts of a chat",
    ),
    (
        "--reasoning-parser",
        Level::Warn,
        "decode's answer is the one that users get",
    ),
    (
        "--tool-call-parser",
        Level::Warn,
        "decode's answer is the one that users get",
    ),
];

/// Variables that both roles must have alike: they choose the transport and the layout of a request's data (sglang#11321, #17866).
const SAME_VARIABLES: [&str; 7] = [
    "MC_FORCE_MNNVL",
    "MC_FORCE_TCP",
    "MC_INTRANODE_NVLINK",
    "MOONCAKE_PROTOCOL",
    "SGLANG_DISAGGREGATION_FORCE_QUERY_PREFILL_DP_RANK",
    "SGLANG_ENABLE_DISAGG_SAMPLING_MASK",
    "SGLANG_MOONCAKE_CUSTOM_MEM_POOL",
];

impl Pair<'_> {
    fn findings(&self) -> Vec<Check> {
        let single = RULES.iter().filter_map(|rule| rule(self));
        single.chain(self.options()).chain(self.variables()).collect()
    }

    /// Compares the options that must be alike.
    fn options(&self) -> Vec<Check> {
        let table = history(Parser::Server).table(self.version);
        let (prefill, decode) = (table.parse(&self.prefill.args), table.parse(&self.decode.args));
        let differs = |name: &str| {
            let values = [&prefill, &decode].map(|parsed| parsed.get(name).map(|one| &one.values));
            values[0] != values[1]
        };
        SAME_OPTIONS
            .into_iter()
            .filter(|(name, ..)| differs(name))
            .map(|(name, level, why)| {
                let text = format!("prefill and decode differ in {name}: {why}");
                Check::new("pair.option", level, SUBJECT, text)
                    .fix(format!("give {name} in `engine`, for both roles"))
            })
            .collect()
    }

    /// Compares the variables that must be alike.
    fn variables(&self) -> Vec<Check> {
        let value = |leg: &Leg<'_>, name: &str| leg.env.get(name).cloned();
        SAME_VARIABLES
            .into_iter()
            .filter(|name| value(&self.prefill, name) != value(&self.decode, name))
            .map(|name| {
                let text = format!(
                    "prefill and decode differ in {name}: they do not understand each other's transfers"
                );
                Check::new("pair.variable", Level::Error, SUBJECT, text)
                    .fix(format!("give {name} in `engine: {{env: ...}}`, for both roles"))
            })
            .collect()
    }
}

fn error(id: &str, text: String, fix: impl Into<String>) -> Check {
    Check::new(id, Level::Error, SUBJECT, text).fix(fix)
}

fn warn(id: &str, text: String, fix: impl Into<String>) -> Check {
    Check::new(id, Level::Warn, SUBJECT, text).fix(fix)
}

/// Pages of different sizes (sglang#14439, #14474; NVIDIA/srt-slurm#429; ai-dynamo/dynamo#4855): "Page size mismatch" ends decode at
/// the first request (`CommonKVReceiver`, 0.5.8; `try_ensure_parallel_info`, 0.5.10 to 0.5.23).
fn page_size(pair: &Pair<'_>) -> Option<Check> {
    let (prefill, decode) = (pair.prefill.resolved.page_size, pair.decode.resolved.page_size);
    (prefill != decode).then(|| {
        let text = format!(
            "prefill has pages of {prefill} and decode of {decode}: SGLang {} ends decode at the first request",
            pair.version
        );
        error("pair.page_size", text, "page_size: 64 in `engine`, for both roles")
    })
}

/// Formats of the KV cache that are not the same word (NVIDIA/srt-slurm#429): `auto` is not `bf16`, although it may mean it
/// (`try_ensure_parallel_info`, 0.5.10 to 0.5.23). Older versions copy what they are given.
fn kv_cache(pair: &Pair<'_>) -> Option<Check> {
    let (prefill, decode) = (&pair.prefill.resolved.kv_cache, &pair.decode.resolved.kv_cache);
    if prefill == decode {
        return None;
    }
    let version = pair.version;
    let text = format!("the KV cache of prefill is {prefill} and that of decode {decode}: ");
    let fix = "kv_cache: fp8_e4m3 in `engine`, for both roles";
    let both = [prefill.as_str(), decode.as_str()];
    if version < KV_COMPARED {
        let text = text + &format!("SGLang {version} does not compare them, and the answers are wrong");
        Some(error("pair.kv_cache", text, fix))
    } else if version >= KV_OF_POOL
        && pair.is_modelopt
        && both.contains(&"auto")
        && both.contains(&"fp8_e4m3")
    {
        let text = text + "they are the same only if the checkpoint states it";
        Some(warn("pair.kv_cache", text, fix))
    } else {
        let text = text + &format!("SGLang {version} ends decode at the first request");
        Some(error("pair.kv_cache", text, fix))
    }
}

/// Multi-token prediction on one role, or with other numbers (sglang#17212, #23539, #23918): prefill sends the draft layer's state
/// into slots that decode does not have. No version compares it for this model (`send_aux` in `mooncake/conn.py`, 0.5.8 to 0.5.23).
fn drafting(pair: &Pair<'_>) -> Option<Check> {
    let (prefill, decode) = (&pair.prefill, &pair.decode);
    let algorithm = |leg: &Leg<'_>| {
        leg.settings
            .draft_algorithm
            .as_deref()
            .map(str::to_ascii_uppercase)
    };
    let draft_model = |leg: &Leg<'_>| leg.settings.distributed.draft_model.clone();
    let fix = "give `speculative` in `engine`, for both roles";
    match (algorithm(prefill), algorithm(decode)) {
        (None, None) => None,
        (Some(_), None) => Some(error(
            "pair.drafting",
            "prefill drafts tokens and decode does not: prefill writes beyond decode's buffers".to_owned(),
            fix,
        )),
        (None, Some(_)) => Some(warn(
            "pair.drafting",
            "decode drafts tokens and prefill does not: the first drafts are wrong, and few are accepted"
                .to_owned(),
            fix,
        )),
        (Some(one), Some(other)) => {
            let same = one == other
                && prefill.resolved.drafting == decode.resolved.drafting
                && draft_model(prefill) == draft_model(decode);
            (!same).then(|| {
                error(
                    "pair.drafting",
                    "prefill and decode draft tokens by different settings: their buffers have different sizes".to_owned(),
                    fix,
                )
            })
        }
    }
}

/// Ranks of attention that are no multiple of each other: ranks are mapped by a division that is rounded down, and some find no partner
/// (`CommonKVReceiver`, 0.5.10 to 0.5.23, checks nothing; 0.5.9: "Different tp size is supported only when one tp is multiple of the
/// other"; ranks that differ at all break other models, sglang#15674).
fn attention(pair: &Pair<'_>) -> Option<Check> {
    let (prefill, decode) = (pair.prefill.attention_ranks(), pair.decode.attention_ranks());
    (!prefill.max(decode).is_multiple_of(prefill.min(decode))).then(|| {
        let text = format!(
            "attention is split over {prefill} ranks in prefill and {decode} in decode: ranks find no partner"
        );
        error(
            "pair.attention",
            text,
            "make tensor_parallel divided by attention_data_parallel a multiple of the other role's",
        )
    })
}

/// Stages of a pipeline: those of decode are 1, or as many as those of prefill (`CommonKVReceiver` asserts it, 0.5.8 to 0.5.23; recipes
/// of srt-slurm with four stages for prefill have one for decode).
fn pipeline(pair: &Pair<'_>) -> Option<Check> {
    let (prefill, decode) = (pair.prefill.settings.pipeline, pair.decode.settings.pipeline);
    (decode > 1 && decode != prefill).then(|| {
        let text = format!(
            "decode has {decode} stages of a pipeline and prefill {prefill}: SGLang {} ends decode at the first request",
            pair.version
        );
        error("pair.pipeline", text, "pipeline_parallel: 1 for decode")
    })
}

/// Longest requests that differ (SemiAnalysisAI/InferenceX#2257: 33 of 1000 requests hung): prefill refuses a prompt, and decode waits
/// for it.
fn context(pair: &Pair<'_>) -> Option<Check> {
    let (prefill, decode) = (
        pair.prefill.settings.context_length,
        pair.decode.settings.context_length,
    );
    let shown =
        |length: Option<u64>| length.map_or_else(|| "the model's".to_owned(), |tokens| tokens.to_string());
    (prefill != decode).then(|| {
        let text = format!(
            "the longest request of prefill is {} tokens and that of decode {}: a longer one waits for ever",
            shown(prefill),
            shown(decode)
        );
        error(
            "pair.context",
            text,
            "give context_length in `engine`, for both roles, or leave it out",
        )
    })
}

/// Names of the model that differ: SMG keeps the engines of each name apart, says that it is ready, and answers every request with 503
/// (SMG 1.13.0; sglang#8557).
fn served_name(pair: &Pair<'_>) -> Option<Check> {
    let name = |leg: &Leg<'_>| leg.settings.served_model_name.clone().unwrap_or_default();
    let (prefill, decode) = (name(&pair.prefill), name(&pair.decode));
    (prefill != decode).then(|| {
        let text = format!("prefill serves `{prefill}` and decode `{decode}`: a router finds no pair");
        error("pair.name", text, "give served_name in `engine`, for both roles")
    })
}

/// Weights in another format: each role computes other numbers than its partner (NVIDIA/srt-slurm#429: an override of one role).
fn quantization(pair: &Pair<'_>) -> Option<Check> {
    let of = |leg: &Leg<'_>| {
        leg.resolved
            .quantization
            .clone()
            .unwrap_or_else(|| "the files' own".to_owned())
    };
    let (prefill, decode) = (of(&pair.prefill), of(&pair.decode));
    (prefill != decode).then(|| {
        let text = format!("the weights of prefill are read as {prefill} and those of decode as {decode}");
        warn(
            "pair.weights",
            text,
            "give quantization in `engine`, for both roles",
        )
    })
}

/// Prompts that decode takes and prefill has no room for (sglang#30233): prefill sends the KV cache of one token, and the answer is
/// garbage.
fn prompts(pair: &Pair<'_>) -> Option<Check> {
    let room = u64::from(pair.prefill.settings.max_total_tokens?);
    let context = pair.decode.settings.context_length.or_else(|| {
        let checkpoint = Checkpoint::new(pair.profile, bundled(&pair.profile.model.repo).as_ref());
        checkpoint.context
    })?;
    (room < context).then(|| {
        let text = format!("prefill has room for {room} tokens and decode takes requests of {context}: a longer prompt is answered wrong");
        warn("pair.prompts", text, format!("context_length: {room} in `engine`, for both roles, or no max_total_tokens for prefill"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::launches::role_launches;
    use super::*;
    use crate::plan::request::{ServeRequest, Target};
    use crate::profile::{Catalog, UserFile, UserFiles};

    /// The findings about a pair on trays of four B200, with these settings of each role.
    fn found(version: &str, prefill: &str, decode: &str) -> Vec<Check> {
        let name = format!("v{}", version.replace('.', "-"));
        let stack = format!("name: {name}\nextends: current\npins: {{sglang: {version}}}\n");
        let text = format!(
            "name: own\nextends: b200x4-fp4-high-throughput\ngpus: 8\nengine: {{kv_cache: fp8_e4m3, page_size: 64}}\ntopology:\n  \
             gpus_per_node: 4\n  prefill: {{engine: {{{prefill}}}}}\n  decode: {{engine: {{{decode}}}}}\n"
        );
        let file = |origin: &str, text: String| UserFile {
            origin: origin.to_owned(),
            text,
        };
        let files = UserFiles {
            stacks: vec![file("stack.yaml", stack)],
            named: Some(file("own.yaml", text)),
            ..UserFiles::default()
        };
        let selection = Catalog::with(&files)
            .unwrap()
            .resolve("own", Some(&name))
            .unwrap();
        let request = ServeRequest::new(selection, Target::Docker);
        let topology = request.profile.topology.clone().unwrap();
        check(
            &role_launches(&request, &topology, ServeRequest::accepted_launch)
                .unwrap_or_else(|error| panic!("{error:?}")),
        )
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_rule_finds_what_its_report_says() {
        let drafts = "speculative: {steps: 2, top_k: 1, draft_tokens: 3}";
        for (report, version, prefill, decode, id, level) in [
            (
                "sglang#14474: pages of 64 and 32",
                "0.5.23",
                "page_size: 64",
                "page_size: 32",
                "pair.page_size",
                Level::Error,
            ),
            (
                "srt-slurm#429: one role's backend rewrites the page size",
                "0.5.23",
                "attention_backend: flashinfer, page_size: 1",
                "page_size: 1",
                "pair.page_size",
                Level::Error,
            ),
            (
                "srt-slurm#429: formats of the KV cache",
                "0.5.12",
                "kv_cache: bf16",
                "kv_cache: fp8_e4m3",
                "pair.kv_cache",
                Level::Error,
            ),
            (
                "conn.py, 0.5.10: a format and its other name",
                "0.5.23",
                "kv_cache: bf16",
                "kv_cache: auto",
                "pair.kv_cache",
                Level::Error,
            ),
            (
                "sglang#17212: decode drafts, prefill does not",
                "0.5.23",
                "",
                drafts,
                "pair.drafting",
                Level::Warn,
            ),
            (
                "sglang#23918: prefill drafts, decode does not",
                "0.5.23",
                drafts,
                "",
                "pair.drafting",
                Level::Error,
            ),
            (
                "sglang#23539: other numbers of drafts",
                "0.5.23",
                drafts,
                "speculative: {steps: 3, top_k: 1, draft_tokens: 4}",
                "pair.drafting",
                Level::Error,
            ),
            (
                "InferenceX#2257: a context on prefill only",
                "0.5.23",
                "context_length: 9217",
                "",
                "pair.context",
                Level::Error,
            ),
            (
                "sglang#8557, SMG 1.13.0: engines that are never paired",
                "0.5.23",
                "served_name: r1",
                "",
                "pair.name",
                Level::Error,
            ),
            (
                "srt-slurm#429: an override of one role",
                "0.5.23",
                "quantization: modelopt_mixed",
                "",
                "pair.weights",
                Level::Warn,
            ),
            (
                "sglang#30233: prefill has less room than decode takes",
                "0.5.23",
                "max_total_tokens: 32768",
                "",
                "pair.prompts",
                Level::Warn,
            ),
            (
                "sglang#17866: a transport on one role",
                "0.5.23",
                "env: {MC_INTRANODE_NVLINK: \"1\"}",
                "",
                "pair.variable",
                Level::Error,
            ),
            (
                "conn.py, 0.5.22: policies of allocation",
                "0.5.23",
                "",
                "extra_args: [--disaggregation-decode-allocation-policy, prefill_complete]",
                "pair.option",
                Level::Error,
            ),
            (
                "llm-d#2426: roles of different revisions",
                "0.5.23",
                "reasoning_parser: none",
                "",
                "pair.option",
                Level::Warn,
            ),
        ] {
            let checks = found(version, prefill, decode);
            let ids: Vec<_> = checks
                .iter()
                .map(|check| (check.id.as_str(), check.level))
                .collect();
            assert_eq!(ids, [(id, level)], "{report}");
            assert!(
                checks[0].fix.is_some() && checks[0].place.is_some(),
                "{report}: {checks:?}"
            );
        }
    }

    #[test]
    fn roles_that_fit_have_no_finding() {
        let drafts = "speculative: {steps: 2, top_k: 1, draft_tokens: 3}";
        for (why, version, prefill, decode) in [
            ("nothing differs", "0.5.23", "", ""),
            ("both draft", "0.5.23", drafts, drafts),
            (
                "replicas on one side: srt-slurm's TP4 and DP48",
                "0.5.23",
                "",
                "attention_data_parallel: 4",
            ),
            (
                "a batch and a share of memory are each role's own",
                "0.5.12",
                "mem_fraction: 0.8",
                "graph_batch: 64",
            ),
        ] {
            assert_eq!(found(version, prefill, decode), [], "{why}");
        }
    }

    #[test]
    fn a_format_of_the_checkpoint_is_no_refusal_where_pools_are_compared() {
        let level = |version: &str| {
            found(version, "kv_cache: auto", "")
                .first()
                .map(|check| check.level)
        };
        assert_eq!(level("0.5.16"), Some(Level::Error));
        assert_eq!(level("0.5.17"), Some(Level::Warn));
        let silent = found("0.5.9", "kv_cache: bf16", "");
        assert!(silent[0].text.contains("does not compare them"), "{silent:?}");
    }

    #[test]
    fn ranks_and_stages_without_a_partner_are_found() {
        let text = |prefill: &str, decode: &str, gpus: u32| {
            format!(
                "name: own\nextends: b200-fp8-high-throughput\ngpus: {gpus}\nengine: {{expert_parallel: null}}\ntopology:\n  \
                 gpus_per_node: 4\n  nvlink: true\n  prefill: {{engine: {{{prefill}}}}}\n  decode: {{engine: {{{decode}}}}}\n"
            )
        };
        for (prefill, decode, gpus, id) in [
            // sglang#15674 is about other models, which differ at all.
            ("tensor_parallel: 4", "tensor_parallel: 12", 16, ""),
            ("tensor_parallel: 8", "tensor_parallel: 12", 20, "pair.attention"),
            (
                "tensor_parallel: 4",
                "tensor_parallel: 4, pipeline_parallel: 2",
                12,
                "pair.pipeline",
            ),
            (
                "tensor_parallel: 4, pipeline_parallel: 2",
                "tensor_parallel: 4",
                12,
                "",
            ),
        ] {
            let text = text(prefill, decode, gpus);
            let selection = Catalog::load(Some(("own.yaml", &text)))
                .unwrap()
                .resolve("own", None)
                .unwrap();
            let request = ServeRequest::new(selection, Target::Docker);
            let roles: Vec<RoleLaunch> = [Role::Prefill, Role::Decode]
                .map(|role| {
                    let request = ServeRequest {
                        profile: request.profile.of_role(role).unwrap(),
                        ..request.clone()
                    };
                    // Twelve ranks do not divide the heads, which is another finding.
                    let launch = request.launch();
                    RoleLaunch {
                        role,
                        workers: 1,
                        request,
                        launch,
                    }
                })
                .into();
            let ids: Vec<String> = check(&roles).into_iter().map(|check| check.id).collect();
            assert_eq!(
                ids,
                Vec::from_iter((!id.is_empty()).then(|| id.to_owned())),
                "{prefill} and {decode}"
            );
        }
    }
}
