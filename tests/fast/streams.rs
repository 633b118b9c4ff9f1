//! `dsr1 pull` on streams that are slow, refused or limited: chunk workers help, and never harm. All of these run with
//! small limits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::Home;
use crate::support::hub::{Asked, Fault, Hub, RepoFile, safetensors};
use crate::support::pulled::{REPO, pull, snapshot};

const FILE: &str = "model.safetensors";
const BLOB: &str = "blob/model.safetensors";
/// Size of a chunk.
const CHUNK: usize = 2 << 20;
/// A file with room for helpers, who begin at two chunks.
const LARGE: usize = 5 * CHUNK + CHUNK / 2;

fn of_size(size: usize) -> (Home, Hub, Vec<u8>) {
    let bytes = safetensors("a", 7, size);
    let file = RepoFile {
        bytes: bytes.clone(),
        large: true,
    };
    let files = BTreeMap::from([(FILE.to_owned(), file)]);
    (Home::new().with_small_limits(), Hub::new(REPO, files), bytes)
}

fn pulled(home: &Home, hub: &Hub) -> PathBuf {
    snapshot(home, hub).join(FILE)
}

/// The requests to the content network.
fn of_cdn(hub: &Hub) -> Vec<Asked> {
    hub.asked().into_iter().filter(|asked| asked.on_cdn).collect()
}

