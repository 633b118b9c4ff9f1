//! Prompt tokens that came from the prefix cache, beside those that the load itself explains.

use super::requests::measured;
use super::words::{percent, verdict, with_hint};
use crate::measure::evidence::Evidence;
use crate::measure::figures::to_float;
use crate::report::{Figures, Trust, Verdict};

/// Share of the prompt tokens from the prefix cache beyond what the load shares: vLLM's client warns from 1 % on
/// (vllm#53920).
const CACHED: f64 = 0.01;
const MUCH_CACHED: f64 = 0.05;
/// Tokens at the start of a prompt that it has in common with another one by chance: once a tree holds as many prompts as there
/// are ids, the first one is always known.
const BY_CHANCE: f64 = 2.0;

/// Judges the prompt tokens that came from the prefix cache.
pub(super) fn judge_prefix_cache(evidence: &Evidence, figures: &Figures) -> Option<Verdict> {
    let prompt = to_float(figures.input_tokens);
    let by_requests = figures
        .cached_tokens
        .map(|cached| to_float(cached) / prompt.max(1.0));
    let Some(share) = by_requests.or(evidence.server.cached_share) else {
        let text = "the server does not say how many prompt tokens came from its cache";
        return Some(with_hint(
            verdict("prefix cache", Trust::Unknown, text),
            "--api generate, --enable-cache-report or --enable-metrics tell",
        ));
    };
    if !evidence.lengths.turns.is_single() {
        return Some(judge_turns(evidence, by_requests.is_some(), share));
    }
    let shared = f64::from(evidence.lengths.shared_prefix)
        / f64::from(evidence.lengths.shared_prefix + evidence.lengths.input).max(1.0);
    let text = format!("{} of the prompt tokens came from it", percent(share));
    let chance = BY_CHANCE / figures.mean_input_len.max(1.0);
    let beyond = format!(", and the load shares {}", percent(shared));
    Some(conclude(evidence, &text, &beyond, [(share - shared, chance)]))
}

/// Judges the prompt tokens of conversations that came from the prefix cache: those of a later turn may be all that the turns
/// before it had, and no more; those of a first turn, the shared ones. First and later turns are judged apart, because first turns
/// have few of all tokens. `share` is that of all prompts, which is all that the metrics of a server tell.
fn judge_turns(evidence: &Evidence, is_by_request: bool, share: f64) -> Verdict {
    let (mut first, mut later) = (Tokens::default(), Tokens::default());
    for record in measured(evidence).filter(|record| record.is_complete()) {
        let (Some(turn), Some(usage)) = (record.turn, record.usage) else {
            continue;
        };
        let (of, known) = if turn.turn == 1 {
            (&mut first, u64::from(evidence.lengths.shared_prefix))
        } else {
            let before = usage.prompt.saturating_sub(u64::from(turn.new_tokens));
            (&mut later, before)
        };
        of.add(usage.prompt, usage.cached.unwrap_or(0), known);
    }
    if !is_by_request {
        let known = share_of(first.known + later.known, first.prompt + later.prompt);
        let text = format!("{} of the prompt tokens came from it", percent(share));
        let beyond = format!(", and the conversations explain {}", percent(known));
        return conclude(evidence, &text, &beyond, [(share - known, 0.0)]);
    }
    let text = format!(
        "of first turns {} of the prompt tokens came from it; of later turns {}, and the turns before them explain {}",
        percent(share_of(first.cached, first.prompt)),
        percent(share_of(later.cached, later.prompt)),
        percent(share_of(later.known, later.prompt)),
    );
    let new = share_of(first.beyond + later.beyond, first.new + later.new);
    let beyond = format!("; {} of what was new was known", percent(new));
    conclude(evidence, &text, &beyond, [first.beyond(), later.beyond()])
}

