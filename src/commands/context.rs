//! What every command has: the engine, the display, facts; and the way from a plan to its end.
//!
//! Not in this module: anything one command alone does.

use std::path::Path;
use std::time::Instant;

use crate::cli::{Format, HubArgs, Output, PlanArgs, ProfileArgs, Runtime, RuntimeArgs, ServerArgs};
use crate::effects::docker::Docker;
use crate::effects::env::Env;
use crate::effects::process::venv;
use crate::effects::{Effects, host, signal, store, user_files, weights};
use crate::error::{At, Error, Kind, Result};
use crate::event::{Event, Reporter, StepEvents};
use crate::facts::{self, Facts, Gpu};
use crate::plan::{
    self, BuildOptions, BuildRequest, ImageChoice, Plan, PullOptions, ServeRequest, Step, Target,
};
use crate::profile::{
    Accelerator, Architecture, Catalog, Goal, Precision, Profile, Selection, Stack, UserFiles, Wanted,
};
use crate::render;
use crate::report::Report;
use crate::ui;
use crate::units::Bytes;

/// What every command has.
pub(super) struct Context {
    /// How to print.
    pub(super) output: Output,
    /// The way to everything outside.
    pub(super) effects: Effects,
}

impl Context {
    /// Makes the context of a command.
    pub(super) fn new(output: Output, env: Env) -> Result<Self> {
        Ok(Self {
            output,
            effects: Effects::new(env)?,
        })
    }

    fn env(&self) -> &Env {
        self.effects.env()
    }

    /// The display of progress.
    pub(super) fn display(&self) -> Box<dyn Reporter> {
        let plain = self.env().no_color || self.env().dumb_terminal;
        ui::display(self.output.progress, !plain, self.env().dumb_terminal)
    }

