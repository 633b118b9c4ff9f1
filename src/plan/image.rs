//! What an image is built from, as plain data.
//!
//! Not in this module: how a plan comes to one (`install`), the Dockerfile's text (`dockerfile`), building (`effects`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::choice::choices;

/// Where wheels of this host lie in a build context.
pub const CONTEXT_WHEELS: &str = "wheels";
/// The secret that is the site's CA bundle.
pub const SECRET_CA: &str = "ca";
/// The secrets that steps know what to do with: the CA bundle, logins of package indexes and of git, pip's settings.
pub const SECRETS: [&str; 3] = [SECRET_CA, "netrc", "pip_conf"];
/// Label of an image: digest of its base (OCI annotations).
pub const LABEL_BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What an image is made of beside its stack. With the stack it decides the image's inputs digest, so whoever looks
/// for the image must make the same choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageChoice {
    /// Base image instead of the stack's.
    pub base: Option<String>,
    /// The recipe.
    pub recipe: Recipe,
    /// Where FlashInfer's kernels come from; `None` is what the recipe is made for.
    pub flashinfer: Option<Flashinfer>,
}

impl ImageChoice {
    /// Where FlashInfer's kernels come from.
    #[must_use]
    pub fn flashinfer(&self) -> Flashinfer {
        self.flashinfer.unwrap_or(match self.recipe {
            Recipe::Thin => Flashinfer::Base,
            Recipe::Guide => Flashinfer::Aot,
        })
    }

    /// The options of the command line that make this choice.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let Self {
            base,
            recipe,
            flashinfer,
        } = self;
        let mut options = Vec::new();
        options.extend(base.clone().map(|base| ("--base-image", base)));
        if *recipe != Recipe::default() {
            options.push(("--recipe", recipe.name().to_owned()));
        }
        options.extend(flashinfer.map(|kernels| ("--flashinfer", kernels.name().to_owned())));
        options
    }
}

choices! {
    /// The way in which an image gets its software.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    Recipe {
        /// The stack's base and a thin layer of packages on it.
        #[default]
        Thin = "thin", "The official image and a thin layer";
        /// The guide's own steps: the evaluation harness, SGLang and FlashInfer from source.
        Guide = "guide", "The steps of NVIDIA's guide, from source; `dsr1 build --explain` says what is corrected";
    }
}

choices! {
    /// The source of FlashInfer's kernels.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    Flashinfer {
        /// The base image has them.
        Base = "base", "The base image has them";
        /// Compiled by FlashInfer's authors, installed as packages.
        Prebuilt = "prebuilt", "Compiled by its makers";
        /// Compiled during the build, for the stack's GPUs.
        Aot = "aot", "Compiled during the build";
        /// Compiled at their first use, on the server.
        Jit = "jit", "Compiled at their first use";
    }
}

/// Builds an image. Done when an image of that tag carries the label `io.dsr1.inputs = inputs` and, where the base
/// is known, was built on that base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct BuildImage {
    /// Stack the image is of.
    pub stack: String,
    /// Tag; holds the inputs digest.
    pub tag: String,
    /// More tags for the same image.
    pub also: Vec<String>,
    /// Whether those go to their registries.
    pub push: bool,
    /// Whether the image keeps what a build elsewhere needs to reuse its layers.
    pub inline_cache: bool,
    /// Base image, as the Dockerfile names it.
    pub base: String,
    /// Its digest, where it is known. An image that was built on another is not this one.
    pub base_digest: Option<String>,
    /// The builder.
    pub builder: Builder,
    /// `linux/amd64` or `linux/arm64`: what the daemon must be. Nothing is emulated.
    pub platform: Option<String>,
    /// The rendered Dockerfile.
    pub dockerfile: String,
    /// Context files beside it: relative path to text.
    pub files: BTreeMap<String, String>,
    /// Directory of this host with wheels, below [`CONTEXT_WHEELS`] in the context.
    pub wheels: Option<String>,
    /// What steps may read and no layer keeps.
    pub secrets: Vec<BuildSecret>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Names of variables of the environment that are handed on as build arguments: proxies, which Docker keeps out
    /// of the image's history. Values are not in the plan: a proxy's URL may hold a password.
    pub inherited_args: Vec<String>,
    /// Labels; among them `io.dsr1.inputs`.
    pub labels: BTreeMap<String, String>,
    /// Network of RUN steps; `none` when they may use none, and then nothing is pulled either.
    pub network: String,
    /// A step that runs again, whatever is there.
    pub refresh: Option<String>,
    /// Build every step again.
    pub no_cache: bool,
    /// Ask the base's registry even when the daemon has the base.
    pub pull: bool,
    /// Images whose layers may be used instead of building them.
    pub cache_from: Vec<String>,
    /// Digest of what decides the image's content: the Dockerfile and its files, not how they are fetched.
    pub inputs: String,
    /// Bytes it will take on disk.
    pub install_bytes: u64,
}

/// What turns a Dockerfile into an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builder {
    /// BuildKit in the daemon, by a session of ours: secrets, caches, files sent only when they changed.
    #[default]
    Buildkit,
    /// The builder of old: no secrets, no caches, the whole context each time.
    Classic,
}

impl Builder {
    /// The spelling on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buildkit => "buildkit",
            Self::Classic => "classic",
        }
    }
}

/// Something that build steps may read at `/run/secrets/ID` and that no layer, label or log keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSecret {
    /// Its name in the Dockerfile.
    pub id: String,
    /// Where it is taken from when it is asked for.
    #[serde(flatten)]
    pub source: SecretSource,
}

/// Where a secret is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// The bytes of a file on this host.
    File(String),
    /// A variable of the environment.
    Env(String),
}
