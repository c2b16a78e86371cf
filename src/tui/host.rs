//! What the dashboard asks of whoever opened it: plans, runs, facts of the machine. Knows no command line and no tensors;
//! tests put a scripted host in its place.

use std::{path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use super::worker::Relay;
use crate::{
    measure::{Build, Machine, MeasuredLimits},
    spec::CellId,
    sweep::{Outcome, Overrides, Plan, Prediction},
};

/// What is to be run: a profile by name or path, and what covers it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Choices {
    /// Name or path of the profile.
    pub(crate) profile: String,
    /// Fields that were set by hand.
    pub(crate) overrides: Overrides,
}

impl Choices {
    /// As pairs of field and text, the profile first: how they are kept beside a run.
    pub(crate) fn texts(&self) -> Vec<(String, String)> {
        let set = Overrides::names().filter_map(|name| Some((name.to_owned(), self.overrides.text(name)?)));
        std::iter::once(("profile".to_owned(), self.profile.clone())).chain(set).collect()
    }

    /// Reads what [`Self::texts`] wrote.
    ///
    /// # Errors
    /// For a field that is not known or does not read.
    pub(crate) fn from_texts(texts: &[(String, String)]) -> Result<Self, String> {
        let mut choices = Self::default();
        for (name, text) in texts {
            if name == "profile" {
                choices.profile.clone_from(text);
            } else {
                choices.overrides = Overrides::read(name, text)?.over(&choices.overrides);
            }
        }
        Ok(choices)
    }
}

/// What choices come to.
#[derive(Debug, Clone)]
pub(crate) struct Outlook {
    /// Cells and groups.
    pub(crate) plan: Arc<Plan>,
    /// What the profile is for.
    pub(crate) description: String,
    /// What each cell needs, in the plan's order, or why it cannot run.
    pub(crate) cells: Vec<Result<Prediction, String>>,
    /// Rough time of all of it.
    pub(crate) time: Duration,
    /// Bytes that a cell may take.
    pub(crate) memory_budget: u64,
    /// Device and threads in a few words.
    pub(crate) device: String,
}

impl Outlook {
    /// Whether a cell will be tried.
    pub(crate) fn fits(&self, cell: &Result<Prediction, String>) -> bool {
        cell.as_ref().is_ok_and(|p| p.memory_bytes <= self.memory_budget)
    }
}

/// What does not change while the dashboard is open.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The machine.
    pub(crate) machine: Machine,
    /// The program.
    pub(crate) build: Build,
    /// Devices that can be opened: as `--device` takes them, and their names.
    pub(crate) devices: Vec<(String, String)>,
    /// Profiles in the binary, with what each is for.
    pub(crate) profiles: Vec<(String, String)>,
    /// Variants, with what each is.
    pub(crate) variants: Vec<(String, String)>,
}

/// A run to be made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    /// What to run.
    pub(crate) choices: Choices,
    /// Cells file of an earlier run to go on with.
    pub(crate) resume: Option<PathBuf>,
    /// These cells and their softmax twins alone; empty means all.
    pub(crate) only: Vec<CellId>,
}

/// A run that an earlier dashboard did not finish.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unfinished {
    /// Its cells file.
    pub(crate) file: PathBuf,
    /// What it ran.
    pub(crate) choices: Choices,
    /// When it was last written to, and how far it had come, for people.
    pub(crate) text: String,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ended {
    /// Counts of its cells.
    pub(crate) outcome: Outcome,
    /// Things that went wrong beside it.
    pub(crate) warnings: Vec<String>,
}

/// Plans and measures.
pub(crate) trait Host: Send + Sync {
    /// What choices come to; measures nothing.
    ///
    /// # Errors
    /// A text for people that names the field.
    fn outlook(&self, choices: &Choices) -> Result<Outlook, String>;

    /// Measures, on the calling thread, and tells the relay of it.
    ///
    /// # Errors
    /// What kept the run from beginning or from going on, for people.
    fn measure(&self, order: &Order, relay: Rc<Relay>) -> anyhow::Result<Ended>;

    /// What the machine can reach: loads it for some seconds.
    fn limits(&self) -> MeasuredLimits;

    /// Memory of the accelerator in use that this process takes, and all of it; `None` where there is none.
    fn gpu_memory(&self) -> Option<(u64, u64)>;

    /// Fixed facts.
    fn facts(&self) -> Facts;

    /// Runs that can be resumed, the latest first.
    fn unfinished(&self) -> Vec<Unfinished>;

    /// Forgets such a run.
    ///
    /// # Errors
    /// Of removing its files, for people.
    fn forget(&self, run: &Unfinished) -> Result<(), String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_from_their_texts() {
        let mut choices = Choices { profile: "quick".to_owned(), ..Choices::default() };
        for (name, text) in [("seq_len", "64,256"), ("variants", "softmax,window:64"), ("time_budget", "3m")] {
            choices.overrides = Overrides::read(name, text).expect("readable").over(&choices.overrides);
        }
        assert_eq!(Choices::from_texts(&choices.texts()), Ok(choices.clone()));
        assert_eq!(choices.texts().len(), 4);
        assert!(Choices::from_texts(&[("no_such".to_owned(), "1".to_owned())]).is_err());
    }
}
