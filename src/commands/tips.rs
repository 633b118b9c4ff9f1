//! Answers to what users of docker, ollama, hf, vLLM and SGLang type, in place of the nearest spelling.
//!
//! A word of another tool is often spelt like an unrelated word of this one (`top`, `stop`), so clap's suggestions are
//! replaced: by an answer from a table, by the place of an option of SGLang, or by a spelling that differs in a letter or
//! two. Without any of these there is no tip.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use crate::cli::Cli;
use crate::profile::foreign::option_of;
use crate::profile::spelling::nearest_within;
use crate::sglang::flags::{History, Parser, history};
use crate::ui;

/// A word that is no command here, and the answer.
const COMMANDS: [(&[&str], &str); 30] = [
    (
        &["rm", "kill", "delete", "remove"],
        "dsr1 stop NAME stops a server and removes its container; dsr1 weights rm removes weights",
    ),
    (
        &["models", "cache", "scan-cache"],
        "dsr1 weights list shows the models on this host; dsr1 profiles list shows what can be served",
    ),
    (&["rehearsal"], "dsr1 up rehearsal"),
    (&["images"], "dsr1 image list"),
    (&["rmi"], "dsr1 image prune removes old images"),
    (
        &["prune", "gc"],
        "dsr1 clean removes what is no longer used; dsr1 weights rm removes weights",
    ),
    (
        &["uninstall"],
        "dsr1 stop, then dsr1 clean --all --older-than 0 removes what dsr1 made and dsr1 weights rm the weights; then delete the file dsr1",
    ),
    (&["du"], "dsr1 weights du"),
    (
        &["verify"],
        "dsr1 weights verify checks weights; dsr1 serve verifies the answers of a server",
    ),
    (
        &["stats", "htop", "nvtop"],
        "dsr1 top shows the servers and the GPUs on a live screen; dsr1 status lists the servers",
    ),
    (&["health", "healthcheck"], "dsr1 status"),
    (
        &["inspect"],
        "dsr1 plan --profile NAME --origin shows a server, dsr1 image inspect IMAGE an image",
    ),
    (
        &["exec", "shell", "bash"],
        "docker exec -it NAME bash opens a shell in a server's container; dsr1 status lists the names",
    ),
    (
        &["reload", "recreate"],
        "dsr1 restart starts a server again with its plan",
    ),
    (
        &["install", "setup", "init"],
        "dsr1 build --profile NAME installs the engine; dsr1 up --profile NAME does everything",
    ),
    (
        &["update", "upgrade"],
        "install the new version over this one, as README.md says",
    ),
    (&["version"], "dsr1 --version"),
    (
        &["info", "env", "collect-env", "check-env", "check_env"],
        "dsr1 doctor checks this host; dsr1 status lists the servers",
    ),
    (
        &["config", "settings"],
        "settings are in profiles: dsr1 profiles show NAME, dsr1 profiles new NAME",
    ),
    (
        &["create", "new"],
        "dsr1 profiles new NAME prints a profile to start from",
    ),
    (&["show"], "dsr1 profiles show NAME, dsr1 stacks show NAME"),
    (
        &["test"],
        "dsr1 up --profile rehearsal tries the whole chain without a GPU; dsr1 eval gsm8k measures accuracy",
    ),
    (&["push"], "dsr1 build --tag NAME:TAG --push pushes an image"),
    (
        &["save", "load"],
        "dsr1 image save and dsr1 image load move an image to another host",
    ),
    (
        &["login", "auth", "whoami"],
        "set HF_TOKEN, or log in with hf auth login: dsr1 reads its token file",
    ),
    (&["wait"], "dsr1 serve waits until the server is READY"),
    (&["evaluate", "accuracy", "gsm8k"], "dsr1 eval gsm8k --data FILE"),
    (&["aime"], "dsr1 eval aime --data FILE"),
    (&["math500", "math-500"], "dsr1 eval math500 --data FILE"),
    (&["gpqa"], "dsr1 eval gpqa --data FILE"),
];

/// An argument that a command does not have, and the answer. An empty list of commands means every command.
struct Typed {
    arguments: &'static [&'static str],
    commands: &'static [&'static str],
    answer: &'static str,
}

/// Commands that start or describe a server.
const SERVERS: &[&str] = &["serve", "up", "plan", "export", "lock"];

