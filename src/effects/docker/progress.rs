//! The messages of a build in the daemon: its steps, their output, the image, the error.
//!
//! The answer to `/build` is JSON messages, one in each line. `BuildKit`'s are `moby.buildkit.trace`, a protobuf
//! `StatusResponse` in base64; the other kinds name the image or an error.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use base64::Engine as _;
use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;

use crate::effects::docker::errors;
use crate::effects::lines::Splitter;
use crate::error::{Error, Kind};
use crate::event::{BuildState, Source, StepEvents};
use crate::plan::BuildImage;

/// Lines of the failing step that are shown.
const SHOWN: usize = 30;
/// Largest message; those of the daemon have a few MB at most.
const MESSAGE: usize = 64 << 20;

/// A text that a failing step prints, with its cause and its fix.
struct Signature {
    /// Any of these is in the step's log or in the daemon's message.
    texts: &'static [&'static str],
    kind: Kind,
    cause: &'static str,
    hint: &'static str,
}

impl Signature {
    fn fits(&self, output: &str) -> bool {
        self.texts.iter().any(|text| output.contains(text))
    }
}

/// The first that fits counts.
const SIGNATURES: [Signature; 8] = [
    Signature {
        texts: &["No space left on device", "no space left on device"],
        kind: Kind::Host,
        cause: "the disk filled up",
        hint: "docker system df shows what takes the space",
    },
    Signature {
        texts: &["DO NOT MATCH THE HASHES"],
        kind: Kind::Integrity,
        cause: "the index served another file than the stack names",
        hint: "ask the administrator of the index, or take the packages from a directory: --wheels DIR",
    },
    Signature {
        texts: &[
            "exit code: 137",
            "returned a non-zero code: 137",
            "Killed signal terminated program",
            ": Killed",
        ],
        kind: Kind::Host,
        cause: "a process of the step was killed, most likely because memory ran out",
        hint: "nvcc takes 3 to 8 GiB for each job: build on a host with more memory, or leave out --flashinfer aot",
    },
    Signature {
        texts: &[
            "Unsupported gpu architecture",
            "Unknown CUDA arch",
            "nvcc fatal   : Value 'sm_",
        ],
        kind: Kind::Docker,
        cause: "the base's CUDA cannot compile for these GPUs",
        hint: "dsr1 stacks list shows the CUDA version of each stack",
    },
    Signature {
        texts: &["exec format error", "Exec format error"],
        kind: Kind::Host,
        cause: "the base image is for another architecture than this host",
        hint: "build on a host of that architecture, or name an image for this one with --base-image",
    },
    Signature {
        texts: &[
            "CERTIFICATE_VERIFY_FAILED",
            "SSLError",
            "server certificate verification failed",
        ],
        kind: Kind::Hub,
        cause: "the certificate of an index is not trusted in the build",
        hint: "set PIP_CERT, or `cert` in pip's configuration, to your site's CA bundle: the build uses it, and no layer keeps it",
    },
    Signature {
        texts: &[
            "Temporary failure",
            "Failed to establish",
            "Could not resolve",
            "Network is unreachable",
            "Failed to fetch",
        ],
        kind: Kind::Hub,
        cause: "the build cannot reach a package index",
        hint: "check the network and the proxy of the Docker host; --wheels DIR needs no Python index",
    },
    Signature {
        texts: &["No matching distribution found"],
        kind: Kind::Hub,
        cause: "pip found a package that the stack pins in none of its indexes",
        hint: "a mirror may be out of date; name another index with --secret pip_conf=FILE (PIP_INDEX_URL does not reach the build)",
    },
];

/// One message of the stream.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: String,
    #[serde(default)]
    aux: Value,
    #[serde(default)]
    error: Option<String>,
    /// Output of the classic builder.
    #[serde(default)]
    stream: Option<String>,
}

/// The output of a build, by step.
#[derive(Default)]
pub(super) struct BuildLog {
    unread: Vec<u8>,
    /// The error of the daemon.
    error: Option<String>,
    /// Steps that began, and those that ended.
    begun: BTreeSet<String>,
    ended: BTreeSet<String>,
    /// The running step of the classic builder: name, start, and true if it came from the cache.
    running: Option<(String, Instant, bool)>,
    /// The beginnings of the ids of the images that the classic builder made or took from its cache.
    made: Vec<String>,
    lines: BTreeMap<String, Vec<String>>,
    partial: BTreeMap<String, Splitter>,
    failing: Option<String>,
    last: String,
}