/// Returns the verdict on shares beyond what the load explains, each beside the one that is there by chance.
fn conclude<const N: usize>(
    evidence: &Evidence,
    text: &str,
    beyond: &str,
    shares: [(f64, f64); N],
) -> Verdict {
    let trust_of = |(share, chance): (f64, f64)| {
        if share > MUCH_CACHED.max(2.0 * chance) {
            Trust::Untrusted
        } else if share > CACHED.max(chance) {
            Trust::Doubtful
        } else {
            Trust::Trusted
        }
    };
    let worst = shares.into_iter().map(trust_of).max();
    // The texts of a file may be known to a server for good reasons.
    match worst.filter(|trust| evidence.is_random && *trust > Trust::Trusted) {
        None => verdict("prefix cache", Trust::Trusted, text),
        Some(trust) => with_hint(
            verdict("prefix cache", trust, format!("{text}{beyond}: TTFT is too low")),
            "leave --seed out: each run then has prompts that no run had before",
        ),
    }
}

/// Prompt tokens of some turns.
#[derive(Debug, Clone, Copy, Default)]
struct Tokens {
    count: u64,
    prompt: u64,
    cached: u64,
    /// Those that the turns before had, or that all prompts share.
    known: u64,
    /// The others.
    new: u64,
    /// Those of the others that came from the cache.
    beyond: u64,
}

impl Tokens {
    const fn add(&mut self, prompt: u64, cached: u64, known: u64) {
        self.count += 1;
        self.prompt += prompt;
        self.cached += cached;
        self.known += known;
        self.new += prompt.saturating_sub(known);
        self.beyond += cached.saturating_sub(known);
    }

    /// Returns the share of what is new that came from the cache, and the share that does by chance.
    fn beyond(&self) -> (f64, f64) {
        let chance = BY_CHANCE * to_float(self.count) / to_float(self.new).max(1.0);
        (share_of(self.beyond, self.new), chance)
    }
}

