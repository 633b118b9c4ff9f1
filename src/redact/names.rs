//! Names that say that their value is secret.

use crate::redact::sort::Sort;

/// Names of the keys of SGLang (0.5.23, `server_args.py`).
const ENGINE_KEYS: [&str; 3] = ["api_key", "admin_api_key", "ssl_keyfile_password"];

/// Parts of a name, in any letter case, whose value is secret.
const PARTS: [&str; 29] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
    "auth_key",
    "authkey",
    "account_key",
    "signing_key",
    "encryption_key",
    "license_key",
    "auth_token",
    "authtoken",
    "access_token",
    "accesstoken",
    "api_token",
    "hf_token",
    "hub_token",
    "refresh_token",
    "session_token",
    "security_token",
    "identitytoken",
    "registrytoken",
];

/// Returns the sort of the value of a name; `None` if the name does not say that its value is secret. A name without small letters
/// is that of a variable: there `KEY` and `TOKEN` are enough, but not a count of tokens or a setting of a tokenizer.
#[must_use]
pub fn sort_of_name(name: &str) -> Option<Sort> {
    let lower = name.to_ascii_lowercase().replace(['-', '.'], "_");
    let lower = lower.trim_matches('_');
    if ENGINE_KEYS.contains(&lower) {
        return Some(Sort::EngineKey);
    }
    let is_variable = !name.contains(|c: char| c.is_ascii_lowercase());
    let is_token = lower.contains("token") && !lower.contains("tokeniz") && !lower.contains("tokens");
    let is_secret =
        PARTS.iter().any(|part| lower.contains(part)) || (is_variable && (lower.contains("key") || is_token));
    is_secret.then_some(Sort::Variable)
}

/// Returns true for a name whose value is secret if it is a text in quotes: `token` of a JSON, `auth` of Docker's `config.json`.
pub(super) fn is_secret_in_quotes(name: &str) -> bool {
    ["token", "auth"].contains(&name.to_ascii_lowercase().as_str())
}
