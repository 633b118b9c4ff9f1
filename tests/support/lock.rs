//! What two tests of one program must not use at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held until it is dropped. A test that failed while it held it harms no other.
pub struct Held(#[expect(dead_code, reason = "it is held, and nothing else")] MutexGuard<'static, ()>);

fn held(one: &'static Mutex<()>) -> Held {
    Held(one.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The real engine: each needs both cores and gigabytes of memory.
pub fn engine() -> Held {
    static ONE: Mutex<()> = Mutex::new(());
    held(&ONE)
}

/// The images of the machine's Docker daemon that have no tag, which one test compares before and after.
pub fn daemon() -> Held {
    static ONE: Mutex<()> = Mutex::new(());
    held(&ONE)
}
