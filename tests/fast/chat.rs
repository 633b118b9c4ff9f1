//! `dsr1 chat` as a user sees it, with a server of the OpenAI API on the far side of the wire that says what a test wrote.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Home, Run};

/// An answer of the server to a request for a chat.
#[derive(Clone)]
enum Reply {
    /// A stream of these events, and its end.
    Stream(Vec<Value>),
    /// A stream that stops without an end, and is closed.
    Broken(Vec<Value>),
    /// A stream that stops without an end, and stays open.
    Silent(Vec<Value>),
    /// A status with a body.
    Status(u16, Value),
}

/// A request that the server got.
#[derive(Clone)]
struct Asked {
    head: String,
    body: Value,
}

/// A server whose answers are given.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Starts a server with one model, whose context has so many tokens.
    fn new(context: u64, replies: Vec<Reply>) -> Self {
        let models = json!({ "data": [{ "id": "r1", "max_model_len": context }, { "id": "other" }] });
        Self::with_models(200, models, replies)
    }

    fn with_models(status: u16, models: Value, replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (heard, mut replies) = (Arc::clone(&asked), replies.into_iter());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read_request(&mut stream) else {
                    continue;
                };
                let is_list = request.head.starts_with("GET /v1/models ");
                if request.head.starts_with("GET ") && !is_list {
                    send(&mut stream, 404, &Value::Null);
                    continue;
                }
                heard.lock().unwrap().push(request);
                if is_list {
                    send(&mut stream, status, &models);
                    continue;
                }
                match replies.next().expect("no answer is left") {
                    Reply::Status(status, body) => send(&mut stream, status, &body),
                    Reply::Stream(mut events) => {
                        events.push(json!("[DONE]"));
                        send_events(&mut stream, &events);
                    }
                    Reply::Broken(events) => send_events(&mut stream, &events),
                    Reply::Silent(events) => {
                        send_events(&mut stream, &events);
                        // Until the client closes it.
                        let _ = stream.read(&mut [0; 1]);
                    }
                }
            }
        });
        Self { url, asked }
    }

    /// The bodies of the requests for chats.
    fn bodies(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        let chats = asked
            .iter()
            .filter(|asked| asked.head.starts_with("POST /v1/chat/completions "));
        chats.map(|asked| asked.body.clone()).collect()
    }

    fn heads(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|asked| asked.head.to_lowercase())
            .collect()
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut heard = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                let body = serde_json::from_str(body).unwrap_or_default();
                return Some(Asked {
                    head: head.to_owned(),
                    body,
                });
            }
        }
        match stream.read(&mut bytes).unwrap() {
            0 => return None,
            count => heard.extend(&bytes[..count]),
        }
    }
}

fn send(stream: &mut TcpStream, status: u16, body: &Value) {
    let body = body.to_string();
    let head = "Content-Type: application/json\r\nConnection: close";
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} X\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).unwrap();
}

fn send_events(stream: &mut TcpStream, events: &[Value]) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for event in events {
        let data = event.as_str().map_or_else(|| event.to_string(), str::to_owned);
        stream.write_all(format!("data: {data}\n\n").as_bytes()).unwrap();
        // Each in a packet of its own, as tokens arrive.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn reasoned(text: &str) -> Value {
    json!({ "choices": [{ "delta": { "reasoning_content": text } }] })
}

fn said(text: &str) -> Value {
    json!({ "choices": [{ "delta": { "content": text } }] })
}

fn ended(reason: &str) -> Value {
    json!({ "choices": [{ "delta": {}, "finish_reason": reason }] })
}

fn counted(prompt: u64, generated: u64, reasoning: u64) -> Value {
    json!({ "choices": [], "usage": {
        "prompt_tokens": prompt, "completion_tokens": generated, "reasoning_tokens": reasoning,
    } })
}

/// An answer with its reasoning.
fn answer(reasoning: &str, content: &str, counts: (u64, u64, u64)) -> Reply {
    Reply::Stream(vec![
        reasoned(reasoning),
        said(content),
        ended("stop"),
        counted(counts.0, counts.1, counts.2),
    ])
}

fn home() -> Home {
    Home::new().without_docker()
}