impl BuildLog {
    /// Reads bytes of the answer. `Err` is the daemon's message that the build failed.
    pub(super) fn read_bytes(&mut self, bytes: &[u8], events: &StepEvents<'_>) -> Result<(), String> {
        self.unread.extend_from_slice(bytes);
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            self.message(&line, events);
        }
        if self.unread.len() > MESSAGE {
            return Err(format!("the daemon sent a message of more than {MESSAGE} bytes"));
        }
        self.error.clone().map_or(Ok(()), Err)
    }

    fn message(&mut self, line: &[u8], events: &StepEvents<'_>) {
        let Ok(message) = serde_json::from_slice::<Message>(line) else {
            return;
        };
        if let Some(error) = message.error {
            self.error = Some(error);
        } else if let Some(text) = message.stream {
            self.classic(&text, events);
        } else if message.id == "moby.buildkit.trace"
            && let Some(text) = message.aux.as_str()
            && let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text)
            && let Ok(status) = StatusResponse::decode(bytes.as_slice())
        {
            self.status(status, events);
        }
    }

    /// Reports a step of `BuildKit`, which announces each when it is planned, when it starts and when it ends. A planned
    /// step is not reported.
    fn vertex(&mut self, vertex: &Vertex, events: &StepEvents<'_>) {
        let Some(started) = &vertex.started else { return };
        let name = vertex.name.split_whitespace().collect::<Vec<_>>().join(" ");
        if self.begun.insert(vertex.digest.clone()) {
            let state = if vertex.cached {
                BuildState::Cached
            } else {
                BuildState::Started
            };
            events.build_step(&name, state, 0);
        }
        if let Some(completed) = vertex.completed.as_ref().filter(|_| !vertex.cached)
            && self.ended.insert(vertex.digest.clone())
        {
            let nanos = |time: &Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
            let elapsed = u64::try_from((nanos(completed) - nanos(started)) / 1_000_000).unwrap_or(0);
            let failed = !vertex.error.is_empty();
            self.finish(&vertex.digest, events);
            events.build_step(
                &name,
                if failed {
                    BuildState::Failed
                } else {
                    BuildState::Done
                },
                elapsed,
            );
        }
    }

    /// Reports output of the classic builder, whose steps run one after the other: only the current one's is kept.
    fn classic(&mut self, text: &str, events: &StepEvents<'_>) {
        if text.starts_with("Step ") {
            self.lines.clear();
            self.step_ended(events);
            let name = text.trim_end().to_owned();
            events.build_step(&name, BuildState::Started, 0);
            self.running = Some((name, Instant::now(), false));
            return;
        }
        self.made.extend(made(text).map(str::to_owned));
        if text.contains("---> Using cache")
            && let Some((_, _, cached)) = &mut self.running
        {
            *cached = true;
        }
        let kept = self.lines.entry(String::new()).or_default();
        self.partial
            .entry(String::new())
            .or_default()
            .push(text.as_bytes(), &mut |line| {
                events.line(Source::Build, line);
                kept.push(line.to_owned());
            });
        let excess = kept.len().saturating_sub(SHOWN);
        kept.drain(..excess);
    }

    /// Returns true for the id of an image, `sha256:...`, that a step of the classic builder made or took from its cache.
    pub(super) fn has_made(&self, id: &str) -> bool {
        let id = id.trim_start_matches("sha256:");
        self.made.iter().any(|made| id.starts_with(made))
    }

    /// Reports the end of the running step: the classic builder announces only beginnings.
    pub(super) fn step_ended(&mut self, events: &StepEvents<'_>) {
        if let Some((name, since, cached)) = self.running.take() {
            let elapsed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let state = if cached {
                BuildState::Cached
            } else {
                BuildState::Done
            };
            events.build_step(&name, state, elapsed);
        }
    }

    fn status(&mut self, status: StatusResponse, events: &StepEvents<'_>) {
        for vertex in &status.vertexes {
            self.vertex(vertex, events);
            if !vertex.error.is_empty() && !vertex.error.contains("context canceled") {
                self.failing = Some(vertex.digest.clone());
            }
        }
        // Bytes that are fetched, unpacked or exported.
        for part in &status.statuses {
            if let (Ok(current @ 1..), Ok(total @ 1..)) =
                (u64::try_from(part.current), u64::try_from(part.total))
            {
                events.progress(current.min(total), Some(total), &part.id);
            }
        }
        for piece in status.logs {
            let kept = self.lines.entry(piece.vertex.clone()).or_default();
            self.partial
                .entry(piece.vertex.clone())
                .or_default()
                .push(&piece.msg, &mut |line| {
                    events.line(Source::Build, line);
                    kept.push(line.to_owned());
                });
            let excess = kept.len().saturating_sub(SHOWN);
            kept.drain(..excess);
            self.last = piece.vertex;
        }
        for vertex in status.vertexes.iter().filter(|vertex| vertex.completed.is_some()) {
            self.finish(&vertex.digest, events);
        }
    }

    /// Reports the last line of a step, which has no line end.
    fn finish(&mut self, digest: &str, events: &StepEvents<'_>) {
        if let Some(mut partial) = self.partial.remove(digest) {
            let kept = self.lines.entry(digest.to_owned()).or_default();
            partial.finish(&mut |line| {
                events.line(Source::Build, line);
                kept.push(line.to_owned());
            });
        }
    }

    /// Returns the last lines of the step that failed, else of the step that printed last.
    pub(super) fn tail(&self) -> Vec<String> {
        let digest = self.failing.as_ref().unwrap_or(&self.last);
        self.lines.get(digest).cloned().unwrap_or_default()
    }

    /// Returns the error of a failed build, with the log of the step that failed.
    pub(super) fn failed(&mut self, step: &BuildImage, message: &str, events: &StepEvents<'_>) -> Error {
        let open: Vec<String> = self.partial.keys().cloned().collect();
        for digest in open {
            self.finish(&digest, events);
        }
        let tail = self.tail();
        let mut report = errors::of_message(&format!("cannot build {}", step.tag), message);
        let whole = format!("{}\n{message}", tail.join("\n"));
        if let Some(signature) = SIGNATURES.iter().find(|one| one.fits(&whole)) {
            report = report
                .with_kind(signature.kind)
                .cause(signature.cause)
                .hint(signature.hint);
        }
        report.log(tail)
    }
}

