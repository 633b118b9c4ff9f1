//! Lines that users of docker, ollama, hf, vLLM and SGLang type first: each works, or is answered with the line to type.

use clap::Parser;
use dsr1::cli::Cli;

use crate::support::Home;

/// Lines that do the same as another line.
const SAME: [(&str, &str); 27] = [
    ("ps", "status"),
    ("ls", "status"),
    ("profiles ls", "profiles list"),
    ("stacks ls", "stacks list"),
    ("weights ls", "weights list"),
    ("image ls", "image list"),
    ("list", "status"),
    ("run fp8-high-throughput", "serve fp8-high-throughput"),
    ("start fp8", "serve fp8"),
    ("launch fp8", "serve fp8"),
    ("deploy fp8", "serve fp8"),
    ("down", "stop"),
    ("down dsr1-x", "stop dsr1-x"),
    ("stop", "stop"),
    ("log -f", "logs -f"),
    ("generate hello", "ask hello"),
    ("benchmark", "bench"),
    ("download owner/name", "pull owner/name"),
    ("serve --profile=fp8", "serve -p fp8"),
    ("up rehearsal --keep", "up --keep rehearsal"),
    ("plan fp8 -- --tp 8", "plan fp8 -- --tp 8"),
    ("export compose fp8", "export compose fp8"),
    ("doctor fp8", "doctor fp8"),
    ("build rehearsal", "build rehearsal"),
    ("lock rehearsal", "lock rehearsal"),
    ("pull fp4", "pull fp4"),
    ("weights verify fp8", "weights verify fp8"),
];

/// Lines that are refused, and a part of the answer.
const ANSWERED: [(&str, &str); 78] = [
    ("rm dsr1-x", "dsr1 stop NAME"),
    ("kill dsr1-x", "dsr1 stop NAME"),
    ("serve fp8 -p 8000", "the port is --port"),
    ("models", "dsr1 weights list"),
    ("cache", "dsr1 weights list"),
    ("images", "dsr1 image list"),
    ("rmi x", "dsr1 image prune"),
    ("ps --no-trunc", "dsr1 status --format json"),
    ("image list -a", "dsr1 image list shows every image"),
    ("prune", "dsr1 clean removes what is no longer used"),
    ("uninstall", "dsr1 clean --all --older-than 0"),
    ("serve fp8 -tp 8", "as in dsr1 serve ... -- --tp-size 8"),
    ("up fp8 -dp 8", "as in dsr1 up ... -- --dp-size 8"),
    ("serve fp8 -ep=8", "as in dsr1 serve ... -- --ep 8"),
    ("logs -tail 5", "write it with two dashes: `--tail`"),
    ("build fp8 -tx", "--tag NAME:TAG"),
    ("serve --max-model-len 8192", "in SGLang: --context-length"),
    ("du", "dsr1 weights du"),
    ("stats", "dsr1 top"),
    ("nvtop", "dsr1 top"),
    ("health", "dsr1 status"),
    ("inspect x", "dsr1 plan --profile NAME --origin"),
    ("exec x", "docker exec"),
    ("reload", "dsr1 restart"),
    ("install", "dsr1 build --profile NAME"),
    ("update", "README.md"),
    ("version", "dsr1 --version"),
    ("info", "dsr1 doctor"),
    ("check_env", "dsr1 doctor"),
    ("config", "dsr1 profiles show NAME"),
    ("create x", "dsr1 profiles new NAME"),
    ("show x", "dsr1 profiles show NAME"),
    ("test", "dsr1 up --profile rehearsal"),
    ("push x", "--push"),
    ("save x", "dsr1 image save"),
    ("login", "HF_TOKEN"),
    ("wait", "until the server is READY"),
    ("evaluate", "dsr1 eval gsm8k"),
    ("profile", "did you mean `profiles`?"),
    ("statsu", "did you mean `status`?"),
    ("eval mmlu", "there is only gsm8k, aime, math500, gpqa, mlperf"),
    ("image rm x", "there is only list, inspect, prune, save, load"),
    (
        "serve fp8 --tp 8",
        "is an option of SGLang: write it at the end, after `--`",
    ),
    ("serve fp8 --tensor-parallel-size 8", "is an option of SGLang"),
    ("up fp8 --mem-fraction-static 0.9", "is an option of SGLang"),
    (
        "serve fp8 --host 0.0.0.0",
        "dsr1 expose takes requests from other hosts",
    ),
    ("serve --model-path x", "--model REPO serves another one"),
    ("serve fp8 -d", "in the background anyway"),
    ("serve fp8 --detach", "in the background anyway"),
    ("serve fp8 -it", "--foreground"),
    ("serve fp8 --num-gpus 8", "--gpus 0-3 chooses GPUs"),
    ("serve fp8 -e A=B", "a variable for the engine: --env NAME=VALUE"),
    ("serve fp8 --shm-size 32g", "dsr1 plan shows it"),
    ("serve fp8 --ipc=host", "dsr1 plan shows it"),
    ("serve fp8 -v /a:/b", "dsr1 plan shows it"),
    ("serve fp8 --image x", "--base-image"),
    ("serve -f x.yaml", "--profile-file FILE"),
    ("serve fp8 --api-key x", "dsr1 expose takes requests with a key"),
    ("serve -p fp8 -p 8000", "the port is --port"),
    ("serve fp8 --prot 8000", "did you mean `--port`?"),
    ("pull owner/name --token x", "HF_TOKEN"),
    ("pull owner/name --cache-dir x", "HF_HUB_CACHE"),
    ("pull owner/name --repo-type model", "fetches models"),
    ("pull owner/name -o x", "--local-dir DIR"),
    ("pull owner/name -y", "--accept-license"),
    ("build fp8 -t x", "--tag NAME:TAG"),
    ("build fp8 -f x", "build --dry-run"),
    ("logs --until 5m", "-n N"),
    ("stop --all", "as dsr1 status does"),
    ("stop --timeout 5", "--drain SECONDS"),
    ("stop --force", "--drain 0"),
    ("bench --concurrency 8", "--max-concurrency N"),
    ("bench --requests 8", "--num-prompts N"),
    ("rehearsal", "dsr1 up rehearsal"),
    ("ask --model x hello", "--server NAME"),
    ("status --json", "--format json"),
    ("status -q", "--progress quiet"),
    ("serve fp8 --verbose", "--progress plain"),
];

