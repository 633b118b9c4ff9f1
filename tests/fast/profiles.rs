//! Profiles, stacks, options and locks as a user sees them: the output, and the errors for bad input.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::support::{Home, Run};

const B200: &str = include_str!("../fixtures/facts-b200.json");
const LAPTOP: &str = include_str!("../fixtures/facts-laptop.json");

fn home() -> Home {
    Home::new().without_docker()
}

/// Runs the binary with a profile file called mine.yaml, and with the facts of a host.
fn with_file(text: &str, args: &[&str]) -> Run {
    let home = home();
    fs::write(home.path().join("mine.yaml"), text).unwrap();
    fs::write(home.path().join("facts.json"), B200).unwrap();
    home.run(args)
}

/// Returns the error of `serve` about a profile file, which must be refused with 2 before the host is checked.
fn refused(text: &str) -> String {
    let run = with_file(
        text,
        &["serve", "--profile-file", "mine.yaml", "--facts", "facts.json"],
    )
    .expect(2);
    assert_eq!(run.stdout, "");
    run.stderr
}

const GUIDE: &str = "name: mine\nextends: fp8-high-throughput\n";

#[test]
fn bad_input_names_the_file_the_line_and_the_fix() {
    let engine = |line: &str| format!("{GUIDE}engine:\n  {line}\n");
    let cases = [
        ("unknown-key", engine("mem_fracton: 0.8")),
        ("wrong-type", engine("max_running_requests: many")),
        ("out-of-range", engine("mem_fraction: 89")),
        ("zero", engine("tensor_parallel: 0")),
        ("wrong-choice", engine("attention_backend: cutlas_mla")),
        ("wrong-exchange", engine("moe_a2a: deep_ep")),
        ("wrong-chunk", engine("chunked_prefill_size: -2")),
        ("flag-as-key", engine("pp_size: 2")),
        ("unit", engine("context_length: 32k")),
        ("dense-ranks", engine("moe_dense_tensor_parallel: 2")),
        ("owned", engine("extra_args: [--host, 0.0.0.0]")),
        ("owned-abbreviated", engine("extra_args: [--hos=0.0.0.0]")),
        ("forbidden-variable", engine("env: {LD_PRELOAD: /tmp/x.so}")),
        ("bidi", engine("quantization: \"fp8\u{202e}\"")),
        ("escaped-control", engine("quantization: \"fp8\\e[2J\"")),
        ("hidden-word", engine("extra_args: [\"--log-level=a\\nb\"]")),
        ("wrong-repository", format!("{GUIDE}model:\n  repo: ../x\n")),
        (
            "wrong-dataset",
            format!("{GUIDE}bench:\n  dataset: \"--host=0.0.0.0\"\n"),
        ),
        ("unknown-stack-below-on", format!("{GUIDE}on:\n  curent: {{}}\n")),
        ("not-yet", engine("fp8_gemm: flashinfer_trtllm")),
        (
            "taken-name",
            "name: rehearsal\nextends: fp8-low-latency\n".to_owned(),
        ),
        ("no-name", "extends: fp8-low-latency\n".to_owned()),
        ("wrong-name", "name: ../x\nextends: fp8-low-latency\n".to_owned()),
        (
            "unknown-parent",
            "name: mine\nextends: fp8-low-latenci\n".to_owned(),
        ),
        ("own-parent", "name: mine\nextends: mine\n".to_owned()),
        ("unknown-stack", format!("{GUIDE}stack: curent\n")),
        ("does-not-divide", engine("attention_data_parallel: 3")),
        ("not-yaml", "name: mine\n  extends: [\n".to_owned()),
        ("missing-field", "name: mine\n".to_owned()),
        ("too-few-prompts", format!("{GUIDE}bench:\n  num_prompts: 8\n")),
    ];
    for (name, text) in cases {
        insta::assert_snapshot!(format!("refused-{name}"), refused(&text));
    }
}

#[test]
fn deeply_nested_and_huge_files_are_refused_quickly() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nname: mine\n";
    assert!(refused(bomb).starts_with("error: mine.yaml"), "{}", refused(bomb));
    let deep = format!("name: mine\nx: {}\n", "[".repeat(100_000));
    assert!(refused(&deep).starts_with("error: mine.yaml has more than 4096 opening brackets"));
    let giant = format!("name: mine\ntitle: \"{}\"\n", "x".repeat(2 << 20));
    assert!(refused(&giant).contains("too large"));
}

