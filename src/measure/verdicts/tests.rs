//! Each planted fault of a measurement has its verdict, and a clean run has none.

use std::time::Duration;

use super::{judge_run, worst_of};
use crate::measure::evidence::{ClientFacts, EndedRequests, Evidence, ServerFacts};
use crate::measure::figures::compute_figures;
use crate::measure::load::{Arrivals, Extent, Lengths, Load};
use crate::measure::random::Random;
use crate::measure::record::{
    Channel, Chunk, ConversationTurn, End, Failure, FailureKind, Finish, Moment, Phase, Record, Usage,
};
use crate::measure::shortage::Shortage;
use crate::measure::turns::Turns;
use crate::report::{MeasuredGpus, Trust, Verdict};

const SLOTS: u32 = 4;
const OUTPUT: u32 = 20;

/// A run of a closed loop of four slots: TTFT and the time between tokens scatter by some percent.
pub(super) fn clean(seed: u64) -> Evidence {
    run_of(seed, &|_, scatter| Answer {
        ttft: 0.1 * scatter,
        gap: 0.02 * scatter,
        tokens: OUTPUT,
    })
}

struct Answer {
    ttft: f64,
    gap: f64,
    tokens: u32,
}

/// Lays answers one after the other in each slot. The function gets the number of a request and a factor around 1.
fn run_of(seed: u64, answer: &dyn Fn(u32, f64) -> Answer) -> Evidence {
    let mut random = Random::new(seed, 0);
    let mut free = [0.0_f64; SLOTS as usize];
    let mut records = Vec::new();
    for number in 0..200 {
        let slot = (0..free.len())
            .min_by(|one, other| free[*one].total_cmp(&free[*other]))
            .unwrap();
        let scatter = 0.97 + 0.06 * random.unit();
        let Answer { ttft, gap, tokens } = answer(number, scatter);
        let sent = Moment::default().after(Duration::from_secs_f64(free[slot]));
        let micros = |seconds: f64| u32::try_from(Duration::from_secs_f64(seconds).as_micros()).unwrap();
        let chunks: Vec<Chunk> = (0..tokens)
            .map(|token| Chunk {
                after_us: micros(ttft + gap * f64::from(token)),
                tokens: 1,
                channel: Channel::Answer,
            })
            .collect();
        let lasts = ttft + gap * f64::from(tokens.saturating_sub(1));
        free[slot] += lasts + 0.0005;
        records.push(Record {
            number,
            phase: if number < SLOTS {
                Phase::WarmUp
            } else {
                Phase::Measured
            },
            due: sent,
            sent,
            ended: sent.after(Duration::from_secs_f64(lasts)),
            is_first_of_connection: number < SLOTS,
            turn: None,
            prompt_tokens: 100,
            asked_tokens: OUTPUT,
            chunks,
            usage: Some(Usage {
                prompt: 100,
                completion: u64::from(tokens),
                cached: Some(0),
                reasoning: None,
            }),
            end: End::Complete(Finish::Length),
            text: None,
        });
    }
    let begin = records[SLOTS as usize].sent;
    let end = free.iter().copied().fold(f64::INFINITY, f64::min);
    let mut client = ClientFacts {
        busy_share: 0.05,
        stamped: 4000,
        ..ClientFacts::default()
    };
    for _ in 0..4000 {
        client.lag.add(Duration::from_micros(60));
    }
    Evidence {
        load: Load::Concurrency(SLOTS),
        lengths: Lengths {
            input: 100,
            output: OUTPUT,
            ratio: 1.0,
            shared_prefix: 0,
            turns: Turns::SINGLE,
        },
        extent: Extent {
            requests: 196,
            least_s: 5,
            most_s: None,
            stall_s: 60,
            warm_up: true,
            ramp_s: 0,
        },
        is_random: true,
        file: None,
        ignores_end: true,
        records,
        window: Some((begin, Moment::default().after(Duration::from_secs_f64(end)))),
        client,
        ceiling_tokens_per_s: Some(50_000.0),
        cpu_pressure: Some(0.01),
        gpus: None,
        server: ServerFacts {
            compiled: Some(Vec::new()),
            cached_share: Some(0.0),
            retracted: Some(0),
            changes: Some(Vec::new()),
            ended: Some(EndedRequests {
                of_server: 198,
                of_client: 196,
                in_flight: 4,
            }),
            mean_ttft: Some(Duration::from_millis(97)),
            idle_share: Some(0.02),
        },
    }
}