const fn typed(
    arguments: &'static [&'static str],
    commands: &'static [&'static str],
    answer: &'static str,
) -> Typed {
    Typed {
        arguments,
        commands,
        answer,
    }
}

/// The first that fits is taken.
const ARGUMENTS: [Typed; 38] = [
    typed(
        &["-d", "--detach", "--background", "--daemon"],
        SERVERS,
        "a server runs in the background anyway; serve --foreground stays attached",
    ),
    typed(
        &["--attach", "-it", "-i", "--interactive"],
        SERVERS,
        "serve --foreground stays attached",
    ),
    typed(
        &["--host", "--listen", "--bind"],
        SERVERS,
        "a server listens on 127.0.0.1: dsr1 expose takes requests from other hosts, and so does an ssh tunnel",
    ),
    typed(
        &["--model", "--model-path", "-m", "--served-model"],
        SERVERS,
        "a profile names the model (dsr1 profiles list); --model REPO serves another one with the same settings",
    ),
    typed(
        &["--gpu", "--num-gpus", "-g"],
        SERVERS,
        "--gpus 0-3 chooses GPUs; a profile names their number: dsr1 profiles list",
    ),
    typed(
        &["-e", "--env", "--env-file"],
        SERVERS,
        "a variable for the engine: --env NAME=VALUE, or --env NAME for that of this shell",
    ),
    typed(
        &[
            "-v",
            "--volume",
            "--mount",
            "--ipc",
            "--shm-size",
            "--network",
            "--net",
            "--restart",
            "--rm",
            "--privileged",
        ],
        SERVERS,
        "dsr1 decides how the container runs: dsr1 plan shows it, dsr1 export writes it for another tool",
    ),
    typed(
        &["--image"],
        SERVERS,
        "dsr1 builds its image: --base-image names another base, --stack another version",
    ),
    typed(
        &["-f", "--file", "--config"],
        SERVERS,
        "--profile-file FILE names a profile of your own",
    ),
    typed(
        &["--api-key"],
        SERVERS,
        "a key in the arguments can be read by every local user: dsr1 expose takes requests with a key",
    ),
    typed(
        &["--force", "-y", "--yes"],
        &["up", "pull"],
        "--accept-license agrees to the hub's licence; nothing else asks",
    ),
    typed(
        &["--token"],
        &["pull", "up", "plan", "weights"],
        "set HF_TOKEN, or log in with hf auth login: a token in the arguments can be read by every local user",
    ),
    typed(
        &["--repo-type", "--force-download", "--resume-download"],
        &["pull"],
        "dsr1 pull fetches models, resumes by itself, and checks every hash",
    ),
    typed(
        &["--cache-dir"],
        &["pull", "weights", "up", "serve"],
        "set HF_HUB_CACHE to the hub cache",
    ),
    typed(&["-o", "--output", "--output-dir"], &["pull"], "--local-dir DIR"),
    typed(&["-t"], &["build"], "--tag NAME:TAG"),
    typed(
        &["-f", "--file"],
        &["build"],
        "dsr1 writes the Dockerfile itself: build --dry-run shows it",
    ),
    typed(
        &["--until"],
        &["logs"],
        "-n N prints the last N lines, -f follows",
    ),
    typed(&["--lines"], &["logs"], "-n N prints the last N lines"),
    typed(
        &["--all", "-a"],
        &["stop"],
        "dsr1 stop ends one server: name it as dsr1 status does",
    ),
    typed(
        &["--all", "-a"],
        &["image"],
        "dsr1 image list shows every image that dsr1 built; docker images -a shows all",
    ),
    typed(
        &["--no-trunc"],
        &["status"],
        "dsr1 status --format json lists the servers for programs, with whole IDs",
    ),
    typed(&["-t", "--time", "--timeout"], &["stop"], "--drain SECONDS"),
    typed(
        &["-f", "--force", "--kill", "-9"],
        &["stop"],
        "--drain 0 does not wait for running requests",
    ),
    typed(&["--concurrency", "-c"], &["bench"], "--max-concurrency N"),
    typed(&["--max-concurrency"], &["profiles"], "--concurrency N"),
    typed(&["--input-len", "--random-input-len"], &["profiles"], "--isl N"),
    typed(&["--output-len", "--random-output-len"], &["profiles"], "--osl N"),
    typed(
        &["-n", "--requests", "--num-requests"],
        &["bench"],
        "--num-prompts N",
    ),
    typed(
        &["--isl", "--random-input", "--random-input-len"],
        &["bench"],
        "--input-len N",
    ),
    typed(
        &["--osl", "--random-output", "--random-output-len"],
        &["bench"],
        "--output-len N",
    ),
    typed(
        &["-m", "--model"],
        &["ask"],
        "a server has one model: --server NAME or --url URL names the server",
    ),
    typed(
        &["--stream"],
        &["ask"],
        "dsr1 ask streams by itself on a terminal",
    ),
    typed(
        &["--system"],
        &["ask"],
        "dsr1 ask sends one question; dsr1 chat takes --system",
    ),
    typed(&["--json"], &[], "--format json"),
    typed(&["-q", "--quiet"], &[], "--progress quiet"),
    typed(
        &["-v", "--verbose", "--debug"],
        &[],
        "--progress plain prints everything",
    ),
    typed(&["--no-progress"], &[], "--progress quiet"),
];

