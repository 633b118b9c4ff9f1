//! Loads that take over from each other in one run, against the server of known times.

use std::sync::mpsc::channel;
use std::time::Duration;

use dsr1::effects::load::{Handover, InFlight, Job, NextStage, Ran, Target, Watch, run_stages};
use dsr1::measure::{
    Api, Arrivals, Extent, Kept, Lengths, Load, Moment, Phase, RandomPrompts, Record, RequestSettings, Stage,
    Turns,
};

use tokio::sync::mpsc::unbounded_channel;

use crate::support::truth::{Shape, Truth};

const LENGTHS: Lengths = Lengths {
    input: 16,
    output: 20,
    ratio: 1.0,
    shared_prefix: 0,
    turns: Turns::SINGLE,
};

const fn stage(load: Load, requests: u32) -> Stage {
    Stage {
        load,
        extent: Extent {
            requests,
            least_s: 0,
            most_s: None,
            stall_s: 20,
            warm_up: true,
            ramp_s: 0,
        },
    }
}

const fn follows(stage: Stage) -> NextStage {
    NextStage {
        stage,
        in_flight: InFlight::TakeOver,
    }
}

fn job(truth: &Truth, first: Stage) -> Job {
    Job {
        target: Target::plain(([127, 0, 0, 1], truth.port()).into()),
        settings: RequestSettings {
            api: Api::Completions,
            model: "truth".to_owned(),
            ignores_end: true,
            temperature: 0.0,
            top_p: None,
            stop: Vec::new(),
            keeps: Kept::Nothing,
        },
        stage: first,
        limits: None,
        think_time: Duration::ZERO,
        seed: 5,
    }
}

/// Returns the most and the mean of the requests in flight, at even distances in a window.
fn in_flight(records: &[Record], (from, to): (Moment, Moment)) -> (usize, f64) {
    const LOOKS: u32 = 200;
    let at = |moment: Moment| {
        let is_open = |record: &&Record| record.sent <= moment && moment < record.ended;
        records.iter().filter(is_open).count()
    };
    let distance = to.since(from) / LOOKS;
    let counts: Vec<usize> = (0..LOOKS).map(|look| at(from.after(distance * look))).collect();
    let sum = u32::try_from(counts.iter().sum::<usize>()).unwrap();
    (
        counts.into_iter().max().unwrap_or(0),
        f64::from(sum) / f64::from(LOOKS),
    )
}

#[test]
fn loads_take_over_from_each_other_without_a_pause() {
    let truth = Truth::start(Shape::new(Duration::from_millis(30), Duration::from_millis(5)));
    let loads = [
        Load::Concurrency(4),
        Load::Concurrency(16),
        Load::Concurrency(2),
        Load::Rate {
            per_second: 40.0,
            arrivals: Arrivals::Constant,
            most_in_flight: None,
        },
    ];
    let job = job(&truth, stage(loads[0], 20));
    let (ended, mut results) = unbounded_channel();
    let (give, next) = channel();
    for load in &loads[1..] {
        give.send(follows(stage(*load, 20))).unwrap();
    }
    drop(give);
    let requests = Box::new(RandomPrompts::new(LENGTHS, 1000, 5, 4));
    run_stages(&job, requests, &Watch::default(), &Handover { ended, next }).unwrap();
    let stages: Vec<Ran> = std::iter::from_fn(|| results.try_recv().ok()).collect();
    assert_eq!(stages.len(), 4);
    let mut sent_in_all = 0;
    for (index, ran) in stages.iter().enumerate() {
        assert_eq!(ran.stage.load, loads[index]);
        let window = ran.window.unwrap();
        let measured = ran
            .records
            .iter()
            .filter(|record| record.phase == Phase::Measured);
        let measured: Vec<_> = measured.collect();
        assert!(measured.len() >= 20 && measured.iter().all(|record| record.is_complete()));
        assert!(window.0 > Moment(0) && window.1 <= ran.ended, "{window:?}");
        if let Load::Concurrency(count) = loads[index] {
            let (most, mean) = in_flight(&ran.records, window);
            assert_eq!(most, usize::try_from(count).unwrap(), "{index}");
            // Slots are empty for the moment in which their next requests are written.
            assert!(mean > 0.8 * f64::from(count), "{index}: {mean}");
        }
        sent_in_all += ran
            .records
            .iter()
            .filter(|record| record.phase != Phase::WarmUp)
            .count();
        // The moments of a stage are its own.
        assert!(ran.ended.seconds() < 8.0, "{index}: {:?}", ran.ended);
    }
    assert!(truth.served().requests.len() >= sent_in_all);
    let begins: Vec<f64> = stages.iter().map(|ran| ran.began_unix).collect();
    assert!(begins.windows(2).all(|pair| pair[0] < pair[1]), "{begins:?}");
}

