//! sled panics where others return an error: on damaged files, mostly. Here a panic becomes one.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `work`; its panic comes back as text and is not printed as a crash, since it is none.
///
/// Callers hand in nothing but the store, which they give up (or stop writing to) after a panic.
pub(super) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // During a thread's end the mark may be gone already; such a panic is not ours to hush.
            if !GUARDED.try_with(Cell::get).unwrap_or(false) {
                loud(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    result.map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked without saying why")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(guard(|| 7), Ok(7));
        assert_eq!(guard(|| panic!("page {} is gone", 3)), Err::<(), _>("page 3 is gone".to_owned()));
        assert!(!GUARDED.get());
    }
}
