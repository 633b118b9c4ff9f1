//! Checks of the fields of a start before they are written in a form other than a shell script.
//!
//! A name uses a narrow alphabet, so that no form needs to quote it. Free text may hold every visible character.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::plan::{Mount, StartContainer, StartProcess, Ulimit};

/// Checks every field of a container.
pub(super) fn container(step: &StartContainer) -> Result<()> {
    let StartContainer {
        name: own_name,
        image,
        argv,
        env,
        labels,
        network,
        gpus: _,
        shm_bytes: _,
        ulimits,
        mounts,
        init: _,
        cap_drop,
        security_opt,
        stop_timeout_s: _,
        log_driver,
        log_opts,
    } = step;
    name("name", own_name)?;
    name("network", network)?;
    name("log_driver", log_driver)?;
    reference("image", image)?;
    command(argv)?;
    environment(env)?;
    for (key, value) in labels {
        let fits = key.starts_with(|c: char| c.is_ascii_alphanumeric())
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        if !fits {
            return Err(refused("labels", key, "is not a label's key"));
        }
        text("labels", value)?;
    }
    for Ulimit {
        name: limit,
        soft: _,
        hard: _,
    } in ulimits
    {
        name("ulimits", limit)?;
    }
    for mount in mounts {
        match mount {
            Mount::Bind { source, target } => {
                path("mounts", source)?;
                path("mounts", target)?;
            }
            Mount::Volume { name: volume, target } => {
                name("mounts", volume)?;
                path("mounts", target)?;
            }
        }
    }
    for capability in cap_drop {
        name("cap_drop", capability)?;
    }
    for option in security_opt {
        word("security_opt", option)?;
    }
    for (key, value) in log_opts {
        name("log_opts", key)?;
        text("log_opts", value)?;
    }
    Ok(())
}

/// Checks every field of a process.
pub(super) fn process(step: &StartProcess) -> Result<()> {
    let StartProcess {
        name: own_name,
        argv,
        env,
        labels: _, // checked below, as the JSON that is written
        log,
        workdir,
    } = step;
    name("name", own_name)?;
    command(argv)?;
    let program = argv.first().map_or("", String::as_str);
    path("argv", program)?;
    // systemd reads the program's path without expansion, and refuses quotes and backslashes in it.
    if program.contains(['$', '"', '\'', '\\']) {
        return Err(refused("argv", program, "is not a path that systemd can run"));
    }
    environment(env)?;
    text("labels", &crate::plan::log_header(&step.labels))?;
    for (field, value) in [("log", log), ("workdir", workdir)] {
        path(field, value)?;
        // systemd reads these values to the end of the line, without quotes, and normalizes the path.
        let odd = value.contains(['\\', '"', '\''])
            || value.ends_with([' ', '/'])
            || value
                .split('/')
                .skip(1)
                .any(|part| ["", ".", ".."].contains(&part));
        if odd {
            return Err(refused(field, value, "is not a path that a unit file can hold"));
        }
    }
    Ok(())
}

/// Returns whether a character is invisible or misleading: controls, line separators, direction overrides, and the code
/// points that Unicode excludes from text (systemd ignores a line that holds one).
pub(super) const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}' | '\u{FDD0}'..='\u{FDEF}' | '\u{FEFF}')
        || (c as u32) & 0xFFFE == 0xFFFE
}

pub(super) fn text(field: &str, value: &str) -> Result<()> {
    value.chars().find(|c| is_hidden(*c)).map_or(Ok(()), |c| {
        Err(refused(
            field,
            value,
            &format!("holds U+{:04X}, which is not visible in a file", u32::from(c)),
        ))
    })
}

fn word(field: &str, value: &str) -> Result<()> {
    text(field, value)?;
    if value.is_empty() {
        return Err(refused(field, value, "is empty"));
    }
    Ok(())
}

pub(super) fn command(argv: &[String]) -> Result<()> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(refused("argv", "", "is not a command"));
    }
    argv.iter().try_for_each(|word| text("argv", word))
}

pub(super) fn environment(env: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in env {
        let fits = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            return Err(refused("env", key, "is not a variable's name"));
        }
        text("env", value)?;
    }
    Ok(())
}

fn name(field: &str, value: &str) -> Result<()> {
    let fits = value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if fits {
        Ok(())
    } else {
        Err(refused(field, value, "is not a name"))
    }
}

pub(super) fn reference(field: &str, value: &str) -> Result<()> {
    let fits = value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.ends_with(|c: char| c.is_ascii_alphanumeric())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    if fits {
        Ok(())
    } else {
        Err(refused(field, value, "is not an image's name"))
    }
}

pub(super) fn path(field: &str, value: &str) -> Result<()> {
    text(field, value)?;
    if value.starts_with('/') {
        Ok(())
    } else {
        Err(refused(field, value, "is not an absolute path"))
    }
}

/// Returns the error for a value that a form cannot hold.
pub(super) fn refused(field: &str, value: &str, why: &str) -> Error {
    let shown: String = value.chars().take(80).collect();
    Error::new(
        Kind::Usage,
        format!("cannot export `{field}`: `{}` {why}", shown.escape_debug()),
    )
    .hint("change the value: export never changes a value silently")
}
