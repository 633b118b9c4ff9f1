//! Arguments of `expose`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::{WhichArgs, number};
use crate::plan::DRAIN_S;

/// Examples of `expose`.
pub(super) const EXPOSE: &str = "\
Examples:
  dsr1 expose --listen 0.0.0.0:8443 --tls-cert host.crt --tls-key host.key
  dsr1 expose --add-key alice             another key, in the file of keys
  dsr1 expose --listen 127.0.0.1:8080     without TLS, behind a proxy here";

/// Arguments of `expose`.
#[derive(Debug, Clone, Args)]
pub struct ExposeArgs {
    /// The server.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Address to listen on; 0.0.0.0:8443 takes requests from all networks of this host.
    #[arg(long, value_name = "ADDR:PORT", required_unless_present = "add_key")]
    pub listen: Option<String>,
    /// Certificate of this host with its chain, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Listen without TLS on an address that other hosts reach: anyone on the network path can read the keys and the prompts.
    #[arg(long, conflicts_with = "tls_cert")]
    pub plain_http: bool,
    /// File of keys, a line NAME KEY for each [default: that of the server, made at the first use].
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Add a key of this name to the file of keys, and end.
    #[arg(long, value_name = "NAME", conflicts_with = "listen")]
    pub add_key: Option<String>,
    /// Another path of the engine that clients may use; can be given several times.
    #[arg(long, value_name = "PATH")]
    pub route: Vec<String>,
    /// Most requests at a time; further ones get status 429 [default: no limit].
    #[arg(long, value_parser = number::<u32>(1..), value_name = "N")]
    pub max_requests: Option<u32>,
    /// Seconds that running requests may take to finish when the command ends.
    #[arg(long, value_parser = number::<u32>(0..), default_value_t = DRAIN_S, value_name = "SECONDS")]
    pub drain: u32,
}
