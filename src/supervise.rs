//! The decisions of a supervisor: when the state of a server has changed, and whether a server that failed is started again.
//! Pure: looks and times in, decisions out. `dsr1 watch` looks, and carries them out.

use std::collections::VecDeque;
use std::time::Duration;

use crate::diagnose::{Diagnosis, Restart, UNKNOWN, restart_after, smaller_fraction};
use crate::report::ServerState;

/// Looks in a row after which a server is held to hang.
const BAD: u32 = 3;
/// Looks in a row after which it is held to work again.
const GOOD: u32 = 2;

/// The state of a server as it lasts: a look that differs once does not change it.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    state: ServerState,
    next: ServerState,
    times: u32,
}

impl Steady {
    /// Returns the state at the first look.
    #[must_use]
    pub const fn new(state: ServerState) -> Self {
        Self {
            state,
            next: state,
            times: 1,
        }
    }

    /// Returns the state that lasts.
    #[must_use]
    pub const fn state(self) -> ServerState {
        self.state
    }

    /// Takes a look; returns the new state if it lasts. An end lasts at once.
    pub fn see(&mut self, seen: ServerState) -> Option<ServerState> {
        self.times = if seen == self.next { self.times + 1 } else { 1 };
        self.next = seen;
        if seen == self.state {
            return None;
        }
        let needed = match seen {
            ServerState::Hung => BAD,
            _ if self.state == ServerState::Hung && !seen.has_ended() => GOOD,
            _ => 1,
        };
        (self.times >= needed).then(|| {
            self.state = seen;
            seen
        })
    }
}

/// The limits of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Most restarts within [`WINDOW`]; 0 only watches.
    pub restarts: u32,
    /// True if a restart may give the engine a smaller share of the GPU's memory.
    pub less_memory: bool,
}

/// Time in which restarts are counted.
pub const WINDOW: Duration = Duration::from_hours(1);
/// Time before the first restart; each further one waits three times as long.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest time before a restart.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// A failure of a server.
#[derive(Debug, Clone, Copy)]
pub enum Failure<'a> {
    /// It ended; this is the diagnosis of its log.
    Ended(&'a Diagnosis),
    /// It hangs.
    Hung,
}

/// The consequence of a failure.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The server is started again after a wait.
    Restart {
        /// The wait.
        after: Duration,
        /// The share of the GPU's memory for the next start, if it is another one.
        fraction: Option<f64>,
        /// Its number within the window, from 1.
        number: u32,
    },
    /// The server is left as it is, for this reason.
    Leave(String),
}

/// The restarts that a supervisor made.
#[derive(Debug, Clone)]
pub struct Supervisor {
    policy: Policy,
    restarts: VecDeque<Duration>,
    has_reduced: bool,
}

impl Supervisor {
    /// Returns a supervisor that made no restart yet.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self {
            policy,
            restarts: VecDeque::new(),
            has_reduced: false,
        }
    }

    /// Returns true unless the server is only watched.
    #[must_use]
    pub const fn may_restart(&self) -> bool {
        self.policy.restarts > 0
    }

    /// Decides on a failure at `now`, a time since the supervisor began.
    pub fn decide(&mut self, failure: Failure<'_>, now: Duration) -> Decision {
        let leave = |why: String| Decision::Leave(why);
        if !self.may_restart() {
            return leave("this watch runs with --no-restart".to_owned());
        }
        let consequence = match failure {
            Failure::Hung => Restart::Again,
            // A log without a cause: a kill from outside leaves none.
            Failure::Ended(found) if found.kind.is_empty() => again_if(found.was_ready),
            Failure::Ended(found) if found.kind == UNKNOWN => again_if(found.was_ready),
            Failure::Ended(found) => restart_after(&found.kind, found.was_ready),
        };
        let fraction = match (consequence, failure) {
            (Restart::Never, Failure::Ended(found)) if found.kind.is_empty() => {
                return leave("its log shows no cause, and it was not ready".to_owned());
            }
            (Restart::Never, Failure::Ended(found)) if !found.was_ready => {
                return leave("the next start would fail in the same way".to_owned());
            }
            (Restart::Never, _) => {
                return leave("a restart does not help against this cause".to_owned());
            }
            (Restart::LessMemory, Failure::Ended(found)) => match self.less_memory(found) {
                Ok(fraction) => Some(fraction),
                Err(why) => return leave(why),
            },
            _ => None,
        };
        while self
            .restarts
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > WINDOW)
        {
            self.restarts.pop_front();
        }
        let made = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        if made >= self.policy.restarts {
            return leave(format!(
                "{made} restarts within an hour are the most that are allowed"
            ));
        }
        self.restarts.push_back(now);
        self.has_reduced |= fraction.is_some();
        Decision::Restart {
            after: FIRST_WAIT
                .saturating_mul(3_u32.saturating_pow(made))
                .min(LONGEST_WAIT),
            fraction,
            number: made + 1,
        }
    }

    /// Returns the smaller share of memory for the next start, or the reason why there is none.
    fn less_memory(&self, found: &Diagnosis) -> Result<f64, String> {
        let now = found
            .fraction
            .as_deref()
            .and_then(|text| text.parse::<f64>().ok());
        let said = found.exception.as_deref().unwrap_or_default();
        let next = now.and_then(|now| smaller_fraction(now, said));
        match (now, next) {
            (_, Some(next)) if !self.policy.less_memory => Err(format!(
                "it needs --mem-fraction-static {next}, which --less-memory allows dsr1 watch to set"
            )),
            _ if self.has_reduced => Err("a smaller share of the GPU's memory did not help".to_owned()),
            (_, Some(next)) => Ok(next),
            (Some(now), None) => Err(format!("--mem-fraction-static {now} leaves nothing to take off")),
            (None, None) => Err("its log does not state its share of the GPU's memory".to_owned()),
        }
    }
}

