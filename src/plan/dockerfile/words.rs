//! What a value may be made of before it goes into a Dockerfile.
//!
//! Not in this module: where it goes (`Dockerfile.tera`).

use crate::error::{Error, Kind, Result};

/// Debian packages; without their versions for a base that is not the stack's.
pub(super) fn packages(written: &[String], any_version: bool) -> Result<Vec<&str>> {
    written
        .iter()
        .map(|package| {
            let (name, version) = package.split_once('=').unwrap_or((package, "0"));
            check("Debian package", name, |c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c)
            })?;
            check("Debian version", version, |c| {
                c.is_ascii_alphanumeric() || "+.-:~".contains(c)
            })?;
            Ok(if any_version { name } else { package.as_str() })
        })
        .collect()
}

/// Whether a text can be a URL in a step.
pub(super) fn url(what: &str, text: &str) -> Result<()> {
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    check(what, text, |c| c.is_ascii_alphanumeric() || "._-/:~+".contains(c))?;
    if is_url { Ok(()) } else { Err(wrong(what, text)) }
}

pub(super) fn file_name(path: &str) -> Result<()> {
    check("file name", path, |c| {
        c.is_ascii_alphanumeric() || "._-/".contains(c)
    })?;
    if path
        .split('/')
        .any(|part| part.is_empty() || part.starts_with('.'))
    {
        return Err(wrong("file name", path));
    }
    Ok(())
}

/// Whether a text can name an image.
///
/// # Errors
/// [`Kind::Usage`] when it cannot.
pub(in crate::plan) fn image_name(name: &str) -> Result<()> {
    check("name of an image", name, |c| {
        c.is_ascii_alphanumeric() || "._-/:@".contains(c)
    })
}

pub(super) fn check(what: &str, value: &str, allowed: impl Fn(char) -> bool) -> Result<()> {
    let leads = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    if leads && value.len() <= 300 && value.chars().all(allowed) {
        Ok(())
    } else {
        Err(wrong(what, value))
    }
}

pub(super) fn wrong(what: &str, value: &str) -> Error {
    let shown: String = value.chars().take(80).collect();
    Error::new(Kind::Usage, format!("`{}` is not a {what}", shown.escape_debug()))
}

/// One `key="value"` of a LABEL instruction: backslash, quote and dollar are what the Dockerfile would read.
pub(super) fn label(key: &str, value: &str) -> Result<String> {
    check("label", key, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c)
    })?;
    if value.chars().any(char::is_control) {
        return Err(wrong("label value", value));
    }
    let mut quoted = String::new();
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    Ok(format!("{key}=\"{quoted}\""))
}
