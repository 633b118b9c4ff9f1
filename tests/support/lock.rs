//! Locks on resources that two tests of one program must not use at the same time.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock that is held until it is dropped. A test that fails while it holds the lock does not affect other tests.
pub struct Held(#[expect(dead_code, reason = "the guard is only held")] MutexGuard<'static, ()>);

fn held(one: &'static Mutex<()>) -> Held {
    Held(one.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Locks the real engine: each one needs both cores and gigabytes of memory.
pub fn engine() -> Held {
    static ONE: Mutex<()> = Mutex::new(());
    held(&ONE)
}

/// Locks the untagged images of the machine's Docker daemon, which one test compares before and after.
pub fn daemon() -> Held {
    static ONE: Mutex<()> = Mutex::new(());
    held(&ONE)
}
