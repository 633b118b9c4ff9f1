//! `dsr1 pull` against a hub with injected faults. Promise 1 of the design: a pull never reports
//! wrong files as verified.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::hub::{Fault, Hub, RepoFile, entry, noise, small_model};
use crate::support::pulled::{REPO, args, pull, repo, setup, snapshot, verify};
use crate::support::{self, Home};
use serde_json::json;

const SHARD: &str = "model-1.safetensors";

/// Asserts that the pulled tree equals the hub's, byte for byte, and that every blob's name is its hash.
#[track_caller]
fn assert_whole(home: &Home, hub: &Hub) {
    let pulled = support::tree(&snapshot(home, hub));
    let expected = small_model()
        .into_iter()
        .map(|(path, file)| (path, file.bytes))
        .collect();
    assert_eq!(pulled, expected);
    assert_eq!(
        std::fs::read_to_string(repo(home).join("refs/main")).unwrap(),
        hub.commit()
    );
    assert_no_wrong_blob(home);
}

/// Asserts that every file with a final name has the bytes that the name states.
#[track_caller]
fn assert_no_wrong_blob(home: &Home) {
    let files = small_model();
    let Ok(blobs) = std::fs::read_dir(repo(home).join("blobs")) else {
        return;
    };
    for blob in blobs.flatten() {
        let name = blob.file_name().into_string().unwrap();
        let bytes = std::fs::read(blob.path()).unwrap();
        let right = files.iter().any(|(path, file)| {
            let entry = entry(path, file);
            let oid = entry["lfs"]["oid"].as_str().or(entry["oid"].as_str()).unwrap();
            oid == name && file.bytes == bytes
        });
        assert!(right, "blob {name} has {} wrong bytes", bytes.len());
    }
}

/// Asserts that the snapshot is not published.
#[track_caller]
fn assert_not_published(home: &Home, hub: &Hub) {
    assert_no_wrong_blob(home);
    assert!(!repo(home).join("refs/main").exists());
    assert!(!snapshot(home, hub).exists());
}

#[test]
fn a_snapshot_is_pulled_whole_and_once() {
    let (home, hub) = setup();
    let first = pull(&home, &hub, &[]).expect(0);
    assert!(first.stderr.contains("6 files, 1.2 MB"), "{}", first.stderr);
    assert_whole(&home, &hub);
    let sent = hub.bytes_sent();
    let again = pull(&home, &hub, &[]).expect(0);
    assert!(again.stderr.contains("(cached)"), "{}", again.stderr);
    assert_eq!(hub.bytes_sent(), sent, "the second pull fetched something");
}

#[test]
fn the_report_is_json_for_ci() {
    let (home, hub) = setup();
    let args = [
        "pull",
        REPO,
        "--endpoint",
        &hub.endpoint,
        "--format",
        "json",
        "--progress",
        "json",
    ];
    let run = home.run(&args).expect(0);
    let report = run.json();
    assert_eq!(report["schema"], "dsr1.report/1");
    let outcome = &report["steps"][0]["outcome"];
    assert_eq!(
        (&outcome["result"], &outcome["files"], &outcome["commit"]),
        (&json!("pulled"), &json!(6), &json!(hub.commit()))
    );
    for line in run.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string());
    }
}

/// Asserts that a pull succeeds although a fault occurs once or a few times.
fn survives(fault: Fault, times: usize) {
    let (home, hub) = setup();
    hub.fault(&format!("blob/{SHARD}"), fault.clone(), times);
    let run = pull(&home, &hub, &[]);
    assert_eq!(run.code, 0, "{fault:?}: {}", run.stderr);
    assert_whole(&home, &hub);
}

#[test]
fn a_reset_connection_is_resumed_where_it_broke() {
    let (home, hub) = setup();
    hub.fault(&format!("blob/{SHARD}"), Fault::Reset(600_000), 1);
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
    let resumed = hub
        .asked()
        .into_iter()
        .any(|asked| asked.on_cdn && asked.range.is_some_and(|range| !range.starts_with("bytes=0-")));
    assert!(resumed, "nothing was resumed: {:?}", hub.asked());
}

#[test]
fn a_truncated_shard_is_resumed() {
    survives(Fault::Truncate(500_000), 2);
}

