//! `dsr1 bench sweep --profiles`: servers that a sweep starts, measures and stops. The engine is the stand-in.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::operate::Running;
use super::servers::Site;
use super::stand_in::{LAUNCH_SERVER, with_other_stack};
use crate::support::{Home, Run, free_port, tree};

/// An engine that ends while it starts.
const BROKEN: &str = "print('[2026-11-30 06:00:00] server_args=ServerArgs()')\n\
                      raise RuntimeError('CUDA error: no kernel image is available for execution on the device')\n";

/// A home with the rehearsal and a second profile of its kind, on a stack that works and one that does not start.
fn site() -> Site {
    let home = Home::new().with_shared_packages().without_docker();
    let file = "sglang/launch_server.py";
    let paced = LAUNCH_SERVER.replace("PACE_S = 0\n", "PACE_S = 0.005\n");
    let mut home = with_other_stack(home, "swept", &[(file, &paced)]);
    home = with_other_stack(home, "unswept", &[(file, BROKEN)]);
    let profiles = home.path().join(".config/dsr1/profiles");
    std::fs::create_dir_all(&profiles).unwrap();
    std::fs::write(profiles.join("second.yaml"), "name: second\nextends: rehearsal\n").unwrap();
    home.run(&["build", "--stack", "unswept", "--runtime", "process"])
        .expect(0);
    Site::new(home, "process", "swept")
}

fn sweep<'a>(port: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let own = [
        "bench",
        "sweep",
        "--runtime",
        "process",
        "--port",
        port,
        "--num-prompts",
        "12",
        "--duration",
        "0",
    ];
    [&own[..], more].concat()
}

/// Returns the sweep in a report. A busy machine makes figures that must not be used, which is no matter here.
fn swept(run: &Run, code: i32) -> Value {
    assert!(run.code == code || (code == 0 && run.code == 9), "{run:?}");
    run.json()["steps"][0]["outcome"].clone()
}

fn names(sweep: &Value) -> Vec<&str> {
    let points = sweep["points"].as_array().unwrap().iter();
    points
        .map(|point| point["combination"].as_str().unwrap())
        .collect()
}

/// Returns the files of the points of a sweep.
fn files(sweep: &Value) -> Vec<String> {
    let points = sweep["points"].as_array().unwrap().iter();
    points
        .map(|point| point["file"].as_str().unwrap().to_owned())
        .collect()
}

/// Returns the files of the points that are kept of a server whose measurement was interrupted.
fn kept_points(site: &Site, server: &str) -> Vec<String> {
    let results = site.home.path().join(".local/state/dsr1/results");
    let found = tree(&results)
        .into_iter()
        .find(|(name, _)| name.starts_with(&format!("{server}-sweep-")) && name.ends_with(".partial.json"));
    let (_, text) = found.expect("points are kept");
    files(&serde_json::from_slice(&text).unwrap())
}

/// Returns the number of starts in the history of all servers.
fn starts(site: &Site) -> usize {
    let events = site.home.run(&["events", "--format", "json"]);
    events.stdout.matches("\"started\"").count()
}

#[test]
fn a_sweep_starts_measures_and_stops_each_server_and_resumes() {
    let site = site();
    let port = free_port().to_string();
    let args = sweep(
        &port,
        &[
            "--profiles",
            "rehearsal,second",
            "--stacks",
            "swept",
            "--concurrency",
            "1,2,3,4",
            "--repeats",
            "2",
        ],
    );
    // Ctrl-C in the middle of the points of the second server: the first one is kept, and the second one is stopped.
    let mut started = site.home.start(&[&args[..], &["--progress", "plain"]].concat());
    started.wait_for("server 2 of 2: second on swept", Duration::from_mins(2));
    started.wait_for("start process dsr1-second", Duration::from_mins(1));
    // All eight points of the first server, and two of the second one.
    started.wait_for_count(" in flight: ", 10, Duration::from_mins(2));
    started.signal("INT");
    let broken_off = started.end().0.expect(130);
    assert!(
        broken_off
            .stderr
            .contains("the same command resumes: 1 server of 2 measured"),
        "{}",
        broken_off.stderr
    );
    site.assert_nothing_left("second");
    let kept = kept_points(&site, "dsr1-second");
    assert!((2..8).contains(&kept.len()), "{kept:?}");
    let before = starts(&site);

    let page = site.home.path().join("servers.html");
    let page = page.to_str().unwrap();
    let run = site
        .home
        .run(&[&args[..], &["--html", page, "--format", "json"]].concat());
    let sweep = swept(&run, 0);
    assert!(
        run.stderr
            .contains("server 1 of 2: rehearsal on swept: measured already"),
        "{}",
        run.stderr
    );
    assert_eq!(starts(&site), before + 1);
    let (first, second) = ("rehearsal on swept", "second on swept");
    assert_eq!(names(&sweep), [[first; 8], [second; 8]].concat());
    // The second server went on after its last point.
    assert_eq!(files(&sweep)[8..8 + kept.len()], kept);
    assert_eq!(sweep["complete"], true);
    assert_eq!(sweep["loads"].as_array().unwrap().len(), 8);
    for one in sweep["combinations"].as_array().unwrap() {
        assert!(one["failure"].is_null() && Path::new(one["file"].as_str().unwrap()).is_file());
    }
    let kept = std::fs::read_to_string(sweep["saved_to"].as_str().unwrap()).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["schema"], "dsr1.sweep/1");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("profile rehearsal") && page.contains("profile second"),
        "no curve for each"
    );
    site.assert_nothing_left("second");
}

#[test]
fn a_server_that_does_not_start_is_diagnosed_and_the_sweep_goes_on() {
    let site = site();
    let port = free_port().to_string();
    let args = sweep(
        &port,
        &[
            "--profiles",
            "rehearsal",
            "--stacks",
            "unswept,swept",
            "--concurrency",
            "1",
        ],
    );
    let shown = site.home.run(&args).expect(7);
    assert!(
        shown.stdout.contains("FAILED: dsr1-rehearsal ended during start")
            && shown.stdout.contains("no kernel image"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stderr.contains("error: 1 of 2 servers were not measured"),
        "{}",
        shown.stderr
    );
    // The same command tries the first one again, and does not start the second one.
    let before = starts(&site);
    let again = site.home.run(&[&args[..], &["--format", "json"]].concat());
    let sweep = swept(&again, 7);
    assert_eq!(starts(&site), before + 1);
    assert_eq!(names(&sweep), ["rehearsal on swept"]);
    let combinations = sweep["combinations"].as_array().unwrap();
    assert_eq!(combinations[0]["name"], "rehearsal on unswept");
    assert!(combinations[0]["failure"]["message"].is_string(), "{sweep:#}");
    assert_eq!(sweep["complete"], false);
    site.assert_nothing_left("rehearsal");
}

#[test]
fn a_server_that_runs_is_never_stopped_by_a_sweep() {
    let site = site();
    let server = Running::start(&site, "mine");
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let args = sweep(
        &port,
        &[
            "--profiles",
            "rehearsal,second",
            "--concurrency",
            "1",
            "--stacks",
            "swept",
        ],
    );
    let refused = site.home.run(&args);
    assert!(
        refused.code != 0 && refused.stderr.contains("dsr1 stop dsr1-mine"),
        "{}",
        refused.stderr
    );
    assert_eq!(server.state(), "idle");
    site.home.run(&["stop", "mine", "--drain", "0"]).expect(0);
    site.assert_nothing_left("mine");
}