/// Runs a conversation whose questions come through a pipe.
fn script(home: &Home, args: &[&str], stdin: &[u8]) -> Run {
    let mut child = home
        .command(&[&["chat"], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read them.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap().into()
}

/// Returns a text with its times as `N` and without rates, which an answer that arrives at once has not.
fn without_times(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let parts = line.split(", ").filter(|part| !part.ends_with(" tokens/s"));
        let parts = parts.map(|part| match part.rsplit_once(' ') {
            Some((before, "ms")) => {
                let (before, _) = before.rsplit_once(' ').unwrap();
                format!("{before} N ms")
            }
            _ => part.to_owned(),
        });
        lines.push(parts.collect::<Vec<_>>().join(", ") + "\n");
    }
    lines.concat()
}

#[test]
fn a_scripted_conversation() {
    let server = Server::new(
        4096,
        vec![
            answer("17 * 20 = 340\n17 * 3 = 51", "\n\n391", (9, 20, 15)),
            answer("one more 23", "414", (30, 9, 0)),
            Reply::Stream(vec![said("It is"), ended("length"), counted(40, 2, 0)]),
        ],
    );
    let home = home();
    let questions = b"17 * 23?\n\nAnd 18 * 23?\nWhy?\\\nIn one word.\n/save all.json\n/save all.json\n";
    let run = script(&home, &["--url", &server.url, "--system", "Be brief."], questions).expect(2);
    insta::assert_snapshot!(run.stdout, @r"
    reasoning:
      17 * 20 = 340
      17 * 3 = 51

    391

    reasoning:
      one more 23

    414

    It is
    ");
    insta::assert_snapshot!(without_times(&run.stderr), @r"
    note: 9 prompt tokens, 20 generated (15 of them reasoning), first token after N ms
    note: 30 prompt tokens, 9 generated, first token after N ms
    note: 40 prompt tokens, 2 generated, first token after N ms, cut at --max-tokens 2048: a larger number allows longer answers
    note: wrote all.json: 3 turns
    error: `all.json` exists already
    hint: choose another name
    ");
    let bodies = server.bodies();
    assert_eq!(
        bodies[2],
        json!({
            "model": "r1", "max_tokens": 2048, "temperature": 0.6, "top_p": 0.95, "stream": true,
            "stream_options": { "include_usage": true },
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "17 * 23?" }, { "role": "assistant", "content": "391" },
                { "role": "user", "content": "And 18 * 23?" }, { "role": "assistant", "content": "414" },
                { "role": "user", "content": "Why?\nIn one word." },
            ],
        })
    );
    let file = home.path().join("all.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let saved: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(
        (
            &saved["schema"],
            &saved["model"],
            &saved["system"],
            &saved["turns"][1]["reasoning"]
        ),
        (
            &json!("dsr1.conversation/1"),
            &json!("r1"),
            &json!("Be brief."),
            &json!("one more 23")
        )
    );
}

#[test]
fn a_turn_is_a_line_of_json() {
    let server = Server::new(
        4096,
        vec![
            answer("hm", "391", (9, 20, 15)),
            answer("hm", "1\x1b[2J", (9, 2, 0)),
        ],
    );
    let args = ["--url", &server.url, "--format", "json", "--progress", "quiet"];
    let run = script(&home(), &args, b"17 * 23?\n/reset\nx\n/show\n").expect(0);
    assert_eq!(run.stderr, "");
    let lines: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [first, second] = lines.as_slice() else {
        panic!("{}", run.stdout)
    };
    let documented = crate::json::documented();
    let fields = first
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| *key != "schema")
        .cloned();
    assert_eq!(
        fields.collect::<std::collections::BTreeSet<_>>(),
        documented["dsr1.chat/1"]
    );
    assert!(first["ttft_ms"].is_u64(), "{first}");
    assert_eq!(
        (
            &first["schema"],
            &first["turn"],
            &first["reasoning"],
            &first["content"],
            &first["finish_reason"]
        ),
        (
            &json!("dsr1.chat/1"),
            &json!(1),
            &json!("hm"),
            &json!("391"),
            &json!("stop")
        )
    );
    assert_eq!(
        first["usage"],
        json!({ "prompt_tokens": 9, "completion_tokens": 20, "reasoning_tokens": 15 })
    );
    assert_eq!(
        (&second["turn"], &second["content"]),
        (&json!(2), &json!("1\x1b[2J"))
    );
    assert!(second["usage"]["reasoning_tokens"].is_null());
    // The conversation was forgotten.
    assert_eq!(server.bodies()[1]["messages"].as_array().unwrap().len(), 1);
}

