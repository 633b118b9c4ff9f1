//! The ends of `dsr1 bench`: what is refused before a server is asked, what a user breaks off, and results that are named again.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::truth::{Shape, Truth};
use crate::support::{Home, Run, tree};

/// A URL at which nothing listens: what is refused before has no error of a connection.
const NOBODY: &str = "http://127.0.0.1:9";

fn shape() -> Shape {
    Shape::new(Duration::from_millis(30), Duration::from_millis(4))
}

/// Runs dsr1 with so many open files at most.
fn with_files(home: &Home, files: u32, args: &[&str]) -> Run {
    let own = home.command(args);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")])
        .arg(own.get_program())
        .args(own.get_args())
        .env_clear()
        .current_dir(home.path());
    for (name, value) in own.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell.output().unwrap().into()
}

#[test]
fn more_connections_than_open_files_are_refused_before_anything_is_asked() {
    let home = Home::new().without_docker();
    let cases: [(&[&str], &str); 4] = [
        (&["bench", "--max-concurrency", "1000"], "--max-concurrency 1000"),
        (
            &["bench", "sweep", "--concurrency", "1..512"],
            "--concurrency 512",
        ),
        (&["bench", "slo", "--ttft", "100", "--to", "600"], "--to 600"),
        (
            &["eval", "gsm8k", "--data", "x", "--parallel", "700"],
            "--parallel 700",
        ),
    ];
    for (args, named) in cases {
        let run = with_files(&home, 300, &[args, &["--url", NOBODY]].concat()).expect(3);
        for text in [
            named,
            "the hard limit is 300",
            "ulimit -n ",
            "as root",
            "is the most without it",
        ] {
            assert!(run.stderr.contains(text), "{args:?}: {}", run.stderr);
        }
    }
}

#[test]
fn a_limit_of_tpot_needs_a_second_token() {
    let home = Home::new().without_docker();
    let words = ["bench", "slo", "--url", NOBODY, "--tpot", "20", "--osl", "1"];
    let run = home.run(&words).expect(2);
    assert!(run.stderr.contains("answers of one token"), "{}", run.stderr);
    assert!(run.stderr.contains("--output-len 2"), "{}", run.stderr);
}

/// Connections that this host has no room for are no failure of the server: the search does not decide by them.
#[test]
fn the_clients_own_limit_is_no_miss_of_the_server() {
    let (home, truth) = (Home::new().without_docker(), Truth::start(shape()));
    let url = truth.url();
    let words = "bench slo --vocabulary 1000 --isl 16 --osl 8 --duration 0 --ttft 60000 --percentile p50 --from 64 \
                 --format json --progress quiet --url";
    let words: Vec<&str> = words.split_whitespace().chain([url.as_str()]).collect();
    let run = with_files(&home, 150, &words).expect(9);
    let sweep = &run.json()["steps"][0]["outcome"];
    let points = sweep["points"].as_array().unwrap();
    assert_eq!(sweep["found"], Value::Null, "{sweep:#}");
    let last = points.last().unwrap();
    assert_eq!(last["outcome"], "undecided", "{sweep:#}");
    let reason = last["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("client: ") && reason.contains("no room"),
        "{reason}"
    );
    let kept = std::fs::read_to_string(last["file"].as_str().unwrap()).unwrap();
    assert!(kept.contains("no room for a connection on this host"), "{kept}");
}