    /// Prints a result: as text for people, or as JSON.
    pub(super) fn print<T: serde::Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        match self.output.format {
            Format::Text => ui::print(&text(value)),
            Format::Json => ui::print(&ui::json(value)),
        }
    }

    /// Carries out a plan to its end, or until the user interrupts.
    ///
    /// What stands in its way is the first thing to fail.
    pub(super) async fn carry_out(&self, plan: &Plan) -> Result<Report> {
        if let Some(blocker) = plan.blockers.first() {
            return Err(blocker.clone().into());
        }
        let display = self.display();
        let report = self
            .until_interrupted(self.effects.execute(plan, &*display))
            .await;
        drop(display);
        report.map_err(|error| {
            let fetches = plan
                .steps
                .iter()
                .any(|step| matches!(step, Step::PullSnapshot(_)));
            if fetches && error.kind() == Kind::Interrupted {
                error.hint("run it again: a download goes on from what is here")
            } else {
                error
            }
        })
    }

    /// Shows long work that is no plan as the one step that it is; `summary` says what was done.
    pub(super) async fn one_step<T>(
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
        let done = self.until_interrupted(work(&events)).await?;
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
        let report = self.carry_out(plan).await?;
        self.print(&report, ui::report)
    }

    /// Prints a plan, or carries it out.
    pub(super) async fn print_or_finish(&self, plan: &Plan, print: bool) -> Result<()> {
        if print {
            self.print(plan, render::shell::render)
        } else {
            self.finish(plan).await
        }
    }

    /// Awaits `work`. At Ctrl-C or SIGTERM it is dropped, what it started is removed, and the error says so; a
    /// second signal does not wait for the removal.
    pub(super) async fn until_interrupted<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let name = {
            tokio::select! {
                done = work => return done,
                name = signal::wait() => name?,
            }
        };
        tokio::select! {
            () = self.effects.clean_up() => {}
            _ = signal::wait() => {}
        }
        Err(Error::new(Kind::Interrupted, format!("interrupted by {name}")))
    }

    /// The catalog: built in, the user's own, and a file when one is named.
    pub(super) fn catalog(&self, file: Option<&Path>) -> Result<Catalog> {
        Catalog::with(&user_files::read(&self.env().config, file)?)
    }

    /// The user's own files.
    pub(super) fn user_files(&self) -> Result<UserFiles> {
        user_files::read(&self.env().config, None)
    }

    /// Whether results are JSON.
    pub(super) const fn is_json(&self) -> bool {
        matches!(self.output.format, Format::Json)
    }

    /// The profile that the arguments choose.
    ///
    /// A goal is open until the GPUs are known. They are looked at only then: nvidia-smi can take a second.
    pub(super) async fn select(&self, args: &ProfileArgs, facts: Option<&Facts>) -> Result<Selection> {
        let catalog = self.catalog(args.profile_file.as_deref())?;
        let name = profile_name(&catalog, args)?;
        let gpus = match facts {
            Some(facts) => facts.host.gpus.clone(),
            None if catalog.source(&name).is_some() || !catalog.has_goal(&name) => None,
            None => {
                let wanted = host::Wanted {
                    gpus: true,
                    ..host::Wanted::default()
                };
                host::gather(self.env(), &wanted).await.gpus
            }
        };
        catalog.select(&name, &wanted(args, gpus.as_deref()))
    }

    /// Facts from the file of `--facts`.
    pub(super) fn facts_file(args: &PlanArgs) -> Result<Option<Facts>> {
        Self::facts(args.facts.as_deref())
    }

    /// Facts from a file.
    pub(super) fn facts(path: Option<&Path>) -> Result<Option<Facts>> {
        let Some(path) = path else { return Ok(None) };
        let name = path.display();
        let text = std::fs::read_to_string(path).at(Kind::Usage, || format!("cannot read `{name}`"))?;
        let document: serde_json::Value =
            serde_json::from_str(&text).at(Kind::Usage, || format!("`{name}` is not JSON"))?;
        // `dsr1 doctor --format json` wraps the facts in its report; both forms are taken.
        let inner = if document["facts"].is_object() {
            document["facts"].clone()
        } else {
            document
        };
        let facts: Facts =
            serde_json::from_value(inner).at(Kind::Usage, || format!("`{name}` holds no facts"))?;
        if facts.schema != facts::SCHEMA {
            return Err(Error::new(
                Kind::Usage,
                format!("`{name}` has schema `{}`", facts.schema.escape_debug()),
            )
            .cause(format!("this dsr1 reads {}", facts::SCHEMA))
            .hint("write it again: dsr1 doctor --profile NAME --format json > facts.json"));
        }
        Ok(Some(facts))
    }

    /// What planning needs to know about this host for a stack and a profile.
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
            ready_venvs: venv::ready(&env.paths.cache),
            ..env.paths.clone()
        };
        let wanted = host::Wanted {
            disks: vec![paths.cache.clone(), paths.hub_cache.clone(), paths.state.clone()],
            ports: ask.ports.clone(),
            python: ask.python && stack.process_runtime,
            gpus: ask.gpus && stack.accelerator == Accelerator::Cuda,
        };
        let (docker, host) = tokio::join!(docker, host::gather(env, &wanted));
        let mut facts = Facts {
            schema: facts::SCHEMA.to_owned(),
            host,
            docker,
            paths,
            ..Facts::default()
        };
        if let Some(profile) = profile {
            let model = &profile.model;
            let cache = Path::new(&facts.paths.hub_cache);
            let commit = store::cached_commit(cache, &model.repo, &model.revision).or_else(|| {
                // The rehearsal's model is made, not found: its commit is known before it exists.
                (profile.goal == Goal::Rehearsal).then(weights::rehearsal_commit)
            });
            if let Some(commit) = commit {
                if let Some(files) = store::proven_files(cache, &model.repo, &commit).filter(|_| ask.weights)
                {
                    facts.weights.insert(format!("{}@{commit}", model.repo), files);
                }
                // Only a GPU's memory is planned.
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
        }
        facts
    }

    async fn docker_facts(&self, stack: &Stack, image: &ImageChoice) -> facts::Docker {
        let env = self.env();
        // The image's tag depends on the plan's inputs, which depend on nothing that Docker says.
        let facts = Facts {
            paths: env.paths.clone(),
            host: facts::Host {
                platform: host::platform(),
                ..facts::Host::default()
            },
            ..Facts::default()
        };
        let base = plan::base_image(stack, image, &facts);
        let request = BuildRequest {
            stack: stack.clone(),
            target: Target::Docker,
            image: image.clone(),
            options: BuildOptions::default(),
        };
        let tag = plan::image_tag(&request, &facts).unwrap_or_default();
        let probe: &[&str] = if stack.process_runtime { &[&base] } else { &[] };
        Docker::facts(env, &[&base, &tag], probe).await
    }

    /// The runtime that the arguments choose, with the reason when dsr1 chose.
    pub(super) fn target(
        args: &RuntimeArgs,
        stack: &Stack,
        facts: &Facts,
    ) -> Result<(Target, Option<String>)> {
        plan::install_target(asked(args), stack, &image_choice(args), facts)
    }

    /// Everything that `serve` and `up` are asked, with facts and the choices that were made.
    pub(super) async fn server_request(
        &self,
        args: &ServerArgs,
        weights: bool,
    ) -> Result<(ServeRequest, Facts, Vec<String>)> {
        let file = Self::facts_file(&args.plan)?;
        let mut selection = self.select(&args.profile, file.as_ref()).await?;
        let note = selection.note.take();
        let facts = if let Some(facts) = file {
            facts
        } else {
            let ask = Ask {
                docker: asked(&args.runtime) != Some(Target::Process),
                python: asked(&args.runtime) != Some(Target::Docker),
                gpus: true,
                weights,
                ports: std::iter::once(args.port).chain(plan::mirror_ports()).collect(),
                image: image_choice(&args.runtime),
            };
            let mut facts = self
                .gather(&selection.stack, Some(&selection.profile), &ask)
                .await;
            facts.servers = self.effects.claims(facts.docker.answers()).await;
            facts
        };
        let (target, why) = Self::target(&args.runtime, &selection.stack, &facts)?;
        let request = ServeRequest {
            name: args.name.clone(),
            port: args.port,
            image: image_choice(&args.runtime),
            extra_args: args.extra_args.clone(),
            ..ServeRequest::new(selection, target)
        };
        Ok((request, facts, [note, why].into_iter().flatten().collect()))
    }

    /// The hub that is about to be asked. What its client would pass over without a word in the environment is said
    /// here.
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

    /// The hub's URL.
    pub(super) fn endpoint(&self, args: &HubArgs) -> Result<String> {
        let url = args
            .endpoint
            .clone()
            .or_else(|| self.env().hub.endpoint.clone())
            .unwrap_or_else(|| plan::PUBLIC_HUB.to_owned());
        let host = url.split_once("://").map_or(&*url, |(_, rest)| rest);
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        if host.contains('@') {
            return Err(
                Error::new(Kind::Usage, "the hub's URL holds a user or a password")
                    .cause("it would be seen in plans, logs and process lists")
                    .hint("leave it out; a token comes from HF_TOKEN"),
            );
        }
        let plain = !url.chars().any(|c| c.is_control() || c.is_whitespace());
        if plain && (url.starts_with("http://") || url.starts_with("https://")) {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        Err(Error::new(
            Kind::Usage,
            format!("`{}` is not a hub's URL", url.escape_debug()),
        )
        .hint("it looks like https://huggingface.co or http://10.0.0.1:8490"))
    }
}

