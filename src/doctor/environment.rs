//! Findings about an environment of the user that runs the engine.

use crate::doctor::finding::{Finding, Verdict};
use crate::error::Error;
use crate::facts::Environment;
use crate::sglang::preflight;
use crate::units::counted;

/// Returns the findings about the packages of an environment.
pub(super) fn findings(environment: &Environment) -> Vec<Finding> {
    let Environment {
        python,
        version,
        packages,
        cuda,
        ..
    } = environment;
    let sglang = packages
        .get("sglang")
        .map_or("no SGLang".to_owned(), |version| format!("SGLang {version}"));
    let cuda = cuda.as_ref().map_or("without CUDA".to_owned(), |cuda| {
        let unused = if environment.on_cpu {
            ", used on the processor"
        } else {
            ""
        };
        format!("for CUDA {cuda}{unused}")
    });
    let text = format!(
        "{sglang} {cuda}, {}, Python {version} at {python}",
        counted(packages.len(), "package")
    );
    let problems = preflight::problems(environment).into_iter().map(|problem| {
        let verdict = if problem.is_fatal {
            Verdict::Fail
        } else {
            Verdict::Warn
        };
        Finding::new("environment.packages", verdict, problem.text).fix(&problem.fix)
    });
    std::iter::once(Finding::new("environment", Verdict::Ok, text))
        .chain(problems)
        .collect()
}

/// The check of the imports.
const IMPORTS: &str = "environment.imports";

/// Returns the finding about modules that could be imported, by an earlier check if `cached` is set.
#[must_use]
pub fn imported(modules: &[&str], cached: bool) -> Finding {
    let earlier = if cached { ", by an earlier check" } else { "" };
    Finding::new(
        IMPORTS,
        Verdict::Ok,
        format!("imported{earlier}: {}", modules.join(", ")),
    )
}

/// Returns the finding about a module that could not be imported.
#[must_use]
pub fn not_imported(error: &Error) -> Finding {
    let text: Vec<String> = std::iter::once(error.message()).chain(error.causes()).collect();
    let finding = Finding::new(IMPORTS, Verdict::Fail, text.join(": "));
    match error.hints().first() {
        Some(hint) => finding.fix(hint),
        None => finding,
    }
}
