//! What a panic does to the screen. Knows the terminal, not what it shows.

use std::{
    panic::{PanicHookInfo, set_hook, take_hook},
    sync::Arc,
    thread::{current, panicking},
};

use super::terminal;

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// While it lives, a panic of the thread that made it gives the terminal back before it is told, and one of any other thread is
/// told on the screen: those of cells are caught, and the run goes on.
pub(super) struct PanicHook(Arc<Hook>);

impl PanicHook {
    /// `tell` tells the screen.
    pub(super) fn install(tell: impl Fn(String) + Send + Sync + 'static) -> Self {
        let previous: Arc<Hook> = Arc::from(take_hook());
        let (own, before) = (current().id(), Arc::clone(&previous));
        set_hook(Box::new(move |panic| {
            if current().id() == own {
                terminal::release();
                before(panic);
            } else {
                let text = panic.payload_as_str().unwrap_or("panic").lines().next().unwrap_or_default();
                tell(format!("caught: {text}"));
            }
        }));
        Self(previous)
    }
}

impl Drop for PanicHook {
    fn drop(&mut self) {
        // Setting a hook while panicking would abort.
        if !panicking() {
            let previous = Arc::clone(&self.0);
            set_hook(Box::new(move |panic| previous(panic)));
        }
    }
}
