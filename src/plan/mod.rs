//! Pure planning: a request and facts become a [`Plan`], a list of steps in which every name is decided.
//!
//! A plan can be printed as a shell script (`render::shell`) or as JSON, compared, and stored; `effects` executes it.
//!
//! | module | subject |
//! |---|---|
//! | `step` | the steps, their fields, and the plan that holds them |
//! | `request` | the request for a server, with its defaults |
//! | `serve`, `up` | the steps of a server; those of the whole chain |
//! | `cluster` | a server over several nodes: its engines, ranks, ports and router |
//! | `shown` | a plan without the values of secret variables, for people and for files |
//! | `arguments` | the engine's command line, argument by argument |
//! | `restart` | the part of a plan that starts its server again |
//! | `upgrade` | a server that is replaced by another plan |
//! | `done` | the steps whose result is on the host already |
//! | `clean` | the choice of the things that `dsr1 clean` removes |
//! | `install`, `image`, `dockerfile` | the installation of SGLang: a venv or an image, the inputs and text of its build |
//! | `environment` | an environment of the user in their place: its stack, its check |
//! | `prove` | the question to the installed engine, what it makes of the arguments |
//! | `pull`, `selection` | the steps of a pull, and the files that it selects |
//! | `folder` | weights in a folder of this host, in place of a pull |
//! | `eval`, `evaluate` | runs of the engine's own clients; evaluations by dsr1's own client |
//! | `measure`, `measured_host` | measurements by dsr1's own client; the facts about a host that they carry |
//! | `combination` | a server of a sweep over servers, from its start to its end |
//! | `gpus` | the GPUs that a user chooses for a server |
//! | `digest` | the digest of what decides an image, a venv or a server |
//! | `lock`, `origin`, `labels` | a server pinned in a file; the origin of each argument; the labels by which servers are found |
//! | `advise`, `for_host` | profiles ranked for a load; a profile for the GPUs of a host |
//! | `corrections` | differences from the guide |
//!
//! Not in this module tree: I/O, clocks, the environment.

pub mod advise;
mod arguments;
pub mod clean;
pub mod cluster;
mod combination;
mod corrections;
mod digest;
mod dockerfile;
mod done;
mod environment;
mod eval;
mod evaluate;
mod folder;
mod for_host;
mod gpus;
mod image;
mod install;
mod labels;
pub mod lock;
mod measure;
mod measured_host;
mod origin;
mod prove;
mod pull;
mod request;
mod restart;
mod selection;
mod serve;
mod shown;
mod step;
mod up;
pub mod upgrade;

pub use crate::facts::MeasuredStart;
pub use arguments::{Argument, MODELS, arguments, parsed_words, words_for_any_model};
pub use combination::{
    Combination, KeptSweepFile, all_combinations, combination, kept_sweep_file, measured_endpoint,
};
pub use corrections::{CORRECTIONS, Correction};
pub use dockerfile::step_title;
pub use done::done;
pub use environment::{FOUND, PREFLIGHTS, found_stack};
pub use eval::{BenchRequest, EngineClient, Gsm8kRequest, bench, gsm8k};
pub use evaluate::{EvaluatedEndpoint, EvaluationRequest, evaluate};
pub use folder::MODEL;
pub use for_host::{Wishes, profile_for_host};
pub use gpus::{GpuChoice, ORDER, VISIBLE, choose_gpus, joined};
pub use image::{
    BuildImage, BuildSecret, Builder, CONTEXT_WHEELS, Flashinfer, ImageChoice, LABEL_BASE_DIGEST, Recipe,
    SECRET_CA, SECRETS, SecretSource,
};
pub use install::{
    BuildOptions, BuildRequest, base_image, build, image_tag, install_target, is_installed,
    step as install_step, venv_dir,
};
pub use labels::{
    LABEL_GPUS, LABEL_INPUTS, LABEL_MODEL, LABEL_NAME, LABEL_PORT, LABEL_PROFILE, LABEL_PYTHON, LABEL_ROLE,
    LABEL_STACK, LABEL_TEMPORARY, LABEL_VARIABLES, LOG_HEADER, log_header,
};
pub use measure::{
    CourseRequest, FEWEST, LEAST_S, MeasureRequest, MeasuredEndpoint, OwnServer, STALL_S, WAVES, api_of,
    load_of_profile, measure, measure_course, measure_profile, requests_for,
};
pub use measured_host::list_gpus;
pub use origin::{Origin, origins};
pub use prove::{PROOFS, question};
pub use pull::{PUBLIC_HUB, PullOptions, PullRequest, RepoReference, check_repo, pull, repo_folder};
pub use request::{DEFAULT_PORT, ServeRequest, Target};
pub use restart::{labels_of, restart, server_of, with_fraction};
pub use selection::{
    CodeFiles, FilePatterns, PathMatcher, Transport, check_locked, is_code, must_be_accepted,
};
pub use serve::{base_url, container_name, offline_env, runtime_of_running, serve, volume_prefix, volumes};
pub use shown::without_secrets;
pub use step::{
    AwaitJob, AwaitReady, CLIENT_DIR, CheckEnvironment, CheckFolder, CheckSnapshot, CreateVenv, DRAIN_S,
    EngineSource, EvaluateModel, MeasureCourse, MeasureLoad, Mount, Plan, PlannedMemory, ProveArguments,
    PullSnapshot, RunBenchmark, RunGsm8k, SCHEMA, ServeMirror, Server, StartContainer, StartProcess, Step,
    StopServer, Strictness, SubmitJob, Threshold, Ulimit, VerifyAnswers, WriteModel,
};
pub use up::{UpRequest, mirror_ports, up};
