//! Files that were opened: cells are at hand or laid over, logs of trainings go to Live, qualities to Tradeoff. Knows what
//! they hold, not how they are read.

use std::path::PathBuf;

use ratatui::crossterm::event::KeyEvent;

use super::{
    app::{App, Effect},
    compare::{Entry, Loaded, Picker},
    dialog::{Dialog, Purpose},
    keys::{Action, FILES, Screen, action_over, moved},
    quality::QualityFile,
    training::Course,
};

/// What is told of a file whose last line is cut off.
pub(crate) const CUT: &str = "; its last line was cut off and is left out";

/// A file that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Opened {
    /// Cells of a run.
    Cells(Loaded),
    /// The log of a training.
    Training(Box<Course>),
    /// Quality beside speed.
    Quality(QualityFile),
}

impl App {
    /// Takes in what was read, or says why it was not.
    pub(crate) fn opened(&mut self, files: Vec<Result<Opened, String>>) {
        for file in files {
            match file {
                Ok(Opened::Cells(file)) => {
                    let (name, rows) = (file.name.clone(), file.rows.len());
                    self.compare.against = self.compare.files.len();
                    self.compare.files.extend(file.apart());
                    let note = self.compare.files.last().map_or("", |f| f.note.as_str());
                    self.notice = Some(format!("{name}: {rows} rows{note}"));
                    self.shows_training &= self.run.is_some() || self.trains;
                }
                Ok(Opened::Training(log)) => {
                    let cut = if log.is_truncated { CUT } else { "" };
                    self.notice = Some(format!("{}: {} lines of a training{cut}", log.name, log.rows.len()));
                    self.trainings.show(*log);
                    (self.screen, self.shows_training) = (Screen::Live, true);
                }
                Ok(Opened::Quality(file)) => {
                    let cut = if file.is_truncated { CUT } else { "" };
                    self.notice = Some(format!("{}: {} models{cut}", file.name, file.models()));
                    self.tradeoff.show(file);
                    self.screen = Screen::Tradeoff;
                }
                Err(error) => {
                    if let Some(picker) = &mut self.compare.picker {
                        picker.error = Some(error.clone());
                    }
                    self.notice = Some(error);
                    continue;
                }
            }
            self.compare.picker = None;
        }
        self.refresh_rows();
    }

    /// Shows what a folder holds.
    pub(crate) fn listed(&mut self, dir: PathBuf, entries: Result<Vec<Entry>, String>) {
        self.compare.picker = Some(match entries {
            Ok(entries) => Picker { dir, entries, at: 0, error: None },
            Err(error) => {
                let old = self.compare.picker.take().unwrap_or_default();
                Picker { error: Some(error), ..old }
            }
        });
    }

    /// A key while the picker of files is open.
    pub(crate) fn picker_key(&mut self, event: &KeyEvent) -> Option<Effect> {
        let mut picker = self.compare.picker.take()?;
        picker.at = moved(event, picker.at, picker.entries.len().saturating_sub(1)).unwrap_or(picker.at);
        match action_over(FILES, event) {
            Some(Action::No) => return None,
            Some(Action::Yes) => {
                let chosen = picker.entries.get(picker.at).cloned();
                self.compare.picker = Some(picker);
                let entry = chosen?;
                return Some(if entry.is_dir { Effect::List(entry.path) } else { Effect::Open(entry.path) });
            }
            Some(Action::Type) => {
                let start = format!("{}/", picker.dir.display());
                self.dialog = Some(Dialog::input(Purpose::Open, &start));
            }
            _ => {}
        }
        self.compare.picker = Some(picker);
        None
    }
}
