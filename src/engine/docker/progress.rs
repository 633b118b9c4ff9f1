//! What a build in the daemon says: its steps, their output, the image, the error.
//!
//! The answer to `/build` is JSON messages, one a line. `BuildKit`'s are `moby.buildkit.trace`, a protobuf
//! `StatusResponse` in base64; the other kinds name the image or an error. Not in this module: asking for the build.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;

use super::errors;
use crate::engine::lines::Lines;
use crate::error::{Error, Kind};
use crate::event::{Source, StepEvents};
use crate::plan::BuildImage;

/// Lines of the failing step that are shown.
const SHOWN: usize = 30;
/// Longest message; the daemon's are a few MB at most.
const MESSAGE: usize = 64 << 20;

/// One message of the stream.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: String,
    #[serde(default)]
    aux: Value,
    #[serde(default)]
    error: Option<String>,
}

/// What a build printed, by step.
#[derive(Default)]
pub(super) struct BuildLog {
    unread: Vec<u8>,
    /// What the daemon says is wrong.
    error: Option<String>,
    named: BTreeSet<String>,
    lines: BTreeMap<String, Vec<String>>,
    partial: BTreeMap<String, Lines>,
    failing: Option<String>,
    last: String,
}

impl BuildLog {
    /// Takes bytes of the answer. `Err` is the daemon's word that the build failed.
    pub(super) fn take(&mut self, bytes: &[u8], events: &StepEvents<'_>) -> Result<(), String> {
        self.unread.extend_from_slice(bytes);
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            self.message(&line, events);
        }
        if self.unread.len() > MESSAGE {
            return Err(format!("it sends a message of more than {MESSAGE} bytes"));
        }
        self.error.clone().map_or(Ok(()), Err)
    }

    fn message(&mut self, line: &[u8], events: &StepEvents<'_>) {
        let Ok(message) = serde_json::from_slice::<Message>(line) else {
            return;
        };
        if let Some(error) = message.error {
            self.error = Some(error);
        } else if message.id == "moby.buildkit.trace"
            && let Some(text) = message.aux.as_str()
            && let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text)
            && let Ok(status) = StatusResponse::decode(bytes.as_slice())
        {
            self.status(status, events);
        }
    }

    fn status(&mut self, status: StatusResponse, events: &StepEvents<'_>) {
        for vertex in &status.vertexes {
            // BuildKit reports a step when it is planned, when it starts and when it ends: named at its start.
            if vertex.started.is_some() && self.named.insert(vertex.digest.clone()) {
                let cached = if vertex.cached { "cached " } else { "" };
                events.line(Source::Build, &format!("{cached}{}", vertex.name));
            }
            if !vertex.error.is_empty() && !vertex.error.contains("context canceled") {
                self.failing = Some(vertex.digest.clone());
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

    /// Hands on what a step printed last without ending the line.
    fn finish(&mut self, digest: &str, events: &StepEvents<'_>) {
        if let Some(mut partial) = self.partial.remove(digest) {
            let kept = self.lines.entry(digest.to_owned()).or_default();
            partial.finish(&mut |line| {
                events.line(Source::Build, line);
                kept.push(line.to_owned());
            });
        }
    }

    /// The last lines of the step that failed, else of the one that printed last.
    pub(super) fn tail(&self) -> Vec<String> {
        let digest = self.failing.as_ref().unwrap_or(&self.last);
        self.lines.get(digest).cloned().unwrap_or_default()
    }

    /// The error of a build that ended so, with the log of the step that failed.
    pub(super) fn failed(
        &mut self,
        step: &BuildImage,
        said_by_daemon: &str,
        events: &StepEvents<'_>,
    ) -> Error {
        let open: Vec<String> = self.partial.keys().cloned().collect();
        for digest in open {
            self.finish(&digest, events);
        }
        let tail = self.tail();
        let said = |text: &str| tail.iter().any(|line| line.contains(text));
        let report = errors::said(&format!("cannot build {}", step.tag), said_by_daemon);
        let report = if said("No space left on device") {
            Error::new(Kind::Host, format!("cannot build {}", step.tag))
                .cause("the disk filled up")
                .hint("docker system df shows what takes the space")
        } else if said("CERTIFICATE_VERIFY_FAILED") || said("SSLError") {
            report
                .hint("set PIP_CERT to your site's CA bundle: it is used in the build and stays in no layer")
        } else if said("Temporary failure") || said("Failed to establish") || said("Could not resolve") {
            report.hint(
                "the build has no way to the package index: check the network and proxy of the Docker host",
            )
        } else {
            report
        };
        report.log(tail)
    }
}