/// Reasoning without a parser on the server, a stream without counts, and the whole of stdin as one question.
#[test]
fn another_server_is_talked_with() {
    let models = json!({ "detail": "Not Found" });
    let replies = vec![Reply::Stream(vec![
        said("<think>\nhm"),
        said("</think>\n\nall:\n\tcc\x1b[2J\n"),
        ended("stop"),
    ])];
    let server = Server::with_models(404, models, replies);
    let url = format!("{}/v1/", server.url);
    let args = ["--url", &url, "--model", "mine", "--whole", "--reasoning", "hide"];
    let run = script(&home(), &args, b"/one\ntwo\\\nthree\n\n").expect(0);
    assert_eq!(run.stdout, "all:\n\tcc\\x1b[2J\n");
    assert_eq!(without_times(&run.stderr), "note: first token after N ms\n");
    let body = &server.bodies()[0];
    assert_eq!(
        (&body["model"], &body["messages"][0]["content"]),
        (&json!("mine"), &json!("/one\ntwo\\\nthree"))
    );
}

#[test]
fn a_refusal_is_told_and_the_conversation_continues() {
    let overloaded = json!({ "error": { "message": "the queue is full\u{1b}[2J" } });
    let server = Server::new(
        4096,
        vec![
            answer("", "one", (9, 1, 0)),
            Reply::Status(503, overloaded),
            Reply::Stream(vec![
                json!({ "error": { "message": "out of memory", "code": 500 } }),
            ]),
            answer("", "two", (20, 1, 0)),
        ],
    );
    let run = script(
        &home(),
        &["--url", &server.url, "--progress", "quiet"],
        b"a\nb\n/retry\n/retry\n/rset\n",
    )
    .expect(7);
    assert_eq!(run.stdout, "one\n\ntwo\n");
    assert_eq!(
        run.stderr,
        "error: the server did not return an answer\ncause: status 503: the queue is full\\x1b[2J\n\
         error: the server did not return an answer\ncause: status 200: out of memory\n\
         error: `/rset` is not a command\n\
         hint: /help lists the commands; a message that begins with / is written with //\n"
    );
    // A question without an answer is not part of the conversation.
    let texts: Vec<String> = server.bodies()[3]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts, ["a", "one", "b"]);
}

