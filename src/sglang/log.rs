//! SGLang's log: the stages of a start, its figures, and signs of an end. Pure.
//!
//! A new stage is a function here, called in `effects::serve::start`. The signatures of failures are data of `diagnose`, those of
//! the Docker daemon's answers are in `effects::docker::errors`.
//!
//! The texts are those of 0.4.10 to 0.5.23, found by running or reading them. A line that no rule knows changes nothing, so
//! with another version details are missing, but nothing is wrong: the probe decides that the server is READY.

use crate::event::Stage;

/// Returns the stage that begins with a line, and a detail for people.
#[must_use]
pub(crate) fn stage(line: &str) -> Option<(Stage, String)> {
    let found = |stage, detail: String| Some((stage, detail));
    if line.contains("Load weight begin") {
        return found(Stage::LoadingWeights, String::new());
    }
    if line.contains("KV Cache is allocated") || line.contains("KV cache is allocated") {
        return found(
            Stage::AllocatingKvCache,
            count_after(line, "#tokens: ").map(tokens).unwrap_or_default(),
        );
    }
    if let Some(what) = capture(line) {
        return found(Stage::CapturingGraphs, what.to_owned());
    }
    if line.contains("Uvicorn running on") {
        return found(Stage::WarmingUp, String::new());
    }
    if line.contains("The server is fired up and ready to roll!") {
        return found(Stage::Ready, String::new());
    }
    None
}

/// Returns what a line begins to capture as CUDA graphs: `target decode`, `draft extend`; empty if it names nothing. The words
/// around it changed from version to version (`cuda_graph_runner.py` of 0.4.10.post2, 0.5.3, 0.5.8, 0.5.12;
/// `decode_cuda_graph_runner.py` of 0.5.16 to 0.5.23): "Capture draft cuda graph begin", "Capture target decode CUDA graph
/// begin", "Capture single-CG draft extend begin".
fn capture(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("Capture ")?;
    let (what, _) = rest.split_once(" begin")?;
    let is_short = what.len() <= 40 && !what.contains(':');
    let graph = ["cuda graph", "CUDA graph", "cpu graph", "graph"]
        .into_iter()
        .find_map(|name| what.strip_suffix(name));
    let named = graph.or_else(|| what.strip_prefix("single-CG "));
    named.filter(|_| is_short).map(str::trim)
}

/// Returns the words of a line that looks like the begin of a stage and is none that this module knows: `Load weight begin` is
/// one, and a later version may have others.
#[must_use]
pub(crate) fn unknown_stage(line: &str) -> Option<&str> {
    const BEGIN: &str = " begin";
    // A line of SGLang is `[time rank] text`.
    let text = line.strip_prefix('[')?.split_once("] ")?.1;
    let end = text.find(BEGIN)?;
    let (what, rest) = (&text[..end + BEGIN.len()], &text[end + BEGIN.len()..]);
    let is_end = rest.is_empty() || rest.starts_with(['.', ':', ',']);
    let is_plain = what.len() <= 60
        && what.starts_with(|c: char| c.is_ascii_uppercase())
        && what
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " -_".contains(c));
    // Of 0.4.10.post2 to 0.5.23: parts of the start.
    let is_part = ["Init torch distributed begin", "Init parallel begin"].contains(&what);
    let is_known = is_part || stage(line).is_some() || compiles(line).is_some();
    (is_end && is_plain && !is_known).then_some(what)
}

/// Returns what a line says is compiled now, which can take minutes: DeepGEMM's kernels (`compile_utils.py`, 0.4.10.post2 to
/// 0.5.23), or a model by torch (`compilation/`, 0.5.8 on).
#[must_use]
pub(crate) fn compiles(line: &str) -> Option<&'static str> {
    let deep_gemm = [
        "Entering DeepGEMM JIT",
        "DeepGEMM JIT Compiling for",
        "PP-parallel DeepGEMM warmup start",
    ];
    if deep_gemm.iter().any(|text| line.contains(text)) {
        return Some("compile DeepGEMM kernels");
    }
    (line.contains("Compiling num tokens") || line.contains("Compiling a graph for"))
        .then_some("compile graphs")
}

/// Returns the work that a progress bar of SGLang or of its clients counts, with the items done and their total. Progress
/// bars are those of tqdm: `Capturing batches (bs=1): 34%|███▍ | 12/35 [00:02<00:04]`, and `... 23% Completed | 5/22`.
#[must_use]
pub(crate) fn progress(line: &str) -> Option<(&'static str, u64, u64)> {
    let (title, bar) = line.split_once('%')?;
    let title = title.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let (_, counts) = bar.rsplit_once('|')?;
    let (done, rest) = counts.trim_start().split_once('/')?;
    let total = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    let what = if title.contains("shards") {
        "load shards"
    } else if title.contains("Capturing") {
        "capture graphs"
    } else if title.contains("DeepGEMM warmup") {
        "compile DeepGEMM kernels"
    } else if title.is_empty() {
        "requests"
    } else {
        return None;
    };
    Some((what, done.parse().ok()?, total.parse().ok()?))
}

