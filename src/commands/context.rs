//! Everything that commands share: effects, display and facts, the choice of a profile, and carrying out a plan.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::place::{choose_gpus, choose_port};
use crate::cli::{Format, HubArgs, Output, PlanArgs, ProfileArgs, Runtime, RuntimeArgs, ServerArgs};
use crate::effects::docker::Docker;
use crate::effects::env::Env;
use crate::effects::process::{environment, pip, site, venv};
use crate::effects::{
    Effects, Found, Removed, env, host, measured_starts, signal, store, user_files, weights,
};
use crate::error::{At, Error, Kind, Result};
use crate::event::{Event, Reporter, StepEvents};
use crate::facts::{self, Facts, Gpu};
use crate::plan::advise::on_a_stack_that_runs;
use crate::plan::{
    self, BuildRequest, ImageChoice, Plan, PullOptions, RepoReference, ServeRequest, Step, Target,
};
use crate::profile::{
    Accelerator, Architecture, Catalog, Criteria, Goal, Model, Precision, Profile, Selection, Stack,
    UserFiles, is_mountable,
};
use crate::render;
use crate::report::Report;
use crate::sglang::memory::{bundled, published_bytes, published_code};
use crate::sglang::rules::{Variable, is_variable_name, variable};
use crate::ui;
use crate::units::{Bytes, counted};

/// Time after which a wait is said.
const SILENCE: Duration = Duration::from_secs(2);
/// Note at the interruption of an installation. The removal blocks, so that a further Ctrl-C is not heard; SIGQUIT, which no
/// handler takes, ends the process, and the rest has a name that nothing uses.
const INTERRUPTED_INSTALLATION: &str = r"interrupted: packages that are not complete are removed, which usually takes a few seconds; Ctrl-\ ends dsr1 at once, and dsr1 clean removes the rest";
/// Longest time for reading the shape of a model from its hub.
const LONGEST_READ: Duration = Duration::from_mins(1);

/// Output and effects of a command.
pub(super) struct Context {
    /// Form of the output.
    pub(super) output: Output,
    /// All effects.
    pub(super) effects: Effects,
    /// The environment of the user that runs the engine, if one is named.
    environment: OnceLock<facts::Environment>,
    /// True if the profile is for a processor: the environment is used without GPUs.
    on_cpu: OnceLock<bool>,
}

impl Context {
    /// Returns the context of a command; nothing is opened or read yet.
    pub(super) fn new(output: Output, env: Env) -> Self {
        Self {
            output,
            effects: Effects::new(env),
            environment: OnceLock::new(),
            on_cpu: OnceLock::new(),
        }
    }

    /// Takes the environment that the arguments name as the stack of this command: from `stored` facts, or from this host.
    pub(super) async fn use_environment(&self, args: &RuntimeArgs, stored: Option<&Facts>) -> Result<()> {
        let Some(python) = &args.python else {
            return Ok(());
        };
        let found = match stored {
            Some(facts) => facts.host.environment.clone().ok_or_else(|| {
                Error::new(Kind::Usage, "the facts have no environment")
                    .hint("write them on that host: dsr1 doctor --python PATH --profile NAME --format json")
            })?,
            None => environment::read_environment(self.env(), python, &variables(args)?).await?,
        };
        self.take_environment(found)
    }

    fn take_environment(&self, found: facts::Environment) -> Result<()> {
        // A stack that cannot be made is an error of its own, before the catalog leaves it out.
        plan::found_stack(&found)?;
        let _ = self.environment.set(found);
        Ok(())
    }

    /// Takes the environment that runs a server as the stack of this command, if it is one of the user.
    pub(super) async fn use_environment_of(&self, server: &Found) -> Result<()> {
        if server.status.stack == plan::FOUND {
            let found = environment::read_environment(self.env(), &server.python, &server.variables).await?;
            self.take_environment(found)?;
        }
        Ok(())
    }

    /// Returns the environment of the user, as the profile uses it.
    pub(super) fn environment(&self) -> Option<facts::Environment> {
        let mut found = self.environment.get()?.clone();
        found.on_cpu = self.on_cpu.get().copied().unwrap_or(false);
        Some(found)
    }

    pub(super) fn env(&self) -> &Env {
        self.effects.env()
    }

    /// Returns the display of progress.
    pub(super) fn display(&self) -> Box<dyn Reporter> {
        let plain = self.env().no_color || self.env().dumb_terminal;
        ui::display(self.output.progress, !plain, self.env().dumb_terminal)
    }