fn judged(evidence: &Evidence) -> Vec<Verdict> {
    let figures = evidence
        .window
        .map(|window| compute_figures(&evidence.records, window));
    judge_run(evidence, figures.as_ref())
}

/// Returns the subjects with something against the figures.
fn complaints(evidence: &Evidence) -> Vec<(String, Trust)> {
    judged(evidence)
        .into_iter()
        .filter(|verdict| verdict.trust > Trust::Unknown)
        .map(|verdict| (verdict.about, verdict.trust))
        .collect()
}

/// A run ends in the pause before a next turn: its slot held a conversation all the time.
#[test]
fn a_pause_at_the_end_of_a_run_is_no_missing_load() {
    let at = |seconds: u64| Moment::default().after(Duration::from_secs(seconds));
    let evidence = |turn: u32| {
        changed(|evidence| {
            evidence.load = Load::Concurrency(1);
            evidence.lengths.turns = Turns {
                count: 3,
                think_s: 2.0,
            };
            evidence.records.truncate(1);
            let record = &mut evidence.records[0];
            record.phase = Phase::Measured;
            record.turn = Some(ConversationTurn {
                conversation: 0,
                turn,
                new_tokens: 100,
            });
            (record.due, record.sent, record.ended) = (at(0), at(0), at(1));
            evidence.window = Some((at(0), at(3)));
        })
    };
    let load = |evidence: &Evidence| {
        let found = judged(evidence)
            .into_iter()
            .find(|verdict| verdict.about == "load");
        found.unwrap().text
    };
    assert!(
        load(&evidence(1)).starts_with("1.0 conversations"),
        "{}",
        load(&evidence(1))
    );
    // Behind the last turn there is no pause.
    assert!(
        load(&evidence(3)).starts_with("0.3 conversations"),
        "{}",
        load(&evidence(3))
    );
}

#[test]
fn twenty_clean_runs_have_no_complaint() {
    for seed in 0..20 {
        let evidence = clean(seed);
        assert_eq!(complaints(&evidence), [], "seed {seed}");
        assert_eq!(worst_of(&judged(&evidence)), Trust::Trusted);
    }
}

