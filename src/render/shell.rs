//! A plan as a bash script that does the same with `docker`, `python3`, `hf` and `curl`.
//!
//! Every step is destructured without `..`, so that a new field cannot be forgotten here.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::doctor::Blocker;
use crate::evaluate::Task;
use crate::measure::course::{Axis, Course, Search};
use crate::measure::{Load, PromptFile, PromptForm};
use crate::plan::{
    AwaitJob, AwaitReady, BuildImage, BuildSecret, Builder, CLIENT_DIR, CONTEXT_WHEELS, CheckEnvironment,
    CheckSnapshot, CreateVenv, EvaluateModel, MeasureCourse, MeasureLoad, Mount, Plan, ProveArguments,
    PullSnapshot, RunBenchmark, RunGsm8k, SecretSource, ServeMirror, Server, StartContainer, StartProcess,
    Step, StopServer, SubmitJob, Transport, Ulimit, VerifyAnswers, WriteModel,
};
use crate::quote::{is_hidden, shell_word};

/// Returns `plan` as a bash script. Every value stays one word of its command, whatever it holds.
#[must_use]
pub fn render(plan: &Plan) -> String {
    let Plan {
        schema: _,
        command,
        notes: _,
        checks: _, // `remarks` holds both
        memory: _, // its problems are checks
        measured: _,
        blockers,
        steps,
    } = plan;
    let mut script = format!(
        "#!/usr/bin/env bash\n# {}\nset -euo pipefail\n",
        comment(&format!("dsr1 {command}"))
    );
    for remark in plan.remarks() {
        let _ = writeln!(script, "# {}", comment(&remark));
    }
    for Blocker {
        kind: _,
        message,
        cause,
        hint,
    } in blockers
    {
        let _ = writeln!(
            script,
            "# BLOCKED: {}{}; {}",
            comment(message),
            comment(&in_parentheses(cause)),
            comment(hint)
        );
    }
    if !blockers.is_empty() {
        script.push_str(
            "echo 'blocked: read the top of this script; remove this line to run it anyway' >&2; exit 3\n",
        );
    }
    let of = steps.len();
    let mut planned_url = None;
    for (index, step) in steps.iter().enumerate() {
        let mut text = self::step(step);
        if let Some(url) = planned_url {
            // Only the job knows the address of its node. The planned URL needs no quotes, so that it can be replaced.
            text = text.replace(url, "\"$endpoint\"");
        }
        if let Step::AwaitJob(step) = step {
            planned_url = Some(step.base_url.as_str());
        }
        let title = comment(&step.title());
        let _ = write!(script, "\n# {}/{of} {title}\n{text}", index + 1);
    }
    script
}

/// Returns a cause in parentheses behind a message, and nothing for a message that says it itself.
pub(super) fn in_parentheses(cause: &str) -> String {
    if cause.is_empty() {
        String::new()
    } else {
        format!(" ({cause})")
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::CreateVenv(step) => create_venv(step),
        Step::CheckEnvironment(step) => check_environment(step),
        Step::BuildImage(step) => build_image(step),
        Step::WriteModel(step) => write_model(step),
        Step::ServeMirror(step) => serve_mirror(step),
        Step::PullSnapshot(step) => pull(step),
        Step::CheckSnapshot(step) => check_snapshot(step),
        Step::CheckFolder(step) => format!("test -e {}\n", shell_word(&format!("{}/config.json", step.path))),
        Step::ProveArguments(step) => prove(step),
        Step::StartContainer(step) => start_container(step),
        Step::StartProcess(step) => start_process(step),
        Step::SubmitJob(step) => submit(step),
        Step::AwaitJob(step) => await_job(step),
        Step::AwaitReady(step) => await_ready(step),
        Step::VerifyAnswers(step) => verify(step),
        Step::MeasureLoad(step) => load(step),
        Step::MeasureCourse(step) => several_loads(step),
        Step::EvaluateModel(step) => evaluation(step),
        Step::RunBenchmark(step) => benchmark(step),
        Step::RunGsm8k(step) => gsm8k(step),
        Step::StopServer(step) => stop(step),
    }
}