/// Columns before a tip: clap's label and the space around it.
const LABEL: usize = "  tip: ".len();

/// Replaces the suggestions of clap about the arguments `args`, in lines for `columns`, and its usage line, which repeats what
/// was typed: a tip needs none, and otherwise it is the plain one of the command.
pub(super) fn improve(mut error: clap::Error, args: &[OsString], columns: usize) -> clap::Error {
    let path = command_path(&error);
    if error.remove(ContextKind::Usage).is_some() {
        let usage = command_at(&path).render_usage();
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    let word = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument | ErrorKind::ArgumentConflict => ContextKind::InvalidArg,
        _ => return error,
    };
    let Some(ContextValue::String(word)) = error.get(word).cloned() else {
        return error;
    };
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand => for_command(&word, &path),
        ErrorKind::UnknownArgument => with_one_dash(&word, args)
            .and_then(|whole| tip_for_argument(&whole, &path, args))
            .or_else(|| tip_for_argument(&word, &path, args)),
        // Docker's -p is a port.
        _ => (is_of_profile(&word) && prior_is_profile(&error) && SERVERS.contains(&path_word(&path)))
            .then(|| "-p is the profile; the port is --port PORT".to_owned()),
    };
    if error.kind() != ErrorKind::ArgumentConflict {
        for kind in [
            ContextKind::Suggested,
            ContextKind::SuggestedArg,
            ContextKind::SuggestedCommand,
            ContextKind::SuggestedSubcommand,
            ContextKind::TrailingArg,
        ] {
            error.remove(kind);
        }
    }
    if let Some(tip) = tip {
        let tip = ui::hanging(&tip, columns.saturating_sub(LABEL), LABEL);
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
        error.remove(ContextKind::Usage);
    }
    error
}

/// Returns the long option that was typed with one dash: `--tp` for `-tp`, of which clap names only `-t`.
fn with_one_dash(word: &str, args: &[OsString]) -> Option<String> {
    let is_short = |text: &str| text.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-'));
    let typed = args
        .iter()
        .filter_map(|arg| arg.to_str())
        .find(|arg| is_short(word) && arg.len() > word.len() && arg.starts_with(word))?;
    let is_answered = ARGUMENTS.iter().any(|known| known.arguments.contains(&typed));
    Some(if is_answered {
        typed.to_owned()
    } else {
        format!("-{typed}")
    })
}

/// Returns true for the argument `--profile` or `[PROFILE]`, as clap prints it.
fn is_of_profile(argument: &str) -> bool {
    argument.starts_with("--profile ") || argument == "[PROFILE]"
}

/// Returns true if the argument that came before is a profile, too.
fn prior_is_profile(error: &clap::Error) -> bool {
    match error.get(ContextKind::PriorArg) {
        Some(ContextValue::String(prior)) => is_of_profile(prior),
        Some(ContextValue::Strings(priors)) => priors.iter().any(|prior| is_of_profile(prior)),
        // Without a second argument it is the same one, twice.
        _ => true,
    }
}

fn path_word(path: &[String]) -> &str {
    path.first().map_or("", String::as_str)
}

/// Returns the command that was parsed, word by word, from the usage line: `dsr1 weights verify [OPTIONS]`.
fn command_path(error: &clap::Error) -> Vec<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else {
        return Vec::new();
    };
    let usage = usage.to_string();
    let words = usage
        .split_whitespace()
        .skip_while(|word| *word != "dsr1")
        .skip(1);
    words
        .take_while(|word| {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !word.starts_with('-') && word.chars().all(is_name)
        })
        .map(str::to_owned)
        .collect()
}

