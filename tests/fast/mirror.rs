//! The mirror as normal and hostile clients see it, over sockets; the independent clients are in `hub_oracles`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::cache::{COMMIT, Client, blob, mirror, repo_dir, write};
use crate::support::hub::noise;
use crate::support::{self, Home};
use dsr1::effects::mirror::{Limits, MirrorOptions};
use dsr1::event::{Event, Recorder};
use serde_json::Value;

const REHEARSAL: &str = "dsr1/rehearsal-qwen2";

/// A cache with one foreign repository.
fn foreign(home: &Home, files: &[(&str, Vec<u8>)]) -> PathBuf {
    let cache = home.path().join("theirs");
    let files: Vec<_> = files
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), bytes.clone()))
        .collect();
    write(&cache, "lab/model", &files);
    cache
}

/// The events of `--progress json`.
fn events(stderr: &str) -> Vec<Value> {
    stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A mirror in this process, with short times.
fn inside(cache: &Path, limits: Limits) -> (dsr1::effects::mirror::Mirror, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let options = MirrorOptions {
        token: None,
        reporter: Some(Arc::clone(&recorder) as _),
        limits,
    };
    let listener = dsr1::effects::listener::listen("127.0.0.1:0").unwrap();
    let mirror = dsr1::effects::mirror::mirror(listener, cache.to_str().unwrap(), options);
    (mirror.unwrap(), recorder)
}

#[test]
fn the_protocol_is_answered_as_the_hub_does() {
    let home = Home::new();
    let card = b"---\nlicense: mit\n---\n# A model\n".to_vec();
    let bytes = noise(1, 3_000_000);
    let files = [
        ("README.md", card),
        ("d/w.safetensors", bytes.clone()),
        ("empty", Vec::new()),
    ];
    let cache = foreign(&home, &files);
    let (_mirror, endpoint) = mirror(&home, &cache, &[]);
    let mut client = Client::new(&endpoint);

    let revision = client.get("/api/models/lab/model/revision/main").json();
    assert_eq!(revision["sha"], COMMIT);
    assert_eq!(revision["cardData"]["license"], "mit");
    assert_eq!(revision["tags"], serde_json::json!(["license:mit"]));
    let tree = client.get(&format!(
        "/api/models/lab/model/tree/{COMMIT}?recursive=true&expand=false"
    ));
    assert_eq!(tree.json().as_array().unwrap().len(), 3);
    assert_eq!(tree.header("link"), "");
    let below = client.get("/api/models/lab/model/tree/main/d").json();
    assert_eq!(below[0]["path"], "d/w.safetensors");
    assert_eq!(client.get("/api/models/lab/model/tree/main/e").status, 404);

    let path = "/lab/model/resolve/main/d/w.safetensors";
    let whole = client.get(path);
    assert!(whole.status == 200 && whole.body == bytes);
    let etag = whole.header("etag").to_owned();
    assert_eq!(whole.header("x-linked-etag"), etag);
    assert_eq!(whole.header("x-linked-size"), "3000000");
    assert_eq!(whole.header("x-repo-commit"), COMMIT);
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let head = client.ask("HEAD", path, &[("Range", "bytes=0-1")]);
    assert_eq!((head.status, head.header("content-length")), (200, "3000000"));
    let part = client.ask("GET", path, &[("Range", "bytes=10-19"), ("If-Range", &etag)]);
    assert_eq!((part.status, &*part.body), (206, &bytes[10..20]));
    assert_eq!(part.header("content-range"), "bytes 10-19/3000000");
    let moved = client.ask(
        "GET",
        path,
        &[("Range", "bytes=10-19"), ("If-Range", "\"other\"")],
    );
    assert!(moved.status == 200 && moved.body == bytes);
    let beyond = client.ask("GET", path, &[("Range", "bytes=3000000-")]);
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, "bytes */3000000")
    );
    let known = client.ask("GET", path, &[("If-None-Match", &etag)]);
    assert_eq!(
        (known.status, known.body.len(), known.header("etag")),
        (304, 0, &*etag)
    );
    let empty = client.get("/lab/model/resolve/main/empty");
    assert_eq!((empty.status, empty.header("content-length")), (200, "0"));

    for (path, code) in [
        ("/api/models/lab/other/revision/main", "RepoNotFound"),
        ("/api/models/lab/model/revision/v2", "RevisionNotFound"),
        (
            &format!("/api/models/lab/model/revision/{}", "0".repeat(40)),
            "RevisionNotFound",
        ),
        ("/lab/model/resolve/main/gone", "EntryNotFound"),
        ("/lab/model/resolve/main/..%2f..%2frefs/main", "EntryNotFound"),
        ("/api/agent-harnesses", ""),
    ] {
        let answer = client.get(path);
        assert_eq!(
            (answer.status, answer.header("x-error-code")),
            (404, code),
            "{path}"
        );
    }
    let posted = client.ask("POST", "/api/models/lab/model", &[]);
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));
    // All these requests used one connection.
}

