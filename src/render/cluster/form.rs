//! The trait of the forms for several nodes.

use std::fmt::Debug;

use super::options::ClusterOptions;
use crate::error::Result;
use crate::plan::cluster::Deployment;

/// A form in which a scheduler starts a server over several nodes.
pub trait ClusterForm: Debug + Sync {
    /// The spelling on the command line and in JSON.
    fn name(&self) -> &'static str;

    /// One line of help.
    fn about(&self) -> &'static str;

    /// The noun in the head of the file, such as "a job for Slurm".
    fn noun(&self) -> &'static str;

    /// The file name, for a server of that name.
    fn file_name(&self, server: &str) -> String;

    /// The commands that start the server from the file.
    fn start_commands(&self, file: &str) -> Vec<String>;

    /// Returns true if the engines always run in containers.
    fn needs_image(&self) -> bool {
        false
    }

    /// Remarks about the choices of the site, for the head of the file.
    fn notes(&self, deployment: &Deployment, options: &ClusterOptions) -> Vec<String> {
        let _ = (deployment, options);
        Vec::new()
    }

    /// The text, under comment lines.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] that names the value that the form cannot hold.
    fn text(&self, deployment: &Deployment, options: &ClusterOptions, head: &[String]) -> Result<String>;
}
