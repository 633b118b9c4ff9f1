//! No secret reaches a person, a file or a bundle: canaries are planted in each place where dsr1 meets secrets, many commands
//! run, and every sink is searched.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::first_hour::{ended_server, stopped_server};
use crate::support::hub::{Hub, small_model};
use crate::support::{self, Home, Run};

/// Secrets, each in one place and one form. None is in another.
const CANARIES: [(&str, &str); 25] = [
    (
        "token of the environment",
        "hf_CanaryOfTheEnvironment123456789012",
    ),
    ("token file", "hf_CanaryOfTheTokenFile12345678901234"),
    ("password of a proxy", "canary-proxy-9f3a"),
    ("login of Docker", "Y2FuYXJ5OmRvY2tlci1sb2dpbg=="),
    ("variable of a plan", "canary-variable-7c21"),
    ("variable of a command line", "canary-of-env-5d0e"),
    ("api_key of server_args", "canary-api-key-11aa"),
    ("admin_api_key of server_args", "canary-admin-key-22bb"),
    ("password of a TLS key", "canary-tls-key-33cc"),
    ("api_key of a dict", "canary-dict-44dd"),
    ("api_key of JSON", "canary-json-55ee"),
    ("api_key of JSON in JSON", "canary-deep-json-66ff"),
    ("--api-key X", "canary-argv-77ab"),
    ("--api-key=X", "canary-argv-88bc"),
    ("bearer", "canary.bearer.99cd"),
    ("basic login", "Y2FuYXJ5OmJhc2lj"),
    ("login in a URL", "canary-url-aade"),
    ("signed URL", "canarysigned0bbef"),
    ("session of a signed URL", "canarysession0ccf0"),
    (
        "token of the hub in a log",
        "hf_CanaryOfTheLog12345678901234567890",
    ),
    (
        "JSON web token",
        "eyJjYW5hcnkiOiJqd3QifQ.eyJjYW5hcnkiOjF9.c2lnbmF0dXJl",
    ),
    ("key of a provider", "sk-canary-provider-0123456789abcd"),
    ("key of AWS", "AKIACANARY0123456789"),
    ("key of a result", "canary-result-dd01"),
    ("key of a profile", "canary-profile-ee12"),
];

/// Secrets that only a bundle replaces: a person who reads an own log sees them.
const OF_BUNDLES: [(&str, &str); 7] = [
    ("variable in a log", "canary-log-variable-f001"),
    ("YAML in a log", "canary log yaml f002"),
    ("Docker's Env in a log", "canary-log-env-f003"),
    ("prompt", "canary of a private question f004"),
    (
        "key of an exposed server",
        "c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44c0ffee55",
    ),
    ("token of a mirror", "canary-of-a-mirror-f006"),
    ("private key", "MIIEcanaryOfAPrivateKeyF005"),
];

fn canary(name: &str) -> &'static str {
    let all = CANARIES.iter().chain(&OF_BUNDLES);
    let found = all.copied().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no canary {name}")).1
}

