//! The user's wish to stop: the first Ctrl-C or SIGTERM asks, the second does not wait for an answer.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the user has asked to stop.
pub(super) fn asked() -> bool {
    STOP.load(SeqCst)
}

/// Listens from now on.
///
/// # Errors
/// Of the system.
pub(super) fn listen() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| {
        if STOP.swap(true, SeqCst) {
            #[expect(clippy::exit, reason = "asked twice: at once, whatever is in hand; 130 as after the first time")]
            std::process::exit(130);
        }
    })?)
}