/// Lines that are refused without a tip, because every near word would be wrong.
const WITHOUT_TIP: [&str; 4] = [
    "frobnicate",
    "stop x y",
    "status --since 5m",
    "pull -p fp8 owner/name",
];

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn words_of_other_tools_do_what_they_do_there() {
    let parse = |line: &str| {
        let words = std::iter::once("dsr1").chain(line.split(' '));
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        format!("{:?}", cli.command)
    };
    for (typed, same) in SAME {
        assert_eq!(parse(typed), parse(same), "{typed}");
    }
}

#[test]
fn what_is_no_command_or_argument_here_is_answered() {
    let home = Home::new();
    for (typed, answer) in ANSWERED {
        let run = home.run(&words(typed)).expect(2);
        assert!(
            run.stderr.contains("tip: ") && run.stderr.contains(answer),
            "{typed}: {}",
            run.stderr
        );
        assert_eq!(run.stderr.matches("tip: ").count(), 1, "{typed}: {}", run.stderr);
        // A program gets the same answer.
        let json = home
            .run(&[&words(typed)[..], &["--format", "json"]].concat())
            .expect(2);
        assert!(json.stdout.contains(answer), "{typed}: {}", json.stdout);
    }
}

#[test]
fn no_tip_is_better_than_a_wrong_one() {
    let home = Home::new();
    for typed in WITHOUT_TIP {
        let run = home.run(&words(typed)).expect(2);
        assert!(!run.stderr.contains("tip: "), "{typed}: {}", run.stderr);
    }
}

/// clap repeats the typed options in a usage line that no command has: a tip needs none, and without a tip it is the plain one.
#[test]
fn a_usage_line_is_that_of_the_command() {
    let home = Home::new();
    for typed in [
        "serve rehearsal --detach",
        "stop --force",
        "serve rehearsal --stack cpu -tp 8",
    ] {
        let refused = home.run(&words(typed)).expect(2).stderr;
        assert!(
            refused.contains("tip: ") && !refused.contains("Usage:"),
            "{refused}"
        );
    }
    for (typed, usage) in [
        ("status --since 5m", "Usage: dsr1 status [OPTIONS] [SERVER]\n"),
        ("stop x y --drain 5", "Usage: dsr1 stop [OPTIONS] [SERVER]\n"),
        (
            "weights verify x y",
            "Usage: dsr1 weights verify [OPTIONS] [REPO]\n",
        ),
    ] {
        let refused = home.run(&words(typed)).expect(2).stderr;
        assert!(refused.contains(usage), "{refused}");
    }
}

/// A precision, a goal or a profile is taken without an option, and a repository is no profile.
#[test]
fn a_profile_needs_no_option() {
    let home = Home::new().without_docker();
    let facts = format!("{}/tests/fixtures/facts-b200.json", env!("CARGO_MANIFEST_DIR"));
    let plan = |args: &[&str]| home.run(&[&["plan", "--facts", &facts, "--format", "json"], args].concat());
    let script = |args: &[&str]| {
        let run = plan(args);
        assert!(
            [0, 3].contains(&run.code) && run.stderr.is_empty(),
            "{args:?}: {}",
            run.stderr
        );
        run.stdout
    };
    assert_eq!(script(&["fp8"]), script(&["--fp8"]));
    assert_eq!(script(&["--profile", "fp4"]), script(&["--fp4"]));
    assert_eq!(script(&["low-latency"]), script(&["--profile", "low-latency"]));
    for (args, answer) in [
        (&["deepseek-ai/DeepSeek-R1-0528"][..], "these serve it: fp8-"),
        (
            &["owner/name"],
            "dsr1 profiles list shows the profiles and their models",
        ),
        (&["-p", "8000"], "the port is --port 8000"),
        (&["rehearsal", "--fp8"], "leave out --fp8"),
        (&["fp8-low-latency", "--fp4"], "use --profile low-latency --fp4"),
    ] {
        let run = home.run(&[&["plan", "--facts", &facts], args].concat()).expect(2);
        assert!(run.stderr.contains(answer), "{args:?}: {}", run.stderr);
    }
}
