//! The planned times, and the rules that say which requests have a fault.

use std::time::Duration;

use clap::Parser;
use serde_json::json;

use super::client::{Client, post};
use super::{ms, prompt, quick};
use crate::support::truth::program::Args;
use crate::support::truth::{Fault, Output, Pace, Plan, Rule, Shape, Times, Truth, When};

const MS: u64 = 1_000_000;

fn plan(tokens: u32, interval: u32, faults: &[Fault]) -> Plan {
    Plan {
        arrival: 0,
        start: 0,
        first: 100 * MS,
        tokens,
        interval,
        is_even: false,
        pace: Pace::new(10 * MS, 0, faults),
    }
}

fn milliseconds(times: &[u64]) -> Vec<u64> {
    times.iter().map(|time| time / MS).collect()
}

#[test]
fn no_error_adds_up() {
    let times = plan(10_000, 1, &[]).token_times();
    assert_eq!(times[9999], 100 * MS + 9999 * 10 * MS);
    let chunks = plan(8, 3, &[]).chunk_times();
    assert_eq!(
        chunks,
        [(100 * MS, 1), (130 * MS, 3), (160 * MS, 3), (170 * MS, 1)]
    );
}

#[test]
fn times_grow_with_the_run() {
    let drift = Fault::Drift {
        factor: 2.0,
        over: ms(1000),
    };
    let times = plan(200, 1, &[drift]).token_times();
    assert_eq!(times[1], 111 * MS);
    let last = times[199] - times[198];
    assert_eq!(last, 20 * MS);
    let step = Fault::Step {
        at: ms(115),
        factor: 3.0,
    };
    assert_eq!(
        milliseconds(&plan(5, 1, &[step]).token_times()),
        [100, 110, 120, 150, 180]
    );
    let slow = Fault::Slow { ttft: 2.0, itl: 1.5 };
    assert_eq!(milliseconds(&plan(3, 1, &[slow]).token_times()), [100, 115, 130]);
}

#[test]
fn a_serial_prefill_makes_an_opening_wave() {
    let truth = Truth::start(Shape {
        prefill_serial: ms(5),
        ..quick()
    });
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(&truth)).collect();
    for client in &mut clients {
        client.send("POST", "/v1/completions", &prompt(2).to_string());
    }
    for client in &mut clients {
        assert_eq!(client.receive().events().len(), 2);
    }
    let requests = truth.served().requests;
    for pair in requests.windows(2) {
        let free = pair[0].plan.start + 5 * MS;
        assert_eq!(pair[1].plan.start, free.max(pair[1].plan.arrival));
    }
}

#[test]
fn requests_wait_for_a_place() {
    let truth = Truth::start(Shape {
        max_running: Some(2),
        ..quick()
    });
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(&truth)).collect();
    for client in &mut clients {
        client.send("POST", "/v1/completions", &prompt(30).to_string());
    }
    for client in &mut clients {
        client.receive();
    }
    let served = truth.served();
    for record in &served.requests {
        let running = served
            .requests
            .iter()
            .filter(|other| other.plan.start <= record.plan.start && record.plan.start < other.plan.last());
        assert!(running.count() <= 2);
    }
    assert!(served.peak_in_flight >= 2);
}