fn share_of(part: u64, whole: u64) -> f64 {
    to_float(part) / to_float(whole).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::figures::compute_figures;
    use crate::measure::record::ConversationTurn;
    use crate::measure::turns::Turns;
    use crate::measure::verdicts::judge_run;
    use crate::measure::verdicts::tests::clean;

    /// Returns a clean run of conversations of four turns, each of 100 new tokens and an answer of 20. The function returns the
    /// tokens from the cache, of the turn and the tokens of the turns before it.
    fn conversations(cached: impl Fn(u32, u64) -> Option<u64>) -> Evidence {
        let mut evidence = clean(1);
        evidence.lengths.turns = Turns {
            count: 4,
            think_s: 0.0,
        };
        for record in &mut evidence.records {
            // Four slots take the turns of their conversations one after the other.
            let (slot, round) = (record.number % 4, record.number / 4);
            let turn = round % 4 + 1;
            let before = u64::from(turn - 1) * 120;
            record.turn = Some(ConversationTurn {
                conversation: slot + round / 4 * 4,
                turn,
                new_tokens: 100,
            });
            let usage = record.usage.as_mut().unwrap();
            usage.prompt = before + 100;
            usage.cached = cached(turn, before);
            record.prompt_tokens = u32::try_from(usage.prompt).unwrap();
        }
        evidence
    }

    fn judged(evidence: &Evidence) -> (Trust, String) {
        let figures = compute_figures(&evidence.records, evidence.window.unwrap());
        let found = judge_prefix_cache(evidence, &figures).unwrap();
        (found.trust, found.text)
    }

    #[test]
    fn the_history_of_a_conversation_is_expected_in_the_cache() {
        let evidence = conversations(|_, before| Some(before));
        let (trust, text) = judged(&evidence);
        assert_eq!(
            (trust, text.as_str()),
            (
                Trust::Trusted,
                "of first turns 0 % of the prompt tokens came from it; of later turns 70 %, and the turns before them explain 70 %"
            )
        );
        let figures = compute_figures(&evidence.records, evidence.window.unwrap());
        let complaints: Vec<Verdict> = judge_run(&evidence, Some(&figures))
            .into_iter()
            .filter(|verdict| verdict.trust > Trust::Unknown)
            .collect();
        assert_eq!(complaints, []);
        // A cache that is off is the server's matter.
        assert_eq!(judged(&conversations(|_, _| Some(0))).0, Trust::Trusted);
    }

    #[test]
    fn tokens_from_the_cache_beyond_the_history_have_their_verdict() {
        // All first turns were known: that is 7 % of all prompt tokens.
        let warm = conversations(|turn, before| Some(if turn == 1 { 99 } else { before }));
        let (trust, text) = judged(&warm);
        assert_eq!(trust, Trust::Untrusted);
        assert!(
            text.starts_with("of first turns 99 % of the prompt tokens"),
            "{text}"
        );
        assert!(
            text.ends_with("; 24 % of what was new was known: TTFT is too low"),
            "{text}"
        );
        let some = conversations(|turn, before| Some(if turn == 1 { 3 } else { before }));
        assert_eq!(judged(&some).0, Trust::Doubtful);
        let chance = conversations(|turn, before| Some(if turn == 1 { 1 } else { before }));
        assert_eq!(judged(&chance).0, Trust::Trusted);
        let later = conversations(|turn, before| Some(if turn == 1 { 0 } else { before + 99 }));
        assert_eq!(judged(&later).0, Trust::Untrusted);
        let mut data = warm;
        data.is_random = false;
        assert_eq!(judged(&data).0, Trust::Trusted);
    }

    #[test]
    fn what_all_prompts_share_is_expected_in_first_turns() {
        let mut evidence = conversations(|turn, before| Some(if turn == 1 { 60 } else { before }));
        assert_eq!(judged(&evidence).0, Trust::Untrusted);
        evidence.lengths.shared_prefix = 60;
        assert_eq!(judged(&evidence).0, Trust::Trusted);
    }

    #[test]
    fn the_metrics_of_a_server_tell_the_share_of_all_turns() {
        let mut evidence = conversations(|_, _| None);
        evidence.server.cached_share = Some(0.6);
        let (trust, text) = judged(&evidence);
        assert_eq!(trust, Trust::Trusted);
        assert_eq!(text, "60 % of the prompt tokens came from it");
        evidence.server.cached_share = Some(0.9);
        assert_eq!(judged(&evidence).0, Trust::Untrusted);
    }

    #[test]
    fn a_run_with_less_than_a_conversation_of_each_slot_is_doubted() {
        let mut evidence = conversations(|_, before| Some(before));
        evidence.lengths.turns.count = 60;
        let figures = compute_figures(&evidence.records, evidence.window.unwrap());
        let verdicts = judge_run(&evidence, Some(&figures));
        let waves = verdicts.iter().find(|verdict| verdict.about == "waves").unwrap();
        assert_eq!(
            (waves.trust, waves.text.as_str()),
            (
                Trust::Doubtful,
                "49.0 requests of each of the 4 slots, whose conversations have 60 turns"
            )
        );
    }

    #[test]
    fn the_time_between_two_turns_is_no_missing_load() {
        let mut evidence = conversations(|_, before| Some(before));
        // Each answer ends a third earlier, and the next turn is sent after a pause.
        let mut pause: f64 = 0.0;
        for record in &mut evidence.records {
            let lasts = record.ended.since(record.sent);
            record.ended = record.sent.after(lasts * 2 / 3);
            pause = (lasts / 3).as_secs_f64();
        }
        let load = |evidence: &Evidence| {
            let figures = compute_figures(&evidence.records, evidence.window.unwrap());
            let verdicts = judge_run(evidence, Some(&figures));
            let found = verdicts.into_iter().find(|verdict| verdict.about == "load");
            found.unwrap().trust
        };
        assert_eq!(load(&evidence), Trust::Untrusted);
        evidence.lengths.turns.think_s = pause;
        // A new conversation follows without a pause, so that a quarter of a third of the time is missing here.
        assert_eq!(load(&evidence), Trust::Doubtful);
    }
}
