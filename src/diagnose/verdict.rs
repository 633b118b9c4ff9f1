//! The choice of the first cause among everything that the logs show.

use serde::Serialize;

use crate::diagnose::scan::{Place, Scan, number_of};
use crate::diagnose::signature::{Class, Signature, signatures};
use crate::event::Stage;
use crate::redact::redact_certain;

/// Lines between the texts of one failure.
const BLOCK: u64 = 60;
/// Lines after a traceback that belong to it: a library's own words about the error.
const BESIDE: u64 = 6;
/// Lines, and seconds, after the first cause in which a more special signature is about the same failure.
const SAME_LINES: u64 = 120;
const SAME_SECONDS: i64 = 10;
/// Lines after an exception in which a process that it ends shows its end.
const DYING: u64 = 200;
/// GPUs of a node, as a rule: rank 11 is on GPU 3.
const GPUS_OF_NODE: u64 = 8;
/// Kind of a failure that no signature fits.
pub const UNKNOWN: &str = "engine.exception";
/// Most other findings that are listed.
const MOST_OTHERS: usize = 5;
/// Kind of memory that other processes hold.
const HELD: &str = "gpu.held";
/// Longest line of evidence.
const LONGEST: usize = 400;

/// The result of a diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first cause of a failure was found.
    Failure,
    /// A failure was found, and only what follows from one: its cause is in another log.
    Consequence,
    /// The engine was asked to end.
    Stopped,
    /// No failure was found.
    NoFailure,
}

/// The place of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Name of the log.
    pub file: String,
    /// Number of the line, from 1.
    pub line: u64,
    /// The line, without its stamp.
    pub text: String,
    /// The rank as the log writes it.
    pub rank: Option<String>,
    /// Container, pod, host or task, as a collector writes it.
    pub origin: Option<String>,
    /// The time as the log writes it.
    pub time: Option<String>,
    /// The stage of the start, or `ready`.
    pub stage: Option<Stage>,
}

/// Another finding, and the reason why it is not the cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its kind.
    pub kind: String,
    /// The finding in a few words.
    pub title: String,
    /// The reason.
    pub why_not: String,
    /// Its place.
    pub evidence: Evidence,
}

/// A diagnosis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The result.
    pub verdict: Verdict,
    /// Kind of the failure, `AREA.NAME`; empty without one.
    pub kind: String,
    /// The failure in a few words.
    pub title: String,
    /// The reason, in a sentence or two.
    pub why: String,
    /// The exception of the failure, if it has one.
    pub exception: Option<String>,
    /// Remedies, the most likely one first.
    pub fix: Vec<String>,
    /// The place of the cause.
    pub evidence: Option<Evidence>,
    /// Other findings, and why each is not the cause.
    pub others: Vec<Other>,
    /// True if the engine was ready before.
    pub was_ready: bool,
    /// The stage at the end of the log; `None` if it shows none.
    pub stage: Option<Stage>,
    /// Number of lines that were read.
    pub lines: u64,
    /// The share of the GPU's memory for weights and KV pool, as the server's arguments state it.
    #[serde(skip)]
    pub fraction: Option<String>,
}

/// A finding in one log.
#[derive(Debug, Clone)]
struct Event<'a> {
    signature: Option<&'a Signature>,
    class: Class,
    weight: u8,
    file: usize,
    place: &'a Place,
    /// The exception itself, where no signature is.
    exception: Option<&'a str>,
    frame: &'a str,
}

