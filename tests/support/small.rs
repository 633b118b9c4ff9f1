//! dsr1 with small limits of time and size, for tests that would otherwise need hundreds of megabytes and minutes.

use std::process::Command;
use std::time::Duration;

use dsr1::effects::hub::Limits;

/// The limits: a sixteenth of the bytes, and shorter times. The idle timeout stays, because these machines are slow at
/// times.
pub const LIMITS: Limits = Limits {
    chunk: 2 << 20,
    journal_step: 256 << 10,
    sync: 2 << 20,
    write: 64 << 10,
    read: 16 << 10,
    copy: 64 << 10,
    io_retry: Duration::from_millis(20),
    progress: 64 << 10,
    corrupt_run: 1 << 20,
    worth_waiting: 4 << 20,
    slow_after: Duration::from_millis(500),
    rate_window: Duration::from_millis(1_250),
    longest_pause: Duration::from_secs(2),
    abandoned: Duration::from_secs(8),
    host_poll: Duration::from_millis(100),
    ..Limits::DEFAULT
};

/// Name of the variable with the arguments, one in each line.
const ARGS: &str = "DSR1_TEST_ARGS";

/// Returns the command of dsr1 with small limits: this test program, which runs only the test below. Its environment
/// has nothing but the arguments.
pub fn command(args: &[&str]) -> Command {
    assert!(args.iter().all(|arg| !arg.contains('\n')), "{args:?}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "support::small::program",
            "--exact",
            "--ignored",
            "--nocapture",
            "--quiet",
        ])
        .env_clear()
        .env(ARGS, args.join("\n"));
    command
}

/// The program that [`command`] starts. Without its variable it is not a test of anything.
#[test]
#[ignore = "other tests start it as a program"]
#[expect(clippy::exit, reason = "it ends as the program ends")]
fn program() {
    let Ok(args) = std::env::var(ARGS) else {
        return;
    };
    let args = ["dsr1"].into_iter().chain(args.lines()).map(Into::into);
    let mut env = dsr1::effects::env::Env::read();
    env.hub.limits = Limits {
        idle: env.hub.limits.idle,
        ..LIMITS
    };
    std::process::exit(dsr1::commands::main(args, || env).into());
}