/// Returns true for a line about a batch: the scheduler works.
#[must_use]
pub(crate) fn is_batch(line: &str) -> bool {
    line.contains("Decode batch") || line.contains("Prefill batch")
}

/// Returns true for the line with the arguments, which an engine logs first (`engine.py`, `http_server.py`).
#[must_use]
pub(crate) fn is_start(line: &str) -> bool {
    line.contains("server_args=")
}

/// Returns true for a line of an engine that ends after a signal, and waits for its requests (`tokenizer_manager.py`, 0.4.10.post2
/// to 0.5.23: once at the signal, then every 5 seconds).
#[must_use]
pub(crate) fn is_draining(line: &str) -> bool {
    line.contains("Gracefully exiting...") || line.contains("SIGTERM received.")
}

fn tokens(count: u64) -> String {
    format!("{count} tokens")
}

/// Returns the tokens that the KV pool holds, from the scheduler's summary line.
#[must_use]
pub(crate) fn kv_pool_tokens(line: &str) -> Option<u64> {
    count_after(line, "max_total_num_tokens=")
}

/// Returns the tokens of a pool that was just allocated, before the graphs are captured.
#[must_use]
pub(crate) fn allocated_tokens(line: &str) -> Option<u64> {
    let is_it = line.contains("KV Cache is allocated");
    count_after(line, "#tokens: ").filter(|_| is_it)
}

/// A part of a GPU's memory that the log states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The memory that is free before the weights are loaded.
    Free,
    /// Weights.
    Weights,
    /// CUDA graphs of decode.
    Graphs,
    /// The rest when the scheduler starts.
    Left,
}

/// Returns the memory that a line states, in GiB, as it is written.
#[must_use]
pub(crate) fn memory(line: &str) -> Option<(Memory, String)> {
    let (what, key) = if line.contains("Load weight begin") {
        (Memory::Free, "avail mem=")
    } else if line.contains("Load weight end") {
        (Memory::Weights, "mem usage=")
    } else if line.contains("graph end") && !line.contains("prefill") {
        (Memory::Graphs, "mem usage=")
    } else if line.contains("max_total_num_tokens=") {
        (Memory::Left, "available_gpu_mem=")
    } else {
        return None;
    };
    let (_, rest) = line.split_once(key)?;
    let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let is_number = number.len() <= 12 && number.parse::<f64>().is_ok();
    is_number.then(|| (what, number.to_owned()))
}

fn count_after(line: &str, key: &str) -> Option<u64> {
    let (_, rest) = line.split_once(key)?;
    let digits: &str = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Returns true if a line says that the engine's port is taken (asyncio's text, which uvicorn logs). The engine does not
/// end then: its schedulers go on, and nobody can reach them (0.5.23). One of them may hold the port itself, because they
/// bind ports that the system chooses.
#[must_use]
pub(crate) fn cannot_listen(line: &str) -> bool {
    line.contains("error while attempting to bind on address")
}

/// Returns true for a line that is worth showing in an error: not a progress bar, not an access log.
#[must_use]
pub(crate) fn is_telling(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty()
        && !line.contains("% Completed")
        && !line.contains("GET /ready")
        && !line.contains("GET /health")
}

/// Returns true if a line says that a process of the engine died, and the engine is about to end. It gathers diagnostics
/// first: seconds in which its port refuses connections already (0.5.16: 5 s; `engine.py`, `scheduler.py`).
#[must_use]
pub(crate) fn is_dying(line: &str) -> bool {
    [
        "SIGQUIT received. signum=",
        "Received sigquit from a child process",
        "crashed with exit code",
        "Scheduler hit an exception",
    ]
    .iter()
    .any(|text| line.contains(text))
}

/// Returns argparse's message about arguments that the engine does not accept: the text after `error: `.
#[must_use]
pub(crate) fn usage_error<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> Option<&'a str> {
    lines.rev().find_map(|line| {
        let (program, text) = line.trim().split_once(": error: ")?;
        (program.len() < 80 && !program.contains('[')).then_some(text)
    })
}

