//! The same image built with BuildKit and with the classic builder.

use crate::support::{Home, must_run};

/// Writes a user's stack with one more pin than `stack`, in a layer of its own before the last layer.
fn changed_stack(home: &Home, stack: &str) {
    // The wheel's hash, and a random one that no file has: no earlier run on this machine built the layer.
    const WHEEL: &str = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";
    let text = home.run(&["stacks", "show", stack, "--yaml"]).expect(0).stdout;
    let (before, after) = text.rsplit_once("    - - ").unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let changed = format!("{before}    - - six==1.17.0 sha256:{WHEEL} sha256:{now:064x}\n    - - {after}")
        .replace(&format!("name: {stack}"), &format!("name: {stack}-changed"));
    let stacks = home.path().join(".config/dsr1/stacks");
    std::fs::create_dir_all(&stacks).unwrap();
    std::fs::write(stacks.join(format!("{stack}-changed.yaml")), changed).unwrap();
}

/// Builds the image of a stack with both builders. It is built once, earlier layers are reused, and both results are
/// the same. `layers` is the number of layers with packages.
pub(crate) fn image_by_both_builders(home: &Home, stack: &str, layers: usize) {
    let build = |args: &[&str]| {
        let mut all = vec![
            "build",
            "--runtime",
            "docker",
            "--format",
            "json",
            "--progress",
            "plain",
        ];
        all.extend(args);
        let run = home.run(&all).expect(0);
        (run.json()["steps"][0]["outcome"].clone(), run.stderr)
    };
    // With `required=true` a step runs only if it has the secret.
    let ca = "ca=/etc/ssl/certs/ca-certificates.crt";
    build(&["--stack", stack, "--secret", ca]);
    let (again, _) = build(&["--stack", stack, "--secret", ca]);
    assert_eq!(again["cached"], true);

    // One pin changed: the layers before it are not built again.
    changed_stack(home, stack);
    let (made, log) = build(&["--stack", &format!("{stack}-changed"), "--secret", ca]);
    assert_eq!(made["cached"], false);
    let step = |text: &str| {
        let line = log.lines().find(|line| line.contains(text));
        line.unwrap_or_else(|| panic!("no step `{text}`:\n{log}"))
            .contains("cached ")
    };
    assert!(step("apt-get install"), "{log}");
    for layer in 1..layers {
        assert!(step(&format!("source=pip/{layer}")), "{log}");
    }
    assert!(!step(&format!("source=pip/{layers}")), "{log}");

    let base = format!("dsr1-test/base:{}", std::process::id());
    let docker = |args: &[&str]| must_run("docker", args, "install the Docker command line");
    docker(&["tag", "debian:bookworm-slim", &base]);
    let dangling = || -> std::collections::BTreeSet<String> {
        let list = docker(&["image", "ls", "--quiet", "--filter", "dangling=true"]);
        list.lines().map(str::to_owned).collect()
    };
    let were = dangling();
    let (classic, log) = build(&[
        "--stack",
        stack,
        "--secret",
        ca,
        "--builder",
        "classic",
        "--base-image",
        &base,
    ]);
    assert!(log.contains("Step 1/"), "{log}");
    let tag = classic["tag"].as_str().unwrap();
    let version = docker(&["run", "--rm", "--network", "none", tag]);
    assert_eq!(version.trim().lines().last(), Some("0.5.23"));
    let packages = |tag: &str| {
        docker(&[
            "run",
            "--rm",
            "--network",
            "none",
            tag,
            "/opt/dsr1/bin/python3",
            "-m",
            "pip",
            "freeze",
            "--all",
        ])
    };
    assert_eq!(packages(tag), packages(again["tag"].as_str().unwrap()));
    assert!(docker(&["run", "--rm", "--network", "none", tag, "id", "--user"]).contains("10001"));
    docker(&["image", "rm", tag, made["tag"].as_str().unwrap(), &base]);
    for stage in dangling().difference(&were) {
        docker(&["image", "rm", stage]);
    }
}
