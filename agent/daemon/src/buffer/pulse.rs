//! Signs of life of a store that is being opened or read out, which may take minutes on an SD card: whoever watches over the
//! daemon can tell that from a hang.

use std::sync::atomic::{AtomicU64, Ordering};

static STEPS: AtomicU64 = AtomicU64::new(0);

/// A bounded piece of such work is done.
pub(super) fn step() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// How many there were in this process.
pub(crate) fn steps() -> u64 {
    STEPS.load(Ordering::Relaxed)
}
