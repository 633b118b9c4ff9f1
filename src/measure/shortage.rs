//! The things that the client's host may lack for a further connection.

/// The thing that this host lacks for a further connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shortage {
    /// Open files of this process (`EMFILE`).
    Files,
    /// Open files of all processes (`ENFILE`).
    FilesOfHost,
    /// Ports for outgoing connections (`EADDRNOTAVAIL`).
    Ports,
    /// Memory of the kernel (`ENOBUFS`, `ENOMEM`).
    Memory,
}

impl Shortage {
    /// Returns the thing in words that stand behind "no room for a connection on this host: ".
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Files => "all open files of this process are in use",
            Self::FilesOfHost => "all open files of this host are in use",
            Self::Ports => "all ports are in use",
            Self::Memory => "the kernel has no memory",
        }
    }

    /// Returns the commands and the settings that give this host more room. `count` is the number of open files that are needed, if
    /// that is known. dsr1 has raised the soft limit of open files to the hard one, which only root can raise (`setrlimit(2)`).
    #[must_use]
    pub fn remedy(self, count: Option<u64>) -> String {
        let count = count.map_or_else(|| "N".to_owned(), |count| count.to_string());
        match self {
            Self::Files => format!(
                "more open files: ulimit -n {count} as root, LimitNOFILE={count} of a service, \
                 or nofile in /etc/security/limits.conf"
            ),
            Self::FilesOfHost => format!("more open files: sysctl -w fs.file-max={count} as root"),
            Self::Ports => {
                "64512 ports: sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\" as root".to_owned()
            }
            Self::Memory => {
                "end other work on this host, or run dsr1 bench on another one, with --url".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell of a normal user cannot raise the hard limit, and ports and memory are no files.
    #[test]
    fn each_shortage_has_a_remedy_of_its_own() {
        let files = Shortage::Files.remedy(Some(5000));
        for text in [
            "ulimit -n 5000 as root",
            "LimitNOFILE=5000",
            "/etc/security/limits.conf",
        ] {
            assert!(files.contains(text), "{files}");
        }
        assert!(Shortage::Files.remedy(None).contains("ulimit -n N as root"));
        assert!(Shortage::FilesOfHost.remedy(None).contains("fs.file-max=N"));
        for other in [Shortage::FilesOfHost, Shortage::Ports, Shortage::Memory] {
            assert!(!other.remedy(None).contains("ulimit"), "{other:?}");
        }
        assert!(Shortage::Ports.remedy(None).contains("ip_local_port_range"));
    }
}