#[test]
fn a_short_shard_with_a_correct_content_length_is_fetched_again() {
    survives(Fault::Short(1_000), 2);
}

#[test]
fn a_flipped_byte_is_fetched_again() {
    survives(Fault::Flip(123_456), 1);
}

#[test]
fn an_error_page_never_becomes_a_shard() {
    for (code, page) in [
        (403, "<html>expired</html>"),
        (500, "oops"),
        (503, "<html>busy</html>"),
    ] {
        survives(Fault::Status(code, "Content-Type: text/html\r\n", page), 1);
    }
}

#[test]
fn an_answer_that_does_not_fit_the_request_is_not_used() {
    for fault in [
        Fault::Packed,
        Fault::EndEarly(500_000),
        Fault::Slow(2_000_000),
        Fault::Status(416, "", ""),
        Fault::Status(408, "", ""),
    ] {
        survives(fault, 1);
    }
}

#[test]
fn another_range_than_the_requested_one_is_not_used() {
    let (home, hub) = setup();
    hub.fault(&format!("blob/{SHARD}"), Fault::Truncate(500_000), 1);
    hub.fault(&format!("blob/{SHARD}"), Fault::OtherRange, 1);
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
}

/// A content network that states another entity tag for the same bytes.
#[test]
fn a_pull_succeeds_although_the_entity_tag_changes() {
    survives(Fault::NewEtag, 3);
}

#[test]
fn a_pull_waits_for_a_hub_that_limits_requests() {
    for head in ["Retry-After: 1\r\n", "RateLimit: \"api\";r=0;t=1\r\n"] {
        let begun = Instant::now();
        survives(Fault::Status(429, head, ""), 1);
        assert!(begun.elapsed() >= Duration::from_secs(1), "{head}");
    }
    // The requests before the files wait, too.
    for path in ["/revision/", "/tree/"] {
        let (home, hub) = setup();
        hub.fault(path, Fault::Status(429, "Retry-After: 1\r\n", ""), 1);
        hub.fault(path, Fault::Status(503, "", ""), 1);
        pull(&home, &hub, &[]).expect(0);
        assert_whole(&home, &hub);
    }
}

/// A wait is never silent: the pull says what it waits for, and for how long.
#[test]
fn a_wait_before_the_first_file_is_reported() {
    let (home, hub) = setup();
    hub.fault("/revision/", Fault::Status(429, "Retry-After: 2\r\n", ""), 1);
    let run = pull(&home, &hub, &[]).expect(0);
    let told = format!(
        "note: {} answered with status 429: trying again in 2.0s\n",
        hub.endpoint
    );
    assert_eq!(run.stderr.matches(&told).count(), 1, "{}", run.stderr);
    // The pull prints one note while the hub continues like this, and so does the dry run.
    hub.fault("/revision/", Fault::Status(503, "", ""), 9);
    let dry = ["pull", REPO, "--endpoint", &hub.endpoint, "--dry-run"];
    for args in [&dry[..], &dry[..4]] {
        let run = Home::new().run(args).expect(5);
        assert_eq!(run.stderr.matches("note: ").count(), 1, "{}", run.stderr);
        assert!(
            run.stderr
                .contains("answered with status 503: trying again in 0.2s"),
            "{}",
            run.stderr
        );
        assert!(
            run.stderr.contains(&format!(
                "error: the hub answered with status 503\ncause: {} was asked for {REPO} several times\nhint: try again later",
                hub.endpoint
            )),
            "{}",
            run.stderr
        );
        hub.clear();
        // A hub that asks for no pause gets the usual one.
        hub.fault("/tree/", Fault::Status(503, "Retry-After: 0\r\n", ""), 9);
    }
}