const fn again_if(was_ready: bool) -> Restart {
    if was_ready { Restart::Again } else { Restart::Never }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose;

    const ALLOWED: Policy = Policy {
        restarts: 3,
        less_memory: true,
    };

    fn diagnosis(lines: &[&str]) -> Diagnosis {
        diagnose::diagnose("dsr1-a", lines.iter().copied())
    }

    const READY: &str = "[2026-11-30 06:00:00] The server is fired up and ready to roll!";

    #[test]
    fn one_look_does_not_make_a_hang() {
        use ServerState::{Busy, Crashed, Hung, Idle};
        let mut steady = Steady::new(Idle);
        let shown: Vec<_> = [
            Hung, Idle, Hung, Hung, Hung, Idle, Hung, Idle, Idle, Busy, Crashed,
        ]
        .into_iter()
        .map(|seen| steady.see(seen))
        .collect();
        assert_eq!(
            shown,
            [
                None,
                None,
                None,
                None,
                Some(Hung),
                None,
                None,
                None,
                Some(Idle),
                Some(Busy),
                Some(Crashed)
            ]
        );
        assert_eq!(steady.state(), Crashed);
    }

    #[test]
    fn a_flapping_server_keeps_its_state() {
        let mut steady = Steady::new(ServerState::Busy);
        for _ in 0..100 {
            assert_eq!(steady.see(ServerState::Hung), None);
            assert_eq!(steady.see(ServerState::Busy), None);
        }
    }

    #[test]
    fn a_refused_argument_is_never_started_again() {
        let found = diagnosis(&["launch_server.py: error: unrecognized arguments: --tpp 8"]);
        assert_eq!(found.kind, "args.unknown");
        let decided = Supervisor::new(ALLOWED).decide(Failure::Ended(&found), Duration::ZERO);
        assert_eq!(
            decided,
            Decision::Leave("the next start would fail in the same way".to_owned())
        );
    }

    #[test]
    fn a_killed_process_is_started_again_within_a_budget() {
        let found = diagnosis(&[
            READY,
            "[2026-11-30 06:00:09] Subprocess scheduler_0 (pid=2071) crashed with exit code -9. Triggering SIGQUIT for cleanup...",
        ]);
        assert_eq!(found.kind, "process.killed");
        let mut supervisor = Supervisor::new(ALLOWED);
        let mut decide = |minute: u64| supervisor.decide(Failure::Ended(&found), Duration::from_mins(minute));
        for (minute, number, seconds) in [(0, 1, 5), (10, 2, 15), (20, 3, 45)] {
            assert_eq!(
                decide(minute),
                Decision::Restart {
                    after: Duration::from_secs(seconds),
                    fraction: None,
                    number,
                }
            );
        }
        assert!(matches!(decide(30), Decision::Leave(_)));
        // The first one is more than an hour ago.
        assert!(matches!(decide(61), Decision::Restart { number: 3, .. }));
    }

    #[test]
    fn memory_that_ran_out_takes_a_smaller_share_once_and_only_if_allowed() {
        let found = diagnosis(&[
            "[2026-11-30 05:59:00] server_args=ServerArgs(model_path='/m', mem_fraction_static=0.88, tp_size=8)",
            READY,
            "[2026-11-30 06:00:09] Scheduler hit an exception: Traceback (most recent call last):",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 14.00 GiB. GPU 0 has a total capacity of 139.80 GiB of which 46.69 MiB is free. Including non-PyTorch memory, this process has 139.61 GiB memory in use.",
        ]);
        assert!(found.kind.starts_with("memory."), "{}", found.kind);
        let careful = Policy {
            less_memory: false,
            ..ALLOWED
        };
        assert_eq!(
            Supervisor::new(careful).decide(Failure::Ended(&found), Duration::ZERO),
            Decision::Leave(
                "it needs --mem-fraction-static 0.77, which --less-memory allows dsr1 watch to set"
                    .to_owned()
            )
        );
        let mut supervisor = Supervisor::new(ALLOWED);
        let first = supervisor.decide(Failure::Ended(&found), Duration::ZERO);
        assert!(
            matches!(first, Decision::Restart { fraction: Some(fraction), .. } if (fraction - 0.77).abs() < 1e-9),
            "{first:?}"
        );
        assert_eq!(
            supervisor.decide(Failure::Ended(&found), Duration::ZERO),
            Decision::Leave("a smaller share of the GPU's memory did not help".to_owned())
        );
    }

    #[test]
    fn a_gpu_that_needs_a_person_is_left() {
        for line in [
            "NVRM: Xid (PCI:0000:19:00): 79, pid=2071, GPU has fallen off the bus.",
            "[2026-11-30 06:00:09 TP3] RuntimeError: CUDA error: uncorrectable ECC error encountered",
        ] {
            let found = diagnosis(&[READY, line]);
            assert!(found.kind.starts_with("gpu."), "{}", found.kind);
            let decided = Supervisor::new(ALLOWED).decide(Failure::Ended(&found), Duration::ZERO);
            assert!(matches!(decided, Decision::Leave(_)), "{line}: {decided:?}");
        }
    }

    #[test]
    fn a_hang_is_started_again_unless_the_server_is_watched_only() {
        let decided = Supervisor::new(ALLOWED).decide(Failure::Hung, Duration::ZERO);
        assert!(matches!(decided, Decision::Restart { number: 1, .. }));
        let only = Policy {
            restarts: 0,
            ..ALLOWED
        };
        let decided = Supervisor::new(only).decide(Failure::Hung, Duration::ZERO);
        assert_eq!(
            decided,
            Decision::Leave("this watch runs with --no-restart".to_owned())
        );
    }
}