    /// Prints a result: as text for people, in lines that fit on the terminal, or as JSON.
    pub(super) fn print<T: serde::Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        self.print_document(value, |value| ui::fitted(&text(value), ui::columns()))
    }

    /// Prints a document of its own form (a script, a file, an answer of the model) with the line ends that it has, or as
    /// JSON.
    pub(super) fn print_document<T: serde::Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        match self.output.format {
            Format::Text => ui::print(&text(value)),
            Format::Json => ui::print(&ui::json(value)),
        }
    }

    /// Carries out a plan to its end. The caller handles signals; what was started stays.
    pub(super) async fn carry_out_all(&self, plan: &Plan) -> Result<Report> {
        if let Some(blocker) = plan.blockers.first() {
            return Err(blocker.clone().into());
        }
        let display = self.display();
        let report = self.effects.execute(plan, &*display).await;
        if let (Err(error), Some((step, _))) = (&report, self.effects.step_of(plan)) {
            display.event(&failed(step, error));
        }
        report
    }

    /// Carries out a plan to its end, or until the user interrupts.
    ///
    /// Fails at once if the plan has a blocker.
    pub(super) async fn carry_out(&self, plan: &Plan) -> Result<Report> {
        if let Some(blocker) = plan.blockers.first() {
            return Err(blocker.clone().into());
        }
        let display = self.display();
        let on_signal = || {
            if let Some((step, Step::CreateVenv(_))) = self.effects.step_of(plan) {
                display.event(&Event::Note {
                    text: INTERRUPTED_INSTALLATION.to_owned(),
                });
                StepEvents::new(&*display, step).activity("remove incomplete packages", None);
            }
            self.effects.interrupt(plan)
        };
        let report = self
            .interruptible(self.effects.execute(plan, &*display), on_signal)
            .await;
        let at = self.effects.step_of(plan);
        if let (Err(error), Some((step, _))) = (&report, at) {
            display.event(&failed(step, error));
        }
        drop(display);
        report.map_err(|error| {
            let is_interrupted = error.kind() == Kind::Interrupted;
            let error = match at.and_then(|(step, _)| plan.left_running(step - 1)) {
                Some(server) if is_interrupted => error.also(format!("{} goes on running", server.name())),
                _ => error,
            };
            let kept = match at.map(|(_, step)| step) {
                Some(Step::PullSnapshot(_)) => "it resumes an unfinished pull of weights".to_owned(),
                Some(Step::CreateVenv(_)) => match venv::kept_packages(self.env()) {
                    None => "pip keeps only packages that the index lets it keep".to_owned(),
                    Some(0) => "no package is kept".to_owned(),
                    Some(kept) => format!("it uses the {} that are fetched", counted(kept, "package")),
                },
                Some(Step::BuildImage(_)) => {
                    "it takes the finished steps of the image from the build cache".to_owned()
                }
                _ => return error,
            };
            if is_interrupted {
                error.hint(format!("run the command again: {kept}"))
            } else {
                error
            }
        })
    }

    /// Does long work outside of a plan and shows it as a single step; `summary` describes the finished work.
    pub(super) async fn one_step<T>(
        &self,
        title: &str,
        summary: &str,
        work: impl AsyncFnOnce(&StepEvents<'_>) -> Result<T>,
    ) -> Result<T> {
        self.one_shown_step(title, summary, async |events| {
            self.until_interrupted(work(events)).await
        })
        .await
    }

    /// As [`Self::one_step`], for work that ends by itself when the user interrupts.
    pub(super) async fn one_shown_step<T>(
        &self,
        title: &str,
        summary: &str,
        work: impl AsyncFnOnce(&StepEvents<'_>) -> Result<T>,
    ) -> Result<T> {
        let display = self.display();
        let begun = Instant::now();
        display.event(&Event::StepStarted {
            step: 1,
            of: 1,
            title: title.to_owned(),
        });
        let events = StepEvents::new(&*display, 1);
        let done = work(&events)
            .await
            .inspect_err(|error| display.event(&failed(1, error)))?;
        display.event(&Event::StepFinished {
            step: 1,
            elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            cached: false,
            summary: summary.to_owned(),
        });
        Ok(done)
    }

    /// Carries out a plan and prints its report.
    pub(super) async fn finish(&self, plan: &Plan) -> Result<()> {
        self.print_report(&self.carry_out(plan).await?, "")
    }

    /// Prints the report of a plan, and below it a text for people.
    pub(super) fn print_report(&self, report: &Report, more: &str) -> Result<()> {
        let are_shown = ui::shows_steps(self.output.progress, self.env().dumb_terminal);
        self.print(report, |report| {
            ui::report(report, are_shown, ui::columns()) + more
        })
    }

    /// Prints a plan, or carries it out. A script has the values of secret variables, because it does not work without them.
    pub(super) async fn print_or_finish(&self, plan: &Plan, print: bool) -> Result<()> {
        if print && self.is_json() {
            self.print_document(&plan::without_secrets(plan), |_| String::new())
        } else if print {
            self.print_document(plan, render::shell::render)
        } else {
            self.finish(plan).await
        }
    }

    /// Awaits `work`. Ctrl-C or SIGTERM drops it and removes the servers that it started; a second signal does not wait for
    /// the removal.
    pub(super) async fn until_interrupted<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.interruptible(work, || false).await
    }

    /// As [`Self::until_interrupted`], for an output that goes on until the user leaves it, which is no failure.
    pub(super) async fn until_left<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.until_interrupted(work).await.map_err(|error| {
            let is_left = error.kind() == Kind::Interrupted;
            error.reported_if(is_left)
        })
    }

    /// As [`Self::until_interrupted`]; `on_signal` is called before `work` is dropped, which can take seconds. If it returns true,
    /// `work` ends by itself, and its error says what it has kept; a second signal does not wait for that.
    async fn interruptible<T>(
        &self,
        work: impl Future<Output = Result<T>>,
        on_signal: impl FnOnce() -> bool,
    ) -> Result<T> {
        let error = {
            let mut work = Box::pin(work);
            let name = tokio::select! {
                // The handlers are set before the work begins: a signal to a process without them ends it at once.
                biased;
                name = signal::wait() => name?,
                done = &mut work => return done,
            };
            let kept = if on_signal() {
                tokio::select! {
                    done = &mut work => done.map(Some),
                    _ = signal::wait() => Ok(None),
                }
            } else {
                Ok(None)
            };
            let error = Error::new(Kind::Interrupted, format!("interrupted by {name}"));
            match kept {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => error,
                Err(kept) if kept.kind() == Kind::Interrupted => error.with_hints(kept.hints().to_vec()),
                // It could not keep what it has.
                Err(failed) => error.also(failed.message()).with_hints(failed.hints().to_vec()),
            }
        };
        tokio::select! {
            removed = self.effects.clean_up() => Err(removed.iter().fold(error, |error, one| error.also(fate(one)))),
            _ = signal::wait() => {
                Err(error.hint("a server that this command started may still run: dsr1 status shows it"))
            }
        }
    }

    /// Asks the user for the removal of what is on the screen. `line` is the command, for the answer without a terminal.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] without the user's agreement; [`Kind::Usage`] if nobody can be asked.
    pub(super) fn ask_for_removal(&self, line: &str) -> Result<()> {
        if self.is_json() || !ui::can_ask() {
            return Err(Error::new(
                Kind::Usage,
                "nothing is removed: nobody can be asked without a terminal",
            )
            .hint(format!("{line} --yes removes it; {line} --dry-run lists it")));
        }
        if ui::agrees("Remove this? [y/N] ")? {
            return Ok(());
        }
        Err(Error::new(
            Kind::Interrupted,
            "nothing was removed: you did not agree",
        ))
    }

    /// Returns the catalog: built-in profiles, the user's own, and that of `file`.
    pub(super) fn catalog(&self, file: Option<&Path>) -> Result<Catalog> {
        let mut files = user_files::read(&self.env().config, file)?;
        if let Some(environment) = self.environment() {
            // Before a stack of the user with this name.
            files.stacks.insert(0, plan::found_stack(&environment)?);
        }
        Catalog::with(&files)
    }

    /// Warns of each file of the user that is left out, because it is not valid.
    pub(super) fn warn_of_broken(&self, catalog: &Catalog) {
        let display = self.display();
        for text in catalog.broken() {
            let (text, hint) = (format!("left out: {text}"), String::new());
            display.event(&Event::Warning { text, hint });
        }
    }

    /// Returns the facts in a file, or the GPUs of this host.
    pub(super) async fn gpu_facts(&self, file: Option<&Path>) -> Result<Facts> {
        if let Some(facts) = Self::facts(file)? {
            return Ok(facts);
        }
        let ask = Ask {
            gpus: true,
            ..Ask::default()
        };
        Ok(self
            .gather(self.catalog(None)?.stack("current")?, None, &ask)
            .await)
    }

    /// Returns the user's own files.
    pub(super) fn user_files(&self) -> Result<UserFiles> {
        user_files::read(&self.env().config, None)
    }

    /// Returns true if results are JSON.
    pub(super) const fn is_json(&self) -> bool {
        matches!(self.output.format, Format::Json)
    }

    /// Returns the profile that the arguments choose.
    ///
    /// Only a goal needs the GPUs of this host; otherwise they are not read, because nvidia-smi can take a second.
    pub(super) async fn select(&self, args: &ProfileArgs, facts: Option<&Facts>) -> Result<Selection> {
        let catalog = self.catalog(args.profile_file.as_deref())?;
        self.refuse_second_engine(args)?;
        let (name, precision) = profile_name(&catalog, args)?;
        let is_goal = catalog.source(&name).is_none() && catalog.has_goal(&name);
        let host = match facts {
            Some(facts) => facts.host.clone(),
            None if !is_goal => facts::Host::default(),
            None => {
                let wanted = host::Wanted {
                    gpus: true,
                    ..host::Wanted::default()
                };
                host::gather(self.env(), &wanted).await
            }
        };
        let criteria = criteria(precision, args, host.gpus.as_deref());
        if self.environment.get().is_some() {
            // A goal is served by the profiles of any stack, on the engine that is there.
            let free = Criteria {
                stack: None,
                ..criteria
            };
            let chosen = catalog.select(&name, &free)?;
            // PyTorch from the package index is built for CUDA, and runs a profile for a processor, too.
            let on_cpu = chosen.stack.accelerator == Accelerator::Cpu;
            let catalog = if on_cpu && self.on_cpu.set(true).is_ok() {
                self.catalog(args.profile_file.as_deref())?
            } else {
                catalog
            };
            return Ok(Selection {
                note: chosen.note,
                ..catalog.resolve(&chosen.profile.name, Some(plan::FOUND))?
            });
        }
        let chosen = catalog.select(&name, &criteria)?;
        if !is_goal || args.stack.is_some() || host.gpus.as_ref().is_none_or(Vec::is_empty) {
            return Ok(chosen);
        }
        let facts = Facts {
            host,
            ..Facts::default()
        };
        let (note, own) = (chosen.note.clone(), chosen.stack.name.clone());
        let mut chosen = on_a_stack_that_runs(&catalog, chosen, &facts)?;
        chosen.note = note.map(|note| {
            let name = &chosen.stack.name;
            if *name == own {
                note
            } else {
                format!("{note}; on stack {name}, because `{own}` does not run on this host")
            }
        });
        Ok(chosen)
    }

    /// Refuses a stack beside an environment, which is a stack of its own.
    fn refuse_second_engine(&self, args: &ProfileArgs) -> Result<()> {
        match &args.stack {
            Some(stack) if self.environment.get().is_some() && stack != plan::FOUND => Err(Error::new(
                Kind::Usage,
                format!("--stack {stack} and --python name two engines"),
            )
            .hint("leave out --stack: the versions are those of the environment")),
            _ => Ok(()),
        }
    }

    /// Reads the facts of `--facts`.
    pub(super) fn facts_file(args: &PlanArgs) -> Result<Option<Facts>> {
        Self::facts(args.facts.as_deref())
    }

    /// Reads facts from a file.
    pub(super) fn facts(path: Option<&Path>) -> Result<Option<Facts>> {
        let Some(path) = path else { return Ok(None) };
        let name = path.display();
        let failed = || format!("cannot read `{name}`");
        let bytes = std::fs::read(path).at(Kind::Usage, failed)?;
        let text =
            user_files::decoded(bytes).map_err(|cause| Error::new(Kind::Usage, failed()).cause(cause))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let document: serde_json::Value =
            serde_json::from_str(text).at(Kind::Usage, || format!("`{name}` is not JSON"))?;
        // `dsr1 doctor --format json` wraps the facts in its report; both forms are accepted.
        let inner = if document["facts"].is_object() {
            document["facts"].clone()
        } else {
            document
        };
        let refused = |cause: String| {
            Error::new(
                Kind::Usage,
                format!("`{name}` is not a file of facts for this dsr1"),
            )
            .cause(cause)
            .hint("write it again: dsr1 doctor --profile NAME --format json > facts.json")
        };
        let schema = inner["schema"].as_str().unwrap_or_default().to_owned();
        if schema != facts::SCHEMA {
            return Err(refused(match schema.as_str() {
                "" => format!("it has no `schema`; that of this dsr1 is `{}`", facts::SCHEMA),
                schema => format!(
                    "its schema is `{}`, not `{}`",
                    schema.escape_debug(),
                    facts::SCHEMA
                ),
            }));
        }
        // A list would be read as the fields in their order.
        if let Some(section) = inner.as_object().and_then(|all| {
            all.iter()
                .find(|(key, value)| *key != "schema" && value.is_array())
        }) {
            return Err(refused(format!(
                "`{}`: wrong value: a list, expected a mapping",
                section.0
            )));
        }
        let facts: Facts = serde_path_to_error::deserialize(inner).map_err(|error| {
            let field = error.path().to_string();
            let message = error.into_inner().to_string();
            refused(format!("`{field}`: {}", crate::profile::yaml::in_words(&message)))
        })?;
        if let Some((field, problem)) = facts.contradiction() {
            return Err(refused(format!("`{field}`: {problem}")));
        }
        Ok(Some(facts))
    }

    /// Gathers the facts about this host that planning needs for a stack and a profile.
    pub(super) async fn gather(&self, stack: &Stack, profile: Option<&Profile>, ask: &Ask) -> Facts {
        let env = self.env();
        let docker = async {
            if ask.docker {
                self.docker_facts(stack, &ask.image).await
            } else {
                facts::Docker::default()
            }
        };
        let paths = facts::Paths {
            ready_venvs: venv::list_ready(&env.paths.cache),
            pip_cert: pip::cert(env),
            ..env.paths.clone()
        };
        let wanted = host::Wanted {
            disks: vec![paths.cache.clone(), paths.hub_cache.clone(), paths.state.clone()],
            ports: ask.ports.clone(),
            python: ask.python && stack.process_runtime && stack.name != plan::FOUND,
            gpus: ask.gpus && stack.accelerator == Accelerator::Cuda,
        };
        let (docker, mut host) = tokio::join!(docker, host::gather(env, &wanted));
        host.environment = self.environment();
        if ask.gpus && stack.accelerator == Accelerator::Cuda && host.environment.is_some() {
            host.site = Some(Box::new(site::read_site(env, &ask.variables).await));
        }
        let mut facts = Facts {
            schema: facts::SCHEMA.to_owned(),
            host,
            docker,
            paths,
            ..Facts::default()
        };
        if let Some(profile) = profile {
            let model = &profile.model;
            if let Some(path) = &model.path {
                let folder = store::folder(Path::new(path));
                facts.folders.insert(path.clone(), folder);
                return facts;
            }
            let cache = Path::new(&facts.paths.hub_cache);
            let commit = store::cached_commit(cache, &model.repo, &model.revision).or_else(|| {
                // dsr1 makes the rehearsal's model itself: its commit is known before it exists.
                (profile.goal == Goal::Rehearsal).then(weights::rehearsal_commit)
            });
            if let Some(commit) = commit {
                if let Some(files) =
                    store::verified_files(cache, &model.repo, &commit).filter(|_| ask.weights)
                {
                    facts.weights.insert(format!("{}@{commit}", model.repo), files);
                }
                // Only the memory of GPUs is planned.
                if stack.accelerator == Accelerator::Cuda
                    && let Some(model) = store::model_facts(cache, &model.repo, &commit)
                {
                    facts
                        .models
                        .insert(format!("{}@{commit}", profile.model.repo), model);
                }
                facts
                    .snapshots
                    .insert(format!("{}@{}", model.repo, model.revision), commit);
            }
            if let Some(endpoint) = &ask.hub
                && !env.hub.offline
                && profile.goal != Goal::Rehearsal
                && facts.cached_commit(&model.repo, &model.revision).is_none()
            {
                let options = self.effects.hub_options();
                facts.sources.weights =
                    weights::access(endpoint, &model.repo, &model.revision, options).await;
            }
        }
        facts
    }

    async fn docker_facts(&self, stack: &Stack, image: &ImageChoice) -> facts::Docker {
        let env = self.env();
        // The tag of the image depends on the plan's inputs, and these do not depend on Docker.
        let facts = Facts {
            paths: env.paths.clone(),
            host: facts::Host {
                platform: host::platform(),
                ..facts::Host::default()
            },
            ..Facts::default()
        };
        let base = plan::base_image(stack, image, &facts);
        let request = BuildRequest::new(stack.clone(), Target::Docker, image.clone());
        let tag = plan::image_tag(&request, &facts).unwrap_or_default();
        Docker::facts(env, &[&base, &tag], &[&base]).await
    }

    /// Returns the runtime that the arguments choose, or that dsr1 chooses, with its reason.
    pub(super) fn target(
        args: &RuntimeArgs,
        stack: &Stack,
        facts: &Facts,
    ) -> Result<(Target, Option<String>)> {
        plan::install_target(asked(args), stack, &image_choice(args), facts)
    }

    /// Returns the request of `serve` and `up`, with facts and notes about the choices of dsr1.
    pub(super) async fn server_request(
        &self,
        args: &ServerArgs,
        weights: bool,
        hub: Option<String>,
    ) -> Result<(ServeRequest, Facts, Vec<String>)> {
        let file = Self::facts_file(&args.plan)?;
        let profile = args.profile.with_name(args.named.as_ref());
        self.use_environment(&args.runtime, file.as_ref()).await?;
        let mut selection = self.select(&profile, file.as_ref()).await?;
        let mut variables = take_variables(&args.runtime, &mut selection.profile)?;
        let note = selection.note.take();
        if let Some(model) = &args.model {
            let own = selection.profile.goal == Goal::Rehearsal;
            selection.profile.model = named_model(model, self.env())?;
            if own {
                return Err(Error::new(Kind::Usage, "the rehearsal serves its own model")
                    .cause("it makes a tiny one, and pulls it from a hub that it starts itself")
                    .hint(format!(
                        "to serve {model}, name another profile: dsr1 profiles list"
                    )));
            }
        }
        let port = choose_port(&self.effects, args).await?;
        let model = selection.profile.model.clone();
        let mut facts = if let Some(mut facts) = file {
            facts.host.environment = self.environment().or(facts.host.environment);
            facts
        } else {
            let endpoint = match &hub {
                None if args.model.is_some() => Some(self.hub_url(None)?),
                endpoint => endpoint.clone(),
            };
            let ask = Ask {
                gpus: true,
                weights,
                hub,
                ports: std::iter::once(port).chain(plan::mirror_ports()).collect(),
                variables: variables.clone(),
                ..Ask::of_runtime(asked(&args.runtime), image_choice(&args.runtime))
            };
            let mut facts = self
                .gather(&selection.stack, Some(&selection.profile), &ask)
                .await;
            facts.servers = self.effects.running_servers().await;
            facts.starts = measured_starts(Path::new(&facts.paths.state));
            self.read_shape(&mut facts, &selection, endpoint).await?;
            facts
        };
        if let Some(bytes) = published_bytes(&model.repo).filter(|_| args.model.is_some()) {
            selection.profile.model.size_bytes = bytes;
        }
        if let Some(folder) = model.path.as_ref().and_then(|path| facts.folders.get(path)) {
            selection.profile.model.size_bytes = folder.size_bytes;
        }
        if let Some(listed) = facts.listed.get(&format!("{}@{}", model.repo, model.revision))
            && args.model.is_some()
        {
            selection.profile.model.size_bytes = listed.size_bytes;
            selection.profile.model.license.clone_from(&listed.license);
        }
        let (target, mut why) = Self::target(&args.runtime, &selection.stack, &facts)?;
        if target == Target::Process {
            facts.host.keep_visible_gpus();
        }
        let gpus = choose_gpus(args, &selection, &mut facts, &mut variables)?;
        let mut request = ServeRequest {
            name: args.name.clone(),
            port,
            gpus,
            image: image_choice(&args.runtime),
            extra_args: args.extra_args.clone(),
            variables,
            no_prefetch: args.no_prefetch,
            ..ServeRequest::new(selection, target)
        };
        // A server that runs has its runtime already.
        if why.is_some()
            && let Some(runs) = plan::runtime_of_running(&request, &facts)
            && runs != target
        {
            request.target = runs;
            why = Some(format!("runtime {}: the server runs there", runs.name()));
        }
        Ok((request, facts, [note, why].into_iter().flatten().collect()))
    }

    /// Adds the shape of a model that is neither pulled nor known, as the hub lists it. A hub that does not answer leaves
    /// the plan without memory; a model whose files are wrong is an error.
    async fn read_shape(
        &self,
        facts: &mut Facts,
        selection: &Selection,
        endpoint: Option<String>,
    ) -> Result<()> {
        let model = &selection.profile.model;
        let is_known = facts
            .resolved_commit(&model.repo, &model.revision)
            .is_some_and(|commit| facts.models.contains_key(&format!("{}@{commit}", model.repo)));
        let Some(endpoint) = endpoint.filter(|_| {
            selection.stack.accelerator == Accelerator::Cuda
                && model.path.is_none()
                && !is_known
                && !self.env().hub.offline
                && bundled(&model.repo).is_none()
        }) else {
            return Ok(());
        };
        let cache = Path::new(&facts.paths.cache);
        let asked = weights::listed(
            &endpoint,
            &model.repo,
            &model.revision,
            cache,
            self.effects.hub_options(),
        );
        // A hub that asks for patience gets it from a pull.
        let asked = tokio::time::timeout(LONGEST_READ, asked);
        let said = async {
            tokio::time::sleep(SILENCE).await;
            let text = format!("reading the shape of {} from {endpoint}", model.repo);
            self.display().event(&Event::Note { text });
            std::future::pending().await
        };
        let answer = async {
            tokio::select! {
                answer = asked => Ok(answer),
                never = said => never,
            }
        };
        let answer = self.until_interrupted(answer).await?;
        match answer.unwrap_or_else(|_| Err(Error::new(Kind::Hub, "the hub takes too long"))) {
            Ok(listed) => {
                let key = format!("{}@{}", model.repo, model.revision);
                facts.listed.insert(key, listed);
                Ok(())
            }
            // What the hub refuses, a pull refuses too, with all that can be said about it.
            Err(error) if error.kind() == Kind::Hub => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the URL of the hub before its first request, and warns about settings in the environment that its client
    /// would ignore silently.
    pub(super) fn hub_to_ask(&self, args: &HubArgs) -> Result<String> {
        let settings = &self.env().hub;
        if !settings.offline {
            settings.check()?;
            if let Some((text, hint)) = settings.warning() {
                self.display().event(&Event::Warning { text, hint });
            }
        }
        self.endpoint(args)
    }

    /// Returns the hub's URL.
    pub(super) fn endpoint(&self, args: &HubArgs) -> Result<String> {
        self.hub_url(args.endpoint.as_ref())
    }

    /// Returns the hub's URL: the one that the user named, else that of the environment, else the public hub.
    pub(super) fn hub_url(&self, named: Option<&String>) -> Result<String> {
        let url = named
            .cloned()
            .or_else(|| self.env().hub.endpoint.clone())
            .unwrap_or_else(|| plan::PUBLIC_HUB.to_owned());
        let host = url.split_once("://").map_or(&*url, |(_, rest)| rest);
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        if host.contains('@') {
            return Err(
                Error::new(Kind::Usage, "the hub's URL contains a user or a password")
                    .cause("it would be visible in plans, logs and process lists")
                    .hint("leave it out, and set HF_TOKEN to a token"),
            );
        }
        let plain = !url.chars().any(|c| c.is_control() || c.is_whitespace());
        if plain && (url.starts_with("http://") || url.starts_with("https://")) {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        Err(Error::new(
            Kind::Usage,
            format!("`{}` is not the URL of a hub", url.escape_debug()),
        )
        .hint("write it as https://huggingface.co or http://10.0.0.1:8490"))
    }
}

/// The facts that [`Context::gather`] reads.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one sort of facts")]
pub(super) struct Ask {
    /// True to ask the Docker daemon.
    pub(super) docker: bool,
    /// True to look for Python.
    pub(super) python: bool,
    /// True to look for GPUs.
    pub(super) gpus: bool,
    /// True to list the verified files of the weights.
    pub(super) weights: bool,
    /// The hub to ask for the weights.
    pub(super) hub: Option<String>,
    /// Ports on 127.0.0.1.
    pub(super) ports: Vec<u16>,
    /// Contents of the image.
    pub(super) image: ImageChoice,
    /// Variables that the user named for the engine.
    pub(super) variables: BTreeMap<String, String>,
}

impl Ask {
    /// Asks for the facts that decide where the engine runs, or what it needs in the runtime that is `wanted`.
    pub(super) fn of_runtime(wanted: Option<Target>, image: ImageChoice) -> Self {
        Self {
            docker: wanted != Some(Target::Process),
            python: wanted != Some(Target::Docker),
            image,
            ..Self::default()
        }
    }
}

/// Returns the fate of a server of an interrupted command.
fn fate(removed: &Removed) -> String {
    let name = &removed.name;
    if removed.was_ready {
        format!("{name}, which this command had started, is stopped and removed")
    } else {
        format!("{name}, which was starting, is stopped and removed")
    }
}

/// Returns the event of a step that failed.
fn failed(step: usize, error: &Error) -> Event {
    Event::StepFailed {
        step,
        kind: error.kind().name().to_owned(),
        message: error.message(),
    }
}

/// Returns the runtime that the arguments name; `None` lets dsr1 choose.
pub(super) const fn asked(args: &RuntimeArgs) -> Option<Target> {
    match args.runtime {
        Runtime::Auto if args.python.is_some() => Some(Target::Process),
        Runtime::Auto => None,
        Runtime::Docker => Some(Target::Docker),
        Runtime::Process => Some(Target::Process),
    }
}

/// Returns the variables that the arguments name for the engine.
///
/// # Errors
/// [`Kind::Usage`] for a word that is no variable, and for a name that this shell has not set.
pub(super) fn variables(args: &RuntimeArgs) -> Result<BTreeMap<String, String>> {
    let one = |text: &String| {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        if !is_variable_name(name) {
            return Err(Error::new(
                Kind::Usage,
                format!("`{}` is not a variable for the engine", text.escape_debug()),
            )
            .hint("write --env NAME=VALUE, or --env NAME for the value of this shell"));
        }
        let value = value.or_else(|| env::variable(name)).ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!("--env {name}: ${name} is not set in this shell"),
            )
            .hint(format!("write --env {name}=VALUE"))
        })?;
        match variable(name, &value) {
            Variable::Refused(why) => Err(Error::new(Kind::Usage, why)
                .hint("set it in this shell: dsr1 hands on what the engine may have of it")),
            Variable::OfEngine | Variable::OfUser => Ok((name.to_owned(), value)),
        }
    };
    args.variables.iter().map(one).collect()
}

