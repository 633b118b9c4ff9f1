//! Who decided each part of an engine's command line and environment.
//!
//! Not in this module: deciding (`serve`), finding lines in files (`profile::Origins`).

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::plan::request::{ServeRequest, Target};
use crate::plan::serve;

/// One argument or variable, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The words of an argument, or `NAME=value` of a variable.
    pub words: Vec<String>,
    /// Whether it is a variable.
    pub variable: bool,
    /// A setting of the profile (`engine.mem_fraction`), `stack NAME`, `dsr1` or `command line`.
    pub from: String,
    /// `file:line` of that setting.
    pub place: Option<String>,
    /// The comment there: the source of the value.
    pub source: Option<String>,
}

/// Every variable and argument of the engine that a request starts, in the order they are given.
#[must_use]
pub fn origins(request: &ServeRequest, facts: &Facts) -> Vec<Origin> {
    let launch = request.launch();
    let python = match request.target {
        Target::Docker => request.stack.image_python.clone(),
        Target::Process => "python3".to_owned(),
    };
    let of = |words: Vec<String>, variable: bool, origin: &str| {
        let place = request.origins.place(origin);
        Origin {
            words,
            variable,
            from: match origin {
                "stack" => format!("stack {}", request.stack.name),
                "model" => "profile, model".to_owned(),
                other => other.to_owned(),
            },
            source: place.as_ref().and_then(|place| place.comment.clone()),
            place: place.map(|place| place.to_string()),
        }
    };
    let env = serve::env(&launch, serve::cache_root(request, facts));
    let variables = env.into_iter().map(|(name, value)| {
        let origin = launch
            .flags
            .env
            .get(&name)
            .map_or("dsr1", |variable| variable.knob.as_str());
        of(vec![format!("{name}={value}")], true, origin)
    });
    let arguments = serve::arguments(&python, request, &launch, facts)
        .into_iter()
        .map(|argument| of(argument.words, false, &argument.origin));
    variables.chain(arguments).collect()
}