#[test]
fn the_first_requests_are_slow() {
    let slow = Fault::Slow { ttft: 3.0, itl: 2.0 };
    let truth = Truth::start(quick().with(slow, When::First(2)));
    for _ in 0..3 {
        post(&truth, "/v1/completions", &prompt(2));
    }
    let requests = truth.served().requests;
    let found: Vec<(u64, u64)> = requests
        .iter()
        .map(|record| {
            (
                record.plan.first - record.plan.arrival,
                record.planned_tpot().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [(12 * MS, 2 * MS), (12 * MS, 2 * MS), (4 * MS, MS)]);
    assert_eq!(requests[0].faults, ["slow"]);
}

#[test]
fn rules_cover_the_requests_that_they_name() {
    let covered = |when: When| -> Vec<u64> {
        (0..10)
            .filter(|number| when.covers(*number, ms(*number), 1, 0))
            .collect()
    };
    assert_eq!(covered(When::Always).len(), 10);
    assert_eq!(covered(When::Request(3)), [3]);
    assert_eq!(covered(When::First(2)), [0, 1]);
    assert_eq!(covered(When::From(8)), [8, 9]);
    assert_eq!(covered(When::Every(4)), [3, 7]);
    assert_eq!(covered(When::After(ms(8))), [8, 9]);
    assert_eq!(covered(When::Before(ms(2))), [0, 1]);
    let when = When::Share(0.1);
    let share = (0..10_000)
        .filter(|number| when.covers(*number, Duration::ZERO, 7, 2))
        .count();
    assert!((900..1100).contains(&share), "{share}");
}

#[test]
fn rules_are_typed() {
    let typed: Rule = "status:code=429,retry=2@share=0.1".parse().unwrap();
    let fault = Fault::Status {
        code: 429,
        retry_after: Some(2),
    };
    assert_eq!(
        typed,
        Rule {
            fault,
            when: When::Share(0.1)
        }
    );
    let typed: Rule = "step:at-ms=500,factor=3@after-ms=20".parse().unwrap();
    let fault = Fault::Step {
        at: ms(500),
        factor: 3.0,
    };
    assert_eq!(
        typed,
        Rule {
            fault,
            when: When::After(ms(20))
        }
    );
    for name in [
        "stall:after=2",
        "reset:after=2",
        "cut",
        "quit",
        "garbage",
        "bad-byte",
        "error:named=1",
        "abort",
        "no-usage",
        "no-tokens",
        "short:share=0.5",
        "slow:ttft=2",
        "drift:factor=2,over-ms=9",
        "cached:share=1",
        "early-role",
        "pieces:pieces=3",
        "misaligned",
        "split-character",
        "together:events=2",
        "long-line:bytes=9",
        "close",
    ] {
        let rule: Rule = name.parse().unwrap();
        assert_eq!(name.split(':').next(), Some(rule.fault.name()));
        assert_eq!(rule.when, When::Always);
    }
    for wrong in [
        "slow:speed=2",
        "nothing",
        "reset:after=x",
        "short",
        "reset@sometimes=1",
        "reset@first",
    ] {
        assert!(wrong.parse::<Rule>().is_err(), "{wrong}");
    }
}

#[test]
fn a_program_has_the_shape_of_its_arguments() {
    let line = "truth --port 0 --ttft-ms 2000 --ttft-to-ms 3000 --itl-ms 0.5 --output-tokens 32 --stream-interval 8 \
                --prefill-serial-ms 3 --max-running 64 --fault reset:after=5@request=3 --bench";
    let shape = Args::try_parse_from(line.split_whitespace()).unwrap().shape();
    assert_eq!(shape.ttft, Times::Uniform(ms(2000), ms(3000)));
    assert_eq!(shape.itl, Duration::from_micros(500));
    assert_eq!((shape.output, shape.interval), (Output::Fixed(32), 8));
    assert_eq!((shape.prefill_serial, shape.max_running), (ms(3), Some(64)));
    assert_eq!(shape.rules, ["reset:after=5@request=3".parse().unwrap()]);
}

#[test]
fn the_planned_times_are_kept() {
    let truth = Truth::start(quick());
    post(
        &truth,
        "/v1/completions",
        &json!({"prompt": "a", "max_tokens": 20, "stream": true}),
    );
    let served = truth.served();
    let record = &served.requests[0];
    // A write is never early; how late it may be depends on the machine.
    assert!(record.first_write.unwrap() >= record.plan.first);
    assert!(record.last_write.unwrap() >= record.plan.last());
    assert_eq!(record.plan.last() - record.plan.arrival, 23 * MS);
    assert_eq!(served.lateness.count() + u64::from(record.blocked), 20);
    assert_eq!(served.written_itl.count(), 19);
}
