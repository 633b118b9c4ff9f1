//! Checks of values before they are written into a Dockerfile: each may use only a narrow alphabet.

use crate::error::{Error, Kind, Result};
use crate::profile;

/// Checks Debian packages, and returns them without versions if `any_version` is true, as for a base that is not the
/// stack's.
pub(super) fn apt_packages(written: &[String], any_version: bool) -> Result<Vec<&str>> {
    written
        .iter()
        .map(|package| {
            let (name, version) = package.split_once('=').unwrap_or((package, "0"));
            check_alphabet("Debian package", name, |c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c)
            })?;
            check_alphabet("Debian version", version, |c| {
                c.is_ascii_alphanumeric() || "+.-:~".contains(c)
            })?;
            Ok(if any_version { name } else { package.as_str() })
        })
        .collect()
}

/// Refuses a text that is not a URL, or that a shell could read as more than one word.
pub(super) fn check_url(what: &str, text: &str) -> Result<()> {
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    check_alphabet(what, text, |c| c.is_ascii_alphanumeric() || "._-/:~+".contains(c))?;
    if is_url {
        Ok(())
    } else {
        Err(wrong_value(what, text))
    }
}

/// Refuses a text that is not the relative path of a context file.
pub(super) fn check_file_name(path: &str) -> Result<()> {
    if profile::is_plain_path(path) {
        Ok(())
    } else {
        Err(wrong_value("file name", path))
    }
}

/// Refuses a text that is not an image reference: `[HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST]` (distribution/reference).
///
/// # Errors
/// [`Kind::Usage`] for such a text.
pub(in crate::plan) fn check_image_name(name: &str) -> Result<()> {
    let (named, digest) = name
        .split_once('@')
        .map_or((name, None), |(named, digest)| (named, Some(digest)));
    let is_digest = |digest: &str| {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        hex.len() == 64 && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    };
    if is_named(named) && name.len() <= 300 && digest.is_none_or(is_digest) {
        Ok(())
    } else {
        Err(wrong_value("name of an image", name).hint("write it as registry.example:5000/team/image:1.0"))
    }
}

/// Refuses a text that is not a tag for a new image: an image reference without a digest.
///
/// # Errors
/// [`Kind::Usage`] for such a text.
pub(in crate::plan) fn check_tag(name: &str) -> Result<()> {
    check_image_name(name)?;
    if name.contains('@') {
        return Err(wrong_value("tag", name)
            .hint("leave out `@` and the text after it: the registry assigns the digest"));
    }
    Ok(())
}

/// Returns whether a text has the form `[HOST[:PORT]/]NAME[:TAG]`.
fn is_named(named: &str) -> bool {
    let (path, tag) = match named.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (named, None),
    };
    let is_tag = |tag: &str| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        tag.starts_with(word) && tag.len() <= 128 && tag.chars().all(|c| word(c) || ".-".contains(c))
    };
    let is_part = |part: &str| {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(word) && part.ends_with(word) && part.chars().all(|c| word(c) || "._-".contains(c))
    };
    let is_host = |host: &str| {
        let (name, port) = host.split_once(':').unwrap_or((host, "0"));
        let known = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(known)
            && !port.is_empty()
            && port.chars().all(|c| c.is_ascii_digit())
    };
    let (host, rest) = match path.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
        _ => (None, path),
    };
    host.is_none_or(is_host) && rest.split('/').all(is_part) && tag.is_none_or(is_tag)
}

/// Refuses a value that is longer than 300 characters, that has a character outside the alphabet, or that begins with
/// another character than a letter, a digit or `/`, as an option does.
pub(super) fn check_alphabet(what: &str, value: &str, allowed: impl Fn(char) -> bool) -> Result<()> {
    let leads = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    if leads && value.len() <= 300 && value.chars().all(allowed) {
        Ok(())
    } else {
        Err(wrong_value(what, value))
    }
}

/// Returns the error for a value that is not a `what`.
pub(super) fn wrong_value(what: &str, value: &str) -> Error {
    let shown: String = value.chars().take(80).collect();
    Error::new(Kind::Usage, format!("`{}` is not a {what}", shown.escape_debug()))
}

/// Returns one `key="value"` of a LABEL instruction, with escapes for the characters that a Dockerfile interprets:
/// backslash, quote and dollar.
pub(super) fn label_pair(key: &str, value: &str) -> Result<String> {
    check_alphabet("label", key, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c)
    })?;
    if value.chars().any(char::is_control) {
        return Err(wrong_value("label value", value));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_those_that_docker_takes() {
        let digest = format!("debian@sha256:{}", "0".repeat(64));
        for good in [
            "debian",
            "debian:12",
            "a/b-c_d.e:V1.0_x-y",
            "host:5000/a",
            "localhost/a:1",
            "h.io/a/b/c",
            &digest,
        ] {
            assert!(check_image_name(good).is_ok(), "{good}");
        }
        assert!(check_tag(&digest).is_err());
        let long = format!("a:{}", "x".repeat(129));
        for bad in [
            "",
            "a:b:c",
            "foo:",
            "UPPER/x:1",
            "a@sha256:00",
            "/foo",
            "a//b:1",
            "a/",
            "-a",
            "a b",
            "a:.x",
            "h:x/a",
            "a\n",
            &long,
        ] {
            assert!(check_image_name(bad).is_err(), "{bad}");
        }
    }
}
