//! The sorts of secrets, their counts, and the text in their place.

use std::collections::BTreeMap;

/// The text in place of a secret.
pub const MARK: &str = "***";
/// Sorts of the text that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// A key of the engine: `api_key`, `admin_api_key`, `ssl_keyfile_password` (SGLang 0.5.23, `server_args.py`).
    EngineKey,
    /// The value of a header that logs in.
    Header,
    /// The user and the password of a URL.
    UrlLogin,
    /// A parameter of a signed URL.
    SignedUrl,
    /// A token or key that is known by its form: Hugging Face, GitHub, AWS, NVIDIA, `sk-...`, a JSON web token.
    Token,
    /// A private key in PEM.
    PrivateKey,
    /// A value whose name says that it is secret.
    Variable,
    /// A value that this dsr1 uses as a secret.
    Known,
    /// A prompt and its answer, in a log with `--log-requests`.
    Prompt,
    /// The home directory, the host's name or the user's name.
    Name,
}

impl Sort {
    /// All sorts, the most certain first.
    pub const ALL: [Self; 10] = [
        Self::EngineKey,
        Self::Header,
        Self::UrlLogin,
        Self::SignedUrl,
        Self::Token,
        Self::PrivateKey,
        Self::Variable,
        Self::Known,
        Self::Prompt,
        Self::Name,
    ];

    /// Returns the sort in words, in the plural.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::EngineKey => "keys of the engine",
            Self::Header => "headers that log in",
            Self::UrlLogin => "logins in URLs",
            Self::SignedUrl => "parameters of signed URLs",
            Self::Token => "tokens",
            Self::PrivateKey => "private keys",
            Self::Variable => "values of secret variables",
            Self::Known => "values that dsr1 uses as secrets",
            Self::Prompt => "prompts and answers",
            Self::Name => "names of the host, the user and the home directory",
        }
    }

    /// Returns the name of the sort in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EngineKey => "engine_key",
            Self::Header => "header",
            Self::UrlLogin => "url_login",
            Self::SignedUrl => "signed_url",
            Self::Token => "token",
            Self::PrivateKey => "private_key",
            Self::Variable => "variable",
            Self::Known => "known",
            Self::Prompt => "prompt",
            Self::Name => "name",
        }
    }
}

/// Number of replacements of each sort.
pub type Counts = BTreeMap<Sort, u64>;

/// Counts a replacement.
pub(super) fn count(counts: &mut Counts, sort: Sort) {
    *counts.entry(sort).or_default() += 1;
}

/// The form of a value in the line after its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The first word.
    Word(Sort),
    /// The value of `value:`.
    Field(Sort),
}
