//! The place of a server: its listening socket, and its priority among the threads of the host.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Returns a listening socket with the longest queue that the kernel allows, because an opening wave connects at once.
pub fn listen(port: u16) -> (OwnedFd, u16) {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    sockopt::set_socket_reuseaddr(&listener, true).unwrap();
    rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
    rustix::net::listen(&listener, 65_535).unwrap();
    let address: SocketAddr = rustix::net::getsockname(&listener).unwrap().try_into().unwrap();
    (listener, address.port())
}

/// Puts this thread before all that is not real-time, where that is allowed, and returns whether it is: a client that takes
/// all processors must not make the truth late. Niceness alone leaves the p99 of the lateness at some milliseconds on two
/// busy processors, and rustix has no `sched_setscheduler`, so `chrt` of util-linux does it.
pub fn raise_priority() -> bool {
    let _ = rustix::process::setpriority_process(None, -20);
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let Some(id) = thread.file_name() else {
        return false;
    };
    Command::new("chrt")
        .args(["--fifo", "--pid", "1"])
        .arg(id)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
