//! Results at the gate.
#![cfg(test)]

use super::{Change, changed, side};
use crate::measure::compare::{Side, Tolerances, judge_change, judge_replacement};
use crate::report::{FigureVerdict, GateVerdict, Gated, Trust, Verdict};

const TOLERANCES: Tolerances = Tolerances {
    percent: 5.0,
    ttft_percent: 25.0,
};

fn gate(baseline: &Side, result: &Side) -> Gated {
    judge_change(baseline, result, TOLERANCES, false)
}

fn verdict_of(gated: &Gated, metric: &str) -> FigureVerdict {
    let mut figures = gated.figures.iter();
    figures
        .find(|figure| figure.ratio.metric == metric)
        .unwrap()
        .verdict
}

#[test]
fn a_regression_is_beyond_tolerance_and_noise() {
    let baseline = side("a", &[1.0, 1.01, 0.99]);
    for (slow, expected) in [
        (&[1.01, 1.0, 1.02][..], GateVerdict::Passed),
        (&[1.04, 1.05, 1.03], GateVerdict::Passed),
        (&[1.3, 1.29, 1.31], GateVerdict::Regression),
        (&[0.7, 0.71, 0.69], GateVerdict::Passed),
        // Far apart: the mean is worse by 20 %, and the noise is larger.
        (&[0.9, 1.2, 1.6], GateVerdict::Passed),
    ] {
        assert_eq!(gate(&baseline, &side("b", slow)).verdict, expected, "{slow:?}");
    }
    let slow = gate(&baseline, &side("b", &[1.2, 1.21, 1.19]));
    assert_eq!(verdict_of(&slow, "tpot.p50_ms"), FigureVerdict::Regression);
    assert_eq!(verdict_of(&slow, "output_throughput"), FigureVerdict::Regression);
    // TTFT jitters, and has a tolerance of its own.
    assert_eq!(verdict_of(&slow, "ttft.p50_ms"), FigureVerdict::Passed);
    let noisy = gate(&baseline, &side("b", &[0.9, 1.2, 1.6]));
    assert_eq!(verdict_of(&noisy, "tpot.p50_ms"), FigureVerdict::Noise);
    let fast = gate(&baseline, &side("b", &[0.7, 0.71, 0.69]));
    assert_eq!(verdict_of(&fast, "tpot.p50_ms"), FigureVerdict::Better);
}

#[test]
fn a_figure_without_an_interval_is_judged_by_the_tolerance() {
    let without = |side: Side| changed(side, |run| run.figures.as_mut().unwrap().noise = None);
    let found = gate(&without(side("a", &[1.0])), &without(side("b", &[1.1])));
    assert_eq!(found.verdict, GateVerdict::Regression);
}

#[test]
fn a_replacement_is_slower_only_beyond_noise_and_may_be_another_server() {
    let other = |side: Side| {
        changed(side, |run| {
            run.server.model = "another".to_owned();
            run.server.profile = Some("another".to_owned());
        })
    };
    let judge = |after: Side| judge_replacement(&side("a", &[1.0, 1.01, 0.99]), &other(after), TOLERANCES);
    assert_eq!(judge(side("b", &[1.0, 1.01, 1.02])).verdict, GateVerdict::Passed);
    let slower = judge(side("b", &[1.3, 1.29, 1.31]));
    assert_eq!(
        (slower.verdict, slower.refusals.as_slice()),
        (GateVerdict::Regression, &[][..])
    );
    assert_eq!(judge(side("b", &[0.9, 1.2, 1.6])).verdict, GateVerdict::Passed);
    // One run of each side, whose noise is not known.
    let without = |side: Side| changed(side, |run| run.figures.as_mut().unwrap().noise = None);
    let unknown = judge_replacement(
        &without(side("a", &[1.0])),
        &without(side("b", &[2.0])),
        TOLERANCES,
    );
    assert_eq!(unknown.verdict, GateVerdict::Passed);
    assert_eq!(verdict_of(&unknown, "tpot.p50_ms"), FigureVerdict::Noise);
    let counted = changed(side("b", &[1.3]), |run| {
        let figures = run.figures.as_mut().unwrap();
        figures.counts_each_chunk = !figures.counts_each_chunk;
    });
    assert_eq!(judge(counted).verdict, GateVerdict::Refused);
    // Only the old server was measured.
    let bad = changed(side("a", &[1.0]), |run| run.trust = Trust::Untrusted);
    let alone = judge_replacement(&bad, &Side::default(), TOLERANCES);
    assert_eq!(
        (alone.verdict, alone.untrusted.len()),
        (GateVerdict::Untrusted, 1)
    );
}