/// Ctrl-C during a measurement keeps the requests and a result that is marked, and no other command uses it unsaid.
#[test]
fn ctrl_c_keeps_what_was_measured_marked_as_incomplete() {
    let (home, truth) = (Home::new().without_docker(), Truth::start(shape()));
    let url = truth.url();
    let words =
        "bench --vocabulary 1000 --isl 16 --osl 8 --duration 600 --max-concurrency 2 --progress plain --url";
    let words: Vec<&str> = words.split(' ').chain([url.as_str()]).collect();
    let started = home.start(&words);
    let begun = Instant::now();
    while truth.served().requests.len() < 40 {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", started.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    started.signal("INT");
    let (run, _) = started.end();
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert!(run.stderr.contains("interrupted by Ctrl-C"), "{}", run.stderr);
    assert!(run.stderr.contains("marked as incomplete"), "{}", run.stderr);
    let files = tree(home.path());
    let named = |end: &str| {
        let mut names = files
            .keys()
            .filter(|name| name.contains("-bench-") && name.ends_with(end));
        names
            .next()
            .unwrap_or_else(|| panic!("no {end}: {:?}", files.keys()))
            .clone()
    };
    let (result, records) = (named("Z.json"), named(".records.jsonl"));
    assert!(run.stderr.contains(&records), "{}", run.stderr);
    let measurement: Value = serde_json::from_slice(&files[&result]).unwrap();
    assert_eq!(measurement["complete"], false);
    assert_eq!(measurement["trust"], "untrusted");
    let lines = String::from_utf8(files[&records].clone()).unwrap();
    assert!(lines.lines().count() > 10, "{lines}");
    for line in lines.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    let result = home.path().join(result);
    let result = result.to_str().unwrap();
    let shown = home.run(&["bench", "report", result]).expect(0);
    assert!(shown.stdout.contains("BAD    complete"), "{}", shown.stdout);
    let words =
        "bench --vocabulary 1000 --isl 16 --osl 8 --duration 0 --max-concurrency 2 --format json --url";
    let words: Vec<&str> = words.split(' ').chain([url.as_str()]).collect();
    let whole = home.run(&words).json()["steps"][0]["outcome"]["saved_to"]
        .as_str()
        .unwrap()
        .to_owned();
    let gated = home.run(&["bench", "gate", "--baseline", &whole, result]);
    assert_eq!(gated.code, 9, "{gated:?}");
    assert!(
        gated.stderr.contains("it was interrupted when"),
        "{}",
        gated.stderr
    );
    let compared = home.run(&["bench", "compare", &whole, result, "--anyway"]);
    assert!(
        compared.stdout.contains("it was interrupted when"),
        "{}",
        compared.stdout
    );
}

#[test]
fn ctrl_c_before_the_load_says_that_nothing_was_measured() {
    let home = Home::new().without_docker();
    // It accepts connections, and answers nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut started = home.start(&["bench", "--url", &url, "--progress", "plain"]);
    started.wait_for("look at the server", Duration::from_mins(1));
    started.signal("INT");
    let (run, waited) = started.end();
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert!(run.stderr.contains("nothing was measured yet"), "{}", run.stderr);
    // The list of models would be waited for 30 s.
    assert!(waited < Duration::from_secs(25), "{waited:?}");
}

/// Measures a sweep of two points, and returns the path of its file.
fn sweep(home: &Home, truth: &Truth) -> (String, Value) {
    let url = truth.url();
    let words =
        "bench sweep --vocabulary 1000 --isl 16 --osl 8 --duration 0 --concurrency 1,2 --format json --url";
    let words: Vec<&str> = words.split(' ').chain([url.as_str()]).collect();
    let run = home.run(&words);
    assert!([0, 9].contains(&run.code), "{run:?}");
    let sweep = run.json()["steps"][0]["outcome"].clone();
    (sweep["saved_to"].as_str().unwrap().to_owned(), sweep)
}

#[test]
fn the_report_of_a_sweep_has_its_points_also_when_they_moved() {
    let (home, truth) = (Home::new().without_docker(), Truth::start(shape()));
    let (file, sweep) = sweep(&home, &truth);
    let reported = |files: &[&str]| home.run(&[&["bench", "report", "--format", "json"], files].concat());
    let shown = reported(&[&file]).expect(0).json();
    let slots = |shown: &Value| -> Vec<u64> {
        let all = shown["measurements"].as_array().unwrap().iter();
        all.map(|one| one["load"]["max_concurrency"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(slots(&shown), [1, 2]);
    // A point of it beside the sweep is there twice, and so is a file that is named twice.
    let point = sweep["points"][0]["file"].as_str().unwrap();
    for twice in [[file.as_str(), point], [point, point], [file.as_str(), &file]] {
        let refused = reported(&twice).expect(2);
        assert!(refused.stdout.contains("is named twice"), "{}", refused.stdout);
    }
    // As it comes from another host: all files in a folder of another name.
    let (from, moved) = (Path::new(&file).parent().unwrap(), home.path().join("moved"));
    std::fs::rename(from, &moved).unwrap();
    let there = moved.join(Path::new(&file).file_name().unwrap());
    let there = there.to_str().unwrap();
    assert_eq!(slots(&reported(&[there]).expect(0).json()), [1, 2]);
    std::fs::remove_file(moved.join(Path::new(point).file_name().unwrap())).unwrap();
    let absent = home.run(&["bench", "report", there]).expect(2);
    assert!(absent.stderr.contains("it is point 1 of"), "{}", absent.stderr);
}

/// So short a run is doubted, and the table says for what.
#[test]
fn the_table_of_a_sweep_says_why_a_point_is_doubted() {
    let (home, truth) = (Home::new().without_docker(), Truth::start(shape()));
    let url = truth.url();
    let words = "bench sweep --vocabulary 1000 --isl 16 --osl 8 --duration 0 --concurrency 1 --url";
    let words: Vec<&str> = words.split(' ').chain([url.as_str()]).collect();
    let run = home.run(&words);
    let is_told = |line: &str| {
        let (_, reason) = line
            .rsplit_once("doubt: ")
            .or_else(|| line.rsplit_once("BAD: "))
            .unwrap_or_default();
        !reason.trim().is_empty()
    };
    let mut lines = run.stdout.lines().filter(|line| line.contains("1 in flight"));
    assert!(lines.any(is_told), "{run:?}");
}
