//! `dsr1 bench compare`, `gate` and `reproduce`, against the server of known times.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dsr1::cli::{BenchPart, Cli, Command};
use serde_json::{Value, json};

use crate::support::Home;
use crate::support::truth::{Shape, Truth};

const EXAMPLE: &str = include_str!("../../docs/examples/bench-gate.yaml");

/// A server whose times are scaled by `slow`.
fn truth(slow: f64) -> Truth {
    let ms = |ms: f64| Duration::from_secs_f64(ms * slow / 1e3);
    Truth::start(Shape::new(ms(60.0), ms(8.0)))
}

/// A load that takes about a second, with enough requests for the noise within a run.
const LOAD: [&str; 14] = [
    "--vocabulary",
    "1000",
    "--isl",
    "32",
    "--osl",
    "16",
    "--max-concurrency",
    "4",
    "--num-prompts",
    "20",
    "--duration",
    "0",
    "--timeout",
    "10",
];

fn home() -> Home {
    Home::new().without_docker()
}

/// Measures until the measurement is trusted, as a busy machine may keep it from being; returns the file of the result.
fn measure(home: &Home, url: &str) -> PathBuf {
    for _ in 0..3 {
        let run = home.run(&[&["bench", "--format", "json", "--url", url][..], &LOAD].concat());
        if run.code == 0 {
            let report = run.json();
            return PathBuf::from(report["steps"][0]["outcome"]["saved_to"].as_str().unwrap());
        }
        assert_eq!(run.code, 9, "{}", run.stderr);
    }
    panic!("no trusted measurement in three");
}

/// Runs a gate until its measurements are trusted.
fn gate(home: &Home, args: &[&str]) -> crate::support::Run {
    for _ in 0..3 {
        let run = home.run(&[&["bench", "gate"], args].concat());
        if run.code != 9 {
            return run;
        }
    }
    panic!("no trusted measurement in three");
}

#[test]
fn a_server_passes_its_own_baseline_and_a_slower_one_does_not() {
    let home = home();
    let server = truth(1.0);
    let url = server.url();
    let baseline = measure(&home, &url);
    let baseline = baseline.to_str().unwrap();
    // A busy machine is slower, too, but not by so much.
    let args = ["--baseline", baseline, "--repeats", "1", "--tolerance", "20"];
    let same = gate(&home, &args).expect(0);
    assert!(
        same.stdout.contains("PASSED") && same.stdout.contains("output tokens/s"),
        "{}",
        same.stdout
    );
    drop(server);
    let slower = truth(1.3);
    let url = slower.url();
    // The port of the first server may be anybody's by now. Another address alone is no refusal.
    let args = [
        "--baseline",
        baseline,
        "--url",
        &url,
        "--repeats",
        "2",
        "--format",
        "json",
    ];
    let worse = gate(&home, &args).expect(8);
    let document = worse.json();
    assert_eq!(
        (&document["schema"], &document["verdict"]),
        (&"dsr1.gate/1".into(), &"regression".into())
    );
    let files = document["result"]["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{document}");
    let tpot = document["figures"]
        .as_array()
        .unwrap()
        .iter()
        .find(|figure| figure["metric"] == "tpot.p50_ms")
        .unwrap();
    let ratio = tpot["ratio"].as_f64().unwrap();
    assert!((1.2..1.4).contains(&ratio), "{tpot}");
    assert_eq!(tpot["verdict"], "regression");
    let result = files[0].as_str().unwrap();
    compares(&home, baseline, result);
    reproduces(&home, baseline);
}

/// Kept results are compared and judged without a server.
fn compares(home: &Home, baseline: &str, result: &str) {
    let shown = home.run(&["bench", "compare", baseline, result]).expect(0).stdout;
    assert!(
        shown.contains("TPOT median (ms)") && shown.contains("B/A"),
        "{shown}"
    );
    assert!(shown.contains("by the noise within one run"), "{shown}");
    let judged = home
        .run(&["bench", "gate", "--baseline", baseline, result])
        .expect(8);
    assert!(
        judged.stderr.starts_with("error: worse than the baseline: "),
        "{}",
        judged.stderr
    );
    // Another load has no ratio.
    let mut other: Value = serde_json::from_str(&std::fs::read_to_string(result).unwrap()).unwrap();
    other["load"]["max_concurrency"] = 8.into();
    let path = home.path().join("other.json");
    std::fs::write(&path, other.to_string()).unwrap();
    let other = path.to_str().unwrap();
    let refused = home.run(&["bench", "compare", baseline, other]).expect(2);
    assert!(
        refused
            .stderr
            .contains("cause: the load differs: max_concurrency is 4 in A, 8 in B"),
        "{}",
        refused.stderr
    );
    assert!(
        refused
            .stdout
            .contains("first difference: load max_concurrency: 4 and 8"),
        "{}",
        refused.stdout
    );
    let anyway = home
        .run(&["bench", "compare", baseline, other, "--anyway"])
        .expect(0);
    assert!(anyway.stdout.contains("in spite of: the load differs"));
    home.run(&["bench", "gate", "--baseline", baseline, other])
        .expect(2);
    let json = home
        .run(&["bench", "compare", baseline, other, "--format", "json"])
        .expect(2);
    assert_eq!(json.json()["schema"], "dsr1.comparison/1");
    assert_eq!(json.stderr, "");
    // An untrusted result never passes.
    let mut bad: Value = serde_json::from_str(&std::fs::read_to_string(baseline).unwrap()).unwrap();
    bad["trust"] = "untrusted".into();
    bad["began"] = "2026-11-30T00:00:00Z".into();
    std::fs::write(&path, bad.to_string()).unwrap();
    for anyway in [&[][..], &["--anyway"]] {
        home.run(&[&["bench", "gate", "--baseline", baseline, other], anyway].concat())
            .expect(9);
    }
}