/// Returns a text as one line of a comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

/// Returns a command over several lines; each item of `lines` is one line.
fn command(lines: &[Vec<&str>]) -> String {
    let quoted = |words: &Vec<&str>| {
        words
            .iter()
            .map(|word| shell_word(word))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut text = lines.iter().map(quoted).collect::<Vec<_>>().join(" \\\n  ");
    text.push('\n');
    text
}

/// Groups words by flag: `--port 1` stays on one line.
pub(super) fn by_flag(argv: &[String]) -> Vec<Vec<&str>> {
    let mut lines: Vec<Vec<&str>> = Vec::new();
    for word in argv {
        match lines.last_mut() {
            Some(line) if !word.starts_with("--") => line.push(word),
            _ => lines.push(vec![word]),
        }
    }
    lines
}

fn write_file(path: &str, text: &str) -> String {
    format!(
        "mkdir -p \"$(dirname {path})\" && printf '%s' {} > {path}\n",
        shell_word(text)
    )
}

fn create_venv(step: &CreateVenv) -> String {
    let CreateVenv {
        stack: _,
        python,
        dir,
        requirements,
        installer: _, // pip installs the same packages
        files,
        inputs,
        install_bytes: _,
    } = step;
    let mut script = command(&[vec![python, "-m", "venv", dir]]);
    let pip = format!("{dir}/bin/python3");
    let lines: Vec<String> = requirements
        .iter()
        .map(|line| format!("  {}", shell_word(line)))
        .collect();
    let _ = write!(
        script,
        "printf '%s\\n' \\\n{} \\\n  | {} -m pip install --no-deps --disable-pip-version-check -r /dev/stdin\n",
        lines.join(" \\\n"),
        shell_word(&pip)
    );
    if !files.is_empty() {
        let _ = writeln!(
            script,
            "site=$({} -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')",
            shell_word(&pip)
        );
        for (path, text) in files {
            script.push_str(&write_file(&format!("\"$site\"/{}", shell_word(path)), text));
        }
    }
    let _ = writeln!(
        script,
        "printf '%s' {} > {}",
        shell_word(inputs),
        shell_word(&format!("{dir}/dsr1-inputs"))
    );
    script
}

fn check_environment(step: &CheckEnvironment) -> String {
    let CheckEnvironment {
        python,
        sglang: _,
        sha256: _,
        variables,
        modules,
        on_cpu: _,
        inputs: _,
        cache_dir: _,
    } = step;
    let assignments: Vec<String> = variables
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let import = |module: &String| {
        let statement = format!("import {module}");
        let mut line: Vec<&str> = vec!["env"];
        line.extend(assignments.iter().map(String::as_str));
        line.extend([python.as_str(), "-c", &statement]);
        command(&[line])
    };
    modules.iter().map(import).collect()
}

fn build_image(step: &BuildImage) -> String {
    let BuildImage {
        stack: _,
        tag,
        also,
        push,
        base: _, // in the Dockerfile, as the labels are
        base_digest: _,
        inline_cache,
        builder,
        platform: _, // the daemon's own platform; nothing is emulated
        dockerfile,
        files,
        wheels,
        secrets,
        args,
        inherited_args,
        labels: _,
        network,
        refresh: _, // an argument in the Dockerfile
        no_cache,
        pull,
        cache_from,
        inputs: _,
        install_bytes: _,
    } = step;
    let mut script = "context=$(mktemp -d)\n".to_owned();
    script.push_str(&write_file("\"$context\"/Dockerfile", dockerfile));
    for (path, text) in files {
        script.push_str(&write_file(&format!("\"$context\"/{}", shell_word(path)), text));
    }
    if let Some(dir) = wheels {
        // A copy, because the Docker CLI does not follow a link out of its context.
        let _ = writeln!(script, "cp -r {} \"$context\"/{CONTEXT_WHEELS}", shell_word(dir));
    }
    let mut options: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: &str| options.push(format!("{flag} {}", shell_word(value)));
    add("--network", network);
    for BuildSecret { id, source } in secrets {
        match source {
            SecretSource::File(path) if *builder == Builder::Classic => {
                let _ = writeln!(
                    script,
                    "mkdir \"$context\"/{id} && cp {} \"$context\"/{id}/{id}",
                    shell_word(path)
                );
            }
            SecretSource::Env(name) if *builder == Builder::Classic => {
                let _ = writeln!(
                    script,
                    "mkdir \"$context\"/{id} && printenv {} > \"$context\"/{id}/{id}",
                    shell_word(name)
                );
            }
            SecretSource::File(path) => add("--secret", &format!("id={id},src={path}")),
            SecretSource::Env(name) => add("--secret", &format!("id={id},env={name}")),
        }
    }
    for (name, value) in args {
        add("--build-arg", &format!("{name}={value}"));
    }
    for name in inherited_args {
        add("--build-arg", name);
    }
    if *inline_cache {
        add("--build-arg", "BUILDKIT_INLINE_CACHE=1");
    }
    for image in cache_from {
        add("--cache-from", image);
    }
    if *no_cache {
        options.push("--no-cache".to_owned());
    }
    if *pull {
        options.push("--pull".to_owned());
    }
    for tag in std::iter::once(tag).chain(also) {
        options.push(format!("--tag {}", shell_word(tag)));
    }
    let buildkit = u8::from(*builder == Builder::Buildkit);
    let _ = writeln!(
        script,
        "DOCKER_BUILDKIT={buildkit} docker build {} \"$context\"",
        options.join(" ")
    );
    script.push_str("rm -r \"$context\"\n");
    if *push {
        for tag in also {
            script.push_str(&command(&[vec!["docker", "push", tag]]));
        }
    }
    script
}

fn write_model(step: &WriteModel) -> String {
    let WriteModel { repo, cache_dir } = step;
    command(&[
        vec!["dsr1", "mirror", "--rehearsal", "--write-only"],
        vec!["--cache-dir", cache_dir],
    ]) + &format!("# writes {}\n", comment(repo))
}

fn serve_mirror(step: &ServeMirror) -> String {
    let ServeMirror { cache_dir, listen } = step;
    let mirror = command(&[
        vec!["dsr1", "mirror"],
        vec!["--cache-dir", cache_dir],
        vec!["--listen", listen],
    ]);
    format!(
        "{} &\nmirror=$!\ntrap 'kill \"$mirror\"' EXIT\n",
        mirror.trim_end()
    )
}

fn pull(step: &PullSnapshot) -> String {
    let PullSnapshot {
        endpoint,
        repo,
        revision,
        cache_dir,
        local_dir,
        license,
        accept_license: _, // `hf` does not ask for it
        max_workers,
        limit_rate: _, // `hf` has no such option
        transport,
        selection,
        code: _,   // `hf` downloads every file that the hub lists,
        locked: _, // without a lock
    } = step;
    let workers = max_workers.to_string();
    let endpoint = format!("HF_ENDPOINT={endpoint}");
    let mut env = vec!["env", &*endpoint];
    if *transport == Transport::Http {
        env.push("HF_HUB_DISABLE_XET=1");
    }
    let to = match local_dir {
        Some(dir) => vec!["--local-dir", &**dir],
        None => vec!["--cache-dir", &**cache_dir],
    };
    let mut lines = vec![
        [&*env, &["hf", "download", repo]].concat(),
        vec!["--revision", revision],
        to.clone(),
        vec!["--max-workers", &workers],
    ];
    for (option, patterns) in [
        ("--include", &selection.include),
        ("--exclude", &selection.exclude),
    ] {
        lines.extend(patterns.iter().map(|pattern| vec![option, &**pattern]));
    }
    let download = command(&lines);
    let mut lines = vec![
        vec!["env", &*endpoint, "hf", "cache", "verify", repo],
        vec!["--revision", revision],
        to,
    ];
    if selection.is_all() {
        lines.push(vec!["--fail-on-missing-files"]);
    }
    let verify = command(&lines);
    let license = if license.is_empty() {
        "see the repository's page"
    } else {
        license
    };
    format!("# licence: {}\n{download}{verify}", comment(license))
}

/// The question needs a program of its own; a script leaves it to dsr1.
fn prove(step: &ProveArguments) -> String {
    let ProveArguments {
        sglang: _,
        source,
        environment: _,
        folder: _,
        endpoint: _,
        repo: _,
        revision: _,
        hub_cache: _,
        gpu: _,
        words: _,
        planned: _,
        cache_dir: _,
    } = step;
    format!(
        "# dsr1 asks the engine in {} here, without a GPU; so does: dsr1 plan --prove\n",
        comment(source.name())
    )
}

fn check_snapshot(step: &CheckSnapshot) -> String {
    let CheckSnapshot {
        repo,
        revision,
        cache_dir,
    } = step;
    let path = format!("{cache_dir}/{}", crate::plan::repo_folder(repo));
    let (refs, snapshots) = (
        format!("{path}/refs/{revision}"),
        format!("{path}/snapshots/{revision}"),
    );
    format!(
        "test -e {} || test -e {}\n",
        shell_word(&refs),
        shell_word(&snapshots)
    )
}

fn start_container(step: &StartContainer) -> String {
    let mut lines: Vec<Vec<String>> = vec![words(&["docker", "run", "--detach"])];
    lines.extend(container_options(step));
    lines.push(vec![step.image.clone()]);
    lines.extend(by_flag(&step.argv).into_iter().map(|line| words(&line)));
    let lines: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| line.iter().map(String::as_str).collect())
        .collect();
    command(&lines)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Returns the options of `docker run` or `docker create`, one per line, without the image and the command.
pub(super) fn container_options(step: &StartContainer) -> Vec<Vec<String>> {
    let StartContainer {
        name,
        image: _, // after the options
        argv: _,  // after the image
        env,
        labels,
        network,
        gpus,
        shm_bytes,
        ulimits,
        mounts,
        init,
        cap_drop,
        security_opt,
        stop_timeout_s,
        log_driver,
        log_opts,
    } = step;
    let mut options: Vec<Vec<String>> = Vec::new();
    let mut add = |flag: &str, value: &str| options.push(words(&[flag, value]));
    add("--name", name);
    add("--network", network);
    if *gpus {
        add("--gpus", "all");
    }
    add("--shm-size", &shm_bytes.to_string());
    for Ulimit { name, soft, hard } in ulimits {
        add("--ulimit", &format!("{name}={soft}:{hard}"));
    }
    for mount in mounts {
        add("--mount", &mount_option(mount));
    }
    for capability in cap_drop {
        add("--cap-drop", capability);
    }
    for option in security_opt {
        add("--security-opt", option);
    }
    add("--stop-timeout", &stop_timeout_s.to_string());
    add("--log-driver", log_driver);
    for (key, value) in log_opts {
        add("--log-opt", &format!("{key}={value}"));
    }
    for (key, value) in labels {
        add("--label", &format!("{key}={value}"));
    }
    for (key, value) in env {
        add("--env", &format!("{key}={value}"));
    }
    if *init {
        options.push(words(&["--init"]));
    }
    options
}

/// Returns one `--mount` value. Docker reads it as a CSV record, so a field with a comma or a quote is quoted as in
/// CSV.
fn mount_option(mount: &Mount) -> String {
    let field = |key: &str, value: &str| {
        let text = format!("{key}={value}");
        if text.contains([',', '"', '\n']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    match mount {
        Mount::Bind { source, target } => {
            format!(
                "type=bind,{},{},readonly",
                field("source", source),
                field("target", target)
            )
        }
        Mount::Volume { name, target } => {
            format!(
                "type=volume,{},{}",
                field("source", name),
                field("target", target)
            )
        }
    }
}

fn start_process(step: &StartProcess) -> String {
    let StartProcess {
        name: _,
        argv,
        env,
        labels,
        log,
        workdir,
    } = step;
    let header = crate::plan::log_header(labels);
    let mut script = command(&[vec!["mkdir", "-p", workdir]]);
    script.push_str(&write_file(&shell_word(log), &format!("{header}\n")));
    let assignments: Vec<String> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut lines: Vec<Vec<&str>> = vec![vec!["setsid", "env", "--chdir", workdir]];
    lines.extend(assignments.iter().map(|pair| vec![pair.as_str()]));
    lines.extend(by_flag(argv));
    let _ = write!(
        script,
        "{} \\\n  < /dev/null >> {} 2>&1 &\n",
        command(&lines).trim_end(),
        shell_word(log)
    );
    script
}

fn await_ready(step: &AwaitReady) -> String {
    let AwaitReady {
        server,
        base_url,
        model: _, // for the report
        probe,
        prefetch: _, // a help that a script does without
        planned: _,
        stall_s: _,
        runs_already: _,
        inputs: _,
        gpus: _,
        last_ms: _,
    } = step;
    let url = shell_word(&format!("{base_url}{probe}"));
    let (alive, log) = match server {
        Server::Docker { name } => (
            format!(
                "docker container inspect --format '{{{{.State.Running}}}}' {} | grep -qx true",
                shell_word(name)
            ),
            format!("docker logs --tail 50 {}", shell_word(name)),
        ),
        Server::Process { name: _, log } => (
            format!("pid=$({}) && test -n \"$pid\"", find_process(log)),
            format!("tail -n 50 {}", shell_word(log)),
        ),
        Server::Slurm { name, folder } => (job_runs(name), tail_of_job(name, folder)),
    };
    format!(
        "until curl --silent --fail --noproxy '*' --max-time 5 --output /dev/null {url}; do\n  {alive} || {{ {log}; exit 7; }}\n  sleep 1\ndone\n"
    )
}

/// Returns the submission of a job; `$job` is its number.
fn submit(step: &SubmitJob) -> String {
    let SubmitJob {
        name,
        folder,
        script,
        labels,
    } = step;
    let file = format!("{folder}/{name}.sbatch");
    let comment = serde_json::to_string(labels).unwrap_or_default();
    let mut text = command(&[vec!["mkdir", "-p", folder]]);
    text += &write_file(&shell_word(&file), script);
    let chdir = format!("--chdir={folder}");
    let comment = format!("--comment={comment}");
    let own = format!("DSR1_FOLDER={folder}");
    let words = command(&[vec!["env", &own, "sbatch", "--parsable", &chdir, &comment, &file]]);
    let _ = writeln!(text, "job=$({})", words.trim_end());
    text
}

/// Returns the wait for the server of a job; `$endpoint` is its URL.
fn await_job(step: &AwaitJob) -> String {
    let AwaitJob {
        server,
        base_url: _, // `render` puts `$endpoint` in its place
        model: _,
        ranks: _,
    } = step;
    let Server::Slurm { name, folder } = server else {
        return String::new();
    };
    let file = format!("{}/{}-\"$job\"/endpoint", shell_word(folder), shell_word(name));
    format!(
        "until test -s {file}; do\n  {} || {{ {}; exit 7; }}\n  sleep 1\ndone\nendpoint=$(cat {file})\n",
        job_runs(name),
        tail_of_job(name, folder)
    )
}

/// Returns a command that succeeds while a job of that name waits or runs.
fn job_runs(name: &str) -> String {
    format!("squeue --noheader --me --name {} | grep -q .", shell_word(name))
}

fn tail_of_job(name: &str, folder: &str) -> String {
    format!(
        "tail -n 50 {}/{}-\"$job\".log",
        shell_word(folder),
        shell_word(name)
    )
}

/// Returns a command that prints the id of the process group leader whose standard output is the log.
fn find_process(log: &str) -> String {
    format!(
        "for p in /proc/[0-9]*; do test \"$(readlink \"$p/fd/1\" 2>/dev/null)\" = {} && test \"$(cut -d' ' -f5 \"$p/stat\")\" = \"${{p##*/}}\" && echo \"${{p##*/}}\"; done; true",
        shell_word(log)
    )
}

fn verify(step: &VerifyAnswers) -> String {
    let VerifyAnswers {
        server: _,
        base_url,
        checks: _,
    } = step;
    let body = r#"{"model": "default", "messages": [{"role": "user", "content": "What is 17 * 23?"}], "max_tokens": 512, "temperature": 0}"#;
    format!(
        "curl --silent --fail --noproxy '*' {}\ncurl --silent --fail --noproxy '*' --json {} {}\n",
        shell_word(&format!("{base_url}/v1/models")),
        shell_word(body),
        shell_word(&format!("{base_url}/v1/chat/completions"))
    )
}

/// Returns a client command in the server's runtime.
fn client(server: &Server, argv: &[String], env: &BTreeMap<String, String>, results_dir: &str) -> String {
    let pairs: Vec<String> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut lines: Vec<Vec<&str>> = match server {
        Server::Docker { name } => {
            let mut lines = vec![vec!["docker", "exec", "--workdir", CLIENT_DIR]];
            lines.extend(pairs.iter().map(|pair| vec!["--env", pair.as_str()]));
            lines.push(vec![name]);
            lines
        }
        Server::Process { name: _, log: _ } | Server::Slurm { name: _, folder: _ } => {
            let mut lines = vec![vec!["env", "--chdir", results_dir]];
            lines.extend(pairs.iter().map(|pair| vec![pair.as_str()]));
            lines
        }
    };
    lines.extend(by_flag(argv));
    command(&lines)
}

/// Returns the same load by the engine's own client, which a script has. A server that is known by its URL has none.
fn load(step: &MeasureLoad) -> String {
    if let Some(client) = &step.by_engine {
        return benchmark(client);
    }
    let mut words = words_of_bench(step, &[]);
    match step.load {
        Load::Concurrency(count) => words.extend(["--max-concurrency".to_owned(), count.to_string()]),
        Load::Rate { per_second, .. } => {
            words.extend(["--request-rate".to_owned(), per_second.to_string()]);
            add_open_loop(&mut words, &step.load);
        }
        Load::Replay {
            speed,
            most_in_flight,
        } => {
            words.extend(["--speed".to_owned(), speed.to_string()]);
            if let Some(most) = most_in_flight {
                words.extend(["--max-concurrency".to_owned(), most.to_string()]);
            }
        }
    }
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    if step.extent.ramp_s > 0 {
        add("--ramp", step.extent.ramp_s.to_string());
    }
    if step.extent.requests < u32::MAX {
        add("--num-prompts", step.extent.requests.to_string());
    }
    command(&by_flag(&words))
}

/// Returns the words of a command of `bench` with all of a load but its height.
fn words_of_bench(step: &MeasureLoad, command: &[&str]) -> Vec<String> {
    let mut words = vec!["dsr1".to_owned(), "bench".to_owned()];
    words.extend(command.iter().map(|word| (*word).to_owned()));
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    add("--url", step.base_url.clone());
    add("--api", step.api.name().to_owned());
    match &step.source.file {
        None => {
            add("--input-len", step.lengths.input.to_string());
            add("--output-len", step.lengths.output.to_string());
        }
        Some(PromptFile::Data { path, .. }) => {
            add("--data", path.clone());
            add("--output-len", step.lengths.output.to_string());
        }
        Some(PromptFile::Trace { path }) => add("--trace", path.clone()),
    }
    if step.lengths.ratio < 1.0 {
        add("--range-ratio", step.lengths.ratio.to_string());
    }
    if step.lengths.shared_prefix > 0 {
        add("--shared-prefix", step.lengths.shared_prefix.to_string());
    }
    if !step.lengths.turns.is_single() {
        add("--turns", step.lengths.turns.count.to_string());
    }
    if step.lengths.turns.think_s > 0.0 {
        add("--think-time", step.lengths.turns.think_s.to_string());
    }
    add("--duration", step.extent.least_s.to_string());
    if let Some(most) = step.extent.most_s {
        add("--max-duration", most.to_string());
    }
    if let Some(model) = &step.model {
        add("--model", model.clone());
    }
    if let Some(size) = step.vocabulary {
        add("--vocabulary", size.to_string());
    }
    if step.source.form != PromptForm::of(step.api) {
        add("--prompts", step.source.form.name().to_owned());
    }
    if let Some(tokenizer) = &step.source.tokenizer {
        add("--tokenizer", tokenizer.clone());
    }
    if let Some(seed) = step.seed {
        add("--seed", seed.to_string());
    }
    if matches!(step.source.file, Some(PromptFile::Data { repeats: true, .. })) {
        words.push("--repeat-data".to_owned());
    }
    if !step.ignores_end {
        words.push("--stop-at-end".to_owned());
    }
    words
}

/// Returns the command that measures several loads.
fn several_loads(step: &MeasureCourse) -> String {
    let mut words = match &step.course {
        Course::Points(points) => {
            let mut words = words_of_bench(&step.measure, &["sweep"]);
            let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
            let loads = || points.stages.iter().map(|stage| stage.load);
            let slots: Vec<String> = loads()
                .filter_map(|load| load.slots())
                .map(|count| count.to_string())
                .collect();
            let rates: Vec<String> = loads()
                .filter_map(|load| load.per_second())
                .map(|rate| rate.to_string())
                .collect();
            if rates.is_empty() {
                add("--concurrency", slots.join(","));
            } else {
                add("--rates", rates.join(","));
            }
            add("--repeats", points.repeats.to_string());
            add_open_loop(&mut words, &step.measure.load);
            words
        }
        Course::Search(search) => words_of_search(&step.measure, search),
    };
    if step.cool_down_s > 0 {
        words.extend(["--cool-down".to_owned(), step.cool_down_s.to_string()]);
    }
    command(&by_flag(&words))
}

fn words_of_search(measure: &MeasureLoad, search: &Search) -> Vec<String> {
    let Search {
        axis,
        from,
        range: (_, to),
        precision,
        limits,
        shape: _,
    } = search;
    let mut words = words_of_bench(measure, &["slo"]);
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    add("--percentile", limits.percentile.name().to_owned());
    let flags = [
        ("--ttft", limits.ttft_ms),
        ("--tpot", limits.tpot_ms),
        ("--e2e", limits.e2e_ms),
    ];
    for (flag, limit) in flags {
        if let Some(limit) = limit {
            add(flag, limit.to_string());
        }
    }
    add("--from", from.to_string());
    add("--to", to.to_string());
    add("--precision", format!("{:.0}", precision * 100.0));
    let by = match axis {
        Axis::Concurrency => "concurrency",
        Axis::Rate { .. } => "rate",
    };
    add("--by", by.to_owned());
    add_open_loop(&mut words, &measure.load);
    words
}

/// Adds the options of an open loop beside its rate.
fn add_open_loop(words: &mut Vec<String>, load: &Load) {
    let Load::Rate {
        arrivals,
        most_in_flight,
        ..
    } = load
    else {
        return;
    };
    words.extend(["--arrivals".to_owned(), arrivals.name().to_owned()]);
    if let Some(most) = most_in_flight {
        words.extend(["--max-concurrency".to_owned(), most.to_string()]);
    }
}

fn benchmark(step: &RunBenchmark) -> String {
    let RunBenchmark {
        server,
        base_url: _,
        argv,
        env,
        output,
        num_prompts: _,
        results_dir,
    } = step;
    let mut argv = argv.clone();
    argv.extend(words(&["--output-file", output]));
    let mut script = command(&[vec!["mkdir", "-p", results_dir]]);
    script.push_str(&client(server, &argv, env, results_dir));
    if let Server::Docker { name } = server {
        let from = format!("{name}:{output}");
        script.push_str(&command(&[vec!["docker", "cp", &from, results_dir]]));
    }
    script
}

/// Returns the engine's own script with the same questions, if it has them; otherwise dsr1 with all that the step says.
fn evaluation(step: &EvaluateModel) -> String {
    let EvaluateModel {
        server,
        base_url,
        model,
        profile: _, // those of the server and the host are for the result
        stack: _,
        host: _,
        settings,
        year,
        data,
        sha256,
        questions,
        samples,
        parallel,
        stall_s,
        min_accuracy,
        expect_tokens,
        length_tolerance,
        fresh,
        show_wrong,
        results_dir: _, // dsr1's own
        by_engine,
    } = step;
    if let Some(script) = by_engine {
        return gsm8k(script);
    }
    let mut words = words(&["dsr1", "eval", settings.task.name()]);
    match server {
        Some(server) => words.push(server.name().to_owned()),
        None => words.extend(["--url".to_owned(), base_url.clone()]),
    }
    let text = |value: &dyn ToString| Some(value.to_string());
    let is_shown = settings.task == Task::Gsm8k;
    let pairs = [
        ("--model", model.clone()),
        ("--data", Some(data.clone())),
        ("--sha256", sha256.clone()),
        ("--year", year.map(|year| year.to_string())),
        ("--api", text(&settings.api.name())),
        ("--num-shots", text(&settings.shots).filter(|_| is_shown)),
        ("--num-questions", questions.map(|count| count.to_string())),
        ("--samples", text(samples)),
        ("--parallel", text(parallel)),
        ("--max-new-tokens", text(&settings.max_tokens)),
        ("--temperature", text(&settings.temperature)),
        ("--top-p", text(&settings.top_p)),
        ("--seed", text(&settings.seed)),
        ("--timeout", text(stall_s)),
        (
            "--min-accuracy",
            min_accuracy.map(|least| least.share().to_string()),
        ),
        ("--expect-tokens", expect_tokens.map(|count| count.to_string())),
        (
            "--length-tolerance",
            expect_tokens.map(|_| length_tolerance.to_string()),
        ),
        ("--show-wrong", text(show_wrong).filter(|_| *show_wrong > 0)),
    ];
    for (flag, value) in pairs {
        words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    if *fresh {
        words.push("--fresh".to_owned());
    }
    command(&by_flag(&words))
}

fn gsm8k(step: &RunGsm8k) -> String {
    let RunGsm8k {
        server,
        base_url: _,
        argv,
        env,
        data,
        sha256,
        questions: _,
        min_accuracy: _,
        results_dir,
    } = step;
    let mut script = command(&[vec!["mkdir", "-p", results_dir]]);
    let local = format!("{results_dir}/gsm8k.jsonl");
    if data.starts_with("http://") || data.starts_with("https://") {
        script.push_str(&command(&[vec![
            "curl",
            "--fail",
            "--location",
            "--output",
            &local,
            data,
        ]]));
    } else {
        script.push_str(&command(&[vec!["cp", "--", data, &local]]));
    }
    if let Some(hash) = sha256 {
        let _ = writeln!(
            script,
            "printf '%s  %s\\n' {} {} | sha256sum --check",
            shell_word(hash),
            shell_word(&local)
        );
    }
    let inside = match server {
        Server::Docker { name } => {
            let target = format!("{name}:/tmp/gsm8k.jsonl");
            script.push_str(&command(&[vec!["docker", "cp", &local, &target]]));
            "/tmp/gsm8k.jsonl"
        }
        Server::Process { name: _, log: _ } | Server::Slurm { name: _, folder: _ } => &local,
    };
    let mut argv = argv.clone();
    argv.push(inside.to_owned());
    script.push_str(&client(server, &argv, env, results_dir));
    script
}

fn stop(step: &StopServer) -> String {
    let StopServer { server, drain_s } = step;
    let seconds = drain_s.to_string();
    match server {
        Server::Docker { name } => {
            command(&[vec!["docker", "stop", "--time", &seconds, name]])
                + &command(&[vec!["docker", "rm", name]])
        }
        Server::Process { name: _, log } => format!(
            "pid=$({})\nkill -TERM \"$pid\"\ntimeout {seconds} tail --pid=\"$pid\" -f /dev/null || true\nkill -KILL -- \"-$pid\" 2>/dev/null || true\n",
            find_process(log)
        ),
        Server::Slurm { name, folder: _ } => command(&[vec![
            "scancel",
            "--signal=TERM",
            "--batch",
            "--me",
            "--name",
            name,
        ]]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_when_they_must_be() {
        assert_eq!(shell_word("--port"), "--port");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("a;b"), "'a;b'");
        assert_eq!(shell_word("~/x"), "'~/x'");
    }

    #[test]
    fn mount_fields_survive_dockers_csv() {
        let mount = Mount::Bind {
            source: "/a,b".to_owned(),
            target: "/m".to_owned(),
        };
        assert_eq!(
            mount_option(&mount),
            "type=bind,\"source=/a,b\",target=/m,readonly"
        );
    }
}