impl Event<'_> {
    fn kind(&self) -> &str {
        self.signature.map_or(UNKNOWN, |one| one.kind.as_str())
    }

    fn title(&self) -> String {
        match (self.signature, self.exception) {
            (Some(one), _) => one.title.clone(),
            (None, Some(text)) => {
                let name = text.split([':', ' ']).next().unwrap_or_default();
                format!("the engine ended with an exception that dsr1 does not know: {name}")
            }
            (None, None) => String::new(),
        }
    }

    fn number(&self) -> u64 {
        self.place.number
    }

    /// Returns true for a line of a traceback before its exception.
    fn is_frame(&self) -> bool {
        let text = &self.place.line.text;
        self.exception.is_some() && text.starts_with("  ")
    }

    fn seconds(&self) -> Option<i64> {
        self.place
            .line
            .time
            .filter(|time| time.is_inner)
            .map(|time| time.seconds)
    }

    fn evidence(&self, scans: &[Scan]) -> Evidence {
        let line = &self.place.line;
        Evidence {
            file: scans[self.file].name.clone(),
            line: self.place.number,
            text: redact_certain(self.exception.unwrap_or(&line.text).trim())
                .chars()
                .take(LONGEST)
                .collect(),
            rank: line.rank.clone(),
            origin: Some(line.origin.clone()).filter(|origin| !origin.is_empty()),
            time: Some(line.shown_time.clone()).filter(|time| !time.is_empty()),
            stage: self.place.stage,
        }
    }
}

/// Returns the diagnosis of the logs of one server.
pub(super) fn verdict(scans: &[Scan]) -> Diagnosis {
    let mut events: Vec<Event<'_>> = Vec::new();
    for (file, scan) in scans.iter().enumerate() {
        events.extend(events_of(file, scan));
    }
    order(&mut events, scans.len() > 1);
    let of = |class: Class| events.iter().filter(move |event| event.class == class);
    let is_over = |event: &&Event<'_>| !scans[event.file].worked_after(event.number());
    let base = Diagnosis {
        verdict: Verdict::NoFailure,
        kind: String::new(),
        title: String::new(),
        why: String::new(),
        exception: None,
        fix: Vec::new(),
        evidence: None,
        others: Vec::new(),
        was_ready: scans.iter().any(|scan| scan.was_ready),
        stage: scans.iter().filter_map(|scan| scan.stage).max(),
        lines: scans.iter().map(|scan| scan.lines).sum(),
        fraction: scans
            .iter()
            .flat_map(|scan| &scan.arguments)
            .find(|(name, _)| name == "fraction")
            .map(|(_, value)| value.clone()),
    };
    let causes: Vec<&Event<'_>> = of(Class::Cause).filter(is_over).collect();
    if let Some(first) = causes.first() {
        let cause = most_special(first, &causes);
        let held = held(cause);
        let cause = held.as_ref().unwrap_or(cause);
        let stopped_before = of(Class::Stop)
            .filter(is_over)
            .any(|stop| stop.number() < cause.number() && stop.file == cause.file && cause.weight < 3);
        if !stopped_before {
            return describe_cause(&base, Verdict::Failure, cause, &events, scans);
        }
    }
    if let Some(stop) = of(Class::Stop).find(is_over) {
        return describe_cause(&base, Verdict::Stopped, stop, &events, scans);
    }
    if let Some(effect) = of(Class::Effect).find(is_over) {
        let mut found = describe_cause(&base, Verdict::Consequence, effect, &events, scans);
        if let Some(silent) = silent(scans, &events) {
            found.why = format!("{} {silent}", found.why);
        }
        return found;
    }
    base
}

/// Returns the cause as memory that other processes hold, where the text of PyTorch's error says so.
fn held<'a>(cause: &Event<'a>) -> Option<Event<'a>> {
    let text = cause.exception.unwrap_or(&cause.place.line.text);
    if !cause.kind().starts_with("memory.") || !is_held_by_others(text) {
        return None;
    }
    let signature = signatures().iter().find(|one| one.kind == HELD)?;
    Some(Event {
        signature: Some(signature),
        ..cause.clone()
    })
}

