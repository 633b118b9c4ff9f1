//! Follows an engine from its start to READY, or to the cause of its failure.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::diagnose::{self, Diagnoser};
use crate::effects::host;
use crate::effects::http::Http;
use crate::effects::lines::{LogEnd, LogPart, LogStream};
use crate::effects::serve::cause::explained;
use crate::effects::serve::prefetch::Prefetch;
use crate::effects::serve::runtime::{Life, Runtime};
use crate::error::{Error, Kind, Result};
use crate::event::{Source, Stage, StepEvents};
use crate::plan::{AwaitReady, PlannedMemory};
use crate::report::{EngineMemory, PlannedFigures, Ready, StageTime};
use crate::sglang::log;
use crate::units::{self, Bytes};

/// Time between two looks at process and probe: the end of the engine is noticed well within two seconds.
const TICK: Duration = Duration::from_millis(200);

/// The same once the engine listens: its next word is READY.
const TICK_OF_LISTENER: Duration = Duration::from_millis(50);

/// Time between two looks at the engine's processes.
const LOOK: Duration = Duration::from_secs(5);

/// Time of compilations from which it is worth a line.
const LONG_COMPILATION: Duration = Duration::from_secs(20);

/// Time for which an engine must live while its port answers, if nothing else shows that it is the one that answers.
const UNSEEN_LISTENER: Duration = Duration::from_mins(2);

/// Longest wait for the last lines of a server that ended.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Bytes from which reads ahead of the engine are worth a line.
const WORTH_SAYING: u64 = 1 << 30;

/// Lines of a log in which the cause of a server's end is looked for: a traceback of each of eight ranks.
const READ_BACK: u64 = 2000;

/// Longest time in which an engine that dies gathers diagnostics.
const DYING: Duration = Duration::from_secs(20);

/// Most stages of a log that no rule knows.
const MOST_UNKNOWN: usize = 8;

/// Lines of the log shown when a start fails.
const SHOWN: usize = 20;

/// Follows a start to its end.
///
/// # Errors
/// [`Kind::Server`] when the engine dies or stalls, with the last lines of its log.
pub(in crate::effects) async fn await_ready(
    step: &AwaitReady,
    runtime: &Runtime<'_>,
    http: &Http,
    events: &StepEvents<'_>,
) -> Result<Ready> {
    let old_lines = step.runs_already.then_some(0);
    let lines = LogPart {
        tail: old_lines,
        since_s: None,
        follow: true,
    };
    let mut start = Start::new(runtime.log(lines).await?, runtime.name(), events);
    if !step.runs_already {
        start.planned = step.planned;
        start.prefetch = step
            .prefetch
            .as_deref()
            .and_then(|folder| Prefetch::start(Path::new(folder)));
        start.reach(Stage::Starting, "");
        if let Some(last) = step.last_ms {
            let took = units::duration(Duration::from_millis(last));
            events.note(format!("the last start of this server took {took} here"));
        }
    }
    let url = format!("{}{}", step.base_url, step.probe);
    let stall = Duration::from_secs(step.stall_s);
    let port = step
        .base_url
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or(0);
    let mut activity = None;
    let mut last_look = Instant::now();
    let mut answering = None;
    loop {
        start.read_log();
        if let Life::Ended(reason) = runtime.life().await? {
            start.read_rest_of_log().await;
            if runtime.was_stopped() {
                return Err(stopped(runtime, start.stage()));
            }
            return Err(start.died(runtime, &reason).hint(log_hint(runtime).await));
        }
        if start.cannot_listen {
            return Err(taken_meanwhile(runtime, port).hint(log_hint(runtime).await));
        }
        if matches!(http.get_status(&url, Duration::from_secs(2)).await, Ok(200)) {
            start.read_log();
            let since = *answering.get_or_insert_with(Instant::now);
            // A listener of another user cannot be seen. Then the engine's log must say that it listens, or the engine must
            // live for longer than it would with a taken port.
            let listens = start.listens() || since.elapsed() > UNSEEN_LISTENER;
            match runtime.owns(port).await {
                Some(false) => return Err(taken_meanwhile(runtime, port)),
                None if !listens => {}
                _ if runtime.life().await? != Life::Running => {}
                _ => return Ok(start.ready(step)),
            }
        }
        // Processor time and I/O are read from every process: not on each tick.
        if last_look.elapsed() > LOOK {
            last_look = Instant::now();
            let now = runtime.signs().await;
            if now.is_some_and(|now| now.compiles) {
                start.note_compilation();
            }
            if now.is_none() || now != activity {
                activity = now;
                start.note_sign_of_life();
            }
        }
        if start.quiet_for() > stall {
            return Err(start.stalled(runtime, stall).hint(log_hint(runtime).await));
        }
        let tick = if start.listens() { TICK_OF_LISTENER } else { TICK };
        start.follow_log(tick).await;
    }
}