/// Gives the variables of the arguments that a profile may set to the profile, and returns the others.
///
/// # Errors
/// As [`variables`].
pub(super) fn take_variables(args: &RuntimeArgs, profile: &mut Profile) -> Result<BTreeMap<String, String>> {
    let mut all = variables(args)?;
    let of_engine = all.extract_if(.., |name, value| variable(name, value) == Variable::OfEngine);
    profile.engine.env.extend(of_engine);
    Ok(all)
}

/// Returns the contents that the arguments choose for an image.
pub(super) fn image_choice(args: &RuntimeArgs) -> ImageChoice {
    ImageChoice {
        base: args.base_image.clone(),
        recipe: args.recipe,
        flashinfer: args.flashinfer,
    }
}

/// Returns the precision that the arguments name.
pub(super) const fn precision(fp4: bool, fp8: bool) -> Option<Precision> {
    match (fp4, fp8) {
        (true, _) => Some(Precision::Fp4),
        (_, true) => Some(Precision::Fp8),
        _ => None,
    }
}

/// Returns the precision that stands for a profile, as `--profile fp8` does for `--fp8`.
pub(super) fn precision_by_name(name: &str) -> Option<Precision> {
    [Precision::Fp4, Precision::Fp8]
        .into_iter()
        .find(|precision| precision.name() == name)
}

