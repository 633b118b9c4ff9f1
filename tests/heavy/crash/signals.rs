//! Signals at random times, and clocks that jump.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Counts, Model, kill, pull, run, signal, spawn, under, wait_for_part};
use crate::support::hub::Fault;
use crate::support::random::Random;
use crate::support::{Home, Run};

/// F12: signals at random times.
#[test]
fn signals_at_any_time_end_a_pull_at_once_and_it_is_resumed_later() {
    const TIMES: usize = 20;
    let model = Model::of(&[21_000_000, 9_000_000], 3);
    let hub = model.hub();
    let mut random = Random::new("signals");
    let (mut counts, mut slowest) = (Counts::default(), Duration::ZERO);
    let mut limit = Duration::ZERO;
    for (number, name) in [(2, "INT"), (15, "TERM"), (1, "HUP")] {
        for round in 0..TIMES {
            let home = Home::new();
            let cache = home.path().join("hub");
            hub.fault("blob/", Fault::Slow(40_000_000), usize::MAX);
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

/// F17: the time of day is never trusted.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let model = Model::of(&[9_000_000, 300_000], 3);
    let hub = model.hub();
    for (before, after) in [("-10y", "+10y"), ("+10y", "-10y")] {
        let home = Home::new();
        let cache = home.path().join("hub");
        // The steps change the time of day, but not the clock that measures waits.
        let at = |offset| {
            let mut command = under(&pull(&home, &hub, &cache, &[]), &["faketime", "-f", offset]);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            command
        };
        hub.fault("blob/", Fault::Slow(10_000_000), usize::MAX);
        let child = spawn(at(before));
        wait_for_part("a shard is under way", &cache, 5_000_000);
        // faketime replaces itself with the program that it runs.
        kill(child);
        hub.clear();
        let (needed, mark) = model.start_of_next(&hub, &cache);
        run(at(after)).expect(0);
        let again = hub.bytes_sent_since(mark) as u64;
        assert!(again <= needed, "{after}: {again} fetched, {needed} allowed");
        assert_eq!(model.assert_whole(&cache, after), Vec::<String>::new());
        run(at(before)).expect(0);
        assert_eq!(
            hub.bytes_sent_since(mark) as u64,
            again,
            "fetched again at another time"
        );
    }
    eprintln!("clocks: silent wrong = 0; rounds 2");
}