/// Returns the line of a Python log that names the cause: the last one that begins with `SomeError: `.
#[must_use]
pub(crate) fn cause<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> Option<&'a str> {
    lines.rev().map(str::trim).find(|line| {
        let name = line.split(':').next().unwrap_or_default();
        line.len() > name.len()
            && !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
            && ["Error", "Exception", "Exit", "Interrupt"]
                .iter()
                .any(|end| name.ends_with(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_of_a_cpu_start_are_seen() {
        let log = [
            (
                "[2026-11-23 20:11:02] Load weight begin. avail mem=22.14 GB",
                Some(Stage::LoadingWeights),
            ),
            ("Multi-thread loading shards:   0% Completed | 0/2", None),
            (
                "[2026-11-23 20:11:03] KV Cache is allocated. #tokens: 65536, K size: 0.02 GB",
                Some(Stage::AllocatingKvCache),
            ),
            (
                "[2026-11-23 20:11:03] max_total_num_tokens=65536, chunked_prefill_size=2048",
                None,
            ),
            (
                "INFO:     Uvicorn running on http://127.0.0.1:30000 (Press CTRL+C to quit)",
                Some(Stage::WarmingUp),
            ),
            (
                "[2026-11-23 20:11:09] The server is fired up and ready to roll!",
                Some(Stage::Ready),
            ),
        ];
        for (line, expected) in log {
            assert_eq!(stage(line).map(|(stage, _)| stage), expected, "{line}");
        }
        assert_eq!(stage(log[2].0).unwrap().1, "65536 tokens");
        assert_eq!(kv_pool_tokens(log[3].0), Some(65536));
        let pool = "[2026-11-30 03:13:33] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 15754390, KV size: 84.51 GB";
        assert_eq!(
            (allocated_tokens(pool), allocated_tokens(log[3].0)),
            (Some(15_754_390), None)
        );
    }

    #[test]
    fn the_memory_of_a_gpu_start_is_read() {
        for (line, expected) in [
            (
                "[2026-11-30 03:13:19] Load weight begin. avail mem=139.11 GB",
                Some((Memory::Free, "139.11")),
            ),
            (
                "[2026-11-29 19:10:01 TP0] Load weight end. elapsed=3.10 s, type=DeepseekV3ForCausalLM, avail mem=124.74 GB, mem usage=13.46 GB.",
                Some((Memory::Weights, "13.46")),
            ),
            (
                "[2026-11-29 19:10:31 TP0] Capture target decode CUDA graph end. elapsed=5.72 s, mem usage=8.80 GB. avail mem=16.65 GB.",
                Some((Memory::Graphs, "8.80")),
            ),
            (
                "[2025-08-01 21:05:24 TP0 EP0] Capture cuda graph end. Time elapsed: 26.07 s. mem usage=6.37 GB. avail mem=22.72 GB.",
                Some((Memory::Graphs, "6.37")),
            ),
            (
                "[x] Capture prefill CUDA graph end. elapsed=5.9 s, mem usage=2.31 GB. avail mem=25.07 GB.",
                None,
            ),
            (
                "[x] max_total_num_tokens=18103255, chunked_prefill_size=8192, available_gpu_mem=16.65 GB",
                Some((Memory::Left, "16.65")),
            ),
            ("Load weight end. mem usage=many GB", None),
        ] {
            let found = memory(line);
            assert_eq!(
                found.as_ref().map(|(what, gib)| (*what, gib.as_str())),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn a_stage_that_no_rule_knows_is_seen() {
        for (line, expected) in [
            (
                "[x TP0] Load weights begin. avail mem=29.09 GB",
                Some("Load weights begin"),
            ),
            (
                "[x] Warm up JIT kernels begin: 4 ranks",
                Some("Warm up JIT kernels begin"),
            ),
            ("[x] Load weight begin. avail mem=29.09 GB", None),
            ("[x] Init torch distributed begin.", None),
            ("[x] Init parallel begin.", None),
            ("[x] Capture target decode CUDA graph begin. backend=full", None),
            ("[x] the answers begin. Here", None),
            ("[x] Prompt: {\"Tell me how to begin", None),
            ("no stamp begin.", None),
        ] {
            assert_eq!(unknown_stage(line), expected, "{line}");
        }
    }

    #[test]
    fn graph_capture_is_seen_in_the_words_of_each_version() {
        for (line, what) in [
            (
                "[x TP0] Capture cuda graph begin. This can take up to several minutes. avail mem=29.09 GB",
                "",
            ),
            (
                "[x] Capture cpu graph begin. This can take up to several minutes. avail mem=9.09 GB",
                "",
            ),
            (
                "[x] Capture draft cuda graph begin. This can take up to several minutes.",
                "draft",
            ),
            (
                "[x] Capture draft extend cuda graph begin (step 1). This can take",
                "draft extend",
            ),
            (
                "[x] Capture piecewise CUDA graph begin. avail mem=25.07 GB",
                "piecewise",
            ),
            (
                "[x] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, bs=[1, 2]",
                "target decode",
            ),
            (
                "[x] Capture single-CG draft extend begin. This can take several minutes.",
                "draft extend",
            ),
            (
                "[x] Capture Frozen-KV MTP draft cuda graph begin.",
                "Frozen-KV MTP draft",
            ),
        ] {
            assert_eq!(
                stage(line),
                Some((Stage::CapturingGraphs, what.to_owned())),
                "{line}"
            );
        }
        for line in [
            "[x] Capture target decode CUDA graph end. elapsed=103.22 s, mem usage=0.37 GB",
            "[x] Capture the draft worker's own cuda graphs (decode + draft-extend).",
            "[x] Screen Capture tool will begin",
        ] {
            assert_eq!(stage(line), None, "{line}");
        }
    }

    #[test]
    fn compilation_is_seen() {
        for (line, what) in [
            (
                "[x] Entering DeepGEMM JIT Pre-Compile session. It may take a long time",
                Some("compile DeepGEMM kernels"),
            ),
            (
                "[x] Try DeepGEMM JIT Compiling for <GEMM_NT_F8F8BF16> N=2112, K=7168",
                Some("compile DeepGEMM kernels"),
            ),
            (
                "[x] Compiling num tokens (num_tokens=4096)",
                Some("compile graphs"),
            ),
            ("[x] NVCC Compiler not found, use NVRTC for DeepGEMM JIT", None),
        ] {
            assert_eq!(compiles(line), what, "{line}");
        }
    }

    #[test]
    fn a_progress_bar_is_read() {
        for (line, expected) in [
            (
                "Multi-thread loading shards:   0% Completed | 0/2",
                Some(("load shards", 0, 2)),
            ),
            (
                "Loading safetensors checkpoint shards:  23% Completed | 5/22 [00:01<00:03,  4.2it/s]",
                Some(("load shards", 5, 22)),
            ),
            (
                "Capturing batches (bs=8 avail_mem=9.1 GB):  34%|███▍      | 12/35 [00:02<00:04]",
                Some(("capture graphs", 12, 35)),
            ),
            (
                " 31%|███▏      | 5/16 [00:00<00:00, 13.32it/s]",
                Some(("requests", 5, 16)),
            ),
            (
                "DeepGEMM warmup:  12%|█▏        | 2048/16384 [00:40<04:45, 50.2it/s]",
                Some(("compile DeepGEMM kernels", 2048, 16384)),
            ),
            ("Fetching: 10%|█ | 1/10", None),
            ("gpu 95% | used", None),
        ] {
            assert_eq!(progress(line), expected, "{line}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_recognised() {
        assert!(cannot_listen(
            "[2026-11-26 17:47:06] ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 34987): \
             address already in use"
        ));
        assert!(!cannot_listen(
            "INFO:     Uvicorn running on http://127.0.0.1:30000"
        ));
    }

    #[test]
    fn an_engine_that_dies_says_so_before_it_ends() {
        for line in [
            "[2026-11-29 05:52:44] SIGQUIT received. signum=None, frame=None. It usually means one child failed.",
            "[2025-08-01 21:05:24] Received sigquit from a child process. It usually means the child failed.",
            "[2026-11-29 05:52:44 TP0] Scheduler hit an exception: Traceback (most recent call last):",
        ] {
            assert!(is_dying(line), "{line}");
        }
        assert!(!is_dying("[x] The server is fired up and ready to roll!"));
    }

    #[test]
    fn a_line_of_an_engine_that_was_asked_to_end_is_known() {
        for line in [
            "[2026-11-30 06:00:00] SIGTERM received. signum=None frame=None. Draining requests and shutting down...",
            "[2025-08-01 21:05:24] Gracefully exiting... remaining number of requests 3",
            "[2026-11-30 06:00:05] Gracefully exiting... Remaining number of requests 1. Remaining requests remaining_rids=['x'].",
        ] {
            assert!(is_draining(line), "{line}");
        }
        assert!(!is_draining("[x] Decode batch, #running-req: 3"));
    }

    #[test]
    fn the_cause_is_the_last_error_line() {
        let log = [
            "Traceback (most recent call last):",
            "  File \"x.py\", line 1",
            "torch.OutOfMemoryError: CUDA out of memory.",
            "[rank0] exiting",
        ];
        assert_eq!(
            cause(log.into_iter()),
            Some("torch.OutOfMemoryError: CUDA out of memory.")
        );
        assert_eq!(cause(["note: nothing"].into_iter()), None);
        let log = [
            "usage: x",
            "launch_server.py: error: unrecognized arguments: --no",
        ];
        assert_eq!(usage_error(log.into_iter()), Some("unrecognized arguments: --no"));
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_without_panic(line in "\\PC{0,200}") {
            let _ = (stage(&line), progress(&line), cannot_listen(&line), kv_pool_tokens(&line), compiles(&line), is_telling(&line), cause([line.as_str()].into_iter()));
        }
    }
}