/// Returns true if PyTorch's text about memory counts a large part of the GPU that is not its own: "GPU 0 has a total capacity of
/// 139.80 GiB of which 1.12 MiB is free. Process 1204113 has 138.91 GiB memory in use. ... this process has 0.80 GiB memory in
/// use. Of the allocated memory 0 bytes is allocated by PyTorch".
fn is_held_by_others(text: &str) -> bool {
    let after = |key: &str| gib(text.split_once(key)?.1);
    let Some(total) = after("total capacity of ") else {
        return false;
    };
    let listed = text.match_indices("Process ");
    let listed: f64 = listed
        .filter_map(|(at, _)| gib(text[at..].split_once(" has ")?.1))
        .sum();
    if text.contains("this process has ") {
        return listed > total / 16.0;
    }
    // Else the engine itself is on the list, with the memory of its context and its libraries, too.
    let own = after("Of the allocated memory ").unwrap_or(total);
    let others = listed - own;
    others > total / 4.0
}

/// Returns the GiB of a size that begins a text: `138.91 GiB`, `20.00 MiB`, `0 bytes`.
fn gib(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = words.next()?;
    let scale = match unit.get(..3)? {
        "GiB" => 1.0,
        "MiB" => 1024.0,
        "KiB" => 1_048_576.0,
        "byt" => 1_073_741_824.0,
        _ => return None,
    };
    Some(number / scale)
}