/// The fault, the evidence of it, and the subjects that must complain, with the worst first.
type Planted = (&'static str, Evidence, &'static [(&'static str, Trust)]);

fn changed(change: impl Fn(&mut Evidence)) -> Evidence {
    let mut evidence = clean(1);
    change(&mut evidence);
    evidence
}

fn with_records(change: impl Fn(&mut Record)) -> Evidence {
    changed(|evidence| evidence.records.iter_mut().for_each(&change))
}

fn failed(kind: FailureKind) -> End {
    End::Failed(Failure {
        kind,
        text: String::new(),
    })
}

/// An open loop: the same requests, each sent where the schedule has it, with answers that last `lasts` seconds.
fn open_loop(per_second: f64, sent_per_second: f64, lasts: impl Fn(u32) -> f64) -> Evidence {
    changed(|evidence| {
        evidence.load = Load::Rate {
            per_second,
            arrivals: Arrivals::Constant,
            most_in_flight: None,
        };
        for record in &mut evidence.records {
            let at =
                |rate: f64| Moment::default().after(Duration::from_secs_f64(f64::from(record.number) / rate));
            record.due = at(sent_per_second);
            record.sent = at(sent_per_second);
            let length = lasts(record.number);
            record.ended = record.sent.after(Duration::from_secs_f64(length));
        }
        let end = evidence.records[199].sent;
        evidence.window = Some((evidence.records[4].sent, end));
    })
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn planted() -> Vec<Planted> {
    use Trust::{Doubtful, Untrusted};
    let gap = |factor: f64, scatter: f64| Answer {
        ttft: 0.1 * scatter,
        gap: 0.02 * scatter * factor,
        tokens: OUTPUT,
    };
    vec![
        (
            "slow client",
            changed(|evidence| {
                (0..4000).for_each(|_| evidence.client.lag.add(Duration::from_millis(80)));
            }),
            &[("client", Doubtful)],
        ),
        (
            "slow client without stamps",
            changed(|evidence| {
                (0..4000).for_each(|_| evidence.client.lag.add(Duration::from_millis(80)));
                evidence.client.unstamped = 4000;
            }),
            &[("client", Untrusted)],
        ),
        (
            "a client whose thread is always busy",
            changed(|evidence| {
                evidence.client.busy_share = 0.97;
            }),
            &[("client", Untrusted)],
        ),
        (
            "cold JIT",
            changed(|evidence| {
                evidence.server.compiled = Some(vec!["DeepGEMM JIT Compiling for <x>".to_owned()]);
            }),
            &[("compilers", Untrusted)],
        ),
        (
            "warm prefix",
            with_records(|record| {
                record.usage = record.usage.map(|usage| Usage {
                    cached: Some(60),
                    ..usage
                });
            }),
            &[("prefix cache", Untrusted)],
        ),
        (
            "warm prefix by the metrics alone",
            changed(|evidence| {
                for record in &mut evidence.records {
                    record.usage = record.usage.map(|usage| Usage {
                        cached: None,
                        ..usage
                    });
                }
                evidence.server.cached_share = Some(0.03);
            }),
            &[("prefix cache", Doubtful)],
        ),
        (
            "another user of the server",
            changed(|evidence| {
                evidence.server.ended = Some(EndedRequests {
                    of_server: 260,
                    of_client: 196,
                    in_flight: 4,
                });
            }),
            &[("other users", Untrusted)],
        ),
        (
            "a server that tells of other requests",
            changed(|evidence| evidence.server.mean_ttft = Some(Duration::from_millis(200))),
            &[("server's TTFT", Doubtful)],
        ),
        (
            "an engine without work",
            changed(|evidence| evidence.server.idle_share = Some(0.4)),
            &[("scheduler", Doubtful)],
        ),
        (
            "opening wave",
            changed(|evidence| evidence.extent.warm_up = false),
            &[("warm-up", Doubtful)],
        ),
        (
            "drifting server",
            run_of(1, &|number, scatter| {
                gap(1.0 + f64::from(number) / 600.0, scatter)
            }),
            &[("steady", Untrusted), ("tokens/s", Untrusted)],
        ),
        (
            "staircase",
            run_of(1, &|number, scatter| {
                gap(if number < 110 { 1.0 } else { 1.4 }, scatter)
            }),
            &[("steady", Untrusted), ("tokens/s", Untrusted)],
        ),
        (
            "over-saturation",
            open_loop(10.0, 10.0, |number| 0.5 + f64::from(number) / 20.0),
            &[("saturation", Untrusted)],
        ),
        (
            "dropped load",
            open_loop(10.0, 6.0, |_| 0.5),
            &[("load", Untrusted)],
        ),
        (
            "a proxy that gathers the answers",
            with_records(|record| {
                let last = record.chunks.last().map_or(0, |chunk| chunk.after_us);
                for chunk in &mut record.chunks {
                    chunk.after_us = last;
                }
            }),
            &[("chunks", Untrusted), ("steady", Doubtful)],
        ),
        (
            "conversations of one turn",
            changed(|evidence| {
                evidence.lengths.turns.count = 3;
            }),
            &[("turns", Doubtful)],
        ),
        (
            "chunked ITL",
            with_records(|record| {
                record.chunks = record
                    .chunks
                    .iter()
                    .step_by(10)
                    .map(|chunk| Chunk { tokens: 0, ..*chunk })
                    .collect();
            }),
            &[("chunks", Doubtful)],
        ),
        (
            "zero tokens",
            with_records(|record| {
                if record.number % 10 == 0 {
                    record.end = failed(FailureKind::NoTokens);
                }
            }),
            &[("requests", Untrusted)],
        ),
        (
            "short outputs",
            with_records(|record| {
                if record.number % 4 == 0 {
                    record.end = End::Complete(Finish::Stop);
                    record.usage = record.usage.map(|usage| Usage {
                        completion: 11,
                        ..usage
                    });
                }
            }),
            &[("answers", Untrusted)],
        ),
        (
            "prompts of twice the length",
            with_records(|record| {
                record.usage = record.usage.map(|usage| Usage { prompt: 206, ..usage });
            }),
            &[("prompts", Untrusted)],
        ),
        (
            "one wave",
            changed(|evidence| {
                evidence.load = Load::Concurrency(180);
            }),
            &[("waves", Untrusted), ("load", Untrusted)],
        ),
        (
            "too few samples",
            changed(|evidence| {
                for record in &mut evidence.records {
                    if record.number >= SLOTS + 10 {
                        record.phase = Phase::Tail;
                    }
                }
            }),
            &[("waves", Doubtful), ("samples", Doubtful)],
        ),
        (
            "too short",
            changed(|evidence| {
                let (from, _) = evidence.window.unwrap();
                evidence.window = Some((from, from.after(Duration::from_secs(2))));
            }),
            &[("duration", Doubtful)],
        ),
        (
            "clock step",
            changed(|evidence| evidence.client.clock_steps = 1),
            &[("clock", Doubtful)],
        ),
        (
            "a silent compilation",
            changed(|evidence| {
                // All streams stop for three seconds at half time.
                let (from, to) = evidence.window.unwrap();
                let half = Moment(from.0.midpoint(to.0));
                let later = Duration::from_secs(3);
                for record in &mut evidence.records {
                    if record.sent >= half {
                        record.due = record.due.after(later);
                        record.sent = record.sent.after(later);
                        record.ended = record.ended.after(later);
                    } else if record.ended > half {
                        let sent = record.sent;
                        for chunk in &mut record.chunks {
                            if sent.after(chunk.after()) >= half {
                                chunk.after_us += 3_000_000;
                            }
                        }
                        record.ended = record.ended.after(later);
                    }
                }
                evidence.window = Some((from, to.after(later)));
            }),
            &[("stalls", Untrusted), ("steady", Doubtful)],
        ),
        (
            "retries",
            changed(|evidence| evidence.client.reconnects = 20),
            &[("client", Doubtful)],
        ),
        (
            "dead worker at half time",
            dead_worker(),
            &[("requests", Untrusted), ("tokens/s", Untrusted)],
        ),
        (
            "mixed errors",
            with_records(|record| match record.number % 40 {
                7 => record.end = failed(FailureKind::Status(503)),
                8 => record.end = failed(FailureKind::Reset),
                9 => record.end = failed(FailureKind::Garbage),
                _ => {}
            }),
            &[("requests", Untrusted)],
        ),
        (
            "one error",
            with_records(|record| {
                if record.number == 50 {
                    record.end = failed(FailureKind::Stalled);
                }
            }),
            &[("requests", Doubtful)],
        ),
        (
            "stub that is hardly faster than the server",
            changed(|evidence| {
                evidence.ceiling_tokens_per_s = Some(200.0);
            }),
            &[("ceiling", Untrusted)],
        ),
        (
            "changed server",
            changed(|evidence| {
                evidence.server.changes = Some(vec!["random_seed was 1, is 2".to_owned()]);
            }),
            &[("same server", Untrusted)],
        ),
        (
            "a host with other work",
            changed(|evidence| evidence.cpu_pressure = Some(0.8)),
            &[("host", Doubtful)],
        ),
        (
            "throttled clock",
            changed(|evidence| {
                evidence.gpus = Some(MeasuredGpus {
                    throttled_share: Some(0.3),
                    sm_clock_median_mhz: Some(1200.0),
                    sm_clock_max_mhz: Some(1980.0),
                    ..MeasuredGpus::default()
                });
            }),
            &[("clocks", Untrusted)],
        ),
        (
            "retractions",
            changed(|evidence| evidence.server.retracted = Some(3)),
            &[("retractions", Doubtful)],
        ),
    ]
}

#[test]
fn each_planted_fault_has_its_verdict() {
    let planted = planted();
    assert!(planted.len() >= 20);
    for (name, evidence, expected) in planted {
        let found = complaints(&evidence);
        for (about, trust) in expected {
            assert!(
                found.contains(&((*about).to_owned(), *trust)),
                "{name}: {found:?}"
            );
        }
        assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
    }
}

/// At half time one of two workers dies: its requests stall, and the other streams go on at their rate.
fn dead_worker() -> Evidence {
    changed(|evidence| {
        let (from, to) = evidence.window.unwrap();
        let half = from.after(to.since(from) / 2);
        for record in &mut evidence.records {
            if record.sent > half && record.number % 2 == 0 {
                record.chunks.clear();
                record.end = failed(FailureKind::Stalled);
            }
        }
    })
}

#[test]
fn a_run_without_an_answer_says_so() {
    let evidence = changed(|evidence| {
        evidence.window = None;
        for record in &mut evidence.records {
            record.end = failed(FailureKind::Connect);
        }
    });
    let verdicts = judged(&evidence);
    assert_eq!(worst_of(&verdicts), Trust::Untrusted);
    assert_eq!(verdicts[0].text, "no request was measured: 200: no connection");
}

/// A host without open files for all connections says nothing about the server, with figures and without.
#[test]
fn connections_that_this_host_had_no_room_for_are_the_clients() {
    for has_window in [true, false] {
        let evidence = changed(|evidence| {
            evidence.window = evidence.window.filter(|_| has_window);
            for record in evidence
                .records
                .iter_mut()
                .filter(|record| record.number % 2 == 0)
            {
                record.chunks.clear();
                record.end = failed(FailureKind::OwnLimit(Shortage::Ports));
            }
        });
        let verdicts = judged(&evidence);
        let client = verdicts.iter().find(|verdict| verdict.about == "client").unwrap();
        assert_eq!(client.trust, Trust::Untrusted);
        assert!(
            client.text.starts_with("100 of 200 requests were not sent"),
            "{}",
            client.text
        );
        assert!(
            client.hint.contains("ip_local_port_range") && !client.hint.contains("ulimit"),
            "{}",
            client.hint
        );
    }
}

#[test]
fn a_warm_up_without_an_end_says_how_far_it_came() {
    let evidence = changed(|evidence| {
        evidence.window = None;
        evidence.records.truncate(4);
        for record in &mut evidence.records {
            record.chunks.truncate(3);
            record.end = End::Cut;
        }
    });
    let verdict = &judged(&evidence)[0];
    let expected = format!(
        "0 of 4 answers were complete, 12 of {} tokens had come",
        4 * OUTPUT
    );
    assert!(verdict.text.ends_with(&expected), "{}", verdict.text);
    assert!(verdict.hint.contains("--no-warm-up"), "{}", verdict.hint);
}

#[test]
fn all_words_of_the_verdicts() {
    let mut texts: Vec<String> = Vec::new();
    for evidence in [clean(1), dead_worker(), open_loop(10.0, 6.0, |_| 0.5)] {
        texts.extend(judged(&evidence).into_iter().map(|verdict| {
            format!(
                "{:<6}{}: {} [{}]",
                verdict.trust.word(),
                verdict.about,
                verdict.text,
                verdict.hint
            )
        }));
        texts.push(String::new());
    }
    insta::assert_snapshot!(texts.join("\n"));
}
