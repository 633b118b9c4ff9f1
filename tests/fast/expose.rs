//! `dsr1 expose` as clients and attackers see it. On the far side is an engine whose answers a test wrote.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::first_hour::{ended_server, running_server};
use crate::support::{Home, Started};

/// An engine: it keeps the heads of the requests, and answers by the path.
struct Engine {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    /// Requests whose client left before their answer had ended.
    left: Arc<Mutex<usize>>,
}

impl Engine {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heads, left) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (heard, gone) = (Arc::clone(&heads), Arc::clone(&left));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (heard, gone) = (Arc::clone(&heard), Arc::clone(&gone));
                std::thread::spawn(move || answer(stream.unwrap(), &heard, &gone));
            }
        });
        Self { port, heads, left }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Answers the requests of a connection. A body with `stream` gets a piece every 150 ms, twenty in all.
fn answer(mut stream: TcpStream, heard: &Mutex<Vec<String>>, left: &Mutex<usize>) {
    while let Some((head, body)) = read_message(&mut stream) {
        heard.lock().unwrap().push(head.clone());
        if body.windows(8).any(|part| part == b"\"stream\"") {
            let begin = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nset-cookie: a=b\r\n\r\n";
            stream.write_all(begin).unwrap();
            for number in 0..20 {
                let text = format!("data: {number}\n\n");
                let piece = format!("{:x}\r\n{text}\r\n", text.len());
                std::thread::sleep(Duration::from_millis(150));
                if stream.write_all(piece.as_bytes()).is_err() {
                    *left.lock().unwrap() += 1;
                    return;
                }
            }
            stream.write_all(b"0\r\n\r\n").unwrap();
        } else {
            let text = format!("{{\"got\": {}}}", body.len());
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nserver: uvicorn\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }
}

/// Reads the head and the body of a request or an answer; `None` at the end of the connection.
fn read_message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let small = head.to_ascii_lowercase();
    let length = |name: &str| {
        let rest = small.split_once(name)?.1;
        rest.split("\r\n").next()?.trim().parse::<usize>().ok()
    };
    let mut body = vec![0; length("\ncontent-length:").unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    if small.contains("transfer-encoding: chunked") {
        // To the end of the connection or of the chunks.
        let mut byte = [0];
        while !body.ends_with(b"0\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            body.push(byte[0]);
        }
    }
    Some((head, body))
}

/// A server that is exposed.
struct Site {
    home: Home,
    engine: Engine,
    exposed: Started,
    address: String,
    key: String,
    server: std::process::Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn expose(more: &[&str]) -> Site {
    let home = Home::new().without_docker();
    let engine = Engine::new();
    ended_server(&home, "dsr1-a", engine.port);
    let server = running_server(&home, "dsr1-a");
    let args = ["expose", "a", "--listen", "127.0.0.1:0", "--format", "json"];
    let exposed = home.start(&[&args[..], more].concat());
    let begun = Instant::now();
    while !exposed.stdout().contains('\n') {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", exposed.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    let first: Value = serde_json::from_str(exposed.stdout().lines().next().unwrap()).unwrap();
    let base_url = first["base_url"].as_str().unwrap();
    let address = base_url
        .trim_start_matches("http://")
        .trim_end_matches("/v1")
        .to_owned();
    let keys = std::fs::read_to_string(first["keys_file"].as_str().unwrap()).unwrap();
    let key = keys.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    Site {
        home,
        engine,
        exposed,
        address,
        key,
        server,
    }
}

impl Site {
    /// Sends a request with this key, and returns the head and the body of the answer.
    fn send(&self, line: &str, key: Option<&str>, body: &str) -> (String, String) {
        let mut stream = self.begin(line, key, body);
        let (head, body) = read_message(&mut stream).expect("no answer");
        (head, String::from_utf8(body).unwrap())
    }

    fn begin(&self, line: &str, key: Option<&str>, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let key = key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\n{key}Cookie: c=d\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The lines about the requests, once there are so many: a line comes after its answer.
    fn requests(&self, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        while self.exposed.stdout().matches('\n').count() <= count {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{}",
                self.exposed.stdout()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = self.exposed.stdout();
        output
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

const CHAT: &str = "POST /v1/chat/completions";

/// Only a known key and a path of the API reach the engine, and the key itself never does.
#[test]
fn only_requests_with_a_key_for_the_api_reach_the_engine() {
    let site = expose(&[]);
    for (line, key, status) in [
        (CHAT, Some(site.key.as_str()), 200),
        ("GET /v1/models", Some(site.key.as_str()), 200),
        (CHAT, None, 401),
        (CHAT, Some("dsr1-00000000000000000000"), 401),
        (CHAT, Some(""), 401),
        ("GET /health", None, 200),
        ("GET /server_info", Some(site.key.as_str()), 404),
        ("GET /flush_cache", Some(site.key.as_str()), 404),
        ("POST /update_weights_from_disk", Some(site.key.as_str()), 404),
        ("POST /v1/../flush_cache", Some(site.key.as_str()), 404),
        (
            "GET /v1/models/%2e%2e/%2e%2e/server_info",
            Some(site.key.as_str()),
            404,
        ),
        ("GET /v1/models/..\\..\\server_info", Some(site.key.as_str()), 404),
        ("GET /v1/chat/completions", Some(site.key.as_str()), 405),
    ] {
        let (head, body) = site.send(line, key, "{}");
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line} {key:?}: {head}"
        );
        if status >= 400 {
            let error: Value = serde_json::from_str(&body).unwrap();
            assert!(error["error"]["message"].is_string(), "{body}");
        }
        // No header but those of the API comes back.
        assert!(!head.to_ascii_lowercase().contains("uvicorn"), "{head}");
    }
    let heads = site.engine.heads();
    let mut firsts: Vec<&str> = heads.iter().map(|head| head.lines().next().unwrap()).collect();
    // The look at the server with which the command begins.
    firsts.retain(|line| !line.starts_with("GET /metrics ") && !line.starts_with("GET /ready "));
    assert_eq!(
        firsts,
        [
            "POST /v1/chat/completions HTTP/1.1",
            "GET /v1/models HTTP/1.1",
            "GET /v1/models HTTP/1.1"
        ]
    );
    let all = heads.concat().to_ascii_lowercase();
    assert!(!all.contains("authorization") && !all.contains("cookie"), "{all}");
    assert!(!all.contains(&site.key), "{all}");
    let requests = site.requests(13);
    assert_eq!(requests.len(), 13);
    assert_eq!(
        (&requests[0]["key"], &requests[0]["status"]),
        (&"default".into(), &200.into())
    );
    assert_eq!(
        (&requests[2]["key"], &requests[2]["status"]),
        (&Value::Null, &401.into())
    );
    // No sink has the key but its file, which only its user reads.
    let output = site.exposed.stdout();
    assert!(!output.contains(&site.key), "{output}");
    let file = site.home.path().join(".local/state/dsr1/servers/dsr1-a.keys");
    assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
}

/// The pieces of a stream arrive as the engine sends them, and a client that leaves ends the work of the engine.
#[test]
fn a_stream_is_passed_on_and_its_end_too() {
    let site = expose(&[]);
    let mut stream = site.begin(CHAT, Some(&site.key), "{\"stream\": true}");
    let mut first = [0; 512];
    let begun = Instant::now();
    let mut got = String::new();
    while !got.contains("data: 1\n") {
        let count = stream.read(&mut first).unwrap();
        assert!(count > 0);
        got += std::str::from_utf8(&first[..count]).unwrap();
    }
    assert!(
        !got.contains("data: 19"),
        "the answer came at once, after {:?}",
        begun.elapsed()
    );
    assert!(!got.contains("set-cookie"), "{got}");
    drop(stream);
    let begun = Instant::now();
    while *site.engine.left.lock().unwrap() == 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the engine still computes"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let (_, whole) = site.send(CHAT, Some(&site.key), "{\"stream\": true}");
    assert!(
        whole.contains("data: 0\n") && whole.contains("data: 19\n"),
        "{whole}"
    );
}

/// A key counts a moment after it was added, and no longer after its line is gone.
#[test]
fn keys_are_added_and_revoked_while_it_runs() {
    let site = expose(&[]);
    let added = site.home.run(&["expose", "a", "--add-key", "alice"]).expect(0);
    assert!(
        added.stdout.starts_with("added the key alice: its line is in "),
        "{}",
        added.stdout
    );
    let file = site.home.path().join(".local/state/dsr1/servers/dsr1-a.keys");
    let text = std::fs::read_to_string(&file).unwrap();
    let alice = text
        .lines()
        .find_map(|line| line.strip_prefix("alice "))
        .unwrap()
        .to_owned();
    assert!(!added.stdout.contains(&alice));
    let wait_for = |key: &str, status: u16| {
        let begun = Instant::now();
        loop {
            let (head, _) = site.send("GET /v1/models", Some(key), "");
            if head.starts_with(&format!("HTTP/1.1 {status} ")) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{head}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for(&alice, 200);
    std::fs::write(&file, format!("alice {alice}\n")).unwrap();
    wait_for(&site.key, 401);
    wait_for(&alice, 200);
    // Of a file that is broken, the keys count that still stand in it; without a file, none.
    std::fs::write(&file, format!("alice {alice}\nshort\n")).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    wait_for(&alice, 200);
    assert!(
        site.exposed
            .stderr()
            .contains("only known keys that are still in the file are valid")
    );
    std::fs::remove_file(&file).unwrap();
    wait_for(&alice, 401);
}

/// Without the engine clients get 503, with too many requests 429, and with a body that is too large 413.
#[test]
fn what_cannot_be_done_has_a_status_of_its_own() {
    let site = expose(&["--max-requests", "1"]);
    let mut running = site.begin(CHAT, Some(&site.key), "{\"stream\": true}");
    let mut byte = [0];
    running.read_exact(&mut byte).unwrap();
    let (head, _) = site.send(CHAT, Some(&site.key), "{}");
    assert!(
        head.starts_with("HTTP/1.1 429 ") && head.contains("retry-after: 1"),
        "{head}"
    );
    // A client that says it sends more than may be sent is answered before it has.
    let mut large = TcpStream::connect(&site.address).unwrap();
    drop(running);
    let head = format!(
        "{CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 70000000\r\n\r\n",
        site.key
    );
    let begun = Instant::now();
    let answer = loop {
        large.write_all(head.as_bytes()).unwrap();
        let piece = vec![b' '; 1 << 20];
        for _ in 0..66 {
            if large.write_all(&piece).is_err() {
                break;
            }
        }
        let (answer, _) = read_message(&mut large).expect("no answer");
        if !answer.starts_with("HTTP/1.1 429") {
            break answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        large = TcpStream::connect(&site.address).unwrap();
    };
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// The command ends after the running requests, and takes no further ones meanwhile.
#[test]
fn a_signal_ends_it_after_the_running_requests() {
    let mut site = expose(&[]);
    let mut running = site.begin(CHAT, Some(&site.key), "{\"stream\": true}");
    let mut byte = [0];
    running.read_exact(&mut byte).unwrap();
    site.exposed.signal("TERM");
    let (_, rest) = read_message(&mut running).unwrap();
    assert!(String::from_utf8(rest).unwrap().contains("data: 19\n"));
    assert!(TcpStream::connect(&site.address).is_err());
    site.exposed.wait().expect(0);
    let said = site.exposed.stderr();
    assert!(said.contains("1 request may take 30 s to finish"), "{said}");
}

/// A client writes lines of a bound, and nobody who reads the lines holds the clients up.
#[test]
fn the_lines_about_requests_have_a_bound_and_hold_nobody_up() {
    let home = Home::new().without_docker();
    let engine = Engine::new();
    ended_server(&home, "dsr1-a", engine.port);
    let mut server = running_server(&home, "dsr1-a");
    let mut exposed = home
        .command(&["expose", "a", "--listen", "127.0.0.1:0", "--format", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Nobody reads further than the first line.
    let mut stdout = exposed.stdout.take().unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        first.push(byte[0]);
    }
    let first: Value = serde_json::from_slice(&first).unwrap();
    let address = first["base_url"].as_str().unwrap();
    let address = address.trim_start_matches("http://").trim_end_matches("/v1");
    let path = "x".repeat(3000);
    for _ in 0..400 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let (head, _) = read_message(&mut stream).expect("no answer");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    assert!(line.len() < 600, "{}", line.len());
    let request: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(request["path"].as_str().unwrap().len(), 200);
    for child in [&mut exposed, &mut server] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// An address that other hosts reach needs TLS or the user's word, and wrong files are named.
#[test]
fn what_would_expose_keys_is_refused() {
    let home = Home::new().without_docker();
    ended_server(&home, "dsr1-a", 30_000);
    let mut server = running_server(&home, "dsr1-a");
    let refused = home.run(&["expose", "a", "--listen", "0.0.0.0:0"]).expect(2);
    assert!(
        refused
            .stderr
            .contains("can be reached by other hosts, and there is no TLS")
            && refused.stderr.contains("--tls-cert")
            && refused.stderr.contains("--plain-http"),
        "{}",
        refused.stderr
    );
    let file = home.path().join("keys");
    let file = file.to_str().unwrap();
    std::fs::write(file, "alice short\n").unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let args = ["expose", "a", "--listen", "127.0.0.1:0", "--keys", file];
    let readable = home.run(&args).expect(2);
    assert!(
        readable.stderr.contains("other users can read it (mode 0644)")
            && readable.stderr.contains("chmod 600"),
        "{}",
        readable.stderr
    );
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let short = home.run(&args).expect(2);
    assert!(
        short.stderr.contains("keys:1: the key has 5 characters"),
        "{}",
        short.stderr
    );
    let pem = home
        .run(&[
            "expose",
            "a",
            "--listen",
            "127.0.0.1:0",
            "--tls-cert",
            file,
            "--tls-key",
            file,
        ])
        .expect(2);
    assert!(pem.stderr.contains("cannot use `"), "{}", pem.stderr);
    let route = home
        .run(&["expose", "a", "--listen", "127.0.0.1:0", "--route", "generate"])
        .expect(2);
    assert!(
        route.stderr.contains("--route `generate` is not a path"),
        "{}",
        route.stderr
    );
    server.kill().unwrap();
    server.wait().unwrap();
}