#[test]
fn a_load_that_grows_after_a_long_look_at_the_last_one_opens_its_slots_one_after_the_other() {
    let truth = Truth::start(Shape::new(Duration::from_millis(30), Duration::from_millis(5)));
    let job = job(&truth, stage(Load::Concurrency(4), 20));
    let (ended, mut results) = unbounded_channel();
    let (give, next) = channel();
    let watch = Watch::default();
    std::thread::scope(|scope| {
        let requests = Box::new(RandomPrompts::new(LENGTHS, 1000, 5, 4));
        let (job, watch) = (&job, &watch);
        scope.spawn(move || run_stages(job, requests, watch, &Handover { ended, next }).unwrap());
        results.blocking_recv().unwrap();
        // The load goes on meanwhile, and some requests end.
        std::thread::sleep(Duration::from_millis(700));
        give.send(follows(stage(Load::Concurrency(16), 40))).unwrap();
        let grown = results.blocking_recv().unwrap();
        let begin = grown.records.iter().map(|record| record.sent).max().unwrap();
        let window = grown.window.unwrap();
        assert!(begin > window.0);
        // One wave to grow to sixteen, and one until all have ended that were sent meanwhile.
        let first = grown
            .records
            .iter()
            .filter(|record| record.phase == Phase::WarmUp && record.number >= 4)
            .map(|record| record.sent)
            .min()
            .unwrap();
        let grew = window.0.since(first);
        assert!(grew > Duration::from_millis(150), "{grew:?}");
        give.send(NextStage {
            stage: stage(Load::Concurrency(2), 8),
            in_flight: InFlight::Finish(Duration::from_millis(300)),
        })
        .unwrap();
        let rested = results.blocking_recv().unwrap();
        assert_eq!(in_flight(&rested.records, rested.window.unwrap()).0, 2);
        assert!(rested.began_unix - grown.began_unix > grown.ended.seconds() + 0.3);
        drop(give);
    });
}

#[test]
fn a_stage_that_is_ended_early_leaves_its_open_requests_to_the_next_one() {
    let truth = Truth::start(Shape::new(Duration::from_millis(30), Duration::from_millis(5)));
    let job = job(&truth, stage(Load::Concurrency(4), 100_000));
    let (ended, mut results) = unbounded_channel();
    let (give, next) = channel();
    let watch = Watch::default();
    std::thread::scope(|scope| {
        let requests = Box::new(RandomPrompts::new(LENGTHS, 1000, 5, 4));
        let handover = Handover { ended, next };
        let (job, watch) = (&job, &watch);
        scope.spawn(move || run_stages(job, requests, watch, &handover).unwrap());
        while watch.measuring_since().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        watch.end_stage();
        let first = results.blocking_recv().unwrap();
        assert!(first.was_stopped);
        assert!(
            first
                .records
                .iter()
                .all(|record| { record.phase != Phase::Measured || record.is_complete() })
        );
        watch.begin_stage();
        give.send(follows(stage(Load::Concurrency(4), 8))).unwrap();
        let second = results.blocking_recv().unwrap();
        assert!(!second.was_stopped && second.window.is_some());
        let failed = second
            .records
            .iter()
            .filter(|record| matches!(record.end, dsr1::measure::End::Failed(_)));
        assert_eq!(failed.count(), 0);
        drop(give);
    });
}