#[test]
fn a_key_is_read_from_the_environment_and_never_printed() {
    let refusal = json!({ "error": { "message": "invalid key" } });
    let server = Server::with_models(401, refusal, Vec::new());
    let without = script(&home(), &["--url", &server.url], b"hi\n").expect(2);
    assert_eq!(
        without.stderr,
        "error: the server did not return the list of models\ncause: status 401: invalid key\n\
         hint: set OPENAI_API_KEY to the key of this server\n"
    );
    let with_key = || home().with("OPENAI_API_KEY", "sk-s3cret");
    let wrong = script(&with_key(), &["--url", &server.url], b"hi\n").expect(2);
    assert!(
        wrong.stderr.contains("refuses the key in OPENAI_API_KEY"),
        "{}",
        wrong.stderr
    );
    let open = Server::new(
        4096,
        vec![answer("", "hello", (1, 1, 0)), Reply::Status(401, json!({}))],
    );
    let right = script(&with_key(), &["--url", &open.url], b"hi\nand\n").expect(2);
    assert_eq!(right.stdout, "hello\n");
    for head in open.heads() {
        assert!(head.contains("\r\nauthorization: bearer sk-s3cret"), "{head}");
    }
    for run in [wrong, right] {
        assert!(
            !format!("{}{}", run.stdout, run.stderr).contains("s3cret"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn an_answer_that_breaks_off_ends_a_script() {
    let server = Server::new(4096, vec![Reply::Broken(vec![reasoned("hm"), said("It is")])]);
    let run = script(&home(), &["--url", &server.url], b"a\nb\n").expect(7);
    assert_eq!(run.stdout, "");
    assert!(
        run.stderr.starts_with(
            "error: the server did not return a whole answer\ncause: its stream ended before the answer did\n"
        ),
        "{}",
        run.stderr
    );
    assert_eq!(server.bodies().len(), 1);
}

/// The answer of a server that ended in the middle of it is told with the cause.
#[test]
fn a_server_that_ends_in_an_answer_is_told() {
    let home = home();
    // Its stream takes a second, in which its process is killed.
    let server = Server::new(4096, vec![Reply::Broken(vec![said("It is"); 50])]);
    let port = server.url.rsplit(':').next().unwrap().parse().unwrap();
    crate::first_hour::ended_server(&home, "dsr1-rehearsal", port);
    let log = home.path().join(".local/state/dsr1/servers/dsr1-rehearsal.log");
    let ready = "The server is fired up and ready to roll!\n";
    std::fs::write(&log, std::fs::read_to_string(&log).unwrap() + ready).unwrap();
    let mut engine = crate::first_hour::running_server(&home, "dsr1-rehearsal");
    let run = std::thread::scope(|scope| {
        let killing = scope.spawn(|| {
            while server.bodies().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            engine.kill().unwrap();
            engine.wait().unwrap();
        });
        let run = script(&home, &["rehearsal"], b"a\n").expect(7);
        killing.join().unwrap();
        run
    });
    assert!(
        run.stderr.contains("dsr1-rehearsal") && run.stderr.contains("during the answer"),
        "{}",
        run.stderr
    );
    // SGLang counts the tokens of each piece, so that the length of the reasoning is known when it ends.
    assert_eq!(
        server.bodies()[0]["stream_options"]["continuous_usage_stats"],
        true
    );
}

#[test]
fn a_full_context_is_told_before_the_request() {
    let server = Server::new(
        300,
        vec![
            Reply::Stream(vec![said("x"), ended("length"), counted(100, 150, 0)]),
            answer("", "fresh", (9, 1, 0)),
        ],
    );
    let args = ["--url", &server.url, "--progress", "quiet"];
    let run = script(&home(), &args, b"a\nb\n/reset\n/retry\nb\n").expect(2);
    assert_eq!(
        run.stderr,
        "error: the context is full: about 258 of 300 tokens are used, and nothing was sent\n\
         hint: /reset begins a new conversation; /save FILE keeps this one before that\n\
         error: there is no question to ask again\n"
    );
    assert_eq!(run.stdout, "x\n\nfresh\n");
    // The first answer may use what the context has.
    assert_eq!(server.bodies()[0]["max_tokens"], 300 - 8 - 8);
}

#[test]
fn wrong_arguments_of_a_conversation_are_refused() {
    let server = Server::new(4096, Vec::new());
    let url = server.url.as_str();
    for (args, stdin, told) in [
        (
            &["--url", "127.0.0.1:30000"][..],
            "a\n",
            "write it as --url http://127.0.0.1:30000",
        ),
        (
            &["--url", url, "--model", "x"],
            "a\n",
            "the server has no model `x`\nhint: it has r1, other",
        ),
        (
            &["--url", url, "--temperature", "9"],
            "a\n",
            "--temperature 9 is out of range",
        ),
        (
            &["--url", url, "--top-p", "0"],
            "a\n",
            "--top-p 0 is out of range",
        ),
        (&["--url", url], "", "there is no question on standard input"),
        (
            &["--url", url, "--whole"],
            "\n",
            "there is no question on standard input",
        ),
        (
            &[],
            "a\n",
            "hint: dsr1 chat SERVER names one, --url URL one of another user or host",
        ),
        (&["nobody"], "a\n", "there is no server `nobody`"),
        (&["nobody", "--url", url], "a\n", "cannot be used with"),
    ] {
        let run = script(&home(), args, stdin.as_bytes()).expect(2);
        assert!(run.stderr.contains(told), "{args:?}: {}", run.stderr);
    }
    let binary = script(&home(), &["--url", url], b"\xff\n").expect(2);
    assert!(
        binary.stderr.contains("it is not UTF-8 at byte 0"),
        "{}",
        binary.stderr
    );
    assert_eq!(server.bodies(), Vec::<Value>::new());
}

/// A command on a terminal.
pub(crate) struct Terminal {
    script: std::process::Child,
    stdin: std::process::ChildStdin,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `dsr1 chat` on a terminal of 80 columns and 24 rows.
    fn new(home: &Home, url: &str) -> Self {
        Self::start(&mut crate::first_hour::terminal(
            home,
            (80, 24),
            &format!("chat --url {url}"),
        ))
    }

    /// Starts a command that `first_hour::terminal` made.
    pub(crate) fn start(command: &mut std::process::Command) -> Self {
        let mut script = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("install bsdutils, which has `script`");
        let (stdin, mut stdout) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = stdout.read(&mut bytes) {
                if count == 0 {
                    return;
                }
                heard.lock().unwrap().extend(&bytes[..count]);
            }
        });
        Self { script, stdin, shown }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Types, and waits until what is shown after that holds each of these texts, in their order. Returns it.
    #[track_caller]
    pub(crate) fn types(&mut self, keys: &str, expected: &[&str]) -> String {
        let before = self.text().len();
        self.stdin.write_all(keys.as_bytes()).unwrap();
        self.stdin.flush().unwrap();
        let begun = Instant::now();
        loop {
            let text = self.text();
            let after = text[before..].to_owned();
            let mut at = 0;
            let is_shown = expected.iter().all(|part| match after[at..].find(part) {
                Some(found) => {
                    at += found + part.len();
                    true
                }
                None => false,
            });
            if is_shown {
                return after;
            }
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "{keys:?} {expected:?}: {after:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a text is shown, if it is not yet.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        let begun = Instant::now();
        while !self.text().contains(text) {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "{text:?}: {:?}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the ID of the process that runs on the terminal.
    pub(crate) fn pid(&self) -> i32 {
        let script = self.script.id();
        let children = format!("/proc/{script}/task/{script}/children");
        let children = std::fs::read_to_string(children).unwrap();
        children.trim().parse().unwrap()
    }

    pub(crate) fn end(mut self) -> i32 {
        let status = self.script.wait().unwrap();
        status.code().unwrap()
    }
}

/// The prompt, as the editor draws it.
const PROMPT: &str = "> ";

#[test]
fn a_conversation_on_a_terminal() {
    let server = Server::new(
        4096,
        vec![
            answer("17 * 20 = 340", "391", (9, 20, 15)),
            Reply::Silent(vec![reasoned("a long story"), said("Once upon")]),
            answer("", "short", (30, 2, 0)),
            answer("", "again", (30, 2, 0)),
        ],
    );
    let home = home().with("TERM", "xterm");
    let mut terminal = Terminal::new(&home, &server.url);
    terminal.types(
        "",
        &[
            "r1 at http://127.0.0.1:",
            "context of 4096 tokens; /help lists",
            PROMPT,
        ],
    );
    // The reasoning is shown while it arrives, and then removed.
    terminal.types(
        "17 * 23?\r",
        &[
            "\x1b[2m17 * 20 = 340\x1b[0m",
            "\x1b[1A\x1b[J\x1b[2m(reasoning, about 1 tokens, ",
            "; /show prints it)\x1b[0m",
            "391",
            "\x1b[2m(9 prompt tokens, 20 generated (15 of them reasoning), first token after ",
            PROMPT,
        ],
    );
    terminal.types("/show\r", &["\x1b[2m17 * 20 = 340\x1b[0m", PROMPT]);
    terminal.types("/nonsense\r", &["`/nonsense` is not a command", PROMPT]);
    // Ctrl-C ends the answer and not the conversation.
    terminal.types("Tell me a story.\r", &["Once upon"]);
    terminal.types("\x03", &["cut by Ctrl-C", PROMPT]);
    // A line with a backslash, and a paste of two lines, are one message.
    terminal.types("In one\\\r", &[". "]);
    terminal.types("\x1b[200~word,\nplease.\x1b[201~\r", &["short", PROMPT]);
    terminal.types("/retry\r", &["again", PROMPT]);
    terminal.types("/save all.json\r", &["wrote all.json: 3 turns", PROMPT]);
    terminal.types("\x04", &[]);
    assert_eq!(terminal.end(), 0);
    let bodies = server.bodies();
    let texts = |index: usize| -> Vec<String> {
        let messages = bodies[index]["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect()
    };
    let expected = [
        "17 * 23?",
        "391",
        "Tell me a story.",
        "Once upon [cut by the user]",
        "In one\nword,\nplease.",
    ];
    assert_eq!(texts(2), expected);
    assert_eq!(texts(3), expected);
    let saved: Value = serde_json::from_slice(&std::fs::read(home.path().join("all.json")).unwrap()).unwrap();
    assert_eq!(
        (
            &saved["turns"][1]["finish_reason"],
            &saved["turns"][1]["reasoning"],
            &saved["turns"][2]["content"]
        ),
        (&json!("interrupted"), &json!("a long story"), &json!("again"))
    );
}

#[test]
fn ctrl_c_at_the_prompt_leaves() {
    let server = Server::new(4096, Vec::new());
    let mut terminal = Terminal::new(&home().with("TERM", "xterm"), &server.url);
    terminal.types("", &["/help lists", PROMPT]);
    terminal.types("/help\r", &["/save FILE", "Ctrl-C ends an answer", PROMPT]);
    terminal.types("half a line\x03", &[]);
    assert_eq!(terminal.end(), 0);
}