#[test]
fn a_circle_of_the_users_own_profiles_is_named() {
    let home = home();
    let dir = home.path().join(".config/dsr1/profiles");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("a.yaml"), "name: a\nextends: b\n").unwrap();
    fs::write(dir.join("b.yaml"), "name: b\nextends: a\n").unwrap();
    let run = home.run(&["profiles", "show", "a"]).expect(2);
    assert!(
        run.stderr
            .contains("closes a circle of `extends`\ncause: a -> b -> a"),
        "{}",
        run.stderr
    );
    // Two files with one name.
    fs::write(dir.join("b.yaml"), "name: a\nextends: rehearsal\n").unwrap();
    let run = home.run(&["profiles", "show", "a"]).expect(2);
    assert!(run.stderr.contains("the name `a` is taken"), "{}", run.stderr);
    // A directory that every user may write to is refused.
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    let run = home.run(&["profiles", "list"]).expect(2);
    assert!(run.stderr.contains("every user may write"), "{}", run.stderr);
}

#[test]
fn a_profile_in_the_configuration_directory_is_like_a_built_in_one() {
    let home = home();
    let dir = home.path().join(".config/dsr1/profiles");
    fs::create_dir_all(&dir).unwrap();
    fs::write(
        dir.join("mine.yaml"),
        format!("{GUIDE}engine:\n  mem_fraction: 0.8\n"),
    )
    .unwrap();
    assert!(
        home.run(&["profiles", "list"])
            .expect(0)
            .stdout
            .contains("\nmine ")
    );
    fs::write(home.path().join("facts.json"), B200).unwrap();
    let plan = home
        .run(&["plan", "--profile", "mine", "--origin", "--facts", "facts.json"])
        .expect(0)
        .stdout;
    let line = plan
        .lines()
        .find(|line| line.contains("--mem-fraction-static"))
        .unwrap();
    assert!(
        line.contains("--mem-fraction-static 0.8") && line.contains("profiles/mine.yaml:4"),
        "{line}"
    );
}

#[test]
fn a_stack_in_the_configuration_directory_extends_another() {
    let home = home();
    let dir = home.path().join(".config/dsr1/stacks");
    fs::create_dir_all(&dir).unwrap();
    let text = "name: older\nextends: cuda12\npins:\n  sglang: 0.4.9.post6\n";
    fs::write(dir.join("older.yaml"), text).unwrap();
    let shown = home.run(&["stacks", "show", "older"]).expect(0).stdout;
    let line = |label: &str| {
        let of_label = |line: &&str| line.starts_with(label);
        shown.lines().find(of_label).unwrap_or(&shown).to_owned()
    };
    assert!(
        line("SGLang").contains("0.4.9.post6") && line("SGLang").ends_with("stacks/older.yaml:4"),
        "{shown}"
    );
    // Another version of SGLang comes with another PyTorch.
    assert!(line("PyTorch").ends_with("unknown"), "{shown}");
    assert!(line("CUDA").contains("stacks/cuda12.yaml:"), "{shown}");
    for part in [
        "v0.4.9.post6-cu129 ",
        "stacks/cuda12.yaml:",
        "with the version of",
    ] {
        assert!(line("image").contains(part), "{shown}");
    }
    // A setting whose flag this version does not have yet.
    fs::write(
        home.path().join("mine.yaml"),
        "name: mine\nextends: h200-fp8-low-latency\nengine:\n  moe_a2a: mooncake\n",
    )
    .unwrap();
    fs::write(home.path().join("facts.json"), B200).unwrap();
    let serve = [
        "serve",
        "--profile-file",
        "mine.yaml",
        "--stack",
        "older",
        "--facts",
        "facts.json",
    ];
    let error = home.run(&serve).expect(2).stderr;
    assert!(
        error.contains("mine.yaml:4") && error.contains("--moe-a2a-backend exists since SGLang 0.4.10.post2"),
        "{error}"
    );
    // A circle is named, and the other stacks stay.
    fs::write(dir.join("a.yaml"), "name: a\nextends: b\n").unwrap();
    fs::write(dir.join("b.yaml"), "name: b\nextends: a\n").unwrap();
    let error = home.run(&["stacks", "show", "a"]).expect(2).stderr;
    assert!(error.contains("closes a circle of `extends`"), "{error}");
    let list = home.run(&["stacks", "list"]).expect(0);
    assert!(list.stdout.contains("\nolder "), "{}", list.stdout);
    assert!(
        list.stderr.contains("b.yaml:2 closes a circle of `extends`"),
        "{}",
        list.stderr
    );
}

