//! Settings of the hub client from environment variables, and their validation.

use std::num::IntErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::effects::hub::Limits;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Name of the variable with the idle timeout.
const TIMEOUT: &str = "HF_HUB_DOWNLOAD_TIMEOUT";
/// Longest idle timeout: one day. Longer values would overflow some clocks.
const LONGEST: u64 = 86_400;
/// Name of the variable with the path of the token file.
const TOKEN_PATH: &str = "HF_TOKEN_PATH";

/// Settings of the hub client.
#[derive(Debug, Clone, Default)]
pub struct HubSettings {
    /// `HF_ENDPOINT`.
    pub endpoint: Option<String>,
    /// `HF_TOKEN`, else the file at `HF_TOKEN_PATH`, else `$HF_HOME/token`.
    pub token: Option<Secret>,
    /// The variable or file that the token comes from, for messages.
    pub token_from: String,
    /// The file that `HF_TOKEN_PATH` names, and the reason why it cannot be read.
    pub unreadable: Option<(PathBuf, String)>,
    /// True if `HF_HUB_OFFLINE` is on.
    pub offline: bool,
    /// Limits of time and size of pulls; `HF_HUB_DOWNLOAD_TIMEOUT` is the idle timeout.
    pub limits: Limits,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`, if it is not a number of seconds.
    pub wrong_timeout: Option<String>,
}

impl HubSettings {
    /// Reads the settings through `get`, which returns `None` for unset and empty variables.
    pub(super) fn from_lookup(get: &impl Fn(&str) -> Option<String>, home: &Path, hf_home: &Path) -> Self {
        let mut settings = Self {
            endpoint: get("HF_ENDPOINT"),
            offline: is_on(get("HF_HUB_OFFLINE")) || is_on(get("TRANSFORMERS_OFFLINE")),
            ..Self::default()
        };
        match get(TIMEOUT).and_then(|text| seconds(&text)) {
            Some(Ok(idle)) => settings.limits.idle = idle,
            Some(Err(text)) => settings.wrong_timeout = Some(text),
            None => {}
        }
        let variable = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
            .into_iter()
            .find_map(|name| Some((name, get(name)?)));
        let token = if let Some((name, token)) = variable {
            settings.token_from = format!("`{name}`");
            Some(token)
        } else if is_on(get("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
            None
        } else {
            let named = get(TOKEN_PATH).map(|path| absolute(&path, home));
            let is_named = named.is_some();
            let path = named.unwrap_or_else(|| hf_home.join("token"));
            settings.token_from = format!("`{}`", path.display());
            let read = std::fs::read_to_string(&path);
            // A token is optional, but a user who names its file expects it to be used.
            if let Err(error) = &read
                && is_named
            {
                settings.unreadable = Some((path, error.to_string()));
            }
            read.ok()
        };
        settings.token = token
            .filter(|token| !token.trim().is_empty())
            .map(|token| Secret::new(&token));
        settings
    }

    /// Checks the timeout and the token before a hub is asked.
    ///
    /// # Errors
    /// [`Kind::Usage`], naming the variable or the file.
    pub fn check(&self) -> Result<()> {
        if let Some(text) = &self.wrong_timeout {
            return Err(
                Error::new(Kind::Usage, format!("`{TIMEOUT}` is not a number of seconds"))
                    .cause(format!("it is `{}`", text.escape_debug()))
                    .hint("set it to a whole number of at least 1, such as 30, or unset it"),
            );
        }
        let is_sendable = |token: &Secret| token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if self.token.as_ref().is_some_and(|token| !is_sendable(token)) {
            return Err(
                Error::new(Kind::Usage, format!("{} does not hold a token", self.token_from))
                    .cause("a token is a single line of letters, digits and punctuation, and this is not")
                    .hint("set it again, without line breaks and spaces"),
            );
        }
        Ok(())
    }

    /// Returns a warning and its hint, if a setting has no effect.
    #[must_use]
    pub fn warning(&self) -> Option<(String, String)> {
        let (path, why) = self.unreadable.as_ref()?;
        Some((
            format!(
                "no token is sent: cannot read `{}`, which {TOKEN_PATH} names: {why}",
                path.display()
            ),
            format!("correct the path, or unset {TOKEN_PATH}"),
        ))
    }
}

/// Parses whole seconds as the hub's own client does (`huggingface_hub` 1.0, `constants.py`): 0 counts as
/// unset. Returns the text itself if it is not a number.
fn seconds(text: &str) -> Option<std::result::Result<Duration, String>> {
    let seconds = match text.trim().parse::<u64>() {
        Ok(0) => return None,
        Ok(seconds) => seconds,
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => LONGEST,
        Err(_) => return Some(Err(text.to_owned())),
    };
    Some(Ok(Duration::from_secs(seconds.min(LONGEST))))
}

/// Returns whether a flag is on, by the rule of the hub client: `1`, `true`, `yes` or `on`, in any case
/// (`huggingface_hub` constants).
fn is_on(value: Option<String>) -> bool {
    value.is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
}

/// Expands a leading `~/`, as the hub client does, and makes the path absolute.
pub(super) fn absolute(path: &str, home: &Path) -> PathBuf {
    let path = path
        .strip_prefix("~/")
        .map_or_else(|| PathBuf::from(path), |rest| home.join(rest));
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> HubSettings {
        let get = |name: &str| {
            let pair = pairs.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        HubSettings::from_lookup(&get, Path::new("/h"), Path::new("/h/hf"))
    }

    #[test]
    fn a_token_is_trimmed_and_hidden() {
        let settings = settings(&[("HF_TOKEN", "hf_x\n")]);
        assert_eq!(settings.token.as_ref().map(Secret::expose), Some("hf_x"));
        assert!(!format!("{settings:?}").contains("hf_x"));
        settings.check().unwrap();
    }

    #[test]
    fn a_token_of_two_lines_is_refused() {
        for token in ["hf_a\nhf_b", "hf_a b", "hf_\u{7}", "hf_\u{fc}"] {
            let error = settings(&[("HF_TOKEN", token)]).check().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert_eq!(error.message(), "`HF_TOKEN` does not hold a token");
            assert!(!format!("{error:?}").contains("hf_"), "the token is shown");
        }
    }

    #[test]
    fn a_missing_token_file_gives_a_warning() {
        let named = settings(&[("HF_TOKEN_PATH", "/nonexistent")]);
        assert!(
            named
                .warning()
                .is_some_and(|(text, _)| text.contains("`/nonexistent`"))
        );
        let not_used = [("HF_TOKEN_PATH", "/nonexistent"), ("HF_TOKEN", "hf_x")];
        assert_eq!(settings(&not_used).warning(), None);
        assert_eq!(settings(&[]).warning(), None);
    }

    #[test]
    fn a_timeout_is_a_whole_number_of_seconds() {
        let of = |text: &str| settings(&[(TIMEOUT, text)]);
        assert_eq!(of("7").limits.idle, Duration::from_secs(7));
        for long in ["18446744073709551615", "99999999999999999999"] {
            assert_eq!(of(long).limits.idle, Duration::from_hours(24));
        }
        assert_eq!(of("0").limits, Limits::DEFAULT);
        of("0").check().unwrap();
        for text in ["abc", "-1", "1.5"] {
            let error = of(text).check().unwrap_err();
            assert!(error.message().contains(TIMEOUT), "{text}");
        }
    }
}
