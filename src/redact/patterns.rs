//! The patterns of secrets, made once.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

/// Texts without which a line has no certain secret. Letter case does not count.
const SIGNS: [&str; 35] = [
    "dsr1-",
    "api_key",
    "api-key",
    "keyfile_password",
    "keyfile-password",
    "hf_",
    "api_org_",
    "bearer",
    "authorization",
    "cookie",
    "auth-token",
    "://",
    ":\\/\\/",
    "x-amz-",
    "x-goog-",
    "key-pair-id",
    "awsaccesskeyid",
    "akia",
    "asia",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
    "eyj",
    "sk-",
    "nvapi-",
    "signature",
    "sig=",
    "policy=",
    "?token=",
    "&token=",
];

/// Texts without which a line has no value that is secret by its name, and no option with a secret.
const HINTS: [&str; 7] = [
    "key",
    "token",
    "secret",
    "passw",
    "passphrase",
    "credential",
    "auth",
];

/// Patterns of secrets and of their places.
#[derive(Debug)]
pub(super) struct Patterns {
    /// A sign of a certain secret.
    pub(super) signs: AhoCorasick,
    /// A sign of a secret by name.
    pub(super) hints: AhoCorasick,
    /// A name, the quote after it, and the sign between it and its value.
    pub(super) assignment: Regex,
    /// The name of a header that logs in, and all up to its value.
    pub(super) header: Regex,
    /// A bearer token.
    pub(super) bearer: Regex,
    /// An option with a secret, and all up to its value.
    pub(super) option: Regex,
    /// The begin of a URL, after its scheme.
    pub(super) url: Regex,
    /// A parameter of a signed URL, and the sign before its value.
    pub(super) parameter: Regex,
    /// A token that is known by its form.
    pub(super) token: Regex,
    /// The first line of a private key.
    pub(super) key_begin: Regex,
    /// A private key in one line, as in JSON.
    pub(super) key_in_line: Regex,
    /// A request or its end in the log of SGLang, up to its content.
    pub(super) request: Regex,
    /// The rest of such a line that was redacted.
    pub(super) redacted_request: Regex,
    /// The same in a log in JSON.
    pub(super) request_in_json: Regex,
    /// The ID of a request.
    pub(super) request_id: Regex,
    /// A count of tokens of a request that ended.
    pub(super) count_of_tokens: Regex,
    /// A name of a variable as a value, as in Kubernetes, and all up to its value or to the end of the line.
    pub(super) named_value: Regex,
    /// The field with the value of such a name.
    pub(super) field_of_value: Regex,
    /// An option at the end of a line.
    pub(super) last_option: Regex,
}

/// The patterns; `None` if one is broken, which a test excludes.
pub(super) static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| make_patterns().ok());

/// Compiles the patterns.
pub(super) fn make_patterns() -> Result<Patterns, Box<dyn std::error::Error>> {
    let search = |texts: &[&str]| AhoCorasick::builder().ascii_case_insensitive(true).build(texts);
    Ok(Patterns {
        signs: search(&SIGNS)?,
        hints: search(&HINTS)?,
        assignment: Regex::new(r#"([A-Za-z_][A-Za-z0-9_.-]*)(\\*["']?)\s*(?:=>|[:=])\s*b?"#)?,
        header: Regex::new(
            r#"(?i)\b(?:proxy-authorization|authorization|x-api-key|x-auth-token|set-cookie|cookie)(?:(\\*["']?)\s*[:=]\s*(?:b?\\*["'])?|\\*["']\s*,\s*b?\\*["'])"#,
        )?,
        bearer: Regex::new(r"(?i)\bbearer(?:\s+|%20)([A-Za-z0-9._~+/=-]{8,})")?,
        option: Regex::new(
            r#"(--(?:[A-Za-z0-9]+[-_])*(?i:api[-_]key|password|passwd|secret|secret[-_]key|access[-_]key|private[-_]key|token|credentials?))(\\*["']?)(?:\s*=\s*|\s*,\s*|\s+)b?"#,
        )?,
        url: Regex::new(r"([A-Za-z][A-Za-z0-9+.-]*):(?:\\?/){2}")?,
        parameter: Regex::new(
            r"(?:(?i:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)|Key-Pair-Id|AWSAccessKeyId)|(?:[?&;]|\\u0026|%26|%3F)(?i:signature|sig|token|policy|access_token|auth_token|api[-_]?key|key|secret|password))(=|%3D|%3d)",
        )?,
        token: Regex::new(
            r"\bdsr1-[0-9a-f]{48}\b|hf_[A-Za-z0-9]{8,}|hf_(?:oauth|jwt)_[A-Za-z0-9._-]{8,}|api_org_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}|nvapi-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|\bsk-[A-Za-z0-9_-]{12,}|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}|eyJ[A-Za-z0-9_-]{30,}",
        )?,
        key_begin: Regex::new(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")?,
        key_in_line: Regex::new(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
        )?,
        // SGLang 0.5.23 `srt/utils/request_logger.py`, 0.4.10.post2 `srt/managers/tokenizer_manager.py`. Every text in it is a
        // `repr`, so that a prompt takes no second line.
        request: Regex::new(r"\b(?:Receive(?: OpenAI)?|Finish): obj=([A-Za-z_][A-Za-z0-9_.]*\(|\{)?")?,
        redacted_request: Regex::new(
            r"^(?:[A-Za-z0-9_.*]{0,80}[({])?(?:rid='[0-9a-f]{32}', )?\*\*\*[)}]?(?:, (?:prompt|completion)_tokens=\d{1,9})*$",
        )?,
        request_in_json: Regex::new(r#"request\.(?:received|finished)[a-z.]*\\*".*?(\\*)"obj\\*":\s*"#)?,
        request_id: Regex::new(r"\brid='([0-9a-f]{32})'")?,
        count_of_tokens: Regex::new(r"'(prompt|completion)_tokens': (\d{1,9})\b")?,
        named_value: Regex::new(
            r#"(?i)\bname\\*["']?\s*[:=]\s*\\*["']?([A-Za-z_][A-Za-z0-9_]*)\\*["']?\s*,?\s*(\\*["']?value\\*["']?\s*[:=]\s*|$)"#,
        )?,
        field_of_value: Regex::new(r#"(?i)^\s*-?\s*\\*["']?value\\*["']?\s*[:=]"#)?,
        last_option: Regex::new(r#"(--[A-Za-z0-9_-]+)\\*["']?\s*[,=]?\s*\\?\s*$"#)?,
    })
}
