//! SGLang's own parsers, asked inside an image or a venv what they accept.
//!
//! Not in this module: comparing the answer (`profile::flags`).

use std::time::Duration;

use super::{Engine, command};
use crate::error::{At, Error, Kind, Result};
use crate::profile::flags::{EXTRACTOR, Extract, Parser, TABLE_SCHEMA};

/// Time for importing SGLang: torch alone takes half a minute on a cold disk.
const LIMIT: Duration = Duration::from_mins(5);

/// Where an SGLang is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagSource {
    /// In an image.
    Image {
        /// Tag or id.
        image: String,
        /// Python inside it.
        python: String,
    },
    /// In a venv on this host.
    Venv {
        /// Its Python.
        python: String,
    },
}

impl Engine {
    /// Runs the extractor beside that SGLang and returns the table it prints.
    ///
    /// # Errors
    /// [`Kind::Docker`] or [`Kind::Host`] when it cannot run; [`Kind::Integrity`] when it prints no table.
    pub async fn extract_flags(&self, source: &FlagSource, parser: Parser) -> Result<Extract> {
        let which = match parser {
            Parser::Server => "server",
            Parser::Bench => "bench",
        };
        let output = match source {
            FlagSource::Image { image, python } => {
                let argv = [python, "-c", EXTRACTOR, which].map(str::to_owned);
                self.docker().await?.run_once(image, &argv).await?
            }
            FlagSource::Venv { python } => {
                command::capture(self.env(), &[python, "-c", EXTRACTOR, which], LIMIT).await?
            }
        };
        let extract: Extract = serde_json::from_slice(&output)
            .at(Kind::Integrity, || "SGLang's options are not readable".to_owned())?;
        if extract.schema == TABLE_SCHEMA && extract.parser == parser {
            return Ok(extract);
        }
        Err(Error::new(
            Kind::Integrity,
            format!("SGLang's options have schema `{}`", extract.schema.escape_debug()),
        ))
    }
}
