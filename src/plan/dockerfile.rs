//! Renders the Dockerfile of a stack. The only home of tera.
//!
//! Whatever goes into the text is checked against a narrow alphabet first, or quoted: a stack file must not be
//! able to add an instruction. Not in this module: building (`engine::docker`).

use std::collections::BTreeMap;

use tera::{Context, Tera};

use crate::error::{At, Error, Kind, Result};
use crate::profile::Stack;

const NAME: &str = "Dockerfile.tera";
const TEMPLATE: &str = include_str!("../../Dockerfile.tera");

/// A rendered build context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// Text of the Dockerfile.
    pub(super) dockerfile: String,
    /// Files beside it: relative path to text.
    pub(super) files: BTreeMap<String, String>,
}

/// Renders a stack on a base image. `ca` says that the build has a secret [`super::SECRET_CA`].
///
/// # Errors
/// [`Kind::Usage`] for a value that is not what its place takes.
pub(super) fn render(
    stack: &Stack,
    base: &str,
    ca: bool,
    labels: &BTreeMap<String, String>,
) -> Result<Rendered> {
    let install = &stack.install;
    check("base image", base, |c| {
        c.is_ascii_alphanumeric() || "._-/:@".contains(c)
    })?;
    check("python", &stack.image_python, |c| {
        c.is_ascii_alphanumeric() || "._-/".contains(c)
    })?;
    for package in &install.apt {
        check("Debian package", package, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c)
        })?;
    }
    for requirement in &install.requirements {
        check("pip requirement", requirement, |c| {
            c.is_ascii_alphanumeric() || "._-=+![],".contains(c)
        })?;
    }
    for path in install.files.keys() {
        check("file name", path, |c| {
            c.is_ascii_alphanumeric() || "._-/".contains(c)
        })?;
        if path
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'))
        {
            return Err(wrong("file name", path));
        }
    }
    let venv = match (install.venv, stack.image_python.strip_suffix("/bin/python3")) {
        (true, Some(dir)) if dir.starts_with('/') => dir,
        (true, _) => {
            return Err(wrong("python", &stack.image_python).hint("a venv's python ends in /bin/python3"));
        }
        (false, _) => "",
    };
    let mut context = Context::new();
    context.insert("base", base);
    context.insert("apt", &install.apt);
    context.insert("venv", venv);
    context.insert("requirements", &!install.requirements.is_empty());
    context.insert("files", &!install.files.is_empty());
    context.insert("ca", &ca);
    context.insert("python", &stack.image_python);
    context.insert(
        "labels",
        &labels
            .iter()
            .map(|(key, value)| label(key, value))
            .collect::<Result<Vec<_>>>()?,
    );
    let failed = || "cannot render Dockerfile.tera".to_owned();
    let mut tera = Tera::default();
    tera.add_raw_template(NAME, TEMPLATE).at(Kind::Internal, failed)?;
    let dockerfile = tera.render(NAME, &context).at(Kind::Internal, failed)?;
    let mut files: BTreeMap<String, String> = install
        .files
        .iter()
        .map(|(path, text)| (format!("site/{path}"), text.clone()))
        .collect();
    if !install.requirements.is_empty() {
        files.insert(
            "pip/requirements.txt".to_owned(),
            install.requirements.join("\n") + "\n",
        );
    }
    Ok(Rendered {
        dockerfile: dockerfile.trim_start().to_owned(),
        files,
    })
}

fn check(what: &str, value: &str, allowed: impl Fn(char) -> bool) -> Result<()> {
    let leads = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    if leads && value.len() <= 300 && value.chars().all(allowed) {
        Ok(())
    } else {
        Err(wrong(what, value))
    }
}

fn wrong(what: &str, value: &str) -> Error {
    let shown: String = value.chars().take(80).collect();
    Error::new(Kind::Usage, format!("`{}` is not a {what}", shown.escape_debug()))
}

/// One `key="value"` of a LABEL instruction: backslash, quote and dollar are what the Dockerfile would read.
fn label(key: &str, value: &str) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;

    fn stack(name: &str) -> Stack {
        Catalog::load(None).unwrap().stack(name).unwrap().clone()
    }

    fn labels() -> BTreeMap<String, String> {
        BTreeMap::from([("io.dsr1.role".to_owned(), "image \"$HOME\" \\".to_owned())])
    }

    #[test]
    fn the_guides_stack() {
        let stack = stack("guide");
        insta::assert_snapshot!(
            render(&stack, &stack.base_reference(), false, &labels())
                .unwrap()
                .dockerfile
        );
    }

    #[test]
    fn the_cpu_stack_with_a_ca_bundle() {
        let stack = stack("cpu");
        let rendered = render(&stack, &stack.base_reference(), true, &labels()).unwrap();
        insta::assert_snapshot!(rendered.dockerfile);
        assert_eq!(
            rendered.files["pip/requirements.txt"].lines().count(),
            stack.install.requirements.len()
        );
        assert!(rendered.files.contains_key("site/vllm/_custom_ops.py"));
    }

    #[test]
    fn a_changed_label_leaves_the_steps_as_they_are() {
        let stack = stack("cpu");
        let render = |labels| render(&stack, "base", true, &labels).unwrap();
        let (one, other) = (render(labels()), render(BTreeMap::new()));
        let steps = |rendered: &Rendered| {
            let (steps, _) = rendered.dockerfile.split_once("STOPSIGNAL").unwrap();
            steps.to_owned()
        };
        assert_eq!(steps(&one), steps(&other));
        // A step runs again when what it mounts changes: the context's root holds the Dockerfile, so none does.
        for mount in steps(&one)
            .split("--mount=")
            .filter(|mount| mount.starts_with("type=bind"))
        {
            assert!(mount.starts_with("type=bind,source="), "{mount}");
        }
    }

    #[test]
    fn hostile_values_are_refused() {
        let base = |value: &str| render(&stack("cpu"), value, false, &labels()).is_err();
        assert!(base("debian\nRUN evil") && base("-flag") && base("") && base("a b") && base("$(x)"));
        let mut hostile = stack("cpu");
        hostile.install.apt = vec!["curl; rm -rf /".to_owned()];
        assert!(render(&hostile, "debian", false, &labels()).is_err());
        let mut hostile = stack("cpu");
        hostile.install.files = BTreeMap::from([("../../x".to_owned(), String::new())]);
        assert!(render(&hostile, "debian", false, &labels()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_value_adds_an_instruction(value in "\\PC{0,20}[\\n\\r\"\\\\$#]{0,3}\\PC{0,20}") {
            let plain = render(&stack("guide"), "base", false, &BTreeMap::new()).unwrap().dockerfile.lines().count();
            let labels = BTreeMap::from([("io.dsr1.role".to_owned(), value.clone())]);
            if let Ok(rendered) = render(&stack("guide"), "base", false, &labels) {
                proptest::prop_assert_eq!(rendered.dockerfile.lines().count(), plain + 1);
            }
            if let Ok(rendered) = render(&stack("guide"), &value, false, &BTreeMap::new()) {
                proptest::prop_assert_eq!(rendered.dockerfile.lines().count(), plain);
            }
        }
    }
}
