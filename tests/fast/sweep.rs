//! `dsr1 bench sweep` and `dsr1 bench slo` against the server of known times.

use std::time::Duration;

use serde_json::Value;

use crate::support::truth::{Shape, Truth};
use crate::support::{Home, Run};

/// Options of a load that takes a second.
const LOAD: [&str; 10] = [
    "--vocabulary",
    "1000",
    "--isl",
    "16",
    "--osl",
    "16",
    "--duration",
    "0",
    "--timeout",
    "20",
];

fn home() -> Home {
    Home::new().without_docker()
}

fn shape() -> Shape {
    Shape::new(Duration::from_millis(30), Duration::from_millis(4))
}

fn bench(home: &Home, truth: &Truth, command: &str, args: &[&str]) -> Run {
    let url = truth.url();
    home.run(&[&["bench", command, "--url", &url][..], &LOAD, args].concat())
}

/// Returns the sweep in a report as JSON. A busy machine makes figures that must not be used, which is no matter here.
fn swept(run: &Run) -> Value {
    assert!([0, 8, 9].contains(&run.code), "{}", run.stderr);
    run.json()["steps"][0]["outcome"].clone()
}

fn slots(sweep: &Value) -> Vec<u64> {
    let points = sweep["points"].as_array().unwrap();
    points
        .iter()
        .map(|point| point["max_concurrency"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_sweep_measures_its_points_in_one_run_and_keeps_them() {
    let (home, truth) = (home(), Truth::start(shape()));
    let page = home.path().join("curve.html");
    let args = [
        "--concurrency",
        "2..8",
        "--repeats",
        "2",
        "--format",
        "json",
        "--html",
        page.to_str().unwrap(),
    ];
    let run = bench(&home, &truth, "sweep", &args);
    let sweep = swept(&run);
    assert_eq!(slots(&sweep), [2, 4, 8, 2, 4, 8]);
    assert_eq!(sweep["complete"], true);
    for load in sweep["loads"].as_array().unwrap() {
        let slots = load["max_concurrency"].as_f64().unwrap();
        // 16 tokens in 30 + 15 * 4 ms.
        let expected = slots * 16.0 / 0.09;
        if let Some(mean) = load["output_throughput"]["mean"].as_f64() {
            assert!((0.6..1.1).contains(&(mean / expected)), "{load}");
        }
    }
    // Nothing is drained: the server sees no connection more than slots.
    assert!(
        truth.served().connections <= 8 + 2,
        "{}",
        truth.served().connections
    );
    for point in sweep["points"].as_array().unwrap() {
        let shown = home.run(&["bench", "report", point["file"].as_str().unwrap()]);
        assert_eq!(shown.code, 0, "{}", shown.stderr);
    }
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("<svg"));
    let kept = std::fs::read_to_string(sweep["saved_to"].as_str().unwrap()).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&kept).unwrap()["schema"],
        "dsr1.sweep/1"
    );
    // The page is there: that is told before anything is measured.
    let again = bench(&home, &truth, "sweep", &args[..6]);
    assert!([0, 9].contains(&again.code));
    let refused = bench(&home, &truth, "sweep", &args).expect(2);
    assert!(refused.stdout.contains("exists already"), "{}", refused.stdout);
}

#[test]
fn a_sweep_that_was_broken_off_goes_on() {
    let (home, truth) = (home(), Truth::start(shape()));
    let url = truth.url();
    let own = ["bench", "sweep", "--url", &url, "--concurrency", "1,2,4"];
    // A second for each point, to break off the second one.
    let load: Vec<&str> = LOAD
        .iter()
        .map(|word| if *word == "0" { "1" } else { word })
        .collect();
    let args = [&own[..], &load].concat();
    let mut started = home.start(&args);
    started.wait_for("1 in flight: ", Duration::from_mins(1));
    started.signal("INT");
    assert_eq!(started.end().0.code, 130);
    let run = home.run(&[&args[..], &["--format", "json"]].concat());
    assert!(
        run.stderr.contains("1 point is measured already"),
        "{}",
        run.stderr
    );
    let sweep = swept(&run);
    assert_eq!(slots(&sweep), [1, 2, 4]);
    // It is complete: the next one begins anew.
    let anew = home.run(&args);
    assert!(!anew.stderr.contains("resuming"), "{}", anew.stderr);
}