/// What [`Context::gather`] looks at.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing to look at")]
pub(super) struct Ask {
    /// The Docker daemon.
    pub(super) docker: bool,
    /// Python.
    pub(super) python: bool,
    /// GPUs.
    pub(super) gpus: bool,
    /// The proven files of the weights.
    pub(super) weights: bool,
    /// Ports on 127.0.0.1.
    pub(super) ports: Vec<u16>,
    /// What an image is made of.
    pub(super) image: ImageChoice,
}

/// The runtime asked for; `None` leaves the choice.
pub(super) const fn asked(args: &RuntimeArgs) -> Option<Target> {
    match args.runtime {
        Runtime::Auto => None,
        Runtime::Docker => Some(Target::Docker),
        Runtime::Process => Some(Target::Process),
    }
}

/// What an image is to be made of.
pub(super) fn image_choice(args: &RuntimeArgs) -> ImageChoice {
    ImageChoice {
        base: args.base_image.clone(),
        recipe: args.recipe,
        flashinfer: args.flashinfer,
    }
}

/// The precision asked for.
pub(super) const fn precision(fp4: bool, fp8: bool) -> Option<Precision> {
    match (fp4, fp8) {
        (true, _) => Some(Precision::Fp4),
        (_, true) => Some(Precision::Fp8),
        _ => None,
    }
}

