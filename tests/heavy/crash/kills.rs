//! Kills at random times, each followed by a complete run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Counts, FOLDER, M, Model, kill, new_home, parts, pull, run, spawn};
use crate::support::hub::Fault;
use crate::support::random::{Random, rounds};

/// F1: kills at random times, each followed by a complete run.
#[test]
fn kills_at_any_time_leave_nothing_wrong_and_cost_at_most_a_step() {
    const THREADS: usize = 2;
    /// Bytes per second of each stream.
    const RATE: usize = 40 * M;
    let kills = rounds(200, 40);
    let model = Model::of(&[21 * M, 9 * M, 3 * M], 24);
    let counts = Mutex::new(Counts::default());
    let left = Mutex::new(BTreeSet::new());
    let mut random = Random::new("kills");
    let seeds: Vec<u64> = (0..THREADS).map(|_| random.number()).collect();
    std::thread::scope(|scope| {
        for seed in seeds {
            let (model, counts, left) = (&model, &counts, &left);
            scope.spawn(move || {
                let mut random = Random::of_seed(seed);
                let hub = model.hub();
                let mut limit = Duration::ZERO;
                for round in 0..kills / THREADS {
                    let home = new_home();
                    let cache = home.path().join("hub");
                    hub.fault("blob/", Fault::Slow(RATE), usize::MAX);
                    // The duration of a pull is measured again from time to time, because other tests share the
                    // machine.
                    if round % 25 == 0 {
                        let begun = Instant::now();
                        run(pull(&home, &hub, &home.path().join("measured"), &[])).expect(0);
                        limit = begun.elapsed();
                    }
                    let child = spawn(pull(&home, &hub, &cache, &[]));
                    // Publishing takes a few milliseconds of each pull, and so does the time until the first file is
                    // complete: every fourth kill waits for the former, and some for the latter. Some kills come before
                    // the first request or after the end, but only a few.
                    let wait_for = |phase: &str| {
                        let begun = Instant::now();
                        while model.phase(&cache) != phase && begun.elapsed() < limit * 4 {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                    };
                    if round % 4 == 3 {
                        wait_for("snapshot partly");
                        std::thread::sleep(random.time(Duration::from_millis(12)));
                    } else if round % 16 == 1 {
                        wait_for("parts");
                        std::thread::sleep(random.time(Duration::from_millis(3)));
                    } else if round % 16 == 5 {
                        std::thread::sleep(random.time(Duration::from_millis(3)));
                    } else if round % 16 == 9 {
                        wait_for("done");
                    } else {
                        std::thread::sleep(random.time(limit * 11 / 10));
                    }
                    kill(child);
                    hub.clear();
                    let when = format!("round {round}");
                    assert_eq!(model.wrong(&cache), Vec::<String>::new(), "{when}");
                    let (phase, (needed, mark)) = (model.phase(&cache), model.start_of_next(&hub, &cache));
                    run(pull(&home, &hub, &cache, &[])).expect(0);
                    let again = hub.bytes_sent_since(mark) as u64;
                    assert!(
                        again <= needed,
                        "{when} ({phase}): {again} fetched, {needed} allowed"
                    );
                    left.lock().unwrap().extend(model.assert_whole(&cache, &when));
                    let mut counts = counts.lock().unwrap();
                    counts.add(&format!("killed in `{phase}`"), 1);
                    counts.add("bytes fetched again", again);
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    counts.print("kills");
    for phase in ["nothing", "parts", "blobs", "snapshot partly", "done"] {
        assert!(
            counts.0.contains_key(&format!("killed in `{phase}`")),
            "no kill fell in `{phase}`"
        );
    }
    assert_eq!(
        left.into_inner().unwrap(),
        BTreeSet::new(),
        "left beside whole trees"
    );
}

/// F1: the files that kills leave in one cache do not accumulate.
#[test]
fn repeated_kills_leave_one_partial_file_of_a_file_and_nothing_else() {
    const KILLS: usize = 30;
    let model = Model::of(&[21 * M, 9 * M, 3 * M], 12);
    let (home, hub) = (new_home(), model.hub());
    let cache = home.path().join("hub");
    let mut random = Random::new("kills in one cache");
    hub.fault("blob/", Fault::Slow(80 * M), usize::MAX);
    let (mut most, mut named) = (0, 0);
    for round in 0..KILLS {
        let child = spawn(pull(&home, &hub, &cache, &[]));
        std::thread::sleep(random.time(Duration::from_millis(700)));
        kill(child);
        assert_eq!(model.wrong(&cache), Vec::<String>::new(), "kill {round}");
        let owned: Vec<PathBuf> = parts(&cache);
        for oid in model.blobs().keys() {
            let of_it = owned
                .iter()
                .filter(|part| part.to_string_lossy().contains(oid))
                .count();
            assert!(of_it <= 1, "kill {round}: {of_it} parts of {oid}");
        }
        // Besides partial files and journals: a file that was being published, and journals of files just published.
        let mut beside = model.differences(&cache).1;
        beside.retain(|name| {
            let path = cache.join(FOLDER).join(name);
            !owned.contains(&path) && !owned.contains(&path.with_extension("part"))
        });
        most = most.max(beside.len());
        assert!(beside.len() <= 9, "kill {round}: {beside:?}");
        // The names are removed, so that kills hit the publishing too.
        if model.phase(&cache) == "done" {
            named += 1;
            for dir in ["refs", "snapshots"] {
                std::fs::remove_dir_all(cache.join(FOLDER).join(dir)).unwrap();
            }
            let manifest = format!(".dsr1/verified-{}.json", model.commit);
            std::fs::remove_file(cache.join(FOLDER).join(manifest)).unwrap();
        }
    }
    hub.clear();
    run(pull(&home, &hub, &cache, &[])).expect(0);
    assert_eq!(model.assert_whole(&cache, "at last"), Vec::<String>::new());
    eprintln!(
        "kills in one cache: silent wrong = 0; kills {KILLS}, done meanwhile {named}, at most {most} files beside parts"
    );
}