#[test]
fn a_long_tree_comes_in_pages_of_one_commit() {
    let home = Home::new();
    let files: Vec<_> = (0..1100)
        .map(|number| {
            (
                format!("d{}/f&{number:05}", number % 7),
                vec![u8::try_from(number % 251).unwrap(); 3],
            )
        })
        .collect();
    let cache = home.path().join("theirs");
    write(&cache, "lab/model", &files);
    let (_mirror, endpoint) = mirror(&home, &cache, &[]);
    let mut client = Client::new(&endpoint);
    let mut expected: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
    expected.sort();
    for (query, pages_of_it) in [("recursive=true&expand=false", 2), ("limit=400", 3)] {
        let mut next = format!("/api/models/lab/model/tree/main?{query}");
        let (mut found, mut pages) = (Vec::new(), 0);
        while !next.is_empty() {
            let page = client.get(&next);
            let items = page.json();
            let paths = items.as_array().unwrap().iter().map(|item| item["path"].as_str());
            found.extend(paths.map(|path| path.unwrap().to_owned()));
            let link = page.header("link");
            let is_ours = link.ends_with(">; rel=\"next\"") && link.contains(COMMIT);
            assert!(link.is_empty() || is_ours, "{link}");
            let url = link.trim_start_matches(&format!("<{endpoint}"));
            next = url.split('>').next().unwrap().to_owned();
            pages += 1;
        }
        assert_eq!((pages, found == expected), (pages_of_it, true), "{query}");
    }
    // A walk through the files for each request would take minutes.
    let begun = Instant::now();
    for (path, bytes) in &files {
        let answer = client.get(&format!("/lab/model/resolve/main/{path}"));
        assert!(answer.status == 200 && answer.body == *bytes, "{path}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn a_token_is_asked_for_and_never_shown() {
    let home = Home::new();
    let cache = home.path().join("ours");
    let file = home.path().join("token");
    std::fs::write(&file, "s3cret-t0ken\n").unwrap();
    let (started, endpoint) = mirror(
        &home,
        &cache,
        &["--rehearsal", "--token-file", file.to_str().unwrap()],
    );
    let mut client = Client::new(&endpoint);
    let path = format!("/api/models/{REHEARSAL}");
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer s3cret-t0keN",
        "Bearer s3cret-t0ken2",
        "Basic s3cret-t0ken",
    ] {
        let answer = client.ask("GET", &path, &[("Authorization", header)]);
        assert_eq!(
            (answer.status, answer.header("x-error-code")),
            (401, "GatedRepo"),
            "{header}"
        );
    }
    assert_eq!(
        client
            .ask("GET", &path, &[("authorization", "bearer s3cret-t0ken")])
            .status,
        200
    );
    let pull = ["pull", REHEARSAL, "--endpoint", &endpoint];
    let refused = home.run(&pull).expect(5);
    assert!(refused.stderr.contains("needs a token"), "{}", refused.stderr);
    let wrong = Home::new().with("HF_TOKEN", "wr0ng");
    let refused = wrong.run(&pull).expect(5).stderr;
    assert!(
        refused
            .contains("refuses the token that was sent\ncause: the token in `HF_TOKEN` is not the mirror's")
            && !refused.contains("wr0ng"),
        "{refused}"
    );
    home.command(&pull)
        .env("HF_TOKEN", "s3cret-t0ken")
        .output()
        .map(support::Run::from)
        .unwrap()
        .expect(0);
    let printed = started.stdout() + &started.stderr();
    assert!(
        !printed.contains("s3cret") && printed.contains("token in HF_TOKEN"),
        "{printed}"
    );
    // The token can come from the environment; a token that no client can send is refused.
    let by_variable = Home::new().with("DSR1_MIRROR_TOKEN", "other");
    let (_second, endpoint) = mirror(&by_variable, &cache, &[]);
    assert_eq!(Client::new(&endpoint).get(&path).status, 401);
    let empty = Home::new().with("DSR1_MIRROR_TOKEN", "");
    let run = empty
        .run(&["mirror", "--cache-dir", cache.to_str().unwrap()])
        .expect(2);
    assert!(
        run.stderr.starts_with("error: `DSR1_MIRROR_TOKEN` is empty\n"),
        "{}",
        run.stderr
    );
    for token in ["", " \n", "a b", "ü"] {
        std::fs::write(&file, token).unwrap();
        let args = [
            "mirror",
            "--cache-dir",
            cache.to_str().unwrap(),
            "--token-file",
            file.to_str().unwrap(),
        ];
        home.run(&args).expect(2);
    }
}

#[test]
fn every_request_is_an_event_and_quiet_prints_none() {
    let home = Home::new();
    let cache = foreign(&home, &[("w", noise(2, 1000))]);
    let (started, endpoint) = mirror(&home, &cache, &["--progress", "json"]);
    let mut client = Client::new(&endpoint);
    client.ask("GET", "/lab/model/resolve/main/w", &[("Range", "bytes=0-9")]);
    client.ask("HEAD", "/lab/model/resolve/main/w", &[]);
    client.get("/%1b%5b2J\u{9b}2J");
    client.stream.write_all(b"\x1b[2J\r\n\r\n").unwrap();
    client.answer(false).unwrap();
    drop(client);
    started.signal("INT");
    let (run, _) = started.end();
    let run = run.expect(0);
    let events = events(&run.stderr);
    assert_eq!(events[0]["event"], "warning");
    assert_eq!(events[0]["text"], "lab/model was not verified by dsr1");
    assert_eq!(events[0]["hint"], "dsr1 weights verify lab/model");
    let requests: Vec<_> = events[1..]
        .iter()
        .map(|event| {
            assert_eq!(event["event"], "request");
            assert!(event["elapsed_ms"].is_u64());
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            let number = |name: &str| event[name].as_u64().unwrap();
            assert_eq!(text("client"), "127.0.0.1");
            (text("method"), text("path"), number("status"), number("bytes"))
        })
        .collect();
    assert_eq!(
        requests[0],
        ("GET".to_owned(), "/lab/model/resolve/main/w".to_owned(), 206, 10)
    );
    assert_eq!(events[1]["range"], "bytes=0-9");
    let time = events[1]["time"].as_str().unwrap();
    assert!(
        time.len() == 20 && time.starts_with("20") && time.ends_with('Z'),
        "{time}"
    );
    assert_eq!(requests[1].3, 0);
    assert!(!run.stderr.contains(['\x1b', '\u{9b}']), "{}", run.stderr);
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert_eq!((&*requests[3].0, requests[3].2), ("", 400));

    let (started, endpoint) = mirror(&home, &cache, &["--progress", "quiet"]);
    Client::new(&endpoint).get("/lab/model/resolve/main/w");
    assert!(!started.stderr().contains("resolve"), "{}", started.stderr());
    let (mut started, endpoint) = mirror(&home, &cache, &[]);
    Client::new(&endpoint).get("/lab/model/resolve/main/w");
    started.wait_for(
        "Z 127.0.0.1 GET /lab/model/resolve/main/w - 200, 1.0 kB in ",
        Duration::from_secs(5),
    );
}

#[test]
fn the_start_says_what_is_served_and_to_whom() {
    let home = Home::new();
    let cache = foreign(&home, &[("w", noise(3, 1000))]);
    let index = br#"{"weight_map":{"a":"gone.safetensors"}}"#.to_vec();
    write(
        &cache,
        "lab/half",
        &[("model.safetensors.index.json".to_owned(), index)],
    );
    let gone = b"gone".to_vec();
    write(
        &cache,
        "lab/pruned",
        &[("d/w".to_owned(), gone.clone()), ("x".to_owned(), b"x".to_vec())],
    );
    std::fs::remove_file(blob(&cache, "lab/pruned", &gone)).unwrap();
    let (started, _) = mirror(&home, &cache, &["--rehearsal", "--listen", "0.0.0.0:0"]);
    let lines = started.stdout();
    let line = |start: &str| {
        let found = lines.lines().find(|line| line.starts_with(start));
        found
            .unwrap_or_else(|| panic!("no `{start}`: {lines}"))
            .to_owned()
    };
    assert!(line("dsr1/rehearsal-qwen2 ").ends_with("  verified"));
    assert!(line("lab/model ").ends_with("  not verified: another client wrote it"));
    assert!(line("lab/half ").ends_with("  not served: `gone.safetensors` is missing"));
    assert!(line("lab/pruned ").ends_with("  not served: the bytes of `d/w` are gone"));
    // No other machine can use the address that it listens on.
    let port = line("HF_ENDPOINT=").replace("HF_ENDPOINT=http://THIS_HOST:", "");
    assert!(port.parse::<u16>().is_ok(), "{lines}");
    line("replace THIS_HOST ");
    let said = started.stderr();
    assert!(!said.contains("nothing is served"), "{said}");
    assert!(
        said.contains("whoever reaches 0.0.0.0:") && said.contains("hint: --token-file"),
        "{said}"
    );
    let file = home.path().join("token");
    std::fs::write(&file, "x").unwrap();
    let with_token = ["--listen", "0.0.0.0:0", "--token-file", file.to_str().unwrap()];
    for more in [&with_token[..], &["--listen", "[::1]:0"]] {
        let (started, endpoint) = mirror(&home, &cache, more);
        assert!(
            !started.stderr().contains("whoever reaches"),
            "{}",
            started.stderr()
        );
        if endpoint.contains("::1") {
            let sha = Client::new(&endpoint).get("/api/models/lab/model").json();
            assert_eq!(sha["sha"], COMMIT);
        }
    }
    let json = home.start(&[
        "mirror",
        "--format",
        "json",
        "--listen",
        "127.0.0.1:0",
        "--cache-dir",
        cache.to_str().unwrap(),
    ]);
    let begun = Instant::now();
    while !json.stdout().ends_with("}\n") {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
    let value: Value = serde_json::from_str(&json.stdout()).unwrap();
    assert_eq!(value["snapshots"][1]["state"], "not_served");
    assert!(
        value["endpoint"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
}

#[test]
fn a_directory_without_snapshots_is_named() {
    let home = Home::new();
    let above = home.path().join("hf");
    write(
        &above.join("hub"),
        "lab/model",
        &[("w".to_owned(), b"w".to_vec())],
    );
    let (started, _) = mirror(&home, &above, &[]);
    let said = format!(
        "warning: nothing is served: there are no snapshots in `{0}`\nhint: the hub cache may be the directory below it: --cache-dir {0}/hub\n",
        above.display()
    );
    assert_eq!(started.stderr(), said);
    let empty = home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (started, _) = mirror(&home, &empty, &[]);
    assert!(
        started
            .stderr()
            .contains("dsr1 pull REPO fetches into it; later snapshots are served, too"),
        "{}",
        started.stderr()
    );
}

#[test]
fn links_out_of_the_cache_are_refused_and_shared_blobs_served() {
    let home = Home::new();
    let bytes = noise(4, 5000);
    let cache = foreign(&home, &[("w", bytes.clone()), ("x", noise(5, 10))]);
    let blob = blob(&cache, "lab/model", &bytes);
    // As newer clients store files: the bytes are in a store that repositories share, and the blob is a link to it.
    let store = cache.join("blobs/ab");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::rename(&blob, store.join("abcd")).unwrap();
    symlink(store.join("abcd"), &blob).unwrap();
    let (mut started, endpoint) = mirror(&home, &cache, &[]);
    let path = "/lab/model/resolve/main/w";
    assert!(Client::new(&endpoint).get(path).body == bytes);
    // As large as the file, so that only its place is wrong.
    let secret = home.path().join("secret");
    std::fs::write(&secret, vec![b's'; 5000]).unwrap();
    for outside in [&*secret, Path::new("/etc/shadow"), Path::new("/dev/zero")] {
        std::fs::remove_file(&blob).unwrap();
        symlink(outside, &blob).unwrap();
        // The store's file is removed as well: the file that was found before must not be sent.
        let _ = std::fs::remove_file(store.join("abcd"));
        let answer = Client::new(&endpoint).get(path);
        assert!([404, 500].contains(&answer.status), "{answer:?}");
        assert!(!answer.body.starts_with(b"sss"));
        std::thread::sleep(Duration::from_millis(1100));
        let answer = Client::new(&endpoint).get(path);
        assert_eq!(
            (answer.status, answer.header("x-error-code")),
            (404, "RevisionNotFound")
        );
    }
    started.wait_for("lab/model is not served any more", Duration::from_secs(5));
    // A link replaces the store's file.
    std::fs::remove_file(&blob).unwrap();
    symlink(store.join("abcd"), &blob).unwrap();
    symlink(&secret, store.join("abcd")).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(Client::new(&endpoint).get(path).status, 404);
}

#[test]
fn a_file_that_changed_is_not_served() {
    let home = Home::new();
    let cache = home.path().join("ours");
    let (mut started, endpoint) = mirror(&home, &cache, &["--rehearsal"]);
    let mut client = Client::new(&endpoint);
    let revision = format!("/api/models/{REHEARSAL}/revision/main");
    let commit = client.get(&revision).json()["sha"].as_str().unwrap().to_owned();
    let name = "model-00001-of-00002.safetensors";
    let path = format!("/{REHEARSAL}/resolve/main/{name}");
    let good = client.get(&path);
    assert_eq!(good.status, 200);
    let snapshot = repo_dir(&cache, REHEARSAL).join("snapshots").join(commit);
    let blob = snapshot.join(name).canonicalize().unwrap();
    // The same size, other contents.
    let aside = blob.with_extension("aside");
    std::fs::rename(&blob, &aside).unwrap();
    std::fs::write(&blob, vec![0; good.body.len()]).unwrap();
    let bad = client.get(&path);
    assert_eq!(bad.status, 500);
    assert!(
        bad.header("x-error-message")
            .contains("changed since it was verified: its size, time or inode changed"),
        "{bad:?}"
    );
    assert_eq!(client.ask("HEAD", &path, &[]).status, 404);
    // No other file of the snapshot is served either: a half model is useless.
    for path in [&*revision, &format!("/{REHEARSAL}/resolve/main/config.json")] {
        let answer = client.get(path);
        assert_eq!(
            (answer.status, answer.header("x-error-code")),
            (404, "RevisionNotFound"),
            "{path}"
        );
    }
    started.wait_for("hint: dsr1 weights verify", Duration::from_secs(5));
    assert_eq!(started.stderr().matches("is not served any more").count(), 1);
    std::fs::rename(&aside, &blob).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert!(client.get(&path).body == good.body);
}

#[test]
fn a_file_that_changes_while_it_is_sent_does_not_look_complete() {
    let home = Home::new();
    let cache = foreign(&home, &[("w", vec![7; 64 << 20])]);
    let (mirror, recorder) = inside(&cache, Limits::default());
    let mut client = Client::new(&mirror.endpoint());
    client
        .stream
        .write_all(b"GET /lab/model/resolve/main/w HTTP/1.1\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let blob = blob(&cache, "lab/model", &vec![7; 64 << 20]);
    let mut file = std::fs::OpenOptions::new().write(true).open(blob).unwrap();
    file.write_all(b"other").unwrap();
    assert!(client.answer(false).is_none());
    let said = |event: &Event| matches!(event, Event::Warning { text, .. } if text.contains("changed while"));
    let begun = Instant::now();
    while !recorder.events().iter().any(said) {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            recorder.events()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn many_clients_at_once_get_their_bytes() {
    let home = Home::new();
    let bytes = noise(6, 8 << 20);
    let cache = foreign(&home, &[("w", bytes.clone())]);
    let (_mirror, endpoint) = mirror(&home, &cache, &["--progress", "quiet"]);
    std::thread::scope(|scope| {
        for number in 0..64_usize {
            let (endpoint, bytes) = (&endpoint, &bytes);
            scope.spawn(move || {
                let mut client = Client::new(endpoint);
                for turn in 0..8_usize {
                    let from = (number * 131_071 + turn * 1_000_003) % (7 << 20);
                    let to = from + (1 << 20) - 1;
                    let range = format!("bytes={from}-{to}");
                    let part = client.ask("GET", "/lab/model/resolve/main/w", &[("Range", &range)]);
                    assert!(part.status == 206 && part.body == bytes[from..=to], "{range}");
                }
            });
        }
    });
}

#[test]
fn hostile_heads_get_an_answer_or_an_end() {
    let home = Home::new();
    let cache = foreign(&home, &[("w", noise(7, 100))]);
    let (started, endpoint) = mirror(&home, &cache, &["--progress", "json"]);
    let status = |head: &[u8]| -> Option<u16> {
        let mut client = Client::new(&endpoint);
        client.stream.write_all(head).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.answer(false).map(|answer| answer.status)
    };
    let long_line = [b"GET /", &b"a".repeat(70_000)[..], b" HTTP/1.1\r\n\r\n"].concat();
    let many_lines = ["GET / HTTP/1.1\r\n", &"a: b\r\n".repeat(200), "\r\n"].concat();
    let cases: [(&[u8], Option<u16>); 14] = [
        (b"", None),
        (b"GET", None),
        (b"\0\0\0\0\r\n\r\n", Some(400)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", Some(400)),
        (b"GET / HTTP/9.9\r\n\r\n", Some(505)),
        (b"GET /lab/model/resolve/main/w\r\n\r\n", Some(400)),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", Some(404)),
        (
            b"GET /lab/model/resolve/main/..%2f..%2f..%2fetc/passwd HTTP/1.1\r\n\r\n",
            Some(404),
        ),
        (
            b"GET /%00%ff HTTP/1.1\r\nRange: bytes=\xff\xfe\r\n\r\n",
            Some(404),
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Some(400)),
        (b"GET / HTTP/1.1\r\n a: b\r\n\r\n", Some(400)),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(404)),
        (&long_line, Some(431)),
        (many_lines.as_bytes(), Some(431)),
    ];
    for (head, expected) in cases {
        assert_eq!(
            status(head),
            expected,
            "{:?}",
            String::from_utf8_lossy(&head[..head.len().min(80)])
        );
    }
    // The content of a body is not read as a request.
    let mut client = Client::new(&endpoint);
    let smuggled =
        b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nGET /lab/model/resolve/main/w HTTP/1.1\r\n\r\n";
    client.stream.write_all(smuggled).unwrap();
    let answer = client.answer(false).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (405, "close"));
    assert!(client.answer(false).is_none());
    // Requests that arrive before the answers are sent are answered in their order.
    let mut client = Client::new(&endpoint);
    let two = b"GET /lab/model/resolve/main/w HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\nHEAD /lab/model/resolve/main/w HTTP/1.0\r\n\r\n";
    client.stream.write_all(two).unwrap();
    let statuses = [false, false, true].map(|head_only| client.answer(head_only).unwrap().status);
    assert_eq!(statuses, [200, 404, 200]);
    assert!(client.answer(false).is_none());
    // Byte by byte.
    let mut client = Client::new(&endpoint);
    for byte in b"GET /lab/model/resolve/main/w HTTP/1.1\r\n\r\n" {
        client.stream.write_all(&[*byte]).unwrap();
        client.stream.flush().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.answer(false).unwrap().body, noise(7, 100));
    assert!(events(&started.stderr()).len() > 10);
}

#[test]
fn stalled_clients_are_dropped_and_slow_clients_are_not() {
    let home = Home::new();
    let cache = foreign(&home, &[("w", vec![0; 64 << 20])]);
    let limits = Limits {
        head: Duration::from_millis(1500),
        idle: Duration::from_secs(3),
        stall: Duration::from_millis(1500),
    };
    let (mirror, recorder) = inside(&cache, limits);
    let request = b"GET /lab/model/resolve/main/w HTTP/1.1\r\n\r\n";
    let connect = || Client::new(&mirror.endpoint());
    let ended = |stream: &mut TcpStream| {
        let begun = Instant::now();
        let _ = stream.read_to_end(&mut Vec::new());
        begun.elapsed()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = connect();
            client.stream.write_all(request).unwrap();
            let sent = |event: &Event| matches!(event, Event::Request(one) if one.bytes < 64 << 20);
            let begun = Instant::now();
            while !recorder.events().iter().any(sent) {
                assert!(begun.elapsed() < Duration::from_secs(10), "it is served for ever");
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(
                begun.elapsed() > Duration::from_millis(1400),
                "{:?}",
                begun.elapsed()
            );
        });
        scope.spawn(|| {
            let mut client = connect();
            client.stream.write_all(request).unwrap();
            let (mut chunk, mut total, begun) = (vec![0; 2 << 20], 0, Instant::now());
            while total < 64 << 20 {
                let count = client.stream.read(&mut chunk).unwrap();
                assert!(count > 0, "dropped after {total} bytes");
                total += count;
                if begun.elapsed() < Duration::from_secs(4) {
                    std::thread::sleep(Duration::from_millis(400));
                }
            }
        });
        scope.spawn(|| {
            // A head that does not end, and a client that says nothing at all.
            let mut client = connect();
            client.stream.write_all(b"GET /").unwrap();
            let begun = Instant::now();
            assert_eq!(client.answer(false).unwrap().status, 408);
            assert!(begun.elapsed() > Duration::from_millis(1400));
            let silent = ended(&mut connect().stream);
            assert!((2..6).contains(&silent.as_secs()), "{silent:?}");
        });
    });
}

#[test]
fn an_ended_mirror_leaves_nothing_open() {
    let home = Home::new();
    let cache = foreign(&home, &[("w", vec![0; 64 << 20])]);
    let (mirror, _) = inside(&cache, Limits::default());
    let endpoint = mirror.endpoint();
    let mut clients: Vec<_> = (0..8).map(|_| Client::new(&endpoint)).collect();
    for client in &mut clients {
        client
            .stream
            .write_all(b"GET /lab/model/resolve/main/w HTTP/1.1\r\n\r\n")
            .unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    mirror.shutdown();
    assert!(begun.elapsed() < Duration::from_millis(500));
    for client in &mut clients {
        assert!(client.answer(false).is_none());
    }
    assert!(TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).is_err());
    // The same after Ctrl-C, with a client that reads nothing.
    let (started, endpoint) = support::cache::mirror(&home, &cache, &[]);
    let mut client = Client::new(&endpoint);
    client
        .stream
        .write_all(b"GET /lab/model/resolve/main/w HTTP/1.1\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    started.signal("INT");
    let (run, took) = started.end();
    run.expect(0);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// A mirror that may have few connections at once, and its endpoint.
fn limited(home: &Home, cache: &Path) -> (std::process::Child, String) {
    let out = home.path().join("limited");
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            "ulimit -n 200; exec \"$0\" mirror --listen 127.0.0.1:0 --cache-dir \"$1\"",
        ])
        .arg(env!("CARGO_BIN_EXE_dsr1"))
        .arg(cache)
        .env("HOME", home.path())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let begun = Instant::now();
    let endpoint = loop {
        let text = std::fs::read_to_string(&out).unwrap();
        if let Some(line) = text.lines().find_map(|line| line.strip_prefix("HF_ENDPOINT=")) {
            break line.to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    };
    (child, endpoint)
}

#[test]
fn silent_clients_make_room_for_others() {
    let home = Home::new();
    let cache = foreign(&home, &[("w", noise(8, 100))]);
    let (mut child, endpoint) = limited(&home, &cache);
    // Far more clients than descriptors; every other client begins a request and does not end it.
    let half = |number: usize| {
        let mut client = Client::new(&endpoint);
        if number.is_multiple_of(2) {
            let _ = client.stream.write_all(b"G");
        }
        client
    };
    let silent: Vec<_> = (0..300).map(half).collect();
    let begun = Instant::now();
    assert_eq!(
        Client::new(&endpoint).get("/lab/model/resolve/main/w").status,
        200
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(silent);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Readers that read a few bytes a second do not occupy all places for ever.
#[test]
fn the_slowest_reader_makes_room_for_others() {
    let home = Home::new();
    let cache = foreign(&home, &[("w", vec![0; 64 << 20])]);
    let (mut child, endpoint) = limited(&home, &cache);
    let request = b"GET /lab/model/resolve/main/w HTTP/1.1\r\n\r\n";
    // Exactly as many clients as there are places: a client that waits for a place is not served.
    let mut slow: Vec<_> = (0..24).map(|_| Client::new(&endpoint)).collect();
    for client in &mut slow {
        client.stream.write_all(request).unwrap();
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for client in &mut slow {
                    let _ = client.stream.read(&mut [0; 512]);
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let begun = Instant::now();
        let answer = std::panic::catch_unwind(|| {
            let mut client = Client::new(&endpoint);
            let patience = Some(Duration::from_mins(2));
            client.stream.set_read_timeout(patience).unwrap();
            client.get("/lab/model/resolve/main/w").status
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let waited = begun.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(answer.ok(), Some(200), "after {waited:?}");
        assert!(waited > Duration::from_secs(5), "there was room: {waited:?}");
    });
}