/// Returns true if a figure is less than nine tenths of the planned one.
fn is_much_less(figure: u64, planned: u64) -> bool {
    u128::from(figure) * 10 < u128::from(planned) * 9
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a GPU's memory is below 2^53 bytes, and a negative figure is cut at 0"
)]
fn bytes_of_gib(gib: f64) -> u64 {
    (gib * f64::from(1 << 30)) as u64
}

/// The progress of a start.
struct Start<'a> {
    log: LogStream,
    events: &'a StepEvents<'a>,
    begun: Instant,
    last_sign: Instant,
    /// The arrival of the last line.
    last_line: Instant,
    /// Time in which compilers ran, in steps of [`LOOK`].
    compiled: Duration,
    stages: Vec<StageTime>,
    kv_pool_tokens: Option<u64>,
    memory: EngineMemory,
    /// The reads ahead of the engine, until it has loaded its weights.
    prefetch: Option<Prefetch>,
    /// The plan's figures, until the engine's are compared with them.
    planned: Option<PlannedMemory>,
    /// True if the log says that the port is taken.
    cannot_listen: bool,
    /// Words of lines that look like the begin of a stage, and match no rule.
    unknown_stages: BTreeSet<String>,
    recent: Vec<String>,
    /// The diagnosis of the log, as far as it was read.
    diagnoser: Diagnoser,
    /// True if the log broke, and the user was warned.
    log_is_broken: bool,
}

impl<'a> Start<'a> {
    fn new(log: LogStream, name: &str, events: &'a StepEvents<'a>) -> Self {
        let now = Instant::now();
        let mut diagnoser = Diagnoser::default();
        diagnoser.begin(name);
        Self {
            log,
            events,
            begun: now,
            last_sign: now,
            last_line: now,
            compiled: Duration::ZERO,
            stages: Vec::new(),
            kv_pool_tokens: None,
            memory: EngineMemory::default(),
            prefetch: None,
            planned: None,
            cannot_listen: false,
            unknown_stages: BTreeSet::new(),
            recent: Vec::new(),
            diagnoser,
            log_is_broken: false,
        }
    }

    /// Reads the lines that arrived.
    fn read_log(&mut self) {
        for line in self.log.arrived() {
            self.read_line(&line);
        }
        self.note_broken_log();
    }

    /// Follows the log for so long, also past its end.
    async fn follow_log(&mut self, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        while self.log.end().is_none() && tokio::time::Instant::now() < deadline {
            for line in self.log.wait(Some(deadline)).await {
                self.read_line(&line);
            }
        }
        self.note_broken_log();
        tokio::time::sleep_until(deadline).await;
    }

    /// Warns once if the log's connection broke: the start continues, and only the probe shows its end.
    fn note_broken_log(&mut self) {
        if let Some(LogEnd::Broken(reason)) = self.log.end()
            && !std::mem::replace(&mut self.log_is_broken, true)
        {
            self.events.warning(
                format!("the log of the server cannot be followed any more: {reason}"),
                "the start continues; its later stages and figures are missing",
            );
        }
    }

    /// Reads the last lines of a server that ended.
    async fn read_rest_of_log(&mut self) {
        for line in self.log.rest(LAST_LINES).await {
            self.read_line(&line);
        }
        self.note_broken_log();
    }

