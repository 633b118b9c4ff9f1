//! The stack of an environment that dsr1 did not install: its versions are those of the installed packages.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::error::{Error, Kind, Result};
use crate::facts::{Environment, Facts};
use crate::plan::CheckEnvironment;
use crate::plan::digest::digest;
use crate::profile::{UserFile, Version};
use crate::sglang::flags::{Parser, history};
use crate::sglang::preflight;

/// Name of that stack.
pub const FOUND: &str = "found";

/// Lowest driver for a major version of CUDA, whose minor versions run on it too (CUDA Compatibility, NVIDIA).
const DRIVERS: [(u32, u32); 2] = [(12, 525), (13, 580)];

/// Returns the file of the stack that an environment is.
///
/// # Errors
/// [`Kind::Host`] if the environment has no SGLang, or one whose options are not known.
pub fn found_stack(environment: &Environment) -> Result<UserFile> {
    let python = &environment.python;
    let failed = |cause: String, hint: &str| {
        Error::new(
            Kind::Host,
            format!("`{}` cannot run the engine", python.escape_debug()),
        )
        .cause(cause)
        .hint(hint)
    };
    let Some(stated) = environment.packages.get("sglang") else {
        let cause = "SGLang is not installed for it".to_owned();
        return Err(failed(
            cause,
            "name the Python of the environment that has it: --python PATH",
        ));
    };
    let versions = history(Parser::Server).versions();
    let oldest = versions.first().copied().unwrap_or(Version::new(0, 0, 0));
    let version = released(stated).filter(|version| *version >= oldest);
    let Some(version) = version else {
        return Err(failed(
            format!("its SGLang is `{}`", stated.escape_debug()),
            &format!("dsr1 knows the options of SGLang {oldest} and later"),
        ));
    };
    let mut title = format!("SGLang {}, found in {python}", plain(stated));
    if version.to_string() != *stated {
        title = format!("SGLang {} (read as {version}), found in {python}", plain(stated));
    }
    let cuda = environment.used_cuda().map(plain);
    let major = cuda
        .as_deref()
        .and_then(|cuda| cuda.split('.').next()?.parse::<u32>().ok());
    let base = match major {
        None => "cpu",
        Some(..=12) => "cuda12",
        Some(_) => "current",
    };
    let pin = |names: &[&str]| {
        let found = names.iter().find_map(|name| {
            let version = environment.packages.get(*name)?;
            Some((*name, plain(version)))
        });
        found.map_or_else(
            || "none".to_owned(),
            |(name, version)| {
                if names.len() > 1 {
                    format!("{name} {version}")
                } else {
                    version
                }
            },
        )
    };
    let mut text = format!(
        "name: {FOUND}\nextends: {base}\ntitle: {}\npins:\n  sglang: \"{version}\"\n  flashinfer: \"{}\"\n  kernel: \"{}\"\n  torch: \"{}\"\n  cuda: {}\n",
        quoted(&title),
        pin(&["flashinfer-python"]),
        pin(&["sglang-kernel", "sgl-kernel"]),
        pin(&["torch"]),
        cuda.as_deref().map_or_else(|| "null".to_owned(), quoted),
    );
    let driver = DRIVERS
        .iter()
        .rev()
        .find(|(least, _)| major.is_some_and(|major| major >= *least));
    if let Some((_, driver)) = driver {
        let _ = writeln!(text, "driver_min: {driver}");
    }
    if !environment.has_program {
        text.push_str("launch: {python: [-m, sglang.launch_server]}\n");
    }
    text.push_str("install: {apt: [], venv: false, installer: null, requirements: [], files: {}}\n");
    text.push_str("process_runtime: true\ninstall_bytes: 0\n");
    Ok(UserFile {
        origin: format!("the environment of {python}"),
        text,
    })
}

