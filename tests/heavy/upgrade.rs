//! `dsr1 upgrade`: a server is replaced by another stack, and comes back if that fails or is slower.

use serde_json::Value;

use super::operate::Running;
use super::servers::Site;
use super::stand_in::{LAUNCH_SERVER, with_other_stack};
use crate::support::{Home, Run, free_port};

/// An engine with so many seconds before each token.
fn paced(seconds: &str) -> String {
    LAUNCH_SERVER.replace("PACE_S = 0\n", &format!("PACE_S = {seconds}\n"))
}

/// A slow engine whose answers are shorter than asked for: its figures must not be used.
fn short() -> String {
    paced("0.03").replace("words = (WORDS * 2)", "words = WORDS[:4]")
}

/// An engine that ends while it starts, as one does whose kernels do not fit the GPU.
const BROKEN: &str = "print('[2026-11-30 06:00:00] server_args=ServerArgs()')\n\
                      raise RuntimeError('CUDA error: no kernel image is available for execution on the device')\n";

/// A home with a server of one stack, and with further stacks: a faster, a slower and a broken one.
fn site() -> Site {
    let home = Home::new().with_shared_packages().without_docker();
    let file = "sglang/launch_server.py";
    let mut home = with_other_stack(home, "first", &[(file, &paced("0.012"))]);
    home = with_other_stack(home, "faster", &[(file, &paced("0.006"))]);
    home = with_other_stack(home, "slower", &[(file, &paced("0.03"))]);
    home = with_other_stack(home, "short", &[(file, &short())]);
    home = with_other_stack(home, "broken", &[(file, BROKEN)]);
    Site::new(home, "process", "first")
}

fn go_back(site: &Site) -> Run {
    site.home.run(&["upgrade", "--back", "--name", "grown"])
}

/// Upgrades again while the machine is too busy for figures that may be used, and then has the new server.
fn until_decided(site: &Site, upgrade: impl Fn() -> Run) -> Run {
    for _ in 0..4 {
        let run = upgrade();
        if run.code != 0 {
            return run;
        }
        go_back(site).expect(0);
    }
    upgrade()
}

fn start(site: &Site) -> Running<'_> {
    let port = free_port().to_string();
    site.home.run(&site.serve_args("grown", &port)).expect(0);
    Running {
        home: &site.home,
        name: "grown".to_owned(),
        url: format!("http://127.0.0.1:{port}"),
    }
}

#[test]
fn a_server_is_replaced_and_comes_back_if_the_new_one_fails_or_is_slower() {
    let site = site();
    let server = start(&site);
    let upgrade = |stack: &str, more: &[&str]| {
        let args = ["upgrade", "rehearsal", "--stack", stack, "--name", "grown"];
        site.home.run(&[&args[..], more].concat())
    };
    let stack = || server.status()["stack"].as_str().unwrap().to_owned();

    // The same plan is no upgrade.
    let same = upgrade("first", &[]).expect(0);
    assert!(
        same.stderr.contains("dsr1-grown already runs with this plan"),
        "{}",
        same.stderr
    );
    let shown = upgrade("faster", &["--dry-run"]).expect(0).stdout;
    assert!(shown.contains("sglang.launch_server"), "{shown}");

    // A faster one is kept, and measured.
    let kept = upgrade("faster", &["--repeats", "1", "--format", "json"]).expect(0);
    let report: Value = kept.json();
    assert_eq!(
        (&report["schema"], &report["kept"], &report["from"], &report["to"]),
        (
            &"dsr1.upgrade/1".into(),
            &true.into(),
            &"rehearsal on first".into(),
            &"rehearsal on faster".into()
        )
    );
    assert!(report["down_s"].as_f64().unwrap() > 1.0, "{report}");
    assert_ne!(report["compared"]["verdict"], "regression", "{report}");
    assert_eq!(
        (stack(), server.state()),
        ("faster".to_owned(), "idle".to_owned())
    );

    // A slower one is not.
    let slower = until_decided(&site, || upgrade("slower", &[])).expect(8);
    assert!(
        slower
            .stderr
            .contains("error: dsr1-grown is slower with the new plan\n")
            && slower.stderr.contains("output_throughput: ")
            && slower
                .stderr
                .contains("dsr1-grown runs rehearsal on faster again; it was down for "),
        "{}",
        slower.stderr
    );
    assert_eq!(
        (stack(), server.state()),
        ("faster".to_owned(), "idle".to_owned())
    );

    // One that does not start is told with its cause.
    let broken = upgrade("broken", &["--no-bench"]).expect(7);
    assert!(
        broken.stderr.contains("error: dsr1-grown ended during start")
            && broken.stderr.contains("no kernel image")
            && broken
                .stderr
                .contains("dsr1-grown runs rehearsal on faster again"),
        "{}",
        broken.stderr
    );
    assert_eq!(
        (stack(), server.state()),
        ("faster".to_owned(), "idle".to_owned())
    );
    let kept = site
        .home
        .run(&["diagnose", "grown", "--previous"])
        .expect(0)
        .stdout;
    assert!(kept.contains("no kernel image"), "{kept}");

    // And back by hand.
    let back = go_back(&site).expect(0);
    assert!(
        back.stdout.starts_with("dsr1-grown  runs rehearsal on first\n"),
        "{}",
        back.stdout
    );
    assert_eq!((stack(), server.state()), ("first".to_owned(), "idle".to_owned()));
    site.home.run(&["stop", "grown", "--drain", "0"]).expect(0);
    site.assert_nothing_left("grown");
}

#[test]
fn a_measurement_that_must_not_be_used_decides_nothing() {
    let site = site();
    let server = start(&site);
    let upgrade = |stack: &str| {
        let args = ["upgrade", "rehearsal", "--stack", stack, "--name", "grown"];
        site.home
            .run(&[&args[..], &["--repeats", "1"]].concat())
            .expect(0)
    };
    let undecided = "the measurements do not decide whether dsr1-grown is slower: it stays";
    // The new server is slower, and its figures must not be used.
    let after = upgrade("short");
    assert!(after.stderr.contains(undecided), "{}", after.stderr);
    assert!(
        after.stdout.contains("runs rehearsal on short\n") && after.stdout.contains("\nnot decided: "),
        "{}",
        after.stdout
    );
    // Those of the old server must not be used: the new one is not measured.
    let before = upgrade("slower");
    assert!(before.stderr.contains(undecided), "{}", before.stderr);
    assert!(
        !before.stdout.contains("AFTER") && before.stdout.contains("is not trusted: "),
        "{}",
        before.stdout
    );
    assert_eq!(server.status()["stack"], "slower");
    site.home.run(&["stop", "grown", "--drain", "0"]).expect(0);
    site.assert_nothing_left("grown");
}