    fn read_line(&mut self, line: &str) {
        self.note_sign_of_life();
        self.last_line = self.last_sign;
        self.events.line(Source::Engine, line);
        self.diagnoser.feed_line(line);
        if let Some((what, done, total)) = log::progress(line) {
            self.events.activity(what, Some((done, total)));
        }
        if let Some(what) = log::compiles(line) {
            self.events.activity(what, None);
        }
        if let Some((stage, detail)) = log::stage(line)
            // The probe decides about READY, not the log.
            && stage != Stage::Ready
        {
            self.reach(stage, &detail);
        }
        if self.unknown_stages.len() < MOST_UNKNOWN
            && let Some(what) = log::unknown_stage(line)
        {
            self.unknown_stages.insert(what.to_owned());
        }
        self.cannot_listen |= log::cannot_listen(line);
        self.kv_pool_tokens = log::kv_pool_tokens(line).or(self.kv_pool_tokens);
        match log::memory(line) {
            Some((log::Memory::Free, gib)) => _ = self.memory.free_gib.get_or_insert(gib),
            Some((log::Memory::Weights, gib)) => _ = self.memory.weights_gib.get_or_insert(gib),
            Some((log::Memory::Graphs, gib)) => _ = self.memory.graphs_gib.get_or_insert(gib),
            Some((log::Memory::Left, gib)) => _ = self.memory.left_gib.get_or_insert(gib),
            None => {}
        }
        if let Some(tokens) = log::allocated_tokens(line)
            && let Some(planned) = self.planned.take()
        {
            self.compare_pool(tokens, planned);
        }
        if log::is_telling(line) {
            // Room for a traceback: its cause may be anywhere in it.
            if self.recent.len() == 200 {
                self.recent.remove(0);
            }
            self.recent.push(line.to_owned());
        }
    }

    /// Says which lines of the log look like stages that no rule knows: their time is counted as that of the stage before.
    fn note_unknown_stages(&self) {
        for what in &self.unknown_stages {
            self.events.note(format!(
                "the engine's log has a stage that this dsr1 does not know: `{what}`; its time is in the stage before it"
            ));
        }
    }

    /// Ends the reads ahead of the engine, and says what they read.
    fn end_prefetch(&mut self) {
        let Some(prefetch) = self.prefetch.take() else {
            return;
        };
        let (bytes, took) = prefetch.progress();
        if bytes >= WORTH_SAYING {
            let whole = if prefetch.is_done() {
                ""
            } else {
                ", not to the end"
            };
            self.events.note(format!(
                "read {} of the weights into memory while the engine started{whole} ({})",
                Bytes(bytes),
                units::duration(took)
            ));
        }
    }

    /// Warns of a pool that is much smaller than planned, minutes before READY.
    fn compare_pool(&self, tokens: u64, planned: PlannedMemory) {
        if !is_much_less(tokens, planned.pool_tokens) {
            return;
        }
        let text = format!(
            "the KV pool has {tokens} tokens, and the plan has {}: fewer requests run at once",
            planned.pool_tokens
        );
        let free = self
            .memory
            .free_gib
            .as_ref()
            .and_then(|gib| gib.parse::<f64>().ok());
        let hint = match free.map(|gib| (gib, bytes_of_gib(gib))) {
            Some((gib, bytes)) if is_much_less(bytes, planned.usable_bytes) => format!(
                "only {gib} GiB of a GPU were free before the weights were loaded: another process holds the rest; \
                 nvidia-smi lists it, and dsr1 doctor names it"
            ),
            _ => "dsr1 plan shows what the plan counts on; please report the difference".to_owned(),
        };
        self.events.warning(text, hint);
    }

    /// Reports a stage once, and never an earlier one: eight ranks log the same line.
    fn reach(&mut self, stage: Stage, detail: &str) {
        if self.stages.last().is_some_and(|last| last.stage >= stage) {
            return;
        }
        if stage > Stage::LoadingWeights {
            self.end_prefetch();
        }
        let at_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.stages.push(StageTime { stage, at_ms });
        self.events.stage(stage, at_ms, detail);
    }

    /// Returns true if the log said that the engine listens.
    fn listens(&self) -> bool {
        self.stages
            .iter()
            .any(|reached| reached.stage == Stage::WarmingUp)
    }

    /// Shows that kernels are compiled: FlashInfer logs nothing for minutes then.
    fn note_compilation(&mut self) {
        self.compiled += LOOK;
        if self.last_line.elapsed() > LOOK {
            self.events.activity("compile kernels", None);
        }
    }

    fn note_sign_of_life(&mut self) {
        self.last_sign = Instant::now();
    }

    fn quiet_for(&self) -> Duration {
        self.last_sign.elapsed()
    }

