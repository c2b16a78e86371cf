//! The user's wish to stop: the first Ctrl-C or SIGTERM asks, the second does not wait for an answer.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering::SeqCst},
};

static STOP: AtomicBool = AtomicBool::new(false);

/// Whoever waits for something else than the wish, and is to be woken by it.
static WAKE: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Whether the user has asked to stop.
pub(super) fn asked() -> bool {
    STOP.load(SeqCst)
}

/// Calls something, from another thread, when the user asks.
pub(super) fn wake(call: Box<dyn Fn() + Send + Sync>) {
    // There is one front end, and it says so once.
    let _ = WAKE.set(call);
}

/// Listens from now on.
///
/// # Errors
/// Of the system.
pub(super) fn listen() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| {
        if STOP.swap(true, SeqCst) {
            crate::tui::release();
            #[expect(clippy::exit, reason = "asked twice: at once, whatever is in hand; 130 as after the first time")]
            std::process::exit(130);
        }
        if let Some(wake) = WAKE.get() {
            wake();
        }
    })?)
}