/// Returns the check of the environment in the facts.
///
/// # Errors
/// [`Kind::Usage`] if the facts have none.
pub(super) fn check(variables: &BTreeMap<String, String>, facts: &Facts) -> Result<CheckEnvironment> {
    let Some(found) = &facts.host.environment else {
        return Err(Error::new(Kind::Usage, "no environment is named")
            .cause(format!("stack `{FOUND}` is that of an environment of yours"))
            .hint("--python PATH names the Python of the environment"));
    };
    let variables = with_path(variables.clone(), facts);
    let gpus = facts.host.gpus.as_deref().unwrap_or_default();
    let names: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    let inputs = digest(&[
        ("python", &found.python),
        ("packages", &found.sha256),
        ("variables", &serde_json::json!(variables).to_string()),
        ("driver", &facts.host.driver.clone().unwrap_or_default()),
        ("gpus", &names.join(",")),
        ("device", &if found.on_cpu { "cpu" } else { "cuda" }.to_owned()),
    ]);
    Ok(CheckEnvironment {
        python: found.python.clone(),
        sglang: found
            .packages
            .get("sglang")
            .map_or("unknown", String::as_str)
            .to_owned(),
        sha256: found.sha256.clone(),
        variables,
        modules: preflight::modules(found),
        on_cpu: found.on_cpu,
        inputs,
        cache_dir: format!("{}/{PREFLIGHTS}", facts.paths.cache),
    })
}

/// Returns the variables of a process, with the folder of the environment's Python first in `PATH`, as activating it does:
/// compilers of kernels look for `ninja` there. A named `PATH` stays.
pub(super) fn with_path(mut variables: BTreeMap<String, String>, facts: &Facts) -> BTreeMap<String, String> {
    // A process gets them anyway: so the plan, a lock and an exported script have them.
    for (name, value) in &facts.host.variables {
        variables.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if let Some(found) = &facts.host.environment {
        variables
            .entry("PATH".to_owned())
            .or_insert_with(|| found.path.clone());
    }
    variables
}

/// Folder of the results of checks below the cache.
pub const PREFLIGHTS: &str = "preflights";

/// Returns the release that a version of a package belongs to: 0.5.13 for `0.5.13rc1`, `0.5.13.dev4+g1a2b3c` and `0.5.13+cu129`.
fn released(text: &str) -> Option<Version> {
    let public = text.split('+').next()?;
    if let Ok(version) = public.parse() {
        return Some(version);
    }
    let mut numbers = Vec::new();
    for part in public.split('.').take(3) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        numbers.push(digits.parse().ok()?);
        if digits.len() < part.len() {
            break;
        }
    }
    match numbers[..] {
        [major, minor, patch] => Some(Version::new(major, minor, patch)),
        _ => None,
    }
}

/// Returns a version of a package as it may stand in a stack: metadata is not to be trusted.
fn plain(version: &str) -> String {
    let is_version = version.len() <= 64
        && version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._+-!".contains(c));
    if is_version {
        version.to_owned()
    } else {
        "unknown".to_owned()
    }
}

