//! Locks by which two commands do not start one server at once, or look after it at once.

use std::path::{Path, PathBuf};

use crate::effects::execute::Effects;
use crate::effects::files::{self, Attempt, Lock};
use crate::error::{Error, Kind, Result};
use crate::event::{Recorder, StepEvents};

/// Work on a server that one command does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerTask {
    /// Looking after it.
    Watch,
    /// Starting it again.
    Restart,
}

impl ServerTask {
    const fn extension(self) -> &'static str {
        match self {
            Self::Watch => "watching",
            Self::Restart => "restarting",
        }
    }
}

/// A lock on a task, until it is dropped.
pub struct ServerLock(#[expect(dead_code, reason = "it is held")] Lock);

impl Effects {
    /// Takes the lock on a task of a server.
    ///
    /// # Errors
    /// [`Kind::Server`] when another command has it, with its process.
    pub fn lock_server(&self, name: &str, task: ServerTask) -> Result<ServerLock> {
        match self.try_lock_server(name, task)? {
            Attempt::Taken(lock) => Ok(ServerLock(lock)),
            Attempt::Busy(who) => {
                let (message, hint) = match task {
                    ServerTask::Watch => (
                        format!("{name} is watched already{who}"),
                        "dsr1 events --follow shows what that command sees; end it first to watch anew"
                            .to_owned(),
                    ),
                    ServerTask::Restart => (
                        format!("{name} is being started again already{who}"),
                        format!("dsr1 events {name} --follow shows when it is ready"),
                    ),
                };
                Err(Error::new(Kind::Server, message).hint(hint))
            }
        }
    }

    /// Returns true while another command does a task of a server.
    #[must_use]
    pub fn is_done_elsewhere(&self, name: &str, task: ServerTask) -> bool {
        matches!(self.try_lock_server(name, task), Ok(Attempt::Busy(_)))
    }

    fn try_lock_server(&self, name: &str, task: ServerTask) -> Result<Attempt> {
        let path: PathBuf = Path::new(&self.env().paths.state)
            .join("servers")
            .join(format!("{name}.{}", task.extension()));
        let unseen = Recorder::default();
        files::try_lock(&path, &StepEvents::new(&unseen, 0))
    }
}
