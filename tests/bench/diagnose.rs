//! Time of a diagnosis of a log of 1 GB, including the start of the process, compared with `grep -F -f` for the same texts: the
//! peer only finds lines. The two run alternately. Run `cargo bench --bench diagnose`; it writes 2 GB below the temporary
//! directory.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and reports a failure with a panic"
)]

mod measured;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use dsr1::diagnose::{Class, signatures};
use measured::measure;

/// Size of the log in bytes.
const SIZE: usize = 1_000_000_000;
/// Runs of each side.
const RUNS: usize = 5;

/// Writes a log of a server that worked for days, with a real failure at its end. `quiet` is one without batches and access
/// lines, of which every line is searched.
fn write(path: &Path, quiet: bool) {
    let mut block = String::new();
    for number in 0..4000 {
        let (minute, second) = (number / 60 % 60, number % 60);
        let stamp = format!("2026-11-29 19:{minute:02}:{second:02}");
        if quiet {
            let _ = writeln!(
                block,
                "[{stamp} TP0] Request {number:x} was finished by its length after {} tokens; its answer was sent to the client",
                number * 7
            );
        } else {
            let _ = writeln!(
                block,
                "[{stamp} TP0] Decode batch. #running-req: {}, #token: {}, token usage: 0.31, cuda graph: True, gen throughput (token/s): 812.40, #queue-req: 0, ",
                number % 128,
                number * 7
            );
            let _ = writeln!(
                block,
                "[{stamp}] INFO:     127.0.0.1:{} - \"POST /generate HTTP/1.1\" 200 OK",
                40000 + number
            );
        }
    }
    let mut file = File::create(path).unwrap();
    for _ in 0..=SIZE / block.len() {
        file.write_all(block.as_bytes()).unwrap();
    }
    let end =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diagnose/real/h200-oom-under-load.log");
    file.write_all(&std::fs::read(end).unwrap()).unwrap();
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let texts = dir.path().join("texts");
    let causes = signatures().iter().filter(|one| one.class == Class::Cause);
    let all: Vec<&str> = causes
        .flat_map(|one| one.any.iter().flatten())
        .map(String::as_str)
        .collect();
    std::fs::write(&texts, all.join("\n")).unwrap();
    for (name, quiet) in [("of normal work", false), ("of other lines", true)] {
        let log = dir.path().join("log");
        write(&log, quiet);
        let bytes = std::fs::metadata(&log).unwrap().len();
        let dsr1 = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dsr1"));
            command.arg("diagnose").arg(&log);
            measure(command)
        };
        let grep = || {
            let mut command = Command::new("sh");
            command
                .env("LC_ALL", "C")
                .args(["-c", "grep -i -F -f \"$0\" \"$1\" | tail -1"]);
            command.arg(&texts).arg(&log);
            measure(command)
        };
        let said = Command::new(env!("CARGO_BIN_EXE_dsr1"))
            .arg("diagnose")
            .arg(&log)
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&said.stdout).contains("(memory.runtime)"));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(dsr1());
            theirs.push(grep());
        }
        ours.sort_by_key(|run| run.wall);
        theirs.sort_by_key(|run| run.wall);
        let (ours, theirs) = (ours[RUNS / 2], theirs[RUNS / 2]);
        #[expect(clippy::cast_precision_loss, reason = "a size of a file")]
        let rate = |seconds: f64| bytes as f64 / 1e9 / seconds;
        println!(
            "1 GB {name}: dsr1 diagnose {:.2} s ({:.2} GB/s, {} MB), grep -i -F -f {:.2} s ({:.2} GB/s); ratio {:.2}",
            ours.wall.as_secs_f64(),
            rate(ours.wall.as_secs_f64()),
            ours.memory / 1_000_000,
            theirs.wall.as_secs_f64(),
            rate(theirs.wall.as_secs_f64()),
            ours.wall.as_secs_f64() / theirs.wall.as_secs_f64()
        );
    }
}
