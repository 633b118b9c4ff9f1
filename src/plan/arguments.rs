//! The engine's command line, argument by argument.

use crate::facts::Facts;
use crate::plan::request::{ServeRequest, Target};
use crate::plan::{folder, pull};
use crate::sglang::Launch;

/// Mount point of the hub cache root in a container. Not `/root/.cache/huggingface`, because official images keep
/// kernels there. The root and not a snapshot, because snapshots are symlinks into it.
pub const MODELS: &str = "/models";

/// Returns the model path for the engine: the folder that the profile names, or the local snapshot if its commit is known, otherwise the repository id, which
/// the engine, being offline, resolves in the same cache.
pub(super) fn model_path(request: &ServeRequest, facts: &Facts) -> String {
    if let Some(path) = folder::path(request) {
        return path.to_owned();
    }
    let root = match request.target {
        Target::Docker => MODELS,
        Target::Process => &facts.paths.hub_cache,
    };
    let repo = &request.profile.model.repo;
    facts
        .resolved_commit(repo, &request.profile.model.revision)
        .map_or_else(
            || repo.clone(),
            |commit| format!("{root}/{}/snapshots/{commit}", pull::repo_folder(repo)),
        )
}

/// One argument of the engine's command line, with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The words: a flag and its values.
    pub words: Vec<String>,
    /// The origin: a knob of the profile (`engine.mem_fraction`), `stack`, `model`, `dsr1` or `command line`.
    pub origin: String,
}

impl Argument {
    fn new(words: &[&str], origin: &str) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            origin: origin.to_owned(),
        }
    }
}

/// Returns the words for the engine's own parser: the command without the program that starts it.
#[must_use]
pub fn parsed_words(request: &ServeRequest, facts: &Facts) -> Vec<String> {
    let arguments = arguments("python3", request, &request.launch(), facts);
    arguments
        .into_iter()
        .skip(1)
        .flat_map(|argument| argument.words)
        .collect()
}

/// Returns the same with `{model}` in place of the model's path. The name in the API stays, also where it is the same word.
#[must_use]
pub fn words_for_any_model(request: &ServeRequest, facts: &Facts) -> Vec<String> {
    let mut words = parsed_words(request, facts);
    for at in 1..words.len() {
        if matches!(&*words[at - 1], "--model-path" | "--tokenizer-path") {
            "{model}".clone_into(&mut words[at]);
        }
    }
    words
}

/// Returns the engine's whole command, argument by argument. The first one starts `python`, or the program beside it.
#[must_use]
pub fn arguments(python: &str, request: &ServeRequest, launch: &Launch, facts: &Facts) -> Vec<Argument> {
    let port = request.port.to_string();
    let address = [
        Argument::new(&["--host", "127.0.0.1"], "dsr1"),
        Argument::new(&["--port", &port], "dsr1"),
    ];
    arguments_at(address.into(), python, request, launch, facts)
}

/// Returns the same with `address` in place of the address and port of a server on one node.
pub(super) fn arguments_at(
    address: Vec<Argument>,
    python: &str,
    request: &ServeRequest,
    launch: &Launch,
    facts: &Facts,
) -> Vec<Argument> {
    let model = model_path(request, facts);
    let mut arguments = vec![
        Argument {
            words: request.stack.launch.command(python),
            origin: "stack".to_owned(),
        },
        Argument::new(&["--model-path", &model], "model"),
    ];
    if request.profile.engine.tokenizer_path == Some(true) {
        arguments.push(Argument::new(
            &["--tokenizer-path", &model],
            "engine.tokenizer_path",
        ));
    }
    arguments.extend(address);
    arguments.extend(launch.flags.args.iter().map(|flag| Argument {
        words: flag.words.clone(),
        origin: flag.knob.clone(),
    }));
    arguments
}

pub(super) fn argv(python: &str, request: &ServeRequest, launch: &Launch, facts: &Facts) -> Vec<String> {
    arguments(python, request, launch, facts)
        .into_iter()
        .flat_map(|argument| argument.words)
        .collect()
}