/// Returns a string in YAML's double quotes, which read what JSON writes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Accelerator, Catalog, Stack, UserFiles};

    fn environment(packages: &[(&str, &str)], cuda: Option<&str>) -> Environment {
        Environment {
            python: "/opt/sglang/bin/python3".to_owned(),
            version: "3.12.3".to_owned(),
            packages: packages
                .iter()
                .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            cuda: cuda.map(str::to_owned),
            sha256: "0".repeat(64),
            has_program: false,
            path: "/opt/sglang/bin:/usr/bin".to_owned(),
            headers: Some(true),
            on_cpu: false,
        }
    }

    fn stack(environment: &Environment) -> Stack {
        let catalog = Catalog::with(&UserFiles {
            stacks: vec![found_stack(environment).unwrap()],
            ..UserFiles::default()
        })
        .unwrap();
        assert_eq!(catalog.broken(), Vec::<String>::new());
        catalog.stack(FOUND).unwrap().clone()
    }

    #[test]
    fn an_environment_becomes_a_stack_of_its_versions() {
        let found = stack(&environment(
            &[
                ("sglang", "0.5.16"),
                ("torch", "2.11.0+cu130"),
                ("flashinfer-python", "0.6.14"),
                ("sglang-kernel", "0.4.5"),
            ],
            Some("13.0"),
        ));
        let pins = &found.pins;
        assert_eq!(pins.sglang.to_string(), "0.5.16");
        assert_eq!(
            (pins.torch.as_str(), pins.flashinfer.as_str()),
            ("2.11.0+cu130", "0.6.14")
        );
        assert_eq!(
            (pins.kernel.as_str(), pins.cuda.as_deref()),
            ("sglang-kernel 0.4.5", Some("13.0"))
        );
        assert_eq!(found.title, "SGLang 0.5.16, found in /opt/sglang/bin/python3");
        assert_eq!(found.driver_min, Some(580));
        assert!(found.process_runtime && found.install.packages().next().is_none());
        assert_eq!(
            found.launch.command("/opt/sglang/bin/python3"),
            ["/opt/sglang/bin/python3", "-m", "sglang.launch_server"]
        );
    }

    #[test]
    fn the_build_of_torch_decides_what_the_stack_computes_on() {
        for (cuda, accelerator, driver) in [
            (Some("12.6"), Accelerator::Cuda, Some(525)),
            (Some("13.1"), Accelerator::Cuda, Some(580)),
            (None, Accelerator::Cpu, None),
        ] {
            let found = stack(&environment(&[("sglang", "0.5.23"), ("torch", "2.14.1")], cuda));
            assert_eq!(
                (found.accelerator, found.driver_min),
                (accelerator, driver),
                "{cuda:?}"
            );
            assert_eq!(
                (found.pins.flashinfer.as_str(), found.pins.kernel.as_str()),
                ("none", "none")
            );
        }
    }

    #[test]
    fn a_version_between_releases_is_read_as_the_release() {
        for (text, expected) in [
            ("0.5.16", Some("0.5.16")),
            ("0.4.10.post2", Some("0.4.10.post2")),
            ("0.5.13rc1", Some("0.5.13")),
            ("0.5.13.dev4+g1a2b3c", Some("0.5.13")),
            ("0.5.19+cu129", Some("0.5.19")),
            ("0.5", None),
            ("main", None),
            ("", None),
        ] {
            let found = released(text).map(|version| version.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        let found = stack(&environment(&[("sglang", "0.5.13.dev4+g1a2b3c")], Some("12.8")));
        assert_eq!(
            found.title,
            "SGLang 0.5.13.dev4+g1a2b3c (read as 0.5.13), found in /opt/sglang/bin/python3"
        );
    }

    #[test]
    fn an_environment_without_a_known_sglang_is_refused_with_the_reason() {
        for (packages, cause) in [
            (&[][..], "SGLang is not installed for it"),
            (&[("sglang", "0.1.2")][..], "its SGLang is `0.1.2`"),
            (&[("sglang", "head\n")][..], "its SGLang is `head\\n`"),
        ] {
            let error = found_stack(&environment(packages, None)).unwrap_err();
            assert_eq!(error.message(), "`/opt/sglang/bin/python3` cannot run the engine");
            assert_eq!(error.causes(), [cause]);
        }
    }

    #[test]
    fn metadata_cannot_write_into_the_stack() {
        let mut hostile = environment(
            &[("sglang", "0.5.16+\"\nname: cpu"), ("torch", "1\"\ninstall: {}")],
            Some("13.0\"\npins: {}"),
        );
        hostile.python = "/opt/a\"\nname: b/python3".to_owned();
        let found = stack(&hostile);
        assert_eq!(
            (found.name.as_str(), found.pins.torch.as_str()),
            (FOUND, "unknown")
        );
    }
}
