//! The plan of each command as the script that it prints: a snapshot per profile and command. Bash parses each script.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Home, Run};
use dsr1::quote::shell_word;
use dsr1::render::shell;

const B200: &str = include_str!("../fixtures/facts-b200.json");
const LAPTOP: &str = include_str!("../fixtures/facts-laptop.json");

/// Returns the script of a command for a host described by facts.
fn script(args: &[&str], facts: &str) -> String {
    let home = Home::new();
    let file = home.path().join("facts.json");
    std::fs::write(&file, facts).unwrap();
    // Before `--`, because the arguments after it belong to the engine.
    let at = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
    let mut all = args.to_vec();
    all.splice(at..at, ["--facts", file.to_str().unwrap()]);
    let script = home.run(&all).expect(0).stdout;
    assert_bash_accepts(&script);
    script
}

#[track_caller]
fn assert_bash_accepts(script: &str) {
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{script}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_profile_and_command_on_the_guides_host() {
    for profile in [
        "fp4-basic",
        "fp4-high-throughput",
        "fp8-high-throughput",
        "fp8-low-latency",
    ] {
        for command in ["up", "serve", "build", "pull"] {
            let script = script(&[command, "--profile", profile], B200);
            insta::assert_snapshot!(format!("{profile}-{command}"), script);
        }
    }
}

/// Returns the output of `dsr1 plan` for a host described by facts.
fn shown(args: &[&str], facts: &str) -> String {
    let home = Home::new();
    let file = home.path().join("facts.json");
    std::fs::write(&file, facts).unwrap();
    let all = [&["plan", "--facts", file.to_str().unwrap()], args].concat();
    home.run(&all).expect(0).stdout
}

#[test]
fn a_plan_for_people_shows_who_decided_what() {
    let newer = B200.replace("575.57.08", "580.65.06");
    for (name, args, facts) in [
        (
            "shown-fp8-high-throughput",
            &["--profile", "fp8-high-throughput", "--origin"][..],
            B200,
        ),
        (
            "shown-fp8-high-throughput-current",
            &[
                "--profile",
                "fp8-high-throughput",
                "--stack",
                "current",
                "--origin",
            ],
            &newer,
        ),
        (
            "shown-low-latency-current",
            &["--profile", "low-latency", "--fp8", "--stack", "current"],
            &newer,
        ),
        (
            "shown-rehearsal",
            &["--profile", "rehearsal", "--runtime", "process", "--origin"],
            LAPTOP,
        ),
    ] {
        insta::assert_snapshot!(name, shown(args, facts));
    }
}

#[test]
fn the_rehearsal_on_a_laptop_in_both_runtimes() {
    for runtime in ["process", "docker"] {
        for command in ["up", "serve", "build"] {
            let script = script(&[command, "--profile", "rehearsal", "--runtime", runtime], LAPTOP);
            insta::assert_snapshot!(format!("rehearsal-{runtime}-{command}"), script);
        }
    }
    insta::assert_snapshot!(
        "rehearsal-pull",
        script(&["pull", "--profile", "rehearsal"], LAPTOP)
    );
}

#[test]
fn the_goal_and_the_precision_choose_the_profile() {
    let by_goal = script(&["serve", "--profile", "high-throughput", "--fp8"], B200);
    assert_eq!(
        by_goal,
        script(&["serve", "--profile", "fp8-high-throughput"], B200)
    );
    // Without a precision the facts decide: Blackwell gets NVFP4, and the script states that.
    let chosen = script(&["serve", "--profile", "high-throughput"], B200);
    assert!(
        chosen.contains("# profile fp4-high-throughput chosen, NVFP4: the GPUs are Blackwell"),
        "{chosen}"
    );
}

#[test]
fn a_profiles_mem_fraction_reaches_the_engine() {
    let home = Home::new();
    let yaml = home
        .run(&["profiles", "show", "fp8-high-throughput", "--yaml"])
        .expect(0)
        .stdout;
    let own = yaml
        .replace("name: fp8-high-throughput", "name: mine")
        .replace("mem_fraction: 0.89", "mem_fraction: 0.77");
    let file = home.path().join("mine.yaml");
    std::fs::write(&file, own).unwrap();
    let script = script(&["serve", "--profile-file", file.to_str().unwrap()], B200);
    assert!(script.contains("--mem-fraction-static 0.77"), "{script}");
    assert!(script.contains("--name dsr1-mine"), "{script}");
}

#[test]
fn engine_arguments_pass_through_quoted_and_owned_ones_are_refused() {
    let hostile = "--json-model-override-args={\"a\": \"'; rm -rf / #\"}";
    let script = script(&["serve", "--profile", "fp8-low-latency", "--", hostile], B200);
    assert!(script.contains(&shell_word(hostile)), "{script}");
    let home = Home::new();
    for (flag, hint) in [
        ("--port=1", "--port before `--`"),
        ("--host", "127.0.0.1"),
        ("--api-key", "every local user"),
    ] {
        let run = home
            .run(&["serve", "--profile", "fp8-low-latency", "--dry-run", "--", flag])
            .expect(2);
        assert!(run.stderr.contains(hint), "{}", run.stderr);
    }
}

#[test]
fn a_raw_argument_that_breaks_a_rule_is_named_in_the_error() {
    let home = Home::new();
    let args = [
        "serve",
        "--profile",
        "fp8-low-latency",
        "--dry-run",
        "--",
        "--tensor-parallel-size",
        "4",
    ];
    let run = home.run(&args).expect(2);
    assert!(
        run.stderr
            .starts_with("error: command line: profile `fp8-low-latency` does not fit stack `guide`"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_host_that_does_not_fit_blocks_the_plan_and_still_prints_it() {
    let script = script(&["serve", "--profile", "fp8-low-latency"], LAPTOP);
    assert!(
        script.contains(
            "# BLOCKED: profile `fp8-low-latency` cannot run on this host (no GPU found, 8 needed)"
        ),
        "{script}"
    );
    assert!(script.contains("docker run"), "{script}");
    let old_driver = B200.replace("575.57.08", "570.00");
    let script = self::script(&["serve", "--profile", "fp8-low-latency"], &old_driver);
    assert!(
        script.contains("BLOCKED") && script.contains("driver 570.00, stack `guide` needs 575 or newer"),
        "{script}"
    );
}

#[test]
fn a_plan_as_json_is_whole() {
    let home = Home::new();
    let file = home.path().join("facts.json");
    std::fs::write(&file, B200).unwrap();
    let args = [
        "plan",
        "--profile",
        "fp4-high-throughput",
        "--facts",
        file.to_str().unwrap(),
        "--format",
        "json",
    ];
    let plan: dsr1::plan::Plan = serde_json::from_value(home.run(&args).expect(0).json()).unwrap();
    assert_eq!(
        (plan.schema.as_str(), plan.command.as_str()),
        ("dsr1.plan/1", "up")
    );
    let titles: Vec<String> = plan.steps.iter().map(dsr1::plan::Step::title).collect();
    assert!(
        titles[0].starts_with("build image dsr1/guide:0.4.10.post2-"),
        "{titles:?}"
    );
    assert_eq!(titles.last().unwrap(), "measure http://127.0.0.1:30000");
}

#[test]
fn facts_of_another_schema_are_refused() {
    let home = Home::new();
    let file = home.path().join("facts.json");
    std::fs::write(&file, B200.replace("dsr1.facts/1", "dsr1.facts/9")).unwrap();
    let run = home
        .run(&[
            "serve",
            "--profile",
            "fp8-low-latency",
            "--facts",
            file.to_str().unwrap(),
        ])
        .expect(2);
    assert!(
        run.stderr.contains(
            "is not a file of facts for this dsr1\ncause: its schema is `dsr1.facts/9`, not `dsr1.facts/1`"
        ),
        "{}",
        run.stderr
    );
}

#[test]
fn a_real_shell_reads_back_what_was_quoted() {
    // Every character with a meaning for POSIX shells, in one round trip through bash.
    let words = [
        "",
        "a b",
        "'",
        "''\"\\",
        "$HOME",
        "`id`",
        "$(id)",
        "a\nb",
        "*",
        "~",
        "#x",
        "!!",
        "a;b&c|d>e<f",
        "\u{1b}[2J",
        "=x",
        "-n",
        "{a,b}",
        "[a]",
        "\\",
    ];
    let quoted: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    let output = Command::new("bash")
        .args(["-c", &format!("printf '%s\\0' {}", quoted.join(" "))])
        .output()
        .unwrap();
    let read: Vec<&str> = std::str::from_utf8(&output.stdout)
        .unwrap()
        .split_terminator('\0')
        .collect();
    assert_eq!(read, words);
}

/// The plans of the commands for a running server, in both runtimes.
#[test]
fn measurements_and_stops_of_a_running_server() {
    use std::collections::BTreeMap;

    use dsr1::facts::{Facts, Paths};
    use dsr1::plan::{
        BenchRequest, EngineClient, Gsm8kRequest, Plan, Server, Step, StopServer, Threshold, offline_env,
    };
    use dsr1::profile::Catalog;

    let catalog = Catalog::load(None).unwrap();
    let facts = Facts {
        paths: Paths {
            state: "/s".to_owned(),
            hub_cache: "/h".to_owned(),
            ..Paths::default()
        },
        ..Facts::default()
    };
    let log = "/s/servers/dsr1-x.log".to_owned();
    let servers = [
        (
            "docker",
            Server::Docker {
                name: "dsr1-x".to_owned(),
            },
            "guide",
            "fp8-low-latency",
            "/models",
        ),
        (
            "process",
            Server::Process {
                name: "dsr1-x".to_owned(),
                log,
            },
            "cpu",
            "rehearsal",
            "/h",
        ),
    ];
    for (runtime, server, stack, profile, cache) in servers {
        let stack = catalog.stack(stack).unwrap().clone();
        let env: BTreeMap<String, String> = offline_env(cache);
        let profile = catalog.resolve(profile, None).unwrap().profile;
        let bench = BenchRequest {
            server: server.clone(),
            python: "python3".to_owned(),
            stack: stack.clone(),
            port: 30_000,
            base_url: dsr1::plan::base_url(30_000),
            model: format!("{cache}/model"),
            env: env.clone(),
            bench: profile.bench,
        };
        let gsm8k = Gsm8kRequest {
            client: EngineClient {
                server: server.clone(),
                python: "python3".to_owned(),
                stack,
                port: 30_000,
                base_url: dsr1::plan::base_url(30_000),
                env,
            },
            data: "https://example.org/test.jsonl".to_owned(),
            sha256: Some("ab".repeat(32)),
            shots: 8,
            questions: 1316,
            parallel: 1316,
            max_new_tokens: 512,
            min_accuracy: Threshold::from_share(0.94),
        };
        let own = own_evaluation(&gsm8k);
        assert_eq!(
            shell::render(&dsr1::plan::evaluate(&own, &facts).unwrap()),
            shell::render(&dsr1::plan::gsm8k(&gsm8k, &facts).unwrap()),
            "a script has the engine's client"
        );
        let mut chat = own;
        chat.settings.api = dsr1::measure::Api::Chat;
        let script = shell::render(&dsr1::plan::evaluate(&chat, &facts).unwrap());
        assert_bash_accepts(&script);
        assert!(
            script.contains("\ndsr1 eval gsm8k dsr1-x \\\n  --data "),
            "{script}"
        );
        let stop = Plan::new("stop", vec![Step::StopServer(StopServer { server, drain_s: 30 })]);
        for plan in [
            dsr1::plan::bench(&bench, &facts),
            dsr1::plan::gsm8k(&gsm8k, &facts).unwrap(),
            stop,
        ] {
            let script = shell::render(&plan);
            assert_bash_accepts(&script);
            insta::assert_snapshot!(format!("{runtime}-{}", plan.command.replace(' ', "-")), script);
        }
    }
}

/// Returns the request of the same questions by dsr1's own client.
fn own_evaluation(script: &dsr1::plan::Gsm8kRequest) -> dsr1::plan::EvaluationRequest {
    let task = dsr1::evaluate::Task::Gsm8k;
    let defaults = task.defaults(None);
    dsr1::plan::EvaluationRequest {
        endpoint: dsr1::plan::EvaluatedEndpoint::Own {
            client: Box::new(script.client.clone()),
            profile: "p".to_owned(),
            model: "/m".to_owned(),
            origin: std::collections::BTreeMap::new(),
        },
        settings: dsr1::evaluate::AnswerSettings {
            task,
            api: defaults.api,
            shots: defaults.shots,
            max_tokens: defaults.max_tokens,
            temperature: defaults.temperature,
            top_p: defaults.top_p,
            seed: 0,
        },
        year: None,
        data: script.data.clone(),
        sha256: script.sha256.clone(),
        questions: defaults.questions,
        samples: defaults.samples,
        parallel: defaults.parallel,
        stall_s: 600,
        min_accuracy: script.min_accuracy,
        expect_tokens: None,
        length_tolerance: 10.0,
        fresh: false,
        show_wrong: 0,
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]
    #[test]
    fn any_word_survives_a_real_shell(word in "[^\\x00]{0,40}") {
        let output = Command::new("bash").args(["-c", &format!("printf '%s' {}", shell_word(&word))]).output().unwrap();
        proptest::prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
    }
}

/// A server of dsr1 on the port is named once, and not as a foreign process.
#[test]
fn a_server_of_dsr1_on_the_port_is_known_as_one() {
    let home = Home::new().without_docker();
    let mut facts: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/facts-b200.json")).unwrap();
    facts["servers"] = serde_json::json!({ "dsr1-other": { "port": 30000, "runtime": "docker" } });
    facts["host"]["ports_taken"] = serde_json::json!({ "30000": "python3 (pid 25412)" });
    std::fs::write(home.path().join("facts.json"), facts.to_string()).unwrap();
    let planned = home
        .run(&["plan", "fp8-high-throughput", "--facts", "facts.json"])
        .expect(3);
    assert_eq!(
        planned.stdout.matches("\nblocked  ").count(),
        1,
        "{}",
        planned.stdout
    );
    assert!(
        planned
            .stdout
            .contains("dsr1-other is a server of dsr1 on port 30000")
            && !planned.stdout.contains("python3 (pid 25412)"),
        "{}",
        planned.stdout
    );
    let checked = home
        .run(&["doctor", "fp8-high-throughput", "--facts", "facts.json"])
        .expect(3);
    assert!(
        checked
            .stdout
            .contains("port 30000 is taken by dsr1-other, a server of dsr1"),
        "{}",
        checked.stdout
    );
}

/// Packages that are installed are used, even if a daemon has the base of an image that would have to be built.
#[test]
fn what_is_installed_is_preferred_to_an_image_that_is_not_built() {
    let home = Home::new().without_docker();
    let mut facts: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/facts-b200.json")).unwrap();
    facts["host"]["python"] =
        serde_json::json!({ "path": "/usr/bin/python3", "version": "3.11.2", "venv": true });
    let plan = |facts: &serde_json::Value, more: &[&str]| {
        std::fs::write(home.path().join("facts.json"), facts.to_string()).unwrap();
        let args = ["up", "rehearsal", "--facts", "facts.json", "--format", "json"];
        home.run(&[&args[..], more].concat()).expect(0).json()
    };
    let notes = |plan: &serde_json::Value| plan["notes"].to_string();
    let base = "debian:bookworm-slim";
    facts["docker"]["pullable"] = serde_json::json!([base]);
    assert!(
        notes(&plan(&facts, &[])).contains("runtime docker: "),
        "{}",
        notes(&plan(&facts, &[]))
    );
    let steps = plan(&facts, &["--runtime", "process"])["steps"].clone();
    let dir = steps
        .as_array()
        .unwrap()
        .iter()
        .find_map(|step| step["dir"].as_str())
        .unwrap()
        .to_owned();
    facts["paths"]["ready_venvs"] = serde_json::json!([dir]);
    let notes = notes(&plan(&facts, &[]));
    assert!(
        notes.contains("runtime process: its packages are installed"),
        "{notes}"
    );
}

#[test]
fn a_plan_uses_what_this_host_measured_at_the_last_start() {
    let plan = |facts: &str, format: &str| {
        let home = Home::new();
        let file = home.path().join("facts.json");
        std::fs::write(&file, facts).unwrap();
        let facts = file.to_str().unwrap();
        home.run(&[
            "plan",
            "--profile",
            "fp8-low-latency",
            "--facts",
            facts,
            "--format",
            format,
        ])
        .expect(0)
    };
    let first = plan(B200, "json").json();
    let wait = |plan: &serde_json::Value| {
        let steps = plan["steps"].as_array().unwrap().clone();
        steps
            .into_iter()
            .find(|step| step["step"] == "await_ready")
            .unwrap()
    };
    let step = wait(&first);
    assert!(first["measured"].is_null() && step["last_ms"].is_null());
    let mut facts: serde_json::Value = serde_json::from_str(B200).unwrap();
    let record = |gpus: &serde_json::Value| {
        serde_json::json!({
            "inputs": step["inputs"], "gpus": gpus, "date": "2026-11-29", "ready_ms": 361_500,
            "weights_gib": "79.60", "pool_tokens": 980_344, "graphs_gib": "6.37", "left_gib": "22.72",
        })
    };
    facts["starts"] = serde_json::json!({ step["inputs"].as_str().unwrap(): record(&step["gpus"]) });
    let second = plan(&facts.to_string(), "json").json();
    assert_eq!(second["memory"]["pool_tokens"], 980_344);
    assert_eq!(wait(&second)["last_ms"], 361_500);
    let text = plan(&facts.to_string(), "text").stdout;
    let line = "measured  here on 2026-11-29, weights 79.60 GiB, graphs 6.37 GiB, left over 22.72 GiB, 980344 tokens, READY \
                after 6m01s";
    assert!(text.contains(line), "{text}");
    // Other GPUs are another host.
    facts["starts"] =
        serde_json::json!({ step["inputs"].as_str().unwrap(): record(&"1 x NVIDIA L4".into()) });
    assert!(plan(&facts.to_string(), "json").json()["measured"].is_null());
}

/// Two servers share a host: each has its own GPUs, and nobody gets those of another.
#[test]
fn the_gpus_of_a_server_are_chosen() {
    let home = Home::new().without_docker();
    let mut facts: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/facts-b200.json")).unwrap();
    let write = |facts: &serde_json::Value| {
        std::fs::write(home.path().join("facts.json"), facts.to_string()).unwrap();
    };
    write(&facts);
    let plan = |more: &[&str]| {
        let args = [
            "plan",
            "b200x4-fp4-low-latency",
            "--facts",
            "facts.json",
            "--format",
            "json",
        ];
        home.run(&[&args[..], more].concat())
    };
    let started = |run: Run| {
        let plan = run.json();
        let steps = plan["steps"].as_array().unwrap().clone();
        let mut starts = steps.into_iter().filter(|step| step["step"] == "start_container");
        starts.next().unwrap()
    };
    let all = started(plan(&[]));
    assert_eq!(all["env"].get("CUDA_VISIBLE_DEVICES"), None);
    let step = started(plan(&["--gpus", "4-7"]));
    assert_eq!(step["env"]["CUDA_VISIBLE_DEVICES"], "4,5,6,7");
    assert_eq!(step["env"]["CUDA_DEVICE_ORDER"], "PCI_BUS_ID");
    assert_eq!(step["labels"]["io.dsr1.gpus"], "4,5,6,7");

    facts["servers"] = serde_json::json!({ "dsr1-first": { "port": 30000, "gpus": [0, 1, 2, 3] } });
    write(&facts);
    let free = started(plan(&["--gpus", "free", "--port", "30001"]));
    assert_eq!(free["labels"]["io.dsr1.gpus"], "4,5,6,7");
    let taken = plan(&["--gpus", "3-6", "--port", "30001"]).expect(3);
    let taken = taken.json();
    let blockers = taken["blockers"].as_array().unwrap();
    let blocker = blockers
        .iter()
        .find(|one| one["message"] == "GPU 3 is taken")
        .unwrap();
    assert_eq!(
        (&blocker["message"], &blocker["cause"]),
        (
            &"GPU 3 is taken".into(),
            &"the server dsr1-first was started on it".into()
        )
    );
    for (gpus, message) in [
        ("4-6", "--gpus 4,5,6 names 3 of the 4 GPUs that the profile needs"),
        ("6-9", "there is no GPU 8"),
    ] {
        let refused = plan(&["--gpus", gpus]).expect(2).json();
        assert_eq!(refused["message"], message);
    }
    let wrong = home.run(&["serve", "fp4", "--gpus", "7-4"]).expect(2);
    assert!(
        wrong.stderr.contains("7-4 runs backwards: write 4-7"),
        "{}",
        wrong.stderr
    );
    let cpu = home
        .run(&["plan", "rehearsal", "--runtime", "process", "--gpus", "0"])
        .expect(2);
    assert!(
        cpu.stderr.contains("--gpus 0 is for a server on GPUs"),
        "{}",
        cpu.stderr
    );
}

/// `--port auto` takes a port that nobody has.
#[test]
fn the_port_of_a_server_is_chosen() {
    let home = Home::new().without_docker();
    let listener = std::net::TcpListener::bind("127.0.0.1:30000");
    let auto = home
        .run(&[
            "serve",
            "rehearsal",
            "--runtime",
            "process",
            "--port",
            "auto",
            "--dry-run",
            "--format",
            "json",
        ])
        .expect(0)
        .json();
    let awaited = auto["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["step"] == "await_ready")
        .unwrap();
    let port: u16 = awaited["base_url"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    // The port may be taken by another test, too.
    assert!(port > 30_000, "{port}");
    drop(listener);
    let wrong = home.run(&["serve", "rehearsal", "--port", "80"]).expect(2);
    assert!(
        wrong
            .stderr
            .contains("it takes a whole number from 1024 to 65535, or auto"),
        "{}",
        wrong.stderr
    );
}