    fn stage(&self) -> &'static str {
        self.stages.last().map_or("start", |last| last.stage.title())
    }

    fn ready(mut self, step: &AwaitReady) -> Ready {
        if !step.runs_already {
            self.reach(Stage::Ready, "");
            self.note_unknown_stages();
            if self.compiled >= LONG_COMPILATION {
                self.events.note(format!(
                    "kernels were compiled for about {}; the next start finds them in their caches",
                    units::duration(self.compiled)
                ));
            }
        }
        Ready {
            server: step.server.name().to_owned(),
            base_url: step.base_url.clone(),
            model: step.model.clone(),
            stages: self.stages,
            kv_pool_tokens: self.kv_pool_tokens,
            memory: self.memory,
            planned: step.planned.map(|planned| PlannedFigures {
                free_bytes: planned.usable_bytes,
                weights_bytes: planned.weights_bytes,
                pool_tokens: planned.pool_tokens,
            }),
        }
    }

    fn died(mut self, runtime: &Runtime<'_>, reason: &str) -> Error {
        let lines = || self.recent.iter().map(String::as_str);
        if let Some(refused) = log::usage_error(lines()) {
            // The usage text would hide the one line that matters.
            return Error::new(
                Kind::Usage,
                format!("{} does not accept its arguments", runtime.name()),
            )
            .cause(refused)
            .hint("check the arguments after `--`, and the profile: dsr1 profiles show NAME");
        }
        let error = Error::new(
            Kind::Server,
            format!("{} ended during {}", runtime.name(), self.stage()),
        );
        let diagnosis = std::mem::take(&mut self.diagnoser).finish();
        let error = explained(error, &diagnosis, reason, runtime.name(), lines());
        let skip = self.recent.len().saturating_sub(SHOWN);
        error.log(self.recent.split_off(skip))
    }

    fn stalled(mut self, runtime: &Runtime<'_>, stall: Duration) -> Error {
        let skip = self.recent.len().saturating_sub(SHOWN);
        Error::new(
            Kind::Server,
            format!("{} is stuck in {}", runtime.name(), self.stage()),
        )
        .cause(format!(
            "no log line, processor time or I/O for {} s",
            stall.as_secs()
        ))
        .log(self.recent.split_off(skip))
    }
}

/// Returns the error of a server that another command stopped.
fn stopped(runtime: &Runtime<'_>, during: &str) -> Error {
    Error::new(
        Kind::Server,
        format!("{} was stopped during {during}", runtime.name()),
    )
    .cause("dsr1 stop stopped it, from another terminal or a script")
    .hint("dsr1 serve --profile NAME starts it again")
}

/// Returns the error of a port that another process took while the engine loaded: the engine cannot listen, and the
/// answers are not its own.
fn taken_meanwhile(runtime: &Runtime<'_>, port: u16) -> Error {
    let holder = host::holder(port).unwrap_or_else(|| "another process".to_owned());
    Error::new(
        Kind::Host,
        format!(
            "port {port} on 127.0.0.1 was taken while {} started",
            runtime.name()
        ),
    )
    .cause(format!("held by {holder}"))
    .hint("stop that process, or use another --port")
}

/// Fails if a server ended: something else answered then.
pub(in crate::effects) async fn still_alive(runtime: &Runtime<'_>, during: &str) -> Result<()> {
    let mut lines = last_lines(runtime).await;
    if runtime.life().await? == Life::Running && lines.iter().any(|line| log::is_dying(line)) {
        let until = Instant::now() + DYING;
        while runtime.life().await? == Life::Running && Instant::now() < until {
            tokio::time::sleep(TICK).await;
        }
        lines = last_lines(runtime).await;
    }
    let reason = match runtime.life().await? {
        Life::Running if lines.iter().any(|line| log::is_dying(line)) => "a process of it died".to_owned(),
        Life::Running => return Ok(()),
        Life::Ended(_) if runtime.was_stopped() => return Err(stopped(runtime, during)),
        Life::Ended(reason) => reason,
    };
    let texts = || lines.iter().map(String::as_str);
    let diagnosis = diagnose::diagnose(runtime.name(), texts());
    let error = Error::new(Kind::Server, format!("{} ended during {during}", runtime.name()));
    let error = explained(error, &diagnosis, &reason, runtime.name(), texts());
    let skip = lines.len().saturating_sub(SHOWN);
    Err(error.log(lines.split_off(skip)).hint(log_hint(runtime).await))
}

/// Returns the last lines of a server's log, as far as they tell something.
pub(super) async fn last_lines(runtime: &Runtime<'_>) -> Vec<String> {
    let Ok(mut log) = runtime.log(LogPart::last(READ_BACK)).await else {
        return Vec::new();
    };
    let mut lines = match runtime {
        // A file has no end while the engine writes to it.
        Runtime::Process { .. } => log.arrived(),
        Runtime::Docker { .. } | Runtime::Slurm { .. } => log.rest(LAST_LINES).await,
    };
    lines.retain(|line| log::is_telling(line));
    lines
}

async fn log_hint(runtime: &Runtime<'_>) -> String {
    format!("the whole log is in {}", runtime.keep_log().await.display())
}
