//! Real Prometheus, and the real engine that it scrapes: each query of the dashboard and each alert has a value, `promtool`
//! accepts the files, alerts fire in series that call for them, and the table of metrics is that of SGLang's sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dsr1::profile::{Catalog, Version};
use dsr1::sglang::metrics::{Appears, Kind, METRICS, alerts, metrics_of, names_in, panels};
use serde_json::Value;

use crate::servers::Site;
use crate::support::{Home, free_port, lock, must_run, tool};

/// The stacks of which the files are written, and the alerts that read metrics of their own.
const STACKS: [(&str, Option<&str>); 3] = [
    (
        "guide",
        Some(include_str!("../fixtures/monitoring/alerts-guide.yaml")),
    ),
    (
        "cuda12",
        Some(include_str!("../fixtures/monitoring/alerts-current.yaml")),
    ),
    (
        "current",
        Some(include_str!("../fixtures/monitoring/alerts-current.yaml")),
    ),
];

/// Returns a program of Debian's package of Prometheus.
fn program(name: &str) -> PathBuf {
    tool("prometheus.sh", "apt-get and Debian's packages must be reachable").join(name)
}

fn promtool(args: &[&str]) -> String {
    must_run(program("promtool").to_str().unwrap(), args, "see prometheus.sh")
}

/// Writes the files of a stack, and returns their folder.
fn written(home: &Home, stack: &str) -> PathBuf {
    let args = [
        "monitoring",
        "--stack",
        stack,
        "--dcgm",
        "http://127.0.0.1:9400",
        "--output",
        stack,
    ];
    home.run(&args).expect(0);
    home.path().join(stack)
}