/// Returns the beginning of an image's id in a message of the classic builder, such as ` ---> 0123456789ab`.
fn made(text: &str) -> Option<&str> {
    let id = text.trim().strip_prefix("---> ")?;
    (id.len() >= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_of_a_classic_build_are_read_from_its_messages() {
        assert_eq!(made(" ---> 0123456789ab\n"), Some("0123456789ab"));
        for text in [
            " ---> Running in 0123456789ab\n",
            " ---> Using cache\n",
            " ---> 0123\n",
            "0123456789ab",
        ] {
            assert_eq!(made(text), None, "{text}");
        }
    }

    fn kind(output: &str) -> Option<Kind> {
        SIGNATURES.iter().find(|one| one.fits(output)).map(|one| one.kind)
    }

    #[test]
    fn the_cause_of_a_failed_step_is_read_from_its_output() {
        for (output, expected) in [
            (
                "ninja: build stopped\nnvcc error : 'cicc' died due to signal 9\nprocess did not complete: exit code: 137",
                Kind::Host,
            ),
            (
                "c++: fatal error: Killed signal terminated program cc1plus",
                Kind::Host,
            ),
            (
                "nvcc fatal   : Unsupported gpu architecture 'compute_100a'",
                Kind::Docker,
            ),
            (
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
                Kind::Integrity,
            ),
            (
                "standard_init_linux.go:228: exec user process caused: exec format error",
                Kind::Host,
            ),
            (
                "fatal: unable to access 'https://h/': server certificate verification failed.",
                Kind::Hub,
            ),
            (
                "Err:1 http://h bookworm InRelease\n  Temporary failure resolving 'h'",
                Kind::Hub,
            ),
            ("OSError: [Errno 28] No space left on device", Kind::Host),
            ("ERROR: No matching distribution found for six==99", Kind::Hub),
        ] {
            assert_eq!(kind(output), Some(expected), "{output}");
        }
        assert_eq!(kind("exit code: 1"), None);
    }
}
