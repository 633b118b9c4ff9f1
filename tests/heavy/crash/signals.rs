//! Signals at random times, and clocks that jump.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Counts, M, MB, Model, kill, listed, new_home, pull, run, signal, spawn, wait_for_part};
use crate::support::Run;
use crate::support::hub::Fault;
use crate::support::random::Random;

/// F12: signals at random times.
#[test]
fn signals_at_any_time_end_a_pull_at_once_and_it_is_resumed_later() {
    const TIMES: usize = 20;
    let model = Model::of(&[21 * M, 9 * M], 3);
    let hub = model.hub();
    let mut random = Random::new("signals");
    let (mut counts, mut slowest) = (Counts::default(), Duration::ZERO);
    let mut limit = Duration::ZERO;
    for (number, name) in [(2, "INT"), (15, "TERM"), (1, "HUP")] {
        for round in 0..TIMES {
            let home = new_home();
            let cache = home.path().join("hub");
            hub.fault("blob/", Fault::Slow(40 * M), usize::MAX);
            if round == 0 {
                let begun = Instant::now();
                run(pull(&home, &hub, &home.path().join("measured"), &[])).expect(0);
                limit = begun.elapsed();
            }
            let before = hub.arrived();
            let mut command = pull(&home, &hub, &cache, &[]);
            let child = command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::thread::sleep(random.time(limit));
            let asked = hub.arrived() - before;
            let begun = Instant::now();
            signal(&child, rustix::process::Signal::from_named_raw(number).unwrap());
            let ended = Run::from(child.wait_with_output().unwrap());
            let took = begun.elapsed();
            slowest = slowest.max(took);
            let when = format!("SIG{name}, round {round}");
            assert!(took < Duration::from_secs(10), "{when}: {took:?}");
            match ended.code {
                0 => drop(model.assert_whole(&cache, &when)),
                130 if ended.stderr.contains("error: interrupted by") => {}
                // Before dsr1 handles signals it has done nothing, and SIGINT ends the process with the same code.
                code => assert!(
                    code == 128 + number && asked == 0,
                    "{when}: exit {code}: {}",
                    ended.stderr
                ),
            }
            counts.add(&format!("{name} exit {}", ended.code), 1);
            hub.clear();
            assert_eq!(model.wrong(&cache), Vec::<String>::new(), "{when}");
            let (needed, mark) = model.start_of_next(&hub, &cache);
            run(pull(&home, &hub, &cache, &[])).expect(0);
            let again = hub.bytes_sent_since(mark) as u64;
            assert!(again <= needed, "{when}: {again} fetched, {needed} allowed");
            assert_eq!(model.assert_whole(&cache, &when), Vec::<String>::new(), "{when}");
        }
    }
    counts.print("signals");
    eprintln!("signals: the slowest end took {slowest:?}");
}

/// Gives every file of a cache a time that is years away, as a clock that jumped leaves them.
fn shift_times(cache: &Path, is_forward: bool) {
    const YEARS: Duration = Duration::from_hours(10 * 365 * 24);
    for name in listed(cache) {
        let path = cache.join(name);
        // A link names a file that is listed, too.
        if path.symlink_metadata().unwrap().is_symlink() {
            continue;
        }
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        let time = if is_forward { time + YEARS } else { time - YEARS };
        file.set_modified(time).unwrap();
    }
}

/// F17: the time of day is never trusted. That the process does not read it is a rule of the architecture's test; this
/// is about the times of files.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let model = Model::of(&[21 * M, 3 * M / 10], 3);
    let hub = model.hub();
    for is_forward in [false, true] {
        let home = new_home();
        let cache = home.path().join("hub");
        hub.fault("blob/", Fault::Slow(20 * M), usize::MAX);
        let child = spawn(pull(&home, &hub, &cache, &[]));
        wait_for_part("a shard is under way", &cache, 16 * MB);
        kill(child);
        hub.clear();
        shift_times(&cache, is_forward);
        let (needed, mark) = model.start_of_next(&hub, &cache);
        assert!(needed < 12 * MB, "{needed}");
        run(pull(&home, &hub, &cache, &[])).expect(0);
        let again = hub.bytes_sent_since(mark) as u64;
        assert!(again <= needed, "{is_forward}: {again} fetched, {needed} allowed");
        assert_eq!(model.assert_whole(&cache, "resumed"), Vec::<String>::new());
        shift_times(&cache, !is_forward);
        run(pull(&home, &hub, &cache, &[])).expect(0);
        assert_eq!(
            hub.bytes_sent_since(mark) as u64,
            again,
            "fetched again at another time"
        );
        assert_eq!(
            model.assert_whole(&cache, "at another time"),
            Vec::<String>::new()
        );
    }
    eprintln!("clocks: silent wrong = 0; rounds 2");
}
