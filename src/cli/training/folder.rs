//! Where a training keeps what it needs to go on, beside the model: `training/STAGE.safetensors` and `training/STAGE.csv`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::cli::Answer;

/// The trainings of one model's folder.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The model's folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The state of a stage.
    pub(super) fn state(&self, stage: &str) -> PathBuf {
        self.root.join("training").join(format!("{stage}.safetensors"))
    }

    /// The log of a stage.
    pub(super) fn log(&self, stage: &str) -> PathBuf {
        self.root.join("training").join(format!("{stage}.csv"))
    }

    /// Whether a stage has a state to go on from.
    pub(super) fn has(&self, stage: &str) -> bool {
        self.state(stage).is_file()
    }

    /// Refuses to go on from nothing and to begin where one of these stages has a state, as it was asked.
    pub(super) fn ready(&self, stages: &[&str], resume: bool, force: bool) -> Answer<()> {
        let name = self.root.display();
        let there = stages.iter().any(|stage| self.has(stage));
        match (there, resume) {
            (false, true) => Err(anyhow::anyhow!(
                "{name} has no training to go on with, or one that ended before its first state was written; leave out --resume, and give --force where the folder is there"
            )
            .into()),
            (true, false) if !force => Err(anyhow::anyhow!(
                "{name} has been trained; --resume goes on with that, --force begins anew from the weights that are there"
            )
            .into()),
            (true, false) => {
                for stage in stages {
                    let state = self.state(stage);
                    if state.is_file() {
                        fs::remove_file(&state)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Refuses to write a new model over one that is there.
    pub(super) fn must_be_free(&self, force: bool) -> Answer<()> {
        let taken = ["config.json", "model.safetensors"].iter().any(|file| self.root.join(file).exists());
        match (taken || self.root.is_file()) && !force {
            true => Err(anyhow::anyhow!(
                "{} holds something already; choose another folder, or give --force",
                self.root.display()
            )
            .into()),
            false => Ok(()),
        }
    }
}
