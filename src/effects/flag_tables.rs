//! SGLang's own parsers, run inside an image or a venv.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::effects::process::command;
use crate::error::{At, Error, Kind, Result};
use crate::plan::EngineSource;
use crate::sglang::flags::{EXTRACTOR, Extract, Parser, TABLE_SCHEMA};
use crate::sglang::resolve::{Answer, RESOLVED_SCHEMA, RESOLVER, TorchGpu};

/// Longest run of the parsers: importing torch alone takes half a minute on a cold disk.
const LIMIT: Duration = Duration::from_mins(5);

/// The verdict of an SGLang's own parser about command lines.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Accepts {
    /// Its version.
    pub sglang: String,
    /// One entry for each command line: the complaint, if the parser refuses it.
    pub complaints: Vec<Option<String>>,
}

/// A GPU and a checkpoint, and command lines to resolve for them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolveRequest {
    /// The GPU; `None` for a CPU.
    pub gpu: Option<TorchGpu>,
    /// Files of the model's folder by name: `config.json`, and `hf_quant_config.json` if there is one.
    pub files: BTreeMap<String, String>,
    /// The words of each line behind the program; `{model}` stands for the model's folder.
    pub lines: Vec<Vec<String>>,
}

/// The answers of an SGLang to command lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolutions {
    /// Its version.
    pub sglang: String,
    /// Packages of kernels that had a stand-in.
    pub stood_in: Vec<String>,
    /// One answer for each line.
    pub answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct ResolverOutput {
    schema: String,
    sglang: String,
    stood_in: Vec<String>,
    machines: Vec<Vec<Answer>>,
}

impl Effects {
    /// Runs the extractor beside that SGLang and returns the table that it prints.
    ///
    /// # Errors
    /// [`Kind::Docker`] or [`Kind::Host`] when it cannot run; [`Kind::Integrity`] when its output is not a table.
    pub async fn extract_flags(&self, source: &EngineSource, parser: Parser) -> Result<Extract> {
        let which = match parser {
            Parser::Server => "server",
            Parser::Bench => "bench",
        };
        let output = self.extractor(source, &[which]).await?;
        let extract: Extract = serde_json::from_slice(&output)
            .at(Kind::Integrity, || "cannot read the options of SGLang".to_owned())?;
        if extract.schema == TABLE_SCHEMA && extract.parser == parser {
            return Ok(extract);
        }
        Err(Error::new(
            Kind::Integrity,
            format!(
                "the options of SGLang have the unknown schema `{}`",
                extract.schema.escape_debug()
            ),
        ))
    }

    /// Lets the server's own parser of that SGLang read command lines; returns its version and its verdict about each.
    ///
    /// # Errors
    /// As [`Effects::extract_flags`].
    pub async fn parse_command_lines(&self, source: &EngineSource, lines: &[Vec<String>]) -> Result<Accepts> {
        let lines_json =
            serde_json::to_string(lines).at(Kind::Internal, || "cannot write arguments".to_owned())?;
        let output = self
            .extractor(source, &["accepts", "--lines", &lines_json])
            .await?;
        let accepts: Accepts = serde_json::from_slice(&output).at(Kind::Integrity, || {
            "cannot read the verdict of SGLang's parser".to_owned()
        })?;
        if accepts.complaints.len() == lines.len() {
            return Ok(accepts);
        }
        Err(Error::new(
            Kind::Integrity,
            "SGLang's parser did not answer for every command line",
        ))
    }

    /// Lets that SGLang resolve command lines for a GPU and a checkpoint; returns its version and an answer for each line.
    ///
    /// # Errors
    /// As [`Effects::extract_flags`].
    pub async fn resolve_command_lines(
        &self,
        source: &EngineSource,
        request: &ResolveRequest,
    ) -> Result<Resolutions> {
        let request_json = serde_json::json!({ "machines": [request] }).to_string();
        let output = self
            .run_python(source, RESOLVER, &["--request", &request_json])
            .await?;
        let unreadable = || "cannot read what SGLang makes of the arguments".to_owned();
        let mut answer: ResolverOutput = serde_json::from_slice(&output).at(Kind::Integrity, unreadable)?;
        let answers = answer.machines.pop().unwrap_or_default();
        if answer.schema == RESOLVED_SCHEMA && answers.len() == request.lines.len() {
            return Ok(Resolutions {
                sglang: answer.sglang,
                stood_in: answer.stood_in,
                answers,
            });
        }
        Err(Error::new(Kind::Integrity, unreadable()))
    }

    async fn extractor(&self, source: &EngineSource, args: &[&str]) -> Result<Vec<u8>> {
        self.run_python(source, EXTRACTOR, args).await
    }

    /// Runs a program beside that SGLang and returns what it prints.
    async fn run_python(&self, source: &EngineSource, program: &str, args: &[&str]) -> Result<Vec<u8>> {
        let (EngineSource::Image { python, .. } | EngineSource::Venv { python, .. }) = source;
        let words: Vec<&str> = [python, "-c", program]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        match source {
            EngineSource::Image { image, .. } => {
                let owned: Vec<String> = words.into_iter().map(str::to_owned).collect();
                Box::pin(self.docker().await?.run_once(image, &owned)).await
            }
            EngineSource::Venv { variables, .. } => {
                command::capture(self.env(), &words, variables, LIMIT).await
            }
        }
    }
}
