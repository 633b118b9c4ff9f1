//! The counters of `/metrics`, with names, labels and buckets of SGLang 0.5.23 (`observability/metrics_collector.py`).

use std::fmt::Write;

use super::ledger::Record;

/// The default buckets of the TTFT, in seconds.
const BUCKETS: [f64; 18] = [
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0,
];

/// The counters of one server. They grow over runs and start again with a changed server.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    prompt_tokens: u64,
    generation_tokens: u64,
    cached_tokens: u64,
    requests: u64,
    aborted: u64,
    ttft: [u64; BUCKETS.len()],
    ttft_count: u64,
    ttft_ns: u64,
}

impl Counters {
    pub fn first_token(&mut self, ttft: u64, streams: bool) {
        if !streams {
            return;
        }
        let seconds = ttft as f64 / 1e9;
        for (bound, count) in BUCKETS.iter().zip(&mut self.ttft) {
            *count += u64::from(seconds <= *bound);
        }
        self.ttft_count += 1;
        self.ttft_ns += ttft;
    }

    pub fn finished(&mut self, record: &Record) {
        self.prompt_tokens += record.prompt_tokens;
        self.generation_tokens += u64::from(record.tokens);
        self.cached_tokens += record.cached_tokens;
        self.requests += 1;
        self.aborted += u64::from(!record.end.is_counted());
    }

    /// Returns the page.
    pub fn page(&self, model: &str, (running, waiting): (usize, usize)) -> String {
        let mut page = String::new();
        let labels = format!("model_name=\"{model}\"");
        let streaming = format!("{labels},is_streaming=\"true\"");
        let rows: [(&str, &str, &str, u64); 7] = [
            ("num_running_reqs", "gauge", &labels, running as u64),
            ("num_queue_reqs", "gauge", &labels, waiting as u64),
            ("prompt_tokens_total", "counter", &streaming, self.prompt_tokens),
            (
                "generation_tokens_total",
                "counter",
                &streaming,
                self.generation_tokens,
            ),
            ("num_requests_total", "counter", &streaming, self.requests),
            ("num_aborted_requests_total", "counter", &labels, self.aborted),
            (
                "cached_tokens_total",
                "counter",
                &format!("{labels},cache_source=\"device\""),
                self.cached_tokens,
            ),
        ];
        for (name, kind, labels, value) in rows {
            let _ = writeln!(
                page,
                "# HELP sglang:{name} {name}.\n# TYPE sglang:{name} {kind}\nsglang:{name}{{{labels}}} {value}.0"
            );
        }
        let name = "sglang:time_to_first_token_seconds";
        let _ = writeln!(
            page,
            "# HELP {name} Histogram of time to first token in seconds.\n# TYPE {name} histogram"
        );
        for (bound, count) in BUCKETS.iter().zip(&self.ttft) {
            let _ = writeln!(page, "{name}_bucket{{{streaming},le=\"{bound:?}\"}} {count}.0");
        }
        let _ = writeln!(
            page,
            "{name}_bucket{{{streaming},le=\"+Inf\"}} {count}.0\n{name}_count{{{streaming}}} {count}.0\n\
             {name}_sum{{{streaming}}} {sum:?}",
            count = self.ttft_count,
            sum = self.ttft_ns as f64 / 1e9,
        );
        page
    }
}
