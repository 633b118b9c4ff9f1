//! The room for connections on this host.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::effects::host;
use crate::error::{Error, Kind, Result};
use crate::measure::Shortage;

/// Files that a run has open beside its connections: the terminal, the runtime, questions to the server.
const OTHERS: u64 = 64;
/// The kernel's own ports for outgoing connections (`ip(7)`).
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Returns the number of connections that this process may have; the limit of open files is raised as far as allowed.
pub(super) fn most_connections() -> u64 {
    most_files().saturating_sub(OTHERS)
}

/// Returns the number of files that this process may open, which is raised to the hard limit.
pub(super) fn most_files() -> u64 {
    host::raise_file_limit();
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the thing that this host lacks, if that is why it, and not the server, refuses a further connection (`socket(2)`,
/// `connect(2)`).
pub(super) fn shortage_of(error: &io::Error) -> Option<Shortage> {
    let shortage = match Errno::from_io_error(error)? {
        Errno::MFILE => Shortage::Files,
        Errno::NFILE => Shortage::FilesOfHost,
        Errno::ADDRNOTAVAIL => Shortage::Ports,
        Errno::NOBUFS | Errno::NOMEM => Shortage::Memory,
        _ => return None,
    };
    Some(shortage)
}

/// Refuses a number of connections that this host has no room for. `option` is the word of the user that asks for it.
///
/// # Errors
/// [`Kind::Host`] with the limit, and with what raises it.
pub fn check_room(option: &str, connections: u32) -> Result<()> {
    let connections = u64::from(connections);
    let failed = || {
        Error::new(
            Kind::Host,
            format!("{option} {connections} is more than this host has room for"),
        )
    };
    let files = most_connections();
    if connections > files {
        let needed = connections + OTHERS;
        return Err(failed()
            .cause(format!(
                "each request has a connection, which is an open file: {needed} are needed, and the hard limit is {}",
                files + OTHERS
            ))
            .hint(Shortage::Files.remedy(Some(needed)))
            .hint(format!("{option} {files} is the most without it")));
    }
    let text = std::fs::read_to_string(PORT_RANGE).unwrap_or_default();
    match ports_in(&text) {
        Some(ports) if connections > ports => Err(failed()
            .cause(format!(
                "each connection to one server has a port of this host, and there are {ports} ({PORT_RANGE})"
            ))
            .hint(Shortage::Ports.remedy(None))
            .hint(format!("{option} {ports} is the most without it"))),
        _ => Ok(()),
    }
}

/// Returns the number of ports of a range: its first and its last one.
fn ports_in(text: &str) -> Option<u64> {
    let mut ends = text.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_a_range_are_counted() {
        assert_eq!(ports_in("32768\t60999\n"), Some(28232));
        for wrong in ["", "1", "a b", "9 1"] {
            assert_eq!(ports_in(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_limit_of_this_host_is_told_apart_from_a_server_that_refuses() {
        for (error, expected) in [
            (Errno::MFILE, Some(Shortage::Files)),
            (Errno::NFILE, Some(Shortage::FilesOfHost)),
            (Errno::ADDRNOTAVAIL, Some(Shortage::Ports)),
            (Errno::NOBUFS, Some(Shortage::Memory)),
            (Errno::CONNREFUSED, None),
            (Errno::CONNRESET, None),
        ] {
            assert_eq!(shortage_of(&error.into()), expected, "{error}");
        }
        assert_eq!(shortage_of(&io::Error::other("broken")), None);
    }

    #[test]
    fn more_connections_than_ports_or_files_are_refused() {
        assert!(check_room("--max-concurrency", 1).is_ok());
        let error = check_room("--max-concurrency", u32::MAX).unwrap_err();
        assert!(
            error.message().starts_with("--max-concurrency 4294967295"),
            "{error}"
        );
        let hints = error.hints().join("\n");
        assert!(hints.contains("as root"), "{hints}");
    }
}