/// Waits until such a stream has ended. The hub notices that when it sends the next bytes, which is soon.
#[track_caller]
fn wait_for(hub: &Hub, is: impl Fn(&Asked) -> bool) {
    let begun = Instant::now();
    while !of_cdn(hub).iter().any(&is) {
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", of_cdn(hub));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A hub that allows one stream per file refuses the helpers, and the running stream continues to the end.
#[test]
fn refused_helpers_do_not_interrupt_the_running_stream() {
    let (home, hub, bytes) = of_size(LARGE);
    let refused = Fault::Status(503, "", "");
    let faults = Fault::Split(Box::new(Fault::Slow(15_000_000)), Box::new(refused));
    hub.fault(BLOB, faults, usize::MAX);
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(std::fs::read(pulled(&home, &hub)).unwrap(), bytes);
    let whole = of_cdn(&hub).into_iter().filter(|asked| asked.sent >= bytes.len());
    assert_eq!(whole.count(), 1, "one stream brought all");
    let refused = of_cdn(&hub).into_iter().filter(|asked| asked.range.is_some());
    assert!(refused.count() > 0, "nobody came to help");
}

/// A server that ignores ranges sends the whole file to each helper: this is noticed, and costs no second download.
#[test]
fn a_server_that_ignores_ranges_sends_a_file_once() {
    let (home, hub, bytes) = of_size(LARGE);
    hub.fault(BLOB, Fault::IgnoreRange(15_000_000), usize::MAX);
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(std::fs::read(pulled(&home, &hub)).unwrap(), bytes);
    assert!(
        of_cdn(&hub).iter().any(|asked| asked.range.is_some()),
        "nobody came to help"
    );
    // Bytes in transit to the helpers are counted in addition.
    let sent = hub.bytes_sent();
    assert!(sent < bytes.len() * 3 / 2, "{sent} of {}", bytes.len());
}

/// The file's own worker does not wait for a helper that is much slower than itself.
#[test]
fn a_slow_helper_does_not_delay_the_end() {
    let (home, hub, bytes) = of_size(LARGE);
    // Two answers: its own, and a helper's; or two helpers'.
    let faults = Fault::Split(Box::new(Fault::Slow(10_000_000)), Box::new(Fault::Slow(50_000)));
    hub.fault(BLOB, faults, 2);
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(std::fs::read(pulled(&home, &hub)).unwrap(), bytes);
    let is_cut = |asked: &Asked| asked.range.is_some() && asked.sent < CHUNK / 2;
    wait_for(&hub, is_cut);
}

/// The file's own worker does not wait for a helper that receives nothing, however long that helper would wait.
#[test]
fn a_silent_helper_does_not_delay_the_end() {
    const LONG: u64 = 300;
    let (home, hub, bytes) = of_size(LARGE);
    let home = home.with("HF_HUB_DOWNLOAD_TIMEOUT", LONG.to_string());
    let faults = Fault::Split(Box::new(Fault::Slow(10_000_000)), Box::new(Fault::Stall(LONG)));
    hub.fault(BLOB, faults, 2);
    let begun = Instant::now();
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(std::fs::read(pulled(&home, &hub)).unwrap(), bytes);
    assert!(
        of_cdn(&hub).iter().any(|asked| asked.range.is_some()),
        "nobody helped"
    );
    assert!(begun.elapsed() < Duration::from_secs(LONG), "it was waited for");
}

/// A file's own stream that is much slower than those of its helpers is reopened.
#[test]
fn a_slow_stream_beside_fast_helpers_is_reopened() {
    let (home, hub, bytes) = of_size(LARGE);
    let fast = Fault::Slow(100_000_000);
    let faults = Fault::Split(Box::new(Fault::Slow(250_000)), Box::new(fast));
    hub.fault(BLOB, faults, usize::MAX);
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(std::fs::read(pulled(&home, &hub)).unwrap(), bytes);
    // The helpers leave more than a chunk to it.
    let is_cut = |asked: &Asked| asked.range.is_none() && asked.sent < CHUNK;
    wait_for(&hub, is_cut);
}

/// F10: if the hub asks one worker for a pause, all workers pause.
#[test]
fn helpers_wait_as_long_as_the_hub_asks() {
    let (home, hub, _) = of_size(LARGE);
    let refused = Fault::Status(429, "Retry-After: 60\r\n", "");
    let faults = Fault::Split(Box::new(Fault::Slow(6_000_000)), Box::new(refused));
    hub.fault(BLOB, faults, usize::MAX);
    pull(&home, &hub, &[]).expect(0);
    let refused = of_cdn(&hub)
        .into_iter()
        .filter(|asked| asked.range.is_some())
        .count();
    // Each worker may have sent one request before the first one received the answer.
    assert!(refused <= 8, "{refused} requests in spite of Retry-After");
}

/// F10: a transfer that breaks repeatedly but makes progress is not given up, also after the whole file was wrong once.
#[test]
fn the_retries_are_counted_anew_when_a_file_starts_over() {
    let (home, hub, bytes) = of_size(2_500_000);
    hub.fault(BLOB, Fault::Reset(1_250_000), 1);
    hub.fault(BLOB, Fault::Flip(5_000), 1);
    hub.fault(BLOB, Fault::Reset(250_000), 7);
    let run = pull(&home, &hub, &[]).expect(0);
    assert!(
        run.stderr.contains("failed its checksum and is fetched again"),
        "{}",
        run.stderr
    );
    assert_eq!(std::fs::read(pulled(&home, &hub)).unwrap(), bytes);
}

/// An answer that is not used does not remove any bytes that are on disk.
#[test]
fn an_answer_with_another_range_loses_no_bytes() {
    let (home, hub, bytes) = of_size(2_500_000);
    hub.fault(BLOB, Fault::Reset(2_250_000), 1);
    hub.fault(BLOB, Fault::OtherRange, 1);
    pull(&home, &hub, &[]).expect(0);
    assert_eq!(std::fs::read(pulled(&home, &hub)).unwrap(), bytes);
    let taken = of_cdn(&hub).into_iter().map(|asked| asked.sent).sum::<usize>();
    assert!(taken < 3_250_000, "{taken}");
}

/// A rate limit slows dsr1 and not the stream: a very slow stream is still dropped.
#[test]
fn a_very_slow_stream_is_dropped_under_a_rate_limit_too() {
    let (home, hub, bytes) = of_size(1_250_000);
    let home = home.with("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    hub.fault(BLOB, Fault::Slow(1_250), 1);
    pull(&home, &hub, &["--limit-rate", "100m"]).expect(0);
    // At that rate it would have taken a quarter of an hour.
    assert_eq!(std::fs::read(pulled(&home, &hub)).unwrap(), bytes);
}

/// Bytes that are on disk already and are sent again count as received bytes.
#[test]
fn skipped_bytes_count_for_the_rate_limit() {
    let (home, hub, _) = of_size(2_500_000);
    hub.fault(BLOB, Fault::Reset(2_250_000), 1);
    hub.fault(BLOB, Fault::Status(404, "", ""), 1);
    pull(&home, &hub, &[]).expect(5);
    hub.fault(BLOB, Fault::IgnoreRange(usize::MAX), usize::MAX);
    let begun = Instant::now();
    pull(&home, &hub, &["--limit-rate", "1m"]).expect(0);
    // 2.5 MB at 1 MiB/s are 2.4 s: never faster, however fast the machine is.
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
}
