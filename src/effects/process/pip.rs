//! pip's own configuration on this host, as far as a build needs it.

use std::path::Path;

use crate::effects::env::Env;

/// Returns the CA bundle that pip's configuration files name (`cert`), if it is a file. `PIP_CERT` counts before it.
#[must_use]
pub fn cert(env: &Env) -> Option<String> {
    let config = env.config.parent().unwrap_or(Path::new("/"));
    // Later files override earlier ones (pip's documentation, "Configuration", "Precedence / Override order").
    let files = [
        Path::new("/etc/xdg/pip/pip.conf").to_owned(),
        Path::new("/etc/pip.conf").to_owned(),
        env.home.join(".pip/pip.conf"),
        config.join("pip/pip.conf"),
    ];
    let mut found = files.iter().rev().filter_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        cert_in(&text)
    });
    found.next().filter(|path| Path::new(path).is_file())
}

/// Returns the value of `cert` in the text of a configuration file; the section `install` counts before `global`.
fn cert_in(text: &str) -> Option<String> {
    let mut section = "";
    let (mut global, mut install) = (None, None);
    for line in text.lines() {
        if let Some(name) = line
            .trim()
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.trim();
        } else if let Some((key, value)) = line.split_once(['=', ':'])
            && key.trim() == "cert"
            && !value.trim().is_empty()
        {
            match section {
                "global" => global = Some(value.trim().to_owned()),
                "install" => install = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    install.or(global)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_file_and_the_section_of_install_count() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let env = Env::from_lookup(|name| (name == "HOME").then(|| home.clone()));
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("ca.pem", "x");
        write(".pip/pip.conf", "[global]\ncert = /not/there.pem\n");
        assert_eq!(cert(&env), None);
        let text =
            format!("[global]\ncert: /x.pem\n# note\n[install]\n cert = {home}/ca.pem\n[list]\ncert=/y\n");
        write(".config/pip/pip.conf", &text);
        assert_eq!(cert(&env), Some(format!("{home}/ca.pem")));
    }
}