/// Returns true if the arguments name a profile in any way.
pub(super) const fn names_profile(args: &ProfileArgs) -> bool {
    args.profile.is_some() || args.profile_file.is_some() || args.fp4 || args.fp8
}

/// Returns the name or goal that the arguments name, and the precision. `fp8` as a name means `--fp8`, unless a profile has
/// that name; a precision alone means the goal high-throughput.
pub(super) fn profile_name(catalog: &Catalog, args: &ProfileArgs) -> Result<(String, Option<Precision>)> {
    let asked = precision(args.fp4, args.fp8);
    let alone = |precision| (Goal::HighThroughput.name().to_owned(), Some(precision));
    match (&args.profile, &args.profile_file) {
        (Some(name), Some(file)) if catalog.named() != Some(name.as_str()) => Err(Error::new(
            Kind::Usage,
            format!(
                "--profile {name} and --profile-file {} name two profiles",
                file.display()
            ),
        )
        .cause(format!(
            "the file has the profile `{}`",
            catalog.named().unwrap_or_default()
        ))
        .hint("leave out --profile")),
        (Some(name), _) => {
            let named = precision_by_name(name).filter(|_| catalog.source(name).is_none());
            match (named, asked) {
                (Some(named), Some(asked)) if named != asked => Err(Error::new(
                    Kind::Usage,
                    format!("`{name}` and --{} name two precisions", asked.name()),
                )
                .hint("leave out one of them")),
                (Some(named), _) => Ok(alone(named)),
                (None, _) => Ok((name.clone(), asked)),
            }
        }
        (None, Some(_)) => Ok((catalog.named().unwrap_or_default().to_owned(), asked)),
        (None, None) => asked.map(alone).ok_or_else(|| {
            Error::new(Kind::Usage, "no profile is named").hint(
                "add --profile NAME: dsr1 profiles list shows them, and --profile rehearsal runs on any host",
            )
        }),
    }
}

