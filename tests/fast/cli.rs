//! The binary as a user sees it: exact texts, exit codes, and output for pipes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{self, Home};

fn home() -> Home {
    Home::new()
        .without_docker()
        .with("PIP_INDEX_URL", support::NOWHERE)
        .with("HF_ENDPOINT", support::NOWHERE)
}

#[test]
fn the_help_has_usage_and_examples() {
    let help = home().run(&["--help"]).expect(0).stdout;
    insta::assert_snapshot!("help", help);
    for command in [
        "up",
        "doctor",
        "plan",
        "export",
        "build",
        "pull",
        "mirror",
        "serve",
        "status",
        "top",
        "logs",
        "stop",
        "ask",
        "chat",
        "bench",
        "eval",
        "profiles",
        "completions",
        "man",
    ] {
        let help = home().run(&[command, "--help"]).expect(0).stdout;
        assert!(help.contains("Usage: dsr1"), "{command}");
    }
    insta::assert_snapshot!("help-serve", home().run(&["serve", "--help"]).expect(0).stdout);
}

#[test]
fn profiles_are_listed_and_shown() {
    insta::assert_snapshot!(
        "profiles-list",
        home().run(&["profiles", "list"]).expect(0).stdout
    );
    insta::assert_snapshot!(
        "profiles-show",
        home()
            .run(&["profiles", "show", "high-throughput", "--fp8"])
            .expect(0)
            .stdout
    );
    let json = home()
        .run(&["profiles", "show", "rehearsal", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(
        (&json["schema"], &json["stack"]["pins"]["sglang"]),
        (&"dsr1.profile/1".into(), &"0.5.23".into())
    );
}

#[test]
fn an_unknown_profile_names_the_nearest() {
    let run = home()
        .run(&["serve", "--profile", "hihg-throughput", "--dry-run"])
        .expect(2);
    assert_eq!(
        run.stderr,
        "error: unknown profile `hihg-throughput`\nhint: did you mean `high-throughput`?\n"
    );
    assert_eq!(run.stdout, "");
}

#[test]
fn an_error_is_json_on_stdout_when_asked_for() {
    let run = home()
        .run(&["serve", "--profile", "reharsal", "--dry-run", "--format", "json"])
        .expect(2);
    let error = run.json();
    assert_eq!(
        (&error["schema"], &error["kind"], &error["exit_code"]),
        (&"dsr1.error/1".into(), &"usage".into(), &2.into())
    );
    assert_eq!(error["hints"][0], "did you mean `rehearsal`?");
    assert_eq!(run.stderr, "");
}

#[test]
fn a_wrong_command_line_is_json_too() {
    let error = home()
        .run(&["serve", "--profil", "x", "--format", "json"])
        .expect(2)
        .json();
    assert_eq!(
        (&error["kind"], &error["exit_code"]),
        (&"usage".into(), &2.into())
    );
    assert!(error["message"].as_str().unwrap().contains("--profil"), "{error}");
}

#[test]
fn two_profiles_at_once_are_refused() {
    let home = home();
    let yaml = home
        .run(&["profiles", "show", "rehearsal", "--yaml"])
        .expect(0)
        .stdout;
    std::fs::write(
        home.path().join("mine.yaml"),
        yaml.replace("name: rehearsal", "name: mine"),
    )
    .unwrap();
    let run = home
        .run(&[
            "serve",
            "--profile",
            "rehearsal",
            "--profile-file",
            "mine.yaml",
            "--dry-run",
        ])
        .expect(2);
    assert!(run.stderr.contains("name two profiles"), "{}", run.stderr);
    home.run(&["profiles", "show", "rehearsal", "--profile-file", "mine.yaml"])
        .expect(2);
}

#[test]
fn values_out_of_range_are_refused_before_anything_runs() {
    for args in [
        &["bench", "--num-prompts", "0"][..],
        &["ask", "--temperature", "-3", "hi"],
        &["ask", "--max-tokens", "0", "hi"],
        &["ask", "--url", "foo", "hi"],
        &["mirror", "--cache-dir", "/does/not/exist"],
        &["eval", "gsm8k", "--data", "x", "--min-accuracy", "94"],
    ] {
        home().run(args).expect(2);
    }
    // Of the public hub this is known.
    let run = Home::new().run(&["pull", "--profile", "rehearsal"]).expect(2);
    assert!(
        run.stderr.contains("dsr1 up --profile rehearsal"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_profile_file_with_a_wrong_key_shows_the_line() {
    let home = home();
    let yaml = home
        .run(&["profiles", "show", "rehearsal", "--yaml"])
        .expect(0)
        .stdout;
    let file = home.path().join("mine.yaml");
    std::fs::write(
        &file,
        yaml.replace("name: rehearsal", "name: mine")
            .replace("  mem_fraction: 0.2", "  mem_fracton: 0.2"),
    )
    .unwrap();
    let run = home
        .run(&["serve", "--profile-file", "mine.yaml", "--dry-run"])
        .expect(2);
    insta::assert_snapshot!("profile-wrong-key", run.stderr);
}

#[test]
fn usage_errors_exit_with_2() {
    for args in [
        &["serv"][..],
        &["serve", "--port", "80"],
        &["pull", "--fp4", "--fp8"],
        &["pull", "nonsense"],
        &["up"],
        &["stop", "nobody"],
        &["ask", "hello"],
    ] {
        let run = home().run(args).expect(2);
        assert!(run.stderr.starts_with("error: "), "{args:?}: {}", run.stderr);
    }
    let run = home().run(&["pull", "../../etc/passwd"]).expect(2);
    assert!(run.stderr.contains("is not a repository"), "{}", run.stderr);
}

#[test]
fn a_pull_of_nothing_says_what_can_be_pulled() {
    let run = home().run(&["pull"]).expect(2);
    assert_eq!(
        run.stderr,
        "error: neither a repository nor a profile is named\n\
         hint: name a repository: dsr1 pull owner/name\n\
         hint: or the weights of a profile: dsr1 pull --fp8, --fp4 or --profile NAME (dsr1 profiles list)\n"
    );
    let run = home().run(&["weights", "verify"]).expect(2);
    assert!(
        run.stderr
            .contains("name a repository: dsr1 weights verify owner/name"),
        "{}",
        run.stderr
    );
}

#[test]
fn help_works_before_the_command_too() {
    for command in [&[][..], &["pull"], &["weights", "verify"]] {
        let behind = home().run(&[command, &["--help"]].concat()).expect(0).stdout;
        assert_eq!(
            home().run(&[&["help"], command].concat()).expect(0).stdout,
            behind
        );
    }
    let run = home().run(&["help", "pul"]).expect(2);
    assert_eq!(
        run.stderr,
        "error: there is no command `pul`\nhint: dsr1 --help lists the commands\n"
    );
}

#[test]
fn a_pipe_gets_no_escape_codes() {
    for args in [
        &["profiles", "list"][..],
        &["status"],
        &["serve", "--profile", "nope", "--dry-run"],
        &["doctor"],
    ] {
        let run = home().run(args);
        assert!(
            !run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'),
            "{args:?}"
        );
        assert!(!run.stderr.contains('\r'), "{args:?}");
    }
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let mut child = home()
        .command(&["man"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = home()
        .command(&["profiles", "list"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error: cannot write to standard output"));
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            home()
                .run(&["completions", shell])
                .expect(0)
                .stdout
                .contains("dsr1"),
            "{shell}"
        );
    }
    let home = home();
    home.run(&["man", "./pages"]).expect(0);
    let pages: Vec<String> = support::tree(&home.path().join("pages")).into_keys().collect();
    assert!(
        pages.contains(&"dsr1.1".to_owned()) && pages.contains(&"dsr1-serve.1".to_owned()),
        "{pages:?}"
    );
}

/// The built-in names are offered where they fit; the commands themselves accept others.
#[test]
fn completions_offer_the_names_of_profiles_and_stacks() {
    let home = home();
    let bash = home.run(&["completions", "bash"]).expect(0).stdout;
    let part = |command: &str| {
        let begin = bash.find(&format!("\n        dsr1__{command})\n")).unwrap();
        let rest = &bash[begin..];
        rest[..rest.find("esac").unwrap()].to_owned()
    };
    for (command, name) in [
        ("subcmd__stop", "fp8-low-latency"),
        ("subcmd__serve", "rehearsal"),
        ("subcmd__profiles__subcmd__show", "b200-fp4-low-latency"),
        ("subcmd__stacks__subcmd__show", "cuda12"),
    ] {
        let options = part(command);
        assert!(options.lines().nth(2).unwrap().contains(name), "{options}");
    }
    let serve = part("subcmd__serve");
    for (option, names) in [
        ("--profile)", "h200-fp8-low-latency"),
        ("--stack)", "guide cuda12 current cpu"),
    ] {
        let after = serve.split(option).nth(1).unwrap();
        assert!(after.lines().nth(1).unwrap().contains(names), "{after}");
    }
    let help = home.run(&["serve", "--help"]).expect(0).stdout;
    assert!(!help.contains("h200-fp8-low-latency"), "{help}");
}

#[test]
fn options_of_images_are_refused_for_a_venv() {
    let args = [
        "build",
        "--profile",
        "rehearsal",
        "--runtime",
        "process",
        "--tag",
        "a:b",
    ];
    let run = home().run(&args).expect(2);
    assert!(run.stderr.contains("need an image"), "{}", run.stderr);
    let image = ["build", "--stack", "guide", "--tag", "a b", "--dry-run"];
    let run = home().run(&image).expect(2);
    assert!(
        run.stderr.contains("`a b` is not a name of an image"),
        "{}",
        run.stderr
    );
}

#[test]
fn status_works_without_a_daemon() {
    let run = home().run(&["status"]).expect(0);
    assert_eq!(
        run.stdout,
        "no servers; processes of other users are not listed\n"
    );
    assert!(
        run.stderr
            .starts_with("note: containers were not looked at: `/nonexistent/docker.sock` does not exist"),
        "{}",
        run.stderr
    );
}

#[test]
fn doctor_writes_the_facts_that_planning_takes() {
    let home = home();
    let run = home.run(&["doctor", "--profile", "fp8-low-latency", "--format", "json"]);
    // This machine has no eight B200 GPUs, so the exit code is 3. The error is not a second JSON document.
    assert_eq!(run.code, 3, "{}", run.stderr);
    let report = run.json();
    assert_eq!(report["schema"], "dsr1.doctor/1");
    std::fs::write(home.path().join("facts.json"), &run.stdout).unwrap();
    let script = home
        .run(&["serve", "--profile", "fp8-low-latency", "--facts", "facts.json"])
        .expect(0)
        .stdout;
    assert!(script.contains("# BLOCKED: "), "{script}");
}

#[test]
fn doctor_checks_the_host_of_a_facts_file() {
    let home = home();
    for (name, text) in [
        ("b200.json", include_str!("../fixtures/facts-b200.json")),
        ("old.json", include_str!("../fixtures/facts/driver-too-old.json")),
        ("h200.json", include_str!("../fixtures/facts/h200.json")),
    ] {
        std::fs::write(home.path().join(name), text).unwrap();
    }
    let ready = home
        .run(&["doctor", "--profile", "fp8-low-latency", "--facts", "b200.json"])
        .expect(0);
    assert!(ready.stdout.contains("8 x NVIDIA B200"), "{}", ready.stdout);
    // The goal is resolved with the GPUs of the file, too.
    let chosen = home
        .run(&["doctor", "--profile", "low-latency", "--facts", "h200.json"])
        .expect(0);
    assert!(
        chosen.stdout.contains("profile h200-fp8-low-latency"),
        "{}",
        chosen.stdout
    );
    let old = ["doctor", "--profile", "fp8-low-latency", "--facts", "old.json"];
    let failed = home.run(&old).expect(3);
    assert_eq!(
        failed.stderr,
        "error: the host of `old.json` is not ready for profile `fp8-low-latency`\n\
         cause: failed checks: gpu.driver\n\
         hint: each failed check above says what to do\n"
    );
    let json = home
        .run(&[&old[..], &["--format", "json"]].concat())
        .expect(3)
        .json();
    assert_eq!(json["schema"], "dsr1.doctor/1");
    assert_eq!(json["facts"]["host"]["driver"], "570.86.15");
    let missing = home
        .run(&["doctor", "--profile", "fp8-low-latency", "--facts", "none.json"])
        .expect(2);
    assert!(
        missing.stderr.starts_with("error: cannot read `none.json`"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_secret_in_the_environment_is_in_no_output() {
    let home = home().with("HF_TOKEN", "hf_canary");
    for args in [
        &["serve", "--profile", "fp8-low-latency", "--dry-run"][..],
        &["doctor", "--format", "json"],
        &["plan", "--profile", "rehearsal", "--format", "json"],
        &["status"],
    ] {
        let run = home.run(args);
        assert!(
            !run.stdout.contains("hf_canary") && !run.stderr.contains("hf_canary"),
            "{args:?}"
        );
    }
}

/// A guard against unnecessary work, such as reading certificates. The limit is not a promise about this machine.
#[test]
fn help_and_plan_are_quick() {
    let home = home();
    std::fs::write(
        home.path().join("facts.json"),
        include_str!("../fixtures/facts-b200.json"),
    )
    .unwrap();
    let best = |args: &[&str]| {
        let time = || {
            let begun = Instant::now();
            home.run(args).expect(0);
            begun.elapsed()
        };
        (0..10).map(|_| time()).min().unwrap()
    };
    let plan = best(&["plan", "--profile", "fp8-low-latency", "--facts", "facts.json"]);
    let help = best(&["--help"]);
    assert!(help.max(plan) < Duration::from_secs(2));
}

/// Files of a stack are written below `site-packages`, in a venv as in an image.
#[test]
fn a_stack_whose_files_leave_their_directory_is_refused_with_its_line() {
    let home = Home::new();
    let stack = home.run(&["stacks", "show", "cpu", "--yaml"]).expect(0).stdout;
    let (before, after) = stack.split_once("\n  files:\n").unwrap();
    let stack =
        format!("{before}\n  files:\n    ../../owned.txt: \"x\"\n{after}").replace("name: cpu", "name: mine");
    let dir = home.path().join(".config/dsr1/stacks");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("mine.yaml"), stack).unwrap();
    let run = home
        .run(&["build", "--stack", "mine", "--runtime", "process", "--dry-run"])
        .expect(2);
    assert!(
        run.stderr.contains("mine.yaml:") && run.stderr.contains("`../../owned.txt` is not a file name"),
        "{}",
        run.stderr
    );
}