/// Returns the definition of the command at `path`.
fn command_at(path: &[String]) -> Command {
    let mut command = Cli::command();
    command.build();
    for name in path {
        match command.find_subcommand(name) {
            Some(found) => command = found.clone(),
            None => break,
        }
    }
    command
}

/// Returns the answer to a word that is no command below `path`; `None` without one.
pub(super) fn for_command(word: &str, path: &[String]) -> Option<String> {
    if path.is_empty()
        && let Some((_, answer)) = COMMANDS.iter().find(|(words, _)| words.contains(&word))
    {
        return Some((*answer).to_owned());
    }
    let command = command_at(path);
    let names = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .flat_map(|command| std::iter::once(command.get_name()).chain(command.get_all_aliases()));
    if let Some(near) = near(word, names) {
        return Some(format!("did you mean `{near}`?"));
    }
    let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    // A short list is an answer, a long one is the help.
    (!path.is_empty() && known.len() <= 8).then(|| format!("there is only {}", known.join(", ")))
}

/// Returns the plain value that was typed with an option: `8` for `--tp=8` and for `--tp 8`.
fn value_of<'a>(word: &'a str, args: &'a [OsString]) -> Option<&'a str> {
    let joined = word.split_once('=').map(|(_, value)| value);
    let next = || {
        let texts = args.iter().map(|arg| arg.to_str().unwrap_or_default());
        // `-tp` is asked about as `--tp`.
        let name = word.trim_start_matches('-');
        texts
            .skip_while(|text| !text.starts_with('-') || text.trim_start_matches('-') != name)
            .nth(1)
    };
    let is_plain = |value: &&str| {
        !value.is_empty()
            && !value.starts_with('-')
            && value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
    };
    joined.or_else(next).filter(is_plain)
}

fn tip_for_argument(word: &str, path: &[String], args: &[OsString]) -> Option<String> {
    let name = word.split('=').next().unwrap_or(word);
    let value = value_of(word, args);
    let command = path_word(path);
    let fits = |typed: &&Typed| {
        typed.arguments.contains(&name) && (typed.commands.is_empty() || typed.commands.contains(&command))
    };
    if let Some(typed) = ARGUMENTS.iter().find(fits) {
        return Some(typed.answer.to_owned());
    }
    if !name.starts_with('-') {
        return None;
    }
    let known = history(Parser::Server);
    if SERVERS.contains(&command)
        && let Some(full) = full_name(known, &name.replace('_', "-"))
    {
        let value = value.unwrap_or("VALUE");
        return Some(format!(
            "`{name}` is an option of SGLang: write it at the end, after `--`, as in dsr1 {command} ... -- {full} {value}"
        ));
    }
    if SERVERS.contains(&command)
        && let Some(equal) = option_of(name)
    {
        return Some(if equal.starts_with("--") {
            format!("in SGLang: {equal}. Options of SGLang are written after `--`")
        } else {
            equal.trim_start_matches("none: ").to_owned()
        });
    }
    let definition = command_at(path);
    let own = definition.get_arguments().filter_map(|arg| arg.get_long());
    let own: Vec<String> = own.map(|name| format!("--{name}")).collect();
    if own.iter().any(|own| own == name) {
        return Some(format!("write it with two dashes: `{name}`"));
    }
    near(name, own.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"))
}

/// Returns an option of SGLang in full: itself, the one that it is short for, or the shortest of those that begin with it. A
/// short form works only until another option begins with its letters.
fn full_name(known: &History, name: &str) -> Option<String> {
    if known.lifetime(name).is_some() {
        return Some(name.to_owned());
    }
    let begin = format!("{name}-");
    let longer = || {
        let options = known.names().filter(|option| option.starts_with(&begin));
        options.min_by_key(|option| option.len()).map(str::to_owned)
    };
    known.full_name(name).or_else(longer)
}

/// Returns the candidate that differs from `word` in one letter, or in two if it is long.
fn near<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = word.trim_start_matches('-').chars().count();
    let most = match letters {
        0..=3 => return None,
        4..=6 => 1,
        _ => 2,
    };
    nearest_within(word, candidates, most)
}
