//! `dsr1 diagnose`: the first cause, on logs of every kind of failure and on healthy ones.

use std::path::{Path, PathBuf};

use dsr1::diagnose::{Diagnoser, Diagnosis, Verdict};
use serde::Deserialize;

use crate::support::{Home, Run};

/// A log of the corpus, or a folder with those of the nodes.
#[derive(Debug, Deserialize)]
struct Case {
    path: String,
    kind: String,
    class: String,
    rank: Option<String>,
    #[serde(default)]
    files: Vec<String>,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diagnose")
}

fn cases() -> Vec<Case> {
    let index = std::fs::read_to_string(corpus().join("index.json")).unwrap();
    serde_json::from_str(&index).unwrap()
}

fn files(case: &Case) -> Vec<PathBuf> {
    let path = corpus().join(&case.path);
    if path.is_file() {
        return vec![path];
    }
    if !case.files.is_empty() {
        return case
            .files
            .iter()
            .map(|name| corpus().join(&case.path).join(name))
            .collect();
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

fn diagnosis(logs: &[(String, String)]) -> Diagnosis {
    let mut diagnoser = Diagnoser::default();
    for (name, text) in logs {
        diagnoser.begin(name);
        diagnoser.feed(text.as_bytes());
    }
    diagnoser.finish()
}

fn logs(case: &Case) -> Vec<(String, String)> {
    files(case)
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            (name, String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect()
}

/// Returns true for the kind itself, or for a part of it: `memory.host` for `memory.host_limit`.
fn is_kind(found: &str, expected: &str) -> bool {
    found == expected || found.starts_with(&format!("{expected}_"))
}

fn is_right(case: &Case, found: &Diagnosis) -> bool {
    match case.class.as_str() {
        "healthy" | "note" => found.verdict == Verdict::NoFailure,
        "stop" => found.verdict == Verdict::Stopped,
        "effect" => found.verdict == Verdict::Consequence && is_kind(&found.kind, &case.kind),
        _ => {
            let is_rank = case.rank.is_none()
                || found
                    .evidence
                    .as_ref()
                    .and_then(|place| place.rank.as_deref())
                    .is_some_and(|rank| {
                        let rank = rank.replace("rank", "TP");
                        rank.split(' ').any(|part| Some(part) == case.rank.as_deref())
                    });
            is_kind(&found.kind, &case.kind) && is_rank
        }
    }
}

/// Runs all cases, with a change of their logs; returns a line for each wrong answer, and the number of cases.
fn wrong(change: impl Fn(&str) -> String) -> (Vec<String>, usize) {
    let mut wrong = Vec::new();
    let cases = cases();
    for case in &cases {
        let logs: Vec<_> = logs(case)
            .into_iter()
            .map(|(name, text)| (name, change(&text)))
            .collect();
        let found = diagnosis(&logs);
        if !is_right(case, &found) {
            let rank = found.evidence.as_ref().and_then(|place| place.rank.clone());
            wrong.push(format!(
                "{}: expected {} {:?}, found {:?} {} {rank:?}: {}",
                case.path,
                case.kind,
                case.rank,
                found.verdict,
                found.kind,
                found.evidence.map_or_else(String::new, |place| place.text)
            ));
        }
    }
    (wrong, cases.len())
}

/// Fails if more than one answer of twenty is wrong.
fn assert_right(change: impl Fn(&str) -> String) {
    let (wrong, all) = wrong(change);
    let text = format!("{} of {all}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(wrong.len() * 20 <= all, "{text}");
    // A healthy log is never called a failure.
    assert!(!text.contains("healthy"), "{text}");
}

#[test]
fn the_first_cause_is_named_in_logs_of_every_kind() {
    assert_right(str::to_owned);
}

/// Lines of other ranks and of clients stand between those of a failure.
#[test]
fn noise_between_the_lines_does_not_hide_the_cause() {
    assert_right(|log| {
        let mut out = String::new();
        for (number, line) in log.lines().enumerate() {
            out.push_str(line);
            out.push('\n');
            // Inside of a traceback nothing is written by the same process.
            let is_stamped = line.trim_start().starts_with("[20");
            if number % 5 == 0 && is_stamped {
                out.push_str(
                    "INFO:     127.0.0.1:41000 - \"GET /health HTTP/1.1\" 503 Service Unavailable\n",
                );
                out.push_str("Capturing batches (bs=8):  34%|###  | 12/35 [00:02<00:04,  4.99it/s]\n");
            }
        }
        out
    });
}

/// The other ranks complain after the first one: time-outs, connections that are gone, the parent's end.
#[test]
fn what_other_ranks_say_later_is_not_the_cause() {
    assert_right(|log| {
        let is_engines = log
            .lines()
            .any(|line| line.starts_with("[20") && line.contains(" TP"));
        let is_failed = log.contains("Traceback") && !log.contains("Decode batch");
        if !is_engines || !is_failed {
            return log.to_owned();
        }
        let stamp = log
            .lines()
            .rev()
            .find_map(|line| Some(line.strip_prefix('[')?.get(..19)?.to_owned()))
            .unwrap_or_default();
        let later: Vec<String> = (0..8)
            .map(|rank| {
                format!(
                    "[{stamp} TP{rank}] Scheduler hit an exception: Traceback (most recent call last):\n  File \"/x/scheduler.py\", line 9, in run\n\
                     torch.distributed.DistBackendError: [Rank {rank}] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE)\n\n"
                )
            })
            .collect();
        let later = later.concat();
        format!(
            "{log}\n{later}[{stamp}] Received sigquit from a child process. It usually means the child failed.\n"
        )
    });
}

/// The command as a user types it: a file, standard input, the files of several nodes, and JSON.
#[test]
fn a_diagnosis_reads_files_and_standard_input() {
    let home = Home::new().without_docker();
    let log = corpus().join("real/h200-scheduler-killed.log");
    let log = log.to_str().unwrap();
    let run = home.run(&["diagnose", log]).expect(0);
    assert!(
        run.stdout
            .starts_with("cause  A process was killed from outside (process.killed)\n"),
        "{}",
        run.stdout
    );
    let checked = home.run(&["diagnose", "--check", log]).expect(7);
    assert_eq!(checked.stdout, run.stdout);
    let piped = home
        .command(&["diagnose", "-", "--format", "json"])
        .stdin(std::fs::File::open(log).unwrap())
        .output()
        .unwrap();
    let json = Run::from(piped).expect(0).json();
    assert_eq!(
        (&json["verdict"], &json["kind"], &json["evidence"]["file"]),
        (
            &"failure".into(),
            &"process.killed".into(),
            &"standard input".into()
        )
    );
    let nodes = corpus().join("multi/gpu.fell_off-four-nodes-xid-on-node2");
    let files: Vec<String> = (0..4)
        .map(|node| format!("{}/node{node}.log", nodes.display()))
        .collect();
    let mut args = vec!["diagnose"];
    args.extend(files.iter().map(String::as_str));
    let run = home.run(&args).expect(0);
    assert!(
        run.stdout.contains("(gpu.fell_off)") && run.stdout.contains("node2.log"),
        "{}",
        run.stdout
    );
    let healthy = corpus().join("real/h200-r4.log");
    let run = home
        .run(&["diagnose", "--check", healthy.to_str().unwrap()])
        .expect(0);
    assert_eq!(
        run.stdout,
        "no failure found in 312 lines; the engine was ready\n"
    );
    let none = home.run(&["diagnose", "./none.log"]).expect(2);
    assert!(
        none.stderr.starts_with("error: cannot read `./none.log`"),
        "{}",
        none.stderr
    );
    let none = home.run(&["diagnose"]).expect(2);
    assert!(none.stderr.contains("dsr1 diagnose FILE"), "{}", none.stderr);
}

/// Without a name it is the only server, or the one that ended last.
#[test]
fn the_server_that_ended_last_is_diagnosed() {
    let home = Home::new().without_docker();
    let folder = home.path().join(".local/state/dsr1/servers");
    std::fs::create_dir_all(&folder).unwrap();
    let log = std::fs::read_to_string(corpus().join("real/h200-oom-load.log")).unwrap();
    let head = "# dsr1 {\"io.dsr1.name\":\"dsr1-a\",\"io.dsr1.role\":\"server\"}\n";
    let rest = log.split_once('\n').unwrap().1;
    std::fs::write(
        folder.join("dsr1-a.log"),
        format!("{head}{rest}\n# dsr1 stopped\n"),
    )
    .unwrap();
    let run = home.run(&["diagnose"]).expect(0);
    assert!(run.stdout.contains("(gpu.held)"), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("dsr1-a has ended"), "{}", run.stderr);
}