/// Returns the log of a node that complains of nothing while the others do.
fn silent(scans: &[Scan], events: &[Event<'_>]) -> Option<String> {
    if scans.len() < 2 {
        return None;
    }
    let complains = |file: usize| {
        events
            .iter()
            .any(|event| event.file == file && matches!(event.class, Class::Effect | Class::Cause))
    };
    let quiet: Vec<usize> = (0..scans.len()).filter(|file| !complains(*file)).collect();
    let [file] = quiet[..] else { return None };
    let last = scans[file].last.as_ref();
    let until = last.map_or_else(String::new, |line| format!(", which ends at {}", line.shown_time));
    Some(format!(
        "All logs complain but {}{until}: look at that node first.",
        scans[file].name
    ))
}

fn events_of(file: usize, scan: &Scan) -> Vec<Event<'_>> {
    let mut found = Vec::new();
    for signature in signatures() {
        let mut places: Vec<usize> = signature
            .any
            .iter()
            .flat_map(|texts| blocks(scan, texts, &signature.unless))
            .filter(|place| {
                let stage = scan.places[*place].stage;
                signature.during.is_empty() || stage.is_none_or(|stage| signature.during.contains(&stage))
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        found.extend(places.into_iter().map(|place| Event {
            signature: Some(signature),
            class: signature.class,
            weight: signature.weight,
            file,
            place: &scan.places[place],
            exception: None,
            frame: "",
        }));
    }
    // A line that is known to be harmless is no sign of a failure, and neither is the traceback with it.
    let notes: Vec<u64> = found
        .iter()
        .filter(|event| event.class == Class::Note)
        .flat_map(|event| {
            let number = event.number();
            let is_whole = event.signature.is_some_and(|one| one.traceback);
            let mut exceptions = scan.exceptions.iter().filter(|_| is_whole);
            let traceback = exceptions.find_map(|exception| {
                let all = scan.traceback(exception);
                all.contains(&number).then_some(all)
            });
            traceback.unwrap_or(number..=number)
        })
        .collect();
    found.retain(|event| event.class == Class::Note || !notes.contains(&event.number()));
    for event in &mut found {
        let number = event.place.number;
        let mut exceptions = scan.exceptions.iter();
        let exception = exceptions.find(|exception| scan.traceback(exception).contains(&number));
        if let Some(exception) = exception {
            event.exception = Some(&exception.text);
            event.frame = &exception.frame;
        }
    }
    let ends: Vec<u64> = found
        .iter()
        .filter(|event| matches!(event.class, Class::Effect | Class::Cause))
        .map(Event::number)
        .collect();
    let has_effects = found.iter().any(|event| event.class == Class::Effect);
    for exception in &scan.exceptions {
        let place = &scan.places[exception.place];
        let lines = scan.traceback(exception);
        let is_known = found
            .iter()
            .any(|event| event.class != Class::Note && lines.contains(&event.number()));
        let is_harmless = notes.iter().any(|note| lines.contains(note));
        let ends_it = ends
            .iter()
            .any(|end| *end > exception.number && end - exception.number <= DYING)
            || (!exception.is_alone && exception.number + DYING > scan.lines)
            || place.line.text.contains("Scheduler hit an exception");
        if is_known || is_harmless || !ends_it || (has_effects && is_consequence(&exception.text)) {
            continue;
        }
        found.push(Event {
            signature: None,
            class: Class::Cause,
            weight: 0,
            file,
            place,
            exception: Some(&exception.text),
            frame: &exception.frame,
        });
    }
    found
}

/// Returns true for an exception that only passes on that another process ended.
fn is_consequence(text: &str) -> bool {
    [
        "ConnectionResetError",
        "BrokenPipeError",
        "EOFError",
        "zmq.error",
        "ConnectionRefusedError",
        "KeyboardInterrupt",
        "SystemExit",
        "CancelledError",
    ]
    .iter()
    .any(|name| text.starts_with(name) || text.contains(&format!(".{name}")))
}

/// Returns the places of blocks that have every text and none of `unless`; each is the place of the rarest text.
fn blocks(scan: &Scan, texts: &[String], unless: &[String]) -> Vec<usize> {
    let hits = |text: &String| number_of(text).and_then(|number| scan.hits.get(number));
    let Some(mut all) = texts.iter().map(hits).collect::<Option<Vec<_>>>() else {
        return Vec::new();
    };
    all.sort_by_key(|hits| hits.len());
    let Some((rarest, others)) = all.split_first() else {
        return Vec::new();
    };
    let is_near = |place: usize, other: usize| {
        let (one, two) = (&scan.places[place], &scan.places[other]);
        one.number.abs_diff(two.number) <= BLOCK
            && one.line.origin == two.line.origin
            && (one.line.rank == two.line.rank || one.line.rank.is_none() || two.line.rank.is_none())
    };
    // A text that bars a line of a traceback is in the same one.
    let traceback = |place: usize| {
        let number = scan.places[place].number;
        let around = scan.exceptions.iter().find(|exception| {
            (scan.places[exception.place].number..=exception.number + BESIDE).contains(&number)
        });
        around.map_or((number.saturating_sub(BLOCK), number + BLOCK), |exception| {
            (scan.places[exception.place].number, exception.number + BESIDE)
        })
    };
    let is_beside = |place: usize, other: usize| {
        let (begin, end) = traceback(place);
        is_near(place, other) && (begin..=end).contains(&scan.places[other].number)
    };
    let has_near = |place: usize, hits: &Vec<usize>| hits.iter().any(|other| is_near(place, *other));
    let barred: Vec<&Vec<usize>> = unless.iter().filter_map(hits).collect();
    rarest
        .iter()
        .copied()
        .filter(|place| others.iter().all(|hits| has_near(*place, hits)))
        .filter(|place| {
            !barred
                .iter()
                .any(|hits| hits.iter().any(|other| is_beside(*place, *other)))
        })
        .collect()
}

/// Orders findings by time where every log has the engine's stamps, else by line.
fn order(events: &mut [Event<'_>], has_many: bool) {
    if has_many {
        events.sort_by_key(|event| {
            let seconds = event.seconds().unwrap_or(i64::MAX);
            (seconds, event.file, event.number())
        });
    } else {
        events.sort_by_key(Event::number);
    }
}

/// Returns the most special of the causes that are about the same failure as the first one.
fn most_special<'a, 'b>(first: &'b Event<'a>, causes: &[&'b Event<'a>]) -> &'b Event<'a> {
    let is_same = |event: &&&Event<'_>| {
        let ranks = (&event.place.line.rank, &first.place.line.rank);
        let is_rank = ranks.0 == ranks.1 || ranks.0.is_none() || ranks.1.is_none();
        let is_line = event.number().abs_diff(first.number()) <= SAME_LINES;
        let is_time = match (event.seconds(), first.seconds()) {
            (Some(one), Some(two)) => (one - two).abs() <= SAME_SECONDS,
            _ => true,
        };
        event.file == first.file && is_rank && is_line && is_time
    };
    // A message tells more than the names of functions on the way to it.
    let special = |event: &&&Event<'_>| (event.weight, !event.is_frame());
    let most = causes.iter().filter(is_same).map(|event| special(&event)).max();
    causes
        .iter()
        .filter(is_same)
        .find(|event| Some(special(event)) == most)
        .copied()
        .unwrap_or(first)
}

fn describe_cause(
    base: &Diagnosis,
    verdict: Verdict,
    cause: &Event<'_>,
    events: &[Event<'_>],
    scans: &[Scan],
) -> Diagnosis {
    let arguments = scans
        .iter()
        .map(|scan| &scan.arguments)
        .find(|found| !found.is_empty());
    let arguments = arguments.map_or(&[][..], Vec::as_slice);
    let fill = |text: &String| filled(text, arguments);
    let (why, fix) = match cause.signature {
        Some(one) => (one.why.clone(), one.fix.iter().filter_map(fill).collect()),
        None => (
            if cause.frame.is_empty() {
                "No signature of dsr1 fits it.".to_owned()
            } else {
                format!("No signature of dsr1 fits it. It was raised in {}.", cause.frame)
            },
            vec!["search the issues of SGLang for the text of the exception".to_owned()],
        ),
    };
    let mut others: Vec<Other> = Vec::new();
    for event in events {
        let is_listed = others.iter().any(|other| other.kind == event.kind()) || event.kind() == cause.kind();
        let is_same_place = event.file == cause.file
            && event.class == Class::Cause
            && (event.number() == cause.number()
                || (event.exception.is_some() && event.exception == cause.exception));
        if event.class == Class::Note || is_listed || is_same_place || others.len() == MOST_OTHERS {
            continue;
        }
        others.push(Other {
            kind: event.kind().to_owned(),
            title: event.title(),
            why_not: why_not(event, cause, scans),
            evidence: event.evidence(scans),
        });
    }
    let mut evidence = cause.evidence(scans);
    if let Some(rank) = rank_of(cause, events) {
        evidence.rank = Some(rank);
    }
    Diagnosis {
        verdict,
        kind: cause.kind().to_owned(),
        title: cause.title(),
        why,
        exception: cause.exception.map(|text| redact_certain(text).into_owned()),
        fix,
        evidence: Some(evidence),
        others,
        ..base.clone()
    }
}

/// Returns the rank of the engine that the cause belongs to: that of its own line, or of the next line of the same failure that
/// has one. A library names a GPU of its node at most.
fn rank_of(cause: &Event<'_>, events: &[Event<'_>]) -> Option<String> {
    let is_engines = |rank: &String| !rank.starts_with("GPU ");
    if cause.place.line.rank.as_ref().is_some_and(is_engines) {
        return None;
    }
    let gpu = cause
        .place
        .line
        .rank
        .as_deref()
        .and_then(|rank| rank.strip_prefix("GPU "));
    let later = events.iter().filter(|event| {
        event.file == cause.file
            && event.class == Class::Cause
            && event.number() >= cause.number()
            && event.number() - cause.number() <= SAME_LINES
    });
    let ranks = later
        .filter_map(|event| event.place.line.rank.as_ref())
        .filter(|rank| is_engines(rank));
    let last = |text: &str| -> Option<u64> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        text[digits..].parse().ok()
    };
    let fits = |rank: &&String| match (gpu.and_then(last), last(rank)) {
        (Some(gpu), Some(rank)) => rank % GPUS_OF_NODE == gpu,
        _ => true,
    };
    let mut ranks = ranks.filter(fits);
    ranks.next().cloned()
}

/// Returns the reason why a finding is not the cause.
fn why_not(event: &Event<'_>, cause: &Event<'_>, scans: &[Scan]) -> String {
    if scans[event.file].worked_after(event.number()) {
        return "the engine worked on after it".to_owned();
    }
    match event.class {
        Class::Effect => return "it follows from a failure".to_owned(),
        Class::Stop => return "an end that was asked for".to_owned(),
        Class::Cause | Class::Note => {}
    }
    let later = match (event.seconds(), cause.seconds()) {
        (Some(one), Some(two)) if one > two => format!("{} s later", one - two),
        _ if event.file == cause.file && event.number() > cause.number() => {
            format!("{} lines later", event.number() - cause.number())
        }
        _ if event.file != cause.file => "in another log".to_owned(),
        _ => "before it".to_owned(),
    };
    if event.weight < cause.weight {
        format!("{later}, and more general")
    } else {
        later
    }
}

/// Returns a remedy with the values of the server's arguments. A part in parentheses without its value is left out; `None` if
/// a value outside of them is missing.
fn filled(text: &str, arguments: &[(String, String)]) -> Option<String> {
    let mut text = text.to_owned();
    for (name, value) in arguments {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    while let Some(at) = text.find('{') {
        let begin = text[..at].rfind(" (")?;
        let end = at + text[at..].find(')')?;
        text.replace_range(begin..=end, "");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_other_processes_is_told_from_the_engines_own() {
        let begin = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.80 GiB of which 16.75 MiB is free.";
        for (rest, expected) in [
            (
                "Process 1906 has 137.20 GiB memory in use. Including non-PyTorch memory, this process has 2.57 GiB memory in use.",
                true,
            ),
            (
                "Process 1906 has 3.20 GiB memory in use. Including non-PyTorch memory, this process has 136.57 GiB memory in use.",
                false,
            ),
            (
                "Including non-PyTorch memory, this process has 139.57 GiB memory in use. Of the allocated memory 130.00 GiB is allocated by PyTorch",
                false,
            ),
            (
                "Process 1204113 has 138.91 GiB memory in use. Process 1311842 has 888.00 MiB memory in use. Of the allocated memory 0 bytes is allocated by PyTorch, and 0 bytes is reserved by PyTorch but unallocated.",
                true,
            ),
            (
                "Process 42 has 139.70 GiB memory in use. Of the allocated memory 128.91 GiB is allocated by PyTorch, and 1.20 GiB is reserved by PyTorch but unallocated.",
                false,
            ),
        ] {
            assert_eq!(is_held_by_others(&format!("{begin} {rest}")), expected, "{rest}");
        }
        assert!(!is_held_by_others("CUDA out of memory"));
    }

    #[test]
    fn an_exception_without_its_traceback_is_found_before_the_end_of_the_engine() {
        let log = [
            "[2026-11-29 19:10:01 TP0] Load weight begin.",
            "AttributeError: module 'a.b' has no attribute 'c'. Did you mean: 'd'?",
            "",
            "[2026-11-29 19:10:02] Received sigquit from a child process. It usually means the child failed.",
        ];
        let found = crate::diagnose::diagnose("a", log);
        assert_eq!((found.verdict, found.kind.as_str()), (Verdict::Failure, UNKNOWN));
        assert!(found.exception.unwrap().starts_with("AttributeError: module"));
        // A warning of a healthy start.
        let found = crate::diagnose::diagnose("a", log[..2].iter().copied());
        assert_eq!(found.verdict, Verdict::NoFailure);
    }

    #[test]
    fn a_remedy_has_the_values_of_the_server() {
        let arguments = [("fraction".to_owned(), "0.88".to_owned())];
        assert_eq!(
            filled("lower it (now {fraction}) by 0.02", &arguments).as_deref(),
            Some("lower it (now 0.88) by 0.02")
        );
        assert_eq!(
            filled("lower it (now {fraction}) by 0.02", &[]).as_deref(),
            Some("lower it by 0.02")
        );
        assert_eq!(filled("stop what holds port {port}", &[]), None);
    }
}