#[test]
fn a_pull_names_a_hub_that_does_not_answer_while_it_waits() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let home = Home::new().with("HF_HUB_DOWNLOAD_TIMEOUT", "6");
    let run = home.run(&["pull", REPO, "--endpoint", &endpoint]).expect(5);
    let told = format!("note: no answer from {endpoint} yet\n");
    assert_eq!(run.stderr.matches(&told).count(), 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("cause: no response within 6 s (2 attempts)"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_server_that_ignores_ranges_cannot_corrupt_a_resumed_shard() {
    let (home, hub) = setup();
    hub.fault(&format!("blob/{SHARD}"), Fault::Truncate(500_000), 1);
    hub.fault(&format!("blob/{SHARD}"), Fault::IgnoreRange(usize::MAX), 1);
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
}

#[test]
fn bytes_that_stay_wrong_are_an_integrity_error_and_get_no_name() {
    let (home, hub) = setup();
    hub.fault(&format!("blob/{SHARD}"), Fault::Flip(7), 9);
    let run = pull(&home, &hub, &[]).expect(6);
    assert!(
        run.stderr
            .contains(&format!("error: `{SHARD}` failed its checksum twice")),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("the listing states"), "{}", run.stderr);
    assert_not_published(&home, &hub);
}

#[test]
fn a_missing_shard_fails_the_pull() {
    let (home, hub) = setup();
    hub.fault(
        &format!("blob/{SHARD}"),
        Fault::Status(404, "", "<html>gone</html>"),
        99,
    );
    let run = pull(&home, &hub, &[]).expect(5);
    assert!(run.stderr.contains("cause: status 404"), "{}", run.stderr);
    assert_not_published(&home, &hub);
}

#[test]
fn a_model_without_one_of_its_shards_is_never_published() {
    let (home, hub) = setup();
    let listing: Vec<serde_json::Value> = small_model()
        .iter()
        .filter(|(path, _)| path.as_str() != SHARD)
        .map(|(path, file)| entry(path, file))
        .collect();
    hub.listing(json!(listing));
    let run = pull(&home, &hub, &[]).expect(6);
    assert!(
        run.stderr
            .contains(&format!("error: `{SHARD}` of lab/tiny-r1 is missing")),
        "{}",
        run.stderr
    );
    assert_not_published(&home, &hub);
}

#[test]
fn two_paths_with_the_same_bytes_are_fetched_once() {
    let mut files = small_model();
    let shard = files[SHARD].clone();
    files.insert("copies/same.safetensors".to_owned(), shard);
    let (home, hub) = (Home::new(), Hub::new(REPO, files.clone()));
    pull(&home, &hub, &[]).expect(0);
    let pulled = support::tree(&snapshot(&home, &hub));
    let expected = files.into_iter().map(|(path, file)| (path, file.bytes)).collect();
    assert_eq!(pulled, expected);
    let fetched = hub
        .asked()
        .into_iter()
        .filter(|asked| asked.on_cdn && asked.method == "GET")
        .count();
    assert_eq!(fetched, 2, "three large paths are two blobs");
}

#[test]
fn the_token_never_leaves_the_hub() {
    let hub = Hub::new(REPO, small_model());
    hub.require_token("hf_canary");
    let home = Home::new().with("HF_TOKEN", "hf_canary");
    let run = pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
    let asked = hub.asked();
    assert!(asked.iter().any(|asked| asked.on_cdn));
    assert!(
        asked.iter().all(|asked| asked.on_cdn != asked.authorized),
        "{asked:?}"
    );
    assert!(!run.stderr.contains("hf_canary") && !run.stdout.contains("hf_canary"));
    for (path, bytes) in support::tree(home.path()) {
        assert!(
            !bytes.windows(9).any(|window| window == b"hf_canary"),
            "the token is in {path}"
        );
    }
}

#[test]
fn a_gated_repository_says_what_to_do() {
    let (home, hub) = setup();
    hub.require_token("hf_other");
    let run = pull(&home, &hub, &[]).expect(5);
    assert!(
        run.stderr.contains("error: lab/tiny-r1 is gated"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains(&format!("hint: accept the terms at {}/{REPO}", hub.endpoint)),
        "{}",
        run.stderr
    );
    assert_eq!(run.stderr.matches("hint:").count(), 1);
}

#[test]
fn a_proxy_is_named_and_one_that_cannot_be_used_is_refused() {
    // The hub gets no request: the proxy is on loopback, and does not answer either.
    let away = ["pull", REPO, "--endpoint", "http://192.0.2.2:8498"];
    let proxied = |value: &str| Home::new().with("HTTP_PROXY", value).with("NO_PROXY", "");
    let proxy = format!("127.0.0.1:{}", support::free_port());
    let run = proxied(&format!("http://me:s3cret@{proxy}")).run(&away).expect(5);
    assert!(
        run.stderr.contains(&format!(
            "cause: no answer from http://192.0.2.2:8498 through the proxy http://{proxy}: "
        )),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
    for (value, seen) in [
        ("http://bad host:1", "http://bad host:1"),
        ("nonsense://", "nonsense:"),
    ] {
        let run = proxied(value).run(&away).expect(2);
        assert!(
            run.stderr
                .starts_with("[1/1] pull lab/tiny-r1\n[1/1] not finished")
                && run.stderr.contains(&format!(
                    "error: `HTTP_PROXY` does not name a usable proxy\ncause: `{seen}` is not the URL"
                )),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn wrong_variables_about_the_hub_are_named() {
    let (_, hub) = setup();
    let refused = |name: &str, value: &str, error: &str| {
        let run = pull(&Home::new().with(name, value), &hub, &[]).expect(2);
        assert!(run.stderr.starts_with(error), "{}", run.stderr);
        assert!(!run.stderr.contains("hf_canary"), "{}", run.stderr);
    };
    refused(
        "HF_TOKEN",
        "hf_canary\nhf_canary",
        "error: `HF_TOKEN` does not hold a token\ncause: a token is a single line",
    );
    refused(
        "HF_HUB_DOWNLOAD_TIMEOUT",
        "abc",
        "error: `HF_HUB_DOWNLOAD_TIMEOUT` is not a number of seconds\ncause: it is `abc`\n",
    );
    let home = Home::new().with("HF_TOKEN_PATH", "/nonexistent/token");
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.starts_with(
            "warning: no token is sent: cannot read `/nonexistent/token`, which HF_TOKEN_PATH names: No such file"
        ),
        "{}",
        run.stderr
    );
}

#[test]
fn a_missing_repository_is_reported() {
    let (home, hub) = setup();
    let run = home
        .run(&["pull", "lab/none", "--endpoint", &hub.endpoint])
        .expect(5);
    assert!(
        run.stderr.contains(&format!(
            "error: lab/none was not found\ncause: {} answered 404",
            hub.endpoint
        )),
        "{}",
        run.stderr
    );
    let run = home
        .run(&["pull", REPO, "--revision", "nope", "--endpoint", &hub.endpoint])
        .expect(5);
    assert!(run.stderr.contains("has no revision `nope`"), "{}", run.stderr);
}

#[test]
fn an_unreachable_hub_is_reported_within_two_seconds() {
    let home = Home::new();
    let begun = Instant::now();
    let endpoint = format!("http://127.0.0.1:{}", support::free_port());
    let run = home.run(&["pull", REPO, "--endpoint", &endpoint]).expect(5);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(
        run.stderr.contains("error: cannot reach the hub") && run.stderr.contains("hint: check the network"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_hostile_listing_writes_nothing() {
    for path in [
        "../../../../escape",
        "/tmp/escape",
        "a/../../b",
        "x\u{202e}y",
        "..",
    ] {
        let (home, hub) = setup();
        hub.listing(json!([{ "type": "file", "path": path, "size": 1, "oid": "0".repeat(40) }]));
        let run = pull(&home, &hub, &[]).expect(6);
        assert!(
            run.stderr.contains("error: the hub's listing cannot be trusted"),
            "{}",
            run.stderr
        );
        assert!(!repo(&home).exists(), "{path}");
    }
}

#[test]
fn a_wrong_blob_of_an_earlier_pull_is_replaced() {
    let (home, hub) = setup();
    let shard = &small_model()[SHARD];
    let oid = entry(SHARD, shard)["lfs"]["oid"].as_str().unwrap().to_owned();
    let blobs = repo(&home).join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(oid), &shard.bytes[..1000]).unwrap();
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
}

#[test]
fn a_file_that_changed_after_the_pull_is_noticed_and_repaired() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let shard = snapshot(&home, &hub).join(SHARD);
    std::fs::write(std::fs::canonicalize(&shard).unwrap(), b"changed").unwrap();
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
}

#[test]
fn two_pulls_at_once_fetch_every_byte_once() {
    let (home, hub) = setup();
    let args = args(&hub, &[]);
    hub.fault("blob/", Fault::Slow(2_000_000), usize::MAX);
    let mut first = home.start(&args);
    first.wait_for("under way", Duration::from_mins(1));
    let holder = first.pid();
    let second = home.start(&args);
    first.end().0.expect(0);
    let second = second.end().0.expect(0);
    let waits = format!("waiting: another dsr1 is pulling lab/tiny-r1 (process {holder} on ");
    assert!(second.stderr.contains(&waits), "{}", second.stderr);
    assert_whole(&home, &hub);
    let total: usize = small_model().values().map(|file| file.bytes.len()).sum();
    assert_eq!(hub.bytes_sent(), total);
}

#[test]
fn an_interrupted_pull_ends_at_once_and_is_resumed() {
    let (home, hub) = setup();
    // A large part of one shard arrives, and then the stream stalls.
    hub.fault(&format!("blob/{SHARD}"), Fault::Reset(700_000), 1);
    hub.fault(&format!("blob/{SHARD}"), Fault::Stall(60), 1);
    let mut running = home.start(&args(&hub, &[]));
    running.wait_for("6 files", Duration::from_secs(20));
    let part = repo(&home).join(".dsr1");
    let has_part = || {
        std::fs::read_dir(&part)
            .into_iter()
            .flatten()
            .flatten()
            .any(|file| {
                Path::new(&file.file_name())
                    .extension()
                    .is_some_and(|kind| kind == "part")
                    && file.metadata().is_ok_and(|meta| meta.len() > 500_000)
            })
    };
    let begun = Instant::now();
    while !has_part() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no part appeared");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(600));
    running.signal("INT");
    let (run, took) = running.end();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(run.expect(130).stderr.ends_with(
        "error: interrupted by Ctrl-C\nhint: run the command again: it resumes an unfinished pull of weights\n"
    ));
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(
        listed
            .lines()
            .any(|line| line.starts_with("lab/tiny-r1 ") && line.ends_with("  unfinished")),
        "{listed}"
    );
    assert_not_published(&home, &hub);
    let before = hub.bytes_sent();
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
    assert!(
        hub.bytes_sent() - before < 400_000,
        "{} bytes were fetched again",
        hub.bytes_sent() - before
    );
}

#[test]
fn a_killed_pull_leaves_no_wrong_file_and_is_resumed() {
    let (home, hub) = setup();
    hub.fault(&format!("blob/{SHARD}"), Fault::Reset(700_000), 1);
    hub.fault(&format!("blob/{SHARD}"), Fault::Stall(60), 1);
    let mut running = home.start(&args(&hub, &[]));
    running.wait_for("6 files", Duration::from_secs(20));
    std::thread::sleep(Duration::from_millis(900));
    running.signal("KILL");
    running.end().0.expect(137);
    assert_not_published(&home, &hub);
    pull(&home, &hub, &[]).expect(0);
    assert_whole(&home, &hub);
}

#[test]
fn offline_only_verified_files_are_accepted() {
    let (home, hub) = setup();
    let home = home.with("HF_HUB_OFFLINE", "1");
    let run = pull(&home, &hub, &[]).expect(5);
    assert!(run.stderr.contains("is not in the cache"), "{}", run.stderr);
    let online = Home::new();
    pull(&online, &hub, &[]).expect(0);
    let cache = online.path().join(".cache/huggingface");
    let offline = Home::new()
        .with("HF_HUB_OFFLINE", "1")
        .with("HF_HOME", cache.to_str().unwrap());
    let asked = hub.asked().len();
    pull(&offline, &hub, &[]).expect(0);
    assert_eq!(hub.asked().len(), asked);
}

#[test]
fn files_are_readable_by_other_users_whatever_the_umask() {
    let (home, hub) = setup();
    let binary = env!("CARGO_BIN_EXE_dsr1");
    let script = format!(
        "umask 077 && exec {binary} pull {REPO} --endpoint {}",
        hub.endpoint
    );
    let pulled = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("HOME", home.path())
        .output()
        .unwrap();
    crate::support::Run::from(pulled).expect(0);
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
    };
    let snapshot = snapshot(&home, &hub);
    let repo = repo(&home);
    let manifest = format!(".dsr1/verified-{}.json", hub.commit());
    for file in [snapshot.join(SHARD), repo.join("refs/main"), repo.join(manifest)] {
        assert_eq!(mode(&file), 0o644, "{}", file.display());
    }
    for dir in [
        snapshot.parent().unwrap(),
        &snapshot,
        &repo.join("blobs"),
        &repo.join(".dsr1"),
    ] {
        assert_eq!(mode(dir), 0o755, "{}", dir.display());
    }
}

/// Returns a home and a hub with one shard of several journal steps.
fn one_large() -> (Home, Hub, Vec<u8>) {
    let bytes = noise(7, 21_000_000);
    let file = RepoFile {
        bytes: bytes.clone(),
        large: true,
    };
    let files = BTreeMap::from([("weights.dat".to_owned(), file)]);
    (Home::new(), Hub::new(REPO, files), bytes)
}

fn verified(home: &Home, hub: &Hub, more: &[&str], code: i32) -> serde_json::Value {
    let json = ["--format", "json"];
    verify(home, hub, &[&json, more].concat()).expect(code).json()
}

#[test]
fn a_corrupt_shard_is_found_and_only_its_corrupt_ranges_are_fetched() {
    let (home, hub, bytes) = one_large();
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(verified(&home, &hub, &[], 0)["wrong"], serde_json::json!([]));
    verified(&home, &hub, &["--fast"], 0);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    assert!(listed.contains("verified") && listed.contains(REPO), "{listed}");

    let blob = repo(&home)
        .join("snapshots")
        .join(hub.commit())
        .join("weights.dat");
    let flip = |places: &[usize]| {
        let mut bad = bytes.clone();
        for place in places {
            bad[*place] ^= 1;
        }
        std::fs::write(std::fs::canonicalize(&blob).unwrap(), bad).unwrap();
    };
    flip(&[9_000_000, 20_000_000]);
    let found = verified(&home, &hub, &["--fast"], 6);
    assert_eq!(found["wrong"][0]["path"], "weights.dat");
    let found = verified(&home, &hub, &[], 6);
    assert!(
        found["wrong"][0]["why"].as_str().unwrap().contains("its hash is"),
        "{found}"
    );
    let found = verified(&home, &hub, &["--repair"], 0);
    assert_eq!(found["repaired"], 1);
    // Two ranges of some MiB of the twenty-one.
    assert!(found["fetched_bytes"].as_u64().unwrap() < 12_000_000, "{found}");
    assert_eq!(std::fs::read(&blob).unwrap(), bytes);
    verified(&home, &hub, &["--fast"], 0);

    // Without a journal, and after its removal, the whole file is fetched.
    for entry in std::fs::read_dir(repo(&home).join(".dsr1")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|kind| kind == "record") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    flip(&[5]);
    verified(&home, &hub, &["--repair"], 0);
    assert_eq!(std::fs::read(&blob).unwrap(), bytes);
    std::fs::remove_file(std::fs::canonicalize(&blob).unwrap()).unwrap();
    verified(&home, &hub, &["--repair"], 0);
    assert_eq!(std::fs::read(&blob).unwrap(), bytes);
    pull(&home, &hub, &[]).expect(0);
}

#[test]
fn weights_are_removed_only_with_yes() {
    let (home, hub) = setup();
    pull(&home, &hub, &[]).expect(0);
    let shown = home.run(&["weights", "rm", REPO, "--dry-run"]).expect(0).stdout;
    assert!(shown.contains("would be freed"), "{shown}");
    let refused = home.run(&["weights", "rm", REPO]).expect(2).stderr;
    let line = format!("hint: dsr1 weights rm {REPO} --yes removes it");
    assert!(refused.contains(&line), "{refused}");
    assert_whole(&home, &hub);
    home.run(&["weights", "rm", REPO, "--yes"]).expect(0);
    assert!(!repo(&home).exists());
    home.run(&["weights", "rm", REPO]).expect(5);
    let listed = home.run(&["weights", "list"]).expect(0).stdout;
    let cache = repo(&home).parent().unwrap().to_owned();
    assert_eq!(listed, format!("no weights in {}\n", cache.display()));
}

/// Every known fault of a hub (other clients took an error page, a short body, a flipped byte or a missing file for a
/// model), once, three times and always: a pull ends with correct files or with an error, and never with wrong files.
#[test]
fn after_every_fault_a_pull_is_correct_or_reports_an_error() {
    let faults = [
        Fault::Flip(123_456),
        Fault::Short(1_000),
        Fault::Truncate(500_000),
        Fault::EndEarly(500_000),
        Fault::Reset(300_000),
        Fault::Status(500, "", "oops"),
        Fault::Status(503, "Content-Type: text/html\r\n", "<html>busy</html>"),
        Fault::Status(429, "Retry-After: 0\r\n", ""),
        Fault::Status(403, "Content-Type: text/html\r\n", "<html>expired</html>"),
        Fault::Status(404, "", "<html>gone</html>"),
        Fault::Status(200, "", "<html>welcome to the hotel</html>"),
        Fault::Status(206, "Content-Range: bytes 0-4/5\r\n", "hello"),
        Fault::Status(302, "Location: http://127.0.0.3:9/elsewhere\r\n", ""),
        Fault::Status(302, "Location: /loop\r\n", ""),
        Fault::IgnoreRange(usize::MAX),
        Fault::OtherRange,
        Fault::Packed,
        Fault::NewEtag,
        Fault::Slow(3_000_000),
    ];
    let (mut right, mut loud) = (0, 0);
    let runs: Vec<(Fault, usize)> = faults
        .iter()
        .flat_map(|fault| [1, 3, 40].map(|times| (fault.clone(), times)))
        // A pull waits five minutes for a lost network.
        .filter(|(fault, times)| {
            !matches!(fault, Fault::Status(302, head, _) if head.contains("127.0.0.3")) || *times == 1
        })
        .collect();
    std::thread::scope(|scope| {
        let groups: Vec<_> = runs
            .chunks(2)
            .map(|runs| {
                scope.spawn(move || {
                    let mut counts = (0, 0);
                    for (fault, times) in runs {
                        let (home, hub) = setup();
                        hub.fault(&format!("blob/{SHARD}"), fault.clone(), *times);
                        let run = pull(&home, &hub, &[]);
                        assert!(
                            [0, 5, 6].contains(&run.code),
                            "{fault:?} x {times}: {}",
                            run.stderr
                        );
                        if run.code == 0 {
                            assert_whole(&home, &hub);
                            counts.0 += 1;
                        } else {
                            assert!(
                                run.stderr.contains("hint: "),
                                "{fault:?} x {times}: {}",
                                run.stderr
                            );
                            assert_not_published(&home, &hub);
                            counts.1 += 1;
                        }
                        // The files that it left do no harm.
                        hub.clear();
                        pull(&home, &hub, &[]).expect(0);
                        assert_whole(&home, &hub);
                    }
                    counts
                })
            })
            .collect();
        for group in groups {
            let counts: (usize, usize) = group.join().unwrap();
            (right, loud) = (right + counts.0, loud + counts.1);
        }
    });
    // No result was wrong: a wrong one fails above.
    assert!(
        right > loud && right + loud == runs.len(),
        "right {right}, loud {loud}"
    );
}

/// A repository of many small files costs one request per file, and the requests of the listing.
#[test]
fn a_small_file_costs_one_request() {
    const FILES: usize = 300;
    let file = |number: usize| RepoFile {
        bytes: format!("{number}\n").into_bytes(),
        large: false,
    };
    let files: BTreeMap<String, RepoFile> = (0..FILES)
        .map(|number| (format!("f/{number}.txt"), file(number)))
        .collect();
    let (home, hub) = (Home::new(), Hub::new(REPO, files));
    pull(&home, &hub, &[]).expect(0);
    let asked = hub.asked();
    let resolved = asked
        .iter()
        .filter(|asked| asked.path.contains("/resolve/"))
        .count();
    assert_eq!(resolved, FILES);
    assert_eq!(
        asked.len(),
        FILES + FILES / 3 + 1,
        "three entries a page, and the revision"
    );
}
