//! A page of the manual on a terminal, shown by the host's `man`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use crate::effects::env::{self, Env};
use crate::effects::process::command;
use crate::error::{Error, Kind, Result};

/// Variables that tell `man` and its pager how to show a page (man(1), less(1)).
const TERMINAL: [&str; 9] = [
    "TERM", "COLUMNS", "LINES", "PAGER", "MANPAGER", "MANOPT", "MANWIDTH", "LESS", "LC_CTYPE",
];

/// Becomes `man`, which shows a page in roff. Does not return if that succeeds.
///
/// # Errors
/// [`Kind::Host`] if the host has no `man`.
pub fn show(env: &Env, page: &str) -> Result<Infallible> {
    let is_in = |dir: &str| Path::new(dir).join("man").is_file();
    if !env.path.split(':').any(is_in) {
        return Err(Error::new(
            Kind::Host,
            "cannot show the manual: there is no `man` on this host",
        )
        .hint("dsr1 --help and dsr1 COMMAND --help have the same text; dsr1 man > dsr1.1 writes the page"));
    }
    let extra: BTreeMap<String, String> = TERMINAL
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), env::variable(name)?)))
        .collect();
    command::become_program(env, &["man", "-l", "-"], &extra, page.as_bytes())
}