/// Returns the error of a command that needs a repository or a profile and has neither.
pub(super) fn nothing_named(command: &str) -> Error {
    Error::new(Kind::Usage, "neither a repository nor a profile is named")
        .hint(format!("name a repository: {command} owner/name"))
        .hint(format!(
            "or the weights of a profile: {command} --fp8, --fp4 or --profile NAME (dsr1 profiles list)"
        ))
}

/// Returns the criteria of a choice by goal. A host without GPUs sets none: the plan may be for another host.
pub(super) fn criteria(precision: Option<Precision>, args: &ProfileArgs, gpus: Option<&[Gpu]>) -> Criteria {
    let first = gpus.and_then(|gpus| gpus.first());
    Criteria {
        precision,
        stack: args.stack.clone(),
        gpus: first.map(|gpu| {
            let count = u32::try_from(gpus.map_or(0, <[Gpu]>::len)).unwrap_or(u32::MAX);
            (count, Architecture::of(&gpu.name, &gpu.compute_capability))
        }),
    }
}

/// Returns the options of a pull.
pub(super) fn pull_options(args: &HubArgs) -> Result<PullOptions> {
    Ok(PullOptions {
        max_workers: usize::from(args.max_workers),
        limit_rate: limit_rate(args)?,
        transport: args.transport,
        accept_license: args.accept_license,
    })
}