/// Returns the commands that a plan prints.
fn commands_of(plan: &str) -> Vec<Command> {
    let lines = plan.lines().filter_map(|line| line.strip_prefix("  dsr1 "));
    lines
        .map(|line| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Cli::command_of(&words).unwrap_or_else(|| panic!("{line}"))
        })
        .collect()
}

/// A result says how to get it again, and what it does not tell.
fn reproduces(home: &Home, file: &str) {
    let plan = home.run(&["bench", "reproduce", file]).expect(0).stdout;
    let commands = commands_of(&plan);
    let [Command::Bench(bench)] = &commands[..] else {
        panic!("{plan}");
    };
    assert_eq!(
        (bench.load.max_concurrency, bench.subject.vocabulary),
        (Some(4), Some(1000))
    );
    assert!(bench.load.seed.is_some() && bench.subject.url.is_some());
    assert!(
        plan.contains("the file knows it by its URL only") && plan.contains("not in the file: gpus"),
        "{plan}"
    );
    let own = |profile: &str, stack: &str, arguments: Value| {
        let mut result: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let server = &mut result["server"];
        server["name"] = "dsr1-x".into();
        server["profile"] = profile.into();
        server["stack"] = stack.into();
        server["sglang"] = "0.5.23".into();
        server["arguments"] = arguments;
        server["host"] = json!({"gpus": "8 x NVIDIA H200", "driver": "575.57.08", "weights": "0".repeat(40)});
        result["client"]["version"] = "0.0.9".into();
        let path = home.path().join("own.json");
        std::fs::write(&path, result.to_string()).unwrap();
        home.run(&["bench", "reproduce", path.to_str().unwrap()])
            .expect(0)
            .stdout
    };
    let plan = own(
        "rehearsal",
        "cpu",
        json!({"mem_fraction_static": "0.5", "device": "cpu"}),
    );
    let commands = commands_of(&plan);
    assert!(
        matches!(&commands[..], [Command::Up(_), Command::Bench(_)]),
        "{plan}"
    );
    for part in [
        "gpus: 8 x NVIDIA H200 in the file",
        "driver: 575.57.08 in the file; none here",
        "client: dsr1 0.0.9 in the file",
        "argument --mem-fraction-static: 0.5 in the file",
        " -- --mem-fraction-static 0.5",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    let plan = own("theirs", "mine", json!({}));
    assert_eq!(commands_of(&plan).len(), 2, "{plan}");
    for part in [
        "profile: theirs in the file; not known here",
        "dsr1 profiles show theirs --yaml",
        "stack: mine in the file; not known here",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
}

#[test]
fn what_is_no_result_is_refused() {
    let home = home();
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    write("report.json", r#"{"schema": "dsr1.report/1", "steps": []}"#);
    write("text.json", "hello");
    for (args, answer) in [
        (
            &["compare", "report.json", "report.json"][..],
            "is not a result of a measurement",
        ),
        (&["compare", "text.json", "x.json"], "is not JSON"),
        (&["compare", "none.json", "x.json"], "cannot read `none.json`"),
        (&["compare", "", "x.json"], "an empty list of results"),
        (&["compare", "a.json,", "x.json"], "names a result without a name"),
        (
            &["gate", "--baseline", "report.json"],
            "is not a result of a measurement",
        ),
        (&["gate", "--baseline", ""], "an empty list of results"),
        (&["reproduce", "report.json"], "is not a result of a measurement"),
    ] {
        let run = home.run(&[&["bench"], args].concat()).expect(2);
        assert!(run.stderr.contains(answer), "{args:?}: {}", run.stderr);
    }
    // Options of a measurement have no place beside these.
    for line in [
        "bench --num-prompts 5 compare a.json b.json",
        "bench gate a.json",
        "bench gate --baseline a.json --tolerance -1",
        "bench gate --baseline a.json --repeats 0",
        "bench gate --baseline a.json b.json --url http://x",
    ] {
        home.run(&line.split(' ').collect::<Vec<_>>()).expect(2);
    }
}

/// Returns the lines of shell below `run` in a workflow.
fn lines_of(workflow: &Value) -> Vec<String> {
    let steps = workflow["jobs"]["gate"]["steps"].as_array().unwrap();
    let runs = steps.iter().filter_map(|step| step["run"].as_str());
    runs.flat_map(str::lines)
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn each_line_of_the_example_for_ci_is_one_of_dsr1() {
    let workflow: Value = serde_yaml::from_str(EXAMPLE).unwrap();
    assert_eq!(workflow["jobs"]["gate"]["defaults"]["run"]["shell"], "bash");
    let lines = lines_of(&workflow);
    let mut parsed = Vec::new();
    for line in lines.iter().filter(|line| line.starts_with("dsr1 ")) {
        let command = line.split('|').next().unwrap();
        let words: Vec<String> = command.split_whitespace().skip(1).map(str::to_owned).collect();
        parsed.push(Cli::command_of(&words).unwrap_or_else(|| panic!("{line}")));
    }
    assert!(matches!(parsed[0], Command::Up(_)) && matches!(parsed[2], Command::Stop(_)));
    let Command::Bench(bench) = &parsed[1] else {
        panic!("{lines:?}");
    };
    let Some(BenchPart::Gate(gate)) = &bench.what else {
        panic!("{lines:?}");
    };
    assert_eq!(gate.baseline.split(',').count(), 3);
    assert_eq!(
        (gate.repeats, gate.tolerance, gate.ttft_tolerance),
        (3, 5.0, 25.0)
    );
    // The folder of results is that of this dsr1.
    assert!(EXAMPLE.contains("~/.local/state/dsr1/results"));
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs/measuring-compare.md")
            .exists()
    );
}
