//! The origin of each argument and variable of an engine's command: a setting, the stack, dsr1 or the command line.

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::plan::request::{ServeRequest, Target};
use crate::plan::{arguments, serve};
use crate::redact::shown_value;

/// One argument or variable with its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The words of an argument, or `NAME=value` of a variable; the value of a secret one is `***`.
    pub words: Vec<String>,
    /// True for a variable.
    pub variable: bool,
    /// The origin: a setting of the profile (`engine.mem_fraction`), `stack NAME`, `dsr1` or `command line`.
    pub from: String,
    /// `file:line` of that setting.
    pub place: Option<String>,
    /// The comment of that line: the source of the value.
    pub source: Option<String>,
}

/// Returns every variable and argument of the engine that a request starts, in the order of its command.
#[must_use]
pub fn origins(request: &ServeRequest, facts: &Facts) -> Vec<Origin> {
    let launch = request.launch();
    let python = match request.target {
        Target::Docker => request.stack.image_python.clone(),
        Target::Process => "python3".to_owned(),
    };
    let with_place = |words: Vec<String>, variable: bool, origin: &str| {
        let place = request.origins.place_of(origin);
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
    let env = serve::env(request, &launch, serve::cache_root(request, facts));
    let variables = env.into_iter().map(|(name, value)| {
        let origin = launch
            .flags
            .env
            .get(&name)
            .map_or("dsr1", |variable| variable.knob.as_str());
        let value = shown_value(&name, &value);
        with_place(vec![format!("{name}={value}")], true, origin)
    });
    let arguments = arguments::arguments(&python, request, &launch, facts)
        .into_iter()
        .map(|argument| with_place(argument.words, false, &argument.origin));
    variables.chain(arguments).collect()
}
