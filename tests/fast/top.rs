//! `dsr1 top` on a terminal, with a server whose metrics a test wrote.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::chat::Terminal;
use crate::first_hour::{ended_server, running_server, terminal, terminal_shell};
use crate::support::Home;

/// The sequences that enter and leave a screen of one's own, and that show the cursor.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const CURSOR: &str = "\x1b[?25h";

fn home() -> Home {
    Home::new()
        .without_docker()
        .with("TERM", "xterm")
        .with("NO_COLOR", "1")
}

/// Starts a server whose metrics rise with each look, and returns its port.
fn metrics() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let looks = AtomicU64::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let (status, body) = if head[..count].starts_with(b"GET /metrics ") {
                let look = looks.fetch_add(1, Ordering::Relaxed);
                let metrics = format!(
                    "sglang:num_running_reqs{{tp_rank=\"0\"}} 48.0\nsglang:num_queue_reqs{{tp_rank=\"0\"}} 12.0\n\
                     sglang:token_usage{{tp_rank=\"0\"}} 0.57\nsglang:gen_throughput{{tp_rank=\"0\"}} 1830.0\n\
                     sglang:spec_accept_length{{tp_rank=\"0\"}} 2.61\n\
                     sglang:realtime_tokens_total{{mode=\"decode\",tp_rank=\"0\"}} {}\n\
                     sglang:time_to_first_token_seconds_bucket{{le=\"400\"}} 0\n\
                     sglang:time_to_first_token_seconds_bucket{{le=\"+Inf\"}} {look}\n",
                    look * 1000
                );
                (200, metrics)
            } else {
                (404, String::new())
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

/// Starts the process of a server with these metrics. Ends with its guard.
struct Engine(Child);

impl Engine {
    fn new(home: &Home, name: &str) -> Self {
        ended_server(home, name, metrics());
        Self(running_server(home, name))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_terminal_the_answer_is_another_command() {
    let hints = "hint: dsr1 status -w prints the servers every two seconds\n\
                 hint: dsr1 status --format json prints them as JSON\n";
    let run = home().run(&["top"]).expect(2);
    assert_eq!(
        (run.stdout.as_str(), run.stderr),
        (
            "",
            format!("error: dsr1 top draws a screen, and standard output is not a terminal\n{hints}")
        )
    );
    let json = home().run(&["top", "--format", "json"]).expect(2).json();
    assert_eq!(json["message"], "dsr1 top draws a screen, and prints no JSON");
    let dumb = terminal(&home().with("TERM", "dumb"), (80, 24), "top")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(dumb.stdout).unwrap();
    assert!(
        shown.starts_with("error: dsr1 top draws a screen, which a terminal with TERM=dumb"),
        "{shown}"
    );
    for (interval, code) in [("0", 2), ("3601", 2), ("x", 2)] {
        home().run(&["top", "--interval", interval]).expect(code);
    }
}

#[test]
fn a_server_is_shown_and_q_restores_the_terminal() {
    let home = home();
    let _first = Engine::new(&home, "dsr1-a");
    let _second = Engine::new(&home, "dsr1-b");
    let program = env!("CARGO_BIN_EXE_dsr1");
    let line = format!("stty -a > before; {program} top; echo code=$?; stty -a > after");
    let mut terminal = Terminal::start(&mut terminal_shell(&home, (100, 40), &line));
    // Rates are there from the second look on.
    terminal.types("", &[ENTER, "dsr1-a", "dsr1-b", "busy", "48", "2.61", "tokens/s"]);
    // The first token took longer than the last bucket.
    terminal.shows(">400");
    terminal.types("?", &["pauses"]);
    terminal.types("p", &["paused"]);
    terminal.types("q", &[LEAVE, CURSOR, "code=0"]);
    assert!(!terminal.text().contains("\x1b[31m"), "NO_COLOR paints nothing");
    assert_eq!(terminal.end(), 0);
    let modes = |file: &str| std::fs::read_to_string(home.path().join(file)).unwrap();
    assert!(modes("before").contains(" icanon ") && modes("before") == modes("after"));
}

#[test]
fn each_way_out_restores_the_terminal() {
    let home = home();
    let _engine = Engine::new(&home, "dsr1-a");
    for (keys, code) in [("\x03", 0), ("\x1b", 0)] {
        let mut terminal = Terminal::start(&mut terminal(&home, (80, 24), "top a"));
        terminal.types("", &[ENTER, "dsr1-a", "2.61"]);
        terminal.types(keys, &[LEAVE, CURSOR]);
        assert_eq!(terminal.end(), code, "{keys:?}");
    }
    for name in ["TERM", "INT", "HUP"] {
        let mut terminal = Terminal::start(&mut terminal(&home, (80, 24), "top a --interval 3600"));
        terminal.types("", &[ENTER, "dsr1-a", "2.61"]);
        let pid = terminal.pid().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
        terminal.shows(LEAVE);
        assert!(terminal.text().rfind(CURSOR) > terminal.text().rfind("\x1b[?25l"));
        assert_eq!(terminal.end(), 130, "{name}");
    }
}

/// Writes a program `nvidia-smi`, and returns a home that finds it.
fn with_nvidia_smi(home: Home, script: &str) -> Home {
    let path = home.path().join("bin/nvidia-smi");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bin = path.parent().unwrap().to_str().unwrap().to_owned();
    home.with("PATH", format!("{bin}:/usr/local/bin:/usr/bin:/bin"))
}

#[test]
fn gpus_are_shown() {
    let sheet = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gpu/h200-580.159.xml");
    let script = format!(
        "#!/bin/sh\ncase $1 in\n-q) cat {sheet};;\n*) echo '0, NVIDIA H200, 143771, 120000, 9.0, 580.159.04, Disabled';;\nesac\n"
    );
    let home = with_nvidia_smi(home(), &script);
    let mut terminal = Terminal::start(&mut terminal(&home, (80, 24), "top"));
    terminal.types("", &[ENTER, "NVIDIA", "H200", "81/700"]);
    terminal.types("q", &[LEAVE]);
    assert_eq!(terminal.end(), 0);
}

/// A server that takes a connection and says nothing, and an `nvidia-smi` that blocks on a lost GPU.
#[test]
fn nothing_that_hangs_holds_up_the_screen() {
    let home = with_nvidia_smi(home(), "#!/bin/sh\nexec sleep 61\n");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    ended_server(&home, "dsr1-a", silent.local_addr().unwrap().port());
    let _engine = Engine(running_server(&home, "dsr1-a"));
    let mut terminal = Terminal::start(&mut terminal(&home, (80, 24), "top"));
    terminal.types("", &[ENTER]);
    terminal.types("?", &["pauses"]);
    terminal.shows("starting");
    terminal.types("q", &[LEAVE]);
    assert_eq!(terminal.end(), 0);
}

#[test]
fn another_size_of_the_terminal_is_followed() {
    let home = home();
    let mut terminal = Terminal::start(&mut terminal(&home, (80, 24), "top"));
    terminal.types("", &[ENTER, "serve"]);
    let device = std::fs::read_link(format!("/proc/{}/fd/0", terminal.pid())).unwrap();
    let resize = |columns: &str, rows: &str| {
        let mut stty = std::process::Command::new("stty");
        stty.arg("-F").arg(&device).args(["cols", columns, "rows", rows]);
        assert!(stty.status().unwrap().success());
    };
    resize("59", "9");
    terminal.shows("columns");
    resize("100", "30");
    // A key that comes at the moment of a change is read with the next one (crossterm 0.29).
    terminal.shows("\x1b[30;");
    terminal.types("?", &["pauses"]);
    terminal.types("q", &[LEAVE]);
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_server_that_is_not_there_is_told_before_the_screen() {
    let mut terminal = Terminal::start(&mut terminal(&home(), (80, 24), "top nobody"));
    terminal.types("", &["there is no server `nobody`"]);
    assert!(!terminal.text().contains(ENTER), "{}", terminal.text());
    assert_eq!(terminal.end(), 2);
}

#[test]
fn without_a_server_the_screen_says_how_to_start_one() {
    let mut terminal = Terminal::start(&mut terminal(&home(), (80, 24), "top"));
    terminal.types("", &[ENTER, "serve"]);
    terminal.types("q", &[LEAVE]);
    assert_eq!(terminal.end(), 0);
    let mut small = Terminal::start(&mut crate::first_hour::terminal(&home(), (40, 9), "top"));
    small.types("", &[ENTER, "columns"]);
    small.types("q", &[LEAVE]);
    assert_eq!(small.end(), 0);
}
