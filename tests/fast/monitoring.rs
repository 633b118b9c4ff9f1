//! The files that `monitoring` writes: snapshots for the stacks of GPUs, and what the command prints and refuses.

use std::io::{Read, Write};
use std::net::TcpListener;

use dsr1::profile::Catalog;
use dsr1::sglang::metrics::needed;

use crate::support::{Home, Run, tree};

fn home() -> Home {
    Home::new().without_docker()
}

fn write(home: &Home, args: &[&str]) -> Run {
    let mut all = vec!["monitoring"];
    all.extend(args);
    home.run(&all)
}

/// Returns the files of a folder one below the other, with the dashboard as a list of its queries.
fn files(home: &Home, folder: &str) -> String {
    let mut lines = Vec::new();
    for (path, bytes) in tree(&home.path().join(folder)) {
        let bytes = String::from_utf8(bytes).unwrap();
        lines.push(format!("==> {path}"));
        if path != "dashboard.json" {
            lines.extend(bytes.lines().map(str::to_owned));
            continue;
        }
        let dashboard: serde_json::Value = serde_json::from_str(&bytes).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let title = panel["title"].as_str().unwrap();
            lines.push(format!(
                "{title} at {},{} ({} x {})",
                at("x"),
                at("y"),
                at("w"),
                at("h")
            ));
            for target in panel["targets"].as_array().into_iter().flatten() {
                let text = |key: &str| target[key].as_str().unwrap();
                lines.push(format!("  {}: {}", text("legendFormat"), text("expr")));
            }
        }
    }
    lines.join("\n")
}

#[test]
fn the_files_for_each_stack_of_gpus() {
    let home = home();
    for stack in ["guide", "cuda12", "current"] {
        write(&home, &["--stack", stack, "--output", stack]).expect(0);
        insta::assert_snapshot!(format!("monitoring_{stack}"), files(&home, stack));
    }
}

#[test]
fn the_dashboard_is_grafanas_json() {
    let home = home();
    let args = [
        "mine",
        "--stack",
        "current",
        "--port",
        "30001",
        "--dcgm",
        "http://127.0.0.1:9400",
        "--ttft-limit",
        "5",
        "-o",
        "x",
    ];
    let run = write(&home, &args).expect(0);
    assert_eq!(
        run.stdout,
        "wrote x for dsr1-mine\nx/README.md says how to start Prometheus and Grafana\n"
    );
    assert_eq!(run.stderr, "");
    let read = |name: &str| std::fs::read_to_string(home.path().join("x").join(name)).unwrap();
    insta::assert_snapshot!("monitoring_dashboard", read("dashboard.json"));
    assert!(read("rules.yml").contains("> 5\""), "{}", read("rules.yml"));
    let scrapes = read("prometheus.yml");
    for text in [
        "replacement: \"sglang:$1\"",
        "\"127.0.0.1:30001\"",
        "job_name: dcgm",
        "\"127.0.0.1:9400\"",
    ] {
        assert!(scrapes.contains(text), "no {text}:\n{scrapes}");
    }
    // No password is in the files, and none is a default.
    let compose = read("compose.yaml");
    assert!(
        compose.contains("${GRAFANA_PASSWORD:?") && !compose.contains("admin\n"),
        "{compose}"
    );
}

