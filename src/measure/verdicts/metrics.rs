//! The server's own metrics beside the figures: other users of it, its own TTFT, and a scheduler without work.

use super::words::{percent, verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::figures::to_float;
use crate::measure::load::Load;
use crate::report::{Figures, Trust, Verdict};

/// Share of further requests up to which a server is taken to be free of other users. The two counts are read one after the other.
const OTHERS: f64 = 0.02;
/// Share of the time without work above which a closed loop does not fill a server: its requests are in flight, and so on their
/// way or in its HTTP front.
const IDLE: f64 = 0.2;
/// Share of the server's own mean TTFT by which the client's may be lower. The requests at both ends of a run are in one of the
/// means only.
const BELOW: f64 = 0.25;

/// Judges the requests of others that the server answered.
pub(super) fn judge_others(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let ended = evidence.server.ended?;
    let allowed = to_float(ended.of_client) * (1.0 + OTHERS) + to_float(ended.in_flight) + 1.0;
    if to_float(ended.of_server) <= allowed {
        let text = "none, by the server's own count of requests";
        return Some(verdict("other users", Trust::Trusted, text));
    }
    let text = format!(
        "the server ended {} requests while it was measured, and {} of them are of this client",
        ended.of_server, ended.of_client
    );
    Some(with_hint(
        verdict("other users", Trust::Untrusted, text),
        "measure a server that no one else uses",
    ))
}

/// Judges the server's own mean TTFT beside the client's.
pub(super) fn judge_ttft(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    let own_ms = evidence.server.mean_ttft?.as_secs_f64() * 1e3;
    let client_ms = figures.ttft.mean_ms?;
    if client_ms < own_ms * (1.0 - BELOW) {
        let text = format!(
            "the server's own mean TTFT is {own_ms:.1} ms, and the client's {client_ms:.1} ms: they are not of the same requests"
        );
        return Some(with_hint(
            verdict("server's TTFT", Trust::Doubtful, text),
            "measure longer, and on a server that no one else uses",
        ));
    }
    let text = format!(
        "{own_ms:.1} ms in the mean by its own metrics; {:.1} ms are the network's and its HTTP front's",
        (client_ms - own_ms).max(0.0)
    );
    Some(verdict("server's TTFT", Trust::Trusted, text))
}

/// Judges the time in which the server's scheduler had no work.
pub(super) fn judge_idle(evidence: &Evidence, _: &Figures) -> Option<Verdict> {
    let share = evidence.server.idle_share?;
    let is_closed = matches!(evidence.load, Load::Concurrency(_)) && evidence.lengths.turns.think_s <= 0.0;
    let text = format!("it had no work in {} of the time", percent(share));
    if !is_closed || share <= IDLE {
        return Some(verdict("scheduler", Trust::Trusted, text));
    }
    let text = format!("{text}, although requests were in flight: the engine is not the limit here");
    Some(with_hint(
        verdict("scheduler", Trust::Doubtful, text),
        "look at the network and at the processors of the server's host; a higher --max-concurrency hides such pauses",
    ))
}
