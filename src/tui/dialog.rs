//! Questions that stand over a screen: yes or no, a line of text, a run to resume. Knows what was asked, and in the end does it.

use ratatui::crossterm::event::KeyEvent;

use super::{
    app::{App, Effect, Export, Phase},
    host::{Order, Unfinished},
    keys::{Action, Binding, OFFER, QUESTION, Screen, TYPING, action_over, moved},
    text_line::TextLine,
};

/// What a yes does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Leaves, ending the run.
    Quit,
    /// Ends the run.
    Cancel,
    /// Writes over a file.
    Overwrite(Export, String),
}

/// What a line of text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write(Export),
    Filter,
    Open,
}

/// A question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Dialog {
    Confirm(Ask),
    Input { purpose: Purpose, line: TextLine },
    Resume { runs: Vec<Unfinished>, at: usize },
}

impl Dialog {
    /// A line of text that begins with `text`.
    pub(crate) fn input(purpose: Purpose, text: &str) -> Self {
        Self::Input { purpose, line: TextLine::new(text) }
    }

    /// Whether characters are text.
    pub(crate) fn takes_text(&self) -> bool {
        matches!(self, Self::Input { .. })
    }

    /// The keys that it has.
    pub(crate) fn keys(&self) -> &'static [Binding] {
        match self {
            Self::Confirm(_) => QUESTION,
            Self::Input { .. } => TYPING,
            Self::Resume { .. } => OFFER,
        }
    }

    /// What is asked.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Confirm(Ask::Quit) => "A run goes. End it and leave? What it has done is kept.".to_owned(),
            Self::Confirm(Ask::Cancel) => "End the run? What it has done is kept.".to_owned(),
            Self::Confirm(Ask::Overwrite(_, path)) => format!("{path} exists. Write over it?"),
            Self::Input { purpose: Purpose::Write(Export::Csv), .. } => "Write the rows as CSV to".to_owned(),
            Self::Input { purpose: Purpose::Write(Export::Screen), .. } => {
                "Write this screen to (.svg or .txt)".to_owned()
            }
            Self::Input { purpose: Purpose::Filter, .. } => {
                "Show rows with these words (t2r len=4096 noisy)".to_owned()
            }
            Self::Input { purpose: Purpose::Open, .. } => "Open the CSV file".to_owned(),
            Self::Resume { .. } => "Runs that were not finished".to_owned(),
        }
    }
}

impl App {
    pub(crate) fn dialog_key(&mut self, dialog: Dialog, event: &KeyEvent) -> Option<Effect> {
        match dialog {
            Dialog::Confirm(ask) => self.confirm(ask, event),
            Dialog::Input { purpose, line } => self.input(purpose, line, event),
            Dialog::Resume { runs, at } => self.resume(runs, at, event),
        }
    }

    fn confirm(&mut self, ask: Ask, event: &KeyEvent) -> Option<Effect> {
        match action_over(QUESTION, event) {
            Some(Action::Yes) => {}
            Some(Action::No) => return None,
            // Anything else was not an answer.
            _ => {
                self.dialog = Some(Dialog::Confirm(ask));
                return None;
            }
        }
        Some(match ask {
            Ask::Quit => self.leave(),
            Ask::Cancel if self.is_busy() => {
                self.phase = Phase::Cancelling;
                Effect::Cancel
            }
            Ask::Cancel => return None,
            Ask::Overwrite(export, path) => Effect::Write { export, path, force: true },
        })
    }

    fn input(&mut self, purpose: Purpose, mut line: TextLine, event: &KeyEvent) -> Option<Effect> {
        match action_over(TYPING, event) {
            Some(Action::No) => return None,
            Some(Action::Yes) => {
                let text = line.text().trim().to_owned();
                return match purpose {
                    Purpose::Filter => {
                        self.grid.filter = text;
                        self.grid.at = 0;
                        self.refresh_charts();
                        None
                    }
                    _ if text.is_empty() => None,
                    Purpose::Write(export) => Some(Effect::Write { export, path: text, force: false }),
                    Purpose::Open => Some(Effect::Open(text.into())),
                };
            }
            _ => {
                line.key(event);
            }
        }
        self.dialog = Some(Dialog::Input { purpose, line });
        None
    }

    fn resume(&mut self, mut runs: Vec<Unfinished>, mut at: usize, event: &KeyEvent) -> Option<Effect> {
        let last = runs.len().saturating_sub(1);
        at = moved(event, at, last).unwrap_or(at);
        match action_over(OFFER, event) {
            Some(Action::Resume) => {
                let run = runs.swap_remove(at.min(last));
                self.phase = Phase::Starting;
                self.screen = Screen::Live;
                self.setup.choices = run.choices.clone();
                self.order = Order { choices: run.choices, resume: Some(run.file), only: Vec::new() };
                return Some(Effect::Start(self.order.clone()));
            }
            Some(Action::Discard) => {
                let run = runs.remove(at.min(last));
                self.notice = Some(format!("not offered again; its rows stay in {}", run.file.display()));
                if !runs.is_empty() {
                    self.dialog = Some(Dialog::Resume { at: at.min(runs.len() - 1), runs });
                }
                return Some(Effect::Forget(run));
            }
            Some(Action::No) => {
                self.notice = Some("offered again when the dashboard opens the next time".to_owned());
                return None;
            }
            _ => {}
        }
        self.dialog = Some(Dialog::Resume { runs, at });
        None
    }
}
