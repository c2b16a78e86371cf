//! Panics while the dashboard holds a terminal: this program starts itself again in a terminal of its own, with a host that
//! panics when it is told to.
#![cfg(unix)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use super::*;
use crate::tui::{
    host::{Ended, Facts, Outlook, Unfinished},
    scripted::{GRID, THEME, begun, events, facts, outlook, plan},
    worker::Relay,
};

#[path = "../../../tests/terminal/mod.rs"]
mod terminal;

/// Names the scene to the program that is started again, and a file that says that a run came to its end.
const SCENE: &str = "SCENE_OF_A_PANIC";

/// Panics where the scene says so.
struct Clumsy {
    scene: String,
    ended: PathBuf,
    /// Times that a plan was asked for.
    plans: AtomicU32,
}

impl Host for Clumsy {
    fn outlook(&self, _: &Choices) -> Result<Outlook, String> {
        assert!(self.plans.fetch_add(1, SeqCst) == 0 || self.scene != "screen", "the screen stumbled");
        Ok(outlook(&plan(GRID)))
    }

    fn measure(&self, _: &Order, relay: Rc<Relay>) -> anyhow::Result<Ended> {
        let plan = plan(GRID);
        relay.begin(begun(&plan));
        events(&plan, false, |_| 0.0).iter().take(200).for_each(|event| relay.note(event));
        relay.draw();
        assert!(self.scene != "measuring", "the measurement stumbled");
        while !relay.is_cancelled() {
            relay.draw();
        }
        fs::write(&self.ended, "whole")?;
        Ok(Ended::default())
    }

    fn limits(&self) -> MeasuredLimits {
        unimplemented!("never asked")
    }

    fn gpu_memory(&self) -> Option<(u64, u64)> {
        None
    }

    fn facts(&self) -> Facts {
        facts()
    }

    fn unfinished(&self) -> Vec<Unfinished> {
        Vec::new()
    }

    fn forget(&self, _: &Unfinished) -> Result<(), String> {
        Ok(())
    }
}

/// What the program that is started again does.
#[test]
#[ignore = "for the tests below, which give it a terminal"]
fn scene() {
    let Ok(scene) = std::env::var(SCENE) else { return };
    let (scene, ended) = scene.split_once(' ').expect("a scene and a file");
    let host = Clumsy { scene: scene.to_owned(), ended: ended.into(), plans: AtomicU32::new(0) };
    let opening = Opening {
        choices: Choices { profile: "quick".to_owned(), ..Choices::default() },
        theme: THEME,
        shows: Shows::Setup,
        on_signal: Box::new(drop),
    };
    let left = open(Arc::new(host), opening).expect("a terminal");
    assert!(!left.rows.is_empty() && !left.is_busy, "{left:?}");
    assert!(left.failed.is_some_and(|why| why.contains("a mistake of the program")));
}

fn played(scene: &str, ended: &Path) -> terminal::Session {
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", "tui::session::tests::scene", "--ignored", "--nocapture", "--test-threads=1"]);
    again.env(SCENE, format!("{scene} {}", ended.display()));
    terminal::Session::open(again, (100, 30))
}

#[test]
fn a_panic_of_the_screen_gives_the_terminal_back_and_ends_the_run_as_a_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let ended = dir.path().join("ended");
    let mut session = played("screen", &ended);
    session.wait_for("What to run");
    session.send("s");
    session.wait_for("running");
    session.resize(90, 28);
    // Another profile asks for another plan.
    session.send("1\x1b[C");
    let (status, written) = session.end();
    let after = written.rsplit("\x1b[?1049l").next().unwrap_or_default();
    assert!(status.success() && after.contains("the screen stumbled"), "{written}");
    assert_eq!(fs::read_to_string(ended).expect("the run came to its end"), "whole");
}

#[test]
fn a_panic_of_the_measurement_is_told_on_the_screen_which_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut session = played("measuring", &dir.path().join("ended"));
    session.wait_for("What to run");
    session.send("s");
    session.wait_for("the run broke off: a mistake of the program: the measurement stumbled");
    session.send("3");
    session.wait_for("Cells 1/24");
    session.send("q");
    let (status, written) = session.end();
    assert!(status.success(), "{written}");
}
