//! The request for a server, and the only place where it gets its defaults.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::plan::image::ImageChoice;
use crate::profile::{Origins, Profile, Selection, Stack};
use crate::sglang::Launch;

/// The default port on 127.0.0.1: SGLang's own default (`server_args.py`).
pub const DEFAULT_PORT: u16 = 30_000;

/// The runtime that a stack is installed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An image, for containers.
    Docker,
    /// A venv, for child processes.
    Process,
}

impl Target {
    /// The spelling on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }
}

/// The request of `dsr1 serve`, and the part of `dsr1 up` that is about the server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeRequest {
    /// The profile.
    pub profile: Profile,
    /// Its stack.
    pub stack: Stack,
    /// The places where the profile's settings were written.
    pub origins: Origins,
    /// The runtime of the engine.
    pub target: Target,
    /// Server name; the default is the profile's name.
    pub name: Option<String>,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// The choices that decide the contents of an image.
    pub image: ImageChoice,
    /// Raw engine arguments, appended to those of dsr1.
    pub extra_args: Vec<String>,
    /// The GPUs that the user chose, as indices of nvidia-smi; empty if the engine takes the first ones.
    pub gpus: Vec<u32>,
    /// True if the weights are not read ahead of the engine.
    pub no_prefetch: bool,
    /// Variables for the engine that no profile may set, such as `LD_LIBRARY_PATH`.
    pub variables: BTreeMap<String, String>,
}

impl ServeRequest {
    /// Returns the request for a selected profile with every default.
    #[must_use]
    pub fn new(selection: Selection, target: Target) -> Self {
        let Selection {
            profile,
            stack,
            origins,
            ..
        } = selection;
        Self {
            profile,
            stack,
            origins,
            target,
            name: None,
            port: DEFAULT_PORT,
            image: ImageChoice::default(),
            extra_args: Vec::new(),
            gpus: Vec::new(),
            no_prefetch: false,
            variables: BTreeMap::new(),
        }
    }

    /// Returns the variables of the user and of the profile.
    #[must_use]
    pub fn all_variables(&self) -> BTreeMap<String, String> {
        let mut all = self.variables.clone();
        all.extend(self.profile.engine.env.clone());
        all
    }

    /// Returns the engine's flags and settings, with the findings about them.
    #[must_use]
    pub fn launch(&self) -> Launch {
        Launch::new(&self.profile, &self.stack, &self.origins, &self.extra_args)
    }

    /// Returns the same as [`ServeRequest::launch`], or an error if the engine would refuse it.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] for arguments that dsr1 sets itself or that this version refuses.
    pub fn accepted_launch(&self) -> Result<Launch> {
        Launch::accepted(&self.profile, &self.stack, &self.origins, &self.extra_args)
    }
}