/// A log of SGLang with secrets in each form.
fn log() -> String {
    let c = canary;
    let stamp = "[2026-11-30 10:00:00]";
    [
        format!(
            "{stamp} server_args=ServerArgs(model_path='m', api_key='{}', admin_api_key='{}', ssl_keyfile_password='{}', port=30000)",
            c("api_key of server_args"),
            c("admin_api_key of server_args"),
            c("password of a TLS key")
        ),
        format!("{stamp} {{'api_key': '{}', 'port': 30000}}", c("api_key of a dict")),
        format!("{stamp} {{\"api_key\":\"{}\"}}", c("api_key of JSON")),
        format!(
            "{}",
            json!({"message": json!({"api_key": c("api_key of JSON in JSON")}).to_string()})
        ),
        format!("{stamp} python3 -m sglang.launch_server --api-key {} --port 1", c("--api-key X")),
        format!("{stamp} ['--api-key={}', '--port']", c("--api-key=X")),
        format!("{stamp} request with Bearer {}", c("bearer")),
        format!("{stamp} Authorization: Basic {}", c("basic login")),
        format!("{stamp} GET https://user:{}@host/x failed", c("login in a URL")),
        format!(
            "{stamp} GET https://cdn/x?X-Amz-Signature={}&X-Amz-Security-Token={}&a=1",
            c("signed URL"),
            c("session of a signed URL")
        ),
        format!("{stamp} login with {}", c("token of the hub in a log")),
        format!("{stamp} login with {}", c("JSON web token")),
        format!("{stamp} login with {}", c("key of a provider")),
        format!("{stamp} login with {}", c("key of AWS")),
        format!("{stamp} refused {}", c("key of an exposed server")),
        format!("{stamp} refused {}", c("token of a mirror")),
        format!("WANDB_API_KEY={} python3", c("variable in a log")),
        format!("DB_PASSWORD: {}", c("YAML in a log")),
        format!("\"Env\": [\"A=b\", \"MY_SECRET={}\"]", c("Docker's Env in a log")),
        format!(
            "{stamp} Finish: obj=GenerateReqInput(rid='0123456789abcdef0123456789abcdef', text='{}'), out={{'text': 'x', 'meta_info': {{'completion_tokens': 9}}}}",
            c("prompt")
        ),
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", c("private key")),
        // The end of the server, in a line with a secret.
        format!(
            "Traceback (most recent call last):\n  File \"/x.py\", line 1, in main\nRuntimeError: it broke with --api-key {} and https://user:{}@host",
            c("--api-key X"),
            c("login in a URL")
        ),
    ]
    .join("\n")
        + "\n"
}

fn write(home: &Home, path: &str, text: &str) {
    let path = home.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const STATE: &str = ".local/state/dsr1/servers";

/// Returns a home with canaries, and the files in which they were planted.
fn planted(hub: &Hub) -> (Home, BTreeSet<String>) {
    let home = Home::new()
        .without_docker()
        .with("HF_ENDPOINT", &hub.endpoint)
        .with("HF_TOKEN", canary("token of the environment"))
        .with("DSR1_MIRROR_TOKEN", canary("token of a mirror"))
        .with("MY_SECRET_KEY", canary("variable of a command line"))
        .with(
            "https_proxy",
            format!("http://user:{}@127.0.0.1:9", canary("password of a proxy")),
        );
    // The plan of a server that was stopped, and one that crashed.
    stopped_server(&home, "dsr1-stopped", 30_101);
    let plan = home.path().join(format!("{STATE}/dsr1-stopped.plan"));
    let mut text: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&plan).unwrap()).unwrap();
    for step in text["steps"].as_array_mut().unwrap() {
        if step["step"] == "start_process" {
            step["env"]["MY_SECRET_TOKEN"] = json!(canary("variable of a plan"));
        }
    }
    std::fs::write(&plan, text.to_string()).unwrap();
    std::fs::set_permissions(&plan, std::fs::Permissions::from_mode(0o600)).unwrap();
    ended_server(&home, "dsr1-crashed", 30_102);
    let crashed = home.path().join(format!("{STATE}/dsr1-crashed.log"));
    std::fs::write(&crashed, std::fs::read_to_string(&crashed).unwrap() + &log()).unwrap();
    write(&home, &format!("{STATE}/dsr1-crashed.ended.log"), &log());
    write(&home, "foreign.log", &log());
    let key = format!("alice {}\n", canary("key of an exposed server"));
    write(&home, &format!("{STATE}/dsr1-crashed.keys"), &key);
    write(
        &home,
        ".cache/huggingface/token",
        &format!("{}\n", canary("token file")),
    );
    let auth = canary("login of Docker");
    write(
        &home,
        ".docker/config.json",
        &json!({"auths": {"registry": {"auth": auth}}}).to_string(),
    );
    write(
        &home,
        ".local/state/dsr1/results/dsr1-a-bench-20261130T100000Z.json",
        &json!({"schema": "dsr1.bench/1", "server_info": {"api_key": canary("key of a result")}}).to_string(),
    );
    // A profile that is refused, with a key in it: what it says is in messages and in the bundle.
    let yaml = home
        .run(&["profiles", "show", "rehearsal", "--yaml"])
        .expect(0)
        .stdout;
    let yaml = yaml.replace("name: rehearsal", "name: mine");
    let yaml = format!("{yaml}\n# --api-key {}\n", canary("key of a profile"));
    write(&home, ".config/dsr1/profiles/mine.yaml", &yaml);
    let planted = [
        format!("{STATE}/dsr1-stopped.plan"),
        format!("{STATE}/dsr1-crashed.log"),
        format!("{STATE}/dsr1-crashed.ended.log"),
        "foreign.log".to_owned(),
        format!("{STATE}/dsr1-crashed.keys"),
        ".cache/huggingface/token".to_owned(),
        ".docker/config.json".to_owned(),
        ".local/state/dsr1/results/dsr1-a-bench-20261130T100000Z.json".to_owned(),
        ".config/dsr1/profiles/mine.yaml".to_owned(),
    ];
    (home, planted.into_iter().collect())
}

