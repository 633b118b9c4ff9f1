//! A server of LLM streams whose times are known: it judges the clients that measure. It answers as SGLang 0.5.23 does,
//! plans each token's time when a request has arrived, writes at that time, and records how late it was itself.
//!
//! | module | subject |
//! |---|---|
//! | `answer` | the events and the JSON of answers |
//! | `arrivals` | requests that come, and the start of their answers |
//! | `asked` | the part of a request's JSON that decides its answer |
//! | `capacity` | the places and the prefill that requests wait for |
//! | `clock` | nanoseconds since the start |
//! | `connection` | the bytes in and out of one connection |
//! | `counters` | the counters of `/metrics` |
//! | `end` | the end of an answer |
//! | `fault` | the faults of answers, and the requests that have them |
//! | `histogram` | quantiles of many times |
//! | `ledger` | the record and its summary |
//! | `pages` | the pages beside the answers |
//! | `place` | the listening socket and the priority |
//! | `plan` | the planned times of one request |
//! | `program` | the server as a process of its own |
//! | `radix` | a prefix cache of all prompts and answers |
//! | `request` | HTTP/1.1 from bytes |
//! | `rule` | faults as they are typed |
//! | `run` | the numbers, the capacity and the record of a run |
//! | `server` | the loop |
//! | `shape` | the times, lengths, capacity and faults of a server |
//! | `stream` | one answer on its way |
//! | `timers` | the times at which something is due |
//! | `wire` | the bytes of one write |
//!
//! Not in this module tree: a client. The tests have theirs in `tests/fast/truth.rs`.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::struct_excessive_bools,
    unused_imports,
    reason = "nanoseconds and counts of a test fit, and a test server that cannot start ends its test"
)]

mod answer;
mod arrivals;
mod asked;
mod capacity;
mod clock;
mod connection;
mod counters;
mod end;
mod fault;
mod histogram;
mod ledger;
mod pages;
mod place;
mod plan;
pub mod program;
mod radix;
mod request;
mod rule;
mod run;
mod server;
mod shape;
mod stream;
mod timers;
mod wire;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub use answer::text;
pub use asked::Api;
pub use end::End;
pub use fault::{Fault, Rule, When};
pub use ledger::{Record, Served};
pub use plan::{Pace, Plan};
pub use shape::{Output, Shape, Times};

/// A running server. It stops when it is dropped.
pub struct Truth {
    port: u16,
    run: Arc<Mutex<run::Run>>,
    stop: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Truth {
    /// Starts a server in a thread of its own.
    pub fn start(shape: Shape) -> Self {
        answer::prepare();
        let clock = clock::Clock::start();
        let run = Arc::new(Mutex::new(run::Run::new(clock)));
        let stop = Arc::new(AtomicBool::new(false));
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let wake = Arc::new(rustix::event::eventfd(0, flags).unwrap());
        let (server, port) = server::Server::new(shape, clock, run.clone(), stop.clone(), wake.clone());
        let thread = std::thread::Builder::new()
            .name("truth".to_owned())
            .spawn(move || server.serve())
            .unwrap();
        Self {
            port,
            run,
            stop,
            wake,
            thread: Some(thread),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns what truly happened since the start or the last reset. Ask after the load, because the copy takes time.
    pub fn served(&self) -> Served {
        self.run.lock().unwrap().served.clone()
    }

    /// Starts a new run: numbers and times of faults count from its first request.
    pub fn reset(&self) {
        self.run.lock().unwrap().reset();
    }
}

impl Drop for Truth {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = rustix::io::write(self.wake.as_ref(), &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