#[test]
fn a_folder_that_exists_is_refused_and_a_wrong_command_line_writes_nothing() {
    let home = home();
    write(&home, &["--stack", "guide", "-o", "x"]).expect(0);
    std::fs::write(home.path().join("x/.env"), "GRAFANA_PASSWORD=mine\n").unwrap();
    let before = tree(&home.path().join("x"));
    let run = write(&home, &["--stack", "current", "-o", "x"]).expect(2);
    assert_eq!(
        run.stderr,
        "error: `x` exists already\nhint: choose another name, or replace its files with --force\n"
    );
    assert_eq!(tree(&home.path().join("x")), before);
    write(&home, &["--stack", "current", "-o", "x", "--force"]).expect(0);
    let after = tree(&home.path().join("x"));
    assert_eq!(after[".env"], before[".env"]);
    assert_ne!(after["rules.yml"], before["rules.yml"]);
    for (args, says) in [
        (&["-o", "y"][..], "error: no server is running"),
        (&["--stack", "currant", "-o", "y"], "unknown stack `currant`"),
        (
            &["a", "b", "--stack", "current", "-o", "y"],
            "`b` is one server too many",
        ),
        (
            &["--stack", "current", "-o", "y", "--dcgm", "localhost:9400"],
            "`localhost:9400` is not a URL",
        ),
        (&["--stack", "current"], "--output <DIR>"),
        (
            &["--stack", "current", "-o", "y", "--ttft-limit", "400"],
            "from 1 to 399",
        ),
        (&["--check", "-o", "y"], "--output <DIR>"),
        (
            &["--check", "--url", "localhost", "--stack", "current"],
            "`localhost` is not a URL",
        ),
        (
            &["--check", "--url", "http://127.0.0.1:9"],
            "--stack NAME says which SGLang --url has",
        ),
    ] {
        let run = write(&home, args).expect(2);
        assert!(run.stderr.contains(says), "{args:?}: {}", run.stderr);
        assert!(!home.path().join("y").exists(), "{args:?}");
    }
}

/// Answers `/metrics` with a text, and every other path with 404, until the process ends. Returns the base URL.
fn serve(metrics: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or(0);
            let (status, body) = if head[..length].starts_with(b"GET /metrics ") {
                ("200 OK", &*metrics)
            } else {
                ("404 Not Found", "{}")
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    base
}

#[test]
fn a_check_names_what_a_server_lacks() {
    let home = home();
    let version = Catalog::load(None).unwrap().stack("current").unwrap().pins.sglang;
    let all: Vec<String> = needed(version).iter().map(|one| one.metric.series()).collect();
    let text = |names: &[String]| {
        let lines: Vec<String> = names
            .iter()
            .map(|name| format!("{name}{{a=\"b\"}} 1\n"))
            .collect();
        lines.concat()
    };
    let check = |base: &str| write(&home, &["--check", "--stack", "current", "--url", base]);

    let base = serve(text(&all));
    let run = check(&base).expect(0);
    assert_eq!(
        run.stdout,
        format!(
            "{base}/metrics has 20 of the 20 metrics that the dashboard and the alerts for SGLang 0.5.23 ask for\n"
        )
    );

    let without = |gone: &[&str]| -> Vec<String> {
        all.iter()
            .filter(|name| !gone.contains(&name.as_str()))
            .cloned()
            .collect()
    };
    let base = serve(text(&without(&["sglang:num_retracted_requests_total"])));
    let run = check(&base).expect(0);
    assert_eq!(
        run.stdout,
        format!(
            "{base}/metrics has 19 of the 20 metrics that the dashboard and the alerts for SGLang 0.5.23 ask for\n\
             sglang:num_retracted_requests_total  not yet  comes with the first request that is retracted\n"
        )
    );

    // An engine that gave a metric another name.
    let base = serve(text(&without(&["sglang:token_usage"])));
    let run = check(&base).expect(7);
    assert_eq!(
        run.stdout,
        format!(
            "{base}/metrics has 19 of the 20 metrics that the dashboard and the alerts for SGLang 0.5.23 ask for\n\
             sglang:token_usage  missing  asked for by KV pool in use, SglangKvPoolNearlyFull\n"
        )
    );
    assert_eq!(
        run.stderr,
        format!(
            "error: {base}/metrics lacks 1 metric of SGLang 0.5.23\n\
             hint: the server may have another SGLang than its stack: --stack NAME names it\n"
        )
    );
    let args = [
        "monitoring",
        "--check",
        "--stack",
        "current",
        "--url",
        &base,
        "--format",
        "json",
    ];
    let run = home.run(&args).expect(7);
    let document = run.json();
    assert_eq!(document["schema"], "dsr1.monitoring-check/1");
    assert_eq!(document["absent"][0]["reason"], serde_json::Value::Null);

    let hostile = serve("sglang:\u{1b}[2J 1\n\u{0}\n".repeat(1000));
    let run = check(&hostile).expect(7);
    assert!(!run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'));
    let none = serve("up 1\n".to_owned());
    assert!(check(&none).expect(7).stderr.contains("has no metrics of SGLang"));
    assert!(
        check("http://127.0.0.1:9")
            .expect(7)
            .stderr
            .starts_with("error: ")
    );
}
