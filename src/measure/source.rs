//! The source of the prompts of a load, and the form in which they are sent.

use serde::{Deserialize, Serialize};

use crate::choice::choices;
use crate::measure::api::Api;

choices! {
    /// The form of prompts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    PromptForm {
        /// Ids of tokens: the server computes exactly these, and its tokenizer has nothing to do.
        #[default]
        Ids = "ids", "ids of tokens: the server's tokenizer has nothing to do";
        /// Text, which the server tokenizes.
        Text = "text", "text, which the server tokenizes, as that of its users";
    }
}

impl PromptForm {
    /// Returns the form that prompts of an API have unless the user says otherwise: ids where it takes them.
    #[must_use]
    pub const fn of(api: Api) -> Self {
        match api {
            Api::Generate | Api::Completions => Self::Ids,
            Api::Chat => Self::Text,
        }
    }
}

/// The source of the prompts of a load.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptSource {
    /// The form in which they are sent.
    pub form: PromptForm,
    /// File of the model's tokenizer, or its folder; `None` for that of the server's own model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// The file that prompts are of; `None` for random ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PromptFile>,
}

/// A file with prompts, or with the lengths and times of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptFile {
    /// Prompts.
    Data {
        /// Path on this host.
        path: String,
        /// True to use the prompts again when all were used.
        repeats: bool,
    },
    /// A trace: lengths and times, and which requests share tokens.
    Trace {
        /// Path on this host.
        path: String,
    },
}

impl PromptFile {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Data { path, .. } | Self::Trace { path } => path,
        }
    }
}

impl PromptSource {
    /// Returns true for ids of random tokens, which a plan need not name.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
