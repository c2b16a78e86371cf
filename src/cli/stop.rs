//! The user's wish to stop: the first Ctrl-C or SIGTERM asks, the second does not wait for an answer.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

static STOP: AtomicBool = AtomicBool::new(false);

/// The process that hears of it too; 0 where there is none.
static CHILD: AtomicU32 = AtomicU32::new(0);

/// Whether the user has asked to stop.
pub(super) fn asked() -> bool {
    STOP.load(SeqCst)
}

/// From now on, a launch of this program with that process number hears of the wish too.
pub(super) fn pass_on_to(child: Option<u32>) {
    CHILD.store(child.unwrap_or(0), SeqCst);
    if asked() {
        tell_child();
    }
}

/// Listens from now on.
///
/// # Errors
/// Of the system.
pub(super) fn listen() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| {
        tell_child();
        if STOP.swap(true, SeqCst) {
            #[expect(clippy::exit, reason = "asked twice: at once, whatever is in hand; 130 as after the first time")]
            std::process::exit(130);
        }
    })?)
}

/// On other systems Ctrl-C reaches the child by itself.
fn tell_child() {
    #[cfg(unix)]
    if let Some(child) = i32::try_from(CHILD.load(SeqCst)).ok().filter(|id| *id > 0) {
        // A child that has just ended cannot be told, and need not be.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::SIGTERM);
    }
}
