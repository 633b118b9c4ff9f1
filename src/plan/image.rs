//! The inputs of an image build, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::choice::choices;

/// Directory of a build context that holds wheels of this host.
pub const CONTEXT_WHEELS: &str = "wheels";
/// Id of the secret that holds the site's CA bundle.
pub const SECRET_CA: &str = "ca";
/// Ids of the secrets that build steps use: the CA bundle, logins of package indexes and of git, pip's settings.
pub const SECRETS: [&str; 3] = [SECRET_CA, "netrc", "pip_conf"];
/// Label of an image: digest of its base (OCI annotations).
pub const LABEL_BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// The contents of an image besides its stack. With the stack they decide the digest of the image's inputs, so code
/// that looks for the image must make the same choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageChoice {
    /// Base image that replaces the stack's.
    pub base: Option<String>,
    /// The recipe.
    pub recipe: Recipe,
    /// Source of FlashInfer's kernels; `None` is the default of the recipe.
    pub flashinfer: Option<Flashinfer>,
}

impl ImageChoice {
    /// Returns the source of FlashInfer's kernels.
    #[must_use]
    pub fn flashinfer(&self) -> Flashinfer {
        self.flashinfer.unwrap_or(match self.recipe {
            Recipe::Thin => Flashinfer::Base,
            Recipe::Guide => Flashinfer::Aot,
        })
    }

    /// Returns the options of the command line that make this choice.
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
        Guide = "guide", "The steps of NVIDIA's guide, from source; `dsr1 build --explain` lists the corrections";
    }
}

choices! {
    /// The source of FlashInfer's kernels.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    Flashinfer {
        /// The base image has them.
        Base = "base", "The base image has them";
        /// Compiled by FlashInfer's authors, installed as packages.
        Prebuilt = "prebuilt", "Compiled by FlashInfer's authors";
        /// Compiled during the build, for the stack's GPUs.
        Aot = "aot", "Compiled during the build";
        /// Compiled at their first use, on the server.
        Jit = "jit", "Compiled at their first use";
    }
}

/// Builds an image. Nothing is built if an image of that tag has the label `io.dsr1.inputs = inputs` and, if the digest
/// of the base is known, was built on that base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct BuildImage {
    /// Stack of the image.
    pub stack: String,
    /// Tag; it holds the digest of the inputs.
    pub tag: String,
    /// Additional tags for the same image.
    pub also: Vec<String>,
    /// True if the additional tags are pushed to their registries.
    pub push: bool,
    /// True if the image carries the cache data that a build elsewhere needs to reuse its layers.
    pub inline_cache: bool,
    /// Base image, as the Dockerfile names it.
    pub base: String,
    /// Digest of the base image, if it is known. An image on another base is another image.
    pub base_digest: Option<String>,
    /// The builder.
    pub builder: Builder,
    /// Required platform of the daemon: `linux/amd64` or `linux/arm64`. Nothing is emulated.
    pub platform: Option<String>,
    /// The rendered Dockerfile.
    pub dockerfile: String,
    /// Other files of the build context: relative path to text.
    pub files: BTreeMap<String, String>,
    /// Directory of this host with wheels; it becomes [`CONTEXT_WHEELS`] in the context.
    pub wheels: Option<String>,
    /// Secrets that steps may read and no layer keeps.
    pub secrets: Vec<BuildSecret>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Names of environment variables that become build arguments: proxies, which Docker keeps out of the image's
    /// history. The plan holds no values, because a proxy's URL may hold a password.
    pub inherited_args: Vec<String>,
    /// Labels, including `io.dsr1.inputs`.
    pub labels: BTreeMap<String, String>,
    /// Network of RUN steps; with `none` the build also pulls nothing.
    pub network: String,
    /// A step that runs again in spite of a cached layer.
    pub refresh: Option<String>,
    /// True if every step is built again.
    pub no_cache: bool,
    /// True if the base's registry is asked even if the daemon has the base.
    pub pull: bool,
    /// Images whose layers may be reused.
    pub cache_from: Vec<String>,
    /// Digest of the inputs that decide the image's contents: the Dockerfile and its files, not the build method.
    pub inputs: String,
    /// Bytes that the image takes on disk.
    pub install_bytes: u64,
}

/// The builder that turns a Dockerfile into an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builder {
    /// BuildKit in the daemon, with a session of dsr1: secrets, caches, and files that are sent only if they changed.
    #[default]
    Buildkit,
    /// The classic builder: no secrets, no caches, and the whole context is sent each time.
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

/// A secret that build steps may read at `/run/secrets/ID` and that no layer, label or log keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSecret {
    /// Id of the secret in the Dockerfile.
    pub id: String,
    /// Source, which is read when the builder asks for the secret.
    #[serde(flatten)]
    pub source: SecretSource,
}

/// The source of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// The bytes of a file on this host.
    File(String),
    /// A variable of the environment.
    Env(String),
}