#[test]
fn promtool_accepts_the_files_and_the_alerts_fire() {
    let home = Home::new().without_docker();
    for (stack, series) in STACKS {
        let dir = written(&home, stack);
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let said = promtool(&["check", "config", &path("prometheus.yml")]);
        assert!(said.contains("SUCCESS"), "{said}");
        let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", &path("rules.yml")]);
        assert!(said.contains("SUCCESS"), "{said}");
        if let Some(series) = series {
            std::fs::write(dir.join("alerts.yaml"), series).unwrap();
            promtool(&["test", "rules", &path("alerts.yaml")]);
        }
    }
    // Series in which an alert does not fire are found: the check can fail.
    let dir = home.path().join("current");
    let wrong = STACKS[2].1.unwrap().replacen("'3x60'", "'0x60'", 1);
    std::fs::write(dir.join("alerts.yaml"), wrong).unwrap();
    let output = Command::new(program("promtool"))
        .args(["test", "rules", "alerts.yaml"])
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn the_table_of_metrics_is_that_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let versions = include_str!("../support/sglang-versions");
    must_run(
        root.join("tests/support/sglang-wheels.sh").to_str().unwrap(),
        &[],
        "the package index must be reachable",
    );
    let mut wrong = Vec::new();
    let known: Vec<Version> = versions.lines().map(|version| version.parse().unwrap()).collect();
    for metric in METRICS {
        let bounds = [Some(metric.from), metric.until];
        assert!(
            bounds
                .into_iter()
                .flatten()
                .all(|version| known.contains(&version)),
            "{}: its versions are none of those that are read",
            metric.name
        );
    }
    for version in &known {
        let wheel = root.join("target/sglang-wheels").join(version.to_string());
        let script = root.join("tests/support/metrics.py");
        let text = must_run(
            "python3",
            &["-B", script.to_str().unwrap(), wheel.to_str().unwrap()],
            "install python3",
        );
        let sources: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        assert!(sources.len() >= 25, "{version}: {} metrics", sources.len());
        for metric in METRICS {
            let name = metric.name;
            match sources.get(name) {
                None if metric.is_in(*version) => wrong.push(format!("{version} lacks {name}")),
                Some(_) if !metric.is_in(*version) => wrong.push(format!("{version} has {name}")),
                Some(source) if metric.is_in(*version) => {
                    let kind = match metric.kind {
                        Kind::Gauge => "gauge",
                        Kind::Counter => "counter",
                        Kind::Histogram => "histogram",
                    };
                    if source["kinds"] != serde_json::json!([kind]) {
                        wrong.push(format!("{version}: {name} is {}", source["kinds"]));
                    }
                    let labels = source["labels"].as_str().unwrap();
                    for label in metric.labels {
                        if !labels.contains(&format!("'{label}'")) {
                            wrong.push(format!("{version}: {name} lacks the label {label}: {labels}"));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// A Prometheus that ends with the test.
struct Prometheus {
    child: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts it on the files of a folder, with a scrape each 4 seconds.
    fn start(dir: &Path) -> Self {
        let config = std::fs::read_to_string(dir.join("prometheus.yml")).unwrap();
        // An engine that shares two processors with its clients answers within two seconds.
        let quick = config.replace("\"15s\"", "\"4s\"").replace("\"10s\"", "\"4s\"");
        assert_ne!(config, quick);
        std::fs::write(dir.join("quick.yml"), quick).unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let child = Command::new(program("prometheus"))
            .arg("--config.file=quick.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={listen}"))
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let found = Self {
            child,
            url: format!("http://{listen}"),
        };
        let log = dir.join("log");
        let begun = Instant::now();
        while get(&format!("{}/-/ready", found.url)).is_none() {
            let said = || std::fs::read_to_string(&log).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", said());
            std::thread::sleep(Duration::from_millis(100));
        }
        found
    }

    /// Returns the values of a query. Panics if Prometheus cannot evaluate it.
    #[track_caller]
    fn values(&self, query: &str) -> Vec<f64> {
        let text = must_run(
            "curl",
            &[
                "--silent",
                "--get",
                "--data-urlencode",
                &format!("query={query}"),
                &format!("{}/api/v1/query", self.url),
            ],
            "install curl",
        );
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["status"], "success", "{query}\n{answer}");
        let result = answer["data"]["result"].as_array().unwrap();
        result
            .iter()
            .map(|one| one["value"][1].as_str().unwrap().parse().unwrap())
            .collect()
    }

    /// Waits until a condition has a value.
    #[track_caller]
    fn wait_for(&self, condition: &str, limit: Duration) {
        let begun = Instant::now();
        while self.values(condition).is_empty() {
            assert!(begun.elapsed() < limit, "never true: {condition}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Returns the body of an answer with status 200.
fn get(url: &str) -> Option<String> {
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "10", url])
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

/// Sends a completion; `seconds` is the time after which the client leaves.
fn complete(base: &str, prompt: &str, stream: bool, tokens: u32, seconds: &str) -> Command {
    let body = serde_json::json!({
        "model": "dsr1/rehearsal-qwen2", "prompt": prompt, "max_tokens": tokens, "stream": stream,
        "ignore_eos": true,
    });
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--max-time", seconds, "--output", "/dev/null"])
        .args(["--header", "Content-Type: application/json", "--data"])
        .arg(body.to_string())
        .arg(format!("{base}/v1/completions"));
    command
}

/// Asserts that every query of the dashboard and each value that an alert compares has a value on this server. Returns those that
/// have none, with the reason of the table.
#[track_caller]
fn assert_values(prometheus: &Prometheus, base: &str, version: Version) -> BTreeSet<String> {
    let names = names_in(&get(&format!("{base}/metrics")).unwrap());
    let (mut empty, mut excused, mut asked) = (Vec::new(), BTreeSet::new(), 0);
    let queries = panels(version).into_iter().flat_map(|panel| panel.targets);
    let queries = queries.map(|target| {
        target
            .query
            .replace("$__rate_interval", "1m")
            .replace("$server", ".*")
    });
    let signals = alerts(version, 30).into_iter().flat_map(|alert| alert.signals);
    // A series on its own, too: a sum with `or 0` has a value without it.
    let series = METRICS
        .iter()
        .filter(|metric| metric.is_in(version))
        .map(dsr1::sglang::metrics::Metric::series);
    for query in queries.chain(signals).chain(series) {
        asked += 1;
        let values = prometheus.values(&query);
        if values.iter().any(|value| value.is_finite()) {
            continue;
        }
        let reason = metrics_of(&query, version).0.into_iter().find_map(|metric| {
            let Appears::After(event) = metric.appears else {
                return None;
            };
            (!names.contains(&metric.series())).then(|| format!("{}: {event}", metric.name))
        });
        match reason {
            Some(reason) => {
                excused.insert(reason);
            }
            None => empty.push(format!("{query}: {values:?}")),
        }
    }
    assert!(asked > 50, "{asked} queries");
    assert_eq!(empty, Vec::<String>::new());
    for alert in alerts(version, 30) {
        assert_eq!(
            prometheus.values(&alert.condition),
            Vec::<f64>::new(),
            "{}",
            alert.name
        );
    }
    eprintln!("{asked} queries; without a value: {excused:?}");
    excused
}

/// Uses a server as clients do for 40 seconds: streams, whole answers, one that leaves, and a wrong request.
fn use_server(base: &str) {
    let prompt = "one prompt that is asked again and again ".repeat(8);
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < Duration::from_secs(40) {
        round += 1;
        let mut clients: Vec<Child> = (0..4)
            .map(|at| complete(base, &prompt, at % 2 == 0, 24, "60").spawn().unwrap())
            .collect();
        if round == 1 {
            clients.push(complete(base, "left alone", true, 2000, "2").spawn().unwrap());
            clients.push(
                complete(base, &prompt, false, 0, "60")
                    .arg("--data")
                    .arg("{")
                    .spawn()
                    .unwrap(),
            );
        }
        for mut client in clients {
            client.wait().unwrap();
        }
    }
}

#[test]
fn every_query_has_a_value_of_the_real_engine() {
    let _alone = lock::engine();
    let home = Home::new().with_shared_packages().without_docker();
    let site = Site::new(home, "process", "cpu");
    let home = &site.home;
    let port = free_port();
    home.run(&site.serve_args("watched", &port.to_string())).expect(0);
    let base = format!("http://127.0.0.1:{port}");
    let version = Catalog::load(None).unwrap().stack("cpu").unwrap().pins.sglang;

    home.run(&["monitoring", "--output", "files"]).expect(0);
    let dir = home.path().join("files");
    let prometheus = Prometheus::start(&dir);
    use_server(&base);
    let excused = assert_values(&prometheus, &base, version);
    // What did not happen: no KV pool was full. A client left, and prompts were cached.
    assert!(
        excused.len() == 1 && excused.iter().all(|one| one.contains("retracted")),
        "{excused:?}"
    );
    for args in [
        &["monitoring", "--check"][..],
        &[
            "monitoring",
            "--check",
            "--stack",
            "cpu",
            "--url",
            &prometheus.url,
        ],
    ] {
        let run = home.run(args).expect(0);
        assert!(
            run.stdout.contains("num_retracted_requests_total  not yet"),
            "{}",
            run.stdout
        );
    }

    // The same without the rule that renames: this Prometheus then has other names, which the check explains.
    let config = std::fs::read_to_string(dir.join("prometheus.yml")).unwrap();
    let at = config.find("    metric_relabel_configs:").unwrap();
    let end = at + config[at..].find("  - job_name").unwrap();
    let other = home.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("rules.yml"), "groups: []\n").unwrap();
    std::fs::write(
        other.join("prometheus.yml"),
        format!("{}{}", &config[..at], &config[end..]),
    )
    .unwrap();
    let second = Prometheus::start(&other);
    second.wait_for("sglang_num_running_reqs", Duration::from_secs(30));
    let run = home
        .run(&["monitoring", "--check", "--stack", "cpu", "--url", &second.url])
        .expect(7);
    assert!(run.stderr.contains("metric_relabel_configs"), "{}", run.stderr);
    drop(second);

    // A server that hangs, and one that ended.
    let condition = |name: &str| {
        let all = alerts(version, 30);
        all.into_iter()
            .find(|alert| alert.name == name)
            .unwrap()
            .condition
    };
    let scheduler = super::engine::scheduler_of(home);
    must_run("kill", &["-STOP", &scheduler], "install procps");
    let mut client = complete(&base, "no answer", false, 8, "180").spawn().unwrap();
    prometheus.wait_for(&condition("SglangServerHung"), Duration::from_mins(2));
    must_run("kill", &["-CONT", &scheduler], "install procps");
    client.wait().unwrap();
    home.run(&["stop", "watched"]).expect(0);
    prometheus.wait_for(&condition("SglangServerDown"), Duration::from_secs(20));
}
