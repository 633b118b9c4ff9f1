//! `dsr1 upgrade`: a server is replaced by another stack, and comes back if that fails or is slower.

use serde_json::Value;

use super::operate::Running;
use super::servers::Site;
use super::stand_in::with_other_stack;
use crate::support::{Home, free_port};

/// A client that measures so many tokens per second.
fn client(rate: u32) -> String {
    format!(
        r#""""Stands in for SGLang's benchmark client, with a result that a test wrote."""
import json, sys
value = lambda name: sys.argv[sys.argv.index(name) + 1]
rate, count = {rate}.0, int(value("--num-prompts"))
result = dict(
    backend="sglang", completed=count, duration=1.0, total_input_tokens=count, total_output_tokens=count,
    total_output_tokens_retokenized=count, request_throughput=1.0, input_throughput=1.0, output_throughput=rate,
    concurrency=1.0, median_ttft_ms=10.0, median_tpot_ms=1000 / rate)
open(value("--output-file"), "w").write(json.dumps(result) + "\n")
"#
    )
}

/// An engine that ends while it starts, as one does whose kernels do not fit the GPU.
const BROKEN: &str = "print('[2026-11-30 06:00:00] server_args=ServerArgs()')\n\
                      raise RuntimeError('CUDA error: no kernel image is available for execution on the device')\n";

/// A home with a server of one stack, and with further stacks: a faster, a slower and a broken one.
fn site() -> Site {
    let home = Home::new().with_shared_packages().without_docker();
    let file = "sglang/benchmark/serving.py";
    let mut home = with_other_stack(home, "first", &[(file, &client(100))]);
    home = with_other_stack(home, "faster", &[(file, &client(150))]);
    home = with_other_stack(home, "slower", &[(file, &client(60))]);
    home = with_other_stack(home, "broken", &[("sglang/launch_server.py", BROKEN)]);
    Site::new(home, "process", "first")
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
    let kept = upgrade("faster", &["--format", "json"]).expect(0);
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
    assert_eq!(report["after"]["output_throughput"], 150.0);
    assert_eq!(
        (stack(), server.state()),
        ("faster".to_owned(), "idle".to_owned())
    );

    // A slower one is not.
    let slower = upgrade("slower", &[]).expect(8);
    assert!(
        slower
            .stderr
            .contains("error: dsr1-grown is slower with the new plan\n")
            && slower
                .stderr
                .contains("it generates 60.0 tokens/s, and 150.0 before: 0.40x")
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
    let back = site.home.run(&["upgrade", "--back", "--name", "grown"]).expect(0);
    assert!(
        back.stdout.starts_with("dsr1-grown  runs rehearsal on first\n"),
        "{}",
        back.stdout
    );
    assert_eq!((stack(), server.state()), ("first".to_owned(), "idle".to_owned()));
    site.home.run(&["stop", "grown", "--drain", "0"]).expect(0);
    site.assert_nothing_left("grown");
}