#[test]
fn nothing_untrusted_passes() {
    let bad = changed(side("b", &[1.0]), |run| run.trust = Trust::Untrusted);
    for anyway in [false, true] {
        let found = judge_change(&side("a", &[1.0]), &bad, TOLERANCES, anyway);
        assert_eq!(found.verdict, GateVerdict::Untrusted);
        let found = judge_change(&bad, &side("a", &[1.0]), TOLERANCES, anyway);
        assert_eq!(found.verdict, GateVerdict::Untrusted);
    }
    let few = changed(side("b", &[1.0]), |run| {
        run.figures.as_mut().unwrap().tpot.p50_ms = None;
    });
    let found = gate(&side("a", &[1.0]), &few);
    assert_eq!(found.verdict, GateVerdict::Untrusted);
    assert_eq!(
        found.untrusted,
        ["the result has too few requests for tpot.p50_ms"]
    );
    // Answers of one token have no TPOT on either side.
    let one_token = changed(side("a", &[1.0]), |run| {
        run.figures.as_mut().unwrap().tpot.p50_ms = None;
    });
    assert_eq!(gate(&one_token, &few).verdict, GateVerdict::Passed);
}

#[test]
fn another_server_or_host_is_refused_and_another_engine_is_judged() {
    let changes: [Change<'_>; 4] = [
        &|run| run.server.model = "n".to_owned(),
        &|run| {
            let other = "8 x NVIDIA B200".to_owned();
            run.server.host.insert("gpus".to_owned(), other);
        },
        &|run| run.server.base_url = "http://10.0.0.7:30000".to_owned(),
        &|run| run.load.output_len = 64,
    ];
    for change in changes {
        let other = changed(side("b", &[1.0]), change);
        assert_eq!(gate(&side("a", &[1.0]), &other).verdict, GateVerdict::Refused);
        let anyway = judge_change(&side("a", &[1.0]), &other, TOLERANCES, true);
        assert_eq!(anyway.verdict, GateVerdict::Passed);
        assert!(!anyway.refusals.is_empty());
    }
    let newer = changed(side("b", &[1.0]), |run| {
        run.server.sglang = Some("0.5.24".to_owned());
        run.server.base_url = "http://127.0.0.1:30001".to_owned();
    });
    let found = gate(&side("a", &[1.0]), &newer);
    assert_eq!(found.verdict, GateVerdict::Passed);
    assert_eq!(found.differences[0].what, "sglang");
}

/// A run with many failures is not trusted; the server is worse all the same, unless the client is to blame.
#[test]
fn a_server_that_fails_a_third_of_its_requests_is_a_regression() {
    let failing = |abouts: &[&str]| {
        changed(side("b", &[1.0]), |run| {
            run.requests.completed = run.requests.measured * 2 / 3;
            run.trust = Trust::Untrusted;
            run.verdicts.extend(abouts.iter().map(|about| Verdict {
                about: (*about).to_owned(),
                trust: Trust::Untrusted,
                text: "x".to_owned(),
                hint: String::new(),
            }));
        })
    };
    let baseline = side("a", &[1.0]);
    for (abouts, expected) in [
        (&["requests", "load"][..], GateVerdict::Regression),
        (&["requests", "client"], GateVerdict::Untrusted),
        (&["requests", "complete"], GateVerdict::Untrusted),
    ] {
        let result = failing(abouts);
        assert_eq!(gate(&baseline, &result).verdict, expected, "{abouts:?}");
        let replaced = judge_replacement(&baseline, &result, TOLERANCES);
        assert_eq!(replaced.verdict, expected, "{abouts:?}");
        // Runs of the old server that must not be used decide nothing.
        let replaced = judge_replacement(&failing(&["steady"]), &result, TOLERANCES);
        assert_eq!(replaced.verdict, GateVerdict::Untrusted, "{abouts:?}");
    }
}

#[test]
fn more_failures_are_a_regression() {
    let failing = changed(side("b", &[1.0]), |run| run.requests.completed = 78);
    assert_eq!(
        gate(&side("a", &[1.0]), &failing).verdict,
        GateVerdict::Regression
    );
}
