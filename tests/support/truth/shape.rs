//! The shape of a server: its times, its lengths, its capacity and its faults.

use std::time::Duration;

use super::clock::{draw, ns};
use super::fault::{Fault, Rule, When};

/// The times to the first token.
#[derive(Debug, Clone, PartialEq)]
pub enum Times {
    Constant(Duration),
    /// Equally likely between two times.
    Uniform(Duration, Duration),
    /// A log-normal distribution: a median, and the deviation of the logarithm.
    LogNormal(Duration, f64),
}

/// The number of tokens of an answer. A request that asks for fewer gets fewer.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// As many as the request asks for.
    Asked,
    /// A number.
    Fixed(u32),
    /// Equally likely between two numbers, both included.
    Uniform(u32, u32),
}

/// A server to start.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The port, or zero for a free one.
    pub port: u16,
    pub model: String,
    /// The version of SGLang that it says it has.
    pub version: String,
    pub ttft: Times,
    /// The time between two tokens.
    pub itl: Duration,
    /// The tokens of a chunk after the first, which has one token (`stream_interval` of SGLang 0.5.23,
    /// `output_streamer.py`).
    pub interval: u32,
    pub output: Output,
    /// The tokens of an answer to a request that asks for no number.
    pub default_tokens: u32,
    /// The share of the tokens that is reasoning, of a chat.
    pub reasoning_share: f64,
    /// The tokens that a template adds to the messages of a chat.
    pub template_tokens: u64,
    /// The time that a prompt takes of a prefill that does one after the other.
    pub prefill_serial: Duration,
    /// The requests that run at once; others wait.
    pub max_running: Option<usize>,
    /// The factor of the TTFT of a prompt that was seen before, whose tokens are then cached but one.
    pub prefix_cache: Option<f64>,
    /// The time of each prompt token that no prompt and no answer before had at its place, beside the TTFT; nothing without a cache
    /// of all prefixes.
    pub prefill_token: Option<Duration>,
    /// The usage has `prompt_tokens_details` (`--enable-cache-report`).
    pub cache_report: bool,
    /// The time after which an idle connection is closed; that of uvicorn under SGLang 0.5.23 is 5 s.
    pub keep_alive: Option<Duration>,
    /// The time between two connections that are accepted.
    pub accept_gap: Option<Duration>,
    /// The time of a run from which it is another server: a new name of the model, counters from zero.
    pub changes_at: Option<Duration>,
    pub seed: u64,
    pub rules: Vec<Rule>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            port: 0,
            model: "truth/model".to_owned(),
            version: "0.5.23".to_owned(),
            ttft: Times::Constant(Duration::from_millis(20)),
            itl: Duration::from_millis(2),
            interval: 1,
            output: Output::Asked,
            default_tokens: 16,
            reasoning_share: 0.0,
            template_tokens: 0,
            prefill_serial: Duration::ZERO,
            max_running: None,
            prefix_cache: None,
            prefill_token: None,
            cache_report: true,
            keep_alive: None,
            accept_gap: None,
            changes_at: None,
            seed: 1,
            rules: Vec::new(),
        }
    }
}

impl Shape {
    /// Returns a shape with constant times.
    pub fn new(ttft: Duration, itl: Duration) -> Self {
        Self {
            ttft: Times::Constant(ttft),
            itl,
            ..Self::default()
        }
    }

    /// Returns the shape with a fault of some requests.
    #[must_use]
    pub fn with(mut self, fault: Fault, when: When) -> Self {
        self.rules.push(Rule { fault, when });
        self
    }

    /// Returns the faults of a request that arrives at a time of the run.
    pub fn faults(&self, number: u64, time: Duration) -> Vec<Fault> {
        let covering = self
            .rules
            .iter()
            .zip(0..)
            .filter(|(rule, at)| rule.when.covers(number, time, self.seed, *at));
        covering.map(|(rule, _)| rule.fault.clone()).collect()
    }

    /// Returns the TTFT of a request without waiting and without faults.
    pub fn ttft_ns(&self, number: u64) -> u64 {
        match self.ttft {
            Times::Constant(time) => ns(time),
            Times::Uniform(low, high) => {
                let width = ns(high).saturating_sub(ns(low)) as f64;
                ns(low) + (draw(self.seed, 1, number) * width) as u64
            }
            Times::LogNormal(median, sigma) => {
                // Box and Muller's transform; the logarithm of zero is left out.
                let radius = (-2.0 * (1.0 - draw(self.seed, 2, number)).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * draw(self.seed, 3, number)).cos();
                (ns(median) as f64 * (sigma * normal).exp()) as u64
            }
        }
    }

    /// Returns the tokens of an answer without faults. The flag says that it ends by itself before what was asked for.
    pub fn tokens(&self, number: u64, asked: Option<u32>) -> (u32, bool) {
        let own = match self.output {
            Output::Asked => asked.unwrap_or(self.default_tokens),
            Output::Fixed(tokens) => tokens,
            Output::Uniform(low, high) => {
                let width = f64::from(high.saturating_sub(low) + 1);
                low + (draw(self.seed, 4, number) * width) as u32
            }
        };
        let most = asked.unwrap_or(u32::MAX);
        (own.min(most), own < most && self.output != Output::Asked)
    }
}
