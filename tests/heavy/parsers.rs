//! SGLang's real parsers as oracles: wheels of 14 versions, without torch.
//!
//! The verdict of dsr1 on a command line must equal that of the engine of each version, and every profile must be
//! accepted.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use dsr1::facts::Facts;
use dsr1::plan::{self, ServeRequest, Target};
use dsr1::profile::{Accelerator, Catalog, Selection, Version};
use dsr1::sglang::flags::{Extract, Parser, Problem, Table, history};
use dsr1::sglang::{Launch, Level};

/// Returns the pinned versions, and the versions around each change that affects the guide's commands.
fn versions() -> impl Iterator<Item = &'static str> {
    include_str!("../support/sglang-versions").lines()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn wheel(version: &str) -> PathBuf {
    static FETCHED: OnceLock<()> = OnceLock::new();
    FETCHED.get_or_init(|| {
        let script = root().join("tests/support/sglang-wheels.sh");
        assert!(Command::new(script).status().unwrap().success());
    });
    root().join("target/sglang-wheels").join(version)
}

fn python(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let wheels = root().join("target/sglang-wheels");
    let mut child = Command::new(wheels.join("venv/bin/python3"))
        .arg("-B")
        .arg(root().join(program))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    assert!(
        output.status.success(),
        "{args:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Returns the verdict of the parser of `version` on each line: `None`, or its complaint.
fn real(version: &str, parser: Parser, lines: &[Vec<String>]) -> Vec<Option<String>> {
    let which = match parser {
        Parser::Server => "server",
        Parser::Bench => "bench",
    };
    let input = serde_json::to_vec(lines).unwrap();
    let wheel = wheel(version);
    let output = python(
        "tests/support/parse.py",
        &[wheel.to_str().unwrap(), which],
        &input,
    );
    serde_json::from_slice(&output).unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Returns the engine's arguments as `serve` passes them, for a request without facts of a host.
pub(crate) fn engine_args(found: &Selection) -> Vec<String> {
    let request = ServeRequest::new(found.clone(), Target::Docker);
    let arguments = plan::arguments("python3", &request, &request.launch(), &Facts::default());
    arguments[1..]
        .iter()
        .flat_map(|argument| argument.words.clone())
        .collect()
}

/// Returns every profile on its own stack and on the other stacks that it names; of one for several nodes each role.
pub(crate) fn combinations() -> Vec<Selection> {
    let catalog = Catalog::load(None).unwrap();
    let mut found = Vec::new();
    for profile in catalog.profiles().unwrap() {
        let own = profile.stack.clone();
        for stack in std::iter::once(&own).chain(profile.on.keys()) {
            found.extend(catalog.resolve(&profile.name, Some(stack)).unwrap().by_role());
        }
    }
    found
}

#[test]
fn every_role_of_a_rack_is_among_the_command_lines() {
    let lines: Vec<Vec<String>> = combinations().iter().map(engine_args).collect();
    for role in ["prefill", "decode"] {
        let of = ["--disaggregation-mode", role].map(str::to_owned);
        let count = lines
            .iter()
            .filter(|line| line.windows(2).any(|pair| pair == of.as_slice()))
            .count();
        assert!(count >= 8, "{count} for {role}");
    }
    let spans = |line: &&Vec<String>| line.contains(&"--nnodes".to_owned());
    assert!(lines.iter().filter(spans).count() >= 10);
}

#[test]
fn every_profile_is_accepted_by_the_real_parser_of_each_of_its_stacks() {
    let all = combinations();
    assert!(all.len() >= 30, "{}", all.len());
    let versions: BTreeSet<Version> = all.iter().map(|found| found.stack.pins.sglang).collect();
    for version in versions {
        let here: Vec<&Selection> = all
            .iter()
            .filter(|found| found.stack.pins.sglang == version)
            .collect();
        let lines: Vec<Vec<String>> = here.iter().map(|found| engine_args(found)).collect();
        let answers = real(&version.to_string(), Parser::Server, &lines);
        let mut variables: BTreeSet<String> = BTreeSet::new();
        for ((found, line), answer) in here.iter().zip(&lines).zip(answers) {
            let name = format!("{} on {} ({version})", found.profile.name, found.stack.name);
            assert_eq!(answer, None, "{name}: {line:?}");
            let Launch { flags, checks, .. } = Launch::new(&found.profile, &found.stack, &found.origins, &[]);
            let errors: Vec<_> = checks
                .iter()
                .filter(|check| check.level == Level::Error)
                .collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
            // A deprecated flag needs a finding.
            let table = history(Parser::Server).table(version);
            for problem in table.parse(line).problems {
                let said = checks.iter().any(|check| check.subject == problem.subject());
                assert!(said, "{name}: {problem:?}");
            }
            // This version must read every variable: its sources name it, and it is not one of the removed variables.
            variables.extend(flags.env.keys().filter(|name| name.starts_with("SGL")).cloned());
            assert!(
                !checks.iter().any(|check| check.id.starts_with("env.")),
                "{name}: {checks:?}"
            );
        }
        let names: Vec<String> = variables.into_iter().collect();
        let wheel = wheel(&version.to_string());
        let output = python(
            "tests/support/parse.py",
            &[wheel.to_str().unwrap(), "mentions"],
            &serde_json::to_vec(&names).unwrap(),
        );
        let known: Vec<bool> = serde_json::from_slice(&output).unwrap();
        assert!(known.iter().all(|known| *known), "{version}: {names:?} {known:?}");
    }
}

#[test]
fn every_benchmark_is_accepted_by_the_real_client_of_its_stack() {
    for found in combinations()
        .iter()
        .filter(|found| found.stack.name == found.profile.stack)
    {
        let request = dsr1::plan::BenchRequest {
            server: dsr1::plan::Server::Docker { name: "x".to_owned() },
            python: "python3".to_owned(),
            stack: found.stack.clone(),
            port: 30_000,
            base_url: dsr1::plan::base_url(30_000),
            model: "/models/m".to_owned(),
            env: std::collections::BTreeMap::new(),
            bench: found.profile.bench.clone(),
        };
        let plan = dsr1::plan::bench(&request, &Facts::default());
        let dsr1::plan::Step::RunBenchmark(step) = &plan.steps[0] else {
            panic!()
        };
        let line = step.argv[1 + found.stack.bench.len()..].to_vec();
        let version = found.stack.pins.sglang.to_string();
        assert_eq!(
            real(&version, Parser::Bench, std::slice::from_ref(&line)),
            [None],
            "{line:?}"
        );
        let table = history(Parser::Bench).table(found.stack.pins.sglang);
        assert_eq!(table.parse(&line).problems, [], "{line:?}");
    }
}

/// The guide's four servers and three clients as printed, with line breaks repaired, and two scripts of a public
/// benchmark. Each has the first version that accepts it and the first that does not.
const DOCUMENTED: [(Parser, &str, &str, &str); 9] = [
    (
        Parser::Server,
        "--model-path M --trust-remote-code --quantization modelopt_fp4 --tp 8 --enable-flashinfer-cutlass-moe",
        "0.4.9.post6",
        "0.5.3",
    ),
    (
        Parser::Server,
        "--tokenizer-path M --trust-remote-code --enable-dp-attention --disable-radix-cache \
         --max-running-requests 3072 --chunked-prefill-size 32768 --mem-fraction-static 0.89 \
         --max-prefill-tokens 32768 --model-path M --tensor-parallel-size 8 --data-parallel-size 8 \
         --attention-backend cutlass_mla",
        "0.4.9.post6",
        "0.5.20",
    ),
    (
        Parser::Server,
        "--model-path M --trust-remote-code --tp 8 --enable-ep-moe --enable-flashinfer-trtllm-moe",
        "0.4.9.post6",
        "0.5.3",
    ),
    (
        Parser::Server,
        "--model-path M --trust-remote-code --disable-radix-cache --max-running-requests 3072 \
         --chunked-prefill-size 32768 --mem-fraction-static 0.89 --max-prefill-tokens 32768 \
         --quantization modelopt_fp4 --tp 8 --enable-flashinfer-cutlass-moe --enable-ep-moe --ep-size 8",
        "0.4.9.post6",
        "0.5.3",
    ),
    (
        Parser::Bench,
        "--model M --dataset-name random --backend sglang-oai --random-range-ratio 1 --random-input-len 1024 \
         --random-output-len 1024 --max-concurrency 3072 --num-prompts 6148",
        "0.4.9.post6",
        "never",
    ),
    (
        Parser::Bench,
        "--model M --dataset-name random --backend sglang-oai --random-range-ratio 1 --random-input-len 1024 \
         --random-output-len 8192 --max-concurrency 1 --num-prompts 10",
        "0.4.9.post6",
        "never",
    ),
    (
        Parser::Bench,
        "--backend sglang --model M --num-prompts 512 --dataset-name random --random-input-len 1000 \
         --random-output-len 1000 --random-range-ratio 1 --max-concurrency 512 --warmup-request 512 --save-result \
         --result-filename vllm_benchmark_serving_results.json",
        "never",
        "0.4.9.post6",
    ),
    (
        Parser::Server,
        "--model-path M --tensor-parallel-size=8 --data-parallel-size=1 --cuda-graph-max-bs 128 \
         --max-running-requests 128 --mem-fraction-static 0.82 --kv-cache-dtype fp8_e4m3 \
         --chunked-prefill-size 32768 --max-prefill-tokens 32768 --enable-flashinfer-allreduce-fusion \
         --scheduler-recv-interval 10 --disable-radix-cache --attention-backend trtllm_mla --stream-interval 30 \
         --ep-size 1 --moe-runner-backend flashinfer_trtllm --quantization fp8",
        "0.5.1",
        "0.5.20",
    ),
    (
        Parser::Server,
        "--model-path M --tensor-parallel-size=4 --data-parallel-size=4 --enable-dp-attention \
         --enable-dp-attention-local-control-broadcast --enable-dp-lm-head --schedule-conservativeness 3.33 \
         --enable-prefill-delayer --cuda-graph-max-bs 256 --max-running-requests 256 --mem-fraction-static 0.85",
        "0.5.13",
        "0.5.20",
    ),
];

#[test]
fn the_guides_literal_commands_have_their_documented_verdicts() {
    let order = |text: &str| text.parse::<Version>().ok();
    for version in versions() {
        for parser in [Parser::Server, Parser::Bench] {
            let here: Vec<_> = DOCUMENTED.iter().filter(|line| line.0 == parser).collect();
            let lines: Vec<Vec<String>> = here.iter().map(|line| words(line.1)).collect();
            let answers = real(version, parser, &lines);
            for (((_, line, since, until), words), answer) in here.iter().zip(&lines).zip(answers) {
                let now = order(version);
                let documented = order(since).is_some_and(|since| now >= Some(since))
                    && order(until).is_none_or(|until| now < Some(until));
                assert_eq!(answer.is_none(), documented, "{version}: {line}\n{answer:?}");
                let ours = history(parser).table(now.unwrap()).parse(words).is_accepted();
                assert_eq!(ours, documented, "ours, {version}: {line}");
            }
        }
    }
}

#[test]
fn the_bundled_tables_equal_the_real_parsers() {
    for version in versions() {
        let wheel = wheel(version);
        for (parser, which) in [(Parser::Server, "server"), (Parser::Bench, "bench")] {
            let output = python(
                "stacks/flags/extract.py",
                &["--root", wheel.to_str().unwrap(), which],
                b"",
            );
            let extract: Extract = serde_json::from_slice(&output).unwrap();
            assert_eq!(extract.sglang.to_string(), version);
            let bundled = history(parser).table(extract.sglang);
            let found = Table::from_extract(&extract);
            assert_eq!(bundled.version, extract.sglang);
            assert_eq!(bundled.differences(&found), [], "{version} {which}");
        }
    }
}

/// Random lines of real names, truncated names, and valid or invalid values: both parsers must agree on each.
#[test]
fn we_read_random_lines_as_the_parsers_do() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let values = [
        "8",
        "0",
        "-1",
        "0.5",
        "-0.5",
        "1e3",
        " 7",
        "1_000",
        "x",
        "",
        "auto",
        "fp8",
        "trtllm_mla",
        "cutlass_mla",
        "{}",
        "[1]",
        "25.6k",
        "1Mi",
        "1.5Ki",
        "-x",
        "-",
        "a b",
        "--a b",
        "inf",
        "True",
    ];
    for version in versions() {
        let table = history(Parser::Server).table(version.parse().unwrap());
        // Values of JSON converters are not compared: they reach code that these wheels do not have.
        let names: Vec<&str> = table
            .options()
            .filter(|spec| {
                let kind = spec.value_type.as_deref();
                !matches!(kind, Some(kind) if !["int", "float", "str", "human_readable_int"].contains(&kind))
                    && spec.names[0] != "--lora-paths"
            })
            .flat_map(|spec| spec.names.iter().map(String::as_str))
            .collect();
        let mut lines = Vec::new();
        for _ in 0..600 {
            let mut line = words("--model-path M");
            for _ in 0..=random(3) {
                let name = names[random(names.len())];
                let name = if random(4) == 0 {
                    &name[..2 + random(name.len() - 1)]
                } else {
                    name
                };
                let name = if name.ends_with('-') && name.len() == 2 {
                    "--tp-size"
                } else {
                    name
                };
                match random(3) {
                    0 => line.push(name.to_owned()),
                    1 => line.push(format!("{name}={}", values[random(values.len())])),
                    _ => line.extend([name.to_owned(), values[random(values.len())].to_owned()]),
                }
            }
            // Words after a lone `--` are positional to argparse; dsr1 never emits one.
            line.retain(|word| word != "--");
            lines.push(line);
        }
        let answers = real(version, Parser::Server, &lines);
        let mut wrong = Vec::new();
        for (line, answer) in lines.iter().zip(&answers) {
            let parsed = table.parse(line);
            if parsed.is_accepted() != answer.is_none() {
                let problems: Vec<&Problem<'_>> = parsed.problems.iter().collect();
                wrong.push(format!("{line:?}\n  theirs {answer:?}\n  ours {problems:?}"));
            }
        }
        let accepted = answers.iter().filter(|answer| answer.is_none()).count();
        assert!(
            (50..550).contains(&accepted),
            "{accepted} of 600 accepted: the lines test nothing"
        );
        assert!(
            wrong.is_empty(),
            "{version}: {} of 600\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}

#[test]
fn only_the_stacks_of_gpus_are_compared_with_gpus() {
    // A stack that no profile names would pass every test above, because no test would use it.
    let used: BTreeSet<String> = combinations()
        .iter()
        .map(|found| found.stack.name.clone())
        .collect();
    let all: BTreeSet<String> = Catalog::load(None)
        .unwrap()
        .stacks()
        .map(|stack| stack.name.clone())
        .collect();
    assert_eq!(used, all);
    for found in combinations() {
        let gpu = found.stack.accelerator == Accelerator::Cuda;
        assert_eq!(
            gpu,
            found.profile.gpus > 0,
            "{} on {}",
            found.profile.name,
            found.stack.name
        );
    }
}
