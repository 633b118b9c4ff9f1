//! Comparisons of made results.
#![cfg(test)]

mod gate;

use std::collections::BTreeMap;

use super::*;
use crate::report::{
    Comparison, Figures, MeasuredFile, MeasuredLoad, MeasuredServer, Measurement, MeasuringClient, Noise,
    NoiseSource, RequestCounts, Subject, Times, Trust, Verdict,
};

fn times(p50: f64) -> Times {
    Times {
        count: 100,
        p50_ms: Some(p50),
        p90_ms: Some(p50 * 1.2),
        ..Times::default()
    }
}

/// A trusted result; `slow` scales its times.
fn result(began: &str, slow: f64) -> Measurement {
    Measurement {
        began: began.to_owned(),
        server: MeasuredServer {
            name: Some("dsr1-a".to_owned()),
            base_url: "http://127.0.0.1:30000".to_owned(),
            model: "m".to_owned(),
            profile: Some("p".to_owned()),
            stack: Some("current".to_owned()),
            sglang: Some("0.5.23".to_owned()),
            arguments: [("tp_size", "8"), ("random_seed", began)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            host: [
                ("gpus", "8 x NVIDIA H200"),
                ("driver", "575.57.08"),
                ("kernel", "6.8"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        },
        load: MeasuredLoad {
            api: "generate".to_owned(),
            kind: "concurrency".to_owned(),
            max_concurrency: Some(16),
            request_rate: None,
            input_len: 1024,
            output_len: 128,
            range_ratio: 1.0,
            shared_prefix: 0,
            turns: 1,
            think_s: 0.0,
            requests: 80,
            least_s: 10.0,
            most_s: None,
            vocabulary: Some(129_280),
            prompts: Some("ids".to_owned()),
            tokenizer: None,
            file: None,
            speed: None,
            ramp_s: 0.0,
            data: "random".to_owned(),
            seed: 7,
            warm_up: true,
            ignores_end: true,
            temperature: 0.0,
        },
        client: MeasuringClient {
            name: "dsr1".to_owned(),
            version: "0.1.0".to_owned(),
            ..MeasuringClient::default()
        },
        requests: RequestCounts {
            measured: 80,
            completed: 80,
            ..RequestCounts::default()
        },
        run_s: 20.0,
        warm_up_s: Some(2.0),
        window_s: Some(17.0),
        gpus: None,
        figures: Some(Figures {
            request_throughput: 10.0 / slow,
            output_throughput: 1280.0 / slow,
            total_throughput: 11_520.0 / slow,
            ttft: times(200.0 * slow),
            tpot: times(20.0 * slow),
            e2e: times(2740.0 * slow),
            counts_each_chunk: true,
            cached_tokens: Some(0),
            noise: Some(Noise {
                output_throughput: Some(0.01),
                tpot: Some(0.003),
                ..Noise::default()
            }),
            ..Figures::default()
        }),
        definitions: BTreeMap::new(),
        verdicts: Vec::new(),
        trust: Trust::Trusted,
        timeline: Vec::new(),
        complete: true,
        saved_to: None,
    }
}

/// A change of a result.
type Change<'a> = &'a dyn Fn(&mut Measurement);

/// A side of runs with these factors of their times.
fn side(name: &str, slow: &[f64]) -> Side {
    let began = |index: usize| format!("{name}{index}");
    Side {
        files: (0..slow.len())
            .map(|index| format!("{}.json", began(index)))
            .collect(),
        runs: slow
            .iter()
            .enumerate()
            .map(|(index, slow)| result(&began(index), *slow))
            .collect(),
    }
}

fn changed(mut side: Side, change: impl Fn(&mut Measurement)) -> Side {
    side.runs.iter_mut().for_each(change);
    side
}

fn compare(change: impl Fn(&mut Measurement)) -> Comparison {
    compare_sides(&side("a", &[1.0]), &changed(side("b", &[1.0]), change), false)
}

#[test]
fn two_runs_of_one_server_have_no_difference() {
    let same = compare(|_| {});
    assert!(same.differences.is_empty(), "{:?}", same.differences);
    assert!(same.refusals.is_empty() && same.ratios.len() == 12 - 3);
}

#[test]
fn the_weightiest_difference_is_the_first() {
    let found = compare(|run| {
        run.client.version = "0.2.0".to_owned();
        run.server.host.insert("driver".to_owned(), "580".to_owned());
        run.server.host.insert("kernel".to_owned(), "6.9".to_owned());
        run.server.arguments.insert("tp_size".to_owned(), "4".to_owned());
        run.server
            .arguments
            .insert("page_size".to_owned(), "64".to_owned());
        run.load.max_concurrency = Some(32);
        run.server.model = "n".to_owned();
        run.trust = Trust::Doubtful;
    });
    let order: Vec<(Subject, &str, bool)> = found
        .differences
        .iter()
        .map(|one| (one.subject, one.what.as_str(), one.matters))
        .collect();
    assert_eq!(
        order,
        [
            (Subject::Verdicts, "trust", true),
            (Subject::Model, "model", true),
            (Subject::Load, "max_concurrency", true),
            (Subject::Server, "tp_size", true),
            (Subject::Server, "page_size", true),
            (Subject::Host, "driver", true),
            (Subject::Client, "version", true),
            (Subject::Host, "kernel", false),
        ]
    );
    assert_eq!(found.differences[4].a, "not set");
    assert_eq!(
        found.refusals,
        ["the load differs: max_concurrency is 16 in A, 32 in B"]
    );
    assert!(found.ratios.is_empty());
}

#[test]
fn other_loads_definitions_and_untrusted_sides_have_no_ratios_unless_asked_for() {
    let changes: [(Change<'_>, &str); 5] = [
        (&|run| run.load.warm_up = false, "warm_up"),
        (&|run| run.load.request_rate = Some(4.0), "request_rate"),
        (
            &|run| run.figures.as_mut().unwrap().counts_each_chunk = false,
            "meaning",
        ),
        (&|run| run.figures = None, "has no figures"),
        (
            &|run| {
                run.trust = Trust::Untrusted;
                run.verdicts.push(Verdict {
                    about: "client".to_owned(),
                    trust: Trust::Untrusted,
                    text: "too slow".to_owned(),
                    hint: String::new(),
                });
            },
            "not trusted: client: too slow",
        ),
    ];
    for (change, reason) in changes {
        let found = compare(change);
        assert!(found.ratios.is_empty(), "{reason}");
        assert!(found.refusals[0].contains(reason), "{:?}", found.refusals);
        let b = changed(side("b", &[1.0]), change);
        assert!(!compare_sides(&side("a", &[1.0]), &b, true).ratios.is_empty());
    }
    // Fewer requests of the same load are a note.
    let shorter = compare(|run| run.load.requests = 40);
    assert!(shorter.refusals.is_empty() && !shorter.differences[0].matters);
}

#[test]
fn a_side_of_two_loads_is_refused() {
    let mut mixed = side("a", &[1.0, 1.0]);
    mixed.runs[1].load.max_concurrency = Some(32);
    let found = compare_sides(&mixed, &side("b", &[1.0]), false);
    assert_eq!(
        found.refusals,
        ["the load differs: max_concurrency is 16, 32 in A, 16 in B"]
    );
}

#[test]
fn facts_that_a_side_does_not_tell_are_missing_and_no_difference() {
    let found = compare(|run| drop(run.server.host.remove("driver")));
    assert!(found.differences.is_empty());
    let missing: Vec<(&str, &str)> = found
        .missing
        .iter()
        .map(|one| (one.what.as_str(), one.sides.as_str()))
        .collect();
    assert_eq!(
        missing,
        [("weights", "A and B"), ("driver", "B"), ("clocks", "A and B")]
    );
    let mut cpu = result("x", 1.0);
    cpu.server.host = [(
        "gpus".to_owned(),
        "none: the engine runs on the processor".to_owned(),
    )]
    .into();
    let missing: Vec<String> = list_missing(&cpu).into_iter().map(|one| one.what).collect();
    assert_eq!(missing, ["weights"]);
}

#[test]
fn the_weights_are_known_by_the_path_of_the_model() {
    let commit = |digit: &str| format!("/hub/models--a--b/snapshots/{}", digit.repeat(40));
    let path = |run: &mut Measurement, digit: &str| {
        run.server
            .arguments
            .insert("model_path".to_owned(), commit(digit));
    };
    let a = changed(side("a", &[1.0]), |run| path(run, "1"));
    let b = changed(side("b", &[1.0]), |run| path(run, "2"));
    let found = compare_sides(&a, &b, false);
    assert_eq!(found.differences[0].what, "weights");
    assert_eq!(found.differences.len(), 1);
}

#[test]
fn intervals_name_the_source_of_their_noise() {
    let ratio = |a: &[f64], b: &[f64], metric: &str| {
        let found = compare_sides(&side("a", a), &side("b", b), false);
        found
            .ratios
            .into_iter()
            .find(|ratio| ratio.metric == metric)
            .unwrap()
    };
    let single = ratio(&[1.0], &[1.1], "output_throughput");
    assert_eq!(single.noise, NoiseSource::WithinRuns);
    assert!((single.ratio.unwrap() - 1.0 / 1.1).abs() < 1e-12);
    let width = (single.high.unwrap() / single.low.unwrap()).ln() / 2.0;
    assert!((width - 0.01_f64.hypot(0.01)).abs() < 1e-12);
    let tail = ratio(&[1.0], &[1.1], "tpot.p90_ms");
    assert_eq!((tail.noise, tail.low), (NoiseSource::Unknown, None));
    assert_eq!(
        ratio(&[1.0], &[1.1, 1.2], "tpot.p50_ms").noise,
        NoiseSource::OneSide
    );
    let both = ratio(&[1.0, 1.01, 0.99], &[1.1, 1.12, 1.09], "tpot.p50_ms");
    assert_eq!(both.noise, NoiseSource::BothSides);
    assert!(both.low.unwrap() > 1.05 && both.high.unwrap() < 1.15, "{both:?}");
}

#[test]
fn one_run_twice_is_refused() {
    let a = side("a", &[1.0]);
    let twice = refuse_same_run(&a, &a).unwrap_err();
    assert_eq!(twice.message(), "`a0.json` is named twice");
    let mut copy = changed(a.clone(), |run| run.saved_to = Some("x".to_owned()));
    copy.files = vec!["copy.json".to_owned()];
    let error = refuse_same_run(&a, &copy).unwrap_err();
    assert_eq!(error.message(), "`a0.json` and `copy.json` are the same run");
    assert!(refuse_same_run(&a, &side("b", &[1.0])).is_ok());
}

#[test]
fn the_options_of_a_load_make_it_again() {
    let mut load = result("a", 1.0).load;
    assert_eq!(
        flags_of_load(&load).join(" "),
        "--api generate --input-len 1024 --output-len 128 --range-ratio 1 --max-concurrency 16 --num-prompts 80 \
         --duration 10 --vocabulary 129280"
    );
    load.kind = "poisson".to_owned();
    load.request_rate = Some(2.5);
    load.max_concurrency = None;
    load.shared_prefix = 9;
    load.ramp_s = 20.0;
    load.most_s = Some(60.0);
    load.warm_up = false;
    load.ignores_end = false;
    load.vocabulary = None;
    assert_eq!(
        flags_of_load(&load).join(" "),
        "--api generate --input-len 1024 --output-len 128 --range-ratio 1 --shared-prefix 9 --request-rate 2.5 \
         --arrivals poisson --ramp 20 --num-prompts 80 --duration 10 --max-duration 60 --stop-at-end --no-warm-up"
    );
    let mut load = result("a", 1.0).load;
    load.turns = 5;
    load.think_s = 1.5;
    let words = flags_of_load(&load).join(" ");
    assert!(
        words.contains(" --turns 5 --think-time 1.5 --max-concurrency 16 "),
        "{words}"
    );
    let mut load = result("a", 1.0).load;
    load.prompts = Some("text".to_owned());
    load.tokenizer = Some("t.json".to_owned());
    load.vocabulary = None;
    let words = flags_of_load(&load).join(" ");
    assert!(
        words.ends_with(" --duration 10 --prompts text --tokenizer t.json"),
        "{words}"
    );
    load.prompts = Some("data".to_owned());
    load.tokenizer = None;
    load.file = Some(MeasuredFile {
        path: "d.jsonl".to_owned(),
        repeats: true,
        ..MeasuredFile::default()
    });
    assert_eq!(
        flags_of_load(&load).join(" "),
        "--api generate --data d.jsonl --output-len 128 --max-concurrency 16 --num-prompts 80 --duration 10 --repeat-data"
    );
    load.prompts = Some("ids".to_owned());
    load.file = Some(MeasuredFile {
        path: "t.csv".to_owned(),
        ..MeasuredFile::default()
    });
    load.speed = Some(2.5);
    load.kind = "trace".to_owned();
    load.max_concurrency = None;
    load.requests = u32::MAX;
    assert_eq!(
        flags_of_load(&load).join(" "),
        "--api generate --trace t.csv --speed 2.5 --duration 10"
    );
}

#[test]
fn other_turns_are_another_load() {
    let with = |turns, think_s| {
        changed(side("a", &[1.0]), |run| {
            run.load.turns = turns;
            run.load.think_s = think_s;
        })
    };
    let compared = |a: &Side, b: &Side| {
        let compared = compare_sides(a, b, false);
        let names: Vec<String> = compared
            .differences
            .into_iter()
            .filter(|difference| difference.subject == Subject::Load && difference.matters)
            .map(|difference| difference.what)
            .collect();
        (names, compared.refusals.is_empty())
    };
    assert_eq!(
        compared(&with(1, 0.0), &with(4, 0.0)),
        (vec!["turns".to_owned()], false)
    );
    assert_eq!(
        compared(&with(4, 0.0), &with(4, 2.0)),
        (vec!["think_s".to_owned()], false)
    );
    assert_eq!(compared(&with(4, 2.0), &with(4, 2.0)), (vec![], true));
}

#[test]
fn another_file_is_another_load_and_another_path_is_not() {
    let with = |path: &str, hash: &str| {
        changed(side("a", &[1.0]), |run| {
            run.load.data = "jsonl".to_owned();
            run.load.file = Some(MeasuredFile {
                path: path.to_owned(),
                sha256: hash.to_owned(),
                ..MeasuredFile::default()
            });
        })
    };
    let differ = |a: &Side, b: &Side| -> Vec<String> {
        compare_sides(a, b, false)
            .differences
            .into_iter()
            .filter(|difference| difference.subject == Subject::Load)
            .map(|difference| difference.what)
            .collect()
    };
    assert_eq!(differ(&with("x", "1"), &with("y", "1")), Vec::<String>::new());
    assert_eq!(differ(&with("x", "1"), &with("x", "2")), ["data"]);
}