/// Whether the arguments say anything about a profile.
pub(super) const fn names_profile(args: &ProfileArgs) -> bool {
    args.profile.is_some() || args.profile_file.is_some() || args.fp4 || args.fp8
}

/// The name or goal that the arguments ask for.
pub(super) fn profile_name(catalog: &Catalog, args: &ProfileArgs) -> Result<String> {
    match (&args.profile, &args.profile_file) {
        (Some(name), Some(file)) if catalog.named() != Some(name.as_str()) => Err(Error::new(
            Kind::Usage,
            format!(
                "--profile {name} and --profile-file {} name two profiles",
                file.display()
            ),
        )
        .cause(format!(
            "the file holds `{}`",
            catalog.named().unwrap_or_default()
        ))
        .hint("leave out --profile")),
        (Some(name), _) => Ok(name.clone()),
        (None, Some(_)) => Ok(catalog.named().unwrap_or_default().to_owned()),
        (None, None) if args.fp4 || args.fp8 => Ok(Goal::HighThroughput.name().to_owned()),
        (None, None) => Err(Error::new(Kind::Usage, "no profile is named").hint(
            "dsr1 profiles list shows them; --fp4 and --fp8 mean one, and --profile rehearsal runs anywhere",
        )),
    }
}

/// Neither a repository nor a profile, where a command takes both.
pub(super) fn nothing_named(command: &str) -> Error {
    Error::new(Kind::Usage, "neither a repository nor a profile is named")
        .hint(format!("{command} owner/name takes a repository"))
        .hint(format!(
            "{command} --fp8, --fp4 or --profile NAME takes what a profile serves (dsr1 profiles list)"
        ))
}

/// What a choice by goal depends on. A host without GPUs leaves it open: the plan may be for another one.
pub(super) fn wanted(args: &ProfileArgs, gpus: Option<&[Gpu]>) -> Wanted {
    let first = gpus.and_then(|gpus| gpus.first());
    Wanted {
        precision: precision(args.fp4, args.fp8),
        stack: args.stack.clone(),
        gpus: first.map(|gpu| {
            let count = u32::try_from(gpus.map_or(0, <[Gpu]>::len)).unwrap_or(u32::MAX);
            (count, Architecture::of(&gpu.compute_capability))
        }),
    }
}

/// How weights are to be fetched.
pub(super) fn pull_options(args: &HubArgs) -> Result<PullOptions> {
    Ok(PullOptions {
        max_workers: usize::from(args.max_workers),
        limit_rate: limit_rate(args)?,
        transport: args.transport,
        accept_license: args.accept_license,
    })
}

/// Most bytes a second that a pull may take.
fn limit_rate(args: &HubArgs) -> Result<Option<u64>> {
    let Some(text) = &args.limit_rate else {
        return Ok(None);
    };
    let wrong = |cause: String| Error::new(Kind::Usage, "--limit-rate wants bytes a second").cause(cause);
    match text.parse::<Bytes>().map_err(wrong)? {
        Bytes(0) => Err(wrong("none would come".to_owned())),
        Bytes(rate) => Ok(Some(rate)),
    }
}