/// Returns the limit of bytes a second for a pull.
fn limit_rate(args: &HubArgs) -> Result<Option<u64>> {
    let Some(text) = &args.limit_rate else {
        return Ok(None);
    };
    let wrong = |cause: String| {
        Error::new(Kind::Usage, format!("`{}` is not a rate", text.escape_debug()))
            .cause(cause)
            .hint("--limit-rate takes bytes a second, such as 500m")
    };
    match text.parse::<Bytes>().map_err(wrong)? {
        Bytes(0) => Err(wrong("a pull at 0 bytes a second never ends".to_owned())),
        Bytes(rate) => Ok(Some(rate)),
    }
}

/// Returns the weights that `--model` names.
fn named_model(text: &str, env: &Env) -> Result<Model> {
    if text.starts_with(['/', '.', '~']) {
        let path = env.absolute(text);
        if !is_mountable(&path) {
            let message = format!("`{}` cannot be mounted", path.escape_debug());
            return Err(Error::new(Kind::Usage, message).hint("name a path without commas and quotes"));
        }
        return Ok(Model {
            repo: store::model_of_path(&path),
            revision: "main".to_owned(),
            size_bytes: 0,
            license: String::new(),
            code_files: Vec::new(),
            path: Some(path),
        });
    }
    let reference = RepoReference::parse(text);
    plan::check_repo(&reference.repo).map_err(|error| {
        if Path::new(text).is_dir() {
            error.hint(format!("there is a folder of this name: --model ./{text}"))
        } else {
            error
        }
    })?;
    if let Some(endpoint) = reference.endpoint {
        return Err(Error::new(
            Kind::Usage,
            format!("--model names a repository, not a hub: `{}`", text.escape_debug()),
        )
        .hint(format!(
            "set HF_ENDPOINT={endpoint}, and write --model {}",
            reference.repo
        )));
    }
    Ok(Model {
        code_files: published_code(&reference.repo),
        repo: reference.repo,
        revision: reference.revision.unwrap_or_else(|| "main".to_owned()),
        size_bytes: 0,
        license: String::new(),
        path: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interruption_of_an_installation_says_how_long_it_takes_and_what_ends_it() {
        assert!(INTERRUPTED_INSTALLATION.contains("usually takes a few seconds"));
        assert!(INTERRUPTED_INSTALLATION.contains(r"Ctrl-\ ends dsr1 at once"));
    }

    #[test]
    fn a_server_that_was_ready_is_not_said_to_be_starting() {
        let of = |was_ready| {
            fate(&Removed {
                name: "dsr1-rehearsal".to_owned(),
                was_ready,
            })
        };
        assert_eq!(
            of(false),
            "dsr1-rehearsal, which was starting, is stopped and removed"
        );
        assert_eq!(
            of(true),
            "dsr1-rehearsal, which this command had started, is stopped and removed"
        );
    }
}
