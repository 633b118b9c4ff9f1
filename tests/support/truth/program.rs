//! The server as a process of its own: it prints its URL, and at SIGTERM or SIGINT the truth.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::fault::Rule;
use super::ledger::Served;
use super::shape::{Output, Shape, Times};
use super::{Truth, rule};

/// The arguments.
#[derive(Parser)]
#[command(name = "truth", about = "Serves LLM streams whose times are known", after_help = rule::GRAMMAR)]
pub struct Args {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long)]
    port: u16,
    #[arg(long, default_value = "truth/model")]
    model: String,
    /// The time to the first token.
    #[arg(long, default_value_t = 200.0)]
    ttft_ms: f64,
    /// The upper end of TTFTs that are equally likely between --ttft-ms and this.
    #[arg(long)]
    ttft_to_ms: Option<f64>,
    /// The deviation of the logarithm of TTFTs around --ttft-ms.
    #[arg(long, conflicts_with = "ttft_to_ms")]
    ttft_sigma: Option<f64>,
    /// The time between two tokens.
    #[arg(long, default_value_t = 20.0)]
    itl_ms: f64,
    /// The tokens of a chunk after the first.
    #[arg(long, default_value_t = 1)]
    stream_interval: u32,
    /// The tokens of each answer, instead of as many as asked for.
    #[arg(long)]
    output_tokens: Option<u32>,
    /// The upper end of lengths that are equally likely between --output-tokens and this.
    #[arg(long, requires = "output_tokens")]
    output_tokens_to: Option<u32>,
    /// The share of the tokens of a chat that is reasoning.
    #[arg(long, default_value_t = 0.0)]
    reasoning_share: f64,
    /// The time that each prompt takes of a prefill that does one after the other.
    #[arg(long, default_value_t = 0.0)]
    prefill_serial_ms: f64,
    /// The requests that run at once.
    #[arg(long)]
    max_running: Option<usize>,
    /// The factor of the TTFT of a prompt that was seen before.
    #[arg(long)]
    prefix_cache: Option<f64>,
    /// The time after which an idle connection is closed.
    #[arg(long)]
    keep_alive_ms: Option<f64>,
    /// The time between two connections that are accepted.
    #[arg(long)]
    accept_gap_ms: Option<f64>,
    /// The time of the run from which it is another server.
    #[arg(long)]
    changes_at_ms: Option<f64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A fault of some requests.
    #[arg(long = "fault")]
    faults: Vec<Rule>,
    /// The file for the truth at the end.
    #[arg(long)]
    report: Option<PathBuf>,
    /// The argument that `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn time(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

impl Args {
    pub fn shape(&self) -> Shape {
        let ttft = time(self.ttft_ms);
        Shape {
            port: self.port,
            model: self.model.clone(),
            ttft: match (self.ttft_to_ms, self.ttft_sigma) {
                (Some(high), _) => Times::Uniform(ttft, time(high)),
                (None, Some(sigma)) => Times::LogNormal(ttft, sigma),
                (None, None) => Times::Constant(ttft),
            },
            itl: time(self.itl_ms),
            interval: self.stream_interval,
            output: match (self.output_tokens, self.output_tokens_to) {
                (Some(low), Some(high)) => Output::Uniform(low, high),
                (Some(tokens), None) => Output::Fixed(tokens),
                (None, _) => Output::Asked,
            },
            reasoning_share: self.reasoning_share,
            prefill_serial: time(self.prefill_serial_ms),
            max_running: self.max_running,
            prefix_cache: self.prefix_cache,
            keep_alive: self.keep_alive_ms.map(time),
            accept_gap: self.accept_gap_ms.map(time),
            changes_at: self.changes_at_ms.map(time),
            seed: self.seed,
            rules: self.faults.clone(),
            ..Shape::default()
        }
    }
}

/// Serves until SIGTERM or SIGINT, then writes the truth to the report, or its summary to standard output. Without
/// arguments but that of `cargo bench` it says how it is used.
pub fn main(arguments: impl Iterator<Item = String>) {
    let arguments: Vec<String> = arguments.collect();
    if arguments.iter().skip(1).all(|argument| argument == "--bench") {
        println!("truth serves for other programs; `-- --port 0` starts it, `-- --help` says more");
        return;
    }
    let args = Args::parse_from(arguments);
    let truth = Truth::start(args.shape());
    println!("{}", truth.url());
    wait_for_signal();
    let served: Served = truth.served();
    let summary = served.summary();
    match &args.report {
        Some(path) => {
            std::fs::write(path, served.json().to_string()).unwrap();
        }
        None => println!("{summary:#}"),
    }
    if let Some(reason) = served.unknown() {
        eprintln!("the truth of this run is not known: {reason}");
    }
}

fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate()).unwrap();
        let mut int = signal(SignalKind::interrupt()).unwrap();
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    });
}