#[test]
fn a_profile_for_a_host_is_accepted_there_or_refused_with_the_reason() {
    let home = home();
    fs::write(home.path().join("facts.json"), B200).unwrap();
    fs::write(home.path().join("laptop.json"), LAPTOP).unwrap();
    let new = ["profiles", "new", "mine", "--for-host", "--facts"];
    let text = home.run(&[&new[..], &["facts.json"]].concat()).expect(0).stdout;
    fs::write(home.path().join("mine.yaml"), &text).unwrap();
    assert!(text.contains("\nstack: cuda12   # driver 575"), "{text}");
    home.run(&["profiles", "validate", "mine.yaml"]).expect(0);
    let plan = ["plan", "--profile-file", "mine.yaml", "--facts", "facts.json"];
    let plan = home.run(&plan).expect(0).stdout;
    assert!(
        plan.contains("FP4 on 8 x NVIDIA B200") || plan.contains("mine"),
        "{plan}"
    );
    let refused = home.run(&[&new[..], &["laptop.json"]].concat()).expect(3);
    assert_eq!(refused.stdout, "");
    assert!(
        refused.stderr.contains("no GPU") && refused.stderr.contains("dsr1 up rehearsal"),
        "{}",
        refused.stderr
    );
    for (args, said) in [
        (
            &["profiles", "new", "mine", "--facts", "facts.json"][..],
            "--for-host",
        ),
        (
            &["profiles", "new", "mine", "--for-host", "--from", "rehearsal"],
            "cannot be used with",
        ),
        (
            &["profiles", "new", "Mine", "--for-host"],
            "is not a name for a profile",
        ),
    ] {
        let run = home.run(args).expect(2);
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }
}

#[test]
fn transcripts() {
    let home = home();
    fs::write(home.path().join("facts.json"), B200).unwrap();
    let old = "\
# What we ran last year.
name: ours
extends: fp8-low-latency
title: \"our chat server\"
engine:
  attention_backend: cutlass_mla   # B200
  env:
    SGL_ENABLE_JIT_DEEPGEMM: \"0\"
  extra_args:
    - --cuda-graph-max-bs
    - \"64\"
";
    fs::write(home.path().join("ours.yaml"), old).unwrap();
    let cases: &[(&str, &[&str], i32)] = &[
        ("stacks-list", &["stacks", "list"], 0),
        ("stacks-show", &["stacks", "show", "current"], 0),
        ("stacks-diff", &["stacks", "diff", "cuda12", "current"], 0),
        (
            "profiles-diff",
            &["profiles", "diff", "fp8-low-latency", "b200-fp8-low-latency"],
            0,
        ),
        ("profiles-validate", &["profiles", "validate", "ours.yaml"], 0),
        (
            "profiles-validate-all",
            &["profiles", "validate", "ours.yaml", "--all-stacks"],
            2,
        ),
        (
            "profiles-migrate",
            &["profiles", "migrate", "ours.yaml", "--to", "current"],
            0,
        ),
        (
            "profiles-new",
            &["profiles", "new", "mine", "--from", "b200-fp8-low-latency"],
            0,
        ),
        (
            "advise-few",
            &[
                "profiles",
                "advise",
                "--isl",
                "1024",
                "--osl",
                "1024",
                "--concurrency",
                "4",
            ],
            0,
        ),
        (
            "advise-many",
            &[
                "profiles",
                "advise",
                "--isl",
                "1000",
                "--osl",
                "1000",
                "--concurrency",
                "3072",
                "--facts",
                "facts.json",
            ],
            0,
        ),
        ("explain-option", &["explain", "--enable-dp-attention"], 0),
        ("explain-removed", &["explain", "--enable-ep-moe"], 0),
        ("explain-setting", &["explain", "moe_runner"], 0),
        ("explain-variable", &["explain", "SGLANG_CUTLASS_MOE"], 0),
        ("explain-foreign", &["explain", "--save-result"], 0),
        ("explain-short", &["explain", "--tp"], 0),
        ("explain-unknown", &["explain", "--memory-fraction"], 2),
    ];
    for (name, args, code) in cases {
        let run = home.run(args).expect(*code);
        insta::assert_snapshot!(*name, format!("{}---\n{}", run.stdout, run.stderr));
    }
}

#[test]
fn every_option_in_the_guides_tables_is_explained() {
    let options = "--tokenizer-path --trust-remote-code --enable-dp-attention --disable-radix-cache \
        --max-running-requests --chunked-prefill-size --mem-fraction-static --max-prefill-tokens --model-path \
        --tensor-parallel-size --data-parallel-size --attention-backend --model --num-prompts --dataset-name \
        --random-input-len --random-output-len --max-concurrency --save-result --result-filename";
    for option in options.split_whitespace() {
        let run = home().run(&["explain", option]).expect(0);
        assert!(run.stdout.contains("\nvalue "), "{option}: {}", run.stdout);
    }
}