/// Returns the names of the canaries in a text.
fn found_in(text: &str, canaries: &[(&'static str, &str)]) -> Vec<&'static str> {
    let holds = |secret: &&(&str, &str)| text.contains(secret.1);
    canaries.iter().filter(holds).map(|(name, _)| *name).collect()
}

fn run(home: &Home, line: &str) -> Run {
    let words: Vec<&str> = line.split(' ').collect();
    home.run(&words)
}

/// Commands whose output has no secret. Each runs as text and as JSON.
const COMMANDS: [&str; 29] = [
    "plan rehearsal --runtime process --env MY_SECRET_KEY",
    "plan rehearsal --runtime process --origin --env MY_SECRET_KEY",
    "plan rehearsal --runtime process -- --api-key canary-argv-77ab",
    "plan mine --runtime process",
    "lock rehearsal --runtime process --env MY_SECRET_KEY --output new.lock",
    "check new.lock --runtime process --env MY_SECRET_KEY",
    "status",
    "status --all",
    "status crashed",
    "logs crashed --grep login",
    "logs crashed --grep 2026",
    "logs stopped",
    "diagnose crashed",
    "diagnose crashed --previous",
    "diagnose foreign.log",
    "events",
    "doctor rehearsal --runtime process",
    "explain --api-key",
    "clean --dry-run",
    "profiles list",
    "profiles show mine",
    "profiles validate mine",
    "pull dsr1/refused",
    "pull dsr1/refused --endpoint https://hub.invalid",
    "logs crashed --tail 200",
    "status crashed --progress json",
    "logs nobody",
    "bundle --dry-run",
    "image list",
];

/// Commands whose output is for a machine that starts the server, and holds the variables of the user: without them the server
/// does not start as it was planned.
const CARRIERS: [&str; 5] = [
    "serve rehearsal --runtime process --env MY_SECRET_KEY --dry-run",
    "export bash --runtime process rehearsal --env MY_SECRET_KEY",
    "export systemd --runtime process rehearsal --env MY_SECRET_KEY",
    "export systemd --runtime process rehearsal --env MY_SECRET_KEY --output server.service",
    "restart stopped --dry-run",
];

#[test]
fn no_secret_reaches_any_sink() {
    let hub = Hub::new("dsr1/refused", small_model());
    hub.require_token("another");
    let (home, planted) = planted(&hub);
    let mut all = String::new();
    for line in COMMANDS {
        for format in ["text", "json"] {
            let run = run(&home, &with_format(line, format));
            for (sink, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
                let found = found_in(text, &CANARIES);
                assert!(found.is_empty(), "{line}, {format}, {sink}: {found:?}\n{text}");
            }
            if line.starts_with("lock") && format == "text" {
                std::fs::remove_file(home.path().join("new.lock")).unwrap();
            }
            all += &run.stdout;
            all += &run.stderr;
        }
    }
    // The secrets were met, and replaced where they stood.
    for shown in [
        "model_path='m', api_key='***', admin_api_key='***', ssl_keyfile_password='***', port=30000",
        "it broke with --api-key *** and https://***@host",
        "MY_SECRET_KEY=***",
        "\"MY_SECRET_KEY\": \"***\"",
        "dsr1/refused",
        "hub.invalid",
        "Bearer ***",
        "?X-Amz-Signature=***&X-Amz-Security-Token=***&a=1",
    ] {
        assert!(all.contains(shown), "{shown}\n{all}");
    }
    for line in CARRIERS {
        let run = run(&home, line);
        let allowed = ["variable of a command line", "variable of a plan"];
        for text in [&run.stdout, &run.stderr] {
            let found = found_in(text, &CANARIES);
            let others: Vec<_> = found.iter().filter(|name| !allowed.contains(name)).collect();
            assert!(others.is_empty(), "{line}: {others:?}\n{text}");
        }
    }
    // The JSON of a plan is for people and programs that look at it: nothing starts a server from it.
    let shown = run(
        &home,
        "serve rehearsal --runtime process --env MY_SECRET_KEY --dry-run --format json",
    )
    .expect(0);
    assert!(found_in(&shown.stdout, &CANARIES).is_empty(), "{}", shown.stdout);

    // A file that must hold a variable is for this user alone.
    let service = home.path().join("server.service");
    let text = std::fs::read_to_string(&service).unwrap();
    assert_eq!(found_in(&text, &CANARIES), ["variable of a command line"]);
    assert_eq!(
        std::fs::metadata(&service).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let bundles = bundle_has_no_secret(&home);
    for (path, bytes) in support::tree(home.path()) {
        if planted.contains(&path) || path == "server.service" || bundles.contains(&path) {
            continue;
        }
        let found = found_in(&String::from_utf8_lossy(&bytes), &CANARIES);
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

fn with_format(line: &str, format: &str) -> String {
    match line.split_once(" -- ") {
        Some((line, rest)) => format!("{line} --format {format} -- {rest}"),
        None => format!("{line} --format {format}"),
    }
}

/// Returns the files of an archive by their names below its folder.
fn unpacked(home: &Home, archive: &str) -> BTreeMap<String, String> {
    let into = home.path().join("unpacked");
    std::fs::create_dir(&into).unwrap();
    let status = std::process::Command::new("tar")
        .args(["-xzf", archive, "--strip-components", "1", "-C", "unpacked"])
        .current_dir(home.path())
        .status()
        .unwrap();
    assert!(status.success());
    let files = support::tree(&into);
    std::fs::remove_dir_all(&into).unwrap();
    files
        .into_iter()
        .map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap()))
        .collect()
}

/// Makes bundles, and searches them; returns their files.
fn bundle_has_no_secret(home: &Home) -> BTreeSet<String> {
    let all: Vec<(&str, &str)> = CANARIES.iter().chain(&OF_BUNDLES).copied().collect();
    let made = run(home, "bundle --output all.tar.gz --format json").expect(0);
    let report = made.json();
    assert_eq!(report["schema"], "dsr1.bundle/1");
    let files = unpacked(home, "all.tar.gz");
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    for (path, text) in &files {
        let found = found_in(text, &all);
        assert!(found.is_empty(), "{path}: {found:?}\n{text}");
        assert!(!text.contains(home.path().to_str().unwrap()), "{path}\n{text}");
        let is_host = |word: &str| word == host && host.len() > 3;
        assert!(
            !text
                .split(|c: char| !c.is_alphanumeric() && c != '-')
                .any(is_host),
            "{path}\n{text}"
        );
    }
    for name in [
        "README.txt",
        "dsr1.json",
        "doctor.json",
        "status.json",
        "servers/dsr1-crashed/log.txt",
        "servers/dsr1-crashed/log-1.txt",
        "servers/dsr1-crashed/diagnosis.json",
        "servers/dsr1-crashed/diagnosis-1.txt",
        "servers/dsr1-crashed/profile.json",
        "servers/dsr1-stopped/plan.json",
        "servers/dsr1-stopped/events.jsonl",
        "servers/dsr1-stopped/log.txt",
        "config/profiles/mine.yaml",
        "results/dsr1-a-bench-20261130T100000Z.json",
    ] {
        assert!(files.contains_key(name), "{name}: {:?}", files.keys());
    }
    // What is no secret is still there.
    let log = &files["servers/dsr1-crashed/log.txt"];
    assert!(
        log.contains("model_path='m', api_key='***'") && log.contains("completion_tokens=9"),
        "{log}"
    );
    assert!(files["servers/dsr1-stopped/plan.json"].contains("\"MY_SECRET_TOKEN\": \"***\""));
    // The text at the top names each file, and the numbers of replacements.
    let readme = &files["README.txt"];
    for name in files.keys().filter(|name| *name != "README.txt") {
        assert!(readme.contains(name.as_str()), "{name}\n{readme}");
    }
    for sort in [
        "engine_key",
        "header",
        "url_login",
        "signed_url",
        "token",
        "private_key",
        "variable",
        "prompt",
        "known",
    ] {
        assert!(
            report["redacted"][sort].as_u64().unwrap() > 0,
            "{sort}: {report:#}"
        );
    }
    assert!(readme.contains("prompts and answers\n"), "{readme}");
    let archive = home.path().join("all.tar.gz");
    let meta = std::fs::metadata(&archive).unwrap();
    assert_eq!(
        (meta.permissions().mode() & 0o777, meta.len()),
        (0o600, report["bytes"].as_u64().unwrap())
    );
    ["all.tar.gz".to_owned()].into()
}

/// A bundle of one server has no files of another, replaces no file, and leaves nothing when its name is wrong.
#[test]
fn a_bundle_is_of_one_server_and_replaces_nothing() {
    let home = Home::new().without_docker();
    ended_server(&home, "dsr1-a", 30_103);
    ended_server(&home, "dsr1-b", 30_104);
    let listed = run(&home, "bundle a --dry-run --format json").expect(0).json();
    let names: Vec<&str> = listed["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"servers/dsr1-a/log.txt"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("dsr1-b")), "{names:?}");
    assert_eq!(
        (&listed["dry_run"], &listed["file"]),
        (&json!(true), &json!(null))
    );
    let before = support::tree(home.path()).len();
    let wrong = run(&home, "bundle nobody -o x.tar.gz").expect(2).stderr;
    assert!(wrong.contains("nothing is known of a server `nobody`"), "{wrong}");
    std::fs::write(home.path().join("mine.tar.gz"), "mine").unwrap();
    let taken = run(&home, "bundle -o mine.tar.gz").expect(2).stderr;
    assert!(taken.contains("`mine.tar.gz` exists already"), "{taken}");
    assert_eq!(std::fs::read(home.path().join("mine.tar.gz")).unwrap(), b"mine");
    assert_eq!(support::tree(home.path()).len(), before + 1);
    let kept = run(&home, "bundle a -o a.tar.gz --keep-names").expect(0).stdout;
    assert!(
        kept.contains("wrote a.tar.gz: ") && kept.contains("Look at the files"),
        "{kept}"
    );
    let readme = &unpacked(&home, "a.tar.gz")["README.txt"];
    assert!(readme.contains("--keep-names was given"), "{readme}");
}

/// Ctrl-C leaves no part of an archive.
#[test]
fn an_interrupted_bundle_leaves_nothing() {
    let home = Home::new().without_docker();
    ended_server(&home, "dsr1-a", 30_105);
    // It is read and packed for a while.
    let log = home.path().join(format!("{STATE}/dsr1-a.ended.log"));
    let line = "[2026-11-30 10:00:00] a line of a long log\n".repeat(1 << 20);
    std::fs::write(&log, line).unwrap();
    let mut started = home.start(&["bundle", "-o", "a.tar.gz"]);
    started.wait_for("read the log of dsr1-a", std::time::Duration::from_secs(20));
    started.signal("INT");
    let (run, _) = started.end();
    run.expect(130);
    let left: Vec<_> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("tar.gz"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