#[test]
fn a_search_finds_the_largest_load_within_limits() {
    let home = home();
    // Six places: the seventh request waits for an answer of 90 ms.
    let truth = Truth::start(Shape {
        max_running: Some(6),
        ..shape()
    });
    let args = [
        "--ttft",
        "70",
        "--percentile",
        "p50",
        "--from",
        "2",
        "--format",
        "json",
    ];
    let run = bench(&home, &truth, "slo", &args);
    let sweep = swept(&run);
    let found = &sweep["found"];
    let (meets, misses) = (
        found["meets"].as_f64().unwrap(),
        found["misses"].as_f64().unwrap(),
    );
    assert!((5.0..16.0).contains(&meets) && misses < meets + 1.5, "{found}");
    let outcomes: Vec<&str> = sweep["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["outcome"].as_str().unwrap())
        .collect();
    assert!(outcomes.contains(&"meets") && outcomes.contains(&"misses"));
    let early = sweep["points"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|point| point["reason"].as_str())
        .any(|reason| reason.starts_with("ended early: "));
    assert!(early, "{sweep:#}");
    let none = bench(
        &home,
        &truth,
        "slo",
        &["--ttft", "5", "--percentile", "p50", "--from", "2"],
    )
    .expect(8);
    assert!(
        none.stderr.contains("no load that was tried keeps the limits"),
        "{}",
        none.stderr
    );
}

#[test]
fn a_rate_that_the_server_does_not_keep_up_with_misses_and_its_queue_is_dropped() {
    let home = home();
    let truth = Truth::start(Shape {
        max_running: Some(20),
        ..shape()
    });
    // Twenty places with 90 ms each: 222 requests a second.
    let args = [
        "--ttft",
        "500",
        "--percentile",
        "p50",
        "--by",
        "rate",
        "--from",
        "800",
        "--precision",
        "100",
        "--num-prompts",
        "300",
        "--format",
        "json",
    ];
    let sweep = swept(&bench(&home, &truth, "slo", &args));
    let points = sweep["points"].as_array().unwrap();
    assert_eq!(points[0]["outcome"], "misses", "{sweep:#}");
    let meets = sweep["found"]["meets"].as_f64().unwrap();
    assert!((50.0..=400.0).contains(&meets), "{sweep:#}");
    // The queue of the first points would have been in the way of the later ones.
    let found = points.iter().find(|point| point["outcome"] == "meets").unwrap();
    assert!(
        found["figures"]["ttft_p50_ms"].as_f64().unwrap() < 300.0,
        "{found}"
    );
}

#[test]
fn wrong_points_and_limits_are_refused_before_anything_is_measured() {
    let home = home();
    for (args, expected) in [
        (&["sweep"][..], "--concurrency"),
        (
            &["sweep", "--concurrency", "8..1"],
            "begins with the larger number",
        ),
        (&["sweep", "--concurrency", "0"], "not a number from 1 on"),
        (
            &["sweep", "--concurrency", "1", "--rates", "2"],
            "cannot be used with",
        ),
        (&["sweep", "--rates", "1,x"], "`x`"),
        (
            &[
                "sweep",
                "--concurrency",
                "1",
                "--no-warm-up",
                "--url",
                "http://127.0.0.1:9",
            ],
            "--no-warm-up",
        ),
        (&["slo"], "--ttft"),
        (&["slo", "--ttft", "0"], "above 0"),
        (&["slo", "--ttft", "5", "--percentile", "p98"], "p99"),
    ] {
        let run = home.run(&[&["bench"], args].concat()).expect(2);
        assert!(run.stderr.contains(expected), "{args:?}: {}", run.stderr);
    }
}