#[test]
fn a_migrated_profile_is_accepted() {
    let home = home();
    fs::write(
        home.path().join("ours.yaml"),
        format!("{GUIDE}engine:\n  mem_fraction: 0.85\n"),
    )
    .unwrap();
    for stack in ["cuda12", "current", "guide"] {
        let text = home
            .run(&["profiles", "migrate", "ours.yaml", "--to", stack])
            .expect(0)
            .stdout;
        fs::write(home.path().join("new.yaml"), &text).unwrap();
        let run = home.run(&["profiles", "validate", "new.yaml"]).expect(0);
        assert!(
            run.stdout.starts_with(&format!("mine on {stack} (its own): ok")),
            "{}",
            run.stdout
        );
    }
    // A setting that only the user can decide is kept and reported.
    fs::write(
        home.path().join("ours.yaml"),
        format!("{GUIDE}engine:\n  extra_args: [--no-such-thing]\n"),
    )
    .unwrap();
    let run = home
        .run(&["profiles", "migrate", "ours.yaml", "--to", "current"])
        .expect(2);
    assert!(
        run.stdout.contains("stack: current") && run.stderr.contains("--no-such-thing"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_lock_is_written_checked_and_enforced() {
    let home = home();
    fs::write(home.path().join("facts.json"), B200).unwrap();
    let lock = ["lock", "--profile", "fp8-low-latency", "--facts", "facts.json"];
    let run = home.run(&lock).expect(0);
    assert!(
        run.stdout
            .starts_with("wrote dsr1.lock: profile fp8-low-latency on stack guide"),
        "{}",
        run.stdout
    );
    let file = fs::read_to_string(home.path().join("dsr1.lock")).unwrap();
    assert!(file.contains("sha256:1a9e19b409059075d47ca58159b370adc6d76b7eb3a85680c55f65c38b11e9db"));
    assert!(
        home.run(&lock)
            .expect(2)
            .stderr
            .contains("replace it with --force")
    );
    let check = home.run(&["check", "--facts", "facts.json"]).expect(0);
    assert_eq!(
        check.stdout,
        "profile fp8-low-latency on stack guide: as locked, but the weights are not pulled here\n"
    );
    // A different engine argument makes a different server.
    let other = home
        .run(&["check", "--facts", "facts.json", "--", "--log-requests"])
        .expect(8);
    insta::assert_snapshot!("check-differs", format!("{}---\n{}", other.stdout, other.stderr));
    let serve = ["serve", "--locked", "--facts", "facts.json"];
    let script = home.run(&serve).expect(0).stdout;
    assert!(script.contains("--name dsr1-fp8-low-latency"), "{script}");
    let refused = home
        .run(&[&serve[..], &["--", "--log-requests"]].concat())
        .expect(8);
    insta::assert_snapshot!("serve-locked-refused", refused.stderr);
    let json = home
        .run(&[
            "check",
            "--facts",
            "facts.json",
            "--format",
            "json",
            "--profile",
            "fp4-basic",
        ])
        .expect(8);
    assert_eq!(json.json()["same"], false);
    // A lock of another schema is refused before its contents are read.
    fs::write(
        home.path().join("dsr1.lock"),
        file.replace("dsr1.lock/1", "dsr1.lock/9"),
    )
    .unwrap();
    let run = home.run(&["check", "--facts", "facts.json"]).expect(2);
    assert!(run.stderr.contains(", not `dsr1.lock/1`"), "{}", run.stderr);
}

#[test]
fn a_stack_without_a_digest_refuses_to_be_locked() {
    let home = home();
    fs::write(
        home.path().join("facts.json"),
        B200.replace("575.57.08", "580.65.06"),
    )
    .unwrap();
    let run = home
        .run(&[
            "lock",
            "--profile",
            "b200-fp8-low-latency",
            "--facts",
            "facts.json",
        ])
        .expect(3);
    insta::assert_snapshot!("lock-without-digest", run.stderr);
    assert!(!home.path().join("dsr1.lock").exists());
}

#[test]
fn a_choice_by_goal_says_what_it_chose_and_why() {
    let home = home();
    let hopper = B200
        .replace("\"10.0\"", "\"9.0\"")
        .replace("NVIDIA B200", "NVIDIA H200")
        .replace("575.57.08", "580.65.06");
    fs::write(home.path().join("h200.json"), hopper).unwrap();
    fs::write(home.path().join("laptop.json"), LAPTOP).unwrap();
    let plan = home
        .run(&["plan", "--profile", "high-throughput", "--facts", "h200.json"])
        .expect(0)
        .stdout;
    assert!(
        plan.contains("profile h200-fp8-high-throughput chosen, FP8: the GPUs are Hopper"),
        "{plan}"
    );
    // NVFP4 does not run on Hopper: by goal it is refused, and by name it is blocked.
    let run = home
        .run(&[
            "plan",
            "--profile",
            "high-throughput",
            "--fp4",
            "--facts",
            "h200.json",
        ])
        .expect(2);
    assert!(
        run.stderr
            .contains("there is no `high-throughput` profile in fp4 for Hopper"),
        "{}",
        run.stderr
    );
    let named = home
        .run(&["plan", "--profile", "fp4-high-throughput", "--facts", "h200.json"])
        .expect(3);
    assert!(named.stdout.contains("blocked  "), "{}", named.stdout);
}
